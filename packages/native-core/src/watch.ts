import { AsyncResource } from 'node:async_hooks'
import {
  EPOLL_CTL_ADD,
  EPOLL_CTL_DEL,
  EPOLL_CTL_MOD,
  EPOLLERR,
  EPOLLHUP,
  EPOLLIN,
  EPOLLOUT,
  EPOLLPRI,
  EPOLLRDHUP,
} from './constants.js'
import { EPOLL_EVENT_WORDS, epollCreate } from './epoll.js'
import { errno } from './errno.js'
import { fail, SystemError } from './error.js'
import { type AsFd, type OwnedFd, onRelease } from './fd.js'
import { type Attachment, attachEpoll } from './loop.js'
import { native } from './native.js'

/** A watch on a descriptor, from `watch`. */
export interface Watch extends Disposable {
  /** What is watched for. */
  readonly events: number
  /** Watches for something else; 0 rests, and still reports `EPOLLERR` and `EPOLLHUP`. */
  update(events: number): void
  /** Ends the watch: the callback is not called again, not even for events of the batch that is being handled. */
  stop(): void
  /** Keeps the process alive while the watch lasts. This is the default. */
  ref(): this
  /** Lets the process end although the watch lasts. */
  unref(): this
}

/** What else a watch tells. */
export interface WatchOptions {
  /**
   * Called once, soon after the descriptor's owner has closed or released it while it was watched, in the async context
   * of the caller of `watch`. Not called for `stop`.
   */
  readonly ended?: (() => void) | undefined
}

/** What `watch` is: a source of readiness. An event loop of one's own may offer another, to streams and listeners too. */
export type WatchFunction = (
  target: AsFd,
  events: number,
  callback: (events: number) => void,
  options?: WatchOptions,
) => Watch

/**
 * Calls `callback` from Node's event loop as long as the descriptor is ready (level-triggered) for any of `events`:
 * `EPOLLIN`, `EPOLLOUT`, `EPOLLPRI`, `EPOLLRDHUP`; `EPOLLERR` and `EPOLLHUP` are always reported.
 *
 *     using watching = watch(socket, EPOLLIN, () => drain(socket))
 *
 * One descriptor may have several watches. They all end when its owner closes it; a descriptor that others own must not
 * be closed before its watches are stopped. The callback runs in the async context of the caller of `watch`. What it
 * throws is an uncaught exception, and other watches are not harmed.
 *
 * All watches of a thread share one epoll descriptor, which is open while there are any.
 *
 * @throws SystemError `EPERM` for what is always ready, such as a regular file; `EBADF`
 */
export function watch(
  target: AsFd,
  events: number,
  callback: (events: number) => void,
  { ended }: WatchOptions = {},
): Watch {
  if (typeof callback !== 'function') throw new TypeError('callback must be a function')
  return new Watcher(target, events, callback, ended)
}

/** How long to wait: `{ signal: AbortSignal.timeout(5000) }`. */
export interface ReadyOptions {
  /** Gives up the waiting: the promise rejects with the signal's reason. */
  readonly signal?: AbortSignal | undefined
}

/**
 * Resolves when the descriptor has something to read, a connection to accept, an end or an error to report.
 * Rejects with `EBADF` when its owner closes it meanwhile.
 */
export function readable(target: AsFd, options?: ReadyOptions): Promise<void> {
  return ready(target, EPOLLIN | EPOLLRDHUP, options)
}

/** Resolves when the descriptor can be written to, is connected, or has an error to report. Rejects as `readable` does. */
export function writable(target: AsFd, options?: ReadyOptions): Promise<void> {
  return ready(target, EPOLLOUT, options)
}

async function ready(target: AsFd, events: number, { signal }: ReadyOptions = {}): Promise<void> {
  signal?.throwIfAborted()
  await new Promise<void>((resolve, reject) => {
    const settle = (finish: () => void) => {
      watcher.stop()
      signal?.removeEventListener('abort', abort)
      finish()
    }
    const abort = () => settle(() => reject(signal?.reason))
    const watcher = new Watcher(
      target,
      events,
      () => settle(resolve),
      () => settle(() => reject(new SystemError(errno.EBADF, 'epoll_wait', 'closed while waiting'))),
    )
    signal?.addEventListener('abort', abort)
  })
}

const WATCHABLE = EPOLLIN | EPOLLOUT | EPOLLPRI | EPOLLRDHUP
const ALWAYS = EPOLLERR | EPOLLHUP

class Watcher extends AsyncResource implements Watch {
  events: number
  /** Kept, so that it is not closed on garbage collection while it is watched. */
  readonly target: AsFd
  readonly #entry: Entry
  readonly #callback: (events: number) => void
  readonly #ended: (() => void) | undefined
  #stopped = false
  #referenced = false

  constructor(target: AsFd, events: number, callback: (events: number) => void, ended?: () => void) {
    checkEvents(events)
    super('LinuxSocketsWatch')
    this.events = events
    this.target = target
    this.#callback = callback
    this.#ended = ended
    this.#entry = loop().join(this)
    this.ref()
  }

  update(events: number): void {
    checkEvents(events)
    if (this.#stopped || events === this.events) return
    const before = this.events
    this.events = events
    const result = loop().arm(this.#entry)
    if (result < 0) {
      this.events = before
      throw fail(result, 'epoll_ctl')
    }
  }

  stop(): void {
    if (this.#stopped) return
    this.unref()
    this.#stopped = true
    loop().leave(this.#entry, this)
  }

  ref(): this {
    if (!this.#stopped && !this.#referenced) loop().count(1)
    this.#referenced = !this.#stopped
    return this
  }

  unref(): this {
    if (this.#referenced) loop().count(-1)
    this.#referenced = false
    return this
  }

  deliver(events: number): void {
    const wanted = events & (this.events | ALWAYS)
    if (wanted === 0 || this.#stopped) return
    try {
      this.runInAsyncScope(this.#callback, undefined, wanted)
    } catch (error) {
      // As Node's EventTarget does it: thrown here, it would keep the others of the batch from their events.
      process.nextTick(() => {
        throw error
      })
    }
  }

  /** The descriptor's owner closes it, or it turns out to have been closed. */
  end(): void {
    this.stop()
    const ended = this.#ended
    // Not from within the owner's close, which is in the midst of its work.
    if (ended !== undefined) process.nextTick(() => this.runInAsyncScope(ended))
  }

  [Symbol.dispose](): void {
    this.stop()
  }
}

function checkEvents(events: number): void {
  if (!Number.isInteger(events)) throw new TypeError(`events must be a mask of EPOLL… flags, not ${events}`)
  if ((events & ~WATCHABLE) !== 0) {
    throw new RangeError('events must be among EPOLLIN, EPOLLOUT, EPOLLPRI and EPOLLRDHUP')
  }
}

/** A watched descriptor. */
interface Entry {
  readonly fd: number
  /** Comes back with the kernel's events; never used again, so a reused descriptor never gets the old one's events. */
  readonly tag: number
  watchers: readonly Watcher[]
  /** What the kernel was told to watch for. */
  armed: number
}

/** All watches of one thread: an epoll instance of our own, which Node's loop polls. */
class Loop {
  #epoll: OwnedFd
  #attachment: Attachment
  readonly #byTag = new Map<number, Entry>()
  readonly #byFd = new Map<number, Entry>()
  readonly #events = new Uint32Array(256 * EPOLL_EVENT_WORDS)
  #lastTag = 0
  #references = 0
  #closing = false

  constructor() {
    ;[this.#epoll, this.#attachment] = this.#open()
  }

  join(watcher: Watcher): Entry {
    const { fd } = watcher.target
    const known = this.#byFd.get(fd)
    if (known !== undefined) {
      const before = known.watchers
      known.watchers = [...before, watcher]
      const result = this.arm(known, true)
      if (result >= 0) return known
      known.watchers = before
      // The kernel forgot it, so that descriptor was closed by someone else and this is a new one of the same number.
      if (result !== -errno.ENOENT) throw fail(result, 'epoll_ctl')
      this.#endAll(known)
    }
    const entry: Entry = { fd, tag: this.#nextTag(), watchers: [watcher], armed: watcher.events }
    const result = this.#control(EPOLL_CTL_ADD, entry)
    if (result < 0) {
      this.#closeWhenIdle()
      throw fail(result, 'epoll_ctl')
    }
    this.#byTag.set(entry.tag, entry)
    this.#byFd.set(fd, entry)
    return entry
  }

  leave(entry: Entry, watcher: Watcher): void {
    // A new array each time: dispatch may be walking over the old one.
    entry.watchers = entry.watchers.filter((other) => other !== watcher)
    if (entry.watchers.length > 0) this.arm(entry)
    else this.#forget(entry)
  }

  /** Tells the kernel what the entry's watchers want together. Returns −errno where it refuses. */
  arm(entry: Entry, always = false): number {
    const wanted = entry.watchers.reduce((events, watcher) => events | watcher.events, 0)
    if (wanted === entry.armed && !always) return 0
    const before = entry.armed
    entry.armed = wanted
    const result = this.#control(EPOLL_CTL_MOD, entry)
    if (result < 0) entry.armed = before
    return result
  }

  /** Node's loop runs on while anything is referenced. */
  count(change: number): void {
    const before = this.#references
    this.#references += change
    if (before === 0) this.#attachment.ref()
    else if (this.#references === 0) this.#attachment.unref()
  }

  readonly #dispatch = (count: number): void => {
    const events = this.#events
    for (let at = 0; at < count * EPOLL_EVENT_WORDS; at += EPOLL_EVENT_WORDS) {
      // Unknown where an earlier callback of this batch stopped the watch.
      const entry = this.#byTag.get(events[at + 1] as number)
      if (entry !== undefined) for (const watcher of entry.watchers) watcher.deliver(events[at] as number)
    }
  }

  /** Ends all watches on a descriptor. */
  release(fd: number): void {
    this.#endAll(this.#byFd.get(fd))
  }

  #endAll(entry: Entry | undefined): void {
    for (const watcher of entry?.watchers ?? []) watcher.end()
  }

  #forget(entry: Entry): void {
    // A rebuild has dropped it already.
    if (!this.#byTag.delete(entry.tag)) return
    this.#byFd.delete(entry.fd)
    if (this.#control(EPOLL_CTL_DEL, entry) < 0) this.#rebuild()
    this.#closeWhenIdle()
  }

  /** Whoever waits again and again leaves nothing to watch in between, but not for a whole turn. */
  #closeWhenIdle(): void {
    if (this.#byFd.size > 0 || this.#closing) return
    this.#closing = true
    setImmediate(() => {
      this.#closing = false
      if (this.#byFd.size > 0) return
      threadLoop = undefined
      this.#attachment.detach()
      this.#epoll.close()
    }).unref()
  }

  /**
   * A descriptor that was closed behind our back can't be removed, and where a duplicate keeps its file open the kernel
   * goes on reporting it: epoll(7), question 6. Only a new epoll instance gets rid of it.
   */
  #rebuild(): void {
    const [old, oldAttachment] = [this.#epoll, this.#attachment]
    ;[this.#epoll, this.#attachment] = this.#open()
    if (this.#references > 0) this.#attachment.ref()
    const lost = [...this.#byTag.values()].filter((entry) => this.#control(EPOLL_CTL_ADD, entry) < 0)
    oldAttachment.detach()
    old.close()
    // All are dropped before any ends, since the end of one that can't be removed would come here again.
    for (const { tag, fd } of lost) {
      this.#byTag.delete(tag)
      this.#byFd.delete(fd)
    }
    for (const entry of lost) this.#endAll(entry)
  }

  #open(): [OwnedFd, Attachment] {
    const epoll = epollCreate()
    try {
      return [epoll, attachEpoll(epoll, this.#events, this.#dispatch)]
    } catch (error) {
      epoll.close()
      throw error
    }
  }

  #control(operation: number, { fd, armed, tag }: Entry): number {
    return native.epoll_ctl(this.#epoll.fd, operation, fd, armed, tag, 0)
  }

  #nextTag(): number {
    do this.#lastTag = (this.#lastTag + 1) >>> 0
    while (this.#byTag.has(this.#lastTag))
    return this.#lastTag
  }
}

let threadLoop: Loop | undefined
onRelease((fd) => threadLoop?.release(fd))

function loop(): Loop {
  threadLoop ??= new Loop()
  return threadLoop
}
