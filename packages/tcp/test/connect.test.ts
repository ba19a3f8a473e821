import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { type AddressInfo, createServer, type Server } from 'node:net'
import { join, resolve } from 'node:path'
import { setImmediate } from 'node:timers/promises'
import {
  encodeAddress,
  getOption,
  type Ipv4Address,
  SO_KEEPALIVE,
  type Socket,
  type SocketAddress,
  setOption,
} from '@linux-sockets/native-core'
import {
  expectErrno,
  guardDescriptors,
  needProgram,
  runProgram,
  skipUnless,
  temporaryDirectory,
} from '@linux-sockets/testkit'
import { describe, expect, it, onTestFinished } from 'vitest'
import { connect, TCP_USER_TIMEOUT } from '../src/index.js'
import { anyPort, fullListener } from './loopback.js'

guardDescriptors()

describe('connect', () => {
  it('gives a stream to a server not written here', async () => {
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

  it('rejects with the one attempt’s own error', async () => {
    const address = await unusedAddress()
    const error = await expectErrno(() => connect(address), 'ECONNREFUSED')
    expect(error).toMatchObject({ name: 'SystemError', syscall: 'connect' })
    expect(error.message).toContain(`127.0.0.1:${address.port}`)
    await expectErrno(() => connect([address]), 'ECONNREFUSED')
  })

  it('goes on to the next address', async () => {
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

  it('lets an attempt run on when the next begins, and takes the first that connects', async () => {
    const slow = await fullListener()
    const address = await echoServer()
    const stream = await connect([slow.localAddress, address], { attemptDelay: 10 })
    expect(stream.remotePort).toBe(address.port)
    await closed(stream)
  })

  it('takes an earlier attempt that connects after a later one was refused', async () => {
    const opened: Socket[] = []
    const listener = await fullListener()
    const stream = connect([listener.localAddress, await unusedAddress()], {
      attemptDelay: 10,
      prepare: (socket) => opened.push(socket),
    })
    // Once the second has failed there is room for the first one's next SYN.
    while (opened.length < 2 || !opened[1]?.closed) await setImmediate()
    listener.accept()?.close()
    const { port } = listener.localAddress as Ipv4Address
    expect((await stream).remotePort).toBe(port)
    await closed(await stream)
  })

  it('fails at its timeout with an error for each attempt', async () => {
    const [first, second] = [await fullListener(), await fullListener()]
    const error = await connect([first.localAddress, second.localAddress], { attemptDelay: 10, timeout: 300 }).catch(
      (reason) => reason,
    )
    expect(error.code).toBe('ETIMEDOUT')
    expect(error.errors.map(({ code }: { code: string }) => code)).toEqual(['ETIMEDOUT', 'ETIMEDOUT'])
  })

  it('takes addresses that arrive one by one, and lets go of who brings them', async () => {
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

  it('has the error of the iterator among the others', async () => {
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

  it('refuses an attempt delay below that of RFC 8305', () =>
    expect(connect(anyPort, { attemptDelay: 9 })).rejects.toThrow(RangeError))

  it('is given up by its signal, and tries nothing more', async () => {
    const listener = await fullListener()
    const reason = new Error('no longer wanted')
    const controller = new AbortController()
    const attempt = connect([listener.localAddress, await echoServer()], { signal: controller.signal })
    await setImmediate()
    controller.abort(reason)
    await expect(attempt).rejects.toBe(reason)
    await expect(connect(anyPort, { signal: controller.signal })).rejects.toBe(reason)
  })

  it('ends at its timeout', async () => {
    const listener = await fullListener()
    const error = await expectErrno(() => connect(listener.localAddress, { timeout: 30 }), 'ETIMEDOUT')
    expect(error.syscall).toBe('connect')
  })

  it('binds to the address asked for', async () => {
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
        expectErrno(() => socket.peerAddress, 'ENOTCONN')
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

  it('hands options to the stream', async () => {
    const stream = await connect(await echoServer(), { stream: { highWaterMark: 77 } })
    expect(stream.readableHighWaterMark).toBe(77)
    await closed(stream)
  })

  it.each([
    ['no address', []],
    ['text', 'localhost:80'],
    ['null', null],
    ['a host name as address', { family: 'ipv4', address: 'localhost', port: 80 }],
    ['NaN as port', { family: 'ipv4', address: '127.0.0.1', port: Number.NaN }],
  ])('refuses %s as a TypeError', (_, address) => expect(connect(address as SocketAddress)).rejects.toThrow(TypeError))

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
      cwd: resolve(import.meta.dirname, '..'),
    })
    expect(output).toBe('once\n')
    const calls = readFileSync(log, 'utf8').split('\n')
    expect(calls.filter((line) => line.includes('connect(') && line.includes('AF_INET'))).toHaveLength(1)
    expect(calls.filter((line) => line.includes('SO_ERROR')).length).toBeGreaterThan(0)
  })
})

async function echoServer(): Promise<Ipv4Address> {
  const server = createServer((socket) => socket.on('error', () => {}).pipe(socket)).listen(0, '127.0.0.1')
  await once(server, 'listening')
  onTestFinished(() => ended(server))
  return { ...anyPort, port: (server.address() as AddressInfo).port }
}

/** A port that nobody listens at. */
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
