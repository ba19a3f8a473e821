import { AsyncResource } from 'node:async_hooks'
import { checkBoolean, checkFunction, checkOptions, type NamesOf } from '@linux-sockets/native-core/internal'

/**
 * A function that a `TimerWheel` calls later. A timer is made once, and started as often as needed. Starting and stopping
 * allocate nothing, so a connection can keep one timer from beginning to end.
 *
 *     const idle = new Timer(() => connection.abort())
 *     wheel.start(idle, 30_000)
 */
export interface Timer {
  /**
   * Called by `advance` when the time is over, in the async context of `advance`. Wrap it with `AsyncResource.bind` if it
   * needs its own context. It may start and stop any timer, including this one. An exception from it becomes an
   * uncaught exception, and the other timers are called all the same.
   */
  expired(): void
  /** Whether the timer is started and has not been called yet. It is false during its own call, unless started again. */
  readonly active: boolean
  /** Whether the timer keeps the process alive while it is active in `LoopTimers`. */
  readonly referenced: boolean
}

/** The options of a timer. */
export interface TimerOptions {
  /** Whether the timer keeps the process alive while it is active in `LoopTimers`. Default true. */
  readonly ref?: boolean | undefined
}

/**
 * Holds very many timers, such as one or more for every connection. Starting and stopping take a few steps, however many
 * timers there are, and nothing is done for a timer that is stopped before its time.
 *
 *     const wheel = new TimerWheel()
 *     wheel.start(timer, 250)
 *     for (;;) {
 *       epoll.wait(events, wheel.nextDelay())
 *       wheel.advance()
 *     }
 *
 * A wheel does nothing by itself: its owner calls `advance`. `LoopTimers` is a wheel that Node's event loop advances.
 *
 * A timer is never early. It becomes due at a tick, which is a whole millisecond: less than one millisecond after its time,
 * or exactly one millisecond if it was started with 0 at a whole tick. Timers are called in the order of their ticks, and
 * those of one tick in the order in which they were started.
 *
 * @see G. Varghese and A. Lauck: Hashed and Hierarchical Timing Wheels, 1987; scheme 7
 */
export class TimerWheel {
  readonly #clock: () => number
  /** The clock's time at tick 0. */
  readonly #origin: number
  #now: number
  /** All timers that were due up to this tick have been taken out. Those in a slot are due later. */
  #tick = 0
  #size = 0
  /** The number of active timers that are referenced. */
  #references = 0
  #longestLag = 0
  /** The first timer of each slot, whose `previous` is the last one; finally the list of timers for `advance` to call. */
  readonly #slots: (Entry | undefined)[] = new Array(EXPIRED + 1).fill(undefined)
  /** The first tick at which a timer of the slot may be due. It may be too early, since `stop` does not update it. */
  readonly #earliest = new Float64Array(EXPIRED + 1)
  /** A bit for each slot that isn't empty. */
  readonly #occupied = new Uint32Array(WORDS + 1)

  /**
   * `clock` returns the time in **milliseconds**, fractions included. While it is behind its latest time, the wheel's time
   * stands still. Default `performance.now`.
   * @throws TypeError if the clock doesn't return a finite number
   */
  constructor(clock: () => number = () => performance.now()) {
    checkFunction(clock, 'clock')
    const now = clock()
    if (!Number.isFinite(now)) throw new TypeError(`clock must tell milliseconds, not ${now}`)
    this.#clock = clock
    this.#now = now
    this.#origin = Math.floor(now)
  }

  /** The clock's time in **milliseconds**, as last read by `start`, `advance`, `nextDelay` or `refresh`. Costs no call. */
  get now(): number {
    return this.#now
  }

  /** The number of active timers. */
  get size(): number {
    return this.#size
  }

  /** The number of active timers that keep the process alive. */
  protected get references(): number {
    return this.#references
  }

  /**
   * The longest time in **milliseconds** from a timer's tick to its call, of all timers so far. A call is late if `advance` is
   * called late, or if the timers called before it took long. 0 while no timer was called.
   */
  get longestLag(): number {
    return this.#longestLag
  }

  /** Reads the clock, and returns the new `now`. A loop does this once a turn. */
  refresh(): number {
    const now = this.#clock()
    if (now > this.#now && now !== Number.POSITIVE_INFINITY) this.#now = now
    return this.#now
  }

  /**
   * Starts a timer. The time counts from the present, which is read from the clock, and not from `now`. A timer that is active,
   * in this wheel or in another one, is started again. `milliseconds`: 0 … 2³¹ − 1, fractions included. With 0 it is called by
   * a later `advance`, never by a running one.
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
    // An empty wheel has nothing to take out up to the present tick, from which the slot can be a finer one.
    if (this.#size === 0) this.#tick = Math.floor(now)
    entry.due = Math.max(Math.ceil(now + milliseconds), this.#tick + 1)
    entry.wheel = this
    this.#size++
    if (entry.referenced) this.#references++
    this.#place(entry)
  }

  /**
   * Stops a timer: it is not called, even if `advance` has already begun to call the timers that are due. A timer of another
   * wheel is left alone.
   */
  stop(timer: Timer): void {
    const entry = entryOf(timer)
    if (entry.wheel === this) this.#remove(entry)
  }

  /** Calls the timers whose time is over, and returns their number. Timers that these start are called by a later `advance`. */
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
   * Returns after how many **milliseconds**, fractions included, `advance` must be called next; `Infinity` if there is no
   * timer. That call may find no timer due, if one was stopped. Takes a few steps, however many timers there are.
   */
  nextDelay(): number {
    if (this.#size === 0) return Number.POSITIVE_INFINITY
    if (this.#slots[EXPIRED] !== undefined) return 0
    return Math.max((this.#earliest[this.#first()] as number) + this.#origin - this.refresh(), 0)
  }

  /** Moves the timers due up to `target` to the list of expired timers, going from one occupied slot to the next. */
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
   * Puts a timer into its slot. A level has 64 slots, each as long as the whole level below. A timer goes into the lowest level
   * of which one round holds both the present tick and the timer's tick. So the slots before the present one are empty, and
   * all timers of a level are due before those of the next level: the first occupied slot is the earliest.
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
      // An entry that is kept for its next start must not keep its former neighbours in memory.
      entry.next = entry
      entry.previous = entry
    }
  }

  #remove(entry: Entry): void {
    this.#unlink(entry)
    entry.wheel = undefined
    this.#size--
    if (entry.referenced) this.#references--
  }
}

/**
 * A `TimerWheel` that Node's event loop advances, through a single `setTimeout` that is set to the next timer. While a
 * referenced timer is active the process stays alive. Timers are called in the async context in which the `LoopTimers` were made.
 *
 *     const timers = new LoopTimers()
 *     timers.start(new Timer(() => console.log('a quarter of a second later')), 250)
 */
export class LoopTimers extends TimerWheel {
  readonly #context = new AsyncResource('LinuxSocketsTimers')
  #timeout: NodeJS.Timeout | undefined
  /** When the timeout ends, by the wheel's clock. Starting a timer that is due later does not change it. */
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
    // It is enough to arm once afterwards, whatever timers the calls start.
    this.#wakeAt = Number.NEGATIVE_INFINITY
    const called = super.advance()
    this.#arm()
    return called
  }

  /** Keeps the process alive while a referenced timer is active. This is the default. */
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
      // Node rounds fractions down, and takes 2³¹ for 1.
      this.#timeout = setTimeout(() => this.advance(), Math.min(Math.ceil(delay), MAX_DELAY))
    })
    this.#hold()
  }

  /** Stopping a timer does not clear the timeout, since most timers are started again before it ends. */
  #hold(): void {
    if (this.#referenced && this.references > 0) this.#timeout?.ref()
    else this.#timeout?.unref()
  }
}

/** A timer, and at the same time its element in the list of a slot. */
class Entry implements Timer {
  readonly expired: () => void
  readonly referenced: boolean
  wheel: TimerWheel | undefined = undefined
  /** The index of its slot. */
  index = 0
  /** The tick at which it is due. */
  due = 0
  next: Entry = this
  previous: Entry = this

  constructor(expired: () => void, options: TimerOptions = {}) {
    checkFunction(expired, 'expired')
    checkOptions(options, 'options', TIMER_OPTIONS)
    const { ref = true } = options
    checkBoolean(ref, 'ref')
    this.expired = expired
    this.referenced = ref
  }

  get active(): boolean {
    return this.wheel !== undefined
  }
}

/** Makes a timer that calls `expired`. */
export const Timer: new (expired: () => void, options?: TimerOptions) => Timer = Entry

const TIMER_OPTIONS: NamesOf<TimerOptions> = { ref: true }

function entryOf(timer: Timer): Entry {
  if (!(timer instanceof Entry)) throw new TypeError('timer must be a Timer')
  return timer
}

const MAX_DELAY = 2 ** 31 - 1
const SLOTS = 64
/** Enough for 139 years of the clock since the wheel was made. */
const LEVELS = 7
/** The index, after all slots, of the list of timers for `advance` to call. */
const EXPIRED = LEVELS * SLOTS
const WORDS = EXPIRED / 32
