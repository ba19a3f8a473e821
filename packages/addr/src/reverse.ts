import { type AddressLike, encodeAddress, formatAddress, lookupNames } from '@linux-sockets/native-core'
import { type LookupOptions, settle } from './lookup.js'

// Flags of `reverse`: <netdb.h>, getnameinfo(3)

/** The host comes as an address. */
export const NI_NUMERICHOST = 1
/** The service comes as a port number. */
export const NI_NUMERICSERV = 2
/** A host of the local domain comes without the domain. */
export const NI_NOFQDN = 4
/** A host that has no name is an error, `EAI_NONAME`, in place of its address. */
export const NI_NAMEREQD = 8
/** The service is one of UDP, for the few ports where TCP has another. */
export const NI_DGRAM = 16
/** An encoded international name comes decoded. Needs libidn2. */
export const NI_IDN = 32

/** The names of an address. */
export interface ReversedAddress {
  /** The host's name; its address where it has none. */
  readonly host: string
  /** The service's name; the port where it has none. */
  readonly service: string
}

/**
 * getnameinfo(3): the name of an address's host, and of its port's service.
 *
 *     await reverse({ family: 'ipv4', address: '127.0.0.1', port: 22 }) // { host: 'localhost', service: 'ssh' }
 *
 * `flags` are `NI_…`. A Unix address gives this machine's name and the path. Lookups run, are shared and are given up as
 * those of `resolve`.
 *
 * @throws AddressInfoError `EAI_NONAME` with `NI_NAMEREQD`, `EAI_AGAIN`, `EAI_FAMILY`, `EAI_BADFLAGS`, …
 * @throws SystemError `ETIMEDOUT` when `timeout` is over
 * @see {@link https://man7.org/linux/man-pages/man3/getnameinfo.3.html getnameinfo(3)}
 */
export async function reverse(address: AddressLike, flags = 0, options: LookupOptions = {}): Promise<ReversedAddress> {
  const sockaddr = Uint8Array.from(encodeAddress(address))
  const question = {
    syscall: 'getnameinfo',
    detail: formatAddress(sockaddr),
    key: [Buffer.from(sockaddr).toString('hex'), flags],
    begin: () => lookupNames(sockaddr, flags),
  } as const
  return { ...(await settle(question, options)) }
}
