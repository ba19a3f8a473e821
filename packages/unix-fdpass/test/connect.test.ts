import { once } from 'node:events'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { setImmediate } from 'node:timers/promises'
import { formatAddress, getOption, Socket, setOption } from '@linux-sockets/native-core'
import { AF_UNIX, SOCK_DGRAM, SOCK_STREAM } from '@linux-sockets/native-core/constants'
import { SO_PASSCRED } from '@linux-sockets/native-core/options'
import { expectErrno, guardDescriptors, temporaryDirectory } from '@linux-sockets/testkit'
import { describe, expect, it, onTestFinished } from 'vitest'
import { connect, listen } from '../src/index.js'

guardDescriptors()

describe('connect', () => {
  it('connects to node:net at a path', async () => {
    const path = join(temporaryDirectory(), 'server.sock')
    const server = createServer((socket) => socket.pipe(socket)).listen(path)
    await once(server, 'listening')
    const stream = await connect({ family: 'unix', path })
    stream.end('over and back')
    expect(String(await stream.toArray())).toBe('over and back')
    server.close()
    await once(server, 'close')
  })

  it('connects to an abstract name, with options set before', async () => {
    await using server = listen({ family: 'unix' })
    server.run((stream) => stream.pipe(stream))
    const stream = await connect(server.address as { family: 'unix' }, {
      prepare: (socket) => setOption(socket, SO_PASSCRED, true),
      stream: { highWaterMark: 77 },
    })
    expect([getOption(stream, SO_PASSCRED), stream.readableHighWaterMark]).toEqual([true, 77])
    stream.end('over and back')
    expect(String(await stream.toArray())).toBe('over and back')
  })

  it('accepts text, as listen does', async () => {
    const name = `@${process.pid}-${process.hrtime.bigint()}`
    for (const text of [join(temporaryDirectory(), 'server.sock'), name]) {
      await using server = listen(text)
      expect(formatAddress(server.address)).toBe(text)
      server.run((stream) => stream.end('hello'))
      expect(String(await (await connect(text)).toArray())).toBe('hello')
    }
  })

  it('refuses, as listen does, an address that is not of a Unix socket', async () => {
    const inet = { family: 'ipv4', address: '127.0.0.1', port: 1 } as never
    for (const [address, message] of [
      ['server.sock', /^address must be .*a path \(\/run\/x\.sock, \.\/x\.sock\).* not "server\.sock"$/],
      ['127.0.0.1:1', 'address must be one of a Unix socket, /run/x.sock or @name, not 127.0.0.1:1'],
      [inet, 'address must be one of a Unix socket'],
      [undefined as never, 'address must be an object'],
    ] as const) {
      expect(() => listen(address)).toThrow(message)
      await expect(connect(address)).rejects.toThrow(message)
      await expect(connect(address)).rejects.toThrow(TypeError)
    }
  })

  it('waits while the backlog is full', async () => {
    const { listener, address } = fullListener()
    const connecting = connect(address)
    await setImmediate()
    listener.accept()?.close()
    const stream = await connecting
    stream.destroy()
    await once(stream, 'close')
  })

  it('stops waiting at its timeout', async () => {
    const error = await expectErrno(() => connect(fullListener().address, { timeout: 20 }), 'ETIMEDOUT')
    expect(error.syscall).toBe('connect')
  })

  it('stops waiting when its signal is aborted', async () => {
    const reason = new Error('no longer wanted')
    const controller = new AbortController()
    const connecting = connect(fullListener().address, { signal: controller.signal })
    await setImmediate()
    controller.abort(reason)
    await expect(connecting).rejects.toBe(reason)
    await expect(connect({ family: 'unix' }, { signal: controller.signal })).rejects.toBe(reason)
  })

  it('reports why it failed', async () => {
    const directory = temporaryDirectory()
    await expectErrno(() => connect({ family: 'unix', path: join(directory, 'none') }), 'ENOENT')
    await expectErrno(() => connect({ family: 'unix', abstract: `without a listener ${process.pid}` }), 'ECONNREFUSED')
    using datagrams = Socket.open(AF_UNIX, SOCK_DGRAM)
    datagrams.bind({ family: 'unix', path: join(directory, 'datagrams') })
    await expectErrno(() => connect({ family: 'unix', path: join(directory, 'datagrams') }), 'EPROTOTYPE')
    await expect(connect({ family: 'unix', path: 'x'.repeat(109) })).rejects.toThrow(RangeError)
    await expect(connect({ family: 'unix' }, { timeout: 0 })).rejects.toThrow(RangeError)
  })
})

/** A listener whose backlog is full. Closed when the running test ends. */
function fullListener() {
  const listener = Socket.open(AF_UNIX, SOCK_STREAM)
  listener.bind({ family: 'unix' })
  listener.listen(0)
  const address = listener.localName as { family: 'unix' }
  const waiting = Socket.open(AF_UNIX, SOCK_STREAM)
  waiting.connect(address)
  onTestFinished(() => {
    listener.close()
    waiting.close()
  })
  return { listener, address }
}
