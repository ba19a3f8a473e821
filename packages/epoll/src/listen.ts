import { unlinkSync } from 'node:fs'
import {
  type AddressLike,
  decodeAddress,
  encodeAddress,
  familyOf,
  Socket,
  type SocketAddress,
  setOption,
} from '@linux-sockets/native-core'
import { AF_INET, AF_INET6, SOCK_STREAM } from '@linux-sockets/native-core/constants'
import {
  addressOf,
  checkBoolean,
  checkFunction,
  checkHandlers,
  checkInteger,
  checkOptions,
  closeQuietly,
  type NamesOf,
  orUndefined,
} from '@linux-sockets/native-core/internal'
import { IPV6_V6ONLY, SO_REUSEADDR, SO_REUSEPORT } from '@linux-sockets/native-core/options'
import type { AddressFor } from './connect.js'
import { type ConnectionHandlers, HANDLERS, type Handlers } from './handlers.js'
import { checkReactor, policyOf } from './options.js'
import type { Reactor } from './reactor.js'
import { checkServeOptions, SERVE_OPTIONS, type ServeOptions, Server } from './serve.js'

/** The options of `listen`: those of `serve`, and those of the listening socket. */
export interface ListenOptions extends ServeOptions {
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
   * Called with the socket before it is bound, to set options: `(socket) => setOption(socket, TCP_NODELAY, true)`. Accepted
   * sockets inherit most of them.
   */
  readonly prepare?: ((socket: Socket) => void) | undefined
  /** `IPPROTO_…`: `IPPROTO_MPTCP` for multipath TCP. Default 0: the family's default protocol. */
  readonly protocol?: number | undefined
}

/**
 * bind(2) and listen(2): serves every connection that comes to an address, as `serve` does for a socket. The address may be
 * text that `parseAddress` accepts: `'127.0.0.1:80'`, `'[::]:0'`, `'/run/x.sock'`, `'@name'`. With port 0 the kernel chooses a
 * port, which `address` reports.
 *
 *     const server = listen(reactor, '0.0.0.0:7777', { data: (connection, chunk) => connection.write(chunk) })
 *
 * The file of a Unix address stays when the server is closed, and is refused (`EADDRINUSE`) until it is removed.
 * @throws SystemError `EADDRINUSE`, `EADDRNOTAVAIL`, `EACCES`, …; nothing stays open
 * @throws TypeError, RangeError if the address, a handler or an option is invalid
 */
export function listen<State = undefined, To extends AddressLike | string = AddressLike | string>(
  reactor: Reactor,
  address: To,
  handlers: Handlers<State, AddressFor<To>>,
  options: ListenOptions = {},
): Server<State, AddressFor<To>> {
  checkReactor(reactor)
  const sockaddr = encodeAddress(addressOf(address))
  checkHandlers<ConnectionHandlers<State, AddressFor<To>>>(handlers, 'data', HANDLERS)
  checkOptions(options, 'options', LISTEN_OPTIONS)
  const { backlog, reuseAddress, reusePort, v6only, prepare, protocol, ...serveOptions } = options
  if (backlog !== undefined) checkInteger(backlog, 0, 0x7fff_ffff, 'backlog')
  for (const [name, value] of Object.entries({ reuseAddress, reusePort, v6only })) {
    if (value !== undefined) checkBoolean(value, name)
  }
  if (prepare !== undefined) checkFunction(prepare, 'prepare')
  if (protocol !== undefined) checkInteger(protocol, 0, 0x7fff_ffff, 'protocol')
  checkServeOptions(serveOptions)
  policyOf(serveOptions, familyOf(sockaddr))
  const socket = open(familyOf(sockaddr), options)
  let bound = false
  try {
    prepare?.(socket)
    socket.bind(sockaddr)
    bound = true
    socket.listen(backlog)
    return new Server<State, AddressFor<To>>(reactor, socket as Socket<AddressFor<To>>, handlers, serveOptions)
  } catch (error) {
    closeQuietly(socket)
    if (bound) unlink(decodeAddress(sockaddr))
    throw error
  }
}

function open(
  family: number,
  { protocol, reuseAddress = true, reusePort = false, v6only = true }: ListenOptions,
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

/** Removes the file of a socket at which nothing listens: it would make the next bind(2) fail. */
function unlink(address: SocketAddress): void {
  if (!('path' in address)) return
  const { path } = address
  orUndefined(() => unlinkSync(typeof path === 'string' ? path : Buffer.from(path)))
}

const LISTEN_OPTIONS: NamesOf<ListenOptions> = {
  ...SERVE_OPTIONS,
  backlog: true,
  reuseAddress: true,
  reusePort: true,
  v6only: true,
  prepare: true,
  protocol: true,
}
