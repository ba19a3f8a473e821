import type { InetAddress } from '@linux-sockets/native-core'
import { readInterfaces } from './link.js'

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
  /** The interface index, as in `scope`, `IP_PKTINFO` and the like; at least 1. */
  readonly index: number
  /** `IFF_…` */
  readonly flags: number
  /** The longest packet in **bytes**, without the link-layer header. */
  readonly mtu: number
  /** The hardware address, `'02:00:5e:10:00:01'`; all zeros on loopback, absent where the link has none. */
  readonly mac?: string
  /** Its IPv4 and IPv6 addresses. A link-local IPv6 address has a `scope`. */
  readonly addresses: readonly AddressOnInterface[]
}

/**
 * Returns the interfaces of this machine (of its network namespace) in the order of their indexes, including those that are
 * down or have no address. Like getifaddrs(3) it uses rtnetlink, which also has the MTU and the flags of addresses.
 * @throws SystemError `EAGAIN` if the interfaces kept changing, or the kernel had no complete answer; the call never waits
 * for one. `EMFILE`, …
 * @see {@link https://man7.org/linux/man-pages/man7/rtnetlink.7.html rtnetlink(7)}
 */
export function interfaces(): NetworkInterface[] {
  return [...readInterfaces().values()].sort((a, b) => a.index - b.index)
}
