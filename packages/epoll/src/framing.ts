import { checkInteger } from '@linux-sockets/native-core'

/** Cuts a stream of bytes into frames, however the bytes come. */
export interface Framing {
  /**
   * Takes the next bytes and calls `frame` for each frame that they complete, in order. What `frame` gets is only lent:
   * copy what you keep. When it throws, the bytes behind that frame are lost to this framing. Returns what is left of the
   * chunk, lent as the chunk is: the bytes behind the frame in which `stop` was called, otherwise none.
   * @throws FramingError `ERR_FRAME_TOO_LONG` as soon as a frame is known to exceed the limit, `ERR_FRAME_INVALID` for a
   * length that can't be; the stream can't be cut any further then
   */
  push(chunk: Uint8Array, frame: (bytes: Buffer) => void): Buffer
  /**
   * From within `frame`: has `push` return behind this frame, where the connection was given up, more would be too much for
   * now, or another framing takes over. This one can go on with the rest, too. Outside of `push` it does nothing.
   */
  stop(): void
  /**
   * The stream has ended.
   * @throws FramingError `ERR_FRAME_CUT` when it ended within a frame
   */
  end(): void
  /** Bytes of an unfinished frame that are kept until the rest comes; never more than the limit and a length or delimiter. */
  readonly buffered: number
}

/** Why a stream can't be cut into frames. */
export class FramingError extends Error {
  override readonly name = 'FramingError'
  /** `ERR_FRAME_TOO_LONG`: more than the limit. `ERR_FRAME_INVALID`: no length. `ERR_FRAME_CUT`: the end came within a frame. */
  readonly code: 'ERR_FRAME_TOO_LONG' | 'ERR_FRAME_INVALID' | 'ERR_FRAME_CUT'

  constructor(code: FramingError['code'], message: string) {
    super(message)
    this.code = code
  }
}

/** What holds for every framing. */
export interface FramingOptions {
  /** The most **bytes** of a frame, without its delimiter or length. Default 64 KiB. */
  readonly limit?: number | undefined
}

/** Lines that end with LF or CRLF, which are not part of the frame. Text behind the last one is `ERR_FRAME_CUT` at the end. */
export function lines(options: FramingOptions = {}): Framing {
  const { limit = DEFAULT_LIMIT } = options
  checkLimit(limit)
  return new DelimiterFraming(Uint8Array.of(LF), limit, CR)
}

/** Frames that end with a delimiter of one byte or more, which is not part of the frame. No byte is read twice, whatever is sent. */
export function delimited(delimiter: Uint8Array, options: FramingOptions = {}): Framing {
  if (!(delimiter instanceof Uint8Array)) throw new TypeError('delimiter must be a Uint8Array')
  if (delimiter.length === 0) throw new RangeError('delimiter must not be empty')
  const { limit = DEFAULT_LIMIT } = options
  checkLimit(limit)
  return new DelimiterFraming(Uint8Array.from(delimiter), limit)
}

/** How a length is written. */
export interface LengthPrefixOptions extends FramingOptions {
  /** **Bytes** of the length, or `'varint'` for base 128 with the low bits first (LEB128), at most 8 bytes. Default 4. */
  readonly size?: 1 | 2 | 4 | 8 | 'varint' | undefined
  /** The order of the bytes of the length. Default `'big'`, as in the protocols of the Internet. */
  readonly endian?: 'big' | 'little' | undefined
}

/** Frames that stand behind their length, which does not count itself. */
export function lengthPrefixed(options: LengthPrefixOptions = {}): Framing {
  const { size = 4, endian = 'big', limit = DEFAULT_LIMIT } = options
  checkLimit(limit)
  checkLength(size, endian)
  return new LengthFraming(size, endian === 'little', limit)
}

/** The length to send before a frame of so many bytes, in the form that `lengthPrefixed` reads. @throws RangeError when it doesn't fit */
export function encodeLength(length: number, options: Omit<LengthPrefixOptions, 'limit'> = {}): Buffer {
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

const DEFAULT_LIMIT = 64 * 1024
const LF = 0x0a
const CR = 0x0d

/** What is left of a chunk that was taken whole. */
const NOTHING = Buffer.alloc(0)

/** The same memory; what comes from Node and from native-core is a Buffer already. */
function asBuffer(chunk: Uint8Array): Buffer {
  return chunk instanceof Buffer ? chunk : Buffer.from(chunk.buffer, chunk.byteOffset, chunk.length)
}

/** The pieces of a frame that has not come whole. */
class Pieces {
  #bytes = Buffer.alloc(0)
  length = 0

  add(piece: Uint8Array): void {
    const length = this.length + piece.length
    if (length > this.#bytes.length) {
      // Doubling keeps the copying linear in what has come, however small the pieces are.
      const grown = Buffer.allocUnsafe(Math.max(length, 2 * this.#bytes.length, 64))
      grown.set(this.#bytes.subarray(0, this.length))
      this.#bytes = grown
    }
    this.#bytes.set(piece, this.length)
    this.length = length
  }

  /** The last byte that came, if any is left. */
  get last(): number | undefined {
    return this.length > 0 ? this.#bytes[this.length - 1] : undefined
  }

  /** All of them as one, without the last `less` bytes, and none are left. */
  take(less = 0): Buffer {
    const whole = this.#bytes.subarray(0, this.length - less)
    this.length = 0
    // A long frame must not be paid for as long as the connection lasts, and its memory is lent out now.
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
  /** How many bytes of the delimiter the input so far ends with. */
  #matched = 0
  #stopped = false

  /** `before`: a byte that belongs to the delimiter where it stands right before it. */
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
      // What is a delimiter, or may still become one, does not count.
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

  /** Where the first delimiter ends, or −1. Short, so that it is compiled into `push`: lines are cut a tenth cheaper. */
  #find(bytes: Buffer, start: number): number {
    const delimiter = this.#delimiter
    if (delimiter.length > 1) return this.#match(bytes, start)
    const found = bytes.indexOf(delimiter[0] as number, start)
    return found < 0 ? -1 : found + 1
  }

  /**
   * Knuth, Morris and Pratt: each byte is read once. Buffer.indexOf would go back after every match that fails, and a peer
   * who sends nothing but beginnings of delimiters would make it read each byte as often as that is long. A match may have
   * begun in earlier chunks, and end in later ones.
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

/** How long a match can still be when the byte behind its first i + 1 bytes differs. */
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
  /** Bytes of the length that have come, and their value. */
  #lengthBytes = 0
  #length = 0
  /** Whether `#length` is whole. */
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
