/**
 * The Linux socket API for Node.js: the system calls themselves, and what every package of `@linux-sockets` needs —
 * descriptors with owners, errors, addresses, options, control messages, readiness, streams.
 *
 *     import { AF_INET, readable, setOption, SO_RCVBUF, SOCK_DGRAM, Socket } from '@linux-sockets/native-core'
 *
 *     const socket = Socket.open(AF_INET, SOCK_DGRAM)
 *     setOption(socket, SO_RCVBUF, 1 << 20)
 *     socket.bind({ family: 'ipv4', address: '127.0.0.1', port: 0 })
 *     socket.sendTo(Buffer.from('hello'), socket.localAddress)
 *     await readable(socket)
 *     const buffer = Buffer.alloc(1500)
 *     const datagram = socket.recvFrom(buffer)
 *     if (datagram) console.log(buffer.toString('utf8', 0, datagram.length), 'from', datagram.address)
 *     socket.close()
 */
export {
  type AddressLike,
  type AddressOf,
  decodeAddress,
  encodeAddress,
  formatAddress,
  type InetAddress,
  type Ipv4Address,
  type Ipv6Address,
  type NetlinkAddress,
  type PacketAddress,
  type RawAddress,
  type SocketAddress,
  UNIX_NAME_MAX,
  UNIX_PATH_MAX,
  type UnixAbstractAddress,
  type UnixAddress,
  type UnixPathAddress,
  type UnixUnnamedAddress,
  type VsockAddress,
} from './address.js'
export { BATCH_MAX, ReceiveBatch, type ReceiveBatchOptions, SendBatch, type SendBatchOptions } from './batch.js'
export * from './bridge.js'
export * from './byteorder.js'
export * from './codec.js'
export * from './constants.js'
export {
  type ControlMessage,
  type ControlName,
  type ControlType,
  control,
  controlLength,
  controlMessage,
  controlSpace,
  decodeControl,
  encodeControl,
  readControl,
  SCM_PIDFD,
} from './control.js'
export { EPOLL_EVENT_WORDS, epollControl, epollCreate, epollWait } from './epoll.js'
export { type ErrnoName, errno, errnoName, errnoText } from './errno.js'
export { SystemError } from './error.js'
export {
  type AsFd,
  dup,
  eventfd,
  type FdLike,
  fcntl,
  ioctl,
  isNonBlocking,
  OwnedFd,
  pipe,
  readv,
  setNonBlocking,
  writev,
} from './fd.js'
export * from './filter.js'
export * from './flow/datagram.js'
export * from './flow/exactly.js'
export { Listener, type ListenerOptions, type ListenerStatistics } from './flow/listener.js'
export { type NetAddress, SocketStream, type SocketStreamOptions, type Surrendered } from './flow/stream.js'
export * from './interface.js'
export { formatIpv4, formatIpv6, inetAton, parseIpv4, parseIpv6 } from './ip.js'
export * from './limit.js'
export { type Attachment, attachEpoll } from './loop.js'
export {
  descriptorSpace,
  type IncomingMessage,
  type OutgoingMessage,
  type ReceiveOptions,
  recvMessage,
  SCM_MAX_FD,
  sendMessage,
} from './message.js'
export * from './option.js'
export * from './options/ip.js'
export * from './options/ipv6.js'
export * from './options/socket.js'
export * from './resolve.js'
export * from './sockaddr.js'
export { type Datagram, Socket, type SocketOptions } from './socket.js'
export { parseAddress } from './text.js'
export * from './transfer.js'
export {
  type ReadyOptions,
  readable,
  ready,
  type Watch,
  type WatchFunction,
  type WatchOptions,
  watch,
  writable,
} from './watch.js'
