import { checkInteger } from '@linux-sockets/native-core'

/** Cuts a stream of bytes into frames, however the bytes come. */
export interface Framing {
  /**
   * Takes the next bytes and calls `frame` for each frame that they complete, in order. What `frame` gets is only lent:
   * copy what you keep. When it throws, the bytes behind that frame are lost to this framing.
   * @throws FramingError `ERR_FRAME_TOO_LONG` as soon as a frame is known to exceed the limit, `ERR_FRAME_INVALID` for a
   * length that can't be; the stream can't be cut any further then
   */
  push(chunk: Uint8Array, frame: (bytes: Buffer) => void): void
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
  // One byte more for the CR, which counts as soon as something else than LF follows it.
  const framing = new DelimiterFraming(Uint8Array.of(LF), limit, 1)
  return {
    push: (chunk, frame) =>
      framing.push(chunk, (line) => {
        const end = line.at(-1) === CR ? line.length - 1 : line.length
        if (end > limit) throw tooLong(limit)
        frame(line.subarray(0, end))
      }),
    end: () => framing.end(),
    get buffered() {
      return framing.buffered
    },
  }
}

/** Frames that end with a delimiter of one byte or more, which is not part of the frame. */
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
  readonly #delimiter: Buffer
  readonly #limit: number
  readonly #slack: number
  readonly #fallback: readonly number[]
  readonly #pieces = new Pieces()
  /** How many bytes of the delimiter the input so far ends with. */
  #matched = 0

  constructor(delimiter: Uint8Array, limit: number, slack = 0) {
    this.#delimiter = Buffer.from(delimiter)
    this.#limit = limit
    this.#slack = slack
    this.#fallback = fallbackTable(delimiter)
  }

  get buffered(): number {
    return this.#pieces.length
  }

  push(chunk: Uint8Array, frame: (bytes: Buffer) => void): void {
    const bytes = Buffer.from(chunk.buffer, chunk.byteOffset, chunk.length)
    for (let start = 0; start < bytes.length; ) {
      const end = this.#find(bytes, start)
      if (end < 0) {
        this.#checkLimit(this.#pieces.length + bytes.length - start - this.#matched)
        this.#pieces.add(bytes.subarray(start))
        return
      }
      this.#checkLimit(this.#pieces.length + end - start - this.#delimiter.length)
      this.#matched = 0
      if (this.#pieces.length === 0) frame(bytes.subarray(start, end - this.#delimiter.length))
      else {
        this.#pieces.add(bytes.subarray(start, end))
        frame(this.#pieces.take(this.#delimiter.length))
      }
      start = end
    }
  }

  end(): void {
    if (this.#pieces.length > 0) throw cut(this.#pieces.length)
  }

  /** Where the first delimiter ends, or −1. A match may have begun in earlier chunks, and end in later ones. */
  #find(bytes: Buffer, start: number): number {
    let at = start
    // What has begun is continued byte by byte (Knuth, Morris and Pratt), so that nothing is read again.
    while (this.#matched > 0 && at < bytes.length) {
      this.#step(bytes[at++] as number)
      if (this.#matched === this.#delimiter.length) return at
    }
    if (at === bytes.length) return -1
    const found = bytes.indexOf(this.#delimiter, at)
    if (found >= 0) return found + this.#delimiter.length
    // Only the last few bytes can be the beginning of one.
    for (let i = Math.max(at, bytes.length - this.#delimiter.length + 1); i < bytes.length; i++) {
      this.#step(bytes[i] as number)
    }
    return -1
  }

  #step(byte: number): void {
    while (this.#matched > 0 && this.#delimiter[this.#matched] !== byte) {
      this.#matched = this.#fallback[this.#matched - 1] as number
    }
    if (this.#delimiter[this.#matched] === byte) this.#matched++
  }

  #checkLimit(length: number): void {
    if (length > this.#limit + this.#slack) throw tooLong(this.#limit)
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

  constructor(size: number | 'varint', littleEndian: boolean, limit: number) {
    this.#size = size
    this.#littleEndian = littleEndian
    this.#limit = limit
  }

  get buffered(): number {
    return this.#pieces.length + this.#lengthBytes
  }

  push(chunk: Uint8Array, frame: (bytes: Buffer) => void): void {
    const bytes = Buffer.from(chunk.buffer, chunk.byteOffset, chunk.length)
    let at = 0
    for (;;) {
      while (!this.#known) {
        if (at === bytes.length) return
        this.#readLength(bytes[at++] as number)
      }
      const end = at + this.#length - this.#pieces.length
      if (end > bytes.length) {
        this.#pieces.add(bytes.subarray(at))
        return
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
    }
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
