import { expectErrno, guardDescriptors } from '@linux-sockets/testkit'
import { describe, expect, it, onTestFinished } from 'vitest'
import { control, int } from '../../../src/codecs/index.js'
import { IPPROTO_IP } from '../../../src/constants.js'
import { controlMessage, encodeControl, type Socket, type SystemError } from '../../../src/index.js'
import {
  DatagramChannel,
  type DatagramChannelOptions,
  type DatagramHandlers,
  type OutgoingDatagram,
} from '../../../src/streams/index.js'
import { udp, unixPair } from '../../datagram.js'

guardDescriptors()

describe('a batch', () => {
  it('is sent in its order, with its addresses and control messages, by few calls', async () => {
    const [a, b] = [udp(), udp()]
    const { channel } = open(udp())
    const ttl = encodeControl([controlMessage(IP_TTL, 9)])
    const datagrams = numbered(100).map((data, i) => ({
      data,
      address: i % 2 === 0 ? a.localName : b.localName,
      options: i % 3 === 0 ? { control: ttl } : i % 3 === 1 ? { control: [controlMessage(IP_TTL, 7)] } : undefined,
    }))
    expect(channel.sendBatch(datagrams)).toBe(true)
    expect(readAll(a)).toEqual(numbers(100).filter((i) => i % 2 === 0))
    expect(readAll(b)).toEqual(numbers(100).filter((i) => i % 2 === 1))
    expect(channel.statistics).toMatchObject({ sent: 100, bytesWritten: 400, failed: 0 })
    expect(channel.sendBatch([])).toBe(true)
  })

  it('waits in the queue from the datagram on that the kernel does not take, and keeps its order', async () => {
    const [a, b] = unixPair()
    const { channel, drains } = open(a)
    const all = numbered(2000)
    expect(channel.sendBatch(all.slice(0, 1500).map((data) => ({ data })))).toBe(false)
    expect(channel.queuedDatagrams).toBeGreaterThan(0)
    expect(channel.sendBatch(all.slice(1500).map((data) => ({ data })))).toBe(false)
    const got: number[] = []
    const flushed = channel.flush()
    await expect.poll(() => got.push(...readAll(b)) && got.length).toBe(2000)
    expect(got).toEqual(numbers(2000))
    await flushed
    expect(drains()).toBeGreaterThan(0)
  })

  it('is refused as a whole if the queue has no room for it, or one datagram is invalid', () => {
    const [a, b] = unixPair()
    const { channel } = open(a, { maxQueuedDatagrams: 10 })
    expect(() => channel.sendBatch(numbered(11).map((data) => ({ data })))).toThrow(/ENOBUFS.*maxQueuedDatagrams/)
    const small = open(unixPair()[0], { maxQueuedBytes: 7 }).channel
    expect(() => small.sendBatch(numbered(2).map((data) => ({ data })))).toThrow(/ENOBUFS.*maxQueuedBytes/)
    expect(() => channel.sendBatch([{ data: Buffer.from('x') }, { data: 'y' } as never])).toThrow(
      /^datagrams\[1\].data/,
    )
    expect(readAll(b)).toEqual([])
  })

  it('reports the datagram that the kernel refuses, and sends the others', async () => {
    const receiver = udp()
    const { channel, failures } = open(udp())
    const address = receiver.localName
    const large = Buffer.alloc(70_000)
    channel.sendBatch([int32(0), large, int32(1)].map((data) => ({ data, address })))
    await channel.flush()
    expect(readAll(receiver)).toEqual([0, 1])
    await expect.poll(failures).toEqual([['EMSGSIZE', 70_000]])
    expect(channel.statistics).toMatchObject({ sent: 2, failed: 1 })
  })
})

describe('sendAsync', () => {
  it('resolves when the kernel has taken the datagram', async () => {
    const receiver = udp()
    const { channel } = open(udp())
    await channel.sendAsync(int32(5), receiver.localName)
    expect(readAll(receiver)).toEqual([5])
  })

  it('rejects with the refusal, which the error handler is not told', async () => {
    const { channel, failures } = open(udp())
    await expectErrno(() => channel.sendAsync(Buffer.alloc(70_000), udp().localName), 'EMSGSIZE')
    expect(failures()).toEqual([])
    expect(channel.statistics.failed).toBe(1)
  })

  it('waits for room in a full queue, in order, and is not overtaken', async () => {
    const [a, b] = unixPair()
    const { channel } = open(a, { maxQueuedDatagrams: 3 })
    const sends = numbers(600).map((i) => channel.sendAsync(int32(i)))
    expect(channel.queuedDatagrams).toBe(3)
    expect(() => channel.send(int32(-1))).toThrow(/ENOBUFS/)
    const got: number[] = []
    await expect.poll(() => got.push(...readAll(b)) && got.length).toBe(600)
    expect(got).toEqual(numbers(600))
    await Promise.all(sends)
  })

  it('rejects if the channel is closed, whether the datagram is queued or waits for room', async () => {
    const { channel } = open(unixPair()[0], { maxQueuedDatagrams: 1 })
    while (channel.send(int32(0)));
    const waiting = [1, 2, 3].map((i) => channel.sendAsync(int32(i)))
    const rejected = Promise.all(waiting.map((promise) => expectErrno(() => promise, 'ECANCELED')))
    channel.close()
    await rejected
    await expectErrno(() => channel.sendAsync(int32(4)), 'EBADF')
  })

  it('lets a datagram that exceeds the queue alone into an empty one', async () => {
    const [a, b] = unixPair()
    const { channel } = open(a, { maxQueuedBytes: 8 })
    while (channel.send(int32(0)));
    const big = channel.sendAsync(Buffer.alloc(100))
    await expect.poll(() => readAll(b).length > 0 && channel.queuedDatagrams).toBe(0)
    await big
  })
})

describe('a replacement', () => {
  it.each(['at once', 'from the queue'])('is sent in the place of what was refused %s', async (when) => {
    const [a, b] = unixPair()
    const { channel, failures } = open(a)
    const got: number[] = []
    if (when === 'from the queue') while (channel.send(int32(-1)));
    const refused = Buffer.alloc(500_000)
    const codes: string[] = []
    channel.send(refused, undefined, {
      replace(error) {
        codes.push(error.code)
        return [{ data: int32(1) }, { data: int32(2) }]
      },
      settled: () => codes.push('settled'),
    })
    channel.send(int32(3))
    const flushed = channel.flush()
    await expect.poll(() => lastOf(b, got)).toBe(3)
    await flushed
    expect(got.filter((i) => i > 0)).toEqual([1, 2, 3])
    expect(codes).toEqual(['EMSGSIZE'])
    expect(failures()).toEqual([])
    expect(channel.statistics.failed).toBe(0)
  })

  it('keeps a flush waiting that was called before', async () => {
    const [a, b] = unixPair()
    const { channel } = open(a)
    while (channel.send(int32(-1)));
    let settled = 0
    const others: OutgoingDatagram[] = numbers(50).map((i) => ({
      data: int32(i),
      options: { settled: () => settled++ },
    }))
    channel.send(Buffer.alloc(500_000), undefined, { replace: () => others })
    const flushed = channel.flush().then(() => settled)
    const got: number[] = []
    await expect.poll(() => lastOf(b, got)).toBe(49)
    expect(await flushed).toBe(50)
  })

  it('of undefined leaves the datagram failed', async () => {
    const { channel, failures } = open(unixPair()[0])
    channel.send(Buffer.alloc(500_000), undefined, { replace: () => undefined, segments: 4 })
    await expect.poll(failures).toEqual([['EMSGSIZE', 500_000]])
    expect(channel.statistics).toMatchObject({ failed: 4, sent: 0 })
  })
})

it('what settled is told comes once for each datagram', async () => {
  const [a, b] = unixPair()
  const { channel } = open(a)
  const told: unknown[] = []
  const send = (name: string, data: Uint8Array) =>
    channel.send(data, undefined, { settled: (error) => told.push([name, (error as SystemError)?.code]) })
  send('taken', int32(0))
  send('refused', Buffer.alloc(500_000))
  while (channel.send(int32(-1)));
  send('queued', int32(1))
  const got: number[] = []
  await expect.poll(() => lastOf(b, got)).toBe(1)
  await channel.flush()
  while (channel.send(int32(-1)));
  send('lost', int32(2))
  channel.close()
  expect(told).toEqual([
    ['taken', undefined],
    ['refused', 'EMSGSIZE'],
    ['queued', undefined],
    ['lost', 'ECANCELED'],
  ])
})

const IP_TTL = control('IP_TTL', IPPROTO_IP, 2, int)

function open(socket: Socket, options: DatagramChannelOptions = {}) {
  const failures: [code: string, length: number | undefined][] = []
  let drains = 0
  const handlers: DatagramHandlers = {
    error: (error, failed) => failures.push([error.code, failed?.data.length]),
    drain: () => drains++,
  }
  const channel = new DatagramChannel(socket, handlers, options)
  onTestFinished(() => channel.close())
  return { channel, failures: () => failures, drains: () => drains }
}

/** The numbers that wait at a socket. */
function readAll(socket: Socket): number[] {
  const buffer = Buffer.alloc(2048)
  const got: number[] = []
  while (socket.recv(buffer) !== null) got.push(buffer.readInt32LE())
  return got
}

/** Adds the numbers that wait at a socket to those that it got before, and returns the last. */
function lastOf(socket: Socket, got: number[]): number | undefined {
  got.push(...readAll(socket))
  return got.at(-1)
}

function int32(value: number): Buffer {
  const bytes = Buffer.alloc(4)
  bytes.writeInt32LE(value)
  return bytes
}

function numbers(count: number): number[] {
  return Array.from({ length: count }, (_, i) => i)
}

function numbered(count: number): Buffer[] {
  return numbers(count).map(int32)
}
