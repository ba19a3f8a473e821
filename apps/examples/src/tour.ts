/**
 * The tour: an epoll echo server under load from real clients, then a step through each package. `npm start` runs it. The exit
 * code is not 0 if any step fails.
 *
 *     node dist/tour.js
 */
import { spawn } from 'node:child_process'
import { createHash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { accessSync, constants } from 'node:fs'
import { connect as connectNet } from 'node:net'
import { delimiter, join } from 'node:path'
import { buffer } from 'node:stream/consumers'
import { interfaces, resolve } from '@linux-sockets/addr'
import { formatAddress, getOption, raiseDescriptorLimit, setOption } from '@linux-sockets/native-core'
import { SO_RCVBUF } from '@linux-sockets/native-core/options'
import { connect, TCP_NODELAY, TCP_USER_TIMEOUT, tcpInfo } from '@linux-sockets/tcp'
import { converse } from './chat.js'
import { greetBoth } from './dual-stack.js'
import { startEchoServer } from './echo-server.js'
import { passListener } from './fd-passing.js'
import { raceOwnRoutes } from './happy-eyeballs.js'
import { echoOnManyCores } from './multi-core.js'
import { receiveOneMulticast } from './multicast.js'
import { type Progress, runSteps, size } from './report.js'
import { callProcedures } from './rpc.js'
import { holders, type SocketEntry, sockets } from './ss.js'
import { downloadOne } from './static-files.js'

const MANY = 400
const PER_CONNECTION = 128 * 1024
const LARGE = 96 * 1024 * 1024
const FILE = 48 * 1024 * 1024
const CHUNK = randomBytes(64 * 1024)

/** The errors of a kernel that was built without sock_diag, or without it for TCP. */
const NO_SOCK_DIAG: ReadonlySet<string> = new Set(['EPROTONOSUPPORT', 'ENOENT'])

/** The client for machines that have neither socat nor nc. It sends its input while it prints the bytes that come back. */
const PYTHON_CLIENT = `
import socket, sys, threading
peer = socket.create_connection(('127.0.0.1', int(sys.argv[1])))
def send():
    peer.sendall(sys.stdin.buffer.read())
    peer.shutdown(socket.SHUT_WR)
threading.Thread(target=send).start()
while chunk := peer.recv(65536):
    sys.stdout.buffer.write(chunk)
`

const limit = raiseDescriptorLimit()
const { server, port, statistics } = startEchoServer(0, 'lo')
console.log(
  `Echo server on ${formatAddress(server.address)} on the loopback interface, for up to ${limit} descriptors\n`,
)

const failed = await runSteps([
  { title: 'epoll: many node:net clients at once', run: manyConnections },
  { title: 'epoll: one large transfer to a slow reader', run: largeTransfer },
  { title: 'epoll: a client that is not Node', run: foreignClient },
  { title: 'epoll: an echo server on several cores', run: echoOnManyCores },
  { title: 'epoll: a chat in which one sleeps', run: converse },
  { title: 'epoll: remote procedure calls', run: callProcedures },
  { title: 'addr: names to addresses', run: resolveName },
  { title: 'tcp: options and TCP_INFO', run: tcpOptions },
  { title: 'tcp: one server for two families', run: greetBoth },
  { title: 'tcp: Happy Eyeballs', run: happyEyeballs },
  { title: 'tcp: a file by sendfile', run: downloadFile },
  { title: 'udp-mcast: the interface of arrival', run: receiveOneMulticast },
  { title: 'unix-fdpass: a listening socket in another process', run: passListener },
  { title: 'native-core: which process has the echo server open, by sock_diag', run: ownListener },
])
await server.drain({ timeout: 0 })
console.log(failed === 0 ? '\nAll steps passed.' : `\n${failed} steps failed.`)
process.exitCode = failed === 0 ? 0 : 1

/** Runs many clients, half over IPv4 and half over IPv6. Each must get back exactly the bytes that it sent. */
async function manyConnections(progress: Progress): Promise<string> {
  let done = 0
  let most = 0
  await Promise.all(
    Array.from({ length: MANY }, async (_, i) => {
      const client = connectNet({ port, host: i % 2 === 0 ? '127.0.0.1' : '::1' })
      await once(client, 'connect')
      const sent = randomBytes(PER_CONNECTION)
      client.end(sent)
      most = Math.max(most, server.connections.size)
      verify(await buffer(client), sent)
      progress(++done, MANY)
    }),
  )
  return `${MANY} connections, ${most} of them at a time, echoed ${size(MANY * PER_CONNECTION)}, every byte compared`
}

/** Makes a client send faster than it reads, so that the server's writes are partial and its queue fills. */
async function largeTransfer(progress: Progress): Promise<string> {
  const client = connectNet({ port, host: '::1' })
  const pausesBefore = statistics.pauses
  const sent = createHash('sha256')
  const received = createHash('sha256')
  let got = 0
  const send = async () => {
    for (let at = 0; at < LARGE; at += CHUNK.length) {
      sent.update(CHUNK)
      if (!client.write(CHUNK)) await once(client, 'drain')
    }
    client.end()
  }
  const receive = async () => {
    for await (const chunk of client) {
      received.update(chunk)
      got += chunk.length
      progress(got, LARGE)
    }
  }
  await Promise.all([send(), receive()])
  if (got !== LARGE || received.digest('hex') !== sent.digest('hex'))
    throw new Error('what came back is not what was sent')
  return `${size(LARGE)} there and back, SHA-256 equal; the server had to wait for its reader ${statistics.pauses - pausesBefore} times`
}

async function foreignClient(): Promise<string> {
  const programs: [string, string[]][] = [
    ['socat', ['-t5', '-', `TCP:127.0.0.1:${port}`]],
    ['nc', ['-N', '127.0.0.1', String(port)]],
    ['python3', ['-c', PYTHON_CLIENT, String(port)]],
  ]
  const [name, args] = programs.find(([program]) => isInstalled(program)) ?? []
  if (name === undefined || args === undefined) return 'skipped: neither socat, nc nor python3 is installed'
  const sent = randomBytes(1024 * 1024)
  const child = spawn(name, args, { stdio: ['pipe', 'pipe', 'inherit'] })
  await once(child, 'spawn')
  child.stdin.end(sent)
  verify(await buffer(child.stdout), sent)
  return `${name} sent ${size(sent.length)} and got back the same`
}

async function resolveName(): Promise<string> {
  const addresses = await resolve('localhost', port)
  const names = interfaces().map(({ name }) => name)
  return `localhost is ${addresses.map(formatAddress).join(' and ')}; the interfaces are ${names.join(', ')}`
}

async function tcpOptions(): Promise<string> {
  const stream = await connect(await resolve('localhost', port))
  setOption(stream, TCP_NODELAY, true)
  setOption(stream, TCP_USER_TIMEOUT, 10_000)
  setOption(stream, SO_RCVBUF, 256 * 1024)
  const read = [getOption(stream, TCP_NODELAY), getOption(stream, TCP_USER_TIMEOUT), getOption(stream, SO_RCVBUF)]
  if (String(read) !== 'true,10000,524288') throw new Error(`read back ${read}`)
  stream.end(CHUNK)
  verify(await buffer(stream), CHUNK)
  return `TCP_NODELAY, TCP_USER_TIMEOUT and SO_RCVBUF set and read back; ${await transferInfo()}`
}

async function transferInfo(): Promise<string> {
  const stream = await connect(await resolve('localhost', port))
  stream.write(CHUNK)
  for (let got = 0; got < CHUNK.length; ) got += ((await once(stream, 'data'))[0] as Buffer).length
  const info = tcpInfo(stream)
  stream.end().resume()
  await once(stream, 'close')
  return `${info.state}, round trip ${info.rtt} µs, window ${info.snd_cwnd} segments, ${size(Number(info.bytes_acked))} acknowledged`
}

async function happyEyeballs(): Promise<string> {
  const told: string[] = []
  await raceOwnRoutes((line: string) => told.push(line))
  return told.join('\n')
}

/** Downloads a file, and then its second half as another download with a progress of its own. */
function downloadFile(progress: Progress): Promise<string> {
  return downloadOne(FILE, () => progress)
}

/** Gets the listening socket from the kernel, and its process from /proc. */
async function ownListener(): Promise<string> {
  let listening: readonly SocketEntry[]
  try {
    listening = sockets({ kinds: ['tcp'], states: ['LISTEN'] })
  } catch (error) {
    if (!NO_SOCK_DIAG.has((error as NodeJS.ErrnoException).code ?? '')) throw error
    return `skipped: this kernel has no sock_diag (${(error as Error).message})`
  }
  const listener = listening.find(({ local }) => 'port' in local && local.port === port)
  const holder = holders()
    .get(listener?.inode ?? 0)
    ?.find(({ pid }) => pid === process.pid)
  if (listener === undefined || holder === undefined) throw new Error('the kernel doesn’t tell of the server')
  const { local, sendQueue } = listener
  return `${formatAddress(local)} is fd ${holder.fd} of ${holder.command}, process ${holder.pid}; ${sendQueue} may wait there`
}

function verify(received: Buffer, sent: Buffer): void {
  if (!received.equals(sent)) throw new Error(`sent ${sent.length} bytes, and got back ${received.length} other ones`)
}

function isInstalled(program: string): boolean {
  return (process.env.PATH ?? '').split(delimiter).some((directory) => {
    try {
      accessSync(join(directory, program), constants.X_OK)
      return true
    } catch {
      return false
    }
  })
}
