import type { ErrnoName, Socket, SocketAddress, SystemError, Watch } from '@linux-sockets/native-core'
import {
  checkBoolean,
  checkFunction,
  checkHandlers,
  checkInteger,
  checkOptions,
  checkSocket,
  closeQuietly,
  type NamesOf,
  orUndefined,
} from '@linux-sockets/native-core/internal'
import { Listener, type ListenerStatistics, type SocketStream } from '@linux-sockets/native-core/streams'
import {
  CONNECTION_OPTIONS,
  Connection,
  type ConnectionHandlers,
  type ConnectionOptions,
  type ConnectionOwner,
  type ConnectionSettings,
  HANDLERS,
  type Handlers,
  policyOf,
} from './connection.js'
import type { Reactor } from './reactor.js'
import { protect } from './registration.js'

/** The options of `Reactor.serve`. */
export interface ServeOptions extends ConnectionOptions {
  /** The most connections at a time. Further ones wait in the kernel's backlog until one is gone. Default: no limit. */
  readonly maxConnections?: number | undefined
  /** The most connections to accept in one turn. Default 64. */
  readonly budget?: number | undefined
  /**
   * EPOLLEXCLUSIVE: if several threads or processes serve the same open socket, whether a connection wakes only one or some
   * of them instead of all. This has an effect on threads in `run`. On Node's loop, in whose epoll instance the reactor's is
   * nested, all threads wake, and all but one find nothing. Default false.
   */
  readonly exclusive?: boolean | undefined
  /**
   * Called once when an error has ended the accepting, such as `EINVAL` after other code has shut down the listening socket.
   * The listening socket is then closed, and the connections go on. Runs in the async context of `serve`. Default: the error
   * becomes an uncaught exception.
   */
  readonly error?: ((error: Error) => void) | undefined
}

/** A listening socket and its accepted connections, from `Reactor.serve`. */
export class Server<State = undefined, Address extends SocketAddress = SocketAddress> {
  readonly #listener: Listener<Socket<Address>, Address>
  readonly #connections = new Set<Connection<State, Address>>()
  /** The streams that were made of connections. */
  readonly #streams = new Set<SocketStream<Address>>()
  readonly #maxConnections: number
  readonly #exclusive: boolean
  readonly #ended: Promise<void>
  /** The watch of the listener. */
  #watch: Watch | undefined
  /** The number of connections, and of streams that were made of them. */
  #open = 0
  #paused = false
  /** The number of connections that epoll had no room for. */
  #refused = 0
  /** Whether the last accepted connection was refused in this way. */
  #refusing = false
  #closed: Promise<void> | undefined
  #lastClosed: (() => void) | undefined

  /** Use `Reactor.serve`. `ended` is called when the server no longer accepts. */
  constructor(
    reactor: Reactor,
    socket: Socket<Address>,
    handlers: Handlers<State, NoInfer<Address>>,
    options: ServeOptions,
    ended: () => void,
  ) {
    checkSocket(socket, 'socket')
    checkHandlers<ConnectionHandlers<State, Address>>(handlers, 'data', HANDLERS)
    checkOptions(options, 'options', SERVE_OPTIONS)
    const { maxConnections = Number.POSITIVE_INFINITY, exclusive = false, budget, error: report = raise } = options
    if (maxConnections !== Number.POSITIVE_INFINITY) checkInteger(maxConnections, 1, 0x7fff_ffff, 'maxConnections')
    if (budget !== undefined) checkInteger(budget, 1, 0x7fff_ffff, 'budget')
    checkFunction(report, 'error')
    checkBoolean(exclusive, 'exclusive')
    const settings: ConnectionSettings<State, Address> = { policy: policyOf(options, socket), owner: this.#owner }
    this.#maxConnections = maxConnections
    this.#exclusive = exclusive
    const watch = exclusive ? reactor.watchExclusive : reactor.watch
    this.#listener = new Listener<Socket<Address>, Address>(socket, {
      budget,
      // If the reactor is closed, the server ends as with `close`.
      watch: (target, events, callback, options) => {
        const ended = () => (reactor.closed ? this.#listener.close() : options?.ended?.())
        this.#watch = watch(target, events, callback, { ended })
        return this.#watch
      },
    })
    this.#ended = this.#listener.run((accepted) => {
      // The handler of an earlier connection has closed the reactor.
      if (reactor.closed) {
        closeQuietly(accepted)
        this.#listener.close()
        return
      }
      try {
        new Connection(reactor, accepted, handlers, settings)
        this.#refusing = false
      } catch (error) {
        closeQuietly(accepted)
        if (!isNoRoom(error)) throw error
        this.#refuse(error)
      }
    })
    this.#ended.then(ended, ended)
    this.#ended.catch((error: Error) => protect(() => report(error)))
  }

  /** The address that the socket listens on. */
  get address(): Address {
    return this.#listener.address
  }

  /** The connections that are open now. */
  get connections(): ReadonlySet<Connection<State, Address>> {
    return this.#connections
  }

  /** The accepting statistics so far. `dropped` includes connections that epoll had no room for. */
  get statistics(): ListenerStatistics {
    const { accepted, dropped, errors } = this.#listener.statistics
    return { accepted: accepted - this.#refused, dropped: dropped + this.#refused, errors }
  }

  /** Stops accepting until `resume`. New connections wait in the kernel's backlog. */
  pause(): void {
    this.#paused = true
    this.#rest()
  }

  /** Accepts again after `pause`. */
  resume(): void {
    this.#paused = false
    this.#acceptOn()
  }

  /**
   * Stops accepting and closes the listening socket. The promise settles when the last connection is gone, and the last stream
   * that was made of one. It is fulfilled, or rejected with the error that had ended the accepting before. Connections and
   * streams that are left after `timeout` **milliseconds** are aborted; by default none are.
   * @throws TypeError, RangeError if an option is invalid; the server then goes on
   */
  close(options: { readonly timeout?: number | undefined } = {}): Promise<void> {
    checkOptions(options, 'options', { timeout: true })
    const { timeout } = options
    if (timeout !== undefined) checkInteger(timeout, 0, 0x7fff_ffff, 'timeout')
    this.#closed ??= this.#close()
    if (timeout !== undefined) {
      const late = setTimeout(() => this.#abortAll(), timeout)
      const stop = () => clearTimeout(late)
      this.#closed.then(stop, stop)
    }
    return this.#closed
  }

  /** Stops accepting, and aborts all connections and the streams that were made of them. Settles as `close` does. */
  async abort(): Promise<void> {
    const closed = this.close()
    this.#abortAll()
    await closed
  }

  readonly #owner: ConnectionOwner<State, Address> = {
    open: (connection) => {
      this.#connections.add(connection)
      if (++this.#open >= this.#maxConnections) this.#rest()
    },
    close: (connection) => {
      this.#connections.delete(connection)
    },
    becomes: (stream) => {
      this.#streams.add(stream)
      stream.once('close', () => {
        this.#streams.delete(stream)
        this.#owner.gone()
      })
    },
    gone: () => {
      if (--this.#open === 0) this.#lastClosed?.()
      this.#acceptOn()
    },
  }

  /** Counts a connection, which is closed already, as refused. Warns only for the first of a run of refusals. */
  #refuse(error: SystemError): void {
    this.#refused++
    if (!this.#refusing) {
      process.emitWarning(`Accepted connections are closed: ${error.message}`, { code: 'LINUX_SOCKETS_ACCEPT' })
    }
    this.#refusing = true
  }

  #abortAll(): void {
    for (const connection of this.#connections) protect(() => connection.abort())
    for (const stream of this.#streams) protect(() => stream.resetAndDestroy())
  }

  /** With EPOLLEXCLUSIVE only one waiter may be woken. If it does not accept, no other does, so stop watching. */
  #rest(): void {
    this.#listener.pause()
    // If the change fails, the socket is no longer watched. The next change tries again.
    if (this.#exclusive) orUndefined(() => this.#watch?.modify(0))
  }

  #acceptOn(): void {
    if (!this.#paused && this.#open < this.#maxConnections && !this.#listener.closed) this.#listener.resume()
  }

  async #close(): Promise<void> {
    this.#listener.close()
    try {
      await this.#ended
    } finally {
      if (this.#open > 0) {
        await new Promise<void>((resolve) => {
          this.#lastClosed = resolve
        })
      }
    }
  }
}

const SERVE_OPTIONS: NamesOf<ServeOptions> = {
  ...CONNECTION_OPTIONS,
  maxConnections: true,
  budget: true,
  exclusive: true,
  error: true,
}

/** EPOLL_CTL_ADD fails with these at `fs.epoll.max_user_watches`, and without kernel memory. epoll_ctl(2) */
const NO_ROOM: ReadonlySet<string> = new Set<ErrnoName>(['ENOSPC', 'ENOMEM'])

/** Whether epoll had no room, as opposed to an exception from `Handlers.state`. */
function isNoRoom(error: unknown): error is SystemError {
  const { code, syscall } = Object(error) as Partial<SystemError>
  return syscall === 'epoll_ctl' && code !== undefined && NO_ROOM.has(code)
}

function raise(error: Error): never {
  throw error
}
