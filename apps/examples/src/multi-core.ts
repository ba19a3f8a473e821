/**
 * An echo server on several cores. Each Worker has a listening socket of its own on the same port (SO_REUSEPORT), and the
 * kernel distributes the connections among these sockets. Each Worker runs a reactor of its own until it is woken to stop.
 *
 *     node dist/multi-core.js          its own clients, then the totals
 *     node dist/multi-core.js 7777     until Ctrl-C; try `socat - TCP:localhost:7777`
 */
import { once } from 'node:events'
import { availableParallelism } from 'node:os'
import { fileURLToPath } from 'node:url'
import { parentPort, Worker, workerData } from 'node:worker_threads'
import { connect, listen, Reactor, wake } from '@linux-sockets/epoll'
import { formatAddress, type InetAddress, OwnedFd, Socket, setOption } from '@linux-sockets/native-core'
import { AF_INET, SOCK_STREAM } from '@linux-sockets/native-core/constants'
import { SO_REUSEPORT } from '@linux-sockets/native-core/options'
import { size } from './report.js'

const CLIENTS = 64
const PER_CLIENT = 256 * 1024

/** How long connections may take to finish, and how long they may make no progress, in milliseconds. */
const PATIENCE = 10_000

/** The totals of a Worker. */
interface Totals {
  readonly accepted: number
  readonly bytes: number
  readonly turns: number
}

/** An echo server of several Workers. */
export class MultiCoreEcho {
  readonly address: InetAddress
  readonly #workers: readonly { readonly worker: Worker; readonly waker: OwnedFd }[]

  private constructor(address: InetAddress, workers: readonly { worker: Worker; waker: OwnedFd }[]) {
    this.address = address
    this.#workers = workers
  }

  /** Starts `count` Workers. Fulfilled when all of them listen. */
  static async start(count: number, address: InetAddress): Promise<MultiCoreEcho> {
    // This socket never listens, so it gets no connections. It reserves the port until all Workers have bound theirs.
    using place = reserve(address)
    const local = place.localName
    const starting = Array.from({ length: count }, () => new Worker(new URL(import.meta.url), { workerData: local }))
    try {
      const wakers = await Promise.all(starting.map((worker) => once(worker, 'message')))
      const workers = starting.map((worker, i) => ({ worker, waker: OwnedFd.adopt(wakers[i]?.[0] as number) }))
      return new MultiCoreEcho(local, workers)
    } catch (error) {
      await Promise.all(starting.map((worker) => worker.terminate()))
      throw error
    }
  }

  /** Lets the connections finish, ends the Workers, and returns the totals of each. */
  stop(): Promise<Totals[]> {
    return Promise.all(
      this.#workers.map(async ({ worker, waker }) => {
        const ended = Promise.all([once(worker, 'message'), once(worker, 'exit')])
        wake(waker)
        waker.close()
        const [[totals]] = (await ended) as [[Totals], unknown]
        return totals
      }),
    )
  }
}

/** Binds a socket to an address that other sockets can share. */
function reserve(address: InetAddress): Socket<InetAddress> {
  const socket = Socket.open(AF_INET, SOCK_STREAM)
  try {
    setOption(socket, SO_REUSEPORT, true)
    socket.bind(address)
    return socket
  } catch (error) {
    socket.close()
    throw error
  }
}

/** Runs in each Worker: serves until the main thread wakes it. */
async function serveUntilWoken(address: InetAddress): Promise<void> {
  const reactor = new Reactor()
  const server = listen(
    reactor,
    address,
    {
      data(connection, chunk) {
        if (!connection.write(chunk)) connection.pause()
      },
      drain(connection) {
        connection.resume()
      },
    },
    { idleTimeout: PATIENCE, reusePort: true },
  )
  const waker = reactor.waker(async () => {
    waker.close()
    await server.drain({ timeout: PATIENCE })
    reactor.stop()
  })
  // The main thread gets the descriptor of the waker, and must close it.
  parentPort?.postMessage(waker.dup().release())
  await reactor.run()

  const { accepted, bytesRead } = server.statistics
  const totals: Totals = { accepted, bytes: bytesRead, turns: reactor.statistics.turns }
  parentPort?.postMessage(totals)
  reactor.close()
}

/** Runs many clients at once, and returns a summary of each Worker. */
export async function echoOnManyCores(): Promise<string> {
  const count = Math.min(Math.max(availableParallelism(), 2), 4)
  const echo = await MultiCoreEcho.start(count, { family: 'ipv4', address: '127.0.0.1', port: 0 })
  const reactor = new Reactor()
  let totals: Totals[] = []
  try {
    await Promise.all(Array.from({ length: CLIENTS }, (_, i) => sendAndCompare(reactor, echo.address, i)))
  } finally {
    reactor.close()
    totals = await echo.stop()
  }
  const accepted = totals.reduce((sum, worker) => sum + worker.accepted, 0)
  if (accepted !== CLIENTS) throw new Error(`${accepted} connections were accepted, not ${CLIENTS}`)
  return describe(totals)
}

function describe(totals: readonly Totals[]): string {
  return totals
    .map(({ accepted, bytes, turns }, i) => `Worker ${i + 1}: ${accepted} connections, ${size(bytes)}, ${turns} turns`)
    .join('\n')
}

/** Sends bytes that differ for each client, and rejects unless exactly the same bytes come back. */
function sendAndCompare(reactor: Reactor, address: InetAddress, client: number): Promise<void> {
  return new Promise((resolve, reject) => {
    let compared = 0
    const connection = connect(
      reactor,
      address,
      {
        data(connection, chunk) {
          compared += chunk.length
          if (chunk.every((byte) => byte === client)) return
          reject(new Error(`client ${client} got back what it didn’t send`))
          connection.abort()
        },
        error: (_connection, error) => reject(error),
        close() {
          if (compared === PER_CLIENT) resolve()
          else reject(new Error(`client ${client} got back ${compared} bytes of ${PER_CLIENT}`))
        },
      },
      { connectTimeout: PATIENCE, idleTimeout: PATIENCE },
    )
    connection.write(Buffer.alloc(PER_CLIENT, client))
    connection.end()
  })
}

async function run(port: number): Promise<void> {
  const echo = await MultiCoreEcho.start(availableParallelism(), { family: 'ipv4', address: '0.0.0.0', port })
  console.log(`echo on ${formatAddress(echo.address)}, on ${availableParallelism()} cores; Ctrl-C ends it`)
  await once(process, 'SIGINT')
  console.log(describe(await echo.stop()))
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  if (parentPort !== null) await serveUntilWoken(workerData as InetAddress)
  else if (process.argv[2] === undefined) console.log(await echoOnManyCores())
  else await run(Number(process.argv[2]))
}
