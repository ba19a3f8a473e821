import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { connect } from 'node:net'
import { join } from 'node:path'
import { buffer } from 'node:stream/consumers'
import { getOption } from '@linux-sockets/native-core'
import { IPV6_V6ONLY, SO_KEEPALIVE, SO_PROTOCOL, SO_REUSEADDR, SO_REUSEPORT } from '@linux-sockets/native-core/options'
import {
  expectErrno,
  guardDescriptors,
  needProgram,
  skipUnless,
  temporaryDirectory,
  withFault,
} from '@linux-sockets/testkit'
import { expect, expectTypeOf, it } from 'vitest'
import {
  type AddressFor,
  type Connection,
  type InetAddress,
  listen,
  Reactor,
  type Server,
  type Socket,
  type SocketAddress,
  setOption,
  type UnixAddress,
} from '../src/index.js'

guardDescriptors()

const echo = { data: (connection: Connection, chunk: Buffer) => void connection.write(chunk) }

it.each(['127.0.0.1:0', { family: 'ipv4', address: '127.0.0.1', port: 0 } as const])(
  'serves at %o',
  async (address) => {
    using reactor = new Reactor()
    const server = listen(reactor, address, echo)
    const client = connect((server.address as InetAddress).port, '127.0.0.1')
    client.end('x')
    expect(String(await buffer(client))).toBe('x')
    await server.drain()
    expect(server.statistics).toMatchObject({ accepted: 1, bytesRead: 1 })
  },
)

it('knows the type of its addresses', () => {
  using reactor = new Reactor()
  const inet = listen(reactor, { family: 'ipv4', address: '127.0.0.1', port: 0 }, echo)
  expectTypeOf(inet).toEqualTypeOf<Server<undefined, InetAddress>>()
  const unix = listen(
    reactor,
    { family: 'unix', abstract: `epoll listen ${process.pid}` },
    { state: () => 5, data: ({ peerName }) => expectTypeOf(peerName).toEqualTypeOf<UnixAddress | undefined>() },
  )
  expectTypeOf(unix).toEqualTypeOf<Server<number, UnixAddress>>()

  expectTypeOf<AddressFor<'127.0.0.1:0'>>().toEqualTypeOf<InetAddress>()
  expectTypeOf<AddressFor<`127.0.0.1:${number}`>>().toEqualTypeOf<InetAddress>()
  expectTypeOf<AddressFor<'[fe80::1%eth0]:80'>>().toEqualTypeOf<InetAddress>()
  for (const path of ['/run/x:1', './x', '../x', '@x:1'] as const) {
    expectTypeOf<AddressFor<typeof path>>().toEqualTypeOf<UnixAddress>()
  }
  expectTypeOf<AddressFor<string>>().toEqualTypeOf<SocketAddress>()
  expectTypeOf<AddressFor<Uint8Array>>().toEqualTypeOf<SocketAddress>()
})

it('sets the options of its socket before bind, by default as documented', () => {
  using reactor = new Reactor()
  const seen: unknown[] = []
  const prepare = (socket: Socket) => {
    setOption(socket, SO_KEEPALIVE, true)
    expect(socket.localName).toMatchObject({ port: 0 })
    seen.push([getOption(socket, SO_REUSEADDR), getOption(socket, SO_REUSEPORT), getOption(socket, IPV6_V6ONLY)])
  }
  listen(reactor, '[::1]:0', echo, { prepare })
  listen(reactor, '[::1]:0', echo, { prepare, reuseAddress: false, reusePort: true, v6only: false })
  expect(seen).toEqual([
    [true, false, true],
    [false, true, false],
  ])
})

it('passes the protocol on', () => {
  using reactor = new Reactor()
  let protocol: number | undefined
  listen(reactor, '127.0.0.1:0', echo, {
    protocol: 6,
    prepare: (socket) => (protocol = getOption(socket, SO_PROTOCOL)),
  })
  expect(protocol).toBe(6)
  expectErrno(() => listen(reactor, '127.0.0.1:0', echo, { protocol: 17 }), 'EPROTONOSUPPORT')
})

it('shares a port by SO_REUSEPORT, and otherwise refuses one that is in use', () => {
  using reactor = new Reactor()
  const { address } = listen(reactor, '127.0.0.1:0', echo, { reusePort: true })
  expectErrno(() => listen(reactor, address, echo), 'EADDRINUSE')
  expect(listen(reactor, address, echo, { reusePort: true }).address).toEqual(address)
})

it('limits the backlog', async () => {
  using reactor = new Reactor()
  const path = join(temporaryDirectory(), 'socket')
  const server = listen(reactor, path, echo, { backlog: 0 }).pause()
  const first = connect(path)
  await once(first, 'connect')
  const [error] = await once(connect(path), 'error')
  expect(error.code).toBe('EAGAIN')
  server.resume()
  first.end()
  await buffer(first)
  await server.drain()
})

it('ignores the options of TCP at a Unix address, and leaves no file when it fails', () => {
  using reactor = new Reactor()
  const path = join(temporaryDirectory(), 'socket')
  const server = listen(reactor, path, echo, { reuseAddress: true, reusePort: true, v6only: true })
  expect(server.address).toEqual({ family: 'unix', path })
  server.close()
  expectErrno(() => listen(reactor, path, echo), 'EADDRINUSE')
  expect(existsSync(path)).toBe(true)
  reactor.close()
  expectErrno(() => listen(reactor, `${path}2`, echo), 'EBADF')
  expect(() => listen(reactor, `${path}2`, echo)).toThrow('(the reactor is closed)')
  expect(existsSync(`${path}2`)).toBe(false)
})

it.for(['listen', 'getsockname'])('leaves no file when %s fails', async (call, test) => {
  skipUnless(test, needProgram('strace'))
  using reactor = new Reactor()
  const path = join(temporaryDirectory(), 'socket')
  const { outcome } = await withFault(`${call}:error=ENOBUFS`, () => void listen(reactor, path, echo))
  expect(existsSync(path)).toBe(outcome.status === 'fulfilled')
})

it('leaves nothing open when it fails', () => {
  using reactor = new Reactor()
  const prepare = () => {
    throw new Error('from prepare')
  }
  expect(() => listen(reactor, '127.0.0.1:0', echo, { prepare })).toThrow('from prepare')
  expectErrno(() => listen(reactor, '192.0.2.1:0', echo), 'EADDRNOTAVAIL')
  expect(() => listen(reactor, '127.0.0.1:0', echo, { idleTimeout: 0 })).toThrow(RangeError)
  expect(() => listen(reactor, '127.0.0.1:0', echo, { highWaterMark: 1 << 26 })).toThrow(
    'lowWaterMark ≤ highWaterMark ≤ maxQueuedBytes must hold, not 16777216 ≤ 67108864 ≤ 16777216',
  )
})
