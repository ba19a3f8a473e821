// The watch on one descriptor of a relay.
//
// Invariant: after `arm` the descriptor is watched for exactly the events that are wanted. Unless a stream brought a watch,
// there is none until an event is wanted, and none after `stop` until one is wanted again.
import { type FdLike, type Watch, watch } from '@linux-sockets/native-core'

/** Watches one descriptor for the events that the flows need. It is stopped if an event would be reported forever. */
export class Gate {
  readonly ready: (events: number) => void
  readonly #target: FdLike
  readonly #wants: () => number
  readonly #ended: () => void
  #watch: Watch | undefined

  constructor(
    target: FdLike,
    wants: () => number,
    ready: (events: number) => void,
    ended: () => void,
    watch?: Watch | undefined,
  ) {
    this.ready = ready
    this.#target = target
    this.#wants = wants
    this.#ended = ended
    this.#watch = watch
  }

  arm(): void {
    const wanted = this.#wants()
    if (this.#watch !== undefined) this.#watch.modify(wanted)
    else if (wanted !== 0) this.#watch = watch(this.#target, wanted, this.ready, { ended: this.#ended })
  }

  stop(): void {
    this.#watch?.stop()
    this.#watch = undefined
  }
}
