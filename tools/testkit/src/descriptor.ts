import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readdirSync, readFileSync, readlinkSync } from 'node:fs'
import { createServer } from 'node:net'
import { setImmediate, setTimeout } from 'node:timers/promises'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { isMainThread } from 'node:worker_threads'
import { beforeAll, beforeEach, expect } from 'vitest'

/** An entry of /proc/self/fd. */
export interface OpenDescriptor {
  readonly fd: number
  /** The target of the link in /proc: a path, `socket:[4711]`, `anon_inode:[eventpoll]`, … */
  readonly target: string
}

/** Returns every open descriptor of this process, including those that other threads opened. */
export function openDescriptors(): OpenDescriptor[] {
  return readdirSync('/proc/self/fd').flatMap((name) => {
    try {
      return { fd: Number(name), target: readlinkSync(`/proc/self/fd/${name}`) }
    } catch {
      return [] // the descriptor that readdir itself had open
    }
  })
}

/**
 * Fails every test of this file that does not leave open exactly the descriptors that it found: a test must leak none and
 * close none that isn't its own. Call this once, before anything else in the file, so that the callbacks that tests register
 * with `onTestFinished` run before the descriptors are compared.
 *
 * The runtime gets some ten seconds to close the descriptors that a test has released. Garbage collection is not forced: a
 * descriptor that only a finalizer closes has leaked.
 */
export function guardDescriptors(): void {
  beforeAll(openLazyDescriptors)
  beforeEach(async ({ onTestFinished }) => {
    const before = await settledDescriptors()
    onTestFinished(async () => {
      let difference = compare(before, descriptorSet())
      for (let delay = 1; delay < 8000 && !isEmpty(difference); delay *= 2) {
        await setTimeout(delay)
        difference = compare(before, descriptorSet())
      }
      expect(difference, 'descriptors after the test, compared with before').toEqual(SAME)
    })
  })
}

/** Fails unless the descriptor has `FD_CLOEXEC`. */
export function expectCloexec(fd: number | { readonly fd: number }): void {
  expect(statusFlags(fd) & O_CLOEXEC, 'FD_CLOEXEC').toBe(O_CLOEXEC)
}

/** Fails unless the descriptor has `O_NONBLOCK`. */
export function expectNonBlocking(fd: number | { readonly fd: number }): void {
  expect(statusFlags(fd) & O_NONBLOCK, 'O_NONBLOCK').toBe(O_NONBLOCK)
}

/** Collects garbage, then waits one turn of the event loop so that finalizers run. */
export async function collectGarbage(): Promise<void> {
  setFlagsFromString('--expose-gc')
  runInNewContext('gc')()
  await setImmediate()
}

const O_NONBLOCK = 0o4000
const O_CLOEXEC = 0o2000000

/** The kernel shows the close-on-exec flag among the status flags, although it is a descriptor flag. */
function statusFlags(fd: number | { readonly fd: number }): number {
  const info = readFileSync(`/proc/self/fdinfo/${typeof fd === 'number' ? fd : fd.fd}`, 'utf8')
  return Number.parseInt(/^flags:\s*(\d+)$/m.exec(info)?.[1] ?? '', 8)
}

interface Difference {
  readonly opened: string[]
  readonly closed: string[]
}

const SAME: Difference = { opened: [], closed: [] }

function isEmpty({ opened, closed }: Difference): boolean {
  return opened.length === 0 && closed.length === 0
}

function compare(before: Set<string>, after: Set<string>): Difference {
  return {
    opened: [...after].filter((descriptor) => !before.has(descriptor)),
    closed: [...before].filter((descriptor) => !after.has(descriptor) && !isServersOwn(descriptor)),
  }
}

/** In a Worker the process is vitest's own, and its main thread may read source files at any time. */
function isServersOwn(descriptor: string): boolean {
  return !isMainThread && descriptor.includes(' → /') && !descriptor.includes(' → /dev/')
}

/** Returns the descriptors once two readings, one turn of the event loop apart, are equal. */
async function settledDescriptors(): Promise<Set<string>> {
  let last = descriptorSet()
  for (let look = 0; look < 100; look++) {
    await setTimeout(1)
    const next = descriptorSet()
    if (isEmpty(compare(last, next))) return next
    last = next
  }
  return last
}

function descriptorSet(): Set<string> {
  return new Set(openDescriptors().map(({ fd, target }) => `${fd} → ${target}`))
}

/** Has libuv open the descriptors that a loop opens at first use and keeps: a spare one for accept, a pipe for signals. */
async function openLazyDescriptors(): Promise<void> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  server.close()
  await once(server, 'close')
  await once(spawn('true'), 'close')
}
