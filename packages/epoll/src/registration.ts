import { AsyncResource } from 'node:async_hooks'
import {
  type AsFd,
  type Attachment,
  EPOLL_CTL_ADD,
  EPOLL_CTL_DEL,
  EPOLL_CTL_MOD,
  epollControl,
} from '@linux-sockets/native-core'

/** A descriptor's place in a reactor, from `Reactor.register`. */
export interface Registration {
  /** Whether it keeps the process alive. */
  readonly referenced: boolean
  /** Other events, edge-triggered or not as they say. What is ready already is reported again. */
  modify(events: number): void
  /** Calls the handler with `events` in the next turn, as if they had come then: for what a budget left over. */
  again(events: number): void
  /** Keeps the process alive while it lasts. This is the default. */
  ref(): this
  /** Lets the process end although it lasts. */
  unref(): this
  /** Ends it, before the descriptor is closed. Its handler is not called again, not even for events that were already fetched. */
  close(): void
}

/** The registrations of one epoll instance. */
export class RegistrationTable {
  readonly #epoll: AsFd
  readonly #attachment: Attachment
  readonly #turn: (task: () => void) => void
  readonly #places: (Place | undefined)[] = []
  readonly #free: number[] = []
  #again: Place[] = []
  #generation = 0
  #size = 0
  /** Registrations that keep the process alive. */
  #references = 0
  #closed = false

  /** `turn` calls what calls handlers in a turn of its own. */
  constructor(epoll: AsFd, attachment: Attachment, turn: (task: () => void) => void) {
    this.#epoll = epoll
    this.#attachment = attachment
    this.#turn = turn
  }

  get size(): number {
    return this.#size
  }

  add(
    target: AsFd,
    events: number,
    handler: (this: never, events: number) => void,
    ended: ((this: never) => void) | undefined,
    receiver: unknown,
  ): Place {
    const slot = this.#free.pop() ?? this.#places.length
    this.#generation = (this.#generation + 1) >>> 0
    const place = new Place(this, target, slot, this.#generation, handler, ended, receiver)
    try {
      this.#control(EPOLL_CTL_ADD, place, events)
    } catch (error) {
      this.#free.push(slot)
      throw error
    }
    this.#places[slot] = place
    this.#size++
    return place.ref()
  }

  modify(place: Place, events: number): void {
    // While the places end, one after the other, their handlers may still write and resume.
    if (!this.#closed) this.#control(EPOLL_CTL_MOD, place, events)
  }

  drop(place: Place): void {
    if (!this.holds(place)) return
    this.#places[place.slot] = undefined
    this.#free.push(place.slot)
    this.#size--
    place.unref()
    // Closed already by its owner: the kernel has forgotten it.
    if (place.target.fd >= 0) epollControl(this.#epoll, EPOLL_CTL_DEL, place.target)
  }

  /** Whether a registration lasts. */
  holds(place: Place): boolean {
    return this.#places[place.slot] === place
  }

  /** Node's loop runs on while anything is referenced. */
  count(change: number): void {
    const before = this.#references
    this.#references += change
    if (this.#closed) return
    if (before === 0) this.#attachment.ref()
    else if (this.#references === 0) this.#attachment.unref()
  }

  /** The events of one registration, unless they are those of a former one in its place. */
  deliver(slot: number, generation: number, events: number): void {
    const place = this.#places[slot]
    if (place?.generation === generation) place.deliver(events)
  }

  deliverLater(place: Place): void {
    if (this.#again.push(place) === 1) setImmediate(() => this.#turn(() => this.#deliverAgain()))
  }

  close(): void {
    this.#closed = true
    const places = this.#places.splice(0)
    this.#size = 0
    for (const place of places) if (place !== undefined) protect(() => place.end())
  }

  #control(operation: number, { target, slot, generation }: Place, events: number): void {
    epollControl(this.#epoll, operation, target, events, slot, generation)
  }

  #deliverAgain(): void {
    for (const place of this.#again.splice(0)) {
      const events = place.more
      place.more = 0
      if (this.holds(place)) place.deliver(events)
    }
  }
}

export class Place extends AsyncResource implements Registration {
  readonly target: AsFd
  readonly slot: number
  readonly generation: number
  /** Events to deliver in the next turn. */
  more = 0
  readonly #table: RegistrationTable
  readonly #handler: (this: never, events: number) => void
  readonly #ended: ((this: never) => void) | undefined
  readonly #receiver: never
  #referenced = false

  constructor(
    table: RegistrationTable,
    target: AsFd,
    slot: number,
    generation: number,
    handler: (this: never, events: number) => void,
    ended: ((this: never) => void) | undefined,
    receiver: unknown,
  ) {
    super('LinuxSocketsRegistration')
    this.target = target
    this.slot = slot
    this.generation = generation
    this.#table = table
    this.#handler = handler
    this.#ended = ended
    this.#receiver = receiver as never
  }

  get referenced(): boolean {
    return this.#referenced
  }

  modify(events: number): void {
    this.#table.modify(this, events)
  }

  again(events: number): void {
    if (this.more === 0) this.#table.deliverLater(this)
    this.more |= events
  }

  ref(): this {
    if (!this.#referenced && this.#table.holds(this)) {
      this.#referenced = true
      this.#table.count(1)
    }
    return this
  }

  unref(): this {
    if (this.#referenced) {
      this.#referenced = false
      this.#table.count(-1)
    }
    return this
  }

  close(): void {
    this.#table.drop(this)
  }

  /** An edge is reported once: the events behind a throwing handler must not be lost with it. */
  deliver(events: number): void {
    try {
      this.runInAsyncScope(this.#handler, this.#receiver, events)
    } catch (error) {
      throwLater(error)
    }
  }

  end(): void {
    if (this.#ended !== undefined) this.runInAsyncScope(this.#ended, this.#receiver)
  }
}

/** Calls a handler whose exception must not keep the caller from its work. */
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
