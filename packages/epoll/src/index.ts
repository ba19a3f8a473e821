/**
 * epoll for Node.js: the epoll instance itself, and a reactor that serves connections edge-triggered on Node's own event
 * loop. The reactor drains each socket, sends at once or queues the rest in a bounded queue, and asks for EPOLLOUT only
 * while something is queued.
 *
 *     import { formatAddress, Socket } from '@linux-sockets/native-core'
 *     import { AF_INET, SOCK_STREAM } from '@linux-sockets/native-core/constants'
 *     import { Reactor } from '@linux-sockets/epoll'
 *
 *     const reactor = new Reactor()
 *     const socket = Socket.open(AF_INET, SOCK_STREAM)
 *     socket.bind({ family: 'ipv4', address: '127.0.0.1', port: 0 })
 *     socket.listen()
 *
 *     const server = reactor.serve(socket, {
 *       data(connection, chunk) {
 *         if (!connection.write(chunk)) connection.pause()
 *       },
 *       drain(connection) {
 *         connection.resume()
 *       },
 *     })
 *     console.log('echo on', formatAddress(server.address))
 *
 *     const client = reactor.connect(server.address, {
 *       data(connection, chunk) {
 *         console.log('echoed', String(chunk))
 *         connection.end()
 *       },
 *       close: () => server.close(),
 *     })
 *     client.write('hello')
 */
export type { ConnectOptions } from './connect.js'
export { Connection, type ConnectionOptions, type Handlers } from './connection.js'
export type { Timeouts } from './deadline.js'
export { type BusyPoll, Epoll, EpollEvents } from './epoll.js'
export {
  delimited,
  encodeLength,
  type Framing,
  FramingError,
  type FramingOptions,
  type LengthPrefixOptions,
  lengthPrefixed,
  lines,
} from './framing.js'
export { Reactor, type ReactorStatistics, type Waker, wake } from './reactor.js'
export type { Registration } from './registration.js'
export { type ServeOptions, Server } from './serve.js'
export type { ConnectionStatistics } from './statistics.js'
export * from './timers.js'
