import { errno, getOption, readable, Socket, setOption } from '@linux-sockets/native-core'
import { AF_INET, SOCK_STREAM } from '@linux-sockets/native-core/constants'
import { SO_ERROR } from '@linux-sockets/native-core/options'
import { expectErrno, guardDescriptors, skipUnless } from '@linux-sockets/testkit'
import { describe, expect, it } from 'vitest'
import { TCP_MD5SIG, TCP_MD5SIG_EXT, TCP_USER_TIMEOUT } from '../src/index.js'
import { anyPort, connectedPair, needMd5 } from './loopback.js'

guardDescriptors()

const key = Buffer.from('secret')
const network = { ...anyPort, address: '127.77.0.1' }

describe('a listener with a key', () => {
  it.for([
    { what: 'one peer', prepare: (socket: Socket) => setOption(socket, TCP_MD5SIG, { address: anyPort, key }) },
    {
      what: 'a network',
      prepare: (socket: Socket) => setOption(socket, TCP_MD5SIG_EXT, { address: network, prefix: 8, key }),
    },
  ])('for $what accepts a connection with the same key', async ({ prepare }, test) => {
    skipUnless(test, needMd5())
    const { connected, accepted } = await connectedPair(prepare, (socket) =>
      setOption(socket, TCP_MD5SIG, { address: anyPort, key }),
    )
    connected.send(Buffer.from('signed'))
    await readable(accepted)
    expect(accepted.recv(Buffer.alloc(10))).toBe(6)
  })

  it.for([
    { what: 'another key', keys: [{ address: anyPort, key: Buffer.from('Secret') }] },
    {
      what: 'a removed key',
      keys: [
        { address: anyPort, key },
        { address: anyPort, key: Buffer.alloc(0) },
      ],
    },
  ])('gives no answer to a peer with $what', async ({ keys }, test) => {
    skipUnless(test, needMd5())
    using listener = Socket.open(AF_INET, SOCK_STREAM)
    setOption(listener, TCP_MD5SIG, { address: anyPort, key })
    listener.bind(anyPort)
    listener.listen()
    using socket = Socket.open(AF_INET, SOCK_STREAM)
    setOption(socket, TCP_USER_TIMEOUT, 100)
    for (const entry of keys) setOption(socket, TCP_MD5SIG, entry)
    socket.connect(listener.localName)
    await readable(socket)
    expect(getOption(socket, SO_ERROR)).toBe(errno.ETIMEDOUT)
    expect(listener.accept()).toBeNull()
  })
})

it('TCP_MD5SIG_EXT refuses invalid keys', (test) => {
  using socket = Socket.open(AF_INET, SOCK_STREAM)
  const set = (value: object) => () => setOption(socket, TCP_MD5SIG_EXT, { address: anyPort, key, ...value })
  expect(set({ key: 'secret' })).toThrow(TypeError)
  expect(set({ key: Buffer.alloc(81) })).toThrow(RangeError)
  expect(set({ prefix: 129 })).toThrow(RangeError)
  expect(set({ prefix: Number.NaN })).toThrow(TypeError)
  expect(set({ ifindex: -1 })).toThrow(RangeError)
  expect(set({ address: { ...anyPort, address: 'localhost' } })).toThrow(TypeError)
  skipUnless(test, needMd5())
  expectErrno(set({ prefix: 33 }), 'EINVAL')
  expectErrno(set({ ifindex: 1 }), 'EINVAL')
  expectErrno(set({ address: { family: 'ipv6', address: '::1', port: 0 } }), 'EINVAL')
})
