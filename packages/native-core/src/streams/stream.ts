import type { Duplex } from 'node:stream'
import { onAbort } from '../abort.js'
import type { SocketAddress } from '../address.js'
import { checkFunction, checkSocket } from '../argument.js'
import { EPOLLERR, EPOLLHUP, EPOLLIN, EPOLLOUT, MSG_PEEK, SHUT_WR } from '../constants.js'
import { errno } from '../errno.js'
import { SystemError } from '../error.js'
import { closeQuietly, setNonBlocking } from '../fd.js'
import { sendMessage } from '../message.js'
import { getOption } from '../option.js'
import { SO_ERROR } from '../options/socket.js'
import { resetOnClose } from '../quietly.js'
import { Socket } from '../socket.js'
import { checkWatchOptions, type Watch, type WatchFunction, type WatchOptions, watch } from '../watch.js'
import { completeHandle } from './handle.js'
import { checkUndecoded, checkWritable, type Lender, Loans, type Surrendered, takeUnread } from './loans.js'
import { dropWrite, NetStream, refreshTimeout, stopTimeout, type WriteCallback } from './netstream.js'
import { dropNotices } from './notices.js'
import { checkStreamOptions, type SocketStreamOptions } from './options.js'
import { Readiness } from './readiness.js'
import { SLAB_SIZE, slab, takeFromSlab } from './slab.js'

// The class sets them, since they use its private members. Closures for each stream would take more memory.
let startWatch: (stream: SocketStream, events: number) => Watch
let lender: Lender<SocketStream>

/**
 * A connected stream socket as a `Duplex` that can stand in for a `net.Socket`: under `node:tls` and `node:http`, in
 * `stream.pipeline`, as a web stream. A `tls.TLSSocket` and an HTTP/2 session over the stream have its addresses, and their
 * `ref`, `unref`, `setNoDelay` and `setKeepAlive` reach it.
 *
 *     const stream = new SocketStream(socket)
 *     stream.pipe(stream) // echo
 *
 * The stream reads only while its reader wants bytes. If the reader is slow, bytes stay in the kernel's buffer, and when
 * that is full, with the peer. The stream still notices the peer's end and a failed connection, unless unread bytes come
 * before them.
 *
 * Errors are emitted as `'error'`, usually a `SystemError`. `'close'` passes whether there was one (`hadError`), as
 * `net.Socket` does. Listeners for events that the network causes run in the async context that made the stream.
 *
 * If an error destroys the stream before the kernel has taken all written bytes, the connection is reset, so that the peer
 * doesn't mistake the part for the whole. `destroy()` without an error works as with `net.Socket`: the peer sees an
 * end. For a write in flight, `errored`, `stream.finished` and `stream.pipeline` then report what they report over a
 * `net.Socket` of the same Node (`ECANCELED` since Node 22).
 */
export class SocketStream<Address extends SocketAddress = SocketAddress> extends NetStream<Address> {
  #bytesRead = 0
  #bytesWritten = 0

  readonly #watchFunction: WatchFunction
  readonly #readiness: Readiness<SocketStream>
  /** Whether the reading side wants bytes. */
  #asked = false
  #atEnd = false
  /** Bytes that the kernel has not taken yet; `#sent` is the write callback to call when it has. */
  #unsent: readonly Uint8Array[] = []
  #sent: WriteCallback | undefined
  /** Undefined before the first loan. */
  #loans: Loans<SocketStream> | undefined
  /** Whether `detach` or `surrender` has taken the socket. */
  #isGivenUp = false
  /** The functions that the handed-over watch calls after `surrender`. */
  #taker: { readonly ready: (events: number) => void; readonly ended: (() => void) | undefined } | undefined
  /** Whether bytes were lost that are no longer in any queue. */
  #cut = false
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
    super(socket, { ...marks, allowHalfOpen, emitClose: false })
    setNonBlocking(socket)
    this.#watchFunction = from
    // Most streams are read at once; then this is the only epoll_ctl that reading takes.
    this.#readiness = new Readiness<SocketStream>(this, startWatch, EPOLLIN)
    if (signal?.aborted) this.#abort(signal)
    else this.#ignoreSignal = signal && onAbort(signal, () => this.#abort(signal))
  }

  /** **Bytes** taken from the kernel. */
  get bytesRead(): number {
    return this.#bytesRead
  }

  /** **Bytes** that the kernel has taken; `writableLength` counts the bytes that still wait here. */
  get bytesWritten(): number {
    return this.#bytesWritten
  }

  /** Keeps the process alive while the stream is open. This is the default. */
  override ref(): this {
    this.#readiness.ref()
    return this
  }

  /** Lets the process end although the stream is open. */
  override unref(): this {
    this.#readiness.unref()
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
        if (this.#sent !== undefined && this.#maySend) this.#sendRest()
      })
    }
    return this
  }

  /**
   * Lends the sending side. Once the kernel has taken everything written before, the stream calls `send`, and sends nothing
   * itself until the promise of `send` settles; the promise returned here settles with it. Meanwhile `send` may send on the
   * descriptor by other means, and reports with `sent` the **bytes** that it has sent, which count as written. Later writes
   * wait, and so does the end; reading goes on.
   *
   *     await stream.lend(async (sent) => sent(sendfile(stream, file, 0, 4096) ?? 0))
   *
   * If `send` fails, the stream is left as it is: the caller knows how much of the message was sent, and whether anything
   * can follow. `send` runs in the async context of this call, and must settle when the stream is destroyed.
   * @throws SystemError `EPIPE` if the stream has ended or is destroyed. If it is destroyed before `send` is called, or
   * `send` fails with `EBADF` because of that: the error that destroyed the stream, or `ECANCELED`
   */
  async lend<T>(send: (sent: (bytes: number) => void) => Promise<T>): Promise<T> {
    checkFunction(send, 'send')
    const sent = (bytes: number) => {
      this.#bytesWritten += bytes
      refreshTimeout(this)
    }
    return await this.#allLoans().lend(() => send(sent))
  }

  /**
   * Hands the socket over to the caller, which then owns it. Once the kernel has taken everything written, resolves with the
   * socket and the bytes that the stream has read and nothing has consumed. The stream is destroyed, and writes in the
   * meantime fail.
   * @throws SystemError `EPIPE` if the stream has ended or is destroyed; `EBADF` if other code has closed the socket, which
   * also destroys the stream
   * @throws TypeError after `setEncoding`
   */
  async detach(): Promise<{ socket: Socket; unread: Buffer }> {
    checkUndecoded(this)
    const take = (unread: Buffer) => {
      this.#readiness.stop()
      const socket = Socket.from(this.socket)
      this.destroy()
      return { socket, unread }
    }
    return await this.lend(async () => this.#giveUp(take))
  }

  /**
   * Like `detach`, but the stream still owns the socket, and closes it when the stream is destroyed. So code that counts
   * connections by their streams goes on counting this one. Writes from now on wait until the stream is destroyed, and then
   * fail.
   *
   * With a `callback` the stream's watch on the socket is handed over, too, so that the caller needn't start another.
   * From then on the watch calls `callback` and `options.ended`, as with `watch`, in the async context that made the
   * stream. Its events are those that the stream needed last: `modify` them, and `stop` the watch in the end. The `watch`
   * of the result is undefined if the stream had none.
   *
   * A second call waits until the stream is destroyed, and fails.
   * @throws SystemError as `detach` does
   * @throws TypeError after `setEncoding`; for an invalid callback or options
   */
  async surrender(callback?: (events: number) => void, options: WatchOptions = {}): Promise<Surrendered> {
    if (callback !== undefined) checkFunction(callback, 'callback')
    checkWatchOptions(options)
    const { ended } = options
    checkUndecoded(this)
    const take = (unread: Buffer) => {
      let watch: Watch | undefined
      if (callback !== undefined) {
        this.#taker = { ready: callback, ended }
        watch = this.#readiness.handOver()
      }
      this.#readiness.stop()
      return { socket: this.socket, unread, watch }
    }
    const isIdle = this.#sent === undefined && this.writableLength === 0 && !this.#loans?.areOpen
    if (!isIdle || this.#isGivenUp) return await this.#allLoans().surrender(() => this.#giveUp(take))
    checkWritable(this)
    return this.#giveUp(take)
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
    if (this.#isGivenUp) return
    // No attempt to receive here: it would nearly always find nothing, and the event comes as soon as there is something.
    this.#readiness.add(EPOLLIN)
  }

  override _write(chunk: Uint8Array, _encoding: BufferEncoding, callback: WriteCallback): void {
    this.#write([chunk], callback)
  }

  override _writev(chunks: readonly { readonly chunk: Uint8Array }[], callback: WriteCallback): void {
    const pieces = chunks.map(({ chunk }) => chunk)
    this.#write(pieces, callback)
  }

  override _final(callback: WriteCallback): void {
    if (this.#isGivenUp) return
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
    stopTimeout(this)
    this.#asked = false
    this.#readiness.stop()
    const waiting = this.#sent
    this.#sent = undefined
    this.#unsent = []
    if (waiting !== undefined) process.nextTick(() => dropWrite(this, waiting, error))
    // A message that was cut short must not look complete to the peer.
    const isCut = this.#cut || waiting !== undefined || this.#isGivenUp || this.writableLength > 0
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

  #ready(events: number): void {
    // A failed connection reports EPOLLHUP as well.
    if ((events & (EPOLLERR | EPOLLHUP)) === EPOLLERR) this.#orDestroy(() => this.drainErrorQueue())
    if (this.destroyed) return
    // Read first: an error of a write would destroy the stream, and with it the bytes that came before.
    if (events !== EPOLLOUT) {
      if (this.#asked) this.#receive()
      else this.#orDestroy(() => this.#rest(events))
    }
    if (events !== EPOLLIN && this.#sent !== undefined && this.#maySend) this.#sendRest()
  }

  #receive(): void {
    refreshTimeout(this)
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
    // Even if the stream was never read, 'end' is emitted if no bytes come before it, as in node:net.
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
    if ((this.#readiness.events & EPOLLIN) !== 0) this.#readiness.remove(EPOLLIN)
    else if (this.#sent === undefined || !this.#maySend) this.#readiness.rest()
  }

  #write(pieces: readonly Uint8Array[], callback: WriteCallback): void {
    refreshTimeout(this)
    let failure: Error | undefined
    try {
      const unsent = this.#send(pieces)
      if (unsent.length > 0) {
        if (this.#maySend) this.#readiness.add(EPOLLOUT)
        this.#unsent = unsent
        this.#sent = callback
        return
      }
    } catch (error) {
      this.#cut = true
      failure = error as Error
    }
    callback(failure)
  }

  #sendRest(): void {
    let failure: Error | undefined
    try {
      const before = this.#bytesWritten
      this.#unsent = this.#send(this.#unsent)
      if (this.#bytesWritten !== before) refreshTimeout(this)
      if (this.#unsent.length > 0) return
    } catch (error) {
      this.#cut = true
      failure = error as Error
    }
    const callback = this.#sent as WriteCallback
    this.#sent = undefined
    this.#unsent = []
    callback(failure)
    // The callback may have brought the next chunk, which has to wait as well.
    if (this.#sent === undefined) this.#orDestroy(() => this.#readiness.remove(EPOLLOUT))
  }

  /** Stops sending and reading for good, and passes `take` the bytes that were read and not consumed. */
  #giveUp<T>(take: (unread: Buffer) => T): T {
    this.#isGivenUp = true
    stopTimeout(this)
    try {
      const unread = takeUnread(this)
      if (this.socket.closed) throw wasClosed()
      return take(unread)
    } catch (error) {
      // Neither the stream nor the caller can use the socket any more.
      this.destroy(error as Error)
      throw error
    }
  }

  /** Whether the stream itself may send. */
  get #maySend(): boolean {
    return !this.#isGivenUp && !this.#loans?.isLent
  }

  #allLoans(): Loans<SocketStream> {
    this.#loans ??= new Loans(this, lender)
    return this.#loans
  }

  static {
    startWatch = (stream, events) => {
      const ready = (happened: number) => {
        if (stream.#taker === undefined) stream.#ready(happened)
        else stream.#taker.ready(happened)
      }
      const ended = () => {
        if (stream.#taker === undefined) stream.destroy(wasClosed())
        else stream.#taker.ended?.()
      }
      const from = stream.#watchFunction
      return from(stream.socket, events, ready, { ended })
    }
    lender = {
      stop(stream) {
        stream.#readiness.remove(EPOLLOUT)
      },
      forget(stream) {
        stream.#sent = undefined
      },
      resume(stream) {
        if (stream.#sent === undefined) return
        stream.#unsent = stream.#unsent.slice(1)
        stream.#sendRest()
        if (stream.#sent !== undefined && stream.#maySend) stream.#orDestroy(() => stream.#readiness.add(EPOLLOUT))
      },
    }
  }

  /** Sends until the kernel takes no more or the next loan begins. Returns the unsent pieces. */
  #send(pieces: readonly Uint8Array[]): readonly Uint8Array[] {
    if (this.#isGivenUp) return pieces
    let first = 0
    while (first < pieces.length) {
      const reach = this.#loans?.reach(pieces, first) ?? pieces.length
      if (reach === first) return pieces.slice(first)
      const end = Math.min(reach, first + IOV_MAX)
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
}

function wasClosed(): SystemError {
  return new SystemError(errno.EBADF, 'epoll_wait', 'closed while the stream was open')
}

/** The most pieces that one sendmsg(2) takes. */
const IOV_MAX = 1024

/** How often one stream may fill the slab before other streams get their turn. */
const READS_PER_TURN = 4

const peeked = new Uint8Array(1)
