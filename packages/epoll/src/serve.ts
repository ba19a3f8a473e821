import {
  checkInteger,
  type ErrnoName,
  Listener,
  type ListenerStatistics,
  type Socket,
  type SocketAddress,
  type SocketStream,
  type SystemError,
  type Watch,
} from '@linux-sockets/native-core'
import {
  Connection,
  type ConnectionOptions,
  type ConnectionOwner,
  type ConnectionSettings,
  type Handlers,
  policyOf,
} from './connection.js'
import type { Reactor } from './reactor.js'
import { protect } from './registration.js'

/** How connections are served. */
export interface ServeOptions<State> extends ConnectionOptions {
  /** Makes the state of each new connection. Without it the state is undefined. */
  readonly state?: (() => State) | undefined
  /** The most connections at a time; what comes beyond waits in the kernel's backlog until one is gone. Default: no limit. */
  readonly maxConnections?: number | undefined
  /** The most connections to accept in one turn. Default 64. */
  readonly budget?: number | undefined
  /**
   * EPOLLEXCLUSIVE: where several threads or processes serve the same open socket, whether a connection wakes one or some
   * of them instead of all. It does so for threads in `run`: on Node's loop, which holds the reactor's epoll instance in its
   * own, all of them wake, and all but one find nothing. Default false.
   */
  readonly exclusive?: boolean | undefined
  /**
   * Called once when an error has ended the accepting, such as `EINVAL` after somebody has shut the listening socket down;
   * it is closed then, and the connections go on. Runs in the async context of `serve`. Default: an uncaught exception.
   */
  readonly error?: ((error: Error) => void) | undefined
}

/** A listening socket and the connections that came through it, from `Reactor.serve`. */
export class Server<State = undefined> {
  readonly #listener: Listener
  readonly #connections = new Set<Connection<State>>()
  /** What was made of connections. */
  readonly #streams = new Set<SocketStream>()
  readonly #maxConnections: number
  readonly #exclusive: boolean
  readonly #ended: Promise<void>
  /** The listener's. */
  #watch: Watch | undefined
  /** Connections, and streams that were made of them. */
  #open = 0
  #paused = false
  /** Connections that epoll had no room for. */
  #refused = 0
  /** Whether the last one was such. */
  #refusing = false
  #closed: Promise<void> | undefined
  #lastClosed: (() => void) | undefined

  /** Use `Reactor.serve`. `ended` is called when it accepts no more. */
  constructor(
    reactor: Reactor,
    socket: Socket,
    handlers: Handlers<State>,
    options: ServeOptions<State>,
    ended: () => void,
  ) {
    const { maxConnections = Number.POSITIVE_INFINITY, exclusive = false, budget, error: report = raise } = options
    if (maxConnections !== Number.POSITIVE_INFINITY) checkInteger(maxConnections, 1, 0x7fff_ffff, 'maxConnections')
    const settings: ConnectionSettings<State> = { policy: policyOf(options, socket), owner: this.#owner }
    this.#maxConnections = maxConnections
    this.#exclusive = exclusive
    const watch = exclusive ? reactor.watchExclusive : reactor.watch
    this.#listener = new Listener(socket, {
      budget,
      // With its reactor the server ends as `close` ends it.
      watch: (target, events, callback) => {
        this.#watch = watch(target, events, callback, { ended: () => this.#listener.close() })
        return this.#watch
      },
    })
    this.#ended = this.#listener.run((accepted) => {
      let state: State
      try {
        state = options.state?.() as State
      } catch (error) {
        accepted.close()
        throw error
      }
      try {
        new Connection(reactor, accepted, handlers, state, settings)
        this.#refusing = false
      } catch (error) {
        // Open still: it was registered, and something else has failed.
        if (!accepted.closed) throw error
        this.#refuse(error as SystemError)
      }
    })
    this.#ended.then(ended, ended)
    this.#ended.catch((error: Error) => protect(() => report(error)))
  }

  /** What it listens on. */
  get address(): SocketAddress {
    return this.#listener.address
  }

  /** The connections that are open now. */
  get connections(): ReadonlySet<Connection<State>> {
    return this.#connections
  }

  /** What the accepting has met so far; connections that epoll had no room for are among the dropped. */
  get statistics(): ListenerStatistics {
    const { accepted, dropped, errors } = this.#listener.statistics
    return { accepted: accepted - this.#refused, dropped: dropped + this.#refused, errors }
  }

  /** Accepts no more until `resume`; what comes waits in the kernel's backlog. */
  pause(): void {
    this.#paused = true
    this.#rest()
  }

  /** Accepts again. */
  resume(): void {
    this.#paused = false
    this.#acceptOn()
  }

  /**
   * Stops accepting and closes the listening socket. Fulfilled when the last connection is gone, and the last stream that was
   * made of one; where an error had ended the accepting before, rejected with it then. What is left after `timeout`
   * **milliseconds** is aborted; by default nothing is.
   */
  close({ timeout }: { readonly timeout?: number | undefined } = {}): Promise<void> {
    if (timeout !== undefined) checkInteger(timeout, 0, 0x7fff_ffff, 'timeout')
    this.#closed ??= this.#close()
    if (timeout !== undefined) {
      const late = setTimeout(() => this.#abortAll(), timeout)
      const stop = () => clearTimeout(late)
      this.#closed.then(stop, stop)
    }
    return this.#closed
  }

  /** Stops accepting, and aborts all connections, and the streams that were made of some. Settles as `close` does. */
  async abort(): Promise<void> {
    const closed = this.close()
    this.#abortAll()
    await closed
  }

  readonly #owner: ConnectionOwner<State> = {
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

  /** The connection is closed already. Who is warned once need not be told of each of thousands. */
  #refuse(error: SystemError): void {
    if (!NO_ROOM.has(error.code)) throw error
    this.#refused++
    if (!this.#refusing) {
      process.emitWarning(`Accepted connections are closed: ${error.message}`, { code: 'LINUX_SOCKETS_ACCEPT' })
    }
    this.#refusing = true
  }

  #abortAll(): void {
    for (const connection of this.#connections) connection.abort()
    for (const stream of this.#streams) stream.resetAndDestroy()
  }

  /** Who is woken alone, and takes nothing, leaves the connection to nobody. */
  #rest(): void {
    this.#listener.pause()
    if (this.#exclusive) this.#watch?.update(0)
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

/** What EPOLL_CTL_ADD meets: `fs.epoll.max_user_watches`, and the kernel's memory. epoll_ctl(2) */
const NO_ROOM: ReadonlySet<string> = new Set<ErrnoName>(['ENOSPC', 'ENOMEM'])

function raise(error: Error): never {
  throw error
}
