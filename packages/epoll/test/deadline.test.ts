import { Socket, setOption } from '@linux-sockets/native-core'
import { AF_UNIX, SHUT_WR, SOCK_STREAM } from '@linux-sockets/native-core/constants'
import { SO_SNDBUF } from '@linux-sockets/native-core/options'
import { guardDescriptors, inSteadyTime, runProgram } from '@linux-sockets/testkit'
import { describe, expect, it, onTestFinished } from 'vitest'
import { adopt, type Connection, type ConnectionOptions, type Handlers, Reactor } from '../src/index.js'

guardDescriptors()

/** A connection, its peer, the calls of its handlers, and the milliseconds from its making to them. */
function connected(options: ConnectionOptions, handlers: Partial<Handlers<undefined>> = {}) {
  const reactor = new Reactor()
  const [mine, peer] = Socket.pair(AF_UNIX, SOCK_STREAM)
  onTestFinished(() => {
    reactor.close()
    peer.close()
  })
  const calls: string[] = []
  const started = performance.now()
  let took = 0
  let connection!: Connection
  const closed = new Promise<void>((resolve) => {
    const all: Handlers<undefined> = {
      data: () => {},
      error: (_, error) => calls.push((error as NodeJS.ErrnoException).code ?? ''),
      ...handlers,
      close: () => {
        took = performance.now() - started
        resolve()
      },
    }
    connection = adopt(reactor, mine, all, options)
  })
  return { connection, peer, calls, closed, took: () => took, reactor }
}

describe('timeouts', () => {
  it.each(['idleTimeout', 'readTimeout'] as const)('%s breaks a silent connection, and not before', async (name) => {
    const { calls, closed, took, reactor } = connected({ [name]: 50 })
    await closed
    expect(calls).toEqual(['ETIMEDOUT'])
    expect(took()).toBeGreaterThanOrEqual(50)
    expect(reactor.timers.size).toBe(0)
  })

  it('writeTimeout breaks a connection whose peer reads nothing, and leaves a silent one alone', async () => {
    const { connection, calls, closed, took } = connected({ writeTimeout: 50 })
    setOption(connection, SO_SNDBUF, 4096)
    while (connection.queuedBytes === 0) connection.write(Buffer.alloc(100_000))
    await closed
    expect(calls).toEqual(['ETIMEDOUT'])
    expect(took()).toBeGreaterThanOrEqual(50)

    const silent = connected(
      { writeTimeout: 1, idleTimeout: 60 },
      { timeout: (c, kind) => void [c.abort(), kinds.push(kind)] },
    )
    const kinds: string[] = []
    await silent.closed
    expect(kinds).toEqual(['idle'])

    const corked = connected({ writeTimeout: 20 })
    corked.connection.cork()
    corked.connection.write(Buffer.from('kept back'))
    await corked.closed
    expect(corked.calls).toEqual(['ETIMEDOUT'])
  })

  it('start again with every byte, in either direction', () =>
    inSteadyTime(150, async () => {
      const { connection, peer, calls, closed } = connected({ idleTimeout: 200 })
      const byte = Buffer.alloc(1)
      let turns = 0
      const started = performance.now()
      const timer = setInterval(() => {
        if (++turns % 2 === 0) peer.send(byte)
        else connection.write(byte)
        if (turns < 30) return
        clearInterval(timer)
      }, 10)
      await closed
      clearInterval(timer)
      expect(calls).toEqual(['ETIMEDOUT'])
      expect(performance.now() - started).toBeGreaterThanOrEqual(200 + 10)
      expect(turns).toBe(30)
    }))

  it('call a handler repeatedly, and the connection goes on', async () => {
    const kinds: string[] = []
    const { closed, connection } = connected(
      { idleTimeout: 10, readTimeout: 15 },
      {
        timeout: (c, kind) => {
          kinds.push(kind)
          if (kinds.length === 6) c.abort()
        },
      },
    )
    await closed
    expect(connection.closed).toBe(true)
    expect(new Set(kinds)).toEqual(new Set(['idle', 'read']))
    expect(kinds.length).toBe(6)
  })

  it('do not count the time for reading while it is not wanted', async () => {
    const kinds: string[] = []
    const timeout = (c: Connection, kind: string) => {
      kinds.push(kind)
      c.abort()
    }
    const paused = connected({ readTimeout: 1, idleTimeout: 50 }, { timeout })
    paused.connection.pause()
    await paused.closed
    expect(kinds.splice(0)).toEqual(['idle'])
    // The end must be read before the time is over.
    await inSteadyTime(15, async () => {
      const ended = connected({ readTimeout: 20, idleTimeout: 50 }, { timeout, end: () => {} })
      ended.peer.shutdown(SHUT_WR)
      await ended.closed
      expect(kinds.splice(0)).toEqual(['idle'])
    })
  })

  it('start again with resume', async () => {
    const { connection, calls, closed, took } = connected({ readTimeout: 30 })
    connection.pause()
    setTimeout(() => connection.resume(), 60)
    await closed
    expect(calls).toEqual(['ETIMEDOUT'])
    // Node's timers count whole milliseconds.
    expect(took()).toBeGreaterThanOrEqual(89)
  })

  it('end a connection whose peer never ends its side', async () => {
    const { connection, calls, closed } = connected({ readTimeout: 20 })
    connection.end()
    await closed
    expect(calls).toEqual(['ETIMEDOUT'])
  })

  it.each([
    ['idleTimeout', 0, RangeError],
    ['readTimeout', Number.NaN, RangeError],
    ['writeTimeout', 2 ** 31, RangeError],
    ['connectTimeout', '1', TypeError],
    ['highWaterMark', -1, RangeError],
    ['maxQueuedBytes', '1', TypeError],
    ['lowWaterMark', 1 << 20, RangeError],
  ])('refuse %s of %s, and leave the socket open', (name, value, ErrorClass) => {
    using reactor = new Reactor()
    const [mine, peer] = Socket.pair(AF_UNIX, SOCK_STREAM)
    expect(() => adopt(reactor, mine, { data: () => {} }, { [name]: value })).toThrow(ErrorClass)
    expect(mine.closed).toBe(false)
    mine.close()
    peer.close()
  })

  it('keep the process alive only if the connection does', async () => {
    const script = (reference: string, idleTimeout: number) => `
      import { Socket } from '@linux-sockets/native-core'
      import { AF_UNIX, SOCK_STREAM } from '@linux-sockets/native-core/constants'
      import { Reactor, adopt } from '@linux-sockets/epoll'
      const [mine, peer] = Socket.pair(AF_UNIX, SOCK_STREAM)
      const handlers = { data() {}, error: (_, { code }) => console.log(code, peer.closed) }
      adopt(new Reactor(), mine, handlers, { idleTimeout: ${idleTimeout} }).${reference}()
    `
    const said = [script('unref', 60_000), script('ref', 20)].map((program) =>
      runProgram(process.execPath, ['--input-type=module', '-e', program], { cwd: import.meta.dirname }),
    )
    expect(await Promise.all(said)).toEqual(['', 'ETIMEDOUT false\n'])
  })
})
