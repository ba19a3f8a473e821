import { readFileSync, readSync, writeSync } from 'node:fs'
import {
  expectCloexec,
  expectErrno,
  guardDescriptors,
  needLinux,
  openDescriptors,
  runPython,
  skipUnless,
} from '@linux-sockets/testkit'
import { describe, expect, it } from 'vitest'
import { control, int } from '../src/codecs/index.js'
import {
  AF_INET,
  AF_INET6,
  AF_UNIX,
  IPPROTO_IP,
  MSG_CTRUNC,
  MSG_PEEK,
  MSG_TRUNC,
  MSG_WAITFORONE,
  SCM_RIGHTS,
  SOCK_DGRAM,
  SOL_SOCKET,
} from '../src/constants.js'
import {
  BATCH_MAX,
  controlMessage,
  controlSpace,
  descriptorSpace,
  encodeAddress,
  type InetAddress,
  isNonBlocking,
  type OwnedFd,
  pipe,
  ReceiveBatch,
  readable,
  readControl,
  SCM_PIDFD,
  SendBatch,
  Socket,
  setOption,
} from '../src/index.js'
import { IP_PKTINFO, IP_RECVTTL, SO_PASSPIDFD } from '../src/options/index.js'
import { closeLater, udp, unixPair } from './datagram.js'

guardDescriptors()

const defaultTtl = Number(readFileSync('/proc/sys/net/ipv4/ip_default_ttl', 'utf8'))
const IP_TTL = control('IP_TTL', IPPROTO_IP, 2, int)

describe('ReceiveBatch', () => {
  it('receives what waits, in order, each with its sender', () => {
    const receiver = udp()
    const senders = [udp(), udp(), udp()]
    for (const [i, sender] of senders.entries()) sender.sendTo(Buffer.alloc(i, i), receiver.localName)
    const batch = new ReceiveBatch()
    expect(batch.receive(receiver)).toBe(3)
    for (const [i, sender] of senders.entries()) {
      expect(batch.length(i)).toBe(i)
      expect(batch.data(i)).toEqual(Buffer.alloc(i, i))
      expect(batch.address(i)).toEqual(sender.localName)
      expect(batch.sockaddr(i)).toEqual(encodeAddress(sender.localName))
      expect(batch.flags(i)).toBe(0)
      expect(batch.control(i)).toEqual([])
      expect(batch.descriptors(i)).toEqual([])
    }
    expect(batch.receive(receiver)).toBeNull()
  })

  it('takes at most its count, and leaves the rest', () => {
    const [a, b] = unixPair()
    for (let i = 0; i < 5; i++) a.send(Buffer.of(i))
    const batch = new ReceiveBatch({ count: 2 })
    const got: number[] = []
    for (let count = batch.receive(b); count !== null; count = batch.receive(b)) {
      expect(count).toBeLessThanOrEqual(2)
      for (let i = 0; i < count; i++) got.push(batch.data(i)[0] as number)
    }
    expect(got).toEqual([0, 1, 2, 3, 4])
  })

  it('takes the most that one call moves', async () => {
    const receiver = udp()
    const output = await runPython(
      `
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for i in range(200): s.sendto(b'%d' % i, ('127.0.0.1', int(sys.argv[1])))
print(s.getsockname()[1])`,
      String((receiver.localName as InetAddress).port),
    )
    const batch = new ReceiveBatch({ count: BATCH_MAX, size: 4 })
    const count = batch.receive(receiver) as number
    expect(count).toBe(200)
    for (let i = 0; i < count; i++) {
      expect(batch.data(i).toString()).toBe(String(i))
      expect(batch.address(i)).toMatchObject({ address: '127.0.0.1', port: Number(output) })
    }
  })

  it('keeps messages apart and reuses its buffers', () => {
    const [a, b] = unixPair()
    const batch = new ReceiveBatch({ count: 3, size: 5 })
    for (const text of ['aaaaa', 'b', 'ccc']) a.send(Buffer.from(text))
    expect(batch.receive(b)).toBe(3)
    const first = batch.data(0)
    expect([0, 1, 2].map((i) => batch.data(i).toString())).toEqual(['aaaaa', 'b', 'ccc'])
    expect(first.buffer).toBe(batch.payload.buffer)
    a.send(Buffer.from('xy'))
    expect(batch.receive(b)).toBe(1)
    expect(batch.data(0).toString()).toBe('xy')
    expect(first.toString()).toBe('xyaaa')
  })

  it('reports cut data, and the true length if asked', () => {
    const [a, b] = unixPair()
    const batch = new ReceiveBatch({ size: 3 })
    for (const flags of [0, MSG_TRUNC]) {
      a.send(Buffer.from('abcdef'))
      a.send(Buffer.from('abc'))
      expect(batch.receive(b, flags)).toBe(2)
      expect([batch.length(0), batch.flags(0)]).toEqual([flags === 0 ? 3 : 6, MSG_TRUNC])
      expect(batch.data(0).toString()).toBe('abc')
      expect([batch.length(1), batch.flags(1)]).toEqual([3, 0])
    }
  })

  it('gives the control messages of each message', () => {
    const receiver = udp()
    setOption(receiver, IP_RECVTTL, true)
    const sender = udp()
    for (const ttl of [1, 200]) {
      sender.sendMessage({
        data: Buffer.from('x'),
        address: receiver.localName,
        control: [controlMessage(IP_TTL, ttl)],
      })
    }
    // A size that is no multiple of 8, and still enough.
    const batch = new ReceiveBatch({ control: controlSpace(4) - 3 })
    expect(batch.receive(receiver)).toBe(2)
    const copies = [batch.control(0), batch.control(1)]
    batch.receive(receiver)
    expect(copies.map((messages) => readControl(messages, IP_TTL))).toEqual([1, 200])
    expect([batch.flags(0), batch.flags(1)]).toEqual([0, 0])
  })

  it('reports that control messages were cut', () => {
    const receiver = udp()
    setOption(receiver, IP_PKTINFO, true)
    for (const size of [0, 16]) {
      const batch = new ReceiveBatch({ control: size })
      udp().sendTo(Buffer.from('x'), receiver.localName)
      expect(batch.receive(receiver)).toBe(1)
      expect(batch.flags(0)).toBe(MSG_CTRUNC)
    }
  })

  it('obeys flags', () => {
    const [a, b] = unixPair()
    a.send(Buffer.from('x'))
    const batch = new ReceiveBatch({ count: 1 })
    expect(batch.receive(b, MSG_PEEK)).toBe(1)
    expect(batch.receive(b)).toBe(1)
    expect(batch.receive(b)).toBeNull()
  })

  it('waits for one on a blocking socket', () => {
    const [a, b] = Socket.pair(AF_UNIX, SOCK_DGRAM, 0, { blocking: true })
    closeLater(a, b)
    for (let i = 0; i < 3; i++) a.send(Buffer.of(i))
    expect(new ReceiveBatch().receive(b, MSG_WAITFORONE)).toBe(3)
  })

  it('has no sender for a message from a socket without a name', () => {
    const [a, b] = unixPair()
    a.send(Buffer.from('x'))
    const batch = new ReceiveBatch()
    batch.receive(b)
    expect(batch.address(0)).toBeNull()
    expect(batch.sockaddr(0)).toHaveLength(0)
  })

  it('throws the errors of the socket', async () => {
    const batch = new ReceiveBatch()
    expect(expectErrno(() => batch.receive({ fd: -1 }), 'EBADF').syscall).toBe('recvmmsg')
    const [socket, gone] = [udp(), udp()]
    socket.connect(gone.localName)
    gone.close()
    socket.send(Buffer.from('x'))
    await readable(socket)
    expectErrno(() => batch.receive(socket), 'ECONNREFUSED')
    expect(batch.receive(socket)).toBeNull()
  })

  it('refuses invalid sizes', () => {
    for (const count of [0, 1025, -1, 1.5]) expect(() => new ReceiveBatch({ count })).toThrow(RangeError)
    for (const size of [0, 2 ** 29, Number.POSITIVE_INFINITY])
      expect(() => new ReceiveBatch({ size })).toThrow(RangeError)
    for (const size of [Number.NaN, '9' as unknown as number])
      expect(() => new ReceiveBatch({ size })).toThrow(TypeError)
    expect(() => new ReceiveBatch({ control: -1 })).toThrow(RangeError)
  })
})

describe('descriptors in a ReceiveBatch', () => {
  it('come with their message, closed on exec and otherwise as they are', () => {
    const [a, b] = unixPair()
    const texts = ['one', 'two']
    a.send(Buffer.from('none'))
    for (const text of texts) {
      const { read, write } = pipe({ blocking: true })
      writeSync(write.fd, text)
      a.sendMessage({ data: Buffer.from(text), descriptors: [read, read] })
      read.close()
      write.close()
    }
    const batch = new ReceiveBatch({ control: descriptorSpace(2) })
    expect(batch.receive(b)).toBe(3)
    expect(batch.descriptors(0)).toEqual([])
    for (const [i, text] of texts.entries()) {
      expect(batch.control(i + 1)).toEqual([{ level: SOL_SOCKET, type: SCM_RIGHTS, data: new Uint8Array(0) }])
      const descriptors = batch.descriptors(i + 1)
      expect(descriptors).toHaveLength(2)
      for (const descriptor of descriptors) {
        expectCloexec(descriptor)
        expect(isNonBlocking(descriptor)).toBe(false)
      }
      const buffer = Buffer.alloc(10)
      expect(buffer.toString('utf8', 0, readSync(descriptors[0]?.fd ?? -1, buffer))).toBe(text)
      for (const descriptor of descriptors) descriptor.close()
    }
  })

  it('belong to one receive only', () => {
    const [a, b] = unixPair()
    const batch = new ReceiveBatch({ control: descriptorSpace(1) })
    a.sendMessage({ data: Buffer.from('x'), descriptors: [a] })
    expect(batch.receive(b)).toBe(1)
    for (const descriptor of batch.descriptors(0)) descriptor.close()
    a.send(Buffer.from('y'))
    expect(batch.receive(b)).toBe(1)
    expect(batch.descriptors(0)).toEqual([])
  })

  it('are closed when the message was cut', () => {
    const [a, b] = unixPair()
    a.sendMessage({ data: Buffer.from('x'), descriptors: [a, a, a, a] })
    const open = openDescriptors().length
    const batch = new ReceiveBatch({ control: descriptorSpace(2) })
    expect(batch.receive(b)).toBe(1)
    expect(batch.flags(0)).toBe(MSG_CTRUNC)
    expect(batch.descriptors(0)).toEqual([])
    expect(openDescriptors()).toHaveLength(open)
  })

  it('are handed over as far as they fitted if asked for', () => {
    const [a, b] = unixPair()
    a.sendMessage({ data: Buffer.from('x'), descriptors: [a, a, a, a] })
    const batch = new ReceiveBatch({ control: descriptorSpace(2), keepTruncated: true })
    expect(batch.receive(b)).toBe(1)
    expect(batch.flags(0)).toBe(MSG_CTRUNC)
    expect(batch.descriptors(0)).toHaveLength(2)
    for (const descriptor of batch.descriptors(0)) descriptor.close()
  })

  it.for([true, false])('are closed by the next receive unless they were read; a pidfd, too: %s', (pidfds, test) => {
    skipUnless(test, pidfds ? needLinux('6.5') : null)
    const [a, b] = unixPair()
    if (pidfds) setOption(b, SO_PASSPIDFD, true)
    const each = pidfds ? 2 : 1
    const batch = new ReceiveBatch({ control: descriptorSpace(1) + controlSpace(4) })
    const before = openDescriptors().length
    for (let i = 0; i < 3; i++) a.sendMessage({ data: Buffer.from('x'), descriptors: [a] })
    expect(batch.receive(b)).toBe(3)
    expect(openDescriptors()).toHaveLength(before + 3 * each)
    const [read] = batch.descriptors(1) as [OwnedFd]
    batch.drop(0)
    batch.drop(0)
    batch.drop(1)
    expect(openDescriptors()).toHaveLength(before + 1 + each)
    expect(batch.receive(b)).toBeNull()
    expect(openDescriptors()).toHaveLength(before + 1)
    expect(batch.descriptors(2)).toEqual([])
    a.sendMessage({ data: Buffer.from('x'), descriptors: [a] })
    expect(batch.receive(b)).toBe(1)
    batch.drop()
    expect(openDescriptors()).toHaveLength(before + 1)
    read.close()
  })

  it('come with the sender’s process, which has an owner of its own', (test) => {
    skipUnless(test, needLinux('6.5'))
    const [a, b] = unixPair()
    setOption(b, SO_PASSPIDFD, true)
    const batch = new ReceiveBatch({ control: descriptorSpace(1) + controlSpace(4) })
    a.sendMessage({ data: Buffer.from('x'), descriptors: [a] })
    a.send(Buffer.from('y'))
    expect(batch.receive(b)).toBe(2)
    expect([0, 1].map((i) => batch.control(i).map(({ type, data }) => [type, data.length]))).toEqual([
      [
        [SCM_RIGHTS, 0],
        [SCM_PIDFD.type, 0],
      ],
      [[SCM_PIDFD.type, 0]],
    ])
    const pidfds = [batch.pidfd(0), batch.pidfd(1)] as OwnedFd[]
    batch.drop()
    for (const pidfd of pidfds) {
      expectCloexec(pidfd)
      expect(readFileSync(`/proc/self/fdinfo/${pidfd.fd}`, 'utf8')).toMatch(new RegExp(`^Pid:\\t${process.pid}$`, 'm'))
      pidfd.close()
    }
  })
})

describe('SendBatch', () => {
  it.each([AF_INET, AF_INET6])('sends to many addresses of family %i in one call', (family) => {
    const receivers = [udp(family), udp(family), udp(family)]
    const sender = udp(family)
    const batch = new SendBatch()
    for (const [i, receiver] of receivers.entries()) {
      const address = i === 1 ? encodeAddress(receiver.localName) : receiver.localName
      expect(batch.add(Buffer.alloc(i, i), address)).toBe(true)
    }
    expect(batch.pending).toBe(3)
    expect(batch.send(sender)).toBe(3)
    expect(batch.pending).toBe(0)
    expect(batch.send(sender)).toBe(0)
    for (const [i, receiver] of receivers.entries()) {
      const buffer = Buffer.alloc(10)
      expect(receiver.recvFrom(buffer)).toEqual({ length: i, address: sender.localName })
      expect(buffer.subarray(0, i)).toEqual(Buffer.alloc(i, i))
    }
  })

  it('is full by count and by bytes, and can be reused when all is sent', () => {
    const [a, b] = unixPair()
    const batch = new SendBatch({ count: 3, capacity: 10 })
    for (let round = 0; round < 3; round++) {
      expect([4, 4, 4].map((length) => batch.add(Buffer.alloc(length)))).toEqual([true, true, false])
      expect(batch.add(Buffer.alloc(2))).toBe(true)
      expect(batch.add(Buffer.alloc(0))).toBe(false)
      expect(batch.send(a)).toBe(3)
      expect(new ReceiveBatch().receive(b)).toBe(3)
    }
  })

  it('copies what it is given', () => {
    const [a, b] = unixPair()
    const batch = new SendBatch()
    const data = Buffer.from('before')
    batch.add(data)
    data.write('after!')
    batch.send(a)
    const buffer = Buffer.alloc(6)
    b.recv(buffer)
    expect(buffer.toString()).toBe('before')
  })

  it('sends control messages, separate ones for each message', () => {
    const receiver = udp()
    setOption(receiver, IP_RECVTTL, true)
    const sender = udp()
    const batch = new SendBatch({ control: controlSpace(4) })
    batch.add(Buffer.from('a'), receiver.localName, [controlMessage(IP_TTL, 7)])
    batch.add(Buffer.from('b'), receiver.localName)
    batch.add(Buffer.from('c'), receiver.localName, [controlMessage(IP_TTL, 9)])
    expect(batch.send(sender)).toBe(3)
    const received = new ReceiveBatch({ control: controlSpace(4) })
    expect(received.receive(receiver)).toBe(3)
    expect([0, 1, 2].map((i) => readControl(received.control(i), IP_TTL))).toEqual([7, defaultTtl, 9])
  })

  it('continues where the kernel stopped taking messages', () => {
    const [a, b] = unixPair()
    const batch = new SendBatch({ count: BATCH_MAX, capacity: 4 * BATCH_MAX })
    for (let i = 0; i < BATCH_MAX; i++) batch.add(int32(i))
    const sent = batch.send(a) as number
    expect(sent).toBeGreaterThan(0)
    expect(sent).toBeLessThan(BATCH_MAX)
    expect(batch.pending).toBe(BATCH_MAX - sent)
    expect(batch.send(a)).toBeNull()
    expect(batch.pending).toBe(BATCH_MAX - sent)
    const got: number[] = []
    const received = new ReceiveBatch({ size: 4 })
    while (got.length < BATCH_MAX) {
      const count = received.receive(b) as number
      for (let i = 0; i < count; i++) got.push(received.data(i).readInt32LE())
      batch.send(a)
    }
    expect(got).toEqual(Array.from({ length: BATCH_MAX }, (_, i) => i))
  })

  it('leaves the message that fails in front, to be skipped', () => {
    const receiver = udp()
    const sender = udp()
    const batch = new SendBatch({ capacity: 100_000 })
    batch.add(Buffer.from('a'), receiver.localName)
    batch.add(Buffer.alloc(70_000), receiver.localName)
    batch.add(Buffer.from('b'), receiver.localName)
    expect(batch.send(sender)).toBe(1)
    for (let i = 0; i < 2; i++) expect(expectErrno(() => batch.send(sender), 'EMSGSIZE').syscall).toBe('sendmmsg')
    expect(batch.pending).toBe(2)
    batch.skip()
    expect(batch.send(sender)).toBe(1)
    batch.skip()
    expect(batch.pending).toBe(0)
    const received = new ReceiveBatch()
    expect(received.receive(receiver)).toBe(2)
    expect([0, 1].map((i) => received.data(i).toString())).toEqual(['a', 'b'])
  })

  it('can be cleared', () => {
    const [a, b] = unixPair()
    const batch = new SendBatch({ count: 1 })
    batch.add(Buffer.from('a'))
    batch.clear()
    expect(batch.pending).toBe(0)
    expect(batch.send(a)).toBe(0)
    expect(batch.add(Buffer.from('b'))).toBe(true)
    batch.send(a)
    const buffer = Buffer.alloc(1)
    b.recv(buffer)
    expect(buffer.toString()).toBe('b')
  })

  it('refuses what never fits, and what can not be sent', () => {
    const batch = new SendBatch({ count: 2, capacity: 10, control: 16 })
    const unchanged = () => expect(batch.pending).toBe(0)
    expect(() => batch.add(Buffer.alloc(11))).toThrow(RangeError)
    unchanged()
    expect(() => batch.add(Buffer.alloc(1), undefined, [controlMessage(IP_TTL, 1)])).toThrow(RangeError)
    unchanged()
    expect(() => batch.add(Buffer.alloc(1), { family: 'ipv4', address: 'x', port: 1 })).toThrow(TypeError)
    unchanged()
    expect(() => batch.add('text' as unknown as Uint8Array)).toThrow(TypeError)
    unchanged()
    expect(() => new SendBatch({ count: 0 })).toThrow(RangeError)
    batch.add(Buffer.alloc(1))
    expectErrno(() => batch.send({ fd: -1 }), 'EBADF')
  })
})

it('echoes a batch to Python without decoding an address', async () => {
  const socket = udp()
  const python = runPython(
    `
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.settimeout(60)
for i in range(50): s.sendto(b'%d' % i, ('127.0.0.1', int(sys.argv[1])))
print([s.recv(10) for i in range(50)] == [b'%d' % i for i in range(50)])`,
    String((socket.localName as InetAddress).port),
  )
  const received = new ReceiveBatch({ count: 8 })
  const sent = new SendBatch({ count: 8 })
  for (let echoed = 0; echoed < 50; ) {
    await readable(socket, { signal: AbortSignal.timeout(60_000) })
    const count = received.receive(socket) ?? 0
    for (let i = 0; i < count; i++) sent.add(received.data(i), received.sockaddr(i))
    while (sent.pending > 0) sent.send(socket)
    echoed += count
  }
  expect(await python).toBe('True\n')
})

function int32(value: number): Buffer {
  const bytes = Buffer.alloc(4)
  bytes.writeInt32LE(value)
  return bytes
}
