import { TextDecoder } from 'node:util'
import { formatIpv4, formatIpv6, parseIpv4, parseIpv6 } from './ip.js'

/** Writes a value in the kernel's layout. `what` names the option or message for the error text. */
export interface Encoder<T> {
  /** The most bytes that a value takes. */
  readonly size: number
  /** Returns the number of bytes written. Throws `TypeError` or `RangeError` for a value that can't be written. */
  readonly encode: (value: T, view: DataView, what: string) => number
}

/** Reads a value from the kernel's layout. `length` is how many bytes the kernel gave. */
export interface Decoder<T> {
  /** The bytes to offer to the kernel. */
  readonly size: number
  readonly decode: (view: DataView, length: number) => T
}

/**
 * How a value looks in memory, in both directions. A codec is named after its unit or shape: what it says is what you
 * pass. Members are property functions, so that a read-only option can't be passed where a writable one is asked for.
 */
export interface Codec<Get, Set = Get> extends Encoder<Set>, Decoder<Get> {}

// x64, arm64, riscv64: the architectures that the loader accepts are all little-endian.
const LE = true

const INT_MIN = -0x8000_0000
const INT_MAX = 0x7fff_ffff
const UINT_MAX = 0xffff_ffff

/** Throws unless `value` is an integer from `min` to `max`. */
export function checkInteger(value: unknown, min: number, max: number, what: string): asserts value is number {
  if (typeof value !== 'number' || Number.isNaN(value)) {
    throw new TypeError(`${what} must be a number, not ${describe(value)}`)
  }
  if (!Number.isInteger(value) || value < min || value > max) {
    throw new RangeError(`${what} must be an integer from ${min} to ${max}, not ${value}`)
  }
}

function describe(value: unknown): string {
  if (value === null || value === undefined || typeof value === 'number') return String(value)
  return `a ${typeof value}`
}

function integer(min: number, max: number): Codec<number> {
  return {
    size: 4,
    encode: (value, view, what) => {
      checkInteger(value, min, max, what)
      view.setInt32(0, value, LE)
      return 4
    },
    // Some IP options answer with one byte.
    decode: (view, length) => {
      if (length < 4) return length === 0 ? 0 : view.getUint8(0)
      return max > INT_MAX ? view.getUint32(0, LE) : view.getInt32(0, LE)
    },
  }
}

/** A C `int`. */
export const int: Codec<number> = integer(INT_MIN, INT_MAX)

/** A 32-bit unsigned number. */
export const uint: Codec<number> = integer(0, UINT_MAX)

/** A count of bytes in an `int`. */
export const bytes: Codec<number> = int
/** A time in whole seconds in an `int`. */
export const seconds: Codec<number> = int
/** A time in whole milliseconds in an `int`. */
export const milliseconds: Codec<number> = int
/** A time in whole microseconds in an `int`. */
export const microseconds: Codec<number> = int
/** A TTL or hop limit in an `int`; −1 asks for the system's default where an option allows it. */
export const hops: Codec<number> = int
/** An interface index in an `int`; 0 means none. */
export const interfaceIndex: Codec<number> = int

/** A flag in an `int`: 0 or 1. */
export const bool: Codec<boolean> = {
  size: 4,
  encode: (value, view, what) => {
    if (typeof value !== 'boolean') throw new TypeError(`${what} must be a boolean, not ${describe(value)}`)
    view.setInt32(0, value ? 1 : 0, LE)
    return 4
  },
  decode: (view, length) => int.decode(view, length) !== 0,
}

/** A 64-bit unsigned number, as a `bigint`. */
export const u64: Codec<bigint> = {
  size: 8,
  encode: (value, view, what) => {
    if (typeof value !== 'bigint') throw new TypeError(`${what} must be a bigint, not ${describe(value)}`)
    if (value < 0n || value > 0xffff_ffff_ffff_ffffn) {
      throw new RangeError(`${what} must be from 0 to 2⁶⁴ − 1, not ${value}`)
    }
    view.setBigUint64(0, value, LE)
    return 8
  },
  decode: (view, length) => (length < 8 ? BigInt(view.getUint32(0, LE)) : view.getBigUint64(0, LE)),
}

/** `struct timeval`, as **milliseconds**; fractions count down to the microsecond. 0 means no limit where a timeout is meant. */
export const timeval: Codec<number> = {
  size: 16,
  encode: (value, view, what) => {
    if (typeof value !== 'number' || Number.isNaN(value)) {
      throw new TypeError(`${what} must be a number of milliseconds, not ${describe(value)}`)
    }
    if (value < 0 || value > Number.MAX_SAFE_INTEGER / 1000) {
      throw new RangeError(`${what} must not be negative or beyond ${Number.MAX_SAFE_INTEGER / 1000} ms, not ${value}`)
    }
    // A timeout that is not zero must not become zero, which means "for ever".
    const micros = Math.ceil(value * 1000)
    view.setBigInt64(0, BigInt(Math.floor(micros / 1e6)), LE)
    view.setBigInt64(8, BigInt(micros % 1e6), LE)
    return 16
  },
  decode: (view) => Number(view.getBigInt64(0, LE)) * 1000 + Number(view.getBigInt64(8, LE)) / 1000,
}

/** `struct linger`: seconds that close(2) may wait for unsent data; `null` is off; 0 resets the connection on close. */
export const linger: Codec<number | null> = {
  size: 8,
  encode: (value, view, what) => {
    if (value !== null) checkInteger(value, 0, INT_MAX, what)
    view.setInt32(0, value === null ? 0 : 1, LE)
    view.setInt32(4, value ?? 0, LE)
    return 8
  },
  decode: (view) => (view.getInt32(0, LE) === 0 ? null : view.getInt32(4, LE)),
}

/** Process, user and group of a peer. */
export interface Credentials {
  readonly pid: number
  readonly uid: number
  readonly gid: number
}

/** `struct ucred`. */
export const credentials: Codec<Credentials> = {
  size: 12,
  encode: (value, view, what) => {
    checkInteger(value.pid, 0, INT_MAX, `${what}.pid`)
    checkInteger(value.uid, 0, UINT_MAX, `${what}.uid`)
    checkInteger(value.gid, 0, UINT_MAX, `${what}.gid`)
    view.setInt32(0, value.pid, LE)
    view.setUint32(4, value.uid, LE)
    view.setUint32(8, value.gid, LE)
    return 12
  },
  decode: (view) => ({ pid: view.getInt32(0, LE), uid: view.getUint32(4, LE), gid: view.getUint32(8, LE) }),
}

/** A text of at most `size − 1` bytes that ends at its first NUL: interface names, algorithm names. */
export function text(size: number): Codec<string> {
  return {
    size,
    encode: (value, view, what) => {
      if (typeof value !== 'string') throw new TypeError(`${what} must be a string, not ${describe(value)}`)
      if (value.includes('\0')) throw new TypeError(`${what} must not contain a NUL`)
      if (Buffer.byteLength(value) >= size) {
        throw new RangeError(`${what} must be shorter than ${size} bytes, not ${JSON.stringify(value)}`)
      }
      const target = bytesOf(view, size).fill(0)
      return target.write(value) + 1
    },
    decode: (view, length) => {
      const given = bytesOf(view, length)
      const end = given.indexOf(0)
      return utf8.decode(given.subarray(0, end < 0 ? length : end))
    },
  }
}

/** Bytes as they are, at most `size` of them. */
export function raw(size: number): Codec<Uint8Array> {
  return {
    size,
    encode: (value, view, what) => {
      if (!(value instanceof Uint8Array)) throw new TypeError(`${what} must be a Uint8Array, not ${describe(value)}`)
      if (value.length > size) throw new RangeError(`${what} must be at most ${size} bytes, not ${value.length}`)
      bytesOf(view, value.length).set(value)
      return value.length
    },
    decode: (view, length) => Uint8Array.from(bytesOf(view, length)),
  }
}

/** `struct in_addr`, as text. */
export const ipv4: Codec<string> = {
  size: 4,
  encode: (value, view, what) => {
    bytesOf(view, 4).set(parseIpv4(value, what))
    return 4
  },
  decode: (view) => formatIpv4(bytesOf(view, 4)),
}

/** `struct in6_addr`, as text (RFC 5952). */
export const ipv6: Codec<string> = {
  size: 16,
  encode: (value, view, what) => {
    bytesOf(view, 16).set(parseIpv6(value, what))
    return 16
  },
  decode: (view) => formatIpv6(bytesOf(view, 16)),
}

const utf8 = new TextDecoder()

function bytesOf(view: DataView, length: number): Buffer {
  return Buffer.from(view.buffer, view.byteOffset, length)
}
