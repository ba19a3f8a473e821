import { once } from 'node:events'
import { expectCloexec, expectErrno, guardDescriptors, needProgram, skipUnless } from '@linux-sockets/testkit'
import { describe, expect, it } from 'vitest'
import {
  EPOLL_CTL_ADD,
  EPOLL_CTL_DEL,
  EPOLL_CTL_MOD,
  EPOLLET,
  EPOLLEXCLUSIVE,
  EPOLLHUP,
  EPOLLIN,
  EPOLLONESHOT,
  EPOLLOUT,
} from '../../src/constants.js'
import { EPOLL_EVENT_WORDS, epollControl, epollCreate, epollWait } from '../../src/epoll/index.js'
import { eventfd, Socket } from '../../src/index.js'
import { compileSources, openFile, runModule, startWorker } from '../outside.js'

guardDescriptors()
compileSources()

describe('epoll', () => {
  it('is closed on exec, and empty', () => {
    using epoll = epollCreate()
    expectCloexec(epoll)
    expect(epollWait(epoll, new Uint32Array(EPOLL_EVENT_WORDS))).toBe(0)
  })

  it('returns the events and both words of data, whatever their values', () => {
    using epoll = epollCreate()
    const data = [
      [0, 0],
      [0xffffffff, 0x80000000],
      [1, 0xffffffff],
      [-1, -2],
    ] as const
    const counters = data.map(([low, high]) => {
      const counter = eventfd(1)
      epollControl(epoll, EPOLL_CTL_ADD, counter, EPOLLIN, low, high)
      return counter
    })
    const events = new Uint32Array(10 * EPOLL_EVENT_WORDS)
    const count = epollWait(epoll, events)
    expect(count).toBe(data.length)
    const got = Array.from({ length: count }, (_, i) => [...events.subarray(3 * i, 3 * i + 3)])
    expect(got).toEqual(data.map(([low, high]) => [EPOLLIN, low >>> 0, high >>> 0]))
    for (const timeout of [-1, Number.POSITIVE_INFINITY]) expect(epollWait(epoll, events, timeout)).toBe(data.length)
    for (const counter of counters) counter.close()
    expect(epollWait(epoll, events)).toBe(0)
  })

  it('returns as many events as fit, and the others the next time', () => {
    using epoll = epollCreate()
    const counters = Array.from({ length: 5 }, (_, i) => {
      const counter = eventfd(1)
      epollControl(epoll, EPOLL_CTL_ADD, counter, EPOLLIN | EPOLLONESHOT, i)
      return counter
    })
    const seen = []
    const events = new Uint32Array(2 * EPOLL_EVENT_WORDS + 2)
    for (const expected of [2, 2, 1, 0]) {
      const count = epollWait(epoll, events)
      expect(count).toBe(expected)
      for (let i = 0; i < count; i++) seen.push(events[3 * i + 1])
    }
    expect(seen.toSorted()).toEqual([0, 1, 2, 3, 4])
    for (const counter of counters) counter.close()
  })

  it('is edge-triggered, one-shot and changed as asked', () => {
    using epoll = epollCreate()
    const [a, b] = Socket.pair()
    const events = new Uint32Array(4 * EPOLL_EVENT_WORDS)
    epollControl(epoll, EPOLL_CTL_ADD, a, EPOLLIN | EPOLLET, 7)
    b.send(Buffer.from('x'))
    expect([epollWait(epoll, events), epollWait(epoll, events)]).toEqual([1, 0])
    b.send(Buffer.from('x'))
    expect(epollWait(epoll, events)).toBe(1)
    epollControl(epoll, EPOLL_CTL_MOD, a, EPOLLOUT | EPOLLONESHOT, 8)
    expect([epollWait(epoll, events), epollWait(epoll, events)]).toEqual([1, 0])
    expect([...events.subarray(0, 2)]).toEqual([EPOLLOUT, 8])
    epollControl(epoll, EPOLL_CTL_MOD, a, EPOLLIN, 9)
    b.close()
    expect(epollWait(epoll, events)).toBe(1)
    expect((events[0] as number) & EPOLLHUP).toBe(EPOLLHUP)
    epollControl(epoll, EPOLL_CTL_DEL, a)
    expect(epollWait(epoll, events)).toBe(0)
    a.close()
  })

  it('throws what the kernel refuses', () => {
    using epoll = epollCreate()
    using counter = eventfd()
    using file = openFile('/etc/hostname')
    expectErrno(() => epollControl(epoll, EPOLL_CTL_MOD, counter, EPOLLIN), 'ENOENT')
    expectErrno(() => epollControl(epoll, EPOLL_CTL_DEL, counter), 'ENOENT')
    epollControl(epoll, EPOLL_CTL_ADD, counter, EPOLLIN | EPOLLEXCLUSIVE)
    expectErrno(() => epollControl(epoll, EPOLL_CTL_ADD, counter, EPOLLIN), 'EEXIST')
    expectErrno(() => epollControl(epoll, EPOLL_CTL_MOD, counter, EPOLLIN | EPOLLEXCLUSIVE), 'EINVAL')
    expectErrno(() => epollControl(epoll, EPOLL_CTL_ADD, file, EPOLLIN), 'EPERM')
    expectErrno(() => epollControl(epoll, EPOLL_CTL_ADD, epoll, EPOLLIN), 'EINVAL')
    using other = epollCreate()
    epollControl(epoll, EPOLL_CTL_ADD, other, EPOLLIN)
    expectErrno(() => epollControl(other, EPOLL_CTL_ADD, epoll, EPOLLIN), 'ELOOP')
    expectErrno(() => epollControl(epoll, 99, counter), 'EINVAL')
    expectErrno(() => epollWait(counter, new Uint32Array(3)), 'EINVAL')
    expectErrno(() => epollWait({ fd: -1 }, new Uint32Array(3)), 'EBADF')
    expect(() => epollWait(epoll, new Uint8Array(12) as never)).toThrow(TypeError)
    // No room for a single event.
    expect(() => epollWait(epoll, new Uint32Array(2))).toThrow(RangeError)
  })

  it.each([0.001, 0.5, 1, 20])('waits at least %d milliseconds', (timeout) => {
    using epoll = epollCreate()
    const start = process.hrtime.bigint()
    expect(epollWait(epoll, new Uint32Array(3), timeout)).toBe(0)
    expect(Number(process.hrtime.bigint() - start)).toBeGreaterThanOrEqual(timeout * 1e6)
  })

  it('refuses an invalid timeout', () => {
    using epoll = epollCreate()
    using counter = eventfd(1)
    epollControl(epoll, EPOLL_CTL_ADD, counter, EPOLLIN)
    const wait = (timeout: unknown) => epollWait(epoll, new Uint32Array(3), timeout as number)
    for (const timeout of [Number.NaN, '1', null, 1n]) expect(() => wait(timeout)).toThrow(TypeError)
    for (const timeout of [-2, -0.5, -1.5, Number.NEGATIVE_INFINITY, 2 ** 53 / 1e6, Number.MAX_VALUE]) {
      expect(() => wait(timeout)).toThrow(RangeError)
    }
    for (const timeout of [-0, -1, Number.MIN_VALUE, 9_007_199_254, Number.POSITIVE_INFINITY]) {
      expect(wait(timeout)).toBe(1)
    }
  })

  it.for(['ENOSYS', 'EPERM'])('waits in whole milliseconds where epoll_pwait2 answers %s', async (error, test) => {
    skipUnless(test, needProgram('strace'))
    const { code, stdout } = await runModule(
      `
      import { EPOLLIN, epollControl, epollCreate, epollWait, eventfd } from './everything.js'
      const epoll = epollCreate()
      const before = performance.now()
      const nothing = epollWait(epoll, new Uint32Array(3), 10.5)
      const waited = performance.now() - before
      epollControl(epoll, 1, eventfd(1), EPOLLIN)
      console.log(nothing, waited >= 11, epollWait(epoll, new Uint32Array(3), 1000))
      `,
      {
        wrapper: [
          'strace',
          '-qq',
          '-o',
          '/dev/null',
          '-e',
          'trace=epoll_pwait2',
          '-e',
          `inject=epoll_pwait2:error=${error}`,
        ],
      },
    )
    expect({ code, stdout }).toEqual({ code: 0, stdout: '0 true 1\n' })
  })

  it('waits without a timeout in a Worker, until another thread writes', async () => {
    const [a, b] = Socket.pair()
    const { worker, exit } = startWorker(
      `
      const epoll = core.epollCreate()
      core.epollControl(epoll, core.EPOLL_CTL_ADD, { fd: workerData }, core.EPOLLIN, 5)
      parentPort.postMessage('waiting')
      const events = new Uint32Array(3)
      const count = core.epollWait(epoll, events, -1)
      epoll.close()
      parentPort.postMessage([count, ...events])
    `,
      a.fd,
    )
    await once(worker, 'message')
    const answer = once(worker, 'message')
    b.send(Buffer.from('x'))
    expect(await answer).toEqual([[1, EPOLLIN, 5, 0]])
    await exit
    a.close()
    b.close()
  })

  it('waits the full time despite frequent signals', async () => {
    const { stdout, stderr } = await runModule(`
      import { spawn } from 'node:child_process'
      import { epollCreate, epollWait } from './everything.js'
      const epoll = epollCreate()
      const rain = 'import os, time\\nwhile True: os.kill(' + process.pid + ', 12); time.sleep(0.001)'
      const python = spawn('python3', ['-c', rain], { stdio: 'ignore' })
      process.on('SIGUSR2', () => {})
      process.once('SIGUSR2', () => {
        const start = performance.now()
        console.log(epollWait(epoll, new Uint32Array(3), 300), performance.now() - start >= 300)
        python.on('exit', () => process.exit())
        python.kill('SIGKILL')
      })
    `)
    expect({ stdout, stderr }).toEqual({ stdout: '0 true\n', stderr: '' })
  })
})
