import { type Socket, type SocketAddress, setNonBlocking } from '@linux-sockets/native-core'
import { checkHandlers, checkOptions, checkSocket } from '@linux-sockets/native-core/internal'
import { LiveConnection } from './connection.js'
import { type Connection, type ConnectionHandlers, HANDLERS, type Handlers } from './handlers.js'
import { CONNECTION_OPTIONS, type ConnectionOptions, checkReactor, policyOf } from './options.js'
import type { Reactor } from './reactor.js'

/**
 * Makes a connection of a connected stream socket: from `Socket.pair`, from another process, or accepted by the program.
 * From now on only the connection may close the socket. Makes the socket non-blocking, also for every other holder of the
 * same open file.
 *
 *     const connection = adopt(reactor, socket, { data: (connection, chunk) => connection.write(chunk) })
 *
 * If this throws, the caller still owns the socket.
 * @throws SystemError if it can't be registered: `EEXIST` if the reactor has it already, `ENOSPC`, `EBADF`
 * @throws TypeError, RangeError if `socket` is not a socket, or a handler or an option is invalid
 */
export function adopt<State = undefined, Address extends SocketAddress = SocketAddress>(
  reactor: Reactor,
  socket: Socket<Address>,
  handlers: Handlers<State, NoInfer<Address>>,
  options: ConnectionOptions = {},
): Connection<State, Address> {
  checkReactor(reactor)
  checkSocket(socket, 'socket')
  checkHandlers<ConnectionHandlers<State, Address>>(handlers, 'data', HANDLERS)
  checkOptions(options, 'options', CONNECTION_OPTIONS)
  const policy = policyOf(options, socket)
  setNonBlocking(socket)
  return new LiveConnection<State, Address>(reactor, socket, handlers, policy).begin()
}
