/**
 * Happy Eyeballs (RFC 8305), with each attempt shown as it starts, fails or wins. By itself it races three routes of its
 * own: one that swallows what is sent, one that refuses, one that is well.
 *
 *     node dist/happy-eyeballs.js
 *     node dist/happy-eyeballs.js example.org 443
 */
import { pathToFileURL } from 'node:url'
import { candidates, resolve } from '@linux-sockets/addr'
import { AF_INET, formatAddress, SOCK_STREAM, Socket, type SocketAddress, writable } from '@linux-sockets/native-core'
import { connect, listen } from '@linux-sockets/tcp'

/** Connects to the first address that answers, and tells what happens meanwhile, a line for each event. */
export async function race(addresses: readonly SocketAddress[], tell = console.log): Promise<void> {
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

/** The race of this program's own routes. */
export async function raceOwnRoutes(tell = console.log): Promise<void> {
  using swallowing = await fullListener()
  using refusing = boundSocket()
  await using well = listen({ family: 'ipv4', address: '127.0.0.1', port: 0 })
  await race([swallowing.localAddress, refusing.localAddress, well.address], tell)
}

/** Its backlog is full, so the kernel drops each SYN that comes. */
async function fullListener(): Promise<Socket> {
  const listener = boundSocket()
  listener.listen(0)
  using first = Socket.open(AF_INET, SOCK_STREAM)
  first.connect(listener.localAddress)
  await writable(first)
  return listener
}

/** Has a port, and answers each SYN with a reset because it doesn't listen. */
function boundSocket(): Socket {
  const socket = Socket.open(AF_INET, SOCK_STREAM)
  socket.bind({ family: 'ipv4', address: '127.0.0.1', port: 0 })
  return socket
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  const [host, service] = process.argv.slice(2)
  if (host === undefined || service === undefined) await raceOwnRoutes()
  else await race(candidates(await resolve(host, service)))
}
