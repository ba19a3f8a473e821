import {
  type AsFd,
  checkInteger,
  EPOLL_CTL_ADD,
  EPOLL_CTL_DEL,
  EPOLL_CTL_MOD,
  EPOLL_EVENT_WORDS,
  epollControl,
  epollCreate,
  epollWait,
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

function split(data: number | bigint): [low: number, high: number] {
  if (typeof data === 'bigint') {
    if (data < 0n || data >= 1n << 64n) throw new RangeError(`data must be a 64-bit unsigned number, not ${data}`)
    return [Number(data & 0xffff_ffffn), Number(data >> 32n)]
  }
  checkInteger(data, 0, Number.MAX_SAFE_INTEGER, 'data')
  return [data % 2 ** 32, Math.floor(data / 2 ** 32)]
}
