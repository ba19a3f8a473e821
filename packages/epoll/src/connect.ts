import {
  type AddressLike,
  encodeAddress,
  familyOf,
  type InetAddress,
  Socket,
  type SocketAddress,
  type UnixAddress,
} from '@linux-sockets/native-core'
import { SOCK_STREAM } from '@linux-sockets/native-core/constants'
import {
  addressOf,
  bindToConnect,
  checkFunction,
  checkInteger,
  closeQuietly,
  type NamesOf,
  refuseSelfConnection,
} from '@linux-sockets/native-core/internal'
import { CONNECTION_OPTIONS, type ConnectionOptions } from './connection.js'

/** The options of `Reactor.connect`. */
export interface ConnectOptions extends ConnectionOptions {
  /** The address to connect from. */
  readonly localAddress?: AddressLike | string | undefined
  /** Called with the socket before it is bound and connected, to set options. */
  readonly prepare?: ((socket: Socket) => void) | undefined
  /** `IPPROTO_…`. Default 0: the family's default protocol. */
  readonly protocol?: number | undefined
}

export const CONNECT_OPTIONS: NamesOf<ConnectOptions> = {
  ...CONNECTION_OPTIONS,
  localAddress: true,
  prepare: true,
  protocol: true,
}

/** The type of both addresses of a connection to `To`; any address if `To` is text or bytes. */
export type AddressFor<To> = To extends InetAddress ? InetAddress : To extends UnixAddress ? UnixAddress : SocketAddress

/** Opens a socket and connects it. While connect(2) is still under way, `connecting` is the address of the peer. */
export function connectSocket(
  address: AddressLike | string,
  { localAddress, prepare, protocol = 0 }: ConnectOptions,
): { socket: Socket; family: number; connecting: Uint8Array | undefined } {
  if (prepare !== undefined) checkFunction(prepare, 'prepare')
  checkInteger(protocol, 0, 0x7fff_ffff, 'protocol')
  const sockaddr = encodeAddress(addressOf(address))
  const local = localAddress === undefined ? undefined : encodeAddress(addressOf(localAddress, 'localAddress'))
  const family = familyOf(sockaddr)
  const socket = Socket.open(family, SOCK_STREAM, protocol)
  try {
    prepare?.(socket)
    if (local !== undefined) bindToConnect(socket, local)
    if (socket.connect(sockaddr) === null) return { socket, family, connecting: sockaddr }
    refuseSelfConnection(socket, sockaddr)
    return { socket, family, connecting: undefined }
  } catch (error) {
    closeQuietly(socket)
    throw error
  }
}
