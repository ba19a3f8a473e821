/**
 * One server on an IPv6 and an IPv4 address with one port, which tells each client its address and its address family. It ends
 * gracefully: it accepts no new clients, and the connected ones have time to finish.
 *
 *     node dist/dual-stack.js          a client of each family, then the end
 *     node dist/dual-stack.js 7777     until Ctrl-C; try `nc ::1 7777` and `nc 127.0.0.1 7777`
 */
import { once } from 'node:events'
import { connect as connectNet } from 'node:net'
import { text } from 'node:stream/consumers'
import { pathToFileURL } from 'node:url'
import { formatAddress } from '@linux-sockets/native-core'
import { listen, type Server } from '@linux-sockets/tcp'

/** How long the connections may take to finish, in milliseconds. */
const PATIENCE = 10_000

/** Starts the server on both families. With port 0 the kernel chooses one port for both. */
export function startGreeter(port = 0, [six, four] = ['::', '0.0.0.0']): Server {
  const server = listen([
    { family: 'ipv6', address: six as string, port },
    { family: 'ipv4', address: four as string, port },
  ])
  server.run((stream) => {
    stream.on('error', (error) => console.error(`a connection broke: ${error.message}`))
    stream.resume().end(`hello, ${stream.remoteAddress}, you came over ${stream.remoteFamily}\n`)
  })
  return server
}

/** Connects a client over each family, and returns the greetings. */
export async function greetBoth(): Promise<string> {
  const server = startGreeter(0, ['::1', '127.0.0.1'])
  const { port } = server.address
  const greetings: string[] = []
  for (const host of ['::1', '127.0.0.1']) greetings.push(await text(connectNet({ host, port })))
  const resets = await server.drain({ timeout: PATIENCE })
  if (resets !== 0) throw new Error(`${resets} connections had to be reset`)
  return greetings.join('').trim()
}

async function serve(port: number): Promise<void> {
  const server = startGreeter(port)
  const at = server.addresses.map((address) => formatAddress(address)).join(' and ')
  console.log(`greeting at ${at}; ${server.backlog} may wait at each; Ctrl-C ends it`)
  await once(process, 'SIGINT')
  console.log(`${server.connections.size} connections have ${PATIENCE / 1000} s to finish`)
  const resets = await server.drain({ timeout: PATIENCE })
  console.log(`${server.statistics.accepted} were greeted, ${resets} had to be reset`)
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  if (process.argv[2] === undefined) console.log(await greetBoth())
  else await serve(Number(process.argv[2]))
}
