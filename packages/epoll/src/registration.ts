import { AsyncResource } from 'node:async_hooks'
import type { FdLike } from '@linux-sockets/native-core'
import { checkFlags, checkFunction, fdOf, type Interest, InterestList } from '@linux-sockets/native-core/internal'

/** The registration of a descriptor with a reactor, from `Reactor.register`. */
export interface Registration {
  /** Whether the registration keeps the process alive. */
  readonly referenced: boolean
  /**
   * Sets the events to wait for, edge-triggered only with `EPOLLET`. Events that are ready already are reported again.
   * @throws SystemError `ENOENT`, `EBADF` if other code has closed the descriptor
   * @throws TypeError, RangeError if `events` is not a valid mask
   */
  modify(events: number): void
  /** Calls the handler with `events` in the next turn, as if they came then. For a handler that has stopped at its budget. */
  again(events: number): void
  /** Keeps the process alive while the descriptor is registered. This is the default. */
  ref(): this
  /** Lets the process end although the descriptor is registered. */
  unref(): this
  /** Ends the registration. Its handler is not called again, not even for events that were already fetched. */
  stop(): void
  /** Called by `using`; ends the registration. */
  [Symbol.dispose](): void
}

/** The registrations of a reactor. */
export class RegistrationTable {
  readonly list: InterestList
  readonly #turn: (task: () => void) => void
  #again: Place[] = []

  /** `ready` is called when events have come, and must call `list.deliver`. `turn` runs a task that calls handlers. */
  constructor(ready: (count: number) => void, turn: (task: () => void) => void) {
    this.list = new InterestList(EVENTS_PER_TURN, ready)
    this.#turn = turn
  }

  add(
    target: FdLike,
    events: number,
    handler: (this: never, events: number) => void,
    ended: ((this: never) => void) | undefined,
    receiver: unknown,
  ): Place {
    const place = new Place(this, target, events, handler, ended, receiver)
    this.list.add(place, events)
    return place.ref()
  }

  deliverLater(place: Place): void {
    if (this.#again.push(place) === 1) setImmediate(() => this.#turn(() => this.#deliverAgain()))
  }

  #deliverAgain(): void {
    for (const place of this.#again.splice(0)) {
      const events = place.more
      place.more = 0
      if (this.list.holds(place)) place.deliver(events)
    }
  }
}

class Place extends AsyncResource implements Registration, Interest {
  fd: number
  generation = 0
  armed = 0
  /** Events to deliver in the next turn. */
  more = 0
  /** Referenced so that garbage collection does not close it while it is registered. */
  readonly target: FdLike
  readonly #table: RegistrationTable
  readonly #handler: (this: never, events: number) => void
  readonly #ended: ((this: never) => void) | undefined
  readonly #receiver: never
  #referenced = false

  constructor(
    table: RegistrationTable,
    target: FdLike,
    events: number,
    handler: (this: never, events: number) => void,
    ended: ((this: never) => void) | undefined,
    receiver: unknown,
  ) {
    const fd = fdOf(target, 'target')
    checkFlags(events, 'events')
    checkFunction(handler, 'handler')
    if (ended !== undefined) checkFunction(ended, 'ended')
    super('LinuxSocketsRegistration')
    this.fd = fd
    this.target = target
    this.#table = table
    this.#handler = handler
    this.#ended = ended
    this.#receiver = receiver as never
  }

  get referenced(): boolean {
    return this.#referenced
  }

  modify(events: number): void {
    checkFlags(events, 'events')
    this.#table.list.modify(this, events)
  }

  again(events: number): void {
    checkFlags(events, 'events')
    if (this.more === 0) this.#table.deliverLater(this)
    this.more |= events
  }

  ref(): this {
    if (!this.#referenced && this.#table.list.holds(this)) {
      this.#referenced = true
      this.#table.list.count(1)
    }
    return this
  }

  unref(): this {
    if (this.#referenced) {
      this.#referenced = false
      this.#table.list.count(-1)
    }
    return this
  }

  stop(): void {
    this.unref()
    this.#table.list.remove(this)
  }

  [Symbol.dispose](): void {
    this.stop()
  }

  /** An edge is reported only once, so an exception must not keep the remaining events from their handlers. */
  deliver(events: number): void {
    try {
      this.runInAsyncScope(this.#handler, this.#receiver, events)
    } catch (error) {
      throwLater(error)
    }
  }

  lost(): void {
    this.unref()
    const ended = this.#ended
    if (ended !== undefined) protect(() => this.runInAsyncScope(ended, this.#receiver))
  }
}

/** Calls `task`. An exception from it becomes an uncaught exception, so that the caller can finish its work. */
export function protect(task: () => void): void {
  try {
    task()
  } catch (error) {
    throwLater(error)
  }
}

function throwLater(error: unknown): void {
  queueMicrotask(() => {
    throw error
  })
}

const EVENTS_PER_TURN = 512
