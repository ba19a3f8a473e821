import {
  checkInteger,
  formatIpv6,
  type InetAddress,
  interfaceIndexOf,
  parseIpv4,
  parseIpv6,
} from '@linux-sockets/native-core'

/** A host and a port, as text has them. */
export interface HostPort {
  /** A name or an address, without brackets. */
  readonly host: string
  /** 0 … 65535; `null` where the text has none. */
  readonly port: number | null
}

/**
 * Reads an address with its port: `192.0.2.1:80`, `[2001:db8::1]:80`, `[fe80::1%eth0]:80`. No name is looked up; for names
 * there are `parseHostPort` and `resolve`.
 *
 *     parseAddress('[2001:DB8:0::1]:80') // { family: 'ipv6', address: '2001:db8::1', port: 80 }
 *     parseAddress('192.0.2.1', 80) //      { family: 'ipv4', address: '192.0.2.1', port: 80 }
 *
 * As strict about addresses as inet_pton(3), and about the part after `%` as getaddrinfo(3): the name of an interface
 * where the address is link-local, or a number. The address comes in the canonical form of RFC 5952. What `formatAddress`
 * writes is read back.
 *
 * @param port for text that has none, which may then also be an IPv6 address without brackets; without it the text must
 * have a port
 * @throws TypeError for text that is no such address, a port beyond 65535, or an interface that doesn't exist
 */
export function parseAddress(text: string, port?: number): InetAddress {
  if (port !== undefined) checkInteger(port, 0, 0xffff, 'port')
  const parts = splitPort(text)
  const found = parts?.port ?? port
  const address = parts && found !== undefined && readAddress(parts.host, found)
  if (!address || (parts.bracketed && address.family !== 'ipv6')) {
    throw new TypeError(
      `text must be an address${port === undefined ? ' with its port' : ''}, such as 192.0.2.1:80 or [2001:db8::1]:80, not ${JSON.stringify(text)}`,
    )
  }
  return address
}

/**
 * Splits `host:port` for `resolve`: `example.org:443`, `192.0.2.1:80`, `[2001:db8::1]:80`. The port may be missing, and an
 * IPv6 address then also comes without brackets.
 *
 *     const { host, port } = parseHostPort('example.org:443')
 *     await resolve(host, port)
 *
 * What stands in brackets must be an IPv6 address; other hosts are not looked at, but they are not empty and have neither
 * colons nor brackets in them.
 *
 * @throws TypeError for text that is neither, or a port beyond 65535
 */
export function parseHostPort(text: string): HostPort {
  const parts = splitPort(text)
  const isIpv6 = parts?.host.includes(':') === true
  if (!parts || (parts.bracketed || isIpv6 ? !isIpv6Text(parts.host) : !/^[^[\]]+$/.test(parts.host))) {
    throw new TypeError(`text must be a host, or a host and a port, not ${JSON.stringify(text)}`)
  }
  return { host: parts.host, port: parts.port ?? null }
}

/**
 * Joins what `parseHostPort` splits: `example.org:443`, with brackets about an IPv6 address.
 * @throws TypeError, RangeError for a port that is none
 */
export function formatHostPort(host: string, port: number): string {
  if (typeof host !== 'string') throw new TypeError('host must be a string')
  checkInteger(port, 0, 0xffff, 'port')
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`
}

interface Parts {
  readonly host: string
  readonly port: number | undefined
  readonly bracketed: boolean
}

/** The parts, of which the host may still be anything. With two colons and no brackets it is IPv6 and has no port. */
function splitPort(text: string): Parts | undefined {
  if (typeof text !== 'string') return undefined
  const match = /^(?:\[([^[\]]*)\]|([^:]*))(?::(\d{1,5}))?$/s.exec(text)
  if (match === null) return /:.*:/s.test(text) ? { host: text, port: undefined, bracketed: false } : undefined
  const [, inner, plain, digits] = match
  const port = digits === undefined ? undefined : Number(digits)
  if (port !== undefined && port > 0xffff) return undefined
  return { host: inner ?? plain ?? '', port, bracketed: inner !== undefined }
}

function readAddress(host: string, port: number): InetAddress | undefined {
  try {
    if (!host.includes(':')) {
      parseIpv4(host)
      return { family: 'ipv4', address: host, port }
    }
    const at = host.indexOf('%')
    const bytes = parseIpv6(at < 0 ? host : host.slice(0, at))
    const scope = at < 0 ? 0 : readScope(bytes, host.slice(at + 1))
    return { family: 'ipv6', address: formatIpv6(bytes), port, ...(scope !== 0 && { scope }) }
  } catch {
    return undefined
  }
}

/** As the C library does it: a name only where it makes sense, and before a number, since interfaces may have such names. */
function readScope(bytes: Uint8Array, zone: string): number {
  if (isLinkLocal(bytes)) {
    try {
      return interfaceIndexOf(zone)
    } catch {
      // Then it is a number.
    }
  }
  if (!/^\d+$/.test(zone)) throw new TypeError('no such interface')
  const scope = Number(zone)
  checkInteger(scope, 0, 0xffff_ffff, 'scope')
  return scope
}

/** fe80::/10 and the multicast groups of an interface (ff01::) or a link (ff02::), with any flags. */
function isLinkLocal(bytes: Uint8Array): boolean {
  const [a = 0, b = 0] = bytes
  return (a === 0xfe && (b & 0xc0) === 0x80) || (a === 0xff && ((b & 0x0f) === 1 || (b & 0x0f) === 2))
}

function isIpv6Text(host: string): boolean {
  try {
    parseIpv6(host.split('%', 1)[0] as string)
    return true
  } catch {
    return false
  }
}
