import { onAbort } from '../abort.js'
import type { SocketAddress } from '../address.js'
import { checkFunction, checkInteger, checkOptions, checkSignal, checkSocket, type NamesOf } from '../argument.js'
import { EPOLLHUP, EPOLLIN } from '../constants.js'
import { type ErrnoName, errno } from '../errno.js'
import { SystemError } from '../error.js'
import { type AsFd, closeQuietly, eventfd, type OwnedFd, setNonBlocking } from '../fd.js'
import { getOption } from '../option.js'
import { SO_ACCEPTCONN } from '../options/socket.js'
import type { Socket } from '../socket.js'
import { type Watch, type WatchFunction, watch } from '../watch.js'

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
   * Called each time that accepting is put off: by a limit that it or `wrap` meets (`EMFILE`, `ENFILE`, `ENOBUFS`,
   * `ENOMEM`, `ENOSPC`), or by an error that accept(2) doesn't explain. Default: a process warning.
   */
  readonly error?: ((error: SystemError) => void) | undefined
  /** Closes the listener. */
  readonly signal?: AbortSignal | undefined
  /** The source of readiness events. Default: `watch`, that is Node's loop. */
  readonly watch?: WatchFunction | undefined
}

/** Counts since the listener was made. */
export interface ListenerStatistics {
  /** Connections handed out. */
  readonly accepted: number
  /**
   * Connections that were closed at once: because descriptors ran out, so that their peers need not wait, or by a limit of
   * `wrap`.
   */
  readonly dropped: number
  /** Calls of accept4(2) that failed: limits, and connections that had failed before they were accepted. */
  readonly errors: number
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
 * shutdown(2)), `ENOTSOCK`. At a limit of descriptors or memory, or when a whole budget of connections has failed, the
 * listener reports the error and tries again after 5 ms, then after twice as long, up to 1 s. If descriptors are still
 * missing at the second try, it uses a reserved one to accept the waiting connections and close them. A limit that `wrap`
 * meets is treated the same, except that the one connection is closed. Several listeners, in Workers too, may share one
 * open socket. accept(2)
 *
 * A listener may have several sockets, one for each address. No socket waits for long because another is busy, and an error
 * that ends one of them ends them all.
 */
export class Listener<T = Socket, Address extends SocketAddress = SocketAddress>
  implements AsFd, AsyncIterable<T>, Disposable, AsyncDisposable
{
  readonly #sources: readonly Source[]
  readonly #wrap: (socket: Socket) => T
  readonly #budget: number
  readonly #report: (error: SystemError) => void
  #ignoreSignal: (() => void) | undefined
  readonly #watchFunction: WatchFunction
  readonly #statistics = { accepted: 0, dropped: 0, errors: 0 }

  #referenced = true
  #closed = false
  #paused = false
  /** The error that has ended the listener, until a caller has been told. */
  #failure: Error | undefined
  #running: Running<T> | undefined
  #waiting: Waiting<T>[] = []
  /** A spare descriptor, closed in order to accept when no other descriptor is left. */
  #reserve: OwnedFd | undefined
  /** The delay before the next try, in milliseconds; 0 while accepting works. */
  #delay = 0
  #retry: NodeJS.Timeout | undefined

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
    const { wrap = (accepted) => accepted as T, budget = 64, error = warn, signal, watch: from = watch } = options
    this.#watchFunction = from
    this.#sources = list.map((socket) => ({ socket, watch: undefined, credit: budget, certain: false, failures: 0 }))
    for (const socket of list) {
      if (!getOption(socket, SO_ACCEPTCONN)) throw new TypeError('the socket does not listen')
    }
    for (const socket of list) setNonBlocking(socket)
    try {
      // Watch from the start: later, at the limit of descriptors, it may be too late.
      for (const source of this.#sources) source.watch = this.#watchFor(source, 0)
    } catch (reason) {
      this.#stopWatching()
      throw reason
    }
    this.#reserve = tryReserve()
    this.#wrap = wrap as (socket: Socket) => T
    this.#budget = budget
    this.#report = error
    if (signal?.aborted) this.close()
    else this.#ignoreSignal = signal && onAbort(signal, () => this.close())
  }

  /** The descriptor, for `setOption` and its like; −1 once closed. With several sockets, the first one's. */
  get fd(): number {
    return this.#first.fd
  }

  /** The sockets, for `setOption` and its like if there are several; the listener still owns them. */
  get sockets(): readonly AsFd[] {
    return this.#sources.map(({ socket }) => socket)
  }

  /** getsockname(2) of the socket; with several sockets, of the first one. */
  get address(): Address {
    return this.#first.localName as Address
  }

  /** getsockname(2) of each socket, in the order in which they were given. */
  get addresses(): Address[] {
    return this.#sources.map(({ socket }) => socket.localName as Address)
  }

  /** Whether `close` was called, or an error has ended the listener. */
  get closed(): boolean {
    return this.#closed
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
    return { ...this.#statistics }
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
    if (this.#closed) return this.#lastWord()
    await new Promise<void>((resolve, reject) => {
      this.#running = { callback, resolve, reject }
      // The new watches have the async context of this call.
      this.#stopWatching()
      for (const source of this.#sources) this.#startWatch(source)
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
        if (this.#closed) {
          this.#lastWord()
          return DONE
        }
        return await new Promise<IteratorResult<T, undefined>>((resolve, reject) => {
          this.#waiting.push({ iterator, resolve, reject })
          for (const source of this.#sources) {
            source.certain = false
            this.#accept(source)
          }
          this.#arm()
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
    this.#arm()
    return this
  }

  /** Keeps the process alive while the listener waits for connections. This is the default. */
  ref(): this {
    this.#referenced = true
    for (const { watch } of this.#sources) watch?.ref()
    this.#retry?.ref()
    return this
  }

  /** Lets the process end although the listener waits for connections. */
  unref(): this {
    this.#referenced = false
    for (const { watch } of this.#sources) watch?.unref()
    this.#retry?.unref()
    return this
  }

  /** close(2). The kernel resets the connections that waited in the backlog. A second call does nothing. */
  close(): void {
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

  get #wanted(): boolean {
    return this.inUse && !this.#closed && !this.#paused && this.#retry === undefined
  }

  get #first(): Socket {
    return (this.#sources[0] as Source).socket
  }

  #arm(): void {
    for (const source of this.#sources) {
      if (!this.#wanted) return
      if (source.watch === undefined) this.#startWatch(source)
      else this.#update(source.watch, EPOLLIN)
    }
  }

  /** Changes what is watched for; if other code has closed the socket, this ends the listener. */
  #update(watch: Watch, events: number): void {
    try {
      watch.modify(events)
    } catch (error) {
      this.#end(error as Error)
    }
  }

  #startWatch(source: Source): void {
    if (this.#closed) return
    try {
      source.watch = this.#watchFor(source, EPOLLIN)
      if (!this.#referenced) source.watch.unref()
    } catch (error) {
      this.#end(error as Error)
    }
  }

  #watchFor(source: Source, events: number): Watch {
    const ready = (happened: number) => this.#ready(source, happened)
    return this.#watchFunction(source.socket, events, ready, { ended: this.#lost })
  }

  #stopWatching(): void {
    for (const source of this.#sources) {
      source.watch?.stop()
      source.watch = undefined
    }
  }

  /** Other code has closed a socket. */
  readonly #lost = (): void => {
    this.#end(new SystemError(errno.EBADF, 'epoll_wait', 'closed while the listener was open'))
  }

  #ready(source: Source, events: number): void {
    source.credit = this.#budget
    source.certain = true
    if (this.#wanted) this.#accept(source)
    else this.#rest(source, events)
  }

  /** Stops watching while no connection is wanted. EPOLLHUP, after shutdown(2), can't be masked. */
  #rest(source: Source, events: number): void {
    if ((events & EPOLLHUP) === 0) {
      if (source.watch !== undefined) this.#update(source.watch, 0)
    } else {
      source.watch?.stop()
      source.watch = undefined
    }
  }

  #accept(source: Source): void {
    while (this.#wanted && source.credit > 0) {
      source.credit--
      let socket: Socket | null
      try {
        socket = source.socket.accept()
      } catch (error) {
        if (this.#survive(source, error as SystemError)) continue
        return
      }
      source.certain = false
      if (socket === null) return
      source.failures = 0
      this.#handOut(socket)
    }
  }

  #handOut(socket: Socket): void {
    let connection: T
    // Read before `wrap` is called, which may close the listener.
    const running = this.#running
    const waiting = this.#waiting.shift()
    try {
      connection = this.#wrap(socket)
    } catch (error) {
      closeQuietly(socket)
      const isLimit = error instanceof SystemError && limits.has(error.code)
      if (this.#closed) {
        // `wrap` has closed the listener, and `run` has already resolved without an error.
        if (waiting !== undefined) waiting.reject(error as Error)
        else if (!isLimit) throw error
        return
      }
      if (waiting !== undefined) this.#waiting.unshift(waiting)
      if (isLimit) {
        this.#statistics.dropped++
        this.#backOff(error)
      } else {
        this.#end(error as Error)
      }
      return
    }
    this.#recover()
    this.#statistics.accepted++
    if (waiting !== undefined) waiting.resolve({ value: connection, done: false })
    else running?.callback(connection)
  }

  /** Handles an error of accept4(2). Returns whether the next connection may be tried at once. */
  #survive(source: Source, error: SystemError): boolean {
    if (limits.has(error.code) && !source.certain) return false
    this.#statistics.errors++
    if (connectionErrors.has(error.code)) {
      // If every connection of a turn fails, as with a filter that refuses all, the next try is not made at once.
      source.failures++
      if (source.failures < this.#budget) return true
    }
    source.failures = 0
    if (listenerErrors.has(error.code)) this.#end(error)
    else this.#backOff(error)
    return false
  }

  #recover(): void {
    if (this.#delay === 0 || this.#closed) return
    this.#delay = 0
    this.#reserve ??= tryReserve()
  }

  #backOff(error: SystemError): void {
    // Only from the second try on: a shortage of 5 ms should not cost a connection.
    if (this.#delay > 0 && (error.code === 'EMFILE' || error.code === 'ENFILE')) this.#drop()
    this.#delay = Math.min(Math.max(2 * this.#delay, FIRST_DELAY), LONGEST_DELAY)
    this.#retry = setTimeout(() => {
      this.#retry = undefined
      this.#arm()
    }, this.#delay)
    if (!this.#referenced) this.#retry.unref()
    try {
      this.#report(error)
    } catch (thrown) {
      // An uncaught exception; the caller that waits for a connection does not get it.
      process.nextTick(() => {
        throw thrown
      })
    }
  }

  /** Accepts waiting connections with the reserved descriptor, and closes them: better for the peer than to hear nothing. */
  #drop(): void {
    closeQuietly(this.#reserve)
    try {
      for (const { socket } of this.#sources) this.#dropFrom(socket)
    } catch {
      // Another thread has taken the descriptor, or memory is missing as well: the next try is made after the delay.
    }
    this.#reserve = tryReserve()
  }

  #dropFrom(listening: Socket): void {
    for (let left = this.#budget; left > 0; left--) {
      const socket = listening.accept()
      if (socket === null) return
      closeQuietly(socket)
      this.#statistics.dropped++
    }
  }

  #end(failure?: Error): void {
    if (this.#closed) return
    this.#closed = true
    this.#ignoreSignal?.()
    clearTimeout(this.#retry)
    this.#stopWatching()
    for (const { socket } of this.#sources) closeQuietly(socket, failure)
    closeQuietly(this.#reserve)
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
export function checkListenerOptions({ wrap, budget, error, signal, watch }: ListenerOptions<unknown, never>): void {
  if (wrap !== undefined) checkFunction(wrap, 'wrap')
  if (budget !== undefined) checkInteger(budget, 1, 0x7fff_ffff, 'budget')
  if (error !== undefined) checkFunction(error, 'error')
  checkSignal(signal)
  if (watch !== undefined) checkFunction(watch, 'watch')
}

const OPTIONS: NamesOf<ListenerOptions> = { wrap: true, budget: true, error: true, signal: true, watch: true }

/** One of the listener's sockets. */
interface Source {
  readonly socket: Socket
  watch: Watch | undefined
  /** The number of connections that may still be accepted in this turn of the loop. */
  credit: number
  /** Whether the kernel has said that a connection waits: at a limit accept4(2) fails even if none does. */
  certain: boolean
  /** Consecutive connections that had failed before they could be accepted. */
  failures: number
}

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

/** The shortest delay before another try, in **milliseconds**. */
const FIRST_DELAY = 5
const LONGEST_DELAY = 1000

/** Limits that may be gone at a later try. ENOSPC comes from epoll, for `fs.epoll.max_user_watches`. */
const limits: ReadonlySet<string> = new Set<ErrnoName>(['EMFILE', 'ENFILE', 'ENOBUFS', 'ENOMEM', 'ENOSPC'])

/** The listening socket is gone, or is no listening socket: a later try would fail as well. */
const listenerErrors: ReadonlySet<string> = new Set<ErrnoName>(['EBADF', 'EINVAL', 'ENOTSOCK', 'EFAULT'])

/**
 * That connection is gone; the next one may be good. Linux passes the network errors that were pending on it, which
 * accept(2) says to treat like EAGAIN; EPERM comes from a firewall.
 */
const connectionErrors: ReadonlySet<string> = new Set<ErrnoName>([
  'ECONNABORTED',
  'ECONNRESET',
  'EHOSTDOWN',
  'EHOSTUNREACH',
  'ENETDOWN',
  'ENETUNREACH',
  'ENONET',
  'ENOPROTOOPT',
  'ENOTSUP',
  'EPERM',
  'EPROTO',
  'ETIMEDOUT',
])

function tryReserve(): OwnedFd | undefined {
  try {
    return eventfd()
  } catch {
    return undefined
  }
}

function warn(error: SystemError): void {
  process.emitWarning(`Accepting connections is put off: ${error.message}`, { code: 'LINUX_SOCKETS_ACCEPT' })
}
