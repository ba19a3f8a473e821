import { AsyncResource } from 'node:async_hooks'
import { protect } from './registration.js'
import { type LoopTimers, Timer } from './timers.js'

/** How long things may take, each in **milliseconds**, 1 … 2³¹ − 1. Default: for ever. */
export interface Timeouts {
  /** Until the peer has taken the connection; for `Reactor.connect`. */
  readonly connectTimeout?: number | undefined
  /** With nothing read and nothing sent. */
  readonly idleTimeout?: number | undefined
  /** With nothing read, while reading is wanted: not paused, and the peer has not ended. Goes on after `end`. */
  readonly readTimeout?: number | undefined
  /** With nothing sent, while something waits to be sent, corked or not. */
  readonly writeTimeout?: number | undefined
}

/** Which time is over. */
export type TimeoutKind = 'connect' | 'idle' | 'read' | 'write'

/** The times in **milliseconds**; `Infinity` where there is no limit. */
export type Limits = Readonly<Record<TimeoutKind, number>>

/**
 * The times of one connection, by a single timer that is set to the next one. What puts a time off only notes when that
 * was: the timer finds out when it is called, so that a busy connection costs the wheel nothing.
 */
export class Deadlines extends AsyncResource {
  readonly #limits: Limits
  readonly #timers: LoopTimers
  readonly #isAwaited: (kind: TimeoutKind) => boolean
  readonly #expire: (kind: TimeoutKind) => void
  readonly #timer: Timer
  /** When the time of each kind has begun. */
  readonly #begun: Record<TimeoutKind, number>
  /** When the timer is called. */
  #wakeAt = Number.POSITIVE_INFINITY
  #stopped = false

  /** Whether there is anything to look after. Most connections have no limits, and then no functions for them either. */
  static areNeeded(limits: Limits, connecting: boolean): boolean {
    return KINDS.some((kind) => limits[kind] !== Number.POSITIVE_INFINITY && (connecting || kind !== 'connect'))
  }

  constructor(
    limits: Limits,
    timers: LoopTimers,
    isAwaited: (kind: TimeoutKind) => boolean,
    expire: (kind: TimeoutKind) => void,
  ) {
    super('LinuxSocketsDeadlines')
    this.#limits = limits
    this.#timers = timers
    this.#isAwaited = isAwaited
    this.#expire = expire
    this.#timer = new Timer(() => this.runInAsyncScope(this.#look, this))
    const now = timers.refresh()
    this.#begun = { connect: now, idle: now, read: now, write: now }
    this.#arm()
  }

  /** The time of that kind begins now, and that of idleness. */
  begin(kind: 'read' | 'write'): void {
    const now = this.#timers.refresh()
    this.#begun[kind] = this.#begun.idle = now
    if (now + this.#limits[kind] < this.#wakeAt) this.#arm()
  }

  /** The connection is there: all times begin. */
  connected(): void {
    const now = this.#timers.refresh()
    for (const kind of KINDS) this.#begun[kind] = now
    this.#arm()
  }

  stop(): void {
    this.#stopped = true
    this.#timers.stop(this.#timer)
  }

  #dueOf(kind: TimeoutKind): number {
    return this.#begun[kind] + this.#limits[kind]
  }

  #look(): void {
    const now = this.#timers.now
    this.#wakeAt = Number.POSITIVE_INFINITY
    for (const kind of KINDS) {
      if (this.#stopped) return
      if (!this.#isAwaited(kind) || this.#dueOf(kind) > now) continue
      this.#begun[kind] = now
      protect(() => this.#expire(kind))
    }
    if (!this.#stopped) this.#arm()
  }

  #arm(): void {
    const dues = KINDS.filter((kind) => this.#isAwaited(kind)).map((kind) => this.#dueOf(kind))
    const due = Math.min(...dues)
    if (due === this.#wakeAt) return
    this.#wakeAt = due
    if (due === Number.POSITIVE_INFINITY) this.#timers.stop(this.#timer)
    else this.#timers.start(this.#timer, Math.max(due - this.#timers.refresh(), 0))
  }
}

const KINDS: readonly TimeoutKind[] = ['connect', 'idle', 'read', 'write']

/** @throws TypeError, RangeError for times out of range */
export function limitsOf(options: Timeouts): Limits {
  return {
    connect: check('connectTimeout', options.connectTimeout),
    idle: check('idleTimeout', options.idleTimeout),
    read: check('readTimeout', options.readTimeout),
    write: check('writeTimeout', options.writeTimeout),
  }
}

function check(name: string, value: number | undefined): number {
  if (value === undefined) return Number.POSITIVE_INFINITY
  if (typeof value !== 'number') throw new TypeError(`${name} must be a number of milliseconds`)
  if (!(value >= 1 && value < 2 ** 31)) throw new RangeError(`${name} must be from 1 to 2³¹ − 1 milliseconds`)
  return value
}
