// Sends the datagrams of a channel: at once, or from a bounded queue when the kernel doesn't take them.
//
// Invariant: datagrams leave in the order of `send`, which therefore sends nothing itself while the queue holds any. The
// first entries of the queue are those in #outgoing, in the same order. While the queue isn't empty, the watch
// (EPOLLOUT), a turn, or the timer will call `ready`; a turn may come before the timer, and then stops it. Each datagram of the
// queue is counted as sent, reported as failed, replaced by others, or given up by `close`; then it leaves the queue, and its
// duplicated descriptors are closed. Datagrams of `sendAsync` for which the queue has no room wait behind it, and enter it in
// order before anything else does.
import { type AddressLike, encodeAddress } from '../../address.js'
import { checkBytes, checkFunction, checkInteger, checkObject, describe } from '../../argument.js'
import { SendBatch } from '../../batch.js'
import { EPOLLOUT } from '../../constants.js'
import { type ControlMessage, checkControl, encodeControl } from '../../control.js'
import { errno } from '../../errno.js'
import { SystemError } from '../../error.js'
import { dup, type FdLike, type OwnedFd } from '../../fd.js'
import { closeAll, rights } from '../../message.js'
import type { Socket } from '../../socket.js'
import type { DatagramHandlers, FailedDatagram, OutgoingDatagram, SendOptions } from './types.js'
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
  /** For which the queue has no room. */
  readonly #waiting: OutgoingDatagram[] = []
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
  /** `ready` is running. */
  #sending = false

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
    if (options !== undefined) checkSendOptions(options)
    if (this.#queue.length > 0) {
      this.#enqueue(data, address, options)
      return false
    }
    const outcome = this.#attempt(() => transmit(this.#watched.socket, data, address, options))
    if (outcome instanceof SystemError) {
      if (this.#watched.loseIfClosed(outcome)) options?.settled?.(outcome)
      else return this.#refuse(outcome, { data, address, ...options })
    } else if (typeof outcome === 'number') {
      this.#countSent({ data, ...options })
    } else {
      this.#enqueue(data, address, options)
      this.#hold(outcome, true)
      return false
    }
    return true
  }

  /** Returns false if datagrams wait in the queue. */
  sendBatch(datagrams: readonly OutgoingDatagram[]): boolean {
    if (this.#finished) throw new SystemError(errno.EBADF, 'send', 'the channel is closed')
    checkDatagrams(datagrams)
    let bytes = 0
    for (const { data } of datagrams) bytes += data.length
    this.#checkRoom(bytes, datagrams.length)
    const idle = this.#queue.length === 0
    const sent = idle ? this.#sendAtOnce(datagrams) : 0
    for (let i = sent; i < datagrams.length && !this.#finished; i++) {
      const { data, address, options } = datagrams[i] as OutgoingDatagram
      this.#push(data, address, options)
    }
    if (idle) this.ready()
    return this.#queue.length === 0
  }

  /** Sends datagrams that need no copy, until the kernel takes no more or refuses one. Returns how many it took. */
  #sendAtOnce(datagrams: readonly OutgoingDatagram[]): number {
    let sent = 0
    while (sent < datagrams.length && !this.#finished) {
      const batch = this.#fill(datagrams, sent)
      const outcome = batch.pending === 0 ? 0 : this.#attempt(() => batch.send(this.#watched.socket))
      batch.clear()
      if (typeof outcome !== 'number' || outcome === 0) break
      const end = sent + outcome
      while (sent < end) {
        const { data, options } = datagrams[sent++] as OutgoingDatagram
        this.#countSent({ data, ...options })
      }
    }
    return sent
  }

  #fill(datagrams: readonly OutgoingDatagram[], first: number): SendBatch {
    for (let i = first; i < datagrams.length && i < first + BATCH; i++) this.#makeRoom(datagrams[i] as OutgoingDatagram)
    const batch = this.#emptyBatch()
    for (let i = first; i < datagrams.length; i++) {
      const { data, address, options = none } = datagrams[i] as OutgoingDatagram
      const { control = noBytes, descriptors } = options
      const isPlain = control instanceof Uint8Array && descriptors === undefined
      if (!isPlain || !batch.add(data, address, control)) break
    }
    return batch
  }

  /** Resolves when the kernel has taken the datagram. Waits for room in the queue. */
  sendAsync(data: Uint8Array, address?: AddressLike, options: SendOptions = none): Promise<void> {
    return new Promise((resolve, reject) => {
      checkBytes(data, 'data')
      checkSendOptions(options)
      const settled = (error?: unknown) => (error === undefined ? resolve() : reject(error))
      const settling = { ...options, settled }
      if (this.#finished || (this.#waiting.length === 0 && this.#hasRoom(data.length, 1))) {
        this.send(data, address, settling)
        return
      }
      const sockaddr = address === undefined ? undefined : Uint8Array.from(encodeAddress(address))
      this.#waiting.push({ data, address: sockaddr, options: settling })
    })
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
    this.#sending = true
    while (hold === undefined && this.#queue.length > 0 && this.#left - before < this.#limits.budget) {
      hold = this.#sendBatch()
    }
    this.#sending = false
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
    const waiting = this.#waiting.splice(0)
    const unsent = this.#queue.length + waiting.length
    const left = this.#leave(this.#queue.length)
    const canceled = reason ?? new SystemError(errno.ECANCELED, 'sendmmsg', `closed with ${unsent} datagrams unsent`)
    for (const { settled } of left) settled?.(canceled)
    for (const { options } of waiting) options?.settled?.(canceled)
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

  #enqueue(data: Uint8Array, address?: AddressLike, options?: SendOptions): void {
    this.#checkRoom(data.length, 1)
    this.#push(data, address, options)
  }

  #push(data: Uint8Array, address?: AddressLike, options?: SendOptions): void {
    this.#queue.push(this.#copy(data, address, options))
    this.statistics.peakQueuedDatagrams = Math.max(this.statistics.peakQueuedDatagrams, this.#queue.length)
  }

  /** Copies what the caller may change, and counts its bytes as queued. */
  #copy(data: Uint8Array, address?: AddressLike, options: SendOptions = {}): Queued {
    const { control: given = [], descriptors = [], segments, replace, settled } = options
    const sockaddr = address === undefined ? undefined : Uint8Array.from(encodeAddress(address))
    rights(descriptors)
    const held = dupAll(descriptors)
    const control = copyControl(given, held)
    this.#makeRoom({ data, options: { control } })
    this.#queuedBytes += data.length
    return { data: Uint8Array.from(data), address, sockaddr, control, descriptors: held, segments, replace, settled }
  }

  /** Makes sure that the next batch has room for a datagram. */
  #makeRoom({ data, options: { control = noBytes } = none }: OutgoingDatagram): void {
    const bytes = control instanceof Uint8Array ? control.length : 0
    if (data.length <= this.#room.capacity && bytes <= this.#room.control) return
    const capacity = Math.max(data.length, this.#room.capacity)
    this.#room = { capacity, control: Math.max(bytes, this.#room.control) }
  }

  #hasRoom(bytes: number, datagrams: number): boolean {
    const { maxQueuedDatagrams, maxQueuedBytes } = this.#limits
    return this.#queue.length + datagrams <= maxQueuedDatagrams && this.#queuedBytes + bytes <= maxQueuedBytes
  }

  #checkRoom(bytes: number, datagrams: number): void {
    if (this.#waiting.length === 0 && this.#hasRoom(bytes, datagrams)) return
    const { length } = this.#queue
    const limit =
      length + datagrams <= this.#limits.maxQueuedDatagrams && this.#waiting.length === 0
        ? 'maxQueuedBytes'
        : 'maxQueuedDatagrams'
    const detail = `${length} datagrams of ${this.#queuedBytes} bytes are queued (${limit})`
    throw new SystemError(errno.ENOBUFS, 'send', detail)
  }

  /** Lets the datagrams of `sendAsync` into the queue, as far as there is room. One that alone exceeds it enters an empty one. */
  #admit(): void {
    for (let next = this.#waiting[0]; next !== undefined; next = this.#waiting[0]) {
      if (this.#queue.length > 0 && !this.#hasRoom(next.data.length, 1)) return
      this.#waiting.shift()
      try {
        this.#push(next.data, next.address, next.options)
      } catch (error) {
        next.options?.settled?.(error)
      }
    }
  }

  #sendBatch(): Hold | undefined {
    const batch = this.#load()
    const outcome = this.#attempt(() => batch.send(this.#watched.socket))
    if (typeof outcome === 'string') return outcome
    if (typeof outcome === 'number') {
      for (const sent of this.#leave(outcome)) this.#countSent(sent)
    } else if (!this.#watched.loseIfClosed(outcome)) {
      batch.skip()
      for (const failed of this.#leave(1)) this.#refuse(outcome, failed)
    }
    this.#admit()
    return undefined
  }

  /** Returns the batch, filled with the next queued datagrams as far as they fit. */
  #load(): SendBatch {
    if (this.#outgoing !== undefined && this.#outgoing.pending > 0) return this.#outgoing
    const batch = this.#emptyBatch()
    for (const { data, sockaddr, control } of this.#queue) if (!batch.add(data, sockaddr, control)) break
    return batch
  }

  /** Returns the batch, which must be empty, or a new one if it has too little room. */
  #emptyBatch(): SendBatch {
    if (this.#outgoing === undefined || this.#outgoingRoom !== this.#room) {
      this.#outgoing = new SendBatch({ count: BATCH, ...this.#room })
      this.#outgoingRoom = this.#room
    }
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

  #countSent({ data, segments = 1, settled }: Pick<Queued, 'data' | 'segments' | 'settled'>): void {
    this.statistics.sent += segments
    this.statistics.bytesWritten += data.length
    settled?.()
  }

  /** Sends others in the place of a datagram that was refused, or reports it. Returns false if datagrams wait in the queue. */
  #refuse(error: SystemError, { data, address, segments = 1, replace, settled }: Refused): boolean {
    const others = replace?.(error)
    if (others !== undefined) {
      this.#insert(others)
      return this.#queue.length === 0
    }
    this.statistics.failed += segments
    if (settled !== undefined) settled(error)
    else this.#watched.report(error, { data: Uint8Array.from(data), address })
    return true
  }

  /** Puts datagrams at the head of the queue, whatever its limits, and sends them if nothing else is sending. */
  #insert(datagrams: readonly OutgoingDatagram[]): void {
    const idle = this.#queue.length === 0 && !this.#sending
    // The batch may hold what stands behind them.
    this.#outgoing?.clear()
    this.#queue.unshift(...datagrams.map(({ data, address, options }) => this.#copy(data, address, options)))
    // A mark counts what has left the queue: now more must leave before it is reached, but for the one that has been replaced.
    for (const flush of this.#flushes) flush.mark += datagrams.length
    if (idle) this.ready()
  }
}

/** The longest delay before sending is tried again, in milliseconds. */
const MAX_DELAY = 64

/** Why the kernel takes no more for now: the socket's buffer or the device's queue is full. */
type Hold = 'EAGAIN' | 'ENOBUFS'

/** The outcome of a call that sends: its result, why it must wait, or its error. */
type Outcome = number | Hold | SystemError

interface Queued extends FailedDatagram, Pick<SendOptions, 'segments' | 'replace' | 'settled'> {
  readonly sockaddr: Uint8Array | undefined
  /** Encoded. */
  readonly control: Uint8Array
  /** Duplicates, ours to close. */
  readonly descriptors: readonly OwnedFd[]
}

/** A datagram that the kernel refused. */
type Refused = FailedDatagram & Pick<SendOptions, 'segments' | 'replace' | 'settled'>

interface Flush {
  /** The value that #left must reach. */
  mark: number
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

/** Encodes control messages into a buffer of their own, together with that of the descriptors. */
function copyControl(control: readonly ControlMessage[] | Uint8Array, descriptors: readonly OwnedFd[]): Uint8Array {
  if (control instanceof Uint8Array) return Uint8Array.from(control)
  return encodeControl(descriptors.length === 0 ? control : [...control, rights(descriptors)])
}

/** The function is called for every datagram with options: names that it doesn't know are not looked for. */
function checkSendOptions(options: SendOptions): void {
  checkObject(options, 'options')
  const { control, descriptors, segments, replace, settled } = options
  if (control instanceof Uint8Array) {
    if (descriptors !== undefined && descriptors.length > 0) {
      throw new TypeError('descriptors go with a list of control messages, not a buffer')
    }
  } else if (control !== undefined) checkControl(control, 'control')
  if (segments !== undefined) checkInteger(segments, 1, 0xffff, 'segments')
  if (replace !== undefined) checkFunction(replace, 'replace')
  if (settled !== undefined) checkFunction(settled, 'settled')
}

function checkDatagrams(datagrams: readonly OutgoingDatagram[]): void {
  if (!Array.isArray(datagrams)) throw new TypeError(`datagrams must be an array, not ${describe(datagrams)}`)
  for (let i = 0; i < datagrams.length; i++) {
    const datagram = datagrams[i]
    checkObject(datagram, `datagrams[${i}]`)
    const { data, address, options } = datagram as OutgoingDatagram
    checkBytes(data, `datagrams[${i}].data`)
    if (address !== undefined) encodeAddress(address)
    if (options !== undefined) checkSendOptions(options)
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

const none: SendOptions = {}
const noBytes = new Uint8Array(0)

/** The most datagrams for each call. */
const BATCH = 32
