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
  /** What it is open on: a path, `socket:[4711]`, `anon_inode:[eventpoll]`, … */
  readonly target: string
}

/** Every open descriptor of this process, of all its threads. */
export function openDescriptors(): OpenDescriptor[] {
  return readdirSync('/proc/self/fd').flatMap((name) => {
    try {
      return { fd: Number(name), target: readlinkSync(`/proc/self/fd/${name}`) }
    } catch {
      return [] // the one that readdir itself had open
    }
  })
}

/**
 * Every test of this file must leave exactly the descriptors open that it found: none leaked, and none closed that
 * wasn't its own. Call it once, first thing in the file, so that what tests register with `onTestFinished` runs before
 * the descriptors are looked at.
 *
 * The runtime gets two seconds to close what a test has let go of. It isn't made to collect garbage: a descriptor that
 * only a finalizer closes has leaked.
 */
export function guardDescriptors(): void {
  beforeAll(openLazyDescriptors)
  beforeEach(async ({ onTestFinished }) => {
    const before = await settledDescriptors()
    onTestFinished(async () => {
      let difference = compare(before, descriptorSet())
      for (let delay = 1; delay < 2000 && !isEmpty(difference); delay *= 2) {
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

/** Collects garbage and lets finalizers run, which takes them a turn of the loop. */
export async function collectGarbage(): Promise<void> {
  setFlagsFromString('--expose-gc')
  runInNewContext('gc')()
  await setImmediate()
}

const O_NONBLOCK = 0o4000
const O_CLOEXEC = 0o2000000

/** The kernel shows the close-on-exec mark among the status flags, though it isn't one. */
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

/** In a Worker the process is vitest's own, whose main thread reads source files whenever it likes. */
function isServersOwn(descriptor: string): boolean {
  return !isMainThread && descriptor.includes(' → /') && !descriptor.includes(' → /dev/')
}

/** The descriptors, once two looks a turn apart agree. */
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

/** libuv opens some descriptors when a loop first needs them, and keeps them: a spare one for accept, a pipe for signals. */
async function openLazyDescriptors(): Promise<void> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  server.close()
  await once(server, 'close')
  await once(spawn('true'), 'close')
}
