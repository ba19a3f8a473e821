import { spawnSync } from 'node:child_process'
import { cpus, release } from 'node:os'
import type { Runtimes } from './contender.js'

/** The machine and the versions of a measurement; without them its numbers say nothing. */
export interface Machine {
  /** The day of the measurement in UTC: `2025-01-31`. */
  readonly date: string
  readonly kernel: string
  readonly processor: string
  /** The number of processors. */
  readonly processors: number
  /** The versions, by name, of the runtimes that are present. */
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

/** Returns the first version number in the output of `--version`; undefined if the program is missing. */
function versionOf(program: string): string | undefined {
  const { stdout } = spawnSync(program, ['--version'], { encoding: 'utf8' })
  return /\d+(\.\d+)+/.exec(stdout ?? '')?.[0]
}
