import { Socket, type UnixAddress } from '@linux-sockets/native-core'
import { AF_UNIX, SOCK_STREAM } from '@linux-sockets/native-core/constants'
import {
  checkBindOptions,
  checkListenerOptions,
  checkOptions,
  checkStreamOptions,
  listenAt,
  type NamesOf,
  SERVER_OPTIONS,
} from '@linux-sockets/native-core/internal'
import { type ServerOptions, StreamServer } from '@linux-sockets/native-core/streams'
import { unixSockaddr } from './address.js'

export type { DrainOptions, ServerOptions } from '@linux-sockets/native-core/streams'

/** Options of `listen`: those of `Server`, and those of the listening socket. */
export interface ListenOptions extends ServerOptions {
  /** The most connections that may wait to be accepted; the kernel lowers it to `net.core.somaxconn`. Default 4096. */
  readonly backlog?: number | undefined
  /** Called with the socket before it is bound, to set options such as `SO_PASSCRED`, which accepted sockets inherit. */
  readonly prepare?: ((socket: Socket) => void) | undefined
}

/**
 * bind(2) and listen(2): opens a server on a path or an abstract name. Its connections are streams.
 *
 *     const server = listen({ family: 'unix', abstract: 'greeter' })
 *     for await (const stream of server) stream.end(`hello, process ${peerCredentials(stream).pid}`)
 *
 * The server accepts nothing until the caller iterates over it or calls `run(callback)`. Without a path and a name the
 * kernel chooses an abstract name, which `address` reports. The address may be text: `/run/x.sock`, `./x.sock`, `@name`. An
 * abstract name is free again when its socket is closed; a path stays when the server is closed, and is refused
 * (`EADDRINUSE`) until it is removed.
 *
 * @throws SystemError `EADDRINUSE`, `ENOENT`, `EACCES`, …; nothing stays open
 * @throws TypeError, RangeError for a name that is too long, a path with a NUL, an address of another family, or an invalid
 * option
 * @see {@link https://man7.org/linux/man-pages/man7/unix.7.html unix(7)}
 */
export function listen(address: UnixAddress | string, options: ListenOptions = {}): Server {
  const sockaddr = unixSockaddr(address)
  checkOptions(options, 'options', OPTIONS)
  const { backlog, prepare, ...serverOptions } = options
  checkBindOptions({ backlog, prepare })
  checkListenerOptions(serverOptions)
  if (serverOptions.stream !== undefined) checkStreamOptions(serverOptions.stream, 'stream')
  const socket = Socket.open(AF_UNIX, SOCK_STREAM)
  return listenAt(socket, sockaddr, options, () => new Server(socket, serverOptions))
}

/** A `Listener` for Unix sockets, returned by `listen`, that keeps a set of the connections it has accepted. */
export class Server extends StreamServer<UnixAddress> {}

const OPTIONS: NamesOf<ListenOptions> = { ...SERVER_OPTIONS, backlog: true, prepare: true }
