import { type AddressLike, decodeAddress, encodeAddress, type SocketAddress } from '../address.js'
import { SOCKADDR_MAX } from '../native.js'
import type { Codec } from './codec.js'

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
