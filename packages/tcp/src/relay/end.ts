// One of the two connections of a relay.
//
// Invariant: the relay owns the connection from the start, but may use its socket only once `socket` is set. Bytes that a
// stream had read before are in `unread`, and precede those in the socket.
import type { Socket, Watch } from '@linux-sockets/native-core'
import type { SocketStream } from '@linux-sockets/native-core/streams'

export type Side = 'a' | 'b'

/** One of the two connections. */
export class End {
  readonly side: Side
  /** The argument of `relay`. */
  readonly owner: Socket | SocketStream
  /** Undefined until the relay has taken it over. */
  socket: Socket | undefined
  /** Bytes that a stream had read before the relay took it over. */
  unread: Uint8Array = NOTHING
  /** The stream's watch, if it had one. */
  watch: Watch | undefined
  /**
   * The callback of `watch`. Until both ends are taken over, it can only stop: the same events would come again and again.
   */
  ready = (_events: number): void => {
    this.watch?.stop()
    this.watch = undefined
  }

  constructor(side: Side, owner: Socket | SocketStream) {
    this.side = side
    this.owner = owner
  }
}

export const NOTHING = new Uint8Array(0)
