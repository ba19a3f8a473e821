import { AsyncResource } from 'node:async_hooks'
import type { Watch } from '../watch.js'

/**
 * The events that a stream waits for. It keeps one watch, which is stopped while the stream waits for nothing and the
 * kernel would report EPOLLERR or EPOLLHUP forever, since these can't be masked. Every watch calls back in the async
 * context of the first.
 */
export class Readiness<Stream> {
  readonly #stream: Stream
  readonly #start: (stream: Stream, events: number) => Watch
  /** Undefined while there is nothing to wait for, and once the stream is destroyed or has given the socket up. */
  #watch: Watch | undefined
  /** The async context of the first watch. Undefined until another watch may be needed. */
  #context: AsyncResource | undefined
  #referenced = true

  /** Starts to wait for `events`. `start` starts the watches; what it throws is thrown here. */
  constructor(stream: Stream, start: (stream: Stream, events: number) => Watch, events: number) {
    this.#stream = stream
    this.#start = start
    this.#watch = start(stream, events)
  }

  /** The events that are waited for. */
  get events(): number {
    return this.#watch?.events ?? 0
  }

  /** Waits for `events`, too. */
  add(events: number): void {
    if (this.#watch === undefined) {
      const [context, start] = [this.#context, this.#start]
      this.#watch = context
        ? context.runInAsyncScope(start, undefined, this.#stream, events)
        : start(this.#stream, events)
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
    this.#context = new AsyncResource('LinuxSocketsStream')
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
}
