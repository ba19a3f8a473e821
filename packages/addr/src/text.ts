import { parseIpv6 } from '@linux-sockets/native-core'
import { checkInteger, checkString, quote, splitPort } from '@linux-sockets/native-core/internal'

/** A host and a port, from `parseHostPort`. */
export interface HostPort {
  /** A name or an address, without brackets. */
  readonly host: string
  /** 0 … 65535; `null` if the text has no port. */
  readonly port: number | null
}

/**
 * Splits `host:port` for `resolve`: `example.org:443`, `192.0.2.1:80`, `[2001:db8::1]:80`. The port may be missing; an IPv6
 * address may then be written without brackets.
 *
 *     const { host, port } = parseHostPort('example.org:443')
 *     await resolve(host, port)
 *
 * Text in brackets must be an IPv6 address. Other hosts are not checked, but must not be empty and must not contain colons or
 * brackets.
 *
 * @throws TypeError if the text is not a host, with or without a port, or the port is above 65535
 */
export function parseHostPort(text: string): HostPort {
  checkString(text, 'text')
  const parts = splitPort(text)
  const isIpv6 = parts?.host.includes(':') === true
  if (!parts || (parts.bracketed && !isIpv6) || !isHost(parts.host)) {
    throw new TypeError(`text must be a host, or a host and a port, not ${quote(text)}`)
  }
  return { host: parts.host, port: parts.port ?? null }
}

/**
 * Joins a host and a port to text for `parseHostPort`: `example.org:443`, with brackets around an IPv6 address.
 * @throws TypeError, RangeError if `parseHostPort` doesn't accept the host, or the port is invalid
 */
export function formatHostPort(host: string, port: number): string {
  checkString(host, 'host')
  if (!isHost(host)) throw new TypeError(`host must be a name or an address, not ${quote(host)}`)
  checkInteger(port, 0, 0xffff, 'port')
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`
}

function isHost(host: string): boolean {
  return host.includes(':') ? isIpv6Text(host) : /^[^[\]]+$/.test(host)
}

function isIpv6Text(host: string): boolean {
  try {
    parseIpv6(host.split('%', 1)[0] as string)
    return true
  } catch {
    return false
  }
}
