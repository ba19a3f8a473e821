import { type AddressLike, AF_INET, AF_INET6, encodeAddress, familyOf } from '@linux-sockets/native-core'

/** The port of an encoded address; undefined where its family has none. */
export function portOf(sockaddr: Uint8Array): number | undefined {
  return hasPort(sockaddr) ? ((sockaddr[2] as number) << 8) | (sockaddr[3] as number) : undefined
}

/** A copy of an encoded address with another port. */
export function withPort(sockaddr: Uint8Array, port: number): Uint8Array {
  const copy = sockaddr.slice()
  if (hasPort(copy)) copy.set([port >> 8, port & 0xff], 2)
  return copy
}

/** One address or several, as a list. Throws TypeError or RangeError where there is none, or one that is none. */
export function listOf(addresses: AddressLike | Iterable<AddressLike>): AddressLike[] {
  // A sockaddr is bytes, and so can be iterated over itself.
  const several = !(addresses instanceof Uint8Array) && Symbol.iterator in Object(addresses)
  const list = several ? [...(addresses as Iterable<AddressLike>)] : [addresses as AddressLike]
  if (list.length === 0) throw new TypeError('there is no address')
  for (const address of list) encodeAddress(address)
  return list
}

function hasPort(sockaddr: Uint8Array): boolean {
  const family = familyOf(sockaddr)
  return (family === AF_INET || family === AF_INET6) && sockaddr.length >= 4
}
