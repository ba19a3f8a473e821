/**
 * The echo server as plain blocking code: in a Worker accept, recv and send may wait, and nobody waits with them.
 *
 *     node dist/blocking-echo.js
 */
import { once } from 'node:events'
import { buffer } from 'node:stream/consumers'
import { fileURLToPath } from 'node:url'
import { parentPort, Worker } from 'node:worker_threads'
import {
  AF_INET,
  formatAddress,
  type Ipv4Address,
  SO_RCVTIMEO,
  SO_SNDTIMEO,
  SOCK_STREAM,
  Socket,
  setOption,
} from '@linux-sockets/native-core'
import { connect } from '@linux-sockets/tcp'

const CONNECTIONS = 3
const MIB = 1024 * 1024

/** How long a call may wait, in milliseconds. Nothing ends a Worker that sits in one: terminate() waits as well. */
const PATIENCE = 10_000

/** Lets a Worker answer a few connections, sends 1 MiB over each, and returns what was seen. */
export async function echoFromWorker(): Promise<string> {
  const worker = new Worker(new URL(import.meta.url), { argv: ['worker'] })
  const [address] = (await once(worker, 'message')) as [Ipv4Address]
  // All at once: while one is served, the others wait in the backlog.
  const clients = Array.from({ length: CONNECTIONS }, (_, i) => sendAndCompare(address, Buffer.alloc(MIB, i + 1)))
  await Promise.all([once(worker, 'exit'), ...clients])
  return `${CONNECTIONS} × 1 MiB came back from ${formatAddress(address)}, a thread that waits in every call`
}

async function sendAndCompare(address: Ipv4Address, data: Buffer): Promise<void> {
  const stream = await connect(address, { timeout: PATIENCE })
  stream.end(data)
  const answer = await buffer(stream)
  if (!answer.equals(data)) throw new Error(`${answer.length} bytes came back, and not those that were sent`)
}

/** Serves one connection after the other; tells where, as soon as it listens. */
function serveEcho(connections: number, listening: (address: Ipv4Address) => void): void {
  using listener = Socket.open(AF_INET, SOCK_STREAM, 0, { blocking: true })
  setOption(listener, SO_RCVTIMEO, PATIENCE)
  listener.bind({ family: 'ipv4', address: '127.0.0.1', port: 0 })
  listener.listen()
  listening(listener.localAddress as Ipv4Address)
  for (let i = 0; i < connections; i++) {
    using connection = inTime(listener.accept({ blocking: true }))
    echo(connection)
  }
}

/** Sends back what comes, until the peer has ended. */
function echo(connection: Socket): void {
  setOption(connection, SO_RCVTIMEO, PATIENCE)
  setOption(connection, SO_SNDTIMEO, PATIENCE)
  const bytes = Buffer.alloc(64 * 1024)
  for (;;) {
    const received = inTime(connection.recv(bytes))
    if (received === 0) return
    // Even a blocking send may take a part: when its patience ends, or a signal comes.
    for (let sent = 0; sent < received; ) sent += inTime(connection.send(bytes, 0, sent, received - sent))
  }
}

/** A blocking call says that it would block when its patience is at an end. */
function inTime<T>(result: T | null): T {
  if (result === null) throw new Error(`nothing happened for ${PATIENCE} ms`)
  return result
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  if (process.argv[2] === 'worker') serveEcho(CONNECTIONS, (address) => parentPort?.postMessage(address))
  else console.log(await echoFromWorker())
}
