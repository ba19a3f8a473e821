// The control messages of what is sent. Which of them the kernel obeys depends on the destination: to an IPv4-mapped address it
// accepts those of IPv6 for the traffic class and the hop limit, and ignores them.
import {
  type ControlMessage,
  controlMessage,
  encodeControl,
  type FdLike,
  getOption,
  parseIpv4,
  parseIpv6,
} from '@linux-sockets/native-core'
import { AF_INET6 } from '@linux-sockets/native-core/constants'
import { ifindexOf } from '@linux-sockets/native-core/interfaces'
import {
  checkBoolean,
  checkInteger,
  checkOptions,
  checkString,
  describe,
  type NamesOf,
} from '@linux-sockets/native-core/internal'
import { IP_TOS, IPV6_TCLASS } from '@linux-sockets/native-core/options'
import {
  CMSG_IP_PKTINFO,
  CMSG_IP_TOS,
  CMSG_IP_TTL,
  CMSG_IPV6_DONTFRAG,
  CMSG_IPV6_HOPLIMIT,
  CMSG_IPV6_PKTINFO,
  CMSG_IPV6_TCLASS,
  CMSG_SO_MARK,
  CMSG_SO_PRIORITY,
  SCM_TXTIME,
} from './control.js'
import { ECN, type Ecn } from './received.js'

/** How one datagram is sent, in place of the socket's options. */
export interface UdpSendOptions {
  /** The source address: one of this host's, of the destination's family. Default: the kernel chooses. */
  readonly source?: string | undefined
  /** The interface to send from, by index or name. Default: the kernel chooses. */
  readonly interface?: number | string | undefined
  /** The time to live, or the hop limit, in **hops**, 1 … 255. */
  readonly ttl?: number | undefined
  /** The type of service, or the traffic class, 0 … 255: the DSCP in the upper 6 bits, ECN in the lower 2. */
  readonly tos?: number | undefined
  /** Explicit congestion notification: replaces the lower 2 bits of `tos`, or of the socket's `IP_TOS` or `IPV6_TCLASS`. */
  readonly ecn?: Ecn | undefined
  /**
   * Whether the datagram must not be fragmented: larger than the path's MTU, it fails with `EMSGSIZE`. To IPv6 destinations
   * only; IPv4 has no control message for it, so set `setPathMtuDiscovery(socket, 'do')`.
   */
  readonly dontFragment?: boolean | undefined
  /**
   * `UDP_SEGMENT`: sends the data as datagrams of this many **bytes**, 1 … 65507, of which the last may be shorter, with few
   * calls of the kernel. Default: one datagram.
   */
  readonly segmentSize?: number | undefined
  /** `SCM_TXTIME`: when the device is to send, in **nanoseconds** of the clock of `SO_TXTIME`, which must be set. */
  readonly transmitTime?: bigint | undefined
  /** `SO_MARK`. Needs `CAP_NET_ADMIN` or `CAP_NET_RAW`. */
  readonly mark?: number | undefined
  /** `SO_PRIORITY`. Linux 6.14. */
  readonly priority?: number | undefined
}

const OPTIONS: NamesOf<UdpSendOptions> = {
  source: true,
  interface: true,
  ttl: true,
  tos: true,
  ecn: true,
  dontFragment: true,
  segmentSize: true,
  transmitTime: true,
  mark: true,
  priority: true,
}

/** The family by which the kernel sends: IPv4 also to mapped addresses. */
export type SendFamily = 'ipv4' | 'ipv6'

/** The family of a `sockaddr`, as far as control messages are concerned. */
export function sendFamilyOf(sockaddr: Uint8Array): SendFamily {
  if (((sockaddr[0] ?? 0) | ((sockaddr[1] ?? 0) << 8)) !== AF_INET6) return 'ipv4'
  for (let i = 8; i < 18; i++) if (sockaddr[i] !== 0) return 'ipv6'
  return sockaddr[18] === 0xff && sockaddr[19] === 0xff ? 'ipv4' : 'ipv6'
}

/** @throws TypeError, RangeError */
export function checkUdpSendOptions(options: UdpSendOptions): void {
  checkOptions(options, 'options', OPTIONS)
  const { source, ttl, tos, ecn, dontFragment, segmentSize, transmitTime, mark, priority } = options
  const chosen = options.interface
  if (source !== undefined) checkString(source, 'source')
  if (chosen !== undefined && typeof chosen !== 'string') checkInteger(chosen, 0, 0x7fff_ffff, 'interface')
  if (ttl !== undefined) checkInteger(ttl, 1, 255, 'ttl')
  if (tos !== undefined) checkInteger(tos, 0, 255, 'tos')
  if (ecn !== undefined && !ECN.includes(ecn)) {
    throw new TypeError(`ecn must be ${ECN.map((name) => `'${name}'`).join(', ')}, not ${quoted(ecn)}`)
  }
  if (dontFragment !== undefined) checkBoolean(dontFragment, 'dontFragment')
  if (segmentSize !== undefined) checkInteger(segmentSize, 1, 65_507, 'segmentSize')
  if (transmitTime !== undefined && typeof transmitTime !== 'bigint') {
    throw new TypeError(`transmitTime must be a bigint, not ${describe(transmitTime)}`)
  }
  if (mark !== undefined) checkInteger(mark, 0, 0xffff_ffff, 'mark')
  if (priority !== undefined) checkInteger(priority, 0, 0xffff_ffff, 'priority')
}

/** The control messages of checked options, but for `segmentSize`. */
export function controlOf(socket: FdLike, family: SendFamily, options: UdpSendOptions): ControlMessage[] {
  const { source, ttl, ecn, dontFragment, transmitTime, mark, priority } = options
  const messages: ControlMessage[] = []
  const chosen = options.interface ?? 0
  const ifindex = typeof chosen === 'string' ? ifindexOf(chosen) : chosen
  const isIpv4 = family === 'ipv4'
  if (ifindex !== 0 || source !== undefined) {
    messages.push(isIpv4 ? packetInfo4(ifindex, source) : packetInfo6(ifindex, source))
  }
  if (ttl !== undefined) messages.push(controlMessage(isIpv4 ? CMSG_IP_TTL : CMSG_IPV6_HOPLIMIT, ttl))
  if (options.tos !== undefined || ecn !== undefined) {
    const whole = options.tos ?? getOption(socket, isIpv4 ? IP_TOS : IPV6_TCLASS)
    const tos = ecn === undefined ? whole : (whole & ~3) | ECN.indexOf(ecn)
    messages.push(controlMessage(isIpv4 ? CMSG_IP_TOS : CMSG_IPV6_TCLASS, tos))
  }
  if (dontFragment !== undefined) {
    if (isIpv4)
      throw new TypeError("dontFragment needs an IPv6 destination; setPathMtuDiscovery(socket, 'do') is for IPv4")
    messages.push(controlMessage(CMSG_IPV6_DONTFRAG, dontFragment))
  }
  if (transmitTime !== undefined) messages.push(controlMessage(SCM_TXTIME, transmitTime))
  if (mark !== undefined) messages.push(controlMessage(CMSG_SO_MARK, mark))
  if (priority !== undefined) messages.push(controlMessage(CMSG_SO_PRIORITY, priority))
  return messages
}

/** Adds a message to encoded ones. */
export function withMessage(control: Uint8Array, message: ControlMessage): Uint8Array {
  return Buffer.concat([control, encodeControl([message])])
}

function packetInfo4(ifindex: number, source: string = '0.0.0.0'): ControlMessage {
  const address = source.toLowerCase().startsWith('::ffff:') && source.includes('.') ? source.slice(7) : source
  parseIpv4(address, 'source')
  return controlMessage(CMSG_IP_PKTINFO, { ifindex, spec_dst: address })
}

function packetInfo6(ifindex: number, source: string = '::'): ControlMessage {
  parseIpv6(source, 'source')
  return controlMessage(CMSG_IPV6_PKTINFO, { ifindex, address: source })
}

function quoted(value: unknown): string {
  return typeof value === 'string' ? `'${value}'` : describe(value)
}
