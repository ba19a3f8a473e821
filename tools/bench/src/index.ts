/** `npm run bench`: measures our servers and others side by side. */
import { mkdirSync, writeFileSync } from 'node:fs'
import { dirname } from 'node:path'
import { parseArgs } from 'node:util'
import { type BoundaryLine, benchBoundary } from './boundary.js'
import { cases } from './case.js'
import { contenders } from './contender.js'
import { described, machine } from './machine.js'
import { measure } from './measure.js'
import { plot } from './plot.js'
import { type Report, report, table } from './report.js'

const { values } = parseArgs({
  options: {
    only: { type: 'string' },
    servers: { type: 'string' },
    rounds: { type: 'string' },
    seconds: { type: 'string' },
    full: { type: 'boolean', default: false },
    json: { type: 'string' },
    svg: { type: 'string' },
    runtime: { type: 'string', multiple: true, default: [] },
  },
})

const rounds = Number(values.rounds ?? (values.full ? 15 : 3))
const seconds = Number(values.seconds ?? (values.full ? 1.5 : 0.5))
if (!(rounds >= 1 && seconds > 0)) throw new RangeError('--rounds and --seconds must be positive')

const runtimes = Object.fromEntries(values.runtime.map((pair) => pair.split('=')))
const where = machine(runtimes)
console.log(described(where))
const { present, missing } = contenders(runtimes)
for (const name of missing) console.log(`${name} is left out: it isn’t there.`)
const servers = chosen(present, values.servers, '--servers')
const wanted = chosen([...cases, { name: 'boundary' } as const], values.only, '--only')

const reports: Report[] = []
let boundary: BoundaryLine[] | undefined
for (const one of wanted) {
  if (!('mode' in one)) {
    boundary = await benchBoundary()
    continue
  }
  const outcomes = await measure(one, servers, { rounds, seconds, warm: seconds / 2, progress })
  progress('')
  reports.push(report(one, outcomes))
  console.log(`${table(reports.at(-1) as Report)}\n`)
}
if (values.json !== undefined) {
  save(values.json, `${JSON.stringify({ machine: where, rounds, seconds, reports, boundary }, null, 2)}\n`)
}
if (values.svg !== undefined) save(values.svg, plot(reports))
if (reports.some(({ lines }) => lines.some(({ failure }) => failure !== undefined))) process.exitCode = 1

function chosen<T extends { readonly name: string }>(
  all: readonly T[],
  names: string | undefined,
  option: string,
): T[] {
  if (names === undefined) return [...all]
  return names.split(',').map((name) => {
    const found = all.find((one) => one.name === name)
    if (found === undefined)
      throw new RangeError(`${option}: ${name} is none of ${all.map((one) => one.name).join(', ')}`)
    return found
  })
}

function save(path: string, text: string): void {
  mkdirSync(dirname(path), { recursive: true })
  writeFileSync(path, text)
}

function progress(text: string): void {
  if (process.stderr.isTTY) process.stderr.write(`\r\x1b[K${text}`)
}
