import { on, once } from 'node:events'
import { closeSync, existsSync, openSync, readdirSync, readFileSync } from 'node:fs'
import { Worker } from 'node:worker_threads'
import { type AsFd, eventfd, pipe, Socket, writev } from '@linux-sockets/native-core'
import {
  AF_INET,
  AF_UNIX,
  EPOLLERR,
  EPOLLET,
  EPOLLEXCLUSIVE,
  EPOLLHUP,
  EPOLLIN,
  EPOLLONESHOT,
  EPOLLOUT,
  EPOLLPRI,
  EPOLLRDHUP,
  EPOLLWAKEUP,
  MSG_OOB,
  SHUT_WR,
  SOCK_STREAM,
} from '@linux-sockets/native-core/constants'
import {
  expectCloexec,
  expectErrno,
  guardDescriptors,
  type Need,
  needCapability,
  needProgram,
  runProgram,
  skipUnless,
} from '@linux-sockets/testkit'
import { describe, expect, it, vi } from 'vitest'
import { Epoll, EpollEvents } from '../src/index.js'

guardDescriptors()

const hello = Buffer.from('hello')

describe('Epoll', () => {
  it('reports ready descriptors, with their data', () => {
    using epoll = new Epoll()
    const [a, b] = Socket.pair(AF_UNIX, SOCK_STREAM)
    const events = new EpollEvents(8)
    epoll.add(a, EPOLLIN, 0x1234_5678_9abc_def0n)
    expect(epoll.wait(events)).toBe(0)

    b.send(hello)
    expect(epoll.wait(events)).toBe(1)
    expect(events.count).toBe(1)
    expect(events.events(0)).toBe(EPOLLIN)
    expect(events.data(0)).toBe(0x1234_5678_9abc_def0n)
    expect([events.low(0), events.high(0)]).toEqual([0x9abc_def0, 0x1234_5678])

    epoll.modify(a, EPOLLIN | EPOLLOUT)
    epoll.wait(events)
    expect(events.events(0)).toBe(EPOLLIN | EPOLLOUT)
    expect(events.low(0)).toBe(a.fd)

    epoll.delete(a)
    expect(epoll.wait(events)).toBe(0)
    a.close()
    b.close()
  })

  it('reports an edge once (EPOLLET), and only one event (EPOLLONESHOT)', () => {
    using epoll = new Epoll()
    const [a, b] = Socket.pair(AF_UNIX, SOCK_STREAM)
    const events = new EpollEvents()
    epoll.add(a, EPOLLIN | EPOLLET)
    b.send(hello)
    expect(epoll.wait(events)).toBe(1)
    expect(epoll.wait(events)).toBe(0)
    b.send(hello)
    expect(epoll.wait(events)).toBe(1)

    epoll.modify(a, EPOLLIN | EPOLLONESHOT)
    expect(epoll.wait(events)).toBe(1)
    b.send(hello)
    expect(epoll.wait(events)).toBe(0)
    epoll.modify(a, EPOLLIN | EPOLLONESHOT)
    expect(epoll.wait(events)).toBe(1)
    a.close()
    b.close()
  })

  it('reports half-closes, hang-ups and errors', () => {
    using epoll = new Epoll()
    const events = new EpollEvents()
    const [a, b] = Socket.pair(AF_UNIX, SOCK_STREAM)
    epoll.add(a, EPOLLIN | EPOLLRDHUP)
    b.shutdown(SHUT_WR)
    epoll.wait(events)
    expect(events.events(0)).toBe(EPOLLIN | EPOLLRDHUP)
    b.close()
    epoll.wait(events)
    expect(events.events(0) & EPOLLHUP).toBe(EPOLLHUP)
    a.close()

    const { read, write } = pipe()
    epoll.add(write, 0)
    read.close()
    epoll.wait(events)
    expect(events.events(0)).toBe(EPOLLERR)
    write.close()
  })

  it('reports urgent data (EPOLLPRI) in addition to normal data', () => {
    using epoll = new Epoll()
    using listener = Socket.open(AF_INET, SOCK_STREAM)
    listener.bind({ family: 'ipv4', address: '127.0.0.1', port: 0 })
    listener.listen()
    using client = Socket.open(AF_INET, SOCK_STREAM, 0, { blocking: true })
    client.connect(listener.localName)
    using server = listener.accept() as Socket
    const events = new EpollEvents()
    epoll.add(server, EPOLLIN | EPOLLPRI | EPOLLET)
    client.send(hello)
    expect(epoll.wait(events, -1)).toBe(1)
    expect(events.events(0)).toBe(EPOLLIN)

    epoll.modify(server, EPOLLPRI)
    expect(epoll.wait(events)).toBe(0)
    client.send(Buffer.from('!'), MSG_OOB)
    expect(epoll.wait(events, -1)).toBe(1)
    expect(events.events(0)).toBe(EPOLLPRI)
    const urgent = Buffer.alloc(1)
    expect(server.recv(urgent, MSG_OOB)).toBe(1)
    expect(urgent.toString()).toBe('!')
    expect(epoll.wait(events)).toBe(0)
  })

  it.each([
    ['every instance', EPOLLIN, 3],
    ['one of them alone (EPOLLEXCLUSIVE)', EPOLLIN | EPOLLEXCLUSIVE, 1],
  ])('wakes %s of three whose threads wait for one descriptor', async (_, flags, woken) => {
    using counter = eventfd()
    using stop = eventfd()
    const targets = [
      [counter.fd, flags],
      [stop.fd, EPOLLIN],
    ]
    const waiters = await Promise.all([1, 2, 3].map(() => startWaiter(targets, -1)))
    for (const { epoll } of waiters) await untilBlocked(epoll)

    const answers: Promise<number[]>[] = waiters.map(({ answer }) => answer)
    add1(counter)
    if (woken === 3) await Promise.all(answers)
    else await Promise.race(answers)
    // A thread that was not woken for the first descriptor has only the second in its list.
    add1(stop)
    const got = await Promise.all(answers)
    expect(got.filter((descriptors) => descriptors.includes(counter.fd)).length).toBe(woken)
    expect(got.filter((descriptors) => descriptors.join() === `${stop.fd}`).length).toBe(3 - woken)
    await Promise.all(waiters.map(({ exit }) => exit))
  })

  it('refuses EPOLLEXCLUSIVE with EPOLLONESHOT, for an epoll instance, and in modify', () => {
    using epoll = new Epoll()
    using other = new Epoll()
    using counter = eventfd()
    expectErrno(() => epoll.add(counter, EPOLLIN | EPOLLEXCLUSIVE | EPOLLONESHOT), 'EINVAL')
    expectErrno(() => epoll.add(other, EPOLLIN | EPOLLEXCLUSIVE), 'EINVAL')
    epoll.add(counter, EPOLLIN)
    expectErrno(() => epoll.modify(counter, EPOLLIN | EPOLLEXCLUSIVE), 'EINVAL')
    epoll.delete(counter)
    epoll.add(counter, EPOLLIN | EPOLLEXCLUSIVE)
    expectErrno(() => epoll.modify(counter, EPOLLIN), 'EINVAL')
  })

  it('accepts EPOLLWAKEUP from any process, and reports the same events as without it', () => {
    using epoll = new Epoll()
    using counter = eventfd(1)
    const events = new EpollEvents()
    epoll.add(counter, EPOLLIN | EPOLLWAKEUP)
    expect(epoll.wait(events)).toBe(1)
    expect(events.events(0)).toBe(EPOLLIN)
  })

  it('keeps the system awake (EPOLLWAKEUP)', (test) => {
    skipUnless(test, needSuspend(), needCapability('CAP_BLOCK_SUSPEND'))
    using epoll = new Epoll()
    using counter = eventfd()
    epoll.add(counter, EPOLLIN | EPOLLWAKEUP)
    expect(registeredEvents(epoll) & EPOLLWAKEUP).toBe(EPOLLWAKEUP)
    epoll.modify(counter, EPOLLIN)
    expect(registeredEvents(epoll) & EPOLLWAKEUP).toBe(0)
  })

  it.each([-1, Number.POSITIVE_INFINITY])(
    'waits in a Worker (%d) until an event comes, without a limit',
    async (timeout) => {
      using counter = eventfd()
      const { epoll, answer, exit } = await startWaiter([[counter.fd, EPOLLIN]], timeout)
      await untilBlocked(epoll)
      add1(counter)
      expect(await answer).toEqual([counter.fd])
      await exit
    },
  )

  it.each([0, 0.2, 7.5])('waits %d milliseconds in a Worker', async (timeout) => {
    using counter = eventfd()
    const { answer, waited, exit } = await startWaiter([[counter.fd, EPOLLIN]], timeout)
    expect(await answer).toEqual([])
    expect(await waited).toBeGreaterThanOrEqual(timeout)
    await exit
  })

  it('waits for the timeout, and returns no more events than fit', () => {
    using epoll = new Epoll()
    const started = process.hrtime.bigint()
    expect(epoll.wait(new EpollEvents(), 2.5)).toBe(0)
    expect(Number(process.hrtime.bigint() - started) / 1e6).toBeGreaterThanOrEqual(2.5)

    const pairs = Array.from({ length: 5 }, () => Socket.pair(AF_UNIX, SOCK_STREAM))
    for (const [a] of pairs) epoll.add(a, EPOLLOUT)
    expect(epoll.wait(new EpollEvents(3), -1)).toBe(3)
    for (const socket of pairs.flat()) socket.close()
  })

  it('closes on exec, can be watched by another instance, and ends with close', () => {
    using outer = new Epoll()
    const inner = new Epoll()
    expectCloexec(inner)
    const events = new EpollEvents()
    const [a, b] = Socket.pair(AF_UNIX, SOCK_STREAM)
    outer.add(inner, EPOLLIN)
    inner.add(a, EPOLLIN)
    expect(outer.wait(events)).toBe(0)
    b.send(hello)
    expect(outer.wait(events)).toBe(1)
    expect(events.low(0)).toBe(inner.fd)
    expectErrno(() => inner.add(inner, EPOLLIN), 'EINVAL')
    expectErrno(() => inner.add(outer, EPOLLIN), 'ELOOP')

    outer.delete(inner)
    inner.close()
    inner.close()
    expect(inner.fd).toBe(-1)
    expectErrno(() => inner.wait(events), 'EBADF')
    a.close()
    b.close()
  })

  it('refuses what the kernel refuses, and bad arguments before it', () => {
    using epoll = new Epoll()
    const [a, b] = Socket.pair(AF_UNIX, SOCK_STREAM)
    epoll.add(a, EPOLLIN)
    expectErrno(() => epoll.add(a, EPOLLIN), 'EEXIST')
    expectErrno(() => epoll.modify(b, EPOLLIN), 'ENOENT')
    expectErrno(() => epoll.delete(b), 'ENOENT')
    expectErrno(() => epoll.add({ fd: -1 }, EPOLLIN), 'EBADF')
    expectErrno(() => epoll.add({ fd: 1 << 20 }, EPOLLIN), 'EBADF')
    const closed = { fd: -1 }
    expectErrno(() => epoll.modify(closed, EPOLLIN), 'EBADF')
    for (const data of [1.5, -1, -2, closed.fd, Number.POSITIVE_INFINITY, 2 ** 53, -1n, 1n << 64n]) {
      expect(() => epoll.add(b, EPOLLIN, data)).toThrow(RangeError)
      expect(() => epoll.modify(a, EPOLLIN, data)).toThrow(RangeError)
    }
    for (const data of [Number.NaN, '1', null]) {
      expect(() => epoll.add(b, EPOLLIN, data as number)).toThrow(TypeError)
    }
    expect(() => epoll.add({ fd: Number.NaN }, EPOLLIN)).toThrow(TypeError)
    expect(() => epoll.add({ fd: Number.NaN }, EPOLLIN, 0)).toThrow(TypeError)
    expect(() => epoll.add(b, Number.NaN)).toThrow(TypeError)
    expect(() => epoll.wait(new EpollEvents(), Number.NaN)).toThrow(TypeError)
    for (const timeout of [-0.5, -2, Number.NEGATIVE_INFINITY, Number.MAX_VALUE]) {
      expect(() => epoll.wait(new EpollEvents(), timeout)).toThrow(RangeError)
    }
    for (const capacity of [0, -1, 1.5]) expect(() => new EpollEvents(capacity)).toThrow(RangeError)
    a.close()
    b.close()
  })

  it('refuses files that are always ready (EPERM)', () => {
    using epoll = new Epoll()
    const file = openSync(import.meta.filename, 'r')
    try {
      expectErrno(() => epoll.add({ fd: file }, EPOLLIN), 'EPERM')
    } finally {
      closeSync(file)
    }
  })

  it('keeps the flags that the kernel shows', () => {
    using epoll = new Epoll()
    const [a, b] = Socket.pair(AF_UNIX, SOCK_STREAM)
    epoll.add(a, EPOLLIN | EPOLLRDHUP | EPOLLET, 0x77)
    const shown = readFileSync(`/proc/self/fdinfo/${epoll.fd}`, 'utf8')
    expect(shown).toMatch(/events: 80002019 data:\s+77 /)
    a.close()
    b.close()
  })
})

describe('busy polling', () => {
  it('is set and read, each parameter by itself', (test) => {
    using epoll = new Epoll()
    skipUnless(test, needBusyPoll(epoll))
    expect(epoll.busyPoll).toEqual({ usecs: 0, budget: 0, prefer: false })
    epoll.setBusyPoll({ usecs: 0x7fff_ffff, budget: 64, prefer: true })
    expect(epoll.busyPoll).toEqual({ usecs: 0x7fff_ffff, budget: 64, prefer: true })
    epoll.setBusyPoll({ usecs: 50 })
    expect(epoll.busyPoll).toEqual({ usecs: 50, budget: 64, prefer: true })
    epoll.setBusyPoll({ prefer: false })
    epoll.setBusyPoll({ budget: 3 })
    epoll.setBusyPoll({})
    expect(epoll.busyPoll).toEqual({ usecs: 50, budget: 3, prefer: false })
    using other = new Epoll()
    expect(other.busyPoll.usecs).toBe(0)
  })

  it('has the layout of the kernel’s headers', async (test) => {
    using epoll = new Epoll()
    skipUnless(test, needBusyPoll(epoll), needProgram('python3'))
    epoll.setBusyPoll({ usecs: 0x12345678, budget: 0x21, prefer: true })
    const script = `
import fcntl, struct
print(struct.unpack('=IHBB', fcntl.ioctl(3, 0x80088a02, bytes(8))))
fcntl.ioctl(3, 0x40088a01, struct.pack('=IHBB', 7, 9, 0, 0))`
    const said = await runProgram('python3', ['-c', script], { stdio: ['pipe', 'pipe', 'pipe', epoll.fd] })
    expect(said).toBe(`(${0x12345678}, ${0x21}, 1, 0)\n`)
    expect(epoll.busyPoll).toEqual({ usecs: 7, budget: 9, prefer: false })
  })

  it('refuses what does not fit, before the kernel does', (test) => {
    using epoll = new Epoll()
    skipUnless(test, needBusyPoll(epoll))
    for (const usecs of [-1, 0.5, 2 ** 31]) expect(() => epoll.setBusyPoll({ usecs })).toThrow(RangeError)
    for (const budget of [-1, 0.5, 2 ** 16]) expect(() => epoll.setBusyPoll({ budget })).toThrow(RangeError)
    for (const wrong of [Number.NaN, '1', null]) {
      expect(() => epoll.setBusyPoll({ usecs: wrong as number })).toThrow(TypeError)
      expect(() => epoll.setBusyPoll({ budget: wrong as number })).toThrow(TypeError)
      expect(() => epoll.setBusyPoll({ prefer: wrong as unknown as boolean })).toThrow(TypeError)
    }
    expect(epoll.busyPoll).toEqual({ usecs: 0, budget: 0, prefer: false })
    epoll.close()
    expectErrno(() => epoll.busyPoll, 'EBADF')
    expectErrno(() => epoll.setBusyPoll({ usecs: 1 }), 'EBADF')
  })

  it('requires CAP_NET_ADMIN for a budget above 64', async (test) => {
    using epoll = new Epoll()
    skipUnless(test, needBusyPoll(epoll), needCapability('CAP_NET_ADMIN'), needProgram('setpriv'))
    epoll.setBusyPoll({ budget: 65 })
    expect(epoll.busyPoll.budget).toBe(65)
    const program = `
      import { Epoll } from '@linux-sockets/epoll'
      const epoll = new Epoll()
      epoll.setBusyPoll({ budget: 64 })
      try {
        epoll.setBusyPoll({ budget: 65 })
      } catch (error) {
        console.log(epoll.busyPoll.budget, error.code, error.syscall)
      }`
    const node = [process.execPath, '--input-type=module', '--eval', program]
    const said = await runProgram('setpriv', ['--bounding-set=-net_admin', ...node], { cwd: import.meta.dirname })
    expect(said).toBe('64 EPERM ioctl\n')
  })
})

/** Adds 1 to an eventfd. */
function add1(counter: AsFd): void {
  writev(counter, [new Uint8Array(new BigUint64Array([1n]).buffer)])
}

interface Waiter {
  /** The number of its epoll instance. */
  readonly epoll: number
  /** The data of the events that the wait returned. */
  readonly answer: Promise<number[]>
  /** In milliseconds. */
  readonly waited: Promise<number>
  readonly exit: Promise<unknown>
}

/** A Worker that waits once for these descriptors and events. */
async function startWaiter(targets: readonly (readonly number[])[], timeout: number): Promise<Waiter> {
  const worker = new Worker(
    `const { parentPort, workerData: { index, targets, timeout } } = require('node:worker_threads')
     import(index).then(({ Epoll, EpollEvents }) => {
       const epoll = new Epoll()
       for (const [fd, events] of targets) epoll.add({ fd }, events)
       parentPort.postMessage(epoll.fd)
       const events = new EpollEvents()
       const start = process.hrtime.bigint()
       const count = epoll.wait(events, timeout)
       const waited = Number(process.hrtime.bigint() - start) / 1e6
       epoll.close()
       parentPort.postMessage([waited, Array.from({ length: count }, (_, i) => events.low(i))])
     })`,
    { eval: true, workerData: { index: new URL('../dist/index.js', import.meta.url).href, targets, timeout } },
  )
  const exit = once(worker, 'exit')
  // Both messages may come in the same turn of the loop.
  const messages = on(worker, 'message')
  const next = async () => (await messages.next()).value[0]
  const epoll = await next()
  const said = next()
  return { epoll, answer: said.then(([, data]) => data), waited: said.then(([waited]) => waited), exit }
}

/** Resolves when a thread of this process sleeps in a call whose first argument is this descriptor. */
async function untilBlocked(fd: number): Promise<void> {
  const blocked = () =>
    readdirSync('/proc/self/task').some((thread) => {
      try {
        const [, first] = readFileSync(`/proc/self/task/${thread}/syscall`, 'utf8').split(' ')
        return first === `0x${fd.toString(16)}`
      } catch {
        // The thread has ended.
        return false
      }
    })
  await vi.waitFor(() => expect(blocked()).toBe(true), { timeout: 20_000, interval: 2 })
}

/** The events that the kernel has stored for an instance's only registration. */
function registeredEvents(epoll: Epoll): number {
  const shown = readFileSync(`/proc/self/fdinfo/${epoll.fd}`, 'utf8')
  return Number.parseInt(/events:\s*([\da-f]+)/.exec(shown)?.[1] ?? '', 16)
}

function needBusyPoll(epoll: Epoll): Need {
  try {
    return epoll.busyPoll && null
  } catch (error) {
    const { code } = error as { code?: string }
    if (code === 'ENOTTY') return 'Linux 6.9 is needed'
    if (code === 'EOPNOTSUPP') return 'this kernel is built without CONFIG_NET_RX_BUSY_POLL'
    throw error
  }
}

/** Kernels that can't suspend drop the flag. */
function needSuspend(): Need {
  return existsSync('/sys/power/wakeup_count') ? null : 'this kernel is built without CONFIG_PM_SLEEP'
}
