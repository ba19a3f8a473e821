import { constants } from 'node:os'
import { getSystemErrorMap } from 'node:util'
import { runPython } from '@linux-sockets/testkit'
import { describe, expect, it } from 'vitest'
import { errno, errnoName, errnoText } from '../src/index.js'

describe('errno', () => {
  it('agrees with Python’s errno, which is the C library’s', async () => {
    const script = 'import errno, json; print(json.dumps({n: getattr(errno, n) for n in dir(errno) if n[0] == "E"}))'
    const theirs: Record<string, number> = JSON.parse(await runPython(script))
    for (const [name, number] of Object.entries(theirs)) {
      // Two names for one number, of which Node has one, and a name of QNX.
      if (['EWOULDBLOCK', 'EOPNOTSUPP', 'EDEADLOCK'].includes(name)) {
        expect(errnoName(number), name).toBeDefined()
        continue
      }
      expect(errno[name as keyof typeof errno], name).toBe(number)
    }
    for (const [name, number] of Object.entries(errno)) {
      if (name in theirs) expect(theirs[name]).toBe(number)
    }
  })

  it('agrees with Node’s names and numbers', () => {
    const nodes = constants.errno as Record<string, number>
    for (const [name, number] of Object.entries(errno)) if (name in nodes) expect(nodes[name], name).toBe(number)
    for (const [negative, [name]] of getSystemErrorMap()) {
      const known = errnoName(-negative)
      if (known !== undefined) expect(known, name).toBe(name)
    }
  })

  it('has every number once, except the two that Linux leaves out', () => {
    const numbers = Object.values(errno).toSorted((a, b) => a - b)
    const all = Array.from({ length: 133 }, (_, i) => i + 1).filter((number) => number !== 41 && number !== 58)
    expect(numbers).toEqual(all)
  })

  it('has the ones that Node lacks', () => {
    expect(errno.EINPROGRESS).toBe(115)
    expect(errno.ETOOMANYREFS).toBe(109)
    expect(errno.ETIME).toBe(62)
  })
})

it('errnoName and errnoText know every number, and are undefined for others', () => {
  for (const [name, number] of Object.entries(errno)) {
    expect(errnoName(number)).toBe(name)
    expect(errnoText(number)).toMatch(/^[a-zA-Z.].*[^.]$/)
  }
  for (const number of [0, -1, 41, 58, 134, 4095]) {
    expect(errnoName(number)).toBe(undefined)
    expect(errnoText(number)).toBe(undefined)
  }
})
