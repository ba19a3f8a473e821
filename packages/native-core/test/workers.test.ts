import { once } from 'node:events'
import { readdirSync, readFileSync } from 'node:fs'
import { setTimeout } from 'node:timers/promises'
import { guardDescriptors, openDescriptors } from '@linux-sockets/testkit'
import { expect, it } from 'vitest'
import { compileSources, runModule, startWorker } from './outside.js'

guardDescriptors()
compileSources()

/** A Worker that holds, when it is terminated, sockets, watches that fire all the time, promises, lookups, epolls. */
const holding = `
  const { EPOLLIN, EPOLLOUT, epollControl, epollCreate, eventfd, pipe, readable, Socket, watch, lookupAddresses } = core
  const pairs = Array.from({ length: 5 }, () => Socket.pair())
  let events = 0
  for (const [a, b] of pairs) {
    watch(a, EPOLLOUT, () => events++)
    watch(b, EPOLLIN, () => {})
    readable(b)
  }
  const counter = eventfd(1)
  watch(counter, EPOLLIN, () => events++)
  const { read, write } = pipe()
  readable(read)
  const epoll = epollCreate()
  epollControl(epoll, 1, counter, EPOLLIN)
  watch(epoll, EPOLLIN, () => events++)
  write.dup()
  lookupAddresses({ node: '127.0.0.1', service: null })
  globalThis.kept = { pairs, counter, read, write, epoll }
  parentPort.postMessage('holding')
  const busy = () => { if (events < 1e9) setImmediate(busy) }
  busy()
`

it('500 Workers, terminated while they hold sockets and watches, leave nothing behind', {
  timeout: 900_000,
}, async () => {
  await terminateOne()
  const before = await settled()
  let started = 0
  const lane = async () => {
    while (started < 500) {
      started++
      await terminateOne()
    }
  }
  await Promise.all(Array.from({ length: 4 }, lane))
  const deadline = Date.now() + 60_000
  let after = look()
  while (JSON.stringify(after) !== JSON.stringify(before) && Date.now() < deadline) {
    await setTimeout(20)
    after = look()
  }
  expect(after).toEqual(before)
})

it('Workers terminated before or while they start leave nothing behind', async () => {
  // In a process of its own: Node itself forgets the source files that a terminated Worker was reading.
  const { code, stdout, stderr } = await runModule(`
    import { readdirSync, readlinkSync } from 'node:fs'
    import { setTimeout } from 'node:timers/promises'
    import { isMainThread, parentPort, Worker } from 'node:worker_threads'
    import * as core from './everything.js'
    const look = () => readdirSync('/proc/self/fd').map((fd) => {
      try { return readlinkSync('/proc/self/fd/' + fd) } catch { return '/' }
    }).filter((target) => !target.startsWith('/')).toSorted().join()
    if (isMainThread) {
      await new Worker('', { eval: true }).terminate()
      const before = look()
      for (let i = 0; i < 40; i++) {
        const worker = new Worker(new URL(import.meta.url))
        // From at once to well after the first watch.
        if (i % 4 > 0) await new Promise((resolve) => worker.once('online', resolve))
        await setTimeout(i)
        await worker.terminate()
      }
      for (let i = 0; i < 1000 && look() !== before; i++) await setTimeout(20)
      console.log(look() === before ? 'nothing left' : look())
      process.exit()
    } else {
      ${holding}
    }
  `)
  expect({ code, stdout }, stderr).toEqual({ code: 0, stdout: 'nothing left\n' })
})

it('a Worker that ends by itself, or by process.exit, or by an exception, leaves nothing behind', async () => {
  const before = openDescriptors().length
  for (const end of ['', 'process.exit(0)', 'throw new Error("end")', 'parentPort.close()']) {
    const { worker, exit } = startWorker(`
      const [a, b] = core.Socket.pair()
      globalThis.kept = [a, b, core.watch(a, core.EPOLLIN, () => {}).unref()]
      ${end}
    `)
    worker.on('error', () => {})
    await exit
  }
  expect(openDescriptors().length).toBe(before)
})

it('Workers each have a loop of their own', async () => {
  const workers = Array.from({ length: 4 }, () =>
    startWorker(`
      const [a, b] = core.Socket.pair()
      let calls = 0
      const watching = core.watch(a, core.EPOLLIN, () => {
        a.recv(Buffer.alloc(1))
        if (++calls === 1000) {
          watching.stop()
          a.close()
          b.close()
          parentPort.postMessage(calls)
        } else b.send(Buffer.from('x'))
      })
      b.send(Buffer.from('x'))
    `),
  )
  expect(await Promise.all(workers.map(async ({ worker }) => (await once(worker, 'message'))[0]))).toEqual([
    1000, 1000, 1000, 1000,
  ])
  await Promise.all(workers.map(({ exit }) => exit))
})

async function terminateOne(): Promise<void> {
  const { worker, exit } = startWorker(holding)
  await once(worker, 'message')
  await worker.terminate()
  await exit
}

interface Look {
  readonly descriptors: string[]
  readonly threads: number
}

function look(): Look {
  return {
    descriptors: openDescriptors().map(({ fd, target }) => `${fd} ${target}`),
    threads: readdirSync('/proc/self/task').length,
  }
}

/** Waits until two counts agree: resolver threads end by themselves some time after their last work. */
async function settled(): Promise<Look> {
  let last = look()
  for (let i = 0; i < 100; i++) {
    await setTimeout(50)
    const next = look()
    if (JSON.stringify(next) === JSON.stringify(last)) return next
    last = next
  }
  throw new Error(`unsettled: ${readFileSync('/proc/self/status', 'utf8')}`)
}
