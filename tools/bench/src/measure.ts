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
}

/** **Bytes** for each idle connection, without the kernel's. */
export interface Memory {
  /** The growth of the process as the kernel sees it, what its collector keeps in reserve included. */
  readonly pss: number
  /** Used by JavaScript objects, after a collection. */
  readonly javascript?: number
  /** Anonymous memory that isn't a heap of JavaScript: of C++, and of what buffers hold. */
  readonly native: number
}

/** What a contender did in all rounds of a case, or why it couldn't. */
export type Outcome = { readonly rounds: Round[]; memory?: Memory } | { readonly failure: string }

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
        const program = start(contender, one)
        running.set(contender, { program, port: 0 })
        const { port } = await program.answer<{ port: number }>()
        running.set(contender, { program, port })
        outcomes.set(contender.name, { rounds: [] })
        settings.progress(`${contender.name} warms up`)
        // Compilers in the runtimes need some thousand calls, and a second, before they are done.
        await round(one.load, program, port, { seconds: settings.seconds, warm: settings.warm * 2 })
      })
    }
    for (let i = 0; i < settings.rounds; i++) {
      for (const [contender, { program, port }] of [...running]) {
        await attempt(contender, async () => {
          settings.progress(`round ${i + 1} of ${settings.rounds}: ${contender.name}`)
          const outcome = outcomes.get(contender.name) as { rounds: Round[] }
          outcome.rounds.push(await round(one.load, program, port, settings))
        })
      }
    }
    for (const contender of one.memory ? [...running.keys()] : []) {
      await attempt(contender, async () => {
        settings.progress(`memory: ${contender.name}`)
        const outcome = outcomes.get(contender.name) as { memory?: Memory }
        outcome.memory = await measureMemory(one, contender)
      })
    }
  } finally {
    for (const { program } of running.values()) await program[Symbol.asyncDispose]()
  }
  return outcomes
}

function start(contender: Contender, { mode }: Case): Program {
  const [command, ...args] = contender.command(mode) as [string, ...string[]]
  return new Program(contender.name, processors().server, command, args)
}

async function round(
  load: Case['load'],
  server: Program,
  port: number,
  { seconds, warm }: Pick<Settings, 'seconds' | 'warm'>,
): Promise<Round> {
  await using program = startLoad({ ...load, port, pid: server.pid, seconds, warm })
  await program.answer()
  return await program.ask<Round>('go', (seconds + warm) * 1000 + 30_000)
}

function startLoad(settings: Case['load']): Program {
  const args = Object.entries(settings).map(([name, value]) => `${name}=${value}`)
  return new Program('the load', processors().load, compile('load'), args)
}

/** Of a server of its own, as memory that a process has had is used again, and then costs nothing. */
async function measureMemory(one: Case, contender: Contender): Promise<Memory> {
  await using server = start(contender, one)
  const { port } = await server.answer<{ port: number }>()
  // What is made once, by the first connections, is none of the others'.
  await round({ ...one.load, connections: 100, active: 100 }, server, port, { seconds: 0.2, warm: 0 })
  const before = await memoryOf(server, contender.tells)
  await using load = startLoad({ ...one.load, port })
  const { open } = await load.answer<{ open: number }>()
  return perConnection(before, await memoryOf(server, contender.tells), open)
}

interface Footprint {
  readonly pss: number
  readonly anonymous: number
  readonly told?: { readonly heapUsed?: number; readonly heapHeld?: number }
}

async function memoryOf(server: Program, tells: boolean): Promise<Footprint> {
  const told = tells ? await server.ask<NonNullable<Footprint['told']>>('memory') : undefined
  const map = readFileSync(`/proc/${server.pid}/smaps_rollup`, 'utf8')
  const kilobytes = (name: string) => Number(new RegExp(`^${name}:\\s*(\\d+) kB`, 'm').exec(map)?.[1]) * 1024
  return { pss: kilobytes('Pss'), anonymous: kilobytes('Anonymous'), ...(told && { told }) }
}

function perConnection(before: Footprint, after: Footprint, connections: number): Memory {
  const growth = (of: (footprint: Footprint) => number) => (of(after) - of(before)) / connections
  return {
    pss: growth(({ pss }) => pss),
    ...(after.told?.heapUsed !== undefined && { javascript: growth(({ told }) => told?.heapUsed ?? 0) }),
    native: growth(({ anonymous, told }) => anonymous - (told?.heapHeld ?? 0)),
  }
}
