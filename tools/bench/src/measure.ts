import { readFileSync } from 'node:fs'
import type { Case, Load } from './case.js'
import type { Contender } from './contender.js'
import { compile, sampleFile } from './directory.js'
import { processors } from './processors.js'
import { Program } from './program.js'

/** One round of one contender, as reported by native/load.c or by a program that needs no load. */
export interface Round {
  readonly seconds: number
  readonly requests: number
  /** **Bytes** that the load received. */
  readonly bytes: number
  /** **Nanoseconds** of the server's CPU time. */
  readonly cpu: number
  /** Clock ticks in which the kernel sampled the server in user mode; `system` are those in the kernel. */
  readonly user: number
  readonly system: number
  /** Latency in **nanoseconds**, measured by the load. */
  readonly p50?: number
  readonly p99?: number
  readonly p999?: number
  readonly max?: number
}

/** **Bytes** for each idle connection, without the kernel's memory. */
export interface Memory {
  /** The growth of the process as the kernel sees it, including the reserve of the garbage collector. */
  readonly pss: number
  /** The size of the JavaScript objects after a garbage collection. */
  readonly javascript?: number
  /** Anonymous memory outside the JavaScript heap: that of C++, and the contents of buffers. */
  readonly native: number
}

/** The results of a contender in all rounds of a case, or why it failed. */
export type Outcome = { readonly rounds: Round[]; memory?: Memory } | { readonly failure: string }

export interface Settings {
  readonly rounds: number
  /** The **seconds** of each measurement; `warm` are those of the warm-up before it. */
  readonly seconds: number
  readonly warm: number
  readonly progress: (text: string) => void
}

/** Measures a case: starts and warms up all contenders that have a program for it; then each round measures them in turn. */
export async function measure(
  one: Case,
  servers: readonly Contender[],
  settings: Settings,
): Promise<Map<string, Outcome>> {
  const outcomes = new Map<string, Outcome>()
  await using backend = one.mode === 'relay' ? startBackend() : undefined
  const port = (await backend?.answer<Started>())?.port
  const argument = one.mode === 'file' ? sampleFile() : port === undefined ? '' : String(port)
  const running = new Map<Contender, { program: Program; port?: number | undefined }>()
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
      const command = contender.command(one.mode, argument)
      if (command === undefined) continue
      await attempt(contender, async () => {
        const program = start(contender, command)
        running.set(contender, { program })
        const { port } = await program.answer<Started>()
        running.set(contender, { program, port })
        outcomes.set(contender.name, { rounds: [] })
        settings.progress(`${contender.name} warms up`)
        // The JIT compilers of the runtimes need some thousand calls, and a second, before they are done.
        await round(one, program, port, { ...settings, warm: settings.warm * 2 })
      })
    }
    for (let i = 0; i < settings.rounds; i++) {
      for (const [contender, { program, port }] of [...running]) {
        await attempt(contender, async () => {
          settings.progress(`round ${i + 1} of ${settings.rounds}: ${contender.name}`)
          const outcome = outcomes.get(contender.name) as { rounds: Round[] }
          outcome.rounds.push(await round(one, program, port, settings))
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

/** The first answer of a program. */
interface Started {
  readonly port?: number
}

function start(contender: Contender, [command, ...args]: readonly string[]): Program {
  return new Program(contender.name, processors().server, command as string, args)
}

/** Starts the echo server behind a proxy. */
function startBackend(): Program {
  return new Program('the backend', processors().load, compile('server'), ['echo'])
}

async function round(
  { mode, load }: Pick<Case, 'mode' | 'load'>,
  server: Program,
  port: number | undefined,
  { seconds, warm }: Pick<Settings, 'seconds' | 'warm'>,
): Promise<Round> {
  const patience = (seconds + warm) * 1000 + 30_000
  if (load === undefined || port === undefined) return await server.ask<Round>(`${warm} ${seconds}`, patience)
  const file = mode === 'file' && { path: sampleFile() }
  await using program = startLoad({ ...load, ...file, port, pid: server.pid, seconds, warm })
  await program.answer()
  const result = await program.ask<Round>('go', patience)
  if (result.requests === 0) throw new Error(`no round trip was over after ${seconds} seconds`)
  return result
}

function startLoad(settings: Load): Program {
  const args = Object.entries(settings).map(([name, value]) => `${name}=${value}`)
  return new Program('the load', processors().load, compile('load'), args)
}

/** Measures a fresh server, because a process reuses memory that it has had before, which would then cost nothing. */
async function measureMemory(one: Case, contender: Contender): Promise<Memory> {
  await using server = start(contender, contender.command(one.mode) ?? [])
  const { port } = await server.answer<Started>()
  // The first connections allocate what is allocated only once, which the others must not be charged for.
  const few = { ...one, load: { ...one.load, connections: 100, active: 100 } }
  await round(few, server, port, { seconds: 0.2, warm: 0 })
  const before = await memoryOf(server, contender.tells)
  await using load = startLoad({ ...one.load, port: port as number })
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
