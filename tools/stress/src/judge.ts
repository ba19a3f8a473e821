import { toldAs } from './errors.js'
import type { Report } from './perform.js'

/** A fault: calls `first` … `first + count − 1` of a symbol fail with the code of this name. */
export interface Fault {
  readonly symbol: string
  readonly code: string
  readonly first: number
  readonly count: number
}

/** The outcome of a process. */
export interface Run {
  readonly signal: NodeJS.Signals | null
  readonly exitCode: number | null
  /** **Milliseconds** of CPU time, if the process had to be killed; otherwise undefined. */
  readonly busy: number | undefined
  readonly stderr: string
  readonly report: Report | undefined
  /** For each symbol, how many calls were made and how many failed. */
  readonly calls: ReadonlyMap<string, { readonly made: number; readonly failed: number }>
}

export const verdicts = [
  'well', // The program did everything as without the fault.
  'told', // The program got an error with the code.
  'missed', // The program didn't reach the call.
  'crash',
  'hang',
  'spin',
  'leak',
  'wrong bytes',
  'uncaught',
  'not told', // Something is missing or failed, and no error has the code.
] as const

export type Verdict = (typeof verdicts)[number]

export interface Judgement {
  readonly verdict: Verdict
  readonly detail: string
}

export const isFine = (verdict: Verdict): boolean => ['well', 'told', 'missed'].includes(verdict)

/** The most calls that a program may make, given the number without a fault. It leaves room for retries. */
const SPINS_BEYOND = (usual: number) => 5 * usual + 500

/**
 * Judges the run of a program with a fault.
 * @param usual the run of the same program without a fault
 */
export function judge(run: Run, fault: Fault, usual: Run): Judgement {
  const { report, signal, exitCode, busy, stderr } = run
  if (busy !== undefined) {
    return { verdict: busy > 1500 ? 'spin' : 'hang', detail: `ended after ${busy} ms of processor time` }
  }
  if (signal !== null || report === undefined) {
    return { verdict: 'crash', detail: `${signal ?? `exit code ${exitCode}`} ${stderr.trim().slice(-500)}` }
  }
  if (report.wrong.length > 0) return { verdict: 'wrong bytes', detail: report.wrong.join('; ') }
  if (report.uncaught.length > 0) return { verdict: 'uncaught', detail: report.uncaught.join('; ') }
  if (!report.settled) return { verdict: 'hang', detail: 'nothing was left to wait for, but a promise' }
  const left = beyond(report.left, usual.report?.left ?? [])
  if (left.length > 0) return { verdict: 'leak', detail: left.join(', ') }
  if (report.forgotten.length > 0) return { verdict: 'leak', detail: report.forgotten.join('; ') }
  if (totalOf(run) > SPINS_BEYOND(totalOf(usual))) return { verdict: 'spin', detail: `${totalOf(run)} calls` }
  if ((run.calls.get(fault.symbol)?.failed ?? 0) === 0) return { verdict: 'missed', detail: '' }
  if (report.told.includes(toldAs(fault.code))) return { verdict: 'told', detail: '' }
  const complaints = [...report.told, ...report.missing]
  if (complaints.length > 0) return { verdict: 'not told', detail: complaints.join('; ') }
  return { verdict: 'well', detail: '' }
}

function totalOf({ calls }: Run): number {
  return [...calls.values()].reduce((sum, { made }) => sum + made, 0)
}

function beyond(left: readonly string[], usual: readonly string[]): string[] {
  return left.filter((kind) => !usual.includes(kind))
}
