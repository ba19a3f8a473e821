import type { Readable } from 'node:stream'
import { onAbort } from '../abort.js'
import { checkInteger, describe } from '../argument.js'
import { errno } from '../errno.js'
import { SystemError } from '../error.js'
import { checkReadyOptions, type ReadyOptions } from '../watch.js'

/** The error that `readExactly` rejects with if the stream ends too early: `ENODATA`. */
export interface IncompleteReadError extends SystemError {
  /** The bytes that came before the end; they are no longer in the stream. */
  readonly partial: Buffer
}

/**
 * Reads exactly `length` **bytes** of a stream, and leaves the bytes after them in it: for the header of a protocol, before
 * the stream is iterated over, piped, or handed over.
 *
 *     const length = (await readExactly(stream, 4)).readUInt32BE()
 *     const message = await readExactly(stream, length, { timeout: 5000 })
 *
 * `stream` is any `Readable` of bytes that doesn't flow and has no listeners for `'data'`, which would get the bytes, too.
 * Several calls read in the order in which they were made. `length` is 0 … 2³¹ − 1 and may be more than `highWaterMark`; 0
 * waits for nothing. If the `signal` or `timeout` ends the wait, the bytes read so far go back into the stream.
 *
 * @throws SystemError (`IncompleteReadError`) `ENODATA` if the stream ends before; `ETIMEDOUT` after `timeout`; `ECANCELED`
 * if the stream is destroyed without an error
 * @throws the error that the stream is destroyed with; the signal's reason
 * @throws TypeError, RangeError for invalid arguments, or a stream that flows, decodes, or isn't one of bytes
 */
export async function readExactly(stream: Readable, length: number, options: ReadyOptions = {}): Promise<Buffer> {
  if (typeof (stream as Partial<Readable> | null)?.read !== 'function' || typeof stream.unshift !== 'function') {
    throw new TypeError(`stream must be a Readable, not ${describe(stream)}`)
  }
  checkInteger(length, 0, 0x7fff_ffff, 'length')
  checkReadyOptions(options)
  if (stream.readableObjectMode || stream.readableEncoding !== null) {
    throw new TypeError('stream must be one of bytes: it has an encoding set, or is in object mode')
  }
  if (stream.readableFlowing || stream.listenerCount('data') > 0) {
    throw new TypeError("stream must not flow, nor have listeners for 'data': they get its bytes")
  }
  options.signal?.throwIfAborted()
  if (length === 0) return Buffer.alloc(0)
  return await new Promise<Buffer>((resolve, reject) => new Reading(stream, length, options, resolve, reject))
}

/** The unfinished calls for each stream, in their order; the first of them reads. */
const turns = new WeakMap<Readable, Reading[]>()

class Reading {
  readonly #stream: Readable
  readonly #length: number
  readonly #resolve: (bytes: Buffer) => void
  readonly #reject: (error: unknown) => void
  readonly #chunks: Buffer[] = []
  #missing: number
  #begun = false
  #timer: NodeJS.Timeout | undefined
  #ignoreSignal: (() => void) | undefined

  constructor(
    stream: Readable,
    length: number,
    { signal, timeout }: ReadyOptions,
    resolve: (bytes: Buffer) => void,
    reject: (error: unknown) => void,
  ) {
    this.#stream = stream
    this.#length = this.#missing = length
    this.#resolve = resolve
    this.#reject = reject
    this.#ignoreSignal = signal && onAbort(signal, () => this.#giveUp(signal.reason))
    if (timeout !== undefined) {
      const late = () =>
        this.#giveUp(new SystemError(errno.ETIMEDOUT, 'read', `${this.#came} came within ${timeout} ms (timeout)`))
      this.#timer = setTimeout(late, timeout)
    }
    const waiting = turns.get(stream) ?? []
    turns.set(stream, waiting)
    if (waiting.push(this) === 1) this.begin()
  }

  get #came(): string {
    return `${this.#length - this.#missing} of ${this.#length} bytes`
  }

  begin(): void {
    if (this.#begun) return
    this.#begun = true
    const stream = this.#stream
    if (stream.readableEnded || stream.destroyed) {
      this.#closed()
      return
    }
    stream.on('error', this.#failed).on('end', this.#ended).on('close', this.#closed)
    this.#read()
    // Not earlier: a stream begins to read when this listener is added.
    if (this.#missing > 0) stream.on('readable', this.#read)
  }

  readonly #read = (): void => {
    while (this.#missing > 0) {
      // Makes the stream read more, and at its end emit 'end'.
      if (this.#stream.readableLength === 0) this.#stream.read(0)
      const there = Math.min(this.#stream.readableLength, this.#missing)
      if (there === 0) return
      this.#chunks.push(this.#stream.read(there))
      this.#missing -= there
    }
    this.#settle()
    this.#resolve(this.#bytes())
  }

  readonly #failed = (error: unknown): void => {
    this.#settle()
    this.#reject(error)
  }

  readonly #ended = (): void => {
    const error = new SystemError(errno.ENODATA, 'read', `the stream ended after ${this.#came}`)
    this.#failed(Object.assign(error, { partial: this.#bytes() }))
  }

  readonly #closed = (): void => {
    const { readableEnded, errored } = this.#stream
    if (errored) this.#failed(errored)
    else if (readableEnded) this.#ended()
    else this.#failed(new SystemError(errno.ECANCELED, 'read', `the stream was destroyed after ${this.#came}`))
  }

  #giveUp(error: unknown): void {
    const bytes = this.#bytes()
    // Before the next call gets its turn.
    if (bytes.length > 0 && !this.#stream.destroyed) this.#stream.unshift(bytes)
    this.#failed(error)
  }

  #bytes(): Buffer {
    return this.#chunks.length === 1 ? (this.#chunks[0] as Buffer) : Buffer.concat(this.#chunks)
  }

  #settle(): void {
    clearTimeout(this.#timer)
    this.#ignoreSignal?.()
    const stream = this.#stream
    stream.off('error', this.#failed).off('end', this.#ended).off('close', this.#closed).off('readable', this.#read)
    const waiting = turns.get(stream) as Reading[]
    const first = waiting[0] === this
    waiting.splice(waiting.indexOf(this), 1)
    if (waiting.length === 0) turns.delete(stream)
    else if (first) process.nextTick(() => waiting[0]?.begin())
  }
}
