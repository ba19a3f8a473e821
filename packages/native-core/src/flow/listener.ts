import type { SocketAddress } from '../address.js'
import { checkInteger } from '../codec.js'
import { EPOLLHUP, EPOLLIN } from '../constants.js'
import { type ErrnoName, errno } from '../errno.js'
import { SystemError } from '../error.js'
import { type AsFd, eventfd, type OwnedFd } from '../fd.js'
import { getOption } from '../option.js'
import { SO_ACCEPTCONN } from '../options/socket.js'
import type { Socket } from '../socket.js'
import { type Watch, type WatchFunction, watch } from '../watch.js'

/** How connections are accepted. */
export interface ListenerOptions<T = Socket> {
  /**
   * What becomes of an accepted socket: `(socket) => new SocketStream(socket)`. When it throws, the socket is closed and
   * the listener ends with the error; a SystemError that tells of a limit, as of the watches that a user may have
   * (`ENOSPC`), costs that connection alone. Default: the socket itself.
   */
  readonly wrap?: ((socket: Socket) => T) | undefined
  /** The most connections to accept from one socket before the event loop gets its turn. Default 64. */
  readonly budget?: number | undefined
  /**
   * Called each time that accepting, or `wrap`, meets a limit (`EMFILE`, `ENFILE`, `ENOBUFS`, `ENOMEM`, `ENOSPC`) and
   * accepting is put off. Default: a process warning.
   */
  readonly error?: ((error: SystemError) => void) | undefined
  /** Closes the listener. */
  readonly signal?: AbortSignal | undefined
  /** Where readiness comes from. Default: `watch`, that is Node's loop. */
  readonly watch?: WatchFunction | undefined
}

/** Counts since the listener was made. */
export interface ListenerStatistics {
  /** Connections handed out. */
  readonly accepted: number
  /** Connections that were closed at once: for want of descriptors, so that their peers need not wait, or by a limit that `wrap` met. */
  readonly dropped: number
  /** Calls of accept4(2) that failed: limits, and connections that had failed before they were accepted. */
  readonly errors: number
}

/**
 * Accepts connections on Node's loop, one by one as they are asked for or with a callback.
 *
 *     await using listener = new Listener(socket, { wrap: (connection) => new SocketStream(connection) })
 *     for await (const stream of listener) stream.pipe(stream)
 *
 *     await listener.run((stream) => stream.pipe(stream))
 *
 * What nobody asks for waits in the kernel's backlog. Connections that failed before they could be accepted are counted
 * and passed over. At a limit of descriptors or memory the listener reports it and tries again after 5 ms, then after
 * twice as long, up to 1 s; where descriptors are still missing at the second try, a reserved one is used to accept what
 * waits and close it. A limit that `wrap` meets is treated the same, but for the one connection, which is closed. Several
 * listeners, in Workers too, may share one open socket. accept(2)
 *
 * A listener may have several sockets, one for each address. None of them is left waiting for long because another is
 * busy, and what ends one ends them all.
 */
export class Listener<T = Socket> implements AsFd, AsyncIterable<T>, Disposable, AsyncDisposable {
  readonly #sources: readonly Source[]
  readonly #wrap: (socket: Socket) => T
  readonly #budget: number
  readonly #report: (error: SystemError) => void
  readonly #signal: AbortSignal | undefined
  readonly #watchFunction: WatchFunction
  readonly #statistics = { accepted: 0, dropped: 0, errors: 0 }

  #referenced = true
  #closed = false
  #paused = false
  /** What has ended the listener, until somebody is told. */
  #failure: Error | undefined
  #running: Running<T> | undefined
  #waiting: Waiting<T>[] = []
  /** What is given up in order to accept when no other descriptor is left. */
  #reserve: OwnedFd | undefined
  /** Milliseconds; 0 while all is well. */
  #delay = 0
  #retry: NodeJS.Timeout | undefined

  /**
   * Takes over the sockets, which must listen already.
   * @throws TypeError when one doesn't, or there is none
   * @throws SystemError when one can't be watched. Whatever is thrown, the sockets stay yours.
   */
  constructor(sockets: Socket | readonly Socket[], options: ListenerOptions<T> = {}) {
    const { wrap = (accepted) => accepted as T, budget = 64, error = warn, signal } = options
    this.#watchFunction = options.watch ?? watch
    checkInteger(budget, 1, 0x7fff_ffff, 'budget')
    if (signal !== undefined && typeof signal.addEventListener !== 'function') {
      throw new TypeError('signal must be an AbortSignal')
    }
    this.#sources = [sockets].flat().map((socket) => ({ socket, watch: undefined, credit: budget, certain: false }))
    if (this.#sources.length === 0) throw new TypeError('there is no socket to listen with')
    for (const { socket } of this.#sources) {
      if (!getOption(socket, SO_ACCEPTCONN)) throw new TypeError('the socket does not listen')
    }
    try {
      // From the start, because at the limit of descriptors it may be too late.
      for (const source of this.#sources) source.watch = this.#watchFor(source, 0)
    } catch (reason) {
      this.#stopWatching()
      throw reason
    }
    this.#reserve = tryReserve()
    this.#wrap = wrap
    this.#budget = budget
    this.#report = error
    this.#signal = signal
    if (signal?.aborted) this.close()
    else signal?.addEventListener('abort', this.#abort)
  }

  /** The descriptor, for `setOption` and its like; −1 once closed. Of several sockets it is the first one's. */
  get fd(): number {
    return this.#first.fd
  }

  /** The sockets, for `setOption` and its like where there are several; they stay the listener's. */
  get sockets(): readonly AsFd[] {
    return this.#sources.map(({ socket }) => socket)
  }

  /** getsockname(2), of several sockets the first one's. */
  get address(): SocketAddress {
    return this.#first.localAddress
  }

  /** getsockname(2) of each socket, in the order in which they were given. */
  get addresses(): SocketAddress[] {
    return this.#sources.map(({ socket }) => socket.localAddress)
  }

  /** Whether `close` was called, or an error has ended the listener. */
  get closed(): boolean {
    return this.#closed
  }

  /** Whether `pause` holds it. */
  get paused(): boolean {
    return this.#paused
  }

  /** Counts since the listener was made. */
  get statistics(): ListenerStatistics {
    return { ...this.#statistics }
  }

  /**
   * accept4(2): calls `callback` with each connection until the listener is closed, which fulfils the promise; an error
   * that ends the listener rejects it. The callback runs in the async context of this call. What it throws is an
   * uncaught exception, and the listener goes on.
   * @throws TypeError when the listener runs already or is being iterated over
   */
  async run(callback: (connection: T) => void): Promise<void> {
    if (typeof callback !== 'function') throw new TypeError('callback must be a function')
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
   * accept4(2): one connection each time that one is asked for. Closing the listener ends the iteration; ending the
   * iteration leaves the listener open, and what nobody has asked for in the backlog.
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

  /** Accepts no more until `resume`; what comes waits in the kernel's backlog. */
  pause(): this {
    this.#paused = true
    return this
  }

  /** Accepts again. */
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

  /** close(2). What waited in the backlog is reset by the kernel. A second call does nothing. */
  close(): void {
    this.#end()
  }

  /** What `using` calls: closes. */
  [Symbol.dispose](): void {
    this.close()
  }

  /** What `await using` calls: closes. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.close()
  }

  readonly #abort = (): void => this.close()

  get #wanted(): boolean {
    const asked = this.#running !== undefined || this.#waiting.length > 0
    return asked && !this.#closed && !this.#paused && this.#retry === undefined
  }

  get #first(): Socket {
    return (this.#sources[0] as Source).socket
  }

  #arm(): void {
    for (const source of this.#sources) {
      if (!this.#wanted) return
      if (source.watch === undefined) this.#startWatch(source)
      else source.watch.update(EPOLLIN)
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

  /** Somebody else has closed a socket. */
  readonly #lost = (): void => {
    this.#end(new SystemError(errno.EBADF, 'epoll_wait', 'closed while the listener was open'))
  }

  #ready(source: Source, events: number): void {
    source.credit = this.#budget
    source.certain = true
    if (this.#wanted) this.#accept(source)
    else this.#rest(source, events)
  }

  /** What nobody wants to know is not watched for. EPOLLHUP, after shutdown(2), can't be masked. */
  #rest(source: Source, events: number): void {
    if ((events & EPOLLHUP) === 0) {
      source.watch?.update(0)
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
      this.#handOut(socket)
    }
  }

  #handOut(socket: Socket): void {
    let connection: T
    // Whose it is already, should `wrap` close the listener.
    const running = this.#running
    const waiting = this.#waiting.shift()
    try {
      connection = this.#wrap(socket)
    } catch (error) {
      socket.close()
      const isLimit = error instanceof SystemError && limits.has(error.code)
      if (this.#closed) {
        // By `wrap`: whoever runs the listener has been told that all is well.
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

  /** Whether the next connection may be tried at once. */
  #survive(source: Source, error: SystemError): boolean {
    if (limits.has(error.code) && !source.certain) return false
    this.#statistics.errors++
    if (connectionErrors.has(error.code)) return true
    if (limits.has(error.code)) this.#backOff(error)
    else this.#end(error)
    return false
  }

  #recover(): void {
    if (this.#delay === 0 || this.#closed) return
    this.#delay = 0
    this.#reserve ??= tryReserve()
  }

  #backOff(error: SystemError): void {
    // A shortage of 5 ms costs nobody a connection.
    if (this.#delay > 0 && (error.code === 'EMFILE' || error.code === 'ENFILE')) this.#drop()
    this.#delay = Math.min(Math.max(2 * this.#delay, FIRST_DELAY), LONGEST_DELAY)
    this.#retry = setTimeout(() => {
      this.#retry = undefined
      this.#arm()
    }, this.#delay)
    if (!this.#referenced) this.#retry.unref()
    this.#report(error)
  }

  /** Accepts with the reserved descriptor what waits, and closes it: better for its peer than to hear nothing. */
  #drop(): void {
    this.#reserve?.close()
    try {
      for (const { socket } of this.#sources) this.#dropFrom(socket)
    } catch {
      // Another thread was quicker to take the descriptor, or there is no memory either: the next try is after the delay.
    }
    this.#reserve = tryReserve()
  }

  #dropFrom(listening: Socket): void {
    for (let left = this.#budget; left > 0; left--) {
      const socket = listening.accept()
      if (socket === null) return
      socket.close()
      this.#statistics.dropped++
    }
  }

  #end(failure?: Error): void {
    if (this.#closed) return
    this.#closed = true
    this.#signal?.removeEventListener('abort', this.#abort)
    clearTimeout(this.#retry)
    this.#stopWatching()
    for (const { socket } of this.#sources) socket.close()
    this.#reserve?.close()
    this.#failure = failure
    for (const { resolve, reject } of this.#waiting.splice(0)) this.#tell(() => resolve(DONE), reject)
    if (this.#running !== undefined) this.#tell(this.#running.resolve, this.#running.reject)
    this.#running = undefined
  }

  /** The first one is told of the failure, the others that it is over. */
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

/** One of the sockets. */
interface Source {
  readonly socket: Socket
  watch: Watch | undefined
  /** How many connections may still be accepted in this turn of the loop. */
  credit: number
  /** Whether the kernel has said that a connection waits: at a limit accept4(2) fails whether one does or not. */
  certain: boolean
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

/** **Milliseconds.** */
const FIRST_DELAY = 5
const LONGEST_DELAY = 1000

/** Later there may be a descriptor or memory again. ENOSPC is epoll's, for `fs.epoll.max_user_watches`. */
const limits: ReadonlySet<string> = new Set<ErrnoName>(['EMFILE', 'ENFILE', 'ENOBUFS', 'ENOMEM', 'ENOSPC'])

/**
 * That connection is gone; the next may be well. Linux passes the network errors that were pending on it, which accept(2)
 * says to treat as EAGAIN; EPERM comes from a firewall.
 */
const connectionErrors: ReadonlySet<string> = new Set<ErrnoName>([
  'ECONNABORTED',
  'EHOSTDOWN',
  'EHOSTUNREACH',
  'ENETDOWN',
  'ENETUNREACH',
  'ENONET',
  'ENOPROTOOPT',
  'ENOTSUP',
  'EPERM',
  'EPROTO',
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
