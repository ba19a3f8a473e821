/**
 * A dual-stack, edge-triggered epoll echo server, with all that one needs which runs for long: backpressure, timeouts, a
 * limit of connections, numbers, and an end that cuts nobody off.
 *
 *     node dist/echo-server.js 7777
 *     socat - TCP:localhost:7777
 */
import { once } from 'node:events'
import { pathToFileURL } from 'node:url'
import { Reactor, type ServeOptions, type Server } from '@linux-sockets/epoll'
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
import { size } from './report.js'

/** How long a connection may say nothing, and how long it may read nothing of what it is sent, in milliseconds. */
const TIMEOUTS = { idleTimeout: 5 * 60_000, writeTimeout: 30_000 }

/** How long those who are there have to finish, in milliseconds. */
const PATIENCE = 5000

/** Descriptors that are left for everything else than connections. */
const SPARE = 64

/** How often the numbers are printed, in milliseconds. */
const INTERVAL = 10_000

/** How often a connection had to wait for its peer to read, and how often one broke. */
export interface EchoStatistics {
  pauses: number
  broken: number
}

/** A running echo server. */
export interface EchoServer {
  readonly reactor: Reactor
  readonly server: Server
  readonly port: number
  readonly statistics: Readonly<EchoStatistics>
}

/** Echoes over IPv4 and IPv6 until the server is closed; with `device`, only what comes in on that interface. */
export function startEchoServer(port = 0, device = '', options: ServeOptions<undefined> = {}): EchoServer {
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
  const statistics = { pauses: 0, broken: 0 }
  const address = socket.localAddress as Ipv6Address
  const reactor = new Reactor()
  const server = reactor.serve(
    socket,
    {
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
        statistics.broken++
        console.error(`a connection broke: ${error.message}`)
      },
    },
    { ...TIMEOUTS, ...options },
  )
  return { reactor, server, port: address.port, statistics }
}

/** Serves until it is told to stop. */
async function run(port: number): Promise<void> {
  const maxConnections = Math.max(1, raiseDescriptorLimit() - SPARE)
  const echo = startEchoServer(port, '', { maxConnections })
  const { reactor, server } = echo
  console.log(`echo on ${formatAddress(server.address)}, for up to ${maxConnections} connections; Ctrl-C stops it`)
  const report = setInterval(() => console.log(numbersOf(echo)), INTERVAL)

  const signals = ['SIGINT', 'SIGTERM'] as const
  // Each is caught once: a second Ctrl-C ends the process as it ever does.
  await Promise.race(signals.map((signal) => once(process, signal)))
  clearInterval(report)
  console.log(`${server.connections.size} connections have ${PATIENCE / 1000} s to finish`)
  await server.close({ timeout: PATIENCE })
  console.log(numbersOf(echo))
  reactor.close()
}

function numbersOf({ reactor, server, statistics }: EchoServer): string {
  const { turns, events, busy, longestTurn, connections } = reactor.statistics
  return [
    `${server.connections.size} connections of ${server.statistics.accepted}, ${statistics.broken} broken`,
    `${size(connections.bytesRead)} in, ${size(connections.bytesWritten)} out`,
    `${statistics.pauses} pauses, at most ${size(connections.queueHighWater)} queued`,
    `${events} events in ${turns} turns, ${busy.toFixed()} ms busy, the longest ${longestTurn.toFixed(1)} ms`,
  ].join('; ')
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) await run(Number(process.argv[2] ?? 7777))
