import { closeSync, openSync } from 'node:fs'
import { connect, type Socket as NetSocket } from 'node:net'
import { setImmediate } from 'node:timers/promises'
import {
  formatAddress,
  type Ipv4Address,
  isNonBlocking,
  readable,
  Socket,
  setNonBlocking,
  setOption,
} from '@linux-sockets/native-core'
import { AF_INET, AF_UNIX, SOCK_STREAM } from '@linux-sockets/native-core/constants'
import { SO_LINGER, SO_SNDBUF } from '@linux-sockets/native-core/options'
import {
  collectGarbage,
  createNamespace,
  expectErrno,
  guardDescriptors,
  needNamespaces,
  needProgram,
  openDescriptors,
  skipUnless,
  spawnProgram,
  waitForLine,
  withFault,
} from '@linux-sockets/testkit'
import { describe, expect, it, vi } from 'vitest'
import {
  adopt,
  type Connection,
  type ConnectionOptions,
  connect as dial,
  type Handlers,
  Reactor,
  type Server,
  serve,
} from '../src/index.js'

guardDescriptors()

function listening(blocking = false): Socket {
  const socket = Socket.open(AF_INET, SOCK_STREAM, 0, { blocking })
  socket.bind({ family: 'ipv4', address: '127.0.0.1', port: 0 })
  socket.listen()
  return socket
}

const portOf = (server: Server<never> | Server) => (server.address as Ipv4Address).port

/** Ten clients, each of which has got a byte. */
async function clientsOf(server: Server): Promise<{ clients: NetSocket[]; gone: Promise<unknown> }> {
  const clients = Array.from({ length: 10 }, () => connect(portOf(server), '127.0.0.1').on('error', () => {}))
  await Promise.all(clients.map((client) => new Promise((resolve) => client.once('data', resolve))))
  return {
    clients,
    gone: Promise.all(clients.map((client) => new Promise((resolve) => client.once('close', resolve)))),
  }
}

describe('with a descriptor that other code has closed', () => {
  const endings: [string, (server: Server, reactor: Reactor) => unknown][] = [
    ['server.drain({ timeout })', (server) => server.drain({ timeout: 1 })],
    ['server.drain({ timeout: 0 })', (server) => server.drain({ timeout: 0 })],
    ['reactor.close()', (_server, reactor) => reactor.close()],
    [
      'abort() of each connection',
      (server) => {
        for (const connection of server.connections) connection.abort()
        return server.drain()
      },
    ],
  ]

  it.each(endings)('%s ends all connections, each once', async (_name, end) => {
    const reactor = new Reactor()
    const closed: Connection[] = []
    const server = serve(reactor, listening(), {
      open: (connection) => void connection.write(Buffer.from('x')),
      data: () => {},
      close: (connection) => closed.push(connection),
    })
    const { clients, gone } = await clientsOf(server)
    const all = [...server.connections]
    for (const [i, { fd }] of all.entries()) if (i % 4 === 1) closeSync(fd)
    await end(server, reactor)
    await gone
    expect(closed).toHaveLength(10)
    expect(new Set(closed)).toEqual(new Set(all))
    expect(server.connections.size).toBe(0)
    for (const client of clients) client.destroy()
    if (!reactor.closed) {
      // The reactor is unharmed: events of new descriptors with the same numbers arrive.
      const [a, b] = Socket.pair()
      const told = new Promise((resolve) => adopt(reactor, a, { data: (_c, chunk) => resolve(`${chunk}`) }))
      b.send(Buffer.from('well'))
      expect(await told).toBe('well')
      b.close()
    }
    reactor.close()
    await server.drain()
  })

  it('toStream fails and ends that connection', async () => {
    for (const lower of [false, true]) {
      using reactor = new Reactor()
      // While a lower number is free, the number of the lost descriptor stays free.
      const low = openSync('/dev/null', 'r')
      const [a, b] = Socket.pair()
      const told: string[] = []
      const connection = adopt(reactor, a, {
        data: () => {},
        error: () => told.push('error'),
        close: () => told.push('close'),
      })
      closeSync(a.fd)
      if (lower) closeSync(low)
      expectErrno(() => connection.toStream(), 'EBADF')
      expect(connection.closed).toBe(true)
      expect(told).toEqual(['close'])
      b.close()
      if (!lower) closeSync(low)
    }
  })

  it('a waker, and the reactor, end all the same', () => {
    const reactor = new Reactor()
    const [first, second] = [reactor.waker(() => {}), reactor.waker(() => {})]
    closeSync(first.fd)
    first.close()
    closeSync(second.fd)
    reactor.close()
    expect([first.fd, second.fd]).toEqual([-1, -1])
  })

  it('a server reports an error of its listening descriptor', async () => {
    using reactor = new Reactor()
    const socket = listening()
    const told: (string | undefined)[] = []
    const server = serve(
      reactor,
      socket,
      { data: () => {} },
      { ended: (error) => void told.push((error as NodeJS.ErrnoException).code) },
    )
    socket.close()
    while (told.length === 0) await setImmediate()
    expect(told).toEqual(['EBADF'])
    await expectErrno(() => server.drain(), 'EBADF')
  })

  it('a write ends that connection with an error, and no other', async () => {
    using reactor = new Reactor()
    const told: string[] = []
    const names = ['lost', 'other']
    const handlers: Handlers<string | undefined> = {
      state: () => names.shift(),
      data: (connection) => void told.push(`data ${connection.state}`),
      error: (connection, error) => void told.push(`${(error as NodeJS.ErrnoException).code} ${connection.state}`),
      close: (connection) => void told.push(`close ${connection.state}`),
    }
    const [[a, b], [c, d]] = [Socket.pair(), Socket.pair()]
    const lost = adopt(reactor, a, handlers)
    const other = adopt(reactor, c, handlers)
    closeSync(a.fd)
    lost.write(Buffer.from('x'))
    expect(told).toEqual(['EBADF lost', 'close lost'])
    d.send(Buffer.from('x'))
    while (told.length < 3) await setImmediate()
    expect(told[2]).toBe('data other')
    other.abort()
    b.close()
    d.close()
  })
})

describe('a second connection', () => {
  it('on the same socket is refused with EEXIST, and the first goes on', async () => {
    using reactor = new Reactor()
    const [mine, peer] = Socket.pair()
    const got: string[] = []
    const handlers: Handlers<undefined> = { data: (_connection, chunk) => void got.push(`${chunk}`) }
    const connection = adopt(reactor, mine, handlers)
    expectErrno(() => adopt(reactor, mine, handlers), 'EEXIST')
    expectErrno(() => reactor.register(mine, 0, () => {}), 'EEXIST')
    expectErrno(() => reactor.watch(mine, 0, () => {}), 'EEXIST')
    peer.send(Buffer.from('x'))
    while (got.length === 0) await setImmediate()
    expect(got).toEqual(['x'])
    connection.abort()
    peer.close()
  })

  it('that can’t be made leaves the socket to the caller', () => {
    const reactor = new Reactor()
    reactor.close()
    const [mine, peer] = Socket.pair()
    expectErrno(() => adopt(reactor, mine, { data: () => {} }), 'EBADF')
    expect(mine.closed).toBe(false)
    mine.close()
    peer.close()
  })
})

/** Reads nothing until it gets an order; then reads everything, and prints the number of bytes and how the connection ended. */
const SLOW_READER = `
import socket, sys
s = socket.create_connection(('127.0.0.1', int(sys.argv[1])))
print('connected', flush=True)
sys.stdin.readline()
count = 0
try:
    while chunk := s.recv(65536):
        count += len(chunk)
    print('end')
except ConnectionResetError:
    print('reset')
`

describe('a connection that ends with bytes unsent', () => {
  const SIZE = 8_000_000
  const causes: [string, ConnectionOptions, (connection: Connection, reactor: Reactor) => void][] = [
    ['maxQueuedBytes', { maxQueuedBytes: SIZE }, (connection) => void connection.write(Buffer.alloc(SIZE, 'x'))],
    ['writeTimeout', { writeTimeout: 30 }, () => {}],
    ['idleTimeout', { idleTimeout: 30 }, () => {}],
    ['the end of the reactor', {}, (_connection, reactor) => reactor.close()],
    ['close', {}, (connection) => connection.close()],
    ['abort', {}, (connection) => connection.abort()],
  ]

  it.for(causes)('by %s resets the peer', async ([, options, cause], test) => {
    skipUnless(test, needProgram('python3'))
    const reactor = new Reactor()
    let close!: () => void
    const closed = new Promise<void>((resolve) => {
      close = resolve
    })
    const server = serve(
      reactor,
      listening(),
      {
        open: (connection) => void connection.write(Buffer.alloc(SIZE, 'x')),
        data: () => {},
        close,
      },
      options,
    )
    const reader = spawnProgram('python3', ['-c', SLOW_READER, `${portOf(server)}`])
    await waitForLine(reader, /connected/)
    while (server.statistics.accepted === 0) await setImmediate()
    for (const connection of server.connections) cause(connection, reactor)
    await closed
    reader.process.stdin?.end('\n')
    const { stdout } = await reader.finished
    expect(stdout).toBe('connected\nreset\n')
    await server.drain({ timeout: 0 })
    reactor.close()
  })
})

describe('write', () => {
  const states: [string, (connection: Connection) => void][] = [
    ['end', (connection) => connection.end()],
    ['drain', (connection) => void connection.drain()],
    ['close', (connection) => connection.close()],
    ['abort', (connection) => connection.abort()],
  ]

  it.each(states)('returns true after %s, however much is queued', async (name, finish) => {
    using reactor = new Reactor()
    const [mine, peer] = Socket.pair(AF_UNIX, SOCK_STREAM)
    const handlers: Handlers<undefined> = { data: () => {}, drain: () => drained++ }
    let drained = 0
    const connection = adopt(reactor, mine, handlers)
    expect(connection.write(Buffer.alloc(1_000_000))).toBe(false)
    finish(connection)
    expect(connection.write(Buffer.alloc(1_000_000))).toBe(true)
    // The first write has returned false: drain is called after `end`, too, unless the connection is closed.
    const buffer = Buffer.alloc(100_000)
    while (peer.recv(buffer) !== 0) await setImmediate()
    expect(drained).toBe(['close', 'abort'].includes(name) ? 0 : 1)
    connection.abort()
    peer.close()
  })

  it('lets a source that pauses on false flow to its end, even after the connection’s own end', async () => {
    using reactor = new Reactor()
    const [mine, peer] = Socket.pair(AF_UNIX, SOCK_STREAM)
    let received = 0
    const closed = new Promise<void>((resolve) => {
      const connection = adopt(reactor, mine, {
        data(connection, chunk) {
          received += chunk.length
          if (!connection.write(chunk)) connection.pause()
          connection.end()
        },
        drain: (connection) => connection.resume(),
        close: () => resolve(),
      })
      setOption(connection, SO_SNDBUF, 4096)
    })
    const sending = Buffer.alloc(1_000_000)
    const buffer = Buffer.alloc(100_000)
    for (let sent = 0; sent < sending.length; ) {
      peer.recv(buffer)
      const count = peer.send(sending, 0, sent)
      if (count === null) await setImmediate()
      else sent += count
    }
    peer.close()
    await closed
    expect(received).toBe(sending.length)
  })
})

describe('a socket from outside', () => {
  it('is made non-blocking, as a listener and as a connection', async () => {
    const reactor = new Reactor()
    const socket = listening(true)
    expect(isNonBlocking(socket)).toBe(false)

    const server = serve(reactor, socket, { data: (connection, chunk) => void connection.write(chunk) })
    for (let i = 0; i < 3; i++) {
      const client = connect(portOf(server), '127.0.0.1')
      client.end('x')
      expect(await new Promise((resolve) => client.once('data', (data) => resolve(`${data}`)))).toBe('x')
    }
    const [mine, peer] = Socket.pair(AF_UNIX, SOCK_STREAM, 0, { blocking: true })
    const connection = adopt(reactor, mine, { data: (c, chunk) => void c.write(chunk) })
    setNonBlocking(peer)
    peer.send(Buffer.from('y'))
    await readable(peer)
    expect(peer.recv(Buffer.alloc(9))).toBe(1)
    expect(connection.write(Buffer.alloc(1_000_000))).toBe(false)
    connection.abort()
    peer.close()
    await server.drain()
    reactor.close()
  })
})

describe('the peer’s address', () => {
  it('is known from accept, without a call, after a reset and when the connection is closed', async (test) => {
    skipUnless(test, needProgram('strace'))
    const reactor = new Reactor()
    const named: unknown[] = []
    const name = ({ peerName, remoteAddress, remotePort, remoteFamily }: Connection) =>
      named.push([peerName, remoteAddress, remotePort, remoteFamily])
    const client = Socket.open(AF_INET, SOCK_STREAM)
    const listener = listening()
    client.connect(listener.localName)
    const peer = client.localName
    setOption(client, SO_LINGER, 0)
    client.close()
    const { injected } = await withFault(
      'getpeername:error=EIO',
      () =>
        new Promise<void>((resolve) => {
          serve(reactor, listener, {
            open: name,
            data: () => {},
            close(connection) {
              name(connection)
              resolve()
            },
          })
        }),
    )
    const expected = [peer, peer.address, peer.port, 'IPv4']
    expect(named).toEqual([expected, expected])
    expect(injected).toBe(0)
    reactor.close()
  })

  it('is kept when a connection becomes a stream, and is asked for if the connection was not accepted', async () => {
    using reactor = new Reactor()
    const server = serve(reactor, listening(), {
      open(connection) {
        const { remotePort } = connection
        const stream = connection.toStream()
        stream.end(`${remotePort} ${stream.remotePort} ${stream.localPort}`).resume()
      },
      data: () => {},
    })
    let heard = ''
    await new Promise<void>((resolve) => {
      const connection = dial(reactor, server.address, {
        open(connection) {
          expect(connection.remotePort).toBe(portOf(server))
          expect([connection.remoteAddress, connection.localAddress]).toEqual(['127.0.0.1', '127.0.0.1'])
          expect([connection.remoteFamily, connection.localFamily]).toEqual(['IPv4', 'IPv4'])
          heard = `${connection.localPort} ${connection.localPort} ${connection.remotePort} → `
        },
        data: (_connection, chunk) => {
          heard += chunk
        },
        close: () => resolve(),
      })
      expect(connection.connecting).toBe(true)
    })
    const [told, got] = heard.split(' → ')
    expect(got).toBe(told)
    await server.drain()
  })
})

describe('a reactor that a handler closes', () => {
  it('refuses the connections that wait, without an exception', async () => {
    const reactor = new Reactor()
    let opened = 0
    const socket = listening()
    const { port } = socket.localName as Ipv4Address
    const clients = Array.from({ length: 3 }, () => connect(port, '127.0.0.1').on('error', () => {}))
    await Promise.all(clients.map((client) => new Promise((resolve) => client.once('connect', resolve))))
    const server = serve(reactor, socket, {
      open() {
        opened++
        reactor.close()
      },
      data: () => {},
    })
    await Promise.all(clients.map((client) => new Promise((resolve) => client.resume().once('close', resolve))))
    expect(opened).toBe(1)
    await server.drain()
  })

  it('while a state is made, ends the server without an exception, and no other handler is called', async () => {
    const reactor = new Reactor()
    const told: string[] = []
    const server = serve(
      reactor,
      listening(),
      {
        state() {
          reactor.close()
          return undefined
        },
        open: () => told.push('open'),
        data: () => {},
        close: () => told.push('close'),
      },
      { ended: () => told.push('ended') },
    )
    const client = connect(portOf(server), '127.0.0.1').on('error', () => {})
    await new Promise((resolve) => client.resume().once('close', resolve))
    expect([told, server.closed, server.connections.size]).toEqual([[], true, 0])
    await server.drain()
  })
})

describe('connect', () => {
  it('names the address in its errors, and the option that was the limit', async () => {
    using reactor = new Reactor()
    const socket = listening()
    const address = socket.localName
    socket.close()
    const message = await new Promise<string>((resolve) => {
      dial(reactor, address, { data: () => {}, error: (_connection, error) => resolve(error.message) })
    })
    expect(message).toBe(`connect ECONNREFUSED ${formatAddress(address)}: connection refused`)
    const [a, b] = Socket.pair()
    const late = await new Promise<string>((resolve) => {
      const handlers = { data: () => {}, error: (_: unknown, error: Error) => resolve(error.message) }
      adopt(reactor, a, handlers, { idleTimeout: 5 })
    })
    expect(late).toBe('recv ETIMEDOUT (idleTimeout, 5 ms): connection timed out')
    b.close()
  })

  it('refuses invalid options before it connects', async () => {
    using reactor = new Reactor()
    const socket = listening()
    const handlers = { data: () => {} }
    expect(() => dial(reactor, socket.localName, handlers, { idleTimeout: -1 })).toThrow(RangeError)
    expect(() => dial(reactor, socket.localName, handlers, { maxQueuedBytes: -1 })).toThrow(RangeError)
    expect(socket.accept()).toBe(null)
    socket.close()
  })

  it('never connects to itself', async (test) => {
    skipUnless(test, needNamespaces())
    const namespace = createNamespace()
    await namespace.run('sysctl', ['-w', 'net.ipv4.ip_local_port_range=40000 40000'])
    const program = `
      import { connect, Reactor } from '@linux-sockets/epoll'
      const reactor = new Reactor()
      for (const to of ['127.0.0.1:40000', '[::1]:40000']) {
        const code = await new Promise((resolve) => {
          try {
            connect(reactor, to, { data() {}, open: () => resolve('open'), error: (_, { code }) => resolve(code) })
          } catch ({ code }) {
            resolve(code)
          }
        })
        console.log(code)
      }
      process.exit()`
    const said = await namespace.run(process.execPath, ['--input-type=module', '--eval', program], {
      cwd: import.meta.dirname,
    })
    expect(said).toBe('ECONNREFUSED\nECONNREFUSED\n')
  })

  it('sends text as UTF-8', async () => {
    using reactor = new Reactor()
    const [a, b] = Socket.pair()
    const connection = adopt(reactor, a, { data: () => {} })
    expect(connection.write('größer')).toBe(true)
    const buffer = Buffer.alloc(20)
    expect(buffer.toString('utf8', 0, b.recv(buffer) as number)).toBe('größer')
    connection.abort()
    b.close()
  })
})

describe('a Reactor', () => {
  it('that is dropped while nothing is registered leaves no descriptor', async () => {
    const warned = vi.spyOn(process, 'emitWarning')
    const before = openDescriptors()
    const use = async () => {
      const reactor = new Reactor()
      const [a, b] = Socket.pair()
      const called = new Promise<void>((resolve) => {
        reactor.register(a, 1, () => resolve())
      })
      b.send(Buffer.from('x'))
      await called
      a.close()
      b.close()
    }
    await use()
    new Reactor()
    await setImmediate()
    await setImmediate()
    expect(openDescriptors()).toEqual(before)
    await collectGarbage()
    expect(openDescriptors()).toEqual(before)
    expect(warned).not.toHaveBeenCalled()
    warned.mockRestore()
  })
})
