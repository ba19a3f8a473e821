import { checkBytes, checkInteger, checkOptions, type NamesOf } from '@linux-sockets/native-core/internal'

/** Splits a stream of bytes into frames, regardless of the chunks in which the bytes arrive. */
export interface Framing {
  /**
   * Takes the next bytes and calls `frame` for each frame that they complete, in order. The memory of the bytes may be
   * reused after `frame` has returned: copy what you keep. If `frame` throws, this framing drops the bytes after that frame. Returns the
   * rest of the chunk, as a view of it: the bytes after the frame in which `stop` was called, otherwise none.
   * @throws FramingError `ERR_FRAME_TOO_LONG` as soon as a frame is known to exceed the limit, `ERR_FRAME_INVALID` for an
   * invalid length; the stream can't be split any further then
   */
  push(chunk: Uint8Array, frame: (bytes: Buffer) => void): Buffer
  /**
   * Makes `push` return after the current frame; call it from within `frame`. Use it if you have closed the connection, can't
   * take more frames for now, or want to pass the rest to another framing. This framing can also continue with the rest.
   * Outside of `push` it does nothing.
   */
  stop(): void
  /**
   * Tells the framing that the stream has ended.
   * @throws FramingError `ERR_FRAME_CUT` if it ended within a frame
   */
  end(): void
  /** **Bytes** kept of an unfinished frame until the rest arrives; never more than the limit and a length or delimiter. */
  readonly buffered: number
}

/** The error of a stream that can't be split into frames. */
export class FramingError extends Error {
  override readonly name = 'FramingError'
  /**
   * `ERR_FRAME_TOO_LONG`: a frame exceeds the limit. `ERR_FRAME_INVALID`: a length is invalid. `ERR_FRAME_CUT`: the stream
   * ended within a frame.
   */
  readonly code: 'ERR_FRAME_TOO_LONG' | 'ERR_FRAME_INVALID' | 'ERR_FRAME_CUT'

  constructor(code: FramingError['code'], message: string) {
    super(message)
    this.code = code
  }
}

/** The options of every framing. */
export interface FramingOptions {
  /** The most **bytes** of a frame, without its delimiter or length. Default 64 KiB. */
  readonly limit?: number | undefined
}

/**
 * Makes a framing for lines that end with LF or CRLF, which are not part of the frame. Text after the last line end is
 * `ERR_FRAME_CUT` at the end of the stream.
 * @throws TypeError, RangeError if an option is invalid
 */
export function lines(options: FramingOptions = {}): Framing {
  checkOptions(options, 'options', FRAMING_OPTIONS)
  const { limit = DEFAULT_LIMIT } = options
  checkLimit(limit)
  return new DelimiterFraming(Uint8Array.of(LF), limit, CR)
}

/**
 * Makes a framing for frames that end with a delimiter of one byte or more. The delimiter is not part of the frame. No byte
 * is read twice, whatever the peer sends.
 * @throws TypeError, RangeError if the delimiter or an option is invalid
 */
export function delimited(delimiter: Uint8Array, options: FramingOptions = {}): Framing {
  checkBytes(delimiter, 'delimiter')
  if (delimiter.length === 0) throw new RangeError('delimiter must not be empty')
  checkOptions(options, 'options', FRAMING_OPTIONS)
  const { limit = DEFAULT_LIMIT } = options
  checkLimit(limit)
  return new DelimiterFraming(Uint8Array.from(delimiter), limit)
}

/** The options of `lengthPrefixed`: the form of the length. */
export interface LengthPrefixOptions extends FramingOptions {
  /** The size of the length in **bytes**, or `'varint'`: base 128, low bits first (LEB128), at most 8 bytes. Default 4. */
  readonly size?: 1 | 2 | 4 | 8 | 'varint' | undefined
  /** The byte order of the length. Default `'big'`, the order of Internet protocols. */
  readonly endian?: 'big' | 'little' | undefined
}

/**
 * Makes a framing for frames that follow their length. The length does not count its own bytes.
 * @throws TypeError, RangeError if an option is invalid
 */
export function lengthPrefixed(options: LengthPrefixOptions = {}): Framing {
  checkOptions(options, 'options', LENGTH_PREFIX_OPTIONS)
  const { size = 4, endian = 'big', limit = DEFAULT_LIMIT } = options
  checkLimit(limit)
  checkLength(size, endian)
  return new LengthFraming(size, endian === 'little', limit)
}

/**
 * Encodes a length, to be sent before a frame of that many bytes, in the form that `lengthPrefixed` reads.
 * @throws TypeError, RangeError if the length doesn't fit, or an option is invalid
 */
export function encodeLength(length: number, options: Omit<LengthPrefixOptions, 'limit'> = {}): Buffer {
  checkOptions(options, 'options', LENGTH_OPTIONS)
  const { size = 4, endian = 'big' } = options
  checkLength(size, endian)
  checkInteger(
    length,
    0,
    size === 'varint' ? Number.MAX_SAFE_INTEGER : Math.min(256 ** size - 1, 2 ** 53 - 1),
    'length',
  )
  const bytes: number[] = []
  if (size === 'varint') {
    for (; length >= 0x80; length = Math.floor(length / 0x80)) bytes.push((length % 0x80) | 0x80)
    bytes.push(length)
  } else {
    for (let i = 0; i < size; i++, length = Math.floor(length / 0x100)) bytes.push(length % 0x100)
    if (endian === 'big') bytes.reverse()
  }
  return Buffer.from(bytes)
}

const FRAMING_OPTIONS: NamesOf<FramingOptions> = { limit: true }
const LENGTH_OPTIONS: NamesOf<Omit<LengthPrefixOptions, 'limit'>> = { size: true, endian: true }
const LENGTH_PREFIX_OPTIONS: NamesOf<LengthPrefixOptions> = { ...FRAMING_OPTIONS, ...LENGTH_OPTIONS }

const DEFAULT_LIMIT = 64 * 1024
const LF = 0x0a
const CR = 0x0d

/** The rest of a chunk that was consumed completely. */
const NOTHING = Buffer.alloc(0)

/** Returns a Buffer of the same memory. Chunks from Node and from native-core are Buffers already. */
function asBuffer(chunk: Uint8Array): Buffer {
  return chunk instanceof Buffer ? chunk : Buffer.from(chunk.buffer, chunk.byteOffset, chunk.length)
}

/** The pieces of an unfinished frame. */
class Pieces {
  #bytes = Buffer.alloc(0)
  length = 0

  add(piece: Uint8Array): void {
    const length = this.length + piece.length
    if (length > this.#bytes.length) {
      // Doubling keeps the copying linear in the number of bytes, however small the pieces are.
      const grown = Buffer.allocUnsafe(Math.max(length, 2 * this.#bytes.length, 64))
      grown.set(this.#bytes.subarray(0, this.length))
      this.#bytes = grown
    }
    this.#bytes.set(piece, this.length)
    this.length = length
  }

  /** The last byte, if there is any. */
  get last(): number | undefined {
    return this.length > 0 ? this.#bytes[this.length - 1] : undefined
  }

  /** Removes all pieces, and returns them as one without the last `less` bytes. */
  take(less = 0): Buffer {
    const whole = this.#bytes.subarray(0, this.length - less)
    this.length = 0
    // The memory is lent out now. Besides, a long frame must not take memory for as long as the connection lasts.
    this.#bytes = Buffer.alloc(0)
    return whole
  }
}

class DelimiterFraming implements Framing {
  readonly #delimiter: Uint8Array
  readonly #limit: number
  readonly #before: number | undefined
  readonly #fallback: readonly number[]
  readonly #pieces = new Pieces()
  /** The number of the delimiter's bytes with which the input so far ends. */
  #matched = 0
  #stopped = false

  /** `before`: a byte that is part of the delimiter if it comes right before it. */
  constructor(delimiter: Uint8Array, limit: number, before?: number) {
    this.#delimiter = delimiter
    this.#limit = limit
    this.#before = before
    this.#fallback = fallbackTable(delimiter)
  }

  get buffered(): number {
    return this.#pieces.length
  }

  push(chunk: Uint8Array, frame: (bytes: Buffer) => void): Buffer {
    const bytes = asBuffer(chunk)
    this.#stopped = false
    for (let start = 0; start < bytes.length; ) {
      const end = this.#find(bytes, start)
      const stop = end < 0 ? bytes.length : end
      // Bytes of a delimiter, or of what may still become one, do not count.
      let less = end < 0 ? this.#matched : this.#delimiter.length
      if (this.#before !== undefined) {
        const last = stop - less > start ? bytes[stop - less - 1] : this.#pieces.last
        if (last === this.#before) less++
      }
      if (this.#pieces.length + stop - start - less > this.#limit) throw tooLong(this.#limit)
      if (end < 0) {
        this.#pieces.add(bytes.subarray(start))
        return NOTHING
      }
      if (this.#pieces.length === 0) frame(bytes.subarray(start, end - less))
      else {
        this.#pieces.add(bytes.subarray(start, end))
        frame(this.#pieces.take(less))
      }
      if (this.#stopped) return bytes.subarray(end)
      start = end
    }
    return NOTHING
  }

  stop(): void {
    this.#stopped = true
  }

  end(): void {
    if (this.#pieces.length > 0) throw cut(this.#pieces.length)
  }

  /** Returns the end of the first delimiter, or −1. Short, so that V8 inlines it: splitting lines is a tenth cheaper. */
  #find(bytes: Buffer, start: number): number {
    const delimiter = this.#delimiter
    if (delimiter.length > 1) return this.#match(bytes, start)
    const found = bytes.indexOf(delimiter[0] as number, start)
    return found < 0 ? -1 : found + 1
  }

  /**
   * Searches with the algorithm of Knuth, Morris and Pratt, which reads each byte once. Buffer.indexOf goes back after every
   * failed match: if a peer sends nothing but beginnings of a delimiter, it reads each byte as often as the delimiter is
   * long. A match may begin in an earlier chunk, and end in a later one.
   */
  #match(bytes: Buffer, start: number): number {
    const delimiter = this.#delimiter
    let matched = this.#matched
    for (let at = start; at < bytes.length; ) {
      const byte = bytes[at++]
      while (matched > 0 && delimiter[matched] !== byte) matched = this.#fallback[matched - 1] as number
      if (delimiter[matched] === byte && ++matched === delimiter.length) {
        this.#matched = 0
        return at
      }
    }
    this.#matched = matched
    return -1
  }
}

/** Returns for each i how long a match can still be when the byte after its first i + 1 bytes differs. */
function fallbackTable(pattern: Uint8Array): number[] {
  const table = [0]
  for (let i = 1, length = 0; i < pattern.length; i++) {
    while (length > 0 && pattern[i] !== pattern[length]) length = table[length - 1] as number
    if (pattern[i] === pattern[length]) length++
    table.push(length)
  }
  return table
}

class LengthFraming implements Framing {
  readonly #size: number | 'varint'
  readonly #littleEndian: boolean
  readonly #limit: number
  readonly #pieces = new Pieces()
  /** The number of the length's bytes so far, and their value. */
  #lengthBytes = 0
  #length = 0
  /** Whether `#length` is complete. */
  #known = false
  #stopped = false

  constructor(size: number | 'varint', littleEndian: boolean, limit: number) {
    this.#size = size
    this.#littleEndian = littleEndian
    this.#limit = limit
  }

  get buffered(): number {
    return this.#pieces.length + this.#lengthBytes
  }

  push(chunk: Uint8Array, frame: (bytes: Buffer) => void): Buffer {
    const bytes = asBuffer(chunk)
    this.#stopped = false
    let at = 0
    for (;;) {
      while (!this.#known) {
        if (at === bytes.length) return NOTHING
        this.#readLength(bytes[at++] as number)
      }
      const end = at + this.#length - this.#pieces.length
      if (end > bytes.length) {
        this.#pieces.add(bytes.subarray(at))
        return NOTHING
      }
      let whole = bytes.subarray(at, end)
      if (this.#pieces.length > 0) {
        this.#pieces.add(whole)
        whole = this.#pieces.take()
      }
      at = end
      this.#lengthBytes = 0
      this.#length = 0
      this.#known = false
      frame(whole)
      if (this.#stopped) return bytes.subarray(at)
    }
  }

  stop(): void {
    this.#stopped = true
  }

  end(): void {
    if (this.buffered > 0) throw cut(this.buffered)
  }

  #readLength(byte: number): void {
    const place = this.#lengthBytes++
    if (this.#size === 'varint') {
      this.#length += (byte & 0x7f) * 0x80 ** place
      this.#known = byte < 0x80
      if (!this.#known && this.#lengthBytes === VARINT_MAX) {
        throw new FramingError('ERR_FRAME_INVALID', `a length has more than ${VARINT_MAX} bytes`)
      }
    } else {
      this.#length = this.#littleEndian ? this.#length + byte * 0x100 ** place : this.#length * 0x100 + byte
      this.#known = this.#lengthBytes === this.#size
    }
    if (this.#length > this.#limit) throw tooLong(this.#limit)
  }
}

const VARINT_MAX = 8

function checkLimit(limit: number): void {
  checkInteger(limit, 0, 0x7fff_ffff, 'limit')
}

function checkLength(size: LengthPrefixOptions['size'], endian: LengthPrefixOptions['endian']): void {
  if (size !== 'varint' && size !== 1 && size !== 2 && size !== 4 && size !== 8) {
    throw new RangeError(`size must be 1, 2, 4, 8 or 'varint', not ${size}`)
  }
  if (endian !== 'big' && endian !== 'little') throw new RangeError(`endian must be 'big' or 'little', not ${endian}`)
}

function tooLong(limit: number): FramingError {
  return new FramingError('ERR_FRAME_TOO_LONG', `a frame is longer than ${limit} bytes`)
}

function cut(length: number): FramingError {
  return new FramingError('ERR_FRAME_CUT', `the stream ended within a frame, after ${length} bytes of it`)
}
