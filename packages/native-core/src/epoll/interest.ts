import { EPOLL_CTL_ADD, EPOLL_CTL_DEL, EPOLL_CTL_MOD, EPOLLEXCLUSIVE } from '../constants.js'
import { errno } from '../errno.js'
import { fail } from '../error.js'
import { closeQuietly, type OwnedFd, onRelease } from '../fd.js'
import { native } from '../native.js'
import { EPOLL_EVENT_WORDS, epollCreate } from './epoll.js'
import { type Attachment, attach } from './loop.js'

/** A descriptor in an interest list. The list sets the fields. */
export interface Interest {
  /** −1 once its owner has closed or released it: from then on the number may be another descriptor's. */
  fd: number
  /** Distinguishes the events of this descriptor from those of an earlier one that had its number. */
  generation: number
  /** The events that the kernel was told to wait for. */
  armed: number
  /** Called with the events. Must not throw: later events of the batch would be lost. */
  deliver(events: number): void
  /** Called when it has left the list: the descriptor was closed or released, or the list was closed. Must not throw. */
  lost(): void
}

/**
 * The interest list of one epoll instance on Node's loop. It keeps the rules that epoll(7) leaves to the program:
 *
 * - A descriptor is in the list once. It leaves the list before its owner closes it: otherwise a duplicate would keep its
 *   file in the list, where it could no longer be removed and would be reported forever (epoll(7), question 6).
 * - If other code has closed a descriptor nevertheless, a new epoll instance replaces the old one.
 * - Events carry number and generation, so that none is delivered to a later descriptor of the same number.
 * - The epoll instance is open only while something is in the list.
 */
export class InterestList {
  readonly #words: Uint32Array
  readonly #ready: (count: number) => void
  /** Indexed by descriptor. */
  readonly #interests: (Interest | undefined)[] = []
  #instance: Instance | undefined
  #size = 0
  #generation = 0
  #references = 0
  #leads = false
  #idle = false
  #retry: NodeJS.Timeout | undefined
  #closed = false
  #rebuilding = false

  /** `ready` is called when events have come, at most `capacity` of them, and must call `deliver`. */
  constructor(capacity: number, ready: (count: number) => void) {
    this.#words = new Uint32Array(capacity * EPOLL_EVENT_WORDS)
    this.#ready = ready
  }

  /** The number of descriptors in the list. */
  get size(): number {
    return this.#size
  }

  /** The interest of a descriptor, if it is in the list. */
  at(fd: number): Interest | undefined {
    return this.#interests[fd]
  }

  /** Whether the interest is in the list. */
  holds(interest: Interest): boolean {
    return this.#interests[interest.fd] === interest
  }

  /** @throws SystemError `EEXIST`, `EPERM`, `EBADF`, `ELOOP`, `ENOSPC`, `ENOMEM`; without an instance also `EMFILE`, `ENFILE` */
  add(interest: Interest, events: number): void {
    if (this.#closed) throw fail(-errno.EBADF, 'epoll_ctl', '(the reactor is closed)')
    this.#instance ??= this.#open()
    interest.generation = this.#generation = (this.#generation + 1) >>> 0
    interest.armed = events
    const result = this.#control(EPOLL_CTL_ADD, interest)
    if (result < 0) {
      this.#closeWhenIdle()
      throw fail(result, 'epoll_ctl')
    }
    const former = this.#interests[interest.fd]
    this.#interests[interest.fd] = interest
    this.#size++
    // Other code has closed that descriptor, and this is a new one of the same number. A duplicate may have kept the old
    // file in the kernel's list.
    if (former !== undefined) {
      this.#lose(former)
      this.#rebuild()
    }
  }

  /**
   * Changes the events. An event that is already pending is reported again. EPOLL_CTL_MOD is refused for EPOLLEXCLUSIVE
   * (epoll_ctl(2)): such an interest is removed and added, and is no longer in the list if that fails.
   * @throws SystemError `ENOENT` or `EBADF` if other code has closed the descriptor; `ENOMEM`
   */
  modify(interest: Interest, events: number): void {
    if (!this.holds(interest)) return
    if (((interest.armed | events) & EPOLLEXCLUSIVE) !== 0) {
      const result = this.#control(EPOLL_CTL_DEL, interest)
      if (result < 0) throw fail(result, 'epoll_ctl')
      this.#forget(interest)
      this.add(interest, events)
      return
    }
    const before = interest.armed
    interest.armed = events
    const result = this.#control(EPOLL_CTL_MOD, interest)
    if (result >= 0) return
    interest.armed = before
    throw fail(result, 'epoll_ctl')
  }

  /** Removes the interest. Never fails. Does nothing if it is not in the list. */
  remove(interest: Interest): void {
    if (!this.holds(interest)) return
    this.#forget(interest)
    if (this.#control(EPOLL_CTL_DEL, interest) < 0) this.#rebuild()
    this.#closeWhenIdle()
  }

  /** Delivers the first `count` events. */
  deliver(count: number): void {
    const words = this.#words
    for (let at = 0; at < count * EPOLL_EVENT_WORDS; at += EPOLL_EVENT_WORDS) {
      // An earlier handler of this batch may have ended the interest: then this is another one, or undefined.
      const interest = this.#interests[words[at + 1] as number]
      if (interest?.generation === words[at + 2]) interest?.deliver(words[at] as number)
    }
  }

  /** Adds to a count; Node's loop stays alive while it is not 0. */
  count(change: number): void {
    const before = this.#references
    this.#references += change
    if (before === 0) this.#instance?.attachment.ref()
    else if (this.#references === 0) this.#instance?.attachment.unref()
  }

  /** See `Attachment.lead`. */
  lead(on: boolean): void {
    this.#leads = on
    this.#instance?.attachment.lead(on)
  }

  /** Removes everything from the list; the descriptors stay open. */
  close(): void {
    this.#closed = true
    this.#shut()
    this.#size = 0
    for (const interest of this.#interests.splice(0)) interest?.lost()
  }

  #open(): Instance {
    const epoll = epollCreate()
    try {
      const attachment = attach(epoll, this.#words, (count) => this.#happen(count))
      if (this.#references > 0) attachment.ref()
      if (this.#leads) attachment.lead(true)
      return { epoll, attachment, forget: onRelease((fd) => this.#release(fd)) }
    } catch (error) {
      closeQuietly(epoll)
      throw error
    }
  }

  #happen(count: number): void {
    if (count >= 0) this.#ready(count)
    else this.#rebuild()
  }

  #release(fd: number): void {
    const interest = this.#interests[fd]
    if (interest === undefined) return
    if (this.#rebuilding) this.#forget(interest)
    else this.remove(interest)
    interest.fd = -1
    // Not synchronously: the owner is still closing the descriptor.
    process.nextTick(() => interest.lost())
  }

  #rebuild(): void {
    if (this.#instance === undefined) return
    const old = this.#instance
    // The new instance may get the number of a descriptor in the list that other code has closed.
    this.#rebuilding = true
    try {
      this.#instance = this.#open()
    } catch {
      // For example, no descriptor is left for it.
      this.#retry ??= setTimeout(() => {
        this.#retry = undefined
        this.#rebuild()
      }, RETRY_DELAY).unref()
      return
    } finally {
      this.#rebuilding = false
    }
    shut(old)
    for (const interest of [...this.#interests]) {
      if (interest !== undefined && this.#control(EPOLL_CTL_ADD, interest) < 0) {
        this.#forget(interest)
        process.nextTick(() => interest.lost())
      }
    }
    this.#closeWhenIdle()
  }

  #forget(interest: Interest): void {
    this.#interests[interest.fd] = undefined
    this.#size--
  }

  #lose(interest: Interest): void {
    this.#size--
    process.nextTick(() => interest.lost())
  }

  /**
   * Delays closing by less than a turn of the loop, so that a program that waits again and again doesn't reopen the
   * instance.
   */
  #closeWhenIdle(): void {
    if (this.#size > 0 || this.#idle) return
    this.#idle = true
    setImmediate(() => {
      this.#idle = false
      if (this.#size === 0) this.#shut()
    }).unref()
  }

  #shut(): void {
    clearTimeout(this.#retry)
    this.#retry = undefined
    if (this.#instance !== undefined) shut(this.#instance)
    this.#instance = undefined
  }

  #control(operation: number, { fd, armed, generation }: Interest): number {
    return native.epoll_ctl((this.#instance as Instance).epoll.fd, operation, fd, armed, fd, generation)
  }
}

interface Instance {
  readonly epoll: OwnedFd
  readonly attachment: Attachment
  readonly forget: () => void
}

/** The delay before rebuilding is tried again, in **milliseconds**. */
const RETRY_DELAY = 50

function shut({ epoll, attachment, forget }: Instance): void {
  forget()
  attachment.stop()
  closeQuietly(epoll)
}
