/**
 * The echo server as plain blocking code: in a Worker accept, recv and send may block without blocking the main thread. A few
 * Workers accept from one listening socket, and each serves one connection after the other.
 *
 *     node dist/blocking-echo.js         some clients of its own, then the end
 *     node dist/blocking-echo.js 7777    until Ctrl-C; try `socat - TCP:127.0.0.1:7777`
 */
import { once } from 'node:events'
import { buffer } from 'node:stream/consumers'
import { fileURLToPath } from 'node:url'
import { parentPort, Worker, workerData } from 'node:worker_threads'
import {
  formatAddress,
  getOption,
  type InetAddress,
  Socket,
  type SystemError,
  setOption,
} from '@linux-sockets/native-core'
import { AF_INET, SHUT_RD, SOCK_STREAM } from '@linux-sockets/native-core/constants'
import { SO_ACCEPTCONN, SO_RCVTIMEO, SO_REUSEADDR, SO_SNDTIMEO } from '@linux-sockets/native-core/options'
import { connect } from '@linux-sockets/tcp'

/** The number of connections that are served at a time. */
const THREADS = 4
const CONNECTIONS = 2 * THREADS
const MIB = 1024 * 1024

/**
 * How long a call may wait for a client, in **milliseconds**. Nothing can end a Worker during a blocking call: terminate()
 * waits until the call returns, and so does the end of the process.
 */
const PATIENCE = 10_000

/** A running server. */
export interface BlockingEcho {
  readonly address: InetAddress
  /** Stops accepting. Fulfilled when the connections that are being served have ended. */
  readonly stop: () => Promise<void>
}

/** Starts a server that echoes until it is stopped. It passes messages about broken connections to `tell`. */
export function startBlockingEcho(port = 0, tell: (line: string) => void = console.error): BlockingEcho {
  const listener = Socket.open(AF_INET, SOCK_STREAM, 0, { blocking: true })
  try {
    setOption(listener, SO_REUSEADDR, true)
    setOption(listener, SO_RCVTIMEO, PATIENCE)
    listener.bind({ family: 'ipv4', address: port === 0 ? '127.0.0.1' : '0.0.0.0', port })
    listener.listen()
    const address = listener.localName
    const ends = Array.from({ length: THREADS }, () => startWorker(listener, tell))
    const stop = async () => {
      // The socket stops listening on all its descriptors, which wakes the Workers that wait in accept.
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

/** Starts a Worker, which owns the duplicate that it gets. Fulfilled when the Worker has ended. */
async function startWorker(listener: Socket, tell: (line: string) => void): Promise<void> {
  const worker = new Worker(new URL(import.meta.url), { workerData: listener.dup().release() })
  worker.on('message', tell)
  await once(worker, 'exit')
}

/** Runs in each Worker: serves one connection after the other until the socket no longer listens. */
function serve(fd: number): void {
  using listener = Socket.adopt(fd)
  while (getOption(listener, SO_ACCEPTCONN)) {
    using connection = acceptFrom(listener)
    if (connection === null) continue
    try {
      echo(connection)
    } catch (error) {
      // Not console.error: its stream needs the event loop of this thread, which never runs here.
      parentPort?.postMessage(`a connection broke: ${(error as Error).message}`)
    }
  }
}

/** Returns null if no client came in time, if accept was woken, or if the client has already aborted its connection. */
function acceptFrom(listener: Socket): Socket | null {
  try {
    return listener.accept({ blocking: true })
  } catch (error) {
    const { code } = error as SystemError
    if (code === 'EINVAL' || code === 'ECONNABORTED') return null
    throw error
  }
}

/** Sends back all bytes until the peer ends its side. */
function echo(connection: Socket): void {
  setOption(connection, SO_RCVTIMEO, PATIENCE)
  setOption(connection, SO_SNDTIMEO, PATIENCE)
  const bytes = Buffer.alloc(64 * 1024)
  for (;;) {
    const received = inTime(connection.recv(bytes))
    if (received === 0) return
    // Even a blocking send may take only a part: when its timeout expires or a signal arrives.
    for (let sent = 0; sent < received; ) sent += inTime(connection.send(bytes, 0, sent, received - sent))
  }
}

/** Throws if a blocking call returned null, which means that its timeout has expired. */
function inTime<T>(result: T | null): T {
  if (result === null) throw new Error(`nothing happened for ${PATIENCE} ms`)
  return result
}

/** Sends 1 MiB over each of several connections, and returns a summary. */
export async function echoFromWorkers(): Promise<string> {
  const server = startBlockingEcho()
  try {
    // All connect at once: while some are served, the others wait in the backlog.
    await Promise.all(
      Array.from({ length: CONNECTIONS }, (_, i) => sendAndCompare(server.address, Buffer.alloc(MIB, i + 1))),
    )
  } finally {
    await server.stop()
  }
  return `${CONNECTIONS} × 1 MiB came back from ${formatAddress(server.address)}, from ${THREADS} threads that wait in every call`
}

async function sendAndCompare(address: InetAddress, data: Buffer): Promise<void> {
  const stream = await connect(address, { timeout: PATIENCE })
  stream.end(data)
  const answer = await buffer(stream)
  if (!answer.equals(data)) throw new Error(`${answer.length} bytes came back, and not those that were sent`)
}

async function run(port: number): Promise<void> {
  const server = startBlockingEcho(port)
  console.log(`echo on ${formatAddress(server.address)}, for ${THREADS} at a time; Ctrl-C ends it`)
  await once(process, 'SIGINT')
  console.log(`clients that are served may finish, unless they are silent for ${PATIENCE / 1000} s`)
  await server.stop()
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  if (parentPort !== null) serve(workerData as number)
  else if (process.argv[2] === undefined) console.log(await echoFromWorkers())
  else await run(Number(process.argv[2]))
}
