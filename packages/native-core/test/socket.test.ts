import { once } from 'node:events'
import { closeSync } from 'node:fs'
import {
  expectCloexec,
  expectErrno,
  expectNonBlocking,
  guardDescriptors,
  needProgram,
  openDescriptors,
  runPython,
  skipUnless,
  temporaryDirectory,
  withFault,
} from '@linux-sockets/testkit'
import { describe, expect, expectTypeOf, it, onTestFinished } from 'vitest'
import {
  AF_INET,
  AF_INET6,
  AF_UNIX,
  EPOLL_CTL_ADD,
  EPOLLIN,
  EPOLLPRI,
  MSG_DONTWAIT,
  MSG_MORE,
  MSG_OOB,
  MSG_PEEK,
  MSG_TRUNC,
  MSG_WAITALL,
  SHUT_RD,
  SHUT_RDWR,
  SHUT_WR,
  SIOCATMARK,
  SOCK_DGRAM,
  SOCK_SEQPACKET,
  SOCK_STREAM,
  SOL_SOCKET,
} from '../src/constants.js'
import { epollControl, epollCreate } from '../src/epoll/index.js'
import {
  eventfd,
  getOptionInt,
  type InetAddress,
  ioctl,
  isNonBlocking,
  type OwnedFd,
  pipe,
  ReceiveBatch,
  readable,
  readv,
  Socket,
  setOptionInt,
  type UnixAddress,
  watch,
  writable,
} from '../src/index.js'
import { DatagramChannel, Listener, SocketStream } from '../src/streams/index.js'
import { compileSources, runModule, startWorker } from './outside.js'

guardDescriptors()
compileSources()

const loopback = { family: 'ipv4', address: '127.0.0.1', port: 0 } as const
const [SO_ERROR, SO_SNDBUF, SO_ACCEPTCONN] = [4, 7, 30]

describe('Socket.open, Socket.pair', () => {
  it.each([
    [AF_INET, SOCK_STREAM],
    [AF_INET, SOCK_DGRAM],
    [AF_INET6, SOCK_STREAM],
    [AF_INET6, SOCK_DGRAM],
    [AF_UNIX, SOCK_STREAM],
    [AF_UNIX, SOCK_DGRAM],
    [AF_UNIX, SOCK_SEQPACKET],
  ])('opens domain %i type %i, non-blocking and closed on exec', (domain, type) => {
    const [SO_TYPE, SO_DOMAIN] = [3, 39]
    using socket = Socket.open(domain, type)
    expectCloexec(socket)
    expectNonBlocking(socket)
    expect(getOptionInt(socket, SOL_SOCKET, SO_DOMAIN)).toBe(domain)
    expect(getOptionInt(socket, SOL_SOCKET, SO_TYPE)).toBe(type)
    using blocking = Socket.open(domain, type, 0, { blocking: true })
    expectCloexec(blocking)
    expect(isNonBlocking(blocking)).toBe(false)
  })

  it.each([
    ['EAFNOSUPPORT', 12345, SOCK_STREAM, 0],
    ['EINVAL', AF_INET, 77, 0],
    ['EPROTONOSUPPORT', AF_INET, SOCK_STREAM, 17],
  ] as const)('throws %s', (code, domain, type, protocol) => {
    expect(expectErrno(() => Socket.open(domain, type, protocol), code).syscall).toBe('socket')
  })

  it.each([false, true])('pairs, blocking %s', (blocking) => {
    const [a, b] = Socket.pair(AF_UNIX, SOCK_SEQPACKET, 0, { blocking })
    for (const socket of [a, b]) {
      expectCloexec(socket)
      expect(isNonBlocking(socket)).toBe(!blocking)
    }
    expect(a.send(Buffer.from('one'))).toBe(3)
    expect(b.recv(Buffer.alloc(9))).toBe(3)
    a.close()
    b.close()
    expectErrno(() => Socket.pair(AF_INET, SOCK_STREAM), 'ENOTSUP')
  })

  it('adopts a descriptor, and makes a socket of an owner', () => {
    const [a, b] = Socket.pair()
    const fd = a.release()
    const adopted = Socket.adopt(fd)
    expect(adopted).toBeInstanceOf(Socket)
    expect(adopted.fd).toBe(fd)
    const copy: OwnedFd = b.dup()
    const socket = Socket.from(copy)
    expect(copy.closed).toBe(true)
    socket.send(Buffer.from('x'))
    expect(adopted.recv(Buffer.alloc(2))).toBe(1)
    for (const open of [adopted, b, socket]) open.close()
  })

  it('adopts without a system call', async (test) => {
    skipUnless(test, needProgram('strace'))
    const script = `
      import { Socket } from './everything.js'
      const pair = Socket.pair()
      const fds = pair.map((socket) => socket.release())
      process.title = 'adopting'
      for (const fd of fds) Socket.adopt(fd)
      process.title = 'adopted'
      process.exit()
    `
    const { stderr, code } = await runModule(script, { wrapper: ['strace', '-qq', '-e', 'trace=prctl,fcntl,fstat'] })
    expect(code).toBe(0)
    const lines = stderr.split('\n')
    const [start, end] = ['adopting', 'adopted'].map((title) => lines.findIndex((line) => line.includes(`"${title}"`)))
    expect(start).toBeGreaterThan(-1)
    expect(lines.slice((start as number) + 1, end)).toEqual([])
  })
})

describe('bind, listen, accept, connect', () => {
  it('knows the type of its addresses by its domain, and so do the sockets made from it', () => {
    expectTypeOf(Socket.open<typeof AF_INET>).returns.toEqualTypeOf<Socket<InetAddress>>()
    expectTypeOf(Socket.open<typeof AF_INET6 | typeof AF_UNIX>).returns.toEqualTypeOf<
      Socket<InetAddress | UnixAddress>
    >()
    expectTypeOf(Socket.open<number>).returns.toEqualTypeOf<Socket>()
    expectTypeOf(Socket.pair<typeof AF_UNIX>).returns.toEqualTypeOf<[Socket<UnixAddress>, Socket<UnixAddress>]>()
    expectTypeOf<Socket<InetAddress>>().toExtend<Socket>()
    const four = Socket.open(AF_INET, SOCK_STREAM)
    const six = Socket.open(AF_INET6, SOCK_STREAM)
    for (const socket of [four, six]) socket.listen()
    expectTypeOf(four.accept()).toEqualTypeOf<Socket<InetAddress> | null>()
    const listener = new Listener([four, Socket.from(six)], { wrap: (socket) => new SocketStream(socket) })
    expectTypeOf(listener).toEqualTypeOf<Listener<SocketStream<InetAddress>, InetAddress>>()
    listener.close()
    const channel = new DatagramChannel(Socket.open(AF_INET, SOCK_DGRAM), {
      datagram: ({ address }) => expectTypeOf(address?.port).toEqualTypeOf<number | undefined>(),
      error: () => {},
    })
    expect(channel.socket.localName.port).toBe(0)
    channel.close()
  })

  it('makes a connection', async () => {
    using listener = Socket.open(AF_INET, SOCK_STREAM)
    listener.bind(loopback)
    expect(getOptionInt(listener, SOL_SOCKET, SO_ACCEPTCONN)).toBe(0)
    listener.listen()
    expect(getOptionInt(listener, SOL_SOCKET, SO_ACCEPTCONN)).toBe(1)
    expect(listener.accept()).toBe(null)
    using client = Socket.open(AF_INET, SOCK_STREAM)
    expect([true, null]).toContain(client.connect(listener.localName))
    await writable(client)
    expect(getOptionInt(client, SOL_SOCKET, SO_ERROR)).toBe(0)
    await readable(listener)
    using accepted = listener.accept() as Socket
    expectCloexec(accepted)
    expectNonBlocking(accepted)
    expect(accepted.peerName).toEqual(client.localName)
    expect(client.peerName).toEqual(listener.localName)
    expect(accepted.localName).toEqual(listener.localName)
    // The first call after the end of the handshake only reports it.
    expect(client.connect(listener.localName)).toBe(true)
    expectErrno(() => client.connect(listener.localName), 'EISCONN')
  })

  it('accepts a blocking connection when asked', async () => {
    using listener = Socket.open(AF_INET, SOCK_STREAM)
    listener.bind(loopback)
    listener.listen(1)
    using client = Socket.open(AF_INET, SOCK_STREAM)
    client.connect(listener.localName)
    await readable(listener)
    using accepted = listener.accept({ blocking: true }) as Socket
    expect(isNonBlocking(accepted)).toBe(false)
    expectCloexec(accepted)
  })

  it('names the address in what it throws', () => {
    using socket = Socket.open(AF_INET, SOCK_STREAM)
    const error = expectErrno(() => socket.bind({ family: 'ipv4', address: '192.0.2.1', port: 80 }), 'EADDRNOTAVAIL')
    expect(error.message).toBe('bind EADDRNOTAVAIL 192.0.2.1:80: cannot assign requested address')
    expect(error).toMatchObject({ syscall: 'bind', errno: -99, detail: '192.0.2.1:80' })
    using taken = Socket.open(AF_INET, SOCK_STREAM)
    taken.bind(loopback)
    taken.listen()
    expectErrno(() => socket.bind(taken.localName), 'EADDRINUSE')
  })

  it('refuses an address of another family', () => {
    using socket = Socket.open(AF_INET, SOCK_STREAM)
    expectErrno(() => socket.bind({ family: 'ipv6', address: '::1', port: 0 }), 'EAFNOSUPPORT')
    expectErrno(() => socket.bind({ family: 'unix', path: '/x' }), 'EINVAL')
    expectErrno(() => socket.connect({ family: 'unix', path: '/a/long/enough/path' }), 'EAFNOSUPPORT')
  })

  it('reports a refused connection through SO_ERROR', async () => {
    using socket = Socket.open(AF_INET, SOCK_STREAM)
    using silent = Socket.open(AF_INET, SOCK_STREAM)
    silent.bind(loopback)
    if (socket.connect(silent.localName) === null) await writable(socket)
    expect(getOptionInt(socket, SOL_SOCKET, SO_ERROR)).toBe(111)
    using blocking = Socket.open(AF_INET, SOCK_STREAM, 0, { blocking: true })
    expectErrno(() => blocking.connect(silent.localName), 'ECONNREFUSED')
  })

  it('throws EAGAIN when the backlog of a Unix listener is full', () => {
    const name = { family: 'unix', path: `${temporaryDirectory()}/s` } as const
    using listener = Socket.open(AF_UNIX, SOCK_STREAM)
    listener.bind(name)
    listener.listen(0)
    const clients = Array.from({ length: 2 }, () => Socket.open(AF_UNIX, SOCK_STREAM))
    expect(clients[0]?.connect(name)).toBe(true)
    expectErrno(() => clients[1]?.connect(name), 'EAGAIN')
    expectErrno(() => clients[1]?.peerName, 'ENOTCONN')
    for (const client of clients) client.close()
  })

  it('connects and disconnects a datagram socket', () => {
    using a = Socket.open(AF_INET, SOCK_DGRAM)
    using b = Socket.open(AF_INET, SOCK_DGRAM)
    b.bind(loopback)
    expectErrno(() => a.send(Buffer.from('x')), 'EDESTADDRREQ')
    expect(a.connect(b.localName)).toBe(true)
    expect(a.peerName).toEqual(b.localName)
    expect(a.send(Buffer.from('x'))).toBe(1)
    a.disconnect()
    expectErrno(() => a.peerName, 'ENOTCONN')
    expectErrno(() => a.send(Buffer.from('x')), 'EDESTADDRREQ')
  })

  it.each([
    ['bind', (socket: Socket) => socket.bind(loopback)],
    ['listen', (socket: Socket) => socket.listen()],
    ['accept4', (socket: Socket) => socket.accept()],
    ['connect', (socket: Socket) => socket.connect(loopback)],
    ['connect', (socket: Socket) => socket.disconnect()],
    ['shutdown', (socket: Socket) => socket.shutdown(SHUT_WR)],
    ['getsockname', (socket: Socket) => socket.localName],
    ['getpeername', (socket: Socket) => socket.peerName],
    ['send', (socket: Socket) => socket.send(Buffer.from('x'))],
    ['recv', (socket: Socket) => socket.recv(Buffer.alloc(1))],
    ['sendto', (socket: Socket) => socket.sendTo(Buffer.from('x'), loopback)],
    ['recvfrom', (socket: Socket) => socket.recvFrom(Buffer.alloc(1))],
    ['sendmsg', (socket: Socket) => socket.sendMessage({ data: Buffer.from('x') })],
    ['recvmsg', (socket: Socket) => socket.recvMessage(Buffer.alloc(1))],
  ] as const)('%s throws EBADF when closed, and ENOTSOCK on what is no socket', (syscall, call) => {
    const closed = Socket.open(AF_INET, SOCK_STREAM)
    closed.close()
    expect(expectErrno(() => call(closed), 'EBADF').syscall).toBe(syscall)
    using noSocket = Socket.from(eventfd())
    expect(expectErrno(() => call(noSocket), 'ENOTSOCK').syscall).toBe(syscall)
  })
})

describe('shutdown', () => {
  it('ends each direction', () => {
    const [a, b] = Socket.pair()
    a.shutdown(SHUT_WR)
    expect(b.recv(Buffer.alloc(1))).toBe(0)
    expectErrno(() => a.send(Buffer.from('x')), 'EPIPE')
    expect(b.send(Buffer.from('x'))).toBe(1)
    expect(a.recv(Buffer.alloc(1))).toBe(1)
    a.shutdown(SHUT_RD)
    expectErrno(() => b.send(Buffer.from('x')), 'EPIPE')
    expect(a.recv(Buffer.alloc(1))).toBe(0)
    b.shutdown(SHUT_RDWR)
    expectErrno(() => a.shutdown(3), 'EINVAL')
    a.close()
    b.close()
  })
})

describe('send, recv', () => {
  it('moves a part of a buffer', () => {
    const [a, b] = Socket.pair()
    const data = Buffer.from('0123456789')
    expect(a.send(data, 0, 2, 3)).toBe(3)
    expect(a.send(data, 0, 8)).toBe(2)
    const buffer = Buffer.alloc(10, '.')
    expect(b.recv(buffer, 0, 1, 4)).toBe(4)
    expect(buffer.toString()).toBe('.2348.....')
    expect(b.recv(buffer, 0, 9)).toBe(1)
    expect(buffer.toString()).toBe('.2348....9')
    expect(b.recv(buffer)).toBe(null)
    a.close()
    expect(b.recv(buffer)).toBe(0)
    b.close()
  })

  it('peeks', () => {
    const [a, b] = Socket.pair()
    a.send(Buffer.from('abc'))
    const buffer = Buffer.alloc(3)
    for (const flags of [MSG_PEEK, MSG_PEEK, 0]) {
      buffer.fill(0)
      expect(b.recv(buffer, flags)).toBe(3)
      expect(buffer.toString()).toBe('abc')
    }
    expect(b.recv(buffer, MSG_DONTWAIT)).toBe(null)
    a.close()
    b.close()
  })

  it('gives a datagram’s true length with MSG_TRUNC', () => {
    const [a, b] = Socket.pair(AF_UNIX, SOCK_DGRAM)
    a.send(Buffer.alloc(1000))
    expect(b.recv(Buffer.alloc(10), MSG_PEEK | MSG_TRUNC)).toBe(1000)
    expect(b.recv(new Uint8Array(0), MSG_PEEK | MSG_TRUNC)).toBe(1000)
    expect(b.recv(Buffer.alloc(10))).toBe(10)
    expect(b.recv(Buffer.alloc(10))).toBe(null)
    a.close()
    b.close()
  })

  it('holds back with MSG_MORE: several sends make one datagram', async () => {
    using a = Socket.open(AF_INET, SOCK_DGRAM)
    using b = Socket.open(AF_INET, SOCK_DGRAM)
    b.bind(loopback)
    a.connect(b.localName)
    a.send(Buffer.from('one '), MSG_MORE)
    a.send(Buffer.from('two '), MSG_MORE)
    expect(b.recv(Buffer.alloc(20))).toBe(null)
    a.send(Buffer.from('three'))
    await readable(b)
    const buffer = Buffer.alloc(20)
    expect(buffer.toString('latin1', 0, b.recv(buffer) ?? 0)).toBe('one two three')
  })

  it('sends and receives within buffers larger than any call moves', () => {
    const [a, b] = Socket.pair()
    // Never touched, except the few pages that the socket uses.
    const large = new Uint8Array(2 ** 31 + 8192)
    large.set(Buffer.from('end'), large.length - 3)
    const sent = a.send(large) as number
    expect(sent).toBeGreaterThan(0)
    expect(b.recv(Buffer.alloc(sent), MSG_WAITALL)).toBe(sent)
    expect(a.send(large, 0, large.length - 3)).toBe(3)
    expect(b.recv(large, 0, 2 ** 31)).toBe(3)
    expect(Buffer.from(large.buffer, 2 ** 31, 3).toString()).toBe('end')
    expect(() => a.send(large, 0, large.length + 1, 1)).toThrow(RangeError)
    a.close()
    b.close()
  })

  it('sends urgent data', async () => {
    const [server, client] = await connected()
    client.send(Buffer.from('before'))
    client.send(Buffer.from('!'), MSG_OOB)
    client.send(Buffer.from('after'))
    await new Promise((resolve) => watch(server, EPOLLPRI, resolve))
    const buffer = Buffer.alloc(20)
    expect(server.recv(buffer, MSG_OOB)).toBe(1)
    expect(buffer.toString('latin1', 0, 1)).toBe('!')
    // The received data ends at the mark.
    expect(ioctl(server, SIOCATMARK)).toBe(0)
    expect(server.recv(buffer)).toBe(6)
    expect(ioctl(server, SIOCATMARK)).toBe(1)
    expect(server.recv(buffer)).toBe(5)
    expect(buffer.toString('latin1', 0, 5)).toBe('after')
    server.close()
    client.close()
  })

  it('sends what fits, then returns null, and all of it arrives', async () => {
    const [a, b] = Socket.pair()
    setOptionInt(a, SOL_SOCKET, SO_SNDBUF, 20_000)
    const data = Buffer.alloc(300_000)
    for (let i = 0; i < data.length; i++) data[i] = (i * 7) & 255
    const first = a.send(data) as number
    expect(first).toBeGreaterThan(0)
    expect(first).toBeLessThan(data.length)
    expect(a.send(data, 0, first)).toBe(null)
    const got = Buffer.alloc(data.length)
    let [sent, received] = [first, 0]
    while (received < data.length) {
      received += b.recv(got, 0, received) ?? 0
      if (sent < data.length) sent += a.send(data, 0, sent) ?? 0
    }
    expect(got.equals(data)).toBe(true)
    a.close()
    b.close()
  })

  it('refuses an empty or a detached buffer to receive into', () => {
    const [a, b] = Socket.pair()
    a.send(Buffer.from('x'))
    expect(() => b.recv(new Uint8Array(0))).toThrow(RangeError)
    const buffer = new Uint8Array(8)
    structuredClone(buffer.buffer, { transfer: [buffer.buffer] })
    expect(() => b.recv(buffer)).toThrow('buffer is empty or detached')
    expect(b.recv(Buffer.alloc(1))).toBe(1)
    a.close()
    b.close()
  })

  it('refuses ranges outside the buffer', () => {
    const [a, b] = Socket.pair()
    const buffer = Buffer.alloc(4)
    for (const [offset, length] of [
      [-1, 1],
      [0, 5],
      [4, 1],
      [5, 0],
      [2, 3],
      [0, -1],
    ] as const) {
      expect(() => a.send(buffer, 0, offset, length)).toThrow(RangeError)
      expect(() => b.recv(buffer, MSG_DONTWAIT, offset, length)).toThrow(RangeError)
    }
    expect(() => a.send(buffer, 0, 0.5, 1)).toThrow(RangeError)
    expect(() => a.send(buffer, 0, 0, Number.NaN)).toThrow(TypeError)
    expect(() => a.send('text' as never, 0, 0, 4)).toThrow(TypeError)
    expect(() => a.send(new Uint16Array(4) as never, 0, 0, 4)).toThrow(TypeError)
    expect(() => a.send(buffer, 2 ** 33)).toThrow(TypeError)
    expect(b.recv(buffer)).toBe(null)
    a.close()
    b.close()
  })
})

describe('sendTo, recvFrom', () => {
  it('names the sender', () => {
    using a = Socket.open(AF_INET, SOCK_DGRAM)
    using b = Socket.open(AF_INET, SOCK_DGRAM)
    a.bind(loopback)
    b.bind(loopback)
    const buffer = Buffer.alloc(10)
    expect(b.recvFrom(buffer)).toBe(null)
    expect(a.sendTo(Buffer.from('hello'), b.localName)).toBe(5)
    expect(b.recvFrom(buffer)).toEqual({ length: 5, address: a.localName })
    expect(a.sendTo(new Uint8Array(0), b.localName)).toBe(0)
    expect(b.recvFrom(buffer)).toEqual({ length: 0, address: a.localName })
  })

  it('returns null for a sender without a name', () => {
    using a = Socket.open(AF_UNIX, SOCK_DGRAM)
    using b = Socket.open(AF_UNIX, SOCK_DGRAM)
    b.bind({ family: 'unix' })
    a.sendTo(Buffer.from('x'), b.localName)
    expect(b.recvFrom(Buffer.alloc(4))).toEqual({ length: 1, address: null })
  })

  it('returns null when it would block, and names the address in other failures', () => {
    using a = Socket.open(AF_UNIX, SOCK_DGRAM)
    using b = Socket.open(AF_UNIX, SOCK_DGRAM)
    b.bind({ family: 'unix' })
    const chunk = Buffer.alloc(10_000)
    let sent: number | null = 0
    for (let i = 0; i < 10_000 && sent !== null; i++) sent = a.sendTo(chunk, b.localName)
    expect(sent).toBe(null)
    const path = '/nowhere/at/all'
    expect(expectErrno(() => a.sendTo(chunk, { family: 'unix', path }), 'ENOENT').message).toContain(path)
    using udp = Socket.open(AF_INET, SOCK_DGRAM)
    expectErrno(() => udp.sendTo(Buffer.alloc(70_000), { ...loopback, port: 9 }), 'EMSGSIZE')
  })
})

describe('blocking', () => {
  it('serves from a Worker with plain blocking calls, as in C', async () => {
    const { worker, exit } = startWorker(`
      const listener = core.Socket.open(core.AF_INET, core.SOCK_STREAM, 0, { blocking: true })
      listener.bind({ family: 'ipv4', address: '127.0.0.1', port: 0 })
      listener.listen()
      parentPort.postMessage(listener.localName.port)
      const connection = listener.accept({ blocking: true })
      const buffer = Buffer.alloc(4096)
      for (;;) {
        const count = connection.recv(buffer)
        if (count === 0) break
        connection.send(buffer, 0, 0, count)
      }
      connection.close()
      listener.close()
      parentPort.close()
    `)
    const [port] = await once(worker, 'message')
    const answer = await runPython(`
import socket
s = socket.create_connection(('127.0.0.1', ${port}))
data = bytes(range(256)) * 100
import threading
threading.Thread(target=lambda: (s.sendall(data), s.shutdown(socket.SHUT_WR))).start()
got = b''
while chunk := s.recv(65536): got += chunk
print(got == data)
`)
    expect(answer).toBe('True\n')
    await exit
  })

  it('gives up after SO_RCVTIMEO with null', async () => {
    const { worker, exit } = startWorker(`
      const SO_RCVTIMEO = 20
      const [a, b] = core.Socket.pair(core.AF_UNIX, core.SOCK_STREAM, 0, { blocking: true })
      const time = new DataView(new ArrayBuffer(16))
      time.setBigInt64(8, 50_000n, true)
      core.setOptionBytes(a, core.SOL_SOCKET, SO_RCVTIMEO, new Uint8Array(time.buffer))
      const start = performance.now()
      const count = a.recv(Buffer.alloc(1))
      const time_ = performance.now() - start
      a.close()
      b.close()
      parentPort.postMessage({ count, time: time_ })
    `)
    const [{ count, time }] = await once(worker, 'message')
    expect(count).toBe(null)
    expect(time).toBeGreaterThanOrEqual(49)
    await exit
  })

  it('waits for the whole buffer with MSG_WAITALL', async () => {
    const [a, b] = Socket.pair(AF_UNIX, SOCK_STREAM, 0, { blocking: true })
    const { worker, exit } = startWorker(
      `
      const socket = core.Socket.adopt(workerData.fd)
      parentPort.postMessage('ready')
      const buffer = Buffer.alloc(10)
      const count = socket.recv(buffer, core.MSG_WAITALL)
      parentPort.postMessage(buffer.toString('latin1', 0, count))
      socket.release()
      parentPort.close()
    `,
      { fd: b.fd },
    )
    await once(worker, 'message')
    const received = once(worker, 'message')
    for (const part of ['123', '456', '7890']) a.send(Buffer.from(part))
    expect(await received).toEqual(['1234567890'])
    await exit
    a.close()
    b.close()
    expect(MSG_WAITALL).toBe(0x100)
  })
})

describe('signals', () => {
  it.for<[string, string, (ends: Ends) => unknown]>([
    ['recvfrom', 'recv', ({ a, buffer }) => a.recv(buffer)],
    ['recvfrom', 'recvFrom', ({ a, buffer }) => a.recvFrom(buffer)?.length],
    ['recvmsg', 'recvMessage', ({ a, buffer }) => a.recvMessage(buffer)?.length],
    ['recvmmsg', 'ReceiveBatch.receive', ({ a, batch }) => batch.receive(a) && batch.length(0)],
    ['sendto', 'send', ({ a }) => a.send(Buffer.from('12345'))],
    ['sendmsg', 'sendMessage', ({ a }) => a.sendMessage({ data: Buffer.from('12345') })],
    [
      'accept4',
      'accept',
      ({ listener, buffer }) => {
        using accepted = listener.accept() as Socket
        return accepted.recv(buffer)
      },
    ],
    ['readv', 'readv', ({ a, buffer }) => readv(a, [buffer])],
  ])('%s is tried again after EINTR: %s', async ([syscall, _name, call], test) => {
    skipUnless(test, needProgram('strace'))
    const ends = openEnds()
    for (const sender of [ends.b, ends.client]) sender.send(Buffer.from('abcde'))
    const { outcome, injected } = await withFault(`${syscall}:error=EINTR:when=1..3`, () => call(ends))
    expect({ outcome, injected }).toEqual({ outcome: { status: 'fulfilled', value: 5 }, injected: 3 })
  })

  it('close is not tried again after EINTR', async (test) => {
    skipUnless(test, needProgram('strace'))
    const socket = Socket.open(AF_UNIX, SOCK_STREAM)
    const { fd } = socket
    const { injected } = await withFault('close:error=EINTR:when=1', () => socket.close())
    expect([injected, socket.closed]).toEqual([1, true])
    // The failed call did not close it, so a second call would have.
    expect(openDescriptors().map((open) => open.fd)).toContain(fd)
    closeSync(fd)
  })

  it('a blocking recv goes on despite frequent signals', async () => {
    const { code, stdout, stderr } = await runModule(`
      import { spawn } from 'node:child_process'
      import { Worker, isMainThread, parentPort, workerData } from 'node:worker_threads'
      import { Socket } from './everything.js'
      if (isMainThread) {
        let signals = 0
        process.on('SIGUSR2', () => signals++)
        const [a, b] = Socket.pair(1, 1, 0, { blocking: true })
        globalThis.kept = [a, b] // or they would be closed when they are collected
        const worker = new Worker(new URL(import.meta.url), { workerData: a.fd })
        worker.on('message', (received) => console.log(received, signals > 0))
        worker.once('online', () => {
          const rain = 'import os, time\\nfor _ in range(200): os.kill(' + process.pid + ', 12); time.sleep(0.001)'
          spawn('python3', ['-c', rain], { stdio: 'inherit' }).on('close', () => b.send(Buffer.from('done')))
        })
      } else {
        const socket = Socket.adopt(workerData)
        const count = socket.recv(Buffer.alloc(9))
        socket.release()
        parentPort.postMessage(count)
      }
    `)
    expect({ code, stdout }, stderr).toEqual({ code: 0, stdout: '4 true\n' })
  })
})

describe('SIGPIPE', () => {
  it.each([
    ['send', 'a.send(data)'],
    ['sendTo', 'tcp.sendTo(data, tcp.peerName)'],
    ['sendMessage', 'a.sendMessage({ data })'],
    ['writev to a socket', 'writev(a, [data])'],
    ['writev to a pipe', 'writev(pipes.write, [data])'],
    ['SendBatch', '(batch.add(data), batch.send(a))'],
    ['sendfile to a socket', 'sendfile(a, file, 0, 10)'],
    ['sendfile to a pipe', 'sendfile(pipes.write, file, 0, 10)'],
    ['splice to a socket', 'splice(full.read, a, 10)'],
    ['splice to a pipe', 'splice(full.read, pipes.write, 10)'],
    ['tee to a pipe', 'tee(full.read, pipes.write, 10)'],
  ])('is not raised by %s', async (_name, expression) => {
    const { code, signal, stdout, stderr } = await runModule(`
      import { openSync } from 'node:fs'
      import { setImmediate } from 'node:timers/promises'
      import { OwnedFd, pipe, SendBatch, sendfile, Socket, splice, tee, writev } from './everything.js'
      let signals = 0
      process.on('SIGPIPE', () => signals++)
      const data = Buffer.from('0123456789')
      const [a, b] = Socket.pair()
      b.close()
      const listener = Socket.open(2, 1)
      listener.bind({ family: 'ipv4', address: '127.0.0.1', port: 0 })
      listener.listen()
      const tcp = Socket.open(2, 1, 0, { blocking: true })
      tcp.connect(listener.localName)
      tcp.shutdown(1)
      const pipes = pipe()
      pipes.read.close()
      const full = pipe()
      writev(full.write, [data])
      const file = OwnedFd.adopt(openSync(process.execPath, 'r'))
      const batch = new SendBatch()
      let code = 'nothing thrown'
      try { ${expression} } catch (error) { code = error.code }
      for (let turn = 0; turn < 10; turn++) await setImmediate()
      const afterwards = signals
      // The signal can still be sent and caught: nothing stays blocked or ignored.
      process.kill(process.pid, 'SIGPIPE')
      for (let turn = 0; turn < 1000 && signals === afterwards; turn++) await setImmediate()
      console.log(code, afterwards, signals)
      process.exit()
    `)
    expect({ code, signal, stdout }, stderr).toEqual({ code: 0, signal: null, stdout: 'EPIPE 0 1\n' })
  })
})

describe('close-on-exec and non-blocking', () => {
  it('holds for every way to obtain a descriptor: a child inherits none', async () => {
    const { stdout, stderr, code } = await runModule(`
      import { spawnSync } from 'node:child_process'
      import { readFileSync } from 'node:fs'
      import * as core from './everything.js'
      const inherited = () => spawnSync('ls', ['/proc/self/fd'], { encoding: 'utf8' }).stdout.split(/\\s+/).join(' ')
      const before = inherited()
      const { AF_INET, AF_UNIX, SOCK_STREAM, SOCK_DGRAM, Socket, OwnedFd, pipe, eventfd, epollCreate, ReceiveBatch } = core
      const listener = Socket.open(AF_UNIX, SOCK_STREAM)
      listener.bind({ family: 'unix' })
      listener.listen()
      const clients = [0, 1].map(() => Socket.open(AF_UNIX, SOCK_STREAM))
      for (const client of clients) client.connect(listener.localName)
      const [a, b] = Socket.pair()
      a.sendMessage({ data: Buffer.from('x'), descriptors: [listener, a] })
      const received = b.recvMessage(Buffer.alloc(4), { control: core.descriptorSpace(2) }).descriptors
      a.sendMessage({ data: Buffer.from('x'), descriptors: [listener] })
      const batch = new ReceiveBatch({ control: 64 })
      batch.receive(b)
      const ways = {
        open: [listener, Socket.open(AF_INET, SOCK_DGRAM)],
        pair: [a, b],
        accept: [listener.accept(), listener.accept({ blocking: true })],
        dup: [a.dup(), core.dup({ fd: 0 })],
        received,
        batch: batch.descriptors(0),
        pipe: Object.values(pipe()),
        eventfd: [eventfd()],
        epoll: [epollCreate()],
      }
      core.watch(a, core.EPOLLIN, () => {}).unref()
      const flags = (fd) => Number.parseInt(/^flags:\\s*(\\d+)/m.exec(readFileSync('/proc/self/fdinfo/' + fd, 'utf8'))[1], 8)
      for (const [way, files] of Object.entries(ways)) {
        for (const { fd } of files) {
          if ((flags(fd) & 0o2000000) === 0) console.log(way, fd, 'is not closed on exec')
          const blocks = way === 'epoll' || files[1]?.fd === fd && (way === 'accept' || way === 'dup')
          if (!blocks && (flags(fd) & 0o4000) === 0) console.log(way, fd, 'is blocking')
        }
        console.log(way, files.length)
      }
      console.log(inherited() === before ? 'inherited none' : before + ' became ' + inherited())
      process.exit()
    `)
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
    expect(stdout.split('\n')).toEqual([
      'open 2',
      'pair 2',
      'accept 2',
      'dup 2',
      'received 2',
      'batch 1',
      'pipe 2',
      'eventfd 1',
      'epoll 1',
      'inherited none',
      '',
    ])
  })
})

describe('the kernel’s refusals', () => {
  it.for<[string, string, (ends: Ends) => unknown]>([
    ['socket', 'EMFILE', () => Socket.open(AF_INET, SOCK_STREAM)],
    ['socket', 'ENOMEM', () => Socket.open(AF_INET, SOCK_STREAM)],
    ['socketpair', 'ENFILE', () => Socket.pair()],
    ['accept4', 'EMFILE', ({ listener }) => listener.accept()],
    ['accept4', 'ENOMEM', ({ listener }) => listener.accept()],
    ['accept4', 'ECONNABORTED', ({ listener }) => listener.accept()],
    ['epoll_create1', 'EMFILE', () => epollCreate()],
    ['epoll_ctl', 'ENOMEM', ({ epoll, listener }) => epollControl(epoll, EPOLL_CTL_ADD, listener, EPOLLIN)],
    ['epoll_ctl', 'ENOSPC', ({ listener }) => watch(listener, EPOLLIN, () => {})],
    ['recvmsg', 'ENOMEM', ({ b, buffer }) => b.recvMessage(buffer, { control: 64 })],
    ['recvmmsg', 'ENOMEM', ({ b, batch }) => batch.receive(b)],
    ['sendmsg', 'ENOBUFS', ({ b, buffer }) => b.sendMessage({ data: buffer })],
    ['pipe2', 'EMFILE', () => pipe()],
    ['eventfd2', 'EMFILE', () => eventfd()],
    ['fcntl', 'EMFILE', ({ b }) => b.dup()],
  ])('%s: %s surfaces, and nothing leaks', async ([syscall, code, call], test) => {
    skipUnless(test, needProgram('strace'))
    const ends = openEnds()
    // Opens what a thread's first watch leaves open.
    watch(ends.a, EPOLLIN, () => {}).stop()
    const { outcome, injected } = await withFault(`${syscall}:error=${code}:when=1`, () => call(ends))
    expect({ outcome, injected }).toEqual({
      outcome: { status: 'rejected', reason: expect.objectContaining({ code }) },
      injected: 1,
    })
  })

  it('surfaces a true EMFILE, and works again after it', async () => {
    const { code, stdout, stderr } = await runModule(`
      import { readdirSync } from 'node:fs'
      import { setResourceLimit, Socket } from './everything.js'
      const used = readdirSync('/proc/self/fd').length
      setResourceLimit({ soft: used + 20 })
      const sockets = []
      let code
      try { for (;;) sockets.push(Socket.open(1, 1)) } catch (error) { code = error.code }
      console.log(code, sockets.length > 0)
      sockets.pop().close()
      try { Socket.pair() } catch (error) { console.log(error.code) }
      sockets.push(Socket.open(1, 1))
      for (const socket of sockets) socket.close()
    `)
    expect({ code, stdout }, stderr).toEqual({ code: 0, stdout: 'EMFILE true\nEMFILE\n' })
  })
})

type Ends = ReturnType<typeof openEnds>

/** Objects to make calls on, closed when the running test ends. */
function openEnds() {
  const [a, b] = Socket.pair()
  const listener = Socket.open(AF_UNIX, SOCK_STREAM)
  listener.bind({ family: 'unix' })
  listener.listen()
  const client = Socket.open(AF_UNIX, SOCK_STREAM)
  client.connect(listener.localName)
  const epoll = epollCreate()
  onTestFinished(() => {
    for (const owned of [a, b, listener, client, epoll]) owned.close()
  })
  return { a, b, listener, client, epoll, batch: new ReceiveBatch(), buffer: Buffer.alloc(8) }
}

/** The two ends of a TCP connection, the accepted one first. */
async function connected(): Promise<[Socket, Socket]> {
  using listener = Socket.open(AF_INET, SOCK_STREAM)
  listener.bind(loopback)
  listener.listen()
  const client = Socket.open(AF_INET, SOCK_STREAM)
  client.connect(listener.localName)
  await readable(listener)
  return [listener.accept() as Socket, client]
}
