/**
 * epoll for Node.js: the instance as the kernel has it, and a reactor on Node's own loop that serves connections
 * edge-triggered. Reads are drained, writes go out at once or wait in a bounded queue, and EPOLLOUT is on only while
 * something waits.
 *
 *     import { connect } from 'node:net'
 *     import { AF_INET, formatAddress, SOCK_STREAM, Socket } from '@linux-sockets/native-core'
 *     import { Reactor } from '@linux-sockets/epoll'
 *
 *     const socket = Socket.open(AF_INET, SOCK_STREAM)
 *     socket.bind({ family: 'ipv4', address: '127.0.0.1', port: 0 })
 *     socket.listen()
 *
 *     const server = new Reactor().serve(socket, {
 *       data(connection, chunk) {
 *         if (!connection.write(chunk)) connection.pause()
 *       },
 *       drain(connection) {
 *         connection.resume()
 *       },
 *     })
 *     console.log('echo on', formatAddress(server.address))
 *
 *     const client = connect(server.address.port, '127.0.0.1').end('hello')
 *     client.on('data', (chunk) => console.log('echoed', chunk.toString()))
 *     client.on('close', () => server.close())
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
