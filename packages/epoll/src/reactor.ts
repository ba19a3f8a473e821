import type { FdLike, WatchFunction } from '@linux-sockets/native-core'
import { EPOLLEXCLUSIVE } from '@linux-sockets/native-core/constants'
import { checkBoolean, checkFunction, checkOptions, watchOn } from '@linux-sockets/native-core/internal'
import { type Registration, RegistrationTable } from './registration.js'
import { LoopTimers } from './timers.js'
import { createWaker, type Waker } from './waker.js'

/**
 * The statistics of a reactor. A turn is one pass in which handlers are called: for a batch of events, for work left over
 * from an earlier turn (such as by a budget or by `resume`), or for `Reactor.timers`. Promise callbacks that run afterwards
 * are not part of it.
 */
export interface ReactorStatistics {
  /** Descriptors registered now. */
  readonly registered: number
  /** Turns so far. */
  readonly turns: number
  /** Events that the kernel has reported, including those for registrations that had ended by then. */
  readonly events: number
  /** **Milliseconds** that all turns took together. */
  readonly busy: number
  /** **Milliseconds** of the longest turn. Descriptors that became ready during it had to wait up to this long. */
  readonly longestTurn: number
  /**
   * The longest loop lag, in **milliseconds**. The lag is the time by which a timer of `Reactor.timers`, or a timeout of a
   * connection, is called late, counted from the tick of the `TimerWheel` at which it is due. It includes delays by other
   * code on the thread. 0 while no timer was called.
   */
  readonly longestLag: number
}

/**
 * Watches many descriptors with one epoll instance on Node's own event loop. Each turn fetches the events of all of them in
 * one call. When a descriptor is closed and its number is reused, the new one never gets the events of the old one, because
 * every event carries the generation of its registration. The epoll instance is open only while something is registered, so
 * a reactor that is dropped leaks nothing.
 */
export class Reactor implements Disposable {
  /**
   * Timers for the program's own timeouts; the timeouts of connections run on them, too. `timers.now` is the time of the
   * current turn.
   */
  readonly timers: LoopTimers = new ReactorTimers((task) => this.#turn(task))
  readonly #table = new RegistrationTable(
    (count) => this.#dispatch(count),
    (task) => this.#turn(task),
  )
  #closed = false
  #ended: (() => void)[] = []
  #inTurn = false
  #turns = 0
  #eventCount = 0
  #busy = 0
  #longestTurn = 0

  /** The number of registered descriptors. While one of them is referenced, the process stays alive. */
  get size(): number {
    return this.#table.list.size
  }

  /** Whether `close` was called. */
  get closed(): boolean {
    return this.#closed
  }

  /** The statistics so far, as a copy. */
  get statistics(): ReactorStatistics {
    return {
      registered: this.#table.list.size,
      turns: this.#turns,
      events: this.#eventCount,
      busy: this.#busy,
      longestTurn: this.#longestTurn,
      longestLag: this.timers.longestLag,
    }
  }

  /**
   * Registers a descriptor: calls `handler` with its events, in the async context of the caller. An exception from the
   * handler becomes an uncaught exception, after the rest of the turn's events were handled. `ended` is called once if the
   * registration ends without `stop`: when the reactor is closed, or soon after the descriptor's owner has closed or released
   * the descriptor. `receiver` is `this` in both functions, so that many registrations can share them.
   * @throws SystemError `EEXIST` if the descriptor is registered or watched already, `EPERM`, `EBADF`
   * @throws TypeError, RangeError if the target is not a descriptor, `events` is not a mask, or a handler is not a function
   */
  register(
    target: FdLike,
    events: number,
    handler: (this: never, events: number) => void,
    ended?: (this: never) => void,
    receiver?: unknown,
  ): Registration {
    return this.#table.add(target, events, handler, ended, receiver)
  }

  /**
   * A function like native-core's `watch`, on this reactor: level-triggered. Pass it as the option `watch` of a `SocketStream`
   * or a `Listener`, which then runs on the reactor. `ended` is also called when the reactor is closed.
   */
  readonly watch: WatchFunction = watchOn(this.#table.list)

  /**
   * The same as `watch`, with EPOLLEXCLUSIVE: if several epoll instances wait for one open file, such as those of several
   * Workers for one listening socket, an event wakes only one or some of them. This has its full effect in `run`. On Node's
   * loop the instance is nested in that of libuv, and the kernel can't know whether a thread waits there. So it wakes all
   * threads, and most of them find nothing. A watch for more than `EPOLLIN` and `EPOLLOUT` is not exclusive, because the
   * kernel refuses the combination. epoll_ctl(2)
   */
  readonly watchExclusive: WatchFunction = watchOn(this.#table.list, EPOLLEXCLUSIVE)

  /**
   * eventfd(2): makes a waker, with which other threads wake this one. `callback` gets the number of calls of `wake` on the
   * waker and its duplicates since it was last called. The waker does not keep the process alive.
   * @throws TypeError if `callback` is not a function
   * @throws SystemError `EMFILE`, `ENFILE`
   */
  waker(callback: (count: number) => void): Waker {
    checkFunction(callback, 'callback')
    return createWaker(this.#table, callback)
  }

  /**
   * Returns a promise that is fulfilled by `stop` or `close`. Until then the process stays alive as long as anything is
   * registered.
   *
   * With `lead`, the default, the thread waits in this reactor's own epoll_wait(2) instead of Node's loop, from the next event
   * on. This saves one system call in every turn. Node's loop runs as soon as it has something to do; promises, timers and
   * messages work as usual. Meant for a Worker that does little else. `lead` is experimental: see `Attachment.lead` of
   * native-core. With `{ lead: false }` the reactor stays on Node's loop.
   * @throws TypeError if an option is invalid
   */
  run(options: { readonly lead?: boolean | undefined } = {}): Promise<void> {
    checkOptions(options, 'options', { lead: true })
    const { lead = true } = options
    checkBoolean(lead, 'lead')
    if (this.#closed) return Promise.resolve()
    this.#table.list.lead(lead)
    return new Promise((resolve) => this.#ended.push(resolve))
  }

  /** Ends `run`: the reactor continues on Node's loop. */
  stop(): void {
    if (!this.#closed) this.#table.list.lead(false)
    for (const ended of this.#ended.splice(0)) ended()
  }

  /**
   * Ends all registrations and closes the epoll instance. Servers and connections on the reactor close, and streams that were
   * made of connections are destroyed with the error `EBADF`; other descriptors stay open.
   */
  close(): void {
    if (this.#closed) return
    this.#closed = true
    this.#table.list.close()
    for (const ended of this.#ended.splice(0)) ended()
  }

  /** Called by `using`; closes the reactor. */
  [Symbol.dispose](): void {
    this.close()
  }

  #dispatch(count: number): void {
    this.#eventCount += count
    const started = this.#beginTurn()
    this.#table.list.deliver(count)
    this.#endTurn(started)
  }

  /** Runs `task` as a turn. All calls of handlers pass through here, except those for events. */
  #turn(task: () => void): void {
    // A handler that advances the timers is in a turn already.
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
