import { type AddressLike, decodeAddress, encodeAddress, type SocketAddress } from './address.js'
import type { Codec } from './codec.js'
import { SOCKADDR_MAX } from './native.js'

/** A `sockaddr` of any family. Beside the other codecs only because it needs the addresses, which need them. */
export const sockaddr: Codec<SocketAddress, AddressLike> = {
  size: SOCKADDR_MAX,
  encode: (value, view) => {
    const bytes = encodeAddress(value)
    new Uint8Array(view.buffer, view.byteOffset, bytes.length).set(bytes)
    return bytes.length
  },
  decode: (view, length) => decodeAddress(new Uint8Array(view.buffer, view.byteOffset, length)),
}

/** The socket family that goes with an encoded address: `sa_family`, `AF_…`. */
export function familyOf(sockaddr: Uint8Array): number {
  return (sockaddr[0] as number) | ((sockaddr[1] as number) << 8)
}
