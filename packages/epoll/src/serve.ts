import type { Socket, SocketAddress, SystemError, Watch } from '@linux-sockets/native-core'
import {
  checkBoolean,
  checkDrainOptions,
  checkFunction,
  checkHandlers,
  checkInteger,
  checkOptions,
  checkSocket,
  closeQuietly,
  type NamesOf,
  orUndefined,
} from '@linux-sockets/native-core/internal'
import { type DrainOptions, Listener, type SocketStream } from '@linux-sockets/native-core/streams'
import { type ConnectionOwner, LiveConnection } from './connection.js'
import { type Connection, type ConnectionHandlers, HANDLERS, type Handlers } from './handlers.js'
import { CONNECTION_OPTIONS, type ConnectionOptions, checkReactor, policyOf } from './options.js'
import type { Reactor } from './reactor.js'
import { protect } from './registration.js'
import { type ServerStatistics, Tally } from './statistics.js'

/** The options of `serve`. */
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
   * Called each time that accepting is put off because of a limit of descriptors, of memory or of epoll: `EMFILE`, `ENFILE`,
   * `ENOBUFS`, `ENOMEM`, `ENOSPC`. The server tries again after 5 ms to 1 s. Default: a process warning.
   */
  readonly delayed?: ((error: SystemError) => void) | undefined
  /**
   * Called once when an error has ended the accepting, such as `EINVAL` after other code has shut down the listening socket.
   * The listening socket is then closed, and the connections go on. Runs in the async context of `serve`. Default: the error
   * becomes an uncaught exception.
   */
  readonly ended?: ((error: Error) => void) | undefined
}

/**
 * Takes over a listening socket and serves every connection that comes to it. One object of handlers serves them all.
 *
 *     const server = serve(reactor, socket, { data: (connection, chunk) => connection.write(chunk) })
 *
 * At a limit of descriptors or memory the server calls the option `delayed`, and tries again later. If epoll has no room for
 * a connection (`ENOSPC` beyond `fs.epoll.max_user_watches`, `ENOMEM`), the server closes it without calling a handler,
 * counts it as dropped, and calls `delayed` as well. `serve` makes the socket non-blocking, also for every other holder of
 * the same open file. If it throws, the caller still owns the socket.
 * @throws TypeError, RangeError if the socket doesn't listen, or a handler or an option is invalid
 * @throws SystemError if the socket can't be watched
 */
export function serve<State = undefined, Address extends SocketAddress = SocketAddress>(
  reactor: Reactor,
  socket: Socket<Address>,
  handlers: Handlers<State, NoInfer<Address>>,
  options: ServeOptions = {},
): Server<State, Address> {
  checkReactor(reactor)
  checkSocket(socket, 'socket')
  checkHandlers<ConnectionHandlers<State, Address>>(handlers, 'data', HANDLERS)
  checkServeOptions(options)
  return new Server<State, Address>(reactor, socket, handlers, options)
}

/** A listening socket and its accepted connections, from `serve` and `listen`. */
export class Server<State = undefined, Address extends SocketAddress = SocketAddress> implements Disposable {
  readonly #reactor: Reactor
  /** Hands out functions that begin the accepted connections: before that, no code of the program has seen them. */
  readonly #listener: Listener<() => void, Address>
  readonly #connections = new Set<Connection<State, Address>>()
  /** The streams that were made of connections. */
  readonly #streams = new Set<SocketStream<Address>>()
  /** The traffic of connections that are gone. */
  readonly #past = new Tally()
  readonly #maxConnections: number
  readonly #exclusive: boolean
  readonly #accepting: Promise<void>
  /** The watch of the listener. */
  #watch: Watch | undefined
  /** The number of connections, and of streams that were made of them. */
  #open = 0
  #paused = false
  #drained: Promise<number> | undefined
  /** The number of connections and streams that `drain` has reset. */
  #resets = 0
  /** Whether the time that `drain` gave the connections is over. */
  #expired = false
  #lastClosed: (() => void) | undefined

  /** Takes checked arguments; programs call `serve` or `listen`. */
  constructor(
    reactor: Reactor,
    socket: Socket<Address>,
    handlers: ConnectionHandlers<State, Address>,
    options: ServeOptions,
  ) {
    const { maxConnections = Number.POSITIVE_INFINITY, exclusive = false, budget, delayed, ended = raise } = options
    const policy = policyOf(options, socket)
    this.#reactor = reactor
    this.#maxConnections = maxConnections
    this.#exclusive = exclusive
    const watch = exclusive ? reactor.watchExclusive : reactor.watch
    this.#listener = new Listener<() => void, Address>(socket, {
      budget,
      delayed,
      wrap: (accepted) => {
        const connection = new LiveConnection(reactor, accepted, handlers, policy, { owner: this.#owner })
        return () => {
          try {
            connection.begin()
            if (this.#expired) this.#abort(connection)
          } catch (error) {
            closeQuietly(accepted)
            if (!this.#endedWithReactor(error)) throw error
          }
        }
      },
      // If the reactor is closed, the server ends as with `close`.
      watch: (target, events, callback, options) => {
        const ended = () => (reactor.closed ? this.close() : options?.ended?.())
        this.#watch = watch(target, events, callback, { ended })
        return this.#watch
      },
    })
    const accepting = this.#listener.run((begin) => {
      try {
        begin()
      } finally {
        // A handler may have closed the reactor: then no more connections can be made.
        if (reactor.closed) this.close()
      }
    })
    this.#accepting = accepting.catch((error) => {
      if (!this.#endedWithReactor(error)) throw error
    })
    this.#accepting.catch((error: Error) => protect(() => ended(error)))
  }

  /** The address that the socket listens on. @throws SystemError `EBADF` once the listening socket is closed */
  get address(): Address {
    return this.#listener.address
  }

  /** Whether the listening socket is closed: by `close` or `drain`, by an error, or with the reactor. */
  get closed(): boolean {
    return this.#listener.closed
  }

  /** The connections that are open now. */
  get connections(): ReadonlySet<Connection<State, Address>> {
    return this.#connections
  }

  /** The counts of accepted connections, and the traffic of all connections, as a copy. */
  get statistics(): ServerStatistics {
    const tally = new Tally().add(this.#past)
    for (const { statistics } of this.#connections) tally.add(statistics)
    return { ...this.#listener.statistics, ...tally }
  }

  /** Stops accepting until `resume`. New connections wait in the kernel's backlog. */
  pause(): this {
    this.#paused = true
    this.#rest()
    return this
  }

  /** Accepts again after `pause`. */
  resume(): this {
    this.#paused = false
    this.#acceptOn()
    return this
  }

  /** Keeps the process alive while the server accepts connections. This is the default. */
  ref(): this {
    this.#listener.ref()
    return this
  }

  /** Lets the process end although the server accepts connections. Open connections keep it alive all the same. */
  unref(): this {
    this.#listener.unref()
    return this
  }

  /** Closes the listening socket; the connections go on. The kernel resets those that wait in the backlog. */
  close(): void {
    this.#listener.close()
  }

  /**
   * Closes the listening socket, and waits until all connections are closed, and all streams that were made of connections.
   * Those that are still open after `timeout` are reset; with 0, all of them at once. The promise is fulfilled with the number
   * of resets. It is rejected if an error has ended the accepting before; the rejection need not be handled, because the option `ended` was called with the error.
   * @throws TypeError, RangeError if an option is invalid; the server then goes on
   */
  drain(options: DrainOptions = {}): Promise<number> {
    checkDrainOptions(options)
    const { timeout } = options
    this.#drained ??= this.#drain()
    this.#drained.catch(() => {})
    if (timeout === 0) this.#abortAll()
    else if (timeout !== undefined) {
      const late = setTimeout(() => this.#abortAll(), timeout)
      const stop = () => clearTimeout(late)
      this.#drained.then(stop, stop)
    }
    return this.#drained
  }

  /** Called by `using`; closes the listening socket. */
  [Symbol.dispose](): void {
    this.close()
  }

  readonly #owner: ConnectionOwner<State, Address> = {
    open: (connection) => {
      this.#connections.add(connection)
      if (++this.#open >= this.#maxConnections) this.#rest()
    },
    close: (connection) => {
      this.#connections.delete(connection)
      this.#past.add(connection.statistics)
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

  #abortAll(): void {
    this.#expired = true
    for (const connection of this.#connections) this.#abort(connection)
    for (const stream of this.#streams) {
      if (!stream.destroyed) this.#resets++
      protect(() => stream.resetAndDestroy())
    }
  }

  #abort(connection: Connection<State, Address>): void {
    if (!connection.closed) this.#resets++
    protect(() => connection.abort())
  }

  /** Whether an error says only that the reactor is closed. The server then ends as with `close`. */
  #endedWithReactor(error: unknown): boolean {
    const { code, syscall } = Object(error) as Partial<SystemError>
    return this.#reactor.closed && code === 'EBADF' && syscall === 'epoll_ctl'
  }

  /** With EPOLLEXCLUSIVE only one waiter may be woken. If it does not accept, no other does, so stop watching. */
  #rest(): void {
    this.#listener.pause()
    // If the change fails, the socket is no longer watched. The next change tries again.
    if (this.#exclusive) orUndefined(() => this.#watch?.modify(0))
  }

  #acceptOn(): void {
    if (this.#reactor.closed) this.close()
    else if (!this.#paused && this.#open < this.#maxConnections && !this.#listener.closed) this.#listener.resume()
  }

  async #drain(): Promise<number> {
    this.close()
    try {
      await this.#accepting
    } finally {
      if (this.#open > 0) {
        await new Promise<void>((resolve) => {
          this.#lastClosed = resolve
        })
      }
    }
    return this.#resets
  }
}

/**
 * Checks the options that are not those of connections.
 * @throws TypeError, RangeError
 */
export function checkServeOptions(options: ServeOptions): void {
  checkOptions(options, 'options', SERVE_OPTIONS)
  const { maxConnections, budget, exclusive, delayed, ended } = options
  if (maxConnections !== undefined && maxConnections !== Number.POSITIVE_INFINITY) {
    checkInteger(maxConnections, 1, 0x7fff_ffff, 'maxConnections')
  }
  if (budget !== undefined) checkInteger(budget, 1, 0x7fff_ffff, 'budget')
  if (exclusive !== undefined) checkBoolean(exclusive, 'exclusive')
  if (delayed !== undefined) checkFunction(delayed, 'delayed')
  if (ended !== undefined) checkFunction(ended, 'ended')
}

export const SERVE_OPTIONS: NamesOf<ServeOptions> = {
  ...CONNECTION_OPTIONS,
  maxConnections: true,
  budget: true,
  exclusive: true,
  delayed: true,
  ended: true,
}

function raise(error: Error): never {
  throw error
}
