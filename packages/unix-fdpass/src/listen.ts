import {
  AF_UNIX,
  Listener,
  type ListenerOptions,
  SOCK_STREAM,
  Socket,
  SocketStream,
  type SocketStreamOptions,
  type UnixAddress,
} from '@linux-sockets/native-core'

/** How to listen. */
export interface ListenOptions extends Omit<ListenerOptions, 'wrap'> {
  /** How many connections may wait to be accepted; the kernel lowers it to `net.core.somaxconn`. Default 4096. */
  readonly backlog?: number | undefined
  /** Called with the socket before it is bound, to set options such as `SO_PASSCRED`, which accepted sockets inherit. */
  readonly prepare?: ((socket: Socket) => void) | undefined
  /** For the streams. */
  readonly stream?: SocketStreamOptions | undefined
}

/**
 * bind(2) and listen(2): a listener on a path, or on an abstract name, whose connections are streams.
 *
 *     await using server = listen({ family: 'unix', abstract: 'greeter' })
 *     for await (const stream of server) stream.end(`hello, process ${peerCredentials(stream).pid}`)
 *
 * Nothing is accepted before somebody asks: iterate, or `run(callback)`. Without path and name the kernel chooses an
 * abstract name, which `address` tells. An abstract name goes with its socket; a path stays when the listener is closed,
 * and is refused (`EADDRINUSE`) until someone removes it.
 *
 * @throws SystemError `EADDRINUSE`, `ENOENT`, `EACCES`, …; nothing stays open
 * @throws TypeError, RangeError for a name that is too long or a path with a NUL
 * @see {@link https://man7.org/linux/man-pages/man7/unix.7.html unix(7)}
 */
export function listen(address: UnixAddress, options: ListenOptions = {}): Listener<SocketStream> {
  const { backlog, prepare, stream, ...rest } = options
  const socket = Socket.open(AF_UNIX, SOCK_STREAM)
  try {
    prepare?.(socket)
    socket.bind(address)
    socket.listen(backlog)
    return new Listener(socket, { ...rest, wrap: (connection) => new SocketStream(connection, stream) })
  } catch (error) {
    socket.close()
    throw error
  }
}
