/** Ours: datagrams in batches, sent back to where they came from without looking at the address. */
import { AF_INET, DatagramChannel, type InetAddress, SOCK_DGRAM, Socket } from '@linux-sockets/native-core'
import { ready } from './control.js'

const socket = Socket.open(AF_INET, SOCK_DGRAM)
socket.bind({ family: 'ipv4', address: '127.0.0.1', port: 0 })
const channel = new DatagramChannel(socket, {
  datagram: ({ data, sockaddr }) => channel.send(data, sockaddr),
  // A receiver that is gone.
  error: () => {},
})
ready((socket.localAddress as InetAddress).port)
