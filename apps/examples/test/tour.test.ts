import { once } from 'node:events'
import { readdirSync } from 'node:fs'
import { connect } from 'node:net'
import { join, resolve } from 'node:path'
import { text } from 'node:stream/consumers'
import { guardDescriptors, type Program, runProgram, spawnProgram } from '@linux-sockets/testkit'
import { describe, expect, it } from 'vitest'

/** `udp.test.ts` runs them. */
const UDP_PROGRAMS = [
  'mdns',
  'multicast-chat',
  'dhcp-discover',
  'ntp',
  'dns-forwarder',
  'udp-meter',
  'ping',
  'file-blast',
]

guardDescriptors()

const built = resolve(import.meta.dirname, '../dist')

describe('the tour', () => {
  it('passes every step', async () => {
    const said = await runProgram(process.execPath, [join(built, 'tour.js')])
    const steps = said.split('\n').filter((line) => line.startsWith('✓'))
    expect(steps.length).toBe(14)
    expect(said).not.toContain('✗')
    expect(said).toMatch(/All steps passed\.\n$/)
  })

  it('exits with 1 when a step fails', async () => {
    // The limit leaves no descriptors for the clients.
    const limited = ['-c', 'ulimit -n 60 && exec "$0" "$@"', process.execPath, join(built, 'tour.js')]
    const tour = spawnProgram('sh', limited)
    const { code, stdout } = await tour.finished
    expect(stdout).toMatch(/\d+ steps failed\.\n$/)
    expect(code).toBe(1)
  })
})

describe('the echo server', () => {
  it.each(['SIGINT', 'SIGTERM'] as const)('lets the connections finish on %s', async (signal) => {
    const server = spawnProgram(process.execPath, [join(built, 'echo-server.js'), '0'])
    const [, port] = await said(server, /:(\d+), for up to/)
    const client = connect(Number(port), '127.0.0.1')
    client.write('before')
    expect(String((await once(client, 'data'))[0])).toBe('before')
    server.process.kill(signal)
    await said(server, /1 connections have/)
    client.end(' and after')
    expect(await text(client)).toBe(' and after')
    const { code, stdout } = await server.finished
    expect(stdout).toMatch(/0 connections of 1, 0 broken; 16 B in, 16 B out/)
    expect(code).toBe(0)
  })
})

describe('the blocking echo server', () => {
  it('serves several connections at a time, and lets them finish on SIGINT', async () => {
    const server = spawnProgram(process.execPath, [join(built, 'blocking-echo.js'), '0'])
    const [, port] = await said(server, /:(\d+), for \d+ at a time/)
    const clients = [1, 2].map(() => connect(Number(port), '127.0.0.1'))
    for (const client of clients) {
      client.write('before')
      expect(String((await once(client, 'data'))[0])).toBe('before')
    }
    server.process.kill('SIGINT')
    await said(server, /may finish/)
    for (const client of clients) {
      client.end(' and after')
      expect(await text(client)).toBe(' and after')
    }
    const { code, stderr } = await server.finished
    expect([code, stderr]).toEqual([0, ''])
  })

  it('goes on serving when a connection breaks', async () => {
    const server = spawnProgram(process.execPath, [join(built, 'blocking-echo.js'), '0'])
    const [, port] = await said(server, /:(\d+), for (\d+) at a time/)
    // One for each thread.
    for (let i = 0; i < 4; i++) {
      const client = connect(Number(port), '127.0.0.1')
      client.write('before')
      await once(client, 'data')
      client.resetAndDestroy()
    }
    const client = connect(Number(port), '127.0.0.1')
    client.end('after')
    expect(await text(client)).toBe('after')
    server.process.kill('SIGINT')
    const { code, stderr } = await server.finished
    expect([code, stderr]).toEqual([0, 'a connection broke: recv ECONNRESET: connection reset by peer\n'.repeat(4)])
  })
})

describe('the information about a transfer', () => {
  const line = /^rtt \S+ ± \S+ ms · cwnd \d+ segments, .* · [\d.]+ [KM]iB\/s acknowledged, .* \(delivery_rate\) · /

  it('is printed once per second, as often as requested', async () => {
    const started = performance.now()
    const lines = (await runProgram(process.execPath, [join(built, 'tcp-info.js'), '2'])).trimEnd().split('\n')
    expect(lines).toEqual([expect.stringMatching(line), expect.stringMatching(line)])
    expect(performance.now() - started).toBeGreaterThan(1900)
  })

  it('is printed until Ctrl-C', async () => {
    const program = spawnProgram(process.execPath, [join(built, 'tcp-info.js')])
    await said(program, /^rtt/)
    program.process.kill('SIGINT')
    const { code, stderr } = await program.finished
    expect([code, stderr]).toEqual([0, ''])
  })
})

describe('every program', () => {
  // Without those that other tests run, parts of programs, and those that don't end.
  const others = ['tour', 'report', 'echo-server', 'tcp-info', 'dns-message', ...UDP_PROGRAMS].map(
    (name) => `${name}.ts`,
  )
  const ended = readdirSync(resolve(import.meta.dirname, '../src')).filter((file) => !others.includes(file))

  it.each(ended)('%s runs by itself', async (file) => {
    const said = await runProgram(process.execPath, [join(built, file.replace('.ts', '.js'))])
    expect(said.trim()).not.toBe('')
  })
})

/** Waits until a program has printed a match of the pattern. */
async function said(program: Program, pattern: RegExp): Promise<RegExpExecArray> {
  for (;;) {
    const match = pattern.exec(program.stdout)
    if (match !== null) return match
    if (program.process.stdout === null) throw new Error('the program has no standard output')
    await Promise.race([
      once(program.process.stdout, 'data'),
      program.finished.then(({ stderr }) => Promise.reject(new Error(stderr))),
    ])
  }
}
