import { readFileSync } from 'node:fs'
import {
  expectErrno,
  guardDescriptors,
  needRoot,
  runPython,
  skipUnless,
  spawnProgram,
  waitForLine,
} from '@linux-sockets/testkit'
import { describe, expect, it } from 'vitest'
import { effectiveBacklog, getResourceLimit, setResourceLimit } from '../src/index.js'
import { compileSources, runModule } from './outside.js'

guardDescriptors()
compileSources()

const number = (text: string) => (text === 'unlimited' ? Number.POSITIVE_INFINITY : Number(text))

/** A limit of this process, as /proc reports it. */
function proc(name: string): { soft: number; hard: number } {
  const [, soft, hard] =
    new RegExp(`^${name} +(\\S+) +(\\S+)`, 'm').exec(readFileSync('/proc/self/limits', 'utf8')) ?? []
  return { soft: number(soft as string), hard: number(hard as string) }
}

describe('getResourceLimit', () => {
  it.each([
    ['Max open files', undefined],
    ['Max open files', 7],
    ['Max cpu time', 0],
    ['Max core file size', 4],
    ['Max processes', 6],
    ['Max address space', 9],
  ])('%s is what /proc says', (name, resource) => {
    expect(getResourceLimit(resource)).toEqual(proc(name))
  })

  it('throws EINVAL for an unknown resource', () => {
    expectErrno(() => getResourceLimit(99), 'EINVAL')
    expect(() => getResourceLimit(-1)).toThrow(RangeError)
    expect(() => getResourceLimit(Number.NaN)).toThrow(TypeError)
  })
})

describe('setResourceLimit', () => {
  // In processes of their own: a limit applies to the whole process.
  it('sets the soft limit, keeps what is left out, and raises it again', async () => {
    const { stdout, stderr } = await runModule(`
      import { getResourceLimit, raiseDescriptorLimit, setResourceLimit } from './everything.js'
      const { hard } = getResourceLimit()
      setResourceLimit({ soft: 100 })
      console.log(JSON.stringify(getResourceLimit()) === JSON.stringify({ soft: 100, hard }))
      console.log(raiseDescriptorLimit() === hard, getResourceLimit().soft === hard)
      setResourceLimit({ soft: 50, hard: 60 })
      console.log(JSON.stringify(getResourceLimit()))
      setResourceLimit({})
      setResourceLimit({ soft: 0 }, 4)
      console.log(getResourceLimit(4).soft)
      try { setResourceLimit({ soft: 61 }) } catch ({ code }) { console.log(code) }
    `)
    expect({ stdout, stderr }).toEqual({
      stdout: 'true\ntrue true\n{"soft":50,"hard":60}\n0\nEINVAL\n',
      stderr: '',
    })
  })

  it('removes a limit', async (test) => {
    skipUnless(test, needRoot())
    const RLIMIT_CORE = 4
    const { stdout } = await runModule(`
      import { getResourceLimit, setResourceLimit } from './everything.js'
      setResourceLimit({ soft: Infinity, hard: Infinity }, ${RLIMIT_CORE})
      const { soft, hard } = getResourceLimit(${RLIMIT_CORE})
      console.log(soft, hard)
    `)
    expect(stdout).toBe('Infinity Infinity\n')
  })

  it.each([
    [{ soft: -1 }, RangeError],
    [{ soft: 1.5 }, RangeError],
    [{ soft: 2 ** 53 }, RangeError],
    [{ hard: Number.NaN }, TypeError],
    [{ soft: '1' }, TypeError],
    [{ soft: 1n }, TypeError],
  ])('refuses %o', (limit, type) => {
    const before = getResourceLimit()
    expect(() => setResourceLimit(limit as never)).toThrow(type)
    expect(getResourceLimit()).toEqual(before)
  })
})

describe('effectiveBacklog', () => {
  const somaxconn = Number(readFileSync('/proc/sys/net/core/somaxconn', 'utf8'))

  it('is lowered to net.core.somaxconn', () => {
    expect(effectiveBacklog(somaxconn + 1)).toBe(somaxconn)
    expect(effectiveBacklog()).toBe(Math.min(4096, somaxconn))
    expect(effectiveBacklog(5)).toBe(5)
    expect(effectiveBacklog(0)).toBe(0)
    expect(effectiveBacklog(-1)).toBe(somaxconn)
  })

  it('is what the kernel uses', async () => {
    const listening = spawnProgram('python3', [
      '-u',
      '-c',
      `
import socket, time
s = socket.socket(socket.AF_INET6)
s.bind(('::1', 0)); s.listen(${somaxconn + 1000}); print(s.getsockname()[1]); time.sleep(60)`,
    ])
    const port = await waitForLine(listening, /^\d+$/)
    const script = `import subprocess
print(subprocess.run(['ss', '-Hltn', 'sport = :${port}'], capture_output=True, text=True).stdout)`
    const out = await runPython(script).catch(() => '')
    if (out.trim() === '') return console.warn('not compared with the kernel: ss is not installed')
    expect(Number(out.trim().split(/\s+/)[2])).toBe(effectiveBacklog(somaxconn + 1000))
  })
})
