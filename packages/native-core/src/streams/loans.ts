/**
 * At any time either the stream or one loan may send on the socket. After the socket was given up, neither may.
 *
 * A loan takes its place among the writes as an empty chunk. It begins when the stream comes to that chunk, which `reach`
 * finds. Only when the loan ends does the stream call the chunk's callback. Until then the `Writable` queues later writes
 * and passes none on; the stream itself keeps those that it got together with the chunk. After the socket was given up, the
 * stream calls no callback any more.
 */
import { AsyncResource } from 'node:async_hooks'
import type { Readable, Writable } from 'node:stream'
import { errno } from '../errno.js'
import { SystemError } from '../error.js'
import type { Socket } from '../socket.js'
import type { Watch } from '../watch.js'

/** The result of `SocketStream.surrender`. */
export interface Surrendered {
  /** The socket, which the stream still owns and closes. */
  readonly socket: Socket
  /** The bytes that the stream had read and nothing had consumed. */
  readonly unread: Buffer
  /** The stream's watch, if the caller passed a `callback` and the stream had a watch. */
  readonly watch: Watch | undefined
}

/** The steps of a stream when a loan begins and ends. One object serves all streams. */
export interface Lender<Stream> {
  /** Stops waiting for the socket to become writable. */
  stop(stream: Stream): void
  /** Never finishes the write of the loan's chunk. */
  forget(stream: Stream): void
  /** Finishes the write of the loan's chunk, and sends what came after it. */
  resume(stream: Stream): void
}

/** The loans of one stream. */
export class Loans<Stream extends Writable> {
  readonly #stream: Stream
  readonly #lender: Lender<Stream>
  /** The loans that are not over, keyed by the empty chunks that mark their positions. */
  readonly #loans = new Map<Uint8Array, () => Promise<void>>()
  #isLent = false

  constructor(stream: Stream, lender: Lender<Stream>) {
    this.#stream = stream
    this.#lender = lender
  }

  /** Whether a loan has begun and is not over. */
  get isLent(): boolean {
    return this.#isLent
  }

  /** Whether there is any loan that is not over. */
  get areOpen(): boolean {
    return this.#loans.size > 0
  }

  /**
   * Returns the index up to which the stream may send `pieces`, from `first` on. If that is `first`, the loan there begins.
   */
  reach(pieces: readonly Uint8Array[], first: number): number {
    if (this.#loans.size === 0) return pieces.length
    const next = pieces.findIndex((piece, i) => i >= first && this.#loans.has(piece))
    if (next === first) this.#begin(pieces[next] as Uint8Array)
    return next < 0 ? pieces.length : next
  }

  /** Calls `send` when its turn has come, in the async context of this call, and settles with it. */
  async lend<T>(send: () => Promise<T>): Promise<T> {
    const stream = this.#stream
    checkWritable(stream)
    const lost = () => stream.errored ?? canceled()
    return await new Promise<T>((resolve, reject) => {
      let begun = false
      const start = async () => {
        begun = true
        try {
          resolve(await send())
        } catch (error) {
          // The reason for the destruction says more than EBADF does.
          reject(stream.destroyed && (error as SystemError).code === 'EBADF' ? lost() : error)
        }
      }
      const place = Buffer.alloc(0)
      const context = new AsyncResource('LinuxSocketsLoan')
      this.#loans.set(place, () => context.runInAsyncScope(start))
      stream.write(place, (error) => {
        this.#loans.delete(place)
        if (error && !begun) reject(lost())
      })
    })
  }

  /** Calls `take`, which gives the socket up, when everything written before is sent. */
  async surrender<T>(take: () => T): Promise<T> {
    return await new Promise((resolve, reject) => {
      const forGood = async () => {
        resolve(take())
        // No write of the caller's, which would get an error when the stream is destroyed.
        this.#lender.forget(this.#stream)
        await new Promise<never>(() => {})
      }
      this.lend(forGood).catch(reject)
    })
  }

  #begin(place: Uint8Array): void {
    const send = this.#loans.get(place) as () => Promise<void>
    this.#isLent = true
    this.#lender.stop(this.#stream)
    const begin = async () => {
      if (!this.#stream.destroyed) await send()
      this.#isLent = false
      this.#loans.delete(place)
      this.#lender.resume(this.#stream)
    }
    // Not synchronously: the write that leads here is not finished.
    queueMicrotask(begin)
  }
}

/** @throws SystemError `EPIPE` if the stream has ended or is destroyed */
export function checkWritable(stream: Writable): void {
  if (!stream.writable) throw new SystemError(errno.EPIPE, 'send', 'the stream has ended')
}

/** @throws TypeError after `setEncoding` */
export function checkUndecoded(stream: Readable): void {
  if (stream.readableEncoding !== null) throw new TypeError('the stream decodes its data: the bytes are gone')
}

/** Stops the flow for good, and returns the bytes that were read and not consumed. */
export function takeUnread(stream: Readable): Buffer {
  // Bytes that are returned here must not reach another reader.
  stream.removeAllListeners('data')
  stream.pause()
  if (stream.readableLength === 0) return Buffer.alloc(0)
  // Since Node 26 a read without a size takes one chunk.
  const chunks: Buffer[] = []
  for (let chunk = stream.read(); chunk !== null; chunk = stream.read()) chunks.push(chunk)
  return Buffer.concat(chunks)
}

/** The error of what the stream no longer sends, because it was destroyed without an error. */
export function canceled(): SystemError {
  return new SystemError(errno.ECANCELED, 'send', 'the stream was destroyed')
}
