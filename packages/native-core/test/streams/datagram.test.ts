import { AsyncLocalStorage } from 'node:async_hooks'
import { once } from 'node:events'
import { closeSync, openSync, readFileSync, readlinkSync, readSync, writeSync } from 'node:fs'
import { setImmediate as turn, setTimeout as wait } from 'node:timers/promises'
import {
  createHosts,
  expectErrno,
  expectRest,
  guardDescriptors,
  needLinux,
  needNamespaces,
  needProgram,
  openDescriptors,
  runProgram,
  runPython,
  skipUnless,
  spawnProgram,
  waitForLine,
} from '@linux-sockets/testkit'
import { beforeEach, describe, expect, it, onTestFinished, vi } from 'vitest'
import {
  AF_INET,
  AF_INET6,
  AF_UNIX,
  EPOLL_CTL_ADD,
  IPPROTO_IP,
  MSG_CTRUNC,
  MSG_ERRQUEUE,
  MSG_TRUNC,
  SHUT_RD,
  SHUT_RDWR,
  SOCK_DGRAM,
  SOCK_SEQPACKET,
} from '../../src/constants.js'
import { epollControl, epollCreate, epollWait } from '../../src/epoll/index.js'
import {
  controlSpace,
  descriptorSpace,
  errno,
  formatAddress,
  type IncomingMessage,
  type InetAddress,
  isNonBlocking,
  type OwnedFd,
  pipe,
  readable,
  Socket,
  type SystemError,
  setOption,
  setOptionInt,
  writable,
} from '../../src/index.js'
import { native } from '../../src/native.js'
import { SO_PASSPIDFD } from '../../src/options/index.js'
import {
  DatagramChannel,
  type DatagramChannelOptions,
  type DatagramHandlers,
  type DatagramView,
  type FailedDatagram,
  type IncomingDatagram,
} from '../../src/streams/index.js'
import { compileSources, needOneThread, runModule, startWorker } from '../outside.js'

guardDescriptors()
compileSources()

const IP_PKTINFO = 8
const IP_RECVERR = 11

describe('receiving', () => {
  it('calls the handler with every datagram, its sender and its length', async () => {
    const { channel, address, errors } = listen({
      datagram({ data, length, address, sockaddr, flags }) {
        seen.push([data.toString(), length, address, flags])
        channel.send(data, sockaddr)
      },
    })
    const seen: unknown[] = []
    const client = udp()
    client.sendTo(Buffer.from('one'), address)
    client.sendTo(Buffer.alloc(0), address)
    client.sendTo(Buffer.from('three'), address)
    expect(await receiveAll(client, 3)).toEqual(['one', '', 'three'])
    expect(seen).toEqual([
      ['one', 3, client.localName, 0],
      ['', 0, client.localName, 0],
      ['three', 5, client.localName, 0],
    ])
    expect(channel.statistics).toMatchObject({ received: 3, bytesRead: 8, sent: 3, bytesWritten: 8, truncated: 0 })
    expect(errors).toEqual([])
  })

  it.each([
    ['IPv4', AF_INET, '127.0.0.1'],
    ['IPv6', AF_INET6, '::1'],
  ])('answers a Python client over %s', async (_name, family, host) => {
    const { channel, address } = listen(
      { datagram: ({ data, sockaddr }) => void channel.send(data, sockaddr) },
      {},
      family,
    )
    const output = await runPython(
      `
import socket, sys
s = socket.socket(socket.AF_INET6 if ':' in sys.argv[1] else socket.AF_INET, socket.SOCK_DGRAM)
s.settimeout(60)
for i in range(500):
    s.sendto(b'%d' % i * (1 + i % 7), (sys.argv[1], int(sys.argv[2])))
    data, sender = s.recvfrom(100)
    assert data == b'%d' % i * (1 + i % 7) and sender[1] == int(sys.argv[2]), (i, data, sender)
print('done')`,
      host,
      String(address.port),
    )
    expect(output).toBe('done\n')
    expect(channel.statistics).toMatchObject({ received: 500, sent: 500, failed: 0 })
  })

  it('delivers in order over many batches and turns', async () => {
    const got: number[] = []
    const { address } = listen(
      { datagram: ({ data }) => got.push(data.readInt32LE()) > 0 },
      { receive: { count: 3 }, budget: 5 },
    )
    const client = udp()
    for (let i = 0; i < 100; i++) client.sendTo(int32(i), address)
    await until(() => got.length === 100)
    expect(got).toEqual(numbers(100))
  })

  it('lets the loop turn while datagrams wait', async () => {
    let got = 0
    const { address } = listen({ datagram: () => void got++ }, { receive: { count: 4 }, budget: 8 })
    const client = udp()
    for (let i = 0; i < 64; i++) client.sendTo(int32(i), address)
    const seen = new Set<number>()
    while (got < 64) {
      await turn()
      seen.add(got)
    }
    expect(seen.size).toBeGreaterThan(3)
  })

  it('reports what was cut', async () => {
    const got: [string, number, number][] = []
    const { channel, address } = listen(
      { datagram: ({ data, length, flags }) => void got.push([data.toString(), length, flags]) },
      { receive: { size: 4 } },
    )
    const client = udp()
    client.sendTo(Buffer.from('abcdefgh'), address)
    client.sendTo(Buffer.from('abcd'), address)
    await until(() => got.length === 2)
    expect(got).toEqual([
      ['abcd', 8, MSG_TRUNC],
      ['abcd', 4, 0],
    ])
    expect(channel.statistics).toMatchObject({ received: 2, bytesRead: 8, truncated: 1, controlTruncated: 0 })
  })

  it('gives control messages, and reports when they were cut', async () => {
    const got: IncomingDatagram[] = []
    for (const control of [64, 8]) {
      const { channel, address } = listen(
        { datagram: (datagram) => void got.push(datagram.copy()) },
        { receive: { control } },
      )
      setOptionInt(channel.socket, IPPROTO_IP, IP_PKTINFO, 1)
      udp().sendTo(Buffer.from('x'), address)
      await until(() => channel.statistics.received === 1)
      expect(channel.statistics.controlTruncated).toBe(control === 8 ? 1 : 0)
    }
    const [whole, cut] = got as [IncomingDatagram, IncomingDatagram]
    expect(whole.control).toMatchObject([{ level: IPPROTO_IP, type: IP_PKTINFO }])
    expect(whole.flags).toBe(0)
    expect(cut.control).toEqual([])
    expect(cut.flags).toBe(MSG_CTRUNC)
  })

  it('reuses the view and its bytes, but not a copy', async () => {
    const views: unknown[] = []
    const copies: IncomingDatagram[] = []
    const bytes: Buffer[] = []
    const { address } = listen(
      {
        datagram(datagram) {
          views.push(datagram)
          bytes.push(datagram.data)
          copies.push(datagram.copy())
        },
      },
      { receive: { count: 1 } },
    )
    const client = udp()
    client.sendTo(Buffer.from('first'), address)
    client.sendTo(Buffer.from('other'), address)
    await until(() => copies.length === 2)
    expect(views[0]).toBe(views[1])
    expect(bytes[0]?.toString()).toBe('other')
    expect(copies.map(({ data }) => data.toString())).toEqual(['first', 'other'])
  })

  it('delivers the rest after a handler has thrown', async () => {
    const { code, stdout, stderr } = await runModule(`
      import { AF_INET, DatagramChannel, SOCK_DGRAM, Socket } from './everything.js'
      process.on('uncaughtException', (error) => console.log('caught', error.message))
      const socket = Socket.open(AF_INET, SOCK_DGRAM)
      socket.bind({ family: 'ipv4', address: '127.0.0.1', port: 0 })
      for (const text of ['a', 'b', 'c', 'd']) socket.sendTo(Buffer.from(text), socket.localName)
      const channel = new DatagramChannel(socket, {
        error: console.error,
        datagram({ data }) {
          console.log(data.toString())
          if (data.toString() === 'd') channel.close()
          if (data.toString() === 'b' || data.toString() === 'c') throw new Error('no ' + data)
        },
      })`)
    expect({ code, stdout, stderr }).toEqual({
      code: 0,
      stdout: 'a\nb\ncaught no b\nc\ncaught no c\nd\n',
      stderr: '',
    })
  })

  it('holds everything while paused, also during a batch', async () => {
    const got: string[] = []
    const { channel, address } = listen({
      datagram({ data }) {
        got.push(data.toString())
        if (got.length === 2) channel.pause()
      },
    })
    const client = udp()
    for (const text of ['a', 'b', 'c', 'd']) client.sendTo(Buffer.from(text), address)
    await until(() => got.length === 2)
    client.sendTo(Buffer.from('e'), address)
    await expectRest()
    expect(got).toEqual(['a', 'b'])
    channel.resume()
    await until(() => got.length === 5)
    expect(got).toEqual(['a', 'b', 'c', 'd', 'e'])
  })

  it('leaves the watch alone when it is paused and resumed during a batch', async () => {
    const got: number[] = []
    const [a, b] = unixPair()
    const { channel } = open(a, {
      datagram({ data }) {
        got.push(data.readInt32LE())
        if (got.length !== 2) return
        // The turn that `resume` asks for comes while the channel is paused again.
        channel.pause().resume().pause()
        setImmediate(() => channel.resume())
      },
    })
    const control = vi.spyOn(native, 'epoll_ctl')
    onTestFinished(() => control.mockRestore())
    for (let i = 0; i < 4; i++) b.send(int32(i))
    await until(() => got.length === 4)
    await turn()
    expect(got).toEqual(numbers(4))
    expect(control.mock.calls.filter(([, , fd]) => fd === a.fd)).toEqual([])
  })

  it('stops during a batch when it is closed', async () => {
    const got: string[] = []
    const { channel, address } = listen({
      datagram({ data }) {
        got.push(data.toString())
        channel.close()
      },
    })
    const client = udp()
    for (const text of ['a', 'b', 'c']) client.sendTo(Buffer.from(text), address)
    await until(() => channel.closed)
    await turn()
    expect(got).toEqual(['a'])
  })

  it('ends after shutdown, and rests', async () => {
    let ended = 0
    const got: string[] = []
    const [a, b] = unixPair()
    open(a, { datagram: ({ data }) => void got.push(data.toString()), end: () => void ended++ })
    b.send(Buffer.from('last'))
    a.shutdown(SHUT_RD)
    await until(() => ended > 0)
    await expectRest()
    expect(got).toEqual(['last'])
    expect(ended).toBe(1)
  })

  it.each([false, true])('rests after a hang-up; paused: %s', async (paused) => {
    let ended = 0
    const got: string[] = []
    const [a, b] = unixPair()
    const { channel } = open(a, { datagram: ({ data }) => void got.push(data.toString()), end: () => void ended++ })
    if (paused) channel.pause()
    b.send(Buffer.from('last'))
    a.shutdown(SHUT_RDWR)
    if (!paused) await until(() => ended > 0)
    await expectRest()
    channel.resume()
    await until(() => ended > 0)
    expect(got).toEqual(['last'])
  })
})

describe('a handler that throws at a hang-up', () => {
  const unix = `
    const [socket, peer] = Socket.pair(AF_UNIX, SOCK_DGRAM)
    process.on('exit', () => peer.close())
    for (let i = 0; i < 3; i++) peer.send(Buffer.from('last'))
    const channel = new DatagramChannel(socket, handlers, { budget })
    while (channel.send(Buffer.alloc(1000))) {}
    channel.send(Buffer.alloc(1000))`
  const udp = `
    const [socket, dead] = [0, 1].map(() => Socket.open(AF_INET, SOCK_DGRAM))
    for (const each of [socket, dead]) each.bind({ family: 'ipv4', address: '127.0.0.1', port: 0 })
    socket.connect(dead.localName)
    dead.close()
    setOption(socket, IP_RECVERR, true)
    const channel = new DatagramChannel(socket, handlers, { budget })
    for (let i = 0; i < 3; i++) channel.send(Buffer.from('lost'))`

  it.each([
    ['datagram', 'unix', 'handler', { datagram: 3, drain: 1, error: 2, end: 1 }],
    ['drain', 'unix', 'handler', { datagram: 3, drain: 1, error: 2, end: 1 }],
    ['drain', 'unix', 'iterator', { datagram: 3, drain: 1, error: 2, end: 1 }],
    ['error', 'unix', 'handler', { datagram: 3, drain: 1, error: 2, end: 1 }],
    ['error', 'udp', 'handler', { errorQueue: 3, error: expect.any(Number), end: 1 }],
    ['errorQueue', 'udp', 'handler', { errorQueue: 3, error: expect.any(Number), end: 1 }],
    ['errorQueue', 'udp', 'iterator', { errorQueue: 3, error: expect.any(Number), end: 1 }],
    ['end', 'unix', 'handler', { datagram: 3, drain: 1, error: 2, end: 1 }],
  ])('does not disturb the others: %s, %s, %s', async (thrower, kind, reader, calls) => {
    for (const budget of [1, 256]) {
      const { code, stdout, stderr } = await runModule(`
        import { AF_INET, AF_UNIX, DatagramChannel, IP_RECVERR, SHUT_RDWR, setOption, SOCK_DGRAM, Socket } from './everything.js'
        const calls = {}
        let uncaught = 0
        process.on('uncaughtException', () => uncaught++)
        const handler = (name) => () => {
          calls[name] = (calls[name] ?? 0) + 1
          if (name === '${thrower}') throw new Error(name)
        }
        const handlers = Object.fromEntries(['drain', 'end', 'error', 'errorQueue'].map((name) => [name, handler(name)]))
        if ('${reader}' === 'handler') handlers.datagram = handler('datagram')
        const budget = ${budget}
        ${kind === 'unix' ? unix : udp}
        socket.shutdown(SHUT_RDWR)
        if ('${reader}' === 'iterator') for await (const _ of channel) calls.datagram = (calls.datagram ?? 0) + 1
        process.on('exit', () => {
          console.log(JSON.stringify({ calls, uncaught }))
          socket.close()
        })`)
      expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
      const found = JSON.parse(stdout)
      expect(found).toEqual({ calls, uncaught: found.calls[thrower] })
    }
  })
})

describe('iterating', () => {
  it('gives copies in order, and ends with the channel', async () => {
    const { channel, address } = listen({}, { receive: { count: 4 } })
    const client = udp()
    for (let i = 0; i < 50; i++) client.sendTo(int32(i), address)
    const got: IncomingDatagram[] = []
    for await (const datagram of channel) {
      got.push(datagram)
      if (got.length === 50) channel.close()
    }
    expect(got.map(({ data }) => data.readInt32LE())).toEqual(numbers(50))
    expect(got[49]).toMatchObject({ address: client.localName, length: 4, flags: 0, control: [], descriptors: [] })
    expect(await channel[Symbol.asyncIterator]().next()).toEqual({ done: true, value: undefined })
  })

  it('leaves in the kernel what no iterator asks for, and delivers it later', async () => {
    const [a, b] = unixPair()
    const { channel } = open(a, {}, { receive: { count: 2 } })
    const { channel: sender } = open(b, {})
    for (let i = 0; i < 1000; i++) sender.send(int32(i))
    const flushed = sender.flush()
    const iterator = channel[Symbol.asyncIterator]()
    expect((await iterator.next()).value.data.readInt32LE()).toBe(0)
    await expectRest()
    expect(channel.statistics.received).toBe(1)
    // One batch has been taken and the receive queue is full: the sender feels it.
    expect(sender.queuedDatagrams).toBeGreaterThan(0)
    const got: number[] = []
    for await (const { data } of channel) if (got.push(data.readInt32LE()) === 999) break
    expect(got).toEqual(numbers(1000).slice(1))
    await flushed
  })

  it('can be left and started again', async () => {
    const { channel, address } = listen({})
    const client = udp()
    for (const text of ['a', 'b', 'c']) client.sendTo(Buffer.from(text), address)
    const got: string[] = []
    for await (const { data } of channel) if (got.push(data.toString()) === 2) break
    for await (const { data } of channel) if (got.push(data.toString()) === 3) break
    expect(got).toEqual(['a', 'b', 'c'])
    expect(channel.closed).toBe(false)
  })

  it('shares the datagrams among iterators, and settles what one of them waits for', async () => {
    const { channel, address } = listen({})
    const [one, two] = [channel[Symbol.asyncIterator](), channel[Symbol.asyncIterator]()]
    const waiting = [one.next(), two.next(), one.next(), two.next()]
    await one.return?.()
    expect(await waiting[0]).toEqual({ done: true, value: undefined })
    expect(await waiting[2]).toEqual({ done: true, value: undefined })
    const client = udp()
    for (const text of ['a', 'b']) client.sendTo(Buffer.from(text), address)
    expect((await waiting[1])?.value.data.toString()).toBe('a')
    expect((await waiting[3])?.value.data.toString()).toBe('b')
    const last = two.next()
    channel.close()
    expect(await last).toEqual({ done: true, value: undefined })
  })

  it('pauses', async () => {
    const { channel, address } = listen({})
    expect(channel.pause()).toBe(channel)
    const next = channel[Symbol.asyncIterator]().next()
    udp().sendTo(Buffer.from('a'), address)
    await expectRest()
    const before = channel.statistics
    expect(before.received).toBe(0)
    expect(channel.resume()).toBe(channel)
    expect((await next).value.data.toString()).toBe('a')
    // The statistics are copies.
    expect([before.received, channel.statistics.received]).toEqual([0, 1])
  })

  it('is refused if there is a handler', () => {
    const { channel } = listen({ datagram() {} })
    expect(() => channel[Symbol.asyncIterator]()).toThrow(TypeError)
  })
})

describe('errors', () => {
  it.each([false, true])('reports what the network reports and goes on; paused: %s', async (paused) => {
    const { socket, address } = deadPort()
    const got: string[] = []
    const { channel, errors } = open(socket, { datagram: ({ data }) => void got.push(data.toString()) })
    if (paused) channel.pause()
    expect(channel.send(Buffer.from('lost'))).toBe(true)
    await until(() => errors.length === 1)
    expect(errors).toMatchObject([{ error: { code: 'ECONNREFUSED', errno: -111, syscall: 'recvmmsg' } }])
    expect(errors[0]?.failed).toBeUndefined()
    await expectRest()
    channel.resume()
    const peer = udp(AF_INET, address)
    channel.send(Buffer.from('ping'))
    expect(await receiveAll(peer, 1)).toEqual(['ping'])
    peer.sendTo(Buffer.from('pong'), socket.localName)
    await until(() => got.length === 1)
    expect(got).toEqual(['pong'])
    expect(channel.statistics).toMatchObject({ sent: 2, failed: 0 })
  })

  it('sends a datagram whose first try returned the error of an earlier one', async () => {
    const { socket, address } = deadPort()
    const { channel, errors } = open(socket, {})
    channel.send(Buffer.from('lost'))
    const peer = udp(AF_INET, address)
    // The kernel answers this one with ECONNREFUSED.
    expect(channel.send(Buffer.from('kept'))).toBe(true)
    expect(errors).toEqual([])
    expect(await receiveAll(peer, 1)).toEqual(['kept'])
    await turn()
    expect(errors).toMatchObject([{ error: { code: 'ECONNREFUSED' } }])
    expect(errors[0]?.failed).toBeUndefined()
    expect(channel.statistics).toMatchObject({ sent: 2, failed: 0 })
  })

  it('empties the error queue without a handler for it', async () => {
    const { address } = deadPort({ connect: false })
    const { channel, errors } = listen({ datagram() {} })
    setOptionInt(channel.socket, IPPROTO_IP, IP_RECVERR, 1)
    for (let i = 0; i < 3; i++) channel.send(Buffer.from('x'), address)
    await until(() => channel.statistics.errorQueue === 3)
    await expectRest()
    expect(errors[0]).toMatchObject({ error: { code: 'ECONNREFUSED' } })
    using epoll = epollCreate()
    epollControl(epoll, EPOLL_CTL_ADD, channel.socket)
    expect(epollWait(epoll, new Uint32Array(3))).toBe(0)
  })

  it('passes the error queue to its handler', async () => {
    const { address } = deadPort({ connect: false })
    const messages: [IncomingMessage, string][] = []
    const { channel } = listen({ errorQueue: (message, data) => void messages.push([message, data.toString()]) })
    setOptionInt(channel.socket, IPPROTO_IP, IP_RECVERR, 1)
    channel.send(Buffer.from('whither'), address)
    await until(() => messages.length === 1)
    const [message, data] = messages[0] as [IncomingMessage, string]
    expect(data).toBe('whither')
    expect(message).toMatchObject({ address, flags: MSG_ERRQUEUE, control: [{ level: IPPROTO_IP, type: IP_RECVERR }] })
  })

  it('empties the error queue also after a hang-up', async () => {
    let ended = 0
    const { socket } = deadPort()
    setOptionInt(socket, IPPROTO_IP, IP_RECVERR, 1)
    const { channel } = open(socket, { datagram() {}, end: () => void ended++ }, { budget: 1 })
    for (let i = 0; i < 3; i++) channel.send(Buffer.from('x'))
    socket.shutdown(SHUT_RDWR)
    await until(() => channel.statistics.errorQueue === 3)
    await expectRest()
    expect(ended).toBe(1)
  })

  it('never takes a datagram for an error of a Unix socket', async () => {
    const [a, b] = unixPair()
    const { channel, errors } = open(a, {})
    b.send(Buffer.from('hello'))
    channel.send(Buffer.from('unread'))
    // The peer turns away with a datagram unread: ECONNRESET.
    b.disconnect()
    await until(() => errors.length === 1)
    expect(errors).toMatchObject([{ error: { code: 'ECONNRESET' } }])
    const { value } = await channel[Symbol.asyncIterator]().next()
    expect(value.data.toString()).toBe('hello')
  })

  it('ends on a socket that always fails and has hung up', async () => {
    let ended = 0
    const { errors } = open(Socket.open(AF_UNIX, SOCK_SEQPACKET), { datagram() {}, end: () => void ended++ })
    await until(() => ended === 1)
    expect(new Set(errors.map(({ error }) => error.code))).toEqual(new Set(['ENOTCONN']))
    await expectRest()
    expect(ended).toBe(1)
  })

  it('rests on a socket that always fails', async () => {
    const listener = Socket.open(AF_UNIX, SOCK_SEQPACKET)
    listener.bind({ family: 'unix' })
    listener.listen()
    using client = Socket.open(AF_UNIX, SOCK_SEQPACKET)
    client.connect(listener.localName)
    // A connection waits, so it is readable; but no datagram ever comes from a listener.
    const { errors } = open(listener, { datagram() {} })
    await until(() => errors.length > 20)
    await expectRest()
    expect(new Set(errors.map(({ error }) => error.code))).toEqual(new Set(['ENOTCONN']))
  })
})

describe('sending', () => {
  it('accepts an address as text, and lists the accepted forms in errors', async () => {
    using receiver = Socket.open(AF_INET, SOCK_DGRAM)
    receiver.bind({ family: 'ipv4', address: '127.0.0.1', port: 0 })
    const channel = new DatagramChannel(Socket.open(AF_INET, SOCK_DGRAM), { error() {} })
    expect(channel.send(Buffer.from('x'), formatAddress(receiver.localName))).toBe(true)
    await readable(receiver)
    expect(receiver.recvFrom(Buffer.alloc(9))?.length).toBe(1)
    expect(() => channel.send(Buffer.from('x'), 'nowhere')).toThrow(/^address must be an IP address with its port/)
    channel.close()
  })

  it('queues what the kernel does not take, in order, and tells when the queue is empty', async () => {
    const [a, b] = unixPair()
    let drained = 0
    const { channel, errors } = open(a, { drain: () => void drained++ })
    let direct = 0
    while (channel.send(int32(direct))) direct++
    for (let i = direct + 1; i < 1000; i++) expect(channel.send(int32(i))).toBe(false)
    expect(channel.queuedDatagrams).toBe(1000 - direct)
    expect(channel.queuedBytes).toBe(4 * (1000 - direct))
    const flushed = channel.flush()
    await expectRest()
    expect(drained).toBe(0)
    expect((await receiveBytes(b, 1000)).map((data) => data.readInt32LE())).toEqual(numbers(1000))
    await flushed
    await until(() => drained === 1)
    expect(channel.statistics).toMatchObject({
      sent: 1000,
      bytesWritten: 4000,
      failed: 0,
      peakQueuedDatagrams: 1000 - direct,
    })
    expect(channel.statistics.wouldBlock).toBeGreaterThan(0)
    expect([channel.queuedDatagrams, channel.queuedBytes]).toEqual([0, 0])
    expect(channel.send(int32(1))).toBe(true)
    expect(errors).toEqual([])
  })

  it('keeps the order and does not spin without readiness events: a Unix socket without a peer', async () => {
    const receiver = Socket.open(AF_UNIX, SOCK_DGRAM)
    onTestFinished(() => receiver.close())
    receiver.bind({ family: 'unix' })
    const address = receiver.localName
    const sender = Socket.open(AF_UNIX, SOCK_DGRAM)
    const { channel, errors } = open(sender, {})
    for (let i = 0; i < 1000; i++) channel.send(int32(i), address)
    expect(channel.queuedDatagrams).toBeGreaterThan(0)
    // The documentation of `sendTo` warns of this.
    for (let i = 0; i < 3; i++) {
      expect(sender.sendTo(int32(0), address)).toBeNull()
      await writable(sender, { signal: AbortSignal.timeout(60_000) })
    }
    // It tries again by the clock: after 1, 2, 4 … milliseconds, and then every 64.
    const { wouldBlock } = channel.statistics
    const start = performance.now()
    await expectRest()
    expect(channel.statistics.wouldBlock - wouldBlock).toBeLessThan(10 + (performance.now() - start) / 64)
    expect((await receiveBytes(receiver, 1000)).map((data) => data.readInt32LE())).toEqual(numbers(1000))
    await channel.flush()
    expect(errors).toEqual([])
  })

  it('copies what it queues', async () => {
    const [a, b] = unixPair()
    const { channel } = open(a, {})
    const data = Buffer.from('before')
    let count = 1
    while (channel.send(data)) count++
    data.write('after!')
    expect(new Set(await receiveAll(b, count))).toEqual(new Set(['before']))
  })

  it('grows with what is queued, up to datagrams longer than its batch', async () => {
    const [a, b] = unixPair()
    const { channel, errors } = open(a, {})
    const lengths = [10, 70_000, 20, 100_000, 0, 65_536, 30]
    const sent: Buffer[] = []
    for (let i = 0; i < 60; i++) {
      sent.push(Buffer.alloc(lengths[i % lengths.length] as number, i))
      channel.send(sent[i] as Buffer)
    }
    expect(channel.queuedDatagrams).toBeGreaterThan(14)
    const got = await receiveBytes(b, 60, 100_000)
    expect(got.map(({ length }) => length)).toEqual(sent.map(({ length }) => length))
    expect(got.every((data, i) => data.equals(sent[i] as Buffer))).toBe(true)
    expect(errors).toEqual([])
  })

  it('refuses datagrams that its queue has no room for, and sends all that it accepted', async () => {
    for (const options of [{ maxQueuedDatagrams: 5 }, { maxQueuedBytes: 50 }]) {
      const [a, b] = unixPair()
      const { channel } = open(a, {}, options)
      let accepted = 0
      const error = await expectErrno(() => {
        for (;;) {
          channel.send(Buffer.alloc(10, accepted))
          accepted++
        }
      }, 'ENOBUFS')
      expect(error.syscall).toBe('send')
      expect(error.message).toContain(`5 datagrams of 50 bytes are queued (${Object.keys(options)})`)
      expect([channel.queuedDatagrams, channel.queuedBytes]).toEqual([5, 50])
      expect((await receiveBytes(b, accepted)).map((data) => data[0])).toEqual(numbers(accepted).map((i) => i & 0xff))
      await channel.flush()
      expect(channel.statistics.sent).toBe(accepted)
    }
  })

  it('reports a datagram that the kernel refuses, and sends the others', async () => {
    const peer = udp()
    const { channel, errors } = open(udp(), {})
    const long = Buffer.alloc(70_000)
    expect(channel.send(Buffer.from('a'), peer.localName)).toBe(true)
    expect(channel.send(long, peer.localName)).toBe(true)
    expect(channel.send(Buffer.from('b'), peer.localName)).toBe(true)
    expect(errors).toEqual([])
    await turn()
    expect(errors).toMatchObject([{ error: { code: 'EMSGSIZE' }, failed: { address: peer.localName } }])
    expect(long.equals(errors[0]?.failed?.data ?? Buffer.alloc(0))).toBe(true)
    expect(await receiveAll(peer, 2)).toEqual(['a', 'b'])
    expect(channel.statistics).toMatchObject({ sent: 2, failed: 1 })
  })

  it('reports a queued datagram that the kernel refuses, and sends those behind it', async () => {
    const [a, b] = unixPair()
    const { channel, errors } = open(a, {})
    let count = 0
    while (channel.send(int32(count))) count++
    const long = Buffer.alloc(1 << 20, 7)
    expect(channel.send(long)).toBe(false)
    for (let i = 1; i < 100; i++) channel.send(int32(count + i))
    const flushed = channel.flush()
    expect((await receiveBytes(b, count + 100)).map((data) => data.readInt32LE())).toEqual(numbers(count + 100))
    await flushed
    await turn()
    expect(errors).toMatchObject([{ error: { code: 'EMSGSIZE' } }])
    expect(errors[0]?.failed?.data.length).toBe(1 << 20)
    expect(channel.statistics).toMatchObject({ sent: count + 100, failed: 1 })
  })

  it('goes on when the peer is gone', async () => {
    const [a, b] = unixPair()
    const { channel, errors } = open(a, {})
    let count = 0
    while (channel.send(int32(count))) count++
    for (let i = 1; i < 10; i++) channel.send(int32(count + i))
    const flushed = channel.flush()
    b.close()
    await flushed
    await turn()
    expect(errors.filter(({ failed }) => failed !== undefined)).toHaveLength(10)
    expect(channel.statistics).toMatchObject({ sent: count, failed: 10 })
  })

  it('waits for a device without room (ENOBUFS), and neither loses nor reorders', async (test) => {
    skipUnless(test, needNamespaces(), needProgram('tc'), needProgram('python3'))
    const [left, right] = createHosts(['10.77.0.1/24'], ['10.77.0.2/24'])
    await runProgram('tc', `-n ${left.name} qdisc add dev veth0 root tbf rate 800kbit burst 2000 limit 3000`.split(' '))
    const receiver = right.spawn('python3', [
      '-uc',
      `
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(('10.77.0.2', 7000))
s.settimeout(60)
print('ready')
print('got', [s.recv(2000)[0] for i in range(60)] == list(range(60)))`,
    ])
    await waitForLine(receiver, /ready/)
    const { code, stdout, stderr } = await runModule(
      `
      import { AF_INET, DatagramChannel, SOCK_DGRAM, Socket, setOptionInt } from './everything.js'
      const channel = new DatagramChannel(Socket.open(AF_INET, SOCK_DGRAM), { error: console.error })
      // Without it the kernel doesn't tell that the device dropped a datagram.
      setOptionInt(channel.socket, 0, ${IP_RECVERR}, 1)
      for (let i = 0; i < 60; i++) {
        channel.send(Buffer.alloc(700, i), { family: 'ipv4', address: '10.77.0.2', port: 7000 })
      }
      console.log(channel.queuedDatagrams > 0, channel.statistics.noBuffers > 0)
      await channel.drain()
      console.log(channel.statistics.sent, channel.statistics.failed)`,
      { wrapper: ['ip', 'netns', 'exec', left.name] },
    )
    expect({ code, stdout, stderr }).toEqual({ code: 0, stdout: 'true true\n60 0\n', stderr: '' })
    expect((await receiver.finished).stdout).toBe('ready\ngot True\n')
  })

  it('refuses arguments that can not be sent, also when it would queue them', () => {
    const [a] = unixPair()
    const { channel } = open(a, {})
    for (const _state of ['empty', 'queued']) {
      expect(() => channel.send('text' as unknown as Uint8Array)).toThrow(TypeError)
      expect(() => channel.send(Buffer.alloc(1), { family: 'ipv4', address: 'nowhere', port: 1 })).toThrow(TypeError)
      expect(() => channel.send(Buffer.alloc(1), new Uint8Array(1))).toThrow(RangeError)
      while (channel.send(Buffer.alloc(1))) {}
    }
  })

  it('sends control messages, at once and from the queue', async () => {
    const [a, b] = unixPair()
    setOptionInt(b, 1, SO_PASSCRED, 1)
    const { channel, errors } = open(a, {})
    const { channel: peer } = open(b, {}, { receive: { control: 64 } })
    const credentials = Buffer.from(Int32Array.of(process.pid, 0, 0).buffer)
    credentials.writeUInt32LE(process.getuid?.() ?? 0, 4)
    credentials.writeUInt32LE(process.getgid?.() ?? 0, 8)
    const control = [{ level: 1, type: SCM_CREDENTIALS, data: credentials }]
    let count = 1
    while (channel.send(int32(count), undefined, { control })) count++
    let got = 0
    for await (const datagram of peer) {
      expect(datagram.control).toEqual(control.map((message) => ({ ...message, data: new Uint8Array(credentials) })))
      if (++got === count) break
    }
    expect(errors).toEqual([])
  })
})

describe('descriptors', () => {
  it('passes descriptors, which may be closed once send has returned', async () => {
    const [a, b] = unixPair()
    const { channel } = open(a, {})
    const { channel: peer } = open(b, {}, { receive: { control: descriptorSpace(1) } })
    let count = 0
    for (let queued = 0; queued < 3; count++) {
      const { read, write } = pipe()
      writeSync(write.fd, String(count))
      if (!channel.send(int32(count), undefined, { descriptors: [read] })) queued++
      read.close()
      write.close()
    }
    let got = 0
    for await (const { data, descriptors } of peer) {
      const [descriptor] = descriptors
      const text = Buffer.alloc(10)
      expect(text.toString('utf8', 0, readSync(descriptor?.fd ?? -1, text))).toBe(String(data.readInt32LE()))
      descriptor?.close()
      if (++got === count) break
    }
  })

  it('closes what the handler does not take, what is not delivered, and what is not sent', async () => {
    const [a, b] = unixPair()
    const { channel } = open(a, {})
    let got = 0
    const { channel: peer } = open(
      b,
      {
        datagram() {
          if (++got === 2) peer.close()
        },
      },
      { receive: { control: descriptorSpace(1) } },
    )
    while (channel.send(int32(0), undefined, { descriptors: [a] })) {}
    await until(() => peer.closed)
    channel.close()
  })
})

describe('the pidfd of the sender', () => {
  it.for([
    ['looks at nothing', () => []],
    ['reads the bytes only', ({ data }: DatagramView) => [data].slice(1) as never[]],
    ['reads the control messages only', ({ control }: DatagramView) => control.slice(2) as never[]],
    ['reads the descriptors only', ({ descriptors }: DatagramView) => [...descriptors]],
    ['reads the pidfd only', ({ pidfd }: DatagramView) => [pidfd as OwnedFd]],
    ['takes a copy', (view: DatagramView) => ownersOf(view.copy())],
    ['reads everything', ownersOf],
  ] as const)('is the handler’s, which %s', async ([, look], test) => {
    skipUnless(test, needLinux('6.5'))
    const [a, b] = pidfdPair()
    const before = openDescriptors().length
    const taken: OwnedFd[] = []
    const { channel } = open(
      b,
      {
        datagram(view) {
          taken.push(...look(view))
          // Also those behind this one, which are never delivered.
          if (channel.statistics.received === 3) channel.close()
        },
      },
      { receive: { control: descriptorSpace(1) + controlSpace(4) } },
    )
    for (let i = 0; i < 5; i++) a.sendMessage({ data: int32(i), descriptors: [a] })
    await until(() => channel.closed)
    await until(() => openDescriptors().length === before - 1 + taken.length)
    for (const owner of taken) owner.close()
  })

  it('is in each copy of an iteration', async (test) => {
    skipUnless(test, needLinux('6.5'))
    const [a, b] = pidfdPair()
    const { channel } = open(b, {}, { receive: { control: controlSpace(4) } })
    for (let i = 0; i < 4; i++) a.send(int32(i))
    let got = 0
    for await (const { pidfd } of channel) {
      expect(readFileSync(`/proc/self/fdinfo/${pidfd?.fd}`, 'utf8')).toMatch(new RegExp(`^Pid:\\t${process.pid}$`, 'm'))
      pidfd?.close()
      // Descriptors that no reader asks for are closed with the channel.
      if (++got === 2) break
    }
    channel.close()
  })

  it('distinguishes an empty message from the end', async (test) => {
    skipUnless(test, needLinux('6.5'))
    const [a, b] = pidfdPair(SOCK_SEQPACKET)
    const { channel } = open(b, {}, { receive: { control: controlSpace(4) } })
    a.send(Buffer.alloc(0))
    a.send(Buffer.from('x'))
    a.close()
    const got: string[] = []
    for await (const { data, pidfd } of channel) {
      got.push(data.toString())
      pidfd?.close()
    }
    expect(got).toEqual(['', 'x'])
  })
})

describe('a blocking socket', () => {
  it('is made non-blocking, also one that Python has made', async () => {
    const [mine, theirs] = Socket.pair(AF_UNIX, SOCK_DGRAM)
    const python = spawnProgram(
      'python3',
      [
        '-uc',
        `
import socket
control = socket.socket(fileno=3)
a, b = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
control.setblocking(True)
socket.send_fds(control, [b'x'], [a.fileno()])
b.settimeout(60)
print(b.recv(10).decode())
b.send(b'pong')
print(b.recv(10).decode())`,
      ],
      { stdio: ['pipe', 'pipe', 'pipe', theirs.fd] },
    )
    theirs.close()
    await readable(mine, { signal: AbortSignal.timeout(60_000) })
    const [received] = (mine.recvMessage(Buffer.alloc(1), { control: descriptorSpace(1) }) as IncomingMessage)
      .descriptors as [OwnedFd]
    mine.close()
    expect(isNonBlocking(received)).toBe(false)
    const { channel, errors } = open(Socket.from(received), {
      datagram: ({ data }) => void channel.send(Buffer.from(`${data}, too`)),
    })
    expect(isNonBlocking(channel.socket)).toBe(true)
    channel.send(Buffer.from('ping'))
    const { stdout, stderr } = await python.finished
    expect({ stdout, stderr }).toEqual({ stdout: 'ping\npong, too\n', stderr: '' })
    expect(errors).toEqual([])
  })

  it('never stops the loop, neither when nothing arrives nor when nothing fits', async () => {
    const [a, b] = Socket.pair(AF_UNIX, SOCK_DGRAM, 0, { blocking: true })
    onTestFinished(() => b.close())
    const { channel, errors } = open(a, { datagram() {} })
    b.send(Buffer.from('x'))
    await until(() => channel.statistics.received === 1)
    while (channel.send(int32(0))) {}
    await expectRest()
    expect(errors).toEqual([])
  })
})

describe('a socket that other code has closed', () => {
  beforeEach((test) => skipUnless(test, needOneThread()))

  /** A file of Node's gets the number, as some file does sooner or later: it must not be closed instead of the socket. */
  const closeBehind = ({ fd }: Socket) => {
    closeSync(fd)
    const other = openSync('/dev/null', 'r')
    expect(other).toBe(fd)
    onTestFinished(() => {
      expect(readlinkSync(`/proc/self/fd/${other}`)).toBe('/dev/null')
      closeSync(other)
    })
  }

  it.each<[string, (channel: DatagramChannel) => unknown]>([
    ['close', (channel) => channel.close()],
    ['dispose', (channel) => channel[Symbol.dispose]()],
    ['drain', (channel) => expectErrno(() => channel.drain(), 'EBADF')],
    ['flush', (channel) => expectErrno(() => channel.flush(), 'EBADF')],
    ['resume', (channel) => channel.resume()],
  ])('settles everything at %s, and says so at most once', async (_, finish) => {
    const [a] = unixPair()
    const { channel, errors } = open(a, {})
    channel.pause()
    while (channel.send(int32(0))) {}
    const flushed = expect(channel.flush()).rejects.toMatchObject({
      code: expect.stringMatching(/^(EBADF|ECANCELED)$/),
    })
    const next = channel[Symbol.asyncIterator]().next()
    const settled = Promise.allSettled([next])
    closeBehind(a)
    await finish(channel)
    await Promise.all([flushed, settled])
    expect(channel.closed).toBe(true)
    await turn()
    expect(errors.length).toBeLessThanOrEqual(1)
    for (const { error, failed } of errors) {
      expect(error.code).toBe('EBADF')
      expect(failed).toBeUndefined()
    }
    expect(() => channel.send(int32(0))).toThrow(expect.objectContaining({ code: 'EBADF' }))
    channel.close()
  })

  it('ends the channel at the next send, and calls the error handler once', async () => {
    const [a] = unixPair()
    const { channel, errors } = open(a, { datagram() {} })
    closeBehind(a)
    channel.send(int32(0))
    expect(channel.closed).toBe(true)
    await turn()
    expect(errors).toMatchObject([{ error: { code: 'EBADF' }, failed: undefined }])
    await expectRest()
    expect(errors).toHaveLength(1)
  })

  it('ends the channel at the next read', async () => {
    const [a, b] = unixPair()
    const { channel, errors } = open(a, { datagram() {} }, { budget: 1, receive: { count: 1 } })
    // A duplicate keeps the socket in the interest list, where its events go on.
    using _copy = a.dup()
    closeBehind(a)
    b.send(int32(0))
    await until(() => channel.closed)
    await turn()
    expect(errors).toMatchObject([{ error: { code: 'EBADF' }, failed: undefined }])
    await expectRest()
    expect(errors).toHaveLength(1)
  })

  it('ends the channel at an error of the network', async () => {
    const { socket } = deadPort()
    const { channel, errors } = open(socket, {})
    using copy = Socket.from(socket.dup())
    closeBehind(socket)
    copy.send(Buffer.from('lost'))
    await until(() => channel.closed)
    await turn()
    expect(errors).toMatchObject([{ error: { code: 'EBADF' }, failed: undefined }])
    await expectRest()
    expect(errors).toHaveLength(1)
  })

  it('closes even if the number is not in use', async () => {
    const [a] = unixPair()
    const { channel, errors } = open(a, { datagram() {} })
    const { channel: other, address } = listen({ datagram() {} })
    closeSync(a.fd)
    channel.close()
    expect(channel.closed).toBe(true)
    expect(errors).toEqual([])
    // Other channels of the thread go on.
    udp().sendTo(Buffer.from('x'), address)
    await until(() => other.statistics.received === 1)
  })

  it('closes even if close(2) fails', async () => {
    const [a] = unixPair()
    const controller = new AbortController()
    const { channel, errors } = open(a, {}, { signal: controller.signal })
    const uncaught = vi.fn()
    process.on('uncaughtException', uncaught)
    onTestFinished(() => void process.off('uncaughtException', uncaught))
    const { close } = native
    const closing = vi.spyOn(native, 'close').mockImplementationOnce((fd) => {
      close(fd)
      return -errno.EIO
    })
    controller.abort()
    closing.mockRestore()
    await turn()
    expect([channel.closed, a.closed, errors, uncaught.mock.calls]).toEqual([true, true, [], []])
  })

  it('closes by its signal', async () => {
    const [a] = unixPair()
    const controller = new AbortController()
    const { channel, errors } = open(a, {}, { signal: controller.signal })
    while (channel.send(int32(0))) {}
    const waiting = [channel[Symbol.asyncIterator]().next(), channel.flush()]
    const reason = new Error('enough')
    closeBehind(a)
    controller.abort(reason)
    for (const promise of waiting) await expect(promise).rejects.toBe(reason)
    expect(errors).toEqual([])
  })

  it('is distinguished from a passed descriptor that isn’t open', async () => {
    const [a] = unixPair()
    const { channel, errors } = open(a, {})
    channel.send(int32(7), undefined, { descriptors: [1_000_000] })
    expect(channel.closed).toBe(false)
    await turn()
    expect(errors).toMatchObject([{ error: { code: 'EBADF' }, failed: { address: undefined } }])
  })
})

describe('SOCK_SEQPACKET', () => {
  it('delivers everything before the end, then rests', async () => {
    const [a, b] = Socket.pair(AF_UNIX, SOCK_SEQPACKET)
    const { channel } = open(a, {}, { receive: { count: 4 } })
    for (let i = 0; i < 6; i++) b.send(int32(i))
    b.close()
    const got: number[] = []
    for await (const { data } of channel) got.push(data.readInt32LE())
    expect(got).toEqual(numbers(6))
    await expectRest()
    expect(channel.closed).toBe(false)
  })

  it('calls its handler at the end, and reports what is sent after it', async () => {
    const [a, b] = Socket.pair(AF_UNIX, SOCK_SEQPACKET)
    let ended = 0
    const { channel, errors } = open(a, { datagram() {}, end: () => void ended++ })
    b.close()
    await until(() => ended === 1)
    channel.send(Buffer.from('x'))
    await turn()
    expect(errors).toMatchObject([{ error: { code: 'EPIPE' }, failed: {} }])
    await expectRest()
    expect(ended).toBe(1)
  })

  it('gives up its queue when the peer closes', async () => {
    const [a, b] = Socket.pair(AF_UNIX, SOCK_SEQPACKET)
    const { channel, errors } = open(a, {})
    while (channel.send(Buffer.alloc(1000))) {}
    for (let i = 0; i < 9; i++) channel.send(Buffer.alloc(1000))
    const flushed = channel.flush()
    b.close()
    await flushed
    await turn()
    expect(errors.filter(({ failed }) => failed !== undefined)).toHaveLength(10)
    await expectRest()
  })
})

describe('closing', () => {
  it('sends all before it closes with drain', async () => {
    const [a, b] = unixPair()
    const { channel } = open(a, {})
    for (let i = 0; i < 500; i++) channel.send(int32(i))
    const closed = channel.drain()
    expect(channel.closed).toBe(false)
    await expectErrno(() => channel.send(int32(0)), 'EBADF')
    expect((await receiveBytes(b, 500)).map((data) => data.readInt32LE())).toEqual(numbers(500))
    await closed
    expect(channel.closed).toBe(true)
    expect(channel.socket.closed).toBe(true)
  })

  it('drains with `await using`', async () => {
    const [a, b] = unixPair()
    let count = 0
    const receiving = (async () => {
      await using channel = new DatagramChannel(a, { error: expect.fail })
      while (channel.send(int32(count))) count++
    })()
    expect(await receiveBytes(b, count + 1)).toHaveLength(count + 1)
    await receiving
    expect(a.closed).toBe(true)
  })

  it('drops what waits when it closes at once, and rejects', async () => {
    const [a] = unixPair()
    const { channel } = open(a, {})
    while (channel.send(int32(0))) {}
    const flushed = expectErrno(() => channel.flush(), 'ECANCELED')
    const closing = expectErrno(() => channel.drain(), 'ECANCELED')
    {
      using _closed = channel
    }
    expect(channel.closed).toBe(true)
    expect((await flushed).message).toContain('1 datagrams unsent')
    await closing
    channel.close()
    await channel.flush()
    await expectErrno(() => channel.send(int32(0)), 'EBADF')
  })

  it('gives up the rest of its queue after the timeout of drain, and says so', async () => {
    const [a, b] = unixPair()
    const { channel, errors } = open(a, {})
    for (let i = 0; i < 500; i++) channel.send(int32(i))
    const sent = 500 - channel.queuedDatagrams
    const flushed = expectErrno(() => channel.flush(), 'ETIMEDOUT')
    // Of two timeouts the last one counts.
    const drained = expectErrno(() => channel.drain({ timeout: 60_000 }), 'ETIMEDOUT')
    const { message } = await expectErrno(() => channel.drain({ timeout: 20 }), 'ETIMEDOUT')
    expect(message).toContain(`${500 - sent} datagrams not sent within 20 ms (timeout)`)
    expect(channel.closed).toBe(true)
    await Promise.all([flushed, drained])
    expect([channel.queuedDatagrams, channel.queuedBytes, channel.statistics.sent]).toEqual([0, 0, sent])
    expect((await receiveBytes(b, sent)).map((data) => data.readInt32LE())).toEqual(numbers(sent))
    expect(b.recv(Buffer.alloc(4))).toBeNull()
    expect(await channel[Symbol.asyncIterator]().next()).toEqual({ done: true, value: undefined })
    await channel.drain({ timeout: 0 })
    expect(errors).toEqual([])
  })

  it('drains before the timeout if it can, and leaves no timer', async () => {
    const [a, b] = unixPair()
    const { channel } = open(a, {})
    for (let i = 0; i < 500; i++) channel.send(int32(i))
    const timers = () => process.getActiveResourcesInfo().filter((name) => name === 'Timeout').length
    const before = timers()
    const drained = channel.drain({ timeout: 60_000 })
    expect(timers()).toBe(before + 1)
    expect(await receiveBytes(b, 500)).toHaveLength(500)
    await drained
    expect(channel.closed).toBe(true)
    expect(timers()).toBeLessThanOrEqual(before)
  })

  it('keeps the process alive until the timeout of drain, even after unref', async () => {
    const { code, stdout, stderr } = await runModule(`
      import { AF_UNIX, DatagramChannel, SOCK_DGRAM, Socket } from './everything.js'
      const [socket, peer] = Socket.pair(AF_UNIX, SOCK_DGRAM)
      const channel = new DatagramChannel(socket, { error: console.error }).unref()
      while (channel.send(Buffer.alloc(1000))) {}
      await channel.drain({ timeout: 20 }).catch((error) => console.log(error.code))
      peer.close()`)
    expect({ code, stdout, stderr }).toEqual({ code: 0, stdout: 'ETIMEDOUT\n', stderr: '' })
  })

  it('closes by its signal, with its reason', async () => {
    const [a] = unixPair()
    const controller = new AbortController()
    const { channel } = open(a, {}, { signal: controller.signal })
    while (channel.send(int32(0))) {}
    const reason = new Error('enough')
    const waiting = [channel[Symbol.asyncIterator]().next(), channel.flush(), channel.drain()]
    const reading = channel[Symbol.asyncIterator]()
    controller.abort(reason)
    expect(channel.closed).toBe(true)
    expect(await Promise.allSettled(waiting)).toMatchObject([
      { status: 'fulfilled', value: { done: true } },
      { status: 'rejected', reason },
      { status: 'rejected', reason },
    ])
    await expect(reading.next()).rejects.toBe(reason)
  })

  it('ends an iteration by its signal, with its reason', async () => {
    const controller = new AbortController()
    const { channel } = listen({}, { signal: controller.signal })
    const reason = new Error('enough')
    const next = channel[Symbol.asyncIterator]().next()
    controller.abort(reason)
    await expect(next).rejects.toBe(reason)
  })

  it('rejects pending promises when other code closes the socket', async () => {
    const [a] = unixPair()
    const { channel } = open(a, {})
    while (channel.send(int32(0))) {}
    const waiting = [channel[Symbol.asyncIterator]().next(), channel.flush()]
    channel.socket.close()
    for (const promise of waiting) await expectErrno(() => promise, 'EBADF')
    expect(channel.closed).toBe(true)
  })

  it('leaves the socket to the caller if the constructor throws', () => {
    const socket = udp()
    const error = () => {}
    expect(() => new DatagramChannel(socket, { error }, { signal: AbortSignal.abort(new Error('early')) })).toThrow(
      'early',
    )
    expect(() => new DatagramChannel(socket, {} as DatagramHandlers)).toThrow(TypeError)
    expect(() => new DatagramChannel(socket, { error }, { budget: 0 })).toThrow(RangeError)
    expect(() => new DatagramChannel(socket, { error }, { maxQueuedBytes: Number.NaN })).toThrow(TypeError)
    expect(socket.closed).toBe(false)
    socket.close()
    expect(() => new DatagramChannel(socket, { error })).toThrow(expect.objectContaining({ code: 'EBADF' }))
  })
})

describe('the loop', () => {
  it('calls handlers in the context that made the channel', async () => {
    const storage = new AsyncLocalStorage<string>()
    const seen: [string, string | undefined][] = []
    const note = (what: string) => () => void seen.push([what, storage.getStore()])
    const [a, b] = unixPair()
    const { channel } = storage.run('maker', () => {
      return open(a, { datagram: note('datagram'), drain: note('drain'), error: note('error'), end: note('end') })
    })
    await storage.run('sender', async () => {
      channel.pause()
      b.send(Buffer.from('x'))
      while (channel.send(int32(0))) {}
      channel.send(Buffer.alloc(1 << 20))
      const flushed = channel.flush()
      while (b.recv(Buffer.alloc(10)) !== null) {}
      await flushed
      channel.resume()
      await until(() => channel.statistics.received === 1)
      a.shutdown(SHUT_RDWR)
      await until(() => seen.length === 4)
    })
    expect(seen.sort()).toEqual(['datagram', 'drain', 'end', 'error'].map((what) => [what, 'maker']))
  })

  it('keeps the process alive, unless unref', async () => {
    const program = (then: string) => `
      import { AF_INET, DatagramChannel, SOCK_DGRAM, Socket } from './everything.js'
      const socket = Socket.open(AF_INET, SOCK_DGRAM)
      socket.bind({ family: 'ipv4', address: '127.0.0.1', port: 0 })
      const channel = new DatagramChannel(socket, {
        error: console.error,
        datagram({ data }) {
          console.log(data.toString())
          channel.close()
        },
      })
      ${then}
      setTimeout(() => channel.socket.sendTo(Buffer.from('hello'), socket.localName), 20).unref()`
    expect((await runModule(program('channel.unref()'))).stdout).toBe('')
    expect((await runModule(program('channel.unref().ref()'))).stdout).toBe('hello\n')
  })

  it('works in a Worker', async () => {
    const { worker, exit } = startWorker(`
      const { AF_INET, DatagramChannel, SOCK_DGRAM, Socket } = core
      const socket = Socket.open(AF_INET, SOCK_DGRAM)
      socket.bind({ family: 'ipv4', address: '127.0.0.1', port: 0 })
      const channel = new DatagramChannel(socket, {
        error: console.error,
        datagram({ data, sockaddr }) {
          if (data.length === 0) channel.close()
          else channel.send(data, sockaddr)
        },
      })
      parentPort.postMessage(socket.localName)`)
    const [address] = await once(worker, 'message')
    const client = udp()
    client.sendTo(Buffer.from('hello'), address)
    expect(await receiveAll(client, 1)).toEqual(['hello'])
    client.sendTo(Buffer.alloc(0), address)
    await exit
  })

  it('talks to socat', async (test) => {
    skipUnless(test, needProgram('socat'))
    const { channel, address } = listen({
      datagram: ({ data, sockaddr }) => void channel.send(Buffer.from(data.toString().toUpperCase()), sockaddr),
    })
    const socat = spawnProgram('socat', ['-', `UDP:127.0.0.1:${address.port}`])
    socat.process.stdin?.write('hello\n')
    expect(await waitForLine(socat, /./)).toBe('HELLO')
  })
})

const LOOPBACK: Record<number, InetAddress> = {
  [AF_INET]: { family: 'ipv4', address: '127.0.0.1', port: 0 },
  [AF_INET6]: { family: 'ipv6', address: '::1', port: 0 },
}

const SO_PASSCRED = 16
const SCM_CREDENTIALS = 2

interface Report {
  readonly error: SystemError
  readonly failed: FailedDatagram | undefined
}

/** A channel that is closed when the test ends, and what was reported to it. */
function open(socket: Socket, handlers: Partial<DatagramHandlers>, options?: DatagramChannelOptions) {
  const errors: Report[] = []
  const channel = new DatagramChannel(
    socket,
    { error: (error, failed) => void errors.push({ error, failed }), ...handlers },
    options,
  )
  onTestFinished(() => channel.close())
  return { channel, errors }
}

/** A channel on a UDP port of the loopback. */
function listen(handlers: Partial<DatagramHandlers>, options?: DatagramChannelOptions, family = AF_INET) {
  const socket = udp(family)
  return { ...open(socket, handlers, options), address: socket.localName as InetAddress }
}

/** Two sockets; the second gets the sender's process with each message. */
function pidfdPair(type = SOCK_DGRAM): [Socket, Socket] {
  const [a, b] = Socket.pair(AF_UNIX, type)
  onTestFinished(() => {
    for (const socket of [a, b]) socket.close()
  })
  setOption(b, SO_PASSPIDFD, true)
  return [a, b]
}

function ownersOf({ descriptors, pidfd }: IncomingDatagram): OwnedFd[] {
  return pidfd === undefined ? [...descriptors] : [...descriptors, pidfd]
}

function udp(family = AF_INET, address: InetAddress = LOOPBACK[family] as InetAddress): Socket {
  const socket = Socket.open(family, SOCK_DGRAM)
  onTestFinished(() => socket.close())
  socket.bind(address)
  return socket
}

function unixPair(): [Socket, Socket] {
  const pair = Socket.pair(AF_UNIX, SOCK_DGRAM)
  onTestFinished(() => {
    for (const socket of pair) socket.close()
  })
  return pair
}

/** A loopback port without a listener, and a socket connected to it. */
function deadPort({ connect = true } = {}): { socket: Socket; address: InetAddress } {
  const socket = udp()
  const peer = udp()
  const address = peer.localName as InetAddress
  if (connect) socket.connect(address)
  peer.close()
  return { socket, address }
}

async function receiveBytes(socket: Socket, count: number, size = 2048): Promise<Buffer[]> {
  const buffer = Buffer.alloc(size)
  const got: Buffer[] = []
  while (got.length < count) {
    const length = socket.recv(buffer)
    if (length === null) await readable(socket, { signal: AbortSignal.timeout(60_000) })
    else got.push(Buffer.from(buffer.subarray(0, length)))
  }
  return got
}

async function receiveAll(socket: Socket, count: number): Promise<string[]> {
  return (await receiveBytes(socket, count)).map(String)
}

async function until(condition: () => boolean): Promise<void> {
  for (const deadline = Date.now() + 60_000; !condition(); await wait(1)) {
    if (Date.now() > deadline) throw new Error(`still not so after a minute: ${condition}`)
  }
}

function int32(value: number): Buffer {
  const bytes = Buffer.alloc(4)
  bytes.writeInt32LE(value)
  return bytes
}

function numbers(count: number): number[] {
  return Array.from({ length: count }, (_, i) => i)
}
