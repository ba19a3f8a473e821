/**
 * The Linux socket API for Node.js: the system calls themselves, and what every package of `@linux-sockets` needs. This is
 * the root: descriptors with owners, errors, addresses, sockets, messages, options and readiness. The other parts are
 * subpaths: `/constants`, `/options`, `/codecs`, `/filter`, `/interfaces`, `/resolve`, `/epoll`, `/streams`.
 *
 *     import { readable, setOption, Socket } from '@linux-sockets/native-core'
 *     import { AF_INET, SOCK_DGRAM } from '@linux-sockets/native-core/constants'
 *     import { SO_RCVBUF } from '@linux-sockets/native-core/options'
 *
 *     const socket = Socket.open(AF_INET, SOCK_DGRAM)
 *     setOption(socket, SO_RCVBUF, 1 << 20)
 *     socket.bind({ family: 'ipv4', address: '127.0.0.1', port: 0 })
 *     socket.sendTo(Buffer.from('hello'), socket.localName)
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
  familyOf,
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
export {
  type ControlMessage,
  type ControlName,
  type ControlType,
  controlLength,
  controlMessage,
  controlSpace,
  decodeControl,
  encodeControl,
  readControl,
  SCM_PIDFD,
} from './control.js'
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
export { formatIpv4, formatIpv6, inetAton, inetNtop, inetPton, parseIpv4, parseIpv6 } from './ip.js'
export {
  effectiveBacklog,
  getResourceLimit,
  type ResourceLimit,
  raiseDescriptorLimit,
  setResourceLimit,
} from './limit.js'
export type { BindOptions } from './listening.js'
export {
  descriptorSpace,
  type IncomingMessage,
  type OutgoingMessage,
  type ReceiveOptions,
  recvMessage,
  SCM_MAX_FD,
  sendMessage,
} from './message.js'
export {
  getOption,
  getOptionBytes,
  getOptionInt,
  type OptionName,
  peerPidfd,
  type ReadableOption,
  setOption,
  setOptionBytes,
  setOptionInt,
  type WritableOption,
} from './option.js'
export { type Datagram, Socket, type SocketOptions } from './socket.js'
export { parseAddress } from './text.js'
export { sendfile, splice, tee } from './transfer.js'
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
