import { type AddressLike, encodeAddress, formatAddress } from '@linux-sockets/native-core'
import { checkFlags, checkOptions } from '@linux-sockets/native-core/internal'
import { lookupNames } from '@linux-sockets/native-core/resolve'
import { LOOKUP_OPTIONS, type LookupOptions, settle } from './lookup.js'

/** The names of an address, from `reverse`. */
export interface ReversedAddress {
  /** The name of the host, or its address if it has no name. */
  readonly host: string
  /** The name of the service, or the port if it has no name. */
  readonly service: string
}

/**
 * getnameinfo(3): finds the name of an address's host, and the name of its port's service.
 *
 *     await reverse({ family: 'ipv4', address: '127.0.0.1', port: 22 }) // { host: 'localhost', service: 'ssh' }
 *
 * `flags` are `NI_…`. For a Unix address the names are this machine's name and the path. Lookups run, are shared and are given
 * up as described at `resolve`.
 *
 * @throws AddressInfoError `EAI_NONAME` with `NI_NAMEREQD`, `EAI_AGAIN`, `EAI_FAMILY`, `EAI_BADFLAGS`, …
 * @throws SystemError `ETIMEDOUT` when `timeout` is over
 * @throws TypeError, RangeError if the address, the flags or an option is invalid
 * @see {@link https://man7.org/linux/man-pages/man3/getnameinfo.3.html getnameinfo(3)}
 */
export async function reverse(address: AddressLike, flags = 0, options: LookupOptions = {}): Promise<ReversedAddress> {
  checkFlags(flags)
  checkOptions(options, 'options', LOOKUP_OPTIONS)
  const sockaddr = Uint8Array.from(encodeAddress(address))
  const question = {
    syscall: 'getnameinfo',
    detail: formatAddress(sockaddr),
    key: [Buffer.from(sockaddr).toString('hex'), flags],
    begin: () => lookupNames(sockaddr, flags),
  } as const
  return { ...(await settle(question, options)) }
}
