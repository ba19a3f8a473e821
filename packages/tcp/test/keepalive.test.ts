import { getOption, readable, Socket, setOption } from '@linux-sockets/native-core'
import { AF_INET, SOCK_STREAM } from '@linux-sockets/native-core/constants'
import { attachFilter, BPF_K, BPF_RET, BPF_STMT } from '@linux-sockets/native-core/filter'
import { SO_KEEPALIVE } from '@linux-sockets/native-core/options'
import { expectErrno, guardDescriptors } from '@linux-sockets/testkit'
import { describe, expect, it } from 'vitest'
import { setKeepAlive, TCP_KEEPCNT, TCP_KEEPIDLE, TCP_KEEPINTVL, TCP_USER_TIMEOUT } from '../src/index.js'
import { connectedPair } from './loopback.js'

guardDescriptors()

describe('setKeepAlive', () => {
  it('sets the given times, leaves the others, and can be turned off', () => {
    using socket = Socket.open(AF_INET, SOCK_STREAM)
    const read = () =>
      [SO_KEEPALIVE, TCP_KEEPIDLE, TCP_KEEPINTVL, TCP_KEEPCNT].map((row) => getOption<unknown>(socket, row))
    setKeepAlive(socket, { idle: 33, interval: 11, count: 3 })
    expect(read()).toEqual([true, 33, 11, 3])
    setKeepAlive(socket, { interval: 12 })
    expect(read()).toEqual([true, 33, 12, 3])
    setKeepAlive(socket, false)
    expect(read()).toEqual([false, 33, 12, 3])
  })

  it('refuses invalid times before anything is set', () => {
    using socket = Socket.open(AF_INET, SOCK_STREAM)
    for (const bad of [{ idle: 0 }, { idle: 32_768 }, { interval: 0.5 }, { count: 128 }]) {
      expect(() => setKeepAlive(socket, { idle: 44, ...bad })).toThrow(RangeError)
    }
    expect(() => setKeepAlive(socket, { idle: 44, count: Number.NaN })).toThrow(TypeError)
    expect(() => setKeepAlive(socket, true as never)).toThrow(TypeError)
    expect(getOption(socket, SO_KEEPALIVE)).toBe(false)
    expect(getOption(socket, TCP_KEEPIDLE)).not.toBe(44)
    expectErrno(() => setKeepAlive({ fd: -1 }, {}), 'EBADF')
  })
})

describe('a peer that no longer receives anything', () => {
  it('is detected by keepalive', async () => {
    // The peer has been silent since the connection was made.
    const start = performance.now()
    const { connected, accepted } = await connectedPair()
    blackhole(accepted)
    setKeepAlive(connected, { idle: 1, interval: 1, count: 1 })
    await readable(connected)
    const waited = performance.now() - start
    expect(waited).toBeGreaterThan(1900)
    expect(waited).toBeLessThan(60_000)
    expectErrno(() => connected.recv(Buffer.alloc(1)), 'ETIMEDOUT')
  })

  it('is detected by TCP_USER_TIMEOUT', async () => {
    const { connected, accepted } = await connectedPair()
    blackhole(accepted)
    setOption(connected, TCP_USER_TIMEOUT, 500)
    const start = performance.now()
    connected.send(Buffer.from('?'))
    await readable(connected)
    const waited = performance.now() - start
    expect(waited).toBeGreaterThan(400)
    expect(waited).toBeLessThan(60_000)
    expectErrno(() => connected.recv(Buffer.alloc(1)), 'ETIMEDOUT')
  })
})

/** The socket's packets are dropped before TCP sees them, so that it neither answers nor resets. */
function blackhole(socket: Socket): void {
  attachFilter(socket, [BPF_STMT(BPF_RET | BPF_K, 0)])
}
