import {
  type AddressLike,
  encodeAddress,
  type InetAddress,
  type UnixAbstractAddress,
  type UnixPathAddress,
} from './address.js'
import { checkInteger, checkString, describe, quote } from './argument.js'
import { ifindexOf } from './interfaces/name.js'
import { formatIpv6, readIpv4, readIpv6 } from './ip.js'

/**
 * Parses an address: `192.0.2.1:80`, `[2001:db8::1]:80`, `[fe80::1%eth0]:80`, the path of a Unix socket, which begins with
 * `/`, `./` or `../`, or its abstract name, `@name`. It looks up no host names; `parseHostPort` and `resolve` of the
 * package `addr` do.
 *
 *     parseAddress('[2001:DB8:0::1]:80') // { family: 'ipv6', address: '2001:db8::1', port: 80 }
 *     parseAddress('192.0.2.1', 80) //      { family: 'ipv4', address: '192.0.2.1', port: 80 }
 *     parseAddress('/run/x.sock') //        { family: 'unix', path: '/run/x.sock' }
 *
 * It is as strict about IP addresses as inet_pton(3), and about the part after `%` as getaddrinfo(3): the name of an
 * interface if the address is link-local, or a number. The address is returned in the canonical form of RFC 5952. The
 * output of `formatAddress` for these families is read back, except for an IPv6 flow label, a relative path that doesn't
 * begin with a dot, and names with a NUL or with bytes that aren't UTF-8.
 *
 * @param port the port for text that has none, which may then also be an IPv6 address without brackets; if it is left out,
 * an IP address must have a port
 * @throws TypeError for text that is no such address, a port beyond 65535, or an interface that doesn't exist
 * @throws RangeError for a path or name that is too long
 */
export function parseAddress(text: string, port?: number): InetAddress | UnixPathAddress | UnixAbstractAddress {
  checkString(text, 'text')
  if (port !== undefined) checkInteger(port, 0, 0xffff, 'port')
  return read(text, port, 'text')
}

/**
 * For functions of the upper layer that accept an address or its text: parses text, and returns an address as it is.
 * @throws TypeError, RangeError whose message lists the accepted forms
 */
export function addressOf(address: AddressLike | string, what = 'address'): AddressLike {
  if (typeof address === 'string') return read(address, undefined, what)
  if (address instanceof Uint8Array || /string|number/.test(typeof address?.family)) return address
  throw new TypeError(`${what} must be an object with a \`family\`, or text: ${forms()}, not ${describe(address)}`)
}

function read(text: string, port: number | undefined, what: string): ReturnType<typeof parseAddress> {
  if (/^\.{0,2}\//.test(text)) return unix({ family: 'unix', path: text })
  if (text.startsWith('@')) return unix({ family: 'unix', abstract: text.slice(1) })
  const parts = splitPort(text)
  const found = parts?.port ?? port
  const address = parts && found !== undefined && readInet(parts.host, found)
  if (!address || (parts.bracketed && address.family !== 'ipv6')) {
    throw new TypeError(`${what} must be ${forms(port)}, not ${quote(text)}`)
  }
  return address
}

function forms(port?: number): string {
  const inet = `an IP address${port === undefined ? ' with its port' : ''} (192.0.2.1:80, [2001:db8::1]:80, [fe80::1%eth0]:80)`
  return `${inet}, a path (/run/x.sock, ./x.sock) or an abstract name (@name)`
}

function unix<Address extends UnixPathAddress | UnixAbstractAddress>(address: Address): Address {
  encodeAddress(address)
  return address
}

interface Parts {
  readonly host: string
  readonly port: number | undefined
  readonly bracketed: boolean
}

/** Splits `host:port`; the host is not checked. Text with two colons and no brackets is IPv6 without a port. */
export function splitPort(text: string): Parts | undefined {
  const match = /^(?:\[([^[\]]*)\]|([^:]*))(?::(\d{1,5}))?$/s.exec(text)
  if (match === null) return /:.*:/s.test(text) ? { host: text, port: undefined, bracketed: false } : undefined
  const [, inner, plain, digits] = match
  const port = digits === undefined ? undefined : Number(digits)
  if (port !== undefined && port > 0xffff) return undefined
  return { host: inner ?? plain ?? '', port, bracketed: inner !== undefined }
}

function readInet(host: string, port: number): InetAddress | undefined {
  if (!host.includes(':')) return readIpv4(host) && { family: 'ipv4', address: host, port }
  const at = host.indexOf('%')
  const bytes = readIpv6(at < 0 ? host : host.slice(0, at))
  const scope = bytes && (at < 0 ? 0 : readScope(bytes, host.slice(at + 1)))
  if (scope === undefined) return undefined
  return { family: 'ipv6', address: formatIpv6(bytes as Uint8Array), port, ...(scope !== 0 && { scope }) }
}

/**
 * Like the C library: a name only for a link-local address, and before a number, since an interface may be named like a
 * number.
 */
function readScope(bytes: Uint8Array, zone: string): number | undefined {
  if (isLinkLocal(bytes)) {
    try {
      return ifindexOf(zone)
    } catch {
      // Then it is a number.
    }
  }
  const scope = /^\d+$/.test(zone) ? Number(zone) : Number.NaN
  return scope <= 0xffff_ffff ? scope : undefined
}

/**
 * Whether the scope is a link or an interface: fe80::/10, and multicast to an interface (ff01::) or a link (ff02::), any
 * flags.
 */
function isLinkLocal(bytes: Uint8Array): boolean {
  const [a = 0, b = 0] = bytes
  return (a === 0xfe && (b & 0xc0) === 0x80) || (a === 0xff && ((b & 0x0f) === 1 || (b & 0x0f) === 2))
}
