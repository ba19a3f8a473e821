import { readFileSync } from 'node:fs'
import {
  guardDescriptors,
  type Need,
  needCapability,
  needProgram,
  skipUnless,
  spawnProgram,
} from '@linux-sockets/testkit'
import { describe, expect, expectTypeOf, it } from 'vitest'
import { control, int } from '../../src/codecs/index.js'
import {
  AF_INET,
  AF_UNIX,
  CLOCK_MONOTONIC,
  IPPROTO_UDP,
  MSG_PEEK,
  SOCK_DGRAM,
  SOCK_RCVBUF_LOCK,
  SOCK_SNDBUF_LOCK,
  SOCK_STREAM,
  SOF_TIMESTAMPING_RX_SOFTWARE,
  SOF_TIMESTAMPING_SOFTWARE,
  SOF_TXTIME_REPORT_ERRORS,
  SOL_SOCKET,
} from '../../src/constants.js'
import { errno, getOption, type InetAddress, readable, readControl, Socket, setOption } from '../../src/index.js'
import { SO_RCVBUF, SO_SNDBUF, SO_TYPE } from '../../src/options/index.js'
import * as rows from '../../src/options/socket.js'
import {
  after,
  needing,
  peerOf,
  since,
  tcp4,
  tcp4Pair,
  testRows,
  udp4,
  udp4Pair,
  unix,
  unixPair,
  withCapability,
} from './kind.js'

guardDescriptors()

testRows(rows, {
  SO_DEBUG: [withCapability('CAP_NET_ADMIN', udp4), true],
  SO_REUSEADDR: [udp4, true],
  SO_TYPE: [udp4, (value) => expect(value).toBe(SOCK_DGRAM)],
  SO_ERROR: [
    // The other end has no socket: over loopback the refusal has arrived when send returns.
    after((socket) => {
      peerOf(socket).close()
      socket.send(Buffer.from('?'))
    }, udp4Pair),
    (value, socket) => {
      expect(value).toBe(errno.ECONNREFUSED)
      expect(getOption(socket, rows.SO_ERROR)).toBe(0)
    },
  ],
  SO_DONTROUTE: [udp4, true],
  SO_BROADCAST: [udp4, true],
  SO_SNDBUF: [udp4, 20_000, 40_000],
  SO_RCVBUF: [udp4, 20_000, 40_000],
  SO_KEEPALIVE: [tcp4, true],
  SO_OOBINLINE: [tcp4, true],
  SO_NO_CHECK: [udp4, true],
  SO_PRIORITY: [udp4, 6],
  SO_LINGER: [tcp4, 7],
  SO_REUSEPORT: [udp4, true],
  SO_PASSCRED: [unix, true],
  SO_PEERCRED: [
    unixPair,
    (value) => expect(value).toEqual({ pid: process.pid, uid: process.geteuid?.(), gid: process.getegid?.() }),
  ],
  SO_RCVLOWAT: [tcp4, 1000],
  SO_SNDLOWAT: [udp4, (value) => expect(value).toBe(1)],
  SO_RCVTIMEO: [udp4, 1500],
  SO_SNDTIMEO: [udp4, 2500],
  SO_BINDTODEVICE: [udp4, 'lo'],
  SO_TIMESTAMP: [udp4, true],
  SO_ACCEPTCONN: [after((socket) => socket.listen(), tcp4), (value) => expect(value).toBe(true)],
  SO_PEERSEC: [needing(needSecurityModule, unixPair), (value) => expect(value).not.toBe('')],
  SO_SNDBUFFORCE: [
    withCapability('CAP_NET_ADMIN', udp4),
    beyond('wmem_max'),
    (socket) => expect(getOption(socket, SO_SNDBUF)).toBe(2 * beyond('wmem_max')),
  ],
  SO_RCVBUFFORCE: [
    withCapability('CAP_NET_ADMIN', udp4),
    beyond('rmem_max'),
    (socket) => expect(getOption(socket, SO_RCVBUF)).toBe(2 * beyond('rmem_max')),
  ],
  SO_PASSSEC: [unix, true],
  SO_TIMESTAMPNS: [udp4, true],
  SO_MARK: [withCapability('CAP_NET_ADMIN', udp4), 0xdead_beef],
  SO_TIMESTAMPING: [udp4, SOF_TIMESTAMPING_RX_SOFTWARE | SOF_TIMESTAMPING_SOFTWARE],
  SO_PROTOCOL: [udp4, (value) => expect(value).toBe(IPPROTO_UDP)],
  SO_DOMAIN: [udp4, (value) => expect(value).toBe(AF_INET)],
  SO_RXQ_OVFL: [udp4, true],
  SO_WIFI_STATUS: [udp4, true],
  SO_PEEK_OFF: [udp4, 3],
  SO_NOFCS: [udp4, true],
  SO_LOCK_FILTER: [udp4, true],
  SO_SELECT_ERR_QUEUE: [udp4, true],
  SO_BUSY_POLL: [withCapability('CAP_NET_ADMIN', udp4), 50],
  SO_MAX_PACING_RATE: [udp4, 5_000_000_000n],
  SO_BPF_EXTENSIONS: [udp4, (value) => expect(value).toBeGreaterThanOrEqual(64)],
  SO_INCOMING_CPU: [udp4, 0],
  // Nothing tells whether the kernel looked for another route.
  SO_CNX_ADVICE: [tcp4Pair, 1, (socket) => expect(getOption(socket, rows.SO_ERROR)).toBe(0)],
  SO_MEMINFO: [
    udp4,
    (value, socket) => {
      const [rcvbuf, sndbuf] = [getOption(socket, SO_RCVBUF), getOption(socket, SO_SNDBUF)]
      expect(value).toMatchObject({ rcvbuf, sndbuf, rmem_alloc: 0, wmem_alloc: 0, drops: 0 })
    },
  ],
  SO_INCOMING_NAPI_ID: [udp4, (value) => expect(value).toBe(0)],
  SO_COOKIE: [
    udp4,
    (value, socket) => {
      expect(getOption(socket, rows.SO_COOKIE)).toBe(value)
      using other = udp4.open()
      expect(getOption(other, rows.SO_COOKIE)).not.toBe(value)
    },
  ],
  SO_PEERGROUPS: [
    unixPair,
    (value) => {
      const groups = /^Groups:(.*)$/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1] ?? ''
      expect(value).toEqual(groups.split(/\s/).filter(Boolean).map(Number))
    },
  ],
  SO_ZEROCOPY: [tcp4, true],
  SO_TXTIME: [udp4, { clockid: CLOCK_MONOTONIC, flags: SOF_TXTIME_REPORT_ERRORS }],
  SO_BINDTOIFINDEX: [udp4, 1],
  SO_PREFER_BUSY_POLL: [withCapability('CAP_NET_ADMIN', since('5.11', udp4)), true],
  SO_BUSY_POLL_BUDGET: [
    withCapability('CAP_NET_ADMIN', since('5.11', udp4)),
    65535,
    // It can't be read, but the kernel checks its range.
    (socket) => expect(() => setOption(socket, rows.SO_BUSY_POLL_BUDGET, 65536)).toThrow('EINVAL'),
  ],
  SO_NETNS_COOKIE: [
    since('5.14', udp4),
    (value) => {
      using other = tcp4.open()
      expect(value).toBeGreaterThan(0n)
      expect(getOption(other, rows.SO_NETNS_COOKIE)).toBe(value)
    },
  ],
  SO_BUF_LOCK: [since('5.15', udp4), SOCK_SNDBUF_LOCK | SOCK_RCVBUF_LOCK],
  SO_RESERVE_MEM: [
    needing(needAccountedMemory, tcp4),
    1 << 16,
    (socket) => expect(getOption(socket, rows.SO_RESERVE_MEM)).toBeGreaterThanOrEqual(1 << 16),
  ],
  SO_TXREHASH: [since('5.18', tcp4), 0],
  SO_RCVMARK: [since('5.19', udp4), true],
  SO_PASSPIDFD: [since('6.5', unix), true],
  // No device here receives into its own memory, so there is nothing to give back.
  SO_DEVMEM_DONTNEED: [
    since('6.12', tcp4),
    [{ start: 1, count: 1 }],
    (socket) => expect(() => setOption(socket, rows.SO_DEVMEM_DONTNEED, [])).toThrow('EINVAL'),
  ],
  SO_RCVPRIORITY: [since('6.14', udp4), true],
  SO_PASSRIGHTS: [since('6.16', unix), false],
  SO_INQ: [
    since('6.17', unixPair),
    true,
    (socket) => {
      peerOf(socket).send(Buffer.from('three more'))
      const message = socket.recvMessage(new Uint8Array(5), { control: 64 })
      expect(message?.control && readControl(message.control, control('SCM_INQ', SOL_SOCKET, 84, int))).toBe(5)
    },
  ],
})

describe('what the comments promise', () => {
  it('SO_LINGER: null is off, 0 resets', () => {
    using socket = tcp4.open()
    expect(getOption(socket, rows.SO_LINGER)).toBeNull()
    setOption(socket, rows.SO_LINGER, 0)
    expect(getOption(socket, rows.SO_LINGER)).toBe(0)
    setOption(socket, rows.SO_LINGER, null)
    expect(getOption(socket, rows.SO_LINGER)).toBeNull()
  })

  it('SO_LINGER 0 resets the connection', () => {
    using socket = tcp4Pair.open()
    setOption(socket, rows.SO_LINGER, 0)
    socket.close()
    expect(() => peerOf(socket).recv(new Uint8Array(1))).toThrow('ECONNRESET')
  })

  it('SO_LINGER: close waits for the peer to take the data, although the socket is non-blocking', () => {
    using socket = tcp4Pair.open()
    fill(socket)
    setOption(socket, rows.SO_LINGER, 1)
    const start = performance.now()
    socket.close()
    expect(performance.now() - start).toBeGreaterThan(900)
  })

  it('SO_LINGER: close returns as soon as the peer has taken the data', async (test) => {
    skipUnless(test, needProgram('python3'))
    using listener = tcp4.open()
    listener.bind({ family: 'ipv4', address: '127.0.0.1', port: 0 })
    listener.listen()
    const peer = spawnProgram('python3', ['-u', '-c', latePeer, String((listener.localName as InetAddress).port)])
    await readable(listener)
    using socket = listener.accept() as Socket
    const sent = fill(socket)
    setOption(socket, rows.SO_LINGER, 60)
    peer.process.stdin?.write('read!\n')
    const start = performance.now()
    socket.close()
    const [end, waited] = [process.hrtime.bigint(), performance.now() - start]
    const [begun, received] = (await peer.finished).stdout.split(' ') as [string, string]
    expect(Number(received)).toBe(sent)
    expect(end).toBeGreaterThan(BigInt(begun))
    expect(waited).toBeLessThan(50_000)
  })

  it('SO_BINDTODEVICE: an empty name ends the binding', () => {
    using socket = udp4.open()
    expect(getOption(socket, rows.SO_BINDTODEVICE)).toBe('')
    setOption(socket, rows.SO_BINDTODEVICE, 'lo')
    expect(getOption(socket, rows.SO_BINDTOIFINDEX)).toBe(1)
    if (needCapability('CAP_NET_RAW') === null) {
      setOption(socket, rows.SO_BINDTODEVICE, '')
      expect(getOption(socket, rows.SO_BINDTODEVICE)).toBe('')
    }
    expect(() => setOption(socket, rows.SO_BINDTODEVICE, 'x'.repeat(16))).toThrow(RangeError)
  })

  it('SO_RCVTIMEO: a blocking receive ends without data', () => {
    using socket = Socket.open(AF_INET, SOCK_DGRAM, 0, { blocking: true })
    setOption(socket, rows.SO_RCVTIMEO, 20)
    const start = performance.now()
    expect(socket.recv(new Uint8Array(1))).toBeNull()
    expect(performance.now() - start).toBeGreaterThan(15)
  })

  it('SO_SNDTIMEO: a blocking send returns the bytes sent until then, and then null', () => {
    const [a, b] = Socket.pair(AF_UNIX, SOCK_STREAM, 0, { blocking: true })
    setOption(a, SO_SNDBUF, 10_000)
    setOption(a, rows.SO_SNDTIMEO, 20)
    const data = new Uint8Array(1 << 20)
    const sent = a.send(data)
    expect(sent).toBeGreaterThan(0)
    expect(sent).toBeLessThan(data.length)
    const start = performance.now()
    expect(a.send(data)).toBeNull()
    expect(performance.now() - start).toBeGreaterThan(15)
    a.close()
    b.close()
  })

  it('SO_RCVTIMEO: a value other than zero never becomes “no timeout”', () => {
    using socket = udp4.open()
    setOption(socket, rows.SO_RCVTIMEO, 0.0001)
    expect(getOption(socket, rows.SO_RCVTIMEO)).toBeGreaterThan(0)
  })

  it('SO_MAX_PACING_RATE: no limit by default', () => {
    using socket = tcp4.open()
    expect(getOption(socket, rows.SO_MAX_PACING_RATE)).toBe(2n ** 64n - 1n)
  })

  it('SO_LOCK_FILTER stays set', () => {
    using socket = udp4.open()
    setOption(socket, rows.SO_LOCK_FILTER, true)
    expect(() => setOption(socket, rows.SO_LOCK_FILTER, false)).toThrow('EPERM')
  })

  it('SO_PEEK_OFF: each peek moves on', () => {
    using socket = udp4Pair.open()
    setOption(socket, rows.SO_PEEK_OFF, 0)
    peerOf(socket).send(Buffer.from('abcdef'))
    const buffer = Buffer.alloc(2)
    for (const expected of ['ab', 'cd', 'ef']) {
      socket.recv(buffer, MSG_PEEK)
      expect(buffer.toString()).toBe(expected)
    }
  })
})

describe('types', () => {
  it('are those of the rows', () => {
    using socket = unixPair.open()
    expectTypeOf(getOption(socket, rows.SO_LINGER)).toEqualTypeOf<number | null>()
    expectTypeOf(getOption(socket, rows.SO_KEEPALIVE)).toEqualTypeOf<boolean>()
    expectTypeOf(getOption(socket, rows.SO_COOKIE)).toEqualTypeOf<bigint>()
    expectTypeOf(getOption(socket, rows.SO_PEERGROUPS)).toEqualTypeOf<number[]>()
  })

  it('refuse what can’t be', () => {
    const never: boolean = false
    using socket = udp4.open()
    if (never) {
      // @ts-expect-error the table has no sample of SO_REUSEADDR
      testRows({ SO_DEBUG: rows.SO_DEBUG, SO_REUSEADDR: rows.SO_REUSEADDR }, { SO_DEBUG: [udp4, true] })
      // @ts-expect-error nor an expectation of SO_TYPE
      testRows({ SO_TYPE }, {})
      // @ts-expect-error nor an effect of SO_INQ
      testRows({ SO_INQ: rows.SO_INQ }, {})
      // @ts-expect-error it can only be read
      setOption(socket, SO_TYPE, 1)
      // @ts-expect-error it can only be written
      getOption(socket, rows.SO_SNDBUFFORCE)
      // @ts-expect-error a boolean is wanted
      setOption(socket, rows.SO_KEEPALIVE, 1)
      // @ts-expect-error a number is wanted
      setOption(socket, SO_RCVBUF, '1')
      // @ts-expect-error a bigint is wanted
      setOption(socket, rows.SO_MAX_PACING_RATE, 1)
      // @ts-expect-error null means something for few options only
      setOption(socket, SO_RCVBUF, null)
    }
  })
})

/** More than an unprivileged process may have. */
function beyond(limit: 'wmem_max' | 'rmem_max'): number {
  return Number(readFileSync(`/proc/sys/net/core/${limit}`, 'utf8')) + 4096
}

function needSecurityModule(): Need {
  try {
    const label = readFileSync('/proc/self/attr/current', 'utf8')
    return label === '' ? 'no security module gives contexts to sockets' : null
  } catch {
    return 'no security module gives contexts to sockets'
  }
}

function needAccountedMemory(): Need {
  using socket = tcp4.open()
  try {
    setOption(socket, rows.SO_RESERVE_MEM, 0)
    return null
  } catch (error) {
    return `the control group doesn't account for socket memory, or the kernel is older than 5.16: ${(error as Error).message}`
  }
}

/** Sends until neither the peer nor the kernel takes more. Returns how much they took. */
function fill(socket: Socket): number {
  const data = Buffer.alloc(1 << 20)
  let total = 0
  for (let sent: number | null = 0; sent !== null; sent = socket.send(data)) total += sent
  return total
}

/** Begins to read some time after it was told to, and says when, and how much came. */
const latePeer = `
import socket, sys, time
with socket.create_connection(('127.0.0.1', int(sys.argv[1]))) as peer:
    sys.stdin.readline()
    time.sleep(0.2)
    begun, received = time.monotonic_ns(), 0
    while data := peer.recv(1 << 20): received += len(data)
    print(begun, received)
`
