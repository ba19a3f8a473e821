/** Communication with the benchmark of a program that needs no load from another one; native/drive.c does the same. */
import process from 'node:process'
import { createInterface } from 'node:readline'

/**
 * For each line `WARM SECONDS`, works that long and prints the result. `workUntil` is given the time to end at, on the clock of
 * `performance.now()`, and returns how often it did its work.
 */
export async function drive(workUntil: (end: number) => number | Promise<number>): Promise<void> {
  say({})
  for await (const question of createInterface({ input: process.stdin })) {
    const [warm, seconds] = question.split(' ').map(Number) as [number, number]
    await workUntil(performance.now() + warm * 1000)
    const before = process.cpuUsage()
    const started = performance.now()
    const requests = await workUntil(started + seconds * 1000)
    const took = (performance.now() - started) / 1000
    const { user, system } = process.cpuUsage(before)
    say({ seconds: took, requests, bytes: 0, cpu: (user + system) * 1000, user, system })
  }
  process.exit(0)
}

/** Keeps `count` calls of `task` under way until `end`, and returns how many have completed. */
export async function atATime(count: number, end: number, task: () => Promise<void>): Promise<number> {
  let done = 0
  const work = async () => {
    while (performance.now() < end) {
      await task()
      done++
    }
  }
  await Promise.all(Array.from({ length: count }, work))
  return done
}

function say(answer: object): void {
  process.stdout.write(`${JSON.stringify(answer)}\n`)
}
