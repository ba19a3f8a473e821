// Sends the datagrams of a channel: at once, or from a bounded queue when the kernel doesn't take them.
//
// Invariant: datagrams leave in the order of `send`, which therefore sends nothing itself while the queue holds any. The
// first entries of the queue are those in #outgoing, in the same order. While the queue isn't empty, the watch
// (EPOLLOUT), a turn, or the timer will call `ready`; a turn may come before the timer, and then stops it. Each datagram of the
// queue is counted as sent, reported as failed, or given up by `close`; then it leaves the queue, and its duplicated descriptors
// are closed.
import { type AddressLike, encodeAddress } from '../../address.js'
import { checkBytes, checkObject } from '../../argument.js'
import { SendBatch } from '../../batch.js'
import { EPOLLOUT } from '../../constants.js'
import { type ControlMessage, checkControl, controlSpace } from '../../control.js'
import { errno } from '../../errno.js'
import { SystemError } from '../../error.js'
import { dup, type FdLike, type OwnedFd } from '../../fd.js'
import { closeAll, rights } from '../../message.js'
import type { Socket } from '../../socket.js'
import type { DatagramHandlers, FailedDatagram, SendOptions } from './types.js'
import type { WatchedSocket } from './watched.js'

/** The limits of an outbox: those of the channel's options. */
export interface OutboxLimits {
  readonly budget: number
  readonly maxQueuedDatagrams: number
  readonly maxQueuedBytes: number
}

export class Outbox {
  /** The counts, always up to date. */
  readonly statistics = { sent: 0, bytesWritten: 0, failed: 0, wouldBlock: 0, noBuffers: 0, peakQueuedDatagrams: 0 }
  readonly #watched: WatchedSocket
  readonly #handlers: Pick<DatagramHandlers, 'drain'>
  readonly #limits: OutboxLimits
  readonly #queue: Queued[] = []
  #queuedBytes = 0
  #outgoing: SendBatch | undefined
  /** The room that the next #outgoing will have. #outgoingRoom is that of the present one. */
  #room: Room = { capacity: 65_536, control: 0 }
  #outgoingRoom: Room | undefined
  /** The count of datagrams that have ever left the queue. */
  #left = 0
  #flushes: Flush[] = []
  #stopTimer: (() => void) | undefined
  /** The delay of the last timer, in milliseconds; 0 if sending has gone on since. */
  #delay = 0
  #finished = false

  constructor(watched: WatchedSocket, handlers: Pick<DatagramHandlers, 'drain'>, limits: OutboxLimits) {
    this.#watched = watched
    this.#handlers = handlers
    this.#limits = limits
  }

  get queuedDatagrams(): number {
    return this.#queue.length
  }

  get queuedBytes(): number {
    return this.#queuedBytes
  }

  /** Returns false if the datagram waits in the queue. */
  send(data: Uint8Array, address?: AddressLike, options?: SendOptions): boolean {
    if (this.#finished) throw new SystemError(errno.EBADF, 'send', 'the channel is closed')
    checkBytes(data, 'data')
    if (options !== undefined) checkObject(options, 'options')
    if (this.#queue.length > 0) {
      this.#enqueue(data, address, options)
      return false
    }
    const outcome = this.#attempt(() => transmit(this.#watched.socket, data, address, options))
    if (outcome instanceof SystemError) {
      if (!this.#watched.loseIfClosed(outcome)) this.#refuse(outcome, { data: Uint8Array.from(data), address })
    } else if (typeof outcome === 'number') {
      this.#countSent(data.length)
    } else {
      this.#enqueue(data, address, options)
      this.#hold(outcome, true)
      return false
    }
    return true
  }

  flush(): Promise<void> {
    if (this.#queue.length === 0) return Promise.resolve()
    return new Promise((resolve, reject) => {
      this.#flushes.push({ mark: this.#left + this.#queue.length, resolve, reject })
      this.#watched.loseIfClosed()
    })
  }

  /** Sends queued datagrams until the kernel takes no more or the budget is used up. */
  ready(): void {
    this.#stopTimer?.()
    this.#stopTimer = undefined
    if (this.#queue.length === 0) return
    const before = this.#left
    let hold: Hold | undefined
    while (hold === undefined && this.#queue.length > 0 && this.#left - before < this.#limits.budget) {
      hold = this.#sendBatch()
    }
    const moved = this.#left > before
    if (moved) this.#delay = 0
    if (this.#queue.length > 0) this.#hold(hold, moved)
    else this.#watched.unwant(EPOLLOUT)
    if (moved) this.#settle()
  }

  /** Accepts no more datagrams; those in the queue are still sent. */
  finish(): void {
    this.#finished = true
  }

  /** Gives up the queue: its promises reject with `reason`. */
  close(reason?: unknown): void {
    this.#finished = true
    const unsent = this.#queue.length
    this.#leave(unsent)
    const canceled = reason ?? new SystemError(errno.ECANCELED, 'sendmmsg', `closed with ${unsent} datagrams unsent`)
    for (const { reject } of this.#flushes.splice(0)) reject(canceled)
  }

  /**
   * The kernel may answer a call with the error of an earlier datagram, and then sends nothing: only a datagram that fails
   * twice has failed itself.
   */
  #attempt(send: () => number | null): Outcome {
    const first = outcomeOf(send)
    if (!(first instanceof SystemError)) return first
    const second = outcomeOf(send)
    if (!(second instanceof SystemError) || second.code !== first.code) this.#watched.report(first)
    return second
  }

  #enqueue(data: Uint8Array, address?: AddressLike, { control = [], descriptors = [] }: SendOptions = {}): void {
    checkControl(control, 'control')
    rights(descriptors)
    const sockaddr = address === undefined ? undefined : Uint8Array.from(encodeAddress(address))
    this.#checkRoom(data.length)
    const messages: ControlMessage[] = control.map((message) => ({ ...message, data: Uint8Array.from(message.data) }))
    const held = dupAll(descriptors)
    if (held.length > 0) messages.push(rights(held))
    this.#queue.push({ data: Uint8Array.from(data), address, sockaddr, control: messages, descriptors: held })
    this.#queuedBytes += data.length
    this.statistics.peakQueuedDatagrams = Math.max(this.statistics.peakQueuedDatagrams, this.#queue.length)
    const room = messages.reduce((sum, message) => sum + controlSpace(message.data.length), 0)
    if (data.length > this.#room.capacity || room > this.#room.control) {
      this.#room = { capacity: Math.max(data.length, this.#room.capacity), control: Math.max(room, this.#room.control) }
    }
  }

  #checkRoom(bytes: number): void {
    const { maxQueuedDatagrams, maxQueuedBytes } = this.#limits
    const { length } = this.#queue
    if (length < maxQueuedDatagrams && this.#queuedBytes + bytes <= maxQueuedBytes) return
    const limit = length < maxQueuedDatagrams ? 'maxQueuedBytes' : 'maxQueuedDatagrams'
    const detail = `${length} datagrams of ${this.#queuedBytes} bytes are queued (${limit})`
    throw new SystemError(errno.ENOBUFS, 'send', detail)
  }

  #sendBatch(): Hold | undefined {
    const batch = this.#load()
    const outcome = this.#attempt(() => batch.send(this.#watched.socket))
    if (typeof outcome === 'string') return outcome
    if (typeof outcome === 'number') {
      for (const { data } of this.#leave(outcome)) this.#countSent(data.length)
    } else if (!this.#watched.loseIfClosed(outcome)) {
      batch.skip()
      for (const failed of this.#leave(1)) this.#refuse(outcome, failed)
    }
    return undefined
  }

  /** Returns the batch, filled with the next queued datagrams as far as they fit. */
  #load(): SendBatch {
    if (this.#outgoing !== undefined && this.#outgoing.pending > 0) return this.#outgoing
    if (this.#outgoing === undefined || this.#outgoingRoom !== this.#room) {
      this.#outgoing = new SendBatch(this.#room)
      this.#outgoingRoom = this.#room
    }
    for (const { data, sockaddr, control } of this.#queue) if (!this.#outgoing.add(data, sockaddr, control)) break
    return this.#outgoing
  }

  #leave(count: number): Queued[] {
    const gone = this.#queue.splice(0, count)
    this.#left += count
    for (const { data, descriptors } of gone) {
      this.#queuedBytes -= data.length
      closeAll(descriptors)
    }
    return gone
  }

  /**
   * Waits until the kernel takes more. The kernel has no event for a device that has room again, nor for the receivers of a
   * Unix socket without a peer: such a socket is always writable. In these cases a timer tries again.
   */
  #hold(hold: Hold | undefined, hopeful: boolean): void {
    if (hold === 'EAGAIN') this.statistics.wouldBlock++
    if (hold === 'ENOBUFS') this.statistics.noBuffers++
    if (hold === 'ENOBUFS' || !hopeful) {
      this.#delay = Math.min(this.#delay * 2 || 1, MAX_DELAY)
      this.#watched.unwant(EPOLLOUT)
      this.#stopTimer = this.#watched.after(this.#delay, () => this.ready())
    } else this.#watched.want(EPOLLOUT)
  }

  #settle(): void {
    const done = this.#flushes.filter(({ mark }) => mark <= this.#left)
    this.#flushes = this.#flushes.filter(({ mark }) => mark > this.#left)
    for (const { resolve } of done) resolve()
    if (this.#queue.length === 0 && !this.#finished) this.#watched.call(() => this.#handlers.drain?.())
  }

  #countSent(bytes: number): void {
    this.statistics.sent++
    this.statistics.bytesWritten += bytes
  }

  #refuse(error: SystemError, { data, address }: FailedDatagram): void {
    this.statistics.failed++
    this.#watched.report(error, { data, address })
  }
}

/** The longest delay before sending is tried again, in milliseconds. */
const MAX_DELAY = 64

/** Why the kernel takes no more for now: the socket's buffer or the device's queue is full. */
type Hold = 'EAGAIN' | 'ENOBUFS'

/** The outcome of a call that sends: its result, why it must wait, or its error. */
type Outcome = number | Hold | SystemError

interface Queued extends FailedDatagram {
  readonly sockaddr: Uint8Array | undefined
  readonly control: readonly ControlMessage[]
  /** Duplicates, ours to close. */
  readonly descriptors: readonly OwnedFd[]
}

interface Flush {
  /** The value that #left must reach. */
  readonly mark: number
  resolve(): void
  reject(reason: unknown): void
}

interface Room {
  readonly capacity: number
  readonly control: number
}

function transmit(socket: Socket, data: Uint8Array, address?: AddressLike, options?: SendOptions): number | null {
  if (options !== undefined) {
    const { control, descriptors } = options
    return socket.sendMessage({ data, address, control, descriptors })
  }
  return address === undefined ? socket.send(data) : socket.sendTo(data, address)
}

function outcomeOf(send: () => number | null): Outcome {
  try {
    return send() ?? 'EAGAIN'
  } catch (error) {
    if (!(error instanceof SystemError)) throw error
    return error.code === 'ENOBUFS' ? 'ENOBUFS' : error
  }
}

function dupAll(descriptors: readonly FdLike[]): OwnedFd[] {
  const copies: OwnedFd[] = []
  try {
    for (const descriptor of descriptors) copies.push(dup(descriptor))
    return copies
  } catch (error) {
    closeAll(copies)
    throw error
  }
}
