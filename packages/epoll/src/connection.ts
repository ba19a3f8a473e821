import { errno, formatAddress, Socket, type SocketAddress, SystemError } from '@linux-sockets/native-core'
import { EPOLLERR, EPOLLHUP, EPOLLIN, EPOLLOUT } from '@linux-sockets/native-core/constants'
import {
  checkBytes,
  checkDrainOptions,
  checkOptions,
  checkStreamOptions,
  closeQuietly,
  type NamesOf,
  orUndefined,
  refuseSelfConnection,
  resetOnClose,
  type WithNetNames,
  withNetNames,
} from '@linux-sockets/native-core/internal'
import { type DrainOptions, SocketStream, type SocketStreamOptions } from '@linux-sockets/native-core/streams'
import { type DeadlineOwner, Deadlines, type TimeoutKind } from './deadline.js'
import { pendingError } from './failure.js'
import type { Connection, ConnectionHandlers } from './handlers.js'
import type { Policy } from './options.js'
import type { Reactor } from './reactor.js'
import { Receiver, type ReceiverOwner } from './receiver.js'
import { protect, type Registration } from './registration.js'
import { READING, READING_AND_WRITING, Sender, type SenderOwner } from './sender.js'
import { type ConnectionStatistics, Tally } from './statistics.js'

/** An object that keeps track of connections, such as a server. */
export interface ConnectionOwner<State, Address extends SocketAddress> {
  /** Called before the handler of the same name. */
  open(connection: Connection<State, Address>): void
  /** Called before the handler of the same name. */
  close(connection: Connection<State, Address>): void
  /** Called before `close` if the connection becomes a stream. */
  becomes(stream: SocketStream<Address>): void
  /** Called when the socket is closed by the connection. */
  gone(): void
}

const Named: WithNetNames<typeof Object> = withNetNames(Object)

/**
 * The life of a connection: registered, then made by `begin`, open, closed. Programs see it as a `Connection`, which has the
 * documentation of its methods. `#closed` is set before any handler learns of the end, so that what such a handler calls does
 * nothing. The socket is closed after its registration has stopped, and `close` is the last handler, called once.
 */
export class LiveConnection<State, Address extends SocketAddress>
  extends Named
  implements Connection<State, Address>, ReceiverOwner, SenderOwner, DeadlineOwner
{
  state = undefined as State
  readonly #reactor: Reactor
  readonly #socket: Socket<Address>
  readonly #handlers: ConnectionHandlers<State, Address>
  readonly #policy: Policy
  readonly #owner: ConnectionOwner<State, Address> | undefined
  readonly #registration: Registration
  readonly #tally = new Tally()
  readonly #sender: Sender
  readonly #receiver: Receiver
  #deadlines: Deadlines | undefined
  /** The address of the peer while connect(2) is under way. */
  #connecting: Uint8Array | undefined
  /** Whether the handler `state` has returned. */
  #made = false
  /** Whether to close after the last byte without waiting for the peer's end. */
  #draining = false
  #closed = false
  /** The error by which bytes were lost. */
  #failure: Error | undefined
  /** Functions to call when the connection is closed. */
  #waiting: (() => void)[] | undefined

  /**
   * Registers a non-blocking stream socket. From `begin` on only the connection may close it.
   * @throws SystemError if it can't be registered: `EEXIST` if the reactor has it already, `ENOSPC`, `EBADF`
   */
  constructor(
    reactor: Reactor,
    socket: Socket<Address>,
    handlers: ConnectionHandlers<State, Address>,
    policy: Policy,
    { owner, connecting }: { owner?: ConnectionOwner<State, Address>; connecting?: Uint8Array | undefined } = {},
  ) {
    super()
    this.#reactor = reactor
    this.#socket = socket
    this.#handlers = handlers
    this.#policy = policy
    this.#owner = owner
    this.#connecting = connecting
    const events = connecting ? READING_AND_WRITING : READING
    this.#registration = reactor.register(socket, events, this.#handle, this.#lost, this)
    this.#sender = new Sender(this, socket, this.#registration, policy, this.#tally)
    this.#receiver = new Receiver(this, socket, this.#registration, this.#tally, policy.readsWhole)
  }

  /**
   * Makes the state, and calls `open` unless connect(2) is still under way. If this throws, the caller still owns the socket.
   * @throws what the handler `state` throws; SystemError `EBADF` if that has closed the reactor
   */
  begin(): this {
    try {
      this.state = this.#handlers.state?.(this as unknown as Connection<never, Address>) as State
      if (this.#reactor.closed) throw new SystemError(errno.EBADF, 'epoll_ctl', '(the reactor is closed)')
    } catch (error) {
      this.#registration.stop()
      throw error
    }
    this.#made = true
    const { limits } = this.#policy
    if (Deadlines.areNeeded(limits, this.connecting)) {
      this.#deadlines = new Deadlines(limits, this.#reactor.timers, this)
    }
    if (!this.connecting) this.#open()
    return this
  }

  get fd(): number {
    return this.#socket.fd
  }

  get localName(): Address | undefined {
    return orUndefined(() => this.#socket.localName)
  }

  get peerName(): Address | undefined {
    return orUndefined(() => this.#socket.peerName)
  }

  get connecting(): boolean {
    return this.#connecting !== undefined
  }

  get closed(): boolean {
    return this.#closed
  }

  get queuedBytes(): number {
    return this.#sender.queuedBytes
  }

  get bytesRead(): number {
    return this.#tally.bytesRead
  }

  get bytesWritten(): number {
    return this.#tally.bytesWritten
  }

  get statistics(): ConnectionStatistics {
    return this.#tally.copy()
  }

  write(data: Uint8Array | string): boolean {
    if (typeof data === 'string') return this.write(Buffer.from(data))
    checkBytes(data, 'data')
    this.#refuseUnmade()
    return this.#sender.write(data)
  }

  cork(): void {
    this.#refuseUnmade()
    this.#sender.cork()
  }

  uncork(): void {
    this.#refuseUnmade()
    this.#sender.uncork()
  }

  end(): void {
    this.#refuseUnmade()
    this.#sender.end()
  }

  drain(options: DrainOptions = {}): Promise<void> {
    this.#refuseUnmade()
    checkDrainOptions(options)
    const { timeout } = options
    if (!this.#closed) {
      this.#draining = true
      this.#receiver.pause()
      if (this.#sender.ending) this.#closeWhenDone()
      else this.#sender.end()
    }
    const late = () => this.broke(new SystemError(errno.ETIMEDOUT, 'drain', `(timeout, ${timeout} ms)`), true)
    if (timeout === 0) late()
    const drained = new Promise<void>((resolve, reject) => {
      const settle = () => (this.#failure === undefined ? resolve() : reject(this.#failure))
      if (this.#closed) return settle()
      const limit = timeout === undefined ? undefined : setTimeout(late, timeout).unref()
      this.#waiting ??= []
      this.#waiting.push(settle, () => clearTimeout(limit))
    })
    // The handler `error` is called as well.
    drained.catch(() => {})
    return drained
  }

  close(): void {
    this.#refuseUnmade()
    this.#close(false)
  }

  abort(): void {
    this.#refuseUnmade()
    this.#close(true)
  }

  pause(): this {
    this.#refuseUnmade()
    this.#receiver.pause()
    return this
  }

  resume(): this {
    this.#refuseUnmade()
    if (!this.#receiver.paused || this.#draining || this.#closed) return this
    this.#receiver.resume()
    // The end of connect(2) is reported as an edge of its own.
    if (this.connecting) return this
    this.#deadlines?.begin('read')
    // The edge may have been reported while reading was paused.
    this.#receiver.readLater()
    return this
  }

  ref(): this {
    this.#refuseUnmade()
    this.#registration.ref()
    return this
  }

  unref(): this {
    this.#refuseUnmade()
    this.#registration.unref()
    return this
  }

  toStream(options: Omit<SocketStreamOptions, 'watch'> = {}): SocketStream<Address> {
    checkOptions(options, 'options', TO_STREAM_OPTIONS)
    checkStreamOptions(options)
    this.#refuseUnmade()
    if (this.#closed || this.#sender.ending) {
      throw new SystemError(errno.EBADF, 'toStream', '(the connection has ended)')
    }
    if (this.connecting) throw new SystemError(errno.ENOTCONN, 'toStream')
    const pieces = this.#sender.pieces()
    const { referenced } = this.#registration
    this.#registration.stop()
    let socket: Socket<Address> | undefined
    let stream: SocketStream<Address>
    try {
      if (this.#socket.closed) throw new SystemError(errno.EBADF, 'toStream', '(other code has closed the connection)')
      socket = Socket.from(this.#socket)
      stream = new SocketStream(socket, { ...options, watch: this.#reactor.watch })
    } catch (error) {
      if (socket !== undefined) resetOnClose(socket)
      closeQuietly(socket)
      this.#close(false)
      throw error
    }
    if (!referenced) stream.unref()
    for (const piece of pieces) stream.write(piece)
    this.#owner?.becomes(stream)
    this.#closed = true
    this.#release(false)
    return stream
  }

  [Symbol.dispose](): void {
    this.close()
  }

  /** Called by the receiver. */
  received(chunk: Buffer): void {
    this.#deadlines?.begin('read')
    this.#handlers.data(this, chunk)
  }

  /** Called by the receiver. */
  peerEnded(): void {
    this.#deadlines?.begin('read')
    if (this.#handlers.end === undefined) this.#sender.end()
    else protect(() => this.#handlers.end?.(this))
    this.#closeWhenDone()
  }

  /** Called by the sender. */
  sending(): void {
    this.#deadlines?.begin('write')
  }

  /** Called by the sender. */
  drained(): void {
    protect(() => this.#handlers.drain?.(this))
  }

  /** Called by the sender. */
  finished(): void {
    this.#closeWhenDone()
  }

  /** Closes with an error. `cut`: whether bytes are lost that are no longer, or not yet, in the queue. */
  broke(error: Error, cut = false): void {
    if (this.#closed) return
    this.#closed = true
    this.#failure = error
    protect(() => this.#handlers.error?.(this, error))
    this.#release(cut, error)
    this.#owner?.gone()
  }

  /** Called by the deadlines. */
  isAwaited(kind: TimeoutKind): boolean {
    if (this.connecting) return kind === 'connect'
    switch (kind) {
      case 'connect':
        return false
      case 'read':
        return !this.#receiver.paused && !this.#receiver.ended
      case 'write':
        return this.#sender.queuedBytes > 0
      case 'idle':
        return true
    }
  }

  /** Called by the deadlines. */
  expire(kind: TimeoutKind): void {
    if (kind !== 'connect' && this.#handlers.timeout !== undefined) this.#handlers.timeout(this, kind)
    else {
      const where = this.#connecting === undefined ? '' : `${formatAddress(this.#connecting)} `
      const detail = `${where}(${kind}Timeout, ${this.#policy.limits[kind]} ms)`
      this.broke(new SystemError(errno.ETIMEDOUT, SYSCALL_OF[kind], detail))
    }
  }

  #refuseUnmade(): void {
    if (!this.#made) throw new TypeError('while its state is made, a connection can only be looked at')
  }

  #handle(events: number): void {
    if (this.#connecting !== undefined && !this.#connected(this.#connecting)) return
    // Read first: an error of a write would end the connection, and the bytes that came before would be lost.
    try {
      if ((events & ~EPOLLOUT) !== 0) this.#receiver.read((events & ~(EPOLLIN | EPOLLOUT)) !== 0)
      // After the peer's end no further read would report the error.
      if ((events & (EPOLLERR | EPOLLHUP)) !== 0 && (this.#receiver.ended || this.#draining))
        this.#breakIfFailed('recv')
    } finally {
      if ((events & EPOLLOUT) !== 0) this.#sender.writable()
    }
  }

  /** Called when the registration has ended: with the reactor, or because other code has closed the socket. */
  #lost(): void {
    if (!this.#made) return
    if (this.#reactor.closed) this.#close(false)
    else this.broke(new SystemError(errno.EBADF, 'epoll_wait', '(closed while the connection was open)'))
  }

  /** Whether connect(2) has succeeded and the connection goes on. */
  #connected(target: Uint8Array): boolean {
    this.#breakIfFailed('connect', formatAddress(target))
    if (this.#closed) return false
    try {
      refuseSelfConnection(this.#socket, target)
    } catch (error) {
      this.broke(error as Error)
      return false
    }
    this.#connecting = undefined
    this.#deadlines?.connected()
    this.#open()
    return !this.#closed
  }

  #open(): void {
    this.#owner?.open(this)
    protect(() => this.#handlers.open?.(this))
  }

  /** Breaks with the socket's pending error, if there is one. */
  #breakIfFailed(syscall: string, detail?: string): void {
    if (this.#closed) return
    const error = pendingError(this.#socket, syscall, detail)
    if (error !== undefined) this.broke(error)
  }

  #closeWhenDone(): void {
    if (this.connecting || this.#sender.queuedBytes > 0) return
    if ((this.#receiver.ended || this.#draining) && this.#sender.ending) this.#close(false)
  }

  #close(cut: boolean): void {
    if (this.#closed) return
    this.#closed = true
    if (cut || this.#sender.queuedBytes > 0) {
      this.#failure = new SystemError(errno.ECONNABORTED, 'drain', '(closed before everything was sent)')
    }
    this.#release(cut)
    this.#owner?.gone()
  }

  /** Closes the socket. If bytes are lost, the peer sees a reset, so that it does not take what it got for the whole. */
  #release(cut: boolean, error?: Error): void {
    if (cut || this.#sender.queuedBytes > 0) resetOnClose(this.#socket)
    this.#sender.clear()
    this.#deadlines?.stop()
    this.#registration.stop()
    closeQuietly(this.#socket, error)
    this.#owner?.close(this)
    protect(() => this.#handlers.close?.(this))
    for (const told of this.#waiting ?? []) told()
  }
}

const TO_STREAM_OPTIONS: NamesOf<Omit<SocketStreamOptions, 'watch'>> = {
  allowHalfOpen: true,
  signal: true,
  highWaterMark: true,
  readableHighWaterMark: true,
  writableHighWaterMark: true,
}

const SYSCALL_OF = { connect: 'connect', idle: 'recv', read: 'recv', write: 'send' } as const
