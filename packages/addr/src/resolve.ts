import {
  AF_INET,
  AF_INET6,
  AF_UNSPEC,
  checkInteger,
  type InetAddress,
  lookupAddresses,
  SOCK_STREAM,
} from '@linux-sockets/native-core'
import { type LookupOptions, settle } from './lookup.js'

// Flags of `resolve`: <netdb.h>, getaddrinfo(3)

/** Without a host, the addresses to bind to (`0.0.0.0`, `::`) in place of loopback. */
export const AI_PASSIVE = 0x0001
/** The first result carries `canonname`. */
export const AI_CANONNAME = 0x0002
/** The host is an address: no name is looked up. */
export const AI_NUMERICHOST = 0x0004
/** With `family: 'ipv6'`, IPv4 addresses come as `::ffff:192.0.2.1` where there is no IPv6 one. */
export const AI_V4MAPPED = 0x0008
/** With `AI_V4MAPPED`: also where there are IPv6 ones. */
export const AI_ALL = 0x0010
/** Only families of which this machine has an address other than loopback. */
export const AI_ADDRCONFIG = 0x0020
/** The host may be an international name, which is encoded (IDNA 2008) before it is looked up. Needs libidn2. */
export const AI_IDN = 0x0040
/** With `AI_CANONNAME`: an encoded name comes back decoded. Needs libidn2. */
export const AI_CANONIDN = 0x0080
/** The service is a port number: no name is looked up. */
export const AI_NUMERICSERV = 0x0400

/** What narrows a lookup, and how long it may take. */
export interface ResolveHints extends LookupOptions {
  /** Only addresses of this family. Default: both, in the order that RFC 6724 gives them. */
  readonly family?: 'ipv4' | 'ipv6' | undefined
  /** `SOCK_STREAM`, `SOCK_DGRAM`, …. Default `SOCK_STREAM`; with 0 every address comes once for each type. */
  readonly socktype?: number | undefined
  /** `IPPROTO_…`. Default 0: the one that goes with the type. */
  readonly protocol?: number | undefined
  /** `AI_…`. Default 0, so that unlike in C, `AI_V4MAPPED` and `AI_ADDRCONFIG` are off. */
  readonly flags?: number | undefined
}

/** An address to bind or connect to, and the socket to do it with. */
export type ResolvedAddress = InetAddress & {
  /** `SOCK_…` */
  readonly socktype: number
  /** `IPPROTO_…` */
  readonly protocol: number
  /** The host's official name, on the first result, with `AI_CANONNAME`. */
  readonly canonname?: string
}

/**
 * getaddrinfo(3): the addresses of a host, best first, with the port of a service.
 *
 *     await resolve('localhost', 80, { family: 'ipv4' })
 *     // [{ family: 'ipv4', address: '127.0.0.1', port: 80, socktype: 1, protocol: 6 }]
 *
 * `host` is a name, or an address, which may have a scope (`fe80::1%eth0`); `null` is this host: loopback, or with
 * `AI_PASSIVE` any. Which of several addresses is best is up to the machine: its routes (RFC 6724), /etc/hosts and
 * /etc/gai.conf. `service` is a port, 0 … 65535, or a name of /etc/services, which small systems lack (on Debian it is in
 * the package netbase); without it, or with `null`, the port is 0.
 *
 * Lookups run on threads of their own, at most `LOOKUP_THREADS_MAX` (1024) at a time for each thread of JavaScript; more
 * wait in line. Where host and service are numbers they never wait for those of names. Equal lookups are shared while they
 * are under way: the name server is asked once, and each caller has its own `signal` and `timeout`.
 *
 * A lookup that all have given up runs on in its thread until the resolver's own limits end it (resolv.conf(5), `timeout`
 * and `attempts`), but nobody is given its answer any more, and it doesn't keep the process alive.
 *
 * @throws AddressInfoError `EAI_NONAME` (also when host and service are both `null`), `EAI_AGAIN`, `EAI_SERVICE`, …
 * @throws SystemError `ETIMEDOUT` when `timeout` is over
 * @throws TypeError, RangeError for a host with a NUL or a port beyond 65535
 * @see {@link https://man7.org/linux/man-pages/man3/getaddrinfo.3.html getaddrinfo(3)}
 */
export async function resolve(
  host: string | null,
  service?: string | number | null,
  hints: ResolveHints = {},
): Promise<ResolvedAddress[]> {
  const { family, socktype = SOCK_STREAM, protocol = 0, flags = 0 } = hints
  const query = { node: host, service: serviceText(service), family: familyNumber(family), socktype, protocol, flags }
  const question = {
    syscall: 'getaddrinfo',
    detail: `${host ?? ''}${query.service === null ? '' : `:${query.service}`}`,
    key: Object.values(query),
    begin: () => lookupAddresses(query),
  } as const
  const found = await settle(question, hints)
  return found.map(({ address, socktype, protocol, canonname }) => ({
    ...(address as InetAddress),
    socktype,
    protocol,
    ...(canonname !== undefined && { canonname }),
  }))
}

function serviceText(service: string | number | null | undefined): string | null {
  if (typeof service !== 'number') return service ?? null
  checkInteger(service, 0, 0xffff, 'service')
  return String(service)
}

function familyNumber(family: ResolveHints['family']): number {
  switch (family) {
    case undefined:
      return AF_UNSPEC
    case 'ipv4':
      return AF_INET
    case 'ipv6':
      return AF_INET6
    default:
      throw new TypeError(`family must be 'ipv4' or 'ipv6', not ${JSON.stringify(family)}`)
  }
}
