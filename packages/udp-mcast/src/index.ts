/**
 * UDP sockets with everything that Linux knows of a datagram: where and when it arrived, from where and how to send it, multicast
 * on the interfaces of your choice, batches and segmentation. The sockets live on Node's loop, and what they don't do, the options
 * and messages of `@linux-sockets/native-core` do with them.
 *
 *     import { UdpSocket } from '@linux-sockets/udp-mcast'
 *
 *     const socket = UdpSocket.open({ address: '0.0.0.0:0' }, { error: console.error })
 *     socket.join('239.1.2.3', { interface: 'lo' })
 *     socket.send(Buffer.from('hello'), `239.1.2.3:${socket.localName.port}`, { interface: 'lo', ttl: 1 })
 *
 *     for await (const { data, address, ifindex, destination } of socket) {
 *       console.log(`${data} to ${destination} on interface ${ifindex}, from`, address)
 *       break
 *     }
 *     socket.close()
 */

export {
  type AddressLike,
  type AsFd,
  type ControlMessage,
  type ControlName,
  controlMessage,
  type FdLike,
  formatAddress,
  getOption,
  type InetAddress,
  type Ipv4Address,
  type Ipv6Address,
  parseAddress,
  readControl,
  recvMessage,
  Socket,
  type SocketAddress,
  SystemError,
  setOption,
} from '@linux-sockets/native-core'
export type { Codec, Decoder, Encoder } from '@linux-sockets/native-core/codecs'
export { detachReusePortFilter } from '@linux-sockets/native-core/filter'
export {
  type AddressOnInterface,
  ifindexOf,
  interfaceNameOf,
  type NetworkInterface,
} from '@linux-sockets/native-core/interfaces'
export {
  IP_MTU,
  IP_MTU_DISCOVER,
  IP_MULTICAST_ALL,
  IP_MULTICAST_IF,
  IP_MULTICAST_LOOP,
  IP_MULTICAST_TTL,
  IP_PKTINFO,
  IP_RECVERR,
  IP_TOS,
  IP_TTL,
  IPV6_DONTFRAG,
  IPV6_MTU,
  IPV6_MTU_DISCOVER,
  IPV6_MULTICAST_ALL,
  IPV6_MULTICAST_HOPS,
  IPV6_MULTICAST_IF,
  IPV6_MULTICAST_LOOP,
  IPV6_RECVERR,
  IPV6_RECVPATHMTU,
  IPV6_RECVPKTINFO,
  IPV6_TCLASS,
  IPV6_UNICAST_HOPS,
  SO_BINDTODEVICE,
  SO_BROADCAST,
  SO_BUSY_POLL,
  SO_MAX_PACING_RATE,
  SO_MEMINFO,
  SO_RCVBUF,
  SO_REUSEADDR,
  SO_REUSEPORT,
  SO_RXQ_OVFL,
  SO_SNDBUF,
  SO_TXTIME,
} from '@linux-sockets/native-core/options'
export {
  type Borrowable,
  DatagramChannel,
  type DatagramChannelOptions,
  type DatagramHandlers,
  type DatagramStatistics,
  type DatagramView,
  type DgramSocket,
  type FailedDatagram,
  type IncomingDatagram,
  type NetAddress,
  type SendOptions,
} from '@linux-sockets/native-core/streams'
export { type BroadcastNetwork, broadcastAddresses } from './broadcast.js'
export { type BufferOptions, type BufferSize, setReceiveBuffer, setSendBuffer } from './buffers.js'
export {
  CMSG_IP_PKTINFO,
  CMSG_IP_TOS,
  CMSG_IP_TTL,
  CMSG_IPV6_DONTFRAG,
  CMSG_IPV6_HOPLIMIT,
  CMSG_IPV6_PKTINFO,
  CMSG_IPV6_TCLASS,
  CMSG_SO_MARK,
  CMSG_SO_PRIORITY,
  CMSG_SO_RXQ_OVFL,
  CMSG_SO_TIMESTAMPING,
  CMSG_UDP_GRO,
  CMSG_UDP_SEGMENT,
  type Ipv4PacketInfo,
  ipv4PacketInfo,
  SCM_TIMESTAMP,
  SCM_TIMESTAMPING,
  SCM_TIMESTAMPNS,
  SCM_TS_OPT_ID,
  SCM_TXTIME,
  segmentLength,
  type Timestamps,
  timespecStamp,
  timestamps,
  timevalStamp,
} from './control.js'
export {
  createDgram,
  Dgram,
  type DgramBindOptions,
  type DgramCallback,
  type DgramData,
  type DgramEvents,
  type DgramInfo,
  type DgramOptions,
} from './dgram.js'
export { drops } from './drops.js'
export {
  AllInterfaces,
  type AllInterfacesHandlers,
  type AllInterfacesOptions,
  type AllInterfacesSocket,
} from './everywhere.js'
export {
  blockSource,
  type GroupRequest,
  type GroupSourceRequest,
  getSourceFilter,
  groupRequest,
  groupSourceRequest,
  joinGroup,
  joinSourceGroup,
  leaveGroup,
  leaveSourceGroup,
  type MembershipOptions,
  type SourceFilter,
  setSourceFilter,
  unblockSource,
} from './membership.js'
export { type Membership, type MembershipSource, memberships } from './memberships.js'
export {
  CMSG_IP_RECVERR,
  CMSG_IPV6_RECVERR,
  drainErrors,
  type ExtendedError,
  extendedError,
  NETWORK_ERROR_SPACE,
  NetworkError,
  type NetworkErrorOrigin,
  networkErrorOf,
  reportErrors,
  SO_EE_ORIGIN_ICMP,
  SO_EE_ORIGIN_ICMP6,
  SO_EE_ORIGIN_LOCAL,
  SO_EE_ORIGIN_NONE,
  SO_EE_ORIGIN_TIMESTAMPING,
  SO_EE_ORIGIN_TXTIME,
  SO_EE_ORIGIN_ZEROCOPY,
} from './neterror.js'
export {
  UDP_CORK,
  UDP_ENCAP,
  UDP_ENCAP_ESPINUDP,
  UDP_ENCAP_ESPINUDP_NON_IKE,
  UDP_ENCAP_GTP0,
  UDP_ENCAP_GTP1U,
  UDP_ENCAP_L2TPINUDP,
  UDP_ENCAP_RXRPC,
  UDP_GRO,
  UDP_NO_CHECK6_RX,
  UDP_NO_CHECK6_TX,
  UDP_SEGMENT,
  UDPLITE_RECV_CSCOV,
  UDPLITE_SEND_CSCOV,
} from './options.js'
export {
  CMSG_IPV6_PATHMTU,
  type PathMtuDiscovery,
  type PathMtuReport,
  pathMtu,
  setPathMtuDiscovery,
} from './pathmtu.js'
export { type Ecn, UdpDatagram } from './received.js'
export type { ReceiveSettings } from './receiving.js'
export type { UdpSendOptions } from './sending.js'
export { type DatagramSteering, steerDatagrams } from './steer.js'
export {
  type JoinOptions,
  type UdpBatch,
  type UdpChannelOptions,
  type UdpHandlers,
  type UdpOutgoing,
  UdpSocket,
  type UdpSocketOptions,
  type UdpStatistics,
} from './udp.js'
