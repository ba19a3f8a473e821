import { type InetAddress, Socket, setOption } from '@linux-sockets/native-core'
import { AF_INET, AF_INET6, SOCK_DGRAM } from '@linux-sockets/native-core/constants'
import { checkInteger, checkOptions, closeQuietly, describe } from '@linux-sockets/native-core/internal'
import {
  IP_MULTICAST_ALL,
  IP_PKTINFO,
  IPV6_MULTICAST_ALL,
  IPV6_RECVPKTINFO,
  IPV6_V6ONLY,
  SO_REUSEADDR,
} from '@linux-sockets/native-core/options'

/** Options of `openMulticastSocket`: the family and the port of the groups. */
export interface MulticastSocketOptions {
  /** The address family of the groups. */
  readonly family: 'ipv4' | 'ipv6'
  /** The port to which datagrams for the groups are sent; 0 lets the kernel choose. */
  readonly port: number
}

/**
 * socket(2), bind(2): opens a UDP socket that is ready to join groups.
 *
 * - Other sockets may use the same port, and each gets its own copy of a multicast datagram (`SO_REUSEADDR`).
 * - It receives only the groups that it has joined itself. By default, Linux also delivers the groups that other sockets
 *   on this host have joined (`IP_MULTICAST_ALL`, `IPV6_MULTICAST_ALL`, here off).
 * - Every datagram comes with its interface and destination address: see `arrivalOf` (`IP_PKTINFO`, `IPV6_RECVPKTINFO`).
 * - An IPv6 socket does not occupy the port of IPv4 (`IPV6_V6ONLY`).
 *
 * Linux 4.20 (IPv4: 2.6.31)
 * @throws TypeError, RangeError for another family, an invalid port, or an invalid option
 * @throws SystemError `EADDRINUSE` if a socket without `SO_REUSEADDR` has the port, `EACCES` below port 1024
 */
export function openMulticastSocket(options: MulticastSocketOptions): Socket<InetAddress> {
  checkOptions(options, 'options', { family: true, port: true })
  const { family, port } = options
  if (family !== 'ipv4' && family !== 'ipv6') {
    const given = typeof family === 'string' ? JSON.stringify(family) : describe(family)
    throw new TypeError(`family must be "ipv4" or "ipv6", not ${given}`)
  }
  checkInteger(port, 0, 0xffff, 'port')
  const socket = Socket.open(family === 'ipv6' ? AF_INET6 : AF_INET, SOCK_DGRAM)
  try {
    setOption(socket, SO_REUSEADDR, true)
    if (family === 'ipv6') {
      setOption(socket, IPV6_V6ONLY, true)
      setOption(socket, IPV6_MULTICAST_ALL, false)
      setOption(socket, IPV6_RECVPKTINFO, true)
      socket.bind({ family, address: '::', port })
    } else {
      setOption(socket, IP_MULTICAST_ALL, false)
      setOption(socket, IP_PKTINFO, true)
      socket.bind({ family, address: '0.0.0.0', port })
    }
    return socket
  } catch (error) {
    closeQuietly(socket)
    throw error
  }
}
