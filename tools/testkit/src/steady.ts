import { performance } from 'node:perf_hooks'

/**
 * Runs `test`, which holds only while this thread is not kept from running for `most` milliseconds at a time. If it fails
 * although the thread ran steadily, `inSteadyTime` throws its error. Otherwise the failure proves nothing, and the test is
 * run again, ten times at most.
 */
export async function inSteadyTime(most: number, test: () => Promise<void>): Promise<void> {
  for (let attempt = 1; ; attempt++) {
    let [last, longest] = [performance.now(), 0]
    const look = () => {
      const now = performance.now()
      longest = Math.max(longest, now - last)
      last = now
    }
    const timer = setInterval(look, 1)
    try {
      return await test()
    } catch (error) {
      look()
      if (longest < most || attempt === 10) throw error
    } finally {
      clearInterval(timer)
    }
  }
}
