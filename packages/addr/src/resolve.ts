import type { InetAddress } from '@linux-sockets/native-core'
import { AF_INET, AF_INET6, AF_UNSPEC, SOCK_STREAM } from '@linux-sockets/native-core/constants'
import {
  checkFlags,
  checkInt32,
  checkInteger,
  checkOptions,
  checkString,
  type NamesOf,
  quote,
} from '@linux-sockets/native-core/internal'
import { lookupAddresses } from '@linux-sockets/native-core/resolve'
import { LOOKUP_OPTIONS, type LookupOptions, settle } from './lookup.js'

/** The hints of `resolve`, which narrow the lookup and limit how long it may take. */
export interface ResolveHints extends LookupOptions {
  /** Only addresses of this family. Default: both, in the order that RFC 6724 gives them. */
  readonly family?: 'ipv4' | 'ipv6' | undefined
  /** `SOCK_STREAM`, `SOCK_DGRAM`, …. Default `SOCK_STREAM`; with 0 every address comes once for each type. */
  readonly socktype?: number | undefined
  /** `IPPROTO_…`. Default 0: the protocol of the type. */
  readonly protocol?: number | undefined
  /** `AI_…`. Default 0, so that unlike in C, `AI_V4MAPPED` and `AI_ADDRCONFIG` are off. */
  readonly flags?: number | undefined
}

/** An address to bind or connect to, and the type and protocol of the socket to do it with. */
export type ResolvedAddress = InetAddress & {
  /** `SOCK_…` */
  readonly socktype: number
  /** `IPPROTO_…` */
  readonly protocol: number
  /** The host's official name, on the first result, with `AI_CANONNAME`. */
  readonly canonname?: string
}

/**
 * getaddrinfo(3): resolves a host to its addresses, best first, with the port of a service. Each address comes once, even if
 * /etc/hosts names it twice.
 *
 *     await resolve('localhost', 80, { family: 'ipv4' })
 *     // [{ family: 'ipv4', address: '127.0.0.1', port: 80, socktype: 1, protocol: 6 }]
 *
 * `host` is a name or an address, which may have a scope (`fe80::1%eth0`). `null` is this host: the loopback address, or with
 * `AI_PASSIVE` the wildcard address. The machine decides which of several addresses is best: by its routes (RFC 6724),
 * /etc/hosts and /etc/gai.conf. `service` is a port, 0 … 65535, or a name in /etc/services, which small systems lack (on
 * Debian it is in the package netbase). Without it, or with `null`, the port is 0.
 *
 * Lookups run on threads of their own, at most `LOOKUP_THREADS_MAX` (256) at a time for each thread of JavaScript, and at
 * most a quarter of the soft `RLIMIT_NOFILE`; further lookups are queued. Lookups of numeric hosts, and of hosts in
 * /etc/hosts, never wait for lookups that ask a server. An address with a port, for a stream or for datagrams, takes no
 * thread at all. Equal lookups are shared while they are under way: the name server is asked once, and each caller has its
 * own `signal` and `timeout`.
 *
 * A lookup that all callers have given up is removed from the queue. If it runs already, it continues in its thread until the
 * resolver's own limits end it (resolv.conf(5), `timeout` and `attempts`), but its answer is discarded, and it doesn't keep
 * the process alive.
 *
 * @throws AddressInfoError `EAI_NONAME` (also when host and service are both `null`), `EAI_AGAIN`, `EAI_SERVICE`, …
 * @throws SystemError `ETIMEDOUT` when `timeout` is over
 * @throws TypeError, RangeError if the host contains a NUL, the port is above 65535, or a hint is invalid
 * @see {@link https://man7.org/linux/man-pages/man3/getaddrinfo.3.html getaddrinfo(3)}
 */
export async function resolve(
  host: string | null,
  service?: string | number | null,
  hints: ResolveHints = {},
): Promise<ResolvedAddress[]> {
  if (host !== null) checkText(host, 'host')
  checkOptions(hints, 'hints', HINTS)
  const { family, socktype = SOCK_STREAM, protocol = 0, flags = 0 } = hints
  checkInt32(socktype, 'socktype')
  checkInt32(protocol, 'protocol')
  checkFlags(flags)
  const query = { node: host, service: serviceText(service), family: familyNumber(family), socktype, protocol, flags }
  const question = {
    syscall: 'getaddrinfo',
    detail: `${host ?? ''}${query.service === null ? '' : `:${query.service}`}`,
    key: Object.values(query),
    begin: () => lookupAddresses(query),
  } as const
  const known = new Set<string>()
  const found = await settle(question, hints)
  return found.flatMap(({ address, socktype, protocol, canonname }) => {
    const resolved = { ...address, socktype, protocol }
    const key = JSON.stringify(resolved)
    if (known.has(key)) return []
    known.add(key)
    return canonname === undefined ? resolved : { ...resolved, canonname }
  })
}

const HINTS: NamesOf<ResolveHints> = { ...LOOKUP_OPTIONS, family: true, socktype: true, protocol: true, flags: true }

function serviceText(service: string | number | null | undefined): string | null {
  if (service === null || service === undefined) return null
  if (typeof service === 'number') checkInteger(service, 0, 0xffff, 'service')
  else checkText(service, 'service')
  return String(service)
}

function checkText(text: string, what: string): void {
  checkString(text, what)
  if (text.includes('\0')) throw new TypeError(`${what} must not contain a NUL`)
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
      throw new TypeError(`family must be 'ipv4' or 'ipv6', not ${quote(family)}`)
  }
}
