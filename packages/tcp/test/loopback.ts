import { createHash } from 'node:crypto'
import { closeSync, openSync, readFileSync } from 'node:fs'
import { resolve } from 'node:path'
import { setImmediate as turn } from 'node:timers/promises'
import {
  dup,
  type InetAddress,
  type OwnedFd,
  readable,
  Socket,
  type SystemError,
  setOption,
  writable,
} from '@linux-sockets/native-core'
import { AF_INET, SOCK_STREAM } from '@linux-sockets/native-core/constants'
import { SO_LINGER, SO_SNDBUF } from '@linux-sockets/native-core/options'
import type { Namespace, Need } from '@linux-sockets/testkit'
import { onTestFinished } from 'vitest'
import { TCP_MD5SIG } from '../src/options.js'

export const anyPort = { family: 'ipv4', address: '127.0.0.1', port: 0 } as const

/**
 * Opens a file that the test owns. `fs.open` alone is not enough in a Worker: when the Worker ends, Node closes every
 * number that came from it again, even if another file has that number then.
 */
export function openFile(path: string, flags: string): OwnedFd {
  const fd = openSync(path, flags)
  const owned = dup({ fd })
  closeSync(fd)
  return owned
}

/** Both ends of a connection over loopback, closed when the running test ends. */
export async function connectedPair(
  prepareListener: (socket: Socket) => void = () => {},
  prepare: (socket: Socket) => void = () => {},
  [protocolOfListener, protocol] = [0, 0],
): Promise<{ connected: Socket; accepted: Socket }> {
  using listener = Socket.open(AF_INET, SOCK_STREAM, protocolOfListener)
  prepareListener(listener)
  listener.bind(anyPort)
  listener.listen()
  const connected = Socket.open(AF_INET, SOCK_STREAM, protocol)
  prepare(connected)
  connected.connect(listener.localName)
  await writable(connected)
  await readable(listener)
  const accepted = listener.accept() as Socket
  onTestFinished(() => {
    connected.close()
    accepted.close()
  })
  return { connected, accepted }
}

/**
 * A listener to which no socket can connect, because its backlog is full and stays full: a SYN to it is dropped, and a
 * connection attempt hangs. Closed when the running test ends.
 */
export async function fullListener(): Promise<Socket<InetAddress>> {
  const listener = Socket.open(AF_INET, SOCK_STREAM)
  listener.bind(anyPort)
  listener.listen(0)
  const first = Socket.open(AF_INET, SOCK_STREAM)
  first.connect(listener.localName)
  await writable(first)
  onTestFinished(() => {
    listener.close()
    first.close()
  })
  return listener
}

/** A socket connected to itself without a listener: TCP's simultaneous open. */
export function connectedAtOnce(): Socket {
  const socket = Socket.open(AF_INET, SOCK_STREAM)
  socket.bind(anyPort)
  socket.connect(socket.localName)
  return socket
}

/** A kernel with `CONFIG_TLS`. */
export function needKernelTls(): Need {
  const protocols = readFileSync('/proc/sys/net/ipv4/tcp_available_ulp', 'utf8').split(/\s/)
  return protocols.includes('tls') ? null : 'this kernel has no TLS built in or loaded'
}

/** A kernel with `CONFIG_TCP_MD5SIG`. */
export function needMd5(): Need {
  using socket = Socket.open(AF_INET, SOCK_STREAM)
  try {
    setOption(socket, TCP_MD5SIG, { address: anyPort, key: Buffer.from('x') })
    return null
  } catch (error) {
    if ((error as SystemError).code !== 'ENOPROTOOPT') throw error
    return 'this kernel has no TCP_MD5SIG'
  }
}

/**
 * Runs a module in a namespace to its end, and returns the value that it printed as JSON. Only a whole process can be in
 * a namespace, so the module imports the built packages.
 */
export async function runInNamespace<T>(namespace: Namespace, program: string): Promise<T> {
  const directory = resolve(import.meta.dirname, '..')
  const args = ['--input-type=module', '--eval', program]
  return JSON.parse(await namespace.run(process.execPath, args, { cwd: directory })) as T
}

/** The ends of a TCP connection with small send buffers, closed when the running test ends. */
export async function tcpPair(): Promise<[Socket, Socket]> {
  // A small receive buffer would make the peer wait for its own delayed acknowledgements.
  const small = (socket: Socket) => setOption(socket, SO_SNDBUF, 60_000)
  const { connected, accepted } = await connectedPair(small, small)
  return [accepted, connected]
}

/** The ends of a Unix connection with small buffers, closed when the running test ends. */
export async function unixPair(): Promise<[Socket, Socket]> {
  const pair = Socket.pair()
  for (const socket of pair) setOption(socket, SO_SNDBUF, 8192)
  onTestFinished(() => {
    for (const socket of pair) socket.close()
  })
  return pair
}

/** Closes so that the peer sees a reset. */
export function reset(socket: Socket): void {
  setOption(socket, SO_LINGER, 0)
  socket.close()
}

/** Reads all bytes until the end, in reads of any size, with pauses in between. */
export async function readSlowly(socket: Socket): Promise<Buffer> {
  const chunks: Buffer[] = []
  for (let i = 0; ; i++) {
    const buffer = Buffer.alloc(1 + ((i * 7919) % 100_000))
    const count = socket.recv(buffer)
    if (count === null) await readable(socket)
    else if (count === 0) return Buffer.concat(chunks)
    else chunks.push(buffer.subarray(0, count))
    if (i % 5 === 0) await turn()
  }
}

/** The digest of bytes that are too many to be shown if they differ. */
export function sha256(data: Uint8Array): string {
  return createHash('sha256').update(data).digest('hex')
}
