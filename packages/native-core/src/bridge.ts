/**
 * The bridge to Node's own sockets: their descriptors lent to our functions, and our sockets handed over to them.
 */
import cluster from 'node:cluster'
import dgram from 'node:dgram'
import net from 'node:net'
import { AF_INET, AF_INET6, AF_UNIX, SOCK_DGRAM, SOCK_STREAM } from './constants.js'
import { errno } from './errno.js'
import { SystemError } from './error.js'
import type { AsFd } from './fd.js'
import { getOption } from './option.js'
import { SO_ACCEPTCONN, SO_DOMAIN, SO_TYPE } from './options/socket.js'
import type { Socket } from './socket.js'

/** `net.BoundSocket`, since Node 24.21 and 26.4. */
export interface BoundSocketLike {
  /** The descriptor. Throws when there is none any more. */
  fd(): number
}

/**
 * What Node opens and `borrow` finds the descriptor of: `net.Socket` and all that extend it (`tls.TLSSocket`,
 * `tty.ReadStream`, a child's `stdin`, an HTTP request's `socket`), `net.Server` (`tls`, `http`, `https`, `http2`),
 * `dgram.Socket`, `net.BoundSocket`, and what has an `fd`, such as `fs.promises.FileHandle`.
 */
export type Borrowable = net.Socket | net.Server | dgram.Socket | BoundSocketLike | AsFd

/**
 * The descriptor of something that Node opened, so that our functions work on it:
 *
 *     setOption(borrow(server), TCP_DEFER_ACCEPT, 5)
 *
 * It stays Node's own, which must neither be closed nor `watch`ed: Node's event loop polls it already. The `fd` is looked
 * up each time that it is used: −1 once Node has closed it, so that the kernel answers `EBADF`.
 *
 * @throws SystemError `EBADF` for what has no descriptor yet (the message says what to wait for) or no more, or never has
 * one in this process: a TLS socket over a stream that is no `net.Socket`, a server in a `node:cluster` worker.
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
      // Node's own handles answer with other negative numbers too.
      return Math.max(read(), -1)
    },
  }
}

/** How a socket is handed over to `net.Socket`. */
export interface ToNetSocketOptions {
  /** Whether the socket stays writable when the peer has sent its end. Default false, as in `node:net`. */
  readonly allowHalfOpen?: boolean | undefined
}

/**
 * Hands a connected stream socket (`AF_INET`, `AF_INET6`, `AF_UNIX`) over to `node:net`: Node gets a duplicate that only
 * it owns, and ours is closed. Where this throws, the socket stays ours as it was, and Node has nothing.
 *
 * The open file lives on in the duplicate, so take the socket out of an epoll instance of your own before. Watches end by
 * themselves.
 *
 * @throws TypeError for another kind of socket, or one that listens
 * @throws SystemError `ENOTCONN`, also while a connection is under way
 */
export function toNetSocket(socket: Socket, { allowHalfOpen = false }: ToNetSocketOptions = {}): net.Socket {
  needKind(socket, SOCK_STREAM, streamFamilies, 'a stream socket of AF_INET, AF_INET6 or AF_UNIX')
  if (getOption(socket, SO_ACCEPTCONN)) throw new TypeError('the socket listens: it goes to toNetServer')
  socket.peerAddress
  return handOver(socket, (fd) => new net.Socket({ fd, readable: true, writable: true, allowHalfOpen }))
}

/** How a socket is handed over to `net.Server`. */
export interface ToNetServerOptions {
  /** As `Socket.listen` takes it; Node asks the kernel again with the same. Default `SOMAXCONN`. */
  readonly backlog?: number | undefined
}

/**
 * Hands a bound or listening stream socket (`AF_INET`, `AF_INET6`, `AF_UNIX`) over to a server of Node's that doesn't
 * listen yet: `net`, `tls`, `http`, `https` or `http2`. It listens when this returns, and `'listening'` comes in the
 * next turn. Ownership passes as with `toNetSocket`.
 *
 *     const server = toNetServer(socket, http.createServer(app))
 *
 * @throws TypeError for another kind of socket
 * @throws SystemError of listen(2): `EADDRINUSE`, `EINVAL` for a connected socket
 * @throws Error `ERR_SERVER_ALREADY_LISTEN`; in a `node:cluster` worker, where servers belong to the primary process
 */
export function toNetServer<T extends net.Server>(
  socket: Socket,
  server: T,
  { backlog = 4096 }: ToNetServerOptions = {},
): T {
  needKind(socket, SOCK_STREAM, streamFamilies, 'a stream socket of AF_INET, AF_INET6 or AF_UNIX')
  // Node would look the number up among the descriptors of the primary process.
  if (cluster.isWorker) throw new Error('a socket can not become a server in a node:cluster worker')
  socket.listen(backlog)
  return handOver(socket, (fd) => {
    server.listen({ fd, backlog })
    // Opening fails without a throw, and then Node hasn't taken the descriptor; its 'error' would come later.
    if (!server.listening) {
      server.once('error', () => {})
      throw new SystemError(errno.EEXIST, 'listen', '(node:net can not open the descriptor)')
    }
    return server
  })
}

/**
 * Hands an IPv4 or IPv6 datagram socket over to `node:dgram`. It receives when this returns, and no `'listening'` comes.
 * Ownership passes as with `toNetSocket`. Node sets `SO_REUSEADDR` on it.
 *
 * @throws TypeError for another kind of socket, or one with a peer, which `node:dgram` would not learn of: `disconnect()`
 * it before and let `dgram` connect it again
 */
export function toDgramSocket(socket: Socket): dgram.Socket {
  const family = needKind(socket, SOCK_DGRAM, [AF_INET, AF_INET6], 'a datagram socket of AF_INET or AF_INET6')
  if (hasPeer(socket)) throw new TypeError('the socket is connected: disconnect it before')
  return handOver(socket, (fd) => {
    const handed = dgram.createSocket(family === AF_INET ? 'udp4' : 'udp6')
    try {
      // `exclusive`: in a node:cluster worker too.
      return handed.bind({ fd, exclusive: true })
    } catch (error) {
      handed.close()
      throw error
    }
  })
}

interface Lender {
  readonly name: string
  /** When it has a descriptor. */
  readonly event?: string
  /** Negative without a descriptor. */
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
    if (typeof thing.fd === 'number') return { name: thing.constructor.name, read: () => (thing as AsFd).fd }
  }
  throw new TypeError(
    'borrow takes a socket or server of node:net, tls, http or dgram, a FileHandle, or what has an `fd`',
  )
}

/** Where `node:net` keeps its handle: undocumented, and relied on by many for as long as Node exists. */
function handleFd(owner: net.Socket | net.Server): number {
  return (owner as unknown as { _handle: Handle | null })._handle?.fd ?? -1
}

/** It throws when it is closed or became a server or socket. */
function boundFd(bound: BoundSocketLike): number {
  try {
    return bound.fd()
  } catch {
    return -1
  }
}

/** Where `node:dgram` keeps its handle. The old way to it, `socket._handle`, warns (DEP0112). */
function dgramState(socket: dgram.Socket): { readonly handle: Handle | null } {
  const symbol = Object.getOwnPropertySymbols(socket).find(({ description }) => description === 'state symbol')
  if (symbol === undefined)
    throw new Error(`the descriptor of a dgram.Socket can't be found in Node ${process.version}`)
  return (socket as unknown as { [state: symbol]: { handle: Handle | null } })[symbol] as { handle: Handle | null }
}

const streamFamilies = [AF_INET, AF_INET6, AF_UNIX]

/** The socket's family, when it is of the right kind. */
function needKind(socket: Socket, type: number, families: readonly number[], wanted: string): number {
  const [family, itsType] = [getOption(socket, SO_DOMAIN), getOption(socket, SO_TYPE)]
  if (itsType === type && families.includes(family)) return family
  throw new TypeError(`the socket must be ${wanted}, not of domain ${family} and type ${itsType}`)
}

function hasPeer(socket: Socket): boolean {
  try {
    return socket.peerAddress !== null
  } catch (error) {
    if ((error as SystemError).code === 'ENOTCONN') return false
    throw error
  }
}

/** Never two owners of one descriptor: Node gets a duplicate, and when it has taken it, ours goes. */
function handOver<T>(socket: Socket, take: (fd: number) => T): T {
  const duplicate = socket.dup()
  let taken: T
  try {
    taken = take(duplicate.fd)
  } catch (error) {
    duplicate.close()
    throw error
  }
  duplicate.release()
  socket.close()
  return taken
}
