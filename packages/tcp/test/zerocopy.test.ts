import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { join, resolve } from 'node:path'
import { setImmediate as turn } from 'node:timers/promises'
import { getOption, readable, Socket, setOption } from '@linux-sockets/native-core'
import { SO_SNDBUF, SO_ZEROCOPY } from '@linux-sockets/native-core/options'
import type { SocketStreamOptions } from '@linux-sockets/native-core/streams'
import {
  collectGarbage,
  expectErrno,
  guardDescriptors,
  needProgram,
  runProgram,
  skipUnless,
  spawnProgram,
  temporaryDirectory,
  withFault,
} from '@linux-sockets/testkit'
import { describe, expect, it, onTestFinished } from 'vitest'
import { listen, ZeroCopyStream } from '../src/index.js'
import { anyPort, connectedPair, readSlowly, reset, sha256 } from './loopback.js'

guardDescriptors()

const MiB = 1024 * 1024

describe('ZeroCopyStream', () => {
  it('sends in order with the writes, through a small buffer, and releases all memory', async () => {
    const { stream, peer } = await pair()
    const pieces = Array.from({ length: 12 }, (_, i) => randomBytes(150_000 + i))
    const reading = readSlowly(peer)
    const sends = pieces.map((piece, i) => (i % 3 === 2 ? void stream.write(piece) : stream.sendZeroCopy(piece)))
    stream.end('the end')
    expect(sha256(await reading)).toBe(sha256(Buffer.concat([...pieces, Buffer.from('the end')])))
    // Over loopback the kernel copies.
    expect(await Promise.all(sends)).toEqual(pieces.map((_, i) => (i % 3 === 2 ? undefined : { copied: true })))
    expect(stream.bytesWritten).toBe(pieces.reduce((sum, { length }) => sum + length, 7))
  })

  it('sends with MSG_ZEROCOPY, and reads the notices', async (test) => {
    skipUnless(test, needProgram('strace'))
    const program = `
      import { connect, listen, ZeroCopyStream } from '@linux-sockets/tcp'
      const server = listen({ family: 'ipv4', address: '127.0.0.1', port: 0 })
      server.run((socket) => socket.resume())
      const stream = new ZeroCopyStream((await (await connect(server.addresses[0])).detach()).socket)
      console.log(await stream.sendZeroCopy(Buffer.alloc(100_000)))
      process.exit()`
    const log = join(temporaryDirectory(), 'strace')
    const node = [process.execPath, '--input-type=module', '--eval', program]
    const cwd = resolve(import.meta.dirname, '..')
    const said = await runProgram('strace', ['-o', log, '-e', 'trace=sendto,recvmsg', ...node], { cwd })
    expect(said).toBe('{ copied: true }\n')
    const calls = await runProgram('cat', [log])
    expect(calls).toMatch(/sendto\(\d+, .*, 100000, MSG_NOSIGNAL\|MSG_ZEROCOPY, NULL, 0\) = 100000/)
    expect(calls).toMatch(/recvmsg\(.*cmsg_type=IP_RECVERR.*MSG_ERRQUEUE.* = 0/)
  })

  it('fails if the connection is reset while it sends', async () => {
    const { stream, peer } = await pair({ allowHalfOpen: true })
    stream.on('error', () => {})
    const outcome = stream.sendZeroCopy(Buffer.alloc(8 * MiB)).catch((error) => error)
    await readable(peer)
    reset(peer)
    expect((await outcome).code).toMatch(/EPIPE|ECONNRESET/)
    expect(stream.destroyed).toBe(true)
  })

  it('releases memory that could not be delivered, uncopied', async () => {
    const { stream, peer } = await pair({}, 16 * MiB)
    stream.on('error', () => {})
    // Until the peer's window is full: the last bytes stay in the send buffer unchanged.
    const sends: ReturnType<typeof stream.sendZeroCopy>[] = []
    for (let i = 0; i < 30; i++) sends.push(stream.sendZeroCopy(Buffer.alloc(200_000)))
    while (stream.bytesWritten < 30 * 200_000) await turn()
    const outcomes = Promise.all(sends)
    reset(peer)
    const copied = (await outcomes).map((sent) => sent.copied)
    expect(copied[0]).toBe(true)
    expect(copied.at(-1)).toBe(false)
    await closed(stream)
  })

  it('does not finish before all memory is released', async () => {
    const { stream, peer } = await pair({ allowHalfOpen: true }, 4 * MiB)
    const order: string[] = []
    const sending = stream.sendZeroCopy(Buffer.alloc(3 * MiB)).then(() => order.push('back'))
    stream.end(() => order.push('finish'))
    while (stream.bytesWritten < 3 * MiB) await turn()
    peer.shutdown(1)
    await once(stream.resume(), 'end')
    expect(order).toEqual([])
    expect(await readSlowly(peer)).toHaveLength(3 * MiB)
    await sending
    await closed(stream)
    expect(order.sort()).toEqual(['back', 'finish'])
  })

  it('settles all sends when it is destroyed, and sends nothing more from released memory', async () => {
    const { stream, peer } = await pair({}, 16 * MiB)
    const sends = Array.from({ length: 30 }, () => stream.sendZeroCopy(Buffer.alloc(200_000)))
    while (stream.bytesWritten < 30 * 200_000) await turn()
    const outcomes = Promise.allSettled(sends)
    stream.destroy()
    const reasons = (await outcomes).filter((outcome) => outcome.status === 'rejected').map(({ reason }) => reason.code)
    expect(reasons.length).toBeGreaterThan(0)
    expect(new Set(reasons)).toEqual(new Set(['ECANCELED']))
    await closed(stream)
    await expectErrno(() => readSlowly(peer), 'ECONNRESET')
    await expectErrno(() => stream.sendZeroCopy(Buffer.alloc(1)), 'EPIPE')
  })

  it('settles sends that have not started, too', async () => {
    const { stream } = await pair()
    const sends = Array.from({ length: 3 }, () => stream.sendZeroCopy(Buffer.alloc(8 * MiB)))
    const outcomes = Promise.allSettled(sends)
    for (let i = 0; i < 5; i++) await turn()
    const reason = new Error('broken')
    stream.on('error', () => {}).destroy(reason)
    for (const outcome of await outcomes) expect(outcome.status).toBe('rejected')
    expect(((await outcomes)[0] as PromiseRejectedResult).reason).toBe(reason)
  })

  it('keeps the memory until the kernel is done', async () => {
    const { stream, peer } = await pair({}, 4 * MiB)
    const collected: string[] = []
    const registry = new FinalizationRegistry<string>((name) => collected.push(name))
    const lend = () => {
      const data = Buffer.alloc(3 * MiB, 'kept')
      registry.register(data, 'lent')
      registry.register({}, 'other')
      return stream.sendZeroCopy(data)
    }
    const sending = lend()
    while (stream.bytesWritten < 3 * MiB) await turn()
    for (let i = 0; i < 20 && !collected.includes('other'); i++) await collectGarbage()
    expect(collected).toEqual(['other'])
    stream.end()
    expect((await readSlowly(peer)).equals(Buffer.alloc(3 * MiB, 'kept'))).toBe(true)
    await sending
    for (let i = 0; i < 20 && !collected.includes('lent'); i++) await collectGarbage()
    expect(collected).toContain('lent')
  })

  it('reads notices by the thousand, for calls that the kernel merges', async () => {
    const { stream, peer } = await pair()
    const reading = readSlowly(peer)
    const data = randomBytes(1000)
    const sends = Array.from({ length: 3000 }, () => stream.sendZeroCopy(data))
    expect(await Promise.all(sends)).toHaveLength(3000)
    stream.end()
    expect(sha256(await reading)).toBe(sha256(Buffer.concat(Array(3000).fill(data))))
  })

  it('works while unread bytes wait', async () => {
    const { stream, peer } = await pair()
    peer.send(Buffer.from('unread'))
    await once(stream, 'readable')
    for (let i = 0; i < 5; i++) {
      const sending = stream.sendZeroCopy(Buffer.alloc(50_000, i))
      for (let left = 50_000; left > 0; ) {
        await readable(peer)
        left -= peer.recv(Buffer.alloc(left)) as number
      }
      expect(await sending).toEqual({ copied: true })
    }
    expect(String(stream.read())).toBe('unread')
  })

  it('lets the kernel copy if it has no memory for notices, and waits if some are pending', async (test) => {
    skipUnless(test, needProgram('strace'))
    const { stream, peer } = await pair()
    const data = randomBytes(10_000)
    const alone = await withFault('sendto:error=ENOBUFS:when=1', () => stream.sendZeroCopy(data))
    expect(alone).toEqual({ outcome: { status: 'fulfilled', value: { copied: true } }, injected: 1 })
    stream.end()
    expect((await readSlowly(peer)).equals(data)).toBe(true)

    const { stream: busy, peer: slow } = await pair({}, 4 * MiB)
    const first = busy.sendZeroCopy(Buffer.alloc(3 * MiB))
    while (busy.bytesWritten < 3 * MiB) await turn()
    const { outcome } = await withFault('sendto:error=ENOBUFS:when=1', async () => {
      const second = busy.sendZeroCopy(data)
      for (let i = 0; i < 20; i++) await turn()
      const before = busy.bytesWritten
      const reading = readSlowly(slow)
      await second
      busy.end()
      return [before, (await reading).length]
    })
    expect(outcome).toEqual({ status: 'fulfilled', value: [3 * MiB, 3 * MiB + data.length] })
    await first
  })

  it('sends nothing for an empty array, and refuses values that are not bytes', async () => {
    const { stream } = await pair()
    expect(await stream.sendZeroCopy(Buffer.alloc(0))).toEqual({ copied: false })
    await expect(stream.sendZeroCopy('text' as never)).rejects.toThrow(TypeError)
  })

  it('refuses a socket that is not of TCP, and leaves it unchanged', async () => {
    const [a, b] = Socket.pair()
    expectErrno(() => new ZeroCopyStream(a), 'ENOTSUP')
    expect(a.closed).toBe(false)
    a.close()
    b.close()
  })

  it('has SO_ZEROCOPY, and is destroyed by a signal that is already aborted', async () => {
    const { accepted } = await connectedPair()
    const stream = new ZeroCopyStream(accepted, { signal: AbortSignal.abort() })
    expect(await once(stream, 'error')).toMatchObject([{ name: 'AbortError' }])
    await closed(stream)
    expect(accepted.closed).toBe(true)
    const { stream: other } = await pair()
    expect(getOption(other, SO_ZEROCOPY)).toBe(true)
  })

  it('is read completely by another program', async (test) => {
    skipUnless(test, needProgram('python3'))
    const server = listen(anyPort)
    onTestFinished(() => server.close())
    const { port } = server.address as { port: number }
    const script = `
import hashlib, socket
peer = socket.create_connection(('127.0.0.1', ${port}))
digest = hashlib.sha256()
while chunk := peer.recv(77777):
    digest.update(chunk)
print(digest.hexdigest())
`
    const reader = spawnProgram('python3', ['-c', script])
    for await (const accepted of server) {
      const stream = track(new ZeroCopyStream((await accepted.detach()).socket))
      const data = randomBytes(5 * MiB + 1)
      const { copied } = await stream.sendZeroCopy(data)
      stream.end()
      expect(copied).toBe(true)
      expect((await reader.finished).stdout.trim()).toBe(sha256(data))
      break
    }
  })
})

async function pair(
  options: SocketStreamOptions = {},
  sendBuffer = 60_000,
): Promise<{ stream: ZeroCopyStream; peer: Socket }> {
  const { connected, accepted } = await connectedPair()
  setOption(accepted, SO_SNDBUF, sendBuffer)
  return { stream: track(new ZeroCopyStream(accepted, options)), peer: connected }
}

function track(stream: ZeroCopyStream): ZeroCopyStream {
  onTestFinished(async () => {
    stream.on('error', () => {}).destroy()
    await closed(stream)
  })
  return stream
}

async function closed(stream: ZeroCopyStream): Promise<void> {
  if (!stream.closed) await once(stream, 'close')
}
