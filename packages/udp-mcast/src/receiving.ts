// What a socket is to receive with each datagram: the options to turn on, and the control buffer for all of their messages.
import { controlSpace, type FdLike, getOption, setOption } from '@linux-sockets/native-core'
import {
  AF_INET6,
  SOF_TIMESTAMPING_RAW_HARDWARE,
  SOF_TIMESTAMPING_RX_HARDWARE,
  SOF_TIMESTAMPING_RX_SOFTWARE,
  SOF_TIMESTAMPING_SOFTWARE,
} from '@linux-sockets/native-core/constants'
import { checkBoolean, checkInteger, checkOptions, describe, type NamesOf } from '@linux-sockets/native-core/internal'
import {
  IP_PKTINFO,
  IP_RECVTOS,
  IP_RECVTTL,
  IPV6_RECVHOPLIMIT,
  IPV6_RECVPKTINFO,
  IPV6_RECVTCLASS,
  SO_DOMAIN,
  SO_RXQ_OVFL,
  SO_TIMESTAMP,
  SO_TIMESTAMPING,
  SO_TIMESTAMPNS,
} from '@linux-sockets/native-core/options'
import type { DatagramChannelOptions } from '@linux-sockets/native-core/streams'
import { setIpv4Option } from './family.js'
import { UDP_GRO } from './options.js'

/** What a `UdpSocket` receives with each datagram, and into which buffers. Everything is off by default, but `arrival`. */
export interface ReceiveSettings {
  /** Datagrams per call, 1 … 1024. Default 32. */
  readonly count?: number | undefined
  /**
   * **Bytes** for each datagram; what is longer is cut, and `truncated` tells. Default 2048; with `gro` 65 535, the most that the
   * kernel joins, and with 32 datagrams per call 2 MiB.
   */
  readonly size?: number | undefined
  /** More **bytes** of control buffer, for options that the program turns on itself. Default 0. */
  readonly control?: number | undefined
  /**
   * `IP_PKTINFO`, `IPV6_RECVPKTINFO`: `ifindex`, `destination` and `localAddress`, which `reply` needs. Default true, unless
   * `UdpSocket.open` connects the socket.
   */
  readonly arrival?: boolean | undefined
  /** `IP_RECVTTL`, `IPV6_RECVHOPLIMIT`: `ttl`. */
  readonly ttl?: boolean | undefined
  /** `IP_RECVTOS`, `IPV6_RECVTCLASS`: `tos` and `ecn`. */
  readonly tos?: boolean | undefined
  /** The same as `tos`. */
  readonly ecn?: boolean | undefined
  /**
   * `timestamp`: `'us'` by `SO_TIMESTAMP`, `'ns'` by `SO_TIMESTAMPNS`, `'software'` by `SO_TIMESTAMPING`. `'hardware'` is
   * `'software'` with `hardwareTimestamp`, if the network card was told to take them (hwstamp_ctl(8)).
   */
  readonly timestamp?: 'us' | 'ns' | 'software' | 'hardware' | undefined
  /** `SO_RXQ_OVFL`: `drops`. */
  readonly drops?: boolean | undefined
  /** `UDP_GRO`: the kernel joins datagrams of one flow; `segments` returns them. Linux 5.0. */
  readonly gro?: boolean | undefined
  /**
   * Whether datagrams to multicast groups are dropped, and counted in `notJoined`, that arrive on an interface on which
   * `UdpSocket.join` has not joined the group for that source. The kernel does this for IPv4 as long as `IP_MULTICAST_ALL` is
   * off. For IPv6 it doesn't: a socket gets a group that it has joined on one interface from every interface on which any
   * program of the host has joined it. Turns `arrival` on. Default false.
   */
  readonly only?: boolean | undefined
}

const SETTINGS: NamesOf<ReceiveSettings> = {
  count: true,
  size: true,
  control: true,
  arrival: true,
  ttl: true,
  tos: true,
  ecn: true,
  timestamp: true,
  drops: true,
  gro: true,
  only: true,
}

const TIMESTAMPS: readonly unknown[] = ['us', 'ns', 'software', 'hardware']

/** @throws TypeError, RangeError */
export function checkReceive(receive: ReceiveSettings): void {
  checkOptions(receive, 'receive', SETTINGS)
  const { count, size, control, timestamp, arrival, ttl, tos, ecn, drops, gro, only } = receive
  if (count !== undefined) checkInteger(count, 1, 1024, 'count')
  if (size !== undefined) checkInteger(size, 1, 0x1000_0000, 'size')
  if (control !== undefined) checkInteger(control, 0, 0x8_0000, 'control')
  for (const [name, value] of Object.entries({ arrival, ttl, tos, ecn, drops, gro, only })) {
    if (value !== undefined) checkBoolean(value, name)
  }
  if (timestamp !== undefined && !TIMESTAMPS.includes(timestamp)) {
    const given = typeof timestamp === 'string' ? `'${timestamp}'` : describe(timestamp)
    throw new TypeError(`timestamp must be 'us', 'ns', 'software' or 'hardware', not ${given}`)
  }
}

/**
 * Turns on the options of checked settings, and returns the buffers that a channel needs. An IPv6 socket gets both families'
 * options: without IPV6_V6ONLY it receives IPv4, for which the kernel obeys those of IPv4.
 */
export function turnOn(socket: FdLike, receive: ReceiveSettings): NonNullable<DatagramChannelOptions['receive']> {
  const { gro = false, count, size = gro ? 65_535 : 2048, control = 0, timestamp, drops = false } = receive
  const { only = false, ttl = false, tos = false, ecn = false } = receive
  const arrival = only || (receive.arrival ?? true)
  const isIpv6 = getOption(socket, SO_DOMAIN) === AF_INET6
  // A time stamp may come without being asked for, once `sendTimestamped` was called.
  let space = control + controlSpace(48)
  if (arrival) {
    setIpv4Option(socket, IP_PKTINFO, true)
    space += controlSpace(12)
    if (isIpv6) setOption(socket, IPV6_RECVPKTINFO, true)
    space += isIpv6 ? controlSpace(20) : 0
  }
  if (ttl) {
    setIpv4Option(socket, IP_RECVTTL, true)
    if (isIpv6) setOption(socket, IPV6_RECVHOPLIMIT, true)
    space += controlSpace(4)
  }
  if (tos || ecn) {
    setIpv4Option(socket, IP_RECVTOS, true)
    if (isIpv6) setOption(socket, IPV6_RECVTCLASS, true)
    space += controlSpace(4)
  }
  if (timestamp === 'us' || timestamp === 'ns') {
    setOption(socket, timestamp === 'us' ? SO_TIMESTAMP : SO_TIMESTAMPNS, true)
    space += controlSpace(16)
  } else if (timestamp !== undefined) {
    const hardware = SOF_TIMESTAMPING_RX_HARDWARE | SOF_TIMESTAMPING_RAW_HARDWARE
    const software = SOF_TIMESTAMPING_RX_SOFTWARE | SOF_TIMESTAMPING_SOFTWARE
    setOption(socket, SO_TIMESTAMPING, timestamp === 'hardware' ? software | hardware : software)
  }
  if (drops) setOption(socket, SO_RXQ_OVFL, true)
  if (gro) setOption(socket, UDP_GRO, true)
  space += (drops ? controlSpace(4) : 0) + (gro ? controlSpace(4) : 0)
  return { count, size, control: space }
}
