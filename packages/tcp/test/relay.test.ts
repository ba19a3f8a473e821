import { AsyncLocalStorage } from 'node:async_hooks'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import {
  appendFileSync,
  closeSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs'
import http from 'node:http'
import net, { type AddressInfo } from 'node:net'
import { join, resolve } from 'node:path'
import { setImmediate as turn } from 'node:timers/promises'
import { isMainThread } from 'node:worker_threads'
import {
  type InetAddress,
  ioctl,
  type OwnedFd,
  pipe,
  readable,
  readv,
  type Socket,
  setNonBlocking,
  setOption,
  type WatchFunction,
  watch,
  writable,
} from '@linux-sockets/native-core'
import { MSG_OOB, SHUT_WR, SIOCINQ } from '@linux-sockets/native-core/constants'
import { SO_RCVBUFFORCE, SO_SNDBUF, SO_SNDBUFFORCE } from '@linux-sockets/native-core/options'
import { SocketStream } from '@linux-sockets/native-core/streams'
import {
  expectErrno,
  guardDescriptors,
  inSteadyTime,
  needProgram,
  needRoot,
  runProgram,
  runPython,
  skipUnless,
  spawnProgram,
  temporaryDirectory,
  withFault,
} from '@linux-sockets/testkit'
import { describe, expect, it, onTestFinished } from 'vitest'
import {
  connect as connectTcp,
  listen,
  type Relay,
  type Relayed,
  type RelayProgress,
  relay,
  sendFile,
} from '../src/index.js'
import { anyPort, connectedPair, openFile, readSlowly, reset, sha256, tcpPair, unixPair } from './loopback.js'

guardDescriptors()

const MiB = 1024 * 1024
const enough = new Error('enough')

const kinds = [
  ['TCP', tcpPair],
  ['Unix', unixPair],
] as const

describe.each(kinds)('relay over %s', (_name, connect) => {
  it('passes both ways at once, through small buffers, to peers that read as they like', async () => {
    const { left, right, a, b } = await joined(connect)
    const [there, back] = [randomBytes(3 * MiB + 1), randomBytes(2 * MiB + 7)]
    const seen: RelayProgress[] = []
    const relaying = relay(a, b, { onProgress: (progress) => seen.push(progress) })
    const sending = [send(left, there), send(right, back)]
    const [atLeft, atRight] = await Promise.all([readSlowly(left), readSlowly(right), ...sending])
    expect(sha256(atRight)).toBe(sha256(there))
    expect(sha256(atLeft)).toBe(sha256(back))
    expect(await relaying).toEqual({ aToB: there.length, bToA: back.length })
    expect(seen.at(-1)).toEqual({ aToB: there.length, bToA: back.length, held: 0 })
    expect([a.closed, b.closed]).toEqual([true, true])
  })

  it('passes on an end, and goes on in the other direction', async () => {
    const { left, right, a, b } = await joined(connect)
    const relaying = relay(a, b)
    await send(left, Buffer.from('question'))
    expect(String(await readSlowly(right))).toBe('question')
    const answer = randomBytes(MiB)
    const got = readSlowly(left)
    await send(right, answer)
    expect(sha256(await got)).toBe(sha256(answer))
    expect(await relaying).toEqual({ aToB: 8, bToA: MiB })
  })

  it('waits for a peer that stalls, and holds at most as much as the pipe does', async () => {
    const { left, right, a, b } = await joined(connect)
    let last: RelayProgress | undefined
    const relaying = relay(a, b, {
      onProgress: (progress) => {
        last = progress
      },
    })
    const data = randomBytes(8 * MiB)
    const sending = send(left, data)
    for (let before = -1; before !== last?.aToB || last.held === 0; ) {
      before = last?.aToB ?? -1
      for (let i = 0; i < 100; i++) await turn()
    }
    expect(last.held).toBeLessThanOrEqual(2 * MiB)
    expect(last.aToB).toBeLessThan(data.length)
    right.shutdown(SHUT_WR)
    const [got] = await Promise.all([readSlowly(right), sending])
    expect(sha256(got)).toBe(sha256(data))
    expect(await relaying).toEqual({ aToB: data.length, bToA: 0 })
  })

  it('takes streams with what they have read and not yet written', async () => {
    const { left, right, a, b } = await joined(connect)
    const [first, second] = [new SocketStream(a, { allowHalfOpen: true }), new SocketStream(b, { allowHalfOpen: true })]
    left.send(Buffer.from('CONNECT\nhello'))
    const [line] = await once(first, 'data')
    first.pause()
    expect(String(line)).toBe('CONNECT\nhello')
    first.unshift(Buffer.from('hello'))
    const greeting = randomBytes(MiB)
    first.write(greeting)
    const relaying = relay(first, second)
    const sending = send(left, Buffer.from(' and more'))
    await send(right, Buffer.from('answer'))
    const [atLeft, atRight] = await Promise.all([readSlowly(left), readSlowly(right), sending])
    expect(String(atRight)).toBe('hello and more')
    expect(sha256(atLeft)).toBe(sha256(Buffer.concat([greeting, Buffer.from('answer')])))
    expect(await relaying).toEqual({ aToB: 14, bToA: 6 })
    expect([first.destroyed, second.destroyed]).toEqual([true, true])
    expect([first.errored, second.errored]).toEqual([null, null])
  })

  it('passes on more unread bytes than a pipe holds', async () => {
    const { left, right, a, b } = await joined(connect)
    const unread = randomBytes(3 * MiB)
    const stream = new SocketStream(a, { allowHalfOpen: true })
    stream.unshift(unread)
    const relaying = relay(stream, b)
    const sending = [send(left, Buffer.from('more')), send(right, Buffer.alloc(0))]
    const [got] = await Promise.all([readSlowly(right), ...sending])
    expect(sha256(got)).toBe(sha256(Buffer.concat([unread, Buffer.from('more')])))
    expect(await relaying).toEqual({ aToB: 3 * MiB + 4, bToA: 0 })
  })

  it.each(['read and written', 'spliced'])('passes on the bytes before and after urgent data, %s', async (way) => {
    const { left, right, a, b } = await joined(connect)
    using file = openFile('/dev/null', 'w')
    const relaying = relay(a, b, { tap: { aToB: way === 'spliced' ? file : undefined } })
    for (let i = 0; i < 3; i++) {
      left.send(Buffer.from('before!'), MSG_OOB)
      await turn()
    }
    await send(left, Buffer.from('behind'))
    const got = String(await readSlowly(right))
    right.shutdown(SHUT_WR)
    // The byte that is urgent at the time is out of band, and is not passed on.
    expect(got.replaceAll('!', '')).toBe('beforebeforebeforebehind')
    expect(await relaying).toEqual({ aToB: got.length, bToA: 0 })
  })

  it('settles at once when aborted, closes both, and has reported its counts', async () => {
    const { left, right, a, b } = await joined(connect)
    const controller = new AbortController()
    const reason = new Error('enough')
    let last: RelayProgress | undefined
    const relaying = relay(a, b, {
      signal: controller.signal,
      onProgress: (progress) => {
        last = progress
      },
    })
    const outcome = relaying.catch((error) => error)
    const sending = send(left, Buffer.alloc(8 * MiB)).catch(() => {})
    while (last === undefined || last.held === 0) await turn()
    controller.abort(reason)
    expect(await outcome).toBe(reason)
    expect([a.closed, b.closed]).toEqual([true, true])
    await sending
    // A reset discards bytes that had not arrived. Over AF_UNIX there is no reset.
    const { length, error } = await readToEnd(right)
    expect(length).toBeLessThanOrEqual(last.aToB)
    if (connect === unixPair) expect([length, error]).toEqual([last.aToB, undefined])
    else expect(error).toBe('ECONNRESET')
  })

  it('ends at its idle timeout, which any moved byte restarts', () =>
    inSteadyTime(200, async () => {
      const { left, right, a, b } = await joined(connect)
      const outcome = relay(a, b, { idleTimeout: 400 }).catch((error) => error)
      const begin = performance.now()
      for (let i = 0; i < 4; i++) {
        left.send(Buffer.from('.'))
        await readable(right)
        right.recv(Buffer.alloc(1))
        await new Promise((resolve) => setTimeout(resolve, 150))
      }
      const error = await outcome
      expect(error).toMatchObject({ code: 'ETIMEDOUT', syscall: 'relay', side: undefined, aToB: 4, bToA: 0, held: 0 })
      expect(error.message).toBe(
        'relay ETIMEDOUT idle for 400 ms (idleTimeout); bytes: 4 from a to b, 0 from b to a, 0 held: connection timed out',
      )
      expect(performance.now() - begin).toBeGreaterThanOrEqual(600)
      expect([a.closed, b.closed]).toEqual([true, true])
    }))

  it('fails if other code closes one of the two', async () => {
    const { a, b } = await joined(connect)
    const relaying = relay(a, b)
    const outcome = relaying.catch((error) => error)
    await turn()
    b.close()
    const error = await outcome
    expect(error).toMatchObject({ code: 'EBADF', side: 'b' })
    expect(error.message).toContain('b was closed; ')
    expect(a.closed).toBe(true)
  })

  it('counts while it runs, and afterwards', async () => {
    const { left, right, a, b } = await joined(connect)
    const relaying = relay(a, b)
    expect([relaying.aToB, relaying.bToA, relaying.held]).toEqual([0, 0, 0])
    left.send(Buffer.from('question'))
    await readable(right)
    expect([relaying.aToB, relaying.bToA, relaying.held]).toEqual([8, 0, 0])
    const sending = send(left, randomBytes(8 * MiB))
    await untilStuck(relaying)
    expect(relaying.held).toBeGreaterThan(0)
    right.send(Buffer.from('answer'))
    right.shutdown(SHUT_WR)
    await Promise.all([readSlowly(right), readSlowly(left), sending])
    expect(await relaying).toEqual({ aToB: 8 + 8 * MiB, bToA: 6 })
    expect([relaying.aToB, relaying.bToA, relaying.held]).toEqual([8 + 8 * MiB, 6, 0])
  })

  it('delivers what it holds when it drains, ends both, and drops what they still send', async () => {
    const { left, right, a, b } = await joined(connect)
    const relaying = relay(a, b)
    const data = randomBytes(8 * MiB)
    const sending = send(left, data)
    await untilStuck(relaying)
    expect(relaying.drain()).toBe(relaying)
    relaying.drain({ timeout: 60_000 })
    const passed = relaying.aToB + relaying.held
    expect(passed).toBeLessThan(data.length)
    expect(await readToEnd(left)).toEqual({ length: 0 })
    const got = await readSlowly(right)
    expect(got.equals(data.subarray(0, passed))).toBe(true)
    right.send(Buffer.from('too late'))
    right.shutdown(SHUT_WR)
    expect(await relaying).toEqual({ aToB: passed, bToA: 0 })
    expect([a.closed, b.closed]).toEqual([true, true])
    await sending
    expect(relaying.drain()).toBe(relaying)
  })

  it('resets both after the timeout of drain', async () => {
    const { left, right, a, b } = await joined(connect)
    const relaying = relay(a, b)
    const outcome = relaying.catch((error) => error)
    left.send(Buffer.from('x'))
    await readable(right)
    relaying.drain({ timeout: 30 })
    const error = await outcome
    expect(error).toMatchObject({ code: 'ETIMEDOUT', syscall: 'relay', side: undefined, aToB: 1, bToA: 0, held: 0 })
    expect(error.message).toContain('relay ETIMEDOUT not drained within 30 ms (timeout); bytes: 1 from a to b')
    expect([a.closed, b.closed]).toEqual([true, true])
  })

  it('copies the passed bytes to taps, and waits for them', async () => {
    const { left, right, a, b } = await joined(connect)
    const [there, back] = [randomBytes(2 * MiB + 5), randomBytes(MiB)]
    const tap = pipe()
    const path = join(temporaryDirectory(), 'tap')
    using file = openFile(path, 'w')
    let last: RelayProgress | undefined
    const onProgress = (progress: RelayProgress) => {
      last = progress
    }
    const relaying = relay(a, b, { tap: { aToB: tap.write, bToA: file }, onProgress })
    const sending = [send(left, there), send(right, back)]
    const reading = Promise.all([readSlowly(left), readSlowly(right)])
    while (last === undefined || last.aToB === 0 || last.bToA < back.length) await turn()
    for (let i = 0; i < 200; i++) await turn()
    // Nothing has been read from the pipe yet.
    expect(last.aToB).toBeLessThan(there.length)
    const copied = readPipe(tap.read)
    const [[atLeft, atRight]] = await Promise.all([reading, ...sending])
    expect(await relaying).toEqual({ aToB: there.length, bToA: back.length })
    tap.write.close()
    expect(sha256(atRight)).toBe(sha256(there))
    expect(sha256(await copied)).toBe(sha256(there))
    expect(sha256(atLeft)).toBe(sha256(back))
    expect(sha256(readFileSync(path))).toBe(sha256(back))
    tap.read.close()
  })

  it('fails if its tap fails', async () => {
    const { left, a, b } = await joined(connect)
    const tap = pipe()
    tap.read.close()
    const outcome = relay(a, b, { tap: { aToB: tap.write } }).catch((error) => error)
    left.send(Buffer.from('x'))
    const error = await outcome
    expect(error).toMatchObject({ code: 'EPIPE', syscall: 'splice', side: undefined })
    expect(error.message).toContain('writing to tap.aToB; ')
    expect([a.closed, b.closed, tap.write.closed]).toEqual([true, true, false])
    tap.write.close()
  })
})

describe('blocking sockets', () => {
  it('do not block relay, its taps or sendFile', async () => {
    const said = await runProgram('timeout', ['100', process.execPath, '--input-type=module', '--eval', BLOCKING], {
      cwd: resolve(import.meta.dirname, '..'),
    })
    expect(said).toBe('true true true\nrelay goes on\ntrue\nsendFile goes on\n')
  })
})

const BLOCKING = `
import { closeSync, openSync, unlinkSync, ftruncateSync } from 'node:fs'
import { Socket, isNonBlocking } from '@linux-sockets/native-core'
import { AF_UNIX } from '@linux-sockets/native-core/constants'
import { relay, sendFile } from '@linux-sockets/tcp'
const pair = () => Socket.pair(AF_UNIX, 1, 0, { blocking: true })
const [[client, a], [b, upstream], [tap, kept]] = [pair(), pair(), pair()]
const controller = new AbortController()
const relayed = relay(a, b, { signal: controller.signal, tap: { aToB: tap.fd } }).catch(({ name }) => name)
client.send(Buffer.from('x'))
await new Promise((resolve) => setTimeout(resolve, 10))
console.log(isNonBlocking(a), isNonBlocking(b), isNonBlocking(tap))
controller.abort()
await relayed
console.log('relay goes on')
const [out, unread] = pair()
const path = process.argv0.length + '-' + process.pid + '.sparse'
const file = openSync('/tmp/' + path, 'w+')
unlinkSync('/tmp/' + path)
ftruncateSync(file, 8 << 20)
const sending = sendFile(out.fd, file).catch(({ code }) => code)
await new Promise((resolve) => setTimeout(resolve, 10))
console.log(isNonBlocking(out))
unread.close()
await sending
console.log('sendFile goes on')
for (const socket of [client, upstream, tap, kept, out]) socket.close()
closeSync(file)`

describe('relay', () => {
  it.each(['while it is idle', 'while the other stalls'])('passes on a reset, %s', async (when) => {
    const { left, right, a, b } = await joined(tcpPair)
    let last: RelayProgress | undefined
    const relaying = relay(a, b, {
      onProgress: (progress) => {
        last = progress
      },
    })
    const outcome = relaying.catch((error) => error)
    if (when === 'while the other stalls') {
      // At most as much as the window takes: bytes beyond it would make the kernel ignore the reset.
      while (last === undefined || last.held === 0) {
        left.send(Buffer.alloc(20_000))
        for (let i = 0; i < 20; i++) await turn()
      }
      reset(left)
    } else {
      await turn()
      reset(left)
    }
    const error = await outcome
    expect(error).toMatchObject({ code: 'ECONNRESET', side: 'a', aToB: last?.aToB ?? 0, held: last?.held ?? 0 })
    expect(error.message).toContain('reading from a; ')
    expect([a.closed, b.closed]).toEqual([true, true])
    expect((await readToEnd(right)).error).toBe('ECONNRESET')
  })

  it('passes on the bytes that came before a close, and then resets the peer that still sends', async () => {
    const { left, right, a, b } = await joined(tcpPair)
    const outcome = relay(a, b).catch((error) => error)
    right.send(Buffer.from('only this'))
    await readable(left)
    right.close()
    const buffer = Buffer.alloc(20)
    expect(buffer.toString('latin1', 0, left.recv(buffer) as number)).toBe('only this')
    await readable(left)
    expect(left.recv(buffer)).toBe(0)
    // The peer's end doesn't show that it has stopped reading: the next bytes do.
    const sending = send(left, Buffer.alloc(8 * MiB))
    const error = await outcome
    expect(['EPIPE', 'ECONNRESET']).toContain(error.code)
    expect(error).toMatchObject({ side: 'b', bToA: 9 })
    expect(error.message).toMatch(/writing to b; bytes: \d+ from a to b, 9 from b to a, [1-9]\d* held/)
    await expect(sending).rejects.toThrow()
  })

  it('closes both if a stream has ended, is destroyed, or is not written in time', async () => {
    for (const spoil of [
      (stream: SocketStream) => stream.end(),
      (stream: SocketStream) => stream.destroy(),
      (stream: SocketStream) => stream.write(Buffer.alloc(16 * MiB)),
    ]) {
      const { a, b } = await joined(tcpPair)
      const [stream, other] = [new SocketStream(a), new SocketStream(b)]
      spoil(stream)
      const outcome = await relay(stream, other, { idleTimeout: 50 }).catch((error) => error)
      expect(['EPIPE', 'ETIMEDOUT']).toContain(outcome.code)
      expect([a.closed, b.closed, stream.destroyed, other.destroyed]).toEqual([true, true, true, true])
    }
  })

  it('fails if a stream is destroyed meanwhile, even if nothing is left to be read from it', async () => {
    const broken = new Error('broken')
    for (const [reason, expected] of [
      [broken, broken],
      [undefined, expect.objectContaining({ code: 'ECANCELED' })],
    ]) {
      const { left, a, b } = await joined(tcpPair)
      const stream = new SocketStream(a).on('error', () => {})
      const outcome = relay(stream, b).catch((error) => error)
      // The pipe is full, and both ends of `a` are over.
      const sending = send(left, Buffer.alloc(100_000))
      for (let i = 0; i < 20; i++) await turn()
      stream.destroy(reason as Error | undefined)
      expect(await outcome).toEqual(expected)
      expect([a.closed, b.closed]).toEqual([true, true])
      await sending.catch(() => {})
    }
  })

  it('fails in the same way if a stream is destroyed before its writes are sent', async () => {
    const { a, b } = await joined(tcpPair)
    const stream = new SocketStream(a).on('error', () => {})
    stream.write(Buffer.alloc(16 * MiB))
    const outcome = relay(stream, b).catch((error) => error)
    await turn()
    stream.destroy()
    const error = await outcome
    expect(error).toMatchObject({ code: 'ECANCELED', syscall: 'relay', side: 'a', aToB: 0, bToA: 0, held: 0 })
    expect(error.message).toContain('a was destroyed; ')
    expect(b.closed).toBe(true)
  })

  it('fails in the same way if it meets the closed descriptor first', async () => {
    const { left, a, b } = await joined(tcpPair)
    const stream = new SocketStream(a)
    const onProgress = () => {
      stream.destroy()
      relaying.drain()
    }
    const relaying = relay(stream, b, { onProgress })
    left.send(Buffer.from('x'))
    await expect(relaying).rejects.toMatchObject({ code: 'ECANCELED', side: 'a', aToB: 1 })
  })

  it('stops the events of one stream while it waits for the writes of the other', async () => {
    const { left, a, b } = await joined(tcpPair)
    let calls = 0
    const counting: WatchFunction = (target, events, callback, options) => {
      const count = (happened: number) => {
        calls++
        callback(happened)
      }
      return watch(target, events, count, options)
    }
    const [stream, other] = [new SocketStream(a, { watch: counting }), new SocketStream(b)]
    other.write(Buffer.alloc(16 * MiB))
    const controller = new AbortController()
    const outcome = relay(stream, other, { signal: controller.signal }).catch((error) => error)
    left.send(Buffer.from('x'))
    for (let i = 0; i < 100; i++) await turn()
    expect(calls).toBeLessThan(3)
    controller.abort(enough)
    expect(await outcome).toBe(enough)
  })

  it('keeps the process alive, even with streams that do not', async () => {
    const program = `
      import { Socket } from '@linux-sockets/native-core'
      import { SocketStream } from '@linux-sockets/native-core/streams'
      import { relay } from '@linux-sockets/tcp'
      const [[left, a], [b, right]] = [Socket.pair(), Socket.pair()]
      const streams = [a, b].map((socket) => new SocketStream(socket, { allowHalfOpen: true }).unref())
      relay(...streams).then(() => console.log('over'))
      setTimeout(() => [left, right].forEach((socket) => socket.close()), 50).unref()`
    const args = ['--input-type=module', '--eval', program]
    expect(await runProgram(process.execPath, args, { cwd: resolve(import.meta.dirname, '..') })).toBe('over\n')
  })

  it('delays the drain of a server, which ends it at its timeout', async () => {
    for (const timeout of [undefined, 20]) {
      const server = listen(anyPort, { stream: { allowHalfOpen: true } })
      const { b, right } = await joined(tcpPair)
      const client = track(await connectTcp(server.address as InetAddress))
      client.on('error', () => {})
      let outcome: Promise<unknown> | undefined
      for await (const stream of server) {
        outcome = relay(stream, b).catch((error) => error)
        break
      }
      client.write('in time')
      await readable(right)
      expect(server.connections.size).toBe(1)
      const draining = server.drain({ timeout })
      if (timeout === undefined) {
        client.end()
        right.shutdown(SHUT_WR)
      }
      expect(await draining).toBe(timeout === undefined ? 0 : 1)
      if (timeout === undefined) expect(await outcome).toEqual({ aToB: 7, bToA: 0 })
      else expect(await outcome).toMatchObject({ code: 'ECANCELED' })
    }
  })

  it('closes both if the signal is already aborted', async () => {
    const reason = new Error('never wanted')
    const { a, b } = await joined(tcpPair)
    await expect(relay(a, b, { signal: AbortSignal.abort(reason) })).rejects.toBe(reason)
    const { a: c, b: d } = await joined(tcpPair)
    const [stream, other] = [new SocketStream(c), new SocketStream(d)]
    await expect(relay(stream, other, { signal: AbortSignal.abort(reason) })).rejects.toBe(reason)
    expect([a, b, c, d].every((socket) => socket.closed)).toBe(true)
  })

  it('never blocks on sockets and taps that are blocking', async () => {
    const { left, right, a, b } = await joined(tcpPair)
    const [tapSocket, tapPeer] = await unixPair()
    const tapPipe = pipe({ blocking: true })
    for (const socket of [a, b, tapSocket]) setNonBlocking(socket, false)
    const relaying = relay(a, b, { tap: { aToB: tapSocket.fd, bToA: tapPipe.write } })
    relaying.finally(() => {
      tapSocket.close()
      tapPipe.write.close()
    })
    const [there, back] = [randomBytes(3 * MiB), randomBytes(2 * MiB)]
    setNonBlocking(tapPipe.read)
    const [atLeft, atRight, copyThere, copyBack] = await Promise.all([
      readSlowly(left),
      readSlowly(right),
      readSlowly(tapPeer),
      readPipe(tapPipe.read),
      send(left, there),
      send(right, back),
    ])
    tapPipe.read.close()
    expect([sha256(atRight), sha256(copyThere)]).toEqual([sha256(there), sha256(there)])
    expect([sha256(atLeft), sha256(copyBack)]).toEqual([sha256(back), sha256(back)])
    expect(await relaying).toEqual({ aToB: there.length, bToA: back.length })
  })

  const endings: [string, (end: Ending) => unknown, object | undefined][] = [
    ['its signal', ({ controller }) => controller.abort(enough), enough],
    ['idleTimeout', () => {}, { code: 'ETIMEDOUT' }],
    ['bytes of the other', ({ right }) => right.send(Buffer.from('x')), { code: 'EBADF' }],
    ['the other one closed, too', ({ b }) => expectErrno(() => b.close(), 'EBADF'), { code: 'EBADF' }],
    ['the end of its owner', ({ a }) => (a instanceof SocketStream ? a.destroy() : quiet(a)), undefined],
  ]
  interface Ending {
    readonly a: Socket | SocketStream
    readonly b: Socket
    readonly right: Socket
    readonly controller: AbortController
  }
  const quiet = (socket: Socket) => expectErrno(() => socket.close(), 'EBADF')
  it.for(endings.flatMap((ending) => [[false, ...ending] as const, [true, ...ending] as const]))(
    'closes everything after other code has closed a socket (of a stream: %s), by %s',
    async ([wrapped, way, end, expected], test) => {
      skipUnless(test, isMainThread ? null : 'other threads of this process open descriptors at the same time')
      const { right, a: socket, b } = await joined(tcpPair)
      const a = wrapped ? new SocketStream(socket) : socket
      const closes: unknown[] = []
      if (a instanceof SocketStream) a.on('close', (hadError: boolean) => closes.push(hadError))
      const controller = new AbortController()
      const idleTimeout = way === 'idleTimeout' ? 500 : undefined
      const outcome = relay(a, b, { signal: controller.signal, idleTimeout }).catch((error) => error)
      for (let i = 0; i < 5; i++) await turn()
      closeSync(a.fd)
      if (way.startsWith('the other one')) closeSync(b.fd)
      end({ a, b, right, controller })
      expect(await outcome).toMatchObject(expected ?? { code: wrapped ? 'ECANCELED' : 'EBADF' })
      await turn()
      expect([socket.closed, b.closed]).toEqual([true, true])
      expect(closes).toEqual(wrapped ? [false] : [])
      if (!way.startsWith('the other one')) expect((await readToEnd(right)).error).toBe('ECONNRESET')
    },
  )

  it('drains a stream that it is still taking over, and one that has already ended in one direction', async () => {
    const { left, right, a, b } = await joined(tcpPair)
    const stream = new SocketStream(a, { allowHalfOpen: true })
    stream.unshift(Buffer.from('read before'))
    const relaying = relay(stream, b).drain()
    expect(String(await readSlowly(right))).toBe('read before')
    expect(await readToEnd(left)).toEqual({ length: 0 })
    left.shutdown(SHUT_WR)
    right.shutdown(SHUT_WR)
    expect(await relaying).toEqual({ aToB: 11, bToA: 0 })

    const second = await joined(tcpPair)
    const halfway = relay(second.a, second.b)
    await send(second.left, Buffer.from('all'))
    expect(String(await readSlowly(second.right))).toBe('all')
    halfway.drain()
    expect(await readToEnd(second.left)).toEqual({ length: 0 })
    second.right.shutdown(SHUT_WR)
    expect(await halfway).toEqual({ aToB: 3, bToA: 0 })
  })

  it('goes on if the options of drain are invalid', async () => {
    const { left, right, a, b } = await joined(tcpPair)
    const relaying = relay(a, b)
    expect(() => relaying.drain({ timeout: -1 })).toThrow(RangeError)
    expect(() => relaying.drain(5 as never)).toThrow(TypeError)
    expect(() => relaying.drain({ idleTimeout: 5 } as never)).toThrow('options.idleTimeout is not known')
    await Promise.all([send(left, Buffer.from('x')), send(right, Buffer.alloc(0)), readSlowly(right)])
    expect(await relaying).toEqual({ aToB: 1, bToA: 0 })
  })

  it('opens pipes for large amounts, shares them, and leaves none open', async () => {
    const before = openPipes()
    const { left, right, a, b } = await joined(tcpPair)
    const relaying = relay(a, b)
    for (let i = 0; i < 200; i++) {
      left.send(Buffer.alloc(1000))
      await readable(right)
      right.recv(Buffer.alloc(1000))
    }
    expect(relaying.aToB).toBe(200_000)
    expect(openPipes()).toBe(before)
    const others: Joined[] = []
    const waiting: Promise<unknown>[] = []
    for (let i = 0; i < 20; i++) {
      const other = await joined(unixPair)
      setOption(other.b, SO_SNDBUF, 400_000)
      setOption(other.left, SO_SNDBUF, 400_000)
      others.push(other)
      const stuck = relay(other.a, other.b)
      waiting.push(stuck, send(other.left, Buffer.alloc(4 * MiB)))
      await untilStuck(stuck)
    }
    // Two descriptors for each direction that holds bytes.
    expect(openPipes()).toBe(before + 2 * others.length)
    for (const other of others) {
      other.right.shutdown(SHUT_WR)
      waiting.push(readSlowly(other.right))
    }
    await Promise.all(waiting)
    expect(openPipes()).toBe(before + 32)
    await Promise.all([send(left, Buffer.alloc(0)), send(right, Buffer.alloc(0))])
    await relaying
    expect(openPipes()).toBe(before)
  })

  it('goes on without a pipe if none is available', async (test) => {
    skipUnless(test, needProgram('strace'))
    const { left, right, a, b } = await joined(tcpPair)
    const data = randomBytes(8 * MiB)
    const { outcome, injected } = await withFault('pipe2:error=EMFILE', async () => {
      const relaying = relay(a, b)
      right.shutdown(SHUT_WR)
      const [got] = await Promise.all([readToEnd(right), send(left, data)])
      return { got, relayed: await relaying }
    })
    expect(outcome).toMatchObject({
      value: { got: { length: data.length }, relayed: { aToB: data.length, bToA: 0 } },
    })
    expect(injected).toBeGreaterThan(0)
  })

  it('leaves the sockets open if its arguments are invalid', async () => {
    const { a, b } = await joined(tcpPair)
    await expect(relay(a, a)).rejects.toThrow(TypeError)
    await expect(relay(a, b, { idleTimeout: 0 })).rejects.toThrow(RangeError)
    await expect(relay(a, b, { timeout: 5 } as never)).rejects.toThrow('options.timeout is not known')
    await expect(relay(a, b, { tap: { atob: 1 } as never })).rejects.toThrow('tap.atob is not known')
    expect([a.closed, b.closed]).toEqual([false, false])
  })

  it('ends with the error that onProgress throws', async () => {
    const { left, a, b } = await joined(tcpPair)
    const mistake = new Error('a mistake')
    const onProgress = () => {
      throw mistake
    }
    const outcome = relay(a, b, { onProgress }).catch((error) => error)
    left.send(Buffer.from('x'))
    expect(await outcome).toBe(mistake)
  })

  it('calls back in the async context of its caller', async () => {
    const storage = new AsyncLocalStorage<string>()
    const { left, right, a, b } = await joined(tcpPair)
    const seen = new Set<unknown>()
    // Its events come in the context in which it was made.
    const stream = new SocketStream(a, { allowHalfOpen: true })
    const relaying = storage.run('caller', () => relay(stream, b, { onProgress: () => seen.add(storage.getStore()) }))
    await Promise.all([
      send(left, Buffer.alloc(4 * MiB)),
      send(right, Buffer.from('x')),
      readSlowly(left),
      readSlowly(right),
    ])
    await relaying
    expect([...seen]).toEqual(['caller'])
  })

  it('passes on more small pieces than a pipe has slots', async () => {
    const { left, right, a, b } = await joined(tcpPair)
    // Before anything is read: they are queued one by one.
    for (let i = 0; i < 500; i++) left.send(Buffer.from([i]))
    const relaying = relay(a, b)
    left.shutdown(SHUT_WR)
    right.shutdown(SHUT_WR)
    expect((await readSlowly(right)).equals(Buffer.from(Array.from({ length: 500 }, (_, i) => i)))).toBe(true)
    expect(await relaying).toEqual({ aToB: 500, bToA: 0 })
  })

  it('passes on bytes that were read before without waiting for an event', async (test) => {
    skipUnless(test, needRoot())
    const large = (socket: Socket) => setOption(socket, SO_SNDBUFFORCE, 16 * MiB)
    const [left, a] = await tcpPair()
    const { connected: b, accepted: right } = await connectedPair(large, large)
    const stream = new SocketStream(a, { allowHalfOpen: true })
    stream.unshift(randomBytes(4 * MiB))
    const relaying = relay(stream, b)
    let got = 0
    for (const buffer = Buffer.alloc(MiB); got < 4 * MiB; got += right.recv(buffer) as number) await readable(right)
    left.shutdown(SHUT_WR)
    right.shutdown(SHUT_WR)
    expect(await relaying).toEqual({ aToB: 4 * MiB, bToA: 0 })
  })

  it('lets other sockets have their turn', async (test) => {
    skipUnless(test, needRoot())
    const large = (socket: Socket) => {
      setOption(socket, SO_RCVBUFFORCE, 16 * MiB)
      setOption(socket, SO_SNDBUFFORCE, 16 * MiB)
    }
    const { connected: left, accepted: a } = await connectedPair(large, large)
    const { connected: b, accepted: right } = await connectedPair(large, large)
    const data = Buffer.alloc(8 * MiB)
    for (let at = 0, sent: number | null = 0; at < data.length && sent !== null; at += sent ?? 0)
      sent = left.send(data, 0, at)
    left.shutdown(SHUT_WR)
    right.shutdown(SHUT_WR)
    while (ioctl(a, SIOCINQ) < 6 * MiB) await turn()
    const steps: number[] = []
    let before = 0
    const relaying = relay(a, b, {
      onProgress: ({ aToB }) => {
        steps.push(aToB - before)
        before = aToB
      },
    })
    await readSlowly(right)
    await relaying
    // A turn starts no further call after 1 MiB, and each call moves at most 1 MiB.
    expect(Math.max(...steps)).toBeLessThan(2 * MiB)
    expect(Math.max(...steps)).toBeGreaterThan(MiB / 2)
  })

  it('and sendFile move more than 4 GiB in constant memory, and count them', { timeout: 600_000 }, async (test) => {
    skipUnless(test, needProgram('python3'), existsSync('/dev/shm') ? null : 'there is no /dev/shm')
    // A hole in a tmpfs takes no memory, even when it is read.
    const directory = mkdtempSync('/dev/shm/linux-sockets-')
    onTestFinished(() => rmSync(directory, { recursive: true }))
    const size = 2 ** 32 + 2 ** 20
    const path = join(directory, 'sparse')
    writeFileSync(path, '')
    truncateSync(path, size - 3)
    appendFileSync(path, 'end')

    const first = await connectedPair()
    const server = listen(anyPort)
    onTestFinished(() => server.close())
    const reader = spawnProgram('python3', ['-c', DISCARDING_READER, String(server.address.port)])
    for await (const stream of server) {
      let [calls, before, peak] = [0, process.memoryUsage.rss(), 0]
      const onProgress = () => {
        if (calls++ % 64 === 0) peak = Math.max(peak, process.memoryUsage.rss())
      }
      const relaying = relay(first.accepted, stream, { onProgress })
      expect(await sendFile(first.connected, path, { onProgress })).toBe(size)
      first.connected.close()
      expect(await relaying).toEqual({ aToB: size, bToA: 0 })
      expect(calls).toBeGreaterThan(4096)
      expect(peak - before).toBeLessThan(64 * MiB)
      break
    }
    expect((await reader.finished).stdout).toBe(`${size} end\n`)
  })

  it('relays between curl and an HTTP server', async (test) => {
    skipUnless(test, needProgram('curl'))
    const body = randomBytes(3 * MiB)
    const server = http.createServer((request, response) => {
      request.resume().on('end', () => response.end(body))
    })
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    onTestFinished(async () => {
      server.close()
      server.closeAllConnections()
    })
    const { port, relays } = proxyTo((server.address() as AddressInfo).port)
    const directory = temporaryDirectory()
    const [sent, got] = [join(directory, 'sent'), join(directory, 'got')]
    await runProgram('sh', ['-c', `head -c 2000000 /dev/urandom > ${sent}`])
    await runProgram('curl', ['-sS', `http://127.0.0.1:${port}/`, '--data-binary', `@${sent}`, '-o', got])
    expect(sha256(readFileSync(got))).toBe(sha256(body))
    const [passed] = await Promise.all(relays)
    expect(passed?.aToB).toBeGreaterThan(2_000_000)
    expect(passed?.bToA).toBeGreaterThan(body.length)
  })

  it.each([
    ['socat', (port: number) => `socat -t90 - TCP:127.0.0.1:${port}`],
    ['nc', (port: number) => `nc -N 127.0.0.1 ${port}`],
  ])('relays between %s and an echo server', async (program, command) => {
    if (needProgram(program) !== null) return console.warn(`skipped: ${needProgram(program)}`)
    const { port, relays } = proxyTo(await echoPort())
    const directory = temporaryDirectory()
    const script = `head -c 3000000 /dev/urandom | tee ${directory}/sent | ${command(port)} | sha256sum; sha256sum < ${directory}/sent`
    const [back, sent] = (await runProgram('sh', ['-c', script])).split('\n')
    expect(back).toBe(sent)
    expect(await Promise.all(relays)).toEqual([{ aToB: 3_000_000, bToA: 3_000_000 }])
  })

  it('relays between an echo server and a Python client that stalls, half-closes and resets', async (test) => {
    skipUnless(test, needProgram('python3'))
    const { port, relays } = proxyTo(await echoPort())
    expect(await runPython(PYTHON_CLIENT, String(port))).toBe('the same\nonly the end\n')
    const [first, second, third] = await Promise.allSettled(relays)
    expect(first).toMatchObject({ value: { aToB: 2_000_000, bToA: 2_000_000 } })
    expect(second).toMatchObject({ value: { aToB: 0, bToA: 0 } })
    expect(third).toMatchObject({ reason: { code: 'ECONNRESET' } })
  })

  it.for([
    ['splice:error=ENOMEM:when=1', 'ENOMEM', 1],
    ['splice:error=EIO:when=3', 'EIO', 1],
    ['splice:error=ECONNRESET:when=7', 'ECONNRESET', 1],
    ['pipe2:error=EMFILE:when=1', 'EMFILE', 1],
    ['pipe2:error=ENFILE:when=2', 'ENFILE', 1],
    ['epoll_ctl:error=ENOSPC:when=1', 'ENOSPC', 1],
    ['epoll_ctl:error=ENOMEM:when=2', 'ENOMEM', 1],
    ['tee:error=ENOMEM:when=1', 'ENOMEM', 1],
    // Only /dev/null could make room, and it can't be watched.
    ['tee:error=EAGAIN:when=1', 'EPERM', 1],
    ['shutdown:error=ENOTCONN:when=1', 'ENOTCONN', 1],
    ['splice:error=EAGAIN:when=1..9', 'done', 9],
    ['splice:error=EINTR:when=1..9', 'done', 9],
    ['fcntl:error=EPERM:when=1', 'EPERM', 1],
    ['fcntl:error=EPERM:when=3', 'EPERM', 1],
    ['fcntl:error=EPERM:when=5..6', 'done', 2],
  ] as const)('survives %s, with %s', async ([fault, expected, faults], test) => {
    skipUnless(test, needProgram('strace'))
    const { left, right, a, b } = await joined(unixPair)
    using tap = openFile('/dev/null', 'w')
    const data = randomBytes(MiB)
    let told = 0
    const sending = send(left, data).catch(() => {})
    const reading = readSlowly(right)
    right.shutdown(SHUT_WR)
    const { outcome, injected } = await withFault(fault, () =>
      relay(a, b, {
        tap: { aToB: tap },
        onProgress: ({ aToB }) => {
          told = aToB
        },
      }),
    )
    expect(outcome.status === 'fulfilled' ? 'done' : outcome.reason.code).toBe(expected)
    expect(injected).toBe(faults)
    // Over AF_UNIX, bytes that have been passed on arrive in spite of a later close.
    const got = await reading
    expect(got.equals(data.subarray(0, told))).toBe(true)
    if (expected === 'done') expect(told).toBe(data.length)
    await sending
    expect([a.closed, b.closed]).toEqual([true, true])
  })

  it.for([
    ['nothing to pass on', ''],
    ['a peer that does not read', 'await push()'],
    ['an end after unread bytes', 'await push(); left.shutdown(SHUT_WR)'],
    ['an end on both sides after unread bytes', 'right.shutdown(SHUT_WR); await push(); left.shutdown(SHUT_WR)'],
    [
      'notices in an error queue',
      `// SO_TIMESTAMPING: SOF_TIMESTAMPING_TX_SOFTWARE | SOF_TIMESTAMPING_SOFTWARE | SOF_TIMESTAMPING_OPT_ID
       setOptionInt(b, SOL_SOCKET, 37, 2 | 16 | 128)
       left.send(Buffer.from('stamped'))`,
    ],
    ['urgent data', `left.send(Buffer.from('urgent'), MSG_OOB); left.send(Buffer.from('more'))`],
    ['a tap that takes nothing', 'await push()'],
    ['a tap, and urgent data', `left.send(Buffer.from('urgent'), MSG_OOB); left.send(Buffer.from('more'))`],
  ] as const)('rests with %s', async ([what, script], test) => {
    skipUnless(test, needProgram('strace'))
    const program = `
      import { statSync } from 'node:fs'
      import { ioctl, pipe, readable, Socket, setOption, setOptionInt } from '@linux-sockets/native-core'
      import { AF_INET, MSG_OOB, SHUT_WR, SIOCINQ, SOCK_STREAM, SOL_SOCKET } from '@linux-sockets/native-core/constants'
      import { SO_SNDBUF } from '@linux-sockets/native-core/options'
      import { relay } from '@linux-sockets/tcp'
      const pair = async () => {
        const listener = Socket.open(AF_INET, SOCK_STREAM)
        setOption(listener, SO_SNDBUF, 60_000)
        listener.bind({ family: 'ipv4', address: '127.0.0.1', port: 0 })
        listener.listen()
        const connected = Socket.open(AF_INET, SOCK_STREAM)
        connected.connect(listener.localName)
        await readable(listener)
        const accepted = listener.accept()
        listener.close()
        return [accepted, connected]
      }
      const pause = (time) => new Promise((resolve) => setTimeout(resolve, time))
      // Until some bytes stay unread, but at most as many as the window takes: the end must arrive too.
      const push = async () => {
        for (let stuck = 0; stuck < 50; stuck++) {
          if (ioctl(a, SIOCINQ) === 0) stuck = left.send(Buffer.alloc(10_000)) * 0
          await pause(2)
        }
      }
      const [left, a] = await pair()
      const [b, right] = await pair()
      const tap = ${what.startsWith('a tap')} ? { aToB: pipe().write } : undefined
      relay(a, b, { tap }).catch((error) => console.log(error))
      ${script}
      // Turns of the loop in addition to time, of which a busy machine may use up all for something else.
      for (let i = 0; i < 50; i++) await pause(2)
      statSync('/begin', { throwIfNoEntry: false })
      await pause(120)
      statSync('/end', { throwIfNoEntry: false })
      process.exit()`
    const log = join(temporaryDirectory(), 'strace')
    const trace = [
      '-o',
      log,
      '-e',
      'trace=epoll_wait,epoll_pwait,splice,sendto,recvfrom,recvmsg,getsockopt,stat,statx,newfstatat',
    ]
    const node = [process.execPath, '--input-type=module', '--eval', program]
    const cwd = resolve(import.meta.dirname, '..')
    expect(await runProgram('strace', [...trace, ...node], { cwd })).toBe('')
    const rest = /"\/begin"[\s\S]*"\/end"/.exec(readFileSync(log, 'utf8'))?.[0].split('\n') as string[]
    expect(rest.length).toBeLessThan(12)
  })
})

const DISCARDING_READER = `
import socket, sys
peer = socket.create_connection(('127.0.0.1', int(sys.argv[1])))
got, last = 0, b''
# With MSG_TRUNC, TCP only discards.
buffer = bytearray(1 << 20)
while got < 2**32:
    got += peer.recv_into(buffer, min(len(buffer), 2**32 - got), socket.MSG_TRUNC)
while chunk := peer.recv(1 << 20):
    got += len(chunk)
    last = (last + chunk)[-3:]
peer.shutdown(socket.SHUT_WR)
print(got, last.decode())
`

const PYTHON_CLIENT = `
import os, socket, struct, sys, threading, time
address = ('127.0.0.1', int(sys.argv[1]))
data = os.urandom(2000000)

peer = socket.create_connection(address)
def send():
    peer.sendall(data)
    peer.shutdown(socket.SHUT_WR)
sender = threading.Thread(target=send)
sender.start()
time.sleep(0.05)
got = b''
while chunk := peer.recv(70000):
    got += chunk
sender.join()
print('the same' if got == data else 'other bytes')
peer.close()

peer = socket.create_connection(address)
peer.shutdown(socket.SHUT_WR)
print('only the end' if peer.recv(1) == b'' else 'bytes')
peer.close()

peer = socket.create_connection(address)
peer.sendall(b'x')
peer.recv(1)
peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
peer.close()
`

function openPipes(): number {
  return readdirSync('/proc/self/fd').filter((fd) => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`).startsWith('pipe:')
    } catch {
      // The descriptor of the directory itself.
      return false
    }
  }).length
}

/** Waits until no bytes move, and some are held. */
async function untilStuck(relaying: Relay): Promise<void> {
  for (let before = -1; before !== relaying.aToB || relaying.held === 0; ) {
    before = relaying.aToB
    for (let i = 0; i < 100; i++) await turn()
  }
}

interface Joined {
  /** The peers. */
  readonly left: Socket
  readonly right: Socket
  /** The relayed sockets. */
  readonly a: Socket
  readonly b: Socket
}

async function joined(connect: () => Promise<[Socket, Socket]>): Promise<Joined> {
  const [left, a] = await connect()
  const [b, right] = await connect()
  return { left, right, a, b }
}

/** Sends all of it, in pieces of any size, and then the end. */
async function send(socket: Socket, data: Buffer): Promise<void> {
  for (let at = 0, i = 0; at < data.length; i++) {
    const sent = socket.send(data, 0, at, Math.min(1 + ((i * 7919) % 90_000), data.length - at))
    if (sent === null) await writable(socket)
    else at += sent
  }
  socket.shutdown(SHUT_WR)
}

async function readToEnd(socket: Socket): Promise<{ length: number; error?: string }> {
  let length = 0
  const buffer = Buffer.alloc(MiB)
  try {
    for (;;) {
      const count = socket.recv(buffer)
      if (count === 0) return { length }
      if (count === null) await readable(socket)
      else length += count
    }
  } catch (error) {
    return { length, error: (error as { code: string }).code }
  }
}

function track(stream: SocketStream): SocketStream {
  onTestFinished(async () => {
    stream.destroy()
    if (!stream.closed) await once(stream, 'close')
  })
  return stream
}

async function readPipe(end: OwnedFd): Promise<Buffer> {
  const chunks: Buffer[] = []
  for (;;) {
    const buffer = Buffer.alloc(100_000)
    const count = readv(end, [buffer])
    if (count === 0) return Buffer.concat(chunks)
    if (count === null) await readable(end)
    else chunks.push(buffer.subarray(0, count))
  }
}

/** A proxy of the running test, that relays every connection. */
function proxyTo(target: number) {
  const relays: Promise<Relayed>[] = []
  const listener = listen(anyPort, { stream: { allowHalfOpen: true } })
  onTestFinished(() => listener.close())
  listener.run((client) => {
    const relaying = connectTcp({ ...anyPort, port: target }, { stream: { allowHalfOpen: true } }).then((upstream) =>
      relay(client, upstream),
    )
    relaying.catch(() => {})
    relays.push(relaying)
  })
  return { port: listener.address.port, relays }
}

async function echoPort(): Promise<number> {
  const server = net.createServer({ allowHalfOpen: true }, (socket) => socket.on('error', () => {}).pipe(socket))
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  onTestFinished(async () => {
    server.close()
    await once(server, 'close')
  })
  return (server.address() as AddressInfo).port
}
