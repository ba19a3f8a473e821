import { readSockaddr, type SocketAddress } from './address.js'
import { AF_INET6 } from './constants.js'
import { check } from './error.js'
import { native } from './native.js'

/** One entry of getifaddrs(3): an address of an interface, or its link. */
export interface InterfaceAddress {
  /** `'eth0'`, or the label of an address, `'eth0:1'`. */
  readonly name: string
  /** `IFF_…` of netdevice(7). */
  readonly flags: number
  /** The address; `null` where the entry has none. */
  readonly address: SocketAddress | null
  /** The mask of the network, in the shape of an address. */
  readonly netmask: SocketAddress | null
  /** The broadcast address, or the peer of a point-to-point link. */
  readonly broadcast: SocketAddress | null
}

/** getifaddrs(3): the addresses of all interfaces, each link as a `packet` address among them. */
export function interfaceAddresses(): InterfaceAddress[] {
  let list = new Uint8Array(4096)
  for (;;) {
    const length = check(native.getifaddrs(list), 'getifaddrs')
    if (length <= list.length) return readInterfaces(list.subarray(0, length))
    // Interfaces may come between the two calls.
    list = new Uint8Array(length * 2)
  }
}

/**
 * if_nametoindex(3): the index of an interface, at least 1.
 * @throws SystemError `ENODEV` when there is none of that name
 * @throws TypeError for a name with a NUL
 * @see {@link https://man7.org/linux/man-pages/man3/if_nametoindex.3.html if_nametoindex(3)}
 */
export function interfaceIndexOf(name: string): number {
  return check(native.if_nametoindex(plainText(name, 'name')), 'if_nametoindex', name)
}

/**
 * if_indextoname(3): the name of an interface.
 * @throws SystemError `ENXIO` when there is none of that index
 * @see {@link https://man7.org/linux/man-pages/man3/if_indextoname.3.html if_indextoname(3)}
 */
export function interfaceNameOf(index: number): string {
  const name = Buffer.alloc(IF_NAMESIZE)
  return name.toString('utf8', 0, check(native.if_indextoname(index, name), 'if_indextoname', String(index)))
}

/** inet_pton(3), as the C library reads addresses: `null` where the text is none of that family (`AF_INET`, `AF_INET6`). */
export function inetPton(family: number, text: string): Uint8Array | null {
  const address = new Uint8Array(family === AF_INET6 ? 16 : 4)
  return check(native.inet_pton(family, Buffer.from(text), address), 'inet_pton') === 1 ? address : null
}

/** inet_ntop(3), as the C library writes addresses. `formatIpv6` writes RFC 5952. */
export function inetNtop(family: number, address: Uint8Array): string {
  const text = Buffer.alloc(INET6_ADDRSTRLEN)
  return text.toString('latin1', 0, check(native.inet_ntop(family, address, text), 'inet_ntop'))
}

const IF_NAMESIZE = 16
const INET6_ADDRSTRLEN = 46
/** `struct` written by native/resolve.cc: six u32. */
const RECORD_HEADER = 24

function readInterfaces(list: Uint8Array): InterfaceAddress[] {
  const view = new DataView(list.buffer, list.byteOffset, list.length)
  const found: InterfaceAddress[] = []
  for (let at = 0; at < list.length; at += view.getUint32(at, true)) {
    let next = at + RECORD_HEADER
    const take = (field: number): Uint8Array => {
      const length = view.getUint32(at + 4 * field, true)
      const part = list.subarray(next, next + length)
      next += Math.ceil(length / 4) * 4
      return part
    }
    const name = Buffer.from(take(2)).toString()
    const [address, netmask, broadcast] = [take(3), take(4), take(5)].map((part) => readSockaddr(part, part.length))
    found.push({
      name,
      flags: view.getUint32(at + 4, true),
      address: address ?? null,
      netmask: netmask ?? null,
      broadcast: broadcast ?? null,
    })
  }
  return found
}

function plainText(text: string, what: string): Uint8Array {
  if (typeof text !== 'string') throw new TypeError(`${what} must be a string`)
  if (text.includes('\0')) throw new TypeError(`${what} must not contain a NUL`)
  return Buffer.from(text)
}
