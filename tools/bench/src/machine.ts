import { spawnSync } from 'node:child_process'
import { cpus, release } from 'node:os'
import type { Runtimes } from './contender.js'

/** Where and with what was measured, without which no number says anything. */
export interface Machine {
  /** Of the day, in UTC. */
  readonly date: string
  readonly kernel: string
  readonly processor: string
  /** How many processors there are. */
  readonly processors: number
  /** The versions of the runtimes by their names, as far as they are there. */
  readonly runtimes: Readonly<Record<string, string>>
}

export function machine(runtimes: Runtimes): Machine {
  const others = Object.entries(runtimes).map(([name, program]) => [name, versionOf(program)] as const)
  return {
    date: new Date().toISOString().slice(0, 10),
    kernel: release(),
    processor: cpus()[0]?.model ?? 'unknown',
    processors: cpus().length,
    runtimes: {
      node: versionOf(process.execPath) as string,
      ...Object.fromEntries(others.filter(([, version]) => version !== undefined)),
    },
  }
}

export function described({ date, kernel, processor, processors, runtimes }: Machine): string {
  const versions = Object.entries(runtimes).map(([name, version]) => `${name} ${version}`)
  return `${date}: Linux ${kernel}, ${processors} × ${processor}; ${versions.join(', ')}`
}

/** The first number that a runtime says of itself; undefined where it isn't there. */
function versionOf(program: string): string | undefined {
  const { stdout } = spawnSync(program, ['--version'], { encoding: 'utf8' })
  return /\d+(\.\d+)+/.exec(stdout ?? '')?.[0]
}
