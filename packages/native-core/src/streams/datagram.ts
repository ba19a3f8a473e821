import { onAbort } from '../abort.js'
import type { AddressLike, SocketAddress } from '../address.js'
import { checkHandlers, checkInteger, checkOptions, checkSignal, checkSocket, type NamesOf } from '../argument.js'
import { RECEIVE_BATCH_OPTIONS, ReceiveBatch } from '../batch.js'
import { EPOLLERR, EPOLLHUP, EPOLLOUT } from '../constants.js'
import { errno } from '../errno.js'
import { SystemError } from '../error.js'
import type { Socket } from '../socket.js'
import { addressOf } from '../text.js'
import { ErrorQueue } from './datagram/errors.js'
import { Inbox, READ } from './datagram/inbox.js'
import { Outbox } from './datagram/outbox.js'
import type {
  DatagramChannelOptions,
  DatagramHandlers,
  DatagramStatistics,
  IncomingDatagram,
  OutgoingDatagram,
  SendOptions,
} from './datagram/types.js'
import { WatchedSocket } from './datagram/watched.js'

/**
 * Receives and sends datagrams on Node's loop. It receives with recvmmsg(2) into buffers that it reuses. Datagrams that the
 * kernel doesn't take at once wait in a bounded queue, which the channel sends with sendmmsg(2). For UDP, Unix datagrams and
 * `SOCK_SEQPACKET`. The kernel has no event for room in a device's queue, and none for room in the receiver's queue if a
 * Unix socket has no peer; there the channel retries by a timer, every 1 … 64 ms.
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
  readonly #watched: WatchedSocket<Address>
  readonly #inbox: Inbox<Address>
  readonly #outbox: Outbox
  readonly #errors: ErrorQueue<Address>
  readonly #ignoreSignal: (() => void) | undefined
  /** Keeps the process alive even after `unref`, so that the promise of `drain` settles. */
  #limit: NodeJS.Timeout | undefined

  /**
   * Takes over the socket and makes it non-blocking, which every other holder of its open file sees. Receives at once if
   * there is a `datagram` or a `batch` handler.
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
    const { receive, budget = 256, maxQueuedDatagrams = 4096, maxQueuedBytes = 4 << 20, signal } = options
    checkInteger(budget, 1, 0x7fff_ffff, 'budget')
    checkInteger(maxQueuedDatagrams, 1, 0x7fff_ffff, 'maxQueuedDatagrams')
    checkInteger(maxQueuedBytes, 1, 0x7fff_ffff, 'maxQueuedBytes')
    if (receive !== undefined) checkOptions(receive, 'receive', RECEIVE_BATCH_OPTIONS)
    checkSignal(signal)
    signal?.throwIfAborted()
    const batch = new ReceiveBatch(receive)
    this.socket = socket
    if (handlers.datagram !== undefined && handlers.batch !== undefined) {
      throw new TypeError('handlers must not have both datagram and batch')
    }
    const isHandled = handlers.datagram !== undefined || handlers.batch !== undefined
    this.#watched = new WatchedSocket(socket, isHandled ? READ : 0, {
      ready: (events) => this.#ready(events),
      turn: () => this.#turn(),
      error: (error, failed) => handlers.error(error, failed),
      lost: (error) => this.#end(error),
    })
    this.#inbox = new Inbox(this.#watched, handlers, batch, budget)
    this.#outbox = new Outbox(this.#watched, handlers, { budget, maxQueuedDatagrams, maxQueuedBytes })
    this.#errors = new ErrorQueue(this.#watched, handlers, budget)
    this.#ignoreSignal = signal && onAbort(signal, () => this.#end(signal.reason))
  }

  /** Counts since the channel was made, as a copy. */
  get statistics(): DatagramStatistics {
    return { ...this.#inbox.statistics, ...this.#outbox.statistics, errorQueue: this.#errors.taken }
  }

  /** The number of datagrams that wait to be sent. */
  get queuedDatagrams(): number {
    return this.#outbox.queuedDatagrams
  }

  /** The number of **bytes** that wait to be sent. */
  get queuedBytes(): number {
    return this.#outbox.queuedBytes
  }

  /** Whether the socket has been closed. */
  get closed(): boolean {
    return this.#watched.closed
  }

  /**
   * Sends one datagram, to the connected peer if no address is given. An address may be text as `parseAddress` reads it.
   * Datagrams leave in the order of the calls.
   *
   * Returns true if the kernel took the datagram or refused it. Returns false if the kernel can't take it yet: then a copy
   * waits in the queue, and `flush()` or the `drain` handler tells when to go on. A refusal is never thrown: the `error`
   * handler gets it after this call has returned. On a Unix socket without a peer, a datagram for a receiver whose queue is
   * full delays all datagrams behind it.
   *
   * @throws SystemError `ENOBUFS` if the queue is full: this datagram is not sent. `EBADF` once `close` or `drain` was called
   * @throws TypeError, RangeError for arguments that can't be sent
   */
  send(data: Uint8Array, address?: AddressLike | string, options?: SendOptions): boolean {
    return this.#outbox.send(data, typeof address === 'string' ? addressOf(address) : address, options)
  }

  /**
   * Sends datagrams in their order, many with each sendmmsg(2). Returns as `send` does. Addresses are objects or bytes.
   * @throws SystemError `ENOBUFS` if the queue has no room for all of them: none is sent. `EBADF` as `send`
   * @throws TypeError, RangeError for a datagram that can't be sent: none is sent
   */
  sendBatch(datagrams: readonly OutgoingDatagram[]): boolean {
    return this.#outbox.sendBatch(datagrams)
  }

  /**
   * Sends one datagram as `send` does, and resolves when the kernel has taken it. If the queue is full, it waits for room; the
   * caller must not change the data until then. Rejects if the kernel refuses the datagram, which the `error` handler is then not
   * told, and as `flush` does if the channel is closed before.
   */
  sendAsync(data: Uint8Array, address?: AddressLike | string, options?: SendOptions): Promise<void> {
    return this.#outbox.sendAsync(data, typeof address === 'string' ? addressOf(address) : address, options)
  }

  /**
   * Resolves when the kernel has taken or refused every datagram that was sent before. Rejects with `ECANCELED` if the
   * channel is closed before that, with `ETIMEDOUT` if `drain` has given up, or with the reason of the channel's signal.
   */
  flush(): Promise<void> {
    return this.#outbox.flush()
  }

  /** Stops receiving. Errors are still reported, and sending goes on. */
  pause(): this {
    this.#inbox.pause()
    return this
  }

  /** Resumes receiving. */
  resume(): this {
    this.#inbox.resume()
    return this
  }

  /** Keeps the process alive while the channel is open. This is the default. */
  ref(): this {
    this.#watched.ref()
    return this
  }

  /** Lets the process end although the channel is open. */
  unref(): this {
    this.#watched.unref()
    return this
  }

  /**
   * Iterates over the datagrams, in copies. The iterator ends when the channel is closed or nothing more can be received;
   * leaving the loop doesn't close the channel. Several iterators share the datagrams.
   * @throws TypeError if there is a `datagram` handler
   */
  [Symbol.asyncIterator](): AsyncIterableIterator<IncomingDatagram<Address>> {
    return this.#inbox.iterate()
  }

  /**
   * Closes the socket at once. Datagrams that wait to be sent are lost, and the promises of `flush` and `drain` reject with
   * `ECANCELED`.
   */
  close(): void {
    this.#end()
  }

  /**
   * Stops receiving, and closes the socket once all queued datagrams are sent. Later calls of `send` throw. After `timeout`
   * **milliseconds**, 0 … 2³¹ − 1, the channel closes all the same: the datagrams that are left are lost, and the promise
   * rejects with `ETIMEDOUT`. It rejects as `flush` does if the channel is closed before. Without a timeout there is no limit.
   * A second call may set another timeout. The timeout keeps the process alive, even after `unref`.
   * @throws TypeError, RangeError for invalid options; the channel then goes on
   */
  async drain(options: { readonly timeout?: number | undefined } = {}): Promise<void> {
    checkOptions(options, 'options', { timeout: true })
    const { timeout } = options
    if (timeout !== undefined) checkInteger(timeout, 0, 0x7fff_ffff, 'timeout')
    if (this.closed) return
    this.#inbox.end()
    this.#outbox.finish()
    if (timeout !== undefined) {
      clearTimeout(this.#limit)
      this.#limit = setTimeout(() => this.#giveUp(timeout), timeout)
    }
    await this.flush()
    this.#end()
  }

  /** Closes at once. */
  [Symbol.dispose](): void {
    this.close()
  }

  /** Closes after all queued datagrams are sent. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.drain()
  }

  #ready(events: number): void {
    const areErrorsTaken = (events & EPOLLERR) === 0 || this.#errors.take()
    if ((events & EPOLLHUP) !== 0) {
      // The watch must last until all errors are taken. The kernel then reports the hang-up again.
      if (!areErrorsTaken) return
      this.#watched.hangUp()
    }
    if ((events & (EPOLLOUT | EPOLLHUP)) !== 0) this.#outbox.ready()
    this.#inbox.ready(events)
  }

  #turn(): void {
    if (this.#watched.hungUp) this.#outbox.ready()
    this.#inbox.read()
  }

  #giveUp(timeout: number): void {
    const detail = `${this.queuedDatagrams} datagrams not sent within ${timeout} ms (timeout)`
    this.#outbox.close(new SystemError(errno.ETIMEDOUT, 'sendmmsg', detail))
    this.#end()
  }

  #end(reason?: unknown): void {
    if (this.closed) return
    this.#ignoreSignal?.()
    clearTimeout(this.#limit)
    this.#watched.close()
    this.#inbox.end(reason)
    this.#outbox.close(reason)
  }
}

const HANDLERS: NamesOf<DatagramHandlers> = {
  datagram: true,
  batch: true,
  error: true,
  drain: true,
  end: true,
  errorQueue: true,
}

const OPTIONS: NamesOf<DatagramChannelOptions> = {
  receive: true,
  budget: true,
  maxQueuedDatagrams: true,
  maxQueuedBytes: true,
  signal: true,
}
