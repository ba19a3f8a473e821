import {
  type AddressLike,
  AF_INET6,
  checkInteger,
  encodeAddress,
  familyOf,
  IPV6_V6ONLY,
  Listener,
  type ListenerOptions,
  SO_REUSEADDR,
  SO_REUSEPORT,
  SOCK_STREAM,
  Socket,
  SocketStream,
  type SocketStreamOptions,
  type SystemError,
  setOption,
} from '@linux-sockets/native-core'
import { listOf, portOf, withPort } from './addresses.js'
import { tcpInfo } from './info.js'

/** How a server accepts. */
export interface ServerOptions extends Omit<ListenerOptions, 'wrap'> {
  /** For the streams. */
  readonly stream?: SocketStreamOptions | undefined
}

/** How to listen. */
export interface ListenOptions extends ServerOptions {
  /** How many connections may wait to be accepted; the kernel lowers it to `net.core.somaxconn`. Default 4096. */
  readonly backlog?: number | undefined
  /**
   * `SO_REUSEADDR`: whether to bind although earlier connections of the port linger in TIME-WAIT. Default true.
   * Two listeners never share a port by it.
   */
  readonly reuseAddress?: boolean | undefined
  /** `SO_REUSEPORT`: whether several sockets of the same user may listen here, and share what comes. Default false. */
  readonly reusePort?: boolean | undefined
  /**
   * `IPV6_V6ONLY`: whether an IPv6 address takes no IPv4 connections. Default true, whatever `net.ipv6.bindv6only` says;
   * false makes `::` dual-stack.
   */
  readonly v6only?: boolean | undefined
  /**
   * Called with each socket before it is bound, to set options: `(socket) => setOption(socket, TCP_DEFER_ACCEPT, 3)`.
   * Most of them are inherited by accepted sockets.
   */
  readonly prepare?: ((socket: Socket) => void) | undefined
  /** `IPPROTO_…`: `IPPROTO_MPTCP` for multipath TCP. Default 0: TCP. */
  readonly protocol?: number | undefined
}

/**
 * bind(2) and listen(2): a server whose connections are streams, at one address or at several.
 *
 *     await using server = listen([
 *       { family: 'ipv6', address: '::', port: 8080 },
 *       { family: 'ipv4', address: '0.0.0.0', port: 8080 },
 *     ])
 *     for await (const stream of server) stream.pipe(stream)
 *
 * Nothing is accepted before somebody asks: iterate, or `run(callback)`. A port of 0 lets the kernel choose one, which
 * `address` tells; all addresses whose port is 0 get the same. Where the port chosen for the first is taken at another, a
 * new one is chosen, up to 16 times. `TCP_NODELAY` is left off, unlike in `node:http`; accepted sockets have it from
 * `prepare: (socket) => setOption(socket, TCP_NODELAY, true)`.
 *
 * @throws SystemError `EADDRINUSE`, `EADDRNOTAVAIL`, `EACCES`, …; nothing stays open
 * @throws TypeError, RangeError without an address, or for one that is none
 */
export function listen(addresses: AddressLike | Iterable<AddressLike>, options: ListenOptions = {}): Server {
  if (options.backlog !== undefined) checkInteger(options.backlog, 0, 0x7fff_ffff, 'backlog')
  const sockets = openAll(listOf(addresses).map(encodeAddress), options)
  try {
    return new Server(sockets, options)
  } catch (error) {
    closeAll(sockets)
    throw error
  }
}

/** How to let the connections end. */
export interface DrainOptions {
  /** **Milliseconds**, from 0, after which the connections that are still open are reset. Default: never. */
  readonly timeout?: number | undefined
}

/** A `Listener` for TCP, from `listen`, that knows the connections which it has accepted. */
export class Server extends Listener<SocketStream> {
  readonly #connections: Set<SocketStream>

  /** Takes over sockets that listen already, such as those that came from another process. Throws as `Listener` does. */
  constructor(sockets: Socket | readonly Socket[], { stream: streamOptions, ...options }: ServerOptions = {}) {
    const connections = new Set<SocketStream>()
    function forget(this: SocketStream): void {
      connections.delete(this)
    }
    super(sockets, {
      ...options,
      wrap(socket) {
        const stream = new SocketStream(socket, streamOptions)
        connections.add(stream)
        return stream.on('close', forget)
      },
    })
    this.#connections = connections
  }

  /** The accepted streams that are not closed yet. */
  get connections(): ReadonlySet<SocketStream> {
    return this.#connections
  }

  /** How many connections may wait to be accepted at each address: what the kernel has made of the `backlog` asked for. */
  get backlog(): number {
    return tcpInfo(this).sacked
  }

  /** How many connections wait to be accepted now, at all addresses together. */
  get waiting(): number {
    return this.sockets.reduce((sum, socket) => sum + tcpInfo(socket).unacked, 0)
  }

  /**
   * Closes the server, and resolves when the accepted streams are closed too, with the number of those that had to be
   * reset because they were still open after `timeout`. What waited in the backlog is reset by the kernel.
   * @throws TypeError, RangeError for a timeout that is none; the server then goes on
   */
  async drain({ timeout }: DrainOptions = {}): Promise<number> {
    if (timeout !== undefined) checkInteger(timeout, 0, 0x7fff_ffff, 'timeout')
    this.close()
    let resets = 0
    const reset = () => {
      for (const stream of this.#connections) {
        if (!stream.destroyed) resets++
        stream.resetAndDestroy()
      }
    }
    const limit = timeout === undefined ? undefined : setTimeout(reset, timeout)
    await Promise.all(
      [...this.#connections].map((stream) => new Promise<void>((resolve) => stream.once('close', resolve))),
    )
    clearTimeout(limit)
    return resets
  }
}

/** How often a port is chosen that turns out to be taken at another address. */
const MOST_CHOICES = 16

/** A listening socket for each address; where the port is 0, all with the same. */
function openAll(sockaddrs: readonly Uint8Array[], options: ListenOptions): Socket[] {
  // Open until the end, so that the kernel doesn't choose their port again.
  const failed: Socket[] = []
  try {
    for (let choices = 1; ; choices++) {
      const sockets: Socket[] = []
      let chosen = 0
      try {
        for (const sockaddr of sockaddrs) {
          const socket = open(familyOf(sockaddr), options)
          sockets.push(socket)
          options.prepare?.(socket)
          const choose = portOf(sockaddr) === 0
          socket.bind(choose ? withPort(sockaddr, chosen) : sockaddr)
          if (choose) chosen ||= portOf(encodeAddress(socket.localAddress)) as number
        }
        // Not before all are bound: what connects meanwhile would be lost with a port that is given up. And with
        // SO_REUSEADDR it is only here that the kernel refuses a port which another has begun to listen at.
        for (const socket of sockets) socket.listen(options.backlog)
        return sockets
      } catch (error) {
        failed.push(...sockets)
        const another = chosen !== 0 && choices < MOST_CHOICES && (error as SystemError).code === 'EADDRINUSE'
        if (!another) throw error
      }
    }
  } finally {
    closeAll(failed)
  }
}

function open(
  family: number,
  { protocol, reuseAddress = true, reusePort = false, v6only = true }: ListenOptions,
): Socket {
  const socket = Socket.open(family, SOCK_STREAM, protocol)
  try {
    setOption(socket, SO_REUSEADDR, reuseAddress)
    if (reusePort) setOption(socket, SO_REUSEPORT, true)
    if (family === AF_INET6) setOption(socket, IPV6_V6ONLY, v6only)
    return socket
  } catch (error) {
    socket.close()
    throw error
  }
}

function closeAll(sockets: readonly Socket[]): void {
  for (const socket of sockets) socket.close()
}
