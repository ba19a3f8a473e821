import type { Case } from './case.js'
import type { Memory, Outcome, Round } from './measure.js'
import { ratios, type Spread, spread } from './statistics.js'

/** The figures of each round. For throughput more is better, for the others less. */
export interface Figures<T> {
  /** Round trips per second; in bulk cases **MiB per second**. */
  readonly throughput: T
  /** **Microseconds** of the server's CPU time per round trip; in bulk cases **milliseconds** per GiB. */
  readonly cpu: T
  /** **Microseconds** of latency; undefined for programs that need no load. */
  readonly p50?: T
  readonly p99?: T
  readonly p999?: T
}

/** A contender that the others are compared with. `node` stands for Node's own server in the case. */
export type Measure = 'c' | 'node' | 'bun'

/** The results of a contender in a case after all rounds. */
export interface Line extends Partial<Figures<Spread>> {
  readonly contender: string
  /** The reason why all other results are missing. */
  readonly failure?: string
  /** The part of `cpu` in user mode; `system` is the part in the kernel. */
  readonly user?: number
  readonly system?: number
  /** The figures divided by those of another contender in the same rounds. */
  readonly over?: Partial<Record<Measure, Figures<Spread>>>
  readonly memory?: Memory
}

/** The results of all contenders in a case. */
export interface Report {
  readonly name: string
  readonly title: string
  /** Whether the figures are per byte instead of per round trip. */
  readonly bulk: boolean
  readonly lines: readonly Line[]
}

export function report(one: Case, outcomes: ReadonlyMap<string, Outcome>): Report {
  const figures = new Map(
    [...outcomes].flatMap(([contender, outcome]) =>
      'rounds' in outcome ? [[contender, outcome.rounds.map((round) => figuresOf(one, round))] as const] : [],
    ),
  )
  const measures = { c: figures.get('c'), node: figures.get('net') ?? figures.get('node'), bun: figures.get('bun') }
  const lines = [...outcomes].map(([contender, outcome]): Line => {
    const own = figures.get(contender)
    if ('failure' in outcome || own === undefined) return { contender, failure: (outcome as Failure).failure }
    const line = each(own, (name) => spread(valuesOf(own, name)))
    const over = Object.entries(measures).flatMap(([measure, others]) =>
      others ? [[measure, each(own, (name) => ratios(valuesOf(own, name), valuesOf(others, name)))]] : [],
    )
    const ticks = outcome.rounds.reduce((sum, { user, system }) => sum + user + system, 0)
    const inUser = ticks === 0 ? 0 : outcome.rounds.reduce((sum, { user }) => sum + user, 0) / ticks
    return {
      contender,
      ...line,
      user: line.cpu.median * inUser,
      system: line.cpu.median * (1 - inUser),
      over: Object.fromEntries(over),
      ...(outcome.memory && { memory: outcome.memory }),
    }
  })
  return { name: one.name, title: one.title, bulk: one.passes !== undefined, lines }
}

type Failure = Extract<Outcome, { readonly failure: string }>

function figuresOf({ passes }: Case, { cpu, requests, bytes, seconds, p50, p99, p999 }: Round): Figures<number> {
  const work =
    passes === undefined
      ? { throughput: requests / seconds, cpu: cpu / 1e3 / requests }
      : { throughput: (bytes * passes) / 2 ** 20 / seconds, cpu: cpu / 1e6 / ((bytes * passes) / 2 ** 30) }
  if (p50 === undefined || p99 === undefined || p999 === undefined) return work
  return { ...work, p50: p50 / 1000, p99: p99 / 1000, p999: p999 / 1000 }
}

/** Applies `summary` to each figure that is present. */
function each([first]: readonly Figures<number>[], summary: (name: Figure) => Spread): Figures<Spread> {
  const names = Object.keys(first ?? {}) as Figure[]
  return Object.fromEntries(names.map((name) => [name, summary(name)])) as unknown as Figures<Spread>
}

function valuesOf(rounds: readonly Figures<number>[], name: Figure): number[] {
  return rounds.map((figures) => figures[name] as number)
}

type Figure = keyof Figures<number>

/** Formats a report as text for a terminal. */
export function table({ name, title, bulk, lines }: Report): string {
  const head = [
    '',
    bulk ? 'MiB/s' : 'trips/s',
    bulk ? 'ms/GiB' : 'CPU µs',
    'user',
    'kernel',
    '÷ C',
    '÷ Node',
    '÷ Bun',
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
          around(line.over?.c?.cpu),
          around(line.over?.node?.cpu),
          around(line.over?.bun?.cpu),
          number(line.p50?.median),
          number(line.p99?.median),
          number(line.p999?.median),
          number(line.memory && (line.memory.javascript ?? 0) + line.memory.native),
          number(line.memory?.javascript),
          number(line.memory?.native),
          number(line.memory?.pss),
        ],
  )
  const widths = [12, 9, 8, 7, 8, 12, 12, 12, 9, 8, 8, 8, 7, 8, 8]
  // Not every case has all figures, and not every run has all contenders that the others are compared with.
  const shown = head.map((_, i) => i === 0 || rows.some((row) => row.length === head.length && row[i] !== ''))
  const render = (row: readonly string[]) =>
    row.length === 2
      ? `  ${row[0]?.padEnd(12)}${row[1]}`
      : `  ${row
          .map((cell, i) => (i === 0 ? cell.padEnd(widths[i] as number) : cell.padStart(widths[i] as number)))
          .filter((_, i) => shown[i])
          .join('')}`
  return [`${name}: ${title}`, render(head), ...rows.map(render)].join('\n')
}

function number(value: number | undefined, digits = 0): string {
  return value === undefined ? '' : value.toFixed(digits)
}

/** Formats a quotient and half its interquartile range. */
function around(value: Spread | undefined): string {
  return value === undefined ? '' : `${value.median.toFixed(2)} ±${((value.high - value.low) / 2).toFixed(2)}`
}
