// Opens connections of every kind and in every manner for a while, compares every byte, and then looks for leaks:
// `node dist/soak.js [--seconds N]`. The exit code is 0 if there were no failures.
import { parseArgs } from 'node:util'
import { moreThan, openKinds } from './descriptors.js'
import { growthOf, reachableBytes, type Sample, slopeOf } from './heap.js'
import { manners, openPlaces, visit } from './visits.js'

const { values } = parseArgs({ options: { seconds: { type: 'string', default: '60' } } })
const seconds = Number(values.seconds)
if (!(seconds >= 1)) throw new RangeError('--seconds must be 1 or more')

/** At the end of each round all connections are closed, and the descriptors and the heap are compared. */
const ROUNDS = 12
const AT_A_TIME = 40

const start = performance.now()
const counts = new Map<string, number>()
const failures: string[] = []
const samples: Sample[] = []
const places = await openPlaces(fail)
let visits = 0
let atRest: ReadonlyMap<string, number> | undefined

for (let round = 1; round <= ROUNDS && failures.length === 0; round++) {
  const end = start + (1000 * seconds * round) / ROUNDS
  await Promise.all(Array.from({ length: AT_A_TIME }, () => visitUntil(end)))
  const left = await rest()
  if (left.length > 0) fail(`after round ${round} there are more descriptors than at first: ${left.join(', ')}`)
  // The first round creates what stays: compiled code, pools, an epoll instance.
  if (round > 1) samples.push({ visits, bytes: await reachableBytes() })
}
// Connections of visits that failed may still be open.
if (failures.length > 0) process.exit(1)
await places.close()

for (const [kind, count] of [...counts].sort()) console.log(`${`${count}`.padStart(9)}  ${kind}`)
console.log(`${`${visits}`.padStart(9)}  in all, in ${((performance.now() - start) / 1000).toFixed(0)} s`)
const heap = samples.at(-1)?.bytes ?? 0
console.log(`a heap of ${(heap / 1e6).toFixed(1)} MB, ${slopeOf(samples).toFixed(1)} bytes more with each visit`)
const growth = growthOf(samples)
if (growth !== undefined) fail(growth)
if (failures.length > 0) process.exitCode = 1

function fail(what: string): void {
  console.error(`✗ ${what}`)
  failures.push(what)
}

/** Rejects a visit that takes a minute; a visit normally takes some milliseconds. */
async function inTime(visiting: Promise<void>): Promise<void> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error('the visit does not end')), 60_000)
  })
  await Promise.race([visiting, late]).finally(() => clearTimeout(timer))
}

async function visitUntil(end: number): Promise<void> {
  while (performance.now() < end && failures.length === 0) {
    const manner = pick(manners)
    const way = pick(places.ways)
    try {
      await inTime(visit(way, manner))
    } catch (error) {
      fail(`${way.name}, ${manner}: ${error instanceof Error ? error.stack : error}`)
    }
    const kind = `${way.name}, ${manner}`
    counts.set(kind, (counts.get(kind) ?? 0) + 1)
    visits++
  }
}

/** Waits until all connections are closed, and returns the kinds of descriptors that are more than after the first round. */
async function rest(): Promise<string[]> {
  let left: string[] = []
  for (const end = performance.now() + 30_000; performance.now() < end; ) {
    await new Promise((resolve) => setTimeout(resolve, 20))
    if (places.open() > 0) {
      left = [`${places.open()} × connection`]
      continue
    }
    const kinds = openKinds()
    atRest ??= kinds
    left = moreThan(atRest, kinds)
    if (left.length === 0) return []
  }
  return left
}

function pick<T>(all: readonly T[]): T {
  return all[Math.floor(Math.random() * all.length)] as T
}
