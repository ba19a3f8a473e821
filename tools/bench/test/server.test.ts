import { join } from 'node:path'
import { guardDescriptors, runPython, skipUnless } from '@linux-sockets/testkit'
import { describe, expect, it } from 'vitest'
import { cases, type Mode } from '../src/case.js'
import { type Contender, contenders } from '../src/contender.js'
import { root, sampleFile } from '../src/directory.js'
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

/** The contenders in the cases that have no server called `reactor`. */
const others = ['c', 'ours', 'node', 'bun', 'deno']

/** Sends lines in pieces that begin and end anywhere, reads slowly in small pieces, and prints whether all bytes came back. */
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

/** Requests a file three times in two pieces, reads slowly in small pieces, and prints whether all bytes came. */
const fileClient = `
import socket, sys
file = open(sys.argv[2], 'rb').read()
s = socket.socket()
s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
s.connect(('127.0.0.1', int(sys.argv[1])))
s.sendall(bytes(100))
back = s.recv(1000)
s.sendall(bytes(92))
s.shutdown(socket.SHUT_WR)
while chunk := s.recv(20000):
    back += chunk
print(back == file * 3, len(file) > 1000000)
`

const contenderOf = (name: string) => present.find((one) => one.name === name) as Contender

function needOf(name: string): string | null {
  if (present.some((one) => one.name === name)) return null
  return `${name} isn’t there: ${missing.join(', ')} (npm run bench downloads it)`
}

/** Starts a contender's program for a mode. Its first answer has its port. */
function start(name: string, mode: Mode, argument?: string): Program {
  const [command, ...args] = contenderOf(name).command(mode, argument) as [string, ...string[]]
  return new Program(name, processors().server, command, args)
}

describe.each(names)('%s', (name) => {
  it.for(['echo', 'lines'] as const)('answers every byte of %s, however split, and ends', async (mode, test) => {
    skipUnless(test, needOf(name))
    await using server = start(name, mode)
    const { port } = await server.answer<{ port: number }>()
    expect(await runPython(client, String(port))).toBe('True True\n')
  })
})

describe.each([...others, 'streams'])('%s', (name) => {
  it('relays every byte, however split, and both ends', async (test) => {
    skipUnless(test, needOf(name))
    await using backend = start('c', 'echo')
    const behind = await backend.answer<{ port: number }>()
    await using server = start(name, 'relay', String(behind.port))
    const { port } = await server.answer<{ port: number }>()
    expect(await runPython(client, String(port))).toBe('True True\n')
  })
})

describe.each(others)('%s', (name) => {
  it('sends every byte of a file as often as requested, and ends', async (test) => {
    skipUnless(test, needOf(name))
    await using server = start(name, 'file', sampleFile())
    const { port } = await server.answer<{ port: number }>()
    expect(await runPython(fileClient, String(port), sampleFile())).toBe('True True\n')
  })
})

it('refuses a server that sends back other bytes', async () => {
  const script = `
const server = require('node:net').createServer((s) => s.on('data', (d) => s.write(d.fill(1))).on('error', () => {}))
server.listen(0, () => console.log(JSON.stringify({ port: server.address().port })))`
  const wrong = { name: 'wrong', command: () => [process.execPath, '-e', script], tells: false }
  const settings = { rounds: 1, seconds: 0.3, warm: 0.1, progress: () => {} }
  const outcomes = await measure(cases[0] as (typeof cases)[number], [wrong], settings)
  expect(outcomes.get('wrong')).toEqual({ failure: expect.stringContaining('other bytes came back') })
})

it('measures the number, the latency and the cost of round trips', async () => {
  const c = present.filter(({ name }) => name === 'c')
  for (const one of cases.filter(({ name }) => ['echo-64x50', 'lines', 'close'].includes(name))) {
    const settings = { rounds: 1, seconds: 0.3, warm: 0.05, progress: () => {} }
    const outcomes = await measure(one, c, settings)
    const outcome = outcomes.get('c')
    const [round] = outcome && 'rounds' in outcome ? outcome.rounds : []
    expect(round).toMatchObject({ requests: expect.any(Number), cpu: expect.any(Number) })
    expect(round?.requests).toBeGreaterThan(0)
    expect(round?.cpu).toBeGreaterThan(0)
    expect(round?.p50).toBeLessThanOrEqual(round?.p999 as number)
    expect(report(one, outcomes).lines[0]?.over?.c?.cpu.median).toBe(1)
  }
})

it('measures the memory of connections on a fresh server', async () => {
  const net = present.filter(({ name }) => name === 'net')
  const idle = cases.find(({ memory }) => memory) as (typeof cases)[number]
  const one = { ...idle, load: { size: 64, connections: 2000, active: 10 } }
  const outcome = (await measure(one, net, { rounds: 1, seconds: 0.3, warm: 0.05, progress: () => {} })).get('net')
  const memory = outcome && 'rounds' in outcome ? outcome.memory : undefined
  // The size of a net.Socket with its streams.
  expect(memory?.javascript).toBeGreaterThan(500)
  expect(memory?.javascript).toBeLessThan(5000)
})

const cant: Readonly<Record<string, string>> = {
  'node descriptors': 'Node.js passes no descriptors',
  'bun descriptors': 'Bun passes no descriptors',
  'deno descriptors': 'Deno passes no descriptors',
  'deno datagrams': 'Deno’s datagrams are not stable',
}

const otherCases = cases.filter(({ mode }) => mode !== 'echo' && mode !== 'lines')

describe.each(otherCases)('$name', (one) => {
  it.for(others)('is measured for %s', async (name, test) => {
    skipUnless(test, needOf(name))
    skipUnless(test, cant[`${name} ${one.name}`] ?? null)
    // The load compares every byte.
    const settings = { rounds: 1, seconds: 0.3, warm: 0.02, progress: () => {} }
    const outcomes = await measure(one, [contenderOf(name)], settings)
    expect(outcomes.get(name)).not.toHaveProperty('failure')
    const [line] = report(one, outcomes).lines
    expect(line?.throughput?.median).toBeGreaterThan(0)
    expect(line?.cpu?.median).toBeGreaterThan(0)
  })
})
