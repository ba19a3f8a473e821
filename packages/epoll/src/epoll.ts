import { type AsFd, type FdLike, ioctl, type OwnedFd } from '@linux-sockets/native-core'
import {
  EPIOCGPARAMS,
  EPIOCSPARAMS,
  EPOLL_CTL_ADD,
  EPOLL_CTL_DEL,
  EPOLL_CTL_MOD,
} from '@linux-sockets/native-core/constants'
import { EPOLL_EVENT_WORDS, epollControl, epollCreate, epollWait } from '@linux-sockets/native-core/epoll'
import {
  checkBoolean,
  checkFlags,
  checkInteger,
  checkOptions,
  describe,
  fdOf,
} from '@linux-sockets/native-core/internal'

/** The buffer that `Epoll.wait` writes events to. Reuse one for every wait, so that a wait allocates nothing. */
export class EpollEvents {
  /** The events as native code writes them: three words per event. */
  readonly words: Uint32Array
  /** The number of events of the last wait. */
  count = 0

  /** `capacity`: the most events that one wait returns. Default 256. */
  constructor(capacity = 256) {
    checkInteger(capacity, 1, EP_MAX_EVENTS, 'capacity')
    this.words = new Uint32Array(capacity * EPOLL_EVENT_WORDS)
  }

  /** The flags of event i: `EPOLLIN | …`. */
  events(i: number): number {
    return this.words[i * EPOLL_EVENT_WORDS] as number
  }

  /** The low 32 bits of the data of event i; by default the descriptor. */
  low(i: number): number {
    return this.words[i * EPOLL_EVENT_WORDS + 1] as number
  }

  /** The high 32 bits of the data of event i. */
  high(i: number): number {
    return this.words[i * EPOLL_EVENT_WORDS + 2] as number
  }

  /** The 64 bits of data of event i. */
  data(i: number): bigint {
    return (BigInt(this.high(i)) << 32n) | BigInt(this.low(i))
  }
}

/**
 * The busy-polling parameters of an epoll instance. Before a wait sleeps, the kernel polls the receive queue of the network
 * device that last served the registered sockets. This saves the latency of the interrupt and costs processor time.
 * @see {@link https://docs.kernel.org/networking/napi.html#epoll-based-busy-polling epoll-based busy polling}
 */
export interface BusyPoll {
  /** How long to poll, in **microseconds**, 0 … 2³¹ − 1. With 0, the default, `net.core.busy_poll` applies. */
  readonly usecs: number
  /** The most **packets** per poll, 0 … 65535. 0, the default, means 8; more than 64 requires `CAP_NET_ADMIN`. */
  readonly budget: number
  /**
   * Whether the device's interrupts stay off while the instance polls often enough. The device's `napi_defer_hard_irqs`
   * and `gro_flush_timeout` must be set for this. Default `false`.
   */
  readonly prefer: boolean
}

/**
 * An epoll instance with the kernel's own interface: every flag, and 64 bits of data for each descriptor. When to read,
 * write and arm again is up to the caller.
 * @see {@link https://man7.org/linux/man-pages/man7/epoll.7.html epoll(7)}
 */
export class Epoll implements AsFd, Disposable {
  readonly #epoll: OwnedFd = epollCreate()

  /** The instance's descriptor; −1 once closed. It is readable while events are pending, so another instance can watch it. */
  get fd(): number {
    return this.#epoll.fd
  }

  /**
   * epoll_ctl(2) `EPOLL_CTL_ADD`: registers a descriptor. Its events come with `data`; by default that is the descriptor.
   * @throws TypeError, RangeError if `data` is not an unsigned 64-bit integer; a number must be a safe integer
   * @throws SystemError `EEXIST`, `EPERM` (the file does not support epoll), `ENOSPC`, `ELOOP`, `EINVAL` (the flags can't
   * be combined)
   */
  add(target: FdLike, events: number, data?: number | bigint): void {
    this.#control(EPOLL_CTL_ADD, target, events, data)
  }

  /**
   * epoll_ctl(2) `EPOLL_CTL_MOD`: sets the events and the data. Arms an `EPOLLONESHOT` registration again.
   * @throws SystemError `ENOENT`
   */
  modify(target: FdLike, events: number, data?: number | bigint): void {
    this.#control(EPOLL_CTL_MOD, target, events, data)
  }

  /**
   * epoll_ctl(2) `EPOLL_CTL_DEL`: ends the registration of a descriptor. Call it before you close the descriptor: a
   * duplicate would keep it registered.
   * @throws SystemError `ENOENT`
   */
  delete(target: FdLike): void {
    epollControl(this.#epoll, EPOLL_CTL_DEL, target)
  }

  /**
   * epoll_pwait2(2): waits, writes the events to `events` and returns their number; 0 after a timeout. `timeout` is in
   * **milliseconds**, with fractions down to the nanosecond: 0, the default, returns at once; −1 and `Infinity` wait
   * without a limit. Waiting blocks the whole thread, so this is for Workers and scripts.
   * @throws TypeError, RangeError if the timeout is NaN, negative other than −1, or longer than 104 days
   */
  wait(events: EpollEvents, timeout = 0): number {
    if (!(events instanceof EpollEvents)) throw new TypeError(`events must be EpollEvents, not ${describe(events)}`)
    events.count = epollWait(this.#epoll, events.words, timeout)
    return events.count
  }

  /**
   * ioctl(2) `EPIOCGPARAMS`: gets the busy-polling parameters.
   * @throws SystemError `ENOTTY` before Linux 6.9, `EOPNOTSUPP` without `CONFIG_NET_RX_BUSY_POLL`
   * @see {@link https://man7.org/linux/man-pages/man2/ioctl_eventpoll.2.html ioctl_eventpoll(2)}
   */
  get busyPoll(): BusyPoll {
    const words = new Int32Array(2)
    const usecs = ioctl(this.#epoll, EPIOCGPARAMS, words)
    const rest = words[1] as number
    return { usecs, budget: rest & 0xffff, prefer: (rest & PREFER_BUSY_POLL) !== 0 }
  }

  /**
   * ioctl(2) `EPIOCSPARAMS`: sets the busy-polling parameters. Those left out keep their values.
   * @throws TypeError, RangeError if a value does not fit `struct epoll_params`
   * @throws SystemError `EPERM` (a budget above 64 without `CAP_NET_ADMIN`), `ENOTTY` before Linux 6.9, `EOPNOTSUPP`
   * without `CONFIG_NET_RX_BUSY_POLL`
   * @see {@link https://man7.org/linux/man-pages/man2/ioctl_eventpoll.2.html ioctl_eventpoll(2)}
   */
  setBusyPoll(changes: Partial<BusyPoll>): void {
    checkOptions(changes, 'changes', { usecs: true, budget: true, prefer: true })
    if (changes.usecs !== undefined) checkInteger(changes.usecs, 0, 0x7fff_ffff, 'usecs')
    if (changes.budget !== undefined) checkInteger(changes.budget, 0, 0xffff, 'budget')
    if (changes.prefer !== undefined) checkBoolean(changes.prefer, 'prefer')
    const before = this.busyPoll
    const { usecs = before.usecs, budget = before.budget, prefer = before.prefer } = changes
    ioctl(this.#epoll, EPIOCSPARAMS, Int32Array.of(usecs, budget | (prefer ? PREFER_BUSY_POLL : 0)))
  }

  /** close(2). Registered descriptors stay open. */
  close(): void {
    this.#epoll.close()
  }

  [Symbol.dispose](): void {
    this.close()
  }

  #control(operation: number, target: FdLike, events: number, data: number | bigint | undefined): void {
    checkFlags(events, 'events')
    // A closed target's −1 goes to the kernel as it is: its EBADF says more than an error about the data.
    const [low, high] = data === undefined ? [fdOf(target, 'target'), 0] : split(data)
    epollControl(this.#epoll, operation, target, events, low, high)
  }
}

/** The most events that epoll_wait(2) accepts: the size in bytes must fit an `int`. */
const EP_MAX_EVENTS = 0x0aaa_aaaa

/** `struct epoll_params` is two words: the time, then two bytes of budget, one of preference and one that must be 0. */
const PREFER_BUSY_POLL = 1 << 16

function split(data: number | bigint): [low: number, high: number] {
  if (typeof data === 'bigint') {
    if (data < 0n || data >= 1n << 64n) throw new RangeError(`data must be a 64-bit unsigned number, not ${data}`)
    return [Number(data & 0xffff_ffffn), Number(data >> 32n)]
  }
  checkInteger(data, 0, Number.MAX_SAFE_INTEGER, 'data')
  return [data % 2 ** 32, Math.floor(data / 2 ** 32)]
}
