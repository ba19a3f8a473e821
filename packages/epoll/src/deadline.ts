import { AsyncResource } from 'node:async_hooks'
import { protect } from './registration.js'
import { type LoopTimers, Timer } from './timers.js'

/** The timeouts of a connection, each in **milliseconds**, 1 … 2³¹ − 1. Default: no limit. */
export interface Timeouts {
  /** The time until the peer has accepted the connection; for `connect`. */
  readonly connectTimeout?: number | undefined
  /** The time with nothing read and nothing sent. */
  readonly idleTimeout?: number | undefined
  /** The time with nothing read, while the connection is not paused and the peer has not ended. Still runs after `end`. */
  readonly readTimeout?: number | undefined
  /** The time with nothing sent, while something is queued, corked or not. */
  readonly writeTimeout?: number | undefined
}

/** The kind of a timeout: the option `connectTimeout` is of the kind `'connect'`. */
export type TimeoutKind = 'connect' | 'idle' | 'read' | 'write'

/** The timeouts in **milliseconds**; `Infinity` where there is no limit. */
export type Limits = Readonly<Record<TimeoutKind, number>>

/** The calls that the timeouts make on their connection. */
export interface DeadlineOwner {
  /** Whether the timeout of that kind runs. */
  isAwaited(kind: TimeoutKind): boolean
  /** Called when it has expired. */
  expire(kind: TimeoutKind): void
}

/**
 * The timeouts of one connection, on a single timer that is set to the next one. Traffic only records its time: the timer
 * reads that record when it is called, so that a busy connection costs the wheel nothing.
 */
export class Deadlines extends AsyncResource {
  readonly #limits: Limits
  readonly #timers: LoopTimers
  readonly #owner: DeadlineOwner
  readonly #timer: Timer
  /** When each timeout began, by the clock of the timers. */
  readonly #begun: Record<TimeoutKind, number>
  /** When the timer is due. */
  #wakeAt = Number.POSITIVE_INFINITY
  #stopped = false

  /** Whether a connection has any timeout. Most have none, and then need neither this object nor functions for it. */
  static areNeeded(limits: Limits, connecting: boolean): boolean {
    return KINDS.some((kind) => limits[kind] !== Number.POSITIVE_INFINITY && (connecting || kind !== 'connect'))
  }

  constructor(limits: Limits, timers: LoopTimers, owner: DeadlineOwner) {
    super('LinuxSocketsDeadlines')
    this.#limits = limits
    this.#timers = timers
    this.#owner = owner
    // Unreferenced: whether the process stays alive is up to the connection.
    this.#timer = new Timer(() => this.runInAsyncScope(this.#look, this), { ref: false })
    const now = timers.refresh()
    this.#begun = { connect: now, idle: now, read: now, write: now }
    this.#arm()
  }

  /** Starts the timeout of that kind again, and the idle timeout. */
  begin(kind: 'read' | 'write'): void {
    const now = this.#timers.refresh()
    this.#begun[kind] = this.#begun.idle = now
    if (now + this.#limits[kind] < this.#wakeAt) this.#arm()
  }

  /** Starts all timeouts again, since the connection is established. */
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
      if (!this.#owner.isAwaited(kind) || this.#dueOf(kind) > now) continue
      this.#begun[kind] = now
      protect(() => this.#owner.expire(kind))
    }
    if (!this.#stopped) this.#arm()
  }

  #arm(): void {
    const dues = KINDS.filter((kind) => this.#owner.isAwaited(kind)).map((kind) => this.#dueOf(kind))
    const due = Math.min(...dues)
    if (due === this.#wakeAt) return
    this.#wakeAt = due
    if (due === Number.POSITIVE_INFINITY) this.#timers.stop(this.#timer)
    else this.#timers.start(this.#timer, Math.max(due - this.#timers.refresh(), 0))
  }
}

const KINDS: readonly TimeoutKind[] = ['connect', 'idle', 'read', 'write']

/**
 * Checks the timeouts, and replaces missing ones with `Infinity`.
 * @throws TypeError, RangeError if a timeout is out of range
 */
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
