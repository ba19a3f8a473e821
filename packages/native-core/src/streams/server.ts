/**
 * A server's set of connections holds each accepted stream from before it is handed out until its `'close'`, so that `drain`
 * misses none.
 */
import type { SocketAddress } from '../address.js'
import { checkInteger, checkOptions, type NamesOf } from '../argument.js'
import type { Socket } from '../socket.js'
import { Listener, type ListenerOptions } from './listener.js'
import { checkStreamOptions, type SocketStreamOptions } from './options.js'
import { SocketStream } from './stream.js'

/** Options of `StreamServer`: those of `Listener`, and those of the accepted streams. */
export interface ServerOptions extends Omit<ListenerOptions, 'wrap'> {
  /** Options of the accepted streams. */
  readonly stream?: SocketStreamOptions | undefined
}

/** Options of `drain`. */
export interface DrainOptions {
  /** The time in **milliseconds**, at least 0, after which connections that are still open are reset. Default: never. */
  readonly timeout?: number | undefined
}

/**
 * A `Listener` that makes streams of its connections, and keeps a set of those that are open. It is the base class of the
 * servers in the other packages.
 *
 *     const server = new StreamServer(socket, { stream: { allowHalfOpen: true } })
 *     process.once('SIGTERM', () => server.drain({ timeout: 10_000 }))
 *     await server.run((stream) => stream.pipe(stream))
 */
export class StreamServer<Address extends SocketAddress> extends Listener<SocketStream<Address>, Address> {
  readonly #connections: Set<SocketStream<Address>>
  /** Callbacks to run when no connection is left. */
  readonly #drained: (() => void)[]

  /** Takes over sockets that already listen, such as those received from another process. Throws as `Listener` does. */
  constructor(sockets: Socket | readonly Socket[], options: ServerOptions = {}) {
    checkOptions(options, 'options', SERVER_OPTIONS)
    const { stream: streamOptions, ...listenerOptions } = options
    if (streamOptions !== undefined) checkStreamOptions(streamOptions, 'stream')
    const connections = new Set<SocketStream<Address>>()
    // Runs before all other 'close' listeners, one of which may throw.
    function forget(this: SocketStream<Address>): void {
      connections.delete(this)
      if (connections.size === 0) for (const done of drained.splice(0)) done()
    }
    const drained: (() => void)[] = []
    super(sockets as Socket<Address> | readonly Socket<Address>[], {
      ...listenerOptions,
      wrap(socket) {
        const stream = new SocketStream(socket, streamOptions)
        connections.add(stream)
        return stream.on('close', forget)
      },
    })
    this.#connections = connections
    this.#drained = drained
  }

  /** The accepted streams that are not yet closed. */
  get connections(): ReadonlySet<SocketStream<Address>> {
    return this.#connections
  }

  /**
   * Closes the server, waits until all accepted streams are closed, and resolves to the number of streams that were reset
   * because they were still open after `timeout`. The kernel resets connections that wait in the backlog.
   * @throws TypeError, RangeError if an option is invalid; the server then goes on
   */
  async drain(options: DrainOptions = {}): Promise<number> {
    checkDrainOptions(options)
    const { timeout } = options
    this.close()
    let resets = 0
    const reset = () => {
      for (const stream of this.#connections) {
        if (!stream.destroyed) resets++
        stream.resetAndDestroy()
      }
    }
    const limit = timeout === undefined ? undefined : setTimeout(reset, timeout)
    if (this.#connections.size > 0) await new Promise<void>((resolve) => this.#drained.push(resolve))
    clearTimeout(limit)
    return resets
  }
}

/** The names of the options of a `StreamServer`. */
export const SERVER_OPTIONS: NamesOf<ServerOptions> = {
  budget: true,
  delayed: true,
  signal: true,
  watch: true,
  stream: true,
}

/** @throws TypeError, RangeError */
export function checkDrainOptions(options: DrainOptions): void {
  checkOptions(options, 'options', { timeout: true })
  if (options.timeout !== undefined) checkInteger(options.timeout, 0, 0x7fff_ffff, 'timeout')
}
