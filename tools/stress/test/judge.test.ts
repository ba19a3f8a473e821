import { join } from 'node:path'
import { needCompiler, skipUnless } from '@linux-sockets/testkit'
import { describe, expect, it, onTestFinished } from 'vitest'
import { type Fault, judge, type Verdict } from '../src/judge.js'
import { Stage } from '../src/process.js'

const main = join(import.meta.dirname, '../dist/badly.js')
const fault: Fault = { symbol: 'socket', code: 'EMFILE', first: 1, count: 1 }

describe('the judge', () => {
  it.for<[string, Verdict]>([
    ['well', 'well'],
    ['told', 'told'],
    ['missed', 'missed'],
    ['crash', 'crash'],
    ['never settles', 'hang'],
    ['spin', 'spin'],
    ['leak', 'leak'],
    ['forgotten owner', 'leak'],
    ['wrong bytes', 'wrong bytes'],
    ['uncaught', 'uncaught'],
    ['not told', 'not told'],
  ])('says of what meets a fault so, %s: %s', async ([program, verdict], test) => {
    skipUnless(test, needCompiler())
    const stage = new Stage(main)
    onTestFinished(() => stage.close())
    const usual = await stage.run(program, undefined)
    const run = await stage.run(program, fault)
    expect(judge(run, fault, usual)).toEqual({ verdict, detail: expect.any(String) })
    expect(judge(usual, fault, usual).verdict).toBe('missed')
  })

  it('waits for a hanging program as long as the patience lasts', async (test) => {
    skipUnless(test, needCompiler())
    const patient = new Stage(main)
    const stage = new Stage(main, 3000)
    onTestFinished(() => [patient, stage].forEach((each) => void each.close()))
    const usual = await patient.run('hang', undefined)
    expect(judge(await stage.run('hang', fault), fault, usual).verdict).toBe('hang')
  })
})

it('does not fail calls other than the chosen one, nor other symbols', async (test) => {
  skipUnless(test, needCompiler())
  const stage = new Stage(main)
  onTestFinished(() => stage.close())
  const { calls } = await stage.run('well', { ...fault, first: 2 })
  expect(calls.get('socket')).toEqual({ made: 1, failed: 0 })
  const other = await stage.run('told', { ...fault, symbol: 'setsockopt', code: 'ENOBUFS' })
  expect(other.calls.get('socket')).toEqual({ made: 1, failed: 0 })
  expect(other.calls.get('setsockopt')).toEqual({ made: 1, failed: 1 })
  expect(other.report?.told).toEqual(['ENOBUFS'])
})
