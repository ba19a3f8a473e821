import { AsyncLocalStorage } from 'node:async_hooks'
import { closeSync, openSync } from 'node:fs'
import { performance } from 'node:perf_hooks'
import { setImmediate, setTimeout } from 'node:timers/promises'
import { isMainThread } from 'node:worker_threads'
import { describe, expect, it, onTestFinished } from 'vitest'
import { expectErrno } from './errno.js'
import { type Need, skipUnless } from './need.js'
import type { Finished } from './program.js'

/** A source of readiness. It is the part of native-core's type of this name that the contract uses. */
export type WatchFunction = (
  target: number | { readonly fd: number },
  events: number,
  callback: (events: number) => void,
  options?: { readonly ended?: () => void },
) => Watch

interface Watch extends Disposable {
  readonly events: number
  modify(events: number): void
  stop(): void
  ref(): this
  unref(): this
}

interface Descriptor {
  readonly fd: number
  dup(): Descriptor
  release(): number
  close(): void
}

interface Endpoint extends Descriptor {
  send(data: Uint8Array): unknown
  recv(buffer: Uint8Array): unknown
}

/** The exports of native-core that the contract needs. */
export interface WatchMeans {
  readonly Socket: { pair(): [Endpoint, Endpoint] }
  eventfd(initial?: number): Descriptor
}

/** The implementation under test, which is opened for each test and closed after it. */
export interface WatchUnderTest {
  readonly watch: WatchFunction
  close?(): void
}

/**
 * Tests that an implementation of `WatchFunction` fulfils its contract. `run` runs a module in a process of its own, in which
 * `watch`, `Socket` and `eventfd` are defined.
 */
export function testWatch(
  name: string,
  { Socket, eventfd }: WatchMeans,
  open: () => WatchUnderTest,
  run: (script: string) => Promise<Finished>,
): void {
  const start = (): WatchFunction => {
    const subject = open()
    onTestFinished(() => subject.close?.())
    return subject.watch
  }
  const pairs = (count: number): [Endpoint, Endpoint][] => {
    const made = Array.from({ length: count }, () => Socket.pair())
    onTestFinished(() => {
      for (const end of made.flat()) end.close()
    })
    return made
  }
  const pair = () => pairs(1)[0] as [Endpoint, Endpoint]

  describe(`${name}, as a WatchFunction`, () => {
    it('calls the callback as long as the descriptor is ready, and not before', async () => {
      const watch = start()
      const [a, b] = pair()
      let calls = 0
      const watching = watch(a, EPOLLIN, (events) => {
        expect(events).toBe(EPOLLIN)
        calls++
      })
      await turns(3)
      expect(calls).toBe(0)
      b.send(BYTE)
      await until(() => calls >= 3)
      a.recv(Buffer.alloc(1))
      await turns(2)
      const afterwards = calls
      await turns(3)
      expect(calls).toBe(afterwards)
      watching.stop()
      b.send(BYTE)
      await turns(3)
      expect(calls).toBe(afterwards)
    })

    it('takes a descriptor number, and does not own it', async () => {
      const watch = start()
      const [a, b] = pair()
      let calls = 0
      const watching = watch(a.fd, EPOLLIN, () => calls++)
      b.send(BYTE)
      await until(() => calls > 0)
      watching.stop()
      a.recv(Buffer.alloc(1))
    })

    it('tells which events it watches for, and changes them', async () => {
      const watch = start()
      const [a, b] = pair()
      const seen: number[] = []
      const watching = watch(a, EPOLLIN, (events) => seen.push(events))
      expect(watching.events).toBe(EPOLLIN)
      await turns(2)
      expect(seen).toEqual([])
      watching.modify(EPOLLOUT)
      expect(watching.events).toBe(EPOLLOUT)
      await until(() => seen.length > 0)
      expect(seen[0]).toBe(EPOLLOUT)
      watching.modify(0)
      await turns(2)
      const afterwards = seen.length
      await turns(3)
      expect(seen.length).toBe(afterwards)
      b.close()
      await until(() => seen.length > afterwards)
      expect(seen.at(-1)).toBe(EPOLLHUP)
      watching.stop()
      watching.modify(EPOLLIN)
      watching.stop()
      watching.ref().unref()
    })

    it('reports a half-close and a hang-up', async () => {
      const watch = start()
      const [a, b] = pair()
      const seen: number[] = []
      using _ = watch(a, EPOLLRDHUP, (events) => seen.push(events))
      b.close()
      await until(() => seen.length > 0)
      expect(seen[0]).toBe(EPOLLRDHUP | EPOLLHUP)
    })

    it('allows several watches on one descriptor, each with its own events', async () => {
      const watch = start()
      const [a, b] = pair()
      const seen: string[] = []
      const reading = watch(a, EPOLLIN, (events) => seen.push(`in ${events}`))
      const writing = watch(a, EPOLLOUT, (events) => seen.push(`out ${events}`))
      await until(() => seen.length > 0)
      expect(new Set(seen)).toEqual(new Set([`out ${EPOLLOUT}`]))
      b.send(BYTE)
      await until(() => seen.some((text) => text.startsWith('in')))
      writing.stop()
      seen.length = 0
      await until(() => seen.length > 0)
      expect(new Set(seen)).toEqual(new Set([`in ${EPOLLIN}`]))
      reading.stop()
    })

    it('refuses a descriptor that can’t be watched, and leaves nothing watched', () => {
      const watch = start()
      const [a] = pair()
      const ignore = () => {}
      const file = openSync('/etc/hostname', 'r')
      expect(expectErrno(() => watch(file, EPOLLIN, ignore), 'EPERM').syscall).toBe('epoll_ctl')
      closeSync(file)
      const closed = eventfd()
      const { fd } = closed
      closed.close()
      expectErrno(() => watch(closed, EPOLLIN, ignore), 'EBADF')
      if (isMainThread) expectErrno(() => watch(fd, EPOLLIN, ignore), 'EBADF')
      for (const target of [undefined, null, '1', 1.5, {}, { fd: '1' }]) {
        expect(() => watch(target as never, EPOLLIN, ignore)).toThrow(/^target must be/)
      }
      for (const events of [Number.NaN, 1.5, '1', undefined, null]) {
        expect(() => watch(a, events as number, ignore)).toThrow(/^events must be/)
      }
      for (const events of [EPOLLET, EPOLLONESHOT, EPOLLEXCLUSIVE, EPOLLERR, EPOLLHUP, -1, 2 ** 31]) {
        expect(() => watch(a, events, ignore)).toThrow(/^events must be/)
      }
      for (const callback of [undefined, null, {}, 'f']) {
        expect(() => watch(a, EPOLLIN, callback as never)).toThrow(/^callback must be/)
      }
      expect(() => watch(a, EPOLLIN, ignore, { ended: 'f' as never })).toThrow(/^ended must be/)
      using watching = watch(a, EPOLLIN, ignore)
      expect(() => watching.modify(EPOLLET)).toThrow(RangeError)
      expect(watching.events).toBe(EPOLLIN)
      watch(a, EPOLLIN | EPOLLPRI, ignore).stop()
    })

    it('calls back in the async context of the caller', async () => {
      const watch = start()
      const storage = new AsyncLocalStorage<string>()
      const [a, b] = pair()
      const seen: unknown[] = []
      const watches = ['one', 'two'].map((text) =>
        storage.run(text, () => watch(a, EPOLLIN, () => seen.push(storage.getStore()))),
      )
      storage.run('sender', () => b.send(BYTE))
      await until(() => seen.length >= 2)
      expect(new Set(seen)).toEqual(new Set(['one', 'two']))
      for (const watching of watches) watching.stop()
    })

    it('gets no more calls from the current batch once it is stopped', async () => {
      const watch = start()
      const all = pairs(10)
      const calls: number[] = []
      const watches = all.map(([a], i) =>
        watch(a, EPOLLIN, () => {
          calls.push(i)
          for (const watching of watches) watching.stop()
        }),
      )
      for (const [, b] of all) b.send(BYTE)
      await until(() => calls.length > 0)
      await turns(3)
      expect(calls).toHaveLength(1)
    })

    it('ends when its descriptor is closed, even during its own callback', async () => {
      const watch = start()
      const [a, b] = pair()
      let calls = 0
      const watching = watch(a, EPOLLIN, () => {
        calls++
        a.close()
      })
      b.send(BYTE)
      await until(() => calls > 0)
      await turns(3)
      expect(calls).toBe(1)
      watching.modify(EPOLLOUT)
      watching.stop()
    })

    it('gets no calls for a closed descriptor, nor for old events of its reused number', async (test) => {
      skipUnless(test, needOneThread())
      const watch = start()
      const [[first, firstPeer], [second, secondPeer]] = pairs(2) as [[Endpoint, Endpoint], [Endpoint, Endpoint]]
      const calls: string[] = []
      let reused: [Endpoint, Endpoint] | undefined
      const numbers = [first.fd, second.fd]
      const replace = (other: Endpoint, text: string) => () => {
        calls.push(text)
        if (reused !== undefined) return
        // Both are in this batch. The other one is closed, and a new descriptor gets its number and a watch.
        other.close()
        reused = pair()
        expect(numbers).toContain(reused[0].fd)
        watch(reused[0], EPOLLIN, () => calls.push('reused'))
      }
      watch(first, EPOLLIN, replace(second, 'first'))
      watch(second, EPOLLIN, replace(first, 'second'))
      firstPeer.send(BYTE)
      secondPeer.send(BYTE)
      await until(() => calls.length > 0)
      await turns(3)
      expect(new Set(calls).size).toBe(1)
      expect(calls).not.toContain('reused')
      reused?.[1].send(BYTE)
      await until(() => calls.includes('reused'))
    })

    it.each(['close', 'release'] as const)(
      'tells once that the owner’s %s has ended it, and doesn’t spin on a duplicate',
      async (end) => {
        const watch = start()
        const storage = new AsyncLocalStorage<string>()
        const [a, b] = pair()
        const copy = a.dup()
        const calls: string[] = []
        const ended = (text: string) => () => calls.push(`${text} of ${storage.getStore()}, ${a.fd}`)
        for (const text of ['one', 'two']) {
          storage.run('mine', () => watch(a, EPOLLIN, () => calls.push('event'), { ended: ended(text) }))
        }
        watch(a, EPOLLIN, () => {}, { ended: () => calls.push('stopped') }).stop()
        const { fd } = a
        a[end]()
        expect(calls).toEqual([])
        b.send(BYTE)
        await expectRest()
        expect(calls).toEqual(['one of mine, -1', 'two of mine, -1'])
        copy.close()
        if (end === 'release') closeSync(fd)
      },
    )

    it('recovers when other code has closed the descriptor while a duplicate is open', async () => {
      const watch = start()
      const [[a, b], [c, d]] = pairs(2) as [[Endpoint, Endpoint], [Endpoint, Endpoint]]
      const copy = a.dup()
      let calls = 0
      const fd = a.release()
      const watching = watch(fd, EPOLLIN, () => calls++)
      closeSync(fd)
      b.send(BYTE)
      // When the watch stops, the kernel can't remove the registration, and would report it through the duplicate forever.
      watching.stop()
      const before = calls
      let others = 0
      using other = watch(c, EPOLLIN, () => others++)
      await expectRest()
      expect(calls).toBe(before)
      d.send(BYTE)
      await until(() => others > 0)
      other.stop()
      copy.close()
    })

    it('loses only the watches of closed descriptors when other code has closed several', async () => {
      const watch = start()
      const all = pairs(5)
      const copies = all.map(([a]) => a.dup().release())
      const [lost, kept] = [copies.slice(0, 2), copies.slice(2)]
      const seen = new Set<number>()
      const watches = copies.map((fd) => watch(fd, EPOLLIN, () => seen.add(fd)))
      for (const fd of lost) closeSync(fd)
      watches[0]?.stop()
      for (const [, b] of all) b.send(BYTE)
      await until(() => seen.size >= kept.length)
      await turns(3)
      expect(seen).toEqual(new Set(kept))
      for (const watching of watches) watching.stop()
      for (const fd of kept) closeSync(fd)
    })

    it('watches a new descriptor that has the number of one closed by other code', async (test) => {
      skipUnless(test, needOneThread())
      const watch = start()
      const [a, b] = pair()
      const calls: string[] = []
      const copy = a.dup()
      const fd = a.release()
      watch(fd, EPOLLIN, () => calls.push('old'), { ended: () => calls.push('ended') })
      closeSync(fd)
      const again = pair()
      expect(again[0].fd).toBe(fd)
      watch(again[0], EPOLLIN, () => {
        again[0].recv(Buffer.alloc(1))
        calls.push('new')
      })
      b.send(BYTE)
      again[1].send(BYTE)
      await until(() => calls.includes('new'))
      await expectRest()
      expect(calls.sort()).toEqual(['ended', 'new'])
      copy.close()
    })

    it.each([
      ['a watch keeps the process alive', 'watch(a, EPOLLIN, () => {})', true],
      ['an unreferenced one does not', 'watch(a, EPOLLIN, () => {}).unref()', false],
      ['nor does a stopped one', 'watch(a, EPOLLIN, () => {}).stop()', false],
      ['nor one whose descriptor is closed', '(watch(a, EPOLLIN, () => {}), a.close())', false],
      ['a referenced one does again', 'watch(a, EPOLLIN, () => {}).unref().unref().ref().ref()', true],
      ['one of two is enough', '(watch(a, EPOLLIN, () => {}).unref(), watch(b, EPOLLIN, () => {}))', true],
    ])('%s', async (_name, expression, alive) => {
      const { stdout, stderr } = await run(`
        const EPOLLIN = ${EPOLLIN}
        const [a, b] = Socket.pair()
        globalThis.kept = [a, b, watch, ${expression}]
        ${SAYS_ALIVE}
      `)
      expect({ stdout, stderr }).toEqual({ stdout: alive ? 'alive\n' : '', stderr: '' })
    })

    it('turns an error of a callback into an uncaught exception, and calls the others of the batch', async () => {
      const { code, stdout, stderr } = await run(`
        const caught = []
        process.on('uncaughtException', (error, origin) => caught.push(error.message + ' ' + origin))
        const calls = []
        const counters = [0, 1, 2].map(() => eventfd(1))
        const watches = counters.map((counter, i) => watch(counter, ${EPOLLIN}, () => {
          calls.push(i)
          watches[i].stop()
          if (i !== 2) throw new Error('from ' + i)
        }))
        process.on('exit', () => console.log(JSON.stringify({ caught, calls })))
      `)
      expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
      expect(JSON.parse(stdout)).toEqual({
        caught: ['from 0 uncaughtException', 'from 1 uncaughtException'],
        calls: [0, 1, 2],
      })
    })
  })
}

/** Source text that prints `alive` and ends the program, but only if something else keeps the program alive. */
export const SAYS_ALIVE = `
  let turn = 0
  const look = () => {
    if (++turn < 5) return setTimeout(look, 20).unref()
    console.log('alive')
    process.exit()
  }
  setTimeout(look, 20).unref()`

/**
 * Fails if the event loop of this thread never rests. It spins if its epoll instance keeps reporting an event that no callback
 * consumes.
 */
export async function expectRest(): Promise<void> {
  // The test runner has work of its own now and then; a loop that spins does so all the time.
  let turns = 0
  for (let look = 0; look < 10; look++) {
    const before = turnsOfLoop()
    await setTimeout(100)
    turns = turnsOfLoop() - before
    if (turns < 100) return
  }
  expect.fail(`the loop has taken ${turns} turns in 100 ms, and never rested`)
}

/** The turns that the loop has taken so far. A loop that spins takes thousands, even on a loaded machine. */
function turnsOfLoop(): number {
  const timing = performance.nodeTiming as unknown as { readonly uvMetricsInfo: { readonly loopCount: number } }
  return timing.uvMetricsInfo.loopCount
}

// <sys/epoll.h>
const EPOLLIN = 0x1
const EPOLLPRI = 0x2
const EPOLLOUT = 0x4
const EPOLLERR = 0x8
const EPOLLHUP = 0x10
const EPOLLRDHUP = 0x2000
const EPOLLEXCLUSIVE = 0x1000_0000
const EPOLLONESHOT = 0x4000_0000
const EPOLLET = 0x8000_0000

const BYTE = Buffer.from('x')

function needOneThread(): Need {
  return isMainThread ? null : 'other threads of this process open descriptors at the same time'
}

/** Waits for this many turns of the event loop. */
export async function turns(count: number): Promise<void> {
  for (let turn = 0; turn < count; turn++) await setImmediate()
}

/** Waits, turn by turn of the event loop, until the condition holds. Throws after a minute. */
export async function until(condition: () => boolean): Promise<void> {
  const deadline = Date.now() + 60_000
  while (!condition()) {
    if (Date.now() > deadline) throw new Error('the condition did not hold within a minute')
    await setImmediate()
  }
}
