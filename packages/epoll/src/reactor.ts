import { AsyncResource } from 'node:async_hooks'
import { type AsFd, EPOLLIN, type Watch, watch } from '@linux-sockets/native-core'
import { Epoll, EpollEvents } from './epoll.js'

/** A descriptor's place in a reactor, from `Reactor.register`. */
export interface Registration {
  /** Other events, edge-triggered or not as they say. What is ready already is reported again. */
  modify(events: number): void
  /** Calls the handler with `events` in the next turn, as if they had come then: for what a budget left over. */
  again(events: number): void
  /** Ends it, before the descriptor is closed. Its handler is not called again, not even for events that were already fetched. */
  close(): void
}

/**
 * Many descriptors, one epoll instance, on Node's own event loop: each turn fetches the events of all of them in one
 * call. A number that is closed and used again never gets the old one's events, because every event carries its
 * registration's place and generation.
 */
export class Reactor implements Disposable {
  readonly #epoll = new Epoll()
  readonly #events = new EpollEvents(512)
  readonly #watch: Watch
  readonly #places: (Place | undefined)[] = []
  readonly #free: number[] = []
  #again: Place[] = []
  #generation = 0
  #open = 0

  /** @throws SystemError `EMFILE`, `ENFILE`, `ENOMEM` */
  constructor() {
    try {
      this.#watch = watch(this.#epoll, EPOLLIN, () => this.#dispatch()).unref()
    } catch (error) {
      this.#epoll.close()
      throw error
    }
  }

  /** How many descriptors are registered. While there are any, the process stays alive. */
  get size(): number {
    return this.#open
  }

  /**
   * Calls `handler` with the events of a descriptor, in the async context of the caller. What it throws becomes an
   * uncaught exception, after the rest of the turn's events were handled. `ended` is called when the reactor is closed
   * before the registration.
   * @throws SystemError `EEXIST`, `EPERM`, `EBADF`
   */
  register(target: AsFd, events: number, handler: (events: number) => void, ended?: () => void): Registration {
    const slot = this.#free.pop() ?? this.#places.length
    this.#generation = (this.#generation + 1) >>> 0
    const place = new Place(slot, this.#generation, handler, ended)
    const data = (BigInt(place.generation) << 32n) | BigInt(slot)
    try {
      this.#epoll.add(target, events, data)
    } catch (error) {
      this.#free.push(slot)
      throw error
    }
    this.#places[slot] = place
    if (this.#open++ === 0) this.#watch.ref()
    return {
      modify: (wanted) => this.#epoll.modify(target, wanted, data),
      again: (more) => {
        if (place.more === 0 && this.#again.push(place) === 1) setImmediate(() => this.#deliverAgain())
        place.more |= more
      },
      close: () => {
        if (this.#places[slot] !== place) return
        this.#places[slot] = undefined
        this.#free.push(slot)
        if (--this.#open === 0) this.#watch.unref()
        // Closed already by its owner: the kernel has forgotten it.
        if (target.fd >= 0) this.#epoll.delete(target)
      },
    }
  }

  /** Ends all registrations and closes the epoll instance; the descriptors stay open. */
  close(): void {
    this.#watch.stop()
    const places = this.#places.splice(0)
    this.#open = 0
    this.#epoll.close()
    for (const place of places) if (place !== undefined) protect(() => place.end())
  }

  [Symbol.dispose](): void {
    this.close()
  }

  #dispatch(): void {
    const events = this.#events
    this.#epoll.wait(events)
    for (let i = 0; i < events.count; i++) {
      const place = this.#places[events.low(i)]
      if (place?.generation === events.high(i)) protect(() => place.deliver(events.events(i)))
    }
  }

  #deliverAgain(): void {
    for (const place of this.#again.splice(0)) {
      const events = place.more
      place.more = 0
      if (this.#places[place.slot] === place) protect(() => place.deliver(events))
    }
  }
}

class Place extends AsyncResource {
  readonly slot: number
  readonly generation: number
  /** Events to deliver in the next turn. */
  more = 0
  readonly #handler: (events: number) => void
  readonly #ended: (() => void) | undefined

  constructor(slot: number, generation: number, handler: (events: number) => void, ended?: () => void) {
    super('LinuxSocketsRegistration')
    this.slot = slot
    this.generation = generation
    this.#handler = handler
    this.#ended = ended
  }

  deliver(events: number): void {
    this.runInAsyncScope(this.#handler, undefined, events)
  }

  end(): void {
    if (this.#ended !== undefined) this.runInAsyncScope(this.#ended)
  }
}

/** An edge is reported once: the events behind a throwing handler must not be lost with it. */
export function protect(task: () => void): void {
  try {
    task()
  } catch (error) {
    queueMicrotask(() => {
      throw error
    })
  }
}
