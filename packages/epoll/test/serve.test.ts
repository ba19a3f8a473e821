import { spawn } from 'node:child_process'
import { createHash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { createServer } from 'node:http'
import { connect } from 'node:net'
import { join } from 'node:path'
import { Duplex } from 'node:stream'
import { buffer, text } from 'node:stream/consumers'
import { setImmediate } from 'node:timers/promises'
import { connect as connectTls, createServer as createTlsServer } from 'node:tls'
import { pathToFileURL } from 'node:url'
import { Worker } from 'node:worker_threads'
import {
  type AsFd,
  getOption,
  getOptionInt,
  type InetAddress,
  OwnedFd,
  Socket,
  setOption,
  setOptionInt,
  type UnixAddress,
  writable,
} from '@linux-sockets/native-core'
import { AF_INET, AF_INET6, AF_UNIX, EPOLLEXCLUSIVE, EPOLLIN, SOCK_STREAM } from '@linux-sockets/native-core/constants'
import { IPV6_V6ONLY, SO_LINGER, SO_REUSEADDR } from '@linux-sockets/native-core/options'
import {
  expectErrno,
  guardDescriptors,
  needProgram,
  runProgram,
  skipUnless,
  temporaryCertificate,
} from '@linux-sockets/testkit'
import { describe, expect, expectTypeOf, it } from 'vitest'
import {
  adopt,
  type Connection,
  connect as dial,
  type Handlers,
  Reactor,
  type Server,
  serve,
  wake,
} from '../src/index.js'
import { eventsOf } from './interest.js'

guardDescriptors()

function listening(): Socket<InetAddress> {
  const socket = Socket.open(AF_INET6, SOCK_STREAM)
  setOption(socket, IPV6_V6ONLY, false)
  socket.bind({ family: 'ipv6', address: '::', port: 0 })
  socket.listen()
  return socket
}

function echo(): { server: Server<{ chunks: number }, InetAddress>; port: number; reactor: Reactor } {
  const reactor = new Reactor()
  const server = serve(reactor, listening(), {
    state: () => ({ chunks: 0 }),
    data(connection, chunk) {
      connection.state.chunks++
      if (!connection.write(chunk)) connection.pause()
    },
    drain: (connection) => connection.resume(),
  })
  return { server, port: server.address.port, reactor }
}

const digest = (data: Uint8Array) => createHash('sha256').update(data).digest('hex')

describe('serve', () => {
  it('echoes to many node:net clients at once, over IPv4 and IPv6', async () => {
    const { server, port, reactor } = echo()
    const clients = Array.from({ length: 60 }, async (_, i) => {
      const sent = randomBytes(100_000)
      const client = connect({ port, host: i % 2 === 0 ? '127.0.0.1' : '::1' })
      client.end(sent)
      expect(digest(await buffer(client))).toBe(digest(sent))
    })
    await Promise.all(clients)
    await server.drain()
    expect(server.statistics.accepted).toBe(60)
    reactor.close()
  })

  it.each([false, true])('ends with its reactor although it is full, exclusive: %s', async (exclusive) => {
    const reactor = new Reactor()
    // Its slot precedes the listener's, and so does the connection that reuses the slot.
    const waker = reactor.waker(() => {})
    const socket = listening()
    const server = serve(reactor, socket, { data: () => {} }, { maxConnections: 1, exclusive })
    waker.close()
    const clients = [1, 2].map(() => connect(server.address.port, '127.0.0.1').on('error', () => {}))
    const closed = clients.map((client) => once(client, 'close'))
    await Promise.all(clients.map((client) => once(client, 'connect')))
    // The second connection waits, and the listener is no longer watched for it.
    while (server.connections.size === 0 || (eventsOf(socket.fd) & EPOLLIN) !== 0) await setImmediate()
    reactor.close()
    expect(await server.drain()).toBe(0)
    expect(server.connections.size).toBe(0)
    for (const client of clients) client.destroy()
    await Promise.all(closed)
  })

  it('echoes to socat', async (test) => {
    skipUnless(test, needProgram('socat'))
    const { server, port, reactor } = echo()
    const sent = randomBytes(1_000_000)
    const socat = spawn('socat', ['-t90', '-', `TCP:127.0.0.1:${port}`], { stdio: ['pipe', 'pipe', 'inherit'] })
    socat.stdin.end(sent)
    expect(digest(await buffer(socat.stdout))).toBe(digest(sent))
    await server.drain()
    reactor.close()
  })

  it('gives each connection a state of its own, and knows those that are open', async () => {
    const { server, port, reactor } = echo()
    const clients = [connect(port, '127.0.0.1'), connect(port, '127.0.0.1')]
    for (const client of clients) {
      client.write('x')
      await once(client, 'data')
    }
    expect([...server.connections].map(({ state }) => state.chunks)).toEqual([1, 1])
    for (const client of clients) client.end().resume()
    await server.drain()
    expect(server.connections.size).toBe(0)
    reactor.close()
  })

  it('lets accepted connections finish on drain, and ends them all with a timeout of 0', async () => {
    const { server, port, reactor } = echo()
    const client = connect(port, '127.0.0.1')
    client.write('x')
    await once(client, 'data')
    const closed = server.drain()
    client.write('still here')
    expect(String((await once(client, 'data'))[0])).toBe('still here')
    const refused = connect(port, '127.0.0.1')
    expect(((await once(refused, 'error'))[0] as NodeJS.ErrnoException).code).toBe('ECONNREFUSED')

    const reset = once(client, 'error')
    expect([await server.drain({ timeout: 0 }), await closed]).toEqual([1, 1])
    expect(((await reset)[0] as NodeJS.ErrnoException).code).toBe('ECONNRESET')
    reactor.close()
  })

  it('also resets the connection whose state is made while drain is called with a timeout of 0', async () => {
    using reactor = new Reactor()
    const told: string[] = []
    let drained: Promise<number> | undefined
    const server = serve(reactor, listening(), {
      state() {
        drained = server.drain({ timeout: 0 })
      },
      open: () => told.push('open'),
      data: () => {},
      close: () => told.push('close'),
    })
    const client = connect(server.address.port, '127.0.0.1')
    expect(((await once(client, 'error'))[0] as NodeJS.ErrnoException).code).toBe('ECONNRESET')
    expect(await drained).toBe(1)
    expect(told).toEqual(['open', 'close'])
  })

  it.each([
    ['', 'waiting'],
    ['server.unref()', ''],
    ['server.unref().ref()', 'waiting'],
    ['server.ref().unref()', ''],
  ])('keeps the process alive while it is referenced: %s', async (code, said) => {
    const script = `
      import { listen, Reactor } from '@linux-sockets/epoll'
      const server = listen(new Reactor(), '127.0.0.1:0', { data() {} })
      ${code}
      setTimeout(() => {
        console.log('waiting')
        server.close()
      }, 1000).unref()`
    const program = runProgram(process.execPath, ['--input-type=module', '-e', script], { cwd: import.meta.dirname })
    expect((await program).trim()).toBe(said)
  })

  it('takes handlers that are methods of a class', async () => {
    class Counter implements Handlers<undefined> {
      #bytes = 0
      ends = 0
      data(connection: Connection, chunk: Buffer) {
        this.#bytes += chunk.length
        connection.write(Buffer.from(String(this.#bytes)))
      }
      end(connection: Connection) {
        this.ends++
        connection.end()
      }
    }
    const counter = new Counter()
    const reactor = new Reactor()
    const server = serve(reactor, listening(), counter)
    const client = connect(server.address.port, '127.0.0.1')
    client.end('three')
    expect(String(await buffer(client))).toBe('5')
    await server.drain()
    expect(counter.ends).toBe(1)
    reactor.close()
  })

  it('closes a connection whose state can not be made, and aborts all although a handler throws', async () => {
    const script = `
      import { once } from 'node:events'
      import { connect } from 'node:net'
      import { Socket } from '@linux-sockets/native-core'
      import { AF_INET, SOCK_STREAM } from '@linux-sockets/native-core/constants'
      import { Reactor, serve } from '@linux-sockets/epoll'
      const thrown = []
      process.on('uncaughtException', (error) => thrown.push(error.message))
      const socket = Socket.open(AF_INET, SOCK_STREAM)
      socket.bind({ family: 'ipv4', address: '127.0.0.1', port: 0 })
      socket.listen()
      let states = 0
      const server = serve(new Reactor(), socket, {
        state: () => { if (++states === 1) throw Object.assign(new Error('from state'), { code: 'ENOSPC' }) },
        open: (connection) => connection.write(Buffer.from('hello')),
        data: () => {},
        close: () => { throw new Error('from close') },
      })
      const dial = () => connect(server.address.port, '127.0.0.1').resume().on('error', () => {})
      await once(dial(), 'close')
      await Promise.all([dial(), dial(), dial()].map((client) => once(client, 'data')))
      console.log(server.connections.size)
      await server.drain({ timeout: 0 })
      console.log(server.connections.size, thrown.join())
    `
    const said = await runProgram(process.execPath, ['--input-type=module', '-e', script], { cwd: import.meta.dirname })
    expect(said.trim()).toBe('3\n0 from state,from close,from close,from close')
  })

  it('is closed when its reactor is closed first', async () => {
    const { server, port, reactor } = echo()
    const client = connect(port, '127.0.0.1')
    client.write('x')
    await once(client, 'data')
    reactor.close()
    await once(client.resume(), 'close')
    await server.drain()
  })

  it('refuses a socket that does not listen, and leaves it to its owner', () => {
    using reactor = new Reactor()
    using socket = Socket.open(AF_INET, SOCK_STREAM)
    expect(() => serve(reactor, socket, { data: () => {} })).toThrow(TypeError)
    expect(socket.closed).toBe(false)
  })

  it('lets connections beyond maxConnections wait, and accepts them later', async () => {
    using reactor = new Reactor()
    let most = 0
    const server = serve(
      reactor,
      listening(),
      {
        open() {
          most = Math.max(most, server.connections.size)
        },
        data: (connection, chunk) => void connection.write(chunk),
      },
      { maxConnections: 2 },
    )
    const { port } = server.address
    const clients = await Promise.all(
      Array.from({ length: 7 }, async () => {
        const client = connect(port, '127.0.0.1')
        client.end('x')
        return String(await buffer(client))
      }),
    )
    expect(clients).toEqual(Array(7).fill('x'))
    expect(most).toBe(2)
    await server.drain()
    using unused = listening()
    for (const options of [{ maxConnections: 0 }, { highWaterMark: -1 }, { idleTimeout: 0 }]) {
      expect(() => serve(reactor, unused, { data: () => {} }, options)).toThrow(RangeError)
    }
  })

  it.each([
    [{ budget: 2 }, [2]],
    [{}, [3, 4, 5, 6]],
  ])('accepts no more in one turn than its budget: %o', async (options, most) => {
    using reactor = new Reactor()
    const socket = listening()
    const { port } = socket.localName
    const clients = Array.from({ length: 6 }, () => Socket.open(AF_INET, SOCK_STREAM))
    for (const client of clients) {
      client.connect({ family: 'ipv4', address: '127.0.0.1', port })
      await writable(client)
    }
    const opened = new Map<number, number>()
    const server = serve(
      reactor,
      socket,
      {
        open() {
          const { turns } = reactor.statistics
          opened.set(turns, (opened.get(turns) ?? 0) + 1)
        },
        data: () => {},
      },
      options,
    )
    while (server.connections.size < clients.length) await setImmediate()
    expect(most).toContain(Math.max(...opened.values()))
    for (const client of clients) client.close()
    await server.drain()
  })

  it('counts what it has accepted, and the traffic of its connections, also of those that are gone', async () => {
    const { server, port, reactor } = echo()
    const visit = async (text: string) => {
      const client = connect(port, '127.0.0.1')
      client.end(text)
      expect(await buffer(client)).toHaveLength(text.length)
    }
    const before = server.statistics
    await visit('123')
    await visit('45678')
    const open = connect(port, '127.0.0.1')
    open.write('90')
    await once(open, 'data')
    const traffic = { accepted: 3, dropped: 0, errors: 0, bytesRead: 10, bytesWritten: 10, writes: 3, wouldBlock: 0 }
    const { reads, ...counts } = server.statistics
    expect(counts).toEqual({ ...traffic, peakQueuedBytes: 0 })
    // Each chunk, and the ends of two.
    expect(reads).toBeGreaterThanOrEqual(5)
    expect(before).toMatchObject({ accepted: 0, bytesRead: 0 })

    const [connection] = server.connections
    while (connection?.queuedBytes === 0) connection.write(Buffer.alloc(1 << 20))
    const { peakQueuedBytes } = connection?.statistics ?? {}
    const { bytesWritten } = server.statistics
    connection?.abort()
    expect(server.statistics).toMatchObject({ accepted: 3, bytesRead: 10, bytesWritten, peakQueuedBytes })
    // Not by `once`, which rejects with the error of the reset if that comes first.
    await new Promise((resolve) =>
      open
        .on('error', () => {})
        .on('close', resolve)
        .resume(),
    )
    await server.drain()
    expect(server.statistics.bytesRead).toBe(10)
    reactor.close()
  })

  it('close stops accepting at once, and the connections go on', async () => {
    const { server, port, reactor } = echo()
    const client = connect(port, '127.0.0.1')
    client.write('x')
    await once(client, 'data')
    {
      using closing = server
      expect(closing.pause().resume()).toBe(server)
    }
    server.close()
    expect(server.closed).toBe(true)
    expectErrno(() => server.address, 'EBADF')
    const refused = connect(port, '127.0.0.1')
    expect(((await once(refused, 'error'))[0] as NodeJS.ErrnoException).code).toBe('ECONNREFUSED')
    client.write('still here')
    expect(String((await once(client, 'data'))[0])).toBe('still here')
    expect(server.connections.size).toBe(1)
    client.end().resume()
    await server.drain()
    reactor.close()
  })

  it('accepts nothing while it is paused', async () => {
    const { server, port, reactor } = echo()
    server.pause()
    const client = connect(port, '127.0.0.1')
    await once(client, 'connect')
    client.write('x')
    for (let turn = 0; turn < 5; turn++) await setImmediate()
    expect(server.statistics.accepted).toBe(0)
    server.resume()
    expect(String((await once(client, 'data'))[0])).toBe('x')
    client.end().resume()
    await server.drain()
    reactor.close()
  })

  it('leaves connections to other threads while it is paused or full', async () => {
    const reactor = new Reactor()
    const socket = listening()
    const { fd } = socket
    const server = serve(
      reactor,
      socket,
      { data: (connection, chunk) => void connection.write(chunk) },
      { exclusive: true, maxConnections: 1 },
    )
    const { port } = server.address
    expect(eventsOf(fd) & (EPOLLIN | EPOLLEXCLUSIVE)).toBe(EPOLLIN | EPOLLEXCLUSIVE)
    server.pause()
    expect(eventsOf(fd) & EPOLLIN).toBe(0)
    server.resume()
    expect(eventsOf(fd) & EPOLLIN).toBe(EPOLLIN)
    const client = connect(port, '127.0.0.1')
    client.write('x')
    await once(client, 'data')
    expect(eventsOf(fd) & EPOLLIN).toBe(0)
    client.end().resume()
    await once(client, 'close')
    while (server.connections.size > 0) await setImmediate()
    expect(eventsOf(fd) & (EPOLLIN | EPOLLEXCLUSIVE)).toBe(EPOLLIN | EPOLLEXCLUSIVE)
    await server.drain()

    const alone = listening()
    const other = serve(reactor, alone, { data: () => {} })
    expect(eventsOf(alone.fd) & (EPOLLIN | EPOLLEXCLUSIVE)).toBe(EPOLLIN)
    await other.drain()
    reactor.close()
  })

  it('aborts connections that have not ended in time', async () => {
    const { server, port, reactor } = echo()
    const client = connect(port, '127.0.0.1')
    client.write('x')
    await once(client, 'data')
    const reset = once(client, 'error')
    await server.drain({ timeout: 20 })
    expect(((await reset)[0] as NodeJS.ErrnoException).code).toBe('ECONNRESET')
    expect(() => server.drain({ timeout: -1 })).toThrow(RangeError)
    reactor.close()
  })

  it('knows the types of the state and of the addresses, in handlers and connections', async () => {
    using reactor = new Reactor()
    interface Visitor {
      name: string
    }
    const server = serve(
      reactor,
      listening(),
      {
        state: (): Visitor => ({ name: 'visitor' }),
        open: (connection) => expectTypeOf(connection).toEqualTypeOf<Connection<Visitor, InetAddress>>(),
        data: ({ state }) => expectTypeOf(state).toEqualTypeOf<Visitor>(),
        timeout: (_connection, kind) => expectTypeOf(kind).toEqualTypeOf<'idle' | 'read' | 'write'>(),
      },
      { maxConnections: 10 },
    )
    expectTypeOf(server).toEqualTypeOf<Server<Visitor, InetAddress>>()
    expectTypeOf(server.connections).toEqualTypeOf<ReadonlySet<Connection<Visitor, InetAddress>>>()
    const client = dial(reactor, server.address, {
      state: () => 5,
      data: ({ state }) => expectTypeOf(state).toEqualTypeOf<number>(),
    })
    expectTypeOf(client).toEqualTypeOf<Connection<number, InetAddress>>()
    expectTypeOf(client.peerName).toEqualTypeOf<InetAddress | undefined>()
    const stateless = dial(reactor, `[::1]:${server.address.port}`, {
      data: ({ state }) => expectTypeOf(state).toEqualTypeOf<undefined>(),
    })
    expectTypeOf(stateless).toEqualTypeOf<Connection<undefined, InetAddress>>()
    expect([client.state, stateless.state]).toEqual([5, undefined])
    for (const connection of [client, stateless]) connection.abort()
    await server.drain({ timeout: 0 })
  })

  it('requires the handler `state` if the handlers use a state', () => {
    using reactor = new Reactor()
    const [mine, peer] = Socket.pair(AF_UNIX, SOCK_STREAM)
    const optional: Handlers<number | undefined> = { data: () => {} }
    const connection = adopt(reactor, mine, optional)
    expectTypeOf(connection.state).toEqualTypeOf<number | undefined>()
    expectTypeOf(connection.peerName).toEqualTypeOf<UnixAddress | undefined>()
    // @ts-expect-error: there is none.
    const missing: Handlers<number> = { data: () => {} }
    // @ts-expect-error: it is of another type.
    const wrong: Handlers<number> = { state: () => 'text', data: () => {} }
    // @ts-expect-error: nothing makes the state that is used.
    const used = () => serve(reactor, mine, { data: (connection: Connection<number>) => connection.state + 1 })
    expect([missing, wrong, used]).toHaveLength(3)
    connection.abort()
    peer.close()
  })

  it('passes the connection to the handler `state`, to look at and to keep', async () => {
    class Session {
      readonly connection: Connection<Session, InetAddress>
      readonly peer: InetAddress | undefined
      constructor(connection: Connection<Session, InetAddress>) {
        this.connection = connection
        this.peer = connection.peerName
      }
    }
    using reactor = new Reactor()
    const server = serve(reactor, listening(), {
      state: (connection) => new Session(connection),
      data: ({ state }, chunk) => void state.connection.write(chunk),
    })
    const client = connect(server.address.port, '127.0.0.1').end('hello')
    await once(client, 'connect')
    const { localPort } = client
    while (server.connections.size === 0) await setImmediate()
    const [connection] = server.connections as ReadonlySet<Connection<Session, InetAddress>>
    expect(connection?.state.connection).toBe(connection)
    expect(connection?.state.peer?.port).toBe(localPort)
    expect(await text(client)).toBe('hello')
    await server.drain()
  })
})

describe('a connection whose state is being made', () => {
  const calls: Readonly<Record<string, (connection: Connection<never>) => unknown>> = {
    write: (connection) => connection.write('x'),
    end: (connection) => connection.end(),
    drain: (connection) => connection.drain(),
    close: (connection) => connection.close(),
    abort: (connection) => connection.abort(),
    pause: (connection) => connection.pause(),
    resume: (connection) => connection.resume(),
    cork: (connection) => connection.cork(),
    uncork: (connection) => connection.uncork(),
    ref: (connection) => connection.ref(),
    unref: (connection) => connection.unref(),
    toStream: (connection) => connection.toStream(),
  }
  it.each(Object.entries(calls))('refuses %s, and leaves the socket open', (_, call) => {
    using reactor = new Reactor()
    const [mine, peer] = Socket.pair(AF_UNIX, SOCK_STREAM)
    const told: string[] = []
    const handlers = { state: call, data: () => {}, close: () => told.push('close') }
    expect(() => adopt(reactor, mine, handlers)).toThrow(TypeError)
    expect([mine.closed, getOption(mine, SO_LINGER), reactor.size, told]).toEqual([false, null, 0, []])
    mine.close()
    peer.close()
  })
})

describe('serve', () => {
  it('waits for streams that were made of its connections; node:http runs on them', async () => {
    const reactor = new Reactor()
    const http = createServer((request, response) => response.end(`you asked for ${request.url}`))
    const server = serve(reactor, listening(), {
      open: (connection) => void http.emit('connection', connection.toStream({ allowHalfOpen: true })),
      data: () => {},
    })
    const { port } = server.address
    const response = await fetch(`http://127.0.0.1:${port}/this`, { headers: { connection: 'close' } })
    expect(await response.text()).toBe('you asked for /this')
    expect(server.connections.size).toBe(0)
    await server.drain()
    http.close()
    expect(reactor.size).toBe(0)
    reactor.close()
  })

  it('carries node:tls on streams that were made of its connections', async (test) => {
    skipUnless(test, needProgram('openssl'))
    const { key, cert } = await temporaryCertificate()
    using reactor = new Reactor()
    const tls = createTlsServer({ key, cert }, (secure) => secure.pipe(secure))
    const server = serve(reactor, listening(), {
      open: (connection) => void tls.emit('connection', connection.toStream({ allowHalfOpen: true })),
      data: () => {},
    })
    const { port } = server.address
    const sent = randomBytes(1_000_000)
    const client = connectTls({ port, host: '127.0.0.1', ca: cert, servername: 'localhost' })
    client.end(sent)
    expect(digest(await buffer(client))).toBe(digest(sent))
    expect([client.authorized, server.connections.size]).toEqual([true, 0])
    await server.drain()
    expect(reactor.size).toBe(0)
  })

  it('makes web streams of its connections', async () => {
    using reactor = new Reactor()
    const sent = randomBytes(1_000_000)
    const echo = async ({ readable, writable }: ReturnType<typeof Duplex.toWeb>) => {
      const [reader, writer] = [readable.getReader(), writable.getWriter()]
      for (let left = sent.length; left > 0; ) {
        const chunk = (await reader.read()).value as Uint8Array
        left -= chunk.length
        await writer.write(chunk)
      }
      // Node closes them when both ways have ended.
      await writer.close()
      return (await reader.read()).done
    }
    const echoed: Promise<boolean>[] = []
    const server = serve(reactor, listening(), {
      open: (connection) => echoed.push(echo(Duplex.toWeb(connection.toStream()))),
      data: () => {},
    })
    const client = connect(server.address.port, '127.0.0.1')
    client.write(sent)
    expect(digest(await buffer(client))).toBe(digest(sent))
    expect(await Promise.all(echoed)).toEqual([true])
    await server.drain()
    expect(reactor.size).toBe(0)
  })

  it('aborts streams that were made of its connections, too', async () => {
    using reactor = new Reactor()
    const server = serve(reactor, listening(), {
      open: (connection) => void connection.toStream().pause().write('x'),
      data: () => {},
    })
    const { port } = server.address
    const late = connect(port, '127.0.0.1')
    await once(late, 'data')
    const reset = once(late, 'error')
    await server.drain({ timeout: 20 })
    expect(((await reset)[0] as NodeJS.ErrnoException).code).toBe('ECONNRESET')
    expect(reactor.size).toBe(0)
  })

  it('shares one listening socket with Workers, each with an instance of its own', async () => {
    const socket = listening()
    const { port } = socket.localName
    const program = `
      const { parentPort, workerData } = require('node:worker_threads')
      Promise.all([import(workerData.core), import(workerData.epoll)]).then(([{ Socket }, { Reactor, serve }]) => {
        const reactor = new Reactor()
        const server = serve(reactor, Socket.adopt(workerData.fd), {
          data: (connection, chunk) => void connection.write(chunk),
        }, { exclusive: true })
        const waker = reactor.waker(async () => {
          await server.drain()
          parentPort.postMessage({ accepted: server.statistics.accepted })
          waker.close()
          reactor.close()
        })
        reactor.run()
        parentPort.postMessage({ waker: waker.dup().release() })
      })`
    const workers = [0, 1].map(
      () =>
        new Worker(program, {
          eval: true,
          workerData: {
            fd: socket.dup().release(),
            core: import.meta.resolve('@linux-sockets/native-core'),
            epoll: pathToFileURL(join(import.meta.dirname, '../dist/index.js')).href,
          },
        }),
    )
    const wakers = await Promise.all(
      workers.map(async (worker) => OwnedFd.adopt((await once(worker, 'message'))[0].waker as number)),
    )
    const echoed = await Promise.all(
      Array.from({ length: 40 }, async (_, i) => {
        const client = connect(port, '127.0.0.1')
        client.end(`client ${i}`)
        return String(await buffer(client))
      }),
    )
    expect(echoed).toEqual(Array.from({ length: 40 }, (_, i) => `client ${i}`))
    const said = workers.map((worker) => once(worker, 'message'))
    const exits = workers.map((worker) => once(worker, 'exit'))
    for (const waker of wakers) wake(waker)
    const accepted = (await Promise.all(said)).map(([{ accepted }]) => accepted as number)
    expect(accepted.reduce((sum, count) => sum + count)).toBe(40)
    await Promise.all(exits)
    for (const owned of [...wakers, socket]) owned.close()
  })
})

describe('the options of sockets', () => {
  const [IPPROTO_TCP, TCP_NODELAY] = [6, 1]
  const noDelay = (fd: AsFd) => getOptionInt(fd, IPPROTO_TCP, TCP_NODELAY)

  it.each([0, 1])('are left as they are: TCP_NODELAY %i', async (value) => {
    using reactor = new Reactor()
    const socket = listening()
    setOptionInt(socket, IPPROTO_TCP, TCP_NODELAY, value)
    const accepted: number[] = []
    const server = serve(reactor, socket, { open: (connection) => accepted.push(noDelay(connection)), data() {} })
    expect(getOption(socket, SO_REUSEADDR)).toBe(false)

    const closed = new Promise<void>((resolve) => {
      const prepare = (own: Socket) => setOptionInt(own, IPPROTO_TCP, TCP_NODELAY, value)
      const open = (connection: AsFd & { end(): void }) => {
        expect(noDelay(connection)).toBe(value)
        connection.end()
      }
      // The other side has no handler `end`, and ends as well.
      dial(reactor, server.address, { open, data() {}, close: () => resolve() }, value === 0 ? {} : { prepare })
    })
    await closed
    expect(accepted).toEqual([value])
    await server.drain()
  })
})
