/**
 * A dual-stack, edge-triggered epoll echo server with everything that a long-running server needs: backpressure, timeouts, a
 * limit of connections, statistics, and a graceful end.
 *
 *     node dist/echo-server.js 7777
 *     socat - TCP:localhost:7777
 */
import { once } from 'node:events'
import { pathToFileURL } from 'node:url'
import { type InetAddress, type ListenOptions, listen, Reactor, type Server } from '@linux-sockets/epoll'
import { formatAddress, raiseDescriptorLimit, setOption } from '@linux-sockets/native-core'
import { SO_BINDTODEVICE } from '@linux-sockets/native-core/options'
import { size } from './report.js'

/** How long a peer may send nothing, and how long it may read none of the bytes sent to it, in milliseconds. */
const TIMEOUTS = { idleTimeout: 5 * 60_000, writeTimeout: 30_000 }

/** How long the connections may take to finish, in milliseconds. */
const PATIENCE = 10_000

/** The number of descriptors that are reserved for everything except connections. */
const SPARE = 64

/** The interval of the statistics, in milliseconds. */
const INTERVAL = 10_000

/** How many times a connection was paused because its peer did not read, and how many connections broke. */
export interface EchoStatistics {
  pauses: number
  broken: number
}

/** A running echo server. */
export interface EchoServer {
  readonly reactor: Reactor
  readonly server: Server<undefined, InetAddress>
  readonly port: number
  readonly statistics: Readonly<EchoStatistics>
}

/** Echoes over IPv4 and IPv6 until the server is closed. With `device`, only clients on that interface can connect. */
export function startEchoServer(port = 0, device = '', options: ListenOptions = {}): EchoServer {
  const statistics = { pauses: 0, broken: 0 }
  const reactor = new Reactor()
  const server = listen(
    reactor,
    { family: 'ipv6', address: '::', port },
    {
      data(connection, chunk) {
        if (connection.write(chunk)) return
        // The peer sends faster than it reads: stop reading until it has read.
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
    { ...TIMEOUTS, v6only: false, prepare: (socket) => setOption(socket, SO_BINDTODEVICE, device), ...options },
  )
  return { reactor, server, port: server.address.port, statistics }
}

/** Serves until SIGINT or SIGTERM. */
async function run(port: number): Promise<void> {
  const maxConnections = Math.max(1, raiseDescriptorLimit() - SPARE)
  const echo = startEchoServer(port, '', { maxConnections })
  const { reactor, server } = echo
  console.log(`echo on ${formatAddress(server.address)}, for up to ${maxConnections} connections; Ctrl-C stops it`)
  const report = setInterval(() => console.log(numbersOf(echo)), INTERVAL)

  const signals = ['SIGINT', 'SIGTERM'] as const
  // Each signal is caught once: a second Ctrl-C ends the process as usual.
  await Promise.race(signals.map((signal) => once(process, signal)))
  clearInterval(report)
  console.log(`${server.connections.size} connections have ${PATIENCE / 1000} s to finish`)
  await server.drain({ timeout: PATIENCE })
  console.log(numbersOf(echo))
  reactor.close()
}

function numbersOf({ reactor, server, statistics }: EchoServer): string {
  const { turns, events, busy, longestTurn } = reactor.statistics
  const { accepted, bytesRead, bytesWritten, peakQueuedBytes } = server.statistics
  return [
    `${server.connections.size} connections of ${accepted}, ${statistics.broken} broken`,
    `${size(bytesRead)} in, ${size(bytesWritten)} out`,
    `${statistics.pauses} pauses, at most ${size(peakQueuedBytes)} queued`,
    `${events} events in ${turns} turns, ${busy.toFixed()} ms busy, the longest ${longestTurn.toFixed(1)} ms`,
  ].join('; ')
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) await run(Number(process.argv[2] ?? 7777))
