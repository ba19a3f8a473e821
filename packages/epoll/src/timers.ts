import { AsyncResource } from 'node:async_hooks'

/**
 * Something to happen later, in a `TimerWheel`: made once, started as often as needed. Starting and stopping allocates
 * nothing, so a connection keeps its own from beginning to end.
 *
 *     const idle = new Timer(() => connection.abort())
 *     wheel.start(idle, 30_000)
 */
export interface Timer {
  /**
   * Called from `advance` when the time is over, in whatever async context that runs: wrap it with `AsyncResource.bind`
   * where it needs its own. It may start and stop any timer, itself included. What it throws is an uncaught exception,
   * and keeps no other timer from its call.
   */
  expired(): void
  /** Whether it is started and has not been called yet. Inside its own call it isn't, unless it was started again. */
  readonly active: boolean
}

/**
 * Timers of which there may be very many, such as one or more for every connection: starting and stopping takes a few
 * steps, however many there are, and nothing is done for a timer that is stopped before its time.
 *
 *     const wheel = new TimerWheel()
 *     wheel.start(timer, 250)
 *     for (;;) {
 *       epoll.wait(events, wheel.nextDelay())
 *       wheel.advance()
 *     }
 *
 * It does nothing by itself: whoever owns it calls `advance`. `LoopTimers` is one that Node's event loop advances.
 *
 * A timer is never early. As seen by `advance` it is late by less than one millisecond, a tick; by exactly one when it
 * was started with 0 at a whole tick. Timers are called in the order of their ticks, and those of one tick in the order
 * in which they were started.
 *
 * @see G. Varghese and A. Lauck: Hashed and Hierarchical Timing Wheels, 1987; scheme 7
 */
export class TimerWheel {
  readonly #clock: () => number
  /** Tick 0, as the clock tells it. */
  readonly #origin: number
  #now: number
  /** All that was due until here has been taken out. What is in a slot is due later. */
  #tick = 0
  #size = 0
  #longestLag = 0
  /** The first timer of each slot, whose `previous` is the last; the list of those that `advance` is to call comes last. */
  readonly #slots: (Entry | undefined)[] = new Array(EXPIRED + 1).fill(undefined)
  /** The first tick at which a timer of the slot may be due: stopping doesn't look for the next. */
  readonly #earliest = new Float64Array(EXPIRED + 1)
  /** A bit for each slot that isn't empty. */
  readonly #occupied = new Uint32Array(WORDS + 1)

  /**
   * `clock` tells the time in **milliseconds**, fractions included. One that goes back stands still meanwhile.
   * Default `performance.now`.
   * @throws TypeError when the clock doesn't tell a finite number
   */
  constructor(clock: () => number = () => performance.now()) {
    const now = clock()
    if (!Number.isFinite(now)) throw new TypeError(`clock must tell milliseconds, not ${now}`)
    this.#clock = clock
    this.#now = now
    this.#origin = Math.floor(now)
  }

  /** What the clock told last, in **milliseconds**: by `start`, `advance`, `nextDelay` or `refresh`. Costs no call. */
  get now(): number {
    return this.#now
  }

  /** How many timers are active. */
  get size(): number {
    return this.#size
  }

  /**
   * By how many **milliseconds** the latest of all timers so far was called after its tick: `advance` came late, or the timers
   * that were called before it took long. 0 while none was called.
   */
  get longestLag(): number {
    return this.#longestLag
  }

  /** Looks at the clock, and returns the new `now`. A loop does it once a turn. */
  refresh(): number {
    const now = this.#clock()
    if (now > this.#now && now !== Number.POSITIVE_INFINITY) this.#now = now
    return this.#now
  }

  /**
   * Starts a timer, from the present and not from `now`; one that is active starts anew, also when it was in another
   * wheel. `milliseconds`: 0 … 2³¹ − 1, fractions included. With 0 it is called by a later `advance`, never by a running one.
   */
  start(timer: Timer, milliseconds: number): void {
    const entry = entryOf(timer)
    if (typeof milliseconds !== 'number') throw new TypeError(`milliseconds must be a number, not ${milliseconds}`)
    if (!(milliseconds >= 0 && milliseconds <= MAX_DELAY)) {
      throw new RangeError(`milliseconds must be from 0 to ${MAX_DELAY}, not ${milliseconds}`)
    }
    if (entry.wheel === this) this.#remove(entry)
    else entry.wheel?.stop(entry)
    const now = this.refresh() - this.#origin
    // Nothing is left behind when an empty wheel is turned, and the slot will be a finer one.
    if (this.#size === 0) this.#tick = Math.floor(now)
    entry.due = Math.max(Math.ceil(now + milliseconds), this.#tick + 1)
    entry.wheel = this
    this.#size++
    this.#place(entry)
  }

  /** Stops a timer: it is not called, not even where `advance` has already begun to call those due. Others' timers are left alone. */
  stop(timer: Timer): void {
    const entry = entryOf(timer)
    if (entry.wheel === this) this.#remove(entry)
  }

  /** Calls the timers whose time is over, and returns how many were called. What they start is called by a later `advance`. */
  advance(): number {
    this.#turn(Math.floor(this.refresh() - this.#origin))
    let called = 0
    for (let entry = this.#slots[EXPIRED]; entry !== undefined; entry = this.#slots[EXPIRED]) {
      this.#remove(entry)
      called++
      this.#longestLag = Math.max(this.#longestLag, this.refresh() - this.#origin - entry.due)
      try {
        entry.expired()
      } catch (error) {
        queueMicrotask(() => {
          throw error
        })
      }
    }
    return called
  }

  /**
   * After how many **milliseconds**, fractions included, `advance` must be called next; `Infinity` when there is no timer. It
   * may find nothing to call then, where a timer was stopped. Takes a few steps, however many timers there are.
   */
  nextDelay(): number {
    if (this.#size === 0) return Number.POSITIVE_INFINITY
    if (this.#slots[EXPIRED] !== undefined) return 0
    return Math.max((this.#earliest[this.#first()] as number) + this.#origin - this.refresh(), 0)
  }

  /** Moves what is due until `target` to the list of the expired, going from one occupied slot to the next. */
  #turn(target: number): void {
    for (let index = this.#first(); index >= 0; index = this.#first()) {
      const begin = this.#beginOf(index)
      if (begin > target) break
      this.#tick = begin
      for (let entry = this.#slots[index]; entry !== undefined; entry = this.#slots[index]) {
        this.#unlink(entry)
        if (entry.due === begin) this.#append(entry, EXPIRED)
        else this.#place(entry)
      }
    }
    this.#tick = Math.max(this.#tick, target)
  }

  /**
   * A level is 64 slots, each as long as the whole level below. A timer belongs to the lowest level of which one round holds
   * both the present tick and the timer's. So slots behind the present one are empty, and all of a level are due before
   * any of the next: the first occupied slot is the earliest.
   */
  #place(entry: Entry): void {
    let level = 0
    let length = 1
    for (let round = SLOTS; Math.floor(entry.due / round) !== Math.floor(this.#tick / round); round *= SLOTS) {
      level++
      length = round
    }
    this.#append(entry, level * SLOTS + (Math.floor(entry.due / length) % SLOTS))
  }

  /** The first tick of a slot. */
  #beginOf(index: number): number {
    const length = SLOTS ** Math.floor(index / SLOTS)
    const round = length * SLOTS
    return Math.floor(this.#tick / round) * round + (index % SLOTS) * length
  }

  /** The first occupied slot, or −1. */
  #first(): number {
    for (let word = 0; word < WORDS; word++) {
      const bits = this.#occupied[word] as number
      if (bits !== 0) return word * 32 + 31 - Math.clz32(bits & -bits)
    }
    return -1
  }

  #append(entry: Entry, index: number): void {
    entry.index = index
    const first = this.#slots[index]
    if (first === undefined) {
      entry.next = entry
      entry.previous = entry
      this.#slots[index] = entry
      this.#earliest[index] = entry.due
      this.#occupied[index >> 5] = (this.#occupied[index >> 5] as number) | (1 << (index & 31))
    } else {
      const last = first.previous
      entry.next = first
      entry.previous = last
      last.next = entry
      first.previous = entry
      if (entry.due < (this.#earliest[index] as number)) this.#earliest[index] = entry.due
    }
  }

  #unlink(entry: Entry): void {
    const { index, next, previous } = entry
    if (next === entry) {
      this.#slots[index] = undefined
      this.#occupied[index >> 5] = (this.#occupied[index >> 5] as number) & ~(1 << (index & 31))
    } else {
      next.previous = previous
      previous.next = next
      if (this.#slots[index] === entry) this.#slots[index] = next
      // What is kept for the next start must not keep its former neighbours.
      entry.next = entry
      entry.previous = entry
    }
  }

  #remove(entry: Entry): void {
    this.#unlink(entry)
    entry.wheel = undefined
    this.#size--
  }
}

/**
 * A `TimerWheel` on Node's event loop: one `setTimeout`, set to the next timer, is all that the loop sees of it. While a
 * timer is active the process stays alive. Timers are called in the async context of whoever made this.
 *
 *     const timers = new LoopTimers()
 *     timers.start(new Timer(() => console.log('a quarter of a second later')), 250)
 */
export class LoopTimers extends TimerWheel {
  readonly #context = new AsyncResource('LinuxSocketsTimers')
  #timeout: NodeJS.Timeout | undefined
  /** When the timeout ends, by the wheel's clock. A timer that is due later leaves it alone. */
  #wakeAt = Number.POSITIVE_INFINITY
  #referenced = true

  override start(timer: Timer, milliseconds: number): void {
    super.start(timer, milliseconds)
    if (this.now + milliseconds < this.#wakeAt) this.#arm()
    this.#hold()
  }

  override stop(timer: Timer): void {
    super.stop(timer)
    this.#hold()
  }

  override advance(): number {
    // Once afterwards is enough, whatever they start.
    this.#wakeAt = Number.NEGATIVE_INFINITY
    const called = super.advance()
    this.#arm()
    return called
  }

  /** An active timer keeps the process alive. This is the default. */
  ref(): this {
    this.#referenced = true
    this.#hold()
    return this
  }

  /** Lets the process end although timers are active. */
  unref(): this {
    this.#referenced = false
    this.#hold()
    return this
  }

  #arm(): void {
    clearTimeout(this.#timeout)
    this.#timeout = undefined
    const delay = this.nextDelay()
    this.#wakeAt = this.now + delay
    if (this.size === 0) return
    this.#context.runInAsyncScope(() => {
      // Node takes fractions for the milliseconds before them, and 2³¹ for 1.
      this.#timeout = setTimeout(() => this.advance(), Math.min(Math.ceil(delay), MAX_DELAY))
    })
    this.#hold()
  }

  /** A stopped timer leaves the timeout as it is, since most are started again before it ends. */
  #hold(): void {
    if (this.#referenced && this.size > 0) this.#timeout?.ref()
    else this.#timeout?.unref()
  }
}

/** What the wheel knows of a timer, which is its place in a list, too. */
class Entry implements Timer {
  readonly expired: () => void
  wheel: TimerWheel | undefined = undefined
  /** Its slot. */
  index = 0
  /** The tick from which on it is to be called. */
  due = 0
  next: Entry = this
  previous: Entry = this

  constructor(expired: () => void) {
    if (typeof expired !== 'function') throw new TypeError('expired must be a function')
    this.expired = expired
  }

  get active(): boolean {
    return this.wheel !== undefined
  }
}

/** Makes a timer; `expired` is what it calls. */
export const Timer: new (expired: () => void) => Timer = Entry

function entryOf(timer: Timer): Entry {
  if (!(timer instanceof Entry)) throw new TypeError('timer must be a Timer')
  return timer
}

const MAX_DELAY = 2 ** 31 - 1
const SLOTS = 64
/** Enough for 139 years of the clock since the wheel was made. */
const LEVELS = 7
/** The list behind all slots, of what `advance` is to call. */
const EXPIRED = LEVELS * SLOTS
const WORDS = EXPIRED / 32
