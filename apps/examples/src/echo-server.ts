/**
 * A dual-stack, edge-triggered epoll echo server.
 *
 *     node dist/echo-server.js 7777
 *     socat - TCP:localhost:7777
 */
import { pathToFileURL } from 'node:url'
import { Reactor, type Server } from '@linux-sockets/epoll'
import {
  AF_INET6,
  formatAddress,
  IPV6_V6ONLY,
  type Ipv6Address,
  raiseDescriptorLimit,
  SO_BINDTODEVICE,
  SO_REUSEADDR,
  SOCK_STREAM,
  Socket,
  setOption,
} from '@linux-sockets/native-core'

/** How often a connection had to wait for its peer to read. */
export interface EchoStatistics {
  pauses: number
}

/** Echoes over IPv4 and IPv6 until the server is closed; with `device`, only what comes in on that interface. */
export function startEchoServer(port = 0, device = ''): { server: Server; port: number; statistics: EchoStatistics } {
  const socket = Socket.open(AF_INET6, SOCK_STREAM)
  try {
    setOption(socket, SO_REUSEADDR, true)
    setOption(socket, IPV6_V6ONLY, false)
    setOption(socket, SO_BINDTODEVICE, device)
    socket.bind({ family: 'ipv6', address: '::', port })
    socket.listen()
  } catch (error) {
    socket.close()
    throw error
  }
  const statistics = { pauses: 0 }
  const address = socket.localAddress as Ipv6Address
  const server = new Reactor().serve(socket, {
    data(connection, chunk) {
      if (connection.write(chunk)) return
      // The peer sends faster than it reads: let it wait, as it makes us wait.
      statistics.pauses++
      connection.pause()
    },
    drain(connection) {
      connection.resume()
    },
    error(_connection, error) {
      console.error(`a connection broke: ${error.message}`)
    },
  })
  return { server, port: address.port, statistics }
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  const limit = raiseDescriptorLimit()
  const { server } = startEchoServer(Number(process.argv[2] ?? 7777))
  console.log(`echo on ${formatAddress(server.address)}, for up to ${limit} descriptors; Ctrl-C stops it`)
  process.once('SIGINT', () => server.close())
}
