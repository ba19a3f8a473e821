import { readFileSync } from 'node:fs'
import type { Case } from './case.js'
import type { Contender } from './contender.js'
import { compile } from './directory.js'
import { processors } from './processors.js'
import { Program } from './program.js'

/** One round of one contender, as native/load.c reports it. */
export interface Round {
  readonly seconds: number
  readonly requests: number
  /** Received by the load. */
  readonly bytes: number
  /** **Nanoseconds** of the server's CPU time. */
  readonly cpu: number
  /** Clock ticks in which the server was seen in user mode, and in the kernel. */
  readonly user: number
  readonly system: number
  /** **Nanoseconds.** */
  readonly p50: number
  readonly p99: number
  readonly p999: number
  readonly max: number
  readonly memory?: Memory
}

/** **Bytes** for each idle connection. */
export interface Memory {
  /** The process's, as the kernel sees it: its proportional set size. */
  readonly pss: number
  /** Used by JavaScript objects, and by what they own outside of V8's heap. */
  readonly javascript?: number
  /** Anonymous memory that isn't V8's heap. */
  readonly native?: number
}

/** What a contender did in all rounds of a case, or why it couldn't. */
export type Outcome = { readonly rounds: Round[] } | { readonly failure: string }

export interface Settings {
  readonly rounds: number
  /** Of each measurement, and of the warm-up before it. */
  readonly seconds: number
  readonly warm: number
  readonly progress: (text: string) => void
}

/** Measures a case: all servers are started and warmed up, then the rounds go through them in turns. */
export async function measure(
  one: Case,
  servers: readonly Contender[],
  settings: Settings,
): Promise<Map<string, Outcome>> {
  const { server: processor } = processors()
  const outcomes = new Map<string, Outcome>()
  const running = new Map<Contender, { program: Program; port: number }>()
  const attempt = async (contender: Contender, task: () => Promise<void>) => {
    try {
      await task()
    } catch (error) {
      outcomes.set(contender.name, { failure: (error as Error).message })
      await running.get(contender)?.program[Symbol.asyncDispose]()
      running.delete(contender)
    }
  }
  try {
    for (const contender of servers) {
      await attempt(contender, async () => {
        const [command, ...args] = contender.command(one.mode) as [string, ...string[]]
        const program = new Program(contender.name, processor, command, args)
        running.set(contender, { program, port: 0 })
        const { port } = await program.answer<{ port: number }>()
        running.set(contender, { program, port })
        outcomes.set(contender.name, { rounds: [] })
        settings.progress(`${contender.name} warms up`)
        // Compilers in the runtimes need some thousand calls, and a second, before they are done.
        await round(one, program, port, { seconds: settings.seconds, warm: settings.warm * 2 })
      })
    }
    for (let i = 0; i < settings.rounds; i++) {
      for (const [contender, { program, port }] of [...running]) {
        await attempt(contender, async () => {
          settings.progress(`round ${i + 1} of ${settings.rounds}: ${contender.name}`)
          const outcome = outcomes.get(contender.name) as { rounds: Round[] }
          outcome.rounds.push(await round(one, program, port, settings, contender.tells))
        })
      }
    }
  } finally {
    for (const { program } of running.values()) await program[Symbol.asyncDispose]()
  }
  return outcomes
}

async function round(
  one: Case,
  server: Program,
  port: number,
  { seconds, warm }: Pick<Settings, 'seconds' | 'warm'>,
  tells = false,
): Promise<Round> {
  const settings = { ...one.load, port, pid: server.pid, seconds, warm }
  const args = Object.entries(settings).map(([name, value]) => `${name}=${value}`)
  const before = one.memory ? await memoryOf(server, tells) : undefined
  await using load = new Program('the load', processors().load, compile('load'), args)
  const { open } = await load.answer<{ open: number }>()
  const memory = before && perConnection(before, await memoryOf(server, tells), open)
  const result = await load.ask<Round>('go', (seconds + warm) * 1000 + 30_000)
  return { ...result, ...(memory && { memory }) }
}

interface Footprint {
  readonly pss: number
  readonly anonymous: number
  readonly told?: { readonly heapUsed: number; readonly heapTotal: number; readonly external: number }
}

async function memoryOf(server: Program, tells: boolean): Promise<Footprint> {
  const told = tells ? await server.ask<NonNullable<Footprint['told']>>('memory') : undefined
  const map = readFileSync(`/proc/${server.pid}/smaps_rollup`, 'utf8')
  const kilobytes = (name: string) => Number(new RegExp(`^${name}:\\s*(\\d+) kB`, 'm').exec(map)?.[1]) * 1024
  return { pss: kilobytes('Pss'), anonymous: kilobytes('Anonymous'), ...(told && { told }) }
}

function perConnection(before: Footprint, after: Footprint, connections: number): Memory {
  const pss = (after.pss - before.pss) / connections
  if (before.told === undefined || after.told === undefined) return { pss }
  const { heapUsed, heapTotal, external } = after.told
  return {
    pss,
    javascript: (heapUsed + external - before.told.heapUsed - before.told.external) / connections,
    native: (after.anonymous - heapTotal - (before.anonymous - before.told.heapTotal)) / connections,
  }
}
