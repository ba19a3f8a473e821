import { type ControlMessage, controlSpace, readControl } from '@linux-sockets/native-core'
import { type Codec, control, hops, int, ipv4, ipv6AtInterface } from '@linux-sockets/native-core/codecs'
import { IPPROTO_IP, IPPROTO_IPV6 } from '@linux-sockets/native-core/constants'
import { checkObject, needBytes } from '@linux-sockets/native-core/internal'

// Many of these messages have the same C name as the option that turns them on, so their names here begin with CMSG_.

/** The interface and the addresses of an IPv4 datagram. */
export interface Ipv4PacketInfo {
  /**
   * Received: the index of the interface on which it arrived. To send: that of the interface to send from; 0 lets the
   * kernel choose.
   */
  readonly ifindex: number
  /**
   * Received: the local address for the datagram, from which an answer should be sent. To send: the source address;
   * `'0.0.0.0'` lets the kernel choose.
   */
  readonly localAddress: string
  /** Received: the destination in the packet, such as the multicast group. To send: ignored. Default `'0.0.0.0'`. */
  readonly destination?: string
}

/** `struct in_pktinfo`. */
export const ipv4PacketInfo: Codec<Required<Ipv4PacketInfo>, Ipv4PacketInfo> = {
  size: 12,
  encode: (value, view, what) => {
    checkObject(value, what)
    const { ifindex, localAddress, destination = '0.0.0.0' } = value
    int.encode(ifindex, view, `${what}.ifindex`)
    ipv4.encode(localAddress, part(view, 4), `${what}.localAddress`)
    ipv4.encode(destination, part(view, 8), `${what}.destination`)
    return 12
  },
  decode: (view, length) => {
    needBytes(length, 12, 'struct in_pktinfo')
    return {
      ifindex: int.decode(view, 4),
      localAddress: ipv4.decode(part(view, 4), 4),
      destination: ipv4.decode(part(view, 8), 4),
    }
  },
}

/**
 * The type of service: the DSCP in the upper 6 bits, ECN in the lower 2.
 * received with `IP_RECVTOS` · sent on Linux 3.13
 * @see {@link https://man7.org/linux/man-pages/man7/ip.7.html ip(7)}
 */
export const CMSG_IP_TOS = control('IP_TOS', IPPROTO_IP, 1, int)

/**
 * The time to live in **hops**, 1 … 255 to send.
 * received with `IP_RECVTTL` · sent on Linux 3.13
 * @see {@link https://man7.org/linux/man-pages/man7/ip.7.html ip(7)}
 */
export const CMSG_IP_TTL = control('IP_TTL', IPPROTO_IP, 2, hops)

/**
 * The interface on which a datagram arrived and the address to which it was sent; to send, the interface and the source
 * address.
 * received with `IP_PKTINFO` · sent on every Linux
 * @see {@link https://man7.org/linux/man-pages/man7/ip.7.html ip(7)}
 */
export const CMSG_IP_PKTINFO = control('IP_PKTINFO', IPPROTO_IP, 8, ipv4PacketInfo)

/**
 * The interface on which a datagram arrived and the address to which it was sent; to send, the interface and the source
 * address (`'::'` lets the kernel choose). An IPv4 datagram on an IPv6 socket has a mapped address: `'::ffff:239.1.2.3'`.
 * received with `IPV6_RECVPKTINFO` · sent on Linux 2.6.14
 * @see {@link https://datatracker.ietf.org/doc/html/rfc3542#section-6 RFC 3542}
 */
export const CMSG_IPV6_PKTINFO = control('IPV6_PKTINFO', IPPROTO_IPV6, 50, ipv6AtInterface)

/**
 * The hop limit in **hops**; to send, −1 is the system's default.
 * received with `IPV6_RECVHOPLIMIT` · sent on Linux 2.6.14
 * @see {@link https://datatracker.ietf.org/doc/html/rfc3542#section-6.3 RFC 3542}
 */
export const CMSG_IPV6_HOPLIMIT = control('IPV6_HOPLIMIT', IPPROTO_IPV6, 52, hops)

/**
 * The traffic class: the DSCP in the upper 6 bits, ECN in the lower 2; to send, −1 is the system's default.
 * received with `IPV6_RECVTCLASS` · sent on Linux 2.6.14
 * @see {@link https://datatracker.ietf.org/doc/html/rfc3542#section-6.5 RFC 3542}
 */
export const CMSG_IPV6_TCLASS = control('IPV6_TCLASS', IPPROTO_IPV6, 67, int)

/** The interface and the destination of a received datagram. */
export interface Arrival {
  /** The index of the interface on which it arrived. */
  readonly ifindex: number
  /** The address to which it was sent: a multicast group, a broadcast address, or an address of this host. */
  readonly destination: string
}

/** The size of the control buffer that `arrivalOf` needs for each datagram, in **bytes**. */
export const ARRIVAL_SPACE = controlSpace(ipv6AtInterface.size)

/**
 * Reads the interface and the destination of a datagram from its `CMSG_IPV6_PKTINFO` or `CMSG_IP_PKTINFO`.
 * @throws TypeError if `messages` isn't a list of control messages, or has neither: the option wasn't on
 * (`openMulticastSocket` turns it on), or there was no space for it
 */
export function arrivalOf(messages: readonly ControlMessage[]): Arrival {
  const v6 = readControl(messages, CMSG_IPV6_PKTINFO)
  if (v6 !== undefined) return { ifindex: v6.ifindex, destination: v6.address }
  const v4 = readControl(messages, CMSG_IP_PKTINFO)
  if (v4 === undefined) throw new TypeError('the datagram came without IP_PKTINFO or IPV6_PKTINFO')
  return { ifindex: v4.ifindex, destination: v4.destination }
}

function part(view: DataView, offset: number): DataView {
  return new DataView(view.buffer, view.byteOffset + offset, 4)
}
