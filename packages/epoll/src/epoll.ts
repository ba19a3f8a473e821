import {
  type AsFd,
  checkInteger,
  EPIOCGPARAMS,
  EPIOCSPARAMS,
  EPOLL_CTL_ADD,
  EPOLL_CTL_DEL,
  EPOLL_CTL_MOD,
  EPOLL_EVENT_WORDS,
  epollControl,
  epollCreate,
  epollWait,
  ioctl,
  type OwnedFd,
} from '@linux-sockets/native-core'

/** Where `Epoll.wait` leaves what happened; used again for every wait, so nothing is allocated. */
export class EpollEvents {
  /** As the boundary fills it: three words per event. */
  readonly words: Uint32Array
  /** How many events the last wait brought. */
  count = 0

  /** `capacity`: the most events that one wait brings. Default 256. */
  constructor(capacity = 256) {
    if (!Number.isInteger(capacity) || capacity < 1) {
      throw new RangeError(`capacity must be a positive integer, not ${capacity}`)
    }
    this.words = new Uint32Array(capacity * EPOLL_EVENT_WORDS)
  }

  /** The flags of event i: `EPOLLIN | …`. */
  events(i: number): number {
    return this.words[i * EPOLL_EVENT_WORDS] as number
  }

  /** The low 32 bits of the data of event i; the descriptor, unless other data was given. */
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
 * How an instance busy polls: before a wait sleeps, it looks itself for packets in the receive queue of the network
 * device that the registered sockets were last served by, which saves the interrupt's latency and costs processor time.
 * @see {@link https://docs.kernel.org/networking/napi.html#epoll-based-busy-polling epoll-based busy polling}
 */
export interface BusyPoll {
  /** How long, in **microseconds**, 0 … 2³¹ − 1. 0, the default, leaves it to `net.core.busy_poll`. */
  readonly usecs: number
  /** The most **packets** at a time, 0 … 65535. 0, the default, means 8; more than 64 takes `CAP_NET_ADMIN`. */
  readonly budget: number
  /**
   * Whether the device's interrupts stay off as long as the instance polls often enough, which takes its
   * `napi_defer_hard_irqs` and `gro_flush_timeout`. Default `false`.
   */
  readonly prefer: boolean
}

/**
 * An epoll instance, as the kernel has it: every flag, 64 bits of data, and the caller's own discipline.
 * @see {@link https://man7.org/linux/man-pages/man7/epoll.7.html epoll(7)}
 */
export class Epoll implements AsFd, Disposable {
  readonly #epoll: OwnedFd = epollCreate()

  /** Readable while events wait, so that an instance can be watched by another. −1 once closed. */
  get fd(): number {
    return this.#epoll.fd
  }

  /**
   * epoll_ctl(2) `EPOLL_CTL_ADD`. `data` comes back with the events; by default it is the descriptor.
   * @throws TypeError, RangeError for data that 64 bits, unsigned, don't hold; a number must be a safe integer
   * @throws SystemError `EEXIST`, `EPERM` (a file that can't be waited for), `ENOSPC`, `ELOOP`, `EINVAL` (flags that don't go together)
   */
  add(target: AsFd, events: number, data?: number | bigint): void {
    this.#control(EPOLL_CTL_ADD, target, events, data)
  }

  /** epoll_ctl(2) `EPOLL_CTL_MOD`: other events or data. Arms a `EPOLLONESHOT` again. @throws SystemError `ENOENT` */
  modify(target: AsFd, events: number, data?: number | bigint): void {
    this.#control(EPOLL_CTL_MOD, target, events, data)
  }

  /** epoll_ctl(2) `EPOLL_CTL_DEL`. Before the descriptor is closed: a duplicate would keep it registered. @throws SystemError `ENOENT` */
  delete(target: AsFd): void {
    epollControl(this.#epoll, EPOLL_CTL_DEL, target)
  }

  /**
   * epoll_pwait2(2): returns how many events were left in `events`, 0 when the time was over. `timeout` is in
   * **milliseconds**, fractions down to the nanosecond: 0 only looks (the default), −1 and `Infinity` wait for ever.
   * Waiting stops the whole thread, so it is for Workers and scripts.
   * @throws TypeError, RangeError for NaN, any other negative timeout, and more than 104 days
   */
  wait(events: EpollEvents, timeout = 0): number {
    events.count = epollWait(this.#epoll, events.words, timeout)
    return events.count
  }

  /**
   * ioctl(2) `EPIOCGPARAMS`: how the instance busy polls.
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
   * ioctl(2) `EPIOCSPARAMS`: what is left out stays as it is.
   * @throws TypeError, RangeError for what `struct epoll_params` does not hold
   * @throws SystemError `EPERM` (a budget above 64 without `CAP_NET_ADMIN`), `ENOTTY` before Linux 6.9, `EOPNOTSUPP`
   * without `CONFIG_NET_RX_BUSY_POLL`
   * @see {@link https://man7.org/linux/man-pages/man2/ioctl_eventpoll.2.html ioctl_eventpoll(2)}
   */
  setBusyPoll(changes: Partial<BusyPoll>): void {
    const { usecs, budget, prefer } = { ...this.busyPoll, ...changes }
    checkInteger(usecs, 0, 0x7fff_ffff, 'usecs')
    checkInteger(budget, 0, 0xffff, 'budget')
    if (typeof prefer !== 'boolean') throw new TypeError(`prefer must be a boolean, not ${prefer}`)
    ioctl(this.#epoll, EPIOCSPARAMS, Int32Array.of(usecs, budget | (prefer ? PREFER_BUSY_POLL : 0)))
  }

  /** close(2). What was registered stays open. */
  close(): void {
    this.#epoll.close()
  }

  [Symbol.dispose](): void {
    this.close()
  }

  #control(operation: number, target: AsFd, events: number, data: number | bigint | undefined): void {
    // The −1 of what is closed goes down as it is: the kernel's EBADF says more than a complaint about the data.
    const [low, high] = data === undefined ? [target.fd, 0] : split(data)
    epollControl(this.#epoll, operation, target, events, low, high)
  }
}

/** `struct epoll_params` as two words: the time; two bytes of budget, one of preference, and one that must be 0. */
const PREFER_BUSY_POLL = 1 << 16

function split(data: number | bigint): [low: number, high: number] {
  if (typeof data === 'bigint') {
    if (data < 0n || data >= 1n << 64n) throw new RangeError(`data must be a 64-bit unsigned number, not ${data}`)
    return [Number(data & 0xffff_ffffn), Number(data >> 32n)]
  }
  checkInteger(data, 0, Number.MAX_SAFE_INTEGER, 'data')
  return [data % 2 ** 32, Math.floor(data / 2 ** 32)]
}
