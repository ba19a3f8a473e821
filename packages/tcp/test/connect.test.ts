import { AsyncLocalStorage } from 'node:async_hooks'
import { once } from 'node:events'
import { readdirSync, readFileSync } from 'node:fs'
import { type AddressInfo, createServer, type Server } from 'node:net'
import { join, resolve } from 'node:path'
import { setImmediate } from 'node:timers/promises'
import {
  encodeAddress,
  errno,
  formatAddress,
  getOption,
  type InetAddress,
  type Ipv4Address,
  type Socket,
  SystemError,
  setOption,
  watch,
} from '@linux-sockets/native-core'
import { EPOLLIN, EPOLLOUT } from '@linux-sockets/native-core/constants'
import { SO_KEEPALIVE } from '@linux-sockets/native-core/options'
import type { SocketStream } from '@linux-sockets/native-core/streams'
import {
  createHosts,
  createNamespace,
  expectErrno,
  guardDescriptors,
  needNamespaces,
  needProgram,
  runProgram,
  skipUnless,
  temporaryDirectory,
  waitForLine,
} from '@linux-sockets/testkit'
import { describe, expect, expectTypeOf, it, onTestFinished } from 'vitest'
import { type ConnectAttempt, connect, listen, TCP_USER_TIMEOUT } from '../src/index.js'
import { anyPort, fullListener } from './loopback.js'

guardDescriptors()

describe('connect', () => {
  it('connects to a server of another implementation', async () => {
    const address = await echoServer()
    const stream = await connect(address)
    stream.end('over and back')
    expect(Buffer.concat(await stream.toArray()).toString()).toBe('over and back')
  })

  it('takes an encoded address', async () => {
    const stream = await connect(encodeAddress(await echoServer()))
    expect(stream.remoteAddress).toBe('127.0.0.1')
    await closed(stream)
  })

  it('rejects with the attempt’s own error if there was only one', async () => {
    const address = await unusedAddress()
    const error = await expectErrno(() => connect(address), 'ECONNREFUSED')
    expect(error).toMatchObject({ name: 'SystemError', syscall: 'connect' })
    expect(error.message).toContain(`127.0.0.1:${address.port}`)
    await expectErrno(() => connect([address]), 'ECONNREFUSED')
  })

  it('tries the next address after a failure', async () => {
    const address = await echoServer()
    const stream = await connect([await unusedAddress(), { family: 'ipv6', address: '::1', port: 1 }, address])
    expect(stream.remotePort).toBe(address.port)
    await closed(stream)
  })

  it('rejects with all errors when no address works', async () => {
    const [first, second] = [await unusedAddress(), await unusedAddress()]
    const error = await connect(new Set([first, second])).catch((reason) => reason)
    expect(error).toBeInstanceOf(AggregateError)
    expect(error.code).toBe('ECONNREFUSED')
    expect(error.errors.map(({ code, detail }: { code: string; detail: string }) => [code, detail])).toEqual([
      ['ECONNREFUSED', `127.0.0.1:${first.port}`],
      ['ECONNREFUSED', `127.0.0.1:${second.port}`],
    ])
  })

  it('puts the address in each error, even if the attempt failed to bind or prepare', async () => {
    const [first, second] = [await unusedAddress(), encodeAddress(await unusedAddress())]
    const text = formatAddress(second)
    const local = { ...anyPort, address: '192.0.2.1' }
    const unbound = await connect([first, second], { localAddress: local }).catch((reason) => reason)
    expect(unbound.errors).toMatchObject([
      { code: 'EADDRNOTAVAIL', syscall: 'bind', address: first },
      { code: 'EADDRNOTAVAIL', syscall: 'bind', address: second },
    ])
    expect(unbound.message).toContain(`127.0.0.1:${first.port}: bind EADDRNOTAVAIL 192.0.2.1:0`)
    expect(unbound.message).toContain(`${text}: bind EADDRNOTAVAIL 192.0.2.1:0`)

    const prepare = (socket: Socket) => setOption(socket, TCP_USER_TIMEOUT, -1)
    const unprepared = await connect([first, second], { prepare }).catch((reason) => reason)
    expect(unprepared.errors.every((error: unknown) => error instanceof SystemError)).toBe(true)
    expect(unprepared.errors).toMatchObject([
      { code: 'EINVAL', syscall: 'setsockopt', address: first },
      { code: 'EINVAL', syscall: 'setsockopt', address: second },
    ])

    // The message has the address only once if the error has it anyway.
    const refused = await connect([first, second]).catch((reason) => reason)
    expect(refused.errors).toMatchObject([{ address: first }, { address: second }])
    expect(refused.message.split(text)).toHaveLength(2)
  })

  it.each([
    ['an error', Object.assign(new Error('a mistake'), { code: 'MISTAKE' }), 'a mistake', 'MISTAKE'],
    ['a frozen one', Object.freeze(new SystemError(errno.EINVAL, 'prepare')), 'prepare EINVAL', 'EINVAL'],
    ['one with an address', Object.assign(new SystemError(errno.EINVAL, 'x'), { address: 1 }), 'x EINVAL', 'EINVAL'],
    ['no error', 'a mistake', 'a mistake', undefined],
    ['nothing', null, 'null', undefined],
    ['an object without a text', Object.create(null), '{}', undefined],
  ])('leaves alone what `prepare` throws each time: %s', async (_, thrown, message, code) => {
    const before = { ...thrown }
    const prepare = () => {
      throw thrown
    }
    const addresses = [anyPort, { ...anyPort, port: 1 }]
    const error = await connect(addresses, { prepare }).catch((reason) => reason)
    expect(error).toMatchObject({ name: 'AggregateError', code })
    for (const [i, part] of error.errors.entries()) {
      expect(part).toBeInstanceOf(Error)
      expect(part.cause).toBe(thrown)
      expect(part).toMatchObject({ message: expect.stringContaining(message), code, address: addresses[i] })
    }
    expect({ ...thrown }).toEqual(before)
    expect(error.message).toContain(`127.0.0.1:1: `)
  })

  it('lists the error of an invalid address among the others', async () => {
    async function* wrong() {
      yield null as unknown as InetAddress
      yield await unusedAddress()
    }
    const error = await connect(wrong()).catch((reason) => reason)
    expect(error.errors).toMatchObject([{ address: null, cause: expect.any(TypeError) }, { code: 'ECONNREFUSED' }])
  })

  it('accepts text, alone, in a list, and from an iterator', async () => {
    const { port } = await echoServer()
    const refused = formatAddress(await unusedAddress())
    const text = `127.0.0.1:${port}`
    async function* arriving() {
      yield 'localhost:80'
      yield refused
      yield text
    }
    for (const addresses of [text, [refused, text], new Set([text]), arriving()]) {
      const stream = await connect(addresses, { localAddress: '127.0.0.2:0' })
      expect([stream.remotePort, stream.localAddress]).toEqual([port, '127.0.0.2'])
      await closed(stream)
    }
    const error = await connect([refused, refused.replace('127.0.0.1', '127.0.0.3')]).catch((reason) => reason)
    expect(error.errors).toMatchObject([
      { address: { family: 'ipv4', address: '127.0.0.1' } },
      { code: 'ECONNREFUSED' },
    ])
  })

  it('lists the valid forms in the error for invalid text', async () => {
    async function* wrong() {
      yield 'localhost:80'
    }
    for (const addresses of ['localhost:80', ['127.0.0.1:1', 'localhost:80'], wrong()]) {
      await expect(connect(addresses)).rejects.toThrow(
        /^address must be an IP address with its port \(.*"localhost:80"$/,
      )
    }
    await expect(connect('127.0.0.1:1', { localAddress: '127.0.0.1' })).rejects.toThrow(/^localAddress must be an IP/)
    await expect(connect(undefined as never)).rejects.toThrow(/^address must be an object with a `family`, or text/)
  })

  it('lets an attempt continue when the next one starts, and takes the first that connects', async () => {
    const slow = await fullListener()
    const address = await echoServer()
    const stream = await connect([slow.localName, address], { attemptDelay: 10 })
    expect(stream.remotePort).toBe(address.port)
    await closed(stream)
  })

  it('takes an earlier attempt that connects after a later one was refused', async () => {
    const opened: Socket[] = []
    const listener = await fullListener()
    const stream = connect([listener.localName, await unusedAddress()], {
      attemptDelay: 10,
      prepare: (socket) => opened.push(socket),
    })
    // Once the second one has failed, there is room for the next SYN of the first one.
    while (opened.length < 2 || !opened[1]?.closed) await setImmediate()
    listener.accept()?.close()
    const { port } = listener.localName
    expect((await stream).remotePort).toBe(port)
    await closed(await stream)
  })

  it('fails at its timeout with an error for each attempt', async () => {
    const [first, second] = [await fullListener(), await fullListener()]
    const error = await connect([first.localName, second.localName], { attemptDelay: 10, timeout: 300 }).catch(
      (reason) => reason,
    )
    expect(error.code).toBe('ETIMEDOUT')
    expect(error.errors.map(({ code }: { code: string }) => code)).toEqual(['ETIMEDOUT', 'ETIMEDOUT'])
  })

  it('reports no further failure after `onAttempt` has thrown', async () => {
    const { localName } = await fullListener()
    const events: string[] = []
    const connecting = connect([localName, localName, localName], {
      attemptDelay: 10,
      timeout: 300,
      onAttempt({ event }) {
        events.push(event)
        if (event === 'fail') throw new Error('enough')
      },
    })
    await expect(connecting).rejects.toThrow('enough')
    expect(events.filter((event) => event === 'fail')).toHaveLength(1)
  })

  it('reports an error, even if `prepare` throws a value that is none', async () => {
    const told: unknown[] = []
    for (const thrown of ['text', undefined, new RangeError('own')]) {
      const prepare = () => {
        throw thrown
      }
      const onAttempt = ({ error }: ConnectAttempt) =>
        error && told.push([error instanceof Error, error.message, error.cause])
      await expect(connect(anyPort, { prepare, onAttempt })).rejects.toBe(thrown)
    }
    expect(told).toEqual([
      [true, "'text'", 'text'],
      [true, 'undefined', undefined],
      [true, 'own', undefined],
    ])
  })

  it('refuses an address of another family that an iterator delivers', async () => {
    const { address } = await receiver()
    async function* addresses() {
      yield '/run/x.sock'
      yield address
    }
    const errors: unknown[] = []
    const stream = await connect(addresses(), { onAttempt: ({ error }) => error && errors.push(error.message) })
    expect(errors).toEqual(['address must be one of IPv4 or IPv6, not /run/x.sock'])
    await closed(stream)
  })

  it('has exact types of addresses and attempts', async () => {
    const { address } = await receiver()
    const stream = await connect(address)
    expectTypeOf(stream).toEqualTypeOf<SocketStream<InetAddress>>()
    expectTypeOf(stream.peerName?.port).toEqualTypeOf<number | undefined>()
    const failed = (attempt: ConnectAttempt) => attempt.event === 'fail' && attempt.error.code
    expectTypeOf(failed).returns.toEqualTypeOf<false | string | undefined>()
    // @ts-expect-error: TCP has no such addresses.
    await expect(connect({ family: 'unix', path: '/run/x.sock' })).rejects.toThrow(TypeError)
    await closed(stream)
  })

  it('rejects if the iterable aborts the signal', async () => {
    const controller = new AbortController()
    const addresses = {
      [Symbol.asyncIterator]() {
        controller.abort(new Error('no more'))
        return { next: () => new Promise<never>(() => {}) }
      },
    }
    await expect(connect(addresses, { signal: controller.signal })).rejects.toThrow('no more')
  })

  it('alternates the families, and tries each address once', async () => {
    const order = async (addresses: Parameters<typeof connect>[0], interleave?: boolean) => {
      const tried: string[] = []
      await connect(addresses, {
        interleave,
        onAttempt: ({ event, address }) => event === 'start' && tried.push(formatAddress(address).replace(/:\d+$/, '')),
      }).catch(() => {})
      return tried.join(' ')
    }
    const { port } = await unusedAddress()
    const [six, four, other] = [`[::1]:${port}`, `127.0.0.1:${port}`, `127.0.0.2:${port}`]
    // ::1 has one address only, so the order is told by its place.
    expect(await order([four, other, six, four, six])).toBe('127.0.0.1 [::1] 127.0.0.2')
    expect(await order([four, other, six, four], false)).toBe('127.0.0.1 127.0.0.2 [::1]')
    async function* arriving(...addresses: string[]) {
      yield* addresses
    }
    expect(await order(arriving(four, other, four, six, six))).toBe('127.0.0.1 [::1] 127.0.0.2')
    expect(await order(arriving(four, other, six), false)).toBe('127.0.0.1 127.0.0.2 [::1]')
  })

  it('ends at its timeout even if equal addresses come without end', async () => {
    const refused = await unusedAddress()
    async function* endless() {
      for (;;) yield refused
    }
    await expectErrno(
      () => connect(endless(), { timeout: 1000 }).catch((error) => Promise.reject(error.errors?.[0] ?? error)),
      'ECONNREFUSED',
    )
  })

  it('never connects to itself, shares ports of connections to different peers', async (test) => {
    skipUnless(test, needNamespaces())
    const namespace = createNamespace()
    await namespace.run('sysctl', ['-w', 'net.ipv4.ip_local_port_range=40000 40001'])
    const program = `
      import { setImmediate } from 'node:timers/promises'
      import { connect, listen } from '@linux-sockets/tcp'
      const codes = new Set()
      for (const host of ['127.0.0.1', '[::1]']) {
        for (const port of [40000, 40001]) {
          for (let i = 0; i < 5; i++) codes.add((await connect(host + ':' + port).catch(({ code }) => ({ code }))).code)
        }
      }
      console.log([...codes].join())
      // No TIME_WAIT holds the port.
      listen('127.0.0.1:40000').close()
      const servers = [listen('127.0.0.1:50001'), listen('127.0.0.1:50002'), listen('[::1]:50003'), listen('[::1]:50004')]
      for (const server of servers) void server.run((stream) => stream.pipe(stream))
      const streams = []
      for (const { address } of [...servers, ...servers]) {
        const localAddress = { ...address, port: 0 }
        streams.push(await connect(address, { localAddress }).catch(({ code }) => code))
      }
      console.log(streams.map((stream) => typeof stream === 'string' ? stream : stream.localPort >> 1).join())
      process.exit()`
    const said = await namespace.run(process.execPath, ['--input-type=module', '--eval', program], {
      cwd: resolve(import.meta.dirname, '..'),
    })
    expect(said).toBe(`ECONNREFUSED\n${Array(8).fill(20_000)}\n`)
  })

  it('takes addresses that arrive one by one, and then ends their iterator', async () => {
    let returned = 0
    const [refused, address] = [await unusedAddress(), await echoServer()]
    async function* arriving() {
      try {
        yield refused
        await setImmediate()
        for (;;) yield address
      } finally {
        returned++
      }
    }
    const stream = await connect(arriving())
    expect(stream.remotePort).toBe(address.port)
    await closed(stream)
    await setImmediate()
    expect(returned).toBe(1)
  })

  it('lists the error of the iterator among the others', async () => {
    const mistake = new Error('no resolver')
    const refused = await unusedAddress()
    async function* broken() {
      yield refused
      throw mistake
    }
    const error = await connect(broken()).catch((reason) => reason)
    expect(error.errors).toContain(mistake)
    expect(error.errors).toContainEqual(expect.objectContaining({ code: 'ECONNREFUSED' }))
    await expect(connect((async function* () {})())).rejects.toThrow(TypeError)
  })

  it('waits 250 ms before the next attempt unless told otherwise', async () => {
    const { localName } = await fullListener()
    const address = await echoServer()
    const order: unknown[] = []
    const start = async (attemptDelay: number | undefined) => {
      let starts = 0
      const onAttempt = ({ event }: ConnectAttempt) => {
        if (event === 'start' && ++starts === 2) order.push(attemptDelay)
      }
      await closed(await connect([localName, address], { attemptDelay, onAttempt }))
    }
    // However late timers are, they fire in the order in which they are due.
    await Promise.all([start(240), start(undefined), start(260)])
    expect(order).toEqual([240, undefined, 260])
  })

  it('refuses an attempt delay below that of RFC 8305', () =>
    expect(connect(anyPort, { attemptDelay: 9 })).rejects.toThrow(RangeError))

  it('rejects when its signal is aborted, and starts no further attempt', async () => {
    const listener = await fullListener()
    const reason = new Error('no longer wanted')
    const controller = new AbortController()
    const attempt = connect([listener.localName, await echoServer()], { signal: controller.signal })
    await setImmediate()
    controller.abort(reason)
    await expect(attempt).rejects.toBe(reason)
    await expect(connect(anyPort, { signal: controller.signal })).rejects.toBe(reason)
  })

  it('ends at its timeout', async () => {
    const listener = await fullListener()
    const error = await expectErrno(() => connect(listener.localName, { timeout: 30 }), 'ETIMEDOUT')
    expect(error.syscall).toBe('connect')
  })

  it('binds to the given local address', async () => {
    const stream = await connect(await echoServer(), { localAddress: { ...anyPort, address: '127.0.0.2' } })
    expect(stream.localAddress).toBe('127.0.0.2')
    await closed(stream)
    await expectErrno(
      async () => connect(await echoServer(), { localAddress: { ...anyPort, address: '192.0.2.1' } }),
      'EADDRNOTAVAIL',
    )
  })

  it('sets options before it connects', async () => {
    const stream = await connect(await echoServer(), {
      prepare: (socket) => {
        expectErrno(() => socket.peerName, 'ENOTCONN')
        setOption(socket, TCP_USER_TIMEOUT, 10_000)
        setOption(socket, SO_KEEPALIVE, true)
      },
    })
    expect([getOption(stream, TCP_USER_TIMEOUT), getOption(stream, SO_KEEPALIVE)]).toEqual([10_000, true])
    await closed(stream)
  })

  it('fails with what `prepare` throws', async () => {
    const mistake = new Error('a mistake')
    const prepare = () => {
      throw mistake
    }
    await expect(connect(anyPort, { prepare })).rejects.toBe(mistake)
  })

  it('passes options to the stream', async () => {
    const stream = await connect(await echoServer(), { stream: { highWaterMark: 77 } })
    expect(stream.readableHighWaterMark).toBe(77)
    await closed(stream)
  })

  it('watches attempts and the stream with the function given', async () => {
    const watched: number[] = []
    const stream = await connect(await echoServer(), {
      stream: {
        watch: (target, events, callback, options) => {
          watched.push(events)
          return watch(target, events, callback, options)
        },
      },
    })
    expect(watched).toEqual([EPOLLOUT, EPOLLIN])
    await closed(stream)
  })

  it('reports the events of each attempt', async () => {
    const [refused, address] = [await unusedAddress(), await echoServer()]
    const told: ConnectAttempt[] = []
    const stream = await connect([refused, address], { onAttempt: (attempt) => told.push(attempt) })
    expect(told).toEqual([
      { event: 'start', address: refused },
      { event: 'fail', address: refused, error: expect.objectContaining({ code: 'ECONNREFUSED' }) },
      { event: 'start', address },
      { event: 'win', address },
    ])
    await closed(stream)

    const { localName } = await fullListener()
    const late: string[] = []
    const onAttempt = ({ event, error }: ConnectAttempt) => late.push(`${event} ${error?.code}`)
    await expectErrno(() => connect(localName, { timeout: 20, onAttempt }), 'ETIMEDOUT')
    expect(late).toEqual(['start undefined', 'fail ETIMEDOUT'])
  })

  it.each(['start', 'fail', 'win'])('rejects with the error that `onAttempt` throws at a %s', async (which) => {
    const mistake = new Error('a mistake')
    const opened: Socket[] = []
    const onAttempt = ({ event }: ConnectAttempt) => {
      if (event === which) throw mistake
    }
    const addresses = [await unusedAddress(), await echoServer()]
    await expect(connect(addresses, { onAttempt, prepare: (socket) => opened.push(socket) })).rejects.toBe(mistake)
    expect(opened.length).toBe({ start: 0, fail: 1 }[which] ?? 2)
    expect(opened.every((socket) => socket.closed)).toBe(true)
  })

  it('runs its callbacks in the context of its caller', async () => {
    const storage = new AsyncLocalStorage<string>()
    const seen = new Set<string | undefined>()
    const note = () => seen.add(storage.getStore())
    const addresses = [await unusedAddress(), await unusedAddress(), await echoServer()]
    const stream = await storage.run('caller', () => connect(addresses, { onAttempt: note, prepare: note }))
    expect([...seen]).toEqual(['caller'])
    await closed(stream)
  })

  it('binds to the local address of the attempt’s family', async () => {
    const { port } = await echoServer()
    const addresses = [
      { family: 'ipv6', address: '::1', port: 1 },
      { ...anyPort, port },
    ] as const
    const codes: unknown[] = []
    const stream = await connect(addresses, {
      localAddress: [
        { ...anyPort, address: '127.0.0.3' },
        { family: 'ipv6', address: '::1', port: 0 },
      ],
      onAttempt: ({ error }) => error && codes.push(error.code),
    })
    expect([stream.localAddress, codes]).toEqual(['127.0.0.3', ['ECONNREFUSED']])
    await closed(stream)
  })

  it('sends `fastOpen` after connecting if the peer has given no cookie', async () => {
    const { address, received } = await receiver()
    const stream = await connect([address], { fastOpen: Buffer.from('first ') })
    stream.end('then')
    expect(await received).toBe('first then')
    await closed(stream)
  })

  it('sends `fastOpen` with the SYN, each byte once', async (test) => {
    skipUnless(test, needNamespaces())
    const namespace = createNamespace()
    const program = `
      import { listen, connect, TCP_FASTOPEN, TCPI_OPT_SYN_DATA, tcpInfo } from '@linux-sockets/tcp'
      import { setOption } from '@linux-sockets/native-core'
      const server = listen({ family: 'ipv4', address: '127.0.0.1', port: 0 }, {
        prepare: (socket) => setOption(socket, TCP_FASTOPEN, 16),
      })
      server.run((stream) => stream.pipe(stream))
      for (const length of [10, 10, 200_000, 0]) {
        const fastOpen = Buffer.alloc(length, 'x')
        const stream = await connect(server.address, { fastOpen })
        const withSyn = (tcpInfo(stream).options & TCPI_OPT_SYN_DATA) !== 0
        stream.end('!')
        console.log(withSyn, Buffer.concat(await stream.toArray()).equals(Buffer.concat([fastOpen, Buffer.from('!')])))
      }
      server.close()`
    const run = async (enabled: number) => {
      await namespace.run('sysctl', ['-w', `net.ipv4.tcp_fastopen=${enabled}`])
      return namespace.run(process.execPath, ['--input-type=module', '--eval', program], { cwd: directory })
    }
    expect(await run(3)).toBe('false true\ntrue true\ntrue true\nfalse true\n')
    expect(await run(0)).toBe('false true\n'.repeat(4))
  })

  it('refuses `fastOpen` for more than one address', async () => {
    const fastOpen = Buffer.from('once')
    await expect(connect([anyPort, { ...anyPort, address: '127.0.0.2' }], { fastOpen })).rejects.toThrow(TypeError)
    await expect(connect((async function* () {})(), { fastOpen })).rejects.toThrow(TypeError)
    await expect(connect(anyPort, { fastOpen: 'text' as never })).rejects.toThrow(TypeError)
    await expect(connect(anyPort, { onAttempt: 'text' as never })).rejects.toThrow(TypeError)
    const error = await expectErrno(async () => connect(await unusedAddress(), { fastOpen }), 'ECONNREFUSED')
    expect(error.syscall).toBe('connect')
  })

  it('leaves no descriptor open after ten thousand connections', async () => {
    await using server = listen(anyPort)
    server.run((stream) => stream.on('error', () => {}).resume())
    const before = readdirSync('/proc/self/fd').length
    for (let round = 0; round < 100; round++) {
      const streams = await Promise.all(Array.from({ length: 100 }, () => connect(server.address)))
      // A reset leaves no port in TIME-WAIT.
      for (const stream of streams) stream.resetAndDestroy()
    }
    await expect.poll(() => [server.statistics.accepted, server.connections.size]).toEqual([10_000, 0])
    expect(readdirSync('/proc/self/fd').length).toBe(before)
  }, 600_000)

  it.each([
    ['no address', []],
    ['text', 'localhost:80'],
    ['null', null],
    ['a host name as address', { family: 'ipv4', address: 'localhost', port: 80 }],
    ['NaN as port', { family: 'ipv4', address: '127.0.0.1', port: Number.NaN }],
  ])('refuses %s as a TypeError', (_, address) => expect(connect(address as InetAddress)).rejects.toThrow(TypeError))

  it('refuses a timeout out of range', () => expect(connect(anyPort, { timeout: 0 })).rejects.toThrow(RangeError))

  it('never calls connect(2) twice for an attempt', async (test) => {
    skipUnless(test, needProgram('strace'))
    const address = await echoServer()
    const log = join(temporaryDirectory(), 'strace')
    const program = `
      import { connect } from '@linux-sockets/tcp'
      const stream = await connect({ family: 'ipv4', address: '127.0.0.1', port: ${address.port} })
      stream.end('once')
      console.log(String((await stream.toArray()).join('')))`
    const node = [process.execPath, '--input-type=module', '--eval', program]
    const output = await runProgram('strace', ['-f', '-e', 'trace=connect,getsockopt', '-o', log, ...node], {
      cwd: directory,
    })
    expect(output).toBe('once\n')
    const calls = readFileSync(log, 'utf8').split('\n')
    expect(calls.filter((line) => line.includes('connect(') && line.includes('AF_INET'))).toHaveLength(1)
    expect(calls.filter((line) => line.includes('SO_ERROR')).length).toBeGreaterThan(0)
  })
})

describe('a route that is slow but healthy', () => {
  // Packets that wait for the peer's hardware address are kept, and sent when it is known.
  const address = '10.99.0.2'
  const candidates = `[{ address: '${address}', family: 4 }, { address: 'fd00:99::2', family: 6 }]`
  const ours = `
    import { connect } from '@linux-sockets/tcp'
    const addresses = ${candidates}.map(({ address, family }) => ({ family: 'ipv' + family, address, port: 7 }))
    let started = 0
    const stream = await connect(addresses, {
      onAttempt: ({ event }) => event === 'start' && ++started === 2 && console.log('second attempt'),
    })
    console.log('connected to', stream.remoteAddress)
    stream.destroy()`
  const nodes = `
    import { connect } from 'node:net'
    const socket = connect({
      host: 'peer', port: 7, autoSelectFamily: true, autoSelectFamilyAttemptTimeout: 250,
      lookup: (host, options, callback) => callback(null, ${candidates}),
    })
    socket.on('connectionAttempt', (to) => to === 'fd00:99::2' && console.log('second attempt'))
    socket.on('error', ({ code }) => console.log(code))
    socket.on('connect', () => {
      console.log('connected to', socket.remoteAddress)
      socket.destroy()
    })`

  it.for([
    ['net.connect abandons it', nodes, /^second attempt\nE\w+\n$/],
    ['connect waits for it', ours, /^second attempt\nconnected to 10\.99\.0\.2\n$/],
  ] as const)('%s', async ([_, program, said], test) => {
    skipUnless(test, needNamespaces())
    const [here, there] = createHosts(['10.99.0.1/24', 'fd00:99::1/64'], [`${address}/24`, 'fd00:99::2/64'])
    const server = there.spawn('python3', ['-u', '-c', slowServer, address])
    await waitForLine(server, /listening/)
    const [link] = JSON.parse(await there.run('ip', ['-json', 'link', 'show', 'veth0']))
    // It does not answer requests for its hardware address, which is asked for once per second.
    await there.run('sysctl', ['-w', 'net.ipv4.conf.all.arp_ignore=8'])
    await here.run('sysctl', ['-w', 'net.ipv4.neigh.veth0.mcast_solicit=60'])
    const client = here.spawn(process.execPath, ['--input-type=module', '--eval', program], { cwd: directory })
    await waitForLine(client, /second attempt/)
    await here.run('ip', ['neigh', 'replace', address, 'lladdr', link.address, 'dev', 'veth0'])
    const { code, stdout, stderr } = await client.finished
    expect([code, stderr]).toEqual([0, ''])
    expect(stdout).toMatch(said)
  })
})

const directory = resolve(import.meta.dirname, '..')

const slowServer = `
import socket, sys
with socket.create_server((sys.argv[1], 7)) as server:
    print('listening')
    while True: server.accept()[0].close()`

/** The bytes that a server receives until the end of one connection. */
async function receiver(): Promise<{ address: Ipv4Address; received: Promise<string> }> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  onTestFinished(() => ended(server))
  const received = once(server, 'connection').then(async ([socket]) => {
    let text = ''
    for await (const chunk of socket) text += chunk
    return text
  })
  return { address: { ...anyPort, port: (server.address() as AddressInfo).port }, received }
}

async function echoServer(): Promise<Ipv4Address> {
  const server = createServer((socket) => socket.on('error', () => {}).pipe(socket)).listen(0, '127.0.0.1')
  await once(server, 'listening')
  onTestFinished(() => ended(server))
  return { ...anyPort, port: (server.address() as AddressInfo).port }
}

/** A port at which no socket listens. */
async function unusedAddress(): Promise<Ipv4Address> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  await ended(server)
  return { ...anyPort, port }
}

async function ended(server: Server): Promise<void> {
  server.close()
  await once(server, 'close')
}

async function closed(stream: Awaited<ReturnType<typeof connect>>): Promise<void> {
  stream.destroy()
  await once(stream, 'close')
}
