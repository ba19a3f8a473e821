// rtnetlink(7): interfaces and their addresses, and the messages of the kernel that describe them.
import type { InetAddress } from '../address.js'
import { AF_INET, AF_INET6, AF_UNSPEC } from '../constants.js'
import { formatIpv4, formatIpv6 } from '../ip.js'
import { type NetlinkMessage, netlinkAttributes } from './netlink.js'

export const RTM_NEWLINK = 16
export const RTM_DELLINK = 17
export const RTM_GETLINK = 18
export const RTM_NEWADDR = 20
export const RTM_DELADDR = 21
export const RTM_GETADDR = 22

/** An address of an interface. Its port is 0, so that a socket can be bound to it as it is. */
export type AddressOnInterface = InetAddress & {
  /** The number of bits of the network part: 24 in `192.0.2.1/24`. */
  readonly prefixLength: number
  /** `IFA_F_…` */
  readonly flags: number
  /** The broadcast address of an IPv4 network. */
  readonly broadcast?: string
  /** The address of the other end of a point-to-point link. The prefix length is then that of the peer's network. */
  readonly peer?: string
}

/** An interface, and its addresses. */
export interface NetworkInterface {
  /** `'eth0'` */
  readonly name: string
  /** The number of the interface (`ifindexOf`), as in `scope`, `IP_PKTINFO` and the like; at least 1. */
  readonly ifindex: number
  /** `IFF_…` */
  readonly flags: number
  /** The longest packet in **bytes**, without the link-layer header. */
  readonly mtu: number
  /** The hardware address, `'02:00:5e:10:00:01'`; all zeros on loopback, absent where the link has none. */
  readonly mac?: string
  /** Its IPv4 and IPv6 addresses. A link-local IPv6 address has a `scope`. */
  readonly addresses: readonly AddressOnInterface[]
}

/** An interface without its addresses. */
export type Link = Omit<NetworkInterface, 'addresses'>

/**
 * Reads an interface from a message, `struct ifinfomsg`. Undefined if the message is about a part of it only: the port of a
 * bridge, or a wireless event.
 */
export function readLink({ body }: NetlinkMessage): Link | undefined {
  if (body.length < 16 || body.readUInt8(0) !== AF_UNSPEC) return undefined
  const found = netlinkAttributes(body, 16)
  const [name, mtu, mac] = [found.get(IFLA_IFNAME), found.get(IFLA_MTU), found.get(IFLA_ADDRESS)]
  if (name === undefined || mtu === undefined) return undefined
  return {
    name: name.toString('utf8', 0, name.length - 1),
    ifindex: body.readInt32LE(4),
    flags: body.readUInt32LE(8),
    mtu: mtu.readUInt32LE(0),
    ...(mac?.length && { mac: macText(mac) }),
  }
}

/** Reads an address from a message, `struct ifaddrmsg`. Undefined for families other than IPv4 and IPv6. */
export function readAddress({ body }: NetlinkMessage): { ifindex: number; address: AddressOnInterface } | undefined {
  if (body.length < 8) return undefined
  const found = netlinkAttributes(body, 8)
  const [family, ifindex] = [body.readUInt8(0), body.readUInt32LE(4)]
  const [far, broadcast] = [found.get(IFA_ADDRESS), found.get(IFA_BROADCAST)]
  // Without a peer, an IPv6 address has IFA_ADDRESS alone, and an IPv4 address has both.
  const own = found.get(IFA_LOCAL) ?? far
  if (own === undefined || (family !== AF_INET && family !== AF_INET6)) return undefined
  const format = family === AF_INET ? formatIpv4 : formatIpv6
  const rest = {
    port: 0,
    prefixLength: body.readUInt8(1),
    // The older field in the struct has only 8 bits.
    flags: found.get(IFA_FLAGS)?.readUInt32LE(0) ?? body.readUInt8(2),
    ...(far !== undefined && !far.equals(own) && { peer: format(far) }),
    ...(broadcast !== undefined && { broadcast: format(broadcast) }),
  }
  if (family === AF_INET) return { ifindex, address: { family: 'ipv4', address: format(own), ...rest } }
  const isLinkLocal = own[0] === 0xfe && ((own[1] as number) & 0xc0) === 0x80
  return { ifindex, address: { family: 'ipv6', address: format(own), ...rest, ...(isLinkLocal && { scope: ifindex }) } }
}

function macText(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join(':')
}

const IFLA_ADDRESS = 1
const IFLA_IFNAME = 3
const IFLA_MTU = 4
const IFA_ADDRESS = 1
const IFA_LOCAL = 2
const IFA_BROADCAST = 4
const IFA_FLAGS = 8
