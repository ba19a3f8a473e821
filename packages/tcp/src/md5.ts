import { type AddressLike, encodeAddress } from '@linux-sockets/native-core'
import { type Encoder, raw } from '@linux-sockets/native-core/codecs'
import { checkInteger, checkObject } from '@linux-sockets/native-core/internal'

/** A key that signs the segments from and to a peer. */
export interface Md5Key {
  /** The peer's address, of the socket's family. The port is ignored. */
  readonly address: AddressLike
  /** The key, 1 … 80 **bytes**; an empty one removes the peer's key. */
  readonly key: Uint8Array
}

/** A key that signs the segments from and to all peers of a network. */
export interface Md5NetworkKey extends Md5Key {
  /** The number of leading **bits** of the address that count. Default: all, so that the key is for one peer. */
  readonly prefix?: number | undefined
  /** The interface index of the VRF in which the key applies. Default 0: any. */
  readonly ifindex?: number | undefined
}

/** `struct tcp_md5sig`, without its extensions. */
export const md5Key: Encoder<Md5Key> = {
  size: 216,
  encode: (value, view, what) => {
    checkObject(value, what)
    return encodeMd5(value.address, value.key, view, what)
  },
}

/** `struct tcp_md5sig`. */
export const md5NetworkKey: Encoder<Md5NetworkKey> = {
  size: 216,
  encode: (value, view, what) => {
    checkObject(value, what)
    const { address, key, prefix, ifindex = 0 } = value
    if (prefix !== undefined) checkInteger(prefix, 0, 128, `${what}.prefix`)
    checkInteger(ifindex, 0, 0x7fff_ffff, `${what}.ifindex`)
    const length = encodeMd5(address, key, view, what)
    const flags = (prefix === undefined ? 0 : TCP_MD5SIG_FLAG_PREFIX) | (ifindex === 0 ? 0 : TCP_MD5SIG_FLAG_IFINDEX)
    view.setUint8(128, flags)
    view.setUint8(129, prefix ?? 0)
    view.setInt32(132, ifindex, LE)
    return length
  },
}

const LE = true

// <linux/tcp.h>
const TCP_MD5SIG_FLAG_PREFIX = 1
const TCP_MD5SIG_FLAG_IFINDEX = 2

const keyBytes = raw(80)

function encodeMd5(address: AddressLike, key: Uint8Array, view: DataView, what: string): number {
  const target = new Uint8Array(view.buffer, view.byteOffset, 216).fill(0)
  target.set(encodeAddress(address))
  const length = keyBytes.encode(key, new DataView(view.buffer, view.byteOffset + 136, 80), `${what}.key`)
  view.setUint16(130, length, LE)
  return 216
}
