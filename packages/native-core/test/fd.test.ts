import { once } from 'node:events'
import { readFileSync, writeFileSync } from 'node:fs'
import {
  collectGarbage,
  expectCloexec,
  expectErrno,
  expectNonBlocking,
  guardDescriptors,
  type Need,
  openDescriptors,
  skipUnless,
  temporaryDirectory,
} from '@linux-sockets/testkit'
import { describe, expect, it } from 'vitest'
import {
  AF_INET,
  EPIOCGPARAMS,
  EPIOCSPARAMS,
  EPOLLIN,
  F_DUPFD,
  F_DUPFD_CLOEXEC,
  F_GETFD,
  F_GETFL,
  F_GETPIPE_SZ,
  F_SETFD,
  F_SETPIPE_SZ,
  FD_CLOEXEC,
  O_NONBLOCK,
  SIOCATMARK,
  SIOCINQ,
  SIOCOUTQ,
  SIOCOUTQNSD,
  SOCK_STREAM,
} from '../src/constants.js'
import { epollCreate } from '../src/epoll/index.js'
import {
  type AsFd,
  dup,
  eventfd,
  fcntl,
  ioctl,
  isNonBlocking,
  OwnedFd,
  pipe,
  readv,
  Socket,
  setNonBlocking,
  watch,
  writev,
} from '../src/index.js'
import { native } from '../src/native.js'
import { compileSources, needOneThread, openFile, runModule, startWorker } from './outside.js'

guardDescriptors()
compileSources()

describe('OwnedFd', () => {
  it('adopts, lends and closes a descriptor', () => {
    const fd = openFile('/dev/null').release()
    const owned = OwnedFd.adopt(fd)
    expect(owned.fd).toBe(fd)
    expect(owned.closed).toBe(false)
    owned.close()
    expect(owned.fd).toBe(-1)
    expect(owned.closed).toBe(true)
    expect(openDescriptors().some((open) => open.fd === fd)).toBe(false)
  })

  it('closes once, and never a reused number', (test) => {
    skipUnless(test, needOneThread())
    const owned = openFile('/dev/null')
    const { fd } = owned
    owned.close()
    const other = openFile('/dev/zero')
    expect(other.fd).toBe(fd)
    owned.close()
    owned[Symbol.dispose]()
    expect(openDescriptors()).toContainEqual({ fd, target: '/dev/zero' })
    other.close()
  })

  it('loses a number that other code has closed to the number’s next owner', (test) => {
    skipUnless(test, needOneThread())
    const former = eventfd()
    const { fd } = former
    native.close(fd)
    const next = eventfd()
    expect(next.fd).toBe(fd)
    expect(former.closed).toBe(true)
    former.close()
    expect(openDescriptors()).toContainEqual({ fd, target: 'anon_inode:[eventfd]' })
    next.close()
  })

  it('does not close a descriptor that gets its number while watches on it end', async () => {
    // Other code has closed the watched descriptor, so a new epoll instance takes the place of the old one, and has its number.
    const { stdout, stderr, code } = await runModule(`
      import { closeSync } from 'node:fs'
      import { setImmediate } from 'node:timers/promises'
      import { EPOLLIN, eventfd, readable, watch } from './everything.js'
      const [other, owned] = [eventfd(), eventfd()]
      watch(other, EPOLLIN, () => {}).unref()
      watch(owned, EPOLLIN, () => {}, { ended: () => console.log('ended') })
      closeSync(owned.fd)
      try { owned.close() } catch (error) { console.log(error.message) }
      console.log(owned.closed, owned.release())
      await setImmediate()
      await readable(eventfd(1))
      console.log('ready')
      process.exit()`)
    expect({ stdout, stderr, code }).toEqual({
      stdout: 'close EBADF: bad file descriptor\ntrue -1\nended\nready\n',
      stderr: '',
      code: 0,
    })
  })

  it('ends the watches on it when it is collected, or its number has another owner', async () => {
    const { code, stdout } = await runModule(
      `
      import { closeSync } from 'node:fs'
      import { EPOLLIN, eventfd, Socket, watch } from './everything.js'
      const copies = []
      const ended = (fd) => new Promise((resolve) => watch(fd, EPOLLIN, () => {}, { ended: resolve }))
      const start = () => {
        const [a, b] = Socket.pair()
        copies.push(a.dup(), b)
        b.send(Buffer.from('x'))
        return ended(a.fd)
      }
      const collected = start()
      for (let i = 0; i < 10; i++) {
        globalThis.gc()
        await new Promise((resolve) => setImmediate(resolve))
      }
      await collected
      console.log('collected')
      const lost = eventfd()
      const { fd } = lost
      const told = ended(fd)
      closeSync(fd)
      const next = eventfd()
      await told
      console.log(next.fd === fd, lost.fd)
      process.exit()`,
      { options: ['--expose-gc', '--no-warnings'] },
    )
    expect({ code, stdout }).toEqual({ code: 0, stdout: 'collected\ntrue -1\n' })
  })

  it('is closed by `using`', () => {
    let fd: number
    {
      using owned = eventfd()
      fd = owned.fd
      expect(openDescriptors()).toContainEqual({ fd, target: 'anon_inode:[eventfd]' })
    }
    expect(openDescriptors().some((open) => open.fd === fd)).toBe(false)
  })

  it('releases a descriptor, which stays open', () => {
    const owned = openFile('/dev/null')
    const { fd } = owned
    expect(owned.release()).toBe(fd)
    expect(owned.closed).toBe(true)
    expect(owned.release()).toBe(-1)
    owned.close()
    expect(openDescriptors()).toContainEqual({ fd, target: '/dev/null' })
    native.close(fd)
  })

  it('ends the watches on it when it is closed or released', () => {
    const { read, write } = pipe()
    let ended = 0
    const watching = watch(read, EPOLLIN, () => {})
    read.close()
    watching.stop()
    const { read: other, write: otherWrite } = pipe()
    watch(other, EPOLLIN, () => ended++)
    native.close(other.release())
    expect(ended).toBe(0)
    write.close()
    otherWrite.close()
  })

  it('duplicates: a new number for the same open file, closed on exec', () => {
    const { read, write } = pipe()
    using copy = write.dup()
    expect(copy).toBeInstanceOf(OwnedFd)
    expect(copy.fd).not.toBe(write.fd)
    expectCloexec(copy)
    write.close()
    writev(copy, [Buffer.from('x')])
    expect(readv(read, [Buffer.alloc(2)])).toBe(1)
    using borrowed = dup({ fd: read.fd })
    expect(borrowed.fd).not.toBe(read.fd)
    read.close()
    expectErrno(() => read.dup(), 'EBADF')
    expectErrno(() => dup({ fd: -1 }), 'EBADF')
  })

  it('throws the error of close, and is closed nevertheless', (test) => {
    skipUnless(test, needOneThread())
    // Other code has closed it.
    const owned = openFile('/dev/null')
    native.close(owned.fd)
    expect(expectErrno(() => owned.close(), 'EBADF').syscall).toBe('close')
    expect(owned.closed).toBe(true)
    owned.close()
  })

  it('is closed when it is collected, with a warning', async () => {
    const { stdout, stderr, code } = await runModule(
      `
      import { existsSync } from 'node:fs'
      import { setImmediate } from 'node:timers/promises'
      import { Socket } from './everything.js'
      const warnings = []
      process.on('warning', ({ code, message }) => warnings.push(code + ' ' + message))
      const isOpen = (fd) => existsSync('/proc/self/fd/' + fd)
      let fd
      ;(() => { fd = Socket.open(2, 1).fd })()
      const owned = Socket.open(2, 1)
      const closed = Socket.open(2, 1)
      closed.close()
      for (let turn = 0; turn < 1000 && warnings.length === 0; turn++) { gc(); await setImmediate() }
      console.log(JSON.stringify({ fd, warnings, open: isOpen(fd), kept: isOpen(owned.fd) }))
    `,
      { options: ['--expose-gc', '--no-warnings'] },
    )
    expect({ stderr, code }).toEqual({ stderr: '', code: 0 })
    const { fd, warnings, open, kept } = JSON.parse(stdout)
    expect({ open, kept }).toEqual({ open: false, kept: true })
    expect(warnings).toEqual([
      `LINUX_SOCKETS_FD_LEAK A Socket (fd ${fd}) was closed on garbage collection; close it when you are done with it`,
    ])
  })

  it('is not closed by a collection after it was closed and its number reused', async () => {
    ;(() => {
      const owned = openFile('/dev/null')
      owned.close()
    })()
    const other = openFile('/dev/zero')
    await collectGarbage()
    expect(openDescriptors()).toContainEqual({ fd: other.fd, target: '/dev/zero' })
    other.close()
  })
})

describe('fcntl, ioctl', () => {
  it('create no descriptor without an owner', () => {
    const { read, write } = pipe()
    for (const command of [F_DUPFD, F_DUPFD_CLOEXEC]) expect(() => fcntl(read, command, 0)).toThrow(TypeError)
    read.close()
    write.close()
  })

  it('gets and sets descriptor and status flags', () => {
    const [a, b] = Socket.pair()
    expect(fcntl(a, F_GETFD)).toBe(FD_CLOEXEC)
    fcntl(a, F_SETFD, 0)
    expect(fcntl(a, F_GETFD)).toBe(0)
    expect(fcntl(a, F_GETFL) & O_NONBLOCK).toBe(O_NONBLOCK)
    a.close()
    b.close()
  })

  it('sizes a pipe', () => {
    const { read, write } = pipe()
    expect(fcntl(write, F_SETPIPE_SZ, 8192)).toBe(8192)
    expect(fcntl(read, F_GETPIPE_SZ)).toBe(8192)
    read.close()
    write.close()
  })

  it('refuses commands that take a pointer', () => {
    using file = eventfd()
    const [F_GETLK, F_OFD_SETLK] = [5, 37]
    expectErrno(() => fcntl(file, F_GETLK), 'EINVAL')
    expectErrno(() => fcntl(file, F_OFD_SETLK), 'EINVAL')
    const SIOCGIFCONF = 0x8912
    expectErrno(() => ioctl(file, SIOCGIFCONF), 'EINVAL')
    expectErrno(() => ioctl(file, SIOCGIFCONF, new Int32Array(16)), 'EINVAL')
  })

  it('carry two ints both ways, for the parameters of an epoll instance', (test) => {
    using epoll = epollCreate()
    skipUnless(test, needBusyPoll(epoll))
    const params = Int32Array.of(-1, -1, 7)
    expect(ioctl(epoll, EPIOCGPARAMS, params)).toBe(0)
    expect([...params]).toEqual([0, 0, 7])
    params.set([100, 5])
    ioctl(epoll, EPIOCSPARAMS, params)
    params.fill(0)
    expect(ioctl(epoll, EPIOCGPARAMS, params)).toBe(100)
    expect([...params]).toEqual([100, 5, 0])
    // A call that fails leaves them unchanged.
    params[0] = -1
    expectErrno(() => ioctl(epoll, EPIOCSPARAMS, params), 'EINVAL')
    expect([...params]).toEqual([-1, 5, 0])
    expect(() => ioctl(epoll, EPIOCGPARAMS)).toThrow(TypeError)
    using counter = eventfd()
    expectErrno(() => ioctl(counter, EPIOCGPARAMS, params), 'ENOTTY')
  })

  it('counts bytes that wait to be read and to be sent', () => {
    const [a, b] = Socket.pair()
    expect(ioctl(b, SIOCINQ)).toBe(0)
    a.send(Buffer.from('12345'))
    expect(ioctl(b, SIOCINQ)).toBe(5)
    expect(ioctl(a, SIOCOUTQ)).toBeGreaterThan(0)
    a.close()
    b.close()
    using listener = Socket.open(AF_INET, SOCK_STREAM)
    listener.bind({ family: 'ipv4', address: '127.0.0.1', port: 0 })
    listener.listen()
    using tcp = Socket.open(AF_INET, SOCK_STREAM)
    tcp.connect(listener.localName)
    expect([ioctl(tcp, SIOCATMARK), ioctl(tcp, SIOCOUTQ), ioctl(tcp, SIOCOUTQNSD)]).toEqual([0, 0, 0])
    // The peer doesn't read: its window closes, and what doesn't fit stays unsent.
    while (tcp.send(Buffer.alloc(1 << 20)) !== null) {}
    expect(ioctl(tcp, SIOCOUTQNSD)).toBeGreaterThan(0)
    expect(ioctl(tcp, SIOCOUTQ)).toBeGreaterThanOrEqual(ioctl(tcp, SIOCOUTQNSD))
    expectErrno(() => ioctl(a, SIOCINQ), 'EBADF')
  })
})

describe('blocking', () => {
  it('is set and cleared, for every descriptor of the open file', () => {
    using file = eventfd()
    using copy = file.dup()
    expect(isNonBlocking(file)).toBe(true)
    setNonBlocking(file, false)
    expect(isNonBlocking(file)).toBe(false)
    expect(isNonBlocking(copy)).toBe(false)
    setNonBlocking(copy)
    setNonBlocking(copy)
    expect(isNonBlocking(file)).toBe(true)
    expectErrno(() => setNonBlocking({ fd: -1 }), 'EBADF')
  })

  it('is off for new descriptors, unless asked for', () => {
    for (const blocking of [false, true]) {
      const { read, write } = pipe({ blocking })
      const event = eventfd(0, { blocking })
      for (const file of [read, write, event]) {
        expect(isNonBlocking(file)).toBe(!blocking)
        expectCloexec(file)
        if (!blocking) expectNonBlocking(file)
        file.close()
      }
    }
  })
})

describe('eventfd', () => {
  it('counts', () => {
    using counter = eventfd(3)
    const value = new BigUint64Array(1)
    const bytes = new Uint8Array(value.buffer)
    expect(readv(counter, [bytes])).toBe(8)
    expect(value[0]).toBe(3n)
    expect(readv(counter, [bytes])).toBe(null)
    value[0] = 7n
    expect(writev(counter, [bytes])).toBe(8)
    value[0] = 0n
    readv(counter, [bytes])
    expect(value[0]).toBe(7n)
  })

  it('is a semaphore', () => {
    using counter = eventfd(2, { semaphore: true })
    const value = new BigUint64Array(1)
    const bytes = new Uint8Array(value.buffer)
    for (const expected of [8, 8, null]) expect(readv(counter, [bytes])).toBe(expected)
    expect(value[0]).toBe(1n)
  })

  it('begins with any 32-bit number', () => {
    using counter = eventfd(0xffff_ffff)
    const value = new BigUint64Array(1)
    readv(counter, [new Uint8Array(value.buffer)])
    expect(value[0]).toBe(0xffff_ffffn)
  })
})

describe('readv, writev', () => {
  it('gather and scatter in order, and return null when they would block', () => {
    const { read, write } = pipe()
    const [a, b] = [Buffer.alloc(3), Buffer.alloc(5)]
    expect(readv(read, [a, b])).toBe(null)
    expect(writev(write, [Buffer.from('ab'), new Uint8Array(0), Buffer.from('cdef')])).toBe(6)
    expect(readv(read, [a, b])).toBe(6)
    expect(a.toString() + b.toString('latin1', 0, 3)).toBe('abcdef')
    const chunk = Buffer.alloc(1 << 20)
    expect(writev(write, [chunk])).toBeLessThan(chunk.length)
    expect(writev(write, [chunk])).toBe(null)
    read.close()
    expectErrno(() => writev(write, [chunk]), 'EPIPE')
    write.close()
    expectErrno(() => writev(write, [chunk]), 'EBADF')
  })

  it('reads 0 at the end', () => {
    const { read, write } = pipe()
    write.close()
    expect(readv(read, [Buffer.alloc(4)])).toBe(0)
    read.close()
  })

  it('works on files and sockets, with up to 1024 buffers', () => {
    const path = `${temporaryDirectory()}/file`
    using file = openFile(path, 'w+')
    expect(
      writev(
        file,
        Array.from({ length: 1024 }, (_, i) => Uint8Array.of(i & 255)),
      ),
    ).toBe(1024)
    expect(readFileSync(path)[1023]).toBe(255)
    expect(() => writev(file, new Array(1025).fill(Uint8Array.of(1)))).toThrow(TypeError)
    expect(writev(file, [])).toBe(0)
    writeFileSync(path, 'hello')
    using again = openFile(path)
    const buffer = Buffer.alloc(8)
    expect(readv(again, [buffer.subarray(0, 2), buffer.subarray(2)])).toBe(5)
    expect(buffer.toString('latin1', 0, 5)).toBe('hello')
  })
})

it('closes a Worker’s own descriptors when it ends, and no others', async () => {
  using outside = openFile('/dev/zero')
  const { worker } = startWorker(`
    const released = core.Socket.open(2, 1).release()
    const owned = [core.Socket.open(2, 1), core.eventfd(), ...Object.values(core.pipe()), ...core.Socket.pair()]
    owned.push(owned[0].dup(), core.epollCreate())
    parentPort.postMessage({ released, owned: owned.map(({ fd }) => fd) })
  `)
  const [{ released, owned }] = await once(worker, 'message')
  await worker.terminate()
  const open = openDescriptors().map(({ fd }) => fd)
  expect(owned.filter((fd: number) => open.includes(fd))).toEqual([])
  expect(open).toContain(released)
  expect(openDescriptors()).toContainEqual({ fd: outside.fd, target: '/dev/zero' })
  native.close(released)
})

/** Linux 6.9, and CONFIG_NET_RX_BUSY_POLL. */
function needBusyPoll(epoll: AsFd): Need {
  try {
    ioctl(epoll, EPIOCGPARAMS, new Int32Array(2))
    return null
  } catch (error) {
    const { code } = error as { code?: string }
    if (code === 'ENOTTY' || code === 'EOPNOTSUPP') return `this kernel knows no EPIOCGPARAMS (${code})`
    throw error
  }
}
