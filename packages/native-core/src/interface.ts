import { readSockaddr, type SocketAddress } from './address.js'
import { checkBytes, checkInt32, checkInteger, checkString } from './argument.js'
import { AF_INET, AF_INET6 } from './constants.js'
import { check } from './error.js'
import { native } from './native.js'

// Flags of an interface: <linux/if.h>, netdevice(7)

/** The interface is switched on. */
export const IFF_UP = 0x1
/** It has a broadcast address. */
export const IFF_BROADCAST = 0x2
/** It is a loopback interface. */
export const IFF_LOOPBACK = 0x8
/** It is a point-to-point link. */
export const IFF_POINTOPOINT = 0x10
/** It has a carrier. */
export const IFF_RUNNING = 0x40
/** It doesn't use ARP: there are no link-layer addresses to look up. */
export const IFF_NOARP = 0x80
/** It receives all packets, whatever their destination. */
export const IFF_PROMISC = 0x100
/** It receives all multicast packets. */
export const IFF_ALLMULTI = 0x200
/** It is the master of a bond. */
export const IFF_MASTER = 0x400
/** It is a slave of a bond. */
export const IFF_SLAVE = 0x800
/** It supports multicast. */
export const IFF_MULTICAST = 0x1000
/** The driver has a carrier; `IFF_RUNNING` also waits for the layer above, such as a login to the network. Linux 2.6.17. */
export const IFF_LOWER_UP = 0x10000
/** It has a carrier and waits for a layer above. Linux 2.6.17. */
export const IFF_DORMANT = 0x20000

// Flags of an address: <linux/if_addr.h>, rtnetlink(7)

/** IPv4: packets are sent from another address of the same network. IPv6: a temporary address, RFC 8981. */
export const IFA_F_SECONDARY = 0x01
/** No duplicate address detection is done. */
export const IFA_F_NODAD = 0x02
/** It may be used while duplicate address detection is still going on, RFC 4429. */
export const IFA_F_OPTIMISTIC = 0x04
/** Another host has the address: it can't be bound to. */
export const IFA_F_DADFAILED = 0x08
/** It is the home address of a mobile node, RFC 6275. */
export const IFA_F_HOMEADDRESS = 0x10
/** Its preferred lifetime is over: it is not used for new connections. */
export const IFA_F_DEPRECATED = 0x20
/** Duplicate address detection is going on: it can't be bound to yet. */
export const IFA_F_TENTATIVE = 0x40
/** It has no lifetime: it was set by hand. */
export const IFA_F_PERMANENT = 0x80
/** Temporary addresses are derived from it. Linux 3.14. */
export const IFA_F_MANAGETEMPADDR = 0x100
/** It was added without a route to its network. Linux 3.14. */
export const IFA_F_NOPREFIXROUTE = 0x200
/** A multicast group is joined with it. Linux 3.19. */
export const IFA_F_MCAUTOJOIN = 0x400
/** It was generated from a secret, RFC 7217. Linux 4.1. */
export const IFA_F_STABLE_PRIVACY = 0x800

/** One entry of getifaddrs(3): an address of an interface, or its link. */
export interface InterfaceAddress {
  /** `'eth0'`, or the label of an address, `'eth0:1'`. */
  readonly name: string
  /** `IFF_…` */
  readonly flags: number
  /** The address; `null` if the entry has none. */
  readonly address: SocketAddress | null
  /** The netmask, in the shape of an address. */
  readonly netmask: SocketAddress | null
  /** The broadcast address, or the peer of a point-to-point link. */
  readonly broadcast: SocketAddress | null
}

/** getifaddrs(3): the addresses of all interfaces. The list also has each link, as a `packet` address. */
export function interfaceAddresses(): InterfaceAddress[] {
  let list = new Uint8Array(4096)
  for (;;) {
    const length = check(native.getifaddrs(list), 'getifaddrs')
    if (length <= list.length) return readInterfaces(list.subarray(0, length))
    // An interface may be added between the two calls.
    list = new Uint8Array(length * 2)
  }
}

/**
 * if_nametoindex(3): the index of an interface, at least 1.
 * @throws SystemError `ENODEV` if no interface has that name
 * @throws TypeError for a name with a NUL
 * @see {@link https://man7.org/linux/man-pages/man3/if_nametoindex.3.html if_nametoindex(3)}
 */
export function interfaceIndexOf(name: string): number {
  return check(native.if_nametoindex(plainText(name, 'name')), 'if_nametoindex', name)
}

/**
 * if_indextoname(3): the name of an interface.
 * @throws SystemError `ENXIO` if no interface has that index
 * @see {@link https://man7.org/linux/man-pages/man3/if_indextoname.3.html if_indextoname(3)}
 */
export function interfaceNameOf(index: number): string {
  checkInteger(index, 0, 0xffff_ffff, 'index')
  const name = Buffer.alloc(IF_NAMESIZE)
  return name.toString('utf8', 0, check(native.if_indextoname(index, name), 'if_indextoname', String(index)))
}

/**
 * inet_pton(3): parses an address as the C library does; `null` if the text is no address of that family (`AF_INET`,
 * `AF_INET6`).
 * @throws SystemError `EAFNOSUPPORT` for other families
 * @see {@link https://man7.org/linux/man-pages/man3/inet_pton.3.html inet_pton(3)}
 */
export function inetPton(family: number, text: string): Uint8Array | null {
  checkInt32(family, 'family')
  checkString(text, 'text')
  const address = new Uint8Array(family === AF_INET6 ? 16 : 4)
  return check(native.inet_pton(family, Buffer.from(text), address), 'inet_pton') === 1 ? address : null
}

/**
 * inet_ntop(3): formats an address as the C library does, 4 bytes of `AF_INET` or 16 of `AF_INET6`. `formatIpv6` follows
 * RFC 5952.
 * @throws SystemError `EAFNOSUPPORT` for other families
 * @throws TypeError, RangeError for any other number of bytes
 * @see {@link https://man7.org/linux/man-pages/man3/inet_ntop.3.html inet_ntop(3)}
 */
export function inetNtop(family: number, address: Uint8Array): string {
  checkInt32(family, 'family')
  checkBytes(address, 'address')
  const length = family === AF_INET ? 4 : 16
  if ((family === AF_INET || family === AF_INET6) && address.length !== length) {
    throw new RangeError(`address must be ${length} bytes, not ${address.length}`)
  }
  const text = Buffer.alloc(INET6_ADDRSTRLEN)
  return text.toString('latin1', 0, check(native.inet_ntop(family, address, text), 'inet_ntop'))
}

const IF_NAMESIZE = 16
const INET6_ADDRSTRLEN = 46
/** The size of the header that native/resolve.cc writes per record: six u32. */
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
  checkString(text, what)
  if (text.includes('\0')) throw new TypeError(`${what} must not contain a NUL`)
  return Buffer.from(text)
}
