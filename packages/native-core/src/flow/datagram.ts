import { AsyncResource } from 'node:async_hooks'
import { type AddressLike, encodeAddress, type SocketAddress } from '../address.js'
import { ReceiveBatch, type ReceiveBatchOptions, SendBatch } from '../batch.js'
import { checkInteger } from '../codec.js'
import {
  AF_INET,
  AF_INET6,
  AF_PACKET,
  EPOLLERR,
  EPOLLHUP,
  EPOLLIN,
  EPOLLOUT,
  EPOLLRDHUP,
  MSG_CTRUNC,
  MSG_ERRQUEUE,
  MSG_TRUNC,
  SOCK_SEQPACKET,
} from '../constants.js'
import { type ControlMessage, controlSpace } from '../control.js'
import { errno } from '../errno.js'
import { SystemError } from '../error.js'
import { type AsFd, dup, type OwnedFd } from '../fd.js'
import { type IncomingMessage, recvMessage, rights } from '../message.js'
import { getOption } from '../option.js'
import { SO_DOMAIN, SO_ERROR, SO_TYPE } from '../options/socket.js'
import type { Socket } from '../socket.js'
import { type Watch, watch } from '../watch.js'

/** A datagram that was received. */
export interface IncomingDatagram {
  /** The bytes, cut to the size of the receive buffer. */
  readonly data: Buffer
  /** The true length in bytes: more than `data.length` when the datagram was cut. */
  readonly length: number
  /** The sender; `null` where it has no name. */
  readonly address: SocketAddress | null
  /** `MSG_TRUNC`: data was cut. `MSG_CTRUNC`: control messages were cut. `MSG_EOR` and others as the kernel set them. */
  readonly flags: number
  /** The control messages but those that passed descriptors; needs `receive.control`. */
  readonly control: readonly ControlMessage[]
  /** The descriptors that came along, yours to close. Empty when the message was cut (`MSG_CTRUNC`). */
  readonly descriptors: readonly OwnedFd[]
}

/**
 * The datagram that a handler is called with. It is one object used again and again: it is valid during the call only,
 * and whatever shall last longer is taken by `copy`. Each property is made when it is read, and costs nothing when it isn't.
 */
export interface DatagramView extends IncomingDatagram {
  /** The sender as bytes, overwritten by later datagrams; can be sent to as it is, which spares decoding and encoding. */
  readonly sockaddr: Uint8Array
  /** Descriptors that the handler doesn't read from here are closed when it returns. */
  readonly descriptors: readonly OwnedFd[]
  /** A copy that lasts. It takes over the descriptors. */
  copy(): IncomingDatagram
}

/** A datagram that could not be sent. */
export interface FailedDatagram {
  /** The bytes that were to be sent. */
  readonly data: Uint8Array
  /** Where to; undefined for the connected peer. */
  readonly address: AddressLike | undefined
}

/** What a `DatagramChannel` calls, always from the event loop and in the async context that made the channel. */
export interface DatagramHandlers {
  /**
   * Called with each datagram. Without it datagrams are read by iterating over the channel.
   * What it throws is an uncaught exception; the datagrams behind it are still delivered.
   */
  datagram?(datagram: DatagramView): void
  /**
   * Called with an error that the network has reported for the socket (`ECONNREFUSED`, `EHOSTUNREACH`, …), and, with
   * `failed`, for every datagram that the kernel refused to send (`EMSGSIZE`, `EPERM`, `ENETUNREACH`, …).
   * Neither ends the channel.
   */
  error(error: SystemError, failed?: FailedDatagram): void
  /** Called when the last queued datagram has left the queue: it is time to send more. */
  drain?(): void
  /** Called when nothing more can be received: after `shutdown(SHUT_RD)`, or when the peer of a `SOCK_SEQPACKET` has closed. */
  end?(): void
  /**
   * Called with each message of the socket's error queue: ICMP errors with `IP_RECVERR`, transmit timestamps, zero-copy
   * notices. `data` is valid during the call only. Without it the queue is emptied and counted, since a queue that is
   * not read would wake the loop for ever.
   */
  errorQueue?(message: IncomingMessage, data: Buffer): void
}

/** How much a channel takes at once, and how much may wait. */
export interface DatagramChannelOptions {
  /** The receive buffers: how many datagrams one call takes, and how long they may be. Default 32 of 2048 bytes, no control. */
  readonly receive?: ReceiveBatchOptions | undefined
  /** The most datagrams to receive, and to send from the queue, before the loop gets its turn. Default 256. */
  readonly budget?: number | undefined
  /** The most datagrams that may wait to be sent. Default 4096. */
  readonly queueDatagrams?: number | undefined
  /** The most **bytes** that may wait to be sent. Default 4 MiB. */
  readonly queueBytes?: number | undefined
  /** Closes the channel at once; what waits is rejected with the signal's reason. */
  readonly signal?: AbortSignal | undefined
}

/** What goes with a datagram. */
export interface SendOptions {
  /** Control messages, such as `IP_PKTINFO`. */
  readonly control?: readonly ControlMessage[] | undefined
  /** Descriptors to pass over a Unix socket. They may be closed as soon as `send` returns. */
  readonly descriptors?: readonly AsFd[] | undefined
}

/** Counts since the channel was made; the object is always up to date. */
export interface DatagramStatistics {
  /** Datagrams delivered. */
  readonly received: number
  /** Bytes delivered. */
  readonly receivedBytes: number
  /** Datagrams delivered that were cut (`MSG_TRUNC`). */
  readonly truncated: number
  /** Datagrams delivered whose control messages were cut (`MSG_CTRUNC`). */
  readonly controlTruncated: number
  /** Datagrams that the kernel took. */
  readonly sent: number
  /** Bytes that the kernel took. */
  readonly sentBytes: number
  /** Datagrams that the kernel refused, each of them reported. */
  readonly failed: number
  /** How often the socket would take no more (`EAGAIN`). */
  readonly wouldBlock: number
  /** How often the device would take no more (`ENOBUFS`). */
  readonly noBuffers: number
  /** The most datagrams that ever waited to be sent. */
  readonly queuePeak: number
  /** Messages taken from the error queue. */
  readonly errorQueue: number
}

/**
 * Receives and sends datagrams on Node's loop: recvmmsg(2) into buffers that are used again and again, and a bounded queue
 * for what the kernel doesn't take at once, sent by sendmmsg(2). For UDP, for Unix datagrams and for `SOCK_SEQPACKET`.
 *
 *     const channel = new DatagramChannel(socket, {
 *       datagram: ({ data, sockaddr }) => channel.send(data, sockaddr),
 *       error: (error) => console.error(error.message),
 *     })
 *
 * Without a `datagram` handler it is read by iterating, in copies:
 *
 *     for await (const { data, address } of channel) console.log(data.toString(), address)
 *
 * Receiving is paced by who receives: while the channel is paused, or its iterator isn't asked for more, at most one batch
 * waits here and the kernel's buffer (`SO_RCVBUF`) holds the rest. What doesn't fit there the kernel drops, as it always
 * does with datagrams; `SO_RXQ_OVFL` counts them.
 *
 * The channel owns the socket: close the channel, not the socket.
 */
export class DatagramChannel implements AsyncIterable<IncomingDatagram>, Disposable, AsyncDisposable {
  /** To set options and read addresses. */
  readonly socket: Socket
  readonly #handlers: DatagramHandlers
  readonly #budget: number
  readonly #queueDatagrams: number
  readonly #queueBytes: number
  readonly #signal: AbortSignal | undefined
  readonly #watch: Watch
  readonly #hasErrorQueue: boolean
  readonly #isSeqpacket: boolean
  readonly #statistics = {
    received: 0,
    receivedBytes: 0,
    truncated: 0,
    controlTruncated: 0,
    sent: 0,
    sentBytes: 0,
    failed: 0,
    wouldBlock: 0,
    noBuffers: 0,
    queuePeak: 0,
    errorQueue: 0,
  }

  // Received, and not yet delivered: messages #at … #count − 1 of the batch.
  readonly #batch: ReceiveBatch
  readonly #view: BatchView
  #at = 0
  #count = 0
  #waiting: Waiting[] = []
  #paused = false
  /** Consecutive turns in which receiving failed. */
  #faults = 0
  /** The kernel says that no more will come, but what came before may still be there. */
  #readClosed = false
  #ended = false

  // To be sent: the first `#outgoing.pending` of the queue have been copied into #outgoing.
  readonly #queue: Queued[] = []
  #queuedBytes = 0
  #outgoing: SendBatch | undefined
  /** What the next #outgoing has room for, and what the present one has. */
  #room: Room = { capacity: 65_536, control: 0 }
  #outgoingRoom: Room | undefined
  /** Datagrams that have ever left the queue. */
  #left = 0
  #flushes: Flush[] = []
  /** Of the last timer that sending waited for, in milliseconds; 0 when it went on since. */
  #delay = 0

  #closing = false
  #closed = false
  #reason: unknown
  /** The watch is over because the socket reports nothing but its hang-up any more. */
  #hungUp = false
  #referenced = true
  #sendTimer: NodeJS.Timeout | undefined
  #readTimer: NodeJS.Timeout | undefined
  #turn: NodeJS.Immediate | undefined

  // These may start in the context of whoever sends or resumes, but handlers run in that of whoever made the channel.
  readonly #context = new AsyncResource('LinuxSocketsDatagrams')
  readonly #onAbort = () => this.#destroy(this.#signal?.reason)

  /**
   * Takes over the socket, which must be non-blocking, and receives at once when there is a `datagram` handler.
   * @throws SystemError `EBADF`, `ENOTSOCK`; the socket is then still the caller's
   */
  constructor(socket: Socket, handlers: DatagramHandlers, options: DatagramChannelOptions = {}) {
    const { receive, budget = 256, queueDatagrams = 4096, queueBytes = 4 << 20, signal } = options
    if (typeof handlers?.error !== 'function') throw new TypeError('handlers.error must be a function')
    checkInteger(budget, 1, 0x7fff_ffff, 'budget')
    checkInteger(queueDatagrams, 1, 0x7fff_ffff, 'queueDatagrams')
    checkInteger(queueBytes, 1, 0x7fff_ffff, 'queueBytes')
    signal?.throwIfAborted()
    this.socket = socket
    this.#handlers = handlers
    this.#budget = budget
    this.#queueDatagrams = queueDatagrams
    this.#queueBytes = queueBytes
    this.#signal = signal
    this.#batch = new ReceiveBatch(receive)
    this.#view = new BatchView(this.#batch)
    // Elsewhere MSG_ERRQUEUE is not heeded, and would take a datagram that isn't an error.
    this.#hasErrorQueue = [AF_INET, AF_INET6, AF_PACKET].includes(getOption(socket, SO_DOMAIN))
    this.#isSeqpacket = getOption(socket, SO_TYPE) === SOCK_SEQPACKET
    this.#watch = watch(socket, handlers.datagram === undefined ? 0 : READ, (events) => this.#ready(events), {
      ended: () => this.#destroy(new SystemError(errno.EBADF, 'epoll_wait', 'closed while the channel was open')),
    })
    signal?.addEventListener('abort', this.#onAbort)
  }

  /** Counts since the channel was made. */
  get statistics(): DatagramStatistics {
    return this.#statistics
  }

  /** Datagrams that wait to be sent. */
  get queuedDatagrams(): number {
    return this.#queue.length
  }

  /** Bytes that wait to be sent. */
  get queuedBytes(): number {
    return this.#queuedBytes
  }

  /** Whether the socket has been closed. */
  get closed(): boolean {
    return this.#closed
  }

  /**
   * Sends one datagram, to the connected peer when there is no address. Datagrams leave in the order of their `send`.
   *
   * Returns true when the kernel took it or refused it, false when it waits here in a copy because the kernel can't take
   * it yet: then `drain`, or `flush()`, tells when to go on. A refusal is reported to the `error` handler after this call
   * has returned, never thrown. On a Unix socket without a peer one full receiver keeps those behind it waiting.
   *
   * @throws SystemError `ENOBUFS` when the queue is full: this datagram is not sent. `EBADF` once `close` was called
   * @throws TypeError, RangeError for arguments that can't be sent
   */
  send(data: Uint8Array, address?: AddressLike, options?: SendOptions): boolean {
    if (this.#closing) throw new SystemError(errno.EBADF, 'send', 'the channel is closed')
    if (!(data instanceof Uint8Array)) throw new TypeError('data must be a Uint8Array')
    if (this.#queue.length > 0) {
      this.#enqueue(data, address, options)
      return false
    }
    const outcome = this.#attempt(() => transmit(this.socket, data, address, options))
    if (outcome instanceof SystemError) {
      this.#refuse(outcome, { data: Uint8Array.from(data), address })
    } else if (typeof outcome === 'number') {
      this.#countSent(1, data.length)
    } else {
      this.#enqueue(data, address, options)
      this.#hold(outcome, true)
      return false
    }
    return true
  }

  /**
   * Resolves when every datagram that was sent before has been taken or refused by the kernel.
   * Rejects with `ECANCELED` when the channel is closed before that, or with the reason of its signal.
   */
  flush(): Promise<void> {
    if (this.#queue.length === 0) return Promise.resolve()
    return new Promise((resolve, reject) => {
      this.#flushes.push({ mark: this.#left + this.#queue.length, resolve, reject })
    })
  }

  /** Stops receiving. Errors are still reported, and sending goes on. */
  pause(): void {
    this.#paused = true
  }

  /** Receives again. */
  resume(): void {
    this.#paused = false
    this.#arm()
  }

  /** Keeps the process alive while the channel is open. This is the default. */
  ref(): this {
    this.#referenced = true
    this.#watch.ref()
    this.#sendTimer?.ref()
    this.#readTimer?.ref()
    return this
  }

  /** Lets the process end although the channel is open. */
  unref(): this {
    this.#referenced = false
    this.#watch.unref()
    this.#sendTimer?.unref()
    this.#readTimer?.unref()
    return this
  }

  /**
   * Datagrams in copies. The iterator ends when the channel is closed or nothing more can be received; leaving a loop
   * doesn't close the channel. Several iterators share the datagrams.
   * @throws TypeError when there is a `datagram` handler
   */
  [Symbol.asyncIterator](): AsyncIterableIterator<IncomingDatagram> {
    if (this.#handlers.datagram !== undefined) throw new TypeError('this channel gives its datagrams to a handler')
    const iterator: AsyncIterableIterator<IncomingDatagram> = {
      next: () => this.#next(iterator),
      return: async () => {
        for (const { resolve } of this.#waiting.filter(({ owner }) => owner === iterator)) resolve(DONE)
        this.#waiting = this.#waiting.filter(({ owner }) => owner !== iterator)
        return DONE
      },
      [Symbol.asyncIterator]: () => iterator,
    }
    return iterator
  }

  /**
   * Stops receiving, and closes the socket: at once, dropping what waits to be sent, or with `flush` when all of it is
   * sent. Closing again at once gives up a flush; the promise of the first call then rejects with `ECANCELED`.
   */
  async close({ flush = false }: { readonly flush?: boolean } = {}): Promise<void> {
    this.#closing = true
    this.#stopReading()
    if (flush) await this.flush()
    this.#destroy()
  }

  /** Closes at once. */
  [Symbol.dispose](): void {
    void this.close()
  }

  /** Closes when all is sent. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close({ flush: true })
  }

  #ready(events: number): void {
    if ((events & EPOLLERR) !== 0) this.#takeErrors()
    if ((events & (EPOLLRDHUP | EPOLLHUP)) !== 0) this.#readClosed = true
    if ((events & EPOLLHUP) !== 0) {
      // It would be reported for ever, whatever is watched for.
      this.#hungUp = true
      this.#watch.stop()
    }
    if ((events & (EPOLLOUT | EPOLLHUP)) !== 0) this.#sendQueued()
    if (this.#isWanted) this.#read()
    else if ((events & READ) !== 0) this.#watch.update(this.#watch.events & ~READ)
  }

  /** Whether anyone wants a datagram now. */
  get #isWanted(): boolean {
    if (this.#paused || this.#ended || this.#readTimer !== undefined) return false
    return this.#handlers.datagram !== undefined || this.#waiting.length > 0
  }

  /** Sees to it that what is wanted comes. Interest that is needed no more is dropped when it is next reported. */
  #arm(): void {
    if (!this.#isWanted) return
    if (this.#hungUp || this.#at < this.#count) this.#takeTurn()
    else this.#watch.update(this.#watch.events | READ)
  }

  #next(owner: unknown): Promise<IteratorResult<IncomingDatagram>> {
    return new Promise((resolve, reject) => {
      if (this.#closed && this.#reason !== undefined) reject(this.#reason)
      else if (this.#ended || this.#closing) resolve(DONE)
      else {
        this.#waiting.push({ owner, resolve, reject })
        this.#deliver()
        this.#arm()
      }
    })
  }

  #read(): void {
    let budget = this.#budget
    let drained = false
    try {
      for (;;) {
        this.#deliver()
        if (!this.#isWanted || drained || budget <= 0) break
        const count = this.#receive()
        if (count === 0) break
        budget -= count
        drained = count < this.#batch.count
      }
    } finally {
      // Also when a handler has thrown.
      this.#arm()
    }
  }

  /** Receives a batch. Returns how many datagrams it has. */
  #receive(): number {
    let count: number | null
    try {
      // With MSG_TRUNC the true length is known of those that are cut.
      count = this.#batch.receive(this.socket, MSG_TRUNC)
    } catch (error) {
      if (!(error instanceof SystemError)) throw error
      this.#report(error)
      this.#fault()
      return 0
    }
    this.#faults = 0
    this.#at = 0
    this.#count = count ?? 0
    if (count === null && this.#readClosed) this.#end()
    return this.#count
  }

  /** Hands out what was received, to all who want it. */
  #deliver(): void {
    while (this.#at < this.#count && this.#isWanted) {
      const i = this.#at++
      if (this.#isSeqpacket && this.#isEnd(i)) {
        this.#end()
        break
      }
      this.#countReceived(i)
      if (this.#handlers.datagram === undefined)
        this.#waiting.shift()?.resolve({ done: false, value: copyOf(this.#batch, i) })
      else this.#handle(i, this.#handlers.datagram)
    }
  }

  #handle(i: number, handler: (datagram: DatagramView) => void): void {
    this.#view.show(i)
    try {
      handler.call(this.#handlers, this.#view)
    } finally {
      this.#view.release()
    }
  }

  #isEnd(i: number): boolean {
    return this.#batch.length(i) === 0 && this.#batch.descriptors(i).length === 0
  }

  #countReceived(i: number): void {
    const flags = this.#batch.flags(i)
    this.#statistics.received++
    this.#statistics.receivedBytes += Math.min(this.#batch.length(i), this.#batch.size)
    if ((flags & MSG_TRUNC) !== 0) this.#statistics.truncated++
    if ((flags & MSG_CTRUNC) !== 0) this.#statistics.controlTruncated++
  }

  /** What the network reports is gone with the report; what comes again and again is something else. */
  #fault(): void {
    if (++this.#faults < FAULTS) return
    this.#faults = 0
    if (this.#hungUp) {
      this.#end()
    } else {
      this.#watch.update(this.#watch.events & ~READ)
      this.#readTimer = this.#timer(MAX_DELAY, () => {
        this.#readTimer = undefined
        this.#arm()
      })
    }
  }

  #end(): void {
    this.#stopReading()
    process.nextTick(() => this.#context.runInAsyncScope(() => this.#handlers.end?.()))
  }

  /** Nothing is delivered from now on. */
  #stopReading(): void {
    this.#ended = true
    while (this.#at < this.#count) for (const descriptor of this.#batch.descriptors(this.#at++)) descriptor.close()
    for (const { resolve } of this.#waiting.splice(0)) resolve(DONE)
  }

  /** Takes what makes the socket report EPOLLERR, since it would be reported for ever. */
  #takeErrors(): void {
    const pending = getOption(this.socket, SO_ERROR)
    if (pending !== 0) this.#report(new SystemError(pending, 'recvmmsg'))
    if (!this.#hasErrorQueue) return
    for (let left = this.#budget; left > 0; left--) {
      const message = recvMessage(this.socket, errorData, { control: errorControl, address: true, flags: MSG_ERRQUEUE })
      if (message === null) return
      this.#statistics.errorQueue++
      this.#handlers.errorQueue?.(message, errorData.subarray(0, message.length))
      if (this.#closed) return
    }
  }

  /**
   * The kernel answers a call with the error that an earlier datagram has met, and sends nothing: only what fails twice
   * has failed itself.
   */
  #attempt(send: () => number | null): Outcome {
    const first = outcomeOf(send)
    if (!(first instanceof SystemError)) return first
    const second = outcomeOf(send)
    if (!(second instanceof SystemError) || second.code !== first.code) this.#report(first)
    return second
  }

  #enqueue(data: Uint8Array, address?: AddressLike, { control = [], descriptors = [] }: SendOptions = {}): void {
    const { length } = this.#queue
    if (length >= this.#queueDatagrams || this.#queuedBytes + data.length > this.#queueBytes) {
      throw new SystemError(errno.ENOBUFS, 'send', `${length} datagrams of ${this.#queuedBytes} bytes wait already`)
    }
    const sockaddr = address && Uint8Array.from(encodeAddress(address))
    const messages: ControlMessage[] = control.map((message) => ({ ...message, data: Uint8Array.from(message.data) }))
    const held = dupAll(descriptors)
    if (held.length > 0) messages.push(rights(held))
    this.#queue.push({ data: Uint8Array.from(data), address, sockaddr, control: messages, descriptors: held })
    this.#queuedBytes += data.length
    this.#statistics.queuePeak = Math.max(this.#statistics.queuePeak, this.#queue.length)
    const room = messages.reduce((sum, message) => sum + controlSpace(message.data.length), 0)
    if (data.length > this.#room.capacity || room > this.#room.control) {
      this.#room = { capacity: Math.max(data.length, this.#room.capacity), control: Math.max(room, this.#room.control) }
    }
  }

  /** Sends from the queue what the kernel takes. */
  #sendQueued(): void {
    clearTimeout(this.#sendTimer)
    this.#sendTimer = undefined
    if (this.#queue.length === 0) return
    const before = this.#left
    let hold: Hold | undefined
    while (hold === undefined && this.#queue.length > 0 && this.#left - before < this.#budget) hold = this.#sendBatch()
    const moved = this.#left > before
    if (moved) this.#delay = 0
    if (this.#queue.length > 0) this.#hold(hold, moved)
    else this.#watch.update(this.#watch.events & ~EPOLLOUT)
    if (moved) this.#settle()
  }

  #sendBatch(): Hold | undefined {
    const batch = this.#load()
    const outcome = this.#attempt(() => batch.send(this.socket))
    if (typeof outcome === 'string') return outcome
    if (typeof outcome === 'number') {
      for (const { data } of this.#leave(outcome)) this.#countSent(1, data.length)
    } else {
      batch.skip()
      for (const failed of this.#leave(1)) this.#refuse(outcome, failed)
    }
    return undefined
  }

  /** The batch with what comes next, as much as fits. */
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
      for (const descriptor of descriptors) descriptor.close()
    }
    return gone
  }

  /**
   * Waits until the kernel takes more. Nothing tells when a device has room again, nor when the receivers have to whom a
   * Unix socket without a peer sends: it is writable all the time. Then only the clock helps.
   */
  #hold(hold: Hold | undefined, hopeful: boolean): void {
    if (hold === 'EAGAIN') this.#statistics.wouldBlock++
    if (hold === 'ENOBUFS') this.#statistics.noBuffers++
    if (hold === 'ENOBUFS' || !hopeful) {
      this.#delay = Math.min(this.#delay * 2 || 1, MAX_DELAY)
      this.#watch.update(this.#watch.events & ~EPOLLOUT)
      this.#sendTimer = this.#timer(this.#delay, () => this.#sendQueued())
    } else if (this.#hungUp) this.#takeTurn()
    else this.#watch.update(this.#watch.events | EPOLLOUT)
  }

  #settle(): void {
    const done = this.#flushes.filter(({ mark }) => mark <= this.#left)
    this.#flushes = this.#flushes.filter(({ mark }) => mark > this.#left)
    for (const { resolve } of done) resolve()
    if (this.#queue.length === 0 && !this.#closing) this.#handlers.drain?.()
  }

  #countSent(datagrams: number, bytes: number): void {
    this.#statistics.sent += datagrams
    this.#statistics.sentBytes += bytes
  }

  #refuse(error: SystemError, { data, address }: FailedDatagram): void {
    this.#statistics.failed++
    this.#report(error, { data, address })
  }

  /** Never from within a call of the user's, and never in the midst of our own work. */
  #report(error: SystemError, failed?: FailedDatagram): void {
    process.nextTick(() => this.#context.runInAsyncScope(() => this.#handlers.error(error, failed)))
  }

  #takeTurn(): void {
    const turn = () => {
      this.#turn = undefined
      if (this.#hungUp) this.#sendQueued()
      this.#read()
    }
    this.#turn ??= setImmediate(() => this.#context.runInAsyncScope(turn))
  }

  #timer(delay: number, task: () => void): NodeJS.Timeout {
    const timer = setTimeout(() => this.#context.runInAsyncScope(task), delay)
    if (!this.#referenced) timer.unref()
    return timer
  }

  #destroy(reason?: unknown): void {
    if (this.#closed) return
    this.#closing = true
    this.#closed = true
    this.#reason = reason
    this.#signal?.removeEventListener('abort', this.#onAbort)
    this.#watch.stop()
    clearTimeout(this.#sendTimer)
    clearTimeout(this.#readTimer)
    clearImmediate(this.#turn)
    if (reason !== undefined) for (const { reject } of this.#waiting.splice(0)) reject(reason)
    this.#stopReading()
    const unsent = this.#queue.length
    this.#leave(unsent)
    const canceled = reason ?? new SystemError(errno.ECANCELED, 'sendmmsg', `closed with ${unsent} datagrams unsent`)
    for (const { reject } of this.#flushes.splice(0)) reject(canceled)
    this.socket.close()
  }
}

const READ = EPOLLIN | EPOLLRDHUP

/** Turns in a row in which receiving fails before it takes a rest. */
const FAULTS = 16

/** The longest that sending waits before it tries again, in milliseconds. */
const MAX_DELAY = 64

const DONE: IteratorReturnResult<undefined> = { done: true, value: undefined }

/** Why the kernel takes no more for now: the socket's buffer is full, or the device's. */
type Hold = 'EAGAIN' | 'ENOBUFS'

/** Of a call that sends: what it returned, why it must wait, or what was wrong. */
type Outcome = number | Hold | SystemError

interface Waiting {
  /** The iterator that waits. */
  readonly owner: unknown
  resolve(result: IteratorResult<IncomingDatagram>): void
  reject(reason: unknown): void
}

interface Queued extends FailedDatagram {
  readonly sockaddr: Uint8Array | undefined
  readonly control: readonly ControlMessage[]
  /** Duplicates, ours to close. */
  readonly descriptors: readonly OwnedFd[]
}

interface Flush {
  /** What #left must reach. */
  readonly mark: number
  resolve(): void
  reject(reason: unknown): void
}

interface Room {
  readonly capacity: number
  readonly control: number
}

/** Datagram i of a batch, which changes under it. */
class BatchView implements DatagramView {
  readonly #batch: ReceiveBatch
  #i = 0
  #taken = false

  constructor(batch: ReceiveBatch) {
    this.#batch = batch
  }

  get data(): Buffer {
    return this.#batch.data(this.#i)
  }

  get length(): number {
    return this.#batch.length(this.#i)
  }

  get address(): SocketAddress | null {
    return this.#batch.address(this.#i)
  }

  get sockaddr(): Uint8Array {
    return this.#batch.sockaddr(this.#i)
  }

  get flags(): number {
    return this.#batch.flags(this.#i)
  }

  get control(): readonly ControlMessage[] {
    return this.#batch.control(this.#i)
  }

  get descriptors(): readonly OwnedFd[] {
    this.#taken = true
    return this.#batch.descriptors(this.#i)
  }

  copy(): IncomingDatagram {
    this.#taken = true
    return copyOf(this.#batch, this.#i)
  }

  show(i: number): void {
    this.#i = i
    this.#taken = false
  }

  release(): void {
    if (!this.#taken) for (const descriptor of this.#batch.descriptors(this.#i)) descriptor.close()
  }
}

function copyOf(batch: ReceiveBatch, i: number): IncomingDatagram {
  return {
    data: Buffer.from(batch.data(i)),
    length: batch.length(i),
    address: batch.address(i),
    flags: batch.flags(i),
    control: batch.control(i),
    descriptors: batch.descriptors(i),
  }
}

function transmit(socket: Socket, data: Uint8Array, address?: AddressLike, options?: SendOptions): number | null {
  if (options !== undefined) return socket.sendMessage({ data, address, ...options })
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

function dupAll(descriptors: readonly AsFd[]): OwnedFd[] {
  const copies: OwnedFd[] = []
  try {
    for (const descriptor of descriptors) copies.push(dup(descriptor))
    return copies
  } catch (error) {
    for (const copy of copies) copy.close()
    throw error
  }
}

// A thread reads one message at a time.
const errorData = Buffer.alloc(65_536)
const errorControl = new Uint8Array(1024)
