import {
  type AddressLike,
  AF_INET6,
  encodeAddress,
  IPV6_V6ONLY,
  Listener,
  type ListenerOptions,
  SO_REUSEADDR,
  SO_REUSEPORT,
  SOCK_STREAM,
  Socket,
  SocketStream,
  type SocketStreamOptions,
  setOption,
} from '@linux-sockets/native-core'
import { familyOf } from './family.js'

/** How to listen. */
export interface ListenOptions extends Omit<ListenerOptions, 'wrap'> {
  /** How many connections may wait to be accepted; the kernel lowers it to `net.core.somaxconn`. Default 4096. */
  readonly backlog?: number | undefined
  /**
   * `SO_REUSEADDR`: whether to bind although earlier connections of the port linger in TIME-WAIT. Default true.
   * Two listeners never share a port by it.
   */
  readonly reuseAddress?: boolean | undefined
  /** `SO_REUSEPORT`: whether several sockets of the same user may listen here, and share what comes. Default false. */
  readonly reusePort?: boolean | undefined
  /** `IPV6_V6ONLY`: whether an IPv6 address takes no IPv4 connections. Default true; false makes `::` dual-stack. */
  readonly v6only?: boolean | undefined
  /**
   * Called with the socket before it is bound, to set options: `(socket) => setOption(socket, TCP_DEFER_ACCEPT, 3)`.
   * Most of them are inherited by accepted sockets.
   */
  readonly prepare?: ((socket: Socket) => void) | undefined
  /** `IPPROTO_…`: `IPPROTO_MPTCP` for multipath TCP. Default 0: TCP. */
  readonly protocol?: number | undefined
  /** For the streams. */
  readonly stream?: SocketStreamOptions | undefined
}

/**
 * bind(2) and listen(2): a listener whose connections are streams.
 *
 *     await using server = listen({ family: 'ipv6', address: '::', port: 8080 }, { v6only: false })
 *     for await (const stream of server) stream.pipe(stream)
 *
 * Nothing is accepted before somebody asks: iterate, or `run(callback)`. A port of 0 lets the kernel choose one, which
 * `address` tells.
 *
 * @throws SystemError `EADDRINUSE`, `EADDRNOTAVAIL`, `EACCES`, …; nothing stays open
 * @throws TypeError, RangeError for an address that is none
 */
export function listen(address: AddressLike, options: ListenOptions = {}): Listener<SocketStream> {
  const { backlog, reuseAddress = true, reusePort = false, v6only = true } = options
  const { prepare, protocol, stream, ...rest } = options
  const sockaddr = encodeAddress(address)
  const family = familyOf(sockaddr)
  const socket = Socket.open(family, SOCK_STREAM, protocol)
  try {
    setOption(socket, SO_REUSEADDR, reuseAddress)
    if (reusePort) setOption(socket, SO_REUSEPORT, true)
    if (family === AF_INET6) setOption(socket, IPV6_V6ONLY, v6only)
    prepare?.(socket)
    socket.bind(sockaddr)
    socket.listen(backlog)
    return new Listener(socket, { ...rest, wrap: (connection) => new SocketStream(connection, stream) })
  } catch (error) {
    socket.close()
    throw error
  }
}
