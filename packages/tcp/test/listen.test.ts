import { once } from 'node:events'
import { connect as netConnect } from 'node:net'
import { getOption, type InetAddress, setOption } from '@linux-sockets/native-core'
import { expectErrno, guardDescriptors, needProgram, runProgram, runPython, skipUnless } from '@linux-sockets/testkit'
import { describe, expect, it } from 'vitest'
import { connect, listen, TCP_DEFER_ACCEPT, TCP_MAXSEG, tcpInfo } from '../src/index.js'
import { anyPort } from './loopback.js'

guardDescriptors()

const anyPort6 = { family: 'ipv6', address: '::', port: 0 } as const

describe('listen', () => {
  it('serves clients not written here', async () => {
    await using server = listen(anyPort)
    server.run((stream) => stream.pipe(stream))
    const { port } = server.address as InetAddress
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

  it('serves curl', async (test) => {
    skipUnless(test, needProgram('curl'))
    await using server = listen(anyPort)
    server.run((stream) => {
      stream.once('data', () => stream.end('HTTP/1.0 200 OK\r\n\r\nhello from a stream'))
    })
    const url = `http://127.0.0.1:${(server.address as InetAddress).port}/`
    expect(await runProgram('curl', ['-s', '--noproxy', '*', url])).toBe('hello from a stream')
  })

  it('is iterated over', async () => {
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

  it('takes the backlog', async () => {
    await using server = listen(anyPort, { backlog: 5 })
    expect(tcpInfo(server)).toMatchObject({ state: 'LISTEN', sacked: 5 })
  })

  it('sets options before it binds, which connections inherit', async () => {
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

  it('shares a port only where every listener says so', async () => {
    await using first = listen(anyPort, { reusePort: true })
    await using second = listen(first.address as InetAddress, { reusePort: true })
    expect(second.address).toEqual(first.address)
    expectErrno(() => listen(first.address as InetAddress), 'EADDRINUSE')
  })

  it('keeps IPv4 out of an IPv6 address, so that both can be listened at', async () => {
    await using six = listen(anyPort6)
    const { port } = six.address as InetAddress
    await using four = listen({ ...anyPort, address: '0.0.0.0', port })
    expect(four.address).toMatchObject({ family: 'ipv4', port })
  })

  it('is dual-stack when asked', async () => {
    await using server = listen(anyPort6, { v6only: false })
    const client = netConnect((server.address as InetAddress).port, '127.0.0.1')
    for await (const stream of server) {
      expect(stream.remoteAddress).toBe('::ffff:127.0.0.1')
      stream.resume().end()
      break
    }
    await once(client.resume().end(), 'close')
  })

  it('closes what it opened when it fails', () => {
    expectErrno(() => listen({ ...anyPort, address: '192.0.2.1' }), 'EADDRNOTAVAIL')
    expect(() => listen(anyPort, { backlog: Number.NaN })).toThrow(TypeError)
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
