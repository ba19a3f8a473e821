import { TextDecoder } from 'node:util'
import { checkInteger, checkObject, describe, needBytes } from '../argument.js'
import { formatIpv4, formatIpv6, parseIpv4, parseIpv6 } from '../ip.js'

/** Writes a value in the kernel's layout. `what` names the option or message in error messages. */
export interface Encoder<T> {
  /** The most bytes that a value takes. */
  readonly size: number
  /** Returns the number of bytes written. Throws `TypeError` or `RangeError` for a value that can't be written. */
  readonly encode: (value: T, view: DataView, what: string) => number
}

/** Reads a value from the kernel's layout. `length` is the number of bytes that the kernel gave. */
export interface Decoder<T> {
  /** The number of bytes to offer to the kernel. */
  readonly size: number
  /** Returns the value, which must not refer to the memory under `view`: that memory is reused. */
  readonly decode: (view: DataView, length: number) => T
}

/**
 * The memory layout of a value, in both directions. A codec is named after its unit or shape: the name tells what to pass.
 * Members are property functions, so that a read-only option can't be passed where a writable one is required.
 */
export interface Codec<Get, Set = Get> extends Encoder<Set>, Decoder<Get> {}

// x64, arm64, riscv64: the architectures that the loader accepts are all little-endian.
const LE = true

const INT_MIN = -0x8000_0000
const INT_MAX = 0x7fff_ffff
const UINT_MAX = 0xffff_ffff
/** The largest size of a value, in bytes. */
const SIZE_MAX = 0x1000_0000

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
export const ifindex: Codec<number> = int

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
  decode: (view, length) => {
    needBytes(length, 4, '64-bit number')
    return length < 8 ? BigInt(view.getUint32(0, LE)) : view.getBigUint64(0, LE)
  },
}

/** `struct timeval`, as **milliseconds**; fractions count down to the microsecond. For a timeout, 0 means no limit. */
export const timeval: Codec<number> = {
  size: 16,
  encode: (value, view, what) => {
    if (typeof value !== 'number' || Number.isNaN(value)) {
      throw new TypeError(`${what} must be a number of milliseconds, not ${describe(value)}`)
    }
    if (value < 0 || value > Number.MAX_SAFE_INTEGER / 1000) {
      throw new RangeError(`${what} must not be negative or beyond ${Number.MAX_SAFE_INTEGER / 1000} ms, not ${value}`)
    }
    // A timeout that is not zero must not become zero, which means "no timeout".
    const micros = Math.ceil(value * 1000)
    view.setBigInt64(0, BigInt(Math.floor(micros / 1e6)), LE)
    view.setBigInt64(8, BigInt(micros % 1e6), LE)
    return 16
  },
  decode: (view, length) => {
    needBytes(length, 16, 'struct timeval')
    return Number(view.getBigInt64(0, LE)) * 1000 + Number(view.getBigInt64(8, LE)) / 1000
  },
}

/** `struct linger`: **seconds** that close(2) may wait for unsent data; `null` is off; 0 resets the connection on close. */
export const linger: Codec<number | null> = {
  size: 8,
  encode: (value, view, what) => {
    if (value !== null) checkInteger(value, 0, INT_MAX, what)
    view.setInt32(0, value === null ? 0 : 1, LE)
    view.setInt32(4, value ?? 0, LE)
    return 8
  },
  decode: (view, length) => {
    needBytes(length, 8, 'struct linger')
    return view.getInt32(0, LE) === 0 ? null : view.getInt32(4, LE)
  },
}

/** The process, user and group of a peer. */
export interface Credentials {
  /** The process id in our own pid namespace; 0 if the process isn't visible there. */
  readonly pid: number
  /** The user id. */
  readonly uid: number
  /** The group id. */
  readonly gid: number
}

/** `struct ucred`. */
export const credentials: Codec<Credentials> = {
  size: 12,
  encode: (value, view, what) => {
    checkObject(value, what)
    checkInteger(value.pid, 0, INT_MAX, `${what}.pid`)
    checkInteger(value.uid, 0, UINT_MAX, `${what}.uid`)
    checkInteger(value.gid, 0, UINT_MAX, `${what}.gid`)
    view.setInt32(0, value.pid, LE)
    view.setUint32(4, value.uid, LE)
    view.setUint32(8, value.gid, LE)
    return 12
  },
  decode: (view, length) => {
    needBytes(length, 12, 'struct ucred')
    return { pid: view.getInt32(0, LE), uid: view.getUint32(4, LE), gid: view.getUint32(8, LE) }
  },
}

/** A string of at most `size − 1` bytes that ends at its first NUL: interface names, algorithm names. */
export function text(size: number): Codec<string> {
  checkInteger(size, 1, SIZE_MAX, 'size')
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
  checkInteger(size, 0, SIZE_MAX, 'size')
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
  decode: (view, length) => {
    needBytes(length, 4, 'struct in_addr')
    return formatIpv4(bytesOf(view, 4))
  },
}

/** `struct in6_addr`, as text (RFC 5952). */
export const ipv6: Codec<string> = {
  size: 16,
  encode: (value, view, what) => {
    bytesOf(view, 16).set(parseIpv6(value, what))
    return 16
  },
  decode: (view, length) => {
    needBytes(length, 16, 'struct in6_addr')
    return formatIpv6(bytesOf(view, 16))
  },
}

/** An interface index in **network byte order**, as a plain number; 0 means none. */
export const bigEndianIfindex: Codec<number> = {
  size: 4,
  encode: (value, view, what) => {
    checkInteger(value, 0, INT_MAX, what)
    view.setInt32(0, value)
    return 4
  },
  decode: (view, length) => {
    needBytes(length, 4, '32-bit number')
    return view.getInt32(0)
  },
}

/** Ports from `low` to `high`, both included; 0 leaves that limit to the system. */
export interface PortRange {
  /** The lowest port, 0 … 65535. */
  readonly low: number
  /** The highest port, 0 … 65535. */
  readonly high: number
}

/** Two ports in one `u32`: the low one in its low half. */
export const portRange: Codec<PortRange> = {
  size: 4,
  encode: (value, view, what) => {
    checkObject(value, what)
    checkInteger(value.low, 0, 0xffff, `${what}.low`)
    checkInteger(value.high, 0, 0xffff, `${what}.high`)
    view.setUint16(0, value.low, LE)
    view.setUint16(2, value.high, LE)
    return 4
  },
  decode: (view, length) => {
    needBytes(length, 4, 'port range')
    return { low: view.getUint16(0, LE), high: view.getUint16(2, LE) }
  },
}

/** An interface to send from: by its index, by a local address, or by both. */
export interface Ipv4Interface {
  /** The interface's index. 0: the interface that has `address`. */
  readonly ifindex: number
  /** The local address. Default `'0.0.0.0'`: the interface's own. */
  readonly address?: string | undefined
}

/** `struct in_addr` for a string, else `struct ip_mreqn`. The kernel answers with the address alone. */
export const ipv4Interface: Codec<string, string | Ipv4Interface> = {
  size: 12,
  encode: (value, view, what) => {
    if (typeof value === 'string') return ipv4.encode(value, view, what)
    checkObject(value, what)
    checkInteger(value.ifindex, 0, INT_MAX, `${what}.ifindex`)
    view.setUint32(0, 0)
    bytesOf(view, 8).set(parseIpv4(value.address ?? '0.0.0.0', `${what}.address`), 4)
    view.setInt32(8, value.ifindex, LE)
    return 12
  },
  decode: ipv4.decode,
}

/** An IPv6 address on an interface. */
export interface Ipv6AtInterface {
  /** `'2001:db8::1'` */
  readonly address: string
  /** The interface's index. 0: the kernel chooses. */
  readonly ifindex: number
}

/** `struct in6_pktinfo`, and `struct ipv6_mreq`, which looks the same. */
export const ipv6AtInterface: Codec<Ipv6AtInterface> = {
  size: 20,
  encode: (value, view, what) => {
    checkObject(value, what)
    checkInteger(value.ifindex, 0, INT_MAX, `${what}.ifindex`)
    bytesOf(view, 16).set(parseIpv6(value.address, `${what}.address`))
    view.setInt32(16, value.ifindex, LE)
    return 20
  },
  decode: (view, length) => {
    needBytes(length, 20, 'struct in6_pktinfo')
    return { address: formatIpv6(bytesOf(view, 16)), ifindex: view.getInt32(16, LE) }
  },
}

/** A list of at most `count` unsigned 32-bit numbers. */
export function uints(count: number): Codec<number[], readonly number[]> {
  checkInteger(count, 0, SIZE_MAX / 4, 'count')
  return {
    size: 4 * count,
    encode: (value, view, what) => {
      if (!Array.isArray(value)) throw new TypeError(`${what} must be an array, not ${describe(value)}`)
      if (value.length > count) throw new RangeError(`${what} must have at most ${count} numbers, not ${value.length}`)
      for (const [i, item] of value.entries()) {
        checkInteger(item, 0, UINT_MAX, `${what}[${i}]`)
        view.setUint32(4 * i, item, LE)
      }
      return 4 * value.length
    },
    decode: (view, length) => Array.from({ length: length >> 2 }, (_, i) => view.getUint32(4 * i, LE)),
  }
}

/** The queues of a socket, in **bytes** of kernel memory, except for `drops`. The names are those of `SK_MEMINFO_…`. */
export interface SocketMemory {
  /** Received and not yet read. */
  readonly rmem_alloc: number
  /** The limit of `rmem_alloc`: `SO_RCVBUF`. */
  readonly rcvbuf: number
  /** Sent and not yet released by the network. */
  readonly wmem_alloc: number
  /** The limit of `wmem_alloc`: `SO_SNDBUF`. */
  readonly sndbuf: number
  /** Reserved from the protocol's memory for later use. */
  readonly fwd_alloc: number
  /** In the send queue. */
  readonly wmem_queued: number
  /** Options, filters, control messages. */
  readonly optmem: number
  /** Arrived while a system call held the socket. */
  readonly backlog: number
  /** **Packets** dropped. */
  readonly drops: number
}

/** The array of `SK_MEMINFO_…`. */
export const socketMemory: Decoder<SocketMemory> = {
  size: 36,
  decode: (view, length) => {
    // The size of SO_MEMINFO since it was added: Linux 4.12.
    needBytes(length, 36, 'SO_MEMINFO')
    const at = (index: number) => view.getUint32(4 * index, LE)
    return {
      rmem_alloc: at(0),
      rcvbuf: at(1),
      wmem_alloc: at(2),
      sndbuf: at(3),
      fwd_alloc: at(4),
      wmem_queued: at(5),
      optmem: at(6),
      backlog: at(7),
      drops: at(8),
    }
  },
}

/** The clock and flags of scheduled sending. */
export interface TransmitTime {
  /** The clock of the send times: `CLOCK_TAI`, `CLOCK_MONOTONIC`. */
  readonly clockid: number
  /** `SOF_TXTIME_…`. Default 0. */
  readonly flags?: number
}

/** `struct sock_txtime`. */
export const transmitTime: Codec<Required<TransmitTime>, TransmitTime> = {
  size: 8,
  encode: (value, view, what) => {
    checkObject(value, what)
    checkInteger(value.clockid, INT_MIN, INT_MAX, `${what}.clockid`)
    checkInteger(value.flags ?? 0, 0, UINT_MAX, `${what}.flags`)
    view.setInt32(0, value.clockid, LE)
    view.setUint32(4, value.flags ?? 0, LE)
    return 8
  },
  decode: (view, length) => {
    needBytes(length, 8, 'struct sock_txtime')
    return { clockid: view.getInt32(0, LE), flags: view.getUint32(4, LE) }
  },
}

/** A range of device-memory fragments to give back. */
export interface DeviceMemoryRange {
  /** The first token, from `SCM_DEVMEM_DMABUF`. */
  readonly start: number
  /** The number of tokens. */
  readonly count: number
}

/** At most 128 times `struct dmabuf_token`. */
export const deviceMemoryRanges: Encoder<readonly DeviceMemoryRange[]> = {
  size: 128 * 8,
  encode: (value, view, what) => {
    if (!Array.isArray(value)) throw new TypeError(`${what} must be an array, not ${describe(value)}`)
    if (value.length > 128) throw new RangeError(`${what} must have at most 128 ranges, not ${value.length}`)
    for (const [i, range] of (value as readonly DeviceMemoryRange[]).entries()) {
      checkObject(range, `${what}[${i}]`)
      const { start, count } = range
      checkInteger(start, 0, UINT_MAX, `${what}[${i}].start`)
      checkInteger(count, 0, UINT_MAX, `${what}[${i}].count`)
      view.setUint32(8 * i, start, LE)
      view.setUint32(8 * i + 4, count, LE)
    }
    return 8 * value.length
  },
}

/** The MTU in `struct ip6_mtuinfo`, in **bytes**. */
export const pathMtu: Decoder<number> = {
  size: 32,
  decode: (view, length) => {
    needBytes(length, 32, 'struct ip6_mtuinfo')
    return view.getUint32(28, LE)
  },
}

/** A lease of an IPv6 flow label (RFC 6437). */
export interface FlowLabelRequest {
  /** `IPV6_FL_A_GET`, `IPV6_FL_A_PUT`, `IPV6_FL_A_RENEW`. */
  readonly action: number
  /** The 20-bit label; 0 lets the kernel choose one, with `IPV6_FL_F_CREATE`. Default 0. */
  readonly label?: number | undefined
  /** The destination of the flow. Default `'::'`. */
  readonly dst?: string | undefined
  /** `IPV6_FL_S_…`: which other users may share the label. Default 0, which is allowed only for giving back and renewing. */
  readonly share?: number | undefined
  /** `IPV6_FL_F_…`. Default 0. */
  readonly flags?: number | undefined
  /** The length of the lease in **seconds**. Default 0: the kernel's minimum, 6. */
  readonly expires?: number | undefined
  /** **Seconds** that the label stays reserved after its last use. Default 0: the kernel's minimum, 6. */
  readonly linger?: number | undefined
}

/** `struct in6_flowlabel_req`. */
export const flowLabelRequest: Encoder<FlowLabelRequest> = {
  size: 32,
  encode: (value, view, what) => {
    checkObject(value, what)
    const { action, label = 0, dst = '::', share = 0, flags = 0, expires = 0, linger = 0 } = value
    checkInteger(action, 0, 0xff, `${what}.action`)
    checkInteger(label, 0, 0xf_ffff, `${what}.label`)
    checkInteger(share, 0, 0xff, `${what}.share`)
    checkInteger(flags, 0, 0xffff, `${what}.flags`)
    checkInteger(expires, 0, 0xffff, `${what}.expires`)
    checkInteger(linger, 0, 0xffff, `${what}.linger`)
    bytesOf(view, 16).set(parseIpv6(dst, `${what}.dst`))
    view.setUint32(16, label)
    view.setUint8(20, action)
    view.setUint8(21, share)
    view.setUint16(22, flags, LE)
    view.setUint16(24, expires, LE)
    view.setUint16(26, linger, LE)
    view.setUint32(28, 0, LE)
    return 32
  },
}

const utf8 = new TextDecoder()

function bytesOf(view: DataView, length: number): Buffer {
  return Buffer.from(view.buffer, view.byteOffset, length)
}
