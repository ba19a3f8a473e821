import type { InetAddress } from '@linux-sockets/native-core'
import { readInterfaces } from './link.js'

// Flags of an interface: <linux/if.h>, netdevice(7)

/** Switched on. */
export const IFF_UP = 0x1
/** Has a broadcast address. */
export const IFF_BROADCAST = 0x2
/** Is a loopback. */
export const IFF_LOOPBACK = 0x8
/** Is a point-to-point link. */
export const IFF_POINTOPOINT = 0x10
/** Has a carrier. */
export const IFF_RUNNING = 0x40
/** Has no ARP: no link-layer addresses to look for. */
export const IFF_NOARP = 0x80
/** Receives all packets, whoever they are for. */
export const IFF_PROMISC = 0x100
/** Receives all multicast packets. */
export const IFF_ALLMULTI = 0x200
/** Is the master of a bond. */
export const IFF_MASTER = 0x400
/** Is a slave of a bond. */
export const IFF_SLAVE = 0x800
/** Can multicast. */
export const IFF_MULTICAST = 0x1000
/** The driver has a carrier; `IFF_RUNNING` waits for what is above it, such as a login to the network. Linux 2.6.17. */
export const IFF_LOWER_UP = 0x10000
/** Has a carrier and waits for something above it. Linux 2.6.17. */
export const IFF_DORMANT = 0x20000

// Flags of an address: <linux/if_addr.h>, rtnetlink(7)

/** IPv4: another address of the network is the one that packets are sent from. IPv6: temporary, RFC 8981. */
export const IFA_F_SECONDARY = 0x01
/** No duplicates of it are looked for. */
export const IFA_F_NODAD = 0x02
/** May be used although duplicates are still looked for, RFC 4429. */
export const IFA_F_OPTIMISTIC = 0x04
/** Somebody else has it: it can't be bound to. */
export const IFA_F_DADFAILED = 0x08
/** The home address of a mobile node, RFC 6275. */
export const IFA_F_HOMEADDRESS = 0x10
/** Its preferred lifetime is over: not for new connections. */
export const IFA_F_DEPRECATED = 0x20
/** Duplicates of it are looked for: it can't be bound to yet. */
export const IFA_F_TENTATIVE = 0x40
/** Has no lifetime: was set by hand. */
export const IFA_F_PERMANENT = 0x80
/** Temporary addresses are made of it. Linux 3.14. */
export const IFA_F_MANAGETEMPADDR = 0x100
/** Came without a route to its network. Linux 3.14. */
export const IFA_F_NOPREFIXROUTE = 0x200
/** A multicast group is joined with it. Linux 3.19. */
export const IFA_F_MCAUTOJOIN = 0x400
/** Made of a secret, RFC 7217. Linux 4.1. */
export const IFA_F_STABLE_PRIVACY = 0x800

/** An address of an interface; with its port of 0 it can be bound to. */
export type AddressOnInterface = InetAddress & {
  /** The bits of the network part: 24 of `192.0.2.1/24`. */
  readonly prefixLength: number
  /** `IFA_F_…` */
  readonly flags: number
  /** The broadcast address of an IPv4 network. */
  readonly broadcast?: string
  /** The other end of a point-to-point link, whose network the prefix then is of. */
  readonly peer?: string
}

/** An interface, and its addresses. */
export interface NetworkInterface {
  /** `'eth0'` */
  readonly name: string
  /** What `scope`, `IP_PKTINFO` and the like call it; at least 1. */
  readonly index: number
  /** `IFF_…` */
  readonly flags: number
  /** The longest packet in **bytes**, without the header of the link. */
  readonly mtu: number
  /** The hardware address, `'02:00:5e:10:00:01'`; all zeros on loopback, absent where the link has none. */
  readonly mac?: string
  /** Its IPv4 and IPv6 addresses; a link-local one has its `scope`. */
  readonly addresses: readonly AddressOnInterface[]
}

/**
 * The interfaces of this machine (of its network namespace) in the order of their indexes, also those that are down or
 * have no address. As getifaddrs(3) does it, by rtnetlink, which has the MTU and the flags of addresses, too.
 * @throws SystemError `EAGAIN` when they changed all the while, `EMFILE`, …
 * @see {@link https://man7.org/linux/man-pages/man7/rtnetlink.7.html rtnetlink(7)}
 */
export function interfaces(): NetworkInterface[] {
  return [...readInterfaces().values()].sort((a, b) => a.index - b.index)
}
