import { performance } from 'node:perf_hooks'
import { setTimeout } from 'node:timers/promises'
import { expect, it } from 'vitest'
import { inSteadyTime } from '../src/index.js'

it('runs a test that passes once, even if the thread was held up', async () => {
  let runs = 0
  await inSteadyTime(1, async () => {
    runs++
    holdUp(5)
  })
  expect(runs).toBe(1)
})

it('throws at once what a test throws in steady time', async () => {
  let runs = 0
  const failing = inSteadyTime(60_000, async () => {
    runs++
    await setTimeout(5)
    throw new Error('wrong')
  })
  await expect(failing).rejects.toThrow('wrong')
  expect(runs).toBe(1)
})

it.each([
  [1, 'passes'],
  [Number.POSITIVE_INFINITY, 'fails ten times'],
])('repeats a test that fails while the thread is held up %d times', async (times, outcome) => {
  let runs = 0
  const running = inSteadyTime(50, async () => {
    if (++runs > times) return
    holdUp(60)
    throw new Error('late')
  })
  if (outcome === 'passes') await running
  else await expect(running).rejects.toThrow('late')
  expect(runs).toBe(outcome === 'passes' ? 2 : 10)
})

function holdUp(milliseconds: number): void {
  for (const end = performance.now() + milliseconds; performance.now() < end; );
}
