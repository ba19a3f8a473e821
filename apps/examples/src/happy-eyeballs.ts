/**
 * Happy Eyeballs (RFC 8305): shows each attempt as it starts, fails or wins. Without arguments it tries three addresses of its
 * own: one drops all packets, one refuses the connection, one accepts it.
 *
 *     node dist/happy-eyeballs.js
 *     node dist/happy-eyeballs.js example.org 443
 */
import { pathToFileURL } from 'node:url'
import { candidates, resolve } from '@linux-sockets/addr'
import { formatAddress, type InetAddress, Socket, writable } from '@linux-sockets/native-core'
import { AF_INET, SOCK_STREAM } from '@linux-sockets/native-core/constants'
import { connect, listen } from '@linux-sockets/tcp'

/** Connects to the first address that answers, and reports each event in a line. */
export async function race(addresses: readonly InetAddress[], tell = console.log): Promise<void> {
  const started = performance.now()
  const stream = await connect(addresses, {
    timeout: 10_000,
    onAttempt({ event, address, error }) {
      const time = String(Math.round(performance.now() - started)).padStart(5)
      const reason = error instanceof Error ? `  ${error.message}` : ''
      tell(`${time} ms  ${event.padEnd(5)}  ${formatAddress(address)}${reason}`)
    },
  })
  stream.destroy()
}

/** Runs the race with this program's own addresses. */
export async function raceOwnRoutes(tell = console.log): Promise<void> {
  using swallowing = await fullListener()
  using refusing = boundSocket()
  await using well = listen({ family: 'ipv4', address: '127.0.0.1', port: 0 })
  await race([swallowing.localName, refusing.localName, well.address], tell)
}

/** Makes a listener with a full backlog, so that the kernel drops each SYN. */
async function fullListener(): Promise<Socket<InetAddress>> {
  const listener = boundSocket()
  listener.listen(0)
  using first = Socket.open(AF_INET, SOCK_STREAM)
  first.connect(listener.localName)
  await writable(first)
  return listener
}

/** Makes a bound socket that doesn't listen, so that the kernel answers each SYN with a reset. */
function boundSocket(): Socket<InetAddress> {
  const socket = Socket.open(AF_INET, SOCK_STREAM)
  socket.bind({ family: 'ipv4', address: '127.0.0.1', port: 0 })
  return socket
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  const [host, service] = process.argv.slice(2)
  if (host === undefined || service === undefined) await raceOwnRoutes()
  else await race(candidates(await resolve(host, service)))
}
