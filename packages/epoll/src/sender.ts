import { errno, type Socket, SystemError } from '@linux-sockets/native-core'
import { EPOLLET, EPOLLIN, EPOLLOUT, EPOLLPRI, EPOLLRDHUP, SHUT_WR } from '@linux-sockets/native-core/constants'
import { pendingError } from './failure.js'
import type { Policy } from './options.js'
import { WriteQueue } from './queue.js'
import type { Registration } from './registration.js'
import type { Tally } from './statistics.js'

/** The calls that the sending side makes on its connection. */
export interface SenderOwner {
  readonly closed: boolean
  readonly connecting: boolean
  /** Called when the kernel has accepted bytes, and when bytes begin to wait in the queue. */
  sending(): void
  /** Called when the queue has fallen to its low mark after `write` returned false. */
  drained(): void
  /** Called once, when all bytes and a FIN were sent after `end`. */
  finished(): void
  /** Called when sending has failed. `cut`: whether bytes are lost that are no longer, or not yet, in the queue. */
  broke(error: Error, cut: boolean): void
}

export const READING = (EPOLLIN | EPOLLRDHUP | EPOLLPRI | EPOLLET) >>> 0
export const READING_AND_WRITING = (READING | EPOLLOUT) >>> 0

/**
 * The sending side of a connection. Whenever bytes are queued, something will send them: EPOLLOUT is on, which is also the
 * case while connect(2) is under way, or the last `uncork` is still to come. EPOLLOUT is off once the queue is empty.
 */
export class Sender {
  readonly #owner: SenderOwner
  readonly #socket: Socket
  readonly #registration: Registration
  readonly #policy: Policy
  readonly #tally: Tally
  readonly #queue = new WriteQueue()
  /** Whether EPOLLOUT is on. */
  #armed: boolean
  #corks = 0
  /** Whether `write` has returned false, and `drained` is still to be called. */
  #mustDrain = false
  #ending = false
  /** Whether shutdown(2) was called. A second call would fail with `ENOTCONN` if the peer has ended, too. */
  #finished = false

  constructor(owner: SenderOwner, socket: Socket, registration: Registration, policy: Policy, tally: Tally) {
    this.#owner = owner
    this.#socket = socket
    this.#registration = registration
    this.#policy = policy
    this.#tally = tally
    this.#armed = owner.connecting
  }

  get queuedBytes(): number {
    return this.#queue.length
  }

  /** Whether `end` was called. */
  get ending(): boolean {
    return this.#ending
  }

  /** See `Connection.write`. */
  write(data: Uint8Array): boolean {
    if (this.#ending || this.#owner.closed) return true
    let sent = 0
    if (this.#queue.length === 0 && this.#corks === 0 && !this.#owner.connecting) {
      try {
        sent = this.#count(this.#socket.send(data), data.length)
      } catch (error) {
        this.#owner.broke(error as Error, true)
        return true
      }
    }
    if (sent < data.length) this.#enqueue(sent === 0 ? data : data.subarray(sent))
    return !this.#mustDrain || this.#owner.closed
  }

  cork(): void {
    if (!this.#ending) this.#corks++
  }

  uncork(): void {
    if (this.#corks === 0) return
    if (--this.#corks === 0 && !this.#armed && this.#queue.length > 0) this.#flush()
  }

  /** Sends the queue, then a FIN. A second call does nothing. */
  end(): void {
    if (this.#ending || this.#owner.closed) return
    this.#ending = true
    this.#corks = 0
    if (this.#queue.length > 0 && !this.#armed) this.#flush()
    else if (this.#queue.length === 0 && !this.#owner.connecting) this.#finish()
  }

  /** Handles EPOLLOUT: sends the queue, unless it is corked. */
  writable(): void {
    if (!this.#armed) return
    if (this.#corks === 0) this.#flush()
    else if (!this.#owner.closed) this.#arm(false)
  }

  /** Returns the queued bytes. */
  pieces(): Buffer[] {
    return this.#queue.pieces()
  }

  clear(): void {
    this.#queue.clear()
  }

  #enqueue(rest: Uint8Array): void {
    const queued = this.#queue.length + rest.length
    const { maxQueuedBytes, highWaterMark } = this.#policy
    if (queued > maxQueuedBytes) {
      const detail = `(${queued} bytes would wait, more than maxQueuedBytes, ${maxQueuedBytes})`
      this.#owner.broke(new SystemError(errno.ENOBUFS, 'write', detail), true)
      return
    }
    const first = this.#queue.length === 0
    this.#queue.push(rest)
    if (first) this.#owner.sending()
    if (queued > this.#tally.peakQueuedBytes) this.#tally.peakQueuedBytes = queued
    if (queued >= highWaterMark) this.#mustDrain = true
    if (this.#corks === 0) this.#arm(true)
  }

  /** Turns EPOLLOUT on or off. */
  #arm(on: boolean): void {
    if (on === this.#armed) return
    this.#armed = on
    try {
      this.#registration.modify(on ? READING_AND_WRITING : READING)
    } catch (error) {
      this.#owner.broke(error as Error, false)
    }
  }

  #flush(): void {
    if (this.#owner.closed) return
    try {
      while (this.#queue.length > 0) {
        const pieces = this.#queue.pieces(PIECES_PER_CALL)
        const wanted = pieces.reduce((sum, piece) => sum + piece.length, 0)
        const sent = this.#count(this.#socket.sendMessage({ data: pieces }), wanted)
        this.#queue.shift(sent)
        if (sent < wanted) break
      }
    } catch (error) {
      this.#owner.broke(error as Error, false)
      return
    }
    this.#arm(this.#queue.length > 0)
    if (this.#owner.closed) return
    if (this.#mustDrain && this.#queue.length <= this.#policy.lowWaterMark) {
      this.#mustDrain = false
      this.#owner.drained()
    }
    if (this.#ending && this.#queue.length === 0 && !this.#owner.closed) this.#finish()
  }

  #finish(): void {
    if (this.#finished) return
    this.#finished = true
    try {
      this.#socket.shutdown(SHUT_WR)
    } catch (error) {
      // After a reset shutdown(2) fails with ENOTCONN, and the reason is the socket's pending error.
      this.#owner.broke(pendingError(this.#socket, 'shutdown') ?? (error as Error), false)
      return
    }
    this.#owner.finished()
  }

  /** Counts what a call has sent, and returns it. */
  #count(result: number | null, wanted: number): number {
    const sent = result ?? 0
    this.#tally.writes++
    this.#tally.bytesWritten += sent
    if (sent < wanted) this.#tally.wouldBlock++
    if (sent > 0) this.#owner.sending()
    return sent
  }
}

const PIECES_PER_CALL = 64
