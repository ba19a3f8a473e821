/** The same steps over Node's own sockets and over ours. */
import dgram from 'node:dgram'
import { once } from 'node:events'
import { guardDescriptors } from '@linux-sockets/testkit'
import { describe, expect, expectTypeOf, it, onTestFinished } from 'vitest'
import { createDgram, type Dgram, type DgramOptions } from '../src/index.js'

guardDescriptors()

const makers = {
  node: (options: DgramOptions) => dgram.createSocket(options) as unknown as Dgram,
  ours: (options: DgramOptions) => createDgram(options),
}

describe.each(['node', 'ours'] as const)('%s', (kind) => {
  function make(options: Partial<DgramOptions> = {}): Dgram {
    const socket = makers[kind]({ type: 'udp4', ...options })
    onTestFinished(() => {
      try {
        socket.close()
      } catch {
        // Closed by the test.
      }
    })
    return socket
  }

  async function bound(options: Partial<DgramOptions> = {}, host?: string): Promise<Dgram> {
    const socket = make(options)
    socket.bind(0, host ?? (options.type === 'udp6' ? '::1' : '127.0.0.1'))
    await once(socket, 'listening')
    return socket
  }

  it('binds and tells its address', async () => {
    const socket = make()
    let called = 0
    socket.bind({ port: 0, address: '127.0.0.1' }, () => called++)
    await once(socket, 'listening')
    expect(called).toBe(1)
    expect(socket.address()).toEqual({ address: '127.0.0.1', family: 'IPv4', port: expect.any(Number) })
    expect(() => socket.bind(0)).toThrow()
  })

  it.each(['udp4', 'udp6'] as const)('sends and receives: %s', async (type) => {
    const [a, b] = [await bound({ type }), await bound({ type })]
    const { port, address } = b.address()
    a.send('whole', port, address)
    a.send(Buffer.from('xpartx'), 1, 4, port, address)
    a.send(['a', Buffer.from('list')], port, address)
    a.send(new Uint16Array([0x6968]), port, address)
    const got: unknown[] = []
    b.on('message', (data, info) => got.push([data.toString(), info.size, info.family, info.port, info.address]))
    await expect.poll(() => got.length).toBe(4)
    const { family, port: from } = a.address()
    expect(got).toEqual(
      ['whole', 'part', 'alist', 'hi'].map((text) => [
        text,
        text.length,
        family,
        from,
        type === 'udp4' ? '127.0.0.1' : '::1',
      ]),
    )
  })

  it('binds by itself when it sends, and calls back', async () => {
    const receiver = await bound()
    const sender = make()
    const bytes = await new Promise((resolve, reject) => {
      sender.send('hello', receiver.address().port, 'localhost', (error, count) =>
        error ? reject(error) : resolve(count),
      )
    })
    expect(bytes).toBe(5)
    expect(String((await once(receiver, 'message'))[0])).toBe('hello')
    expect(sender.address().port).toBeGreaterThan(0)
    const code = await new Promise((resolve) => {
      const tooLong = Buffer.alloc(70_000)
      sender.send(tooLong, receiver.address().port, '127.0.0.1', (error) =>
        resolve((error as NodeJS.ErrnoException).code),
      )
    })
    expect(code).toBe('EMSGSIZE')
  })

  it('connects and disconnects', async () => {
    const receiver = await bound()
    const socket = await bound()
    socket.connect(receiver.address().port, '127.0.0.1')
    await once(socket, 'connect')
    expect(socket.remoteAddress()).toEqual(receiver.address())
    socket.send('to the peer')
    expect(String((await once(receiver, 'message'))[0])).toBe('to the peer')
    socket.disconnect()
    expect(() => socket.remoteAddress()).toThrow()
  })

  it('joins a group, and sends by an interface', async () => {
    const socket = await bound({ reuseAddr: true }, '0.0.0.0')
    socket.addMembership('239.4.4.4', '127.0.0.1')
    socket.setMulticastInterface('127.0.0.1')
    expect(socket.setMulticastTTL(3)).toBe(3)
    expect(socket.setMulticastLoopback(true)).toBe(true)
    socket.send('to all', socket.address().port, '239.4.4.4')
    expect(String((await once(socket, 'message'))[0])).toBe('to all')
    socket.dropMembership('239.4.4.4', '127.0.0.1')
    expect(() => socket.dropMembership('239.4.4.4', '127.0.0.1')).toThrow(/EADDRNOTAVAIL/)
    socket.addSourceSpecificMembership('127.0.0.1', '232.4.4.4', '127.0.0.1')
    socket.dropSourceSpecificMembership('127.0.0.1', '232.4.4.4', '127.0.0.1')
    const v6 = await bound({ type: 'udp6' }, '::')
    v6.setMulticastInterface('::%lo')
    v6.addMembership('ff02::44', '::%lo')
    v6.dropMembership('ff02::44', '::%lo')
    expect(() => v6.dropMembership('ff02::44', '::%lo')).toThrow(/EADDRNOTAVAIL/)
  })

  it('sets options, and refuses before it is bound', async () => {
    expect(() => make().setTTL(3)).toThrow(/EBADF/)
    expect(() => make().address()).toThrow(/EBADF/)
    const socket = await bound({ recvBufferSize: 20_000, sendBufferSize: 30_000 })
    expect(socket.setTTL(3)).toBe(3)
    socket.setBroadcast(true)
    expect([socket.getRecvBufferSize(), socket.getSendBufferSize()]).toEqual([40_000, 60_000])
    socket.setRecvBufferSize(10_000)
    socket.setSendBufferSize(10_000)
    expect([socket.getRecvBufferSize(), socket.getSendBufferSize()]).toEqual([20_000, 20_000])
    expect([socket.getSendQueueSize(), socket.getSendQueueCount()]).toEqual([0, 0])
    expect(socket.unref().ref()).toBe(socket)
  })

  it('emits what fails, and can be bound elsewhere', async () => {
    const { port } = (await bound()).address()
    const socket = make()
    socket.bind(port, '127.0.0.1')
    const [error] = await once(socket, 'error')
    expect(error.code).toBe('EADDRINUSE')
    socket.bind(0, '127.0.0.1')
    await once(socket, 'listening')
  })

  it('closes once, with an event, and by a signal', async () => {
    const socket = await bound()
    let called = 0
    socket.close(() => called++)
    await once(socket, 'close')
    expect(called).toBe(1)
    expect(() => socket.close()).toThrow()
    expect(() => socket.send('x', 9)).toThrow()
    const abort = new AbortController()
    const other = await bound({ signal: abort.signal })
    const closed = once(other, 'close')
    abort.abort()
    await closed
    await using third = await bound()
    expect(third.address().port).toBeGreaterThan(0)
  })
})

it('has the type of a socket of node:dgram', () => {
  expectTypeOf(createDgram('udp4')).toExtend<dgram.Socket>()
})

it('tells where a datagram arrived', async () => {
  const socket = createDgram('udp4', (data, info) => got.push([data.toString(), info.destination]))
  const got: unknown[] = []
  socket.bind()
  await once(socket, 'listening')
  socket.send('x', socket.address().port, '127.0.0.8')
  await expect.poll(() => got).toEqual([['x', '127.0.0.8']])
  expect(socket.udp?.statistics.received).toBe(1)
  socket.close()
  await once(socket, 'close')
})
