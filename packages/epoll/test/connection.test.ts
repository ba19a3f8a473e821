import { AsyncLocalStorage } from 'node:async_hooks'
import { createHash, randomBytes } from 'node:crypto'
import { setImmediate } from 'node:timers/promises'
import { readable, Socket, sendMessage, setOption, writable } from '@linux-sockets/native-core'
import { AF_INET, AF_UNIX, EPOLLOUT, MSG_OOB, SHUT_WR, SOCK_STREAM } from '@linux-sockets/native-core/constants'
import { SO_LINGER, SO_SNDBUF } from '@linux-sockets/native-core/options'
import {
  collectGarbage,
  expectErrno,
  guardDescriptors,
  needProgram,
  runProgram,
  skipUnless,
  withFault,
} from '@linux-sockets/testkit'
import { describe, expect, it } from 'vitest'
import { adopt, type Connection, type ConnectionOptions, type Handlers, Reactor } from '../src/index.js'
import { eventsOf } from './interest.js'

guardDescriptors()

/** A connection whose last call, `close`, can be awaited, and its peer's socket. */
function connected(handlers: Partial<Handlers<string[]>>, options?: ConnectionOptions) {
  const reactor = new Reactor()
  const [mine, peer] = Socket.pair(AF_UNIX, SOCK_STREAM)
  let fulfil!: () => void
  const closed = new Promise<void>((resolve) => {
    fulfil = resolve
  })
  const all: Handlers<string[]> = {
    state: () => [],
    data: () => {},
    ...(handlers as Omit<Handlers<string[]>, 'state' | 'data'>),
    close(connection) {
      connection.state.push('close')
      handlers.close?.(connection)
      reactor.close()
      fulfil()
    },
  }
  const connection = adopt(reactor, mine, all, options)
  return { connection, peer, closed }
}

async function sendAll(socket: Socket, data: Buffer): Promise<void> {
  for (let sent = 0; sent < data.length; ) {
    const count = socket.send(data, 0, sent)
    if (count === null) await writable(socket)
    else sent += count
  }
}

async function readAll(socket: Socket): Promise<Buffer> {
  const parts: Buffer[] = []
  const buffer = Buffer.alloc(10_000)
  for (;;) {
    const count = socket.recv(buffer)
    if (count === 0) return Buffer.concat(parts)
    if (count === null) await readable(socket)
    else parts.push(Buffer.from(buffer.subarray(0, count)))
  }
}

/** Reads everything that has arrived, and returns the number of bytes. */
async function takeAll(socket: Socket): Promise<number> {
  await readable(socket)
  const buffer = Buffer.alloc(10_000)
  let taken = 0
  for (let count = socket.recv(buffer); count; count = socket.recv(buffer)) taken += count
  return taken
}

async function tcpPair(): Promise<{ client: Socket; accepted: Socket }> {
  using listener = Socket.open(AF_INET, SOCK_STREAM)
  listener.bind({ family: 'ipv4', address: '127.0.0.1', port: 0 })
  listener.listen()
  const client = Socket.open(AF_INET, SOCK_STREAM)
  client.connect(listener.localName)
  await readable(listener)
  return { client, accepted: listener.accept() as Socket }
}

const digest = (data: Buffer) => createHash('sha256').update(data).digest('hex')

describe('Connection', () => {
  it('echoes every byte in order, through partial writes and pauses', async () => {
    const { connection, peer, closed } = connected({
      data: (c, chunk) => {
        if (c.write(chunk)) return
        c.state.push('full')
        c.pause()
      },
      drain: (c) => {
        c.state.push('drain')
        c.resume()
      },
    })
    setOption(connection, SO_SNDBUF, 4096)
    const sent = randomBytes(3_000_000)
    const sending = sendAll(peer, sent).then(() => peer.shutdown(SHUT_WR))
    const [back] = await Promise.all([readAll(peer), sending])
    expect(digest(back)).toBe(digest(sent))
    await closed
    expect(connection.bytesRead).toBe(sent.length)
    expect(connection.bytesWritten).toBe(sent.length)
    expect(connection.state.filter((call) => call === 'full').length).toBeGreaterThan(0)
    expect(connection.state.filter((call) => call === 'drain').length).toBe(
      connection.state.filter((call) => call === 'full').length,
    )
    expect(connection.state.at(-1)).toBe('close')
    peer.close()
  })

  it('leaves the data of write to the caller', async () => {
    const { connection, peer, closed } = connected({})
    setOption(connection, SO_SNDBUF, 4096)
    const mine = Buffer.alloc(500_000, 'a')
    expect(connection.write(mine)).toBe(false)
    expect(connection.queuedBytes).toBeGreaterThan(0)
    mine.fill('b')
    connection.end()
    // False would mean that `drain` is called.
    expect(connection.write(mine)).toBe(true)
    const got = await readAll(peer)
    expect(got.equals(Buffer.alloc(500_000, 'a'))).toBe(true)
    peer.close()
    await closed
  })

  it('breaks at maxQueuedBytes with ENOBUFS', async () => {
    const { connection, peer, closed } = connected(
      { error: (c, error) => c.state.push((error as NodeJS.ErrnoException).code ?? '') },
      { maxQueuedBytes: 100_000 },
    )
    setOption(connection, SO_SNDBUF, 4096)
    expect(connection.write(Buffer.alloc(1_000_000))).toBe(true)
    await closed
    expect(connection.state).toEqual(['ENOBUFS', 'close'])
    expect(connection.fd).toBe(-1)
    peer.close()
  })

  it('ends both ways: each side can send after the other has ended', async () => {
    const { connection, peer, closed } = connected({
      end: (c) => {
        c.state.push('end')
        c.write(Buffer.from('last words'))
        c.end()
      },
      data: (c, chunk) => c.state.push(chunk.toString()),
    })
    peer.send(Buffer.from('first'))
    peer.shutdown(SHUT_WR)
    expect((await readAll(peer)).toString()).toBe('last words')
    await closed
    expect(connection.state).toEqual(['first', 'end', 'close'])
    peer.close()

    const other = connected({ data: (c, chunk) => c.state.push(chunk.toString()) })
    other.connection.end()
    expect((await readAll(other.peer)).length).toBe(0)
    other.peer.send(Buffer.from('still here'))
    other.peer.close()
    await other.closed
    expect(other.connection.state).toEqual(['still here', 'close'])
  })

  it('reports a reset, and sends one', async () => {
    const reactor = new Reactor()
    const listener = Socket.open(AF_INET, SOCK_STREAM)
    listener.bind({ family: 'ipv4', address: '127.0.0.1', port: 0 })
    listener.listen()
    const dial = async () => {
      const client = Socket.open(AF_INET, SOCK_STREAM)
      client.connect(listener.localName)
      await writable(client)
      await readable(listener)
      return [client, listener.accept() as Socket] as const
    }

    const calls: string[] = []
    const [client, accepted] = await dial()
    const closed = new Promise<void>((resolve) => {
      const handlers: Handlers<undefined> = {
        data: () => {},
        error: (_, error) => calls.push((error as NodeJS.ErrnoException).code ?? ''),
        close: () => resolve(),
      }
      adopt(reactor, accepted, handlers)
    })
    setOption(client, SO_LINGER, 0)
    client.close()
    await closed
    expect(calls).toEqual(['ECONNRESET'])

    const [second, victim] = await dial()
    const connection = adopt(reactor, victim, { data: () => {} })
    connection.abort()
    expect(connection.closed).toBe(true)
    await readable(second)
    expect(() => second.recv(Buffer.alloc(1))).toThrow('ECONNRESET')
    second.close()
    listener.close()
    reactor.close()
  })

  it('can be aborted from within any of its handlers', async () => {
    const { connection, peer, closed } = connected({
      data: (c) => {
        c.abort()
        expect(c.write(Buffer.from('x'))).toBe(true)
      },
    })
    peer.send(Buffer.from('a'))
    await closed
    expect(connection.state).toEqual(['close'])
    peer.close()
  })

  it('reads what came before a reset, even if a write is queued', async () => {
    const reactor = new Reactor()
    const { client, accepted } = await tcpPair()
    const calls: string[] = []
    const closed = new Promise<void>((resolve) => {
      const connection = adopt(reactor, accepted, {
        data: (_, chunk) => calls.push(chunk.toString()),
        error: (_, error) => calls.push((error as NodeJS.ErrnoException).code ?? ''),
        close: () => resolve(),
      })
      while (connection.queuedBytes === 0) connection.write(Buffer.alloc(1 << 20))
    })
    await setImmediate()
    client.send(Buffer.from('last words'))
    // Unread bytes turn the close into a reset.
    client.close()
    await closed
    expect(calls).toEqual(['last words', 'ECONNRESET'])
    reactor.close()
  })

  it.for([
    ['resume', ['last words', 'ECONNRESET', 'close']],
    ['write', ['ECONNRESET', 'close']],
  ] as const)('detects a reset while paused by `%s`', async ([call, expected]) => {
    const reactor = new Reactor()
    const { client, accepted } = await tcpPair()
    const calls: string[] = []
    const handlers: Handlers<undefined> = {
      data: (_, chunk) => calls.push(chunk.toString()),
      error: (_, error) => calls.push((error as NodeJS.ErrnoException).code ?? ''),
      close: () => calls.push('close'),
    }
    const connection = adopt(reactor, accepted, handlers)
    connection.pause()
    client.send(Buffer.from('last words'))
    setOption(client, SO_LINGER, 0)
    client.close()
    while (reactor.statistics.events === 0) await setImmediate()
    await setImmediate()
    expect(calls).toEqual([])
    connection[call](Buffer.from('x'))
    while (!connection.closed) await setImmediate()
    expect(calls).toEqual(expected)
    reactor.close()
  })

  it('notices a reset after the end', async () => {
    const reactor = new Reactor()
    const { client, accepted } = await tcpPair()
    const calls: string[] = []
    let connection!: Connection
    const ended = new Promise<void>((resolve) => {
      connection = adopt(reactor, accepted, {
        data: () => {},
        end: () => resolve(),
        error: (_, error) => calls.push((error as NodeJS.ErrnoException).code ?? ''),
        close: () => calls.push('close'),
      })
    })
    client.shutdown(SHUT_WR)
    await ended
    setOption(client, SO_LINGER, 0)
    client.close()
    while (!connection.closed) await setImmediate()
    expect(calls).toEqual(['EPIPE', 'close'])
    reactor.close()
  })

  it('leaves nothing unread behind descriptors or urgent data, at which reads stop short', async () => {
    const unix = connected({ data: (c, chunk) => c.state.push(chunk.toString()) })
    sendMessage(unix.peer, { data: Buffer.from('a'), descriptors: [unix.peer] })
    unix.peer.send(Buffer.from('b'))
    unix.peer.shutdown(SHUT_WR)
    await unix.closed
    expect(unix.connection.state).toEqual(['a', 'b', 'close'])
    unix.peer.close()

    const reactor = new Reactor()
    const { client, accepted } = await tcpPair()
    const read: string[] = []
    const connection = adopt(reactor, accepted, { data: (_, chunk) => read.push(chunk.toString()) })
    client.send(Buffer.from('before'))
    client.send(Buffer.from('!'), MSG_OOB)
    client.send(Buffer.from('behind'))
    while (read.length < 2) await setImmediate()
    expect(read).toEqual(['before', 'behind'])
    connection.abort()
    client.close()
    reactor.close()
  })

  it('reports one error, whatever its handler does with the connection', async () => {
    const { connection, peer, closed } = connected(
      {
        error: (c, error) => {
          c.state.push((error as NodeJS.ErrnoException).code ?? '')
          expect(c.write(Buffer.alloc(200_000))).toBe(true)
          c.end()
          c.abort()
        },
      },
      { maxQueuedBytes: 100_000 },
    )
    setOption(connection, SO_SNDBUF, 4096)
    connection.write(Buffer.alloc(200_000))
    await closed
    expect(connection.state).toEqual(['ENOBUFS', 'close'])
    peer.close()
  })

  it('reads in the async context that made it, even after resume', async () => {
    const storage = new AsyncLocalStorage<string>()
    const { connection, peer, closed } = storage.run('mine', () =>
      connected({ data: (c, chunk) => c.state.push(`${storage.getStore()}: ${chunk}`) }),
    )
    connection.pause()
    peer.send(Buffer.from('x'))
    await setImmediate()
    storage.run('other', () => connection.resume())
    await setImmediate()
    peer.close()
    await closed
    expect(connection.state).toEqual(['mine: x', 'close'])
  })

  it('queues many small pieces in little more than their bytes', async () => {
    const { connection, peer, closed } = connected({})
    while (connection.queuedBytes === 0) connection.write(Buffer.alloc(100_000, 'a'))
    await collectGarbage()
    const before = process.memoryUsage()
    const sent = connection.bytesWritten + connection.queuedBytes
    for (let i = 0; i < 300_000; i++) connection.write(Buffer.from([i % 251]))
    await collectGarbage()
    const after = process.memoryUsage()
    expect(after.heapUsed + after.external - before.heapUsed - before.external).toBeLessThan(300_000 * 20)
    connection.end()
    const got = await readAll(peer)
    expect(got.length).toBe(sent + 300_000)
    expect(got.subarray(sent).every((byte, i) => byte === i % 251)).toBe(true)
    peer.close()
    await closed
  })

  it('refuses to write a value that is not bytes or text, and goes on', async () => {
    const { connection, peer, closed } = connected({})
    expect(() => connection.write(5 as unknown as Buffer)).toThrow(TypeError)
    expect(connection.closed).toBe(false)
    connection.abort()
    await closed
    peer.close()
  })

  it('closes with its reactor, and can be aborted after its socket was closed', async () => {
    const reactor = new Reactor()
    const pairs = [Socket.pair(AF_UNIX, SOCK_STREAM), Socket.pair(AF_UNIX, SOCK_STREAM)] as const
    const calls: string[] = []
    const [lost, other] = pairs.map(([a], i) =>
      adopt(reactor, a, { data: () => {}, close: () => calls.push(`close ${i}`) }),
    ) as [Connection, Connection]
    pairs[0][0].close()
    lost.abort()
    expect(calls).toEqual(['close 0'])
    reactor.close()
    expect(calls).toEqual(['close 0', 'close 1'])
    expect(other.fd).toBe(-1)
    for (const [, b] of pairs) b.close()
  })

  it('loses no edge when handlers throw', async () => {
    const script = `
      import { Socket, readable, setOption } from '@linux-sockets/native-core'
      import { AF_UNIX, SHUT_WR, SOCK_STREAM } from '@linux-sockets/native-core/constants'
      import { SO_SNDBUF } from '@linux-sockets/native-core/options'
      import { Reactor, adopt } from '@linux-sockets/epoll'
      const thrown = new Set()
      process.on('uncaughtException', (error) => thrown.add(error.message))
      const fail = (name) => { throw new Error(name) }
      const [mine, peer] = Socket.pair(AF_UNIX, SOCK_STREAM)
      for (const socket of [mine, peer]) setOption(socket, SO_SNDBUF, 1 << 20)
      const calls = []
      const connection = adopt(new Reactor(), mine, {
        open: () => fail('open'),
        data: () => fail('data'),
        drain: () => { connection.end(); fail('drain') },
        end: () => fail('end'),
        close: () => { calls.push('close'); fail('close') },
      })
      while (connection.queuedBytes === 0) connection.write(Buffer.alloc(200_000))
      const sent = connection.bytesWritten + connection.queuedBytes
      // More than one read, and its end, in one edge.
      for (let i = 0; i < 4; i++) peer.send(Buffer.alloc(50_000))
      peer.shutdown(SHUT_WR)
      const buffer = Buffer.alloc(1 << 20)
      let got = 0
      for (let count; count !== 0; ) {
        count = peer.recv(buffer)
        if (count === null) await readable(peer)
        got += count ?? 0
      }
      process.on('exit', () => console.log(connection.bytesRead, got === sent, calls.join(), [...thrown].sort().join()))
    `
    const said = await runProgram(process.execPath, ['--input-type=module', '-e', script], { cwd: import.meta.dirname })
    expect(said.trim()).toBe('200000 true close close,data,drain,end,open')
  })

  it('gives other connections their turn: a fast peer does not starve a slow one', async () => {
    const reactor = new Reactor()
    const [fast, fastPeer] = Socket.pair(AF_UNIX, SOCK_STREAM)
    const [slow, slowPeer] = Socket.pair(AF_UNIX, SOCK_STREAM)
    const chunk = Buffer.alloc(200_000)
    let fastBytes = 0
    const refill = () => {
      while (fastPeer.send(chunk) !== null) {}
    }
    const answered = new Promise<number>((resolve) => {
      // Until the slow connection was read, the fast one always has more to read.
      adopt(reactor, fast, {
        data: (_, bytes) => {
          fastBytes += bytes.length
          refill()
        },
      })
      adopt(reactor, slow, { data: () => resolve(fastBytes) })
    })
    refill()
    slowPeer.send(Buffer.from('me too'))
    expect(await answered).toBeLessThan(64 * 1024 * 16 * 4)
    reactor.close()
    for (const socket of [fast, fastPeer, slow, slowPeer]) socket.close()
  })

  it('calls drain at the low mark, once for each time that write returned false', async () => {
    const { connection, peer, closed } = connected(
      { drain: (c) => c.state.push(`drain at ${c.queuedBytes <= 20_000}`) },
      { highWaterMark: 100_000, lowWaterMark: 20_000 },
    )
    setOption(connection, SO_SNDBUF, 4096)
    while (connection.queuedBytes === 0) connection.write(Buffer.alloc(50_000))
    expect(connection.write(Buffer.alloc(100_000))).toBe(false)
    expect(connection.write(Buffer.alloc(1))).toBe(false)
    const reading = readAll(peer)
    while (connection.queuedBytes > 0) await setImmediate()
    expect(connection.state).toEqual(['drain at true'])
    expect(connection.write(Buffer.alloc(1))).toBe(true)
    connection.end()
    await reading
    peer.close()
    await closed
  })

  it('calls drain at a quarter of the high mark by default', async () => {
    const drainedAt: number[] = []
    const { connection, peer, closed } = connected(
      { drain: ({ queuedBytes }) => drainedAt.push(queuedBytes) },
      { highWaterMark: 100_000 },
    )
    setOption(connection, SO_SNDBUF, 4096)
    while (connection.write(Buffer.alloc(10_000)));
    let least = connection.queuedBytes
    while (drainedAt.length === 0) {
      least = connection.queuedBytes
      peer.recv(Buffer.alloc(2000))
      await setImmediate()
    }
    expect(least).toBeGreaterThan(25_000)
    expect(drainedAt[0]).toBeLessThanOrEqual(25_000)
    connection.abort()
    peer.close()
    await closed
  })

  it('sends corked pieces in one call, in order, with the last uncork', async () => {
    const { connection, peer, closed } = connected({})
    const { writes } = connection.statistics
    connection.cork()
    connection.cork()
    for (const piece of ['a', 'b', 'c'.repeat(5000), 'd']) connection.write(Buffer.from(piece))
    connection.uncork()
    expect(peer.recv(Buffer.alloc(1))).toBe(null)
    connection.uncork()
    expect(connection.statistics.writes - writes).toBe(1)
    const got = Buffer.alloc(10_000)
    expect(peer.recv(got)).toBe(5003)
    expect(got.toString('utf8', 0, 5003)).toBe(`ab${'c'.repeat(5000)}d`)
    connection.uncork()
    connection.cork()
    connection.write(Buffer.from('last'))
    connection.end()
    expect(String(await readAll(peer))).toBe('last')
    peer.close()
    await closed
  })

  it('sends nothing while it is corked, although the kernel accepts bytes again, and waits for no needless event', async () => {
    const { connection, peer, closed } = connected({ drain: (c) => c.state.push('drain') })
    setOption(connection, SO_SNDBUF, 4096)
    while (connection.queuedBytes === 0) connection.write(Buffer.alloc(100_000, 'a'))
    connection.cork()
    connection.write(Buffer.from('b'))
    const { bytesWritten, queuedBytes: queued } = connection
    expect(eventsOf(connection.fd) & EPOLLOUT).toBe(EPOLLOUT)
    expect(await takeAll(peer)).toBe(bytesWritten)
    while ((eventsOf(connection.fd) & EPOLLOUT) !== 0 && connection.queuedBytes === queued) await setImmediate()
    expect([connection.bytesWritten, connection.queuedBytes]).toEqual([bytesWritten, queued])
    connection.uncork()
    expect(connection.bytesWritten).toBeGreaterThan(bytesWritten)
    expect(eventsOf(connection.fd) & EPOLLOUT).toBe(EPOLLOUT)
    let left = queued
    while (left > 0) left -= await takeAll(peer)
    expect(connection.state).toEqual(['drain'])
    expect(eventsOf(connection.fd) & EPOLLOUT).toBe(0)
    connection.abort()
    peer.close()
    await closed
  })

  it('sends the rest at `end` without a cork, whenever that was set', async () => {
    const { connection, peer, closed } = connected({})
    setOption(connection, SO_SNDBUF, 4096)
    connection.cork()
    while (connection.queuedBytes < 100_000) connection.write(Buffer.alloc(10_000))
    connection.end()
    connection.cork()
    expect(await readAll(peer)).toHaveLength(100_000)
    peer.close()
    await closed
  })

  it('closes after the last byte without the peer’s end', async () => {
    const { connection, peer, closed } = connected({})
    setOption(connection, SO_SNDBUF, 4096)
    const sent = randomBytes(500_000)
    connection.write(sent)
    const drained = [connection.drain(), connection.drain({ timeout: 60_000 })]
    expect(connection.closed).toBe(false)
    expect(digest(await readAll(peer))).toBe(digest(sent))
    await closed
    await Promise.all(drained)
    expect(connection.state).toEqual(['close'])
    await connection.drain()
    peer.close()
    const idle = connected({})
    const over = idle.connection.drain({ timeout: 0 })
    expect(idle.connection.closed).toBe(true)
    await over
    idle.peer.close()
  })

  it('sends its end before the kernel resets what was not read', async () => {
    const reactor = new Reactor()
    const { client, accepted } = await tcpPair()
    const connection = adopt(reactor, accepted, { data: () => {} })
    connection.pause()
    client.send(Buffer.from('a question that is not read'))
    await readable(accepted)
    connection.write(Buffer.from('no'))
    await connection.drain()
    expect(connection.closed).toBe(true)
    expect(String(await readAll(client))).toBe('no')
    client.close()
    reactor.close()
  })

  it('reports at `drain` a reset that was not reported before', async () => {
    const reactor = new Reactor()
    const { client, accepted } = await tcpPair()
    const calls: string[] = []
    const handlers: Handlers<undefined> = {
      data: () => {},
      error: (_, error) => calls.push((error as NodeJS.ErrnoException).code ?? ''),
      close: () => calls.push('close'),
    }
    const connection = adopt(reactor, accepted, handlers)
    connection.write(Buffer.from('lost'))
    setOption(client, SO_LINGER, 0)
    client.close()
    const drained = connection.drain()
    expect(calls).toEqual(['ECONNRESET', 'close'])
    await expectErrno(() => drained, 'ECONNRESET')
    await expectErrno(() => connection.drain(), 'ECONNRESET')
    reactor.close()
  })

  it.for([0, 20])('resets what is not sent %i ms after drain, and rejects the promise', async (timeout) => {
    const reactor = new Reactor()
    const { client, accepted } = await tcpPair()
    const calls: string[] = []
    const connection = adopt(reactor, accepted, {
      data: () => {},
      error: (_, error) => calls.push(error.message),
      close: () => calls.push('close'),
    })
    while (connection.queuedBytes === 0) connection.write(Buffer.alloc(1 << 20))
    const drained = connection.drain({ timeout })
    expect(connection.closed).toBe(timeout === 0)
    await expectErrno(() => drained, 'ETIMEDOUT')
    expect(calls).toEqual([`drain ETIMEDOUT (timeout, ${timeout} ms): connection timed out`, 'close'])
    await expect(readAll(client)).rejects.toThrow('ECONNRESET')
    client.close()
    reactor.close()
  })

  it.for(['close', 'abort'] as const)('%s ends a drain, whose promise is rejected', async (call) => {
    const { connection, peer, closed } = connected({ error: (c) => c.state.push('error') })
    while (connection.queuedBytes === 0) connection.write(Buffer.alloc(1 << 20))
    const drained = connection.drain()
    connection[call]()
    await expectErrno(() => drained, 'ECONNABORTED')
    expect(connection.state).toEqual(['close'])
    // Unhandled, it would fail this test.
    void connection.drain()
    await closed
    peer.close()
  })

  it.for([
    ['nothing is queued', 0, 'an end'],
    ['bytes are queued', 1 << 20, 'a reset'],
  ] as const)('closes at once, and the peer sees whether bytes are lost: %s', async ([, least, seen]) => {
    const reactor = new Reactor()
    const { client, accepted } = await tcpPair()
    let closes = 0
    const connection = adopt(reactor, accepted, { data: () => {}, close: () => closes++ })
    while (connection.queuedBytes < least) connection.write(Buffer.alloc(1 << 20))
    connection.close()
    connection.close()
    expect([connection.closed, connection.fd, closes]).toEqual([true, -1, 1])
    if (seen === 'an end') expect(await readAll(client)).toHaveLength(0)
    else await expect(readAll(client)).rejects.toThrow('ECONNRESET')
    client.close()
    reactor.close()
  })

  it('is closed by `using`', () => {
    using reactor = new Reactor()
    const [mine, peer] = Socket.pair(AF_UNIX, SOCK_STREAM)
    {
      using connection = adopt(reactor, mine, { data: () => {} })
      expect(connection.pause().resume().unref().ref()).toBe(connection)
    }
    expect(mine.closed).toBe(true)
    peer.close()
  })

  it('can be written to while the reactor closes the others', () => {
    const reactor = new Reactor()
    const pairs = [Socket.pair(AF_UNIX, SOCK_STREAM), Socket.pair(AF_UNIX, SOCK_STREAM)]
    const calls: string[] = []
    let made = 0
    const handlers: Handlers<string> = {
      state: () => `close ${made++}`,
      data: () => {},
      close({ state }) {
        for (const other of all) other.write(Buffer.alloc(1 << 20))
        calls.push(state)
      },
    }
    const all = pairs.map(([mine]) => adopt(reactor, mine, handlers))
    reactor.close()
    expect(calls).toEqual(['close 0', 'close 1'])
    for (const [, peer] of pairs) peer.close()
  })

  it('counts its traffic, and the reactor its turns', async () => {
    const reactor = new Reactor()
    const [a, b] = Socket.pair(AF_UNIX, SOCK_STREAM)
    const handlers: Handlers<undefined> = { data: (c, chunk) => void c.write(chunk) }
    const one = adopt(reactor, a, handlers)
    const empty = one.statistics
    b.send(Buffer.from('12345'))
    while (one.bytesWritten < 5) await setImmediate()
    expect(one.statistics).toMatchObject({ bytesRead: 5, bytesWritten: 5, writes: 1, peakQueuedBytes: 0 })
    expect(one.statistics.reads).toBeGreaterThanOrEqual(1)
    expect(empty.bytesRead).toBe(0)
    setOption(one, SO_SNDBUF, 4096)
    while (one.queuedBytes === 0) one.write(Buffer.alloc(100_000))
    const { wouldBlock, peakQueuedBytes } = one.statistics
    expect(wouldBlock).toBeGreaterThan(0)
    expect(peakQueuedBytes).toBe(one.queuedBytes)
    one.abort()
    expect(reactor.statistics.registered).toBe(0)
    expect(reactor.statistics.turns).toBeGreaterThan(0)
    expect(reactor.statistics.events).toBeGreaterThan(0)
    expect(reactor.statistics.busy).toBeGreaterThanOrEqual(reactor.statistics.longestTurn)
    b.close()
    reactor.close()
  })

  it('reads into the same memory, and allocates nothing for small reads', async () => {
    const chunks: Buffer[] = []
    const { peer, closed } = connected({ data: (_, chunk) => chunks.push(chunk) })
    for (let i = 0; i < 3; i++) {
      peer.send(Buffer.alloc(64))
      while (chunks.length <= i) await setImmediate()
    }
    expect(chunks[1]).toBe(chunks[0])
    expect(chunks[2]).toBe(chunks[0])
    peer.send(Buffer.alloc(5000))
    while (chunks.length < 4) await setImmediate()
    expect(chunks[3]?.buffer).toBe(chunks[0]?.buffer)
    peer.close()
    await closed
  })

  it('becomes a stream that continues where it was, and its handlers see it close', async () => {
    const reactor = new Reactor()
    const [mine, peer] = Socket.pair(AF_UNIX, SOCK_STREAM)
    const calls: string[] = []
    const connection = adopt(reactor, mine, {
      data: (_, chunk) => calls.push(String(chunk)),
      close: () => calls.push('close'),
    })
    setOption(connection, SO_SNDBUF, 4096)
    const queued = randomBytes(300_000)
    connection.write(queued)
    expect(connection.queuedBytes).toBeGreaterThan(0)
    const stream = connection.toStream()
    expect(calls).toEqual(['close'])
    expect(() => connection.toStream()).toThrow('EBADF')
    stream.end('behind it')
    const got = await readAll(peer)
    expect(digest(got)).toBe(digest(Buffer.concat([queued, Buffer.from('behind it')])))
    peer.send(Buffer.from('and back'))
    peer.close()
    expect(String(Buffer.concat(await stream.toArray()))).toBe('and back')
    expect(reactor.size).toBe(0)
    reactor.close()
  })

  it.for([
    ['unref()', '', 'exit'],
    // This timer does not keep the process alive by itself.
    ['unref().ref()', 'setTimeout(() => peer.close(), 50).unref()', 'close,exit'],
  ] as const)('becomes a stream that keeps the process alive if it did: %s', async ([call, later, said]) => {
    const script = `
      import { Socket } from '@linux-sockets/native-core'
      import { AF_UNIX, SOCK_STREAM } from '@linux-sockets/native-core/constants'
      import { Reactor, adopt } from '@linux-sockets/epoll'
      const [mine, peer] = Socket.pair(AF_UNIX, SOCK_STREAM)
      const calls = []
      const connection = adopt(new Reactor(), mine, { data() {} })
      const stream = connection.${call}.toStream().resume().on('close', () => calls.push('close'))
      ${later}
      process.on('exit', () => console.log([...calls, 'exit'].join()))
    `
    const printed = await runProgram(process.execPath, ['--input-type=module', '-e', script], {
      cwd: import.meta.dirname,
    })
    expect(printed.trim()).toBe(said)
  })

  it('goes on when an option of its stream is invalid', () => {
    using reactor = new Reactor()
    const [mine, peer] = Socket.pair(AF_UNIX, SOCK_STREAM)
    const connection = adopt(reactor, mine, { data: () => {} }, undefined)
    expect(() => connection.toStream({ watch: reactor.watch } as never)).toThrow('options.watch is not known')
    expect(() => connection.toStream({ highWaterMark: -1 })).toThrow(RangeError)
    connection.write('still there')
    expect(peer.recv(Buffer.alloc(20))).toBe(11)
    connection.abort()
    peer.close()
  })

  it('closes the connection when epoll has no room for its stream', async (test) => {
    skipUnless(test, needProgram('strace'))
    const calls: string[] = []
    using reactor = new Reactor()
    // Keeps the epoll instance open.
    using _waker = reactor.waker(() => {})
    const [mine, peer] = Socket.pair(AF_UNIX, SOCK_STREAM)
    const handlers = { data: () => {}, close: () => calls.push('close') }
    const connection = adopt(reactor, mine, handlers, { idleTimeout: 1000 })
    // The first call ends the registration.
    const { outcome } = await withFault('epoll_ctl:error=ENOSPC:when=2', () => connection.toStream())
    expect(outcome).toMatchObject({ status: 'rejected', reason: { code: 'ENOSPC' } })
    expect(calls).toEqual(['close'])
    expect(connection.closed).toBe(true)
    expect(reactor.timers.size).toBe(0)
    expect(peer.recv(Buffer.alloc(1))).toBe(0)
    peer.close()
  })
})
