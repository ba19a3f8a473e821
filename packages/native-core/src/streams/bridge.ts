/**
 * The bridge to Node's own sockets: it lends their descriptors to our functions, hands our sockets over to Node, and serves
 * our connections with Node's servers.
 */
import cluster from 'node:cluster'
import dgram from 'node:dgram'
import net from 'node:net'
import type { SocketAddress } from '../address.js'
import { checkBoolean, checkInt32, checkOptions, checkSocket, describe } from '../argument.js'
import { AF_INET, AF_INET6, AF_UNIX, SOCK_DGRAM, SOCK_STREAM } from '../constants.js'
import { errno } from '../errno.js'
import { SystemError } from '../error.js'
import { type AsFd, closeQuietly } from '../fd.js'
import { getOption } from '../option.js'
import { SO_ACCEPTCONN, SO_DOMAIN, SO_TYPE } from '../options/socket.js'
import { orUndefined } from '../quietly.js'
import { getPeerName, type Socket } from '../socket.js'
import type { Listener } from './listener.js'
import { netAddress } from './names.js'
import type { SocketStream } from './stream.js'

/** `net.BoundSocket`, since Node 24.21 and 26.4. */
export interface BoundSocketLike {
  /** The descriptor. Throws if there is no longer one. */
  fd(): number
}

/**
 * Objects of Node's whose descriptor `borrow` finds: `net.Socket` and its subclasses (`tls.TLSSocket`, `tty.ReadStream`, a
 * child's `stdin`, an HTTP request's `socket`), `net.Server` (`tls`, `http`, `https`, `http2`), `dgram.Socket`,
 * `net.BoundSocket`, and any object with an `fd`, such as `fs.promises.FileHandle`.
 */
export type Borrowable = net.Socket | net.Server | dgram.Socket | BoundSocketLike | AsFd

/**
 * Lends the descriptor of an object that Node opened, so that our functions work on it:
 *
 *     setOption(borrow(server), TCP_DEFER_ACCEPT, 5)
 *
 * Node still owns the descriptor. Don't close it and don't `watch` it: Node's event loop already polls it. The `fd` is
 * looked up on each use; it is −1 once Node has closed it, so that the kernel answers `EBADF`.
 *
 * @throws SystemError `EBADF` if the object has no descriptor yet (the message says what to wait for), has one no longer,
 * or never has one in this process: a TLS socket over a stream that is no `net.Socket`, a server in a `node:cluster`
 * worker.
 * @throws TypeError for anything else
 */
export function borrow(thing: Borrowable): AsFd {
  const { name, event, read } = lender(thing)
  if (read() < 0) {
    const advice = event === undefined ? '' : `, or not open yet: wait for '${event}'`
    throw new SystemError(errno.EBADF, 'borrow', `(the ${name} is closed${advice})`)
  }
  return {
    get fd() {
      // Node's own handles also return other negative numbers.
      return Math.max(read(), -1)
    },
  }
}

/** A socket of `node:dgram`, which `toDgramSocket` makes. */
export type DgramSocket = dgram.Socket

/** Options of `toNetSocket`. */
export interface ToNetSocketOptions {
  /** Whether the socket stays writable after the peer has sent its end. Default false, as in `node:net`. */
  readonly allowHalfOpen?: boolean | undefined
}

/**
 * Hands a connected stream socket (`AF_INET`, `AF_INET6`, `AF_UNIX`) over to `node:net`: Node gets a duplicate that only it
 * owns, and our socket is closed. If this throws, our socket stays as it was, and Node has nothing.
 *
 * The open file lives on in the duplicate, so first remove the socket from an epoll instance of your own. Watches end by
 * themselves.
 *
 * @throws TypeError for another kind of socket, or one that listens; for wrong options
 * @throws SystemError `ENOTCONN`, also while a connection is in progress
 */
export function toNetSocket(socket: Socket, options?: ToNetSocketOptions): net.Socket
/**
 * Hands the socket of a stream over, once the kernel has taken everything written. The `net.Socket` first reads the bytes
 * that the stream has read and nothing has consumed. The stream is destroyed, as by `detach`.
 *
 *     const socket = await toNetSocket(stream)
 *
 * @throws TypeError for a stream of another family, after `setEncoding`, and for wrong options
 * @throws SystemError `EPIPE` if the stream has ended or is destroyed; `ECANCELED`, or the stream's error, if it is
 * destroyed in the meantime; `EMFILE`, after which the connection is lost
 */
export function toNetSocket(stream: SocketStream, options?: ToNetSocketOptions): Promise<net.Socket>
export function toNetSocket(
  from: Socket | SocketStream,
  options: ToNetSocketOptions = {},
): net.Socket | Promise<net.Socket> {
  if (isStream(from)) return detachToNetSocket(from, options)
  const allowHalfOpen = checkHalfOpen(options)
  needKind(from, ...connectable)
  if (getOption(from, SO_ACCEPTCONN)) throw new TypeError('the socket listens: use toNetServer')
  getPeerName(from)
  return handOver(from, (fd) => netSocket(fd, allowHalfOpen))
}

async function detachToNetSocket(stream: SocketStream, options: ToNetSocketOptions): Promise<net.Socket> {
  const allowHalfOpen = checkHalfOpen(options)
  if (!stream.destroyed) needFamily(stream, ...connectable)
  const { socket, unread } = await stream.detach()
  try {
    const handed = handOver(socket, (fd) => netSocket(fd, allowHalfOpen))
    if (unread.length > 0) handed.unshift(unread)
    return handed
  } catch (error) {
    closeQuietly(socket)
    throw error
  }
}

/** Options of `toNetServer`. */
export interface ToNetServerOptions {
  /** The backlog for `Socket.listen`; Node passes the same to the kernel once more. Default `SOMAXCONN`. */
  readonly backlog?: number | undefined
}

/**
 * Hands a bound or listening stream socket (`AF_INET`, `AF_INET6`, `AF_UNIX`) over to one of Node's servers that doesn't
 * listen yet: `net`, `tls`, `http`, `https` or `http2`. The server listens when this returns, and emits `'listening'` in
 * the next turn. Ownership passes as with `toNetSocket`.
 *
 *     const server = toNetServer(socket, http.createServer(app))
 *
 * @throws TypeError, RangeError for another kind of socket, an invalid server, or wrong options
 * @throws SystemError of listen(2): `EADDRINUSE`, `EINVAL` for a connected socket
 * @throws Error `ERR_SERVER_ALREADY_LISTEN`; in a `node:cluster` worker, where servers belong to the primary process
 */
export function toNetServer<T extends net.Server>(socket: Socket, server: T, options: ToNetServerOptions = {}): T {
  checkOptions(options, 'options', { backlog: true })
  const { backlog = 4096 } = options
  checkInt32(backlog, 'backlog')
  checkServer(server)
  needKind(socket, ...connectable)
  // Node would look the number up among the descriptors of the primary process.
  if (cluster.isWorker) throw new Error('a socket can not become a server in a node:cluster worker')
  socket.listen(backlog)
  return handOver(socket, (fd) => {
    server.listen({ fd, backlog })
    // A failure to open isn't thrown: Node then hasn't taken the descriptor, and would emit 'error' later.
    if (!server.listening) {
      server.once('error', () => {})
      throw new SystemError(errno.EEXIST, 'listen', '(node:net can not open the descriptor)')
    }
    return server
  })
}

/**
 * Hands an IPv4 or IPv6 datagram socket over to `node:dgram`. It receives when this returns; there is no `'listening'`
 * event. Ownership passes as with `toNetSocket`. Node sets `SO_REUSEADDR` on it.
 *
 * @throws TypeError for another kind of socket, or a socket with a peer, of which `node:dgram` would not know:
 * `disconnect()` the socket before, and let `dgram` connect it again
 */
export function toDgramSocket(socket: Socket): DgramSocket {
  const family = needKind(socket, SOCK_DGRAM, [AF_INET, AF_INET6], 'a datagram socket of AF_INET or AF_INET6')
  if (hasPeer(socket)) throw new TypeError('the socket is connected: disconnect it first')
  return handOver(socket, (fd) => {
    const handed = dgram.createSocket(family === AF_INET ? 'udp4' : 'udp6')
    try {
      // `exclusive`: also in a node:cluster worker.
      return handed.bind({ fd, exclusive: true })
    } catch (error) {
      handed.close()
      throw error
    }
  })
}

/**
 * Hands the connections of a listener to one of Node's servers that doesn't listen: `net`, `tls`, `http`, `https`, `http2`,
 * and servers built on them. The server listens when this returns, and emits `'listening'` in the next turn.
 *
 *     const server = serve(listen('[::]:8443'), https.createServer({ key, cert }, app))
 *
 * The server works as if it had accepted the connections itself. Its options apply: `allowHalfOpen`, `noDelay` (the default
 * for HTTP), `keepAlive`, `pauseOnConnect`, `blockList`, and `maxConnections` with `'drop'`; but `highWaterMark` is set on
 * the stream. It counts the connections; `listening`, `address()`, `ref()`, `unref()` and `borrow(server)` are those of the
 * listener.
 *
 * Closing either of them closes both, while the connections go on; `'close'` is emitted when the last of them has ended. An
 * HTTP server closes idle connections. While the listener is paused, connections wait in the kernel's backlog. The server
 * emits an error that ends the listener as `'error'`.
 *
 * A connection whose TLS handshake fails is destroyed after the listeners to `'tlsClientError'` were called. A `tls.Server`
 * that accepts by itself keeps a connection whose handshake took too long.
 *
 * @throws TypeError for an invalid listener or server; for a listener that is closed, runs or is iterated over
 * @throws Error `ERR_SERVER_ALREADY_LISTEN`
 */
export function serve<T extends net.Server>(listener: Listener<SocketStream>, server: T): T {
  if (typeof (listener as Partial<Listener<SocketStream>> | undefined)?.run !== 'function') {
    throw new TypeError(`listener must be a Listener, not ${describe(listener)}`)
  }
  checkServer(server)
  if (listener.closed) throw new TypeError('the listener is closed')
  if (listener.inUse) throw new TypeError('the listener runs already, or is being iterated over')
  if (server.listening) {
    throw Object.assign(new Error('the server listens already'), { code: 'ERR_SERVER_ALREADY_LISTEN' })
  }
  const inner = server as unknown as InnerServer
  const handle = handleOf(listener)
  inner._handle = handle
  inner._pipeName = pipeName(listener.address)
  if (inner._unref) listener.unref()

  const giveUp = (_error: Error, socket: net.Socket) => process.nextTick(() => socket.destroy())
  server.on('tlsClientError', giveUp)
  server.once('close', () => server.off('tlsClientError', giveUp))

  const isOpen = () => inner._handle === handle
  const end = (error?: Error) => {
    process.nextTick(() => {
      if (isOpen()) server.close()
      if (error !== undefined) server.emit('error', error)
    })
  }
  listener.run((stream) => handOut(stream, inner)).then(() => end(), end)
  process.nextTick(() => {
    if (isOpen()) server.emit('listening')
  })
  return server
}

/** Does what `node:net` does with an accepted connection. */
function handOut(stream: SocketStream, server: InnerServer): void {
  const { localAddress, localPort, localFamily, remoteAddress, remotePort, remoteFamily } = stream
  const isInternet = remoteAddress !== undefined
  if (server._connections >= (server.maxConnections ?? Number.POSITIVE_INFINITY)) {
    stream.destroy()
    const data = { localAddress, localPort, localFamily, remoteAddress, remotePort, remoteFamily }
    server.emit('drop', isInternet ? data : undefined)
    return
  }
  if (isInternet && server.blockList?.check(remoteAddress, remoteFamily === 'IPv6' ? 'ipv6' : 'ipv4')) {
    stream.destroy()
    return
  }
  stream.allowHalfOpen = server.allowHalfOpen
  if (server.pauseOnConnect) stream.pause()
  if (server.noDelay && isInternet) stream.setNoDelay()
  // `node:net` ignores a delay that the kernel refuses.
  if (server.keepAlive) orUndefined(() => stream.setKeepAlive(true, server.keepAliveInitialDelay * 1000))
  server._connections++
  stream.once('close', () => {
    server._connections--
    server._emitCloseIfDrained()
  })
  server.emit('connection', stream)
}

/**
 * The internals of a `net.Server`, unchanged for as long as Node exists. In a `node:cluster` worker Node itself gives it a
 * handle that is made of functions like ours.
 */
interface InnerServer extends net.Server {
  _handle: ReturnType<typeof handleOf> | null
  /** The result of `address()` if the handle has no `getsockname`. */
  _pipeName: string | undefined
  _unref: boolean
  _connections: number
  _emitCloseIfDrained(): void
  readonly allowHalfOpen: boolean
  readonly pauseOnConnect: boolean
  readonly noDelay: boolean
  readonly keepAlive: boolean
  /** **Seconds.** */
  readonly keepAliveInitialDelay: number
  /** Since Node 22.13. */
  readonly blockList?: net.BlockList
}

function handleOf(listener: Listener<SocketStream>) {
  const address = netAddress(listener.address)
  return {
    get fd() {
      return listener.fd
    },
    close: () => listener.close(),
    ref: () => listener.ref(),
    unref: () => listener.unref(),
    getsockname: address && ((out: object) => void Object.assign(out, address)),
  }
}

/** The name of a Unix socket, as `node:net` spells it. */
function pipeName(name: SocketAddress): string | undefined {
  if (name.family !== 'unix') return undefined
  if ('path' in name) return textOf(name.path)
  return 'abstract' in name ? `\0${textOf(name.abstract)}` : undefined
}

function textOf(name: string | Uint8Array): string {
  return typeof name === 'string' ? name : Buffer.from(name).toString()
}

interface Lender {
  readonly name: string
  /** The event after which it has a descriptor. */
  readonly event?: string
  /** The descriptor; negative if there is none. */
  read(): number
}

interface Handle {
  /** Undefined for the stand-in of a server in a `node:cluster` worker. */
  readonly fd: number | undefined
}

function lender(thing: Borrowable): Lender {
  if (thing instanceof net.Socket) return { name: 'net.Socket', event: 'connect', read: () => handleFd(thing) }
  if (thing instanceof net.Server) return { name: 'net.Server', event: 'listening', read: () => handleFd(thing) }
  if (thing instanceof dgram.Socket) {
    const state = dgramState(thing)
    return { name: 'dgram.Socket', event: 'listening', read: () => state.handle?.fd ?? -1 }
  }
  if (typeof thing === 'object' && thing !== null && 'fd' in thing) {
    if (typeof thing.fd === 'function')
      return { name: 'net.BoundSocket', read: () => boundFd(thing as BoundSocketLike) }
    if (typeof thing.fd === 'number')
      return { name: describe(thing).replace(/^an? /, ''), read: () => (thing as AsFd).fd }
  }
  throw new TypeError(
    'borrow takes a socket or server of node:net, tls, http or dgram, a FileHandle, or what has an `fd`',
  )
}

/** Reads the handle of `node:net`: undocumented, but many programs have relied on it for as long as Node exists. */
function handleFd(owner: net.Socket | net.Server): number {
  return (owner as unknown as { _handle: Handle | null })._handle?.fd ?? -1
}

/** `fd()` throws if the bound socket is closed or has become a server or socket. */
function boundFd(bound: BoundSocketLike): number {
  try {
    return bound.fd()
  } catch {
    return -1
  }
}

/** Reads the handle of `node:dgram`. The old way to it, `socket._handle`, warns (DEP0112). */
function dgramState(socket: dgram.Socket): { readonly handle: Handle | null } {
  const symbol = Object.getOwnPropertySymbols(socket).find(({ description }) => description === 'state symbol')
  if (symbol === undefined)
    throw new Error(`the descriptor of a dgram.Socket can't be found in Node ${process.version}`)
  return (socket as unknown as { [state: symbol]: { handle: Handle | null } })[symbol] as { handle: Handle | null }
}

function checkServer(server: unknown): void {
  if (!(server instanceof net.Server)) throw new TypeError(`server must be a net.Server, not ${describe(server)}`)
}

function isStream(from: Socket | SocketStream): from is SocketStream {
  return typeof (from as Partial<SocketStream> | undefined)?.detach === 'function'
}

function checkHalfOpen(options: ToNetSocketOptions): boolean {
  checkOptions(options, 'options', { allowHalfOpen: true })
  const { allowHalfOpen = false } = options
  checkBoolean(allowHalfOpen, 'allowHalfOpen')
  return allowHalfOpen
}

function netSocket(fd: number, allowHalfOpen: boolean): net.Socket {
  return new net.Socket({ fd, readable: true, writable: true, allowHalfOpen })
}

/** The sockets that `node:net` supports. */
const connectable = [
  SOCK_STREAM,
  [AF_INET, AF_INET6, AF_UNIX],
  'a stream socket of AF_INET, AF_INET6 or AF_UNIX',
] as const

/** Checks the kind of the socket, and returns its family. */
function needKind(socket: Socket, type: number, families: readonly number[], wanted: string): number {
  if (isStream(socket)) {
    throw new TypeError(`socket must be a Socket, not ${describe(socket)}: use \`(await stream.detach()).socket\``)
  }
  checkSocket(socket, 'socket')
  return needFamily(socket, type, families, wanted)
}

function needFamily(socket: AsFd, type: number, families: readonly number[], wanted: string): number {
  const [family, itsType] = [getOption(socket, SO_DOMAIN), getOption(socket, SO_TYPE)]
  if (itsType === type && families.includes(family)) return family
  throw new TypeError(`the socket must be ${wanted}, not of domain ${family} and type ${itsType}`)
}

function hasPeer(socket: Socket): boolean {
  try {
    return socket.peerName !== null
  } catch (error) {
    if ((error as SystemError).code === 'ENOTCONN') return false
    throw error
  }
}

/** A descriptor never has two owners: Node gets a duplicate, and once Node has taken it, ours is closed. */
function handOver<T>(socket: Socket, take: (fd: number) => T): T {
  const duplicate = socket.dup()
  let taken: T
  try {
    taken = take(duplicate.fd)
  } catch (error) {
    closeQuietly(duplicate)
    throw error
  }
  duplicate.release()
  // Whatever close(2) reports, Node has the descriptor.
  closeQuietly(socket)
  return taken
}
