import { join } from 'node:path'
import { guardDescriptors, runPython, skipUnless } from '@linux-sockets/testkit'
import { describe, expect, it } from 'vitest'
import { cases } from '../src/case.js'
import { type Contender, contenders } from '../src/contender.js'
import { root } from '../src/directory.js'
import { measure } from '../src/measure.js'
import { processors } from '../src/processors.js'
import { Program } from '../src/program.js'
import { report } from '../src/report.js'

guardDescriptors()

const cache = join(root, 'node_modules/.cache/linux-sockets/runtimes')
const { present, missing } = contenders({
  bun: join(cache, `bun/node_modules/@oven/bun-linux-${process.arch === 'arm64' ? 'aarch64' : 'x64'}/bin/bun`),
  deno: join(cache, `deno/node_modules/@deno/linux-${process.arch}-glibc/deno`),
})
const names = ['c', 'reactor', 'streams', 'net', 'bun', 'deno']

/** Sends lines in pieces that begin and end anywhere, reads late and little at a time, and says whether all came back. */
const client = `
import random, socket, sys, threading, time
random.seed(7)
lines = b''.join(bytes(random.choices(range(32, 127), k=random.choice([0, 1, 40, 5000]))) + b'\\n' for _ in range(600))
s = socket.create_connection(('127.0.0.1', int(sys.argv[1])))
s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
def send():
    at = 0
    while at < len(lines):
        size = random.choice([1, 2, 100, 70000])
        s.sendall(lines[at:at + size])
        at += size
    s.shutdown(socket.SHUT_WR)
threading.Thread(target=send, daemon=True).start()
back = b''
while chunk := s.recv(random.choice([1000, 65536])):
    back += chunk
print(back == lines, len(lines) > 500000)
`

describe.each(names)('%s', (name) => {
  const contender = present.find((one) => one.name === name)
  const need =
    contender === undefined ? `${name} isn’t there: ${missing.join(', ')} (npm run bench downloads it)` : null

  it.for(['echo', 'lines'] as const)('answers every byte of %s, however they are cut, and ends', async (mode, test) => {
    skipUnless(test, need)
    const [command, ...args] = (contender as Contender).command(mode) as [string, ...string[]]
    await using server = new Program(name, processors().server, command, args)
    const { port } = await server.answer<{ port: number }>()
    expect(await runPython(client, String(port))).toBe('True True\n')
  })
})

it('refuses a server that answers something else', async () => {
  const script = `
const server = require('node:net').createServer((s) => s.on('data', (d) => s.write(d.fill(1))).on('error', () => {}))
server.listen(0, () => console.log(JSON.stringify({ port: server.address().port })))`
  const wrong = { name: 'wrong', command: () => [process.execPath, '-e', script], tells: false }
  const settings = { rounds: 1, seconds: 0.1, warm: 0.1, progress: () => {} }
  const outcomes = await measure(cases[0] as (typeof cases)[number], [wrong], settings)
  expect(outcomes.get('wrong')).toEqual({ failure: expect.stringContaining('other bytes came back') })
})

it('measures round trips, their latency and their cost', async () => {
  const c = present.filter(({ name }) => name === 'c')
  for (const one of cases.filter(({ name }) => ['echo-64x50', 'lines', 'close'].includes(name))) {
    const settings = { rounds: 1, seconds: 0.1, warm: 0.05, progress: () => {} }
    const outcome = (await measure(one, c, settings)).get('c')
    const [round] = outcome && 'rounds' in outcome ? outcome.rounds : []
    expect(round).toMatchObject({ requests: expect.any(Number), cpu: expect.any(Number) })
    expect(round?.requests).toBeGreaterThan(0)
    expect(round?.cpu).toBeGreaterThan(0)
    expect(round?.p50).toBeLessThanOrEqual(round?.p999 as number)
  }
})

it('measures what a connection holds on a server of its own', async () => {
  const net = present.filter(({ name }) => name === 'net')
  const idle = cases.find(({ memory }) => memory) as (typeof cases)[number]
  const one = { ...idle, load: { size: 64, connections: 2000, active: 10 } }
  const outcome = (await measure(one, net, { rounds: 1, seconds: 0.1, warm: 0.05, progress: () => {} })).get('net')
  const memory = outcome && 'rounds' in outcome ? outcome.memory : undefined
  // A net.Socket with its streams.
  expect(memory?.javascript).toBeGreaterThan(500)
  expect(memory?.javascript).toBeLessThan(5000)
})

const others = cases.filter(({ mode }) => mode !== 'echo' && mode !== 'lines').map(({ name }) => name)

it.for(others)('measures %s', async (name) => {
  const one = cases.find((candidate) => candidate.name === name) as (typeof cases)[number]
  const here = present.filter(({ name }) => ['c', 'ours', 'node'].includes(name))
  // The load compares every byte.
  const outcomes = await measure(one, here, { rounds: 1, seconds: 0.3, warm: 0.05, progress: () => {} })
  expect(outcomes.size).toBeGreaterThan(1)
  for (const [contender, outcome] of outcomes) {
    expect(outcome, contender).not.toHaveProperty('failure')
    expect('rounds' in outcome && outcome.rounds[0]?.requests, contender).toBeGreaterThan(0)
  }
  const [line] = report(one, outcomes).lines
  expect(line?.overC?.median).toBe(1)
})
