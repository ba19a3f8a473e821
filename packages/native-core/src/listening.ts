import { unlinkSync } from 'node:fs'
import { decodeAddress } from './address.js'
import { checkBoolean, checkFunction, checkInteger, type NamesOf } from './argument.js'
import { AF_INET, AF_INET6, SOCK_STREAM } from './constants.js'
import { closeQuietly } from './fd.js'
import { setOption } from './option.js'
import { IPV6_V6ONLY } from './options/ipv6.js'
import { SO_REUSEADDR, SO_REUSEPORT } from './options/socket.js'
import { orUndefined } from './quietly.js'
import { Socket } from './socket.js'

// Steps that every way to listen needs. For the packages' own use.

/** Options of the sockets that the `listen` of tcp and of epoll opens. */
export interface BindOptions {
  /** The most connections that may wait to be accepted; the kernel lowers it to `net.core.somaxconn`. Default 4096. */
  readonly backlog?: number | undefined
  /**
   * `SO_REUSEADDR`: whether to bind while earlier connections of the port are still in TIME-WAIT. Default true. It never
   * lets two listeners share a port. It has no effect on addresses without ports.
   */
  readonly reuseAddress?: boolean | undefined
  /**
   * `SO_REUSEPORT`: whether several sockets of the same user may listen at the address and share its connections. Default
   * false. It has no effect on addresses without ports.
   */
  readonly reusePort?: boolean | undefined
  /**
   * `IPV6_V6ONLY`: whether an IPv6 address accepts no IPv4 connections. Default true, regardless of `net.ipv6.bindv6only`;
   * false makes `::` dual-stack. It has no effect on other addresses.
   */
  readonly v6only?: boolean | undefined
  /**
   * Called with each socket before it is bound, to set options: `(socket) => setOption(socket, TCP_DEFER_ACCEPT, 3)`.
   * Accepted sockets inherit most of them.
   */
  readonly prepare?: ((socket: Socket) => void) | undefined
  /** `IPPROTO_…`: `IPPROTO_MPTCP` for multipath TCP. Default 0: the family's default protocol, such as TCP. */
  readonly protocol?: number | undefined
}

export const BIND_OPTIONS: NamesOf<BindOptions> = {
  backlog: true,
  reuseAddress: true,
  reusePort: true,
  v6only: true,
  prepare: true,
  protocol: true,
}

/** @throws TypeError, RangeError */
export function checkBindOptions(options: BindOptions): void {
  const { backlog, reuseAddress, reusePort, v6only, prepare, protocol } = options
  if (backlog !== undefined) checkInteger(backlog, 0, 0x7fff_ffff, 'backlog')
  for (const [name, value] of Object.entries({ reuseAddress, reusePort, v6only })) {
    if (value !== undefined) checkBoolean(value, name)
  }
  if (prepare !== undefined) checkFunction(prepare, 'prepare')
  if (protocol !== undefined) checkInteger(protocol, 0, 0x7fff_ffff, 'protocol')
}

/** Opens a socket of this family to listen with, and sets the options of its address. */
export function openToBind(
  family: number,
  { protocol, reuseAddress = true, reusePort = false, v6only = true }: BindOptions,
): Socket {
  const socket = Socket.open(family, SOCK_STREAM, protocol)
  try {
    if (family === AF_INET || family === AF_INET6) {
      setOption(socket, SO_REUSEADDR, reuseAddress)
      if (reusePort) setOption(socket, SO_REUSEPORT, true)
    }
    if (family === AF_INET6) setOption(socket, IPV6_V6ONLY, v6only)
    return socket
  } catch (error) {
    closeQuietly(socket)
    throw error
  }
}

/**
 * bind(2) and listen(2): returns what `serve` makes of the listening socket. If a step fails, closes the socket, and removes
 * the file of its address, which would make the next bind(2) fail.
 */
export function listenAt<T>(
  socket: Socket,
  sockaddr: Uint8Array,
  { prepare, backlog }: BindOptions,
  serve: () => T,
): T {
  let bound = false
  try {
    prepare?.(socket)
    socket.bind(sockaddr)
    bound = true
    socket.listen(backlog)
    return serve()
  } catch (error) {
    closeQuietly(socket)
    if (bound) unlink(sockaddr)
    throw error
  }
}

function unlink(sockaddr: Uint8Array): void {
  const address = decodeAddress(sockaddr)
  if (!('path' in address)) return
  const { path } = address
  orUndefined(() => unlinkSync(typeof path === 'string' ? path : Buffer.from(path)))
}
