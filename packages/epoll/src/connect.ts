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
  checkHandlers,
  checkInteger,
  checkOptions,
  closeQuietly,
  type NamesOf,
  refuseSelfConnection,
} from '@linux-sockets/native-core/internal'
import { LiveConnection } from './connection.js'
import { type Connection, type ConnectionHandlers, HANDLERS, type Handlers } from './handlers.js'
import { CONNECTION_OPTIONS, type ConnectionOptions, checkReactor, policyOf } from './options.js'
import type { Reactor } from './reactor.js'

/** The options of `connect`. */
export interface ConnectOptions extends ConnectionOptions {
  /** The address to connect from. */
  readonly localAddress?: AddressLike | string | undefined
  /** Called with the socket before it is bound and connected, to set options. */
  readonly prepare?: ((socket: Socket) => void) | undefined
  /** `IPPROTO_…`. Default 0: the family's default protocol. */
  readonly protocol?: number | undefined
}

/**
 * The type of both addresses of a connection to `To`, an address or text that the compiler knows: `'127.0.0.1:80'`,
 * `'@name'`. For any other text, and for bytes, any address.
 */
export type AddressFor<To> = To extends InetAddress
  ? InetAddress
  : To extends UnixAddress | UnixText
    ? UnixAddress
    : To extends InetText
      ? InetAddress
      : SocketAddress

type UnixText = `@${string}` | `/${string}` | `./${string}` | `../${string}`
type InetText = `${string}:${number}` | `[${string}]:${number}`

/**
 * connect(2): opens a connection. The handler `open` is called when it is established; if that fails, `error` and then
 * `close`. Data written before is queued. The address may be text that `parseAddress` accepts: `'127.0.0.1:80'`, `'@name'`.
 *
 *     const connection = connect(reactor, '127.0.0.1:7777', { data: (_, chunk) => console.log(String(chunk)) })
 *
 * @throws SystemError if it fails at once: `ENETUNREACH`, `EADDRNOTAVAIL`, `ENOENT`, `EMFILE`, …; nothing stays open
 * @throws TypeError, RangeError if the address, a handler or an option is invalid
 */
export function connect<State = undefined, To extends AddressLike | string = AddressLike | string>(
  reactor: Reactor,
  address: To,
  handlers: Handlers<State, AddressFor<To>>,
  options: ConnectOptions = {},
): Connection<State, AddressFor<To>> {
  checkReactor(reactor)
  checkHandlers<ConnectionHandlers<State, AddressFor<To>>>(handlers, 'data', HANDLERS)
  checkOptions(options, 'options', CONNECT_OPTIONS)
  const { localAddress, prepare, protocol = 0 } = options
  if (prepare !== undefined) checkFunction(prepare, 'prepare')
  checkInteger(protocol, 0, 0x7fff_ffff, 'protocol')
  const sockaddr = encodeAddress(addressOf(address))
  const local = localAddress === undefined ? undefined : encodeAddress(addressOf(localAddress, 'localAddress'))
  const policy = policyOf(options, familyOf(sockaddr))
  const socket = Socket.open(familyOf(sockaddr), SOCK_STREAM, protocol) as Socket<AddressFor<To>>
  try {
    prepare?.(socket)
    if (local !== undefined) bindToConnect(socket, local)
    const connecting = socket.connect(sockaddr) === null ? sockaddr : undefined
    if (connecting === undefined) refuseSelfConnection(socket, sockaddr)
    return new LiveConnection<State, AddressFor<To>>(reactor, socket, handlers, policy, { connecting }).begin()
  } catch (error) {
    closeQuietly(socket)
    throw error
  }
}

const CONNECT_OPTIONS: NamesOf<ConnectOptions> = {
  ...CONNECTION_OPTIONS,
  localAddress: true,
  prepare: true,
  protocol: true,
}
