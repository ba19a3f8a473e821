import type { Socket } from '@linux-sockets/native-core'
import { EPOLLIN, EPOLLRDHUP } from '@linux-sockets/native-core/constants'
import type { Registration } from './registration.js'
import type { Tally } from './statistics.js'

/** The calls that the receiving side makes on its connection. */
export interface ReceiverOwner {
  readonly closed: boolean
  /** Called with bytes, which are only lent. */
  received(chunk: Buffer): void
  /** Called once, when the peer has ended its side. */
  peerEnded(): void
  /** Called when receiving has failed. */
  broke(error: Error): void
}

/**
 * The receiving side of a connection. The kernel reports an edge only once. So whenever reading stops before the kernel has
 * said that nothing is left, it either goes on in the next turn, or the connection is paused, has ended or is closed.
 */
export class Receiver {
  readonly #owner: ReceiverOwner
  readonly #socket: Socket
  readonly #registration: Registration
  readonly #tally: Tally
  readonly #readsWhole: boolean
  #paused = false
  #ended = false

  constructor(owner: ReceiverOwner, socket: Socket, registration: Registration, tally: Tally, readsWhole: boolean) {
    this.#owner = owner
    this.#socket = socket
    this.#registration = registration
    this.#tally = tally
    this.#readsWhole = readsWhole
  }

  get paused(): boolean {
    return this.#paused
  }

  /** Whether the peer has ended its side. */
  get ended(): boolean {
    return this.#ended
  }

  pause(): void {
    this.#paused = true
  }

  /** Ends a pause; `read` or `readLater` must follow. */
  resume(): void {
    this.#paused = false
  }

  /**
   * Drains the socket, up to a budget so that other connections get their turn. A short read means that nothing is left,
   * which saves the call that would only confirm it (epoll(7), question 9), unless `untilEnd`: an end, an error or urgent data
   * follows the bytes.
   */
  read(untilEnd: boolean): void {
    for (let reads = 0; !this.#paused && !this.#ended && !this.#owner.closed; reads++) {
      if (reads === READS_PER_TURN) {
        this.readLater()
        return
      }
      let count: number | null
      try {
        count = this.#socket.recv(slab)
      } catch (error) {
        this.#owner.broke(error as Error)
        return
      }
      this.#tally.reads++
      if (count === null) {
        this.#tally.wouldBlock++
        return
      }
      if (count === 0) {
        this.#ended = true
        this.#owner.peerEnded()
        return
      }
      this.#tally.bytesRead += count
      try {
        this.#owner.received(lend(count))
      } catch (error) {
        this.readLater()
        throw error
      }
      if (count < SLAB_SIZE && this.#readsWhole && !untilEnd) return
    }
  }

  /** Reads in the next turn, since the edge is not reported again. It is not known whether an end or an error came with it. */
  readLater(): void {
    if (!this.#owner.closed) this.#registration.again(EPOLLIN | EPOLLRDHUP)
  }
}

/** 256 KiB. A connection that has more to read continues in the next turn. */
const READS_PER_TURN = 4

/** The buffer into which all connections of a thread read: a chunk is handled before the next one is read. */
const SLAB_SIZE = 64 * 1024
const slab = Buffer.allocUnsafeSlow(SLAB_SIZE)

/** Views of the slab's first bytes, by length: small messages are frequent, and a new view costs more than their bytes. */
const views: (Buffer | undefined)[] = new Array(4096).fill(undefined)

function lend(length: number): Buffer {
  if (length >= views.length) return slab.subarray(0, length)
  const view = views[length] ?? slab.subarray(0, length)
  views[length] = view
  return view
}
