/** Ours: datagrams in batches, sent back to their senders without decoding the addresses. */
import { Socket } from '@linux-sockets/native-core'
import { AF_INET, SOCK_DGRAM } from '@linux-sockets/native-core/constants'
import { DatagramChannel } from '@linux-sockets/native-core/streams'
import { ready } from './control.js'

const socket = Socket.open(AF_INET, SOCK_DGRAM)
socket.bind({ family: 'ipv4', address: '127.0.0.1', port: 0 })
const channel = new DatagramChannel(socket, {
  datagram: ({ data, sockaddr }) => channel.send(data, sockaddr),
  // The receiver no longer exists.
  error: () => {},
})
ready(socket.localName.port)
