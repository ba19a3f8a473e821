import { type AddressLike, encodeAddress, familyOf, formatAddress } from '@linux-sockets/native-core'
import { AF_UNIX } from '@linux-sockets/native-core/constants'
import { addressOf } from '@linux-sockets/native-core/internal'

/** Encodes an address, also from text. Throws TypeError or RangeError if it is invalid or of another family. */
export function unixSockaddr(address: AddressLike | string): Uint8Array {
  const sockaddr = encodeAddress(addressOf(address))
  if (familyOf(sockaddr) === AF_UNIX) return sockaddr
  throw new TypeError(`address must be one of a Unix socket, /run/x.sock or @name, not ${formatAddress(sockaddr)}`)
}
