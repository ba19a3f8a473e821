import { execFileSync, spawn } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { numberOf } from './errors.js'
import type { Fault, Run } from './judge.js'
import type { Report } from './perform.js'

/** Runs programs with faults, each in a process of its own. */
export class Stage {
  readonly #directory = mkdtempSync(join(tmpdir(), 'stress-'))
  readonly #interposer = join(this.#directory, 'inject.so')
  readonly #main: string
  readonly #patience: number
  #runs = 0

  /**
   * @param main the path of a script that takes the name of a program
   * @param patience **milliseconds** after which a program is killed and counts as hanging; alone a program takes about 200
   */
  constructor(main = join(import.meta.dirname, 'program.js'), patience = 40_000) {
    this.#main = main
    this.#patience = patience
    const source = join(import.meta.dirname, '../native/inject.c')
    execFileSync(process.env.CC ?? 'gcc', ['-shared', '-fPIC', '-O1', '-o', this.#interposer, source, '-ldl'])
  }

  /** Runs the program of this name to its end, or kills it when the time is over. */
  async run(program: string, fault: Fault | undefined): Promise<Run> {
    const log = join(this.#directory, `${++this.#runs}`)
    const plan = fault && [fault.symbol, numberOf(fault.code), fault.first, fault.count].join(':')
    const child = spawn(process.execPath, ['--expose-gc', this.#main, program], {
      env: {
        ...process.env,
        // A sanitizer's library has to be loaded first.
        LD_PRELOAD: [process.env.LD_PRELOAD, this.#interposer].filter(Boolean).join(' '),
        INJECT_PLAN: plan ?? 'none:0:0:0',
        INJECT_LOG: log,
      },
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    let [stdout, stderr] = ['', '']
    child.stdout.setEncoding('utf8').on('data', (chunk) => {
      stdout += chunk
    })
    child.stderr.setEncoding('utf8').on('data', (chunk) => {
      stderr += chunk
    })
    let busy: number | undefined
    const timer = setTimeout(() => {
      busy = processorTime(child.pid as number)
      child.kill('SIGKILL')
    }, this.#patience)
    const [exitCode, signal] = await new Promise<[number | null, NodeJS.Signals | null]>((resolve) => {
      child.once('close', (...end) => resolve(end))
    })
    clearTimeout(timer)
    return { exitCode, signal, busy, stderr, report: reportOf(stdout), calls: callsOf(log) }
  }

  close(): void {
    rmSync(this.#directory, { recursive: true })
  }
}

function reportOf(stdout: string): Report | undefined {
  const line = stdout.trim().split('\n').at(-1) as string
  return line.startsWith('{') ? JSON.parse(line) : undefined
}

function callsOf(log: string): Run['calls'] {
  if (!existsSync(log)) return new Map()
  const lines = readFileSync(log, 'utf8').trim().split('\n').filter(Boolean)
  return new Map(
    lines.map((line) => {
      const [symbol, made, failed] = line.split(' ') as [string, string, string]
      return [symbol, { made: Number(made), failed: Number(failed) }]
    }),
  )
}

/** Returns the CPU time of a process in **milliseconds**. proc(5): fields 14 and 15 of stat, in ticks of 10 ms. */
function processorTime(pid: number): number {
  const [, rest] = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ') as [string, string]
  const fields = rest.split(' ')
  return 10 * (Number(fields[11]) + Number(fields[12]))
}
