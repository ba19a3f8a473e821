import { AsyncLocalStorage } from 'node:async_hooks'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { connect } from 'node:net'
import { join } from 'node:path'
import { buffer } from 'node:stream/consumers'
import { setImmediate } from 'node:timers/promises'
import { type InetAddress, type Ipv4Address, readable, Socket, type SystemError } from '@linux-sockets/native-core'
import { AF_INET, AF_UNIX, EPOLLIN, SOCK_STREAM } from '@linux-sockets/native-core/constants'
import {
  expectErrno,
  guardDescriptors,
  needProgram,
  openDescriptors,
  runProgram,
  skipUnless,
  spawnProgram,
  temporaryDirectory,
  withFault,
} from '@linux-sockets/testkit'
import { describe, expect, it, onTestFinished } from 'vitest'
import {
  adopt,
  type Connection,
  type ConnectionOptions,
  connect as dial,
  type Handlers,
  listen,
  Reactor,
  serve,
} from '../src/index.js'
import { type ServerProcess, startServer } from './child.js'

guardDescriptors()

/** An echo server that records the calls of its handlers, and first queues `greeting` bytes. */
const script = (greeting = 0) => `
  const told = []
  const server = serve(reactor, listening, {
    open(connection) {
      told.push('open')
      if (${greeting} === 0) return
      connection.cork()
      connection.write(Buffer.alloc(${greeting}, 'g'))
      connection.uncork()
    },
    data(connection, chunk) { if (!connection.write(chunk)) connection.pause() },
    drain: (connection) => connection.resume(),
    error: (_connection, error) => { told.push(error.syscall + ' ' + error.code) },
    close() { told.push('close') },
  })
  orders.told = () => told.splice(0)
  orders.wouldBlock = () => server.statistics.wouldBlock
  orders.statistics = () => server.statistics
  orders.size = () => reactor.size`

/** Makes system calls of the server fail: `accept4:error=EMFILE:when=1`, counted for each thread by itself. */
async function faultyServer(faults: readonly string[], greeting?: number, trace = '/dev/null'): Promise<ServerProcess> {
  const calls = faults.map((fault) => fault.split(':', 1)[0])
  const injections = faults.flatMap((fault) => ['-e', `inject=${fault}`])
  const wrapper = ['strace', '-f', '-q', '-o', trace, '-e', `trace=${calls.join()}`, ...injections]
  return await startServer(script(greeting), { wrapper })
}

/** Sends, and returns everything that comes back until the server has closed. */
async function exchange({ port }: ServerProcess, data: string | Uint8Array): Promise<Buffer> {
  const client = connect({ port, host: '127.0.0.1', noDelay: true })
  client.end(data)
  return await buffer(client)
}

/** The same, but the server may reset the connection. */
async function attempt(server: ServerProcess, data: string): Promise<string> {
  return await exchange(server, data).then(String, (error: NodeJS.ErrnoException) => `${error.code}`)
}

describe('interrupted system calls', () => {
  it('are made again, without any effect', async (test) => {
    skipUnless(test, needProgram('strace'))
    const interrupted = ['?epoll_wait', '?epoll_pwait2', 'epoll_pwait', 'accept4', 'recvfrom', 'sendto', 'sendmsg']
    const trace = join(temporaryDirectory(), 'trace')
    const server = await faultyServer(
      interrupted.map((call) => `${call}:error=EINTR:when=2+2`),
      0,
      trace,
    )
    const sent = Buffer.from(Array.from({ length: 300_000 }, (_, i) => i % 251))
    for (let i = 0; i < 3; i++) expect((await exchange(server, sent)).equals(sent)).toBe(true)
    expect(await server.ask('told')).toEqual(Array.from({ length: 3 }, () => ['open', 'close']).flat())
    await server.end()
    const injected = readFileSync(trace, 'utf8').matchAll(/(accept4|recvfrom|sendto|epoll_p?wait)\(.*EINTR.*INJECTED/g)
    expect(new Set([...injected].map(([, call]) => call?.replace('pwait', 'wait')))).toEqual(
      new Set(['epoll_wait', 'accept4', 'recvfrom', 'sendto']),
    )
  })
})

describe('a receive that fails', () => {
  it.for(['ECONNRESET', 'ENOBUFS', 'ENOMEM', 'ETIMEDOUT'])(
    'with %s ends the connection, and no other',
    async (code, test) => {
      skipUnless(test, needProgram('strace'))
      const server = await faultyServer([`recvfrom:error=${code}:when=2`])
      const other = connect(server.port, '127.0.0.1')
      other.write('a')
      await once(other, 'data')
      expect(await attempt(server, 'lost')).not.toBe('lost')
      expect(await server.ask('told')).toEqual(['open', 'open', `recv ${code}`, 'close'])

      other.end('b')
      expect(String(await buffer(other))).toBe('b')
      expect(await attempt(server, 'next')).toBe('next')
      expect(await server.ask('told')).toEqual(['close', 'open', 'close'])
      expect(await server.ask('size')).toBe(1)
      await server.end()
    },
  )

  it('with EAGAIN waits for the next bytes', async (test) => {
    skipUnless(test, needProgram('strace'))
    const server = await faultyServer(['recvfrom:error=EAGAIN:when=1'])
    const client = connect({ port: server.port, host: '127.0.0.1', noDelay: true })
    client.write('a')
    await expect.poll(() => server.ask('wouldBlock')).toBe(1)
    client.end('b')
    expect(String(await buffer(client))).toBe('ab')
    expect(await server.ask('told')).toEqual(['open', 'close'])
    await server.end()
  })
})

describe('a send that fails', () => {
  const calls = [
    ['sendto', 'send', 0],
    ['sendmsg', 'sendmsg', 10],
  ] as const
  const codes = ['ECONNRESET', 'EPIPE', 'ENOBUFS', 'ENOMEM']
  it.for(calls.flatMap((call) => codes.map((code) => [...call, code] as const)))(
    'ends the connection, and no other: %s (%s, %i bytes queued) with %s',
    async ([call, syscall, greeting, code], test) => {
      skipUnless(test, needProgram('strace'))
      const server = await faultyServer([`${call}:error=${code}:when=1`], greeting)
      expect(await attempt(server, 'lost')).not.toContain('lost')
      expect(await server.ask('told')).toEqual(['open', `${syscall} ${code}`, 'close'])
      expect(await attempt(server, 'next')).toBe(`${'g'.repeat(greeting)}next`)
      expect(await server.ask('told')).toEqual(['open', 'close'])
      expect(await server.ask('size')).toBe(1)
      await server.end()
    },
  )

  it('with EAGAIN is made again when the socket takes bytes', async (test) => {
    skipUnless(test, needProgram('strace'))
    const server = await faultyServer(['sendto:error=EAGAIN:when=1+2'])
    for (const text of ['one', 'two', 'three']) expect(await attempt(server, text)).toBe(text)
    expect(await server.ask('wouldBlock')).toBeGreaterThanOrEqual(2)
    await server.end()
  })
})

describe('an accept that fails', () => {
  it.for(['EMFILE', 'ENFILE', 'ENOBUFS', 'ENOMEM', 'ECONNABORTED', 'EPROTO', 'EAGAIN'])(
    'with %s only delays the waiting connection',
    async (code, test) => {
      skipUnless(test, needProgram('strace'))
      const server = await faultyServer([`accept4:error=${code}:when=1`])
      expect(await attempt(server, 'patient')).toBe('patient')
      expect(await attempt(server, 'next')).toBe('next')
      const { accepted, errors } = await server.ask<{ accepted: number; errors: number }>('statistics')
      expect([accepted, errors]).toEqual([2, code === 'EAGAIN' ? 0 : 1])
      await server.end()
    },
  )

  it.for(['ENOSPC', 'ENOMEM'])('in epoll_ctl, with %s, affects that connection only', async (code, test) => {
    skipUnless(test, needProgram('strace'))
    using reactor = new Reactor()
    const listening = Socket.open(AF_INET, SOCK_STREAM)
    listening.bind({ family: 'ipv4', address: '127.0.0.1', port: 0 })
    listening.listen()
    const told: string[] = []
    const server = serve(
      reactor,
      listening,
      {
        state: () => void told.push('state'),
        open: () => told.push('open'),
        data: (connection, chunk) => void connection.write(chunk),
        error: () => told.push('error'),
        close: () => told.push('close'),
      },
      { delayed: (error) => told.push(error.code) },
    )
    // Node's loop would not survive the fault, so its registrations for a child process and the reactor are made before.
    await runProgram('true', [])
    using client = Socket.open(AF_INET, SOCK_STREAM)
    const { outcome, injected } = await withFault(`epoll_ctl:error=${code}:when=1`, async () => {
      client.connect(server.address as Ipv4Address)
      while (server.statistics.dropped === 0) await setImmediate()
    })
    expect([outcome.status, injected]).toEqual(['fulfilled', 1])
    expect(told).toEqual([code])
    expect(client.recv(Buffer.alloc(1))).toBe(0)

    const next = connect(server.address.port, '127.0.0.1')
    next.end('next')
    expect(String(await buffer(next))).toBe('next')
    expect(server.statistics).toMatchObject({ accepted: 1, dropped: 1, errors: 0 })
    expect(told).toEqual([code, 'state', 'open', 'close'])
    await server.drain()
  })

  it.for(['ENOSPC', 'ENOMEM'])('in epoll_ctl, with %s, delays an exclusive server that resumes', async (code, test) => {
    skipUnless(test, needProgram('strace'))
    const reactor = new Reactor()
    const told: string[] = []
    const server = listen(
      reactor,
      '127.0.0.1:0',
      { data: (connection, chunk) => void connection.write(chunk) },
      { exclusive: true, delayed: (error) => told.push(error.code), ended: () => told.push('ended') },
    )
    const { port } = server.address as InetAddress
    reactor.waker(() => {})
    // Each change is two calls: the first ends the former registration.
    const fault = `epoll_ctl:error=${code}:when=2`
    for (const paused of [false, true]) {
      if (paused) server.pause()
      const { injected } = await withFault(fault, () => void (paused ? server.resume() : server.pause()))
      expect(injected).toBe(1)
      server.resume()
      const client = connect(port, '127.0.0.1')
      client.end('x')
      expect(String(await buffer(client))).toBe('x')
    }
    expect(told).toEqual([code])

    // Closing the reactor during the delay ends the server.
    server.pause()
    await withFault(fault, () => void server.resume())
    reactor.close()
    while (!server.closed) await setImmediate()
    await server.drain()
    expect(told).toEqual([code, code])
  })

  it('leaves a watch that does not take another descriptor of the same number for its own', async (test) => {
    skipUnless(test, needProgram('strace'))
    using reactor = new Reactor()
    reactor.waker(() => {})
    const [mine, peer] = Socket.pair(AF_UNIX, SOCK_STREAM)
    const { fd } = mine
    const watching = reactor.watchExclusive(mine, EPOLLIN, () => {})
    await withFault('epoll_ctl:error=ENOMEM:when=2', () => watching.modify(0))
    mine.close()
    const [other, end] = Socket.pair(AF_UNIX, SOCK_STREAM)
    expect([other.fd, end.fd]).toContain(fd)
    expectErrno(() => watching.modify(EPOLLIN), 'EBADF')
    for (const socket of [peer, other, end]) socket.close()
  })

  it('to resume an exclusive watch is tried again by the next change', async (test) => {
    skipUnless(test, needProgram('strace'))
    using reactor = new Reactor()
    const [mine, peer] = Socket.pair(AF_UNIX, SOCK_STREAM)
    let watched = 0
    const watching = reactor.watchExclusive(mine, EPOLLIN, () => {
      watched++
      watching.stop()
    })
    // The first of both calls ends the former registration.
    const { outcome, injected } = await withFault('epoll_ctl:error=ENOMEM:when=2', () => watching.modify(0))
    expect([outcome.status, injected, watching.events, reactor.size]).toEqual(['rejected', 1, 0, 0])
    watching.modify(EPOLLIN)
    peer.send(Buffer.from('x'))
    while (watched === 0) await setImmediate()
    expect(reactor.size).toBe(0)
    mine.close()
    peer.close()
  })

  it('for good calls `ended` in the context of `serve`, and `drain` waits for the connections that go on', async (test) => {
    skipUnless(test, needProgram('strace'))
    using reactor = new Reactor()
    const listening = Socket.open(AF_INET, SOCK_STREAM)
    listening.bind({ family: 'ipv4', address: '127.0.0.1', port: 0 })
    listening.listen()
    const { port } = listening.localName
    const storage = new AsyncLocalStorage<string>()
    const told: unknown[] = []
    let tell!: () => void
    const ended = new Promise<void>((resolve) => {
      tell = resolve
    })
    const server = storage.run('mine', () =>
      serve(
        reactor,
        listening,
        { data: (connection, chunk) => void connection.write(chunk) },
        {
          ended({ message }) {
            told.push(storage.getStore(), message)
            tell()
          },
        },
      ),
    )
    const client = connect(port, '127.0.0.1')
    client.write('before')
    await once(client, 'data')
    const { injected } = await withFault('accept4:error=EINVAL:when=1', async () => {
      connect(port, '127.0.0.1').on('error', () => {})
      await ended
    })
    expect(injected).toBe(1)
    expect(told).toEqual(['mine', expect.stringContaining('EINVAL')])
    expect([listening.closed, server.connections.size]).toEqual([true, 1])
    const leftAtEnd = expectErrno(() => server.drain({ timeout: 60_000 }), 'EINVAL').then(() => server.connections.size)
    client.end('after')
    expect(String(await buffer(client))).toBe('after')
    expect(await leftAtEnd).toBe(0)
  })

  it('for good is an uncaught exception without the option `ended`', async () => {
    const script = `
      import { Socket, dup } from '@linux-sockets/native-core'
      import { AF_INET, SHUT_RDWR, SOCK_STREAM } from '@linux-sockets/native-core/constants'
      import { Reactor, serve } from '@linux-sockets/epoll'
      const listening = Socket.open(AF_INET, SOCK_STREAM)
      listening.bind({ family: 'ipv4', address: '127.0.0.1', port: 0 })
      listening.listen()
      const other = Socket.from(dup(listening))
      const server = serve(new Reactor(), listening, { data: () => {} })
      process.on('uncaughtException', ({ syscall, code }, origin) => {
        console.log(syscall, code, origin)
        other.close()
        server.drain().catch((error) => console.log(error.code))
      })
      other.shutdown(SHUT_RDWR)`
    const said = await runProgram(process.execPath, ['--input-type=module', '-e', script], { cwd: import.meta.dirname })
    expect(said).toBe('accept4 EINVAL uncaughtException\nEINVAL\n')
  })
})

describe('a reactor in run', () => {
  /** A script in which the reactor takes the lead many times, and prints each. */
  const script = `
    import { Socket } from '@linux-sockets/native-core'
    import { EPOLLIN } from '@linux-sockets/native-core/constants'
    import { Reactor } from '@linux-sockets/epoll'
    const reactor = new Reactor()
    const [a, b] = Socket.pair()
    const byte = Buffer.from('x')
    let events = 0
    reactor.register(a, EPOLLIN, () => {
      a.recv(byte)
      if (++events === 20) reactor.close()
      else setImmediate(() => b.send(byte))
    })
    b.send(byte)
    await reactor.run()
    console.log(events)
    a.close()
    b.close()`

  /** Node's loop in the epoll instance of the reactor that leads. */
  const LOOPS_DATA = /EPOLL_CTL_ADD.*u64=18446744073709551615/

  /** Runs the script, and returns what it has printed and its main thread's calls of epoll_ctl(2). */
  async function trace(...faults: string[]): Promise<{ code: number | null; stdout: string; calls: string[] }> {
    const log = join(temporaryDirectory(), 'trace')
    const args = ['-f', '-q', '-o', log, '-e', 'trace=epoll_ctl', ...faults]
    const program = spawnProgram('strace', [...args, process.execPath, '--input-type=module', '-e', script], {
      cwd: import.meta.dirname,
    })
    const { code, stdout } = await program.finished
    const lines = readFileSync(log, 'utf8').split('\n')
    const [main] = lines.find((line) => LOOPS_DATA.test(line))?.split(' ') ?? []
    return { code, stdout, calls: lines.filter((line) => line.startsWith(`${main} `) && line.includes('epoll_ctl(')) }
  }

  it('goes on when Node’s loop can’t be taken out of its epoll instance', async (test) => {
    skipUnless(test, needProgram('strace'))
    // Faults are counted, so the call to fail is found first.
    for (let attempt = 1; ; attempt++) {
      const { calls } = await trace()
      const led = calls.findIndex((line) => LOOPS_DATA.test(line))
      expect(led).toBeGreaterThan(-1)
      const loop = /EPOLL_CTL_ADD, (\d+),/.exec(calls[led] as string)?.[1]
      const ended = calls.findIndex((line, i) => i > led && line.includes(`EPOLL_CTL_DEL, ${loop},`))
      const { code, stdout, calls: met } = await trace('-e', `inject=epoll_ctl:error=ENOMEM:when=${ended + 1}`)
      const injected = met.find((line) => line.includes('INJECTED')) ?? ''
      if (!injected.includes(`EPOLL_CTL_DEL, ${loop},`) && attempt < 5) continue
      expect(injected).toContain(`EPOLL_CTL_DEL, ${loop},`)
      expect({ code, stdout }).toEqual({ code: 0, stdout: '20\n' })
      return
    }
  })
})

it('a waker opens nothing before it has looked at its callback', async (test) => {
  skipUnless(test, needProgram('strace'))
  using reactor = new Reactor()
  const { outcome, injected } = await withFault('eventfd2:error=EMFILE', () => reactor.waker(null as never))
  expect(injected).toBe(0)
  expect(outcome).toMatchObject({ reason: { message: 'callback must be a function, not null' } })
})

/** Both ends of a connection over loopback. */
async function tcpPair(): Promise<[mine: Socket<InetAddress>, peer: Socket<InetAddress>]> {
  using listening = Socket.open(AF_INET, SOCK_STREAM)
  listening.bind({ family: 'ipv4', address: '127.0.0.1', port: 0 })
  listening.listen()
  const peer = Socket.open(AF_INET, SOCK_STREAM)
  peer.connect(listening.localName)
  await readable(listening)
  const mine = listening.accept() as Socket<InetAddress>
  onTestFinished(() => {
    mine.close()
    peer.close()
  })
  return [mine, peer]
}

/** Handlers that record their calls. */
function noting(): { told: string[]; handlers: Handlers } {
  const told: string[] = []
  return {
    told,
    handlers: {
      open: () => told.push('open'),
      data: () => {},
      error: (_connection, error) => told.push((error as SystemError).code),
      close: () => told.push('close'),
    },
  }
}

describe('epoll_ctl that fails', () => {
  it('leaves a socket to its owner, and nothing open', async (test) => {
    skipUnless(test, needProgram('strace'))
    using reactor = new Reactor()
    reactor.waker(() => {})
    const [mine, peer] = await tcpPair()
    const { told, handlers } = noting()
    const { outcome } = await withFault('epoll_ctl:error=ENOMEM:when=1', () => {
      return adopt(reactor, mine, handlers, { idleTimeout: 1000 })
    })
    expect(outcome).toMatchObject({ status: 'rejected', reason: { code: 'ENOMEM', syscall: 'epoll_ctl' } })
    expect([reactor.size, reactor.timers.size, told, mine.closed]).toEqual([1, 0, [], false])
    expect(mine.send(Buffer.from('still here'))).toBe(10)
    await readable(peer)
    expect(peer.recv(Buffer.alloc(20))).toBe(10)
    const again = adopt(reactor, mine, handlers)
    again.abort()
    expect(told).toEqual(['open', 'close'])
  })

  it('closes the socket of a connection that can’t be opened', async (test) => {
    skipUnless(test, needProgram('strace'))
    using reactor = new Reactor()
    reactor.waker(() => {})
    using listening = Socket.open(AF_INET, SOCK_STREAM)
    listening.bind({ family: 'ipv4', address: '127.0.0.1', port: 0 })
    listening.listen()
    const { told, handlers } = noting()
    let leaked: number | undefined
    const { outcome } = await withFault('epoll_ctl:error=ENOSPC:when=1', () => {
      const before = openDescriptors().length
      try {
        return dial(reactor, listening.localName, handlers, { connectTimeout: 1000 })
      } finally {
        leaked = openDescriptors().length - before
      }
    })
    expect(outcome).toMatchObject({ status: 'rejected', reason: { code: 'ENOSPC', syscall: 'epoll_ctl' } })
    expect([leaked, reactor.size, reactor.timers.size, told]).toEqual([0, 1, 0, []])
  })

  it('breaks a connection that would have to wait for EPOLLOUT, once, and its peer sees a reset', async (test) => {
    skipUnless(test, needProgram('strace'))
    using reactor = new Reactor()
    reactor.waker(() => {})
    const [mine, peer] = await tcpPair()
    const { told, handlers } = noting()
    const connection = adopt(reactor, mine, handlers, { idleTimeout: 1000 })
    const { outcome } = await withFault('epoll_ctl:error=ENOMEM:when=1', () => connection.write(Buffer.alloc(8 << 20)))
    expect(outcome).toEqual({ status: 'fulfilled', value: true })
    expect([told, connection.closed, connection.queuedBytes]).toEqual([['open', 'ENOMEM', 'close'], true, 0])
    expect([reactor.size, reactor.timers.size, mine.closed]).toEqual([1, 0, true])
    await expectReset(peer)
  })
})

describe('bytes that are lost before any is queued', () => {
  it.each<[what: string, options: ConnectionOptions, (connection: Connection) => void, told: string[]]>([
    [
      'by maxQueuedBytes',
      { highWaterMark: 4, maxQueuedBytes: 4 },
      (connection) => {
        connection.cork()
        connection.write(Buffer.alloc(5))
      },
      ['open', 'ENOBUFS', 'close'],
    ],
    ['by abort', {}, (connection) => connection.abort(), ['open', 'close']],
  ])('%s make the peer see a reset', async (_, options, lose, expected) => {
    using reactor = new Reactor()
    const [mine, peer] = await tcpPair()
    const { told, handlers } = noting()
    lose(adopt(reactor, mine, handlers, options))
    expect(told).toEqual(expected)
    await expectReset(peer)
  })

  it('by a write that fails make the peer see a reset', async (test) => {
    skipUnless(test, needProgram('strace'))
    using reactor = new Reactor()
    const [mine, peer] = await tcpPair()
    const { told, handlers } = noting()
    const connection = adopt(reactor, mine, handlers)
    const { injected } = await withFault('sendto:error=ENOBUFS:when=1', () => connection.write('lost'))
    expect([injected, told]).toEqual([1, ['open', 'ENOBUFS', 'close']])
    await expectReset(peer)
  })
})

async function expectReset(peer: Socket): Promise<void> {
  const buffer = Buffer.alloc(1 << 20)
  const read = async () => {
    for (;;) {
      await readable(peer)
      if (peer.recv(buffer) === 0) return
    }
  }
  await expectErrno(read, 'ECONNRESET')
}
