import { once } from 'node:events'
import { existsSync, rmSync } from 'node:fs'
import { connect as netConnect } from 'node:net'
import { join } from 'node:path'
import { Socket, type UnixAddress } from '@linux-sockets/native-core'
import { AF_UNIX, SOCK_STREAM } from '@linux-sockets/native-core/constants'
import type { SocketStream } from '@linux-sockets/native-core/streams'
import { expectErrno, guardDescriptors, runPython, temporaryDirectory } from '@linux-sockets/testkit'
import { describe, expect, expectTypeOf, it } from 'vitest'
import { connect, listen, Server, unixPair } from '../src/index.js'

guardDescriptors()

describe('listen', () => {
  it('serves node:net at a path', async () => {
    const path = join(temporaryDirectory(), 'server.sock')
    await using server = listen({ family: 'unix', path })
    expect(server.address).toEqual({ family: 'unix', path })
    server.run((stream) => stream.pipe(stream))
    const client = netConnect(path)
    client.end('over and back')
    expect(String(await client.toArray())).toBe('over and back')
  })

  it('serves Python at an abstract name of any bytes', async () => {
    const abstract = Uint8Array.of(0, 0xff, 1, ...Buffer.from(String(process.hrtime.bigint())))
    await using server = listen({ family: 'unix', abstract })
    server.run((stream) => stream.end('hello'))
    const script = `
import socket, sys
s = socket.socket(socket.AF_UNIX)
s.connect(b'\\0' + bytes.fromhex(sys.argv[1]))
print(s.recv(100).decode(), s.recv(100))`
    expect(await runPython(script, Buffer.from(abstract).toString('hex'))).toBe("hello b''\n")
  })

  it('lets the kernel choose a name', async () => {
    await using server = listen({ family: 'unix' })
    expectTypeOf(server).toEqualTypeOf<Server>()
    expectTypeOf(server.address).toEqualTypeOf<UnixAddress>()
    expectTypeOf(server.connections).toEqualTypeOf<ReadonlySet<SocketStream<UnixAddress>>>()
    expectTypeOf(connect).returns.resolves.toEqualTypeOf<SocketStream<UnixAddress>>()
    expectTypeOf(unixPair).returns.toEqualTypeOf<[Socket<UnixAddress>, Socket<UnixAddress>]>()
    expect(server.address).toEqual({ family: 'unix', abstract: expect.stringMatching(/^[0-9a-f]{5}$/) })
  })

  it('refuses a path that is in use, even by a closed listener', async () => {
    const path = join(temporaryDirectory(), 'server.sock')
    const address = { family: 'unix', path } as const
    const first = listen(address)
    expectErrno(() => listen(address), 'EADDRINUSE')
    first.close()
    expectErrno(() => listen(address), 'EADDRINUSE')
    rmSync(path)
    listen(address).close()
  })

  it('closes what it opened when it fails', () => {
    expectErrno(() => listen({ family: 'unix', path: join(temporaryDirectory(), 'none/server.sock') }), 'ENOENT')
    expect(() => listen({ family: 'unix', path: 'x'.repeat(109) })).toThrow(RangeError)
    expect(() => listen({ family: 'unix', path: 'with\0nul' })).toThrow(TypeError)
    const inet = { family: 'ipv4', address: '127.0.0.1', port: 0 } as unknown as UnixAddress
    expect(() => listen(inet)).toThrow(TypeError)
    expect(() => listen({ family: 'unix' }, { backlog: Number.NaN })).toThrow(TypeError)
  })

  it('is closed by its signal', () => {
    const controller = new AbortController()
    const server = listen({ family: 'unix' }, { signal: controller.signal })
    controller.abort()
    expect(server.closed).toBe(true)
  })

  it('lets accepted connections finish, and accepts no further one', async () => {
    const server = listen({ family: 'unix' })
    const { address } = server
    const running = server.run((stream) => stream.pipe(stream))
    const client = await connect(address)
    client.write('before')
    await once(client, 'data')
    expect(server.connections.size).toBe(1)
    let drained = false
    const draining = server.drain({ timeout: 60_000 }).finally(() => {
      drained = true
    })
    await running
    await expectErrno(() => connect(address), 'ECONNREFUSED')
    client.end('after')
    expect(drained).toBe(false)
    expect(String(Buffer.concat(await client.toArray()))).toBe('after')
    expect(await draining).toBe(0)
    expect(server.connections.size).toBe(0)
    expect(await server.drain()).toBe(0)
  })

  it('closes connections that have not finished in time', async () => {
    const server = listen({ family: 'unix' })
    server.run((stream) => stream.resume())
    const clients = [await connect(server.address), await connect(server.address)]
    await expect.poll(() => server.connections.size).toBe(2)
    expect(await server.drain({ timeout: 20 })).toBe(2)
    for (const client of clients) expect(await client.toArray()).toEqual([])
  })

  it('leaves no file behind when it fails', async () => {
    const path = join(temporaryDirectory(), 'x.sock')
    expect(() => listen(path, { budget: 0 })).toThrow(RangeError)
    expect(existsSync(path)).toBe(false)
    await using listener = listen(path)
    expect(listener.address).toEqual({ family: 'unix', path })
    // A file of another socket stays.
    expectErrno(() => listen(path), 'EADDRINUSE')
    expect(existsSync(path)).toBe(true)
  })
})

it('Server takes over a socket that listens already', async () => {
  const socket = Socket.open(AF_UNIX, SOCK_STREAM)
  socket.bind({ family: 'unix' })
  socket.listen()
  await using server = new Server(socket, { stream: { allowHalfOpen: true } })
  server.run((stream) => stream.pipe(stream))
  const client = await connect(server.address)
  client.end('over and back')
  expect(String(Buffer.concat(await client.toArray()))).toBe('over and back')
})
