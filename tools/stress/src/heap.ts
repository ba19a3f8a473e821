import { setImmediate } from 'node:timers/promises'

export interface Sample {
  readonly visits: number
  readonly bytes: number
}

/** A growth of more **bytes** per visit is a leak. The smallest thing that code could fail to release takes about 100. */
const LEAK = 64
/** **Bytes** that the heap may grow by, whatever the number of visits. */
const NOISE = 1 << 20

/** Returns the size in **bytes** of the reachable heap, after garbage collections, which need `--expose-gc`. */
export async function reachableBytes(): Promise<number> {
  if (global.gc === undefined) throw new Error('measuring the heap needs node --expose-gc')
  // Finalizers run between the turns of the event loop, and release more memory.
  for (let i = 0; i < 3; i++) {
    global.gc()
    await setImmediate()
  }
  const { heapUsed, external } = process.memoryUsage()
  return heapUsed + external
}

/** Returns an error message if the heap grows with the number of visits. */
export function growthOf(samples: readonly Sample[]): string | undefined {
  const slope = slopeOf(samples)
  const all = slope * ((samples.at(-1)?.visits ?? 0) - (samples[0]?.visits ?? 0))
  if (slope <= LEAK || all <= NOISE) return undefined
  return `the heap grows by ${slope.toFixed(0)} bytes with each visit, ${(all / 1e6).toFixed(1)} MB in all`
}

/** Returns **bytes** per visit by Theil–Sen: the median slope of all pairs of samples, which a single outlier doesn't move. */
export function slopeOf(samples: readonly Sample[]): number {
  const slopes = samples.flatMap((one, i) =>
    samples
      .slice(i + 1)
      .filter(({ visits }) => visits > one.visits)
      .map((other) => (other.bytes - one.bytes) / (other.visits - one.visits)),
  )
  return slopes.sort((a, b) => a - b)[slopes.length >> 1] ?? 0
}
