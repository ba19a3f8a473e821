import {
  AF_INET,
  AF_INET6,
  IP_MULTICAST_ALL,
  IP_PKTINFO,
  IPV6_MULTICAST_ALL,
  IPV6_RECVPKTINFO,
  IPV6_V6ONLY,
  SO_REUSEADDR,
  SOCK_DGRAM,
  Socket,
  setOption,
} from '@linux-sockets/native-core'

/** Which groups a socket is for. */
export interface MulticastSocketOptions {
  /** That of the groups. */
  readonly family: 'ipv4' | 'ipv6'
  /** The port that the groups are sent to; 0 lets the kernel choose. */
  readonly port: number
}

/**
 * socket(2), bind(2): a UDP socket that is ready to join groups.
 *
 * - Other sockets may have the same port, and each gets its copy of what is multicast (`SO_REUSEADDR`).
 * - It receives the groups that it has joined itself, not those of other sockets on this host, which is what Linux does
 *   otherwise (`IP_MULTICAST_ALL`, `IPV6_MULTICAST_ALL` off).
 * - Every datagram tells the interface and the address it came to: see `arrivalOf` (`IP_PKTINFO`, `IPV6_RECVPKTINFO`).
 * - An IPv6 socket leaves the port of IPv4 alone (`IPV6_V6ONLY`).
 *
 * Linux 4.20 (IPv4: 2.6.31)
 * @throws SystemError `EADDRINUSE` when a socket without `SO_REUSEADDR` has the port, `EACCES` below port 1024
 */
export function openMulticastSocket({ family, port }: MulticastSocketOptions): Socket {
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
    socket.close()
    throw error
  }
}
