/**
 * The upper layer: streams, a listener, and a channel for datagrams, built on the root's calls; and the exchange of sockets
 * with `node:net`, `node:tls`, `node:http` and `node:dgram`.
 *
 *     import { Socket } from '@linux-sockets/native-core'
 *     import { AF_UNIX, SOCK_STREAM } from '@linux-sockets/native-core/constants'
 *     import { SocketStream } from '@linux-sockets/native-core/streams'
 *
 *     const [a, b] = Socket.pair(AF_UNIX, SOCK_STREAM).map((socket) => new SocketStream(socket))
 *     a.end('hello')
 *     for await (const chunk of b) console.log(chunk.toString())
 *     b.end()
 */
export type { ListenerStatistics } from './acceptor.js'
export {
  type Borrowable,
  type BoundSocketLike,
  borrow,
  type DgramSocket,
  serve,
  type ToNetServerOptions,
  type ToNetSocketOptions,
  toDgramSocket,
  toNetServer,
  toNetSocket,
} from './bridge.js'
export type {
  DatagramBatch,
  DatagramChannelOptions,
  DatagramHandlers,
  DatagramStatistics,
  DatagramView,
  FailedDatagram,
  IncomingDatagram,
  OutgoingDatagram,
  SendOptions,
} from './datagram/types.js'
export { DatagramChannel } from './datagram.js'
export { type IncompleteReadError, readExactly } from './exactly.js'
export { Listener, type ListenerOptions } from './listener.js'
export type { Surrendered } from './loans.js'
export type { NetAddress } from './names.js'
export type { SocketStreamOptions } from './options.js'
export { type DrainOptions, type ServerOptions, StreamServer } from './server.js'
export { SocketStream } from './stream.js'
