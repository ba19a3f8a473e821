import { readFileSync } from 'node:fs'
import type { Case, Load } from './case.js'
import type { Contender } from './contender.js'
import { compile, sampleFile } from './directory.js'
import { processors } from './processors.js'
import { Program } from './program.js'

/** One round of one contender, as native/load.c reports it, or the program that needs no load. */
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
  /** **Nanoseconds**, as the load sees it. */
  readonly p50?: number
  readonly p99?: number
  readonly p999?: number
  readonly max?: number
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

/** Measures a case: all who can do it are started and warmed up, then the rounds go through them in turns. */
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
        // Compilers in the runtimes need some thousand calls, and a second, before they are done.
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

/** What a program says first. */
interface Started {
  readonly port?: number
}

function start(contender: Contender, [command, ...args]: readonly string[]): Program {
  return new Program(contender.name, processors().server, command as string, args)
}

/** What a proxy passes on to. */
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

/** Of a server of its own, as memory that a process has had is used again, and then costs nothing. */
async function measureMemory(one: Case, contender: Contender): Promise<Memory> {
  await using server = start(contender, contender.command(one.mode) ?? [])
  const { port } = await server.answer<Started>()
  // What is made once, by the first connections, is none of the others'.
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
