import { once } from 'node:events'
import { existsSync, readFileSync } from 'node:fs'
import { type AddressInfo, createServer, type Server } from 'node:net'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import {
  type AsFd,
  getOption,
  type Ipv4Address,
  Socket,
  type SocketAddress,
  setOption,
} from '@linux-sockets/native-core'
import { AF_INET, IPPROTO_MPTCP, IPPROTO_TCP, IPPROTO_UDP, SOCK_STREAM } from '@linux-sockets/native-core/constants'
import { SO_KEEPALIVE, SO_PROTOCOL } from '@linux-sockets/native-core/options'
import { expectErrno, guardDescriptors, type Need, skipUnless, temporaryDirectory } from '@linux-sockets/testkit'
import { describe, expect, it, onTestFinished } from 'vitest'
import { type Connection, type ConnectOptions, connect, type Handlers, Reactor } from '../src/index.js'

guardDescriptors()

/** The calls of a connection's handlers, until it is closed. */
async function connectAndWait(
  address: SocketAddress | string,
  handlers: Partial<Handlers<string[]>>,
  options: ConnectOptions = {},
  begun: (connection: Connection<string[]>) => void = () => {},
): Promise<string[]> {
  const reactor = new Reactor()
  onTestFinished(() => reactor.close())
  return await new Promise((resolve) => {
    const all: Handlers<string[]> = {
      state: () => [],
      open: ({ state }) => state.push('open'),
      data: ({ state }, chunk) => void state.push(chunk.toString()),
      error: ({ state }, error) => state.push((error as NodeJS.ErrnoException).code ?? ''),
      ...(handlers as Partial<Omit<Handlers<string[]>, 'state' | 'data'>>),
      close: ({ state }) => resolve(state),
    }
    begun(connect(reactor, address, all, options))
  })
}

it('takes an address as text', async () => {
  const server = createServer((socket) => socket.end('hello')).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  expect(await connectAndWait(`127.0.0.1:${port}`, {})).toEqual(['open', 'hello'])
  server.close()
  await once(server, 'close')
  using reactor = new Reactor()
  expect(() => connect(reactor, 'localhost:80', { data: () => {} })).toThrow(
    /^address must be an IP address with its port/,
  )
})

/** A listener whose queue is full, so that it answers no SYN, and the clients that fill it. */
function busyListener(): Socket {
  const listener = Socket.open(AF_INET, SOCK_STREAM)
  listener.bind({ family: 'ipv4', address: '127.0.0.1', port: 0 })
  listener.listen(0)
  const fillers = Array.from({ length: 3 }, () => {
    const filler = Socket.open(AF_INET, SOCK_STREAM)
    filler.connect(listener.localName)
    return filler
  })
  onTestFinished(() => {
    for (const socket of [...fillers, listener]) socket.close()
  })
  return listener
}

async function echoServer(): Promise<Ipv4Address> {
  return await listen(createServer((socket) => socket.on('error', () => {}).pipe(socket)))
}

async function listen(server: Server): Promise<Ipv4Address> {
  server.listen(0, '127.0.0.1')
  onTestFinished(() => void server.close())
  await once(server, 'listening')
  return { family: 'ipv4', address: '127.0.0.1', port: (server.address() as AddressInfo).port }
}

describe('connect', () => {
  it('opens a connection, and sends what was written before it was open', async () => {
    const calls = await connectAndWait(await echoServer(), {}, {}, (connection) => {
      expect(connection.connecting).toBe(true)
      expect(connection.write(Buffer.from('early'))).toBe(true)
      expect(connection.queuedBytes).toBe(5)
      connection.end()
      expect(connection.closed).toBe(false)
    })
    expect(calls).toEqual(['open', 'early'])
  })

  it('reports a refusal once, and never calls open', async () => {
    const listener = Socket.open(AF_INET, SOCK_STREAM)
    listener.bind({ family: 'ipv4', address: '127.0.0.1', port: 0 })
    const calls = await connectAndWait(listener.localName, {}, {}, (connection) => {
      connection.write(Buffer.from('never sent'))
    })
    listener.close()
    expect(calls).toEqual(['ECONNREFUSED'])
  })

  it('gives up after connectTimeout, without asking the handler of the other timeouts', async () => {
    const kinds: string[] = []
    const calls = await connectAndWait(
      busyListener().localName,
      { timeout: (_, kind) => kinds.push(kind) },
      { connectTimeout: 30, idleTimeout: 1 },
    )
    expect(calls).toEqual(['ETIMEDOUT'])
    expect(kinds).toEqual([])
  })

  it('is not taken for connected when it is paused and resumed while connecting', async () => {
    const calls = await connectAndWait(busyListener().localName, {}, { connectTimeout: 30 }, (connection) => {
      connection.pause()
      connection.resume()
    })
    expect(calls).toEqual(['ETIMEDOUT'])
    const answer = await connectAndWait(
      await echoServer(),
      {
        data(connection, chunk) {
          connection.state.push(chunk.toString())
          connection.end()
        },
      },
      {},
      (connection) => {
        connection.pause()
        connection.resume()
        connection.write(Buffer.from('early'))
      },
    )
    expect(answer).toEqual(['open', 'early'])
  })

  it('sets options and binds before it connects', async () => {
    const calls = await connectAndWait(
      await echoServer(),
      {
        open(connection) {
          connection.state.push(String(getOption(connection, SO_KEEPALIVE)))
          connection.abort()
        },
      },
      {
        localAddress: { family: 'ipv4', address: '127.0.0.3', port: 0 },
        prepare: (socket) => setOption(socket, SO_KEEPALIVE, true),
      },
    )
    expect(calls).toEqual(['true'])
  })

  it('uses the protocol of the option', async (test) => {
    using reactor = new Reactor()
    const address = await echoServer()
    expectErrno(() => connect(reactor, address, { data: () => {} }, { protocol: IPPROTO_UDP }), 'EPROTONOSUPPORT')
    const protocols: number[] = []
    const note = (connection: AsFd) => {
      protocols.push(getOption(connection, SO_PROTOCOL))
    }
    expect(await connectAndWait(address, { open: (c) => c.end() }, {}, note)).toEqual([])
    expect(protocols).toEqual([IPPROTO_TCP])
    skipUnless(test, needMptcp())
    await connectAndWait(address, { open: (c) => c.end() }, { protocol: IPPROTO_MPTCP }, note)
    expect(protocols).toEqual([IPPROTO_TCP, IPPROTO_MPTCP])
  })

  it('connects to a Unix socket at once', async () => {
    const path = join(temporaryDirectory(), 'socket')
    const server = createServer((socket) => socket.end('hello')).listen(path)
    onTestFinished(() => void server.close())
    await once(server, 'listening')
    expect(await connectAndWait({ family: 'unix', path }, {})).toEqual(['open', 'hello'])
  })

  it('throws an error that occurs at once, and leaves nothing open', () => {
    using reactor = new Reactor()
    const handlers = { data: () => {} }
    expectErrno(() => connect(reactor, { family: 'unix', path: '/nowhere/socket' }, handlers), 'ENOENT')
    expect(() => connect(reactor, 'localhost:80' as never, handlers)).toThrow(TypeError)
    const address = { family: 'ipv4', address: '127.0.0.1', port: 1 } as const
    expect(() => connect(reactor, address, handlers, { connectTimeout: 0 })).toThrow(RangeError)
    expect(reactor.size).toBe(0)
  })

  it.for([
    ['drain', ''],
    ['end drain', ''],
    ['write drain', 'early'],
    ['write end drain', 'early'],
    ['cork write drain', 'early'],
  ] as const)('connects, sends and ends as called while connecting: %s', async ([calls, sent]) => {
    const server = createServer({ allowHalfOpen: true })
    const address = await listen(server)
    const received = once(server, 'connection').then(([socket]) => text(socket.on('end', () => socket.end())))
    const states = await connectAndWait(address, {}, {}, (connection) => {
      expect(connection.connecting).toBe(true)
      for (const call of calls.split(' ') as ('write' | 'cork' | 'end' | 'drain')[]) {
        if (call === 'write') connection.write('early')
        else void connection[call]()
      }
      expect(connection.closed).toBe(false)
    })
    expect(states).toEqual(['open'])
    expect(await received).toBe(sent)
  })

  it.for(['abort', 'close'] as const)('ends at once by %s while it is connecting', async (call) => {
    const calls = await connectAndWait(await echoServer(), {}, {}, (connection) =>
      queueMicrotask(() => connection[call]()),
    )
    expect(calls).toEqual([])
  })
})

function needMptcp(): Need {
  const file = '/proc/sys/net/mptcp/enabled'
  if (!existsSync(file)) return 'this kernel has no MPTCP'
  return readFileSync(file, 'utf8').trim() === '1' ? null : 'net.mptcp.enabled is 0'
}
