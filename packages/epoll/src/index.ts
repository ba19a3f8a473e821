/**
 * epoll for Node.js: the epoll instance itself, and a reactor that serves connections edge-triggered on Node's own event
 * loop. The reactor reads each socket until it is empty, queues what the kernel doesn't accept in a bounded queue, and asks
 * for EPOLLOUT only while something is queued.
 *
 *     import { connect, formatAddress, listen, Reactor } from '@linux-sockets/epoll'
 *
 *     const reactor = new Reactor()
 *     const server = listen(reactor, '127.0.0.1:0', {
 *       data(connection, chunk) {
 *         if (!connection.write(chunk)) connection.pause()
 *       },
 *       drain(connection) {
 *         connection.resume()
 *       },
 *     })
 *     console.log('echo on', formatAddress(server.address))
 *
 *     const client = connect(reactor, server.address, {
 *       data(connection, chunk) {
 *         console.log('echoed', String(chunk))
 *         connection.end()
 *       },
 *       close: () => server.close(),
 *     })
 *     client.write('hello')
 */
// Re-exported from native-core, so that a small program imports one package only.
export {
  type AddressLike,
  type AsFd,
  type BindOptions,
  type FdLike,
  formatAddress,
  getOption,
  type InetAddress,
  type Ipv4Address,
  type Ipv6Address,
  OwnedFd,
  parseAddress,
  Socket,
  type SocketAddress,
  SystemError,
  setOption,
  type UnixAddress,
  type WatchFunction,
} from '@linux-sockets/native-core'
export {
  AF_INET,
  AF_INET6,
  AF_UNIX,
  EPOLLERR,
  EPOLLET,
  EPOLLEXCLUSIVE,
  EPOLLHUP,
  EPOLLIN,
  EPOLLONESHOT,
  EPOLLOUT,
  EPOLLPRI,
  EPOLLRDHUP,
  EPOLLWAKEUP,
  SOCK_DGRAM,
  SOCK_SEQPACKET,
  SOCK_STREAM,
} from '@linux-sockets/native-core/constants'
export { SO_KEEPALIVE, SO_LINGER, SO_RCVBUF, SO_SNDBUF } from '@linux-sockets/native-core/options'
export {
  type DrainOptions,
  type ListenerStatistics,
  SocketStream,
  type SocketStreamOptions,
} from '@linux-sockets/native-core/streams'
export { adopt } from './adopt.js'
export { type AddressFor, type ConnectOptions, connect } from './connect.js'
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
export type { Connection, ConnectionHandlers, Handlers } from './handlers.js'
export { type ListenOptions, listen } from './listen.js'
export type { ConnectionOptions } from './options.js'
export { Reactor, type ReactorStatistics } from './reactor.js'
export type { Registration } from './registration.js'
export { type ServeOptions, type Server, serve } from './serve.js'
export type { ConnectionStatistics, ServerStatistics } from './statistics.js'
export { LoopTimers, Timer, type TimerOptions, TimerWheel } from './timers.js'
export { type Waker, wake } from './waker.js'
