// The error queue of a channel's socket (`MSG_ERRQUEUE`), and its pending error (`SO_ERROR`).
//
// Unread, both would make the kernel report EPOLLERR forever, so they are also taken without a handler for them.
import type { SocketAddress } from '../../address.js'
import { AF_INET, AF_INET6, AF_PACKET, MSG_ERRQUEUE } from '../../constants.js'
import { SystemError } from '../../error.js'
import { recvMessage } from '../../message.js'
import { getOption } from '../../option.js'
import { SO_ERROR } from '../../options/socket.js'
import type { DatagramHandlers } from './types.js'
import type { WatchedSocket } from './watched.js'

export class ErrorQueue<Address extends SocketAddress> {
  readonly #watched: WatchedSocket<Address>
  readonly #handlers: DatagramHandlers<Address>
  readonly #budget: number
  readonly #exists: boolean
  #taken = 0

  constructor(watched: WatchedSocket<Address>, handlers: DatagramHandlers<Address>, budget: number) {
    this.#watched = watched
    this.#handlers = handlers
    this.#budget = budget
    // Other families ignore MSG_ERRQUEUE, and the call would take a datagram that isn't an error.
    this.#exists = [AF_INET, AF_INET6, AF_PACKET].includes(watched.domain)
  }

  /** The number of messages taken from the queue. */
  get taken(): number {
    return this.#taken
  }

  /**
   * Reports the pending error, and passes the messages of the queue to their handler. Returns false if the budget is used up:
   * more messages may be left, for which the kernel reports `EPOLLERR` again.
   */
  take(): boolean {
    const watched = this.#watched
    const pending = watched.ask(() => getOption(watched.socket, SO_ERROR))
    if (pending) watched.report(new SystemError(pending, 'recvmmsg'))
    if (!this.#exists) return true
    const options = { control: errorControl, address: true, flags: MSG_ERRQUEUE }
    for (let left = this.#budget; left > 0 && !watched.closed; left--) {
      const message = watched.ask(() => recvMessage(watched.socket, errorData, options))
      if (!message) return true
      this.#taken++
      watched.call(() => this.#handlers.errorQueue?.(message, errorData.subarray(0, message.length)))
    }
    return false
  }
}

// One buffer per thread: a thread reads one message at a time.
const errorData = Buffer.alloc(65_536)
const errorControl = new Uint8Array(1024)
