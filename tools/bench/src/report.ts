import type { Case } from './case.js'
import type { Memory, Outcome, Round } from './measure.js'
import { ratios, type Spread, spread } from './statistics.js'

/** What is known of a contender in a case after all rounds. */
export interface Line {
  readonly contender: string
  /** Why there is nothing else. */
  readonly failure?: string
  /** Round trips a second. */
  readonly throughput?: Spread
  /** **Microseconds** of the server's CPU time for each round trip; of those, in user mode and in the kernel. */
  readonly cpu?: Spread
  readonly user?: number
  readonly system?: number
  /** CPU time over that of the C server, and of node:net, in the same rounds. */
  readonly overC?: Spread
  readonly overNet?: Spread
  /** **Microseconds.** */
  readonly p50?: Spread
  readonly p99?: Spread
  readonly p999?: Spread
  readonly memory?: Memory
}

/** A case and its lines. */
export interface Report {
  readonly name: string
  readonly title: string
  readonly lines: readonly Line[]
}

export function report(one: Case, outcomes: ReadonlyMap<string, Outcome>): Report {
  const lines = [...outcomes].map(([contender, outcome]) =>
    'failure' in outcome
      ? { contender, failure: outcome.failure }
      : lineOf(contender, outcome, roundsOf(outcomes, 'c'), roundsOf(outcomes, 'net')),
  )
  return { name: one.name, title: one.title, lines }
}

function roundsOf(outcomes: ReadonlyMap<string, Outcome>, name: string): readonly Round[] | undefined {
  const outcome = outcomes.get(name)
  return outcome && 'rounds' in outcome ? outcome.rounds : undefined
}

function lineOf(
  contender: string,
  { rounds, memory }: { readonly rounds: readonly Round[]; readonly memory?: Memory },
  c: readonly Round[] | undefined,
  net: readonly Round[] | undefined,
): Line {
  const of = (value: (round: Round) => number) => spread(rounds.map(value))
  const costs = rounds.map(cost)
  const ticks = rounds.reduce((sum, { user, system }) => sum + user + system, 0)
  const inUser = ticks === 0 ? 0 : rounds.reduce((sum, { user }) => sum + user, 0) / ticks
  const cpu = spread(costs)
  return {
    contender,
    throughput: of(({ requests, seconds }) => requests / seconds),
    cpu,
    user: cpu.median * inUser,
    system: cpu.median * (1 - inUser),
    ...(c && { overC: ratios(costs, c.map(cost)) }),
    ...(net && { overNet: ratios(costs, net.map(cost)) }),
    p50: of(({ p50 }) => p50 / 1000),
    p99: of(({ p99 }) => p99 / 1000),
    p999: of(({ p999 }) => p999 / 1000),
    ...(memory && { memory }),
  }
}

function cost({ cpu, requests }: Round): number {
  return cpu / 1000 / requests
}

/** The report as text for a terminal. */
export function table({ name, title, lines }: Report): string {
  const head = [
    '',
    'trips/s',
    'CPU µs',
    'user',
    'kernel',
    '÷ C',
    '÷ node:net',
    'p50 µs',
    'p99',
    'p99.9',
    'B/conn',
    'JS',
    'native',
    'PSS',
  ]
  const rows = lines.map((line) =>
    line.failure !== undefined
      ? [line.contender, `failed: ${line.failure}`]
      : [
          line.contender,
          number(line.throughput?.median),
          number(line.cpu?.median, 2),
          number(line.user, 2),
          number(line.system, 2),
          around(line.overC),
          around(line.overNet),
          number(line.p50?.median),
          number(line.p99?.median),
          number(line.p999?.median),
          number(line.memory && (line.memory.javascript ?? 0) + line.memory.native),
          number(line.memory?.javascript),
          number(line.memory?.native),
          number(line.memory?.pss),
        ],
  )
  // The last columns are for the cases that measure memory.
  const columns = rows.some((row) => row.length > 2 && row[10] !== '') ? 14 : 10
  const widths = [12, 9, 8, 7, 8, 15, 15, 9, 8, 8, 8, 7, 8, 8]
  const render = (row: readonly string[]) =>
    row[1]?.startsWith('failed') && row.length === 2
      ? `  ${row[0]?.padEnd(12)}${row[1]}`
      : `  ${row
          .slice(0, columns)
          .map((cell, i) => (i === 0 ? cell.padEnd(widths[i] as number) : cell.padStart(widths[i] as number)))
          .join('')}`
  return [`${name}: ${title}`, render(head), ...rows.map(render)].join('\n')
}

function number(value: number | undefined, digits = 0): string {
  return value === undefined ? '' : value.toFixed(digits)
}

/** A quotient with half the width of its middle half. */
function around(value: Spread | undefined): string {
  return value === undefined ? '' : `${value.median.toFixed(2)} ±${((value.high - value.low) / 2).toFixed(2)}`
}
