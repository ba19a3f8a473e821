/**
 * The echo server as plain blocking code: in a Worker accept, recv and send may wait, and nobody waits with them. A few
 * Workers accept from one listening socket, each serves one connection after the other.
 *
 *     node dist/blocking-echo.js         some clients of its own, then the end
 *     node dist/blocking-echo.js 7777    until Ctrl-C; try `socat - TCP:127.0.0.1:7777`
 */
import { once } from 'node:events'
import { buffer } from 'node:stream/consumers'
import { fileURLToPath } from 'node:url'
import { parentPort, Worker, workerData } from 'node:worker_threads'
import {
  AF_INET,
  formatAddress,
  getOption,
  type Ipv4Address,
  SHUT_RD,
  SO_ACCEPTCONN,
  SO_RCVTIMEO,
  SO_REUSEADDR,
  SO_SNDTIMEO,
  SOCK_STREAM,
  Socket,
  type SystemError,
  setOption,
} from '@linux-sockets/native-core'
import { connect } from '@linux-sockets/tcp'

/** How many connections are served at a time. */
const THREADS = 4
const CONNECTIONS = 2 * THREADS
const MIB = 1024 * 1024

/**
 * How long a call may wait for a client, in **milliseconds**. Nothing ends a Worker that sits in one: terminate() waits as
 * well, and so does the end of the process.
 */
const PATIENCE = 10_000

/** A running server. */
export interface BlockingEcho {
  readonly address: Ipv4Address
  /** Accepts no more, and is fulfilled when those who are served have finished. */
  readonly stop: () => Promise<void>
}

/** Echoes until it is stopped. What it has to tell of connections goes to `tell`. */
export function startBlockingEcho(port = 0, tell: (line: string) => void = console.error): BlockingEcho {
  const listener = Socket.open(AF_INET, SOCK_STREAM, 0, { blocking: true })
  try {
    setOption(listener, SO_REUSEADDR, true)
    setOption(listener, SO_RCVTIMEO, PATIENCE)
    listener.bind({ family: 'ipv4', address: port === 0 ? '127.0.0.1' : '0.0.0.0', port })
    listener.listen()
    const address = listener.localAddress as Ipv4Address
    const ends = Array.from({ length: THREADS }, () => startWorker(listener, tell))
    const stop = async () => {
      // The socket stops listening, for all its descriptors: whoever waits in accept is woken.
      listener.shutdown(SHUT_RD)
      listener.close()
      await Promise.all(ends)
    }
    return { address, stop }
  } catch (error) {
    listener.close()
    throw error
  }
}

/** Fulfilled when the Worker has ended. It owns the duplicate that it gets. */
async function startWorker(listener: Socket, tell: (line: string) => void): Promise<void> {
  const worker = new Worker(new URL(import.meta.url), { workerData: listener.dup().release() })
  worker.on('message', tell)
  await once(worker, 'exit')
}

/** What each Worker does: serves one connection after the other until nobody listens any more. */
function serve(fd: number): void {
  using listener = Socket.adopt(fd)
  while (getOption(listener, SO_ACCEPTCONN)) {
    using connection = acceptFrom(listener)
    if (connection === null) continue
    try {
      echo(connection)
    } catch (error) {
      // Not console.error: its stream needs the event loop, which never gets its turn here.
      parentPort?.postMessage(`a connection broke: ${(error as Error).message}`)
    }
  }
}

/** Null when nobody came for as long as patience lasts, when it was woken, or when who came has gone again. */
function acceptFrom(listener: Socket): Socket | null {
  try {
    return listener.accept({ blocking: true })
  } catch (error) {
    const { code } = error as SystemError
    if (code === 'EINVAL' || code === 'ECONNABORTED') return null
    throw error
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

/** Sends 1 MiB over each of several connections, and returns what was seen. */
export async function echoFromWorkers(): Promise<string> {
  const server = startBlockingEcho()
  try {
    // All at once: while some are served, the others wait in the backlog.
    await Promise.all(
      Array.from({ length: CONNECTIONS }, (_, i) => sendAndCompare(server.address, Buffer.alloc(MIB, i + 1))),
    )
  } finally {
    await server.stop()
  }
  return `${CONNECTIONS} × 1 MiB came back from ${formatAddress(server.address)}, from ${THREADS} threads that wait in every call`
}

async function sendAndCompare(address: Ipv4Address, data: Buffer): Promise<void> {
  const stream = await connect(address, { timeout: PATIENCE })
  stream.end(data)
  const answer = await buffer(stream)
  if (!answer.equals(data)) throw new Error(`${answer.length} bytes came back, and not those that were sent`)
}

async function run(port: number): Promise<void> {
  const server = startBlockingEcho(port)
  console.log(`echo on ${formatAddress(server.address)}, for ${THREADS} at a time; Ctrl-C ends it`)
  await once(process, 'SIGINT')
  console.log(`those who are served have time to finish, ${PATIENCE / 1000} s for each silence`)
  await server.stop()
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  if (parentPort !== null) serve(workerData as number)
  else if (process.argv[2] === undefined) console.log(await echoFromWorkers())
  else await run(Number(process.argv[2]))
}
