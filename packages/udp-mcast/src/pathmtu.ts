import {
  type ControlName,
  decodeAddress,
  type FdLike,
  getOption,
  type Ipv6Address,
  setOption,
} from '@linux-sockets/native-core'
import { type Decoder, pathMtu as mtuInfo } from '@linux-sockets/native-core/codecs'
import {
  AF_INET6,
  IP_PMTUDISC_DO,
  IP_PMTUDISC_DONT,
  IP_PMTUDISC_INTERFACE,
  IP_PMTUDISC_OMIT,
  IP_PMTUDISC_PROBE,
  IP_PMTUDISC_WANT,
  IPPROTO_IPV6,
} from '@linux-sockets/native-core/constants'
import { fdOf, needBytes, quote } from '@linux-sockets/native-core/internal'
import { IP_MTU, IP_MTU_DISCOVER, IPV6_MTU, IPV6_MTU_DISCOVER, SO_DOMAIN } from '@linux-sockets/native-core/options'
import { setIpv4Option } from './family.js'

/**
 * How a socket treats packets that are too big for the path: the modes of `IP_MTU_DISCOVER`.
 *
 * | mode | may be fragmented on the way (IPv4) | too big for the path | obeys the MTU that ICMP reports |
 * |---|---|---|---|
 * | `'want'`, the default | no | is fragmented here | yes |
 * | `'dont'` | yes | is fragmented here | yes |
 * | `'do'` | no | `EMSGSIZE` | yes |
 * | `'probe'` | no | is sent, `EMSGSIZE` beyond the interface's MTU | no |
 * | `'interface'` | yes | is sent, `EMSGSIZE` beyond the interface's MTU | no |
 * | `'omit'` | yes | is sent, fragmented here beyond the interface's MTU | no |
 */
export type PathMtuDiscovery = 'want' | 'dont' | 'do' | 'probe' | 'interface' | 'omit'

/**
 * setsockopt(2) `IP_MTU_DISCOVER`, `IPV6_MTU_DISCOVER`: chooses how path MTU discovery works. An IPv6 socket gets both
 * options, because packets to IPv4-mapped addresses obey that of IPv4.
 *
 * Linux 2.2 · `'probe'`: 2.6.22 · `'interface'`: 3.14 · `'omit'`: 3.15
 * @throws TypeError for another mode
 * @throws SystemError `EINVAL` for a mode that the kernel doesn't know
 * @see {@link https://man7.org/linux/man-pages/man7/ip.7.html ip(7)}
 */
export function setPathMtuDiscovery(socket: FdLike, mode: PathMtuDiscovery): void {
  const fd = fdOf(socket, 'socket')
  if (!Object.hasOwn(MODES, mode)) {
    throw new TypeError(`mode must be one of ${Object.keys(MODES).map(quote).join(', ')}, not ${quote(mode)}`)
  }
  if (getOption(fd, SO_DOMAIN) === AF_INET6) setOption(fd, IPV6_MTU_DISCOVER, MODES[mode])
  setIpv4Option(fd, IP_MTU_DISCOVER, MODES[mode])
}

/**
 * getsockopt(2) `IP_MTU`, `IPV6_MTU`: the MTU of the path to the socket's peer, as far as the kernel knows it, in **bytes**.
 * The longest datagram that isn't fragmented is 28 bytes shorter to an IPv4 peer and 48 bytes shorter to an IPv6 peer, whose
 * headers it counts.
 *
 * Linux 2.2
 * @throws SystemError `ENOTCONN` if the socket isn't connected
 * @see {@link https://man7.org/linux/man-pages/man7/ip.7.html ip(7)}
 */
export function pathMtu(socket: FdLike): number {
  const fd = fdOf(socket, 'socket')
  return getOption(fd, getOption(fd, SO_DOMAIN) === AF_INET6 ? IPV6_MTU : IP_MTU)
}

/** The MTU of the path to a destination. */
export interface PathMtuReport {
  /** The destination. */
  readonly destination: Ipv6Address
  /** The MTU in **bytes**. */
  readonly mtu: number
}

/**
 * The MTU of the path to a destination, of which the kernel has just learnt that it is smaller than a datagram that was
 * sent. It comes with an empty message of its own, that isn't a datagram; only the last one is kept.
 * received with `IPV6_RECVPATHMTU` · Linux 2.6.35
 * @see {@link https://datatracker.ietf.org/doc/html/rfc3542#section-11.3 RFC 3542}
 */
export const CMSG_IPV6_PATHMTU: ControlName & Decoder<PathMtuReport> = {
  name: 'IPV6_PATHMTU',
  level: IPPROTO_IPV6,
  type: 61,
  size: mtuInfo.size,
  decode: (view, length) => {
    needBytes(length, mtuInfo.size, 'struct ip6_mtuinfo')
    const destination = decodeAddress(new Uint8Array(view.buffer, view.byteOffset, 28)) as Ipv6Address
    return { destination, mtu: mtuInfo.decode(view, length) }
  },
}

const MODES: Readonly<Record<PathMtuDiscovery, number>> = {
  want: IP_PMTUDISC_WANT,
  dont: IP_PMTUDISC_DONT,
  do: IP_PMTUDISC_DO,
  probe: IP_PMTUDISC_PROBE,
  interface: IP_PMTUDISC_INTERFACE,
  omit: IP_PMTUDISC_OMIT,
}
