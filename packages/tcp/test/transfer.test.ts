import { AsyncLocalStorage } from 'node:async_hooks'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { closeSync, openSync, readFileSync, truncateSync, writeFileSync } from 'node:fs'
import { open } from 'node:fs/promises'
import http from 'node:http'
import { join } from 'node:path'
import { setImmediate as turn } from 'node:timers/promises'
import { pathToFileURL } from 'node:url'
import { isMainThread } from 'node:worker_threads'
import {
  isNonBlocking,
  pipe,
  readv,
  type Socket,
  setNonBlocking,
  setOption,
  writable,
  writev,
} from '@linux-sockets/native-core'
import { SO_SNDBUF } from '@linux-sockets/native-core/options'
import { SocketStream } from '@linux-sockets/native-core/streams'
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
  it('sends a whole file through small buffers, to a reader with reads of any size', async () => {
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

  it('leaves a descriptor open, and its position unchanged', async () => {
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

  it('sends in order with the writes of a stream', async () => {
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

  it('ends early if the file shrinks meanwhile', async () => {
    const [sender, receiver] = await connect()
    const { path } = file(8 * MiB)
    const sending = sendFile(sender, path, { end: 8 * MiB - 1, onProgress: () => truncateSync(path, MiB) })
    sending.finally(() => sender.close())
    const got = await readSlowly(receiver)
    const sent = await sending
    expect(sent).toBe(got.length)
    expect(sent).toBeLessThanOrEqual(2 * MiB)
  })

  it('settles at once when aborted, and has reported exactly what was sent', async () => {
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

  it('sends nothing more after `onProgress` has aborted it', async () => {
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

  it('stops waiting for its turn when its signal is aborted, and leaves no gap', async () => {
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

  it('fails if the peer is gone', async () => {
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

  it('fails if the socket is closed meanwhile', async () => {
    const [sender] = await connect()
    const { path } = file(4 * MiB)
    const sending = sendFile(sender, path)
    while ((await Promise.race([sending.catch(() => 'over'), turn('going on')])) === 'over') await turn()
    sender.close()
    await expectErrno(() => sending, 'EBADF')
  })

  it('fails with the error of its stream', async () => {
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
  it('refuses files from which it can’t send, and leaves the socket open', async () => {
    const [sender, receiver] = await tcpPair()
    const { path } = file(10)
    const { read, write } = pipe()
    await expectErrno(() => sendFile(sender, join(path, 'missing')), 'ENOTDIR')
    await expectErrno(() => sendFile(sender, `${path}.missing`), 'ENOENT')
    const directory = temporaryDirectory()
    const messageOf = async (code: string, from: Parameters<typeof sendFile>[1]) =>
      (await expectErrno(() => sendFile(sender, from), code)).message
    expect(await messageOf('EISDIR', directory)).toBe(`read EISDIR ${directory}: is a directory`)
    expect(await messageOf('EISDIR', pathToFileURL(directory))).toContain(directory)
    const fd = openSync(directory, 'r')
    expect(await messageOf('EISDIR', fd)).toContain(`descriptor ${fd}`)
    closeSync(fd)
    expect(await messageOf('EIO', '/proc/self/mem')).toContain('/proc/self/mem')
    await expectErrno(() => sendFile(sender, read, { start: 1 }), 'ESPIPE')
    await expectErrno(() => sendFile(sender, { fd: -1 }), 'EBADF')
    await expectErrno(() => sendFile({ fd: -1 }, path), 'EBADF')
    expect(await sendFile(sender, path)).toBe(10)
    sender.close()
    expect(await readSlowly(receiver)).toHaveLength(10)
    read.close()
    write.close()
  })

  it('sends files that sendfile(2) refuses: those of /proc and devices', async () => {
    for (const wrap of [(socket: Socket) => socket, (socket: Socket) => new SocketStream(socket)]) {
      const [sender, receiver] = await tcpPair()
      const out = wrap(sender)
      const counts = [
        await sendFile(out, '/proc/version'),
        await sendFile(out, '/proc/version', { start: 6, end: 12 }),
        await sendFile(out, '/dev/null'),
        await sendFile(out, '/dev/zero', { end: 199_999 }),
      ]
      if (out instanceof SocketStream) out.destroySoon()
      else out.close()
      const version = readFileSync('/proc/version')
      expect(counts).toEqual([version.length, 7, 0, 200_000])
      const all = Buffer.concat([version, version.subarray(6, 13), Buffer.alloc(200_000)])
      expect((await readSlowly(receiver)).equals(all)).toBe(true)
      if (out instanceof SocketStream) expect(out.bytesWritten).toBe(all.length)
    }
  })

  it.each([true, false])(
    'sends what comes through a pipe until its writers have closed it, blocking: %s',
    async (blocking) => {
      const [sender, receiver] = await tcpPair()
      const stream = new SocketStream(sender)
      const { read, write } = pipe({ blocking })
      const data = randomBytes(3 * MiB + 11)
      const progress: number[] = []
      stream.write('before ')
      const sending = sendFile(stream, read.fd, { onProgress: (sent) => progress.push(sent) })
      stream.end(' behind')
      const got = readSlowly(receiver)
      // There is no data yet, and the event loop runs.
      for (let i = 0; i < 20; i++) await turn()
      setNonBlocking(write)
      for (let at = 0; at < data.length; ) {
        const count = writev(write, [data.subarray(at, at + 50_000)])
        if (count === null) await writable(write)
        else at += count
      }
      write.close()
      expect(await sending).toBe(data.length)
      expect(progress.at(-1)).toBe(data.length)
      const all = Buffer.concat([Buffer.from('before '), data, Buffer.from(' behind')])
      expect(sha256(await got)).toBe(sha256(all))
      expect(isNonBlocking(read)).toBe(!blocking)
      read.close()
      receiver.close()
      await once(stream.resume(), 'close')
    },
  )

  it('sends only the requested bytes of a pipe', async () => {
    const [sender, receiver] = await tcpPair()
    const { read, write } = pipe()
    writev(write, [Buffer.from('0123456789')])
    expect(await sendFile(sender, read, { end: 3 })).toBe(4)
    expect(await sendFile(sender, read, { end: 1 })).toBe(2)
    sender.close()
    expect(String(await readSlowly(receiver))).toBe('012345')
    expect(readv(read, [Buffer.alloc(10)])).toBe(4)
    read.close()
    write.close()
  })

  it('does not wait in open(2) for the writer of a FIFO', async () => {
    const [sender, receiver] = await tcpPair()
    const fifo = join(temporaryDirectory(), 'fifo')
    await runProgram('mkfifo', [fifo])
    const sending = sendFile(sender, fifo)
    await runProgram('sh', ['-c', 'echo hello > "$0"', fifo])
    expect(await sending).toBe(6)
    sender.close()
    expect(String(await readSlowly(receiver))).toBe('hello\n')
  })

  it('stops waiting for a silent pipe when the socket, the stream or its signal ends', async () => {
    const { read, write } = pipe()
    const begun = async (sending: Promise<number>) => {
      const outcome = sending.then(
        () => 'sent',
        (error) => error,
      )
      for (let i = 0; i < 20; i++) await turn()
      return () => outcome
    }
    const [plain] = await tcpPair()
    const first = await begun(sendFile(plain, read))
    plain.close()
    expect(await first()).toMatchObject({ code: 'EBADF' })

    const broken = new Error('broken')
    for (const reason of [undefined, broken]) {
      const stream = new SocketStream((await tcpPair())[0]).on('error', () => {})
      const second = await begun(sendFile(stream, read))
      stream.destroy(reason)
      expect(await second()).toMatchObject(reason ?? { code: 'ECANCELED' })
    }

    const [aborted] = await tcpPair()
    const controller = new AbortController()
    const third = await begun(sendFile(aborted, read, { signal: controller.signal }))
    controller.abort(broken)
    expect(await third()).toBe(broken)
    // None of them has taken what comes now.
    writev(write, [Buffer.from('later')])
    for (let i = 0; i < 20; i++) await turn()
    expect(readv(read, [Buffer.alloc(10)])).toBe(5)
    read.close()
    write.close()
  })

  it('never blocks on a blocking socket', async () => {
    for (const source of [file(8 * MiB).path, '/dev/zero']) {
      const [sender, receiver] = await tcpPair()
      setNonBlocking(sender, false)
      const sending = sendFile(sender, source, { end: 8 * MiB - 1 })
      sending.finally(() => sender.close())
      expect(await readSlowly(receiver)).toHaveLength(8 * MiB)
      expect(await sending).toBe(8 * MiB)
    }
  })

  const broken = Object.assign(new Error('broken'), { code: 'BROKEN' })
  const moments: [string, (stream: SocketStream, send: () => Promise<number>, end: () => void) => unknown, string][] = [
    ['before it', (_stream, send, end) => [end(), send()][1], 'EPIPE'],
    ['in the same breath', (_stream, send, end) => [send(), end()][0], 'ECANCELED'],
    [
      'while it waits for its turn',
      (stream, send, end) => {
        stream.write(Buffer.alloc(16 * MiB), () => {})
        return [send(), end()][0]
      },
      'ECANCELED',
    ],
    [
      'while the file is being opened',
      async (_stream, send, end) => {
        const sending = send()
        await Promise.resolve()
        await new Promise((resolve) => process.nextTick(resolve))
        end()
        return await sending
      },
      'ECANCELED',
    ],
    [
      'under way',
      async (stream, send, end) => {
        const sending = send()
        while (stream.bytesWritten === 0) await turn()
        end()
        return await sending
      },
      'ECANCELED',
    ],
  ]
  it.each(
    moments.flatMap(([when, act, code]) => [
      [when, 'destroy', act, undefined, code] as const,
      [when, 'an error', act, broken, code === 'EPIPE' ? code : 'BROKEN'] as const,
    ]),
  )('settles when its stream is destroyed %s, by %s', async (_when, _how, act, reason, code) => {
    const [sender] = await tcpPair()
    const stream = new SocketStream(sender).on('error', () => {})
    const { path } = file(16 * MiB)
    const over = new Promise((resolve) => stream.on('close', resolve))
    const end = () => void stream.destroy(reason)
    await expect(act(stream, () => sendFile(stream, path), end)).rejects.toMatchObject({ code })
    expect(await over).toBe(reason !== undefined)
  })

  it.for(['destroy', 'resetAndDestroy', 'close'] as const)(
    'ends by %s, though other code has closed the socket',
    async (way, test) => {
      skipUnless(test, isMainThread ? null : 'other threads of this process open descriptors at the same time')
      const [sender] = await tcpPair()
      const out = way === 'close' ? sender : new SocketStream(sender)
      const { path } = file(16 * MiB)
      let begun = false
      const sending = sendFile(out, path, {
        onProgress: () => {
          begun = true
        },
      })
      while (!begun) await turn()
      closeSync(out.fd)
      if (out instanceof SocketStream) out[way as 'destroy']()
      else expectErrno(() => out.close(), 'EBADF')
      await expectErrno(() => sending, way === 'close' ? 'EBADF' : 'ECANCELED')
    },
  )

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

  it('sends nothing if the signal is already aborted', async () => {
    const [sender] = await tcpPair()
    const reason = new Error('never wanted')
    await expect(sendFile(sender, '/nowhere', { signal: AbortSignal.abort(reason) })).rejects.toBe(reason)
  })

  it('ends with the error that onProgress throws', async () => {
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

  it('lets other sockets have their turn', async () => {
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
      // The client has a whole answer before its `end`, and may send a request before that: this answer has no socket then.
      if (response.socket === null) await once(response, 'socket')
      response.writeHead(200, { 'Content-Length': end - start + 1 })
      response.flushHeaders()
      expect(await sendFile(request.socket as unknown as SocketStream, path, { start, end })).toBe(end - start + 1)
      response.end()
    })
    const listener = listen(anyPort)
    onTestFinished(() => listener.close())
    listener.run((stream) => server.emit('connection', stream))
    const url = `http://127.0.0.1:${listener.address.port}/`
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
    const { port } = listener.address
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
