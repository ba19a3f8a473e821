import { AsyncLocalStorage } from 'node:async_hooks'
import { setImmediate } from 'node:timers/promises'
import { expectErrno, guardDescriptors, openDescriptors, skipUnless } from '@linux-sockets/testkit'
import { describe, expect, it, vi } from 'vitest'
import {
  AF_INET,
  EPOLL_CTL_ADD,
  EPOLLERR,
  EPOLLET,
  EPOLLHUP,
  EPOLLIN,
  EPOLLOUT,
  EPOLLPRI,
  EPOLLRDHUP,
  epollControl,
  epollCreate,
  eventfd,
  pipe,
  readable,
  readv,
  SHUT_WR,
  SOCK_DGRAM,
  Socket,
  watch,
  writable,
  writev,
} from '../src/index.js'
import { native } from '../src/native.js'
import { compileSources, needOneThread, openFile, runModule } from './outside.js'

guardDescriptors()
compileSources()

describe('watch', () => {
  it('calls as long as the descriptor is ready, and not before', async () => {
    const [a, b] = Socket.pair()
    let calls = 0
    const watching = watch(a, EPOLLIN, (events) => {
      expect(events).toBe(EPOLLIN)
      calls++
    })
    await turns(3)
    expect(calls).toBe(0)
    b.send(Buffer.from('x'))
    await until(() => calls >= 3)
    a.recv(Buffer.alloc(1))
    await turns(2)
    const afterwards = calls
    await turns(3)
    expect(calls).toBe(afterwards)
    watching.stop()
    b.send(Buffer.from('x'))
    await turns(3)
    expect(calls).toBe(afterwards)
    a.close()
    b.close()
  })

  it('tells what it watches for, and watches for something else', async () => {
    const [a, b] = Socket.pair()
    const seen: number[] = []
    const watching = watch(a, EPOLLIN, (events) => seen.push(events))
    expect(watching.events).toBe(EPOLLIN)
    await turns(2)
    expect(seen).toEqual([])
    watching.update(EPOLLOUT)
    expect(watching.events).toBe(EPOLLOUT)
    await until(() => seen.length > 0)
    expect(seen[0]).toBe(EPOLLOUT)
    watching.update(0)
    await turns(2)
    const afterwards = seen.length
    await turns(3)
    expect(seen.length).toBe(afterwards)
    b.close()
    await until(() => seen.length > afterwards)
    expect(seen.at(-1)).toBe(EPOLLHUP)
    watching.stop()
    watching.update(EPOLLIN)
    watching.stop()
    watching.ref().unref()
    a.close()
  })

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
    using nobody = Socket.open(AF_INET, SOCK_DGRAM)
    nobody.bind({ family: 'ipv4', address: '127.0.0.1', port: 0 })
    refused.connect(nobody.localAddress)
    nobody.close()
    refused.send(Buffer.from('x'))
    expect((await first(refused, EPOLLIN)) & EPOLLERR).toBe(EPOLLERR)
  })

  it('tells that the owner has closed or released the descriptor, once, and not of stop', async () => {
    const storage = new AsyncLocalStorage<string>()
    for (const end of ['close', 'release'] as const) {
      const counter = eventfd(1)
      const calls: string[] = []
      storage.run('mine', () =>
        watch(counter, EPOLLIN, () => {}, { ended: () => calls.push(`${storage.getStore()}: ${counter.fd}`) }),
      )
      const stopped = watch(counter, EPOLLIN, () => {}, { ended: () => calls.push('stopped') })
      stopped.stop()
      const { fd } = counter
      counter[end]()
      expect(calls).toEqual([])
      await setImmediate()
      expect(calls).toEqual(['mine: -1'])
      if (end === 'release') native.close(fd)
    }
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

  it('refuses a regular file, a closed descriptor and what is not a mask', () => {
    using file = openFile('/etc/hostname')
    expect(expectErrno(() => watch(file, EPOLLIN, () => {}), 'EPERM').syscall).toBe('epoll_ctl')
    const closed = eventfd()
    closed.close()
    expectErrno(() => watch(closed, EPOLLIN, () => {}), 'EBADF')
    using counter = eventfd()
    for (const events of [Number.NaN, 1.5, '1', undefined, null]) {
      expect(() => watch(counter, events as number, () => {})).toThrow(TypeError)
    }
    for (const events of [EPOLLET, EPOLLERR, EPOLLHUP, -1, 2 ** 31]) {
      expect(() => watch(counter, events, () => {})).toThrow(RangeError)
    }
    for (const callback of [undefined, null, {}, 'f']) {
      expect(() => watch(counter, EPOLLIN, callback as never)).toThrow(TypeError)
    }
    using watching = watch(counter, EPOLLIN, () => {})
    expect(() => watching.update(EPOLLET)).toThrow(RangeError)
    expect(watching.events).toBe(EPOLLIN)
    // Nothing of all that was left watched, so this works.
    watch(counter, EPOLLIN | EPOLLPRI, () => {}).stop()
  })

  it('has several watches on one descriptor, each with its own events', async () => {
    const [a, b] = Socket.pair()
    const seen: string[] = []
    const reading = watch(a, EPOLLIN, (events) => seen.push(`in ${events}`))
    const writing = watch(a, EPOLLOUT, (events) => seen.push(`out ${events}`))
    await until(() => seen.length > 0)
    expect(new Set(seen)).toEqual(new Set([`out ${EPOLLOUT}`]))
    b.send(Buffer.from('x'))
    await until(() => seen.some((text) => text.startsWith('in')))
    writing.stop()
    seen.length = 0
    await until(() => seen.length > 0)
    expect(new Set(seen)).toEqual(new Set([`in ${EPOLLIN}`]))
    reading.stop()
    a.close()
    b.close()
  })

  it('is not called for what is left of a batch once it was stopped', async () => {
    const pairs = Array.from({ length: 10 }, () => Socket.pair())
    const calls: number[] = []
    const watches = pairs.map(([a], i) =>
      watch(a, EPOLLIN, () => {
        calls.push(i)
        for (const watching of watches) watching.stop()
      }),
    )
    for (const [, b] of pairs) b.send(Buffer.from('x'))
    await until(() => calls.length > 0)
    await turns(3)
    expect(calls).toHaveLength(1)
    closeAll(pairs)
  })

  it('is not called for a closed descriptor, nor for old events of its reused number', async (test) => {
    skipUnless(test, needOneThread())
    const [first, firstPeer] = Socket.pair()
    const [second, secondPeer] = Socket.pair()
    const calls: string[] = []
    let reused: [Socket, Socket] | undefined
    const numbers = [first.fd, second.fd]
    const replace = (other: Socket, name: string) => () => {
      calls.push(name)
      if (reused !== undefined) return
      // Both are in this batch. The other one goes, and a new one gets its number and a watch.
      other.close()
      reused = Socket.pair()
      expect(numbers).toContain(reused[0].fd)
      watch(reused[0], EPOLLIN, () => calls.push('reused'))
    }
    watch(first, EPOLLIN, replace(second, 'first'))
    watch(second, EPOLLIN, replace(first, 'second'))
    firstPeer.send(Buffer.from('x'))
    secondPeer.send(Buffer.from('x'))
    await until(() => calls.length > 0)
    await turns(3)
    expect(new Set(calls).size).toBe(1)
    expect(calls).not.toContain('reused')
    reused?.[1].send(Buffer.from('x'))
    await until(() => calls.includes('reused'))
    for (const socket of [first, firstPeer, second, secondPeer, ...(reused ?? [])]) socket.close()
  })

  it('recovers when a descriptor was closed behind its back while a duplicate lives', async () => {
    const [a, b] = Socket.pair()
    const copy = a.dup()
    let calls = 0
    const watching = watch({ fd: a.fd }, EPOLLIN, () => calls++)
    const fd = a.release()
    native.close(fd)
    b.send(Buffer.from('x'))
    // Stopping finds out that the kernel can't remove it any more, and goes on reporting it through the duplicate.
    watching.stop()
    const before = calls
    const [c, d] = Socket.pair()
    let others = 0
    using other = watch(c, EPOLLIN, () => others++)
    await turns(3)
    expect(calls).toBe(before)
    d.send(Buffer.from('x'))
    await until(() => others > 0)
    other.stop()
    for (const open of [b, copy, c, d]) open.close()
  })

  it('loses only what was closed when several descriptors were closed behind its back', async () => {
    const pairs = Array.from({ length: 5 }, () => Socket.pair())
    const copies = pairs.map(([a]) => a.dup().release())
    const [lost, kept] = [copies.slice(0, 2), copies.slice(2)]
    const seen = new Set<number>()
    const watches = copies.map((fd) => watch({ fd }, EPOLLIN, () => seen.add(fd)))
    for (const fd of lost) native.close(fd)
    watches[0]?.stop()
    for (const [, b] of pairs) b.send(Buffer.from('x'))
    await turns(3)
    expect(seen).toEqual(new Set(kept))
    for (const watching of watches) watching.stop()
    for (const fd of kept) native.close(fd)
    closeAll(pairs)
  })

  it('keeps a descriptor from garbage collection, also where another watch came first', async () => {
    const { code, stdout, stderr } = await runModule(
      `
      import { setImmediate } from 'node:timers/promises'
      import { EPOLLIN, Socket, watch } from './index.js'
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

  it('leaves nothing open where Node’s loop takes no more', async () => {
    // The one for all watches is closed a turn after the last of them.
    await turns(3)
    using counter = eventfd()
    const before = openDescriptors()
    const attach = vi.spyOn(native, 'loop_attach').mockReturnValueOnce(-28)
    expect(expectErrno(() => watch(counter, EPOLLIN, () => {}), 'ENOSPC').syscall).toBe('uv_poll_init')
    attach.mockRestore()
    expect(openDescriptors()).toEqual(before)
  })

  it('joins a new descriptor of the number of one that was closed behind its back', async (test) => {
    skipUnless(test, needOneThread())
    const [a, b] = Socket.pair()
    const calls: string[] = []
    watch({ fd: a.fd }, EPOLLIN, () => calls.push('old'))
    const fd = a.release()
    native.close(fd)
    const again = Socket.pair()
    expect(again[0].fd).toBe(fd)
    watch(again[0], EPOLLIN, () => calls.push('new'))
    again[1].send(Buffer.from('x'))
    await until(() => calls.length > 0)
    expect(new Set(calls)).toEqual(new Set(['new']))
    for (const socket of [b, ...again]) socket.close()
  })

  it('ends when its descriptor is closed, in the middle of its own callback too', async () => {
    const [a, b] = Socket.pair()
    let calls = 0
    const watching = watch(a, EPOLLIN, () => {
      calls++
      a.close()
    })
    b.send(Buffer.from('x'))
    await until(() => calls > 0)
    await turns(3)
    expect(calls).toBe(1)
    watching.update(EPOLLOUT)
    watching.stop()
    b.close()
  })

  it('keeps the async context of the one who watches', async () => {
    const storage = new AsyncLocalStorage<string>()
    const [a, b] = Socket.pair()
    const seen: unknown[] = []
    const watches = ['one', 'two'].map((name) =>
      storage.run(name, () => watch(a, EPOLLIN, () => seen.push(storage.getStore()))),
    )
    storage.run('sender', () => b.send(Buffer.from('x')))
    await until(() => seen.length >= 2)
    expect(new Set(seen)).toEqual(new Set(['one', 'two']))
    for (const watching of watches) watching.stop()
    await storage.run('reader', async () => {
      await readable(a)
      expect(storage.getStore()).toBe('reader')
    })
    a.close()
    b.close()
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
  it('resolve when ready, also when it is so already', async () => {
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
    // Once resolved, the signal is let go.
    const later = new AbortController()
    await writable(counter, { signal: later.signal })
    later.abort()
  })

  it('reject with EBADF when the owner closes or releases the descriptor meanwhile', async () => {
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

  it('reject for what can’t be waited for', async () => {
    using file = openFile('/etc/hostname')
    await expect(readable(file)).rejects.toMatchObject({ code: 'EPERM' })
  })

  it('let several wait for one descriptor', async () => {
    const { read, write } = pipe()
    const waiting = Promise.all([readable(read), readable(read), readable(read)])
    writev(write, [Buffer.from('x')])
    await waiting
    read.close()
    write.close()
  })
})

describe('the process', () => {
  it.each([
    ['a watch keeps it alive', 'watch(a, EPOLLIN, () => {})', false],
    ['an unreferenced watch does not', 'watch(a, EPOLLIN, () => {}).unref()', true],
    ['nor a stopped one', 'watch(a, EPOLLIN, () => {}).stop()', true],
    ['nor one whose descriptor is closed', '(watch(a, EPOLLIN, () => {}), a.close())', true],
    ['a referenced one does again', 'watch(a, EPOLLIN, () => {}).unref().unref().ref().ref()', false],
    ['one of two is enough', '(watch(a, EPOLLIN, () => {}).unref(), watch(b, EPOLLIN, () => {}))', false],
    ['waiting keeps it alive', 'readable(a)', false],
    ['waiting in vain does not', '(readable(a, { signal: AbortSignal.abort() }).catch(() => {}))', true],
  ])('%s', async (_name, expression, ends) => {
    const { stdout, stderr } = await runModule(`
      import { EPOLLIN, readable, Socket, watch } from './index.js'
      const [a, b] = Socket.pair()
      globalThis.kept = [a, b, ${expression}]
      // Runs only when something else keeps the process alive.
      let turn = 0
      const look = () => {
        if (++turn < 5) return setTimeout(look, 20).unref()
        console.log('alive')
        process.exit()
      }
      setTimeout(look, 20).unref()
    `)
    expect({ stdout, stderr }).toEqual({ stdout: ends ? '' : 'alive\n', stderr: '' })
  })

  it('gets what a callback throws as an uncaught exception, and other watches go on', async () => {
    const { code, stdout, stderr } = await runModule(`
      import { EPOLLIN, eventfd, watch } from './index.js'
      const caught = []
      process.on('uncaughtException', (error, origin) => caught.push(error.message + ' ' + origin))
      const calls = []
      const counters = [0, 1, 2].map(() => eventfd(1))
      const watches = counters.map((counter, i) => watch(counter, EPOLLIN, () => {
        calls.push(i)
        watches[i].stop()
        if (i !== 2) throw new Error('from ' + i)
      }))
      process.on('exit', () => console.log(JSON.stringify({ caught, calls })))
    `)
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
    expect(JSON.parse(stdout)).toEqual({
      caught: ['from 0 uncaughtException', 'from 1 uncaughtException'],
      calls: [0, 1, 2],
    })
  })

  it('does not keep other watches from their events by one that always throws', async () => {
    const { code, stdout, stderr } = await runModule(`
      import { EPOLLIN, eventfd, watch } from './index.js'
      let caught = 0
      process.on('uncaughtException', () => caught++)
      const [first, second] = [eventfd(1), eventfd(1)]
      watch(first, EPOLLIN, () => { throw new Error('first') })
      let [same, other] = [0, 0]
      watch(first, EPOLLIN, () => same++)
      watch(second, EPOLLIN, () => other++)
      setTimeout(() => {
        console.log(caught > 0, same > 0, other > 0)
        process.exit()
      }, 50)
    `)
    expect({ code, stdout, stderr }).toEqual({ code: 0, stdout: 'true true true\n', stderr: '' })
  })

  it('ends with what a callback throws when nobody catches it', async () => {
    const { code, stderr } = await runModule(`
      import { EPOLLIN, eventfd, watch } from './index.js'
      watch(eventfd(1), EPOLLIN, () => { throw new Error('nobody catches this') })
    `)
    expect(code).toBe(1)
    expect(stderr).toContain('nobody catches this')
  })

  it('does not spin on a descriptor closed behind its back', async () => {
    const { code, stdout, stderr } = await runModule(`
      import { closeSync } from 'node:fs'
      import { EPOLLIN, Socket, watch } from './index.js'
      const [a, b] = Socket.pair()
      const copy = a.dup()
      const watching = watch({ fd: a.fd }, EPOLLIN, () => {})
      closeSync(a.release())
      b.send(Buffer.from('x'))
      watching.stop()
      setTimeout(() => {
        const { user, system } = process.cpuUsage(start)
        console.log((user + system) < 100_000)
        // Only now: until here both are in use, and not garbage.
        copy.close()
        b.close()
        process.exit()
      }, 300)
      const start = process.cpuUsage()
    `)
    expect({ code, stdout, stderr }).toEqual({ code: 0, stdout: 'true\n', stderr: '' })
  })

  it('opens one epoll descriptor for all watches of a thread', async () => {
    const { stdout } = await runModule(`
      import { readdirSync, readlinkSync } from 'node:fs'
      import { EPOLLIN, Socket, watch } from './index.js'
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

function first(target: { readonly fd: number }, events: number): Promise<number> {
  return new Promise((resolve) => {
    const watching = watch(target, events, (ready) => {
      watching.stop()
      resolve(ready)
    })
  })
}

async function turns(count: number): Promise<void> {
  for (let turn = 0; turn < count; turn++) await setImmediate()
}

async function until(condition: () => boolean): Promise<void> {
  const deadline = Date.now() + 4000
  while (!condition()) {
    if (Date.now() > deadline) throw new Error('in vain')
    await setImmediate()
  }
}

function closeAll(pairs: readonly (readonly Socket[])[]): void {
  for (const socket of pairs.flat()) socket.close()
}
