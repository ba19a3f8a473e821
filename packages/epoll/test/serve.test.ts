import { spawn } from 'node:child_process'
import { createHash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { connect } from 'node:net'
import { buffer } from 'node:stream/consumers'
import {
  AF_INET,
  AF_INET6,
  IPV6_V6ONLY,
  type Ipv6Address,
  SOCK_STREAM,
  Socket,
  setOption,
} from '@linux-sockets/native-core'
import { guardDescriptors, needProgram, runProgram, skipUnless } from '@linux-sockets/testkit'
import { describe, expect, it } from 'vitest'
import { Connection, type Handlers, Reactor, type Server } from '../src/index.js'

guardDescriptors()

function listening(): Socket {
  const socket = Socket.open(AF_INET6, SOCK_STREAM)
  setOption(socket, IPV6_V6ONLY, false)
  socket.bind({ family: 'ipv6', address: '::', port: 0 })
  socket.listen()
  return socket
}

function echo(): { server: Server<{ chunks: number }>; port: number; reactor: Reactor } {
  const reactor = new Reactor()
  const server = reactor.serve(
    listening(),
    {
      data(connection, chunk) {
        connection.state.chunks++
        if (!connection.write(chunk)) connection.pause()
      },
      drain: (connection) => connection.resume(),
    },
    { state: () => ({ chunks: 0 }) },
  )
  return { server, port: (server.address as Ipv6Address).port, reactor }
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
    await server.close()
    expect(server.statistics.accepted).toBe(60)
    reactor.close()
  })

  it('echoes to socat', async (test) => {
    skipUnless(test, needProgram('socat'))
    const { server, port, reactor } = echo()
    const sent = randomBytes(1_000_000)
    const socat = spawn('socat', ['-t5', '-', `TCP:127.0.0.1:${port}`], { stdio: ['pipe', 'pipe', 'inherit'] })
    socat.stdin.end(sent)
    expect(digest(await buffer(socat.stdout))).toBe(digest(sent))
    await server.close()
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
    expect([...server.connections][0]).toBeInstanceOf(Connection)
    for (const client of clients) client.end().resume()
    await server.close()
    expect(server.connections.size).toBe(0)
    reactor.close()
  })

  it('lets the accepted finish on close, and ends them all on abort', async () => {
    const { server, port, reactor } = echo()
    const client = connect(port, '127.0.0.1')
    client.write('x')
    await once(client, 'data')
    const closed = server.close()
    client.write('still here')
    expect(String((await once(client, 'data'))[0])).toBe('still here')
    const refused = connect(port, '127.0.0.1')
    expect(((await once(refused, 'error'))[0] as NodeJS.ErrnoException).code).toBe('ECONNREFUSED')

    const reset = once(client, 'error')
    await server.abort()
    await closed
    expect(((await reset)[0] as NodeJS.ErrnoException).code).toBe('ECONNRESET')
    reactor.close()
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
    const server = reactor.serve(listening(), counter)
    const client = connect((server.address as Ipv6Address).port, '127.0.0.1')
    client.end('three')
    expect(String(await buffer(client))).toBe('5')
    await server.close()
    expect(counter.ends).toBe(1)
    reactor.close()
  })

  it('closes the connection whose state can not be made, and aborts all although a handler throws', async () => {
    const script = `
      import { once } from 'node:events'
      import { connect } from 'node:net'
      import { AF_INET, SOCK_STREAM, Socket } from '@linux-sockets/native-core'
      import { Reactor } from '@linux-sockets/epoll'
      const thrown = []
      process.on('uncaughtException', (error) => thrown.push(error.message))
      const socket = Socket.open(AF_INET, SOCK_STREAM)
      socket.bind({ family: 'ipv4', address: '127.0.0.1', port: 0 })
      socket.listen()
      let states = 0
      const server = new Reactor().serve(socket, {
        open: (connection) => connection.write(Buffer.from('hello')),
        data: () => {},
        close: () => { throw new Error('from close') },
      }, { state: () => { if (++states === 1) throw new Error('from state') } })
      const dial = () => connect(server.address.port, '127.0.0.1').resume().on('error', () => {})
      await once(dial(), 'close')
      await Promise.all([dial(), dial(), dial()].map((client) => once(client, 'data')))
      console.log(server.connections.size)
      await server.abort()
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
    await server.close()
  })

  it('refuses a socket that does not listen, and leaves it to its owner', () => {
    using reactor = new Reactor()
    using socket = Socket.open(AF_INET, SOCK_STREAM)
    expect(() => reactor.serve(socket, { data: () => {} })).toThrow(TypeError)
    expect(socket.closed).toBe(false)
  })
})
