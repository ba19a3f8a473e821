// Makes calls of native_core.node fail, one at a time and several in a row, in programs that use the packages, and judges how
// the programs behave: `node dist/faults.js [--all] [--seconds N] [PROGRAM | SYMBOL]…`.
import { parseArgs } from 'node:util'
import { type Fault, isFine, type Judgement, judge, type Run, type Verdict, verdicts } from './judge.js'
import { plausible } from './plausible.js'
import { Stage } from './process.js'
import { programs } from './programs.js'

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { all: { type: 'boolean', default: false }, seconds: { type: 'string' } },
})
const seconds = Number(values.seconds ?? (values.all ? 1800 : 120))
if (!(seconds >= 1)) throw new RangeError('--seconds must be 1 or more')
const deadline = Date.now() + 1000 * seconds

/** The number of calls of a symbol that fail, each in a run of its own. The first calls create things; later ones use them. */
const FIRST = 3
/** The number of faults without --all. */
const SAMPLE = 240
/** The number of calls that fail in a row from the first one on: some calls are retried after a while more than once. */
const ROW = 5
/** Programs without EAGAIN faults: after an EAGAIN that the kernel did not return, no edge follows. */
const byEdges = ['reactor', 'reactor that runs', 'exclusive server']
const RUNNING = 2

interface Case {
  readonly program: string
  readonly fault: Fault
  readonly usual: Run
}

const names = Object.keys(programs)
const symbols = Object.keys(plausible)
const unknown = positionals.filter((name) => !names.includes(name) && !symbols.includes(name))
if (unknown.length > 0) {
  throw new RangeError(`no program or symbol: ${unknown.join(', ')}; there are ${[...names, ...symbols].join(', ')}`)
}
const programNames = chosenOf(names)
const symbolNames = chosenOf(symbols)

const stage = new Stage()
const rows = new Map<string, Map<Verdict, number>>()
const bad: { readonly program: string; readonly fault: Fault; readonly judgement: Judgement }[] = []
let done = 0

const cases = (await inTurn(programNames, casesOf)).flat()
const sample = values.all ? cases : mixed(cases).slice(0, SAMPLE)
await inTurn(sample, async ({ program, fault, usual }) => {
  if (Date.now() > deadline) return
  const judgement = judge(await stage.run(program, fault), fault, usual)
  const row = rows.get(program) ?? new Map<Verdict, number>()
  rows.set(program, row.set(judgement.verdict, (row.get(judgement.verdict) ?? 0) + 1))
  if (!isFine(judgement.verdict)) bad.push({ program, fault, judgement })
  done++
})
stage.close()

console.log(table())
for (const { program, fault, judgement } of bad) {
  const { symbol, code, first, count } = fault
  const when = count === 1 ? `call ${first}` : `calls ${first} to ${count}`
  console.log(`✗ ${program}, ${symbol} ${code}, ${when}: ${judgement.verdict}. ${judgement.detail}`)
}
const late = done < sample.length ? `; there was no time for ${sample.length - done} more` : ''
console.log(`${done} of ${cases.length} faults, ${bad.length} of them badly met${late}`)
process.exitCode = bad.length > 0 || done === 0 ? 1 : 0

/** Returns the names that are on the command line, or all of them if none is. */
function chosenOf(all: readonly string[]): readonly string[] {
  const chosen = all.filter((name) => positionals.includes(name))
  return chosen.length > 0 ? chosen : all
}

/** Returns all faults that this program can meet. */
async function casesOf(program: string): Promise<Case[]> {
  const usual = await stage.run(program, undefined)
  const { report, calls } = usual
  if (report === undefined || !report.settled || report.told.length + report.missing.length + report.wrong.length > 0) {
    throw new Error(`${program} fails without a fault: ${JSON.stringify(report)} ${usual.stderr}`)
  }
  return [...calls].flatMap(([symbol, { made }]) => {
    if (!symbolNames.includes(symbol)) return []
    const at = [...Array(Math.min(made, FIRST)).keys()].map((i) => i + 1)
    const codes = (plausible[symbol] ?? []).filter((code) => code !== 'EAGAIN' || !byEdges.includes(program))
    return codes.flatMap((code) => [
      ...at.map((first) => ({ program, usual, fault: { symbol, code, first, count: 1 } })),
      { program, usual, fault: { symbol, code, first: 1, count: ROW } },
    ])
  })
}

/** Shuffles, in the same way every time, so that the first cases are from all programs. */
function mixed(all: readonly Case[]): Case[] {
  const order = all.map((each, i) => ({ each, key: Math.imul(i + 1, 0x9e37_79b1) >>> 0 }))
  return order.sort((a, b) => a.key - b.key).map(({ each }) => each)
}

async function inTurn<T, R>(all: readonly T[], work: (each: T) => Promise<R>): Promise<R[]> {
  const results: R[] = []
  const entries = all.entries()
  await Promise.all(
    Array.from({ length: RUNNING }, async () => {
      for (const [i, each] of entries) results[i] = await work(each)
    }),
  )
  return results
}

function table(): string {
  const used = verdicts.filter((verdict) => [...rows.values()].some((row) => row.has(verdict)))
  const width = Math.max(...names.map((name) => name.length))
  const line = (name: string, cells: readonly unknown[]) =>
    [name.padEnd(width), ...cells.map((cell, i) => `${cell}`.padStart((used[i] as string).length))].join('  ')
  return [
    line('', used),
    ...names
      .filter((name) => rows.has(name))
      .map((name) =>
        line(
          name,
          used.map((verdict) => rows.get(name)?.get(verdict) ?? 0),
        ),
      ),
  ].join('\n')
}
