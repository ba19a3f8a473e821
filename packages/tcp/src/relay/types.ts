import type { FdLike, SystemError } from '@linux-sockets/native-core'
import type { DrainOptions } from '@linux-sockets/native-core/streams'

/** Options of `relay`. */
export interface RelayOptions {
  /** Aborts the relay: the promise rejects at once with the signal's reason, and both connections are reset. */
  readonly signal?: AbortSignal | undefined
  /**
   * The relay fails with `ETIMEDOUT` if no byte moves in either direction for this many **milliseconds**, at least 1.
   * Default: no limit.
   */
  readonly idleTimeout?: number | undefined
  /** Called whenever bytes have moved, with a new object each time. If it throws, the relay ends with that error. */
  readonly onProgress?: ((progress: RelayProgress) => void) | undefined
  /**
   * tee(2): the descriptors that get a copy of the bytes of each direction. A tap is a pipe or a socket, or a file that
   * isn't open for appending; it stays open, and is made non-blocking. A slow tap slows down its direction, and misses
   * nothing. If a tap fails, the relay fails.
   */
  readonly tap?: { readonly aToB?: FdLike | undefined; readonly bToA?: FdLike | undefined } | undefined
}

/** The bytes passed in each direction. */
export interface Relayed {
  /** **Bytes** that came from `a` and that `b` has taken. */
  readonly aToB: number
  /** **Bytes** that came from `b` and that `a` has taken. */
  readonly bToA: number
}

/** The bytes passed in each direction, and those still held. */
export interface RelayProgress extends Relayed {
  /** **Bytes** taken from one side that the other hasn't taken yet. If the relay fails, they are lost. */
  readonly held: number
}

/** A running relay, returned by `relay`: a promise of the final counts, which also has the current counts. */
export interface Relay extends Promise<Relayed>, RelayProgress {
  /**
   * Ends both connections without a failure: takes no further bytes from either, delivers what is held, and then sends an
   * end on both connections. The relay reads and drops what the peers still send until their own ends come: closing earlier
   * would reset the connections, and the peers could lose what was delivered. Returns the relay itself, which settles as
   * usual.
   *
   * A peer can't tell such an end from one that the other peer sent. If that must not happen, abort by `signal`.
   * @throws TypeError, RangeError for an invalid timeout; the relay then goes on
   */
  drain(options?: DrainOptions): Relay
}

/** The error with which a relay rejects if it fails by itself. */
export interface RelayError extends SystemError, RelayProgress {
  /** The connection that failed; undefined if neither did: a timeout, a tap, a limit of descriptors. */
  readonly side: 'a' | 'b' | undefined
}
