import { AsyncResource } from 'node:async_hooks'
import { addAbortSignal, Duplex, type DuplexOptions } from 'node:stream'
import type { SocketAddress } from '../address.js'
import { EPOLLERR, EPOLLHUP, EPOLLIN, EPOLLOUT, IPPROTO_TCP, MSG_ERRQUEUE, MSG_PEEK, SHUT_WR } from '../constants.js'
import { errno } from '../errno.js'
import { SystemError } from '../error.js'
import type { AsFd } from '../fd.js'
import { interfaceNameOf } from '../interface.js'
import { recvMessage, sendMessage } from '../message.js'
import { getOption, setOption, setOptionInt } from '../option.js'
import { SO_ERROR, SO_KEEPALIVE, SO_LINGER } from '../options/socket.js'
import { Socket } from '../socket.js'
import { type Watch, type WatchFunction, watch } from '../watch.js'

/** How a socket becomes a stream. */
export interface SocketStreamOptions
  extends Pick<DuplexOptions, 'highWaterMark' | 'readableHighWaterMark' | 'writableHighWaterMark'> {
  /**
   * Whether the stream stays writable when the peer has sent its end; otherwise it ends too, after what was written.
   * Default false, as in `node:net`. Under a `tls.TLSSocket` let it be true: there TLS decides, and may have more to write.
   * A TLS server then learns of a client that turned away in mid-handshake only by the `handshakeTimeout` of `node:tls`, 120 s
   * by default, and must destroy the socket itself: `server.on('tlsClientError', (_error, socket) => socket.destroy())`.
   */
  readonly allowHalfOpen?: boolean | undefined
  /** Destroys the stream with an `AbortError`. */
  readonly signal?: AbortSignal | undefined
  /** Where readiness comes from. Default: `watch`, that is Node's loop. */
  readonly watch?: WatchFunction | undefined
}

/** An address in the words of `node:net`. */
export interface NetAddress {
  /** `'127.0.0.1'`; a link-local one with its zone, `'fe80::1%eth0'`. */
  readonly address: string
  /** The family, as Node spells it. */
  readonly family: 'IPv4' | 'IPv6'
  /** 0 … 65535. */
  readonly port: number
}

/**
 * A connected stream socket as a `Duplex` that can stand wherever a `net.Socket` does: under `node:tls` and `node:http`,
 * in `stream.pipeline`, as a web stream.
 *
 *     const stream = new SocketStream(socket)
 *     stream.pipe(stream) // echo
 *
 * Nothing is read before somebody asks, and no more than is asked for: what a slow reader leaves stays with the kernel,
 * and so in time with the peer. The peer's end and a failed connection are noticed all the same, as long as no bytes
 * stand before them.
 *
 * Errors come with `'error'` as `SystemError`. Events that the network causes run in the async context that made the
 * stream.
 */
export class SocketStream extends Duplex implements AsFd {
  /** For subclasses, which must leave sending, receiving and closing to the stream. */
  protected readonly socket: Socket

  #bytesRead = 0
  #bytesWritten = 0
  #timeout: number | undefined
  #idle: NodeJS.Timeout | undefined
  #localName: SocketAddress | undefined
  #peerName: SocketAddress | undefined

  /** Undefined while there is nothing to wait for, and when destroyed. */
  #watch: Watch | undefined
  readonly #watchFunction: WatchFunction
  /** For all watches but the first, in the context of that one. */
  #startWatch: ((events: number) => Watch) | undefined
  #referenced = true

  /** Whether the reading side wants bytes. */
  #asked = false
  #atEnd = false
  /** What the kernel has not taken yet, and whom to tell when it has. */
  #unsent: readonly Uint8Array[] = []
  #sent: WriteCallback | undefined
  /** Who wants to send by other means, by the empty chunk that keeps the place among the writes. */
  #loans: Map<Uint8Array, () => Promise<void>> | undefined
  /** Whether one of them does. */
  #lent = false
  /** Whether somebody else does all, for good. */
  #surrendered = false

  /**
   * Takes over `socket`, which must be a connected, non-blocking stream socket (`SOCK_STREAM`).
   * @throws SystemError `EBADF`, `ENOSPC` (fs.epoll.max_user_watches); the socket then stays yours
   */
  constructor(
    socket: Socket,
    { allowHalfOpen = false, signal, watch: from = watch, ...options }: SocketStreamOptions = {},
  ) {
    super({ ...options, allowHalfOpen })
    this.socket = socket
    this.#watchFunction = from
    // Most streams are read at once, and then this is the only epoll_ctl that their reading takes.
    this.#watch = this.#newWatch(EPOLLIN)
    try {
      if (signal !== undefined) addAbortSignal(signal, this)
    } catch (error) {
      this.#watch.stop()
      throw error
    }
  }

  /** The descriptor, for `setOption` and its like; −1 once the stream is destroyed. */
  get fd(): number {
    return this.socket.fd
  }

  /** **Bytes** taken from the kernel. */
  get bytesRead(): number {
    return this.#bytesRead
  }

  /** **Bytes** that the kernel has taken; `writableLength` is what still waits here. */
  get bytesWritten(): number {
    return this.#bytesWritten
  }

  /** Always false, since the socket was connected before; for code that expects a `net.Socket`. */
  get connecting(): boolean {
    return false
  }

  /** Always false, as `connecting`. */
  get pending(): boolean {
    return false
  }

  /** Which ways are open, in the words of `net.Socket`. */
  get readyState(): 'open' | 'readOnly' | 'writeOnly' | 'closed' {
    if (this.readable) return this.writable ? 'open' : 'readOnly'
    return this.writable ? 'writeOnly' : 'closed'
  }

  /** getsockname(2), called once. Undefined where the connection had ended before it was asked for. */
  get localName(): SocketAddress | undefined {
    this.#localName ??= orUndefined(() => this.socket.localAddress)
    return this.#localName
  }

  /** getpeername(2), called once. Undefined where the connection had ended before it was asked for. */
  get peerName(): SocketAddress | undefined {
    this.#peerName ??= orUndefined(() => this.socket.peerAddress)
    return this.#peerName
  }

  /** The own address as text, like `net.Socket`'s: `'127.0.0.1'`. Undefined for families other than IPv4 and IPv6. */
  get localAddress(): string | undefined {
    return netAddress(this.localName)?.address
  }

  /** The own port. Undefined for families other than IPv4 and IPv6. */
  get localPort(): number | undefined {
    return netAddress(this.localName)?.port
  }

  /** `'IPv4'`, `'IPv6'`, or undefined for other families. */
  get localFamily(): 'IPv4' | 'IPv6' | undefined {
    return netAddress(this.localName)?.family
  }

  /** The peer's address as text, like `net.Socket`'s: `'127.0.0.1'`. Undefined for families other than IPv4 and IPv6. */
  get remoteAddress(): string | undefined {
    return netAddress(this.peerName)?.address
  }

  /** The peer's port. Undefined for families other than IPv4 and IPv6. */
  get remotePort(): number | undefined {
    return netAddress(this.peerName)?.port
  }

  /** `'IPv4'`, `'IPv6'`, or undefined for other families. */
  get remoteFamily(): 'IPv4' | 'IPv6' | undefined {
    return netAddress(this.peerName)?.family
  }

  /** The own address like `net.Socket`'s; empty for families other than IPv4 and IPv6, which `localName` has. */
  address(): NetAddress | Record<string, never> {
    return netAddress(this.localName) ?? {}
  }

  /** The **milliseconds** that `setTimeout` was last called with. */
  get timeout(): number | undefined {
    return this.#timeout
  }

  /**
   * Emits `'timeout'` when nothing has been read or written for so many **milliseconds**, and again after each later
   * idle time. The stream goes on: what to do about it is the listener's business. 0 turns it off, and is the default.
   * `callback` listens to the next `'timeout'`; with 0 it stops listening.
   * @throws TypeError, RangeError for what is not a time from 0 to 2³¹ − 1 ms
   */
  setTimeout(timeout: number, callback?: () => void): this {
    if (typeof timeout !== 'number') throw new TypeError('timeout must be a number of milliseconds')
    if (!(timeout >= 0 && timeout < 2 ** 31)) throw new RangeError('timeout must be from 0 to 2³¹ − 1 milliseconds')
    if (this.destroyed) return this
    this.#timeout = timeout
    clearTimeout(this.#idle)
    this.#idle = timeout === 0 ? undefined : setTimeout(() => this.emit('timeout'), timeout).unref()
    if (callback !== undefined) {
      if (timeout === 0) this.removeListener('timeout', callback)
      else this.once('timeout', callback)
    }
    return this
  }

  /**
   * setsockopt(2) `TCP_NODELAY`: whether small segments are sent at once. Does nothing where the protocol has no such
   * option, or once the stream is destroyed.
   */
  setNoDelay(noDelay = true): this {
    this.#setTcpOption(TCP_NODELAY, noDelay ? 1 : 0)
    return this
  }

  /**
   * setsockopt(2) `SO_KEEPALIVE`, and with an `initialDelay` in **milliseconds**, cut to whole seconds, `TCP_KEEPIDLE`;
   * 0 leaves that as it is. Does nothing where the protocol has no such option, or once the stream is destroyed.
   * @throws SystemError `EINVAL` for a delay of more than 32 767 s
   */
  setKeepAlive(enable = false, initialDelay = 0): this {
    if (this.destroyed) return this
    setOption(this, SO_KEEPALIVE, enable)
    const idle = Math.trunc(initialDelay / 1000)
    if (enable && idle > 0) this.#setTcpOption(TCP_KEEPIDLE, idle)
    return this
  }

  /** Keeps the process alive while the stream is open. This is the default. */
  ref(): this {
    this.#referenced = true
    this.#watch?.ref()
    return this
  }

  /** Lets the process end although the stream is open. */
  unref(): this {
    this.#referenced = false
    this.#watch?.unref()
    return this
  }

  /** Ends the stream, and destroys it as soon as everything is written, without waiting for the peer's end. */
  destroySoon(): void {
    if (this.writable) this.end()
    if (this.writableFinished) this.destroy()
    else this.once('finish', () => this.destroy())
  }

  /**
   * close(2) after `SO_LINGER` 0: what is unsent is dropped, and a TCP peer gets a reset (RST). Other protocols have no
   * reset and are simply closed.
   */
  resetAndDestroy(): this {
    if (!this.destroyed) setOption(this, SO_LINGER, 0)
    return this.destroy()
  }

  /**
   * Lends the sending side: calls `send` once all that was written before is with the kernel, and sends nothing itself
   * until the promise that it returns settles, as this one then does. Meanwhile `send` may send on the descriptor by other
   * means, and tells how many **bytes** went, which count as written. What is written later waits, and so does the end;
   * reading goes on.
   *
   *     await stream.lend(async (sent) => sent(sendfile(stream, file, 0, 4096) ?? 0))
   *
   * Where `send` fails the stream is left as it is: the caller knows how much of the message is out, and whether anything
   * can follow. `send` runs in the async context of this call, and must come to an end when the stream is destroyed.
   * @throws SystemError `EPIPE` when the stream has ended or is destroyed
   */
  async lend<T>(send: (sent: (bytes: number) => void) => Promise<T>): Promise<T> {
    if (!this.writable) throw new SystemError(errno.EPIPE, 'send', 'the stream has ended')
    const sent = (bytes: number) => {
      this.#bytesWritten += bytes
      this.#idle?.refresh()
    }
    return await new Promise<T>((resolve, reject) => {
      let begun = false
      const start = async () => {
        begun = true
        try {
          resolve(await send(sent))
        } catch (error) {
          reject(error)
        }
      }
      const place = Buffer.alloc(0)
      this.#loans ??= new Map()
      const context = new AsyncResource('LinuxSocketsLoan')
      this.#loans.set(place, () => context.runInAsyncScope(start))
      this.write(place, (error) => {
        this.#loans?.delete(place)
        if (error && !begun) reject(error)
      })
    })
  }

  /**
   * Undoes the constructor: once all that was written is with the kernel, gives the socket back, with the bytes that were
   * read and that nobody has taken. The stream is destroyed, and what is written meanwhile fails.
   * @throws SystemError `EPIPE` when the stream has ended or is destroyed
   * @throws TypeError after `setEncoding`
   */
  async detach(): Promise<{ socket: Socket; unread: Buffer }> {
    this.#needBytes()
    return await this.lend(async () => {
      const unread = this.#giveUp()
      const socket = Socket.from(this.socket)
      this.destroy()
      return { socket, unread }
    })
  }

  /**
   * As `detach`, but the socket stays the stream's, which does nothing more with it than to close it when it is destroyed:
   * so that whoever counts connections by their streams still does. What is written from now on waits until then, and fails.
   * @throws SystemError `EPIPE` when the stream has ended or is destroyed
   * @throws TypeError after `setEncoding`
   */
  async surrender(): Promise<{ socket: Socket; unread: Buffer }> {
    this.#needBytes()
    return await new Promise((resolve, reject) => {
      const forGood = async () => {
        resolve({ socket: this.socket, unread: this.#giveUp() })
        await new Promise<never>(() => {})
      }
      this.lend(forGood).catch(reject)
    })
  }

  /** recv(2). A subclass may receive in another way; the result means what that of `Socket.recv` does. */
  protected receive(buffer: Uint8Array): number | null {
    return this.socket.recv(buffer)
  }

  /**
   * send(2), or sendmsg(2) for several pieces, 1024 at most. A subclass may send in another way; the result means what
   * that of `Socket.send` does. The pieces are the very chunks that were written, except for the rest of one that was
   * sent in part.
   */
  protected transmit(data: Uint8Array | readonly Uint8Array[]): number | null {
    return data instanceof Uint8Array ? this.socket.send(data) : sendMessage(this.socket, { data })
  }

  /**
   * recvmsg(2) `MSG_ERRQUEUE`: drops what is in the socket's error queue (transmit timestamps, zero-copy notices), since
   * a queue that nobody reads would wake the loop for ever. A subclass may make use of it; it must empty the queue.
   */
  protected drainErrorQueue(): void {
    let left = NOTICES_PER_TURN
    while (left-- > 0 && recvMessage(this.socket, [], { flags: MSG_ERRQUEUE }) !== null);
  }

  override _read(): void {
    this.#asked = true
    if (this.#surrendered) return
    // No attempt to receive here: it would nearly always find nothing, and the event comes as soon as there is something.
    this.#arm(EPOLLIN)
  }

  override _write(chunk: Uint8Array, _encoding: BufferEncoding, callback: WriteCallback): void {
    if (this.#loans?.has(chunk)) {
      this._writev([{ chunk }], callback)
      return
    }
    this.#idle?.refresh()
    let failure: Error | undefined
    try {
      const sent = this.transmit(chunk) ?? 0
      this.#bytesWritten += sent
      if (sent < chunk.length) {
        this.#wait([sent === 0 ? chunk : chunk.subarray(sent)], callback)
        return
      }
    } catch (error) {
      failure = error as Error
    }
    callback(failure)
  }

  override _writev(chunks: readonly { readonly chunk: Uint8Array }[], callback: WriteCallback): void {
    this.#idle?.refresh()
    let failure: Error | undefined
    try {
      const unsent = this.#send(chunks.map(({ chunk }) => chunk))
      if (unsent.length > 0) {
        this.#wait(unsent, callback)
        return
      }
    } catch (error) {
      failure = error as Error
    }
    callback(failure)
  }

  override _final(callback: WriteCallback): void {
    let failure: Error | undefined
    try {
      this.socket.shutdown(SHUT_WR)
    } catch (error) {
      // The peer has reset the connection, which the reading side reports.
      if ((error as SystemError).code !== 'ENOTCONN') failure = error as Error
    }
    callback(failure)
  }

  override _destroy(error: Error | null, callback: WriteCallback): void {
    clearTimeout(this.#idle)
    this.#idle = undefined
    this.#asked = false
    this.#watch?.stop()
    this.#watch = undefined
    if (this.#sent !== undefined) process.nextTick(this.#sent, error ?? new SystemError(errno.ECANCELED, 'send'))
    this.#sent = undefined
    this.#unsent = []
    this.socket.close()
    callback(error)
  }

  #newWatch(events: number): Watch {
    const ready = (happened: number) => this.#ready(happened)
    // Somebody else has closed the socket.
    const ended = () => {
      this.destroy(new SystemError(errno.EBADF, 'epoll_wait', 'closed while the stream was open'))
    }
    return this.#watchFunction(this.socket, events, ready, { ended })
  }

  #ready(events: number): void {
    // With a failed connection comes EPOLLHUP.
    if ((events & (EPOLLERR | EPOLLHUP)) === EPOLLERR) this.drainErrorQueue()
    // Reading first: the error that a write meets would destroy the stream and with it the bytes that came before.
    if (events !== EPOLLOUT) {
      if (this.#asked) this.#receive()
      else this.#rest(events)
    }
    if (events !== EPOLLIN && this.#sent !== undefined && !this.#lent) this.#sendRest()
  }

  #receive(): void {
    this.#idle?.refresh()
    for (let turn = 0; turn < READS_PER_TURN && this.#asked; turn++) {
      let count: number | null
      try {
        count = this.receive(slab)
      } catch (error) {
        this.destroy(error as Error)
        return
      }
      if (count === null) return
      if (count === 0) {
        this.#end()
        return
      }
      this.#bytesRead += count
      // Who is called by push may ask again.
      this.#asked = false
      let more = true
      try {
        more = this.push(takeFromSlab(count))
      } finally {
        // Also when a listener has thrown.
        if (more && !this.destroyed) this.#asked = true
      }
      // Less than was asked for is all there was.
      if (count < SLAB_SIZE) return
    }
  }

  #end(): void {
    this.#atEnd = true
    this.#asked = false
    this.push(null)
    // Where nobody has ever read, 'end' comes nevertheless if nothing stands before it. As in node:net.
    this.read(0)
  }

  /**
   * Something has happened and the reading side wants nothing. An end or an error with no bytes before it is reported;
   * else what would be reported for ever is no longer watched.
   */
  #rest(events: number): void {
    try {
      if (this.#atEnd) {
        const pending = (events & EPOLLERR) === 0 ? 0 : getOption(this, SO_ERROR)
        if (pending !== 0) throw new SystemError(pending, 'recv')
      } else if (this.readableLength === 0) {
        const count = this.socket.recv(peeked, MSG_PEEK)
        if (count === 0) this.#end()
        if (!count) return
      }
    } catch (error) {
      this.destroy(error as Error)
      return
    }
    const watch = this.#watch as Watch
    if ((watch.events & EPOLLIN) !== 0) watch.update(watch.events & ~EPOLLIN)
    else if (this.#sent === undefined || this.#lent) this.#stopWatch()
  }

  /**
   * EPOLLERR and EPOLLHUP can't be masked and don't go away; what is left to learn, the next read or write learns by
   * itself.
   */
  #stopWatch(): void {
    // Here is the async context that the next watch shall have too.
    const context = new AsyncResource('LinuxSocketsStream')
    this.#startWatch = (events) => context.runInAsyncScope(this.#newWatch, this, events)
    this.#watch?.stop()
    this.#watch = undefined
  }

  #arm(events: number): void {
    if (this.#watch === undefined) {
      this.#watch = this.#startWatch?.(events) ?? this.#newWatch(events)
      if (!this.#referenced) this.#watch.unref()
    } else if ((this.#watch.events & events) === 0) {
      this.#watch.update(this.#watch.events | events)
    }
  }

  #wait(unsent: readonly Uint8Array[], callback: WriteCallback): void {
    if (!this.#lent) this.#arm(EPOLLOUT)
    this.#unsent = unsent
    this.#sent = callback
  }

  #sendRest(): void {
    let failure: Error | undefined
    try {
      const before = this.#bytesWritten
      this.#unsent = this.#send(this.#unsent)
      if (this.#bytesWritten !== before) this.#idle?.refresh()
      if (this.#unsent.length > 0) return
    } catch (error) {
      failure = error as Error
    }
    const callback = this.#sent as WriteCallback
    this.#sent = undefined
    this.#unsent = []
    callback(failure)
    // The callback may have brought the next chunk, which has to wait as well.
    if (this.#sent === undefined) this.#watch?.update(this.#watch.events & ~EPOLLOUT)
  }

  #needBytes(): void {
    if (this.readableEncoding !== null) throw new TypeError('the stream decodes what it reads: its bytes are gone')
  }

  /** What was read and not taken; from here on nothing is read. */
  #giveUp(): Buffer {
    this.#surrendered = true
    clearTimeout(this.#idle)
    this.#idle = undefined
    // What is returned here, nobody else shall get.
    this.removeAllListeners('data')
    this.pause()
    // Since Node 26 a read without a size takes one chunk.
    const chunks: Buffer[] = []
    for (let chunk = this.read(); chunk !== null; chunk = this.read()) chunks.push(chunk)
    const unread = Buffer.concat(chunks)
    this.#watch?.stop()
    this.#watch = undefined
    return unread
  }

  /** What is after `place` waits in `#unsent` until the loan is over. */
  #lendAt(place: Uint8Array, send: () => Promise<void>): void {
    this.#lent = true
    this.#watch?.update(this.#watch.events & ~EPOLLOUT)
    const begin = async () => {
      if (!this.destroyed) await send()
      this.#lent = false
      this.#loans?.delete(place)
      if (this.#sent === undefined) return
      this.#unsent = this.#unsent.slice(1)
      this.#sendRest()
      if (this.#sent !== undefined && !this.#lent) this.#arm(EPOLLOUT)
    }
    // Not from within a write, which is in the midst of its work.
    queueMicrotask(begin)
  }

  /** Sends until the kernel takes no more, or somebody else is to send, and returns what is left. */
  #send(pieces: readonly Uint8Array[]): readonly Uint8Array[] {
    let first = 0
    while (first < pieces.length) {
      const loans = this.#loans
      const next = loans === undefined ? -1 : pieces.findIndex((piece, i) => i >= first && loans.has(piece))
      if (next === first) {
        const place = pieces[next] as Uint8Array
        this.#lendAt(place, loans?.get(place) as () => Promise<void>)
        return pieces.slice(next)
      }
      const end = Math.min(next < 0 ? pieces.length : next, first + IOV_MAX)
      const batch = first === 0 && end === pieces.length ? pieces : pieces.slice(first, end)
      const sent = this.transmit(batch.length === 1 ? (batch[0] as Uint8Array) : batch)
      if (sent === null) return pieces.slice(first)
      this.#bytesWritten += sent
      let left = sent
      for (const piece of batch) {
        if (left < piece.length) {
          const rest = pieces.slice(first)
          if (left > 0) rest[0] = piece.subarray(left)
          return rest
        }
        left -= piece.length
        first++
      }
    }
    return []
  }

  #setTcpOption(option: number, value: number): void {
    if (this.destroyed) return
    try {
      setOptionInt(this, IPPROTO_TCP, option, value)
    } catch (error) {
      const { code } = error as SystemError
      if (code !== 'ENOTSUP' && code !== 'ENOPROTOOPT') throw error
    }
  }
}

type WriteCallback = (error?: Error | null) => void

// tcp(7). The rows of all TCP options are in @linux-sockets/tcp; these are what the methods of net.Socket set.
const TCP_NODELAY = 1
const TCP_KEEPIDLE = 4

/** The most pieces that sendmsg(2) takes. */
const IOV_MAX = 1024

/** How often one stream may fill the slab before the others get their turn. */
const READS_PER_TURN = 4

/** How many messages of the error queue are dropped before the others get their turn. */
const NOTICES_PER_TURN = 64

// All streams of a thread receive into the same memory: a connection at rest holds no buffer.
const SLAB_SIZE = 64 * 1024
let slab = Buffer.allocUnsafeSlow(SLAB_SIZE)
const peeked = new Uint8Array(1)

/** The first bytes of the slab, as a chunk that lasts: copied when they are few, else with the slab itself. */
function takeFromSlab(count: number): Buffer {
  if (count > SLAB_SIZE / 2) {
    const chunk = slab.subarray(0, count)
    slab = Buffer.allocUnsafeSlow(SLAB_SIZE)
    return chunk
  }
  const chunk = Buffer.allocUnsafe(count)
  slab.copy(chunk, 0, 0, count)
  return chunk
}

function netAddress(name: SocketAddress | undefined): NetAddress | undefined {
  if (name?.family === 'ipv4') return { address: name.address, family: 'IPv4', port: name.port }
  if (name?.family !== 'ipv6') return undefined
  const { address, port, scope = 0 } = name
  const zone = scope === 0 ? undefined : orUndefined(() => interfaceNameOf(scope))
  return { address: zone === undefined ? address : `${address}%${zone}`, family: 'IPv6', port }
}

function orUndefined<T>(ask: () => T): T | undefined {
  try {
    return ask()
  } catch {
    return undefined
  }
}
