import { AsyncLocalStorage } from 'node:async_hooks'
import { setImmediate, setTimeout } from 'node:timers/promises'
import { Socket } from '@linux-sockets/native-core'
import { AF_UNIX, EPOLLET, EPOLLIN, EPOLLOUT, SOCK_STREAM } from '@linux-sockets/native-core/constants'
import { expectErrno, guardDescriptors, runProgram } from '@linux-sockets/testkit'
import { describe, expect, it } from 'vitest'
import { adopt, type Handlers, Reactor, Timer, wake } from '../src/index.js'

guardDescriptors()

const hello = Buffer.from('hello')
const buffer = Buffer.alloc(64)

/** A promise that a handler fulfils. */
function signal<T = void>() {
  let fulfil!: (value: T) => void
  const promise = new Promise<T>((resolve) => {
    fulfil = resolve
  })
  return { promise, fulfil }
}

describe('Reactor', () => {
  it('hands the events of each descriptor to its handler', async () => {
    using reactor = new Reactor()
    const pairs = Array.from({ length: 50 }, () => Socket.pair(AF_UNIX, SOCK_STREAM))
    const all = signal()
    const got: number[] = []
    pairs.forEach(([a], i) => {
      reactor.register(a, EPOLLIN | EPOLLET, () => {
        expect(a.recv(buffer)).toBe(i + 1)
        if (got.push(i) === pairs.length) all.fulfil()
      })
    })
    expect(reactor.size).toBe(50)
    for (const [i, [, b]] of pairs.entries()) b.send(Buffer.alloc(i + 1))
    await all.promise
    expect(got.sort((a, b) => a - b)).toEqual(pairs.map((_, i) => i))
    for (const socket of pairs.flat()) socket.close()
  })

  it('lets a handler end any other registration of the same batch', async () => {
    using reactor = new Reactor()
    const pairs = Array.from({ length: 10 }, () => Socket.pair(AF_UNIX, SOCK_STREAM))
    const called = signal()
    let calls = 0
    const registrations = pairs.map(([a]) =>
      reactor.register(a, EPOLLIN, () => {
        calls++
        for (const registration of registrations) registration.stop()
        called.fulfil()
      }),
    )
    for (const [, b] of pairs) b.send(hello)
    await called.promise
    await setImmediate()
    expect(calls).toBe(1)
    expect(reactor.size).toBe(0)
    for (const socket of pairs.flat()) socket.close()
  })

  it('never gives a reused descriptor the events of the old one', async () => {
    using reactor = new Reactor()
    const [a, b] = Socket.pair(AF_UNIX, SOCK_STREAM)
    const [c, d] = Socket.pair(AF_UNIX, SOCK_STREAM)
    const called = signal()
    let reused: Socket[] = []
    let stale = 0
    // Both are ready in one batch. The first one closes the other, and takes its number and place.
    const swap = (other: Socket, registration: () => { stop(): void }) => () => {
      if (reused.length > 0) return
      const { fd } = other
      registration().stop()
      other.close()
      reused = Socket.pair(AF_UNIX, SOCK_STREAM)
      expect(reused.map((socket) => socket.fd)).toContain(fd)
      for (const socket of reused) reactor.register(socket, EPOLLIN, () => stale++)
      called.fulfil()
    }
    const first = reactor.register(
      a,
      EPOLLIN,
      swap(c, () => second),
    )
    const second = reactor.register(
      c,
      EPOLLIN,
      swap(a, () => first),
    )
    b.send(hello)
    d.send(hello)
    await called.promise
    await setImmediate()
    expect(stale).toBe(0)
    for (const socket of [a, b, c, d, ...reused]) socket.close()
  })

  it('changes what a registration waits for', async () => {
    using reactor = new Reactor()
    const [a, b] = Socket.pair(AF_UNIX, SOCK_STREAM)
    const seen = signal<number>()
    const registration = reactor.register(a, EPOLLIN, seen.fulfil)
    registration.modify(EPOLLOUT)
    expect(await seen.promise).toBe(EPOLLOUT)
    registration.stop()
    registration.stop()
    registration.modify(EPOLLIN)
    expect(reactor.size).toBe(0)
    a.close()
    b.close()
  })

  it('keeps the async context of the caller of register', async () => {
    using reactor = new Reactor()
    const storage = new AsyncLocalStorage<string>()
    const [a, b] = Socket.pair(AF_UNIX, SOCK_STREAM)
    const seen = signal<string | undefined>()
    storage.run('mine', () => reactor.register(a, EPOLLIN | EPOLLET, () => seen.fulfil(storage.getStore())))
    storage.run('other', () => b.send(hello))
    expect(await seen.promise).toBe('mine')
    a.close()
    b.close()
  })

  it('turns an exception of a handler into an uncaught exception, and loses no edge', async () => {
    const script = `
      import { Socket } from '@linux-sockets/native-core'
      import { AF_UNIX, EPOLLET, EPOLLIN, SOCK_STREAM } from '@linux-sockets/native-core/constants'
      import { Reactor } from '@linux-sockets/epoll'
      const thrown = []
      process.on('uncaughtException', (error) => thrown.push(error.message))
      const reactor = new Reactor()
      const pairs = Array.from({ length: 3 }, () => Socket.pair(AF_UNIX, SOCK_STREAM))
      let calls = 0
      const registrations = pairs.map(([a], i) => reactor.register(a, EPOLLIN | EPOLLET, () => {
        if (++calls === 3) for (const registration of registrations) registration.stop()
        throw new Error('handler ' + i)
      }))
      for (const [, b] of pairs) b.send(Buffer.from('x'))
      process.on('exit', () => console.log(calls, thrown.sort().join()))
    `
    const said = await runProgram(process.execPath, ['--input-type=module', '-e', script], { cwd: import.meta.dirname })
    expect(said.trim()).toBe('3 handler 0,handler 1,handler 2')
  })

  it('keeps the process alive while something is registered, and no longer', async () => {
    const script = `
      import { setTimeout } from 'node:timers/promises'
      import { Socket } from '@linux-sockets/native-core'
      import { AF_UNIX, EPOLLIN, SOCK_STREAM } from '@linux-sockets/native-core/constants'
      import { Reactor } from '@linux-sockets/epoll'
      const reactor = new Reactor()
      const [a, b] = Socket.pair(AF_UNIX, SOCK_STREAM)
      const registration = reactor.register(a, EPOLLIN, () => { console.log('woken'); registration.stop() })
      setTimeout(20, undefined, { ref: false }).then(() => b.send(Buffer.from('x')))
    `
    const said = await runProgram(process.execPath, ['--input-type=module', '-e', script], { cwd: import.meta.dirname })
    expect(said.trim()).toBe('woken')
  })

  it('calls again in a later turn, in the context of the caller of register, and not after the end', async () => {
    using reactor = new Reactor()
    const storage = new AsyncLocalStorage<string>()
    const pairs = Array.from({ length: 3 }, () => Socket.pair(AF_UNIX, SOCK_STREAM))
    const calls: string[] = []
    const registrations = pairs.map(([a], i) =>
      storage.run(`context ${i}`, () =>
        reactor.register(a, 0, (events) => calls.push(`${storage.getStore()}: ${events}`)),
      ),
    )
    for (const registration of registrations) registration.again(EPOLLIN)
    registrations[0]?.again(EPOLLOUT)
    registrations[1]?.stop()
    expect(calls).toEqual([])
    for (let turn = 0; turn < 3; turn++) await setImmediate()
    expect(calls).toEqual([`context 0: ${EPOLLIN | EPOLLOUT}`, `context 2: ${EPOLLIN}`])
    for (const socket of pairs.flat()) socket.close()
  })

  it('calls `ended` of the registrations that end with it, even from within a handler', async () => {
    const reactor = new Reactor()
    const [a, b] = Socket.pair(AF_UNIX, SOCK_STREAM)
    const [c, d] = Socket.pair(AF_UNIX, SOCK_STREAM)
    const ended: string[] = []
    const closed = signal()
    const close = () => {
      reactor.close()
      closed.fulfil()
    }
    reactor.register(a, EPOLLIN, close, () => ended.push('a'))
    reactor.register(c, EPOLLIN, close, () => ended.push('c'))
    reactor
      .register(
        b,
        EPOLLOUT,
        () => {},
        () => ended.push('b'),
      )
      .stop()
    b.send(hello)
    d.send(hello)
    await closed.promise
    await setImmediate()
    expect(ended).toEqual(['a', 'c'])
    for (const socket of [a, b, c, d]) socket.close()
  })

  it('takes one descriptor while something is registered, and none otherwise', async () => {
    const script = `
      import { readdirSync } from 'node:fs'
      import { setImmediate } from 'node:timers/promises'
      import { eventfd, setResourceLimit } from '@linux-sockets/native-core'
      import { EPOLLIN } from '@linux-sockets/native-core/constants'
      import { Reactor } from '@linux-sockets/epoll'
      setResourceLimit({ soft: readdirSync('/proc/self/fd').length + 10 })
      const fillers = []
      try { for (;;) fillers.push(eventfd()) } catch {}
      const reactor = new Reactor()
      const register = () => reactor.register(fillers[0], EPOLLIN, () => {})
      let code
      try { register() } catch (error) { code = error.code }
      fillers.pop().close()
      register().stop()
      // Not closed at once: repeated registrations would open it each time.
      await setImmediate()
      fillers.push(eventfd())
      console.log(code)
    `
    const said = await runProgram(process.execPath, ['--input-type=module', '-e', script], { cwd: import.meta.dirname })
    expect(said.trim()).toBe('EMFILE')
  })

  it('refuses bad descriptors and double registrations, and accepts good ones afterwards', async () => {
    using reactor = new Reactor()
    const [a, b] = Socket.pair(AF_UNIX, SOCK_STREAM)
    const seen = signal()
    expectErrno(() => reactor.register({ fd: -1 }, EPOLLIN, () => {}), 'EBADF')
    reactor.register(a, EPOLLIN | EPOLLET, () => seen.fulfil())
    expectErrno(() => reactor.register(a, EPOLLIN, () => {}), 'EEXIST')
    expect(reactor.size).toBe(1)
    b.send(hello)
    await seen.promise
    a.close()
    b.close()
  })

  it('lets the process end although something is registered, if that is unreferenced', async () => {
    const script = `
      import { Socket } from '@linux-sockets/native-core'
      import { AF_UNIX, EPOLLIN, SOCK_STREAM } from '@linux-sockets/native-core/constants'
      import { Reactor } from '@linux-sockets/epoll'
      const reactor = new Reactor()
      const [a, b] = Socket.pair(AF_UNIX, SOCK_STREAM)
      const registration = reactor.register(a, EPOLLIN, () => console.log('woken')).unref().unref()
      reactor.waker(() => {})
      process.on('exit', () => console.log('ends', reactor.size))
    `
    const said = await runProgram(process.execPath, ['--input-type=module', '-e', script], { cwd: import.meta.dirname })
    expect(said.trim()).toBe('ends 2')
  })

  it('is woken with the number of wake calls, in the context of the caller of waker', async () => {
    using reactor = new Reactor()
    const storage = new AsyncLocalStorage<string>()
    const woken = signal<string>()
    const waker = storage.run('mine', () => reactor.waker((count) => woken.fulfil(`${storage.getStore()} ${count}`)))
    const other = waker.dup()
    wake(waker)
    wake(other)
    wake(other)
    expect(await woken.promise).toBe('mine 3')
    waker.close()
    wake(other)
    other.close()
    expect(() => wake(other)).toThrow('EBADF')
    expect(() => reactor.waker(null as never)).toThrow(TypeError)
    expect(reactor.size).toBe(0)
  })

  it.each([true, false])(
    'runs until it is stopped, together with Node’s timers and promises, with lead %s',
    async (lead) => {
      using reactor = new Reactor()
      const [a, b] = Socket.pair(AF_UNIX, SOCK_STREAM)
      let turns = 0
      for (const [from, to] of [
        [a, b],
        [b, a],
      ] as const) {
        reactor.register(from, EPOLLIN | EPOLLET, async () => {
          turns++
          from.recv(buffer)
          await null
          to.closed || from.send(hello)
        })
      }
      const running = reactor.run({ lead })
      a.send(hello)
      while (turns < 100) await setTimeout(1)
      reactor.stop()
      await running
      const stoppedAt = turns
      while (turns < stoppedAt + 10) await setImmediate()
      const again = reactor.run({ lead })
      reactor.close()
      await again
      await reactor.run()
      a.close()
      b.close()
    },
  )
})

/** Keeps the thread busy for so many milliseconds. */
function spin(milliseconds: number): void {
  const until = performance.now() + milliseconds
  while (performance.now() < until);
}

describe('statistics', () => {
  /** The ways in which a handler that takes 30 ms is called. */
  const ways: Record<string, (reactor: Reactor, busy: () => void) => Promise<Socket[]>> = {
    'an event': async (reactor, busy) => {
      const [a, b] = Socket.pair(AF_UNIX, SOCK_STREAM)
      reactor.register(a, EPOLLIN | EPOLLET, busy)
      b.send(hello)
      return [a, b]
    },
    'what `resume` finds': async (reactor, busy) => {
      const [a, b] = Socket.pair(AF_UNIX, SOCK_STREAM)
      const connection = adopt(reactor, a, { data: busy })
      connection.pause()
      b.send(hello)
      // The edge is reported while reading is paused.
      while (reactor.statistics.events === 0) await setImmediate()
      connection.resume()
      return [b]
    },
    'what a budget has left over': async (reactor, busy) => {
      const [a, b] = Socket.pair(AF_UNIX, SOCK_STREAM)
      let chunks = 0
      const handlers: Handlers<undefined> = {
        data: () => {
          if (++chunks === 5) busy()
          else b.send(hello)
        },
      }
      adopt(reactor, a, handlers)
      b.send(hello)
      return [b]
    },
    'a timeout': async (reactor, busy) => {
      const [a, b] = Socket.pair(AF_UNIX, SOCK_STREAM)
      const handlers: Handlers<undefined> = {
        data: () => {},
        timeout(connection) {
          busy()
          connection.abort()
        },
      }
      adopt(reactor, a, handlers, { idleTimeout: 5 })
      return [b]
    },
    'a timer of the program': async (reactor, busy) => {
      reactor.timers.start(new Timer(busy), 5)
      return []
    },
  }

  it.each(Object.keys(ways))('tell how long the handler for %s took', async (way) => {
    const reactor = new Reactor()
    const called = signal()
    const sockets = await ways[way]?.(reactor, () => {
      spin(30)
      called.fulfil()
    })
    const { turns } = reactor.statistics
    await called.promise
    await setImmediate()
    const after = reactor.statistics
    expect(after.longestTurn).toBeGreaterThanOrEqual(30)
    expect(after.busy).toBeGreaterThanOrEqual(after.longestTurn)
    expect(after.turns).toBeGreaterThan(turns)
    reactor.close()
    for (const socket of sockets ?? []) socket.close()
  })

  it('count a turn once, even if its handler advances the timers', async () => {
    using reactor = new Reactor()
    const [a, b] = Socket.pair(AF_UNIX, SOCK_STREAM)
    const called = signal()
    let expired = 0
    reactor.register(a, EPOLLIN | EPOLLET, () => {
      reactor.timers.start(new Timer(() => expired++), 0)
      spin(2)
      reactor.timers.advance()
      called.fulfil()
    })
    b.send(hello)
    await called.promise
    await setImmediate()
    const { turns, events, busy, longestTurn } = reactor.statistics
    expect([expired, turns, events]).toEqual([1, 1, 1])
    expect(busy).toBe(longestTurn)
    a.close()
    b.close()
  })

  it('tell by how much a timer came late, whatever has held up the loop', async () => {
    using reactor = new Reactor()
    expect(reactor.statistics.longestLag).toBe(0)
    const called = signal()
    reactor.timers.start(new Timer(called.fulfil), 0)
    spin(35)
    await called.promise
    expect(reactor.statistics.longestLag).toBeGreaterThanOrEqual(30)
  })
})
