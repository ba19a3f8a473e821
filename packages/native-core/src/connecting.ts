import { copySlot, familyOf, formatAddress, slot } from './address.js'
import { AF_INET, AF_INET6 } from './constants.js'
import { errno } from './errno.js'
import { SystemError } from './error.js'
import type { AsFd } from './fd.js'
import { native } from './native.js'
import { setOption } from './option.js'
import { IP_BIND_ADDRESS_NO_PORT } from './options/ip.js'
import { orUndefined, resetOnClose } from './quietly.js'
import type { Socket } from './socket.js'

// Steps that every way to connect needs. For the packages' own use.

/** The port of an encoded address; undefined if its family has no ports. */
export function portOf(sockaddr: Uint8Array): number | undefined {
  const family = familyOf(sockaddr)
  const hasPort = (family === AF_INET || family === AF_INET6) && sockaddr.length >= 4
  return hasPort ? ((sockaddr[2] as number) << 8) | (sockaddr[3] as number) : undefined
}

/**
 * bind(2) before connect(2). If the port is 0, connect(2) chooses it (`IP_BIND_ADDRESS_NO_PORT`), so that connections to
 * different peers can share a port; bind(2) would reserve a whole port for each.
 */
export function bindToConnect(socket: Socket, sockaddr: Uint8Array): void {
  // If the protocol doesn't have the option, bind(2) chooses the port.
  if (portOf(sockaddr) === 0) orUndefined(() => setOption(socket, IP_BIND_ADDRESS_NO_PORT, true))
  socket.bind(sockaddr)
}

/**
 * Refuses a connection that connect(2) to `sockaddr` has made from the socket to itself. That happens if nothing
 * listens at a port of this host and the kernel chooses that very port for the connection: a simultaneous open. RFC 9293,
 * section 3.5
 * @throws SystemError `ECONNREFUSED` in that case. The caller must close the socket, which resets it, so that TIME_WAIT
 * doesn't hold the port of the missing server
 */
export function refuseSelfConnection(socket: AsFd, sockaddr: Uint8Array): void {
  if (!isConnectedToItself(socket, sockaddr)) return
  resetOnClose(socket)
  throw new SystemError(errno.ECONNREFUSED, 'connect', `${formatAddress(sockaddr)} (connected to itself)`)
}

function isConnectedToItself(socket: AsFd, sockaddr: Uint8Array): boolean {
  if (portOf(sockaddr) === undefined || native.getsockname(socket.fd, slot) < 0) return false
  if (slot[6] !== sockaddr[2] || slot[7] !== sockaddr[3]) return false
  const own = copySlot()
  return native.getpeername(socket.fd, slot) >= 0 && copySlot() === own
}
