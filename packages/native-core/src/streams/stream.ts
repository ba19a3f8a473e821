import { AsyncResource } from 'node:async_hooks'
import { Duplex, type DuplexOptions } from 'node:stream'
import { onAbort } from '../abort.js'
import type { SocketAddress } from '../address.js'
import {
  checkBoolean,
  checkFunction,
  checkInteger,
  checkOptions,
  checkSignal,
  checkSocket,
  type NamesOf,
} from '../argument.js'
import { EPOLLERR, EPOLLHUP, EPOLLIN, EPOLLOUT, IPPROTO_TCP, MSG_ERRQUEUE, MSG_PEEK, SHUT_WR } from '../constants.js'
import { errno } from '../errno.js'
import { SystemError } from '../error.js'
import { type AsFd, closeQuietly, setNonBlocking } from '../fd.js'
import { interfaceNameOf } from '../interfaces/name.js'
import { recvMessage, sendMessage } from '../message.js'
import { getOption, setOption, setOptionInt } from '../option.js'
import { SO_ERROR, SO_KEEPALIVE } from '../options/socket.js'
import { orUndefined, resetOnClose } from '../quietly.js'
import { Socket } from '../socket.js'
import { checkWatchOptions, type Watch, type WatchFunction, type WatchOptions, watch } from '../watch.js'
import { completeHandle } from './handle.js'

/** Options of a `SocketStream`. */
export interface SocketStreamOptions
  extends Pick<DuplexOptions, 'highWaterMark' | 'readableHighWaterMark' | 'writableHighWaterMark'> {
  /**
   * Whether the stream stays writable after the peer has sent its end; otherwise the stream ends too, after what was
   * written. Default false, as in `node:net`. A `tls.TLSSocket` over the stream takes the option over, and decides when the
   * stream ends.
   */
  readonly allowHalfOpen?: boolean | undefined
  /** Destroys the stream with an `AbortError`. */
  readonly signal?: AbortSignal | undefined
  /** The source of readiness events. Default: `watch`, that is Node's loop. */
  readonly watch?: WatchFunction | undefined
}

/** The result of `SocketStream.surrender`. */
export interface Surrendered {
  /** The socket, which the stream still owns and closes. */
  readonly socket: Socket
  /** The bytes that the stream had read and nothing had consumed. */
  readonly unread: Buffer
  /** The stream's watch, if the caller passed a `callback` and the stream had a watch. */
  readonly watch: Watch | undefined
}

/** An address in the words of `node:net`. */
export interface NetAddress {
  /** `'127.0.0.1'`; a link-local address has its zone, `'fe80::1%eth0'`. */
  readonly address: string
  /** The family, as Node spells it. */
  readonly family: 'IPv4' | 'IPv6'
  /** 0 … 65535. */
  readonly port: number
}

/**
 * A connected stream socket as a `Duplex` that can stand in for a `net.Socket`: under `node:tls` and `node:http`, in
 * `stream.pipeline`, as a web stream. A `tls.TLSSocket` and an HTTP/2 session over the stream have its addresses, and their
 * `ref`, `unref`, `setNoDelay` and `setKeepAlive` reach it.
 *
 *     const stream = new SocketStream(socket)
 *     stream.pipe(stream) // echo
 *
 * The stream reads nothing before it is asked, and no more than it is asked for: bytes that a slow reader leaves stay in
 * the kernel's buffer, and in time with the peer. The stream still notices the peer's end and a failed connection, as long
 * as no bytes stand before them.
 *
 * Errors come with `'error'` as `SystemError`. `'close'` passes whether there was one (`hadError`), as `net.Socket` does.
 * Events that the network causes run in the async context that made the stream.
 *
 * If the stream ends by an error while bytes are left that the kernel hasn't taken, the connection is reset, so that the
 * peer doesn't mistake the part for the whole. `destroy()` without an error works as with `net.Socket`: the peer sees an
 * end. For a write in flight, `errored`, `stream.finished` and `stream.pipeline` then report what they report over a
 * `net.Socket` of the same Node (`ECANCELED` since Node 22).
 */
export class SocketStream<Address extends SocketAddress = SocketAddress> extends Duplex implements AsFd {
  /** For subclasses, which must leave sending, receiving and closing to the stream. */
  protected readonly socket: Socket<Address>

  #bytesRead = 0
  #bytesWritten = 0
  #timeout: number | undefined
  #idle: NodeJS.Timeout | undefined
  #localName: Address | undefined
  #peerName: Address | undefined

  /** Undefined while there is nothing to wait for, and once the stream is destroyed. */
  #watch: Watch | undefined
  readonly #watchFunction: WatchFunction
  /** Starts every watch but the first, in the async context of the first. */
  #startWatch: ((events: number) => Watch) | undefined
  #referenced = true

  /** Whether the reading side wants bytes. */
  #asked = false
  #atEnd = false
  /** Bytes that the kernel has not taken yet; `#sent` is the write callback to call when it has. */
  #unsent: readonly Uint8Array[] = []
  #sent: WriteCallback | undefined
  /** Pending loans, keyed by the empty chunk that marks their position in the write queue. */
  #loans: Map<Uint8Array, () => Promise<void>> | undefined
  /** Whether a loan is in progress. */
  #lent = false
  /** Whether `detach` or `surrender` has taken the socket: the stream then neither reads nor writes. */
  #surrendered = false
  /** The functions that the handed-over watch calls after `surrender`. */
  #taker: { readonly ready: (events: number) => void; readonly ended: (() => void) | undefined } | undefined
  /** Whether bytes were lost that are no longer in any queue. */
  #cut = false
  /** Whether a write callback is being called with an error that must not become the stream's own error. */
  #dropping = false
  #ignoreSignal: (() => void) | undefined

  /**
   * Takes over `socket`, which must be a connected stream socket (`SOCK_STREAM`). Makes it non-blocking, which every other
   * holder of the same open file sees.
   * @throws SystemError `EBADF`, `ENOSPC` (fs.epoll.max_user_watches)
   * @throws TypeError, RangeError for invalid arguments. After any exception the caller still owns the socket.
   */
  constructor(socket: Socket<Address>, options: SocketStreamOptions = {}) {
    checkSocket(socket, 'socket')
    checkStreamOptions(options)
    const { allowHalfOpen = false, signal, watch: from = watch, ...marks } = options
    super({ ...marks, allowHalfOpen, emitClose: false })
    setNonBlocking(socket)
    this.socket = socket
    this.#watchFunction = from
    // Most streams are read at once; then this is the only epoll_ctl that reading takes.
    this.#watch = this.#newWatch(EPOLLIN)
    if (signal?.aborted) this.#abort(signal)
    else this.#ignoreSignal = signal && onAbort(signal, () => this.#abort(signal))
  }

  /** The descriptor, for `setOption` and its like; −1 once the stream is destroyed. */
  get fd(): number {
    return this.socket.fd
  }

  /** **Bytes** taken from the kernel. */
  get bytesRead(): number {
    return this.#bytesRead
  }

  /** **Bytes** that the kernel has taken; `writableLength` counts the bytes that still wait here. */
  get bytesWritten(): number {
    return this.#bytesWritten
  }

  /** Always false, since the socket was connected before. For code that expects a `net.Socket`. */
  get connecting(): boolean {
    return false
  }

  /** Always false, like `connecting`. */
  get pending(): boolean {
    return false
  }

  /** Which directions are open, in the words of `net.Socket`. */
  get readyState(): 'open' | 'readOnly' | 'writeOnly' | 'closed' {
    if (this.readable) return this.writable ? 'open' : 'readOnly'
    return this.writable ? 'writeOnly' : 'closed'
  }

  /** getsockname(2), called once. Undefined if the connection had ended before the first call. */
  get localName(): Address | undefined {
    this.#localName ??= orUndefined(() => this.socket.localName)
    return this.#localName
  }

  /**
   * The peer's address. For an accepted connection it is the address that accept4(2) gave, which stays after the connection
   * has ended. Otherwise getpeername(2), called once; undefined if the connection had ended before.
   */
  get peerName(): Address | undefined {
    this.#peerName ??= orUndefined(() => this.socket.peerName)
    return this.#peerName
  }

  /** The local address as text, like `net.Socket`'s: `'127.0.0.1'`. Undefined for families other than IPv4 and IPv6. */
  get localAddress(): string | undefined {
    return netAddress(this.localName)?.address
  }

  /** The local port. Undefined for families other than IPv4 and IPv6. */
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

  /** The local address like `net.Socket`'s; empty for families other than IPv4 and IPv6, whose address is in `localName`. */
  address(): NetAddress | Record<string, never> {
    return netAddress(this.localName) ?? {}
  }

  /** The **milliseconds** of the last call of `setTimeout`. */
  get timeout(): number | undefined {
    return this.#timeout
  }

  /**
   * Emits `'timeout'` when nothing has been read or written for `timeout` **milliseconds**, and again after each later idle
   * time. The stream goes on: the listener decides what to do. 0 turns the timeout off, and is the default. `callback`
   * listens to the next `'timeout'`; with 0 it stops listening.
   * @throws TypeError, RangeError if the timeout is not a number from 0 to 2³¹ − 1 ms; TypeError if the callback is not a
   * function
   */
  setTimeout(timeout: number, callback?: () => void): this {
    if (typeof timeout !== 'number') throw new TypeError('timeout must be a number of milliseconds')
    if (!(timeout >= 0 && timeout < 2 ** 31)) throw new RangeError('timeout must be from 0 to 2³¹ − 1 milliseconds')
    if (callback !== undefined) checkFunction(callback, 'callback')
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
   * setsockopt(2) `TCP_NODELAY`: whether small segments are sent at once. Does nothing if the protocol has no such option,
   * or once the stream is destroyed.
   */
  setNoDelay(noDelay = true): this {
    this.#setTcpOption(TCP_NODELAY, noDelay ? 1 : 0)
    return this
  }

  /**
   * setsockopt(2) `SO_KEEPALIVE`, and with an `initialDelay` in **milliseconds**, cut to whole seconds, `TCP_KEEPIDLE`; 0
   * leaves that unchanged. Does nothing if the protocol has no such option, or once the stream is destroyed.
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

  /** Starts the flow of bytes. If TLS or HTTP/2 calls it, that layer decides from then on when the stream ends. */
  override resume(): this {
    if (completeHandle(this)) {
      // TLSSocket reads the stream's own choice, and does so before this runs.
      process.nextTick(() => {
        this.allowHalfOpen = true
      })
    }
    return super.resume()
  }

  /**
   * Sends `chunk` after everything written before. `callback` is called when the kernel has taken `chunk`, or with the
   * error: `ECANCELED` if `destroy` without an error came first, where the `net.Socket` of Node 20 reports success.
   */
  override write(chunk: unknown, callback?: WriteCallback): boolean
  override write(chunk: unknown, encoding?: BufferEncoding, callback?: WriteCallback): boolean
  override write(chunk: unknown, encoding?: BufferEncoding | WriteCallback, callback?: WriteCallback): boolean {
    const told = typeof encoding === 'function' ? encoding : callback
    const tell =
      typeof told === 'function'
        ? (error?: Error | null) => told(error ?? (this.#dropping ? canceled() : undefined))
        : told
    return super.write(chunk, (typeof encoding === 'function' ? undefined : encoding) as BufferEncoding, tell)
  }

  /**
   * Sends the end after everything written, with `chunk` before it. `callback` is called when the end is sent, or with the
   * error.
   */
  override end(callback?: () => void): this
  override end(chunk: unknown, callback?: () => void): this
  override end(chunk: unknown, encoding?: BufferEncoding, callback?: () => void): this
  override end(...args: unknown[]): this {
    super.end(...(args as Parameters<Duplex['end']>))
    // No event tells that other code has closed the socket; trying to send the rest does. Not synchronously, since that
    // calls write callbacks.
    if (this.#sent !== undefined) {
      process.nextTick(() => {
        if (this.#sent !== undefined && !this.#lent) this.#sendRest()
      })
    }
    return this
  }

  /** Ends the stream, and destroys it as soon as everything is written, without waiting for the peer's end. */
  destroySoon(): void {
    if (this.writable) this.end()
    if (this.writableFinished) this.destroy()
    else this.once('finish', () => this.destroy())
  }

  /**
   * close(2) after `SO_LINGER` 0: unsent bytes are dropped, and a TCP peer gets a reset (RST). Other protocols have no
   * reset and are simply closed.
   */
  resetAndDestroy(): this {
    if (!this.destroyed) resetOnClose(this)
    return this.destroy()
  }

  /**
   * Lends the sending side. Once the kernel has taken everything written before, the stream calls `send`, and sends nothing
   * itself until the promise of `send` settles; the promise returned here settles with it. Meanwhile `send` may send on the
   * descriptor by other means, and reports with `sent` the **bytes** that it has sent, which count as written. Later writes
   * wait, and so does the end; reading goes on.
   *
   *     await stream.lend(async (sent) => sent(sendfile(stream, file, 0, 4096) ?? 0))
   *
   * If `send` fails, the stream is left as it is: the caller knows how much of the message is out, and whether anything can
   * follow. `send` runs in the async context of this call, and must come to an end when the stream is destroyed.
   * @throws SystemError `EPIPE` if the stream has ended or is destroyed. If it is destroyed before `send` is called, or
   * `send` fails with `EBADF` because of that: the error that destroyed the stream, or `ECANCELED`
   */
  async lend<T>(send: (sent: (bytes: number) => void) => Promise<T>): Promise<T> {
    checkFunction(send, 'send')
    if (!this.writable) throw hasEnded()
    const sent = (bytes: number) => {
      this.#bytesWritten += bytes
      this.#idle?.refresh()
    }
    const gone = () => this.errored ?? canceled()
    return await new Promise<T>((resolve, reject) => {
      let begun = false
      const start = async () => {
        begun = true
        try {
          resolve(await send(sent))
        } catch (error) {
          // The reason for the destruction says more than EBADF does.
          reject(this.destroyed && (error as SystemError).code === 'EBADF' ? gone() : error)
        }
      }
      const place = Buffer.alloc(0)
      this.#loans ??= new Map()
      const context = new AsyncResource('LinuxSocketsLoan')
      this.#loans.set(place, () => context.runInAsyncScope(start))
      this.write(place, (error) => {
        this.#loans?.delete(place)
        if (error && !begun) reject(gone())
      })
    })
  }

  /**
   * Undoes the constructor. Once the kernel has taken everything written, resolves with the socket and the bytes that were
   * read and not consumed. The stream is destroyed, and writes in the meantime fail.
   * @throws SystemError `EPIPE` if the stream has ended or is destroyed
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
   * Like `detach`, but the stream keeps the socket, and only closes it when it is destroyed: code that counts connections
   * by their streams goes on counting this one. Writes from now on wait until the stream is destroyed, and then fail.
   *
   * With a `callback` the stream's watch on the socket is handed over, too, which saves stopping it and starting another.
   * From then on the watch calls `callback` and `options.ended`, as with `watch`, in the async context that made the
   * stream. Its events are what the stream last needed: `modify` them, and `stop` the watch in the end. `watch` is
   * undefined if the stream had none.
   *
   * A second call waits until the stream is destroyed, and fails.
   * @throws SystemError `EPIPE` if the stream has ended or is destroyed
   * @throws TypeError after `setEncoding`; for an invalid callback or options
   */
  async surrender(callback?: (events: number) => void, options: WatchOptions = {}): Promise<Surrendered> {
    if (callback !== undefined) checkFunction(callback, 'callback')
    checkWatchOptions(options)
    const { ended } = options
    this.#needBytes()
    if (!this.writable) throw hasEnded()
    const giveUp = () => {
      const watch = callback && this.#watch
      if (callback !== undefined) {
        this.#taker = { ready: callback, ended }
        this.#watch = undefined
      }
      return { socket: this.socket, unread: this.#giveUp(), watch }
    }
    // With nothing to wait for, no position in the write queue is needed.
    const isIdle = this.#sent === undefined && this.writableLength === 0 && !this.#loans?.size
    if (isIdle && !this.#surrendered) return giveUp()
    return await new Promise((resolve, reject) => {
      const forGood = async () => {
        resolve(giveUp())
        // The marker stays in the write queue forever; it is no write of the caller's that is dropped in the end.
        this.#sent = undefined
        await new Promise<never>(() => {})
      }
      this.lend(forGood).catch(reject)
    })
  }

  /** recv(2). A subclass may receive in another way; the result has the meaning of `Socket.recv`'s. */
  protected receive(buffer: Uint8Array): number | null {
    return this.socket.recv(buffer)
  }

  /**
   * send(2), or sendmsg(2) for several pieces, at most 1024. A subclass may send in another way; the result has the meaning
   * of `Socket.send`'s. The pieces are the very chunks that were written, except for the rest of a chunk that was sent in
   * part.
   */
  protected transmit(data: Uint8Array | readonly Uint8Array[]): number | null {
    return data instanceof Uint8Array ? this.socket.send(data) : sendMessage(this.socket, { data })
  }

  /**
   * recvmsg(2) `MSG_ERRQUEUE`: empties the socket's error queue (transmit timestamps, zero-copy notices), since an unread
   * queue would wake the loop forever. A subclass may use the messages; it must empty the queue.
   */
  protected drainErrorQueue(): void {
    dropNotices(this.socket)
  }

  override _read(): void {
    this.#asked = true
    if (this.#surrendered) return
    // No attempt to receive here: it would nearly always find nothing, and the event comes as soon as there is something.
    this.#arm(EPOLLIN)
  }

  override _write(chunk: Uint8Array, _encoding: BufferEncoding, callback: WriteCallback): void {
    if (this.#surrendered) {
      this.#sent = callback
      return
    }
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
      failure = this.#lose(error)
    }
    callback(failure)
  }

  override _writev(chunks: readonly { readonly chunk: Uint8Array }[], callback: WriteCallback): void {
    if (this.#surrendered) {
      this.#sent = callback
      return
    }
    this.#idle?.refresh()
    let failure: Error | undefined
    try {
      const unsent = this.#send(chunks.map(({ chunk }) => chunk))
      if (unsent.length > 0) {
        this.#wait(unsent, callback)
        return
      }
    } catch (error) {
      failure = this.#lose(error)
    }
    callback(failure)
  }

  override _final(callback: WriteCallback): void {
    if (this.#surrendered) return
    let failure: Error | undefined
    try {
      this.socket.shutdown(SHUT_WR)
    } catch (error) {
      // The peer has reset the connection; the reading side reports that.
      if ((error as SystemError).code !== 'ENOTCONN') failure = error as Error
    }
    // No 'finish' if the stream is destroyed in the same tick, as with net.Socket.
    process.nextTick(() => {
      if (!this.destroyed) callback(failure)
    })
  }

  override _destroy(error: Error | null, callback: WriteCallback): void {
    this.#ignoreSignal?.()
    clearTimeout(this.#idle)
    this.#idle = undefined
    this.#asked = false
    this.#watch?.stop()
    this.#watch = undefined
    const waiting = this.#sent
    this.#sent = undefined
    this.#unsent = []
    if (waiting !== undefined) process.nextTick(() => this.#drop(waiting, error))
    // A message that was cut short must not look complete to the peer.
    const isCut = this.#cut || waiting !== undefined || this.#surrendered || this.writableLength > 0
    if (error !== null && isCut) resetOnClose(this)
    closeQuietly(this.socket, error)
    callback(error)
    process.nextTick(() => this.emit('close', error !== null))
  }

  /** Like Node's `addAbortSignal`, which adds one listener per stream. */
  #abort({ reason }: AbortSignal): void {
    const error = new Error('The operation was aborted', { cause: reason })
    this.destroy(Object.assign(error, { name: 'AbortError', code: 'ABORT_ERR' }))
  }

  /**
   * Calls the callback of a write that the kernel hasn't taken: with the error, else as `net.Socket` does
   * (`CANCELLING_FAILS`).
   */
  #drop(waiting: WriteCallback, error: Error | null): void {
    this.#dropping = true
    try {
      waiting(error ?? (CANCELLING_FAILS ? canceled() : null))
    } finally {
      this.#dropping = false
    }
  }

  #lose(error: unknown): Error {
    this.#cut = true
    return error as Error
  }

  /**
   * Runs a step outside of any call by the user; if it fails, as when other code has closed the socket, destroys the
   * stream.
   */
  #orDestroy(step: () => void): void {
    try {
      step()
    } catch (error) {
      this.destroy(error as Error)
    }
  }

  #newWatch(events: number): Watch {
    const ready = (happened: number) => {
      if (this.#taker === undefined) this.#ready(happened)
      else this.#taker.ready(happened)
    }
    const ended = () => {
      if (this.#taker === undefined) this.#lost()
      else this.#taker.ended?.()
    }
    return this.#watchFunction(this.socket, events, ready, { ended })
  }

  /** Other code has closed the socket. */
  #lost(): void {
    this.destroy(new SystemError(errno.EBADF, 'epoll_wait', 'closed while the stream was open'))
  }

  #ready(events: number): void {
    // A failed connection reports EPOLLHUP as well.
    if ((events & (EPOLLERR | EPOLLHUP)) === EPOLLERR) this.#orDestroy(() => this.drainErrorQueue())
    if (this.destroyed) return
    // Read first: an error of a write would destroy the stream, and with it the bytes that came before.
    if (events !== EPOLLOUT) {
      if (this.#asked) this.#receive()
      else this.#orDestroy(() => this.#rest(events))
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
      // A listener called by push may ask for more.
      this.#asked = false
      let more = true
      try {
        more = this.push(takeFromSlab(count))
      } finally {
        // Also after a listener has thrown.
        if (more && !this.destroyed) this.#asked = true
      }
      // A short read means that the kernel's buffer was empty.
      if (count < SLAB_SIZE) return
    }
  }

  #end(): void {
    this.#atEnd = true
    this.#asked = false
    this.push(null)
    // Even if the stream was never read, 'end' comes if no bytes stand before it, as in node:net.
    this.read(0)
  }

  /**
   * Handles an event while the reading side wants nothing: reports an end or an error that has no bytes before it, and
   * otherwise stops watching for what would be reported forever.
   */
  #rest(events: number): void {
    if (this.#atEnd) {
      const pending = (events & EPOLLERR) === 0 ? 0 : getOption(this, SO_ERROR)
      if (pending !== 0) throw new SystemError(pending, 'recv')
    } else if (this.readableLength === 0) {
      const count = this.socket.recv(peeked, MSG_PEEK)
      if (count === 0) this.#end()
      if (!count) return
    }
    const watch = this.#watch as Watch
    if ((watch.events & EPOLLIN) !== 0) watch.modify(watch.events & ~EPOLLIN)
    else if (this.#sent === undefined || this.#lent) this.#stopWatch()
  }

  /**
   * Stops the watch, because EPOLLERR and EPOLLHUP can't be masked and don't go away. The next read or write finds out what
   * is left to report.
   */
  #stopWatch(): void {
    // The next watch needs the async context that is current here.
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
      this.#watch.modify(this.#watch.events | events)
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
      failure = this.#lose(error)
    }
    const callback = this.#sent as WriteCallback
    this.#sent = undefined
    this.#unsent = []
    callback(failure)
    // The callback may have brought the next chunk, which has to wait as well.
    if (this.#sent === undefined) this.#orDestroy(() => this.#watch?.modify(this.#watch.events & ~EPOLLOUT))
  }

  #needBytes(): void {
    if (this.readableEncoding !== null) throw new TypeError('the stream decodes its data: the bytes are gone')
  }

  /** Stops reading for good, and returns the bytes that were read and not consumed. */
  #giveUp(): Buffer {
    this.#surrendered = true
    this.#lent = true
    clearTimeout(this.#idle)
    this.#idle = undefined
    // Bytes that are returned here must not reach another reader.
    this.removeAllListeners('data')
    this.pause()
    const unread = this.readableLength === 0 ? Buffer.alloc(0) : this.#readAll()
    this.#watch?.stop()
    this.#watch = undefined
    return unread
  }

  #readAll(): Buffer {
    // Since Node 26 a read without a size takes one chunk.
    const chunks: Buffer[] = []
    for (let chunk = this.read(); chunk !== null; chunk = this.read()) chunks.push(chunk)
    return Buffer.concat(chunks)
  }

  /** Starts the loan at `place`. The chunks after it wait in `#unsent` until the loan is over. */
  #lendAt(place: Uint8Array, send: () => Promise<void>): void {
    this.#lent = true
    this.#watch?.modify(this.#watch.events & ~EPOLLOUT)
    const begin = async () => {
      if (!this.destroyed) await send()
      this.#lent = false
      this.#loans?.delete(place)
      if (this.#sent === undefined) return
      this.#unsent = this.#unsent.slice(1)
      this.#sendRest()
      if (this.#sent !== undefined && !this.#lent) this.#orDestroy(() => this.#arm(EPOLLOUT))
    }
    // Not synchronously: the write that leads here is not finished.
    queueMicrotask(begin)
  }

  /** Sends until the kernel takes no more or the next loan begins. Returns the unsent pieces. */
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

/**
 * Checks the options before there is a socket to make a stream of. `within` is the name of the option of another function
 * that holds them. For the packages of `@linux-sockets`.
 * @throws TypeError, RangeError
 */
export function checkStreamOptions(options: SocketStreamOptions, within = ''): void {
  checkOptions(options, within || 'options', OPTIONS)
  const path = within && `${within}.`
  const { allowHalfOpen, signal, watch } = options
  if (allowHalfOpen !== undefined) checkBoolean(allowHalfOpen, `${path}allowHalfOpen`)
  if (signal !== undefined) checkSignal(signal, `${path}signal`)
  if (watch !== undefined) checkFunction(watch, `${path}watch`)
  checkMark(options.highWaterMark, path, 'highWaterMark')
  checkMark(options.readableHighWaterMark, path, 'readableHighWaterMark')
  checkMark(options.writableHighWaterMark, path, 'writableHighWaterMark')
}

function checkMark(mark: number | undefined, path: string, name: string): void {
  if (mark !== undefined) checkInteger(mark, 0, Number.MAX_SAFE_INTEGER, `${path}${name}`)
}

const OPTIONS: NamesOf<SocketStreamOptions> = {
  allowHalfOpen: true,
  signal: true,
  watch: true,
  highWaterMark: true,
  readableHighWaterMark: true,
  writableHighWaterMark: true,
}

type WriteCallback = (error?: Error | null) => void

// tcp(7). The rows of all TCP options are in @linux-sockets/tcp; these two are what the methods of net.Socket set.
const TCP_NODELAY = 1
const TCP_KEEPIDLE = 4

/** Whether `net.Socket` reports an error for a write in flight that `destroy()` without an error drops: since Node 22. */
const CANCELLING_FAILS = Number.parseInt(process.versions.node, 10) >= 22

/** The most pieces that one sendmsg(2) takes. */
const IOV_MAX = 1024

/** How often one stream may fill the slab before other streams get their turn. */
const READS_PER_TURN = 4

/** How many messages of the error queue are dropped before other streams get their turn. */
const NOTICES_PER_TURN = 64

// All streams of a thread receive into the same memory: an idle connection holds no buffer.
const SLAB_SIZE = 64 * 1024
let slab = Buffer.allocUnsafeSlow(SLAB_SIZE)
const peeked = new Uint8Array(1)

/** The first bytes of the slab as a chunk of its own: copied if they are few, otherwise the slab itself. */
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

function hasEnded(): SystemError {
  return new SystemError(errno.EPIPE, 'send', 'the stream has ended')
}

function canceled(): SystemError {
  return new SystemError(errno.ECANCELED, 'send', 'the stream was destroyed')
}

/** recvmsg(2) `MSG_ERRQUEUE`: drops up to 64 messages of the error queue. For the packages of `@linux-sockets`. */
export function dropNotices(socket: Socket): void {
  let left = NOTICES_PER_TURN
  while (left-- > 0 && recvMessage(socket, [], { flags: MSG_ERRQUEUE }) !== null);
}

/**
 * The address in the words of `node:net`; undefined for families other than IPv4 and IPv6. For the packages of
 * `@linux-sockets`.
 */
export function netAddress(name: SocketAddress | undefined): NetAddress | undefined {
  if (name?.family === 'ipv4') return { address: name.address, family: 'IPv4', port: name.port }
  if (name?.family !== 'ipv6') return undefined
  const { address, port, scope = 0 } = name
  const zone = scope === 0 ? undefined : orUndefined(() => interfaceNameOf(scope))
  return { address: zone === undefined ? address : `${address}%${zone}`, family: 'IPv6', port }
}
