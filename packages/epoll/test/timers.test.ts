import { AsyncLocalStorage } from 'node:async_hooks'
import { guardDescriptors, spawnProgram } from '@linux-sockets/testkit'
import { describe, expect, it } from 'vitest'
import { LoopTimers, Timer, TimerWheel } from '../src/index.js'

guardDescriptors()

/** A clock that stands still until it is set. */
class Clock {
  time: number
  reads = 0
  readonly read = () => {
    this.reads++
    return this.time
  }

  constructor(time: number) {
    this.time = time
  }
}

/** A model of the wheel: a plain list, which is slow. */
class Model {
  readonly #clock: Clock
  readonly #origin: number
  readonly #running = new Map<Timer, { due: number; order: number }>()
  #expired: Timer[] = []
  #tick = 0
  #order = 0

  constructor(clock: Clock) {
    this.#clock = clock
    this.#origin = Math.floor(clock.time)
  }

  get size(): number {
    return this.#running.size
  }

  start(timer: Timer, milliseconds: number): void {
    this.stop(timer)
    const now = this.#clock.time - this.#origin
    if (this.size === 0) this.#tick = Math.floor(now)
    const due = Math.max(Math.ceil(now + milliseconds), this.#tick + 1)
    this.#running.set(timer, { due, order: this.#order++ })
  }

  stop(timer: Timer): void {
    this.#running.delete(timer)
    this.#expired = this.#expired.filter((other) => other !== timer)
  }

  advance(): number {
    this.#tick = Math.floor(this.#clock.time - this.#origin)
    this.#expired = [...this.#running]
      .filter(([, { due }]) => due <= this.#tick)
      .toSorted(([, a], [, b]) => a.due - b.due || a.order - b.order)
      .map(([timer]) => timer)
    let called = 0
    for (let timer = this.#expired.shift(); timer !== undefined; timer = this.#expired.shift(), called++) {
      this.#running.delete(timer)
      timer.expired()
    }
    return called
  }

  nextDelay(): number {
    const next = Math.min(...[...this.#running.values()].map(({ due }) => due))
    return Math.max(next + this.#origin - this.#clock.time, 0)
  }
}

/** Reproducible: mulberry32. */
function randomFrom(seed: number): () => number {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let t = Math.imul(state ^ (state >>> 15), 1 | state)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32
  }
}

/** A time in eighths of a millisecond, so that sums are exact: mostly short, sometimes days. */
function randomDelay(random: () => number): number {
  return Math.floor(random() * 2 ** (3 + Math.floor(random() * 29))) / 8
}

/** Starts, stops, restarts and waits at random, also from within the calls of timers, and returns what happened. */
function play(wheel: TimerWheel | Model, clock: Clock, seed: number): string[] {
  const random = randomFrom(seed)
  const log: string[] = []
  const startedFor = new Map<number, number>()
  const disturb = () => {
    const i = Math.floor(random() * timers.length)
    const timer = timers[i] as Timer
    if (random() < 0.7) {
      const delay = random() < 0.1 ? 0 : randomDelay(random)
      wheel.start(timer, delay)
      startedFor.set(i, clock.time + delay)
    } else {
      wheel.stop(timer)
      startedFor.delete(i)
    }
  }
  const timers = Array.from(
    { length: 40 },
    (_, i) =>
      new Timer(() => {
        log.push(`${clock.time}: ${i}`)
        expect(clock.time).toBeGreaterThanOrEqual(startedFor.get(i) ?? Number.POSITIVE_INFINITY)
        startedFor.delete(i)
        for (let n = Math.floor(random() * 3); n > 0; n--) disturb()
      }),
  )
  for (let step = 0; step < 300; step++) {
    for (let n = Math.floor(random() * 4); n > 0; n--) disturb()
    const wait = random()
    if (wait < 0.4) clock.time += randomDelay(random) / 1000
    else if (wait < 0.8) clock.time += Math.floor(random() * 64) / 8
    else clock.time += randomDelay(random)
    clock.time = Math.ceil(clock.time * 8) / 8
    // Not at the time of the last advance, which is where 0 waits for the next tick.
    log.push(`called ${wheel.advance()}, left ${wheel.size}`)
    for (const [i, due] of startedFor) expect(due + 1, `timer ${i} is late`).toBeGreaterThanOrEqual(clock.time)
  }
  return log
}

describe('TimerWheel', () => {
  it.each(Array.from({ length: 60 }, (_, seed) => seed))('does what a list would do (%i)', (seed) => {
    // Origins at and off a whole tick, below 0, and where ticks outgrow 31 bits.
    const origin = [0, 0.125, -1000.5, 2 ** 31 - 40, 1.8e12][seed % 5] as number
    const [a, b] = [new Clock(origin), new Clock(origin)]
    expect(play(new TimerWheel(a.read), a, seed)).toEqual(play(new Model(b), b, seed))
  })

  it.each([0, 0.125, 1, 63, 64, 65, 4095, 4096, 262_143, 262_144.5, 2 ** 24, 2 ** 30, 2 ** 31 - 1])(
    'calls after %d ms, never early, and late by less than a tick',
    (delay) => {
      for (const origin of [0, 0.875, 63.5, 4095.25, 2 ** 31 - 0.5]) {
        const clock = new Clock(5)
        const wheel = new TimerWheel(clock.read)
        clock.time += origin
        let called = 0
        const timer = new Timer(() => called++)
        wheel.start(timer, delay)
        const due = clock.time + delay
        // As a loop does it: it wakes up only when `nextDelay` is over.
        const wait = wheel.nextDelay()
        expect(wait).toBeGreaterThanOrEqual(delay)
        expect(wait).toBeLessThan(delay + (delay === 0 ? 1.001 : 1))
        clock.time = due - 0.0625
        if (delay > 0) expect([wheel.advance(), called, timer.active]).toEqual([0, 0, true])
        clock.time = due + 1
        expect([wheel.advance(), called, timer.active]).toEqual([1, 1, false])
        expect([wheel.size, wheel.nextDelay()]).toEqual([0, Number.POSITIVE_INFINITY])
      }
    },
  )

  it('says exactly when it must be advanced, until something is stopped', () => {
    const random = randomFrom(1)
    const clock = new Clock(0)
    const wheel = new TimerWheel(clock.read)
    const times: number[] = []
    const timers = Array.from({ length: 500 }, () => new Timer(() => times.push(clock.time)))
    const delays = timers.map(() => Math.ceil(random() * 2 ** Math.ceil(random() * 31 - 1)))
    timers.forEach((timer, i) => {
      wheel.start(timer, delays[i] as number)
    })
    let wakeUps = 0
    for (; wheel.size > 0; wakeUps++) {
      clock.time += wheel.nextDelay()
      expect(wheel.advance()).toBeGreaterThan(0)
    }
    expect(times).toEqual(delays.toSorted((a, b) => a - b))
    expect(wakeUps).toBe(new Set(delays).size)

    // A stopped timer may cost one needless wake-up, but not several.
    const [first, second] = timers as [Timer, Timer]
    wheel.start(first, 5000)
    wheel.start(second, 8000)
    wheel.stop(first)
    const start = clock.time
    for (wakeUps = 0; wheel.size > 0; wakeUps++) {
      clock.time += wheel.nextDelay()
      wheel.advance()
    }
    expect(clock.time - start).toBe(8000)
    expect(wakeUps).toBeLessThanOrEqual(7)
  })

  it('calls timers in the order of time after a jump of the clock', () => {
    const clock = new Clock(0)
    const wheel = new TimerWheel(clock.read)
    const order: number[] = []
    const delays = [3_600_000, 5, 70, 5, 2 ** 31 - 1, 262_144, 4096]
    delays.forEach((delay, i) => {
      wheel.start(new Timer(() => order.push(i)), delay)
    })
    // A walk over all ticks of 120 years would exceed the test's timeout.
    clock.time = 120 * 365 * 86_400_000
    expect(wheel.advance()).toBe(7)
    expect(order).toEqual([1, 3, 2, 6, 5, 0, 4])
    clock.time += 0.5
    wheel.start(new Timer(() => order.push(7)), 1)
    clock.time += 1.5
    expect(wheel.advance()).toBe(1)
  })

  it('touches a few timers to start, stop and restart one of 100 000', () => {
    const random = randomFrom(2)
    const clock = new Clock(0)
    const wheel = new TimerWheel(clock.read)
    let touched = 0
    const timers = Array.from({ length: 100_000 }, () => {
      const timer = new Timer(() => {})
      // The wheel walks along the links, so each read of a link is counted.
      for (const link of ['next', 'previous'] as const) {
        let value = (timer as unknown as Record<string, unknown>)[link]
        Object.defineProperty(timer, link, {
          get: () => {
            touched++
            return value
          },
          set: (changed) => {
            touched++
            value = changed
          },
        })
      }
      return timer
    })
    let most = 0
    const counted = (act: () => void) => {
      touched = 0
      act()
      most = Math.max(most, touched)
    }
    for (const timer of timers) counted(() => wheel.start(timer, random() * 60_000))
    for (const timer of timers) counted(() => wheel.start(timer, random() * 60_000))
    for (const timer of timers) if (random() < 0.5) counted(() => wheel.stop(timer))
    counted(() => wheel.nextDelay())
    expect(most).toBeLessThanOrEqual(12)

    // In all, a timer moves down at most once per level.
    touched = 0
    const left = wheel.size
    expect(left).toBeGreaterThan(40_000)
    let called = 0
    while (wheel.size > 0) {
      clock.time += 10
      called += wheel.advance()
    }
    expect(called).toBe(left)
    expect(touched / left).toBeLessThan(4 * 12)
  })

  it('lets a timer start and stop others of the same batch, and itself', () => {
    const clock = new Clock(0)
    const wheel = new TimerWheel(clock.read)
    const log: string[] = []
    const a = new Timer(() => {
      log.push(`a ${a.active} ${b.active} ${c.active} ${wheel.size} ${wheel.nextDelay()}`)
      wheel.stop(b)
      wheel.start(c, 0)
      wheel.start(a, 0)
    })
    const b = new Timer(() => log.push('b'))
    const c = new Timer(() => log.push('c'))
    for (const timer of [a, b, c]) wheel.start(timer, 10)
    clock.time = 10
    expect(wheel.advance()).toBe(1)
    expect(wheel.advance()).toBe(0)
    expect([a.active, b.active, c.active]).toEqual([true, false, true])
    clock.time = 11
    expect(wheel.advance()).toBe(2)
    expect(log).toEqual(['a false true true 2 0', 'c', 'a false false false 0 Infinity'])
    expect(wheel.size).toBe(2)
  })

  it('can be advanced from within a timer: none is called twice or lost', () => {
    const clock = new Clock(0)
    const wheel = new TimerWheel(clock.read)
    const log: unknown[] = []
    wheel.start(
      new Timer(() => {
        clock.time = 20
        log.push(wheel.advance())
      }),
      10,
    )
    for (const [name, delay] of [
      ['b', 10],
      ['c', 15],
    ] as const)
      wheel.start(new Timer(() => log.push(name)), delay)
    clock.time = 10
    expect(wheel.advance()).toBe(1)
    expect(log).toEqual(['b', 'c', 2])
  })

  it('calls the other timers although one throws, and its error is uncaught', async () => {
    const program = spawnProgram(process.execPath, [
      '--input-type=module',
      '-e',
      `
      import { Timer, TimerWheel } from '${new URL('../dist/index.js', import.meta.url)}'
      let time = 0
      const wheel = new TimerWheel(() => time)
      process.on('uncaughtException', ({ message }) => console.log('uncaught', message))
      wheel.start(new Timer(() => { throw new Error('one') }), 1)
      wheel.start(new Timer(() => console.log('two')), 1)
      time = 1
      console.log(wheel.advance())
      `,
    ])
    const { code, stdout } = await program.finished
    expect({ code, stdout }).toEqual({ code: 0, stdout: 'two\n2\nuncaught one\n' })
  })

  it('starts a timer of another wheel, but does not stop one', () => {
    const [one, two] = [new TimerWheel(), new TimerWheel()]
    const timer = new Timer(() => {})
    one.start(timer, 1000)
    two.stop(timer)
    expect([one.size, timer.active]).toEqual([1, true])
    two.start(timer, 1000)
    expect([one.size, two.size]).toEqual([0, 1])
    two.stop(timer)
    two.stop(timer)
    expect([two.size, timer.active]).toEqual([0, false])
  })

  it('keeps the last reading of the clock, and never goes back', () => {
    const clock = new Clock(100)
    const wheel = new TimerWheel(clock.read)
    clock.time = 105.5
    const { reads } = clock
    expect(wheel.now).toBe(100)
    expect(clock.reads).toBe(reads)
    expect([wheel.refresh(), wheel.now]).toEqual([105.5, 105.5])
    for (const wrong of [104, Number.NaN, Number.POSITIVE_INFINITY]) {
      clock.time = wrong
      expect(wheel.refresh()).toBe(105.5)
    }
    clock.time = 106
    wheel.start(new Timer(() => {}), 1)
    expect(wheel.now).toBe(106)
    clock.time = 107
    wheel.advance()
    expect(wheel.now).toBe(107)
  })

  it('refuses invalid timers, times and clocks', () => {
    const wheel = new TimerWheel()
    const timer = new Timer(() => {})
    for (const delay of [Number.NaN, -1, -0.001, 2 ** 31, Number.POSITIVE_INFINITY]) {
      expect(() => wheel.start(timer, delay)).toThrow(RangeError)
    }
    for (const delay of ['5', null, undefined, 5n]) expect(() => wheel.start(timer, delay as never)).toThrow(TypeError)
    expect(() => wheel.start({ active: false, referenced: true, expired() {} }, 1)).toThrow(TypeError)
    expect(() => wheel.stop(undefined as never)).toThrow(TypeError)
    expect(() => new Timer(5 as never)).toThrow(TypeError)
    expect(() => new TimerWheel(() => Number.NaN)).toThrow(TypeError)
    expect([timer.active, wheel.size]).toEqual([false, 0])
  })
})

it('reports the longest lag of a timer: behind its tick, and behind the timers before it', () => {
  const clock = new Clock(1000.25)
  const wheel = new TimerWheel(clock.read)
  const late = () => {
    wheel.advance()
    return wheel.longestLag
  }
  expect(wheel.longestLag).toBe(0)
  wheel.start(new Timer(() => {}), 10)
  // The timer's tick: its time, rounded up.
  clock.time = 1011
  expect(late()).toBe(0)
  wheel.start(new Timer(() => {}), 10)
  clock.time = 1025.5
  expect(late()).toBe(4.5)
  const slow = new Timer(() => {
    clock.time += 7
  })
  for (const timer of [slow, new Timer(() => {})]) wheel.start(timer, 1)
  clock.time = 1027
  expect(late()).toBe(7)
  wheel.start(new Timer(() => {}), 1)
  clock.time = 1036
  expect(late()).toBe(7)
})

describe('LoopTimers', () => {
  it('calls from Node’s loop: in order, not early, in the context of its maker', async () => {
    const storage = new AsyncLocalStorage<string>()
    const timers = storage.run('maker', () => new LoopTimers())
    const called: { name: string; context: string | undefined; early: boolean; from: number; until: number }[] = []
    await new Promise<void>((resolve) => {
      /** The timer is due between `from` and `until`, wherever this thread was held up. */
      const start = (name: string, delay: number, then?: () => void) => {
        const from = performance.now() + delay
        let until = 0
        const timer = new Timer(() => {
          called.push({ name, context: storage.getStore(), early: performance.now() < from, from, until })
          then?.()
          if (called.length === 4) resolve()
        })
        timers.start(timer, delay)
        until = Math.ceil(performance.now() + delay)
      }
      storage.run('starter', () => {
        start('c', 30)
        start('a', 5)
        start('b', 10, () => start('b2', 5))
      })
    })
    expect(called.map(({ name }) => name).sort()).toEqual(['a', 'b', 'b2', 'c'])
    for (const { context, early } of called) expect([context, early]).toEqual(['maker', false])
    // Whole milliseconds of the wheel's clock, which didn't begin at one of the process's.
    const inOrder = called.every(({ from }, i) => i + 1 === called.length || from <= (called[i + 1]?.until ?? 0) + 1)
    expect(inOrder, JSON.stringify(called)).toBe(true)
    expect(timers.size).toBe(0)
  })

  // Node calls a timer that is due by the end of a turn even if it is unreferenced, so those are due late.
  it.each([
    ['timers.start(timer, 20)', 'called'],
    ['timers.unref().start(timer, LATE)', ''],
    ['timers.start(timer, LATE); timers.unref()', ''],
    ['timers.unref(); timers.start(timer, 20); timers.ref()', 'called'],
    ['timers.start(timer, LATE); timers.stop(timer)', ''],
    ['timers.start(timer, 20); timers.stop(timer); timers.start(timer, 30)', 'called'],
    ['timers.start(timer, 20); new LoopTimers().unref().start(timer, LATE)', ''],
    ['timers.start(timer, 2 ** 31 - 1); timers.start(timer, 20)', 'called'],
    ['timers.start(timer, 2 ** 31 - 1); timers.unref()', ''],
    ["timers.start(new Timer(() => console.log('never'), { ref: false }), LATE)", ''],
    ['const other = new Timer(() => {}, { ref: false }); timers.start(timer, 20); timers.start(other, LATE)', 'called'],
    ["const other = new Timer(() => console.log('never')); timers.start(other, LATE); timers.stop(other)", ''],
  ])('keeps the process alive while a referenced timer is active: %s', async (code, said) => {
    const program = spawnProgram(process.execPath, [
      '--input-type=module',
      '-e',
      `
      import { LoopTimers, Timer } from '${new URL('../dist/index.js', import.meta.url)}'
      const LATE = 10_000
      const timers = new LoopTimers()
      const timer = new Timer(() => console.log('called'))
      ${code}
      `,
    ])
    const { code: status, stdout, stderr } = await program.finished
    expect({ status, said: stdout.trim(), stderr }).toEqual({ status: 0, said, stderr: '' })
  })
})
