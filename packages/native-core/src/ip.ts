import { checkBytes, checkInt32, checkString, quote } from './argument.js'
import { AF_INET, AF_INET6 } from './constants.js'
import { check } from './error.js'
import { native } from './native.js'

/**
 * Parses the text of an IPv4 address into 4 bytes. As strict as inet_pton(3): four decimal numbers, no leading zeros.
 * @throws TypeError
 */
export function parseIpv4(text: string, what = 'address'): Uint8Array {
  const bytes = typeof text === 'string' ? readIpv4(text) : undefined
  if (bytes === undefined) throw new TypeError(`${what} must be an IPv4 address, not ${quote(text)}`)
  return bytes
}

/**
 * Parses the text of an IPv6 address (RFC 4291 section 2.2) into 16 bytes. As strict as inet_pton(3). A zone (`%eth0`) is
 * not part of it: that is the `scope` of a `SocketAddress`.
 * @throws TypeError
 */
export function parseIpv6(text: string, what = 'address'): Uint8Array {
  const bytes = typeof text === 'string' ? readIpv6(text) : undefined
  if (bytes !== undefined) return bytes
  const hint =
    typeof text === 'string' && text.includes('%')
      ? ' (the part after % belongs in `scope`, as an interface index)'
      : ''
  throw new TypeError(`${what} must be an IPv6 address, not ${quote(text)}${hint}`)
}

/**
 * inet_aton(3): parses an IPv4 address in one of its old forms into 4 bytes; `null` if the text is none of them. A form has
 * 1 to 4 numbers, decimal, octal (`0177`) or hexadecimal (`0x7f`), and the last number fills all remaining bytes: `127.1`
 * and `2130706433` are `127.0.0.1`. For text from other programs or users, `parseIpv4` is safer: a filter may take
 * `010.0.0.1` for `10.0.0.1`, but it is `8.0.0.1`. White space, which ends the text in C, is refused.
 *
 *     inetAton('0x7f.1') // Uint8Array [127, 0, 0, 1]
 *
 * @throws TypeError if `text` is not a string
 * @see {@link https://man7.org/linux/man-pages/man3/inet.3.html inet_aton(3)}
 */
export function inetAton(text: string): Uint8Array | null {
  checkString(text, 'text')
  const parts = text.split('.')
  const last = parts.length - 1
  if (last > 3) return null
  const bytes = new Uint8Array(4)
  for (const [i, part] of parts.entries()) {
    if (!/^(?:0x[\da-f]+|0[0-7]*|[1-9]\d*)$/i.test(part)) return null
    const number = /^0\d/.test(part) ? Number.parseInt(part, 8) : Number(part)
    const size = i === last ? 4 - last : 1
    if (number >= 256 ** size) return null
    for (let at = 0; at < size; at++) bytes[i + at] = number / 256 ** (size - 1 - at)
  }
  return bytes
}

/**
 * Formats 4 bytes as text: `192.0.2.1`.
 * @throws TypeError, RangeError for any other number of bytes
 */
export function formatIpv4(bytes: Uint8Array): string {
  checkLength(bytes, 4)
  return `${bytes[0]}.${bytes[1]}.${bytes[2]}.${bytes[3]}`
}

/**
 * Formats 16 bytes as text in the canonical form of RFC 5952: `2001:db8::1`, `::ffff:192.0.2.1`.
 * @throws TypeError, RangeError for any other number of bytes
 */
export function formatIpv6(bytes: Uint8Array): string {
  checkLength(bytes, 16)
  const groups: number[] = []
  for (let i = 0; i < 16; i += 2) groups.push(((bytes[i] as number) << 8) | (bytes[i + 1] as number))
  const mapped = groups[5] === 0xffff && groups.slice(0, 5).every((group) => group === 0)
  if (mapped) return `::ffff:${formatIpv4(bytes.subarray(12))}`
  const [start, length] = longestZeroRun(groups)
  const hex = groups.map((group) => group.toString(16))
  if (length < 2) return hex.join(':')
  return `${hex.slice(0, start).join(':')}::${hex.slice(start + length).join(':')}`
}

/**
 * inet_pton(3): parses an address as the C library does; `null` if the text is no address of that family (`AF_INET`,
 * `AF_INET6`).
 * @throws SystemError `EAFNOSUPPORT` for other families
 * @see {@link https://man7.org/linux/man-pages/man3/inet_pton.3.html inet_pton(3)}
 */
export function inetPton(family: number, text: string): Uint8Array | null {
  checkInt32(family, 'family')
  checkString(text, 'text')
  const address = new Uint8Array(family === AF_INET6 ? 16 : 4)
  return check(native.inet_pton(family, Buffer.from(text), address), 'inet_pton') === 1 ? address : null
}

/**
 * inet_ntop(3): formats an address as the C library does, 4 bytes of `AF_INET` or 16 of `AF_INET6`. `formatIpv6` follows
 * RFC 5952.
 * @throws SystemError `EAFNOSUPPORT` for other families
 * @throws TypeError, RangeError for any other number of bytes
 * @see {@link https://man7.org/linux/man-pages/man3/inet_ntop.3.html inet_ntop(3)}
 */
export function inetNtop(family: number, address: Uint8Array): string {
  checkInt32(family, 'family')
  checkBytes(address, 'address')
  const length = family === AF_INET ? 4 : 16
  if ((family === AF_INET || family === AF_INET6) && address.length !== length) {
    throw new RangeError(`address must be ${length} bytes, not ${address.length}`)
  }
  const text = Buffer.alloc(INET6_ADDRSTRLEN)
  return text.toString('latin1', 0, check(native.inet_ntop(family, address, text), 'inet_ntop'))
}

/** Like `parseIpv4`, but returns undefined instead of throwing. For this package's own use. */
export function readIpv4(text: string): Uint8Array | undefined {
  const parts = text.split('.')
  if (parts.length !== 4) return undefined
  const bytes = new Uint8Array(4)
  for (let i = 0; i < 4; i++) {
    const part = parts[i] as string
    if (!/^(?:0|[1-9]\d{0,2})$/.test(part) || Number(part) > 255) return undefined
    bytes[i] = Number(part)
  }
  return bytes
}

/** Like `parseIpv6`, but returns undefined instead of throwing. For this package's own use. */
export function readIpv6(text: string): Uint8Array | undefined {
  const halves = text.split('::')
  if (halves.length > 2) return undefined
  const head = readGroups(halves[0] as string, halves.length === 1)
  const tail = halves.length === 2 ? readGroups(halves[1] as string, true) : []
  if (head === undefined || tail === undefined) return undefined
  const missing = 16 - head.length - tail.length
  // "::" stands for at least one group.
  if (halves.length === 2 ? missing < 2 : missing !== 0) return undefined
  const bytes = new Uint8Array(16)
  bytes.set(head)
  bytes.set(tail, 16 - tail.length)
  return bytes
}

/** The bytes of colon-separated groups; the last group may be an IPv4 address if the text ends there. */
function readGroups(text: string, atEnd: boolean): number[] | undefined {
  if (text === '') return []
  const bytes: number[] = []
  const groups = text.split(':')
  for (const [i, group] of groups.entries()) {
    if (/^[\da-f]{1,4}$/i.test(group)) {
      const value = Number.parseInt(group, 16)
      bytes.push(value >> 8, value & 255)
    } else {
      const embedded = atEnd && i === groups.length - 1 ? readIpv4(group) : undefined
      if (embedded === undefined) return undefined
      bytes.push(...embedded)
    }
  }
  return bytes
}

const INET6_ADDRSTRLEN = 46

function checkLength(bytes: Uint8Array, length: number): void {
  checkBytes(bytes, 'bytes')
  if (bytes.length !== length) throw new RangeError(`bytes must be ${length} bytes, not ${bytes.length}`)
}

/** The first of the longest runs of zero groups. */
function longestZeroRun(groups: readonly number[]): [start: number, length: number] {
  let best: [number, number] = [0, 0]
  let start = 0
  for (let i = 0; i < groups.length; i++) {
    if (groups[i] !== 0) start = i + 1
    else if (i + 1 - start > best[1]) best = [start, i + 1 - start]
  }
  return best
}
