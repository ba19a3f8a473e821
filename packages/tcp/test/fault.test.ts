import { once } from 'node:events'
import { type AddressInfo, createServer } from 'node:net'
import type { InetAddress, SystemError } from '@linux-sockets/native-core'
import { guardDescriptors, needProgram, openDescriptors, skipUnless, withFault } from '@linux-sockets/testkit'
import { describe, expect, it, onTestFinished } from 'vitest'
import { connect, listen, Server } from '../src/index.js'
import { anyPort } from './loopback.js'

guardDescriptors()

const six = { family: 'ipv6', address: '::1', port: 0 } as const

describe('connect', () => {
  it.for([
    ['socket:error=EMFILE', 'EMFILE'],
    ['connect:error=EADDRNOTAVAIL', 'EADDRNOTAVAIL'],
    ['connect:error=EAGAIN', 'EAGAIN'],
    ['getsockopt:error=ENOBUFS', 'ENOBUFS'],
    ['epoll_ctl:error=ENOSPC', 'ENOSPC'],
  ] as const)('fails with the error of %s, or goes on to the next address', async ([fault, code], test) => {
    skipUnless(test, needProgram('strace'))
    const address = await closingServer()
    const alone = await withFault(`${fault}:when=1`, () => connect(address))
    expect(alone).toEqual({ outcome: { status: 'rejected', reason: expect.objectContaining({ code }) }, injected: 1 })

    const { outcome, injected } = await withFault(`${fault}:when=1`, () =>
      connect([{ ...address, address: '127.0.0.2' }, address]),
    )
    expect([outcome.status, injected]).toEqual(['fulfilled', 1])
    if (outcome.status === 'fulfilled') outcome.value.destroy()
  })

  it('fails with all errors if every attempt fails', async (test) => {
    skipUnless(test, needProgram('strace'))
    const addresses = [1, 2, 3].map((port) => ({ ...anyPort, port }))
    const { outcome, injected } = await withFault('socket:error=ENFILE', () => connect(addresses))
    expect([outcome.status, injected]).toEqual(['rejected', 3])
    const { errors, message } = (outcome as PromiseRejectedResult).reason as AggregateError
    expect(errors).toMatchObject(addresses.map((address) => ({ code: 'ENFILE', syscall: 'socket', address })))
    for (const { port } of addresses) expect(message).toContain(`127.0.0.1:${port}: socket ENFILE`)
  })

  it('waits for the outcome of a call that a signal interrupts', async (test) => {
    skipUnless(test, needProgram('strace'))
    const address = await closingServer()
    const { outcome } = await withFault('connect:error=EINTR:when=1', () => connect(address))
    if (outcome.status === 'rejected') throw outcome.reason
    outcome.value.destroy()
  })

  it('fails with the error of sending `fastOpen`', async (test) => {
    skipUnless(test, needProgram('strace'))
    const fastOpen = Buffer.from('first')
    for (const code of ['ENOBUFS', 'EAGAIN']) {
      const { outcome } = await withFault(`sendto:error=${code}:when=1`, () => connect(anyPort, { fastOpen }))
      expect((outcome as PromiseRejectedResult).reason).toMatchObject({ code, syscall: 'sendto' })
    }
  })
})

describe('listen', () => {
  it.for([
    ['socket:error=EMFILE:when=2', 'EMFILE'],
    ['setsockopt:error=ENOBUFS:when=2', 'ENOBUFS'],
    ['bind:error=EACCES:when=2', 'EACCES'],
    ['getsockname:error=ENOBUFS:when=1', 'ENOBUFS'],
    ['listen:error=EINVAL:when=2', 'EINVAL'],
    ['getsockopt:error=ENOBUFS:when=2', 'ENOBUFS'],
    ['epoll_ctl:error=ENOSPC:when=2', 'ENOSPC'],
  ] as const)('throws the error of %s, and leaves nothing open', async ([fault, code], test) => {
    skipUnless(test, needProgram('strace'))
    // The first watch of this thread opens its epoll instance, which must not happen during the test.
    await using _other = listen(anyPort)
    let leaked: unknown
    const { outcome, injected } = await withFault(fault, () => {
      const before = openDescriptors().length
      try {
        return listen([six, anyPort])
      } finally {
        leaked = openDescriptors().length - before
      }
    })
    expect([injected, leaked]).toEqual([1, 0])
    expect((outcome as PromiseRejectedResult).reason).toMatchObject({ code })
  })

  it.for(['bind', 'listen'])('chooses another port if %s finds the first one in use', async (syscall, test) => {
    skipUnless(test, needProgram('strace'))
    const { outcome, injected } = await withFault(`${syscall}:error=EADDRINUSE:when=2`, () => listen([six, anyPort]))
    if (outcome.status === 'rejected') throw outcome.reason
    const [first, second] = outcome.value.addresses as [InetAddress, InetAddress]
    outcome.value.close()
    expect([injected, second.port]).toEqual([1, first.port])
  })

  it('fails if sixteen ports were in use, or the requested one', async (test) => {
    skipUnless(test, needProgram('strace'))
    const several = await withFault('bind:error=EADDRINUSE:when=2+2', () => listen([six, anyPort]))
    expect((several.outcome as PromiseRejectedResult).reason.code).toBe('EADDRINUSE')
    expect(several.injected).toBe(16)
    const one = await withFault('bind:error=EADDRINUSE', () => listen(anyPort))
    expect((one.outcome as PromiseRejectedResult).reason.code).toBe('EADDRINUSE')
    expect(one.injected).toBe(1)
  })

  it('ends at all addresses if accepting fails, and keeps the accepted connections', async (test) => {
    skipUnless(test, needProgram('strace'))
    await using server = listen([six, anyPort])
    const running = server.run((stream) => stream.pipe(stream))
    const [one, two] = server.addresses as [InetAddress, InetAddress]
    const client = await connect(one)
    client.write('before')
    await once(client, 'data')
    const { outcome } = await withFault('accept4:error=EINVAL:when=1', async () => {
      // Reset with the listener, before it knows that it is connected or after.
      const late = connect(two).then((stream) => stream.on('error', () => {}).resume())
      await Promise.all([running, late.catch(() => {})])
    })
    expect((outcome as PromiseRejectedResult).reason as SystemError).toMatchObject({
      code: 'EINVAL',
      syscall: 'accept4',
    })
    expect([server.closed, server.connections.size]).toEqual([true, 1])
    client.end('after')
    expect(String(Buffer.concat(await client.toArray()))).toBe('after')
    expect(await server.drain()).toBe(0)
  })

  it.for(['ENOSPC', 'ENOMEM'])(
    'closes a connection for which it can’t make a stream because of %s, and goes on',
    async (code, test) => {
      skipUnless(test, needProgram('strace'))
      const reports: SystemError[] = []
      await using server = listen(anyPort, { delayed: (error) => reports.push(error) })
      expect(server).toBeInstanceOf(Server)
      const clients = [await connect(server.address), await connect(server.address)]
      const closed = clients.map((client) => once(client.resume(), 'close'))
      // Both wait already, and the first watch after that is the first stream's.
      const { outcome } = await withFault(`epoll_ctl:error=${code}:when=1`, () => server[Symbol.asyncIterator]().next())
      if (outcome.status === 'rejected') throw outcome.reason
      await closed[0]
      expect(outcome.value.value?.remotePort).toBe(clients[1]?.localPort)
      expect(reports).toEqual([expect.objectContaining({ code, syscall: 'epoll_ctl' })])
      expect(server.statistics).toEqual({ accepted: 1, dropped: 1, errors: 0 })
      expect(server.connections).toEqual(new Set([outcome.value.value]))
      outcome.value.value?.resume().end()
      await closed[1]
    },
  )

  it.for(['ENOSPC', 'ENOMEM'])(
    '`run` goes on after a connection for which it can’t make a stream because of %s',
    async (code, test) => {
      skipUnless(test, needProgram('strace'))
      const reports: SystemError[] = []
      await using server = listen(anyPort, { delayed: (error) => reports.push(error) })
      const clients = [await connect(server.address), await connect(server.address)]
      const closed = clients.map((client) => once(client.resume().end(), 'close'))
      // The first two watches are stopped and begun by `run`, the third is the first stream's.
      const { injected } = await withFault(`epoll_ctl:error=${code}:when=3`, async () => {
        server.run((stream) => stream.resume().end())
        await Promise.all(closed)
      })
      expect([injected, reports.map((error) => error.code)]).toEqual([1, [code]])
      expect(server.statistics).toEqual({ accepted: 1, dropped: 1, errors: 0 })
      expect(server.closed).toBe(false)
    },
  )

  it('stops accepting until there are descriptors again', async (test) => {
    skipUnless(test, needProgram('strace'))
    const reports: SystemError[] = []
    await using server = listen(anyPort, { delayed: (error) => reports.push(error) })
    const client = await connect(server.address)
    const { injected } = await withFault('accept4:error=EMFILE:when=1', async () => {
      server.run((stream) => stream.pipe(stream))
      client.end('at last')
      expect(String(Buffer.concat(await client.toArray()))).toBe('at last')
    })
    expect(injected).toBe(1)
    expect(reports).toEqual([expect.objectContaining({ code: 'EMFILE', syscall: 'accept4' })])
    expect(server.statistics).toEqual({ accepted: 1, dropped: 0, errors: 1 })
  })

  it('drops waiting connections if descriptors are missing for longer', async (test) => {
    skipUnless(test, needProgram('strace'))
    await using server = listen(anyPort, { delayed: () => {} })
    const clients = [await connect(server.address), await connect(server.address)]
    const closed = clients.map((client) => once(client.resume().end(), 'close'))
    const { injected } = await withFault('accept4:error=EMFILE:when=1..2', async () => {
      server.run((stream) => stream.pipe(stream))
      await Promise.all(closed)
    })
    expect(injected).toBe(2)
    expect(server.statistics).toEqual({ accepted: 0, dropped: 2, errors: 2 })
    const later = await connect(server.address)
    later.end('served again')
    expect(String(Buffer.concat(await later.toArray()))).toBe('served again')
  })
})

/** Ends each connection at once. */
async function closingServer(): Promise<InetAddress> {
  const server = createServer((socket) =>
    socket
      .on('error', () => {})
      .resume()
      .end(),
  ).listen(0, '127.0.0.1')
  await once(server, 'listening')
  onTestFinished(async () => {
    server.close()
    await once(server, 'close')
  })
  return { ...anyPort, port: (server.address() as AddressInfo).port }
}
