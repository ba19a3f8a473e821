/**
 * Multicast datagrams on Linux: a socket joins groups on the interface of its choice, and learns for every datagram the
 * interface on which it arrived and the address to which it was sent. The sockets are those of `@linux-sockets/native-core`,
 * whose `DatagramChannel` receives and sends in batches.
 *
 *     import {
 *       ARRIVAL_SPACE,
 *       arrivalOf,
 *       DatagramChannel,
 *       ifindexOf,
 *       interfaceNameOf,
 *       IP_MULTICAST_IF,
 *       joinGroup,
 *       openMulticastSocket,
 *       setOption,
 *     } from '@linux-sockets/udp-mcast'
 *
 *     const socket = openMulticastSocket({ family: 'ipv4', port: 5007 })
 *     joinGroup(socket, '239.1.2.3', { interface: 'lo' })
 *     setOption(socket, IP_MULTICAST_IF, { ifindex: ifindexOf('lo') })
 *
 *     const channel = new DatagramChannel(socket, { error: console.error }, { receive: { control: ARRIVAL_SPACE } })
 *     channel.send(Buffer.from('hello'), '239.1.2.3:5007')
 *     for await (const { data, address, control } of channel) {
 *       const { ifindex, destination } = arrivalOf(control)
 *       console.log(`${data} to ${destination} on ${interfaceNameOf(ifindex)}, from`, address)
 *       break
 *     }
 *     channel.close()
 */

export {
  type AddressLike,
  type AsFd,
  type ControlMessage,
  controlMessage,
  type FdLike,
  formatAddress,
  getOption,
  type InetAddress,
  type Ipv4Address,
  type Ipv6Address,
  parseAddress,
  readControl,
  Socket,
  SystemError,
  setOption,
} from '@linux-sockets/native-core'
export type { Codec, Encoder } from '@linux-sockets/native-core/codecs'
export {
  type AddressOnInterface,
  ifindexOf,
  interfaceNameOf,
  type NetworkInterface,
} from '@linux-sockets/native-core/interfaces'
export {
  IP_MULTICAST_ALL,
  IP_MULTICAST_IF,
  IP_MULTICAST_LOOP,
  IP_MULTICAST_TTL,
  IP_PKTINFO,
  IP_TOS,
  IP_TTL,
  IPV6_MULTICAST_ALL,
  IPV6_MULTICAST_HOPS,
  IPV6_MULTICAST_IF,
  IPV6_MULTICAST_LOOP,
  IPV6_RECVPKTINFO,
  IPV6_TCLASS,
  IPV6_UNICAST_HOPS,
  SO_BINDTODEVICE,
  SO_BROADCAST,
  SO_RCVBUF,
  SO_REUSEADDR,
  SO_REUSEPORT,
  SO_SNDBUF,
} from '@linux-sockets/native-core/options'
export {
  type Borrowable,
  DatagramChannel,
  type DatagramChannelOptions,
  type DatagramHandlers,
  type DatagramStatistics,
  type DatagramView,
  type FailedDatagram,
  type IncomingDatagram,
  type SendOptions,
} from '@linux-sockets/native-core/streams'
export {
  ARRIVAL_SPACE,
  type Arrival,
  arrivalOf,
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
export { NetworkError } from './neterror.js'
export { type Ecn, UdpDatagram } from './received.js'
export type { ReceiveSettings } from './receiving.js'
export type { UdpSendOptions } from './sending.js'
export { type MulticastSocketOptions, openMulticastSocket } from './socket.js'
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
