import {
  type AsFd,
  type Encoder,
  encodeAddress,
  IPPROTO_IP,
  IPPROTO_IPV6,
  int,
  interfaceIndexOf,
  setOption,
  wo,
} from '@linux-sockets/native-core'

/** Where a group is joined or left. */
export interface MembershipOptions {
  /** The interface, by its index or name. Default 0: the one by which the routing table sends to the group. */
  readonly interface?: number | string | undefined
}

/**
 * setsockopt(2) `MCAST_JOIN_GROUP`: the socket receives what is sent to an IPv4 or IPv6 multicast group and arrives on the
 * interface. A socket may join many groups, and one group on many interfaces.
 *
 *     joinGroup(socket, 'ff02::fb', { interface: 'eth0' })
 *
 * Linux 2.6 · net.ipv4.igmp_max_memberships limits the groups of an IPv4 socket (20)
 * @throws TypeError when the group is no address
 * @throws SystemError `EINVAL` when the address is no multicast group, `ENODEV` when there is no such interface,
 * `EADDRINUSE` when the socket is a member already, `ENOBUFS` beyond the limit
 * @see {@link https://datatracker.ietf.org/doc/html/rfc3678#section-5.1 RFC 3678}
 */
export function joinGroup(socket: AsFd, group: string, options: MembershipOptions = {}): void {
  const level = levelOf(group)
  setOption(socket, wo('MCAST_JOIN_GROUP', level, 42, groupRequest), request(group, options))
}

/**
 * setsockopt(2) `MCAST_LEAVE_GROUP`: the socket receives the group on the interface no more. Closing it leaves all groups.
 * @throws SystemError `EADDRNOTAVAIL` when it is no member; otherwise as `joinGroup`
 */
export function leaveGroup(socket: AsFd, group: string, options: MembershipOptions = {}): void {
  const level = levelOf(group)
  setOption(socket, wo('MCAST_LEAVE_GROUP', level, 45, groupRequest), request(group, options))
}

/** The arguments of `MCAST_JOIN_GROUP`. */
export interface GroupRequest {
  /** 0: the routing table's. */
  readonly ifindex: number
  /** The group's address, IPv4 or IPv6. */
  readonly group: string
}

/** `struct group_req`: the interface, and at the next multiple of 8 a `struct sockaddr_storage`. */
export const groupRequest: Encoder<GroupRequest> = {
  size: 136,
  encode: ({ ifindex, group }, view, what) => {
    const bytes = new Uint8Array(view.buffer, view.byteOffset, 136).fill(0)
    int.encode(ifindex, view, `${what}.ifindex`)
    bytes.set(encodeAddress({ family: group.includes(':') ? 'ipv6' : 'ipv4', address: group, port: 0 }), 8)
    return 136
  },
}

function request(group: string, { interface: chosen = 0 }: MembershipOptions): GroupRequest {
  return { ifindex: typeof chosen === 'string' ? interfaceIndexOf(chosen) : chosen, group }
}

function levelOf(group: string): number {
  if (typeof group !== 'string') throw new TypeError('group must be the text of an address')
  return group.includes(':') ? IPPROTO_IPV6 : IPPROTO_IP
}
