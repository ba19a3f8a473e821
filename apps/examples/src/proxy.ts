/**
 * A TCP proxy: splice(2) forwards the bytes without copying them into the process, and a line shows their number.
 *
 *     node dist/proxy.js                          some clients, then the end
 *     node dist/proxy.js 8080 example.org 80      until Ctrl-C; try `curl -H 'Host: example.org' http://127.0.0.1:8080/`
 */
import { createHash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import net, { type AddressInfo } from 'node:net'
import { buffer } from 'node:stream/consumers'
import { pathToFileURL } from 'node:url'
import { resolve } from '@linux-sockets/addr'
import { formatAddress, type InetAddress } from '@linux-sockets/native-core'
import type { SocketStream } from '@linux-sockets/native-core/streams'
import { connect, listen, relay, type Server } from '@linux-sockets/tcp'
import { size } from './report.js'

/** The bytes that a proxy has forwarded, and its connections. */
export interface Traffic {
  up: number
  down: number
  open: number
  ended: number
  broken: number
}

/** Each side ends on its own. */
const stream = { allowHalfOpen: true }

/** Starts a proxy that relays every connection to the first of the addresses that accepts one. */
export function startProxy(port: number, target: readonly InetAddress[]): { server: Server; traffic: Traffic } {
  const traffic: Traffic = { up: 0, down: 0, open: 0, ended: 0, broken: 0 }
  const server = listen({ family: 'ipv4', address: '127.0.0.1', port }, { stream })
  server.run((client) => pass(client, target, traffic))
  return { server, traffic }
}

async function pass(client: SocketStream, target: readonly InetAddress[], traffic: Traffic): Promise<void> {
  traffic.open++
  client.on('error', () => {})
  let [up, down] = [0, 0]
  try {
    const upstream = await connect(target, { timeout: 10_000, stream })
    await relay(client, upstream, {
      idleTimeout: 300_000,
      onProgress({ aToB, bToA }) {
        traffic.up += aToB - up
        traffic.down += bToA - down
        ;[up, down] = [aToB, bToA]
      },
    })
    traffic.ended++
  } catch (error) {
    traffic.broken++
    console.error(`\na connection broke: ${(error as Error).message}`)
    client.resetAndDestroy()
  }
  traffic.open--
}

function show({ up, down, open, ended, broken }: Traffic): string {
  return `${open} open, ${ended} ended, ${broken} broken · ↑ ${size(up)} · ↓ ${size(down)}`
}

/** Shows the traffic until the timer is stopped: on a terminal in one line that is rewritten, elsewhere in new lines. */
function watchTraffic(traffic: Traffic, interval: number): NodeJS.Timeout {
  let shown = ''
  return setInterval(() => {
    const line = show(traffic)
    if (line === shown) return
    shown = line
    if (process.stdout.isTTY) process.stdout.write(`\r\x1b[K${line}`)
    else console.log(line)
  }, interval)
}

/** Sends bytes from several clients through a proxy to an echo server, and compares the bytes that come back. */
export async function proxyClients(clients: number, length: number): Promise<string> {
  const echo = net.createServer({ allowHalfOpen: true }, (socket) => socket.pipe(socket)).listen(0, '127.0.0.1')
  await once(echo, 'listening')
  const { server, traffic } = startProxy(0, await resolve('127.0.0.1', (echo.address() as AddressInfo).port))
  const counter = watchTraffic(traffic, 100)
  const { port } = server.address
  await Promise.all(
    Array.from({ length: clients }, async () => {
      const sent = randomBytes(length)
      const client = net.connect({ port, host: '127.0.0.1', allowHalfOpen: true }).end(sent)
      if (sha256(await buffer(client)) !== sha256(sent)) throw new Error('what came back is not what was sent')
    }),
  )
  await server.drain({ timeout: 5000 })
  clearInterval(counter)
  echo.close()
  return show(traffic)
}

function sha256(data: Uint8Array): string {
  return createHash('sha256').update(data).digest('hex')
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  const [port, host, service] = process.argv.slice(2)
  if (port === undefined) {
    console.log(await proxyClients(4, 12 * 1024 * 1024))
  } else {
    const { server, traffic } = startProxy(Number(port), await resolve(host ?? 'localhost', service ?? 80))
    console.log(`${formatAddress(server.address)} is passed on to ${host}:${service}; Ctrl-C ends it`)
    const counter = watchTraffic(traffic, 200)
    await once(process, 'SIGINT')
    await server.drain({ timeout: 5000 })
    clearInterval(counter)
    console.log(`\n${show(traffic)}`)
  }
}
