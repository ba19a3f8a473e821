import {
  bool,
  type Codec,
  control,
  hops,
  int,
  ipv4,
  ipv6AtInterface,
  u64,
  uint,
} from '@linux-sockets/native-core/codecs'
import { IPPROTO_IP, IPPROTO_IPV6, IPPROTO_UDP, SOL_SOCKET } from '@linux-sockets/native-core/constants'
import { checkInteger, checkObject, describe, needBytes } from '@linux-sockets/native-core/internal'

const SECOND = 1_000_000_000n

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
   * `'0.0.0.0'` lets the kernel choose. It is never a multicast group.
   */
  readonly spec_dst: string
  /** Received: the destination in the packet, such as the multicast group. To send: ignored. Default `'0.0.0.0'`. */
  readonly addr?: string
}

/** `struct in_pktinfo`. */
export const ipv4PacketInfo: Codec<Required<Ipv4PacketInfo>, Ipv4PacketInfo> = {
  size: 12,
  encode: (value, view, what) => {
    checkObject(value, what)
    const { ifindex, spec_dst, addr = '0.0.0.0' } = value
    int.encode(ifindex, view, `${what}.ifindex`)
    ipv4.encode(spec_dst, part(view, 4), `${what}.spec_dst`)
    ipv4.encode(addr, part(view, 8), `${what}.addr`)
    return 12
  },
  decode: (view, length) => {
    needBytes(length, 12, 'struct in_pktinfo')
    return {
      ifindex: int.decode(view, 4),
      spec_dst: ipv4.decode(part(view, 4), 4),
      addr: ipv4.decode(part(view, 8), 4),
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

/**
 * Whether the datagram must not be fragmented; one that is larger than the path's MTU is then refused with `EMSGSIZE`. IPv4
 * has no such message: set `IP_MTU_DISCOVER` on the socket.
 * sent on Linux 2.6.35
 * @see {@link https://datatracker.ietf.org/doc/html/rfc3542#section-11.2 RFC 3542}
 */
export const CMSG_IPV6_DONTFRAG = control('IPV6_DONTFRAG', IPPROTO_IPV6, 62, bool)

/** `struct timeval`, as **nanoseconds** since 1970. */
export const timevalStamp: Codec<bigint> = stamp('struct timeval', 1000n)
/** `struct timespec`, as **nanoseconds** since 1970. */
export const timespecStamp: Codec<bigint> = stamp('struct timespec', 1n)

/**
 * When the kernel received the datagram, in **nanoseconds** since 1970 with a resolution of a microsecond.
 * received with `SO_TIMESTAMP`
 * @see {@link https://docs.kernel.org/networking/timestamping.html timestamping}
 */
export const SCM_TIMESTAMP = control('SCM_TIMESTAMP', SOL_SOCKET, 29, timevalStamp)

/**
 * When the kernel received the datagram, in **nanoseconds** since 1970.
 * received with `SO_TIMESTAMPNS` · Linux 2.6.22
 * @see {@link https://docs.kernel.org/networking/timestamping.html timestamping}
 */
export const SCM_TIMESTAMPNS = control('SCM_TIMESTAMPNS', SOL_SOCKET, 35, timespecStamp)

/** The time stamps of `SCM_TIMESTAMPING`. */
export interface Timestamps {
  /** The kernel's, in **nanoseconds** since 1970; undefined if there is none. */
  readonly software: bigint | undefined
  /** The network card's, in **nanoseconds** of its own clock; undefined if there is none. */
  readonly hardware: bigint | undefined
}

/** `struct scm_timestamping`: three `struct timespec`, of which the second is no longer used. */
export const timestamps: Codec<Timestamps> = {
  size: 48,
  encode: ({ software = 0n, hardware = 0n }, view, what) => {
    timespecStamp.encode(software, part(view, 0, 16), `${what}.software`)
    timespecStamp.encode(0n, part(view, 16, 16), what)
    timespecStamp.encode(hardware, part(view, 32, 16), `${what}.hardware`)
    return 48
  },
  decode: (view, length) => {
    needBytes(length, 48, 'struct scm_timestamping')
    const at = (offset: number) => timespecStamp.decode(part(view, offset, 16), 16) || undefined
    return { software: at(0), hardware: at(32) }
  },
}

/**
 * When the datagram was received, or was sent if the message comes from the error queue.
 * received with `SO_TIMESTAMPING` · Linux 2.6.30
 * @see {@link https://docs.kernel.org/networking/timestamping.html timestamping}
 */
export const SCM_TIMESTAMPING = control('SCM_TIMESTAMPING', SOL_SOCKET, 37, timestamps)

/**
 * Which transmit time stamps to take of the datagram that is sent: `SOF_TIMESTAMPING_TX_…`, in place of those that the
 * socket's option turns on.
 * sent on Linux 4.6
 * @see {@link https://docs.kernel.org/networking/timestamping.html timestamping}
 */
export const CMSG_SO_TIMESTAMPING = control('SO_TIMESTAMPING', SOL_SOCKET, 37, uint)

/**
 * The number that the transmit time stamp of the datagram has in the error queue, in place of the socket's counter.
 * sent on Linux 6.13, with `SOF_TIMESTAMPING_OPT_ID`
 * @see {@link https://docs.kernel.org/networking/timestamping.html timestamping}
 */
export const SCM_TS_OPT_ID = control('SCM_TS_OPT_ID', SOL_SOCKET, 81, uint)

/**
 * The number of datagrams that the socket had dropped, because its queue was full, when the kernel queued this one. Absent
 * while it is 0. It overflows at 2³².
 * received with `SO_RXQ_OVFL` · Linux 2.6.33
 * @see {@link https://man7.org/linux/man-pages/man7/socket.7.html socket(7)}
 */
export const CMSG_SO_RXQ_OVFL = control('SO_RXQ_OVFL', SOL_SOCKET, 40, uint)

/**
 * The mark of the datagram, as `SO_MARK` sets it for all.
 * received with `SO_RCVMARK` (Linux 5.19) · sent on Linux 4.20, needs `CAP_NET_ADMIN` or (5.17) `CAP_NET_RAW`
 * @see {@link https://man7.org/linux/man-pages/man7/socket.7.html socket(7)}
 */
export const CMSG_SO_MARK = control('SO_MARK', SOL_SOCKET, 36, uint)

/**
 * The priority of the datagram, as `SO_PRIORITY` sets it for all.
 * received with `SO_RCVPRIORITY` (Linux 6.14) · sent on Linux 6.14, above 6 only with `CAP_NET_ADMIN` or `CAP_NET_RAW`
 * @see {@link https://man7.org/linux/man-pages/man7/socket.7.html socket(7)}
 */
export const CMSG_SO_PRIORITY = control('SO_PRIORITY', SOL_SOCKET, 12, uint)

/**
 * When the device is to send the datagram, in **nanoseconds** of the clock that `SO_TXTIME` names. Needs `SO_TXTIME`, and
 * the queueing discipline `fq` or `etf`; other disciplines send at once.
 * sent on Linux 4.19
 * @see {@link https://man7.org/linux/man-pages/man8/tc-etf.8.html tc-etf(8)}
 */
export const SCM_TXTIME = control('SCM_TXTIME', SOL_SOCKET, 61, u64)

/** `__u16`, in the host's byte order. */
export const segmentLength: Codec<number> = {
  size: 2,
  encode: (value, view, what) => {
    checkInteger(value, 0, 0xffff, what)
    view.setUint16(0, value, true)
    return 2
  },
  decode: (view, length) => {
    needBytes(length, 2, 'a u16')
    return view.getUint16(0, true)
  },
}

/**
 * The size of the datagrams that the kernel makes of the data, in **bytes**. The last may be shorter. At most 64 of them (128
 * on Linux 6.9), and 65507 bytes.
 * sent on Linux 4.18
 * @see {@link https://man7.org/linux/man-pages/man7/udp.7.html udp(7)}
 */
export const CMSG_UDP_SEGMENT = control('UDP_SEGMENT', IPPROTO_UDP, 103, segmentLength)

/**
 * The size of the datagrams that the kernel has joined, in **bytes**. The last may be shorter. Absent if it is a single one.
 * received with `UDP_GRO` · Linux 5.0
 * @see {@link https://man7.org/linux/man-pages/man7/udp.7.html udp(7)}
 */
export const CMSG_UDP_GRO = control('UDP_GRO', IPPROTO_UDP, 104, int)

function part(view: DataView, offset: number, length = 4): DataView {
  return new DataView(view.buffer, view.byteOffset + offset, length)
}

/** Seconds, and a fraction in units of `unit` nanoseconds. */
function stamp(struct: string, unit: bigint): Codec<bigint> {
  return {
    size: 16,
    encode: (value, view, what) => {
      if (typeof value !== 'bigint') throw new TypeError(`${what} must be a bigint, not ${describe(value)}`)
      if (value < 0n || value >= 1n << 63n) throw new RangeError(`${what} must be from 0 to 2⁶³ − 1, not ${value}`)
      view.setBigInt64(0, value / SECOND, true)
      view.setBigInt64(8, (value % SECOND) / unit, true)
      return 16
    },
    decode: (view, length) => {
      needBytes(length, 16, struct)
      return view.getBigInt64(0, true) * SECOND + view.getBigInt64(8, true) * unit
    },
  }
}
