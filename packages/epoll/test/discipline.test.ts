import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { connect, type Socket } from 'node:net'
import { join } from 'node:path'
import { guardDescriptors, needProgram, skipUnless, temporaryDirectory } from '@linux-sockets/testkit'
import { describe, expect, it } from 'vitest'
import { type ServerProcess, startServer } from './child.js'

guardDescriptors()

const ECHO = 'const server = serve(reactor, listening, { data: (connection, chunk) => void connection.write(chunk) })'

describe('the system calls of a server', () => {
  it.for([
    ["on Node's loop", '', ['wait of libuv', 'wait', 'recvfrom', 'sendto']],
    ['in a reactor that runs the thread', 'reactor.run()', ['wait', 'recvfrom', 'sendto']],
    [
      "in one that runs on Node's loop",
      'reactor.run({ lead: false })',
      ['wait of libuv', 'wait', 'recvfrom', 'sendto'],
    ],
  ] as const)('are the minimum for each message, %s', async ([_name, run, expected], test) => {
    skipUnless(test, needProgram('strace'))
    const traced = await traceServer(`${ECHO}\n${run}`, QUIET)
    const client = await dial(traced.server)
    await traced.mark('start')
    await pingPong(client, EXCHANGES)
    await traced.mark('done')
    client.destroy()
    const calls = between(await traced.end(), 'start', 'done')

    const ours = calls[calls.findIndex(({ name }) => name === 'recvfrom') - 1]?.fd
    const names = calls.map(({ name, fd }) => (isWait(name) ? (fd === ours ? 'wait' : 'wait of libuv') : name))
    // libuv first looks without waiting where a timer runs, as V8 has some.
    const once = names.filter((name, i) => name !== 'wait of libuv' || name !== names[i - 1])
    const exchanges = once
      .slice(0, once.lastIndexOf('sendto') + 1)
      .join()
      .split(/(?<=sendto),/)
    expect(exchanges).toHaveLength(EXCHANGES)
    // With the first connections the reactor's own wait leads again, which it had to give up for the mark.
    expect(new Set(exchanges.slice(2))).toEqual(new Set([expected.join()]))
  })

  it('wait for EPOLLOUT only while something is queued', async (test) => {
    skipUnless(test, needProgram('strace'))
    const traced = await traceServer(`setOption(listening, SO_SNDBUF, 16384)\n${ECHO}`)
    const client = await dial(traced.server)
    await pingPong(client, 20)
    await traced.mark('full')
    const sent = Buffer.alloc(1 << 20, 'x')
    client.write(sent)
    for (let received = 0; received < sent.length; ) received += (await once(client, 'data'))[0].length
    await pingPong(client, 5)
    client.end()
    await once(client.resume(), 'close')
    const calls = await traced.end()

    expect(between(calls, undefined, 'full').filter(arms)).toEqual([])
    expect(between(calls, 'full', undefined).filter(arms).length).toBeGreaterThan(0)
    expect(violations(calls)).toEqual([])
  })

  it('leave nothing unread, except beyond the budget of a turn', async (test) => {
    skipUnless(test, needProgram('strace'))
    const traced = await traceServer(`
      let bytes = 0
      const server = serve(reactor, listening, { data: (_connection, chunk) => { bytes += chunk.length } })
      orders.bytes = () => bytes`)
    const clients = await Promise.all(Array.from({ length: 4 }, () => dial(traced.server)))
    for (const client of clients) {
      for (let i = 0; i < 16; i++) client.write(Buffer.alloc(100_000))
      client.end(Buffer.alloc(1))
    }
    await Promise.all(clients.map((client) => once(client.resume(), 'close')))
    expect(await traced.server.ask<number>('bytes')).toBe(clients.length * (16 * 100_000 + 1))
    expect(violations(await traced.end())).toEqual([])
  })
})

const EXCHANGES = 50

async function dial({ port }: ServerProcess): Promise<Socket> {
  const client = connect({ port, host: '127.0.0.1', noDelay: true })
  await once(client, 'connect')
  return client
}

async function pingPong(client: Socket, exchanges: number): Promise<void> {
  for (let i = 0; i < exchanges; i++) {
    client.write('ping')
    expect(String((await once(client, 'data'))[0])).toBe('ping')
  }
}

/** The calls between two marks, or from the beginning, or to the end. */
function between(calls: readonly Call[], from: string | undefined, to: string | undefined): readonly Call[] {
  const at = (mark: string) => {
    const index = calls.findIndex(({ args }) => args.includes(`"/mark/${mark}"`))
    if (index < 0) throw new Error(`no mark ${mark}`)
    return index
  }
  return calls.slice(from === undefined ? 0 : at(from) + 1, to === undefined ? undefined : at(to))
}

const isWait = (name: string) => name.startsWith('epoll_') && name !== 'epoll_ctl'
const arms = ({ name, args }: Call) => name === 'epoll_ctl' && args.includes('EPOLLOUT')

/** The state of a connection, as its calls show it. */
interface Seen {
  armed: boolean
  /** Whether the last send was short: something is queued. */
  queued: boolean
  /** Whether an event said so since. */
  writable: boolean
  /** Whether an event said so, and no receive has found since that nothing is left. */
  unread: boolean
  /** Whether no receive has followed an event yet. */
  untouched: boolean
  readsOfTurn: number
  /** Whether the peer has ended: each event says EPOLLIN from then on. */
  ended: boolean
}

/**
 * Returns where the calls of a server that neither pauses nor corks break the rules. The rules are checked whenever the server
 * is about to wait: EPOLLOUT is on exactly while the last send was short; until an EPOLLOUT nothing is sent; and readable bytes
 * were read until a short or failed receive, or as often as the budget allows.
 */
function violations(calls: readonly Call[]): string[] {
  const found: string[] = []
  const connections = new Map<number, Seen>()
  const byData = new Map<string, number>()
  let epoll = -1
  const check = (index: number) => {
    for (const [fd, seen] of connections) {
      if (seen.armed !== seen.queued) found.push(`${index}: ${fd} is ${seen.armed ? 'armed wrongly' : 'not armed'}`)
      if (seen.unread && seen.readsOfTurn > 0 && seen.readsOfTurn < BUDGET) found.push(`${index}: ${fd} is not drained`)
      if (seen.untouched) found.push(`${index}: ${fd} is not read at all`)
      seen.readsOfTurn = 0
    }
  }
  for (const [index, { name, fd, args, result }] of calls.entries()) {
    const seen = connections.get(name === 'epoll_ctl' ? Number(args.split(', ')[2]) : fd)
    if (name === 'accept4' && result >= 0) {
      connections.set(result, {
        armed: false,
        queued: false,
        writable: false,
        unread: false,
        untouched: false,
        readsOfTurn: 0,
        ended: false,
      })
    } else if (name === 'epoll_ctl' && seen !== undefined) {
      epoll = fd
      seen.armed = args.includes('EPOLLOUT')
      byData.set(dataOf(args) as string, Number(args.split(', ')[2]))
    } else if (isWait(name)) {
      check(index)
      if (fd !== epoll) continue
      for (const event of args.match(/\{events=.*?u64=\d+/g) ?? []) {
        const ready = connections.get(byData.get(dataOf(event) as string) as number)
        if (ready === undefined) continue
        if (/EPOLLIN\b/.test(event) && !ready.ended) ready.unread = ready.untouched = true
        if (/EPOLLOUT\b/.test(event)) ready.writable = true
      }
    } else if (name === 'recvfrom' && seen !== undefined) {
      seen.readsOfTurn++
      seen.untouched = false
      seen.unread = result === CHUNK
      seen.ended = result === 0
    } else if ((name === 'sendto' || name === 'sendmsg') && seen !== undefined) {
      if (seen.queued && !seen.writable) found.push(`${index}: ${fd} sends while it has to wait`)
      seen.queued = result < wantedBy(name, args)
      if (seen.queued) seen.writable = false
    } else if (name === 'close') {
      connections.delete(fd)
    }
  }
  return found
}

/** Four receives of 64 KiB. */
const BUDGET = 4
const CHUNK = 64 * 1024

const dataOf = (args: string) => /u64=(\d+)/.exec(args)?.[1]

/** The number of bytes that a call was to send. */
function wantedBy(name: string, args: string): number {
  if (name === 'sendto') return Number(args.split(', ')[2])
  return [...args.matchAll(/iov_len=(\d+)/g)].reduce((sum, [, length]) => sum + Number(length), 0)
}

interface Call {
  readonly name: string
  /** The first argument. */
  readonly fd: number
  /** All arguments, as strace writes them. */
  readonly args: string
  /** −1 for an error. */
  readonly result: number
}

interface Traced {
  readonly server: ServerProcess
  /** Puts a mark into the list of calls. */
  mark(name: string): Promise<void>
  /** The calls of the server's main thread. */
  end(): Promise<Call[]>
}

/** Without V8's other threads and timers, which wake Node's loop now and then. */
const QUIET = ['--single-threaded', '--v8-pool-size=0', '--no-memory-reducer']

async function traceServer(script: string, flags: readonly string[] = []): Promise<Traced> {
  const file = join(temporaryDirectory(), 'trace')
  const names = [
    ...[
      'epoll_ctl',
      '?epoll_wait',
      'epoll_pwait',
      '?epoll_pwait2',
      'accept4',
      'recvfrom',
      'recvmsg',
      'sendto',
      'sendmsg',
    ],
    ...['read', 'readv', 'write', 'writev', 'getsockopt', 'setsockopt', 'shutdown', 'fcntl', 'ioctl', 'close', 'statx'],
  ]
  const wrapper = ['strace', '-f', '--seccomp-bpf', '-v', '-s', '0', '-o', file, '-e', `trace=${names.join()}`]
  const server = await startServer(
    `import { statSync } from 'node:fs'
    for (const name of ['start', 'done', 'full']) {
      orders[name] = () => void statSync('/mark/' + name, { throwIfNoEntry: false })
    }
    ${script}`,
    { wrapper, flags },
  )
  return {
    server,
    mark: (name) => server.ask(name),
    async end() {
      await server.end()
      return parse(readFileSync(file, 'utf8'))
    },
  }
}

/** A call that another thread interrupts is written in two parts. */
function parse(trace: string): Call[] {
  const main = /^\d+/.exec(trace)?.[0]
  const calls: Call[] = []
  let begun = ''
  for (const line of trace.split('\n')) {
    if (line.split(' ', 1)[0] !== main) continue
    let text = line.replace(/^\d+ +/, '')
    if (text.endsWith('<unfinished ...>')) {
      begun = text.replace(/ *<unfinished ...>$/, '')
      continue
    }
    text = text.replace(/^<\.\.\. \w+ resumed>/, () => begun)
    const [, name, args, result] = /^(\w+)\((.*)\) += (-?\d+)/.exec(text) ?? []
    if (name !== undefined && args !== undefined) {
      calls.push({ name, args, fd: Number.parseInt(args, 10), result: Number(result) })
    }
  }
  return calls
}
