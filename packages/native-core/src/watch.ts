import { AsyncResource } from 'node:async_hooks'
import { onAbort } from './abort.js'
import { checkFlags, checkFunction, checkInteger, checkOptions, checkSignal, type NamesOf } from './argument.js'
import { EPOLLERR, EPOLLEXCLUSIVE, EPOLLHUP, EPOLLIN, EPOLLOUT, EPOLLPRI, EPOLLRDHUP } from './constants.js'
import { type Interest, InterestList } from './epoll/interest.js'
import { errno } from './errno.js'
import { SystemError } from './error.js'
import { type FdLike, fdOf } from './fd.js'

/** A watch on a descriptor, from `watch`. */
export interface Watch extends Disposable {
  /** The events that the watch waits for. */
  readonly events: number
  /** Changes the events. With 0 only `EPOLLERR` and `EPOLLHUP` are reported. */
  modify(events: number): void
  /** Ends the watch: the callback is not called again, not even for events of the batch that is being handled. */
  stop(): void
  /** Keeps the process alive while the watch lasts. This is the default. */
  ref(): this
  /** Lets the process end although the watch lasts. */
  unref(): this
}

/** Options of `watch`. */
export interface WatchOptions {
  /**
   * Called once, soon after the descriptor's owner has closed or released it while it was watched. It runs in the async
   * context of the caller of `watch`. `stop` doesn't call it.
   */
  readonly ended?: (() => void) | undefined
}

/** The type of `watch`, a source of readiness events. Another event loop may offer its own; streams and listeners take it. */
export type WatchFunction = (
  target: FdLike,
  events: number,
  callback: (events: number) => void,
  options?: WatchOptions,
) => Watch

/**
 * Calls `callback` from Node's event loop as long as the descriptor is ready (level-triggered) for any of `events`:
 * `EPOLLIN`, `EPOLLOUT`, `EPOLLPRI`, `EPOLLRDHUP`; `EPOLLERR` and `EPOLLHUP` are always reported.
 *
 *     const watching = watch(socket, EPOLLIN, () => drain(socket))
 *
 * A descriptor may have several watches. They all end when its owner closes it. A descriptor that other code owns must not
 * be closed before its watches are stopped. The callback runs in the async context of the caller of `watch`. An exception
 * that it throws is uncaught, and doesn't affect other watches.
 *
 * All watches of a thread share one epoll descriptor, which is open while there is any watch.
 *
 * @throws SystemError `EPERM` for a file that is always ready, such as a regular file; `EBADF`; `ELOOP` for an epoll
 * instance in a chain of more than five; `ENOSPC` (fs.epoll.max_user_watches), `ENOMEM`; for the first watch also `EMFILE`,
 * `ENFILE`
 * @throws TypeError, RangeError for invalid arguments
 */
export function watch(
  target: FdLike,
  events: number,
  callback: (events: number) => void,
  options: WatchOptions = {},
): Watch {
  return new Watcher(threadList, 0, target, events, callback, options)
}

/** Returns a `watch` on another interest list; `flags` may be `EPOLLEXCLUSIVE`. For the packages of `@linux-sockets`. */
export function watchOn(list: InterestList, flags = 0): WatchFunction {
  return (target, events, callback, options = {}) => new Watcher(list, flags, target, events, callback, options)
}

/** Options of `readable`, `writable` and `ready`. */
export interface ReadyOptions {
  /** Ends the wait: the promise rejects with the signal's reason. */
  readonly signal?: AbortSignal | undefined
  /** **Milliseconds**, 1 … 2³¹ − 1, after which the promise rejects with `ETIMEDOUT`. Default: no timeout. */
  readonly timeout?: number | undefined
}

/**
 * Resolves when the descriptor has something to read, a connection to accept, an end or an error to report.
 * @throws SystemError as `ready` does
 */
export async function readable(target: FdLike, options?: ReadyOptions): Promise<void> {
  await ready(target, EPOLLIN | EPOLLRDHUP, options)
}

/**
 * Resolves when the descriptor can be written to, is connected, or has an error to report.
 *
 * An unconnected Unix datagram socket is always writable, even while `sendTo` returns null because the receiver's queue is
 * full: a loop that waits for it spins. `DatagramChannel` retries by a timer in that case.
 * @throws SystemError as `ready` does
 */
export async function writable(target: FdLike, options?: ReadyOptions): Promise<void> {
  await ready(target, EPOLLOUT, options)
}

/**
 * Resolves with the events that the descriptor is ready for, as soon as they include any of `events`, `EPOLLERR` or
 * `EPOLLHUP`. `events` is `EPOLLIN`, `EPOLLOUT`, `EPOLLPRI`, `EPOLLRDHUP`, or several of them.
 *
 *     await ready(socket, EPOLLPRI, { timeout: 1000 }) // urgent data
 *
 * @throws SystemError `ETIMEDOUT` after `timeout`; `EBADF`, also if the descriptor's owner closes it during the wait;
 * `EPERM` for a file that is always ready, such as a regular file; `ELOOP` for an epoll instance in a chain of more than
 * five; `ENOSPC`, `ENOMEM`
 * @throws TypeError, RangeError for invalid arguments
 * @see {@link https://man7.org/linux/man-pages/man2/epoll_ctl.2.html epoll_ctl(2)}
 */
export async function ready(target: FdLike, events: number, options: ReadyOptions = {}): Promise<number> {
  checkReadyOptions(options)
  const { signal, timeout } = options
  signal?.throwIfAborted()
  return await new Promise((resolve, reject) => {
    const settle = (finish: () => void) => {
      clearTimeout(timer)
      ignore?.()
      watcher.stop()
      finish()
    }
    const fail = (code: number, detail: string) =>
      settle(() => reject(new SystemError(code, 'epoll_wait', `(${detail})`)))
    const watcher = new Watcher(threadList, 0, target, events, (came) => settle(() => resolve(came)), {
      ended: () => fail(errno.EBADF, 'closed while waiting'),
    })
    const ignore = signal && onAbort(signal, () => settle(() => reject(signal.reason)))
    const timer =
      timeout === undefined ? undefined : setTimeout(fail, timeout, errno.ETIMEDOUT, `timeout, ${timeout} ms`)
  })
}

/** @throws TypeError, RangeError */
export function checkReadyOptions(options: ReadyOptions): void {
  checkOptions(options, 'options', READY_OPTIONS)
  const { signal, timeout } = options
  checkSignal(signal)
  if (timeout !== undefined) checkInteger(timeout, 1, 0x7fff_ffff, 'timeout')
}

/** @throws TypeError */
export function checkWatchOptions(options: WatchOptions): void {
  checkOptions(options, 'options', WATCH_OPTIONS)
  if (options.ended !== undefined) checkFunction(options.ended, 'ended')
}

const READY_OPTIONS: NamesOf<ReadyOptions> = { signal: true, timeout: true }
const WATCH_OPTIONS: NamesOf<WatchOptions> = { ended: true }

const WATCHABLE = EPOLLIN | EPOLLOUT | EPOLLPRI | EPOLLRDHUP
const ALWAYS = EPOLLERR | EPOLLHUP

class Watcher extends AsyncResource implements Watch {
  events: number
  /** EPOLLEXCLUSIVE, or 0. */
  readonly flags: number
  /** Referenced so that the descriptor is not collected, and so closed, while it is watched. */
  readonly target: FdLike
  readonly #list: InterestList
  readonly #watched: Watched
  readonly #callback: (events: number) => void
  readonly #ended: (() => void) | undefined
  #stopped = false
  #referenced = false

  constructor(
    list: InterestList,
    flags: number,
    target: FdLike,
    events: number,
    callback: (events: number) => void,
    options: WatchOptions,
  ) {
    const fd = fdOf(target, 'target')
    checkEvents(events)
    checkFunction(callback, 'callback')
    checkWatchOptions(options)
    super('LinuxSocketsWatch')
    this.events = events
    this.flags = flags
    this.target = target
    this.#list = list
    this.#callback = callback
    this.#ended = options.ended
    this.#watched = this.#join(fd)
    this.ref()
  }

  modify(events: number): void {
    checkEvents(events)
    if (this.#stopped || this.#watched.fd < 0 || events === this.events) return
    const before = this.events
    this.events = events
    try {
      this.#arm()
    } catch (error) {
      // If the interest is no longer in the list, the next change is to try again.
      this.events = this.#list.holds(this.#watched) ? before : 0
      throw error
    }
  }

  stop(): void {
    if (this.#stopped) return
    this.unref()
    this.#stopped = true
    const watched = this.#watched
    // A new array each time: `deliver` may be walking over the old one.
    watched.watchers = watched.watchers.filter((other) => other !== this)
    if (watched.watchers.length === 0) {
      this.#list.remove(watched)
      return
    }
    try {
      this.#arm()
    } catch {
      // Other code has closed the descriptor; the other watches learn that with their next change.
    }
  }

  ref(): this {
    if (!this.#stopped && !this.#referenced) this.#list.count(1)
    this.#referenced = !this.#stopped
    return this
  }

  unref(): this {
    if (this.#referenced) this.#list.count(-1)
    this.#referenced = false
    return this
  }

  deliver(events: number): void {
    const wanted = events & (this.events | ALWAYS)
    if (wanted === 0 || this.#stopped) return
    try {
      this.runInAsyncScope(this.#callback, undefined, wanted)
    } catch (error) {
      // Like Node's EventTarget: an exception thrown here would keep the rest of the batch from being handled.
      process.nextTick(() => {
        throw error
      })
    }
  }

  end(): void {
    if (this.#stopped) return
    this.stop()
    const ended = this.#ended
    if (ended !== undefined) process.nextTick(() => this.runInAsyncScope(ended))
  }

  [Symbol.dispose](): void {
    this.stop()
  }

  #join(fd: number): Watched {
    const known = this.#list.at(fd)
    if (known instanceof Watched) {
      const before = known.watchers
      known.watchers = [...before, this]
      try {
        // Also if nothing changes: other code may have closed the descriptor that had this number.
        this.#list.modify(known, known.wanted())
        return known
      } catch (error) {
        known.watchers = before
        if ((error as SystemError).code !== 'ENOENT') throw error
      }
    }
    const watched = new Watched(fd, this)
    this.#list.add(watched, watched.wanted())
    return watched
  }

  #arm(): void {
    const watched = this.#watched
    const wanted = watched.wanted()
    if (!this.#list.holds(watched)) {
      // The list did not see whether the owner has closed the descriptor, and the number may be another one's by now.
      watched.fd = fdOf(this.target, 'target')
      this.#list.add(watched, wanted)
    } else if (wanted !== watched.armed) this.#list.modify(watched, wanted)
  }
}

function checkEvents(events: number): void {
  checkFlags(events, 'events')
  if ((events & ~WATCHABLE) !== 0) {
    throw new RangeError('events must be among EPOLLIN, EPOLLOUT, EPOLLPRI and EPOLLRDHUP')
  }
}

/** A watched descriptor, with one watch or several. */
class Watched implements Interest {
  fd: number
  generation = 0
  armed = 0
  watchers: readonly Watcher[]

  constructor(fd: number, watcher: Watcher) {
    this.fd = fd
    this.watchers = [watcher]
  }

  /**
   * The events that the watches want together. EPOLLEXCLUSIVE only if all of them have it and the kernel accepts it:
   * epoll_ctl(2).
   */
  wanted(): number {
    let events = 0
    let flags = EPOLLEXCLUSIVE
    for (const watcher of this.watchers) {
      events |= watcher.events
      flags &= watcher.flags
    }
    return (events & ~(EPOLLIN | EPOLLOUT)) === 0 ? events | flags : events
  }

  deliver(events: number): void {
    for (const watcher of this.watchers) watcher.deliver(events)
  }

  lost(): void {
    for (const watcher of this.watchers) watcher.end()
  }
}

/** The interest list of all watches of this thread. */
const threadList: InterestList = new InterestList(256, (count) => threadList.deliver(count))
