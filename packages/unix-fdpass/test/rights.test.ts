import { fstatSync, readFileSync, readlinkSync, readSync } from 'node:fs'
import { resolve } from 'node:path'
import {
  type AsFd,
  errno,
  eventfd,
  isNonBlocking,
  OwnedFd,
  pipe,
  readable,
  readv,
  type Socket,
  SystemError,
  setOption,
  writev,
} from '@linux-sockets/native-core'
import { SOCK_DGRAM, SOCK_SEQPACKET, SOCK_STREAM } from '@linux-sockets/native-core/constants'
import { SO_PASSCRED, SO_PASSPIDFD } from '@linux-sockets/native-core/options'
import {
  expectCloexec,
  expectErrno,
  guardDescriptors,
  needLinux,
  openDescriptors,
  type Program,
  skipUnless,
  spawnProgram,
} from '@linux-sockets/testkit'
import { describe, expect, it, onTestFinished, vi } from 'vitest'
import {
  type DescriptorMessage,
  type ReceiveDescriptorsOptions,
  receiveDescriptors,
  sendDescriptors,
  unixPair,
} from '../src/index.js'

guardDescriptors()

describe('with another process', () => {
  it('passes a descriptor to a Node process, which uses it', async () => {
    const { mine, run } = child()
    const program = run(process.execPath, [
      '--input-type=module',
      '--eval',
      `import { readable, Socket, writev } from '@linux-sockets/native-core'
       import { receiveDescriptors } from '@linux-sockets/unix-fdpass'
       const socket = Socket.adopt(3)
       await readable(socket)
       const { data, descriptors } = receiveDescriptors(socket)
       writev(descriptors[0], [Buffer.from('written by ' + process.pid + ' for ' + data)])
       socket.close()
       for (const descriptor of descriptors) descriptor.close()`,
    ])
    const { read, write } = keep(pipe())
    sendDescriptors(mine, [write], Buffer.from('us'))
    write.close()
    expect(await readAll(read)).toBe(`written by ${program.process.pid} for us`)
    expect(await program.finished).toMatchObject({ code: 0, stderr: '' })
  })

  it('passes descriptors to Python, which uses each for what it is', async () => {
    const { mine, run } = child()
    const program = run('python3', [
      '-c',
      `import os, socket
s = socket.socket(fileno=3)
s.setblocking(True)
data, fds, flags, _ = socket.recv_fds(s, 100, 10)
for i, fd in enumerate(fds): os.write(fd, b'%s %d' % (data, i))`,
    ])
    const pipes = [keep(pipe()), keep(pipe()), keep(pipe())]
    sendDescriptors(
      mine,
      pipes.map(({ write }) => write),
      Buffer.from('number'),
    )
    for (const { write } of pipes) write.close()
    expect(await Promise.all(pipes.map(({ read }) => readAll(read)))).toEqual(['number 0', 'number 1', 'number 2'])
    expect(await program.finished).toMatchObject({ code: 0, stderr: '' })
  })

  it('leaves the pipe of a Python sender blocking', async () => {
    const { mine, run } = child()
    const program = run('python3', [
      '-c',
      `import os, socket
s = socket.socket(fileno=3)
s.setblocking(True)
r, w = os.pipe()
socket.send_fds(s, [b'x'], [r, w])
s.recv(1)
print(os.get_blocking(r), os.get_blocking(w))`,
    ])
    const { descriptors } = await receive(mine)
    expect(descriptors.map(isNonBlocking)).toEqual([false, false])
    mine.send(Buffer.from('y'))
    expect(await program.finished).toMatchObject({ stdout: 'True True\n', stderr: '' })
  })

  it('receives descriptors from Python', async () => {
    const { mine, run } = child()
    const program = run('python3', [
      '-c',
      `import os, socket
s = socket.socket(fileno=3)
r, w = os.pipe()
os.write(w, b'from python')
listener = socket.create_server(('127.0.0.1', 0))
socket.send_fds(s, [b'a pipe and a listener'], [r, listener.fileno()])`,
    ])
    const { data, descriptors } = await receive(mine)
    expect(await program.finished).toMatchObject({ code: 0, stderr: '' })
    // The sender has ended: the descriptors that it sent stay open here.
    expect(data.toString()).toBe('a pipe and a listener')
    const [read, listener] = descriptors as [OwnedFd, OwnedFd]
    expect(await readAll(read)).toBe('from python')
    expect(fstatSync(listener.fd).isSocket()).toBe(true)
  })
})

describe.each([
  ['SOCK_STREAM', SOCK_STREAM],
  ['SOCK_DGRAM', SOCK_DGRAM],
  ['SOCK_SEQPACKET', SOCK_SEQPACKET],
])('over %s', (_, type) => {
  it('gives every message its own descriptors, in order', async () => {
    const [a, b] = keepPair(type)
    const files = Array.from({ length: 5 }, (_, i) => keepOne(eventfd(i + 1)))
    for (const [i, count] of [1, 3, 1].entries()) {
      const first = [0, 1, 4][i] as number
      sendDescriptors(a, files.slice(first, first + count), Buffer.from(`${count} from ${first}`))
    }
    for (const expected of [[1], [2, 3, 4], [5]]) {
      const { data, descriptors, truncated } = await receive(b)
      expect(data.toString()).toBe(`${expected.length} from ${(expected[0] as number) - 1}`)
      expect(descriptors.map(counterOf)).toEqual(expected)
      expect(truncated).toBe(false)
    }
    expect(receiveDescriptors(b)).toBeNull()
  })

  it('returns descriptors that are closed on exec, and otherwise as the sender has them', async () => {
    const [a, b] = keepPair(type)
    for (const blocking of [true, false]) {
      const file = keepOne(eventfd(0, { blocking }))
      sendDescriptors(a, [file])
      const [received] = (await receive(b)).descriptors as [OwnedFd]
      expectCloexec(received)
      expect([file, received].map(isNonBlocking)).toEqual([!blocking, !blocking])
    }
  })

  it('returns the sender’s pidfd, with room for it in addition to the descriptors and credentials', async (test) => {
    skipUnless(test, needLinux('6.5'))
    const [a, b] = keepPair(type)
    setOption(b, SO_PASSPIDFD, true)
    setOption(b, SO_PASSCRED, true)
    for (const max of [0, 1, 2, 253]) {
      sendDescriptors(a, Array(max).fill(a))
      const { pidfd, descriptors, credentials, truncated } = await receive(b, { max })
      expect([descriptors.length, credentials?.pid, truncated]).toEqual([max, process.pid, false])
      expectCloexec(pidfd as OwnedFd)
      expect(readFileSync(`/proc/self/fdinfo/${pidfd?.fd}`, 'utf8')).toMatch(new RegExp(`^Pid:\\t${process.pid}$`, 'm'))
    }
  })

  it.each([0, 1, 2, 7])('closes all and reports it if more than %i come', async (max) => {
    const [a, b] = keepPair(type)
    const { read } = keep(pipe())
    const before = countSame(read)
    sendDescriptors(a, Array(max + 1).fill(read), Buffer.from('too many'))
    const message = await receive(b, { max })
    expect(message).toMatchObject({ descriptors: [], truncated: true })
    expect(message.data.toString()).toBe('too many')
    expect(countSame(read)).toBe(before)
    sendDescriptors(a, Array(max).fill(read))
    const next = await receive(b, { max })
    expect(next.truncated).toBe(false)
    expect(countSame(read)).toBe(before + max)
  })

  it('closes all and reports it even if close(2) fails', async () => {
    const [a, b] = keepPair(type)
    const { read } = keep(pipe())
    const before = countSame(read)
    sendDescriptors(a, [read, read, read], Buffer.from('too many'))
    const { close } = OwnedFd.prototype
    const closing = vi.spyOn(OwnedFd.prototype, 'close').mockImplementationOnce(function (this: OwnedFd) {
      close.call(this)
      throw new SystemError(errno.EIO, 'close')
    })
    const message = await receive(b, { max: 1 })
    expect(closing).toHaveBeenCalled()
    closing.mockRestore()
    expect(message).toMatchObject({ data: Buffer.from('too many'), descriptors: [], truncated: true })
    expect(countSame(read)).toBe(before)
  })

  it('passes 253 at a time and refuses 254', async () => {
    const [a, b] = keepPair(type)
    const file = keepOne(eventfd())
    expect(() => sendDescriptors(a, Array(254).fill(file))).toThrow(RangeError)
    expect(receiveDescriptors(b)).toBeNull()
    sendDescriptors(a, Array(253).fill(file))
    expect((await receive(b)).descriptors).toHaveLength(253)
  })
})

describe('sendDescriptors', () => {
  it('leaves the passed descriptors open', async () => {
    const [a, b] = keepPair()
    const { read, write } = keep(pipe())
    sendDescriptors(a, [read])
    read.close()
    writev(write, [Buffer.from('still open')])
    write.close()
    const [received] = (await receive(b)).descriptors as [OwnedFd]
    expect(await readAll(received)).toBe('still open')
  })

  it('refuses a closed descriptor, and sends nothing', () => {
    const [a, b] = keepPair()
    const file = eventfd()
    file.close()
    expect(() => sendDescriptors(a, [file])).toThrow(TypeError)
    expectErrno(() => sendDescriptors(a, [{ fd: 1_000_000 }]), 'EBADF')
    expect(receiveDescriptors(b)).toBeNull()
  })

  it('refuses to send no data', () => {
    const [a] = keepPair()
    expect(() => sendDescriptors(a, [a], new Uint8Array())).toThrow(RangeError)
  })

  it('returns null if it would block, and then has sent nothing', async () => {
    const [a, b] = keepPair(SOCK_SEQPACKET)
    const file = keepOne(eventfd())
    let sent = 0
    while (sendDescriptors(a, [file], Buffer.alloc(1000)) !== null) sent++
    for (; sent > 0; sent--) for (const descriptor of (await receive(b)).descriptors) descriptor.close()
    expect(receiveDescriptors(b)).toBeNull()
  })

  it('reports that the peer is gone', () => {
    const [a, b] = keepPair()
    b.close()
    expectErrno(() => sendDescriptors(a, [a]), 'EPIPE')
    a.close()
    expectErrno(() => sendDescriptors(a, []), 'EBADF')
  })
})

describe('receiveDescriptors', () => {
  it('has no data at the end of a stream', async () => {
    const [a, b] = keepPair()
    a.close()
    expect(await receive(b)).toEqual({
      data: Buffer.alloc(0),
      descriptors: [],
      truncated: false,
      dataTruncated: false,
      credentials: undefined,
      pidfd: undefined,
    })
  })

  it('ends a message of a stream with the send that carried the descriptors', async () => {
    const [a, b] = keepPair()
    a.send(Buffer.from('before, '))
    sendDescriptors(a, [a], Buffer.from('with'))
    a.send(Buffer.from(', after'))
    const first = await receive(b)
    expect([first.data.toString(), first.descriptors.length]).toEqual(['before, with', 1])
    const second = await receive(b)
    expect([second.data.toString(), second.descriptors.length]).toEqual([', after', 0])
  })

  it('returns the descriptors with the first part of a message of a stream', async () => {
    const [a, b] = keepPair()
    sendDescriptors(a, [a], Buffer.from('12345678'))
    const parts = [await receive(b, { size: 5 }), await receive(b, { size: 5 })]
    expect(parts.map(({ data, descriptors }) => [data.toString(), descriptors.length])).toEqual([
      ['12345', 1],
      ['678', 0],
    ])
  })

  it('reports that a datagram was longer than requested, and keeps its descriptors', async () => {
    const [a, b] = keepPair(SOCK_SEQPACKET)
    sendDescriptors(a, [a], Buffer.from('12345678'))
    const { data, dataTruncated, truncated, descriptors } = await receive(b, { size: 5 })
    expect([data.toString(), dataTruncated, truncated, descriptors.length]).toEqual(['12345', true, false, 1])
  })

  it.each([
    [{ max: -1 }, RangeError],
    [{ max: 254 }, RangeError],
    [{ max: Number.NaN }, TypeError],
    [{ size: 0 }, RangeError],
    [{ size: 2 ** 31 }, RangeError],
  ])('refuses %o', (options, kind) => {
    const [a, b] = keepPair()
    sendDescriptors(a, [a])
    expect(() => receiveDescriptors(b, options)).toThrow(kind)
  })
})

/** A pair; a child process gets one end, as its descriptor 3. */
function child(): { mine: Socket; run: (command: string, args: string[]) => Program } {
  const [mine, theirs] = keepPair()
  const run = (command: string, args: string[]) => {
    const stdio = ['pipe' as const, 'pipe' as const, 'pipe' as const, theirs.fd]
    const program = spawnProgram(command, args, { stdio, cwd: resolve(import.meta.dirname, '..') })
    theirs.close()
    return program
  }
  return { mine, run }
}

async function receive(socket: Socket, options?: ReceiveDescriptorsOptions): Promise<DescriptorMessage> {
  await readable(socket)
  const message = receiveDescriptors(socket, options) as DescriptorMessage
  for (const descriptor of message.descriptors) keepOne(descriptor)
  if (message.pidfd !== undefined) keepOne(message.pidfd)
  return message
}

/** All bytes until every holder has closed the other end of a pipe. */
async function readAll(file: AsFd): Promise<string> {
  const parts: Buffer[] = []
  for (;;) {
    await readable(file)
    const buffer = Buffer.alloc(100)
    const length = readv(file, [buffer])
    if (length === 0) return Buffer.concat(parts).toString()
    if (length !== null) parts.push(buffer.subarray(0, length))
  }
}

/** The count of an eventfd, which identifies it. */
function counterOf(file: AsFd): number {
  const bytes = Buffer.alloc(8)
  readSync(file.fd, bytes)
  return Number(bytes.readBigUInt64LE())
}

/** How many descriptors of this process are open on the same file. */
function countSame({ fd }: AsFd): number {
  const target = readlinkSync(`/proc/self/fd/${fd}`)
  return openDescriptors().filter((descriptor) => descriptor.target === target).length
}

function keepPair(type?: number): [Socket, Socket] {
  const [a, b] = unixPair(type)
  return [keepOne(a), keepOne(b)]
}

function keep<T extends Record<string, OwnedFd>>(owners: T): T {
  for (const owner of Object.values(owners)) keepOne(owner)
  return owners
}

/** Closes descriptors when the running test ends. */
function keepOne<T extends OwnedFd>(owner: T): T {
  onTestFinished(() => owner.close())
  return owner
}
