import {
  type BindOptions,
  encodeAddress,
  familyOf,
  type InetAddress,
  type Socket,
  type SystemError,
} from '@linux-sockets/native-core'
import {
  BIND_OPTIONS,
  checkBindOptions,
  checkListenerOptions,
  checkOptions,
  checkStreamOptions,
  closeQuietly,
  type NamesOf,
  openToBind,
  portOf,
  SERVER_OPTIONS,
} from '@linux-sockets/native-core/internal'
import { type ServerOptions, StreamServer } from '@linux-sockets/native-core/streams'
import { type AddressOrText, listOf, withPort } from './addresses.js'
import { tcpInfo } from './info.js'

export type { DrainOptions, ServerOptions } from '@linux-sockets/native-core/streams'

/** Options of `listen`: those of `Server`, and those of the listening sockets. */
export interface ListenOptions extends ServerOptions, BindOptions {}

/**
 * bind(2) and listen(2): opens a server at one address or several. Its connections are streams.
 *
 *     const server = listen([
 *       { family: 'ipv6', address: '::', port: 8080 },
 *       { family: 'ipv4', address: '0.0.0.0', port: 8080 },
 *     ])
 *     for await (const stream of server) stream.pipe(stream)
 *
 * An address may be text that `parseAddress` accepts: `listen('[::1]:8080')`, `listen(['[::]:0', '0.0.0.0:0'])`. Duplicate
 * addresses are dropped.
 *
 * The server accepts nothing until the caller iterates over it or calls `run(callback)`. With port 0 the kernel chooses a
 * port, which `address` reports; all addresses with port 0 get the same one. If the port chosen for the first is in use at
 * another, a new one is chosen, up to 16 times. `TCP_NODELAY` is left off, unlike in `node:http`; to set it on accepted
 * sockets, pass `prepare: (socket) => setOption(socket, TCP_NODELAY, true)`.
 *
 * @throws SystemError `EADDRINUSE`, `EADDRNOTAVAIL`, `EACCES`, …; nothing stays open
 * @throws TypeError, RangeError if there is no address, or an invalid one; if an option is invalid
 */
export function listen(addresses: AddressOrText | Iterable<AddressOrText>, options: ListenOptions = {}): Server {
  checkOptions(options, 'options', LISTEN_OPTIONS)
  checkBindOptions(options)
  const { backlog, reuseAddress, reusePort, v6only, prepare, protocol, ...serverOptions } = options
  checkListenerOptions(serverOptions)
  if (serverOptions.stream !== undefined) checkStreamOptions(serverOptions.stream, 'stream')
  const sockets = openAll(listOf(addresses).map(encodeAddress), options)
  try {
    return new Server(sockets, serverOptions)
  } catch (error) {
    closeAll(sockets)
    throw error
  }
}

/** A `Listener` for TCP, returned by `listen`, that keeps a set of the connections it has accepted. */
export class Server extends StreamServer<InetAddress> {
  /** The most connections that may wait to be accepted at each address: the kernel's value for the requested `backlog`. */
  get backlog(): number {
    return tcpInfo(this).sacked
  }

  /** The number of connections that currently wait to be accepted, at all addresses together. */
  get waiting(): number {
    return this.sockets.reduce((sum, socket) => sum + tcpInfo(socket).unacked, 0)
  }
}

const LISTEN_OPTIONS: NamesOf<ListenOptions> = { ...SERVER_OPTIONS, ...BIND_OPTIONS }

/** How often a port is chosen, if the chosen one is in use at another address. */
const MOST_CHOICES = 16

/** Opens a listening socket for each address. All addresses with port 0 get the same port. */
function openAll(sockaddrs: readonly Uint8Array[], options: ListenOptions): Socket[] {
  // Kept open until the end, so that the kernel doesn't choose their port again.
  const failed: Socket[] = []
  try {
    for (let choices = 1; ; choices++) {
      const sockets: Socket[] = []
      let chosen = 0
      try {
        for (const sockaddr of sockaddrs) {
          const socket = openToBind(familyOf(sockaddr), options)
          sockets.push(socket)
          options.prepare?.(socket)
          const choose = portOf(sockaddr) === 0
          socket.bind(choose ? withPort(sockaddr, chosen) : sockaddr)
          if (choose) chosen ||= portOf(encodeAddress(socket.localName)) as number
        }
        // Listens only after all sockets are bound: a connection that arrives earlier would be lost if the port is given
        // up. With SO_REUSEADDR, only listen(2) refuses a port at which another socket has begun to listen.
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

function closeAll(sockets: readonly Socket[]): void {
  for (const socket of sockets) closeQuietly(socket)
}
