/** Datagram sockets for the tests of messages and batches, closed when the running test ends. */
import { onTestFinished } from 'vitest'
import { AF_INET, AF_UNIX, SOCK_DGRAM } from '../src/constants.js'
import { Socket } from '../src/index.js'

export function closeLater(...sockets: Socket[]): void {
  onTestFinished(() => {
    for (const socket of sockets) socket.close()
  })
}

export function unixPair(): [Socket, Socket] {
  const pair = Socket.pair(AF_UNIX, SOCK_DGRAM)
  closeLater(...pair)
  return pair
}

/** Bound to a port of loopback. */
export function udp(family = AF_INET): Socket {
  const socket = Socket.open(family, SOCK_DGRAM)
  closeLater(socket)
  socket.bind(
    family === AF_INET
      ? { family: 'ipv4', address: '127.0.0.1', port: 0 }
      : { family: 'ipv6', address: '::1', port: 0 },
  )
  return socket
}
