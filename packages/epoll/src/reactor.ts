import { AsyncResource } from 'node:async_hooks'
import {
  type AddressLike,
  type AsFd,
  type Attachment,
  attachEpoll,
  EPOLLERR,
  EPOLLET,
  EPOLLEXCLUSIVE,
  EPOLLHUP,
  EPOLLIN,
  eventfd,
  type ListenerStatistics,
  type OwnedFd,
  readv,
  type Socket,
  type Watch,
  type WatchFunction,
  type WatchOptions,
  writev,
} from '@linux-sockets/native-core'
import { type ConnectOptions, connectSocket } from './connect.js'
import { Connection, type ConnectionSettings, type Handlers } from './connection.js'
import { Epoll, EpollEvents } from './epoll.js'
import { type Registration, RegistrationTable } from './registration.js'
import { type ServeOptions, Server } from './serve.js'
import { ConnectionStatistics } from './statistics.js'
import { LoopTimers } from './timers.js'

/** What other threads wake a reactor by, from `Reactor.waker`. */
export interface Waker extends AsFd, Disposable {
  /** Another descriptor for it, for another thread to own: `new Worker(file, { workerData: waker.dup().release() })`. */
  dup(): OwnedFd
  /** Ends it. Duplicates stay open, and wake nobody any more. */
  close(): void
}

/**
 * What a reactor has done so far. A turn is once that the loop has come to call handlers: for a batch of events, for what
 * was left over from an earlier turn, such as by a budget or by `resume`, or for `Reactor.timers`. What promises do afterwards
 * is not part of it.
 */
export interface ReactorStatistics {
  /** Descriptors registered now. */
  readonly registered: number
  /** Turns so far. */
  readonly turns: number
  /** Events that the kernel has reported, those for registrations that had ended meanwhile included. */
  readonly events: number
  /** **Milliseconds** that all turns together took. */
  readonly busy: number
  /** **Milliseconds** of the longest turn: so long did whoever was ready then have to wait. */
  readonly longestTurn: number
  /**
   * Loop lag: by how many **milliseconds** the latest timer of `Reactor.timers`, or timeout of a connection, was called
   * after the whole millisecond in which it was due. It shows what else has held up the thread, too; 0 while no timer was called.
   */
  readonly longestLag: number
  /** `Reactor.connectionTotals` at that time. */
  readonly connections: Readonly<ConnectionStatistics>
  /** What accepting has met, all servers of the reactor together, those that have ended included; see `Server.statistics`. */
  readonly accepting: ListenerStatistics
}

/**
 * Many descriptors, one epoll instance, on Node's own event loop: each turn fetches the events of all of them in one
 * call. A number that is closed and used again never gets the old one's events, because every event carries its
 * registration's place and generation.
 */
export class Reactor implements Disposable {
  /** For the program's own timeouts. Its `now` is the time of the present turn. */
  readonly timers: LoopTimers = new ReactorTimers((task) => this.#turn(task))
  /** For those of connections, which keep the process alive by themselves, or don't. */
  readonly deadlines: LoopTimers = new ReactorTimers((task) => this.#turn(task)).unref()
  /** All connections of the reactor together, as they are now; only to be read. `queueHighWater` is that of the one with the most. */
  readonly connectionTotals = new ConnectionStatistics()
  readonly #epoll = new Epoll()
  readonly #events = new EpollEvents(512)
  readonly #attachment: Attachment
  readonly #table: RegistrationTable
  /** Those that accept. */
  readonly #servers = new Set<{ readonly statistics: ListenerStatistics }>()
  /** What those that accept no more have met. */
  #acceptedBefore: ListenerStatistics = { accepted: 0, dropped: 0, errors: 0 }
  #closed = false
  #ended: (() => void)[] = []
  #inTurn = false
  #turns = 0
  #eventCount = 0
  #busy = 0
  #longestTurn = 0

  /** @throws SystemError `EMFILE`, `ENFILE`, `ENOMEM` */
  constructor() {
    try {
      this.#attachment = attachEpoll(this.#epoll, this.#events.words, (count) => this.#dispatch(count))
    } catch (error) {
      this.#epoll.close()
      throw error
    }
    this.#table = new RegistrationTable(this.#epoll, this.#attachment, (task) => this.#turn(task))
  }

  /** How many descriptors are registered. While one of them is referenced, the process stays alive. */
  get size(): number {
    return this.#table.size
  }

  /** Whether `close` was called. */
  get closed(): boolean {
    return this.#closed
  }

  /** What it has done so far. */
  get statistics(): ReactorStatistics {
    return {
      registered: this.#table.size,
      turns: this.#turns,
      events: this.#eventCount,
      busy: this.#busy,
      longestTurn: this.#longestTurn,
      longestLag: Math.max(this.timers.longestLag, this.deadlines.longestLag),
      connections: this.connectionTotals.copy(),
      accepting: [...this.#servers].reduce((sum, { statistics }) => add(sum, statistics), this.#acceptedBefore),
    }
  }

  /**
   * Calls `handler` with the events of a descriptor, in the async context of the caller. What it throws becomes an
   * uncaught exception, after the rest of the turn's events were handled. `ended` is called when the reactor is closed
   * before the registration. `receiver` is the `this` of both, so that many registrations can share two functions.
   * @throws SystemError `EEXIST`, `EPERM`, `EBADF`
   */
  register(
    target: AsFd,
    events: number,
    handler: (this: never, events: number) => void,
    ended?: (this: never) => void,
    receiver?: unknown,
  ): Registration {
    if (typeof handler !== 'function') throw new TypeError('handler must be a function')
    return this.#table.add(target, events, handler, ended, receiver)
  }

  /**
   * What native-core's `watch` does, by this reactor: level-triggered, for a `SocketStream` or a `Listener` that shall
   * run on it, with their option `watch`. `ended` is called when the reactor is closed.
   */
  readonly watch: WatchFunction = (target, events, callback, options) =>
    new ReactorWatch(this, 0, target, events, callback, options)

  /**
   * As `watch`, with EPOLLEXCLUSIVE: of several epoll instances that wait for one open file, as those of several Workers
   * for one listening socket, only one or some are woken by an event. It takes its full effect in `run`. On Node's loop the
   * instance is nested in libuv's, and the kernel, who can't know whether a thread waits in that one, wakes them all: each
   * then looks, and finds what is left. epoll_ctl(2)
   */
  readonly watchExclusive: WatchFunction = (target, events, callback, options) =>
    new ReactorWatch(this, EPOLLEXCLUSIVE, target, events, callback, options)

  /**
   * Serves every connection that comes to a listening socket, which it takes over; one object of handlers for them all.
   * At a limit of descriptors it goes on accepting later, with a process warning. A connection that epoll has no room for
   * (`ENOSPC` beyond `fs.epoll.max_user_watches`, `ENOMEM`) is closed and counted as dropped, with a warning for the first of
   * several; no handler is called for it, and accepting goes on. An error that ends the accepting goes to the option `error`.
   * @throws TypeError when the socket doesn't listen
   */
  serve<State = undefined>(
    socket: Socket,
    handlers: Handlers<State>,
    options: ServeOptions<State> = {},
  ): Server<State> {
    const server = new Server(this, socket, handlers, options, () => {
      this.#servers.delete(server)
      this.#acceptedBefore = add(this.#acceptedBefore, server.statistics)
    })
    this.#servers.add(server)
    return server
  }

  /**
   * connect(2): a connection that is opened here. `open` is called when the peer has taken it, `error` and then `close` when
   * not; what is written before waits.
   * @throws SystemError for what fails at once: `ENETUNREACH`, `EADDRNOTAVAIL`, `ENOENT`, `EMFILE`, …; nothing stays open
   * @throws TypeError, RangeError for an address or a time that is none
   */
  connect<State = undefined>(
    address: AddressLike,
    handlers: Handlers<State>,
    options: ConnectOptions<State> = {},
  ): Connection<State> {
    const state = options.state?.() as State
    const { socket, connecting } = connectSocket(address, options)
    const settings: ConnectionSettings<State> = { ...options, connecting }
    return new Connection(this, socket, handlers, state, settings)
  }

  /**
   * eventfd(2): lets other threads wake this one. `callback` is called with how often `wake` was called on it, or on one
   * of its duplicates, since the last time. It does not keep the process alive.
   */
  waker(callback: (count: number) => void): Waker {
    const counter = eventfd()
    try {
      return new EventWaker(this, counter, callback)
    } catch (error) {
      counter.close()
      throw error
    }
  }

  /**
   * Runs the thread by itself: it waits in this reactor's own epoll_wait(2) from the next event on, one system call less
   * for every turn, and Node's loop gets its turn as soon as it has something to do. Promises, timers and messages work as
   * ever. Meant for a Worker that does little else. Fulfilled by `stop` or `close`; until then the process stays alive
   * as long as anything is registered.
   */
  run(): Promise<void> {
    if (this.#closed) return Promise.resolve()
    this.#attachment.lead(true)
    return new Promise((resolve) => this.#ended.push(resolve))
  }

  /** Ends `run`: the reactor goes on, on Node's loop. */
  stop(): void {
    if (!this.#closed) this.#attachment.lead(false)
    for (const ended of this.#ended.splice(0)) ended()
  }

  /** Ends all registrations and closes the epoll instance; the descriptors stay open. */
  close(): void {
    if (this.#closed) return
    this.#closed = true
    this.#attachment.detach()
    this.#epoll.close()
    this.#table.close()
    this.stop()
  }

  [Symbol.dispose](): void {
    this.close()
  }

  #dispatch(count: number): void {
    const events = this.#events
    this.#eventCount += count
    const started = this.#beginTurn()
    for (let i = 0; i < count; i++) {
      this.#table.deliver(events.low(i), events.high(i), events.events(i))
    }
    this.#endTurn(started)
  }

  /** Whatever else the loop calls handlers for passes through here. */
  #turn(task: () => void): void {
    // A handler may advance the timers.
    if (this.#inTurn) {
      task()
      return
    }
    const started = this.#beginTurn()
    try {
      task()
    } finally {
      this.#endTurn(started)
    }
  }

  #beginTurn(): number {
    this.#inTurn = true
    return this.timers.refresh()
  }

  #endTurn(started: number): void {
    const took = this.timers.refresh() - started
    this.#inTurn = false
    this.#turns++
    this.#busy += took
    if (took > this.#longestTurn) this.#longestTurn = took
  }
}

/** Wakes the reactor whose waker, or a duplicate of it, this is; from any thread. Costs one system call. */
export function wake(waker: AsFd): void {
  // A counter that can't take one more (EAGAIN) wakes all the same.
  writev(waker, [ONE])
}

function add(a: ListenerStatistics, b: ListenerStatistics): ListenerStatistics {
  return { accepted: a.accepted + b.accepted, dropped: a.dropped + b.dropped, errors: a.errors + b.errors }
}

const ONE = Buffer.from(BigUint64Array.of(1n).buffer)

class ReactorTimers extends LoopTimers {
  readonly #turn: (task: () => void) => void

  constructor(turn: (task: () => void) => void) {
    super()
    this.#turn = turn
  }

  override advance(): number {
    let called = 0
    this.#turn(() => {
      called = super.advance()
    })
    return called
  }
}

class ReactorWatch extends AsyncResource implements Watch {
  events: number
  readonly #reactor: Reactor
  readonly #flags: number
  readonly #target: AsFd
  readonly #callback: (events: number) => void
  readonly #ended: (() => void) | undefined
  #registration: Registration | undefined
  #referenced = true

  constructor(
    reactor: Reactor,
    flags: number,
    target: AsFd,
    events: number,
    callback: (events: number) => void,
    { ended }: WatchOptions = {},
  ) {
    if (typeof callback !== 'function') throw new TypeError('callback must be a function')
    super('LinuxSocketsWatch')
    this.events = events
    this.#reactor = reactor
    this.#flags = flags
    this.#target = target
    this.#callback = callback
    this.#ended = ended
    this.#registration = this.#register()
  }

  update(events: number): void {
    if (this.#registration === undefined || this.#reactor.closed || events === this.events) return
    const before = this.events
    this.events = events
    try {
      // EPOLL_CTL_MOD is refused for EPOLLEXCLUSIVE. https://man7.org/linux/man-pages/man2/epoll_ctl.2.html
      if (this.#flags === 0) this.#registration.modify(events)
      else {
        this.#registration.close()
        // In the async context of the first one, as `watch` promises.
        this.#registration = this.runInAsyncScope(this.#register, this)
      }
    } catch (error) {
      // Of an exclusive one nothing is left then: the next update is to try again.
      this.events = this.#flags === 0 ? before : 0
      throw error
    }
  }

  stop(): void {
    this.#registration?.close()
    this.#registration = undefined
  }

  ref(): this {
    this.#referenced = true
    this.#registration?.ref()
    return this
  }

  unref(): this {
    this.#referenced = false
    this.#registration?.unref()
    return this
  }

  [Symbol.dispose](): void {
    this.stop()
  }

  #deliver(events: number): void {
    const wanted = events & (this.events | EPOLLERR | EPOLLHUP)
    const callback = this.#callback
    if (wanted !== 0) callback(wanted)
  }

  #end(): void {
    this.#registration = undefined
    const ended = this.#ended
    ended?.()
  }

  #register(): Registration {
    const events = this.events | this.#flags
    const registration = this.#reactor.register(this.#target, events, this.#deliver, this.#end, this)
    return this.#referenced ? registration : registration.unref()
  }
}

class EventWaker implements Waker {
  readonly #counter: OwnedFd
  readonly #registration: Registration

  constructor(reactor: Reactor, counter: OwnedFd, callback: (count: number) => void) {
    if (typeof callback !== 'function') throw new TypeError('callback must be a function')
    const value = new BigUint64Array(1)
    const bytes = Buffer.from(value.buffer)
    const handler = () => {
      if (readv(counter, [bytes]) !== null) callback(Number(value[0]))
    }
    this.#registration = reactor.register(counter, EPOLLIN | EPOLLET, handler, () => counter.close()).unref()
    this.#counter = counter
  }

  get fd(): number {
    return this.#counter.fd
  }

  dup(): OwnedFd {
    return this.#counter.dup()
  }

  close(): void {
    this.#registration.close()
    this.#counter.close()
  }

  [Symbol.dispose](): void {
    this.close()
  }
}
