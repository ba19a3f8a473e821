import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { connect as netConnect } from 'node:net'
import { resolve } from 'node:path'
import { setImmediate } from 'node:timers/promises'
import { type AsFd, encodeAddress, getOption, type InetAddress, setOption } from '@linux-sockets/native-core'
import { AF_INET, AF_INET6 } from '@linux-sockets/native-core/constants'
import { IPV6_V6ONLY, SO_DOMAIN } from '@linux-sockets/native-core/options'
import type { SocketStream } from '@linux-sockets/native-core/streams'
import {
  createNamespace,
  expectErrno,
  guardDescriptors,
  needNamespaces,
  needProgram,
  openDescriptors,
  runProgram,
  runPython,
  skipUnless,
} from '@linux-sockets/testkit'
import { describe, expect, expectTypeOf, it } from 'vitest'
import { connect, listen, TCP_DEFER_ACCEPT, TCP_MAXSEG, tcpInfo } from '../src/index.js'
import { anyPort } from './loopback.js'

guardDescriptors()

const anyPort6 = { family: 'ipv6', address: '::', port: 0 } as const
const loopback6 = { family: 'ipv6', address: '::1', port: 0 } as const

describe('descriptors that other code has closed', () => {
  it('do not keep a server from draining and closing the rest, and no handler is called twice', async () => {
    const said = await runProgram(process.execPath, ['--input-type=module', '--eval', LOST_CONNECTIONS], {
      cwd: resolve(import.meta.dirname, '..'),
    })
    expect(said).toBe('10 reset in 10 calls\n7 clients saw it\ntrue 0\n')
  })

  it('do not keep relay and connect from settling and closing the rest', async () => {
    const said = await runProgram(process.execPath, ['--input-type=module', '--eval', LOST_OTHERS], {
      cwd: resolve(import.meta.dirname, '..'),
    })
    expect(said).toBe('relay AbortError true true\nconnect AbortError 0\n')
  })
})

const LOST_CONNECTIONS = `
import { closeSync, openSync } from 'node:fs'
import { connect } from 'node:net'
import { listen } from '@linux-sockets/tcp'
// Numbers that are free later, for what is opened meanwhile: the lost ones stay lost.
const low = [1, 2, 3, 4].map(() => openSync('/dev/null'))
const server = listen({ family: 'ipv4', address: '127.0.0.1', port: 0 })
const streams = []
let calls = 0
let resets = 0
const clients = Array.from({ length: 10 }, () => connect(server.address.port, '127.0.0.1'))
const seen = clients.map((client) => new Promise((resolve) => {
  client.on('error', ({ code }) => resets += code === 'ECONNRESET').on('close', resolve).resume()
}))
await new Promise((resolve) => {
  server.run((stream) => {
    stream.on('close', () => calls++)
    if (streams.push(stream) === 10) resolve()
  })
})
for (const fd of low) closeSync(fd)
for (const { fd } of streams.slice(2, 5)) closeSync(fd)
console.log(await server.drain({ timeout: 20 }), 'reset in', calls, 'calls')
await Promise.all(seen)
console.log(resets, 'clients saw it')
console.log(server.closed, server.connections.size)
`

const LOST_OTHERS = `
import { closeSync, openSync } from 'node:fs'
import { Socket, writable } from '@linux-sockets/native-core'
import { AF_INET, SOCK_STREAM } from '@linux-sockets/native-core/constants'
import { connect, relay } from '@linux-sockets/tcp'
// Numbers that are free later, for what is opened meanwhile: the lost ones stay lost.
const low = [1, 2, 3, 4].map(() => openSync('/dev/null'))
const [[a, client], [b, upstream]] = [Socket.pair(), Socket.pair()]
const controller = new AbortController()
const relayed = relay(a, b, { signal: controller.signal }).catch(({ name }) => name)
await new Promise((resolve) => setImmediate(resolve))
for (const fd of low.splice(0, 2)) closeSync(fd)
closeSync(a.fd)
controller.abort()
console.log('relay', await relayed, a.closed, b.closed)
client.close()
upstream.close()
// Its backlog is full, so that further attempts hang.
const listening = Socket.open(AF_INET, SOCK_STREAM)
listening.bind({ family: 'ipv4', address: '0.0.0.0', port: 0 })
listening.listen(0)
const { port } = listening.localName
const first = Socket.open(AF_INET, SOCK_STREAM)
first.connect({ family: 'ipv4', address: '127.0.0.1', port })
await writable(first)
const opened = []
const giveUp = new AbortController()
const hanging = ['127.0.0.1', '127.0.0.2', '127.0.0.3'].map((address) => ({ family: 'ipv4', address, port }))
const connecting = connect(hanging, {
  signal: giveUp.signal,
  attemptDelay: 10,
  prepare: (socket) => opened.push(socket),
}).catch(({ name }) => name)
while (opened.length < 3) await new Promise((resolve) => setTimeout(resolve, 1))
for (const fd of low) closeSync(fd)
closeSync(opened[0].fd)
giveUp.abort()
console.log('connect', await connecting, opened.filter(({ closed }) => !closed).length)
for (const socket of [listening, first]) socket.close()
`

it('drain settles even if another ‘close’ listener throws', async () => {
  const said = await runProgram(
    process.execPath,
    [
      '--input-type=module',
      '--eval',
      `
      import { connect, listen } from '@linux-sockets/tcp'
      process.on('uncaughtException', ({ message }) => console.log(message))
      const server = listen('127.0.0.1:0')
      const accepted = new Promise((resolve) => server.run((stream) => {
        stream.on('close', () => { throw new Error('mine') })
        resolve()
      }))
      const client = await connect('127.0.0.1:' + server.address.port)
      client.on('error', () => {})
      await accepted
      console.log(await server.drain({ timeout: 1 }))
      process.exit()`,
    ],
    { cwd: resolve(import.meta.dirname, '..') },
  )
  expect(said.split('\n').sort().join(' ').trim()).toBe('1 mine')
})

describe('listen', () => {
  it('serves clients of other implementations', async () => {
    await using server = listen(anyPort)
    server.run((stream) => stream.pipe(stream))
    const { port } = server.address
    const script = `
import socket, sys
with socket.create_connection(('127.0.0.1', int(sys.argv[1]))) as s:
    s.sendall(b'x' * 200000)
    s.shutdown(socket.SHUT_WR)
    total = 0
    while chunk := s.recv(65536): total += len(chunk)
    print(total)`
    expect(await runPython(script, String(port))).toBe('200000\n')
  })

  it('accepts text, for one address or several', async () => {
    await using one = listen('[::1]:0')
    expect(one.address).toMatchObject({ family: 'ipv6', address: '::1' })
    await using several = listen(['[::1]:0', anyPort])
    expect(several.addresses).toMatchObject([{ address: '::1' }, { address: '127.0.0.1' }])
    for (const server of [one, several]) {
      server.run((stream) => stream.end('hello'))
      const stream = await connect(`[::1]:${server.address.port}`)
      expect(String(await stream.toArray())).toBe('hello')
    }
    expect(() => listen('::1')).toThrow(/^address must be an IP address with its port \(.*"::1"$/)
    expect(() => listen(['127.0.0.1:0', 'x'])).toThrow(TypeError)
  })

  it('serves curl', async (test) => {
    skipUnless(test, needProgram('curl'))
    await using server = listen(anyPort)
    server.run((stream) => {
      stream.once('data', () => stream.end('HTTP/1.0 200 OK\r\n\r\nhello from a stream'))
    })
    const url = `http://127.0.0.1:${server.address.port}/`
    expect(await runProgram('curl', ['-s', '--noproxy', '*', url])).toBe('hello from a stream')
  })

  it('can be iterated over', async () => {
    await using server = listen(anyPort)
    const clients = [await connect(server.address), await connect(server.address)]
    const expected = clients.map(({ localPort }) => localPort)
    const closed = Promise.all(clients.map((client) => once(client.resume(), 'close')))
    const ports: (number | undefined)[] = []
    for await (const stream of server) {
      ports.push(stream.remotePort)
      stream.resume().end()
      if (ports.length === clients.length) break
    }
    expect(ports).toEqual(expected)
    await closed
  })

  it('passes on the backlog', async () => {
    await using server = listen(anyPort, { backlog: 5 })
    expect(tcpInfo(server)).toMatchObject({ state: 'LISTEN', sacked: 5 })
  })

  it('sets options before it binds, and connections inherit them', async () => {
    await using server = listen(anyPort, {
      prepare: (socket) => {
        setOption(socket, TCP_DEFER_ACCEPT, 3)
        setOption(socket, TCP_MAXSEG, 1000)
      },
    })
    expect(getOption(server, TCP_DEFER_ACCEPT)).toBe(3)
    const client = await connect(server.address)
    client.end('first data')
    for await (const stream of server) {
      expect(getOption(stream, TCP_MAXSEG)).toBeLessThanOrEqual(1000)
      expect(String(await stream.toArray())).toBe('first data')
      break
    }
    await once(client.resume(), 'close')
  })

  it('shares a port only if every listener allows it', async () => {
    await using first = listen(anyPort, { reusePort: true })
    await using second = listen(first.address, { reusePort: true })
    expect(second.address).toEqual(first.address)
    expectErrno(() => listen(first.address as InetAddress), 'EADDRINUSE')
  })

  it('keeps IPv4 out of an IPv6 address', async () => {
    await using server = listen(anyPort6)
    expect(getOption(server, IPV6_V6ONLY)).toBe(true)
  })

  it('is dual-stack if requested', async () => {
    await using server = listen(anyPort6, { v6only: false })
    const client = netConnect(server.address.port, '127.0.0.1')
    for await (const stream of server) {
      expect(stream.remoteAddress).toBe('::ffff:127.0.0.1')
      stream.resume().end()
      break
    }
    await once(client.resume().end(), 'close')
  })

  it('has exact types of its addresses and connections', () => {
    using server = listen(anyPort)
    expectTypeOf(server.address).toEqualTypeOf<InetAddress>()
    expectTypeOf(server.addresses).toEqualTypeOf<InetAddress[]>()
    expectTypeOf(server.connections).toEqualTypeOf<ReadonlySet<SocketStream<InetAddress>>>()
    expectTypeOf(server.run).parameter(0).parameter(0).toEqualTypeOf<SocketStream<InetAddress>>()
    expect(server.address.port).toBeGreaterThan(0)
  })

  it('closes the first sockets if a later one fails', () => {
    const before = openDescriptors().length
    const foreign = { ...anyPort, address: '192.0.2.1' }
    expectErrno(() => listen([anyPort, { ...anyPort, address: '127.0.0.2' }, foreign]), 'EADDRNOTAVAIL')
    let prepared = 0
    const prepare = () => {
      if (++prepared === 2) throw new Error('a mistake')
    }
    expect(() => listen([anyPort, { ...anyPort, address: '127.0.0.2' }], { prepare })).toThrow('a mistake')
    const budget = { budget: 0 }
    expect(() => listen([anyPort, { ...anyPort, address: '127.0.0.2' }], budget)).toThrow(RangeError)
    expect(openDescriptors()).toHaveLength(before)
  })

  it('closes what it opened when it fails', () => {
    expectErrno(() => listen({ ...anyPort, address: '192.0.2.1' }), 'EADDRNOTAVAIL')
    expectErrno(() => listen([anyPort, { ...anyPort, address: '192.0.2.1' }]), 'EADDRNOTAVAIL')
    expect(() => listen(anyPort, { backlog: Number.NaN })).toThrow(TypeError)
    expect(() => listen(anyPort, { backlog: -1 })).toThrow(RangeError)
    expect(() => listen([])).toThrow(TypeError)
    expect(() => listen([anyPort, null as unknown as InetAddress])).toThrow(TypeError)
    expect(() => listen({ ...anyPort, port: 65_536 })).toThrow(RangeError)
    expect(() => listen('127.0.0.1' as unknown as InetAddress)).toThrow(TypeError)
    const mistake = new Error('a mistake')
    const prepare = () => {
      throw mistake
    }
    expect(() => listen(anyPort, { prepare })).toThrow(mistake)
  })

  it('is closed by its signal', async () => {
    const controller = new AbortController()
    const server = listen(anyPort, { signal: controller.signal })
    const running = server.run(() => {})
    controller.abort()
    await running
    expect(server.closed).toBe(true)
  })
})

describe('several addresses', () => {
  it('are served by one call, at one port', async () => {
    const prepared: unknown[] = []
    await using server = listen([loopback6, anyPort, { ...anyPort, address: '127.0.0.2' }], {
      prepare: (socket) => prepared.push([getOption(socket, SO_DOMAIN), (socket.localName as InetAddress).port]),
    })
    const { port } = server.address
    expect(port).not.toBe(0)
    expect(server.addresses).toMatchObject([
      { address: '::1', port },
      { address: '127.0.0.1', port },
      { address: '127.0.0.2', port },
    ])
    // `listen` begins anew when one of the addresses has that port in use already.
    expect(prepared.slice(-3)).toEqual([
      [AF_INET6, 0],
      [AF_INET, 0],
      [AF_INET, 0],
    ])
    server.run((stream) => stream.end(`you are ${stream.remoteAddress}`).resume())
    const script = `
import socket, sys
for host in '::1', '127.0.0.1', '127.0.0.2':
    with socket.create_connection((host, int(sys.argv[1]))) as s: print(s.makefile().read())`
    expect(await runPython(script, String(port))).toBe('you are ::1\nyou are 127.0.0.1\nyou are 127.0.0.1\n')
    expect(server.statistics.accepted).toBe(3)
  })

  it('may be any address of both families, since IPV6_V6ONLY is set', async () => {
    await using server = listen([anyPort6, { ...anyPort, address: '0.0.0.0' }])
    expect(getOption(server.sockets[0] as AsFd, IPV6_V6ONLY)).toBe(true)
    expect(server.addresses).toMatchObject([{ family: 'ipv6' }, { family: 'ipv4' }])
  })

  it('keep the requested ports, and may be encoded', async () => {
    await using first = listen([anyPort])
    const { port } = first.address
    // No connection of another test has this address, so none has the port there.
    const address = '127.12.34.56'
    await using second = listen(new Set([encodeAddress({ ...anyPort, address, port }), anyPort]))
    expect(second.addresses[0]).toMatchObject({ address, port })
    expect(second.addresses[1]).not.toMatchObject({ port })
    // The caller's addresses are not written to.
    const encoded = encodeAddress(anyPort)
    listen([loopback6, encoded]).close()
    expect(encoded).toEqual(encodeAddress(anyPort))
  })

  it('get another port if the chosen one is in use at one of them', async (test) => {
    skipUnless(test, needNamespaces())
    const namespace = createNamespace()
    await namespace.run('sysctl', ['-w', 'net.ipv4.ip_local_port_range=40000 40011'])
    const program = `
      import { readdirSync } from 'node:fs'
      import { listen } from '@linux-sockets/tcp'
      const at = (port) => ({ family: 'ipv4', address: '127.0.0.1', port })
      const ports = Array.from({ length: 12 }, (_, i) => 40000 + i).filter((port) => port !== 40002)
      const taken = ports.map((port) => listen(at(port)))
      const both = [{ family: 'ipv6', address: '::1', port: 0 }, at(0)]
      for (let round = 0; round < 10; round++) {
        const server = listen(both)
        console.log(...server.addresses.map(({ port }) => port), server.sockets.length)
        server.close()
      }
      taken.push(listen(at(40002)))
      const before = readdirSync('/proc/self/fd').length
      try { listen(both) } catch ({ code }) { console.log(code) }
      console.log(readdirSync('/proc/self/fd').length - before)
      for (const server of taken) server.close()`
    const cwd = resolve(import.meta.dirname, '..')
    const said = await namespace.run(process.execPath, ['--input-type=module', '--eval', program], { cwd })
    expect(said).toBe(`${'40002 40002 2\n'.repeat(10)}EADDRINUSE\n0\n`)
  })
})

describe('a server', () => {
  it('reports its effective backlog, and how many connections wait', async () => {
    const most = Number(readFileSync('/proc/sys/net/core/somaxconn', 'utf8'))
    await using server = listen([loopback6, anyPort], { backlog: 2 ** 31 - 1 })
    expect(server.backlog).toBe(most)
    const clients = [await connect(server.addresses), await connect(server.addresses[1] as InetAddress)]
    await expect.poll(() => server.waiting).toBe(2)
    for await (const stream of server) {
      stream.destroy()
      break
    }
    expect(server.waiting).toBe(1)
    await Promise.all(clients.map((client) => once(client.destroy(), 'close')))
  })

  it('knows its connections', async () => {
    await using server = listen([loopback6, anyPort])
    const clients = [
      await connect(server.addresses[0] as InetAddress),
      await connect(server.addresses[1] as InetAddress),
    ]
    const accepted = new Set<SocketStream>()
    for await (const stream of server) {
      accepted.add(stream.resume())
      if (accepted.size === 2) break
    }
    expect(server.connections).toEqual(accepted)
    for (const client of clients) client.resume().end()
    await Promise.all([...accepted].map((stream) => once(stream, 'close')))
    expect(server.connections.size).toBe(0)
  })

  it('pauses and resumes at all addresses', async () => {
    await using server = listen([loopback6, anyPort])
    server.run((stream) => stream.end().resume())
    server.pause()
    const clients = await Promise.all(server.addresses.map((address) => connect(address)))
    for (let i = 0; i < 10; i++) await setImmediate()
    expect(server.statistics.accepted).toBe(0)
    server.resume()
    await Promise.all(clients.map((client) => once(client.resume().end(), 'close')))
    expect(server.statistics.accepted).toBe(2)
  })

  it('lets accepted connections finish, and accepts no further one', async () => {
    const server = listen([loopback6, anyPort])
    const running = server.run((stream) => stream.pipe(stream))
    const client = await connect(server.address)
    client.write('before')
    await once(client, 'data')
    const { addresses } = server
    let drained = false
    const draining = server.drain({ timeout: 60_000 }).then((resets) => {
      drained = true
      return resets
    })
    await running
    for (const address of addresses) await expectErrno(() => connect(address), 'ECONNREFUSED')
    client.end('after')
    expect(drained).toBe(false)
    expect(String(Buffer.concat(await client.toArray()))).toBe('after')
    expect(await draining).toBe(0)
    expect(server.connections.size).toBe(0)
    expect(await server.drain()).toBe(0)
  })

  it('resets connections that have not finished in time', async () => {
    const server = listen(anyPort)
    server.run((stream) => stream.resume())
    const clients = [await connect(server.address), await connect(server.address)]
    await expect.poll(() => server.connections.size).toBe(2)
    const failures = clients.map((client) => once(client, 'error'))
    expect(await server.drain({ timeout: 20 })).toBe(2)
    for (const [error] of await Promise.all(failures)) expect(error.code).toBe('ECONNRESET')
  })

  it('goes on if the timeout of drain is invalid', async () => {
    await using server = listen(anyPort)
    await expect(server.drain({ timeout: Number.NaN })).rejects.toThrow(TypeError)
    await expect(server.drain({ timeout: -1 })).rejects.toThrow(RangeError)
    expect(server.closed).toBe(false)
  })
})
