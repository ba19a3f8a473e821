/**
 * Accepting, with its limits.
 *
 * Every socket that accept4(2) returns is passed to the taker or closed. A watch for connections begins only while the taker
 * wants one and no delay is running, and ends at the latest with the first event after that. A delay runs exactly while
 * `#retry` is defined. After a success there is no delay to double, and the reserved descriptor is held, if descriptors allow
 * it.
 */
import { EPOLLHUP, EPOLLIN } from '../constants.js'
import { type ErrnoName, errno } from '../errno.js'
import { SystemError } from '../error.js'
import { closeQuietly, eventfd, type OwnedFd } from '../fd.js'
import type { Socket } from '../socket.js'
import type { Watch, WatchFunction } from '../watch.js'

/** Counts since the listener was made. */
export interface ListenerStatistics {
  /** Connections handed out. */
  readonly accepted: number
  /**
   * Connections that were closed at once: because descriptors ran out, so that their peers need not wait, or by a limit of
   * `wrap`.
   */
  readonly dropped: number
  /** Calls of accept4(2) that failed: limits, and connections that had failed before they were accepted. */
  readonly errors: number
}

/** The owner of an acceptor, which gets the connections. */
export interface Taker {
  /** Whether a connection is wanted now. */
  wants(): boolean
  /** Takes a connection over, and calls `succeeded` or `refuse` of the acceptor. */
  take(socket: Socket): void
  /** Accepting is put off, because of `error`. */
  delayed(error: SystemError): void
  /** An error has ended the accepting, and the sockets are closed. */
  ended(error: Error): void
}

/** Accepts connections from listening sockets, which it owns. */
export class Acceptor {
  /** The sockets, in the order in which they were given. */
  readonly sockets: readonly Socket[]
  readonly #sources: readonly Source[]
  readonly #budget: number
  readonly #watchFunction: WatchFunction
  readonly #taker: Taker
  readonly #statistics = { accepted: 0, dropped: 0, errors: 0 }
  #referenced = true
  #closed = false
  /** A spare descriptor, closed in order to accept when no other descriptor is left. */
  #reserve: OwnedFd | undefined
  /** The delay before the next try, in milliseconds; 0 while accepting works. */
  #delay = 0
  #retry: NodeJS.Timeout | undefined

  /** Throws as the `watch` function does; the caller then still owns the sockets. */
  constructor(sockets: readonly Socket[], budget: number, watchFunction: WatchFunction, taker: Taker) {
    this.sockets = sockets
    this.#budget = budget
    this.#watchFunction = watchFunction
    this.#taker = taker
    this.#sources = sockets.map((socket) => ({ socket, watch: undefined, credit: budget, certain: false, failures: 0 }))
    try {
      // Watch from the start: later, at the limit of descriptors, it may be too late.
      for (const source of this.#sources) source.watch = this.#watchFor(source, 0)
    } catch (reason) {
      this.#stopWatching()
      throw reason
    }
    this.#reserve = tryReserve()
  }

  /** Whether `close` was called, or an error has ended the accepting. */
  get closed(): boolean {
    return this.#closed
  }

  /** A copy of the counts. */
  get statistics(): ListenerStatistics {
    return { ...this.#statistics }
  }

  /** Watches for connections if one is wanted. */
  arm(): void {
    for (const source of this.#sources) {
      if (!this.#wanted) return
      if (source.watch === undefined) this.#startWatch(source, EPOLLIN)
      else this.#update(source.watch, EPOLLIN)
    }
  }

  /** Watches in the caller's async context from now on, for connections if one is wanted. */
  restart(): void {
    this.#stopWatching()
    for (const source of this.#sources) this.#startWatch(source, this.#wanted ? EPOLLIN : 0)
  }

  /** Accepts at once, and watches for connections if one is still wanted. */
  accept(): void {
    for (const source of this.#sources) {
      source.certain = false
      this.#accept(source)
    }
    this.arm()
  }

  /** The taker has taken a connection over. */
  succeeded(): void {
    if (!this.#closed) {
      this.#delay = 0
      this.#reserve ??= tryReserve()
    }
    this.#statistics.accepted++
  }

  /**
   * The taker couldn't take a connection over, and has closed it. Accepting is put off if that was because of a limit, and
   * otherwise ends.
   */
  refuse(error: unknown): void {
    if (this.#closed) {
      // The taker has closed the acceptor meanwhile, and there is nothing left to end with the error.
      if (!isLimit(error)) throw error
    } else if (isLimit(error)) {
      this.#statistics.dropped++
      this.#backOff(error)
    } else {
      this.#end(error as Error)
    }
  }

  /** Keeps the process alive while connections are waited for. This is the default. */
  ref(): void {
    this.#referenced = true
    for (const { watch } of this.#sources) watch?.ref()
    this.#retry?.ref()
  }

  /** Lets the process end. */
  unref(): void {
    this.#referenced = false
    for (const { watch } of this.#sources) watch?.unref()
    this.#retry?.unref()
  }

  /** close(2). A second call does nothing. */
  close(failure?: Error): void {
    if (this.#closed) return
    this.#closed = true
    clearTimeout(this.#retry)
    this.#stopWatching()
    for (const { socket } of this.#sources) closeQuietly(socket, failure)
    closeQuietly(this.#reserve)
  }

  get #wanted(): boolean {
    return !this.#closed && this.#retry === undefined && this.#taker.wants()
  }

  #end(failure: Error): void {
    if (this.#closed) return
    this.close(failure)
    this.#taker.ended(failure)
  }

  #update(watch: Watch, events: number): void {
    try {
      watch.modify(events)
    } catch (error) {
      this.#notWatched(error)
    }
  }

  #startWatch(source: Source, events: number): void {
    if (this.#closed) return
    try {
      source.watch = this.#watchFor(source, events)
      if (!this.#referenced) source.watch.unref()
    } catch (error) {
      this.#notWatched(error)
    }
  }

  /** Handles an error of a watch: EBADF if other code has closed the socket, or a limit of epoll. */
  #notWatched(error: unknown): void {
    if (!isLimit(error)) this.#end(error as Error)
    // Otherwise nothing is to be watched, or the next try is near.
    else if (this.#wanted) this.#backOff(error)
  }

  #watchFor(source: Source, events: number): Watch {
    const ready = (happened: number) => this.#ready(source, happened)
    return this.#watchFunction(source.socket, events, ready, { ended: this.#lost })
  }

  #stopWatching(): void {
    for (const source of this.#sources) {
      source.watch?.stop()
      source.watch = undefined
    }
  }

  /** Other code has closed a socket. */
  readonly #lost = (): void => {
    this.#end(new SystemError(errno.EBADF, 'epoll_wait', 'closed while the listener was open'))
  }

  #ready(source: Source, events: number): void {
    source.credit = this.#budget
    source.certain = true
    if (this.#wanted) this.#accept(source)
    else this.#rest(source, events)
  }

  /** Stops watching while no connection is wanted. EPOLLHUP, after shutdown(2), can't be masked. */
  #rest(source: Source, events: number): void {
    if ((events & EPOLLHUP) === 0) {
      if (source.watch !== undefined) this.#update(source.watch, 0)
    } else {
      source.watch?.stop()
      source.watch = undefined
    }
  }

  #accept(source: Source): void {
    while (this.#wanted && source.credit > 0) {
      source.credit--
      let socket: Socket | null
      try {
        socket = source.socket.accept()
      } catch (error) {
        if (this.#survive(source, error as SystemError)) continue
        return
      }
      source.certain = false
      if (socket === null) return
      source.failures = 0
      this.#taker.take(socket)
    }
  }

  /** Handles an error of accept4(2). Returns whether the next connection may be tried at once. */
  #survive(source: Source, error: SystemError): boolean {
    if (limits.has(error.code) && !source.certain) return false
    this.#statistics.errors++
    if (connectionErrors.has(error.code)) {
      // If every connection of a turn fails, as with a filter that refuses all, the next try is not made at once.
      source.failures++
      if (source.failures < this.#budget) return true
    }
    source.failures = 0
    if (listenerErrors.has(error.code)) this.#end(error)
    else this.#backOff(error)
    return false
  }

  #backOff(error: SystemError): void {
    // Only from the second try on: a shortage of 5 ms should not cost a connection.
    if (this.#delay > 0 && (error.code === 'EMFILE' || error.code === 'ENFILE')) this.#drop()
    this.#delay = Math.min(Math.max(2 * this.#delay, FIRST_DELAY), LONGEST_DELAY)
    this.#retry = setTimeout(() => {
      this.#retry = undefined
      this.arm()
    }, this.#delay)
    if (!this.#referenced) this.#retry.unref()
    try {
      this.#taker.delayed(error)
    } catch (thrown) {
      // An uncaught exception; the caller that waits for a connection does not get it.
      process.nextTick(() => {
        throw thrown
      })
    }
  }

  /** Accepts waiting connections with the reserved descriptor, and closes them: better for the peer than to hear nothing. */
  #drop(): void {
    closeQuietly(this.#reserve)
    try {
      for (const { socket } of this.#sources) this.#dropFrom(socket)
    } catch {
      // Another thread has taken the descriptor, or memory is missing as well: the next try is made after the delay.
    }
    this.#reserve = tryReserve()
  }

  #dropFrom(listening: Socket): void {
    for (let left = this.#budget; left > 0; left--) {
      const socket = listening.accept()
      if (socket === null) return
      closeQuietly(socket)
      this.#statistics.dropped++
    }
  }
}

/** One of the listener's sockets. */
interface Source {
  readonly socket: Socket
  watch: Watch | undefined
  /** The number of connections that may still be accepted in this turn of the loop. */
  credit: number
  /** Whether the kernel has said that a connection waits: at a limit accept4(2) fails even if none does. */
  certain: boolean
  /** Consecutive connections that had failed before they could be accepted. */
  failures: number
}

/** The shortest delay before another try, in **milliseconds**. */
const FIRST_DELAY = 5
const LONGEST_DELAY = 1000

/** Limits that may be gone at a later try. ENOSPC comes from epoll, for `fs.epoll.max_user_watches`. */
const limits: ReadonlySet<string> = new Set<ErrnoName>(['EMFILE', 'ENFILE', 'ENOBUFS', 'ENOMEM', 'ENOSPC'])

function isLimit(error: unknown): error is SystemError {
  return error instanceof SystemError && limits.has(error.code)
}

/** The listening socket is gone, or is no listening socket: a later try would fail as well. */
const listenerErrors: ReadonlySet<string> = new Set<ErrnoName>(['EBADF', 'EINVAL', 'ENOTSOCK', 'EFAULT'])

/**
 * That connection is gone; the next one may be good. Linux passes the network errors that were pending on it, which
 * accept(2) says to treat like EAGAIN; EPERM comes from a firewall.
 */
const connectionErrors: ReadonlySet<string> = new Set<ErrnoName>([
  'ECONNABORTED',
  'ECONNRESET',
  'EHOSTDOWN',
  'EHOSTUNREACH',
  'ENETDOWN',
  'ENETUNREACH',
  'ENONET',
  'ENOPROTOOPT',
  'ENOTSUP',
  'EPERM',
  'EPROTO',
  'ETIMEDOUT',
])

function tryReserve(): OwnedFd | undefined {
  try {
    return eventfd()
  } catch {
    return undefined
  }
}
