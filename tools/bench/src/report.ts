import type { Case } from './case.js'
import type { Memory, Outcome, Round } from './measure.js'
import { ratios, type Spread, spread } from './statistics.js'

/** What is known of a contender in a case after all rounds. */
export interface Line {
  readonly contender: string
  /** Why there is nothing else. */
  readonly failure?: string
  /** Round trips a second; in bulk, **MiB** a second. */
  readonly throughput?: Spread
  /**
   * **Microseconds** of the server's CPU time for each round trip, in bulk **milliseconds** for each GiB; of those, in user
   * mode and in the kernel.
   */
  readonly cpu?: Spread
  readonly user?: number
  readonly system?: number
  /** CPU time over that of the C server, and of what Node.js has, in the same rounds. */
  readonly overC?: Spread
  readonly overNode?: Spread
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
  /** Whether it is about bytes, not about trips. */
  readonly bulk: boolean
  readonly lines: readonly Line[]
}

export function report(one: Case, outcomes: ReadonlyMap<string, Outcome>): Report {
  const c = roundsOf(outcomes, 'c')
  const node = roundsOf(outcomes, 'net') ?? roundsOf(outcomes, 'node')
  const lines = [...outcomes].map(([contender, outcome]) =>
    'failure' in outcome
      ? { contender, failure: outcome.failure }
      : { contender, ...lineOf(one, outcome.rounds, c, node), ...(outcome.memory && { memory: outcome.memory }) },
  )
  return { name: one.name, title: one.title, bulk: one.passes !== undefined, lines }
}

function roundsOf(outcomes: ReadonlyMap<string, Outcome>, name: string): readonly Round[] | undefined {
  const outcome = outcomes.get(name)
  return outcome && 'rounds' in outcome ? outcome.rounds : undefined
}

function lineOf(
  { passes }: Case,
  rounds: readonly Round[],
  c: readonly Round[] | undefined,
  node: readonly Round[] | undefined,
): Omit<Line, 'contender'> {
  const cost = ({ cpu, requests, bytes }: Round) =>
    passes === undefined ? cpu / 1e3 / requests : cpu / 1e6 / ((bytes * passes) / 2 ** 30)
  const costs = rounds.map(cost)
  const ticks = rounds.reduce((sum, { user, system }) => sum + user + system, 0)
  const inUser = ticks === 0 ? 0 : rounds.reduce((sum, { user }) => sum + user, 0) / ticks
  const cpu = spread(costs)
  const latency = (part: 'p50' | 'p99' | 'p999') => {
    const values = rounds.map((round) => round[part]).filter((value) => value !== undefined)
    return values.length === 0 ? {} : { [part]: spread(values.map((value) => value / 1000)) }
  }
  return {
    throughput: spread(
      rounds.map(
        ({ requests, bytes, seconds }) => (passes === undefined ? requests : (bytes * passes) / 2 ** 20) / seconds,
      ),
    ),
    cpu,
    user: cpu.median * inUser,
    system: cpu.median * (1 - inUser),
    ...(c && { overC: ratios(costs, c.map(cost)) }),
    ...(node && { overNode: ratios(costs, node.map(cost)) }),
    ...latency('p50'),
    ...latency('p99'),
    ...latency('p999'),
  }
}

/** The report as text for a terminal. */
export function table({ name, title, bulk, lines }: Report): string {
  const head = [
    '',
    bulk ? 'MiB/s' : 'trips/s',
    bulk ? 'ms/GiB' : 'CPU µs',
    'user',
    'kernel',
    '÷ C',
    '÷ Node',
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
          around(line.overNode),
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
