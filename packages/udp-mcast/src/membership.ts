import { encodeAddress, type FdLike, parseIpv4, parseIpv6, setOption } from '@linux-sockets/native-core'
import { type Encoder, int, wo } from '@linux-sockets/native-core/codecs'
import { IPPROTO_IP, IPPROTO_IPV6 } from '@linux-sockets/native-core/constants'
import { ifindexOf } from '@linux-sockets/native-core/interfaces'
import { checkInteger, checkObject, checkOptions, checkString, fdOf } from '@linux-sockets/native-core/internal'

/** Options of `joinGroup` and `leaveGroup`. */
export interface MembershipOptions {
  /** The interface, by index or name. Default 0: the one to which the routing table sends the group. */
  readonly interface?: number | string | undefined
}

/**
 * setsockopt(2) `MCAST_JOIN_GROUP`: the socket receives datagrams that are sent to an IPv4 or IPv6 multicast group and
 * arrive on the interface. A socket may join many groups, and one group on many interfaces.
 *
 *     joinGroup(socket, 'ff02::fb', { interface: 'eth0' })
 *
 * Linux 2.6 · net.ipv4.igmp_max_memberships limits the groups of an IPv4 socket (20)
 * @throws TypeError, RangeError if the group isn't an address, or an option is invalid
 * @throws SystemError `EINVAL` if the address isn't a multicast group, `ENODEV` if there is no such interface, `EADDRINUSE`
 * if the socket is already a member, `ENOBUFS` beyond the limit
 * @see {@link https://datatracker.ietf.org/doc/html/rfc3678#section-5.1 RFC 3678}
 */
export function joinGroup(socket: FdLike, group: string, options: MembershipOptions = {}): void {
  const [level, value] = request(socket, group, options)
  setOption(socket, wo('MCAST_JOIN_GROUP', level, 42, groupRequest), value)
}

/**
 * setsockopt(2) `MCAST_LEAVE_GROUP`: the socket no longer receives the group on the interface. Closing the socket leaves
 * all groups.
 * @throws SystemError `EADDRNOTAVAIL` if the socket isn't a member; otherwise as `joinGroup`
 */
export function leaveGroup(socket: FdLike, group: string, options: MembershipOptions = {}): void {
  const [level, value] = request(socket, group, options)
  setOption(socket, wo('MCAST_LEAVE_GROUP', level, 45, groupRequest), value)
}

/** The value of `MCAST_JOIN_GROUP` and `MCAST_LEAVE_GROUP`. */
export interface GroupRequest {
  /** The index of the interface; 0 for the one to which the routing table sends the group. */
  readonly ifindex: number
  /** The group's address, IPv4 or IPv6. */
  readonly group: string
}

/** `struct group_req`: the interface, and at the next multiple of 8 a `struct sockaddr_storage`. */
export const groupRequest: Encoder<GroupRequest> = {
  size: 136,
  encode: (value, view, what) => {
    checkObject(value, what)
    const { ifindex, group } = value
    const bytes = new Uint8Array(view.buffer, view.byteOffset, 136).fill(0)
    int.encode(ifindex, view, `${what}.ifindex`)
    bytes.set(sockaddrOf(group, `${what}.group`), 8)
    return 136
  },
}

/** Checks all arguments, by the names that the caller knows, before it looks up the interface. */
function request(socket: FdLike, group: string, options: MembershipOptions): [level: number, value: GroupRequest] {
  fdOf(socket, 'socket')
  sockaddrOf(group, 'group')
  checkOptions(options, 'options', { interface: true })
  const { interface: chosen = 0 } = options
  if (typeof chosen !== 'string') checkInteger(chosen, 0, 0x7fff_ffff, 'interface')
  const ifindex = typeof chosen === 'string' ? ifindexOf(chosen) : chosen
  return [familyOf(group) === 'ipv6' ? IPPROTO_IPV6 : IPPROTO_IP, { ifindex, group }]
}

function sockaddrOf(group: string, what: string): Uint8Array {
  checkString(group, what)
  const family = familyOf(group)
  if (family === 'ipv6') parseIpv6(group, what)
  else parseIpv4(group, what)
  return encodeAddress({ family, address: group, port: 0 })
}

function familyOf(group: string): 'ipv4' | 'ipv6' {
  return group.includes(':') ? 'ipv6' : 'ipv4'
}
