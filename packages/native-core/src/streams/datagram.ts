import { AsyncResource } from 'node:async_hooks'
import { onAbort } from '../abort.js'
import { type AddressLike, encodeAddress, type SocketAddress } from '../address.js'
import {
  checkBoolean,
  checkBytes,
  checkHandlers,
  checkInteger,
  checkObject,
  checkOptions,
  checkSignal,
  checkSocket,
  type NamesOf,
} from '../argument.js'
import { RECEIVE_BATCH_OPTIONS, ReceiveBatch, type ReceiveBatchOptions, SendBatch } from '../batch.js'
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
import { type ControlMessage, checkControl, controlSpace } from '../control.js'
import { errno } from '../errno.js'
import { SystemError } from '../error.js'
import { closeQuietly, dup, type FdLike, type OwnedFd, setNonBlocking } from '../fd.js'
import { closeAll, type IncomingMessage, recvMessage, rights } from '../message.js'
import { getOption } from '../option.js'
import { SO_DOMAIN, SO_ERROR, SO_TYPE } from '../options/socket.js'
import { orUndefined } from '../quietly.js'
import type { Socket } from '../socket.js'
import { addressOf } from '../text.js'
import { type Watch, watch } from '../watch.js'

/** A received datagram. */
export interface IncomingDatagram<Address extends SocketAddress = SocketAddress> {
  /** The bytes, cut to the size of the receive buffer. */
  readonly data: Buffer
  /** The true length in bytes: more than `data.length` when the datagram was cut. */
  readonly length: number
  /** The sender's address; `null` if the sender has no name. */
  readonly address: Address | null
  /** `MSG_TRUNC`: the data was cut. `MSG_CTRUNC`: control messages were cut. `MSG_EOR` and others as the kernel set them. */
  readonly flags: number
  /** The control messages, in the kernel's order; needs `receive.control`. Messages that carried descriptors have no data. */
  readonly control: readonly ControlMessage[]
  /**
   * The descriptors that came along, yours to close. Empty if the message was cut (`MSG_CTRUNC`), unless `keepTruncated` is
   * set.
   */
  readonly descriptors: readonly OwnedFd[]
  /** The process that sent the datagram, on a socket with `SO_PASSPIDFD`. Yours to close. */
  readonly pidfd: OwnedFd | undefined
}

/**
 * The datagram that a handler is called with. The channel reuses one object for all datagrams: it is valid only during the
 * call, and `copy` takes what must last longer. A property is decoded when it is read; a property that isn't read costs
 * nothing.
 */
export interface DatagramView<Address extends SocketAddress = SocketAddress> extends IncomingDatagram<Address> {
  /** The sender's address as bytes, overwritten by later datagrams. `send` takes it as it is, without decoding and encoding. */
  readonly sockaddr: Uint8Array
  /** Descriptors that the handler doesn't read from here are closed when the handler returns. */
  readonly descriptors: readonly OwnedFd[]
  /** Closed when the handler returns, unless the handler has read it from here. */
  readonly pidfd: OwnedFd | undefined
  /** Returns a copy that stays valid. The copy takes over the descriptors and the pidfd. */
  copy(): IncomingDatagram<Address>
}

/** A datagram that could not be sent. */
export interface FailedDatagram {
  /** The bytes that were to be sent. */
  readonly data: Uint8Array
  /** The destination; undefined for the connected peer. */
  readonly address: AddressLike | undefined
}

/** The functions that a `DatagramChannel` calls, always from the event loop and in the async context that made the channel. */
export interface DatagramHandlers<Address extends SocketAddress = SocketAddress> {
  /**
   * Called with each datagram. Without it, datagrams are read by iterating over the channel. An exception that it throws is
   * uncaught; the following datagrams are still delivered.
   */
  datagram?(datagram: DatagramView<Address>): void
  /**
   * Called with an error that the network has reported for the socket (`ECONNREFUSED`, `EHOSTUNREACH`, …), and, with
   * `failed`, for every datagram that the kernel refused to send (`EMSGSIZE`, `EPERM`, `ENETUNREACH`, …). Neither ends the
   * channel. `EBADF` without `failed`, reported once, does: other code has closed the socket.
   */
  error(error: SystemError, failed?: FailedDatagram): void
  /** Called when the last queued datagram has left the queue: the caller can send more. */
  drain?(): void
  /** Called when nothing more can be received: after `shutdown(SHUT_RD)`, or when the peer of a `SOCK_SEQPACKET` has closed. */
  end?(): void
  /**
   * Called with each message of the socket's error queue: ICMP errors with `IP_RECVERR`, transmit timestamps, zero-copy
   * notices. `data` is valid only during the call. Without this handler the channel empties the queue and counts the
   * messages, since an unread queue would wake the loop forever.
   */
  errorQueue?(message: IncomingMessage<Address>, data: Buffer): void
}

/** The sizes and limits of a channel. */
export interface DatagramChannelOptions {
  /** The receive buffers: the datagrams per call, and the bytes per datagram. Default 32 of 2048 bytes, no control. */
  readonly receive?: ReceiveBatchOptions | undefined
  /** The most datagrams to receive, and to send from the queue, before the event loop gets its turn. Default 256. */
  readonly budget?: number | undefined
  /** The most datagrams that may wait to be sent. Default 4096. */
  readonly queueDatagrams?: number | undefined
  /** The most **bytes** that may wait to be sent. Default 4 MiB. */
  readonly queueBytes?: number | undefined
  /** Closes the channel at once; pending promises are rejected with the signal's reason. */
  readonly signal?: AbortSignal | undefined
}

/** Control messages and descriptors that are sent along with a datagram. */
export interface SendOptions {
  /** Control messages, such as `IP_PKTINFO`. */
  readonly control?: readonly ControlMessage[] | undefined
  /** Descriptors to pass over a Unix socket. They may be closed as soon as `send` returns. */
  readonly descriptors?: readonly FdLike[] | undefined
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
  /** Datagrams that the kernel accepted. */
  readonly sent: number
  /** Bytes that the kernel accepted. */
  readonly sentBytes: number
  /** Datagrams that the kernel refused, each of them reported. */
  readonly failed: number
  /** How often the socket's send buffer was full (`EAGAIN`). */
  readonly wouldBlock: number
  /** How often the device's queue was full (`ENOBUFS`). */
  readonly noBuffers: number
  /** The most datagrams that ever waited to be sent. */
  readonly queuePeak: number
  /** Messages taken from the error queue. */
  readonly errorQueue: number
}

/**
 * Receives and sends datagrams on Node's loop. It receives with recvmmsg(2) into buffers that it reuses, and keeps what the
 * kernel doesn't take at once in a bounded queue, which it sends with sendmmsg(2). For UDP, Unix datagrams and
 * `SOCK_SEQPACKET`. The kernel has no event for room in a device's queue, nor in the receiver's queue of a Unix socket
 * without a peer; there the channel tries again by the clock, every 1 … 64 ms.
 *
 *     const channel = new DatagramChannel(socket, {
 *       datagram: ({ data, sockaddr }) => channel.send(data, sockaddr),
 *       error: (error) => console.error(error.message),
 *     })
 *
 * Without a `datagram` handler the channel is read by iterating, in copies:
 *
 *     for await (const { data, address } of channel) console.log(data.toString(), address)
 *
 * The reader sets the pace: while the channel is paused, or its iterator isn't asked for more, at most one batch waits in
 * the channel and the kernel's buffer (`SO_RCVBUF`) holds the rest. The kernel drops datagrams that don't fit there, as
 * always; `SO_RXQ_OVFL` counts them.
 *
 * The channel owns the socket: close the channel, not the socket. It makes the socket non-blocking; the flag belongs to the
 * open file, so other holders of that file see it, too.
 */
export class DatagramChannel<Address extends SocketAddress = SocketAddress>
  implements AsyncIterable<IncomingDatagram<Address>>, Disposable, AsyncDisposable
{
  /** The socket, for setting options and reading addresses. */
  readonly socket: Socket<Address>
  readonly #handlers: DatagramHandlers<Address>
  readonly #budget: number
  readonly #queueDatagrams: number
  readonly #queueBytes: number
  #ignoreSignal: (() => void) | undefined
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

  // Received and not yet delivered: messages #at … #count − 1 of the batch.
  readonly #batch: ReceiveBatch
  readonly #view: BatchView<Address>
  #at = 0
  #count = 0
  #waiting: Waiting<Address>[] = []
  #paused = false
  /** Consecutive turns in which receiving failed. */
  #faults = 0
  /** The kernel has reported that no more will come, but earlier datagrams may still be waiting. */
  #readClosed = false
  #ended = false

  // The send queue. Its first `#outgoing.pending` entries have been copied into #outgoing.
  readonly #queue: Queued[] = []
  #queuedBytes = 0
  #outgoing: SendBatch | undefined
  /** The room that the next #outgoing will have. #outgoingRoom is that of the present one. */
  #room: Room = { capacity: 65_536, control: 0 }
  #outgoingRoom: Room | undefined
  /** The count of datagrams that have ever left the queue. */
  #left = 0
  #flushes: Flush[] = []
  /** The delay of the last send timer, in milliseconds; 0 if sending has gone on since. */
  #delay = 0

  #closing = false
  #closed = false
  #reason: unknown
  /** The watch was stopped because the socket would report its hang-up forever. */
  #hungUp = false
  #referenced = true
  #sendTimer: NodeJS.Timeout | undefined
  #readTimer: NodeJS.Timeout | undefined
  #turn: NodeJS.Immediate | undefined

  // A task may start in the context of the caller of `send` or `resume`, but handlers run in the context that made the
  // channel.
  readonly #context = new AsyncResource('LinuxSocketsDatagrams')

  /**
   * Takes over the socket and makes it non-blocking, which every other holder of its open file sees. Receives at once if
   * there is a `datagram` handler.
   * @throws TypeError, RangeError for an invalid socket, handlers or options; the reason of a signal that is already
   * aborted
   * @throws SystemError `EBADF`, `ENOTSOCK`; the caller then still owns the socket
   */
  constructor(
    socket: Socket<Address>,
    handlers: DatagramHandlers<NoInfer<Address>>,
    options: DatagramChannelOptions = {},
  ) {
    checkSocket(socket, 'socket')
    checkHandlers(handlers, 'error', HANDLERS)
    checkOptions(options, 'options', OPTIONS)
    const { receive, budget = 256, queueDatagrams = 4096, queueBytes = 4 << 20, signal } = options
    checkInteger(budget, 1, 0x7fff_ffff, 'budget')
    checkInteger(queueDatagrams, 1, 0x7fff_ffff, 'queueDatagrams')
    checkInteger(queueBytes, 1, 0x7fff_ffff, 'queueBytes')
    if (receive !== undefined) checkOptions(receive, 'receive', RECEIVE_BATCH_OPTIONS)
    checkSignal(signal)
    signal?.throwIfAborted()
    this.socket = socket
    this.#handlers = handlers
    this.#budget = budget
    this.#queueDatagrams = queueDatagrams
    this.#queueBytes = queueBytes
    this.#batch = new ReceiveBatch(receive)
    this.#view = new BatchView(this.#batch)
    // Other families ignore MSG_ERRQUEUE, and the call would take a datagram that isn't an error.
    this.#hasErrorQueue = [AF_INET, AF_INET6, AF_PACKET].includes(getOption(socket, SO_DOMAIN))
    this.#isSeqpacket = getOption(socket, SO_TYPE) === SOCK_SEQPACKET
    setNonBlocking(socket)
    this.#watch = watch(socket, handlers.datagram === undefined ? 0 : READ, (events) => this.#ready(events), {
      ended: () => this.#lose('epoll_wait'),
    })
    this.#ignoreSignal = signal && onAbort(signal, () => this.#destroy(signal.reason))
  }

  /** Counts since the channel was made. */
  get statistics(): DatagramStatistics {
    return this.#statistics
  }

  /** The number of datagrams that wait to be sent. */
  get queuedDatagrams(): number {
    return this.#queue.length
  }

  /** The number of **bytes** that wait to be sent. */
  get queuedBytes(): number {
    return this.#queuedBytes
  }

  /** Whether the socket has been closed. */
  get closed(): boolean {
    return this.#closed
  }

  /**
   * Sends one datagram, to the connected peer if no address is given. An address may be text as `parseAddress` reads it.
   * Datagrams leave in the order of the calls.
   *
   * Returns true if the kernel took the datagram or refused it. Returns false if the kernel can't take it yet: then a copy
   * waits in the queue, and `drain` or `flush()` tells when to go on. A refusal is never thrown: the `error` handler gets
   * it after this call has returned. On a Unix socket without a peer, one full receiver delays all datagrams behind its
   * own.
   *
   * @throws SystemError `ENOBUFS` if the queue is full: this datagram is not sent. `EBADF` once `close` was called
   * @throws TypeError, RangeError for arguments that can't be sent
   */
  send(data: Uint8Array, address?: AddressLike | string, options?: SendOptions): boolean {
    if (typeof address === 'string') return this.send(data, addressOf(address), options)
    if (this.#closing) throw new SystemError(errno.EBADF, 'send', 'the channel is closed')
    checkBytes(data, 'data')
    if (options !== undefined) checkObject(options, 'options')
    if (this.#queue.length > 0) {
      this.#enqueue(data, address, options)
      return false
    }
    const outcome = this.#attempt(() => transmit(this.socket, data, address, options))
    if (outcome instanceof SystemError) {
      if (!this.#loseIfClosed(outcome)) this.#refuse(outcome, { data: Uint8Array.from(data), address })
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
   * Resolves when the kernel has taken or refused every datagram that was sent before. Rejects with `ECANCELED` if the
   * channel is closed before that, or with the reason of its signal.
   */
  flush(): Promise<void> {
    if (this.#queue.length === 0) return Promise.resolve()
    return new Promise((resolve, reject) => {
      this.#flushes.push({ mark: this.#left + this.#queue.length, resolve, reject })
      this.#loseIfClosed()
    })
  }

  /** Stops receiving. Errors are still reported, and sending goes on. */
  pause(): void {
    this.#paused = true
  }

  /** Resumes receiving. */
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
   * Iterates over the datagrams, in copies. The iterator ends when the channel is closed or nothing more can be received;
   * leaving the loop doesn't close the channel. Several iterators share the datagrams.
   * @throws TypeError if there is a `datagram` handler
   */
  [Symbol.asyncIterator](): AsyncIterableIterator<IncomingDatagram<Address>> {
    if (this.#handlers.datagram !== undefined) throw new TypeError('this channel passes its datagrams to a handler')
    const iterator: AsyncIterableIterator<IncomingDatagram<Address>> = {
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
   * Stops receiving, and closes the socket: at once, dropping what waits to be sent, or with `flush` after all of it is
   * sent. A second call without `flush` gives up a flush that is going on; the first call's promise then rejects with
   * `ECANCELED`.
   * @throws TypeError for invalid options; the channel then goes on
   */
  async close(options: { readonly flush?: boolean } = {}): Promise<void> {
    checkOptions(options, 'options', { flush: true })
    const { flush = false } = options
    checkBoolean(flush, 'flush')
    this.#closing = true
    this.#stopReading()
    if (flush) await this.flush()
    this.#destroy()
  }

  /** Closes at once. */
  [Symbol.dispose](): void {
    void this.close()
  }

  /** Closes after all queued datagrams are sent. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close({ flush: true })
  }

  #ready(events: number): void {
    if ((events & EPOLLERR) !== 0) this.#takeErrors()
    if ((events & (EPOLLRDHUP | EPOLLHUP)) !== 0) this.#readClosed = true
    if ((events & EPOLLHUP) !== 0) {
      // EPOLLHUP can't be masked: it would be reported forever.
      this.#hungUp = true
      this.#watch.stop()
    }
    if ((events & (EPOLLOUT | EPOLLHUP)) !== 0) this.#sendQueued()
    if (this.#isWanted) this.#read()
    else if ((events & READ) !== 0) this.#await(this.#watch.events & ~READ)
  }

  #await(events: number): void {
    try {
      this.#watch.modify(events)
    } catch {
      this.#lose('epoll_ctl')
    }
  }

  /** Whether a handler or an iterator wants a datagram now. */
  get #isWanted(): boolean {
    if (this.#paused || this.#ended || this.#readTimer !== undefined) return false
    return this.#handlers.datagram !== undefined || this.#waiting.length > 0
  }

  /**
   * Arms EPOLLIN, or delivers what is left of the batch, if a datagram is wanted. Stale interest is dropped on the next
   * event.
   */
  #arm(): void {
    if (!this.#isWanted) return
    if (this.#hungUp || this.#at < this.#count) this.#takeTurn()
    else this.#await(this.#watch.events | READ)
  }

  #next(owner: object): Promise<IteratorResult<IncomingDatagram<Address>>> {
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
      // Also after a handler has thrown.
      this.#arm()
    }
  }

  /** Receives a batch. Returns the number of its datagrams. */
  #receive(): number {
    // With MSG_TRUNC the kernel tells the true length of datagrams that are cut.
    const count = this.#ask(() => this.#batch.receive(this.socket, MSG_TRUNC))
    if (count === undefined) {
      if (!this.#closed) this.#fault()
      return 0
    }
    this.#faults = 0
    this.#at = 0
    this.#count = count ?? 0
    if (count === null && this.#readClosed) this.#end()
    return this.#count
  }

  /** Delivers received datagrams while they are wanted. */
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

  #handle(i: number, handler: (datagram: DatagramView<Address>) => void): void {
    this.#view.show(i)
    try {
      handler.call(this.#handlers, this.#view)
    } finally {
      this.#view.release()
    }
  }

  /** Whether message i, if it is empty, is the end of the connection, which comes without control messages. */
  #isEnd(i: number): boolean {
    if (this.#batch.length(i) > 0 || (this.#batch.flags(i) & MSG_CTRUNC) !== 0) return false
    return this.#batch.control(i).length === 0
  }

  #countReceived(i: number): void {
    const flags = this.#batch.flags(i)
    this.#statistics.received++
    this.#statistics.receivedBytes += Math.min(this.#batch.length(i), this.#batch.size)
    if ((flags & MSG_TRUNC) !== 0) this.#statistics.truncated++
    if ((flags & MSG_CTRUNC) !== 0) this.#statistics.controlTruncated++
  }

  /** Reporting a network error clears it; an error that persists is of another kind, so receiving then rests or ends. */
  #fault(): void {
    if (++this.#faults < FAULTS) return
    this.#faults = 0
    if (this.#hungUp) {
      this.#end()
    } else {
      this.#await(this.#watch.events & ~READ)
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

  /** Ends the delivery of datagrams for good. */
  #stopReading(): void {
    this.#ended = true
    while (this.#at < this.#count) this.#batch.drop(this.#at++)
    for (const { resolve } of this.#waiting.splice(0)) resolve(DONE)
  }

  /** Reads the pending error and the error queue; unread, they would make the socket report EPOLLERR forever. */
  #takeErrors(): void {
    const pending = this.#ask(() => getOption(this.socket, SO_ERROR))
    if (pending) this.#report(new SystemError(pending, 'recvmmsg'))
    if (!this.#hasErrorQueue) return
    const options = { control: errorControl, address: true, flags: MSG_ERRQUEUE }
    for (let left = this.#budget; left > 0 && !this.#closed; left--) {
      const message = this.#ask(() => recvMessage(this.socket, errorData, options))
      if (!message) return
      this.#statistics.errorQueue++
      this.#handlers.errorQueue?.(message, errorData.subarray(0, message.length))
    }
  }

  /** Calls `call` and returns its result; undefined if the call failed, after the error was reported. */
  #ask<T>(call: () => T): T | undefined {
    try {
      return call()
    } catch (error) {
      if (!(error instanceof SystemError)) throw error
      if (!this.#loseIfClosed(error)) this.#report(error)
      return undefined
    }
  }

  /**
   * The kernel may answer a call with the error of an earlier datagram, and then sends nothing: only a datagram that fails
   * twice has failed itself.
   */
  #attempt(send: () => number | null): Outcome {
    const first = outcomeOf(send)
    if (!(first instanceof SystemError)) return first
    const second = outcomeOf(send)
    if (!(second instanceof SystemError) || second.code !== first.code) this.#report(first)
    return second
  }

  #enqueue(data: Uint8Array, address?: AddressLike, { control = [], descriptors = [] }: SendOptions = {}): void {
    checkControl(control, 'control')
    rights(descriptors)
    const sockaddr = address === undefined ? undefined : Uint8Array.from(encodeAddress(address))
    const { length } = this.#queue
    if (length >= this.#queueDatagrams || this.#queuedBytes + data.length > this.#queueBytes) {
      throw new SystemError(errno.ENOBUFS, 'send', `${length} datagrams of ${this.#queuedBytes} bytes wait already`)
    }
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

  /** Sends queued datagrams until the kernel takes no more or the budget is used up. */
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
    else this.#await(this.#watch.events & ~EPOLLOUT)
    if (moved) this.#settle()
  }

  #sendBatch(): Hold | undefined {
    const batch = this.#load()
    const outcome = this.#attempt(() => batch.send(this.socket))
    if (typeof outcome === 'string') return outcome
    if (typeof outcome === 'number') {
      for (const { data } of this.#leave(outcome)) this.#countSent(1, data.length)
    } else if (!this.#loseIfClosed(outcome)) {
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
    if (hold === 'EAGAIN') this.#statistics.wouldBlock++
    if (hold === 'ENOBUFS') this.#statistics.noBuffers++
    if (hold === 'ENOBUFS' || !hopeful) {
      this.#delay = Math.min(this.#delay * 2 || 1, MAX_DELAY)
      this.#await(this.#watch.events & ~EPOLLOUT)
      this.#sendTimer = this.#timer(this.#delay, () => this.#sendQueued())
    } else if (this.#hungUp) this.#takeTurn()
    else this.#await(this.#watch.events | EPOLLOUT)
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

  /** Never called synchronously: neither the caller's code nor the channel's is in the middle of its work then. */
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

  /**
   * Ends the channel if other code has closed the socket; an `error` may be that of something else, such as a passed
   * descriptor.
   */
  #loseIfClosed(error?: SystemError): boolean {
    if (error !== undefined && error.code !== 'EBADF' && error.code !== 'ENOTSOCK') return false
    if (isSocket(this.socket)) return false
    this.#lose(error?.syscall ?? 'getsockopt')
    return true
  }

  /** Ends the channel after other code has closed the socket. The number may be another file's by now, so the errno varies. */
  #lose(syscall: string): void {
    if (this.#closed) return
    const error = new SystemError(errno.EBADF, syscall, 'closed while the channel was open')
    this.#report(error)
    this.#destroy(error)
  }

  #destroy(reason?: unknown): void {
    if (this.#closed) return
    this.#closing = true
    this.#closed = true
    this.#reason = reason
    this.#ignoreSignal?.()
    // Other code has closed the descriptor, and its number may belong to another file: release it instead of closing it.
    if (!isSocket(this.socket)) this.socket.release()
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
    closeQuietly(this.socket)
  }
}

const READ = EPOLLIN | EPOLLRDHUP

/** The number of consecutive turns in which receiving may fail before it rests. */
const FAULTS = 16

/** The longest delay before sending is tried again, in milliseconds. */
const MAX_DELAY = 64

const DONE: IteratorReturnResult<undefined> = { done: true, value: undefined }

/** Why the kernel takes no more for now: the socket's buffer or the device's queue is full. */
type Hold = 'EAGAIN' | 'ENOBUFS'

/** The outcome of a call that sends: its result, why it must wait, or its error. */
type Outcome = number | Hold | SystemError

interface Waiting<Address extends SocketAddress> {
  /** The iterator that waits. */
  readonly owner: object
  resolve(result: IteratorResult<IncomingDatagram<Address>>): void
  reject(reason: unknown): void
}

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

/** Shows message i of a batch; the batch changes under it. */
class BatchView<Address extends SocketAddress> implements DatagramView<Address> {
  readonly #batch: ReceiveBatch
  #i = 0

  constructor(batch: ReceiveBatch) {
    this.#batch = batch
  }

  get data(): Buffer {
    return this.#batch.data(this.#i)
  }

  get length(): number {
    return this.#batch.length(this.#i)
  }

  get address(): Address | null {
    return this.#batch.address(this.#i) as Address | null
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
    return this.#batch.descriptors(this.#i)
  }

  get pidfd(): OwnedFd | undefined {
    return this.#batch.pidfd(this.#i)
  }

  copy(): IncomingDatagram<Address> {
    return copyOf(this.#batch, this.#i)
  }

  show(i: number): void {
    this.#i = i
  }

  release(): void {
    this.#batch.drop(this.#i)
  }
}

const HANDLERS: NamesOf<DatagramHandlers> = { datagram: true, error: true, drain: true, end: true, errorQueue: true }

const OPTIONS: NamesOf<DatagramChannelOptions> = {
  receive: true,
  budget: true,
  queueDatagrams: true,
  queueBytes: true,
  signal: true,
}

function copyOf<Address extends SocketAddress>(batch: ReceiveBatch, i: number): IncomingDatagram<Address> {
  return {
    data: Buffer.from(batch.data(i)),
    length: batch.length(i),
    address: batch.address(i) as Address | null,
    flags: batch.flags(i),
    control: batch.control(i),
    descriptors: batch.descriptors(i),
    pidfd: batch.pidfd(i),
  }
}

function isSocket(socket: Socket): boolean {
  return orUndefined(() => getOption(socket, SO_TYPE)) !== undefined
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

// One buffer per thread: a thread reads one message at a time.
const errorData = Buffer.alloc(65_536)
const errorControl = new Uint8Array(1024)
