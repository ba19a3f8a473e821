import { once } from 'node:events'
import { setImmediate, setTimeout } from 'node:timers/promises'
import { expectErrno, guardDescriptors } from '@linux-sockets/testkit'
import { describe, expect, it } from 'vitest'
import { EPOLL_CTL_ADD, EPOLLIN } from '../../src/constants.js'
import { type Attachment, attachEpoll, EPOLL_EVENT_WORDS, epollControl, epollCreate } from '../../src/epoll/index.js'
import { eventfd, readv, Socket } from '../../src/index.js'
import { compileSources, runModule, startWorker } from '../outside.js'

guardDescriptors()
compileSources()

describe('attachEpoll', () => {
  it('writes the events to the given array until it is stopped', async () => {
    using epoll = epollCreate()
    using counter = eventfd(7)
    epollControl(epoll, EPOLL_CTL_ADD, counter, EPOLLIN, 0xffff_ffff, 2)
    const events = new Uint32Array(2 * EPOLL_EVENT_WORDS)
    const seen: number[][] = []
    const attachment = attachEpoll(epoll, events, (count) => {
      seen.push([count, ...events])
      if (seen.length === 3) readv(counter, [Buffer.alloc(8)])
    })
    attachment.ref()
    while (seen.length < 3) await setImmediate()
    for (let turn = 0; turn < 3; turn++) await setImmediate()
    attachment.stop()
    expect(seen).toEqual(Array(3).fill([1, EPOLLIN, 0xffff_ffff, 2, 0, 0, 0]))
  })

  it('refuses other descriptors, and an array without room for an event', () => {
    using epoll = epollCreate()
    expectErrno(() => attachEpoll({ fd: -1 }, new Uint32Array(3), () => {}), 'EBADF')
    expect(() => attachEpoll(epoll, new Uint32Array(2), () => {})).toThrow(RangeError)
    expect(() => attachEpoll(epoll, new Uint8Array(12) as never, () => {})).toThrow(TypeError)
    expect(() => attachEpoll(epoll, new Uint32Array(3), null as never)).toThrow(TypeError)
  })

  it('is stopped once, and when its instance is closed', async () => {
    const { code, stdout } = await runModule(`
      import { attachEpoll, EPOLLIN, epollCreate, eventfd, watch } from './everything.js'
      const epoll = epollCreate()
      const attachment = attachEpoll(epoll, new Uint32Array(3), () => {})
      attachment.ref()
      epoll.close()
      // A later attachment may have the boundary's handle of the former.
      const counter = eventfd(1)
      const called = new Promise((resolve) => watch(counter, EPOLLIN, resolve))
      attachment.stop()
      attachment.unref()
      attachment.lead(true)
      await called
      console.log('called')
      process.exit()`)
    expect({ code, stdout }).toEqual({ code: 0, stdout: 'called\n' })
  })

  it('reports a detached events array as an error, and survives', async () => {
    const { code, stdout } = await runModule(`
      import { attachEpoll, EPOLL_CTL_ADD, EPOLLIN, epollControl, epollCreate, eventfd } from './everything.js'
      const epoll = epollCreate()
      const counter = eventfd(1)
      epollControl(epoll, EPOLL_CTL_ADD, counter, EPOLLIN)
      const events = new Uint32Array(3)
      const attachment = attachEpoll(epoll, events, () => console.log('never'))
      attachment.ref()
      process.on('uncaughtException', ({ code }) => {
        console.log(code)
        attachment.stop()
      })
      structuredClone(events, { transfer: [events.buffer] })
    `)
    expect({ code, stdout }).toEqual({ code: 0, stdout: 'EINVAL\n' })
  })
})

describe('an attachment that leads', () => {
  /** Two sockets that send a byte to and fro, and the attachment that drives them. */
  function pingPong(): { attachment: Attachment; turns: () => number; close: () => void } {
    const epoll = epollCreate()
    const pair = Socket.pair()
    for (const [i, socket] of pair.entries()) epollControl(epoll, EPOLL_CTL_ADD, socket, EPOLLIN, i)
    const events = new Uint32Array(8 * EPOLL_EVENT_WORDS)
    const byte = Buffer.alloc(1)
    let turns = 0
    const attachment = attachEpoll(epoll, events, (count) => {
      turns++
      for (let i = 0; i < count; i++) {
        const socket = pair[events[i * EPOLL_EVENT_WORDS + 1] as number] as Socket
        if (socket.recv(byte) !== null) socket.send(byte)
      }
    })
    attachment.ref()
    pair[0].send(byte)
    const close = () => {
      attachment.stop()
      for (const owned of [...pair, epoll]) owned.close()
    }
    return { attachment, turns: () => turns, close }
  }

  it('does not disturb Node’s timers, immediates, promises, files and sockets', async () => {
    const { attachment, turns, close } = pingPong()
    attachment.lead(true)
    while (turns() < 10) await setImmediate()
    const before = turns()
    while (turns() < before + 10) await setTimeout(1)
    // An unreferenced immediate, which the loop's timeout doesn't reveal.
    await new Promise<void>((resolve) => void globalThis.setImmediate(resolve).unref())
    const { readFile } = await import('node:fs/promises')
    expect((await readFile('/proc/self/comm')).length).toBeGreaterThan(0)
    const { createServer, connect } = await import('node:net')
    const server = createServer((socket) => socket.end('served')).listen(0, '127.0.0.1')
    await new Promise((resolve) => server.once('listening', resolve))
    const client = connect((server.address() as { port: number }).port, '127.0.0.1')
    let said = ''
    for await (const chunk of client) said += chunk
    expect(said).toBe('served')
    await new Promise((resolve) => server.close(resolve))
    attachment.lead(false)
    for (let turn = 0; turn < 3; turn++) await setImmediate()
    close()
  })

  it('keeps its instance from garbage collection, though nothing else refers to it', async () => {
    const { code, stdout, stderr } = await runModule(
      `
      import { attachEpoll, EPOLL_CTL_ADD, EPOLLIN, epollControl, epollCreate, eventfd, readv } from './everything.js'
      const counter = eventfd()
      const attach = () => {
        const epoll = epollCreate()
        epollControl(epoll, EPOLL_CTL_ADD, counter, EPOLLIN)
        const attachment = attachEpoll(epoll, new Uint32Array(3), () => {
          readv(counter, [Buffer.alloc(8)])
          console.log('still there')
          attachment.stop()
        })
        attachment.ref()
      }
      attach()
      for (let turn = 0; turn < 5; turn++) {
        gc()
        await new Promise(setImmediate)
      }
      const { writev } = await import('./everything.js')
      writev(counter, [Buffer.from(BigUint64Array.of(1n).buffer)])
      `,
      { options: ['--expose-gc'] },
    )
    expect({ code, stdout, stderr }).toMatchObject({ code: 0, stdout: 'still there\n' })
  })

  it('may be ended from within its own turn', async () => {
    using epoll = epollCreate()
    using counter = eventfd(1)
    epollControl(epoll, EPOLL_CTL_ADD, counter, EPOLLIN)
    let turns = 0
    await new Promise<void>((resolve) => {
      const attachment = attachEpoll(epoll, new Uint32Array(3), () => {
        if (++turns < 5) return
        attachment.stop()
        resolve()
      })
      attachment.ref()
      attachment.lead(true)
    })
    for (let turn = 0; turn < 3; turn++) await setImmediate()
    expect(turns).toBe(5)
  })

  it('keeps no process alive once unreferenced, and ends with its Worker', async () => {
    const program = `
      const { attachEpoll, EPOLL_CTL_ADD, EPOLLIN, epollControl, epollCreate, eventfd, readv } = core
      const epoll = epollCreate()
      const counter = eventfd(1)
      epollControl(epoll, EPOLL_CTL_ADD, counter, EPOLLIN)
      const attachment = attachEpoll(epoll, new Uint32Array(3), () => {
        readv(counter, [Buffer.alloc(8)])
        if (workerData === 'unref') attachment.unref()
        parentPort.postMessage('leads')
      })
      attachment.ref()
      attachment.lead(true)`
    const stays = startWorker(program)
    await once(stays.worker, 'message')
    expect(await stays.worker.terminate()).toBe(1)
    const goes = startWorker(program, 'unref')
    expect(await goes.exit).toBe(0)
  })
})
