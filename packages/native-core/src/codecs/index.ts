/**
 * Codecs, which are the memory layouts of values, and the functions that make rows of them. A row describes an option or a
 * kind of control message: make one if no package has it.
 *
 *     import { getOption, Socket } from '@linux-sockets/native-core'
 *     import { milliseconds, rw } from '@linux-sockets/native-core/codecs'
 *     import { AF_INET, IPPROTO_TCP, SOCK_STREAM } from '@linux-sockets/native-core/constants'
 *
 *     const TCP_USER_TIMEOUT = rw('TCP_USER_TIMEOUT', IPPROTO_TCP, 18, milliseconds)
 *     using socket = Socket.open(AF_INET, SOCK_STREAM)
 *     console.log(getOption(socket, TCP_USER_TIMEOUT), 'milliseconds')
 */

export { control } from '../control.js'
export { ro, rw, wo } from '../option.js'
export { htonl, htons, ntohl, ntohs } from './byteorder.js'
export {
  bigEndianIfindex,
  bool,
  bytes,
  type Codec,
  type Credentials,
  credentials,
  type Decoder,
  type DeviceMemoryRange,
  deviceMemoryRanges,
  type Encoder,
  type FlowLabelRequest,
  flowLabelRequest,
  hops,
  type Ipv4Interface,
  type Ipv6AtInterface,
  ifindex,
  int,
  ipv4,
  ipv4Interface,
  ipv6,
  ipv6AtInterface,
  linger,
  microseconds,
  milliseconds,
  type PortRange,
  pathMtu,
  portRange,
  raw,
  type SocketMemory,
  seconds,
  socketMemory,
  type TransmitTime,
  text,
  timeval,
  transmitTime,
  u64,
  uint,
  uints,
} from './codec.js'
export { sockaddr } from './sockaddr.js'
