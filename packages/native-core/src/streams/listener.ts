/**
 * Connections go to the callback of `run`, or to the waiting calls of an iterator's `next` in their order, never to both.
 * An error that ends the listener is reported to one of them, or to the first that comes later; all others see a listener
 * that was closed.
 */
import { onAbort } from '../abort.js'
import type { SocketAddress } from '../address.js'
import { checkFunction, checkInteger, checkOptions, checkSignal, checkSocket, type NamesOf } from '../argument.js'
import type { SystemError } from '../error.js'
import { type AsFd, closeQuietly, setNonBlocking } from '../fd.js'
import { getOption } from '../option.js'
import { SO_ACCEPTCONN } from '../options/socket.js'
import type { Socket } from '../socket.js'
import { type WatchFunction, watch } from '../watch.js'
import { Acceptor, type ListenerStatistics } from './acceptor.js'

/** Options of a `Listener`. */
export interface ListenerOptions<T = Socket, Address extends SocketAddress = SocketAddress> {
  /**
   * Makes the connection of an accepted socket: `(socket) => new SocketStream(socket)`. If it throws, the socket is closed
   * and the listener ends with the error. A SystemError that reports a limit, such as the number of watches per user
   * (`ENOSPC`), costs only that connection. Default: the socket itself.
   */
  readonly wrap?: ((socket: Socket<Address>) => T) | undefined
  /** The most connections to accept from one socket before the event loop gets its turn. Default 64. */
  readonly budget?: number | undefined
  /**
   * Called each time that accepting fails and is put off: accept(2) or `wrap` has met a limit (`EMFILE`, `ENFILE`,
   * `ENOBUFS`, `ENOMEM`, `ENOSPC`), or an error has occurred that the man page doesn't list. The listener tries again later.
   * Default: a process warning.
   */
  readonly delayed?: ((error: SystemError) => void) | undefined
  /** Closes the listener. */
  readonly signal?: AbortSignal | undefined
  /** The source of readiness events. Default: `watch`, that is Node's loop. */
  readonly watch?: WatchFunction | undefined
}

/**
 * Accepts connections on Node's loop, with a callback or one at a time as an iterator asks for them.
 *
 *     const listener = new Listener(socket, { wrap: (connection) => new SocketStream(connection) })
 *     for await (const stream of listener) stream.pipe(stream)
 *
 *     await listener.run((stream) => stream.pipe(stream))
 *
 * Connections that the program hasn't asked for wait in the kernel's backlog. Connections that failed before they could be
 * accepted are counted and skipped. Only errors of the socket itself end the listener: `EBADF`, `EINVAL` (after
 * shutdown(2)), `ENOTSOCK`. At a limit of descriptors or memory, or when all connections of a `budget` have failed, the
 * listener calls `delayed` and tries again after 5 ms, then after twice as long each time, up to 1 s. If no descriptor is
 * left at the second try either, it uses a reserved one to accept the waiting connections and close them. A limit that
 * `wrap` meets is treated the same, except that only its connection is closed. Several listeners, also in other threads, may
 * share one open socket. accept(2)
 *
 * A listener may have several sockets, one for each address. A busy socket doesn't keep the others waiting for long. An error
 * that ends one of them ends the listener.
 */
export class Listener<T = Socket, Address extends SocketAddress = SocketAddress>
  implements AsFd, AsyncIterable<T>, Disposable, AsyncDisposable
{
  readonly #acceptor: Acceptor
  readonly #wrap: (socket: Socket) => T
  #ignoreSignal: (() => void) | undefined
  #paused = false
  /** The error that has ended the listener, until a caller has been told. */
  #failure: Error | undefined
  #running: Running<T> | undefined
  #waiting: Waiting<T>[] = []

  /**
   * Takes over the sockets, which must already listen. Makes them non-blocking, which every other holder of the same open
   * file sees.
   * @throws TypeError if a socket doesn't listen, or there is none; TypeError, RangeError for invalid options
   * @throws SystemError if a socket can't be watched. After any exception the caller still owns the sockets.
   */
  constructor(
    sockets: Socket<Address> | readonly Socket<Address>[],
    options: ListenerOptions<T, NoInfer<Address>> = {},
  ) {
    const list = [sockets].flat() as Socket[]
    if (list.length === 0) throw new TypeError('there is no socket to listen with')
    for (const socket of list) checkSocket(socket, 'socket')
    checkOptions(options, 'options', OPTIONS)
    checkListenerOptions(options)
    const { wrap = (accepted) => accepted as T, budget = 64, delayed = warn, signal, watch: from = watch } = options
    for (const socket of list) {
      if (!getOption(socket, SO_ACCEPTCONN)) throw new TypeError('the socket does not listen')
    }
    for (const socket of list) setNonBlocking(socket)
    this.#wrap = wrap as (socket: Socket) => T
    this.#acceptor = new Acceptor(list, budget, from, {
      wants: () => this.inUse && !this.#paused,
      take: (socket) => this.#handOut(socket),
      delayed,
      ended: (error) => this.#end(error),
    })
    if (signal?.aborted) this.close()
    else this.#ignoreSignal = signal && onAbort(signal, () => this.close())
  }

  /** The descriptor, for `setOption` and its like; −1 once closed. With several sockets, the first one's. */
  get fd(): number {
    return this.#first.fd
  }

  /** The sockets, for `setOption` and its like if there are several; the listener still owns them. */
  get sockets(): readonly AsFd[] {
    return [...this.#acceptor.sockets]
  }

  /** getsockname(2) of the socket; with several sockets, of the first one. */
  get address(): Address {
    return this.#first.localName as Address
  }

  /** getsockname(2) of each socket, in the order in which they were given. */
  get addresses(): Address[] {
    return this.#acceptor.sockets.map((socket) => socket.localName as Address)
  }

  /** Whether `close` was called, or an error has ended the listener. */
  get closed(): boolean {
    return this.#acceptor.closed
  }

  /** Whether the listener is paused. */
  get paused(): boolean {
    return this.#paused
  }

  /** Whether `run` hands out the connections, or an iteration waits for one. */
  get inUse(): boolean {
    return this.#running !== undefined || this.#waiting.length > 0
  }

  /** Counts since the listener was made. */
  get statistics(): ListenerStatistics {
    return this.#acceptor.statistics
  }

  /**
   * accept4(2): calls `callback` with each connection until the listener is closed, which fulfills the promise; an error
   * that ends the listener rejects it. The callback runs in the async context of this call. An exception that it throws is
   * uncaught, and the listener goes on.
   * @throws TypeError if the listener runs already or is being iterated over
   */
  async run(callback: (connection: T) => void): Promise<void> {
    checkFunction(callback, 'callback')
    this.#refuseSecondUse(this.#waiting.length > 0)
    if (this.closed) return this.#lastWord()
    await new Promise<void>((resolve, reject) => {
      this.#running = { callback, resolve, reject }
      this.#acceptor.restart()
    })
  }

  /**
   * accept4(2): accepts one connection each time that the iterator is asked for one. Closing the listener ends the
   * iteration. Ending the iteration leaves the listener open, and the remaining connections in the backlog.
   */
  [Symbol.asyncIterator](): AsyncIterableIterator<T, undefined> {
    let ended = false
    const iterator: AsyncIterableIterator<T, undefined> = {
      next: async () => {
        this.#refuseSecondUse(false)
        if (ended) return DONE
        if (this.closed) {
          this.#lastWord()
          return DONE
        }
        return await new Promise<IteratorResult<T, undefined>>((resolve, reject) => {
          this.#waiting.push({ iterator, resolve, reject })
          this.#acceptor.accept()
        })
      },
      return: async () => {
        ended = true
        const mine = this.#waiting.filter((waiting) => waiting.iterator === iterator)
        this.#waiting = this.#waiting.filter((waiting) => waiting.iterator !== iterator)
        for (const { resolve } of mine) resolve(DONE)
        return DONE
      },
      [Symbol.asyncIterator]: () => iterator,
    }
    return iterator
  }

  /** Stops accepting until `resume`; new connections wait in the kernel's backlog. */
  pause(): this {
    this.#paused = true
    return this
  }

  /** Resumes accepting. */
  resume(): this {
    this.#paused = false
    this.#acceptor.arm()
    return this
  }

  /** Keeps the process alive while the listener waits for connections. This is the default. */
  ref(): this {
    this.#acceptor.ref()
    return this
  }

  /** Lets the process end although the listener waits for connections. */
  unref(): this {
    this.#acceptor.unref()
    return this
  }

  /** close(2). The kernel resets the connections that waited in the backlog. A second call does nothing. */
  close(): void {
    if (this.closed) return
    this.#acceptor.close()
    this.#end()
  }

  /** Called by `using`; closes the listener. */
  [Symbol.dispose](): void {
    this.close()
  }

  /** Called by `await using`; closes the listener. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.close()
  }

  get #first(): Socket {
    return this.#acceptor.sockets[0] as Socket
  }

  #handOut(socket: Socket): void {
    // Read before `wrap` is called, which may close the listener.
    const running = this.#running
    const waiting = this.#waiting.shift()
    let connection: T
    try {
      connection = this.#wrap(socket)
    } catch (error) {
      closeQuietly(socket)
      if (waiting !== undefined && this.closed) {
        waiting.reject(error as Error)
        return
      }
      if (waiting !== undefined) this.#waiting.unshift(waiting)
      this.#acceptor.refuse(error)
      return
    }
    this.#acceptor.succeeded()
    if (waiting !== undefined) waiting.resolve({ value: connection, done: false })
    else running?.callback(connection)
  }

  #end(failure?: Error): void {
    this.#ignoreSignal?.()
    this.#failure = failure
    for (const { resolve, reject } of this.#waiting.splice(0)) this.#tell(() => resolve(DONE), reject)
    if (this.#running !== undefined) this.#tell(this.#running.resolve, this.#running.reject)
    this.#running = undefined
  }

  /** Rejects for the first caller if the listener has failed, and resolves for all others. */
  #tell(resolve: () => void, reject: (error: Error) => void): void {
    try {
      this.#lastWord()
      resolve()
    } catch (error) {
      reject(error as Error)
    }
  }

  #lastWord(): void {
    const failure = this.#failure
    this.#failure = undefined
    if (failure !== undefined) throw failure
  }

  #refuseSecondUse(iterating: boolean): void {
    if (this.#running !== undefined) throw new TypeError('the listener runs already')
    if (iterating) throw new TypeError('the listener is being iterated over')
  }
}

/**
 * Checks the values of options whose names are known, before there are sockets to listen with. For the packages of
 * `@linux-sockets`.
 * @throws TypeError, RangeError
 */
export function checkListenerOptions({ wrap, budget, delayed, signal, watch }: ListenerOptions<unknown, never>): void {
  if (wrap !== undefined) checkFunction(wrap, 'wrap')
  if (budget !== undefined) checkInteger(budget, 1, 0x7fff_ffff, 'budget')
  if (delayed !== undefined) checkFunction(delayed, 'delayed')
  checkSignal(signal)
  if (watch !== undefined) checkFunction(watch, 'watch')
}

const OPTIONS: NamesOf<ListenerOptions> = { wrap: true, budget: true, delayed: true, signal: true, watch: true }

interface Running<T> {
  readonly callback: (connection: T) => void
  readonly resolve: () => void
  readonly reject: (error: Error) => void
}

interface Waiting<T> {
  readonly iterator: AsyncIterator<T>
  readonly resolve: (result: IteratorResult<T, undefined>) => void
  readonly reject: (error: Error) => void
}

const DONE = { value: undefined, done: true } as const

function warn(error: SystemError): void {
  process.emitWarning(`Accepting connections is put off: ${error.message}`, { code: 'LINUX_SOCKETS_ACCEPT' })
}
