import { AsyncResource } from 'node:async_hooks'
import type { Socket } from '../socket.js'
import type { Watch, WatchFunction } from '../watch.js'

/**
 * The events that a stream waits for. It keeps one watch, which is stopped while the stream waits for nothing and the
 * kernel would report EPOLLERR or EPOLLHUP forever, since these can't be masked. Every watch calls back in the async
 * context of the first.
 */
export class Readiness {
  readonly #watchFunction: WatchFunction
  readonly #socket: Socket
  readonly #ready: (events: number) => void
  readonly #ended: () => void
  /** Undefined while there is nothing to wait for, and once the stream is destroyed or has given the socket up. */
  #watch: Watch | undefined
  /** Starts every watch but the first. */
  #startWatch: ((events: number) => Watch) | undefined
  #referenced = true

  /** Starts to wait for `events`. Throws as the `watch` function does. */
  constructor(
    watchFunction: WatchFunction,
    socket: Socket,
    events: number,
    ready: (events: number) => void,
    ended: () => void,
  ) {
    this.#watchFunction = watchFunction
    this.#socket = socket
    this.#ready = ready
    this.#ended = ended
    this.#watch = this.#newWatch(events)
  }

  /** The events that are waited for. */
  get events(): number {
    return this.#watch?.events ?? 0
  }

  /** Waits for `events`, too. */
  add(events: number): void {
    if (this.#watch === undefined) {
      this.#watch = this.#startWatch?.(events) ?? this.#newWatch(events)
      if (!this.#referenced) this.#watch.unref()
    } else if ((this.#watch.events & events) === 0) {
      this.#watch.modify(this.#watch.events | events)
    }
  }

  /** No longer waits for `events`. */
  remove(events: number): void {
    this.#watch?.modify(this.#watch.events & ~events)
  }

  /** Waits for nothing, not even for EPOLLERR and EPOLLHUP, until the next `add`. */
  rest(): void {
    // The next watch needs the async context that is current here.
    const context = new AsyncResource('LinuxSocketsStream')
    this.#startWatch = (events) => context.runInAsyncScope(this.#newWatch, this, events)
    this.stop()
  }

  /** Stops the watch. */
  stop(): void {
    this.#watch?.stop()
    this.#watch = undefined
  }

  /** Returns the watch, if there is one, and leaves it to the caller to stop it. */
  handOver(): Watch | undefined {
    const watch = this.#watch
    this.#watch = undefined
    return watch
  }

  /** Keeps the process alive while there is a watch. This is the default. */
  ref(): void {
    this.#referenced = true
    this.#watch?.ref()
  }

  /** Lets the process end. */
  unref(): void {
    this.#referenced = false
    this.#watch?.unref()
  }

  #newWatch(events: number): Watch {
    const from = this.#watchFunction
    return from(this.#socket, events, this.#ready, { ended: this.#ended })
  }
}
