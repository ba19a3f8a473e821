/**
 * TCP on Linux: every socket option by its C name, the kernel's information about a connection, connecting and listening.
 * Connections are streams that can replace a `net.Socket`.
 *
 *     import { connect, listen, setOption, TCP_NODELAY, TCP_USER_TIMEOUT } from '@linux-sockets/tcp'
 *
 *     const server = listen('127.0.0.1:0')
 *     server.run((stream) => stream.pipe(stream))
 *
 *     const stream = await connect(server.address, {
 *       timeout: 5000,
 *       prepare: (socket) => setOption(socket, TCP_USER_TIMEOUT, 10_000),
 *     })
 *     setOption(stream, TCP_NODELAY, true)
 *     stream.end('hello')
 *     for await (const chunk of stream) console.log('echo:', chunk.toString())
 *     server.close()
 */
export {
  type AddressLike,
  type AsFd,
  type BindOptions,
  type ControlMessage,
  controlMessage,
  type FdLike,
  formatAddress,
  getOption,
  type IncomingMessage,
  type InetAddress,
  type Ipv4Address,
  type Ipv6Address,
  type OutgoingMessage,
  OwnedFd,
  parseAddress,
  type ReceiveOptions,
  raiseDescriptorLimit,
  readControl,
  recvMessage,
  Socket,
  SystemError,
  sendMessage,
  setOption,
  type Watch,
  type WatchFunction,
  type WatchOptions,
  watch,
} from '@linux-sockets/native-core'
export { EPOLLPRI, IPPROTO_MPTCP, MSG_OOB } from '@linux-sockets/native-core/constants'
export {
  IP_FREEBIND,
  IP_TOS,
  IP_TRANSPARENT,
  IPV6_TCLASS,
  SO_BINDTODEVICE,
  SO_INCOMING_CPU,
  SO_KEEPALIVE,
  SO_LINGER,
  SO_MARK,
  SO_MAX_PACING_RATE,
  SO_PRIORITY,
  SO_RCVBUF,
  SO_SNDBUF,
} from '@linux-sockets/native-core/options'
export {
  type ListenerStatistics,
  readExactly,
  SocketStream,
  type SocketStreamOptions,
  serve,
  toNetSocket,
} from '@linux-sockets/native-core/streams'
export type { AddressOrText, InetAddressLike } from './addresses.js'
export type { ConnectAttempt, ConnectOptions } from './connect/types.js'
export { connect } from './connect.js'
export {
  TCP_INFO,
  TCPI_OPT_ECN,
  TCPI_OPT_ECN_SEEN,
  TCPI_OPT_SACK,
  TCPI_OPT_SYN_DATA,
  TCPI_OPT_TFO_CHILD,
  TCPI_OPT_TIMESTAMPS,
  TCPI_OPT_USEC_TS,
  TCPI_OPT_WSCALE,
  type TcpCaState,
  type TcpInfo,
  type TcpState,
  tcpInfo,
} from './info.js'
export { type KeepAlive, setKeepAlive } from './keepalive.js'
export {
  SOL_TLS,
  TLS_1_2_VERSION,
  TLS_1_3_VERSION,
  TLS_CIPHER_AES_CCM_128,
  TLS_CIPHER_AES_GCM_128,
  TLS_CIPHER_AES_GCM_256,
  TLS_CIPHER_ARIA_GCM_128,
  TLS_CIPHER_ARIA_GCM_256,
  TLS_CIPHER_CHACHA20_POLY1305,
  TLS_CIPHER_SM4_CCM,
  TLS_CIPHER_SM4_GCM,
  TLS_GET_RECORD_TYPE,
  TLS_RX,
  TLS_RX_EXPECT_NO_PAD,
  TLS_SET_RECORD_TYPE,
  TLS_TX,
  TLS_TX_ZEROCOPY_RO,
  type TlsCryptoInfo,
} from './ktls.js'
export { type DrainOptions, type ListenOptions, listen, Server, type ServerOptions } from './listen.js'
export type { Md5Key, Md5NetworkKey } from './md5.js'
export {
  MPTCP_INFO,
  MPTCP_INFO_FLAG_FALLBACK,
  MPTCP_INFO_FLAG_REMOTE_KEY_RECEIVED,
  MPTCP_SUBFLOW_ADDRS,
  MPTCP_TCPINFO,
  type MptcpInfo,
  SOL_MPTCP,
  type SubflowAddresses,
  subflowAddresses,
  subflowInfo,
} from './mptcp.js'
export {
  TCP_CC_INFO,
  TCP_CM_INQ,
  TCP_CONGESTION,
  TCP_CORK,
  TCP_DEFER_ACCEPT,
  TCP_DELACK_MAX_US,
  TCP_FASTOPEN,
  TCP_FASTOPEN_CONNECT,
  TCP_FASTOPEN_KEY,
  TCP_FASTOPEN_NO_COOKIE,
  TCP_INQ,
  TCP_IS_MPTCP,
  TCP_KEEPCNT,
  TCP_KEEPIDLE,
  TCP_KEEPINTVL,
  TCP_LINGER2,
  TCP_MAXSEG,
  TCP_MD5SIG,
  TCP_MD5SIG_EXT,
  TCP_NO_QUEUE,
  TCP_NODELAY,
  TCP_NOTSENT_LOWAT,
  TCP_QUEUE_SEQ,
  TCP_QUICKACK,
  TCP_RECV_QUEUE,
  TCP_REPAIR,
  TCP_REPAIR_OFF,
  TCP_REPAIR_OFF_NO_WP,
  TCP_REPAIR_ON,
  TCP_REPAIR_OPTIONS,
  TCP_REPAIR_QUEUE,
  TCP_REPAIR_WINDOW,
  TCP_RTO_MAX_MS,
  TCP_RTO_MIN_US,
  TCP_SAVE_SYN,
  TCP_SAVED_SYN,
  TCP_SEND_QUEUE,
  TCP_SYNCNT,
  TCP_THIN_DUPACK,
  TCP_THIN_LINEAR_TIMEOUTS,
  TCP_TIMESTAMP,
  TCP_TX_DELAY,
  TCP_ULP,
  TCP_USER_TIMEOUT,
  TCP_WINDOW_CLAMP,
} from './options.js'
export type { Relay, RelayError, Relayed, RelayOptions, RelayProgress } from './relay/types.js'
export { relay } from './relay.js'
export type { RepairOptions, RepairWindow } from './repair.js'
export { type Steering, steerConnections } from './steer.js'
export { type SendFileOptions, sendFile } from './transfer.js'
export { type ZeroCopySent, ZeroCopyStream } from './zerocopy.js'
