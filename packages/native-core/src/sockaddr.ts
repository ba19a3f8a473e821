import { type AddressLike, decodeAddress, encodeAddress, type SocketAddress } from './address.js'
import { checkBytes } from './argument.js'
import type { Codec } from './codec.js'
import { SOCKADDR_MAX } from './native.js'

/** A `sockaddr` of any family. It has a file of its own because the addresses import the other codecs. */
export const sockaddr: Codec<SocketAddress, AddressLike> = {
  size: SOCKADDR_MAX,
  encode: (value, view) => {
    const bytes = encodeAddress(value)
    new Uint8Array(view.buffer, view.byteOffset, bytes.length).set(bytes)
    return bytes.length
  },
  decode: (view, length) => decodeAddress(new Uint8Array(view.buffer, view.byteOffset, length)),
}

/**
 * The socket family of an encoded address: `sa_family`, `AF_…`.
 * @throws TypeError, RangeError if there are too few bytes for a family
 */
export function familyOf(sockaddr: Uint8Array): number {
  checkBytes(sockaddr, 'sockaddr')
  if (sockaddr.length < 2) throw new RangeError(`a sockaddr has at least 2 bytes, not ${sockaddr.length}`)
  return (sockaddr[0] as number) | ((sockaddr[1] as number) << 8)
}
