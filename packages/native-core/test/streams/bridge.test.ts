import dgram from 'node:dgram'
import { once } from 'node:events'
import fs from 'node:fs'
import { createServer as createHttpServer, get } from 'node:http'
import net from 'node:net'
import { Duplex } from 'node:stream'
import { text } from 'node:stream/consumers'
import { setImmediate } from 'node:timers/promises'
import tls from 'node:tls'
import {
  expectErrno,
  guardDescriptors,
  needProgram,
  openDescriptors,
  runProgram,
  skipUnless,
  temporaryDirectory,
} from '@linux-sockets/testkit'
import { describe, expect, it, onTestFinished, vi } from 'vitest'
import {
  AF_INET,
  AF_INET6,
  AF_NETLINK,
  AF_UNIX,
  EPOLLIN,
  F_GETFD,
  SHUT_WR,
  SOCK_DGRAM,
  SOCK_RAW,
  SOCK_SEQPACKET,
  SOCK_STREAM,
} from '../../src/constants.js'
import { errno, fcntl, getOption, isNonBlocking, readable, Socket, setOption, watch } from '../../src/index.js'
import { native } from '../../src/native.js'
import { SO_KEEPALIVE, SO_RCVBUF, SO_REUSEADDR } from '../../src/options/index.js'
import { borrow, SocketStream, toDgramSocket, toNetServer, toNetSocket } from '../../src/streams/index.js'
import { compileSources, openFile, runModule } from '../outside.js'

guardDescriptors()
compileSources()

describe('borrow', () => {
  it('lends the descriptor of a net.Socket and of a net.Server', async () => {
    const server = net.createServer()
    expectErrno(() => borrow(server), 'EBADF')
    expect(() => borrow(server)).toThrow("wait for 'listening'")
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    const lent = borrow(server)
    expect(Socket.adopt(lent.fd).release()).toBe(lent.fd)
    expect(openDescriptors().find(({ fd }) => fd === lent.fd)?.target).toMatch(/^socket:/)

    const unconnected = new net.Socket()
    expect(() => borrow(unconnected)).toThrow("wait for 'connect'")
    const { port } = server.address() as net.AddressInfo
    const client = net.connect(port, '127.0.0.1')
    const [accepted] = (await once(server, 'connection')) as [net.Socket]
    if (client.connecting) await once(client, 'connect')
    for (const socket of [client, accepted]) {
      setOption(borrow(socket), SO_KEEPALIVE, true)
      expect(getOption(borrow(socket), SO_KEEPALIVE)).toBe(true)
    }
    const lentClient = borrow(client)
    accepted.destroy()
    client.destroy()
    await once(client, 'close')
    expect(lentClient.fd).toBe(-1)
    expectErrno(() => getOption(lentClient, SO_KEEPALIVE), 'EBADF')
    expectErrno(() => borrow(client), 'EBADF')

    server.close()
    await once(server, 'close')
    expect(lent.fd).toBe(-1)
  })

  it('lends it only for a call: nothing closes it', async () => {
    const server = net.createServer().listen(0)
    await once(server, 'listening')
    const lent = borrow(server)
    expect(Object.keys(lent)).toEqual(['fd'])
    expect('close' in lent).toBe(false)
    server.close()
    await once(server, 'close')
  })

  it('lends the descriptor of a Unix socket and of its server', async () => {
    const path = `${temporaryDirectory()}/s`
    const server = net.createServer((socket) => socket.end('hello')).listen(path)
    await once(server, 'listening')
    const client = net.connect(path)
    await once(client, 'connect')
    expect(look(Socket.adopt(borrow(client).fd), (socket) => socket.peerName)).toEqual({ family: 'unix', path })
    expect(look(Socket.adopt(borrow(server).fd), (socket) => socket.localName)).toEqual({ family: 'unix', path })
    expect(await text(client)).toBe('hello')
    server.close()
    await once(server, 'close')
  })

  it('lends the descriptor of a tls.TLSSocket, and refuses a TLSSocket over another stream', async () => {
    // It never answers, so the handshake goes on until the client gives up.
    const server = net.createServer((socket) => socket.resume()).listen(0, '127.0.0.1')
    await once(server, 'listening')
    const client = tls.connect((server.address() as net.AddressInfo).port, '127.0.0.1')
    client.on('error', () => {})
    expectErrno(() => borrow(client), 'EBADF')
    await once(client, 'connect')
    setOption(borrow(client), SO_KEEPALIVE, true)
    expect(getOption(borrow(client), SO_KEEPALIVE)).toBe(true)
    const lent = borrow(client)
    client.destroy()
    await once(client, 'close')
    expect(lent.fd).toBe(-1)
    server.close()
    await once(server, 'close')

    const nowhere = new Duplex({ read() {}, write: (_chunk, _encoding, done) => done() })
    const wrapped = tls.connect({ socket: nowhere })
    wrapped.on('error', () => {})
    expectErrno(() => borrow(wrapped), 'EBADF')
    wrapped.destroy()
    await once(wrapped, 'close')
  })

  it('lends the descriptor of an http server, of its requests and of its responses', async () => {
    const size = 50_000
    const server = createHttpServer((request, response) => {
      setOption(borrow(request.socket), SO_RCVBUF, size)
      response.end(String(getOption(borrow(request.socket), SO_RCVBUF)))
    }).listen(0, '127.0.0.1')
    await once(server, 'listening')
    expect(getOption(borrow(server), SO_REUSEADDR)).toBe(true)
    const request = get({ port: (server.address() as net.AddressInfo).port, host: '127.0.0.1', agent: false })
    const [response] = await once(request, 'response')
    expect(getOption(borrow(response.socket), SO_KEEPALIVE)).toBeTypeOf('boolean')
    expect(Number(await text(response))).toBeGreaterThanOrEqual(size)
    server.close()
    await once(server, 'close')
  })

  it('lends the descriptor of a dgram.Socket, without a deprecation warning', async () => {
    const warnings: Error[] = []
    const listener = (warning: Error) => warnings.push(warning)
    process.on('warning', listener)
    onTestFinished(() => void process.off('warning', listener))
    const socket = dgram.createSocket('udp4')
    expect(() => borrow(socket)).toThrow("wait for 'listening'")
    socket.bind(0, '127.0.0.1')
    await once(socket, 'listening')
    const lent = borrow(socket)
    setOption(lent, SO_RCVBUF, 40_000)
    expect(socket.getRecvBufferSize()).toBe(getOption(lent, SO_RCVBUF))
    socket.close()
    await once(socket, 'close')
    expect(lent.fd).toBe(-1)
    expectErrno(() => borrow(socket), 'EBADF')
    await setImmediate()
    expect(warnings).toEqual([])
  })

  it('lends the descriptor of a FileHandle, of our own objects and of any object with a number in `fd`', async () => {
    const handle = await fs.promises.open('/etc/hostname')
    const lent = borrow(handle)
    expect(lent.fd).toBe(handle.fd)
    await handle.close()
    expect(lent.fd).toBe(-1)
    expect(() => borrow(handle)).toThrow('the FileHandle is closed')
    const [a, b] = Socket.pair()
    expect(borrow(a).fd).toBe(a.fd)
    a.close()
    b.close()
    expect(borrow({ fd: 0 }).fd).toBe(0)
  })

  it('lends the descriptor of a net.BoundSocket', async (test) => {
    const { BoundSocket } = net as unknown as { BoundSocket?: new (options: object) => { fd(): number; close(): void } }
    skipUnless(test, BoundSocket === undefined ? `Node ${process.version} has no net.BoundSocket` : null)
    const bound = new (BoundSocket as NonNullable<typeof BoundSocket>)({ host: '127.0.0.1', port: 0 })
    const lent = borrow(bound)
    setOption(lent, SO_KEEPALIVE, true)
    expect(getOption(lent, SO_KEEPALIVE)).toBe(true)
    bound.close()
    expect(lent.fd).toBe(-1)
    expect(() => borrow(bound)).toThrow('the net.BoundSocket is closed')
  })

  it.each([[undefined], [null], [5], ['fd'], [{}], [{ fd: '1' }], [new Duplex()], [() => 0]])('refuses %s', (thing) => {
    expect(() => borrow(thing as never)).toThrow(TypeError)
  })

  it('throws in a node:cluster worker, which has no descriptor of its servers', async () => {
    const { stdout, stderr } = await runModule(`
      import cluster from 'node:cluster'
      import net from 'node:net'
      import { borrow, Socket, toDgramSocket, toNetServer } from './everything.js'
      const outcome = (action) => { try { action(); return 'done' } catch ({ code, message }) { return code ?? message } }
      if (cluster.isPrimary) {
        cluster.fork()
      } else {
        const server = net.createServer().listen(0, '127.0.0.1', () => {
          console.log(outcome(() => borrow(server)))
          const listener = Socket.open(2, 1)
          console.log(outcome(() => toNetServer(listener, net.createServer())), listener.closed)
          const datagram = Socket.open(2, 2)
          console.log(outcome(() => toDgramSocket(datagram)), datagram.closed)
          process.exit()
        })
      }
    `)
    expect({ stdout, stderr }).toEqual({
      stdout: 'EBADF\na socket can not become a server in a node:cluster worker false\ndone true\n',
      stderr: '',
    })
  })
})

describe('toNetSocket', () => {
  it.each([
    ['ipv4', AF_INET, { family: 'ipv4', address: '127.0.0.1', port: 0 }],
    ['ipv6', AF_INET6, { family: 'ipv6', address: '::1', port: 0 }],
  ] as const)('hands over an accepted and a connected %s socket', async (_name, family, address) => {
    const [ours, peer] = await connection(family, address)
    const before = ours.fd
    const local = ours.localName as net.AddressInfo
    const socket = toNetSocket(ours)
    expect(ours.closed).toBe(true)
    const { fd } = borrow(socket)
    expect(fd).not.toBe(before)
    expect(fcntl({ fd }, F_GETFD)).toBe(1)
    expect(isNonBlocking({ fd })).toBe(true)
    expect(socket.localPort).toBe(local.port)
    const other = toNetSocket(peer)
    socket.end('from one end')
    expect(await text(other)).toBe('from one end')
    other.destroy()
    if (!socket.closed) await once(socket, 'close')
  })

  it('hands over a Unix stream socket without losing bytes in flight', async () => {
    const [ours, peer] = Socket.pair()
    peer.send(Buffer.from('early '))
    const socket = toNetSocket(ours)
    peer.send(Buffer.from('late'))
    peer.shutdown(SHUT_WR)
    expect(await text(socket)).toBe('early late')
    peer.close()
    if (!socket.closed) await once(socket, 'close')
  })

  it.each([false, true])('with allowHalfOpen %s', async (allowHalfOpen) => {
    const [ours, peer] = Socket.pair()
    const socket = toNetSocket(ours, { allowHalfOpen })
    peer.shutdown(SHUT_WR)
    socket.resume()
    await once(socket, 'end')
    await setImmediate()
    expect(socket.writableEnded).toBe(!allowHalfOpen)
    socket.end('answer')
    await readable(peer)
    const buffer = Buffer.alloc(10)
    expect(peer.recv(buffer)).toBe(allowHalfOpen ? 6 : 0)
    peer.close()
    socket.on('error', () => {})
    if (!socket.closed) await once(socket, 'close')
  })

  it('sets a blocking socket non-blocking, which Node needs', async () => {
    const [ours, peer] = Socket.pair(AF_UNIX, SOCK_STREAM, 0, { blocking: true })
    const socket = toNetSocket(ours)
    expect(isNonBlocking(borrow(socket))).toBe(true)
    peer.close()
    socket.destroy()
    await once(socket, 'close')
  })

  it('ends the watches on it', async () => {
    const [ours, peer] = Socket.pair()
    let called = false
    watch(ours, EPOLLIN, () => {
      called = true
    })
    const socket = toNetSocket(ours)
    peer.send(Buffer.from('x'))
    const [chunk] = await once(socket, 'data')
    expect(chunk.toString()).toBe('x')
    await setImmediate()
    expect(called).toBe(false)
    peer.close()
    socket.destroy()
    await once(socket, 'close')
  })

  it.each([
    ['a datagram socket', () => Socket.open(AF_INET, SOCK_DGRAM)],
    ['a seqpacket socket', () => Socket.open(AF_UNIX, SOCK_SEQPACKET)],
    ['a netlink socket', () => Socket.open(AF_NETLINK, SOCK_RAW)],
    ['a listening socket', () => listener(AF_INET, { family: 'ipv4', address: '127.0.0.1', port: 0 })],
  ])('refuses %s, which stays ours', (_name, open) => {
    using socket = open()
    const before = openDescriptors().length
    expect(() => toNetSocket(socket)).toThrow(TypeError)
    expect(socket.closed).toBe(false)
    expect(openDescriptors().length).toBe(before)
  })

  it('refuses a socket that is not connected, and other values', () => {
    using socket = Socket.open(AF_INET, SOCK_STREAM)
    expectErrno(() => toNetSocket(socket), 'ENOTCONN')
    expect(socket.closed).toBe(false)
    const closed = Socket.open(AF_INET, SOCK_STREAM)
    closed.close()
    expectErrno(() => toNetSocket(closed), 'EBADF')
    using file = Socket.adopt(openFile('/etc/hostname').release())
    expectErrno(() => toNetSocket(file), 'ENOTSOCK')
  })

  it('hands over even if close(2) fails', async () => {
    const [mine, peer] = Socket.pair(AF_UNIX, SOCK_STREAM)
    const { close } = native
    vi.spyOn(native, 'close').mockImplementationOnce((fd) => {
      close(fd)
      return -errno.EIO
    })
    const handed = toNetSocket(mine)
    vi.restoreAllMocks()
    expect(mine.closed).toBe(true)
    handed.end('from Node')
    await readable(peer)
    expect(peer.recv(Buffer.alloc(20))).toBe(9)
    handed.destroy()
    await once(handed, 'close')
    peer.close()
  })

  it.each([
    [(socket: Socket) => toNetSocket(socket), false],
    [(socket: Socket) => toNetServer(socket, net.createServer()), true],
    [toDgramSocket, true],
  ] as const)('says that it needs a Socket, and where a stream has its own', (handOver, refusesStreams) => {
    using owned = openFile('/etc/hostname')
    for (const [value, what] of [
      [undefined, 'undefined'],
      [5, '5'],
      [{}, 'an Object'],
      [owned, 'an OwnedFd'],
      [net.createServer(), 'a Server'],
    ]) {
      expect(() => handOver(value as Socket)).toThrow(new TypeError(`socket must be a Socket, not ${what}`))
    }
    if (!refusesStreams) return
    const [a, b] = Socket.pair()
    const stream = new SocketStream(a)
    expect(() => handOver(stream as never)).toThrow(
      new TypeError('socket must be a Socket, not a SocketStream: use `(await stream.detach()).socket`'),
    )
    expect(stream.destroyed).toBe(false)
    stream.destroy()
    b.close()
  })

  it('refuses other invalid arguments by name', () => {
    const [a, b] = Socket.pair()
    const server = net.createServer()
    const refusals: [() => unknown, RegExp][] = [
      [() => toNetSocket(a, null as never), /^options must be/],
      [() => toNetSocket(a, { allowHalfOpen: 'no' as never }), /^allowHalfOpen must be/],
      [() => toNetServer(a, undefined as never), /^server must be a net.Server, not undefined/],
      [() => toNetServer(a, { listen() {} } as never), /^server must be a net.Server, not an Object/],
      [() => toNetServer(a, server, 5 as never), /^options must be/],
      [() => toNetServer(a, server, { backlog: 1.5 }), /^backlog must be/],
    ]
    for (const [call, message] of refusals) expect(call).toThrow(message)
    expect([a.closed, server.listening]).toEqual([false, false])
    a.close()
    b.close()
  })

  it('leaves nothing behind when Node can not open the descriptor', async () => {
    const { code, stdout, stderr } = await runModule(`
      import fs from 'node:fs'
      import net from 'node:net'
      import { once } from 'node:events'
      import { borrow, Socket, SocketStream, toDgramSocket, toNetServer, toNetSocket } from './everything.js'
      const isOurs = (fd) => { try { return !fs.readlinkSync('/proc/self/fd/' + fd).startsWith('/') } catch { return false } }
      const open = () => fs.readdirSync('/proc/self/fd').filter(isOurs).length
      // A watched descriptor that is closed behind libuv's back: libuv refuses whatever gets its number.
      const stale = () => new Promise((resolve) => {
        const server = net.createServer().listen(0, '127.0.0.1', () => {
          const { fd } = borrow(server)
          fs.closeSync(fd)
          resolve(fd)
        })
      })
      const outcome = async (action) => { try { await action(); return 'done' } catch (error) { return error.code } }
      const kinds = {
        socket: () => { const [a, b] = Socket.pair(); return [a, () => toNetSocket(a)] },
        stream: () => { const [a] = Socket.pair(); const s = new SocketStream(a); return [s, () => toNetSocket(s)] },
        server: () => { const s = Socket.open(2, 1); return [s, () => toNetServer(s, net.createServer())] },
        dgram: () => { const s = Socket.open(2, 2); return [s, () => toDgramSocket(s)] },
      }
      for (const [name, make] of Object.entries(kinds)) {
        const [socket, action] = make()
        await stale()
        const before = open()
        console.log(name, await outcome(action), socket.closed, open() - before)
      }
      process.exit(0)
    `)
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
    expect(stdout).toBe('socket EEXIST false 0\nstream EEXIST true -1\nserver EEXIST false 0\ndgram EEXIST false 0\n')
  })
})

describe('toNetSocket of a stream', () => {
  it('lets the net.Socket first read what the stream has read', async () => {
    const [stream, peer] = streamAndPeer()
    peer.send(Buffer.from('early '))
    stream.read(0)
    await once(stream, 'readable')
    expect(stream.readableLength).toBe(6)
    const socket = await toNetSocket(stream)
    expect([stream.destroyed, stream.fd, socket.readableLength]).toEqual([true, -1, 6])
    peer.send(Buffer.from('late'))
    peer.shutdown(SHUT_WR)
    expect(await text(socket)).toBe('early late')
    peer.close()
    if (!socket.closed) await once(socket, 'close')
  })

  it('waits until everything written is sent', async () => {
    const [stream, peer] = streamAndPeer()
    const reader = new SocketStream(peer)
    const much = Buffer.alloc(2_000_000, 'x')
    stream.write(much)
    expect(stream.writableLength).toBeGreaterThan(0)
    const handed = toNetSocket(stream)
    const received = text(reader)
    const socket = await handed
    socket.end('the last')
    expect(await received).toBe(`${much}the last`)
    if (!socket.closed) await once(socket, 'close')
  })

  it.each([false, true])('with allowHalfOpen %s', async (allowHalfOpen) => {
    const [stream, peer] = streamAndPeer()
    const socket = await toNetSocket(stream, { allowHalfOpen })
    expect(socket.allowHalfOpen).toBe(allowHalfOpen)
    socket.destroy()
    peer.close()
    await once(socket, 'close')
  })

  it('gives node:http a request whose head the stream has read', async () => {
    const server = createHttpServer((request, response) => {
      response.end(`${request.url} ${request.socket.remoteAddress}`)
    })
    const [ours, peer] = await connection(AF_INET, { family: 'ipv4', address: '127.0.0.1', port: 0 })
    const [stream, client] = [new SocketStream(ours), new SocketStream(peer)]
    client.write('GET /this HTTP/1.1\r\nHost: ')
    stream.read(0)
    await once(stream, 'readable')
    const [first] = stream.read(1) as Buffer
    stream.unshift(Buffer.from([first as number]))
    server.emit('connection', await toNetSocket(stream))
    client.write('a\r\nConnection: close\r\n\r\n')
    expect(await text(client)).toContain('/this 127.0.0.1')
  })

  it('refuses a stream that has ended, that decodes, or whose socket is no stream socket', async () => {
    const [decoding, a] = streamAndPeer()
    await expect(toNetSocket(decoding.setEncoding('utf8'))).rejects.toThrow(TypeError)
    expect(decoding.destroyed).toBe(false)
    decoding.destroy()

    const [ended, b] = streamAndPeer()
    ended.end()
    await expectErrno(() => toNetSocket(ended), 'EPIPE')
    ended.destroy()
    await expectErrno(() => toNetSocket(ended), 'EPIPE')

    const [full, c] = streamAndPeer()
    full.write(Buffer.alloc(2_000_000))
    const handed = toNetSocket(full)
    full.destroy()
    await expectErrno(() => handed, 'ECANCELED')

    const [records, d] = Socket.pair(AF_UNIX, SOCK_SEQPACKET)
    const odd = new SocketStream(records)
    await expect(toNetSocket(odd)).rejects.toThrow('the socket must be a stream socket of AF_INET, AF_INET6 or AF_UNIX')
    expect(odd.destroyed).toBe(false)
    odd.destroy()
    for (const peer of [a, b, c, d]) peer.close()
  })

  function streamAndPeer(): [SocketStream, Socket] {
    const [ours, peer] = Socket.pair()
    return [new SocketStream(ours), peer]
  }
})

describe('toNetServer', () => {
  it.each([
    ['ipv4', AF_INET, { family: 'ipv4', address: '127.0.0.1', port: 0 }],
    ['ipv6', AF_INET6, { family: 'ipv6', address: '::1', port: 0 }],
  ] as const)('hands over a listening %s socket, with the connections that wait', async (_name, family, address) => {
    const ours = listener(family, address)
    const where = ours.localName as net.AddressInfo & { address: string }
    const early = net.connect(where.port, where.address)
    await once(early, 'connect')
    const server = toNetServer(
      ours,
      net.createServer((socket) => socket.end('served')),
    )
    expect(ours.closed).toBe(true)
    expect(server.listening).toBe(true)
    await once(server, 'listening')
    expect(server.address()).toMatchObject({ port: where.port })
    expect(fcntl(borrow(server), F_GETFD)).toBe(1)
    expect(await text(early)).toBe('served')
    expect(await text(net.connect(where.port, where.address))).toBe('served')
    server.close()
    await once(server, 'close')
  })

  it('hands over a bound Unix socket to an http server, which curl talks to', async (test) => {
    skipUnless(test, needProgram('curl'))
    const path = `${temporaryDirectory()}/http`
    const ours = Socket.open(AF_UNIX, SOCK_STREAM)
    ours.bind({ family: 'unix', path })
    const server = toNetServer(
      ours,
      createHttpServer((_request, response) => response.end('hello')),
      { backlog: 3 },
    )
    expect(await runProgram('curl', ['-s', '--unix-socket', path, 'http://localhost/'])).toBe('hello')
    server.close()
    await once(server, 'close')
  })

  it('refuses other kinds, connected sockets and servers that listen', async () => {
    using datagram = Socket.open(AF_INET, SOCK_DGRAM)
    expect(() => toNetServer(datagram, net.createServer())).toThrow(TypeError)
    const [a, b] = Socket.pair()
    expectErrno(() => toNetServer(a, net.createServer()), 'EINVAL')
    expect(a.closed).toBe(false)
    a.close()
    b.close()

    const busy = net.createServer().listen(0, '127.0.0.1')
    await once(busy, 'listening')
    using ours = listener(AF_INET, { family: 'ipv4', address: '127.0.0.1', port: 0 })
    const before = openDescriptors().length
    expect(() => toNetServer(ours, busy)).toThrow(expect.objectContaining({ code: 'ERR_SERVER_ALREADY_LISTEN' }))
    expect(openDescriptors().length).toBe(before)
    expect(ours.closed).toBe(false)
    busy.close()
    await once(busy, 'close')
  })
})

describe('toDgramSocket', () => {
  it.each([
    ['udp4', AF_INET, { family: 'ipv4', address: '127.0.0.1', port: 0 }],
    ['udp6', AF_INET6, { family: 'ipv6', address: '::1', port: 0 }],
  ] as const)('hands over a bound %s socket, with the datagrams that wait', async (_name, family, address) => {
    const ours = Socket.open(family, SOCK_DGRAM)
    ours.bind(address)
    const where = ours.localName as net.AddressInfo & { address: string }
    using sender = Socket.open(family, SOCK_DGRAM)
    sender.bind(address)
    sender.sendTo(Buffer.from('early'), { ...address, port: where.port })
    const socket = toDgramSocket(ours)
    expect(ours.closed).toBe(true)
    expect(socket.address()).toMatchObject({ port: where.port, address: where.address })
    expect(fcntl(borrow(socket), F_GETFD)).toBe(1)
    const [message, remote] = await once(socket, 'message')
    expect(message.toString()).toBe('early')
    socket.send('answer', remote.port, remote.address)
    await readable(sender)
    const buffer = Buffer.alloc(20)
    const got = sender.recvFrom(buffer)
    expect(buffer.toString('latin1', 0, got?.length)).toBe('answer')
    expect(got?.address).toMatchObject({ port: where.port })
    socket.close()
    await once(socket, 'close')
  })

  it('refuses other kinds and connected sockets, which stay ours', () => {
    using stream = Socket.open(AF_INET, SOCK_STREAM)
    expect(() => toDgramSocket(stream)).toThrow(TypeError)
    using unix = Socket.open(AF_UNIX, SOCK_DGRAM)
    expect(() => toDgramSocket(unix)).toThrow(TypeError)
    using connected = Socket.open(AF_INET, SOCK_DGRAM)
    connected.connect({ family: 'ipv4', address: '127.0.0.1', port: 9 })
    const before = openDescriptors().length
    expect(() => toDgramSocket(connected)).toThrow('disconnect it first')
    expect(openDescriptors().length).toBe(before)
    expect(connected.closed).toBe(false)
  })
})

type Inet = { readonly family: 'ipv4' | 'ipv6'; readonly address: string; readonly port: number }

function listener(family: number, address: Inet): Socket {
  const socket = Socket.open(family, SOCK_STREAM)
  socket.bind(address)
  socket.listen()
  return socket
}

/** The two ends of a connection, the accepted one first. */
async function connection(family: number, address: Inet): Promise<[Socket, Socket]> {
  using server = listener(family, address)
  const client = Socket.open(family, SOCK_STREAM)
  client.connect(server.localName)
  await readable(server)
  return [server.accept() as Socket, client]
}

/** Looks at a borrowed socket, and closes nothing. */
function look<T>(socket: Socket, at: (socket: Socket) => T): T {
  const result = at(socket)
  socket.release()
  return result
}
