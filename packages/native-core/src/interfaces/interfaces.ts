import { NETLINK_ROUTE } from '../constants.js'
import {
  type NetworkInterface,
  RTM_GETADDR,
  RTM_GETLINK,
  RTM_NEWADDR,
  RTM_NEWLINK,
  readAddress,
  readLink,
} from './link.js'
import { netlinkDump } from './netlink.js'

/**
 * Returns the interfaces of this machine (of its network namespace) in the order of their indexes, including those that are
 * down or have no address. It has more than getifaddrs(3): the MTU, and the flags of addresses.
 * @throws SystemError `EAGAIN` if the interfaces kept changing, or the kernel had no complete answer; the call never waits
 * for one. `EMFILE`, …
 * @see {@link https://man7.org/linux/man-pages/man7/rtnetlink.7.html rtnetlink(7)}
 */
export function interfaces(): NetworkInterface[] {
  return [...readInterfaces().values()].sort((a, b) => a.ifindex - b.ifindex)
}

/** Reads all interfaces and their addresses, keyed by ifindex. For this package's own use. */
export function readInterfaces(): Map<number, NetworkInterface> {
  const found = new Map<number, NetworkInterface>()
  for (const message of netlinkDump(NETLINK_ROUTE, RTM_GETLINK, IFINFOMSG)) {
    const link = message.type === RTM_NEWLINK ? readLink(message) : undefined
    if (link !== undefined) found.set(link.ifindex, { ...link, addresses: [] })
  }
  for (const message of netlinkDump(NETLINK_ROUTE, RTM_GETADDR, IFADDRMSG)) {
    const { ifindex, address } = (message.type === RTM_NEWADDR && readAddress(message)) || {}
    const link = ifindex === undefined ? undefined : found.get(ifindex)
    // Undefined if the interface was added between the two dumps.
    if (link !== undefined && address !== undefined) {
      found.set(link.ifindex, { ...link, addresses: [...link.addresses, address] })
    }
  }
  return found
}

// A struct ifinfomsg or struct ifaddrmsg of zeros asks for every family.
const IFINFOMSG = Buffer.alloc(16)
const IFADDRMSG = Buffer.alloc(8)
