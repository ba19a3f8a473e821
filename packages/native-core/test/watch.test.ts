import { AsyncLocalStorage } from 'node:async_hooks'
import { setImmediate } from 'node:timers/promises'
import {
  expectErrno,
  guardDescriptors,
  openDescriptors,
  SAYS_ALIVE,
  testWatch,
  turns,
  until,
} from '@linux-sockets/testkit'
import { describe, expect, it, vi } from 'vitest'
import {
  AF_INET,
  EPOLL_CTL_ADD,
  EPOLLERR,
  EPOLLHUP,
  EPOLLIN,
  EPOLLOUT,
  EPOLLPRI,
  EPOLLRDHUP,
  MSG_OOB,
  SHUT_WR,
  SOCK_DGRAM,
  SOCK_STREAM,
} from '../src/constants.js'
import { epollControl, epollCreate } from '../src/epoll/index.js'
import { eventfd, pipe, readable, readv, ready, Socket, watch, writable, writev } from '../src/index.js'
import { native } from '../src/native.js'
import { compileSources, openFile, runModule } from './outside.js'

guardDescriptors()
compileSources()

testWatch(
  'watch',
  { Socket, eventfd },
  () => ({ watch }),
  (script) => runModule(`import { eventfd, Socket, watch } from './everything.js'\n${script}`),
)

describe('watch', () => {
  it('reports a half-close, a hang-up and an error', async () => {
    const [a, b] = Socket.pair()
    b.shutdown(SHUT_WR)
    expect(await first(a, EPOLLRDHUP)).toBe(EPOLLRDHUP)
    b.close()
    expect((await first(a, 0)) & EPOLLHUP).toBe(EPOLLHUP)
    a.close()

    const { read, write } = pipe()
    read.close()
    expect(await first(write, 0)).toBe(EPOLLERR)
    write.close()

    using refused = Socket.open(AF_INET, SOCK_DGRAM)
    using closed = Socket.open(AF_INET, SOCK_DGRAM)
    closed.bind({ family: 'ipv4', address: '127.0.0.1', port: 0 })
    refused.connect(closed.localName)
    closed.close()
    refused.send(Buffer.from('x'))
    expect((await first(refused, EPOLLIN)) & EPOLLERR).toBe(EPOLLERR)
  })

  it('watches pipes, eventfds and epoll descriptors', async () => {
    using counter = eventfd(1)
    expect(await first(counter, EPOLLIN)).toBe(EPOLLIN)
    using epoll = epollCreate()
    epollControl(epoll, EPOLL_CTL_ADD, counter, EPOLLIN)
    expect(await first(epoll, EPOLLIN)).toBe(EPOLLIN)
    const { read, write } = pipe()
    expect(await first(write, EPOLLOUT)).toBe(EPOLLOUT)
    read.close()
    write.close()
  })

  it('keeps a descriptor from garbage collection, even if another watch came first', async () => {
    const { code, stdout, stderr } = await runModule(
      `
      import { setImmediate } from 'node:timers/promises'
      import { EPOLLIN, Socket, watch } from './everything.js'
      let calls = 0
      const start = () => {
        const [a, b] = Socket.pair()
        watch({ fd: a.fd }, 0, () => {})
        watch(a, EPOLLIN, () => calls++)
        return b
      }
      const b = start()
      for (let i = 0; i < 10; i++) {
        globalThis.gc()
        await setImmediate()
      }
      b.send(Buffer.from('x'))
      for (let i = 0; i < 10; i++) await setImmediate()
      console.log(calls > 0)
      process.exit()
      `,
      { options: ['--expose-gc'] },
    )
    expect({ code, stdout, stderr }).toEqual({ code: 0, stdout: 'true\n', stderr: '' })
  })

  it('leaves nothing open if Node’s loop refuses the instance', async () => {
    // The one for all watches is closed a turn after the last of them.
    await turns(3)
    using counter = eventfd()
    const before = openDescriptors()
    const attach = vi.spyOn(native, 'loop_attach').mockReturnValueOnce(-28)
    expect(expectErrno(() => watch(counter, EPOLLIN, () => {}), 'ENOSPC').syscall).toBe('uv_poll_init')
    attach.mockRestore()
    expect(openDescriptors()).toEqual(before)
  })

  it('calls from native code once for a whole batch', async () => {
    const pairs = Array.from({ length: 200 }, () => Socket.pair())
    let entries = 0
    let calls = 0
    const watches = pairs.map(([a], i) =>
      watch(a, EPOLLIN, () => {
        // Microtasks run when the outermost call from native code returns.
        if (calls === 0) queueMicrotask(() => entries++)
        calls++
        pairs[i]?.[0].recv(Buffer.alloc(1))
        expect(entries).toBe(0)
      }),
    )
    for (const [, b] of pairs) b.send(Buffer.from('x'))
    await until(() => calls > 0)
    expect(calls).toBe(200)
    expect(entries).toBe(1)
    for (const watching of watches) watching.stop()
    closeAll(pairs)
  })

  it('handles more events than one batch holds', async () => {
    const counters = Array.from({ length: 600 }, () => eventfd(1))
    const seen = new Set<number>()
    const watches = counters.map((counter, i) =>
      watch(counter, EPOLLIN, () => {
        seen.add(i)
        readv(counter, [Buffer.alloc(8)])
      }),
    )
    await until(() => seen.size === counters.length)
    for (const watching of watches) watching.stop()
    for (const counter of counters) counter.close()
  })
})

describe('readable, writable', () => {
  it('keep the async context of the caller', async () => {
    const storage = new AsyncLocalStorage<string>()
    const [a, b] = Socket.pair()
    b.send(Buffer.from('x'))
    await storage.run('reader', async () => {
      await readable(a)
      expect(storage.getStore()).toBe('reader')
    })
    a.close()
    b.close()
  })

  it('resolve when ready, even if it is ready already', async () => {
    const [a, b] = Socket.pair()
    await writable(a)
    const waiting = readable(a)
    b.send(Buffer.from('x'))
    await waiting
    await readable(a)
    a.close()
    await readable(b)
    b.close()
  })

  it('reject with the signal’s reason', async () => {
    using counter = eventfd()
    const reason = new Error('enough')
    await expect(readable(counter, { signal: AbortSignal.abort(reason) })).rejects.toBe(reason)
    const controller = new AbortController()
    const waiting = readable(counter, { signal: controller.signal })
    controller.abort(reason)
    await expect(waiting).rejects.toBe(reason)
    await expect(readable(counter, { signal: AbortSignal.timeout(1) })).rejects.toMatchObject({ name: 'TimeoutError' })
    // Once resolved, the listener on the signal is removed.
    const later = new AbortController()
    await writable(counter, { signal: later.signal })
    later.abort()
  })

  it('reject with ETIMEDOUT after the timeout, and not if the event comes in time', async () => {
    using counter = eventfd()
    const late = await expectErrno(() => readable(counter, { timeout: 1 }), 'ETIMEDOUT')
    expect(late).toMatchObject({ syscall: 'epoll_wait', detail: '(timeout, 1 ms)' })
    await expectErrno(() => ready(counter, 0, { timeout: 5 }), 'ETIMEDOUT')
    await writable(counter, { timeout: 1 })
    const waiting = readable(counter, { timeout: 60_000 })
    writev(counter, [Buffer.from(BigUint64Array.of(1n).buffer)])
    await waiting
  })

  it('share one listener of a signal, however many wait', async () => {
    const warned = vi.spyOn(process, 'emitWarning')
    const pairs = Array.from({ length: 30 }, () => Socket.pair())
    const controller = new AbortController()
    const waiting = pairs.map(([a]) => readable(a, { signal: controller.signal }))
    pairs[0]?.[1].send(Buffer.from('x'))
    await waiting[0]
    controller.abort(new Error('enough'))
    const outcomes = await Promise.allSettled(waiting)
    expect(outcomes.map(({ status }) => status)).toEqual(['fulfilled', ...Array(29).fill('rejected')])
    closeAll(pairs)
    // Node warns in the next turn.
    await turns(2)
    expect(warned).not.toHaveBeenCalled()
    warned.mockRestore()
  })

  it('reject with EBADF if the owner closes or releases the descriptor during the wait', async () => {
    for (const end of ['close', 'release'] as const) {
      const counter = eventfd()
      const waiting = readable(counter)
      const both = writable(counter).then(() => readable(counter))
      const fd = counter.fd
      await setImmediate()
      counter[end]()
      await expect(waiting).rejects.toMatchObject({ code: 'EBADF', syscall: 'epoll_wait' })
      await expect(both).rejects.toMatchObject({ code: 'EBADF' })
      if (end === 'release') native.close(fd)
      await expect(readable(counter)).rejects.toMatchObject({ code: 'EBADF', syscall: 'epoll_ctl' })
    }
  })

  it('reject for a descriptor that can’t be waited for', async () => {
    using file = openFile('/etc/hostname')
    await expect(readable(file)).rejects.toMatchObject({ code: 'EPERM' })
  })

  it('allow several waits for one descriptor', async () => {
    const { read, write } = pipe()
    const waiting = Promise.all([readable(read), readable(read), readable(read)])
    writev(write, [Buffer.from('x')])
    await waiting
    read.close()
    write.close()
  })
})

it('one signal ends any number of streams, channels and listeners without a warning', async () => {
  const { code, stdout, stderr } = await runModule(`
    import { DatagramChannel, Listener, Socket, SocketStream } from './everything.js'
    const { signal, controller } = ((controller) => ({ controller, signal: controller.signal }))(new AbortController())
    const ended = []
    for (let i = 0; i < 12; i++) {
      const [a, b] = Socket.pair()
      const stream = new SocketStream(a, { signal })
      ended.push(new Promise((resolve) => stream.on('error', ({ name, code, cause }) => resolve([name, code, cause === signal.reason]))))
      const [c, d] = Socket.pair(1, 2)
      const channel = new DatagramChannel(c, { error() {} }, { signal })
      ended.push(channel[Symbol.asyncIterator]().next().catch((error) => error === signal.reason))
      const socket = Socket.open(2, 1)
      socket.listen()
      ended.push(new Listener(socket, { signal }).run(() => {}).then(() => 'closed'))
      for (const peer of [b, d]) globalThis.peers = [...(globalThis.peers ?? []), peer]
    }
    controller.abort()
    console.log([...new Set((await Promise.all(ended)).map(String))].join(' '))
    process.exit()`)
  expect({ code, stdout, stderr }).toEqual({ code: 0, stdout: 'AbortError,ABORT_ERR,true true closed\n', stderr: '' })
})

describe('ready', () => {
  it('resolves with the events, for any mask', async () => {
    const { client, accepted } = await tcpPair()
    expect(await ready(client, EPOLLOUT)).toBe(EPOLLOUT)
    const urgent = ready(client, EPOLLPRI, { timeout: 10_000 })
    accepted.send(Buffer.from('!'), MSG_OOB)
    expect(await urgent).toBe(EPOLLPRI)
    const ended = ready(client, EPOLLRDHUP)
    accepted.close()
    expect((await ended) & EPOLLRDHUP).toBe(EPOLLRDHUP)
    client.close()
  })

  it('refuses unknown options before it waits', async () => {
    using counter = eventfd()
    for (const [options, message] of [
      [null, /^options must be/],
      [{ timeout: 0 }, /^timeout must be/],
      [{ timeout: 2 ** 31 }, /^timeout must be/],
      [{ signal: {} }, /^signal must be/],
    ] as const) {
      await expect(ready(counter, EPOLLIN, options as never)).rejects.toThrow(message)
      await expect(readable(counter, options as never)).rejects.toThrow(message)
      await expect(writable(counter, options as never)).rejects.toThrow(message)
    }
  })
})

describe('the process', () => {
  it.each([
    ['waiting keeps it alive', 'readable(a)', false],
    ['waiting that was aborted does not', '(readable(a, { signal: AbortSignal.abort() }).catch(() => {}))', true],
  ])('%s', async (_name, expression, ends) => {
    const { stdout, stderr } = await runModule(`
      import { EPOLLIN, readable, Socket, watch } from './everything.js'
      const [a, b] = Socket.pair()
      globalThis.kept = [a, b, ${expression}]
      ${SAYS_ALIVE}
    `)
    expect({ stdout, stderr }).toEqual({ stdout: ends ? '' : 'alive\n', stderr: '' })
  })

  it('delivers events to other watches although one always throws', async () => {
    const { code, stdout, stderr } = await runModule(`
      import { EPOLLIN, eventfd, watch } from './everything.js'
      let caught = 0
      process.on('uncaughtException', () => caught++)
      const [first, second] = [eventfd(1), eventfd(1)]
      watch(first, EPOLLIN, () => { throw new Error('first') })
      let [same, other] = [0, 0]
      watch(first, EPOLLIN, () => same++)
      watch(second, EPOLLIN, () => other++)
      setInterval(() => {
        if (caught === 0 || same === 0 || other === 0) return
        console.log('all were called')
        process.exit()
      }, 10)
    `)
    expect({ code, stdout, stderr }).toEqual({ code: 0, stdout: 'all were called\n', stderr: '' })
  })

  it('ends with an uncaught exception of a callback', async () => {
    const { code, stderr } = await runModule(`
      import { EPOLLIN, eventfd, watch } from './everything.js'
      watch(eventfd(1), EPOLLIN, () => { throw new Error('this is not caught') })
    `)
    expect(code).toBe(1)
    expect(stderr).toContain('this is not caught')
  })

  it('opens one epoll descriptor for all watches of a thread', async () => {
    const { stdout } = await runModule(`
      import { readdirSync, readlinkSync } from 'node:fs'
      import { EPOLLIN, Socket, watch } from './everything.js'
      const epolls = () => readdirSync('/proc/self/fd').filter((fd) => {
        try { return readlinkSync('/proc/self/fd/' + fd) === 'anon_inode:[eventpoll]' } catch { return false }
      }).length
      const before = epolls()
      for (let i = 0; i < 50; i++) for (const socket of Socket.pair()) watch(socket, EPOLLIN, () => {}).unref()
      console.log(epolls() - before)
      process.exit()
    `)
    expect(stdout).toBe('1\n')
  })
})

async function tcpPair(): Promise<{ client: Socket; accepted: Socket }> {
  using listener = Socket.open(AF_INET, SOCK_STREAM)
  listener.bind({ family: 'ipv4', address: '127.0.0.1', port: 0 })
  listener.listen()
  const client = Socket.open(AF_INET, SOCK_STREAM)
  client.connect(listener.localName)
  await readable(listener)
  return { client, accepted: listener.accept() as Socket }
}

function first(target: { readonly fd: number }, events: number): Promise<number> {
  return new Promise((resolve) => {
    const watching = watch(target, events, (ready) => {
      watching.stop()
      resolve(ready)
    })
  })
}

function closeAll(pairs: readonly (readonly Socket[])[]): void {
  for (const socket of pairs.flat()) socket.close()
}
