/**
 * Unix sockets on Linux: streams on paths and abstract names, open descriptors passed from process to process, and the
 * credentials of the peer.
 *
 *     import { readFileSync } from 'node:fs'
 *     import {
 *       peerCredentials,
 *       pipe,
 *       readable,
 *       receiveDescriptors,
 *       sendDescriptors,
 *       unixPair,
 *       writev,
 *     } from '@linux-sockets/unix-fdpass'
 *
 *     const [mine, theirs] = unixPair() // the other end usually goes to a child process
 *     const { read, write } = pipe()
 *     sendDescriptors(mine, [write], Buffer.from('write here'))
 *
 *     await readable(theirs)
 *     const message = receiveDescriptors(theirs)
 *     console.log(`process ${peerCredentials(theirs).pid} says: ${message?.data}`)
 *     for (const descriptor of message?.descriptors ?? []) {
 *       writev(descriptor, [Buffer.from('passed')])
 *       descriptor.close()
 *     }
 *     for (const descriptor of [mine, theirs, write]) descriptor.close()
 *     console.log(readFileSync(read.fd, 'utf8'))
 *     read.close()
 */

export {
  type AddressLike,
  type AsFd,
  type ControlMessage,
  type FdLike,
  formatAddress,
  getOption,
  type IncomingMessage,
  type OutgoingMessage,
  OwnedFd,
  parseAddress,
  pipe,
  type ReceiveOptions,
  readable,
  readControl,
  readv,
  recvMessage,
  Socket,
  SystemError,
  sendMessage,
  setOption,
  type UnixAbstractAddress,
  type UnixAddress,
  type UnixPathAddress,
  type UnixUnnamedAddress,
  writable,
  writev,
} from '@linux-sockets/native-core'
export type { Credentials } from '@linux-sockets/native-core/codecs'
export { SOCK_DGRAM, SOCK_SEQPACKET, SOCK_STREAM } from '@linux-sockets/native-core/constants'
export {
  SO_PASSCRED,
  SO_PASSPIDFD,
  SO_PASSRIGHTS,
  SO_PASSSEC,
  SO_PEERCRED,
  SO_RCVBUF,
  SO_SNDBUF,
} from '@linux-sockets/native-core/options'
export {
  DatagramChannel,
  type DatagramChannelOptions,
  type DatagramHandlers,
  type DatagramStatistics,
  type DatagramView,
  type FailedDatagram,
  type IncomingDatagram,
  type ListenerStatistics,
  readExactly,
  type SendOptions,
  SocketStream,
  type SocketStreamOptions,
  serve,
  toNetSocket,
} from '@linux-sockets/native-core/streams'
export { type ConnectOptions, connect } from './connect.js'
export { peerCredentials, SCM_CREDENTIALS } from './credentials.js'
export { type DrainOptions, type ListenOptions, listen, Server, type ServerOptions } from './listen.js'
export { unixPair } from './pair.js'
export {
  type DescriptorMessage,
  type ReceiveDescriptorsOptions,
  receiveDescriptors,
  sendDescriptors,
} from './rights.js'
