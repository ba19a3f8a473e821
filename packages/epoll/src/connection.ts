import {
  type AsFd,
  errno,
  formatAddress,
  getOption,
  Socket,
  type SocketAddress,
  SystemError,
  setNonBlocking,
} from '@linux-sockets/native-core'
import {
  AF_INET,
  AF_INET6,
  EPOLLERR,
  EPOLLET,
  EPOLLHUP,
  EPOLLIN,
  EPOLLOUT,
  EPOLLPRI,
  EPOLLRDHUP,
  SHUT_WR,
} from '@linux-sockets/native-core/constants'
import {
  checkBytes,
  checkHandlers,
  checkObject,
  checkOptions,
  checkSocket,
  checkStreamOptions,
  closeQuietly,
  describe,
  type NamesOf,
  netAddress,
  orUndefined,
  refuseSelfConnection,
  resetOnClose,
} from '@linux-sockets/native-core/internal'
import { SO_DOMAIN, SO_ERROR } from '@linux-sockets/native-core/options'
import { SocketStream, type SocketStreamOptions } from '@linux-sockets/native-core/streams'
import { Deadlines, type Limits, limitsOf, type TimeoutKind, type Timeouts } from './deadline.js'
import { WriteQueue } from './queue.js'
import type { Reactor } from './reactor.js'
import { protect, type Registration } from './registration.js'
import { ConnectionStatistics } from './statistics.js'

/** The handlers of connections; one object serves them all. `state` is required unless `State` may be undefined. */
export type Handlers<State = undefined, Address extends SocketAddress = SocketAddress> = ConnectionHandlers<
  State,
  Address
> &
  (undefined extends State ? unknown : Required<Pick<ConnectionHandlers<State, Address>, 'state'>>)

/** The handlers of connections; only `data` is required. */
export interface ConnectionHandlers<State, Address extends SocketAddress> {
  /**
   * Makes the state of each new connection, before any other handler is called for it. This handler may read the
   * connection's properties and keep it. Methods that act on it, such as `write` or `close`, throw a TypeError here; call
   * them in `open`. If this handler throws, the connection is not made. Without this handler the state is undefined.
   */
  state?(connection: Connection<never, Address>): State
  /** The connection is established. */
  open?(connection: Connection<State, Address>): void
  /** Bytes have arrived. `chunk` is overwritten after the call, so copy what you keep. */
  data(connection: Connection<State, Address>, chunk: Buffer): void
  /** The queue has fallen to its low mark after `write` returned false. */
  drain?(connection: Connection<State, Address>): void
  /** The peer has ended its side, and no more bytes follow. Without this handler the connection ends its own side, too. */
  end?(connection: Connection<State, Address>): void
  /** The connection broke: `ECONNRESET`, `ETIMEDOUT`, … `close` follows. */
  error?(connection: Connection<State, Address>, error: Error): void
  /** The connection is closed. This is always the last call, and is made once. */
  close?(connection: Connection<State, Address>): void
  /**
   * A timeout of `Timeouts` has expired. It starts again if the connection goes on. Without this handler the connection
   * breaks with `ETIMEDOUT`, as it always does after `connectTimeout`.
   */
  timeout?(connection: Connection<State, Address>, kind: 'idle' | 'read' | 'write'): void
}

/** The limits of a connection's write queue, and its timeouts. */
export interface ConnectionOptions extends Timeouts {
  /** The number of queued **bytes** from which `write` returns false. Default 64 KiB. */
  readonly highWaterMark?: number | undefined
  /** The number of queued **bytes** at which `drain` is called after that. Default: a quarter of `highWaterMark`. */
  readonly lowWaterMark?: number | undefined
  /** The most queued **bytes**. A write that would exceed it breaks the connection with `ENOBUFS`. Default 16 MiB. */
  readonly maxQueued?: number | undefined
}

/** The server of connections, which keeps track of them. */
export interface ConnectionOwner<State, Address extends SocketAddress> {
  /** Called before the handler of the same name. */
  open(connection: Connection<State, Address>): void
  /** Called before the handler of the same name. */
  close(connection: Connection<State, Address>): void
  /** Called before `close` if the connection becomes a stream. */
  becomes(stream: SocketStream<Address>): void
  /** Called when the socket is closed, by the connection or by the stream that was made of it. */
  gone(): void
}

/** The checked options of a connection; the connections of one server share them. */
export interface ConnectionPolicy {
  readonly lowWaterMark: number
  readonly highWaterMark: number
  readonly maxQueued: number
  readonly limits: Limits
  /** Whether a short read means that nothing is left to read. */
  readonly readsWhole: boolean
}

/** The options, and what only this package sets. */
export interface ConnectionSettings<State, Address extends SocketAddress> extends ConnectionOptions {
  /** Set if the options and the kind of socket were checked before. */
  readonly policy?: ConnectionPolicy | undefined
  /** The address of the peer, if connect(2) is still under way. */
  readonly connecting?: Uint8Array | undefined
  readonly owner?: ConnectionOwner<State, Address> | undefined
}

/** A connected stream socket in a reactor, edge-triggered. `state` belongs to the program. */
export class Connection<State = undefined, Address extends SocketAddress = SocketAddress> implements AsFd {
  /** The state that `Handlers.state` has made; undefined without that handler. */
  state: State
  readonly #reactor: Reactor
  readonly #socket: Socket<Address>
  readonly #handlers: ConnectionHandlers<State, Address>
  /** Undefined while the handler `state` runs. */
  readonly #registration: Registration | undefined
  readonly #queue = new WriteQueue()
  readonly #policy: ConnectionPolicy
  readonly #statistics = new ConnectionStatistics()
  readonly #deadlines: Deadlines | undefined
  readonly #owner: ConnectionOwner<State, Address> | undefined
  #connecting: Uint8Array | undefined
  /** Whether EPOLLOUT is on. */
  #armed: boolean
  #corks = 0
  #mustDrain = false
  #paused = false
  #peerEnded = false
  #ending = false
  /** Whether shutdown(2) was called. A second call would fail with `ENOTCONN` if the peer has ended, too. */
  #finished = false
  /** Whether to close after the last byte without waiting for the peer's end. */
  #closing = false
  #closed = false

  /**
   * Takes over a connected stream socket: from now on only the connection may close it. Makes the socket non-blocking, also
   * for every other holder of the same open file. If the constructor throws, the caller still owns the socket.
   * @throws SystemError if it can't be registered: `EEXIST` if the reactor has it already, `ENOSPC`, `EBADF`
   * @throws TypeError, RangeError if `socket` is not a socket, or a handler or an option is invalid
   */
  constructor(
    reactor: Reactor,
    socket: Socket<Address>,
    handlers: Handlers<State, NoInfer<Address>>,
    options: ConnectionOptions = {},
  ) {
    checkObject(options, 'options')
    const { connecting, owner, policy }: ConnectionSettings<State, Address> = options
    if (policy === undefined) {
      if (typeof reactor?.register !== 'function') {
        throw new TypeError(`reactor must be a Reactor, not ${describe(reactor)}`)
      }
      checkSocket(socket, 'socket')
      checkHandlers<ConnectionHandlers<State, Address>>(handlers, 'data', HANDLERS)
      checkOptions(options, 'options', CONNECTION_OPTIONS)
    }
    this.#reactor = reactor
    this.#socket = socket
    this.#handlers = handlers
    this.#owner = owner
    this.#connecting = connecting
    this.#armed = connecting !== undefined
    this.#policy = policy ?? policyOf(options, socket)
    // A socket that the reactor has accepted or opened is non-blocking already.
    if (owner === undefined && !connecting) setNonBlocking(socket)
    this.state = handlers.state?.(this as unknown as Connection<never, Address>) as State
    this.#registration = reactor.register(
      socket,
      connecting ? READING_AND_WRITING : READING,
      this.#handle,
      this.#lost,
      this,
    )
    const { limits } = this.#policy
    if (Deadlines.areNeeded(limits, connecting !== undefined)) {
      this.#deadlines = new Deadlines(
        limits,
        reactor.deadlines,
        (kind) => this.#isAwaited(kind),
        (kind) => this.#expire(kind),
      )
    }
    if (!connecting) this.#open()
  }

  /** The descriptor, for use with socket options; −1 once closed. */
  get fd(): number {
    return this.#socket.fd
  }

  /** getsockname(2): the local address. Undefined once the connection is closed. */
  get localName(): Address | undefined {
    return orUndefined(() => this.#socket.localName)
  }

  /**
   * The peer's address. For an accepted connection it is the address from accept4(2): it takes no system call, and stays
   * known after a reset and after the close. For any other connection getpeername(2) is called, and the address is
   * undefined while the socket is not connected.
   */
  get peerName(): Address | undefined {
    return orUndefined(() => this.#socket.peerName)
  }

  /** The local address as text, as in `net.Socket`: `'127.0.0.1'`. Undefined if `localName` is, or is neither IPv4 nor IPv6. */
  get localAddress(): string | undefined {
    return netAddress(this.localName)?.address
  }

  /** The local port. Undefined if `localAddress` is. */
  get localPort(): number | undefined {
    return netAddress(this.localName)?.port
  }

  /** `'IPv4'` or `'IPv6'`. Undefined if `localAddress` is. */
  get localFamily(): 'IPv4' | 'IPv6' | undefined {
    return netAddress(this.localName)?.family
  }

  /** The peer's address as text, as in `net.Socket`: `'127.0.0.1'`. Undefined if `peerName` is, or is neither IPv4 nor IPv6. */
  get remoteAddress(): string | undefined {
    return netAddress(this.peerName)?.address
  }

  /** The peer's port. Undefined if `remoteAddress` is. */
  get remotePort(): number | undefined {
    return netAddress(this.peerName)?.port
  }

  /** `'IPv4'` or `'IPv6'`. Undefined if `remoteAddress` is. */
  get remoteFamily(): 'IPv4' | 'IPv6' | undefined {
    return netAddress(this.peerName)?.family
  }

  /** **Bytes** in the write queue, which the kernel has not accepted yet. */
  get queued(): number {
    return this.#queue.length
  }

  /** Whether connect(2) is still under way. If it succeeds, `open` is called. */
  get connecting(): boolean {
    return this.#connecting !== undefined
  }

  /** Whether the connection is closed. */
  get closed(): boolean {
    return this.#closed
  }

  /** **Bytes** received so far. */
  get bytesRead(): number {
    return this.#statistics.bytesRead
  }

  /** **Bytes** that the kernel has accepted for sending so far. */
  get bytesWritten(): number {
    return this.#statistics.bytesWritten
  }

  /** The traffic so far, as a copy. */
  get statistics(): Readonly<ConnectionStatistics> {
    return this.#statistics.copy()
  }

  /**
   * Sends as much as the kernel accepts at once, and queues a copy of the rest, so the caller may reuse `data`. Text is sent
   * as UTF-8. Returns false when the queue has reached `highWaterMark`; `drain` or `close` is called later. After `end` and on
   * a closed connection the data is dropped, and the result is true, since there is nothing to wait for.
   */
  write(data: Uint8Array | string): boolean {
    if (typeof data === 'string') return this.write(Buffer.from(data))
    checkBytes(data, 'data')
    this.#refuseUnmade()
    if (this.#closed || this.#ending) return true
    let sent = 0
    if (this.#queue.length === 0 && this.#corks === 0 && !this.#connecting) {
      try {
        sent = this.#account(this.#socket.send(data), data.length)
      } catch (error) {
        this.#break(error as Error, true)
        return true
      }
    }
    if (sent < data.length) this.#enqueue(sent === 0 ? data : data.subarray(sent))
    return !this.#mustDrain || this.#closed
  }

  /**
   * Keeps data written from now on in the queue, and data queued before, too. Once `uncork` was called as often as `cork`, the
   * queue is sent with as few system calls as possible (`sendmsg`). `end` removes all corks, and after `end` this does nothing.
   */
  cork(): void {
    this.#refuseUnmade()
    if (!this.#ending) this.#corks++
  }

  /** Ends one `cork`. The last one sends the queued data. */
  uncork(): void {
    this.#refuseUnmade()
    if (this.#corks === 0) return
    if (--this.#corks === 0 && !this.#armed && this.#queue.length > 0) this.#flush()
  }

  /** Sends the queued data, then a FIN. The connection closes when the peer has ended, too. */
  end(): void {
    this.#refuseUnmade()
    if (this.#closed || this.#ending) return
    this.#ending = true
    this.#corks = 0
    if (this.#queue.length > 0 && !this.#armed) this.#flush()
    else if (this.#queue.length === 0 && !this.#connecting) this.#finish()
  }

  /**
   * Sends the queued data, then closes without waiting for the peer's end. If connect(2) is under way, it is completed first.
   * If the peer has sent bytes that were not read, or sends more later, the kernel resets the connection, and the peer can
   * lose what it has not read yet. To avoid this, use `end`.
   */
  close(): void {
    this.#refuseUnmade()
    if (this.#closed) return
    this.#closing = true
    this.#paused = true
    if (this.#ending) this.#closeWhenDone()
    else this.end()
  }

  /** Closes at once: queued data is dropped, and the peer sees a reset. */
  abort(): void {
    this.#refuseUnmade()
    this.#close(true)
  }

  /**
   * Stops reading: the kernel's buffer fills, and the peer must wait. The peer's end or reset is then noticed after `resume`,
   * behind the bytes that came before it. Without `resume` only a write or a timeout reveals a reset, and these bytes are lost.
   */
  pause(): void {
    this.#refuseUnmade()
    this.#paused = true
  }

  /** Reads again after `pause`. */
  resume(): void {
    this.#refuseUnmade()
    if (!this.#paused || this.#closing || this.#closed) return
    this.#paused = false
    // The end of connect(2) is reported as an edge of its own.
    if (this.#connecting) return
    this.#deadlines?.begin('read')
    // The edge may have been reported while reading was paused.
    this.#readLater()
  }

  /** Keeps the process alive while the connection is open. This is the default. */
  ref(): this {
    this.#place.ref()
    return this
  }

  /** Lets the process end although the connection is open. */
  unref(): this {
    this.#place.unref()
    return this
  }

  /**
   * Makes a standard `Duplex` of the connection, for `node:tls`, `node:http`, `stream.pipeline` or `Duplex.toWeb`. The stream
   * runs on the same reactor, first sends the data that is queued here, and keeps the process alive if the connection did.
   * The handlers see the connection close.
   * @throws SystemError `EBADF` if the connection is closed or has ended, `ENOTCONN` while it is connecting
   * @throws TypeError, RangeError if an option is invalid; the connection then goes on
   */
  toStream(options: Omit<SocketStreamOptions, 'watch'> = {}): SocketStream<Address> {
    checkOptions(options, 'options', TO_STREAM_OPTIONS)
    checkStreamOptions(options)
    if (this.#closed || this.#ending) throw new SystemError(errno.EBADF, 'toStream', 'the connection has ended')
    if (this.#connecting) throw new SystemError(errno.ENOTCONN, 'toStream')
    const pieces = this.#queue.pieces()
    const { referenced } = this.#place
    this.#place.close()
    let socket: Socket<Address> | undefined
    let stream: SocketStream<Address>
    try {
      if (this.#socket.closed) throw new SystemError(errno.EBADF, 'toStream', 'other code has closed the connection')
      socket = Socket.from(this.#socket)
      stream = new SocketStream(socket, { ...options, watch: this.#reactor.watch })
    } catch (error) {
      if (socket !== undefined) resetOnClose(socket)
      closeQuietly(socket)
      this.#close()
      throw error
    }
    if (!referenced) stream.unref()
    for (const piece of pieces) stream.write(piece)
    this.#owner?.becomes(stream)
    this.#closed = true
    this.#release(false)
    return stream
  }

  get #place(): Registration {
    this.#refuseUnmade()
    return this.#registration as Registration
  }

  #refuseUnmade(): void {
    if (this.#registration === undefined) {
      throw new TypeError('while its state is made, a connection can only be looked at')
    }
  }

  #handle(events: number): void {
    if (this.#connecting !== undefined && !this.#connected(this.#connecting)) return
    // Read first: an error of a write would end the connection, and the bytes that came before would be lost.
    try {
      if ((events & ~EPOLLOUT) !== 0) this.#read((events & ~(EPOLLIN | EPOLLOUT)) !== 0)
      // After the peer's end no further read would report the error.
      if ((events & (EPOLLERR | EPOLLHUP)) !== 0 && (this.#peerEnded || this.#closing)) this.#breakIfFailed('recv')
    } finally {
      if ((events & EPOLLOUT) !== 0 && this.#armed) this.#sendMore()
    }
  }

  /** Whether connect(2) has succeeded and the connection goes on. */
  #connected(target: Uint8Array): boolean {
    this.#breakIfFailed('connect', formatAddress(target))
    if (this.#closed) return false
    try {
      refuseSelfConnection(this.#socket, target)
    } catch (error) {
      this.#break(error as Error)
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

  /**
   * Drains the socket, up to a budget so that other connections get their turn. A short read means that nothing is left,
   * which saves the call that would only confirm it (epoll(7), question 9), unless an end, an error or urgent data follows
   * the bytes that were read.
   */
  #read(untilEnd: boolean): void {
    for (let reads = 0; !this.#paused && !this.#closed && !this.#peerEnded; reads++) {
      if (reads === READS_PER_TURN) {
        this.#readLater()
        return
      }
      let count: number | null
      try {
        count = this.#socket.recv(slab)
      } catch (error) {
        this.#break(error as Error)
        return
      }
      this.#countRead(count)
      if (count === null) return
      if (count === 0) {
        this.#endOfInput()
        return
      }
      try {
        this.#handlers.data(this, lend(count))
      } catch (error) {
        this.#readLater()
        throw error
      }
      if (count < SLAB_SIZE && this.#policy.readsWhole && !untilEnd) return
    }
  }

  #countRead(count: number | null): void {
    const mine = this.#statistics
    const all = this.#reactor.connectionTotals
    mine.reads++
    all.reads++
    if (count === null) {
      mine.wouldBlocks++
      all.wouldBlocks++
    } else {
      mine.bytesRead += count
      all.bytesRead += count
      this.#deadlines?.begin('read')
    }
  }

  /** Counts what a call has sent, and returns it. */
  #account(result: number | null, wanted: number): number {
    const mine = this.#statistics
    const all = this.#reactor.connectionTotals
    const sent = result ?? 0
    mine.writes++
    all.writes++
    mine.bytesWritten += sent
    all.bytesWritten += sent
    if (sent < wanted) {
      mine.wouldBlocks++
      all.wouldBlocks++
    }
    if (sent > 0) this.#deadlines?.begin('write')
    return sent
  }

  /** Reads in the next turn, since the edge is not reported again. It is not known whether an end or an error came with it. */
  #readLater(): void {
    if (!this.#closed) this.#place.again(EPOLLIN | EPOLLRDHUP)
  }

  #endOfInput(): void {
    this.#peerEnded = true
    if (this.#handlers.end === undefined) this.end()
    else protect(() => this.#handlers.end?.(this))
    this.#closeWhenDone()
  }

  /** Breaks with the socket's pending error (SO_ERROR), if there is one. */
  #breakIfFailed(syscall: string, detail?: string): void {
    if (this.#closed) return
    try {
      const failure = getOption(this.#socket, SO_ERROR)
      if (failure !== 0) throw new SystemError(failure, syscall, detail)
    } catch (error) {
      this.#break(error as Error)
    }
  }

  #enqueue(rest: Uint8Array): void {
    const queued = this.#queue.length + rest.length
    if (queued > this.#policy.maxQueued) {
      const { maxQueued } = this.#policy
      const detail = `(${queued} bytes would wait, more than maxQueued, ${maxQueued})`
      this.#break(new SystemError(errno.ENOBUFS, 'write', detail), true)
      return
    }
    const first = this.#queue.length === 0
    this.#queue.push(rest)
    if (first) this.#deadlines?.begin('write')
    const { connectionTotals } = this.#reactor
    if (queued > this.#statistics.queueHighWater) this.#statistics.queueHighWater = queued
    if (queued > connectionTotals.queueHighWater) connectionTotals.queueHighWater = queued
    if (queued >= this.#policy.highWaterMark) this.#mustDrain = true
    if (this.#corks === 0) this.#arm(true)
  }

  /** Turns EPOLLOUT on or off. It is on only while something is queued. */
  #arm(on: boolean): void {
    if (on === this.#armed) return
    this.#armed = on
    try {
      this.#place.modify(on ? READING_AND_WRITING : READING)
    } catch (error) {
      this.#break(error as Error)
    }
  }

  /** Sends the queue when the kernel accepts bytes again, unless the connection is corked. */
  #sendMore(): void {
    if (this.#corks === 0) this.#flush()
    else if (!this.#closed) this.#arm(false)
  }

  #flush(): void {
    if (this.#closed) return
    try {
      while (this.#queue.length > 0) {
        const pieces = this.#queue.pieces(PIECES_PER_CALL)
        const wanted = pieces.reduce((sum, piece) => sum + piece.length, 0)
        const sent = this.#account(this.#socket.sendMessage({ data: pieces }), wanted)
        this.#queue.shift(sent)
        if (sent < wanted) break
      }
    } catch (error) {
      this.#break(error as Error)
      return
    }
    this.#arm(this.#queue.length > 0)
    if (this.#closed) return
    if (this.#mustDrain && this.#queue.length <= this.#policy.lowWaterMark) {
      this.#mustDrain = false
      protect(() => this.#handlers.drain?.(this))
    }
    if (this.#ending && this.#queue.length === 0 && !this.#closed) this.#finish()
  }

  #finish(): void {
    if (this.#finished) return
    this.#finished = true
    try {
      this.#socket.shutdown(SHUT_WR)
    } catch (error) {
      // After a reset shutdown(2) fails with ENOTCONN, and the reason is the socket's pending error.
      this.#breakIfFailed('shutdown')
      this.#break(error as Error)
      return
    }
    this.#closeWhenDone()
  }

  #closeWhenDone(): void {
    if (this.#connecting || this.#queue.length > 0) return
    if ((this.#peerEnded || this.#closing) && this.#ending) this.#close()
  }

  /** Whether the timeout of that kind runs. */
  #isAwaited(kind: TimeoutKind): boolean {
    switch (kind) {
      case 'connect':
        return this.#connecting !== undefined
      case 'read':
        return this.#connecting === undefined && !this.#paused && !this.#peerEnded
      case 'write':
        return this.#connecting === undefined && this.#queue.length > 0
      case 'idle':
        return this.#connecting === undefined
    }
  }

  #expire(kind: TimeoutKind): void {
    if (kind !== 'connect' && this.#handlers.timeout !== undefined) this.#handlers.timeout(this, kind)
    else this.#break(new SystemError(errno.ETIMEDOUT, SYSCALL_OF[kind], this.#detailOf(kind)))
  }

  #detailOf(kind: TimeoutKind): string {
    const where = this.#connecting === undefined ? '' : `${formatAddress(this.#connecting)} `
    return `${where}(${kind}Timeout, ${this.#policy.limits[kind]} ms)`
  }

  /** Called when the registration has ended: with the reactor, or because other code has closed the socket. */
  #lost(): void {
    if (this.#reactor.closed) this.#close()
    else this.#break(new SystemError(errno.EBADF, 'epoll_wait', '(closed while the connection was open)'))
  }

  /** Closes with an error. `cut`: whether bytes are lost that are no longer, or not yet, in the queue. */
  #break(error: Error, cut = false): void {
    if (this.#closed) return
    // Set first, so that calls on the connection from within the handler do nothing.
    this.#closed = true
    protect(() => this.#handlers.error?.(this, error))
    this.#release(cut, error)
    this.#owner?.gone()
  }

  #close(cut = false): void {
    if (this.#closed) return
    this.#closed = true
    this.#release(cut)
    this.#owner?.gone()
  }

  /** Closes the socket. If bytes are lost, the peer sees a reset, so that it does not take what it got for the whole. */
  #release(cut: boolean, error?: Error): void {
    if (cut || this.#queue.length > 0) resetOnClose(this.#socket)
    this.#queue.clear()
    this.#deadlines?.stop()
    this.#place.close()
    closeQuietly(this.#socket, error)
    this.#owner?.close(this)
    protect(() => this.#handlers.close?.(this))
  }
}

export const HANDLERS: NamesOf<ConnectionHandlers<unknown, SocketAddress>> = {
  state: true,
  open: true,
  data: true,
  drain: true,
  end: true,
  error: true,
  close: true,
  timeout: true,
}

export const CONNECTION_OPTIONS: NamesOf<ConnectionOptions> = {
  highWaterMark: true,
  lowWaterMark: true,
  maxQueued: true,
  connectTimeout: true,
  idleTimeout: true,
  readTimeout: true,
  writeTimeout: true,
}

const TO_STREAM_OPTIONS: NamesOf<Omit<SocketStreamOptions, 'watch'>> = {
  allowHalfOpen: true,
  signal: true,
  highWaterMark: true,
  readableHighWaterMark: true,
  writableHighWaterMark: true,
}

/**
 * Checks the options, and reads the family of a socket that is of the same kind as the connections.
 * @throws TypeError, RangeError if an option is out of range
 */
export function policyOf(options: ConnectionOptions, socket: AsFd): ConnectionPolicy {
  return { ...checkedLimits(options), readsWhole: readsWhole(getOption(socket, SO_DOMAIN)) }
}

/** Whether a short read means that nothing is left. A Unix socket also stops at descriptors and at another writer's bytes. */
export function readsWhole(family: number): boolean {
  return family === AF_INET || family === AF_INET6
}

/**
 * Checks the options of a connection, and fills in the defaults.
 * @throws TypeError, RangeError if an option is out of range
 */
export function checkedLimits(options: ConnectionOptions): Omit<ConnectionPolicy, 'readsWhole'> {
  const { highWaterMark = 64 * 1024, maxQueued = 16 * 1024 * 1024 } = options
  const { lowWaterMark = highWaterMark / 4 } = options
  for (const [name, value] of Object.entries({ highWaterMark, maxQueued, lowWaterMark })) {
    if (typeof value !== 'number') throw new TypeError(`${name} must be a number of bytes`)
    if (!(value >= 0)) throw new RangeError(`${name} must not be negative`)
  }
  if (lowWaterMark > highWaterMark || highWaterMark > maxQueued) {
    throw new RangeError('lowWaterMark ≤ highWaterMark ≤ maxQueued must hold')
  }
  return { lowWaterMark, highWaterMark, maxQueued, limits: limitsOf(options) }
}

const SYSCALL_OF = { connect: 'connect', idle: 'recv', read: 'recv', write: 'send' } as const

const READING = (EPOLLIN | EPOLLRDHUP | EPOLLPRI | EPOLLET) >>> 0
const READING_AND_WRITING = (READING | EPOLLOUT) >>> 0

/** 256 KiB. A connection that has more to read continues in the next turn. */
const READS_PER_TURN = 4
const PIECES_PER_CALL = 64

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
