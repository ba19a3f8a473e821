import { guardDescriptors } from '@linux-sockets/testkit'
import { expect, it, onTestFinished } from 'vitest'
import { control, int } from '../../../src/codecs/index.js'
import { AF_UNIX, IPPROTO_IP, SHUT_RDWR, SOCK_SEQPACKET } from '../../../src/constants.js'
import { controlSpace, descriptorSpace, pipe, ReceiveBatch, Socket, setOption } from '../../../src/index.js'
import { IP_RECVTOS, IP_RECVTTL } from '../../../src/options/index.js'
import { type DatagramBatch, DatagramChannel, type DatagramChannelOptions } from '../../../src/streams/index.js'
import { closeLater, udp, unixPair } from '../../datagram.js'

guardDescriptors()

it('a batch handler gets each received batch once, in order', async () => {
  const [a, b] = unixPair()
  const batches: string[][] = []
  const { channel, errors } = open(b, (batch) => void batches.push(Array.from(batch, ({ data }) => String(data))), {
    receive: { count: 3 },
  })
  for (const text of ['a', 'b', 'c', 'd', 'e']) a.send(Buffer.from(text))
  await expect.poll(() => batches.flat().length).toBe(5)
  expect(batches).toEqual([
    ['a', 'b', 'c'],
    ['d', 'e'],
  ])
  expect(channel.statistics).toMatchObject({ received: 5, bytesRead: 5 })
  expect(errors).toEqual([])
})

it('a batch is shown by number, and no longer than its handler runs', async () => {
  const [a, b] = unixPair()
  let kept: DatagramBatch | undefined
  let seen: unknown[] = []
  open(b, (batch) => {
    kept = batch
    const first = batch.at(0).copy()
    seen = [batch.length, String(batch.at(1).data), String(first.data)]
    expect(() => batch.at(2)).toThrow(/^i must be/)
  })
  a.send(Buffer.from('one'))
  a.send(Buffer.from('two'))
  await expect.poll(() => seen).toEqual([2, 'two', 'one'])
  expect(kept?.length).toBe(0)
  expect(() => kept?.at(0)).toThrow(RangeError)
})

it('pause takes effect after the batch, and close within it', async () => {
  const [a, b] = unixPair()
  let got = 0
  const { channel } = open(
    b,
    (batch) => {
      got += batch.length
      channel.pause()
    },
    { receive: { count: 2 } },
  )
  for (let i = 0; i < 5; i++) a.send(Buffer.from('x'))
  await expect.poll(() => got).toBe(2)
  channel.resume()
  await expect.poll(() => got).toBe(4)
  const [c, d] = unixPair()
  const other = open(d, () => other.channel.close())
  c.send(Buffer.from('x'))
  await expect.poll(() => other.channel.closed).toBe(true)
})

it('descriptors of a batch that the handler does not read are closed', async () => {
  const [a, b] = unixPair()
  let got = 0
  const count = (batch: DatagramBatch) => {
    got += batch.length
  }
  open(b, count, { receive: { control: descriptorSpace(1) } })
  const { read, write } = pipe()
  for (let i = 0; i < 3; i++) a.sendMessage({ data: Buffer.from('x'), descriptors: [read] })
  read.close()
  write.close()
  await expect.poll(() => got).toBe(3)
})

it('the end of a seqpacket connection ends the batches', async () => {
  const [a, b] = Socket.pair(AF_UNIX, SOCK_SEQPACKET)
  closeLater(a, b)
  const got: string[] = []
  let ended = false
  const channel = new DatagramChannel(b, {
    batch: (batch) => void got.push(...Array.from(batch, ({ data }) => String(data))),
    error: () => {},
    end: () => {
      ended = true
    },
  })
  onTestFinished(() => channel.close())
  a.send(Buffer.from('last'))
  a.shutdown(SHUT_RDWR)
  await expect.poll(() => ended).toBe(true)
  expect(got).toEqual(['last'])
})

it('a channel has one of the two handlers', () => {
  const [a] = unixPair()
  const handlers = { datagram: () => {}, batch: () => {}, error: () => {} }
  expect(() => new DatagramChannel(a, handlers)).toThrow('handlers must not have both datagram and batch')
})

it('control messages are read in place, whatever their order and length', () => {
  const [a, b] = [udp(), udp()]
  setOption(b, IP_RECVTTL, true)
  setOption(b, IP_RECVTOS, true)
  const batch = new ReceiveBatch({ count: 2, control: 2 * controlSpace(4) })
  for (const text of ['one', 'two']) {
    a.sendMessage({
      data: Buffer.from(text),
      address: b.localName,
      control: [{ level: IPPROTO_IP, type: 1, data: Buffer.from([0xb8, 0, 0, 0]) }],
    })
  }
  expect(batch.receive(b)).toBe(2)
  for (const i of [0, 1]) {
    expect([batch.readControl(i, IP_TOS), batch.readControl(i, IP_TTL)]).toEqual([0xb8, 64])
    expect(batch.readControl(i, OTHER)).toBeUndefined()
  }
  expect(new ReceiveBatch().readControl(0, IP_TTL)).toBeUndefined()
})

const IP_TOS = control('IP_TOS', IPPROTO_IP, 1, int)
const IP_TTL = control('IP_TTL', IPPROTO_IP, 2, int)
const OTHER = control('IP_PKTINFO', IPPROTO_IP, 8, int)

function open(socket: Socket, batch: (batch: DatagramBatch) => void, options?: DatagramChannelOptions) {
  const errors: unknown[] = []
  const channel = new DatagramChannel(socket, { batch, error: (error) => errors.push(error) }, options)
  onTestFinished(() => channel.close())
  return { channel, errors }
}
