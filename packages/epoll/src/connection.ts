import {
  AF_INET,
  AF_INET6,
  type AsFd,
  EPOLLERR,
  EPOLLET,
  EPOLLHUP,
  EPOLLIN,
  EPOLLOUT,
  EPOLLPRI,
  EPOLLRDHUP,
  errno,
  getOption,
  SHUT_WR,
  SO_DOMAIN,
  SO_ERROR,
  SO_LINGER,
  Socket,
  SocketStream,
  type SocketStreamOptions,
  SystemError,
  setOption,
} from '@linux-sockets/native-core'
import { Deadlines, type Limits, limitsOf, type TimeoutKind, type Timeouts } from './deadline.js'
import { WriteQueue } from './queue.js'
import type { Reactor } from './reactor.js'
import { protect, type Registration } from './registration.js'
import { ConnectionStatistics } from './statistics.js'

/** What a program does with its connections; one object serves them all. */
export interface Handlers<State> {
  /** The connection is there. */
  open?(connection: Connection<State>): void
  /** Bytes came. `chunk` is only lent: it is overwritten after the call, so copy what you keep. */
  data(connection: Connection<State>, chunk: Buffer): void
  /** The queue has fallen to its low mark after `write` returned false. */
  drain?(connection: Connection<State>): void
  /** The peer has sent its last byte. Without this handler the connection ends its side, too. */
  end?(connection: Connection<State>): void
  /** The connection broke: `ECONNRESET`, `ETIMEDOUT`, … `close` follows. */
  error?(connection: Connection<State>, error: Error): void
  /** The connection is gone; always the last call, and made once. */
  close?(connection: Connection<State>): void
  /**
   * A time of `Timeouts` is over; it begins anew where the connection goes on. Without this handler the connection breaks
   * with `ETIMEDOUT`, as it always does when connecting took too long.
   */
  timeout?(connection: Connection<State>, kind: 'idle' | 'read' | 'write'): void
}

/** How much may wait to be sent, and how long things may take. */
export interface ConnectionOptions extends Timeouts {
  /** Queued **bytes** from which on `write` returns false. Default 64 KiB. */
  readonly highWaterMark?: number | undefined
  /** Queued **bytes** at which `drain` is called after that. Default a quarter of the high mark. */
  readonly lowWaterMark?: number | undefined
  /** Queued **bytes** that are never exceeded: the connection breaks with `ENOBUFS`. Default 16 MiB. */
  readonly maxQueued?: number | undefined
}

/** Who keeps account of connections: their server. */
export interface ConnectionOwner<State> {
  /** Before the handler of the same name. */
  open(connection: Connection<State>): void
  /** Before the handler of the same name. */
  close(connection: Connection<State>): void
  /** Before `close`, where the connection becomes a stream. */
  becomes(stream: SocketStream): void
  /** The socket is closed, that of a stream which was made of the connection too. */
  gone(): void
}

/** What the connections of one server have in common: their options, checked. */
export interface ConnectionPolicy {
  readonly lowWaterMark: number
  readonly highWaterMark: number
  readonly maxQueued: number
  readonly limits: Limits
  /** Whether a short read says that nothing is left. */
  readonly readsWhole: boolean
}

/** What the package itself may set besides the options. */
export interface ConnectionSettings<State> extends ConnectionOptions {
  /** The options and the kind of socket, where they were looked at before. */
  readonly policy?: ConnectionPolicy | undefined
  /** Whether connect(2) is still under way. */
  readonly connecting?: boolean | undefined
  readonly owner?: ConnectionOwner<State> | undefined
}

/** A connected stream socket in a reactor, edge-triggered. `state` is the program's own. */
export class Connection<State = undefined> implements AsFd {
  /** Whatever the handlers keep with the connection. */
  state: State
  readonly #reactor: Reactor
  readonly #socket: Socket
  readonly #handlers: Handlers<State>
  readonly #registration: Registration
  readonly #queue = new WriteQueue()
  readonly #policy: ConnectionPolicy
  readonly #statistics = new ConnectionStatistics()
  readonly #deadlines: Deadlines | undefined
  readonly #owner: ConnectionOwner<State> | undefined
  #connecting: boolean
  /** Whether EPOLLOUT is on. */
  #armed: boolean
  #corks = 0
  #mustDrain = false
  #paused = false
  #peerEnded = false
  #ending = false
  /** Whether the FIN is on its way. A second shutdown(2) would fail with `ENOTCONN` where the peer has ended, too. */
  #finished = false
  /** Whether to close behind the last byte, without the peer's end. */
  #closing = false
  #closed = false

  /**
   * Takes over a connected socket: from here on only the connection may close it.
   * @throws SystemError when it can't be registered
   * @throws TypeError, RangeError for options out of range. Whatever is thrown, the socket is then closed.
   */
  constructor(
    reactor: Reactor,
    socket: Socket,
    handlers: Handlers<State>,
    state: State,
    options: ConnectionOptions = {},
  ) {
    const { connecting = false, owner, policy }: ConnectionSettings<State> = options
    this.state = state
    this.#reactor = reactor
    this.#socket = socket
    this.#handlers = handlers
    this.#owner = owner
    this.#connecting = connecting
    this.#armed = connecting
    try {
      this.#policy = policy ?? policyOf(options, socket)
      const { limits } = this.#policy
      if (Deadlines.areNeeded(limits, connecting)) {
        this.#deadlines = new Deadlines(
          limits,
          reactor.deadlines,
          (kind) => this.#isAwaited(kind),
          (kind) => this.#expire(kind),
        )
      }
      this.#registration = reactor.register(
        socket,
        connecting ? READING_AND_WRITING : READING,
        this.#handle,
        this.#close,
        this,
      )
    } catch (error) {
      this.#deadlines?.stop()
      socket.close()
      throw error
    }
    if (!connecting) this.#open()
  }

  /** The descriptor, for options; −1 once closed. */
  get fd(): number {
    return this.#socket.fd
  }

  /** **Bytes** that wait for the kernel to take them. */
  get queued(): number {
    return this.#queue.length
  }

  /** Whether connect(2) is still under way; `open` follows. */
  get connecting(): boolean {
    return this.#connecting
  }

  /** Whether the connection is gone. */
  get closed(): boolean {
    return this.#closed
  }

  /** **Bytes** received so far. */
  get bytesRead(): number {
    return this.#statistics.bytesRead
  }

  /** **Bytes** that the kernel has taken so far. */
  get bytesWritten(): number {
    return this.#statistics.bytesWritten
  }

  /** What went through so far. */
  get statistics(): Readonly<ConnectionStatistics> {
    return this.#statistics.copy()
  }

  /**
   * Sends at once what the kernel takes, and queues a copy of the rest, so `data` is free afterwards. Returns false when
   * the queue has reached its high mark: wait for `drain`. After `end` or on a closed connection the data is dropped.
   */
  write(data: Uint8Array): boolean {
    if (!(data instanceof Uint8Array)) throw new TypeError('data must be a Uint8Array')
    if (this.#closed || this.#ending) return false
    let sent = 0
    if (this.#queue.length === 0 && this.#corks === 0 && !this.#connecting) {
      try {
        sent = this.#account(this.#socket.send(data), data.length)
      } catch (error) {
        this.#break(error as Error)
        return false
      }
    }
    if (sent < data.length) this.#enqueue(sent === 0 ? data : data.subarray(sent))
    return !this.#mustDrain && !this.#closed
  }

  /**
   * Keeps what is written from now on in the queue, until as many `uncork`s send it with as few calls as possible (`sendmsg`).
   * What waits there already stays as long. `end` ends it, and behind `end` it does nothing.
   */
  cork(): void {
    if (!this.#ending) this.#corks++
  }

  /** Sends what `cork` has kept back. */
  uncork(): void {
    if (this.#corks === 0) return
    if (--this.#corks === 0 && !this.#armed && this.#queue.length > 0) this.#flush()
  }

  /** Sends what is queued, then a FIN. The connection closes when the peer has ended, too. */
  end(): void {
    if (this.#closed || this.#ending) return
    this.#ending = true
    this.#corks = 0
    if (this.#queue.length > 0 && !this.#armed) this.#flush()
    else if (this.#queue.length === 0 && !this.#connecting) this.#finish()
  }

  /**
   * Sends what is queued, then closes without waiting for the peer's end; connecting comes to its end first. Bytes of the
   * peer that were not read, or come later, make the kernel reset the connection, by which the peer can lose what it has not
   * read: `end` is the safe way.
   */
  close(): void {
    if (this.#closed) return
    this.#closing = true
    this.#paused = true
    if (this.#ending) this.#closeWhenDone()
    else this.end()
  }

  /** Ends at once: what is queued is dropped, and the peer sees a reset. */
  abort(): void {
    if (this.#closed) return
    if (this.fd >= 0) setOption(this.#socket, SO_LINGER, 0)
    this.#close()
  }

  /**
   * Stops reading: the kernel's buffer fills, and the peer must wait. Its end or its reset is then noticed by `resume`, behind
   * the bytes that came before; without that only a write or a timeout tells of a reset, and those bytes are lost.
   */
  pause(): void {
    this.#paused = true
  }

  /** Reads on. */
  resume(): void {
    if (!this.#paused || this.#closing || this.#closed) return
    this.#paused = false
    // Connecting ends with an edge of its own.
    if (this.#connecting) return
    this.#deadlines?.begin('read')
    // The edge may have passed while nobody was reading.
    this.#readLater()
  }

  /** Keeps the process alive while the connection is open. This is the default. */
  ref(): this {
    this.#registration.ref()
    return this
  }

  /** Lets the process end although the connection is open. */
  unref(): this {
    this.#registration.unref()
    return this
  }

  /**
   * Makes a standard `Duplex` of the connection, for `node:tls`, `node:http`, `stream.pipeline` or `Duplex.toWeb`: it runs on the
   * same reactor, sends first what is queued here, and keeps the process alive if the connection did. For the handlers the
   * connection is closed by this.
   * @throws SystemError `EBADF` when it is closed or has ended, `ENOTCONN` when it is connecting
   * @throws TypeError, RangeError for options that are none; the connection is then closed, too
   */
  toStream(options: Omit<SocketStreamOptions, 'watch'> = {}): SocketStream {
    if (this.#closed || this.#ending) throw new SystemError(errno.EBADF, 'toStream', 'the connection has ended')
    if (this.#connecting) throw new SystemError(errno.ENOTCONN, 'toStream')
    const pieces = this.#queue.pieces()
    const { referenced } = this.#registration
    this.#registration.close()
    const socket = Socket.from(this.#socket)
    let stream: SocketStream
    try {
      stream = new SocketStream(socket, { ...options, watch: this.#reactor.watch })
    } catch (error) {
      socket.close()
      this.#close()
      throw error
    }
    if (!referenced) stream.unref()
    for (const piece of pieces) stream.write(piece)
    this.#owner?.becomes(stream)
    this.#closed = true
    this.#release()
    return stream
  }

  #handle(events: number): void {
    if (this.#connecting && !this.#connected()) return
    // Reading first: the error that a write meets would end the connection and with it the bytes that came before.
    try {
      if ((events & ~EPOLLOUT) !== 0) this.#read((events & ~(EPOLLIN | EPOLLOUT)) !== 0)
      if ((events & (EPOLLERR | EPOLLHUP)) !== 0 && (this.#peerEnded || this.#closing)) this.#breakIfFailed()
    } finally {
      if ((events & EPOLLOUT) !== 0 && this.#armed) this.#sendMore()
    }
  }

  /** Whether connect(2) has come to a good end. */
  #connected(): boolean {
    const failure = getOption(this.#socket, SO_ERROR)
    if (failure !== 0) {
      this.#break(new SystemError(failure, 'connect'))
      return false
    }
    this.#connecting = false
    this.#deadlines?.connected()
    this.#open()
    return !this.#closed
  }

  #open(): void {
    this.#owner?.open(this)
    protect(() => this.#handlers.open?.(this))
  }

  /**
   * Drains the socket, up to a budget so that others get their turn. A short read means that nothing is left, which
   * spares the call that would only say so (epoll(7), question 9) — unless an end, an error or urgent data waits behind
   * what was read.
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

  /** The edge has passed, and is not reported again. Whether an end or an error came with it is no longer known. */
  #readLater(): void {
    if (!this.#closed) this.#registration.again(EPOLLIN | EPOLLRDHUP)
  }

  #endOfInput(): void {
    this.#peerEnded = true
    if (this.#handlers.end === undefined) this.end()
    else protect(() => this.#handlers.end?.(this))
    this.#closeWhenDone()
  }

  /** Behind the peer's end nothing can be read that would tell. */
  #breakIfFailed(): void {
    if (this.#closed) return
    const failure = getOption(this.#socket, SO_ERROR)
    if (failure !== 0) this.#break(new SystemError(failure, 'recv'))
  }

  #enqueue(rest: Uint8Array): void {
    const queued = this.#queue.length + rest.length
    if (queued > this.#policy.maxQueued) {
      this.#break(new SystemError(errno.ENOBUFS, 'write', `${queued} bytes queued`))
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

  /** EPOLLOUT is on only while something waits. */
  #arm(on: boolean): void {
    if (on === this.#armed) return
    this.#armed = on
    this.#registration.modify(on ? READING_AND_WRITING : READING)
  }

  /** The kernel takes bytes again. */
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
    if (this.#mustDrain && this.#queue.length <= this.#policy.lowWaterMark) {
      this.#mustDrain = false
      if (!this.#ending) protect(() => this.#handlers.drain?.(this))
    }
    if (this.#ending && this.#queue.length === 0 && !this.#closed) this.#finish()
  }

  #finish(): void {
    if (this.#finished) return
    this.#finished = true
    try {
      this.#socket.shutdown(SHUT_WR)
    } catch (error) {
      // After a reset shutdown(2) says ENOTCONN, and the reason waits at the socket.
      this.#breakIfFailed()
      this.#break(error as Error)
      return
    }
    this.#closeWhenDone()
  }

  #closeWhenDone(): void {
    if (this.#connecting || this.#queue.length > 0) return
    if ((this.#peerEnded || this.#closing) && this.#ending) this.#close()
  }

  /** Whether the time of that kind runs. */
  #isAwaited(kind: TimeoutKind): boolean {
    switch (kind) {
      case 'connect':
        return this.#connecting
      case 'read':
        return !this.#connecting && !this.#paused && !this.#peerEnded
      case 'write':
        return !this.#connecting && this.#queue.length > 0
      case 'idle':
        return !this.#connecting
    }
  }

  #expire(kind: TimeoutKind): void {
    if (kind !== 'connect' && this.#handlers.timeout !== undefined) this.#handlers.timeout(this, kind)
    else this.#break(new SystemError(errno.ETIMEDOUT, SYSCALL_OF[kind], `${kind} timeout`))
  }

  #break(error: Error): void {
    if (this.#closed) return
    // What the handler still does with the connection comes to nothing.
    this.#closed = true
    protect(() => this.#handlers.error?.(this, error))
    this.#release()
    this.#owner?.gone()
  }

  #close(): void {
    if (this.#closed) return
    this.#closed = true
    this.#release()
    this.#owner?.gone()
  }

  #release(): void {
    this.#queue.clear()
    this.#deadlines?.stop()
    this.#registration.close()
    this.#socket.close()
    this.#owner?.close(this)
    protect(() => this.#handlers.close?.(this))
  }
}

/**
 * Looks at the options, and at a socket of the kind that they are for.
 * @throws TypeError, RangeError for options out of range
 */
export function policyOf(options: ConnectionOptions, socket: AsFd): ConnectionPolicy {
  const { highWaterMark = 64 * 1024, maxQueued = 16 * 1024 * 1024 } = options
  const { lowWaterMark = highWaterMark / 4 } = options
  for (const [name, value] of Object.entries({ lowWaterMark, highWaterMark, maxQueued })) {
    if (typeof value !== 'number') throw new TypeError(`${name} must be a number of bytes`)
    if (!(value >= 0)) throw new RangeError(`${name} must not be negative`)
  }
  if (lowWaterMark > highWaterMark || highWaterMark > maxQueued) {
    throw new RangeError('lowWaterMark ≤ highWaterMark ≤ maxQueued must hold')
  }
  const limits = limitsOf(options)
  // A Unix socket stops reading where descriptors came along, or another writer's bytes begin.
  const readsWhole = [AF_INET, AF_INET6].includes(getOption(socket, SO_DOMAIN))
  return { lowWaterMark, highWaterMark, maxQueued, limits, readsWhole }
}

const SYSCALL_OF = { connect: 'connect', idle: 'recv', read: 'recv', write: 'send' } as const

const READING = (EPOLLIN | EPOLLRDHUP | EPOLLPRI | EPOLLET) >>> 0
const READING_AND_WRITING = (READING | EPOLLOUT) >>> 0

/** So much is 256 KiB; whoever has more to read goes on in the next turn. */
const READS_PER_TURN = 4
const PIECES_PER_CALL = 64

/** All connections of a thread read into one slab: a chunk is handled before the next one is read. */
const SLAB_SIZE = 64 * 1024
const slab = Buffer.allocUnsafeSlow(SLAB_SIZE)

/** Views of the slab's first bytes, by length: small messages come by the million, and a view costs more than their bytes. */
const views: (Buffer | undefined)[] = new Array(4096).fill(undefined)

function lend(length: number): Buffer {
  if (length >= views.length) return slab.subarray(0, length)
  const view = views[length] ?? slab.subarray(0, length)
  views[length] = view
  return view
}
