import { encodeAddress, formatAddress, type InetAddress } from '@linux-sockets/native-core'
import { addressOf, portOf } from '@linux-sockets/native-core/internal'

/** An IPv4 or IPv6 address, or its bytes from `encodeAddress`. */
export type InetAddressLike = InetAddress | Uint8Array

/** An IPv4 or IPv6 address, its bytes from `encodeAddress`, or its text. */
export type AddressOrText = InetAddressLike | string

/** Encodes the address. Throws TypeError or RangeError if it is invalid or of another family. */
export function inetSockaddr(address: InetAddressLike, what = 'address'): Uint8Array {
  const sockaddr = encodeAddress(address)
  if (portOf(sockaddr) !== undefined) return sockaddr
  throw new TypeError(`${what} must be one of IPv4 or IPv6, not ${formatAddress(sockaddr)}`)
}

/** Returns a copy of an encoded address, with another port. */
export function withPort(sockaddr: Uint8Array, port: number): Uint8Array {
  const copy = sockaddr.slice()
  if (portOf(copy) !== undefined) copy.set([port >> 8, port & 0xff], 2)
  return copy
}

/** Reads one address or several, also as text, into a list. Throws TypeError or RangeError if one is invalid. */
export function readAll(addresses: AddressOrText | Iterable<AddressOrText>, what = 'address'): InetAddressLike[] {
  // Text and an encoded address are iterable, but each is one address.
  const one =
    typeof addresses === 'string' || addresses instanceof Uint8Array || !(Symbol.iterator in Object(addresses))
  const given = one ? [addresses as AddressOrText] : [...(addresses as Iterable<AddressOrText>)]
  const list = given.map((address) => addressOf(address, what) as InetAddressLike)
  for (const address of list) inetSockaddr(address, what)
  return list
}

/** Like `readAll`, but drops duplicates. Throws TypeError also if the list is empty. */
export function listOf(addresses: AddressOrText | Iterable<AddressOrText>): InetAddressLike[] {
  const list = readAll(addresses)
  if (list.length === 0) throw new TypeError('there is no address')
  if (list.length === 1) return list
  const known = new Set<string>()
  return list.filter((address) => isNew(encodeAddress(address), known))
}

/** Adds an encoded address to `known`. Returns whether it was not there yet. */
export function isNew(sockaddr: Uint8Array, known: Set<string>): boolean {
  const key = Buffer.from(sockaddr).toString('latin1')
  if (known.has(key)) return false
  known.add(key)
  return true
}
