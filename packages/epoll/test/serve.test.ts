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
import { guardDescriptors, needProgram, skipUnless } from '@linux-sockets/testkit'
import { describe, expect, it } from 'vitest'
import { Connection, Reactor, type Server, serve } from '../src/index.js'

guardDescriptors()

function echo(): { server: Server<{ chunks: number }>; port: number; reactor: Reactor } {
  const socket = Socket.open(AF_INET6, SOCK_STREAM)
  setOption(socket, IPV6_V6ONLY, false)
  socket.bind({ family: 'ipv6', address: '::', port: 0 })
  socket.listen()
  const reactor = new Reactor()
  const server = serve(
    reactor,
    socket,
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

  it('refuses a socket that does not listen, and leaves it to its owner', () => {
    using reactor = new Reactor()
    using socket = Socket.open(AF_INET, SOCK_STREAM)
    expect(() => serve(reactor, socket, { data: () => {} })).toThrow(TypeError)
    expect(socket.closed).toBe(false)
  })
})
