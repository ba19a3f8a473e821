import { AsyncLocalStorage } from 'node:async_hooks'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { closeSync, openSync, truncateSync, writeFileSync } from 'node:fs'
import { open } from 'node:fs/promises'
import http from 'node:http'
import { join } from 'node:path'
import { setImmediate as turn } from 'node:timers/promises'
import { pathToFileURL } from 'node:url'
import { type InetAddress, pipe, SO_SNDBUF, type Socket, SocketStream, setOption } from '@linux-sockets/native-core'
import {
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
import { listen, sendFile } from '../src/index.js'
import { anyPort, connectedPair, openFile, readSlowly, reset, sha256, tcpPair, unixPair } from './loopback.js'

guardDescriptors()

const MiB = 1024 * 1024
const kinds = [
  ['TCP', tcpPair],
  ['Unix', unixPair],
] as const

describe.each(kinds)('sendFile over %s', (_name, connect) => {
  it('sends a whole file through small buffers, to a reader that reads as it likes', async () => {
    const [sender, receiver] = await connect()
    const { path, data } = file(3 * MiB + 17)
    const progress: number[] = []
    const sending = sendFile(sender, path, { onProgress: (sent) => progress.push(sent) })
    sending.finally(() => sender.close())
    const got = await readSlowly(receiver)
    expect(await sending).toBe(data.length)
    expect(sha256(got)).toBe(sha256(data))
    expect(progress.length).toBeGreaterThan(10)
    expect(progress.every((sent, i) => sent > (progress[i - 1] ?? 0))).toBe(true)
    expect(progress.at(-1)).toBe(data.length)
  })

  it.each([
    ['all', {}, 0, 1000],
    ['from a start', { start: 990 }, 990, 1000],
    ['to an end, which is sent too', { end: 9 }, 0, 10],
    ['one byte', { start: 5, end: 5 }, 5, 6],
    ['nothing', { start: 5, end: 4 }, 5, 5],
    ['nothing of an empty range at 0', { end: -1 }, 0, 0],
    ['what there is of more', { start: 10, end: 5000 }, 10, 1000],
    ['nothing beyond the end', { start: 1000 }, 0, 0],
  ] as const)('sends %s', async (_what, range, from, to) => {
    const [sender, receiver] = await connect()
    const { path, data } = file(1000)
    expect(await sendFile(sender, path, range)).toBe(to - from)
    sender.close()
    expect((await readSlowly(receiver)).equals(data.subarray(from, to))).toBe(true)
  })

  it('leaves a descriptor open, and its position where it was', async () => {
    const [sender, receiver] = await connect()
    const { path, data } = file(1000)
    await using handle = await open(path)
    await handle.read(Buffer.alloc(100))
    expect(await sendFile(sender, handle)).toBe(1000)
    expect(await sendFile(sender, { fd: handle.fd }, { start: 500 })).toBe(500)
    expect(await sendFile(sender, pathToFileURL(path), { end: 0 })).toBe(1)
    sender.close()
    const all = Buffer.concat([data, data.subarray(500), data.subarray(0, 1)])
    expect((await readSlowly(receiver)).equals(all)).toBe(true)
    expect((await handle.read(Buffer.alloc(1))).buffer[0]).toBe(data[100])
  })

  it('takes its turn among the writes of a stream', async () => {
    const [sender, receiver] = await connect()
    const stream = new SocketStream(sender)
    const [one, two] = [file(400_000), file(300_000)]
    const pieces = [randomBytes(200_000), randomBytes(100_000), randomBytes(50_000)] as [Buffer, Buffer, Buffer]
    stream.write(pieces[0])
    const first = sendFile(stream, one.path)
    stream.write(pieces[1])
    const second = sendFile(stream, two.path, { start: 7 })
    stream.write(pieces[2])
    stream.end('the end')
    const got = await readSlowly(receiver)
    expect([await first, await second]).toEqual([400_000, 299_993])
    const sent = [pieces[0], one.data, pieces[1], two.data.subarray(7), pieces[2], Buffer.from('the end')]
    expect(sha256(got)).toBe(sha256(Buffer.concat(sent)))
    expect(stream.bytesWritten).toBe(got.length)
    stream.destroy()
    await once(stream, 'close')
  })

  it('ends with what there is when the file shrinks meanwhile', async () => {
    const [sender, receiver] = await connect()
    const { path } = file(8 * MiB)
    const sending = sendFile(sender, path, { end: 8 * MiB - 1, onProgress: () => truncateSync(path, MiB) })
    sending.finally(() => sender.close())
    const got = await readSlowly(receiver)
    const sent = await sending
    expect(sent).toBe(got.length)
    expect(sent).toBeLessThanOrEqual(2 * MiB)
  })

  it('settles at once when aborted, and has told exactly what went', async () => {
    const [sender, receiver] = await connect()
    const { path, data } = file(4 * MiB)
    const reason = new Error('no longer wanted')
    const controller = new AbortController()
    let sent = 0
    const sending = sendFile(sender, path, {
      signal: controller.signal,
      onProgress: (bytes) => {
        sent = bytes
      },
    })
    const outcome = sending.catch((error) => error)
    while (sent === 0) await turn()
    for (let i = 0; i < 10; i++) await turn()
    controller.abort(reason)
    const told = sent
    expect(await outcome).toBe(reason)
    const reading = readSlowly(receiver)
    for (let i = 0; i < 50; i++) await turn()
    sender.close()
    expect((await reading).equals(data.subarray(0, told))).toBe(true)
  })

  it('sends nothing more when it is aborted by who is told', async () => {
    const [sender, receiver] = await connect()
    setOption(sender, SO_SNDBUF, MiB)
    const { path } = file(8 * MiB)
    for (const first of [true, false]) {
      const controller = new AbortController()
      let [told, late] = [0, 0]
      const sending = sendFile(sender, path, {
        signal: controller.signal,
        onProgress: (sent) => {
          told = sent
          if (controller.signal.aborted) late++
          if (first || sent > MiB) controller.abort(new Error('enough'))
        },
      })
      let got = 0
      const reading = (async () => {
        for (const buffer = Buffer.alloc(MiB); got < told || got === 0; ) {
          got += receiver.recv(buffer) ?? 0
          await turn()
        }
      })()
      await expect(sending).rejects.toThrow('enough')
      await reading
      for (let i = 0; i < 20; i++) await turn()
      expect(receiver.recv(Buffer.alloc(1))).toBe(null)
      expect(late).toBe(0)
    }
  })

  it('waits for its turn no longer than its signal says, and leaves no gap', async () => {
    const [sender, receiver] = await connect()
    const stream = new SocketStream(sender)
    const { path } = file(1000)
    const before = randomBytes(2 * MiB)
    stream.write(before)
    const controller = new AbortController()
    const sending = sendFile(stream, path, { signal: controller.signal })
    stream.end('after')
    controller.abort(new Error('no longer wanted'))
    await expect(sending).rejects.toThrow('no longer wanted')
    const got = await readSlowly(receiver)
    expect(sha256(got)).toBe(sha256(Buffer.concat([before, Buffer.from('after')])))
    receiver.close()
    await once(stream.resume(), 'close')
  })

  it('fails when the peer is gone', async () => {
    const [sender, receiver] = await connect()
    const { path } = file(4 * MiB)
    const sending = sendFile(sender, path, {
      onProgress: () => {
        if (!receiver.closed) reset(receiver)
      },
    })
    const { code, syscall } = await sending.catch((error) => error)
    expect(['EPIPE', 'ECONNRESET']).toContain(code)
    expect(syscall).toBe('sendfile')
  })

  it('fails when the socket is closed meanwhile', async () => {
    const [sender] = await connect()
    const { path } = file(4 * MiB)
    const sending = sendFile(sender, path)
    while ((await Promise.race([sending.catch(() => 'over'), turn('going on')])) === 'over') await turn()
    sender.close()
    await expectErrno(() => sending, 'EBADF')
  })

  it('fails with a stream, for the reason that the stream has', async () => {
    const [sender] = await connect()
    const stream = new SocketStream(sender).on('error', () => {})
    const { path } = file(4 * MiB)
    const broken = new Error('broken')
    let begun = () => {}
    const beginning = new Promise<void>((fulfil) => {
      begun = fulfil
    })
    const sending = sendFile(stream, path, { onProgress: () => begun() })
    const behind = sendFile(stream, path)
    const outcomes = Promise.allSettled([sending, behind])
    await beginning
    stream.destroy(broken)
    expect(await outcomes).toMatchObject([{ reason: broken }, { status: 'rejected' }])
    await expectErrno(() => sendFile(stream, path), 'EPIPE')
  })
})

describe('sendFile', () => {
  it('refuses what it can not send from, and leaves the socket open', async () => {
    const [sender, receiver] = await tcpPair()
    const { path } = file(10)
    const { read, write } = pipe()
    await expectErrno(() => sendFile(sender, join(path, 'missing')), 'ENOTDIR')
    await expectErrno(() => sendFile(sender, `${path}.missing`), 'ENOENT')
    await expectErrno(() => sendFile(sender, temporaryDirectory()), 'EINVAL')
    await expectErrno(() => sendFile(sender, '/proc/self/status'), 'EINVAL')
    await expectErrno(() => sendFile(sender, read), 'ESPIPE')
    await expectErrno(() => sendFile(sender, { fd: -1 }), 'EBADF')
    await expectErrno(() => sendFile({ fd: -1 }, path), 'EBADF')
    expect(await sendFile(sender, path)).toBe(10)
    sender.close()
    expect(await readSlowly(receiver)).toHaveLength(10)
    read.close()
    write.close()
  })

  it('does not wait for the writer of a FIFO', async () => {
    const [sender] = await tcpPair()
    const fifo = join(temporaryDirectory(), 'fifo')
    await runProgram('mkfifo', [fifo])
    await expectErrno(() => sendFile(sender, fifo), 'ESPIPE')
  })

  it.each([
    [{ start: -1 }, RangeError],
    [{ start: 0.5 }, RangeError],
    [{ start: Number.NaN }, TypeError],
    [{ start: 10, end: 8 }, RangeError],
    [{ end: Number.POSITIVE_INFINITY }, RangeError],
    [{ end: '5' as never }, TypeError],
  ])('refuses the range %o', async (range, kind) => {
    const [sender] = await tcpPair()
    await expect(sendFile(sender, '/nowhere', range)).rejects.toThrow(kind)
  })

  it('sends nothing for a signal that was there first', async () => {
    const [sender] = await tcpPair()
    const reason = new Error('never wanted')
    await expect(sendFile(sender, '/nowhere', { signal: AbortSignal.abort(reason) })).rejects.toBe(reason)
  })

  it('ends with what onProgress throws', async () => {
    const [sender] = await tcpPair()
    const { path } = file(MiB)
    const mistake = new Error('a mistake')
    const onProgress = () => {
      throw mistake
    }
    await expect(sendFile(sender, path, { onProgress })).rejects.toBe(mistake)
  })

  it('calls back in the async context of its caller', async () => {
    const storage = new AsyncLocalStorage<string>()
    const seen = new Set<unknown>()
    const { path } = file(2 * MiB)
    for (const wrap of [(socket: Socket) => socket, (socket: Socket) => new SocketStream(socket)]) {
      const [sender, receiver] = await tcpPair()
      const out = wrap(sender)
      const sending = storage.run('caller', () =>
        sendFile(out, path, { onProgress: () => seen.add(storage.getStore()) }),
      )
      sending.finally(() => (out instanceof SocketStream ? out.destroy() : out.close()))
      await readSlowly(receiver)
      await sending
    }
    expect([...seen]).toEqual(['caller'])
  })

  it('sends from beyond 4 GiB', async () => {
    const [sender, receiver] = await tcpPair()
    const path = join(temporaryDirectory(), 'sparse')
    const size = 2 ** 33
    writeFileSync(path, '')
    truncateSync(path, size)
    const fd = openSync(path, 'r+')
    await using handle = await open(path, 'r+')
    await handle.write('last', size - 4)
    await handle.write('beyond', 2 ** 32 - 3)
    expect(await sendFile(sender, { fd }, { start: size - 4 })).toBe(4)
    expect(await sendFile(sender, { fd }, { start: 2 ** 32 - 3, end: 2 ** 32 + 2 })).toBe(6)
    closeSync(fd)
    sender.close()
    expect(String(await readSlowly(receiver))).toBe('lastbeyond')
  })

  it('lets others have their turn', async () => {
    const { connected: sender, accepted: receiver } = await connectedPair()
    const { path } = file(16 * MiB)
    let sentThisTurn = 0
    const perTurn: number[] = []
    let before = 0
    const sending = sendFile(sender, path, {
      onProgress: (sent) => {
        sentThisTurn += sent - before
        before = sent
      },
    })
    const buffer = Buffer.alloc(8 * MiB)
    for (let got = 0; got < 16 * MiB; sentThisTurn = 0) {
      got += receiver.recv(buffer) ?? 0
      await turn()
      perTurn.push(sentThisTurn)
    }
    await sending
    expect(Math.max(...perTurn)).toBeGreaterThan(0)
    expect(Math.max(...perTurn)).toBeLessThanOrEqual(MiB)
  })

  it('answers curl as an HTTP server, with a range and with keep-alive', async (test) => {
    skipUnless(test, needProgram('curl'))
    const { path, data } = file(5 * MiB + 3)
    const server = http.createServer(async (request, response) => {
      const [start = 0, end = data.length - 1] =
        /bytes=(\d+)-(\d+)/
          .exec(request.headers.range ?? '')
          ?.slice(1)
          .map(Number) ?? []
      // The client has all of an answer before its `end`, and may ask again before that: then this one's turn is yet to come.
      if (response.socket === null) await once(response, 'socket')
      response.writeHead(200, { 'Content-Length': end - start + 1 })
      response.flushHeaders()
      expect(await sendFile(request.socket as unknown as SocketStream, path, { start, end })).toBe(end - start + 1)
      response.end()
    })
    const listener = listen(anyPort)
    onTestFinished(() => listener.close())
    listener.run((stream) => server.emit('connection', stream))
    const url = `http://127.0.0.1:${(listener.address as InetAddress).port}/`
    const directory = temporaryDirectory()
    const [whole, part] = [join(directory, 'whole'), join(directory, 'part')]
    await runProgram('curl', ['-sS', url, '-o', whole, '--next', '-sS', '-r', '1000-2999999', url, '-o', part])
    expect(await hashOf(whole)).toBe(sha256(data))
    expect(await hashOf(part)).toBe(sha256(data.subarray(1000, 3_000_000)))
  })

  it.each(['socat', 'nc', 'python3'])('is read whole by %s', async (program) => {
    if (needProgram(program) !== null) return console.warn(`skipped: ${needProgram(program)}`)
    const { path, data } = file(3 * MiB + 1)
    const listener = listen(anyPort)
    onTestFinished(() => listener.close())
    const { port } = listener.address as InetAddress
    const args: Record<string, string[]> = {
      socat: ['-u', `TCP:127.0.0.1:${port}`, '-'],
      nc: ['-d', '127.0.0.1', String(port)],
      python3: ['-c', SLOW_READER, String(port)],
    }
    const reader = spawnProgram('sh', ['-c', '"$0" "$@" | sha256sum', program, ...(args[program] as string[])])
    for await (const stream of listener) {
      setOption(stream, SO_SNDBUF, 60_000)
      expect(await sendFile(stream, path)).toBe(data.length)
      stream.end()
      break
    }
    expect((await reader.finished).stdout).toContain(sha256(data))
  })

  it.for([
    ['sendfile:error=ENOMEM:when=1', 'ENOMEM', 1],
    ['sendfile:error=EIO:when=3', 'EIO', 1],
    ['sendfile:error=ECONNRESET:when=2', 'ECONNRESET', 1],
    ['epoll_ctl:error=ENOSPC:when=1', 'ENOSPC', 1],
    ['sendfile:error=EAGAIN:when=1..4', 4 * MiB, 4],
    ['sendfile:error=EINTR:when=1..4', 4 * MiB, 4],
  ] as const)('survives %s, with %s', async ([fault, expected, faults], test) => {
    skipUnless(test, needProgram('strace'))
    const [sender, receiver] = await unixPair()
    const { path } = file(4 * MiB)
    using handle = openFile(path, 'r')
    let told = 0
    const reading = readSlowly(receiver)
    const { outcome, injected } = await withFault(fault, () =>
      sendFile(sender, handle, {
        onProgress: (sent) => {
          told = sent
        },
      }).finally(() => sender.close()),
    )
    expect(outcome.status === 'fulfilled' ? outcome.value : outcome.reason.code).toBe(expected)
    expect(injected).toBe(faults)
    expect(await reading).toHaveLength(told)
  })
})

const SLOW_READER = `
import socket, sys, time, random
peer = socket.socket()
peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 5000)
peer.connect(('127.0.0.1', int(sys.argv[1])))
while chunk := peer.recv(random.randint(1, 100000)):
    sys.stdout.buffer.write(chunk)
`

/** A file of the running test, with random bytes. */
function file(size: number): { path: string; data: Buffer } {
  const path = join(temporaryDirectory(), 'file')
  const data = randomBytes(size)
  writeFileSync(path, data)
  return { path, data }
}

async function hashOf(path: string): Promise<string> {
  return (await runProgram('sha256sum', [path])).slice(0, 64)
}
