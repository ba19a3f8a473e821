import { type AddressLike, encodeAddress, familyOf, SOCK_STREAM, Socket } from '@linux-sockets/native-core'
import type { ConnectionOptions } from './connection.js'

/** How `Reactor.connect` connects. */
export interface ConnectOptions<State> extends ConnectionOptions {
  /** Makes the state of the connection. Without it the state is undefined. */
  readonly state?: (() => State) | undefined
  /** The address to connect from. */
  readonly localAddress?: AddressLike | undefined
  /** Called with the socket before it is bound and connected, to set options. */
  readonly prepare?: ((socket: Socket) => void) | undefined
  /** `IPPROTO_…`. Default 0: the family's own. */
  readonly protocol?: number | undefined
}

/** A socket that is connected, or about to be. */
export function connectSocket<State>(
  address: AddressLike,
  { localAddress, prepare, protocol }: ConnectOptions<State>,
): { socket: Socket; connecting: boolean } {
  const sockaddr = encodeAddress(address)
  const socket = Socket.open(familyOf(sockaddr), SOCK_STREAM, protocol)
  try {
    prepare?.(socket)
    if (localAddress !== undefined) socket.bind(localAddress)
    return { socket, connecting: socket.connect(sockaddr) === null }
  } catch (error) {
    socket.close()
    throw error
  }
}
