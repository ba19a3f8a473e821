import { once } from 'node:events'
import { PassThrough, Readable } from 'node:stream'
import { buffer } from 'node:stream/consumers'
import { setImmediate as turn } from 'node:timers/promises'
import { guardDescriptors } from '@linux-sockets/testkit'
import { describe, expect, it, onTestFinished } from 'vitest'
import { Socket } from '../../src/index.js'
import { readExactly, SocketStream } from '../../src/streams/index.js'

guardDescriptors()

const MiB = 1024 * 1024

function streams(): [SocketStream, SocketStream] {
  const [a, b] = Socket.pair().map((socket) => new SocketStream(socket, { allowHalfOpen: true })) as [
    SocketStream,
    SocketStream,
  ]
  onTestFinished(async () => {
    for (const stream of [a, b]) {
      stream.destroy()
      if (!stream.closed) await once(stream, 'close')
    }
  })
  return [a, b]
}

/** The number of the stream's listeners per event. */
function listening(stream: Readable): number[] {
  return ['readable', 'data', 'end', 'error', 'close'].map((event) => stream.listenerCount(event))
}

describe('readExactly', () => {
  it('reads exactly the length, however the chunks are cut, and leaves the rest', async () => {
    const [a, b] = streams()
    const before = listening(a)
    b.write('\0\0\0\x05he')
    const length = (await readExactly(a, 4)).readUInt32BE()
    const reading = readExactly(a, length)
    await turn()
    b.write('l')
    await turn()
    b.end('lo and more')
    expect(String(await reading)).toBe('hello')
    expect(listening(a)).toEqual(before)
    expect(String(await buffer(a))).toBe(' and more')
  })

  it('reads more than the high-water mark, and doesn’t raise it', async () => {
    const [a, b] = streams()
    const data = Buffer.alloc(5 * MiB, 'some')
    b.write(data)
    b.write('x')
    expect((await readExactly(a, data.length)).equals(data)).toBe(true)
    expect(a.readableHighWaterMark).toBeLessThan(MiB)
    expect(String(await readExactly(a, 1))).toBe('x')
  })

  it('lets several calls take turns', async () => {
    const [a, b] = streams()
    const calls = [readExactly(a, 2), readExactly(a, 0), readExactly(a, 3), readExactly(a, 1)]
    b.write('1')
    await turn()
    b.write('12223')
    expect((await Promise.all(calls)).map(String)).toEqual(['11', '', '222', '3'])
  })

  it('waits for nothing to read nothing', async () => {
    const [a] = streams()
    expect(await readExactly(a, 0)).toHaveLength(0)
    a.destroy()
    expect(await readExactly(a, 0)).toHaveLength(0)
  })

  it('reports an early end, with the bytes that came', async () => {
    const [a, b] = streams()
    const before = listening(a)
    const reading = readExactly(a, 8)
    b.write('one')
    await turn()
    b.end('two')
    const error = await reading.catch((error) => error)
    expect(error).toMatchObject({ code: 'ENODATA', syscall: 'read', partial: Buffer.from('onetwo') })
    expect(error.message).toBe('read ENODATA the stream ended after 6 of 8 bytes: no data available')
    expect(listening(a)).toEqual(before)
    await expect(readExactly(a, 1)).rejects.toMatchObject({ code: 'ENODATA', partial: Buffer.alloc(0) })
  })

  it('rejects with the error that destroys the stream', async () => {
    for (const [reason, expected] of [
      [new Error('broken'), { message: 'broken' }],
      [undefined, { code: 'ECANCELED', message: expect.stringContaining('after 1 of 8 bytes') }],
    ] as const) {
      const [a, b] = streams()
      const before = listening(a)
      const [first, second] = [readExactly(a, 8), readExactly(a, 8)].map((one) => one.catch((error) => error))
      b.write('x')
      while (a.bytesRead === 0) await turn()
      await turn()
      a.destroy(reason)
      expect(await first).toMatchObject(expected)
      expect(listening(a)).toEqual(before)
      expect(await second).toMatchObject(reason ? expected : { code: 'ECANCELED' })
      await expect(readExactly(a, 1)).rejects.toMatchObject(reason ? expected : { code: 'ECANCELED' })
    }
  })

  it('puts back the bytes that came if it is given up', async () => {
    const [a, b] = streams()
    const before = listening(a)
    const controller = new AbortController()
    const reason = new Error('enough')
    const reading = readExactly(a, 8, { signal: controller.signal }).catch((error) => error)
    const inLine = readExactly(a, 3, { signal: controller.signal }).catch((error) => error)
    const next = readExactly(a, 5)
    b.write('one')
    while (a.bytesRead === 0) await turn()
    await turn()
    controller.abort(reason)
    expect([await reading, await inLine]).toEqual([reason, reason])
    b.write('twothree')
    expect(String(await next)).toBe('onetw')
    const error = await readExactly(a, 100, { timeout: 20 }).catch((error) => error)
    expect(error).toMatchObject({ code: 'ETIMEDOUT', syscall: 'read' })
    expect(error.message).toBe('read ETIMEDOUT 6 of 100 bytes came within 20 ms (timeout): connection timed out')
    expect(String(await readExactly(a, 6))).toBe('othree')
    expect(listening(a)).toEqual(before)
    await expect(readExactly(a, 1, { signal: controller.signal })).rejects.toBe(reason)
  })

  it('reads from other byte streams, too', async () => {
    const parts = Readable.from([Buffer.from('ab'), Buffer.from('cdef')], { objectMode: false })
    expect(String(await readExactly(parts, 3))).toBe('abc')
    expect(String(await buffer(parts))).toBe('def')
    const through = new PassThrough()
    through.end('abcdef')
    expect(String(await readExactly(through, 6))).toBe('abcdef')
    await expect(readExactly(through, 1)).rejects.toMatchObject({ code: 'ENODATA' })
  })

  it('reads nothing that other listeners get', async () => {
    const [a, b] = streams()
    a.on('data', () => {})
    await expect(readExactly(a, 1)).rejects.toThrow('stream must not flow')
    a.pause()
    await expect(readExactly(a, 1)).rejects.toThrow(TypeError)
    await expect(readExactly(b.resume(), 1)).rejects.toThrow(TypeError)
  })

  it.each([
    ['no stream', () => readExactly({} as never, 1), 'stream must be a Readable, not an Object'],
    ['objects', () => readExactly(Readable.from([1]), 1), 'stream must be one of bytes'],
    ['text', () => readExactly(new PassThrough({ encoding: 'utf8' }), 1), 'stream must be one of bytes'],
    ['no length', () => readExactly(new PassThrough(), '1' as never), 'length must be a number'],
    ['a fraction', () => readExactly(new PassThrough(), 1.5), 'length must be an integer'],
    ['no options', () => readExactly(new PassThrough(), 1, 5 as never), 'options must be an object'],
    ['an unknown option', () => readExactly(new PassThrough(), 1, { time: 5 } as never), 'options.time is not known'],
    ['no signal', () => readExactly(new PassThrough(), 1, { signal: 5 as never }), 'signal must be an AbortSignal'],
    ['no timeout', () => readExactly(new PassThrough(), 1, { timeout: 0 }), 'timeout must be an integer'],
  ])('refuses %s', async (_what, call, message) => {
    await expect(call()).rejects.toThrow(message)
  })
})
