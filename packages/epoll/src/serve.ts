import { Listener, type ListenerStatistics, type Socket, type SocketAddress } from '@linux-sockets/native-core'
import { Connection, type ConnectionOptions, type Handlers } from './connection.js'
import type { Reactor } from './reactor.js'

/** How connections are served. */
export interface ServeOptions<State> extends ConnectionOptions {
  /** Makes the state of each new connection. Without it the state is undefined. */
  readonly state?: (() => State) | undefined
}

/** A listening socket and the connections that came through it, from `serve`. */
export class Server<State = undefined> {
  readonly #listener: Listener
  readonly #connections = new Set<Connection<State>>()
  readonly #ended: Promise<void>
  #closed: Promise<void> | undefined
  #lastClosed: (() => void) | undefined

  /** Use `serve`. */
  constructor(reactor: Reactor, socket: Socket, handlers: Handlers<State>, options: ServeOptions<State>) {
    const { end } = handlers
    const tracked: Handlers<State> = {
      data: (connection, chunk) => handlers.data(connection, chunk),
      drain: (connection) => handlers.drain?.(connection),
      ...(end && { end: (connection) => end.call(handlers, connection) }),
      error: (connection, error) => handlers.error?.(connection, error),
      close: (connection) => {
        this.#connections.delete(connection)
        if (this.#connections.size === 0) this.#lastClosed?.()
        handlers.close?.(connection)
      },
      open: (connection) => {
        this.#connections.add(connection)
        handlers.open?.(connection)
      },
    }
    this.#listener = new Listener(socket)
    this.#ended = this.#listener.run((accepted) => {
      try {
        new Connection(reactor, accepted, tracked, options.state?.() as State, options)
      } catch (error) {
        accepted.close()
        throw error
      }
    })
  }

  /** What it listens on. */
  get address(): SocketAddress {
    return this.#listener.address
  }

  /** The connections that are open now. */
  get connections(): ReadonlySet<Connection<State>> {
    return this.#connections
  }

  /** What the accepting has met so far. */
  get statistics(): ListenerStatistics {
    return this.#listener.statistics
  }

  /**
   * Stops accepting and closes the listening socket. Fulfilled when the last connection is gone; rejected when an error
   * had ended the accepting before.
   */
  close(): Promise<void> {
    this.#closed ??= this.#close()
    return this.#closed
  }

  /** Stops accepting, and aborts all connections. */
  async abort(): Promise<void> {
    const closed = this.close()
    for (const connection of this.#connections) connection.abort()
    await closed
  }

  async #close(): Promise<void> {
    this.#listener.close()
    await this.#ended
    if (this.#connections.size === 0) return
    await new Promise<void>((resolve) => {
      this.#lastClosed = resolve
    })
  }
}

/**
 * Serves every connection that comes to a listening socket, which it takes over; one object of handlers for them all.
 * At a limit of descriptors it goes on accepting later, with a process warning.
 * @throws TypeError when the socket doesn't listen
 */
export function serve<State = undefined>(
  reactor: Reactor,
  socket: Socket,
  handlers: Handlers<State>,
  options: ServeOptions<State> = {},
): Server<State> {
  return new Server(reactor, socket, handlers, options)
}
