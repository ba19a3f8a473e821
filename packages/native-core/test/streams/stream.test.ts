import { AsyncLocalStorage } from 'node:async_hooks'
import { createHash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { closeSync, readFileSync } from 'node:fs'
import http from 'node:http'
import net from 'node:net'
import { join } from 'node:path'
import { Duplex, Readable, Transform, Writable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { setImmediate as turn, setTimeout as wait } from 'node:timers/promises'
import tls from 'node:tls'
import {
  expectErrno,
  guardDescriptors,
  needProgram,
  type Program,
  runProgram,
  runPython,
  skipUnless,
  spawnProgram,
  temporaryDirectory,
  withFault,
} from '@linux-sockets/testkit'
import { describe, expect, it, onTestFinished, vi } from 'vitest'
import {
  AF_INET,
  AF_INET6,
  AF_UNIX,
  EPOLLIN,
  IPPROTO_TCP,
  SIOCINQ,
  SOCK_STREAM,
  SOL_SOCKET,
} from '../../src/constants.js'
import {
  errno,
  getOption,
  getOptionInt,
  type InetAddress,
  ioctl,
  readable,
  Socket,
  SystemError,
  setOption,
  setOptionInt,
  type WatchFunction,
  watch,
  writev,
} from '../../src/index.js'
import { SO_KEEPALIVE, SO_RCVBUF, SO_SNDBUF } from '../../src/options/index.js'
import { SocketStream, type SocketStreamOptions } from '../../src/streams/index.js'
import { compileSources, needOneThread, runModule, startWorker } from '../outside.js'

guardDescriptors()
compileSources()

const TCP_NODELAY = 1
const TCP_KEEPIDLE = 4
const TCP_INFO = 11
const TCP_CLOSE = 7
const MiB = 1024 * 1024

const kinds = [
  ['TCP', tcpPair],
  ['TCP over IPv6', () => tcpPair('::1')],
  ['Unix', async () => Socket.pair()],
] as const

describe.each(kinds)('over %s', (name, connect) => {
  it('carries bytes unchanged both ways at once, through small buffers', async () => {
    const [a, b] = await streams(connect, {}, smallBuffers)
    const [left, right] = [randomBytes(3 * MiB + 1), randomBytes(2 * MiB + 7)]
    a.end(left)
    b.end(right)
    const [atA, atB] = await Promise.all([collect(a), collect(b)])
    expect(sha256(atA)).toBe(sha256(right))
    expect(sha256(atB)).toBe(sha256(left))
    expect([a.bytesRead, a.bytesWritten]).toEqual([right.length, left.length])
    expect([b.bytesRead, b.bytesWritten]).toEqual([left.length, right.length])
  })

  it('sends corked pieces of any number and size in order, 1024 at most in one call', async () => {
    const calls: number[] = []
    class Counting extends SocketStream {
      protected override transmit(data: Uint8Array | readonly Uint8Array[]): number | null {
        calls.push(data instanceof Uint8Array ? 1 : data.length)
        return super.transmit(data)
      }
    }
    const [mine, theirs] = await connect()
    smallBuffers(mine)
    const [a, b] = [track(new Counting(mine)), track(new SocketStream(theirs))]
    const pieces = Array.from({ length: 5000 }, (_, i) => Buffer.alloc((i * 37) % 301, i))
    const got = collect(b)
    a.cork()
    const done = vi.fn()
    for (const piece of pieces) a.write(piece, done)
    a.end()
    a.uncork()
    expect(sha256(await got)).toBe(sha256(Buffer.concat(pieces)))
    expect(done).toHaveBeenCalledTimes(pieces.length)
    expect(Math.max(...calls)).toBe(1024)
    // More calls than full ones: some were taken in part.
    expect(calls.length).toBeGreaterThan(Math.ceil(pieces.length / 1024))
  })

  it('keeps order among plain and corked writes, and calls back in order', async () => {
    const [a, b] = await streams(connect, {}, smallBuffers)
    const order: number[] = []
    const sent: Buffer[] = []
    for (let i = 0; i < 400; i++) {
      if (i % 7 === 0) a.cork()
      const chunk = Buffer.alloc((i * 7919) % 20_000, i)
      sent.push(chunk)
      a.write(chunk, () => order.push(i))
      if (i % 7 === 5) process.nextTick(() => a.uncork())
    }
    a.end()
    expect(sha256(await collect(b))).toBe(sha256(Buffer.concat(sent)))
    expect(order).toEqual(Array.from({ length: 400 }, (_, i) => i))
  })

  it('ends both ways when the peer ends, after everything written is sent', async () => {
    const [a, b] = await streams(connect, {}, smallBuffers)
    const events = record(a)
    const data = randomBytes(MiB)
    a.write(data)
    b.end('bye')
    expect(await collectText(a)).toBe('bye')
    expect(sha256(await collect(b))).toBe(sha256(data))
    await closed(a, b)
    expect(events).toEqual(['end', 'finish', 'close'])
  })

  it('stays writable after the peer ended, with allowHalfOpen', async () => {
    const [a, b] = await streams(connect, { allowHalfOpen: true })
    const events = record(a)
    b.end('question')
    expect(await collectText(a)).toBe('question')
    await turn()
    expect(a.readyState).toBe('writeOnly')
    expect(b.readyState).toBe('readOnly')
    a.end('answer')
    expect(await collectText(b)).toBe('answer')
    await closed(a, b)
    expect(events).toEqual(['end', 'finish', 'close'])
    expect([a.readyState, a.fd]).toEqual(['closed', -1])
  })

  it('reads on after its own end', async () => {
    const [a, b] = await streams(connect, { allowHalfOpen: true })
    a.end('question')
    expect(await collectText(b)).toBe('question')
    const data = randomBytes(MiB)
    b.end(data)
    expect(sha256(await collect(a))).toBe(sha256(data))
  })

  it('notices the end without being read', async () => {
    const [a, b] = await streams(connect)
    const events = record(a)
    b.resume()
    b.end()
    await closed(a, b)
    expect(events).toEqual(['end', 'finish', 'close'])
  })

  it('takes only as much as a slow reader wants', async () => {
    const [a, b] = await streams(connect, { highWaterMark: 1000 })
    const data = randomBytes(16 * MiB)
    b.end(data)
    a.once('readable', () => {})
    await until(() => a.readableLength > 0)
    for (let i = 0; i < 20; i++) await turn()
    // At most one slab over the mark can come before push returns false.
    expect(a.bytesRead).toBeLessThanOrEqual(1000 + 64 * 1024)
    expect(b.bytesWritten).toBeLessThan(data.length)
    expect(sha256(await collect(a))).toBe(sha256(data))
  })

  it('reports backpressure, and keeps what the kernel has not taken', async () => {
    const [a, b] = await streams(connect, {}, smallBuffers)
    const chunk = randomBytes(10_000)
    let chunks = 0
    do chunks++
    while (a.write(chunk))
    await turn()
    expect(a.writableNeedDrain).toBe(true)
    expect(a.bytesWritten + a.writableLength).toBeGreaterThanOrEqual(chunks * chunk.length)
    expect(a.bytesWritten).toBeLessThan(chunks * chunk.length)
    const drained = once(a, 'drain')
    const got = collect(b)
    await drained
    a.end()
    expect((await got).equals(Buffer.concat(Array(chunks).fill(chunk)))).toBe(true)
  })

  it('hands out chunks that don’t change', async () => {
    const [a, b] = await streams(connect)
    const data = randomBytes(4 * MiB)
    const chunks: Buffer[] = []
    a.on('data', (chunk: Buffer) => chunks.push(chunk))
    b.end(data)
    await once(a, 'end')
    expect(Buffer.concat(chunks).equals(data)).toBe(true)
  })

  it('reports a failed write to its callback and with one error event', async () => {
    const [a, b] = await streams(connect, { allowHalfOpen: true })
    const events = record(a)
    b.destroy()
    await once(b, 'close')
    const failures: unknown[] = []
    a.on('error', () => {})
    while (!a.destroyed) {
      a.write('more', (error) => error && failures.push(error))
      await turn()
    }
    await closed(a)
    expect(failures[0]).toBeInstanceOf(SystemError)
    expect(['EPIPE', 'ECONNRESET']).toContain((failures[0] as SystemError).code)
    expect(events.filter((event) => event === 'error' || event === 'close')).toEqual(['error', 'close'])
    expect(a.errored).toBe(failures[0])
  })

  it('fails a write that waits when it is destroyed', async () => {
    const [a] = await streams(connect, {}, smallBuffers)
    const answers: unknown[] = []
    a.write(Buffer.alloc(4 * MiB), (error) => answers.push(error))
    a.write('behind it', (error) => answers.push(error))
    expect(a.writableLength).toBeGreaterThan(0)
    a.destroy()
    await closed(a)
    await until(() => answers.length === 2)
    expect(answers).toMatchObject([{ code: 'ECANCELED' }, { code: expect.any(String) }])
  })

  it('is destroyed by destroySoon when all is written, though the peer keeps its side open', async () => {
    const [a, b] = await streams(connect, { allowHalfOpen: true }, smallBuffers)
    const data = randomBytes(MiB)
    a.write(data)
    a.destroySoon()
    const got = collect(b)
    await closed(a)
    expect(sha256(await got)).toBe(sha256(data))
    a.destroySoon()
  })

  it('lends its sending side in turn with the writes', async () => {
    const [a, b] = await streams(connect, {}, smallBuffers)
    const storage = new AsyncLocalStorage<string>()
    const contexts: unknown[] = []
    const lend = (data: Buffer) =>
      a.lend(async (sent) => {
        contexts.push(storage.getStore())
        for (let at = 0; at < data.length; await turn()) {
          const count = writev(a, [data.subarray(at)]) ?? 0
          sent(count)
          at += count
        }
        return data.length
      })
    const pieces = Array.from({ length: 9 }, (_, i) => randomBytes(100_000 + i))
    const got = collect(b)
    const lent = pieces.map((piece, i) => {
      if (i % 3 === 1) return storage.run(`loan ${i}`, () => lend(piece))
      a.write(piece)
      return undefined
    })
    lent.push(storage.run('the last', () => lend(pieces[0] as Buffer)))
    a.end()
    expect((await Promise.all(lent)).filter(Boolean)).toEqual([100_001, 100_004, 100_007, 100_000])
    expect(sha256(await got)).toBe(sha256(Buffer.concat([...pieces, pieces[0] as Buffer])))
    expect(contexts).toEqual(['loan 1', 'loan 4', 'loan 7', 'the last'])
    expect(a.bytesWritten).toBe(1_000_036)
  })

  it('goes on after a loan that failed, and reads meanwhile', async () => {
    const [a, b] = await streams(connect)
    const broken = new Error('no more')
    const failed = a.lend(async () => {
      b.write('to be read')
      expect(String((await once(a, 'data'))[0])).toBe('to be read')
      throw broken
    })
    a.end('after it')
    await expect(failed).rejects.toBe(broken)
    expect(await collectText(b)).toBe('after it')
    await expectErrno(() => a.lend(async () => {}), 'EPIPE')
  })

  it('is not lent once it is destroyed', async () => {
    const [a] = await streams(connect, {}, smallBuffers)
    a.write(Buffer.alloc(4 * MiB), () => {})
    const send = vi.fn(async () => {})
    const waiting = a.lend(send)
    a.destroy()
    await expect(waiting).rejects.toThrow()
    await expectErrno(() => a.lend(send), 'EPIPE')
    expect(send).not.toHaveBeenCalled()
  })

  it('gives the socket back, with the bytes that were read and not consumed', async () => {
    const [a, b] = await streams(connect, {}, smallBuffers)
    const data = randomBytes(MiB)
    a.write(data)
    b.write('question')
    a.once('data', () => a.pause()).once('data', (chunk) => a.unshift(chunk))
    await once(a, 'pause')
    const detached = a.detach()
    expect((await collectSome(b, data.length)).equals(data)).toBe(true)
    const { socket, unread } = await detached
    onTestFinished(() => socket.close())
    await closed(a)
    expect([String(unread), a.destroyed, a.fd]).toEqual(['question', true, -1])
    b.write('more')
    await readable(socket)
    const buffer = Buffer.alloc(10)
    expect(buffer.toString('latin1', 0, socket.recv(buffer) as number)).toBe('more')
    const again = track(new SocketStream(socket))
    again.end('answer')
    expect(await collectText(b)).toBe('answer')
  })

  it('surrenders the socket, and only closes it', async () => {
    const [a, b] = await streams(connect, { allowHalfOpen: true })
    b.write('question')
    await once(a, 'readable')
    a.setTimeout(30, () => expect.unreachable())
    const { socket, unread } = await a.surrender()
    const wrote = new Promise((resolve) => a.write('never', resolve))
    a.resume().on('data', () => expect.unreachable())
    b.write('more')
    await readable(socket)
    await wait(60)
    const buffer = Buffer.alloc(10)
    expect(buffer.toString('latin1', 0, socket.recv(buffer) as number)).toBe('more')
    expect([String(unread), a.destroyed, a.fd]).toEqual(['question', false, socket.fd])
    socket.send(Buffer.from('answer'))
    a.destroy()
    expect(await collectText(b)).toBe('answer')
    expect(socket.closed).toBe(true)
    expect(await wrote).toMatchObject({ code: expect.any(String) })
    await expectErrno(() => a.surrender(), 'EPIPE')
  })

  it('hands its watch over with the socket, and is destroyed without an error', async () => {
    for (const length of [0, 1 << 20]) {
      const [a, b] = await streams(connect, { allowHalfOpen: true })
      if (length > 0) a.write(Buffer.alloc(length))
      const events: number[] = []
      const ended = vi.fn()
      b.resume()
      const { socket, watch } = await a.surrender((happened) => events.push(happened), { ended })
      watch?.modify(EPOLLIN)
      b.write('for the taker')
      while (events.length === 0) await turn()
      expect(events[0]).toBe(EPOLLIN)
      expect(socket.recv(Buffer.alloc(100))).toBe(13)
      a.end()
      expect(a.writableFinished).toBe(false)
      a.destroy()
      await once(a, 'close')
      await turn()
      expect([a.errored, ended.mock.calls.length]).toEqual([null, 1])
    }
  })

  it('surrenders its socket once', async () => {
    const [a] = await streams(connect)
    await a.surrender()
    const second = a.surrender()
    const third = a.detach()
    a.destroy()
    await expectErrno(() => second, 'ECANCELED')
    await expectErrno(() => third, 'ECANCELED')
  })

  it('is destroyed if other code has closed the socket that it is to hand over', async () => {
    const ways = [
      (stream: SocketStream) => stream.detach(),
      (stream: SocketStream) => stream.surrender(),
      (stream: SocketStream) => stream.surrender(() => {}),
      // Not at once: it waits for the loan.
      async (stream: SocketStream) => {
        stream.lend(async () => {})
        return await stream.surrender()
      },
    ]
    for (const handOver of ways) {
      const [mine, theirs] = await connect()
      track(new SocketStream(theirs)).resume()
      const a = track(new SocketStream(mine))
      const told = vi.fn()
      a.on('error', told)
      mine.close()
      await expectErrno(() => handOver(a), 'EBADF')
      await expect(new Promise((_, reject) => a.write('late', reject))).rejects.toBeInstanceOf(Error)
      await closed(a)
      expect(told.mock.calls).toEqual([[expect.objectContaining({ code: 'EBADF' })]])
    }
  })

  it('is destroyed if a listener throws while it hands its socket over', async () => {
    for (const way of ['detach', 'surrender'] as const) {
      for (const length of [0, MiB]) {
        const [a, b] = await streams(connect)
        a.on('error', () => {}).write(Buffer.alloc(length))
        b.resume().on('error', () => {})
        a.resume().once('pause', () => {
          throw new RangeError('thrown')
        })
        await expect(a[way]()).rejects.toThrow('thrown')
        expect(a.errored).toMatchObject({ message: 'thrown' })
        await closed(a)
      }
    }
  })

  it('resets what it has surrendered when it is destroyed with an error', async () => {
    const [a, b] = await streams(connect, { allowHalfOpen: true })
    await a.surrender()
    a.on('error', () => {}).destroy(new Error('broken'))
    const end = once(b.resume(), 'end')
    if (name !== 'Unix') await expectErrno(() => end, 'ECONNRESET')
    else await end
  })

  it('does not give back a socket whose bytes are gone', async () => {
    const [a, b] = await streams(connect)
    b.setEncoding('utf8')
    await expect(b.detach()).rejects.toThrow(TypeError)
    await expect(b.surrender()).rejects.toThrow(TypeError)
    a.end()
    await expectErrno(() => a.detach(), 'EPIPE')
  })

  it('is iterated over, and destroyed when the loop is left', async () => {
    const [a, b] = await streams(connect)
    b.write('some')
    for await (const chunk of a) {
      expect(String(chunk)).toBe('some')
      break
    }
    await closed(a)
    expect(a.fd).toBe(-1)
  })

  it('becomes web streams', async () => {
    // If the peer's end comes before all is written, and so ends the stream, Node's web writer waits for a 'drain' forever,
    // also over net.Socket.
    const [a, b] = await streams(connect, { allowHalfOpen: true }, smallBuffers)
    const { readable: from, writable: to } = Duplex.toWeb(a)
    const data = randomBytes(MiB)
    b.end(data)
    const writer = to.getWriter()
    const wrote = writer.write(data).then(() => writer.close())
    const [there, back] = await Promise.all([collect(b), collect(Readable.fromWeb(from as never))])
    await wrote
    expect(sha256(there)).toBe(sha256(data))
    expect(sha256(back)).toBe(sha256(data))
  })

  it('works under pipeline, and passes failures on', async () => {
    const [a, b] = await streams(connect)
    const data = randomBytes(3 * MiB)
    const echo = pipeline(b, b)
    const [got] = await Promise.all(
      [collect(a), pipeline(Readable.from(cut(data, 9999)), a, { end: true })].slice(0, 1),
    )
    expect(sha256(got as Buffer)).toBe(sha256(data))
    await echo

    const [c, d] = await streams(connect)
    d.resume()
    const broken = new Error('broken source')
    const source = new Readable({
      read() {
        this.destroy(broken)
      },
    })
    c.on('error', () => {})
    d.on('error', () => {})
    await expect(pipeline(source, c)).rejects.toBe(broken)
    await closed(c, d)

    const [e, f] = await streams(connect)
    e.on('error', () => {})
    f.on('error', () => {})
    f.write('data')
    const target = new Writable({ write: (_chunk, _encoding, callback) => callback(broken) })
    await expect(pipeline(e, target)).rejects.toBe(broken)
    await closed(e)
  })

  it('keeps the async context that made it, even after its watch was stopped and started', async () => {
    const storage = new AsyncLocalStorage<string>()
    const [mine, theirs] = await connect()
    const seen: unknown[] = []
    const a = storage.run('maker', () => track(new SocketStream(mine, { highWaterMark: 1 })))
    const b = track(new SocketStream(theirs, { allowHalfOpen: true }))
    storage.run('reader', () => a.on('data', (data) => seen.push([String(data), storage.getStore()])))
    b.write('x')
    await until(() => seen.length === 1)
    // One byte is in the stream and one in the kernel; the end of both sides is what the watch is given up for.
    a.pause()
    a.end()
    b.resume()
    b.write('y')
    await until(() => a.readableLength > 0)
    b.end('z')
    await closed(b)
    for (let i = 0; i < 10; i++) await turn()
    storage.run('reader', () => a.resume())
    await until(() => seen.length === 3)
    expect(seen).toEqual([
      ['x', 'maker'],
      ['y', 'reader'],
      ['z', 'maker'],
    ])
  })

  it('is destroyed by a signal, even one that was there first', async () => {
    const [mine, theirs] = await connect()
    track(new SocketStream(theirs))
    const controller = new AbortController()
    const a = track(new SocketStream(mine, { signal: controller.signal }))
    const failed = once(a, 'error')
    controller.abort()
    expect(await failed).toMatchObject([{ name: 'AbortError' }])
    expect(a.fd).toBe(-1)

    const [other, unused] = await connect()
    unused.close()
    const late = track(new SocketStream(other, { signal: AbortSignal.abort() }))
    expect(await once(late, 'error')).toMatchObject([{ name: 'AbortError' }])
    expect(late.fd).toBe(-1)
  })
})

describe('a connection cut by an error', () => {
  const PEER = `
import socket, sys
with socket.create_connection(('127.0.0.1', int(sys.argv[1]))) as s:
    s.settimeout(60)
    sys.stdin.read(1)
    total = 0
    try:
        while chunk := s.recv(1 << 20): total += len(chunk)
        print('end', total)
    except ConnectionResetError:
        print('reset')`
  const BYTES = 8 * MiB

  it.each<[string, string, (stream: SocketStream) => void]>([
    ['destroy with an error', 'reset', (stream) => stream.destroy(new Error('broken'))],
    [
      'a pipeline whose source fails',
      'reset',
      (stream) => {
        const source = new Readable({ read() {} })
        pipeline(source, stream).catch(() => {})
        source.destroy(new Error('broken'))
      },
    ],
    ['resetAndDestroy', 'reset', (stream) => stream.resetAndDestroy()],
    ['a plain destroy, as of net.Socket', 'end', (stream) => stream.destroy()],
    ['its own end', `end ${BYTES}`, (stream) => stream.end()],
  ])('%s', async (_name, outcome, end) => {
    const listening = listen()
    const peer = spawnProgram('python3', ['-u', '-c', PEER, String(portOf(listening))])
    const stream = track(new SocketStream(await accept(listening)))
    stream.on('error', () => {})
    stream.write(Buffer.alloc(BYTES))
    await turn()
    end(stream)
    peer.process.stdin?.end('x')
    const { stdout, stderr } = await peer.finished
    expect({ stdout: stdout.slice(0, outcome.length), stderr }).toEqual({ stdout: outcome, stderr: '' })
  })

  it('is reset by an error of the socket itself', async (test) => {
    skipUnless(test, needProgram('strace'))
    const listening = listen()
    const peer = spawnProgram('python3', ['-u', '-c', PEER, String(portOf(listening))])
    const stream = track(new SocketStream(await accept(listening)))
    const failed = once(stream, 'error')
    stream.write('before it')
    await withFault('sendto:error=ENOBUFS:when=1', () => void stream.write('lost'))
    expect(await failed).toMatchObject([{ code: 'ENOBUFS' }])
    peer.process.stdin?.end('x')
    expect(await peer.finished).toMatchObject({ stdout: 'reset\n', stderr: '' })
  })

  it('is not reset if the kernel has taken everything', async () => {
    const listening = listen()
    const peer = spawnProgram('python3', ['-u', '-c', PEER, String(portOf(listening))])
    const stream = track(new SocketStream(await accept(listening)))
    stream.on('error', () => {})
    stream.write('all', () => stream.destroy(new Error('broken')))
    peer.process.stdin?.end('x')
    expect(await peer.finished).toMatchObject({ stdout: 'end 3\n', stderr: '' })
  })
})

describe('a connection that is reset', () => {
  it('fails with ECONNRESET while it is read', async () => {
    const [a, peer] = await withNetPeer()
    const events = record(a)
    a.resume()
    const failed = once(a, 'error')
    peer.resetAndDestroy()
    const [error] = await failed
    expectErrno(() => {
      throw error
    }, 'ECONNRESET')
    expect(error).toBeInstanceOf(SystemError)
    await closed(a)
    expect(events).toEqual(['error', 'close'])
  })

  it('fails without a read or a write', async () => {
    const [a, peer] = await withNetPeer()
    const failed = once(a, 'error')
    peer.resetAndDestroy()
    expect(await failed).toMatchObject([{ code: 'ECONNRESET' }])
  })

  it('fails while it is paused after all was read', async () => {
    const [a, peer] = await withNetPeer()
    peer.write('data')
    await once(a, 'data')
    a.pause()
    const failed = once(a, 'error')
    peer.resetAndDestroy()
    expect(await failed).toMatchObject([{ code: 'ECONNRESET' }])
  })

  it('fails after the bytes that came first', async () => {
    const [a, peer] = await withNetPeer({ highWaterMark: 1 }, (socket) => setOption(socket, SO_RCVBUF, MiB))
    const data = randomBytes(100_000)
    await new Promise<void>((resolve) => peer.write(data, () => resolve()))
    await until(() => inputQueue(a) === data.length)
    peer.resetAndDestroy()
    await until(() => tcpState(a) === TCP_CLOSE)
    for (let i = 0; i < 5; i++) await turn()
    const got: Buffer[] = []
    a.on('data', (chunk: Buffer) => got.push(chunk))
    const [error] = await once(a, 'error')
    expect(error).toMatchObject({ code: 'ECONNRESET' })
    expect(sha256(Buffer.concat(got))).toBe(sha256(data))
  })

  it('fails after the bytes that came with it, even while a write waits', async () => {
    const [a, peer] = await withNetPeer()
    peer.pause()
    const got: string[] = []
    a.on('data', (chunk) => got.push(String(chunk)))
    a.write(Buffer.alloc(16 * MiB))
    await turn()
    const failed = once(a, 'error')
    peer.write('last words')
    peer.resetAndDestroy()
    expect(await failed).toMatchObject([{ code: 'ECONNRESET' }])
    expect(got).toEqual(['last words'])
  })

  it('fails when only its writing side is left', async () => {
    const [a, peer] = await withNetPeer({ allowHalfOpen: true })
    a.resume()
    peer.end()
    await once(a, 'end')
    const failed = once(a, 'error')
    peer.resetAndDestroy()
    expect(await failed).toMatchObject([{ code: expect.stringMatching(/^(EPIPE|ECONNRESET)$/) }])
  })

  it('is what resetAndDestroy makes its peer see', async () => {
    const [a, peer] = await withNetPeer()
    peer.resume()
    const failed = once(peer, 'error')
    expect(a.resetAndDestroy()).toBe(a)
    expect(await failed).toMatchObject([{ code: 'ECONNRESET' }])
    await closed(a)
    expect(a.errored).toBe(null)
    expect(a.resetAndDestroy().resetAndDestroy()).toBe(a)
  })

  it('is a plain close for a Unix socket', async () => {
    const [a, b] = await streams(async () => Socket.pair())
    a.resetAndDestroy()
    expect(await collectText(b)).toBe('')
  })
})

describe('a message that was cut short', () => {
  class Failing extends SocketStream {
    failure: SystemError | undefined
    protected override receive(buffer: Uint8Array): number | null {
      if (this.failure !== undefined) throw this.failure
      return super.receive(buffer)
    }
    protected override transmit(data: Uint8Array | readonly Uint8Array[]): number | null {
      if (this.failure !== undefined) throw this.failure
      return super.transmit(data)
    }
  }
  const failure = new SystemError(errno.ENOBUFS, 'send')
  const big = Buffer.alloc(16 * MiB)
  const ways: [string, 'reset' | 'end', (stream: Failing, python: Program) => unknown][] = [
    ['an error with a write in flight', 'reset', (stream) => stream.destroy(new Error('a limit'))],
    ['an error behind the end, with a write in flight', 'reset', (stream) => stream.end().destroy(new Error('late'))],
    [
      'a failed send, of which nothing waits',
      'reset',
      async (stream, python) => {
        const written = new Promise((resolve) => stream.write('', resolve))
        await read(python)
        await written
        stream.failure = failure
        stream.write('lost')
      },
    ],
    [
      'a failed send, while some waits',
      'reset',
      async (stream, python) => {
        stream.failure = failure
        await read(python)
      },
    ],
    [
      'a failed receive',
      'reset',
      async (stream, python) => {
        stream.failure = failure
        stream.resume()
        python.process.stdin?.write('send\n')
      },
    ],
    ['a plain destroy with a write in flight', 'end', (stream) => stream.destroy()],
    [
      'an error with nothing left to send',
      'end',
      async (stream, python) => {
        const written = new Promise((resolve) => stream.write('', resolve))
        await read(python)
        await written
        stream.destroy(new Error('behind it'))
      },
    ],
  ]
  const read = async (python: Program) => void python.process.stdin?.write('read\n')

  it.each(ways)('%s looks to a slow reader like: %s', async (_what, expected, way) => {
    const listening = listen()
    const python = spawnProgram('python3', ['-u', '-c', LATE_READER, String(portOf(listening))])
    const socket = await accept(listening)
    const stream = track(new Failing(socket))
    const events = record(stream)
    const over = new Promise((resolve) => stream.on('close', resolve))
    stream.write(big)
    expect(stream.writableLength).toBe(big.length)
    await way(stream, python)
    expect(await over).toBe(events.includes('error'))
    python.process.stdin?.end('read\n')
    const { stdout, stderr } = await python.finished
    expect(stderr).toBe('')
    const [how, count] = stdout.trim().split(' ')
    expect(how).toBe(expected)
    if (expected === 'end' && events.includes('error')) expect(Number(count)).toBe(big.length)
    else if (expected === 'end') expect(Number(count)).toBeLessThan(big.length)
  })
})

/** Reads with a small buffer, as it is told on its standard input, and prints how the connection ended, and after how much. */
const LATE_READER = `
import socket, sys
s = socket.socket()
s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
s.connect(('127.0.0.1', int(sys.argv[1])))
for line in sys.stdin:
    if line == 'send\\n':
        s.send(b'x')
    if line == 'read\\n':
        break
count = 0
try:
    while part := s.recv(50000): count += len(part)
    print('end', count)
except ConnectionResetError:
    print('reset', count)
`

describe('a socket that other code has closed', () => {
  const ends: [string, (stream: SocketStream) => unknown, string | null][] = [
    ['destroy', (stream) => stream.destroy(), null],
    ['destroy with an error', (stream) => stream.destroy(new SystemError(errno.EPIPE, 'send')), 'EPIPE'],
    ['resetAndDestroy', (stream) => stream.resetAndDestroy(), null],
    ['end', (stream) => stream.end(), 'EBADF'],
    ['end with a chunk', (stream) => stream.end('more'), 'EBADF'],
    ['destroySoon', (stream) => stream.destroySoon(), 'EBADF'],
    ['end behind a write', (stream) => [stream.write('more'), stream.end()], 'EBADF'],
  ]
  it.for(ends.flatMap((end) => [[false, ...end] as const, [true, ...end] as const]))(
    'with a write in flight: %s, by %s',
    async ([inFlight, _way, end, code], test) => {
      skipUnless(test, needOneThread())
      const [a] = await streams(tcpPair)
      const events = record(a)
      const errors: unknown[] = []
      a.on('error', (error) => errors.push(error))
      const over = new Promise((resolve) => a.on('close', resolve))
      const answers: unknown[] = []
      if (inFlight) a.write(Buffer.alloc(16 * MiB), (error) => answers.push(error))
      closeSync(a.fd)
      end(a)
      expect(await over).toBe(code !== null)
      await turn()
      expect(events).toEqual(code === null ? ['close'] : ['error', 'close'])
      expect(errors).toMatchObject(code === null ? [] : [{ code }])
      expect(answers).toMatchObject(inFlight ? [{ code: code ?? 'ECANCELED' }] : [])
      expect(a.fd).toBe(-1)
    },
  )

  const steps: [string, (a: SocketStream, b: SocketStream, fail: () => void) => unknown][] = [
    [
      'when all is sent',
      (a, b, fail) => {
        a.write(Buffer.alloc(16 * MiB))
        fail()
        b.resume()
      },
    ],
    [
      'when bytes come that no reader asks for',
      async (a, b, fail) => {
        b.write('one')
        await once(a, 'readable')
        fail()
        b.write('two')
      },
    ],
    [
      'when it is read again',
      async (a, b, fail) => {
        b.write('one')
        await once(a.pause(), 'readable')
        b.write(Buffer.alloc(16 * MiB))
        for (let i = 0; i < 10; i++) await turn()
        fail()
        a.resume()
      },
    ],
    [
      'when a loan is over',
      async (a, b, fail) => {
        a.write(Buffer.alloc(16 * MiB))
        const lent = a.lend(async () => fail())
        a.write(Buffer.alloc(16 * MiB), () => {})
        b.once('data', () => b.pause())
        while (b.bytesRead < 16 * MiB && !a.destroyed) {
          b.resume()
          await turn()
        }
        await lent
      },
    ],
  ]
  it.each(steps)('ends the stream %s, though the watch fails', async (_when, step) => {
    let failing = false
    const failingWatch: WatchFunction = (...args) => {
      const real = watch(...args)
      return {
        get events() {
          return real.events
        },
        modify(events) {
          if (failing) throw new SystemError(errno.EBADF, 'epoll_ctl')
          real.modify(events)
        },
        stop: () => real.stop(),
        ref: () => real.ref(),
        unref: () => real.unref(),
        [Symbol.dispose]: () => real.stop(),
      }
    }
    const [mine, theirs] = await tcpPair()
    const a = track(new SocketStream(mine, { watch: failingWatch, highWaterMark: 1 }))
    const b = track(new SocketStream(theirs))
    b.on('error', () => {})
    const events = record(a)
    const failed = new Promise((resolve) => a.on('error', resolve))
    const over = new Promise((resolve) => a.on('close', resolve))
    await step(a, b, () => {
      failing = true
    })
    expect(await failed).toMatchObject({ code: 'EBADF', syscall: 'epoll_ctl' })
    expect(await over).toBe(true)
    expect(events).toEqual(['error', 'close'])
  })
})

describe('other programs', () => {
  it('echoes a node:net client byte for byte', async () => {
    const [a, peer] = await withNetPeer({}, smallBuffers)
    a.pipe(a)
    const data = randomBytes(8 * MiB)
    peer.end(data)
    expect(sha256(await collect(peer))).toBe(sha256(data))
  })

  it('echoes a Python client that reads late and ends half of the connection', async () => {
    const listening = listen()
    const python = runPython(
      `
import socket, sys, hashlib, os
s = socket.create_connection(('127.0.0.1', int(sys.argv[1])), 20)
data = os.urandom(200000)
s.sendall(data)
s.shutdown(socket.SHUT_WR)
got = b''
while True:
    part = s.recv(1013)
    if not part: break
    got += part
assert got == data, (len(got), len(data))
print('same')`,
      String(portOf(listening)),
    )
    const a = track(new SocketStream(await accept(listening)))
    await pipeline(a, new Transform({ transform: (chunk, _encoding, done) => done(null, chunk) }), a)
    expect(await python).toBe('same\n')
  })

  it('echoes socat over a Unix socket', async (test) => {
    skipUnless(test, needProgram('socat'))
    const listening = Socket.open(AF_UNIX, SOCK_STREAM)
    onTestFinished(() => listening.close())
    const path = join(temporaryDirectory(), 'echo')
    listening.bind({ family: 'unix', path })
    listening.listen()
    const input = randomBytes(300_000).toString('hex')
    const output = runProgram('socat', ['-t10', '-', `UNIX-CONNECT:${path}`], { input })
    const a = track(new SocketStream(await accept(listening)))
    a.pipe(a)
    expect(await output).toBe(input)
    expect([a.localName, a.remoteAddress, a.remotePort, a.address()]).toEqual([undefined, undefined, undefined, {}])
  })
})

describe('node:tls over it', () => {
  it('carries data, and refuses a wrong name', async (test) => {
    skipUnless(test, needProgram('openssl'))
    const { key, cert } = await certificate()
    const converse = async (servername: string, data: Buffer) => {
      const [mine, theirs] = await streams(tcpPair, { allowHalfOpen: true })
      const server = track(new tls.TLSSocket(theirs, { isServer: true, key, cert }))
      server.on('error', () => {})
      const client = track(tls.connect({ socket: mine, servername, ca: cert }))
      await once(client, 'secureConnect')
      expect(client.authorized).toBe(true)
      server.pipe(server)
      client.end(data)
      const got = await collect(client)
      await closed(mine, theirs)
      return got
    }
    const data = randomBytes(2 * MiB)
    expect(sha256(await converse('localhost', data))).toBe(sha256(data))
    await expect(converse('example.org', data)).rejects.toMatchObject({ code: 'ERR_TLS_CERT_ALTNAME_INVALID' })
  })
})

describe('node:http over it', () => {
  it('serves and requests, over one kept-alive connection', async () => {
    const server = http.createServer((request, response) => {
      const { remoteAddress, remotePort, remoteFamily, localPort } = request.socket
      request.pipe(response.setHeader('x-peer', JSON.stringify([remoteAddress, remotePort, remoteFamily, localPort])))
    })
    let connections = 0
    class Agent extends http.Agent {
      override createConnection(_options: unknown, callback: (error: Error | null, stream: Duplex) => void): undefined {
        connections++
        tcpPair().then(([mine, theirs]) => {
          server.emit('connection', track(new SocketStream(theirs)))
          callback(null, track(new SocketStream(mine)))
        }, callback as never)
      }
    }
    const agent = new Agent({ keepAlive: true, maxSockets: 1 })
    onTestFinished(() => agent.destroy())
    for (let i = 0; i < 5; i++) {
      const body = randomBytes(100_000 * i)
      const request = http.request({ method: 'POST', agent, timeout: 60_000 })
      request.setNoDelay()
      request.setSocketKeepAlive(true, 5000)
      request.end(body)
      const [response] = (await once(request, 'response')) as [http.IncomingMessage]
      expect(sha256(await collect(response))).toBe(sha256(body))
      const { localAddress, localPort, remotePort } = request.socket as net.Socket
      expect(JSON.parse(response.headers['x-peer'] as string)).toEqual([localAddress, localPort, 'IPv4', remotePort])
      expect(localAddress).toBe('127.0.0.1')
    }
    expect(connections).toBe(1)
  })

  it('closes when the server is done with it, and serves curl', async (test) => {
    skipUnless(test, needProgram('curl'))
    const server = http.createServer((_request, response) => {
      response.setHeader('connection', 'close').end('x'.repeat(500_000))
    })
    const listening = listen()
    const output = runProgram('curl', ['-sS', '--max-time', '30', `http://127.0.0.1:${portOf(listening)}/`])
    const a = track(new SocketStream(await accept(listening)))
    server.emit('connection', a)
    expect(await output).toBe('x'.repeat(500_000))
    await closed(a)
  })

  it('upgrades', async () => {
    const [mine, theirs] = await streams(tcpPair)
    const server = http.createServer()
    server.on('upgrade', (_request, socket: Duplex) => {
      socket.write('HTTP/1.1 101 Switching Protocols\r\nUpgrade: echo\r\nConnection: Upgrade\r\n\r\n')
      socket.pipe(socket)
    })
    server.emit('connection', theirs)
    const request = http.get({ createConnection: () => mine, headers: { connection: 'Upgrade', upgrade: 'echo' } })
    const [, socket] = (await once(request, 'upgrade')) as [http.IncomingMessage, Duplex]
    expect(socket).toBe(mine)
    socket.end('hello')
    expect(await collectText(socket)).toBe('hello')
  })
})

describe('setTimeout', () => {
  it('is not affected by methods of a subclass', async () => {
    class Own extends SocketStream {
      refreshTimeout(): void {
        expect.unreachable()
      }
      stopTimeout(): void {
        expect.unreachable()
      }
    }
    const [mine, theirs] = Socket.pair()
    const [a, b] = [track(new Own(mine)), track(new SocketStream(theirs))]
    const told = vi.fn()
    a.setTimeout(60, told)
    for (let i = 0; i < 6; i++) {
      a.write('some')
      await wait(20)
    }
    expect(told).not.toHaveBeenCalled()
    a.destroy()
    b.destroy()
    await wait(100)
    expect(told).not.toHaveBeenCalled()
  })

  it('emits timeouts, again after each activity, and goes on', async () => {
    const [a, b] = await streams(tcpPair)
    const callback = vi.fn()
    expect(a.setTimeout(20, callback)).toBe(a)
    expect(a.timeout).toBe(20)
    await once(a, 'timeout')
    a.write('activity')
    await once(a, 'timeout')
    b.write('activity')
    a.resume()
    await once(a, 'timeout')
    expect(callback).toHaveBeenCalledTimes(1)
    expect(a.readyState).toBe('open')
  })

  it('is delayed by activity', async () => {
    const [a, b] = await streams(tcpPair)
    b.resume()
    const told = vi.fn()
    a.setTimeout(500, told)
    const start = performance.now()
    let longest = 0
    for (let last = start; last - start < 1000; ) {
      a.write('activity')
      await wait(10)
      longest = Math.max(longest, performance.now() - last)
      last = performance.now()
    }
    // If the machine itself stalled for so long, the test proves nothing.
    if (longest < 450) expect(told).not.toHaveBeenCalled()
    await once(a, 'timeout')
  })

  it('is turned off by 0, and by the end of the stream', async () => {
    const [a, b] = await streams(tcpPair)
    const told = vi.fn()
    a.setTimeout(10, told)
    a.setTimeout(0, told)
    b.setTimeout(10, told)
    b.destroy()
    await wait(50)
    expect(told).not.toHaveBeenCalled()
    expect(a.listenerCount('timeout')).toBe(0)
    expect(b.setTimeout(10)).toBe(b)
  })

  it('refuses an invalid time', async () => {
    const [a] = await streams(tcpPair)
    expect(() => a.setTimeout('1' as never)).toThrow(TypeError)
    for (const bad of [-1, Number.NaN, 2 ** 31, Number.POSITIVE_INFINITY]) {
      expect(() => a.setTimeout(bad)).toThrow(RangeError)
    }
  })
})

describe('what it shares with net.Socket', () => {
  it('sets TCP_NODELAY and keep-alive', async () => {
    const [a] = await streams(tcpPair)
    expect(a.setNoDelay()).toBe(a)
    expect(getOptionInt(a, IPPROTO_TCP, TCP_NODELAY)).toBe(1)
    a.setNoDelay(false)
    expect(getOptionInt(a, IPPROTO_TCP, TCP_NODELAY)).toBe(0)
    expect(a.setKeepAlive(true, 77_999)).toBe(a)
    expect(getOption(a, SO_KEEPALIVE)).toBe(true)
    expect(getOptionInt(a, IPPROTO_TCP, TCP_KEEPIDLE)).toBe(77)
    a.setKeepAlive(true)
    expect(getOptionInt(a, IPPROTO_TCP, TCP_KEEPIDLE)).toBe(77)
    a.setKeepAlive(false)
    expect(getOption(a, SO_KEEPALIVE)).toBe(false)
    expectErrno(() => a.setKeepAlive(true, 1e9), 'EINVAL')
    a.destroy()
    expect(a.setNoDelay().setKeepAlive(true)).toBe(a)
  })

  it('does nothing where there is no such option', async () => {
    const [a] = await streams(async () => Socket.pair())
    expect(a.setNoDelay().setKeepAlive(true, 1000)).toBe(a)
  })

  it('knows its addresses, also after its end', async () => {
    for (const [host, family] of [
      ['127.0.0.1', 'IPv4'],
      ['::1', 'IPv6'],
    ] as const) {
      const [a, b] = await streams(() => tcpPair(host))
      expect(a.address()).toEqual({ address: host, family, port: b.remotePort })
      expect([a.localAddress, a.localFamily, a.localPort]).toEqual([host, family, b.remotePort])
      expect([a.remoteAddress, a.remoteFamily, a.remotePort]).toEqual([host, family, b.localPort])
      expect(a.peerName).toMatchObject({ family: family.toLowerCase(), address: host, port: b.localPort })
      const before = [a.remoteAddress, a.remotePort, a.localPort]
      a.destroy()
      expect([a.remoteAddress, a.remotePort, a.localPort]).toEqual(before)
    }
    const [c] = await streams(tcpPair)
    c.destroy()
    expect([c.remoteAddress, c.localName, c.address()]).toEqual([undefined, undefined, {}])
  })

  it('is connected from the start', async () => {
    const [a] = await streams(tcpPair)
    expect([a.connecting, a.pending, a.readyState]).toEqual([false, false, 'open'])
    expect(a.fd).toBeGreaterThan(2)
  })

  it('leaves the socket with its owner if the constructor throws', () => {
    const [a, b] = Socket.pair()
    b.close()
    expectErrno(() => new SocketStream(b), 'EBADF')
    a.close()
  })

  it('refuses wrong arguments by name, and leaves the socket', async () => {
    const [a, b] = Socket.pair()
    const make = (options: unknown) => () => new SocketStream(a, options as never)
    const [stream] = await streams(tcpPair)
    const refusals: [() => unknown, RegExp][] = [
      [() => new SocketStream(undefined as never), /^socket must be a Socket, not undefined/],
      [() => new SocketStream({ fd: 5 } as never), /^socket must be a Socket, not an Object/],
      [make(null), /^options must be/],
      [make({ allowHalfOpen: 'yes' }), /^allowHalfOpen must be/],
      [make({ signal: {} }), /^signal must be/],
      [make({ watch: 5 }), /^watch must be/],
      [make({ highWaterMark: -1 }), /^highWaterMark must be/],
      [() => stream.setTimeout(5, 'callback' as never), /^callback must be/],
    ]
    for (const [call, message] of refusals) expect(call).toThrow(message)
    await expect(stream.lend('send' as never)).rejects.toThrow(/^send must be/)
    expect(a.closed).toBe(false)
    a.close()
    b.close()
  })

  it('leaves no watch if its signal is invalid', async () => {
    const [a, b] = Socket.pair()
    expect(() => new SocketStream(a, { signal: {} as AbortSignal })).toThrow(TypeError)
    const { stdout } = await runModule(`
      import { Socket, SocketStream } from './everything.js'
      globalThis.kept = Socket.pair()
      try { new SocketStream(kept[0], { signal: {} }) } catch {}
      setTimeout(() => (console.log('alive'), process.exit()), 5000).unref()
    `)
    expect(stdout).toBe('')
    a.close()
    b.close()
  })

  it('reads on when a listener throws', async () => {
    const { stdout, stderr } = await runModule(`
      import { Socket, SocketStream } from './everything.js'
      process.on('uncaughtException', (error) => {
        console.log(error.message)
        if (error.message.endsWith('1')) b.send(Buffer.from('2'))
        else b.close()
      })
      const [a, b] = Socket.pair()
      const stream = new SocketStream(a)
      stream.on('data', (chunk) => { throw new Error('thrown at ' + chunk) })
      stream.on('close', () => console.log('closed'))
      b.send(Buffer.from('1'))
    `)
    expect({ stdout, stderr }).toEqual({ stdout: 'thrown at 1\nthrown at 2\nclosed\n', stderr: '' })
  })

  it('fails with EBADF when other code closes the socket', async () => {
    const [a, b] = Socket.pair()
    setOption(a, SO_SNDBUF, 4096)
    const stream = new SocketStream(a)
    const answered = new Promise((resolve) => stream.write(Buffer.alloc(MiB), resolve))
    const reading = stream[Symbol.asyncIterator]().next()
    a.close()
    await expectErrno(() => reading, 'EBADF')
    expect(await answered).toMatchObject({ code: 'EBADF' })
    expect(stream.destroyed).toBe(true)
    b.close()
  })

  it('works in a Worker', async () => {
    const worker = startWorker(`
      const { AF_INET, SOCK_STREAM, Socket, SocketStream, readable } = core
      const socket = Socket.open(AF_INET, SOCK_STREAM)
      socket.bind({ family: 'ipv4', address: '127.0.0.1', port: 0 })
      socket.listen()
      parentPort.postMessage(socket.localName.port)
      await readable(socket)
      const stream = new SocketStream(socket.accept())
      socket.close()
      stream.pipe(stream)`)
    const [port] = await once(worker.worker, 'message')
    const peer = track(net.connect(port, '127.0.0.1'))
    const data = randomBytes(MiB)
    peer.end(data)
    expect(sha256(await collect(peer))).toBe(sha256(data))
    await worker.exit
  })

  it('keeps the process alive unless it is unreferenced', async () => {
    const program = (call: string) => `
      import { Socket, SocketStream } from './everything.js'
      const [a, b] = Socket.pair()
      const stream = new SocketStream(a)${call}
      stream.on('data', (data) => (console.log(String(data)), stream.destroy()))
      setTimeout(() => b.send(Buffer.from('hello')), ${call === '.unref()' ? '60_000).unref()' : '50)'}
      process.on('exit', () => b.close())`
    expect((await runModule(program(''))).stdout).toBe('hello\n')
    expect((await runModule(program('.unref()'))).stdout).toBe('')
  })
})

describe('under strace', () => {
  it('is lent once, though its error queue wakes it', async () => {
    const [a, b] = await streams(tcpPair)
    // SO_TIMESTAMPING: SOF_TIMESTAMPING_TX_SOFTWARE | SOF_TIMESTAMPING_SOFTWARE | SOF_TIMESTAMPING_OPT_ID
    setOptionInt(a, SOL_SOCKET, 37, 2 | 16 | 128)
    const send = vi.fn(async () => {
      for (let i = 0; i < 10; i++) {
        writev(a, [Buffer.from('stamped ')])
        await turn()
      }
    })
    const lent = a.lend(send)
    a.end('end')
    expect(await collectText(b)).toBe(`${'stamped '.repeat(10)}end`)
    await lent
    expect(send).toHaveBeenCalledOnce()
  })

  it('waits for EPOLLOUT only while something waits to be sent', async (test) => {
    skipUnless(test, needProgram('strace'))
    const calls = await trace(`
      a.on('data', (data) => a.write(data))
      for (let i = 0; i < 20; i++) { b.write('ping'); await once(b, 'data') }
      b.pause()
      mark('small')
      const big = Buffer.alloc(8 << 20)
      const written = new Promise((resolve) => a.write(big, resolve))
      mark('waiting')
      b.resume()
      await written
      await turn()
      mark('written')
      for (let i = 0; i < 20; i++) { a.write('again'); await turn() }
      a.destroy(); b.destroy()`)
    const control = (part: string[]) => part.filter((call) => call.startsWith('epoll_ctl') && call.includes('EPOLLOUT'))
    expect(control(calls.small as string[])).toEqual([])
    expect(control(calls.waiting as string[])).toHaveLength(1)
    // Armed all the time while it took several calls, and off in the end.
    const sends = (calls.written as string[]).filter((call) => call.startsWith('sendto'))
    expect(sends.length).toBeGreaterThan(2)
    const off = (calls.written as string[]).filter(
      (call) => call.startsWith('epoll_ctl') && call.includes('EPOLL_CTL_MOD'),
    )
    expect(control(calls.written as string[])).toEqual([])
    expect(off.length).toBeGreaterThanOrEqual(1)
    expect(control(calls.end as string[])).toEqual([])
  })

  it('takes one receive and one send for each message of an echo, and no epoll_ctl', async (test) => {
    skipUnless(test, needProgram('strace'))
    const calls = await trace(`
      a.on('data', (data) => a.write(data))
      b.write('first'); await once(b, 'data')
      mark('start')
      for (let i = 0; i < 50; i++) { b.write('ping'); await once(b, 'data') }
      mark('echo')
      a.destroy(); b.destroy()`)
    const count = (name: string) => (calls.echo as string[]).filter((call) => call.startsWith(name)).length
    expect(count('epoll_ctl')).toBe(0)
    expect(count('recvfrom')).toBe(100)
    expect(count('sendto')).toBe(100)
  })

  it.for([
    ['bytes and an end that are not read', `b.end('unread'); b.resume(); await once(b, 'finish'); b.destroy()`],
    [
      'bytes and an end behind a full buffer',
      `a.once('readable', () => {}); b.end(Buffer.alloc(1e5)); b.destroySoon()`,
    ],
    ['an end on both sides', `a.end(); b.end('x'); await once(b, 'finish')`],
    [
      'an error queue',
      `
      // SO_TIMESTAMPING: SOF_TIMESTAMPING_TX_SOFTWARE | SOF_TIMESTAMPING_SOFTWARE | SOF_TIMESTAMPING_OPT_ID
      setOptionInt(a, SOL_SOCKET, 37, 2 | 16 | 128)
      a.write('stamped')
      a.resume()
      b.resume()`,
    ],
    [
      'an error queue behind unread bytes',
      `
      setOptionInt(a, SOL_SOCKET, 37, 2 | 16 | 128)
      b.write('unread')
      b.resume()
      await once(a, 'readable')
      for (let i = 0; i < 5; i++) { a.write('stamped'); await turn() }`,
    ],
    [
      'a loan, behind writes that waited',
      `a.write(Buffer.alloc(8 << 20))
       const begun = new Promise((resolve) => a.lend(async () => { resolve(); await new Promise(() => {}) }))
       b.resume()
       await begun
       while (b.bytesRead < 8 << 20) await turn()`,
    ],
    [
      'a loan, behind writes that waited, when the peer is gone',
      `a.on('error', () => {})
       a.on('data', () => {})
       b.end()
       await once(a, 'end')
       a.write(Buffer.alloc(8 << 20))
       const begun = new Promise((resolve) => a.lend(async () => { resolve(); await new Promise(() => {}) }))
       b.resume()
       await begun
       b.resetAndDestroy()
       await once(b, 'close')
       try { a.socket.send(Buffer.alloc(1)) } catch {}`,
    ],
  ] as const)('rests with %s', async ([_name, script], test) => {
    skipUnless(test, needProgram('strace'))
    const calls = await trace(`
      ${script}
      mark('before')
      await new Promise((resolve) => setTimeout(resolve, 300))
      mark('rest')
      process.exit()`)
    const waits = (calls.rest as string[]).filter((call) => /^epoll_p?wait/.test(call))
    expect(waits.length).toBeLessThan(50)
  })
})

/** Runs a script with two connected TCP streams `a` and `b` under strace. The system calls between its marks, by mark. */
async function trace(script: string): Promise<Record<string, string[]>> {
  const file = join(temporaryDirectory(), 'trace')
  const { code, stderr } = await runModule(
    `
    import { once } from 'node:events'
    import { statSync } from 'node:fs'
    import { setImmediate as turn } from 'node:timers/promises'
    import { AF_INET, readable, SOCK_STREAM, Socket, SocketStream, setOptionInt, SOL_SOCKET } from './everything.js'
    const listening = Socket.open(AF_INET, SOCK_STREAM)
    listening.bind({ family: 'ipv4', address: '127.0.0.1', port: 0 })
    listening.listen()
    const socket = Socket.open(AF_INET, SOCK_STREAM)
    socket.connect(listening.localName)
    await readable(listening)
    const [a, b] = [new SocketStream(listening.accept(), { allowHalfOpen: true }), new SocketStream(socket)]
    listening.close()
    a.setNoDelay()
    b.setNoDelay()
    const mark = (name) => statSync('/mark/' + name, { throwIfNoEntry: false })
    ${script}`,
    {
      wrapper: [
        'strace',
        '-f',
        '-o',
        file,
        '-e',
        'trace=epoll_ctl,epoll_wait,epoll_pwait,epoll_pwait2,recvfrom,sendto,sendmsg,statx,stat',
      ],
    },
  )
  expect(stderr).toBe('')
  expect(code).toBe(0)
  const parts: Record<string, string[]> = {}
  let part: string[] = []
  for (const line of readFileSync(file, 'utf8').split('\n')) {
    const call = line.replace(/^\d+ +/, '')
    const name = /"\/mark\/(\w+)"/.exec(call)?.[1]
    if (name === undefined) part.push(call)
    else {
      parts[name] = part
      part = []
    }
  }
  parts.end = part
  return parts
}

/** Reads everything. Iterating would destroy the whole stream at the end of its reading side. */
function collect(stream: Readable): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = []
    stream.on('data', (chunk: Buffer) => chunks.push(chunk))
    stream.on('end', () => resolve(Buffer.concat(chunks)))
    stream.on('error', reject)
  })
}

/** Reads so many bytes, and then lets the stream flow unread. */
function collectSome(stream: Readable, length: number): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = []
    let got = 0
    stream.on('error', reject).on('data', (chunk: Buffer) => {
      got += chunks.push(chunk) && chunk.length
      if (got === length) {
        stream.removeAllListeners('data')
        resolve(Buffer.concat(chunks))
      }
    })
  })
}

async function collectText(stream: Readable): Promise<string> {
  return String(await collect(stream))
}

function sha256(data: Uint8Array): string {
  return createHash('sha256').update(data).digest('hex')
}

/** Destroys the stream when the test ends, even if it fails. */
function track<T extends Duplex>(stream: T): T {
  onTestFinished(async () => {
    if (stream.closed) return
    const done = once(stream, 'close').catch(() => {})
    stream.on('error', () => {})
    stream.destroy()
    await done
  })
  return stream
}

function listen(host = '127.0.0.1'): Socket {
  const listening = Socket.open(host.includes(':') ? AF_INET6 : AF_INET, SOCK_STREAM)
  onTestFinished(() => listening.close())
  listening.bind({ family: host.includes(':') ? 'ipv6' : 'ipv4', address: host, port: 0 } as InetAddress)
  listening.listen()
  return listening
}

function portOf(socket: Socket): number {
  return (socket.localName as InetAddress).port
}

async function accept(listening: Socket): Promise<Socket> {
  await readable(listening)
  return listening.accept() as Socket
}

async function tcpPair(host = '127.0.0.1'): Promise<[Socket, Socket]> {
  const listening = listen(host)
  const client = Socket.open(host.includes(':') ? AF_INET6 : AF_INET, SOCK_STREAM)
  client.connect(listening.localName)
  const server = await accept(listening)
  listening.close()
  return [client, server]
}

function smallBuffers(socket: Socket): void {
  setOption(socket, SO_SNDBUF, 16_384)
}

async function streams(
  connect: () => Promise<[Socket, Socket]>,
  options: SocketStreamOptions = {},
  prepare: (socket: Socket) => void = () => {},
): Promise<[SocketStream, SocketStream]> {
  const sockets = await connect()
  for (const socket of sockets) prepare(socket)
  return sockets.map((socket) => track(new SocketStream(socket, options)).setNoDelay()) as [SocketStream, SocketStream]
}

/** Our stream, and Node's own at the other end. */
async function withNetPeer(
  options: SocketStreamOptions = {},
  prepare: (socket: Socket) => void = () => {},
): Promise<[SocketStream, net.Socket]> {
  const listening = listen()
  const peer = track(net.connect({ port: portOf(listening), host: '127.0.0.1', allowHalfOpen: true }))
  const socket = await accept(listening)
  prepare(socket)
  if (peer.connecting) await once(peer, 'connect')
  return [track(new SocketStream(socket, options)), peer]
}

/** The first byte of `struct tcp_info`. */
function tcpState(stream: SocketStream): number {
  return getOptionInt(stream, IPPROTO_TCP, TCP_INFO) & 0xff
}

/** Bytes that wait in the kernel to be read. */
function inputQueue(stream: SocketStream): number {
  return ioctl(stream, SIOCINQ)
}

function record(stream: Duplex): string[] {
  const events: string[] = []
  for (const event of ['end', 'finish', 'error', 'close']) stream.on(event, () => events.push(event))
  return events
}

async function closed(...all: Duplex[]): Promise<void> {
  await Promise.all(all.map((stream) => (stream.closed ? undefined : once(stream, 'close'))))
}

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await turn()
}

function* cut(data: Buffer, size: number): Generator<Buffer> {
  for (let at = 0; at < data.length; at += size) yield data.subarray(at, at + size)
}

async function certificate(): Promise<{ key: Buffer; cert: Buffer }> {
  const directory = temporaryDirectory()
  const [key, cert] = [join(directory, 'key.pem'), join(directory, 'cert.pem')]
  await runProgram('openssl', [
    ...['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2'],
    ...['-subj', '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost', '-keyout', key, '-out', cert],
  ])
  return { key: readFileSync(key), cert: readFileSync(cert) }
}
