import { AsyncLocalStorage } from 'node:async_hooks'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import net from 'node:net'
import { join } from 'node:path'
import { setImmediate as turn } from 'node:timers/promises'
import {
  expectCloexec,
  expectErrno,
  expectNonBlocking,
  guardDescriptors,
  needProgram,
  skipUnless,
  temporaryDirectory,
  waitForLine,
  withFault,
} from '@linux-sockets/testkit'
import { describe, expect, it, onTestFinished } from 'vitest'
import { AF_INET, AF_INET6, AF_UNIX, SHUT_RDWR, SOCK_DGRAM, SOCK_STREAM } from '../../src/constants.js'
import {
  dup,
  errno,
  type InetAddress,
  Socket,
  type SocketAddress,
  SystemError,
  setNonBlocking,
  setOption,
  type WatchFunction,
  watch,
} from '../../src/index.js'
import { SO_LINGER, SO_REUSEADDR } from '../../src/options/index.js'
import { Listener, type ListenerOptions, SocketStream } from '../../src/streams/index.js'
import { compileSources, runModule, spawnModule, startWorker } from '../outside.js'

guardDescriptors()
compileSources()

describe('iterating', () => {
  it('gives each connection as wrapped', async () => {
    const listener = listen({ wrap: (socket) => new SocketStream(socket) })
    const clients = connect(listener, 3)
    const texts: string[] = []
    for await (const stream of listener) {
      expectCloexec(stream)
      expectNonBlocking(stream)
      clients[texts.length]?.end(`client ${texts.length}`)
      for await (const chunk of stream) texts.push(String(chunk))
      if (texts.length === 3) listener.close()
    }
    expect(texts).toEqual(['client 0', 'client 1', 'client 2'])
    expect(listener.statistics).toEqual({ accepted: 3, dropped: 0, errors: 0 })
    expect(listener.closed).toBe(true)
  })

  it('accepts only connections that are asked for', async () => {
    const listener = listen()
    const clients = connect(listener, 5)
    await Promise.all(clients.map((client) => once(client, 'connect')))
    const connections = listener[Symbol.asyncIterator]()
    const { value } = await connections.next()
    value?.close()
    for (let i = 0; i < 10; i++) await turn()
    expect(listener.statistics.accepted).toBe(1)
    // Connections in the backlog are reset with the listener.
    const failures = Promise.all(clients.slice(1).map((client) => once(client, 'error')))
    listener.close()
    for (const [error] of await failures) expect(error.code).toBe('ECONNRESET')
    expect(await connections.next()).toEqual({ value: undefined, done: true })
  })

  it('answers pending calls in order, and the rest with the end', async () => {
    const listener = listen({ wrap: (socket) => new SocketStream(socket) })
    const connections = listener[Symbol.asyncIterator]()
    const asked = Array.from({ length: 4 }, () => connections.next())
    for (let i = 0; i < 2; i++) {
      const [client] = connect(listener, 1)
      client?.write(String(i))
      const stream = (await asked[i])?.value as SocketStream
      expect(String((await once(stream, 'data'))[0])).toBe(String(i))
      stream.destroy()
    }
    listener.close()
    expect(await Promise.all(asked.slice(2))).toEqual([OVER, OVER])
    expect(await connections.next()).toEqual(OVER)
  })

  it('leaves the listener open, and connections in the backlog, when it ends', async () => {
    const listener = listen()
    const first = listener[Symbol.asyncIterator]()
    const asked = first.next()
    expect(await first.return?.()).toEqual(OVER)
    expect(await asked).toEqual(OVER)
    expect(await first.next()).toEqual(OVER)
    const [client] = connect(listener, 1)
    await once(client as net.Socket, 'connect')
    for (let i = 0; i < 10; i++) await turn()
    expect(listener.statistics.accepted).toBe(0)
    for await (const socket of listener) {
      socket.close()
      break
    }
    expect(listener.statistics.accepted).toBe(1)
    expect(listener.closed).toBe(false)
  })

  it('lets the loop turn in a flood', async () => {
    const listener = listen({ budget: 7 })
    const clients = connect(listener, 60)
    await Promise.all(clients.map((client) => once(client, 'connect')))
    const counts = countPerTurn()
    for await (const socket of listener) {
      socket.close()
      counts.add()
      if (listener.statistics.accepted === 60) break
    }
    // Credit that is left from one turn may meet that of the next.
    expect(await counts.most()).toBeLessThanOrEqual(14)
  })

  it('fails once with the error that ended the listener', async () => {
    const listener = listen()
    const connections = listener[Symbol.asyncIterator]()
    const asked = [connections.next(), connections.next()]
    using other = Socket.from(dup(listener))
    other.shutdown(SHUT_RDWR)
    await expectErrno(() => asked[0] as Promise<unknown>, 'EINVAL')
    expect(await asked[1]).toEqual(OVER)
    expect(await connections.next()).toEqual(OVER)
    expect(listener.closed).toBe(true)
  })

  it('fails when other code closes the socket', async () => {
    const socket = bound()
    const listener = own(new Listener(socket))
    const connections = listener[Symbol.asyncIterator]()
    const asked = [connections.next(), connections.next()]
    socket.close()
    await expectErrno(() => asked[0] as Promise<unknown>, 'EBADF')
    expect(await asked[1]).toEqual(OVER)
  })
})

describe('run', () => {
  it('calls with each connection in the context of its caller, until closed', async () => {
    const storage = new AsyncLocalStorage<string>()
    const seen: unknown[] = []
    const listener = listen({
      wrap(socket) {
        seen.push(storage.getStore())
        return socket
      },
    })
    const running = storage.run('server', () =>
      listener.run((socket) => {
        seen.push(storage.getStore())
        socket.close()
        if (seen.length === 6) listener.close()
      }),
    )
    connect(listener, 3)
    expect(await running).toBe(undefined)
    expect(seen).toEqual(Array(6).fill('server'))
    expect(await listener.run(() => {})).toBe(undefined)
  })

  it('takes a thousand connections, and leaves none behind', async () => {
    const listener = listen({ wrap: (socket) => new SocketStream(socket) })
    const running = listener.run((stream) => stream.pipe(stream))
    for (let round = 0; round < 10; round++) {
      const clients = connect(listener, 100)
      const answers = clients.map(async (client, i) => {
        client.end(`${round}/${i}`)
        let got = ''
        for await (const chunk of client) got += chunk
        return got
      })
      expect(await Promise.all(answers)).toEqual(clients.map((_, i) => `${round}/${i}`))
    }
    expect(listener.statistics).toEqual({ accepted: 1000, dropped: 0, errors: 0 })
    listener.close()
    await running
  })

  it('lets the loop turn in a flood', async () => {
    const listener = listen({ budget: 7 })
    const clients = connect(listener, 60)
    await Promise.all(clients.map((client) => once(client, 'connect')))
    const counts = countPerTurn()
    await listener.run((socket) => {
      socket.close()
      counts.add()
      if (listener.statistics.accepted === 60) listener.close()
    })
    expect(await counts.most()).toBe(7)
  })

  it('accepts nothing while paused', async () => {
    const listener = listen()
    listener.pause()
    expect(listener.paused).toBe(true)
    const running = listener.run((socket) => {
      socket.close()
      if (listener.statistics.accepted === 2) listener.pause()
      if (listener.statistics.accepted === 4) listener.close()
    })
    const clients = connect(listener, 4)
    await Promise.all(clients.map((client) => once(client, 'connect')))
    for (let i = 0; i < 10; i++) await turn()
    expect(listener.statistics.accepted).toBe(0)
    listener.resume()
    while (listener.statistics.accepted < 2) await turn()
    for (let i = 0; i < 10; i++) await turn()
    expect(listener.statistics.accepted).toBe(2)
    listener.resume()
    await running
    expect(listener.statistics.accepted).toBe(4)
  })

  it('watches for connections only once it is not paused', async () => {
    const events: number[] = []
    const noting: WatchFunction = (target, wanted, ...rest) => {
      events.push(wanted)
      return watch(target, wanted, ...rest)
    }
    const listener = listen({ watch: noting }).pause()
    const running = listener.run((socket) => {
      socket.close()
      listener.close()
    })
    expect(events).toEqual([0, 0])
    listener.resume()
    connect(listener, 1)
    await running
    expect(events).toEqual([0, 0])
  })

  it('rejects with the error that ended the listener', async () => {
    const listener = listen()
    const running = listener.run(() => {})
    using other = Socket.from(dup(listener))
    other.shutdown(SHUT_RDWR)
    await expectErrno(() => running, 'EINVAL')
    expect(listener.statistics.errors).toBe(1)
  })

  it('rejects when other code closes the socket, before and during the call', async () => {
    const socket = bound()
    const listener = own(new Listener(socket))
    const running = listener.run(() => {})
    socket.close()
    await expectErrno(() => running, 'EBADF')
    expect(listener.closed).toBe(true)

    const other = bound()
    const second = own(new Listener(other))
    other.close()
    await expectErrno(() => second.run(() => {}), 'EBADF')
    await second.run(() => {})
  })

  it('hands out the connection whose wrap closes the listener', async () => {
    const closing = () => {
      const listener: Listener = listen({
        wrap(socket) {
          listener.close()
          return socket
        },
      })
      connect(listener, 1)
      return listener
    }
    const got: Socket[] = []
    await closing().run((socket) => got.push(socket))
    for await (const socket of closing()) got.push(socket)
    expect(got.length).toBe(2)
    for (const socket of got) socket.close()
  })

  it('ends when wrap throws', async () => {
    const broken = new Error('no')
    const listener = listen({
      wrap() {
        throw broken
      },
    })
    connect(listener, 1)
    await expect(listener.run(() => {})).rejects.toBe(broken)
    expect(listener.statistics.accepted).toBe(0)
  })

  it.each(['ENOSPC', 'ENOMEM'] as const)('goes on when wrap fails with %s', async (code) => {
    const reports: SystemError[] = []
    const listener = listen({ delayed: (error) => reports.push(error), wrap: failing(code, 3) })
    const clients = connect(listener, 4)
    const ended = Promise.all(clients.map((client) => once(client.resume(), 'close')))
    await listener.run((socket) => {
      socket.close()
      listener.close()
    })
    await ended
    expect(reports).toEqual(Array(3).fill(expect.objectContaining({ code, syscall: 'epoll_ctl' })))
    expect(listener.statistics).toEqual({ accepted: 1, dropped: 3, errors: 0 })
  })

  it('drops waiting connections, too, when wrap finds no descriptor', async () => {
    const listener = listen({ delayed: () => {}, wrap: failing('EMFILE', 2) })
    const clients = connect(listener, 10)
    await Promise.all(clients.map((client) => once(client, 'connect')))
    const ended = Promise.all(clients.map((client) => once(client.resume(), 'close')))
    const running = listener.run((socket) => {
      socket.close()
      listener.close()
    })
    await ended
    connect(listener, 1)
    await running
    expect(listener.statistics).toEqual({ accepted: 1, dropped: 10, errors: 0 })
  })

  it('gives the pending call the next connection when wrap meets a limit, after growing delays', async () => {
    const { stdout, stderr } = await runModule(`
      ${listening}
      let missing = 4
      const making = new Listener(Socket.from(dup(listener)), {
        delayed: ({ code }) => codes.add(code),
        wrap(socket) {
          if (missing-- > 0) throw new SystemError(errno.ENOSPC, 'epoll_ctl')
          return socket
        },
      })
      const clients = Array.from({ length: 5 }, () => net.connect(port, '127.0.0.1').on('error', () => {}).resume())
      const { value } = await making[Symbol.asyncIterator]().next()
      console.log(JSON.stringify({ ...making.statistics, codes: [...codes], delays }))
      process.exit()`)
    expect(stderr).toBe('')
    expect(JSON.parse(stdout)).toEqual({ accepted: 1, dropped: 4, errors: 0, codes: ['ENOSPC'], delays: backoff(4) })
  })

  it('is put off, with growing delays, while epoll has no room for the socket', async () => {
    const { stdout, stderr } = await runModule(`
      import { watch } from './everything.js'
      ${listening}
      let missing = 3
      const full = (events) => {
        if (events !== 0 && missing-- > 0) throw new SystemError(errno.ENOSPC, 'epoll_ctl')
      }
      const rare = new Listener(Socket.from(dup(listener)), {
        delayed: ({ code }) => codes.add(code),
        watch(target, events, callback, options) {
          full(events)
          const watching = watch(target, events, callback, options)
          const { modify } = watching
          watching.modify = (events) => {
            full(events)
            modify.call(watching, events)
          }
          return watching
        },
      })
      const got = []
      rare.run((socket) => got.push(socket))
      net.connect(port, '127.0.0.1')
      while (got.length < 1) await turn()
      // While it is paused, it rests as soon as a connection waits.
      rare.pause()
      net.connect(port, '127.0.0.1')
      for (let i = 0; i < 10; i++) await turn()
      missing = 2
      rare.resume()
      while (got.length < 2) await turn()
      console.log(JSON.stringify({ ...rare.statistics, codes: [...codes], delays }))
      process.exit()`)
    expect(stderr).toBe('')
    const expected = { accepted: 2, dropped: 0, errors: 0, codes: ['ENOSPC'], delays: [...backoff(3), ...backoff(2)] }
    expect(JSON.parse(stdout)).toEqual(expected)
  })

  it('is closed by a wrap that meets a limit and closes it', async () => {
    const listener: Listener = listen({
      wrap(): Socket {
        listener.close()
        throw new SystemError(errno.ENOSPC, 'epoll_ctl')
      },
    })
    connect(listener, 1)
    await listener.run(() => {})
    expect(listener.statistics).toEqual({ accepted: 0, dropped: 0, errors: 0 })
  })

  it('rejects the pending call if wrap closes the listener and throws', async () => {
    const broken = new Error('no')
    const listener: Listener<never> = listen<never>({
      wrap() {
        listener.close()
        throw broken
      },
    })
    const asked = listener[Symbol.asyncIterator]().next()
    connect(listener, 1)
    await expect(asked).rejects.toBe(broken)
  })

  it('can not be used twice, or beside an iteration', async () => {
    const listener = listen()
    const asked = listener[Symbol.asyncIterator]().next()
    await expect(listener.run(() => {})).rejects.toThrow('iterated')
    await expect(listener.run(null as never)).rejects.toThrow(TypeError)
    listener.close()
    await asked
    const second = listen()
    const running = second.run(() => {})
    await expect(second.run(() => {})).rejects.toThrow('runs already')
    await expect(second[Symbol.asyncIterator]().next()).rejects.toThrow('runs already')
    second.close()
    await running
  })

  it('goes on when the callback throws', async () => {
    const { stdout, stderr } = await runModule(`
      ${listening}
      let count = 0
      process.on('uncaughtException', (error) => console.log(error.message))
      const running = listener.run((socket) => {
        socket.close()
        if (++count === 3) listener.close()
        throw new Error('thrown ' + count)
      })
      for (let i = 0; i < 3; i++) net.connect(port, '127.0.0.1').on('error', () => {})
      await running`)
    expect(stderr).toBe('')
    expect(stdout).toBe('thrown 1\nthrown 2\nthrown 3\n')
  })
})

describe('at the limit of descriptors', () => {
  it('reports, drops with the reserved one, backs off, and recovers', async (test) => {
    skipUnless(test, needProgram('strace'))
    const file = join(temporaryDirectory(), 'trace')
    const server = spawnModule(
      `
      ${listening}
      const held = []
      const running = listener.run((socket) => {
        held.push(socket)
        socket.send(Buffer.from('hello'))
      })
      await turn()
      // As many as are open, and six more.
      setResourceLimit({ soft: readdirSync('/proc/self/fd').length - 1 + 6 })
      console.log('port', port)
      process.stdin.once('data', () => {
        for (const socket of held) socket.close()
        console.log('freed')
        process.stdin.once('data', () => {
          console.log(JSON.stringify({ ...listener.statistics, codes: [...codes], delays }))
          process.exit()
        })
      })`,
      { wrapper: ['strace', '-f', '-o', file, '-e', 'trace=accept4'] },
    )
    const port = Number((await waitForLine(server, /^port/)).slice(5))
    const clients = connectTo(port, 40)
    const outcomes = await Promise.all(
      clients.map(async (client) => {
        client.on('error', () => {})
        return await Promise.race([
          once(client, 'data').then(() => 'served'),
          once(client, 'close').then(() => 'dropped'),
          once(client, 'end').then(() => 'dropped'),
        ])
      }),
    )
    const served = outcomes.filter((outcome) => outcome === 'served').length
    expect(served).toBeGreaterThanOrEqual(1)
    // Where the open descriptors' numbers have gaps, there is room for a few more.
    expect(served).toBeLessThan(20)
    server.process.stdin?.write('free\n')
    await waitForLine(server, /^freed/)
    const [again] = connectTo(port, 1)
    expect(String((await once(again as net.Socket, 'data'))[0])).toBe('hello')
    server.process.stdin?.write('tell\n')
    const statistics = JSON.parse((await server.finished).stdout.split('\n').at(-2) as string)
    expect(statistics).toMatchObject({ accepted: served + 1, dropped: 40 - served, codes: ['EMFILE'] })
    // Two failures at least, since the first costs no connection; and then it didn't go on trying.
    expect(statistics.errors).toBeGreaterThanOrEqual(2)
    expect(statistics.errors).toBeLessThan(12)
    expect(statistics.delays).toEqual(backoff(statistics.errors))
    const attempts = readFileSync(file, 'utf8')
      .split('\n')
      .filter((line) => line.includes('accept4('))
    expect(attempts.length).toBeLessThan(40 + 100)
  })

  it('costs no connection if the shortage is short', async () => {
    const { stdout, stderr } = await runModule(`
      ${listening}
      const more = () => { try { return eventfd() } catch { return undefined } }
      const client = net.connect(port, '127.0.0.1')
      await once(client, 'connect')
      setResourceLimit({ soft: readdirSync('/proc/self/fd').length + 3 })
      let hoard = []
      for (let fd; (fd = more()) !== undefined; ) hoard.push(fd)
      const connections = listener[Symbol.asyncIterator]()
      reported = () => { for (const fd of hoard.splice(0)) fd.close() }
      const { value } = await connections.next()
      console.log(JSON.stringify({ ...listener.statistics, codes: [...codes] }))
      value.close()
      client.destroy()
      listener.close()`)
    expect(stderr).toBe('')
    expect(JSON.parse(stdout)).toEqual({ accepted: 1, dropped: 0, errors: 1, codes: ['EMFILE'] })
  })

  it('reserves a descriptor later if there was none at first', async () => {
    const { stdout, stderr } = await runModule(`
      ${listening}
      const reserved = () => readdirSync('/proc/self/fd')
        .filter((fd) => existsSync('/proc/self/fd/' + fd) && readlinkSync('/proc/self/fd/' + fd).includes('eventfd')).length
      const late = Socket.open(AF_INET, SOCK_STREAM)
      late.bind({ family: 'ipv4', address: '127.0.0.1', port: 0 })
      late.listen()
      const client = net.connect(late.localName.port, '127.0.0.1')
      await once(client, 'connect')
      const { length } = readdirSync('/proc/self/fd')
      setResourceLimit({ soft: length + 3 })
      const hoard = []
      try { for (;;) hoard.push(eventfd()) } catch {}
      const second = new Listener(late)
      for (const fd of hoard.splice(0)) fd.close()
      const before = reserved()
      const { value } = await second[Symbol.asyncIterator]().next()
      console.log(reserved() - before)
      value.close()
      client.destroy()
      second.close()
      listener.close()
      console.log(reserved() - before)`)
    expect(stderr).toBe('')
    // The first listener's reserve is closed as well.
    expect(stdout).toBe('1\n-1\n')
  })

  it('does not take an empty backlog for a connection that it has no descriptor for', async () => {
    const { stdout, stderr } = await runModule(`
      ${listening}
      const more = () => { try { return eventfd() } catch { return undefined } }
      const asked = listener[Symbol.asyncIterator]().next()
      setResourceLimit({ soft: readdirSync('/proc/self/fd').length + 3 })
      const hoard = []
      for (let fd; (fd = more()) !== undefined; ) hoard.push(fd)
      const again = listener[Symbol.asyncIterator]().next()
      await new Promise((resolve) => setTimeout(resolve, 50))
      console.log(JSON.stringify({ ...listener.statistics, codes: [...codes] }))
      for (const fd of hoard.splice(0)) fd.close()
      listener.close()
      console.log(JSON.stringify([await asked, await again]))`)
    expect(stderr).toBe('')
    const [statistics, results] = stdout
      .split('\n')
      .slice(0, 2)
      .map((line) => JSON.parse(line))
    expect(statistics).toEqual({ accepted: 0, dropped: 0, errors: 0, codes: [] })
    expect(results).toEqual([{ done: true }, { done: true }])
  })

  it('warns without the option delayed', async (test) => {
    skipUnless(test, needInjection())
    const { stderr } = await inject(
      'ENOBUFS:when=1..2',
      `const plain = new Listener(Socket.from(dup(listener)))
       net.connect(port, '127.0.0.1')
       for await (const socket of plain) break
       process.exit()`,
    )
    expect(stderr).toContain('[LINUX_SOCKETS_ACCEPT] Warning: Accepting connections is put off: accept4 ENOBUFS')
  })
})

describe('descriptors that other code has closed', () => {
  it.each([
    ['close', 'several.close()', 'fulfilled'],
    ['resume', 'several.resume()', 'EBADF|ENOENT'],
    ['a report that throws', 'several.resume()', 'EBADF|ENOENT'],
  ])('end a listener of several sockets whole: %s', async (name, end, outcome) => {
    const { stdout, stderr } = await runModule(`
      ${listening}
      import { closeSync } from 'node:fs'
      listener.close()
      const sockets = [0, 1, 2].map(() => {
        const socket = Socket.open(AF_INET, SOCK_STREAM)
        socket.bind({ family: 'ipv4', address: '127.0.0.1', port: 0 })
        socket.listen()
        return socket
      })
      process.on('uncaughtException', ({ message }) => console.log('uncaught', message))
      const several = new Listener(sockets, {
        delayed() {
          throw new Error('reported')
        },
        wrap() {
          throw new SystemError(errno.ENOSPC, 'epoll_ctl')
        },
      })
      const running = several.run(() => {}).then(() => 'fulfilled', ({ code }) => code)
      // So that it rests with connections waiting.
      several.pause()
      const clients = several.addresses.map(({ port }) => net.connect(port, '127.0.0.1').on('error', () => {}))
      await Promise.all(clients.map((client) => new Promise((resolve) => client.once('connect', resolve))))
      for (let i = 0; i < 3; i++) await turn()
      if (${name.startsWith('a report')}) {
        several.resume()
        await new Promise((resolve) => process.once('uncaughtException', resolve))
        console.log('and goes on:', !several.closed)
        several.pause()
        for (let i = 0; i < 3; i++) await turn()
      }
      // From here on nothing is opened, which would get the number.
      closeSync(sockets[1].fd)
      ${end}
      if (${name.startsWith('a report')}) several.close()
      console.log(await running, several.closed, sockets.every(({ closed }) => closed))
      process.exit()`)
    expect(stderr).toBe('')
    const last = name.startsWith('a report') ? 'fulfilled|EBADF|ENOENT' : outcome
    const before = name.startsWith('a report') ? 'uncaught reported\\nand goes on: true\\n' : ''
    expect(stdout).toMatch(new RegExp(`^${before}(${last}) true true\n$`))
  })
})

describe('what accept4 can answer', () => {
  it('waits longer and longer if every connection fails', async () => {
    if (needInjection() !== null) return console.warn(`skipped: ${needInjection()}`)
    const { stdout } = await inject(
      'ECONNABORTED:when=1..200',
      `net.connect(port, '127.0.0.1')
       for await (const socket of listener) break
       console.log(JSON.stringify({ ...listener.statistics, codes: [...codes], delays }))
       process.exit()`,
    )
    const expected = { accepted: 1, dropped: 0, errors: 200, codes: ['ECONNABORTED'], delays: backoff(3) }
    expect(JSON.parse(stdout)).toEqual(expected)
  })

  it.each(['ECONNABORTED', 'ECONNRESET', 'EPROTO', 'EPERM', 'ENETDOWN', 'EHOSTUNREACH', 'EOPNOTSUPP', 'ETIMEDOUT'])(
    'skips a connection that failed with %s',
    async (code) => {
      if (needInjection() !== null) return console.warn(`skipped: ${needInjection()}`)
      const { stdout } = await inject(
        `${code}:when=1..3`,
        `const client = net.connect(port, '127.0.0.1')
         for await (const socket of listener) break
         console.log(JSON.stringify({ ...listener.statistics, codes: [...codes] }))
         process.exit()`,
      )
      expect(JSON.parse(stdout)).toEqual({ accepted: 1, dropped: 0, errors: 3, codes: [] })
    },
  )

  it.each(['ENFILE', 'ENOBUFS', 'ENOMEM', 'EIO', 'EACCES', 'EUSERS'])('waits longer and longer on %s', async (code) => {
    if (needInjection() !== null) return console.warn(`skipped: ${needInjection()}`)
    const { stdout } = await inject(
      `${code}:when=1..6`,
      `const again = () => net.connect(port, '127.0.0.1').on('close', again)
       again()
       await listener.run((socket) => {
         console.log(JSON.stringify({ ...listener.statistics, codes: [...codes], delays }))
         process.exit()
       })`,
    )
    const { errors, dropped, ...rest } = JSON.parse(stdout)
    expect(rest).toEqual({ accepted: 1, codes: [code], delays: backoff(errors) })
    expect(dropped).toBe(code === 'ENFILE' ? 1 : 0)
    expect(errors).toBeGreaterThanOrEqual(3)
    expect(errors).toBeLessThanOrEqual(6)
  })

  it.each(['EBADF', 'EINVAL', 'ENOTSOCK', 'EFAULT'])('ends the listener with %s', async (code) => {
    if (needInjection() !== null) return console.warn(`skipped: ${needInjection()}`)
    const { stdout } = await inject(
      `${code}:when=1`,
      `net.connect(port, '127.0.0.1').on('error', () => {})
       const outcome = await listener.run(() => {}).catch((error) => error.code)
       console.log(JSON.stringify({ outcome, closed: listener.closed, codes: [...codes] }))
       process.exit()`,
    )
    expect(JSON.parse(stdout)).toEqual({ outcome: code, closed: true, codes: [] })
  })
})

describe('what comes from elsewhere', () => {
  it('is made non-blocking, so that the loop goes on', async () => {
    const socket = Socket.open(AF_INET, SOCK_STREAM, 0, { blocking: true })
    socket.bind({ family: 'ipv4', address: '127.0.0.1', port: 0 })
    socket.listen()
    const listener = own(new Listener(socket, { wrap: (accepted) => new SocketStream(accepted) }))
    expectNonBlocking(listener)
    // A blocking accept4(2) would wait for the second connection, which this thread is to make.
    const [first] = connect(listener, 1)
    for await (const stream of listener) {
      const received = once(stream, 'data')
      first?.end('x')
      expect(String(await received)).toBe('x')
      break
    }
    const [a, b] = Socket.pair(AF_UNIX, SOCK_STREAM, 0, { blocking: true })
    const stream = new SocketStream(a)
    expectNonBlocking(stream)
    const written = new Promise<void>((resolve) => stream.write(Buffer.alloc(1_000_000), () => resolve()))
    const other = new SocketStream(b)
    let count = 0
    other.on('data', (chunk: Buffer) => {
      count += chunk.length
    })
    await written
    stream.end()
    await once(other, 'end')
    expect(count).toBe(1_000_000)
    stream.destroy()
    other.destroy()
  })

  it('is made non-blocking even if another holder of the open file has changed it', () => {
    const [a, b] = Socket.pair()
    // As a child process may do that was given the socket.
    using copy = dup(a)
    setNonBlocking(copy, false)
    const stream = new SocketStream(a)
    expectNonBlocking(stream)
    stream.destroy()
    b.close()
  })
})

describe('a number that is another file’s by now', () => {
  it('is not closed by the listener or the stream that had it', async () => {
    const { code, stdout } = await runModule(`
      import fs from 'node:fs'
      import { Listener, Socket, SocketStream } from './everything.js'
      const told = []
      const replace = (fd) => {
        fs.closeSync(fd)
        if (fs.openSync('/dev/null') !== fd) throw new Error('another number')
      }
      const socket = Socket.open(2, 1)
      socket.bind({ family: 'ipv4', address: '127.0.0.1', port: 0 })
      socket.listen()
      const listener = new Listener(socket)
      const [a, b] = Socket.pair()
      const stream = new SocketStream(a).on('error', ({ code }) => told.push(code))
      const numbers = [listener.fd, stream.fd]
      for (const fd of numbers) replace(fd)
      await listener[Symbol.asyncIterator]().next().catch(({ code }) => told.push(code))
      stream.write('x')
      await new Promise((resolve) => stream.once('close', resolve))
      for (const fd of numbers) fs.fstatSync(fd)
      console.log(told.join())
      process.exit()`)
    expect({ code, stdout }).toEqual({ code: 0, stdout: 'ENOTSOCK,ENOTSOCK\n' })
  })
})

describe('the peer’s address', () => {
  it('is known from accept, without a call, also after a reset', async (test) => {
    skipUnless(test, needInjection())
    for (const [domain, address] of [
      [AF_INET, { family: 'ipv4', address: '127.0.0.1', port: 0 }],
      [AF_INET6, { family: 'ipv6', address: '::1', port: 0 }],
    ] as const) {
      const socket = Socket.open(domain, SOCK_STREAM)
      socket.bind(address)
      socket.listen()
      const listener = own(new Listener(socket, { wrap: (accepted) => new SocketStream(accepted) }))
      using client = Socket.open(domain, SOCK_STREAM)
      client.connect(listener.address)
      const peer = client.localName as InetAddress
      setOption(client, SO_LINGER, 0)
      client.close()
      for await (const stream of listener) {
        const closed = new Promise((resolve) => stream.on('error', () => {}).once('close', resolve))
        const { outcome, injected } = await withFault('getpeername:error=EIO', () => [
          stream.peerName,
          stream.remoteAddress,
          stream.remotePort,
          stream.remoteFamily?.toLowerCase(),
        ])
        expect(outcome).toMatchObject({ value: [peer, peer.address, peer.port, peer.family] })
        expect(injected).toBe(0)
        stream.resume()
        await closed
        expect(stream.remoteAddress).toBe(peer.address)
        break
      }
    }
  })

  it('goes with the socket into another object', async () => {
    const listener = bound()
    using client = Socket.open(AF_INET, SOCK_STREAM)
    client.connect(listener.localName)
    const accepted = listener.accept() as Socket
    const peer = client.localName
    const moved = Socket.from(accepted)
    moved.close()
    expect(moved.peerName).toEqual(peer)
    listener.close()
  })

  it('of a Unix client without a name is unnamed', async () => {
    const listener = Socket.open(AF_UNIX, SOCK_STREAM)
    listener.bind({ family: 'unix' })
    listener.listen()
    using client = Socket.open(AF_UNIX, SOCK_STREAM)
    client.connect(listener.localName)
    using accepted = listener.accept() as Socket
    expect(accepted.peerName).toEqual({ family: 'unix' })
    listener.close()
  })
})

describe('a listener', () => {
  it('shares an open socket with another', async () => {
    const one = listen()
    const two = own(new Listener(Socket.from(dup(one))))
    const running = [one, two].map((listener) => listener.run((socket) => socket.close()))
    const clients = connect(one, 100)
    await Promise.all(clients.map((client) => once(client.resume(), 'close')))
    const [a, b] = [one.statistics, two.statistics]
    expect(a.accepted + b.accepted).toBe(100)
    expect([a.errors, b.errors]).toEqual([0, 0])
    one.close()
    two.close()
    await Promise.all(running)
  })

  it('works in several Workers at once on one socket', async () => {
    const socket = bound()
    onTestFinished(() => socket.close())
    const workers = [0, 1].map(() =>
      startWorker(
        `
        const { Listener, Socket, SocketStream } = core
        const lent = Socket.from(core.dup({ fd: workerData }))
        const listener = new Listener(lent, { wrap: (socket) => new SocketStream(socket) })
        parentPort.once('message', () => listener.close())
        parentPort.postMessage('ready')
        await listener.run((stream) => stream.pipe(stream))
        parentPort.postMessage(listener.statistics)`,
        socket.fd,
      ),
    )
    await Promise.all(workers.map(({ worker }) => once(worker, 'message')))
    const { port } = socket.localName as InetAddress
    const clients = connectTo(port, 100)
    const echoed = await Promise.all(
      clients.map(async (client, i) => {
        client.end(String(i))
        return String((await once(client, 'data'))[0])
      }),
    )
    expect(echoed).toEqual(clients.map((_, i) => String(i)))
    await Promise.all(clients.map((client) => (client.closed ? undefined : once(client, 'close'))))
    const statistics = await Promise.all(
      workers.map(async ({ worker }) => {
        worker.postMessage('close')
        return (await once(worker, 'message'))[0]
      }),
    )
    await Promise.all(workers.map(({ exit }) => exit))
    expect(statistics[0].accepted + statistics[1].accepted).toBe(100)
    expect(statistics[0].errors + statistics[1].errors).toBe(0)
  })

  it('closes by a signal, by using, and twice', async () => {
    const controller = new AbortController()
    const listener = listen({ signal: controller.signal })
    const asked = listener[Symbol.asyncIterator]().next()
    controller.abort()
    expect(await asked).toEqual(OVER)
    expect([listener.closed, listener.fd]).toEqual([true, -1])
    listener.close()
    expect(listen({ signal: AbortSignal.abort() }).closed).toBe(true)

    let outer: Listener | undefined
    {
      using inner = listen()
      outer = inner
    }
    expect(outer.closed).toBe(true)
    {
      await using inner = listen()
      outer = inner
    }
    expect(outer.closed).toBe(true)
  })

  it('listens on Unix sockets, too', async () => {
    const socket = Socket.open(AF_UNIX, SOCK_STREAM)
    const path = join(temporaryDirectory(), 'listener')
    socket.bind({ family: 'unix', path })
    socket.listen()
    const listener = own(new Listener(socket))
    expect(listener.address).toEqual({ family: 'unix', path })
    const client = net.connect(path)
    for await (const connection of listener) {
      connection.send(Buffer.from('hi'))
      connection.close()
      break
    }
    expect(String((await once(client, 'data'))[0])).toBe('hi')
    client.destroy()
  })

  it('refuses sockets that do not listen, and an invalid budget', () => {
    for (const type of [SOCK_STREAM, SOCK_DGRAM]) {
      using socket = Socket.open(AF_INET, type)
      expect(() => new Listener(socket)).toThrow('does not listen')
      expect(socket.closed).toBe(false)
    }
    using socket = bound()
    for (const budget of [0, -1, 1.5, Number.NaN, 2 ** 31, '1' as never]) {
      expect(() => new Listener(socket, { budget })).toThrow(/budget/)
    }
    expect(socket.closed).toBe(false)
  })

  it('accepts socket options', () => {
    const listener = listen()
    setOption(listener, SO_REUSEADDR, true)
    expect(listener.address).toMatchObject({ family: 'ipv4', address: '127.0.0.1', port: expect.any(Number) })
  })

  it('keeps the process alive unless it is unreferenced', async () => {
    const program = (call: string) => `
      ${listening}
      listener${call}
      const running = listener.run((socket) => { console.log('connected'); socket.close(); listener.close() })
      setTimeout(() => net.connect(port, '127.0.0.1').resume(), ${call === '.unref()' ? '60_000).unref()' : '50)'}`
    expect((await runModule(program('.ref()'))).stdout).toBe('connected\n')
    expect((await runModule(program('.unref()'))).stdout).toBe('')
  })

  it.for([
    ['paused', 'listener.run(() => {}); await turn(); listener.pause()'],
    ['asked for nothing', 'const first = listener[Symbol.asyncIterator](); first.next(); first.return()'],
  ] as const)('rests while it is %s and connections wait', async ([_state, script], test) => {
    skipUnless(test, needProgram('strace'))
    const file = join(temporaryDirectory(), 'trace')
    const { code } = await runModule(
      `
      ${listening}
      ${script}
      await once(net.connect(port, '127.0.0.1'), 'connect')
      statSync('/mark/before', { throwIfNoEntry: false })
      await new Promise((resolve) => setTimeout(resolve, 300))
      statSync('/mark/after', { throwIfNoEntry: false })
      console.log(listener.statistics.accepted)
      process.exit()`,
      { wrapper: ['strace', '-f', '-o', file, '-e', 'trace=epoll_wait,epoll_pwait,statx,stat'] },
    )
    expect(code).toBe(0)
    const [, resting] = readFileSync(file, 'utf8').split(/.*"\/mark\/\w+".*\n/)
    expect(resting?.split('\n').filter((line) => line.includes('epoll_')).length).toBeLessThan(50)
  })
})

describe('several sockets', () => {
  it('are accepted from, and closed, together', async () => {
    const sockets = [bound(), bound()]
    const listener = own(new Listener(sockets))
    expect(listener.addresses).toEqual(sockets.map((socket) => socket.localName))
    expect(listener.address).toEqual(listener.addresses[0])
    expect(listener.sockets.map(({ fd }) => fd)).toEqual(sockets.map(({ fd }) => fd))
    const ports = new Set<unknown>()
    const running = listener.run((socket) => {
      ports.add((socket.localName as InetAddress).port)
      socket.close()
      if (listener.statistics.accepted === 4) listener.close()
    })
    for (const address of listener.addresses) connect({ address }, 2)
    await running
    expect(ports.size).toBe(2)
    expect(sockets.map(({ fd }) => fd)).toEqual([-1, -1])
  })

  it('are paused and resumed together', async () => {
    const listener = own(new Listener([bound(), bound()])).pause()
    const running = listener.run((socket) => {
      socket.close()
      if (listener.statistics.accepted === 2) listener.close()
    })
    const clients = listener.addresses.flatMap((address) => connect({ address }, 1))
    await Promise.all(clients.map((client) => once(client, 'connect')))
    for (let i = 0; i < 10; i++) await turn()
    expect(listener.statistics.accepted).toBe(0)
    listener.resume()
    await running
  })

  it('are not starved by a busy one', async () => {
    const listener = own(new Listener([bound(), bound()], { budget: 3 }))
    const [busy, quiet] = listener.addresses as [SocketAddress, SocketAddress]
    const clients = [...connect({ address: busy }, 12), ...connect({ address: quiet }, 1)]
    await Promise.all(clients.map((client) => once(client, 'connect')))
    const ports: number[] = []
    for await (const socket of listener) {
      const { port } = socket.localName as InetAddress
      ports.push(port)
      socket.close()
      if (port === (quiet as InetAddress).port) break
    }
    expect(ports.length).toBe(4)
  })

  it('wait together at the limit of descriptors, and drop what waits at each of them', async () => {
    const { stdout, stderr } = await runModule(`
      ${listening}
      const other = Socket.open(AF_INET, SOCK_STREAM)
      other.bind({ family: 'ipv4', address: '127.0.0.1', port: 0 })
      other.listen()
      const ports = []
      const hoard = []
      const noting = globalThis.setTimeout
      let waits = 0
      globalThis.setTimeout = (callback, delay) => noting(() => { waits++; callback() }, delay)
      let atSecond
      const several = new Listener([Socket.from(dup(listener)), other], {
        delayed({ code }) {
          codes.add(code)
          if (delays.length < 2) return
          atSecond = { ...several.statistics, waits, delays: [...delays], codes: [...codes] }
          for (const fd of hoard.splice(0)) fd.close()
          for (const { port } of several.addresses) net.connect(port, '127.0.0.1').resume()
        },
      })
      const clients = several.addresses.map(({ port }) => net.connect(port, '127.0.0.1').resume())
      await Promise.all(clients.map((client) => once(client, 'connect')))
      const more = () => { try { return eventfd() } catch { return undefined } }
      setResourceLimit({ soft: readdirSync('/proc/self/fd').length + 3 })
      for (let fd; (fd = more()) !== undefined; ) hoard.push(fd)
      const dropped = Promise.all(clients.map((client) => client.closed || once(client, 'close')))
      await several.run((socket) => {
        ports.push(socket.localName.port)
        socket.close()
        if (ports.length === 2) several.close()
      })
      await dropped
      console.log(JSON.stringify({ atSecond, served: new Set(ports).size, statistics: several.statistics }))
      process.exit()`)
    expect(stderr).toBe('')
    const statistics = { accepted: 0, dropped: 2, errors: 2 }
    expect(JSON.parse(stdout)).toEqual({
      // The second try, of whichever of them, is made after the first one's delay.
      atSecond: { ...statistics, waits: 1, delays: [5, 10], codes: ['EMFILE'] },
      served: 2,
      statistics: { ...statistics, accepted: 2 },
    })
  })

  it('end together when one of them fails', async () => {
    const sockets = [bound(), bound()]
    const listener = own(new Listener(sockets))
    const running = listener.run(() => {})
    sockets[1]?.close()
    await expectErrno(() => running, 'EBADF')
    expect(sockets[0]?.closed).toBe(true)
  })

  it('are left unchanged if one of them does not listen; an empty list is refused', async () => {
    using socket = bound()
    using other = Socket.open(AF_INET, SOCK_STREAM)
    expect(() => new Listener([socket, other])).toThrow('does not listen')
    expect(() => new Listener([])).toThrow(TypeError)
    // Nothing watches it now.
    const listener = own(new Listener(socket))
    expect(listener.closed).toBe(false)
  })

  it('keep the process alive only while they are referenced', async () => {
    const script = `
      import { AF_INET, Listener, SOCK_STREAM, Socket } from './everything.js'
      const sockets = [0, 1].map(() => {
        const socket = Socket.open(AF_INET, SOCK_STREAM)
        socket.bind({ family: 'ipv4', address: '127.0.0.1', port: 0 })
        socket.listen()
        return socket
      })
      new Listener(sockets).unref().run(() => {})
      console.log('over')`
    expect((await runModule(script)).stdout).toBe('over\n')
  })
})

/** Fails to wrap the first few connections. */
function failing(code: 'ENOSPC' | 'ENOMEM' | 'EMFILE', times: number): (socket: Socket) => Socket {
  let left = times
  return (socket) => {
    if (left-- > 0) throw new SystemError(errno[code], 'epoll_ctl')
    return socket
  }
}

function countPerTurn() {
  let [count, most, counting] = [0, 0, true]
  const turning = (async () => {
    for (; counting; count = 0) await turn()
  })()
  return {
    add() {
      most = Math.max(most, ++count)
    },
    async most() {
      counting = false
      await turning
      return most
    },
  }
}

function backoff(count: number): number[] {
  return Array.from({ length: count }, (_, i) => Math.min(5 * 2 ** i, 1000))
}

const OVER = { value: undefined, done: true }

/** The beginning of every program: a listener that records reports and delays. */
const listening = `
import { once } from 'node:events'
import { existsSync, readdirSync, readlinkSync, statSync } from 'node:fs'
import net from 'node:net'
import { setImmediate as turn } from 'node:timers/promises'
import { AF_INET, dup, errno, eventfd, Listener, setResourceLimit, SOCK_STREAM, Socket, SystemError } from './everything.js'
const socket = Socket.open(AF_INET, SOCK_STREAM)
socket.bind({ family: 'ipv4', address: '127.0.0.1', port: 0 })
socket.listen()
const codes = new Set()
const delays = []
const { setTimeout } = globalThis
globalThis.setTimeout = (callback, delay) => {
  delays.push(delay)
  return setTimeout(callback, delay)
}
let reported = () => {}
const listener = new Listener(socket, {
  delayed(error) {
    codes.add(error.code)
    reported()
  },
})
const { port } = listener.address
`

/** Runs a program in which strace makes calls of accept4 fail. */
function inject(failure: string, script: string) {
  return runModule(`${listening}${script}`, {
    wrapper: ['strace', '-f', '-qq', '-o', '/dev/null', '-e', 'trace=accept4', '-e', `inject=accept4:error=${failure}`],
  })
}

function needInjection() {
  return needProgram('strace')
}

function bound(): Socket {
  const socket = Socket.open(AF_INET, SOCK_STREAM)
  socket.bind({ family: 'ipv4', address: '127.0.0.1', port: 0 })
  socket.listen()
  return socket
}

function listen<T = Socket>(options?: ListenerOptions<T>): Listener<T> {
  return own(new Listener(bound(), options))
}

function own<T>(listener: Listener<T>): Listener<T> {
  onTestFinished(() => listener.close())
  return listener
}

function connect(listener: { readonly address: SocketAddress }, count: number): net.Socket[] {
  return connectTo((listener.address as InetAddress).port, count)
}

function connectTo(port: number, count: number): net.Socket[] {
  return Array.from({ length: count }, () => {
    const client = net.connect(port, '127.0.0.1')
    client.on('error', () => {})
    onTestFinished(async () => {
      if (client.closed) return
      const done = once(client, 'close')
      client.destroy()
      await done
    })
    return client
  })
}
