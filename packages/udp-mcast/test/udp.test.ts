import dgram from 'node:dgram'
import { once } from 'node:events'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { type InetAddress, Socket, type SystemError, setOption } from '@linux-sockets/native-core'
import {
  AF_INET,
  AF_INET6,
  IPPROTO_ICMP,
  IPPROTO_ICMPV6,
  IPPROTO_UDPLITE,
  SOCK_DGRAM,
  SOCK_RAW,
} from '@linux-sockets/native-core/constants'
import { ifindexOf } from '@linux-sockets/native-core/interfaces'
import {
  IP_TOS,
  IPV6_TCLASS,
  SO_NO_CHECK,
  SO_RCVBUF,
  SO_REUSEADDR,
  SO_TIMESTAMPING,
} from '@linux-sockets/native-core/options'
import { expectCloexec, expectErrno, expectNonBlocking, guardDescriptors, runPython } from '@linux-sockets/testkit'
import { describe, expect, it, onTestFinished } from 'vitest'
import { type NetworkError, type UdpDatagram, UdpSocket } from '../src/index.js'
import { bytes, open, receive, texts, V4, V6 } from './loopback.js'

guardDescriptors()

const lo = ifindexOf('lo')

describe('a datagram', () => {
  it.each([
    ['IPv4', V4, '127.0.0.1'],
    ['IPv6', V6, '::1'],
  ])('comes with what was turned on: %s', async (_name, address, host) => {
    const before = BigInt(Date.now()) * 1_000_000n
    const receiving = { arrival: true, ttl: true, tos: true, timestamp: 'ns', drops: true } as const
    const { socket } = open({ address, receive: receiving })
    const { socket: sender } = open({ address })
    sender.send(bytes('x'), socket.localName, { ttl: 7, tos: 0xb8, ecn: 'ect0' })
    const [got] = await receive(socket, 1)
    expect(got).toMatchObject({ length: 1, truncated: false, address: sender.localName, ifindex: lo })
    expect(got).toMatchObject({ destination: host, localAddress: host, ttl: 7, tos: 0xba, ecn: 'ect0', drops: 0 })
    expect(got?.segmentSize).toBeUndefined()
    const age = (got?.timestamp ?? 0n) - before
    expect(age).toBeGreaterThan(-1_000_000_000n)
    expect(age).toBeLessThan(120_000_000_000n)
  })

  it('has undefined properties where nothing was turned on', async () => {
    const { socket } = open({ receive: { arrival: false } })
    open().socket.send(bytes('x'), socket.localName)
    const [got] = await receive(socket, 1)
    const { ifindex, destination, localAddress, ttl, tos, ecn, timestamp, hardwareTimestamp } = got as UdpDatagram
    expect([ifindex, destination, localAddress, ttl, tos, ecn, timestamp, hardwareTimestamp]).toEqual(Array(8))
  })

  it.each(['us', 'ns', 'software', 'hardware'] as const)('has a time stamp: %s', async (timestamp) => {
    const { socket } = open({ receive: { timestamp } })
    open().socket.send(bytes('x'), socket.localName)
    const [got] = await receive(socket, 1)
    expect(got?.timestamp).toBeGreaterThan(1_700_000_000_000_000_000n)
    expect(got?.hardwareTimestamp).toBeUndefined()
    if (timestamp === 'us') expect((got?.timestamp ?? 1n) % 1000n).toBe(0n)
  })

  it('tells of IPv4 on a dual-stack socket', async () => {
    const { socket } = open({
      address: '[::]:0',
      v6only: false,
      receive: { arrival: true, ttl: true, tos: true, timestamp: 'software', drops: true, gro: true },
    })
    const { port } = socket.localName
    const { socket: sender } = open()
    sender.send(bytes('x'), `127.0.0.3:${port}`, { ttl: 3, tos: 0x28 })
    const [got] = await receive(socket, 1)
    expect(got).toMatchObject({ destination: '::ffff:127.0.0.3', localAddress: '127.0.0.3', ifindex: lo, ttl: 3 })
    expect(got).toMatchObject({ tos: 0x28, ecn: 'not-ect', flags: 0 })
    expect(socket.statistics.controlTruncated).toBe(0)
  })

  it('that was cut tells its true length', async () => {
    const { socket } = open({ receive: { size: 4 } })
    open().socket.send(bytes('too long'), socket.localName)
    const [got] = await receive(socket, 1)
    expect(got).toMatchObject({ length: 8, truncated: true })
    expect(texts([got as UdpDatagram])).toEqual(['too '])
    expect(socket.statistics.truncated).toBe(1)
  })

  it('is valid during the call of the handler, and longer as a copy', async () => {
    const copies: UdpDatagram[] = []
    const shown = new Set<UdpDatagram>()
    const { socket } = open(
      { receive: { arrival: true } },
      {
        datagram(datagram) {
          shown.add(datagram)
          copies.push(datagram.copy())
        },
      },
    )
    const { socket: sender } = open()
    for (const text of ['one', 'two', 'three']) sender.send(bytes(text), socket.localName)
    await expect.poll(() => copies.length).toBe(3)
    expect(shown.size).toBe(1)
    expect(texts(copies)).toEqual(['one', 'two', 'three'])
    expect(copies.map(({ destination }) => destination)).toEqual(Array(3).fill('127.0.0.1'))
    expect(copies[0]?.sockaddr.length).toBe(16)
  })

  it('is one of a batch', async () => {
    const got: string[] = []
    const { socket } = open({}, { batch: (batch) => void got.push(...texts(Array.from(batch, (one) => one.copy()))) })
    const { socket: sender } = open()
    sender.sendBatch(['a', 'b', 'c'].map((text) => ({ data: bytes(text), address: socket.localName })))
    await expect.poll(() => got).toEqual(['a', 'b', 'c'])
  })

  it('joined by the kernel is split without copying', async () => {
    const { socket } = open({ receive: { gro: true, count: 4 } })
    const { socket: sender } = open()
    const data = Buffer.from(Array.from({ length: 5500 }, (_, i) => i & 0xff))
    sender.send(data, socket.localName, { segmentSize: 1000 })
    const [got] = await receive(socket, 1)
    const segments = [...(got as UdpDatagram).segments()]
    expect(got?.segmentSize).toBe(1000)
    expect(segments.map(({ length }) => length)).toEqual([1000, 1000, 1000, 1000, 1000, 500])
    expect(Buffer.concat(segments).equals(data)).toBe(true)
    expect(segments[0]?.buffer).toBe(got?.data.buffer)
    sender.send(bytes('single'), socket.localName)
    const [single] = await receive(socket, 1)
    expect(Array.from((single as UdpDatagram).segments(), String)).toEqual(['single'])
  })
})

describe('sending', () => {
  it.each([
    ['IPv4', '127.0.0.1', false],
    ['IPv6', '[::1]', true],
    ['IPv4 from an IPv6 socket', '127.0.0.1', true],
  ])('carries TTL, TOS and ECN to %s', async (name, host, isIpv6) => {
    const receiving = { ttl: true, tos: true }
    const { socket } = open({ address: `${host}:0`, receive: receiving })
    const { port } = socket.localName
    const { socket: sender } = open(isIpv6 ? { address: '[::]:0', v6only: false } : {})
    const to = isIpv6 && name !== 'IPv6' ? `[::ffff:127.0.0.1]:${port}` : `${host}:${port}`
    sender.send(bytes('a'), to, { ttl: 33, tos: 0x48 })
    sender.send(bytes('b'), to, { ecn: 'ce' })
    setOption(sender, name === 'IPv6' ? IPV6_TCLASS : IP_TOS, 0x20)
    sender.send(bytes('c'), to, { ecn: 'ect1' })
    sender.send(bytes('d'), to)
    const got = await receive(socket, 4)
    expect(got.map(({ ttl, tos, ecn }) => [ttl, tos, ecn])).toEqual([
      [33, 0x48, 'not-ect'],
      [64, 3, 'ce'],
      [64, 0x21, 'ect1'],
      [64, 0x20, 'not-ect'],
    ])
  })

  it('chooses source and interface', async () => {
    const { socket } = open()
    const { socket: sender } = open({ address: '0.0.0.0:0' })
    sender.send(bytes('x'), socket.localName, { source: '127.0.0.7', interface: 'lo' })
    const [got] = await receive(socket, 1)
    expect(got?.address).toMatchObject({ address: '127.0.0.7' })
    await expectErrno(() => sender.send(bytes('x'), socket.localName, { interface: 'none0' }), 'ENODEV')
  })

  it('reaches a connected peer, another one, and none', async () => {
    const [a, b] = [open().socket, open().socket]
    const { socket: sender } = open({ peer: a.localName })
    expect(sender.peerName).toEqual(a.localName)
    sender.send(bytes('first'))
    sender.send(bytes('with TTL'), undefined, { ttl: 9 })
    sender.connect(b.localName)
    sender.send(bytes('second'))
    sender.disconnect()
    await expectErrno(() => sender.sendAsync(bytes('third')), 'EDESTADDRREQ')
    expect(texts(await receive(a, 2))).toEqual(['first', 'with TTL'])
    expect(texts(await receive(b, 1))).toEqual(['second'])
  })

  it('answers from the address that was asked, on both families', async () => {
    const dual = open(
      { address: '[::]:0', v6only: false },
      { datagram: (one) => void dual.socket.reply(one, one.data) },
    )
    const { port } = dual.socket.localName
    for (const [local, host] of [
      [V4, '127.0.0.9'],
      [V6, '::1'],
    ] as const) {
      const { socket } = open({ address: local })
      socket.send(bytes('who'), { family: host === '::1' ? 'ipv6' : 'ipv4', address: host, port })
      const [answer] = await receive(socket, 1)
      expect(answer?.address).toMatchObject({ address: host, port })
    }
    const { socket: asking } = open({ receive: { ttl: true } })
    const one = open({ address: '0.0.0.0:0' }, { datagram: (got) => void one.socket.reply(got, got.data, { ttl: 5 }) })
    asking.send(bytes('x'), `127.1.2.3:${one.socket.localName.port}`)
    const [answer] = await receive(asking, 1)
    expect(answer).toMatchObject({ address: { address: '127.1.2.3' }, ttl: 5 })
  })

  it('is understood by Python, and understands it', async () => {
    const { socket } = open({}, { datagram: (one) => void socket.reply(one, Buffer.concat([one.data, bytes('!')])) })
    const output = await runPython(
      `
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.settimeout(60)
s.sendto(b'hello', ('127.0.0.1', int(sys.argv[1])))
print(s.recvfrom(100)[0].decode())`,
      String(socket.localName.port),
    )
    expect(output).toBe('hello!\n')
  })

  it('waits for room, and tells when the kernel has taken it', async () => {
    const { socket } = open()
    const { socket: sender } = open()
    await sender.sendAsync(bytes('x'), socket.localName)
    expect(texts(await receive(socket, 1))).toEqual(['x'])
    await expectErrno(() => sender.sendAsync(Buffer.alloc(70_000), socket.localName), 'EMSGSIZE')
    const closing = sender.drain()
    await closing
    expect(sender.closed).toBe(true)
    await expectErrno(() => sender.sendAsync(bytes('x'), socket.localName), 'EBADF')
  })
})

describe('segmentation', () => {
  const size = 100
  const data = Buffer.from(Array.from({ length: 9_950 }, (_, i) => (i * 7) & 0xff))

  async function arrived(socket: UdpSocket): Promise<{ lengths: number[]; whole: boolean }> {
    const got = await receive(socket, 100)
    const all = got.map((one) => one.data)
    return { lengths: [...new Set(all.map(({ length }) => length))], whole: Buffer.concat(all).equals(data) }
  }

  it('sends many datagrams by few calls', async () => {
    const { socket } = open()
    const { socket: sender } = open()
    expect(sender.send(data, socket.localName, { segmentSize: size })).toBe(true)
    expect(await arrived(socket)).toEqual({ lengths: [100, 50], whole: true })
    expect(sender.statistics).toMatchObject({ sent: 100, bytesWritten: 9_950, segmented: 100, segmentation: true })
  })

  it('that the socket can’t do, falls back to one by one with every byte, and stays off', async () => {
    for (const refuse of ['SO_NO_CHECK', 'UDP-Lite']) {
      const protocol = refuse === 'UDP-Lite' ? IPPROTO_UDPLITE : undefined
      const { socket } = open({ protocol })
      const { socket: sender, errors } = open({
        protocol,
        prepare: (it) => refuse === 'SO_NO_CHECK' && setOption(it, SO_NO_CHECK, true),
      })
      sender.send(data, socket.localName, { segmentSize: size })
      expect(await arrived(socket)).toEqual({ lengths: [100, 50], whole: true })
      expect(errors).toEqual([])
      expect(sender.statistics, refuse).toMatchObject({ sent: 100, failed: 0, segmented: 0, segmentation: false })
      sender.send(data, socket.localName, { segmentSize: size })
      expect(await arrived(socket)).toEqual({ lengths: [100, 50], whole: true })
    }
  })

  it('stays on if it was another control message that the kernel refused', async () => {
    const { socket } = open()
    const { socket: sender, errors } = open({ address: '0.0.0.0:0' })
    sender.send(data.subarray(0, 300), socket.localName, { segmentSize: size, source: '224.0.0.1' })
    await expect.poll(() => errors.length).toBe(3)
    expect(errors.map(([error]) => (error as SystemError).code)).toEqual(Array(3).fill('EINVAL'))
    expect(sender.statistics).toMatchObject({ segmentation: true, segmented: 0 })
    sender.send(data, socket.localName, { segmentSize: size })
    expect(await arrived(socket)).toEqual({ lengths: [100, 50], whole: true })
    expect(sender.statistics).toMatchObject({ segmentation: true, segmented: 100 })
  })

  it('stays on if a datagram is larger than the device can send', async () => {
    const { socket } = open()
    const { socket: sender, errors } = open()
    sender.send(Buffer.alloc(66_000), socket.localName, { segmentSize: 65_507 })
    const got = await receive(socket, 2)
    expect(got.map(({ length }) => length)).toEqual([65_507, 493])
    expect(errors).toEqual([])
    expect(sender.statistics.segmentation).toBe(true)
  })

  it('keeps the order with what is sent before and after', async () => {
    const { socket } = open({ receive: { count: 1 } })
    setOption(socket, SO_RCVBUF, 4_000_000)
    const { socket: sender } = open({ prepare: (it) => setOption(it, SO_NO_CHECK, true) })
    sender.sendBatch([
      { data: bytes('first'), address: socket.localName },
      { data: bytes('aabbc'), address: socket.localName, options: { segmentSize: 2 } },
      { data: bytes('last'), address: socket.localName },
    ])
    expect(texts(await receive(socket, 5))).toEqual(['first', 'aa', 'bb', 'c', 'last'])
  })
})

describe('transmit time stamps', () => {
  it('belong to their sends', async () => {
    const { socket } = open()
    const { socket: sender, errors } = open()
    const stamps = await Promise.all(
      Array.from({ length: 20 }, () => sender.sendTimestamped(bytes('x'), socket.localName)),
    )
    const times = stamps.map(({ software }) => software as bigint)
    expect(times.every((time) => time > 1_700_000_000_000_000_000n)).toBe(true)
    expect(times).toEqual([...times].sort((a, b) => (a < b ? -1 : 1)))
    expect(stamps[0]?.hardware).toBeUndefined()
    expect(errors).toEqual([])
  })

  it('come beside errors and unstamped sends, and on IPv6', async () => {
    const { socket } = open({ address: V6 })
    const { socket: sender, errors } = open({ address: V6 })
    sender.send(bytes('plain'), socket.localName)
    sender.send(bytes('lost'), { family: 'ipv6', address: '::1', port: 1 })
    const { software } = await sender.sendTimestamped(bytes('x'), socket.localName, { ttl: 3 })
    expect(software).toBeGreaterThan(0n)
    await expect.poll(() => errors.map(([error]) => (error as NetworkError).code)).toEqual(['ECONNREFUSED'])
  })

  it('that do not come time out, and end with the socket', async () => {
    const { socket } = open()
    const { socket: sender } = open()
    const to = socket.localName
    await expectErrno(() => sender.sendTimestamped(Buffer.alloc(70_000), to), 'EMSGSIZE')
    // From now on the kernel reports none, like a driver that takes none.
    setOption(sender, SO_TIMESTAMPING, 0)
    await expectErrno(() => sender.sendTimestamped(bytes('x'), to, { timeout: 1 }), 'ETIMEDOUT')
    const pending = expectErrno(() => sender.sendTimestamped(bytes('x'), to), 'ECANCELED')
    sender.close()
    await pending
    expect(texts(await receive(socket, 2))).toEqual(['x', 'x'])
  })
})

describe('errors', () => {
  it('of the network are told with the destination, and charged to no later send', async () => {
    const { socket } = open()
    const { socket: sender, errors } = open()
    sender.send(bytes('refused'), '127.0.0.1:1')
    for (let i = 0; i < 5; i++) await sender.sendAsync(bytes('fine'), socket.localName)
    await expect.poll(() => errors.length).toBe(1)
    const [[error, failed]] = errors as [[NetworkError, { data: Buffer }]]
    expect(error).toMatchObject({ code: 'ECONNREFUSED', destination: { address: '127.0.0.1', port: 1 } })
    expect(failed.data.toString()).toBe('refused')
    expect(texts(await receive(socket, 5))).toEqual(Array(5).fill('fine'))
    expect(sender.statistics).toMatchObject({ sent: 6, failed: 0 })
  })

  it('are told without a destination if the receive buffer is full, which has no room for them', async () => {
    const { socket, errors } = open()
    setOption(socket, SO_RCVBUF, 1)
    for (let i = 0; i < 50; i++) socket.send(Buffer.alloc(1000), socket.localName)
    socket.send(bytes('refused'), '127.0.0.1:1')
    await expect.poll(() => errors.length).toBeGreaterThan(0)
    expect(errors[0]?.[0]).toMatchObject({ code: 'ECONNREFUSED' })
    expect(errors[0]?.[1]).toBeUndefined()
  })

  it('reach a connected socket without the error queue', async () => {
    const { socket, errors } = open({ errors: false, peer: '127.0.0.1:1' }, { datagram: () => {} })
    socket.send(bytes('x'))
    await expect.poll(() => errors.length).toBe(1)
    expect(errors[0]?.[0]).toMatchObject({ code: 'ECONNREFUSED' })
  })
})

describe('a group', () => {
  it('is received by all members that share the port, and by no other socket', async () => {
    const { socket: first } = open({ address: '0.0.0.0:0', prepare: (it) => setOption(it, SO_REUSEADDR, true) })
    const { port } = first.localName
    const shared = { address: `0.0.0.0:${port}`, reuseAddress: true }
    const [second, third] = [open(shared).socket, open(shared).socket]
    for (const socket of [first, second]) socket.join('239.1.2.3', { interface: 'lo' })
    const { socket: sender } = open()
    sender.send(bytes('hello'), `239.1.2.3:${port}`, { interface: 'lo' })
    for (const socket of [first, second]) {
      const [got] = await receive(socket, 1)
      expect([got?.destination, got?.ifindex]).toEqual(['239.1.2.3', lo])
    }
    // It gets the unicast, as the socket that was bound last, and not the group before it.
    sender.send(bytes('unicast'), `127.0.0.1:${port}`)
    expect(texts(await receive(third, 1))).toEqual(['unicast'])
    first.leave('239.1.2.3', { interface: 'lo' })
    await expectErrno(() => first.leave('239.1.2.3', { interface: 'lo' }), 'EADDRNOTAVAIL')
  })

  it('comes from chosen sources, and without blocked ones', async () => {
    const { socket } = open({ address: '0.0.0.0:0' })
    const { port } = socket.localName
    socket.join('232.1.2.3', { interface: 'lo', source: '127.0.0.2' })
    socket.join('239.1.2.3', { interface: '127.0.0.1' })
    socket.block('239.1.2.3', '127.0.0.2', { interface: 'lo' })
    const { socket: sender } = open({ address: '0.0.0.0:0' })
    const from = (source: string, group: string) =>
      sender.send(bytes(`${group} from ${source}`), `${group}:${port}`, { source, interface: 'lo' })
    for (const group of ['232.1.2.3', '239.1.2.3']) for (const source of ['127.0.0.2', '127.0.0.3']) from(source, group)
    socket.unblock('239.1.2.3', '127.0.0.2', { interface: 'lo' })
    from('127.0.0.2', '239.1.2.3')
    expect(texts(await receive(socket, 3))).toEqual([
      '232.1.2.3 from 127.0.0.2',
      '239.1.2.3 from 127.0.0.3',
      '239.1.2.3 from 127.0.0.2',
    ])
  })
})

describe('accept', () => {
  it.each([
    ['IPv4', '0.0.0.0:0', '127.0.0.5'],
    ['IPv6', '[::]:0', '::1'],
    ['IPv4 at a dual-stack socket', '[::]:0', '127.0.0.5'],
  ])('gives each peer a socket of its own, and loses and misleads nothing: %s', async (_name, address, host) => {
    const counts = new Map<string, number[]>()
    const wrong: string[] = []
    const accepted = new Set<string>()
    const keyOf = (one: UdpDatagram) => `${one.address.address} ${one.address.port}`
    const note = (one: UdpDatagram) => {
      counts.set(keyOf(one), [...(counts.get(keyOf(one)) ?? []), one.data.readInt32LE()])
    }
    const { socket: dispatcher } = open(
      { address, v6only: false, reusePort: true },
      {
        datagram(first) {
          const key = keyOf(first)
          note(first)
          // More of a peer may have been queued here before its socket was connected.
          if (accepted.has(key)) return
          accepted.add(key)
          const own = dispatcher.accept(first, {
            datagram(one) {
              if (keyOf(one) !== key) wrong.push(key)
              note(one)
            },
            error: (error) => wrong.push(error.message),
          })
          onTestFinished(() => own.close())
        },
      },
    )
    const to = `${host === '::1' ? '[::1]' : host}:${dispatcher.localName.port}`
    const clients = Array.from({ length: 20 }, () => open({ address: host === '::1' ? V6 : V4 }).socket)
    const number = Buffer.alloc(4)
    for (let i = 0; i < 30; i++) {
      number.writeInt32LE(i)
      for (const client of clients) client.send(number, to)
      if (i % 3 === 0) await new Promise(setImmediate)
    }
    await expect.poll(() => [...counts.values()].flat().length).toBe(600)
    expect(wrong).toEqual([])
    expect(counts.size).toBe(20)
    for (const got of counts.values())
      expect(got.sort((a, b) => a - b)).toEqual(Array.from({ length: 30 }, (_, i) => i))
  })

  it('answers from the address that was asked', async () => {
    const { socket: dispatcher } = open(
      { address: '0.0.0.0:0', reusePort: true },
      {
        datagram(first) {
          const own = dispatcher.accept(first, { datagram: (one) => void own.send(one.data), error: () => {} })
          onTestFinished(() => own.close())
          own.send(first.data)
        },
      },
    )
    const { socket } = open()
    for (const text of ['one', 'two']) {
      socket.send(bytes(text), `127.0.0.5:${dispatcher.localName.port}`)
      const [answer] = await receive(socket, 1)
      expect([answer?.data.toString(), answer?.address.address]).toEqual([text, '127.0.0.5'])
    }
  })
})

describe('opening', () => {
  it('gives a socket that is closed on exec and non-blocking', () => {
    const { socket } = open()
    expectCloexec(socket)
    expectNonBlocking(socket)
  })

  it('tells the family by the address or the peer', () => {
    expect(open({ address: V6 }).socket.localName.family).toBe('ipv6')
    expect(open({ peer: '127.0.0.1:9' }).socket.peerName).toMatchObject({ family: 'ipv4', port: 9 })
    expect(open({ family: 'ipv6', address: undefined }).socket.localName).toMatchObject({ address: '::', port: 0 })
  })

  it('refuses to share a port that the kernel chooses', () => {
    expect(() => open({ address: V4, reuseAddress: true })).toThrow(/^reuseAddress needs a port/)
  })

  it('shares a port if asked to', async () => {
    const { socket } = open({ reusePort: true })
    const { port } = socket.localName
    expect(open({ address: `127.0.0.1:${port}`, reusePort: true }).socket.localName.port).toBe(port)
    await expectErrno(() => open({ address: `127.0.0.1:${port}` }), 'EADDRINUSE')
  })

  it('is bound to an interface, by name or number', async () => {
    for (const name of ['lo', lo]) {
      const { socket } = open({ interface: name })
      open().socket.send(bytes('x'), socket.localName)
      expect(texts(await receive(socket, 1))).toEqual(['x'])
    }
    await expectErrno(() => open({ interface: 'none0' }), 'ENODEV')
  })

  it('closes by signal, by using and by drain', async () => {
    const abort = new AbortController()
    const { socket } = open({ signal: abort.signal })
    const waiting = receive(socket, 1)
    abort.abort(new Error('enough'))
    await expect(waiting).rejects.toThrow('enough')
    expect(socket.closed).toBe(true)
    const { socket: other } = open()
    other[Symbol.dispose]()
    expect([other.closed, other.fd]).toEqual([true, -1])
    const { socket: third } = open()
    await third[Symbol.asyncDispose]()
    expect(third.closed).toBe(true)
  })
})

it('reports nothing of earlier sends once it is closed', async () => {
  const { socket: gone } = open()
  const { socket, errors } = open()
  const address = gone.localName
  gone.close()
  // The kernel answers the second send with the error of the first.
  for (const text of ['a', 'b', 'c']) socket.send(bytes(text), address)
  await socket.flush()
  socket.close()
  const reported = errors.length
  await nextTurn()
  await nextTurn()
  expect(errors.length).toBe(reported)
  for (const [error] of errors) expect(error).toHaveProperty('destination', address)
})

it.each([
  ['IPv4', AF_INET, IPPROTO_ICMP, '127.0.0.1', [8, 0, 0xf7, 0xfe, 0, 0, 0, 1]],
  ['IPv6', AF_INET6, IPPROTO_ICMPV6, '::1', [128, 0, 0, 0, 0, 0, 0, 1]],
] as const)('takes over a raw socket: %s', async (_name, domain, protocol, address, request) => {
  const raw: Socket<InetAddress> = Socket.open(domain, SOCK_RAW, protocol)
  const echoed = new Promise<UdpDatagram>((resolve) => {
    const isReply = ({ data }: UdpDatagram) => data.at(-8) === (domain === AF_INET ? 0 : 129)
    const socket = new UdpSocket(
      raw,
      { datagram: (datagram) => isReply(datagram) && resolve(datagram.copy()), error: () => {} },
      { receive: { ttl: true, tos: true } },
    )
    onTestFinished(() => socket.close())
    socket.send(Buffer.from(request), { family: domain === AF_INET ? 'ipv4' : 'ipv6', address, port: 0 } as InetAddress)
  })
  expect(await echoed).toMatchObject({ ttl: 64, tos: 0, destination: address })
})

it.each([
  [{}, '127.0.0.1'],
  [{ receive: { ttl: true } }, '127.0.0.1'],
  [{ receive: { arrival: false } }, undefined],
  [{ peer: '127.0.0.1:9' }, undefined],
  [{ peer: '127.0.0.1:9', receive: { ttl: true } }, undefined],
  [{ peer: '127.0.0.1:9', receive: { arrival: true } }, '127.0.0.1'],
])('receives the destination by default, unless it has a peer: %j', async (options, destination) => {
  const { socket: receiver } = open({ address: V4, ...options })
  const { socket: sender } = open()
  if ('peer' in options) receiver.connect(sender.localName)
  sender.send(Buffer.from('x'), receiver.localName)
  const [datagram] = await receive(receiver, 1)
  expect(datagram?.destination).toBe(destination)
})

it('drops are counted at once, and stamped on what is queued later', async () => {
  const { socket } = open({ receive: { drops: true } })
  setOption(socket, SO_RCVBUF, 1)
  const { socket: sender } = open()
  for (let i = 0; i < 100; i++) sender.send(Buffer.alloc(1000), socket.localName)
  const { drops } = socket
  expect(drops).toBeGreaterThan(50)
  const kept = await receive(socket, 100 - drops)
  expect(kept.map((one) => one.drops)).toEqual(Array(kept.length).fill(0))
  sender.send(bytes('later'), socket.localName)
  const [later] = await receive(socket, 1)
  expect(later?.drops).toBe(drops)
})

describe('node:dgram', () => {
  it('hands its socket over, with what waits in the kernel', async () => {
    const theirs = dgram.createSocket('udp4')
    await new Promise<void>((resolve) => theirs.bind(0, '127.0.0.1', resolve))
    const { port } = theirs.address()
    const closed = once(theirs, 'close')
    const socket = UdpSocket.fromDgram(theirs, { error: () => {} })
    onTestFinished(() => socket.close())
    open().socket.send(bytes('to node'), `127.0.0.1:${port}`)
    const [got] = await receive(socket, 1)
    expect(got).toMatchObject({ destination: '127.0.0.1' })
    await closed
  })

  it('takes a socket over, with what waits in the kernel', async () => {
    const { socket } = open()
    const { port } = socket.localName
    open().socket.send(bytes('to node'), `127.0.0.1:${port}`)
    const theirs = socket.toDgram()
    expect(socket.closed).toBe(true)
    const [message] = await once(theirs, 'message')
    expect(String(message)).toBe('to node')
    theirs.close()
    await once(theirs, 'close')
    const { socket: connected } = open({ peer: '127.0.0.1:9' })
    expect(() => connected.toDgram()).toThrow(TypeError)
    expect(connected.closed).toBe(false)
  })
})

it('ends if other code closes the socket', async () => {
  const raw = Socket.open(AF_INET, SOCK_DGRAM)
  const errors: SystemError[] = []
  const socket = new UdpSocket(raw, { error: (error) => errors.push(error) })
  raw.close()
  await expectErrno(() => socket.sendAsync(bytes('x'), '127.0.0.1:9'), 'EBADF')
  await expect.poll(() => errors.map(({ code }) => code)).toEqual(['EBADF'])
  expect(socket.closed).toBe(true)
})
