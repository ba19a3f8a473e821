import { readFileSync } from 'node:fs'
import {
  controlSpace,
  getOption,
  getOptionBytes,
  readable,
  readControl,
  Socket,
  setOption,
  writable,
} from '@linux-sockets/native-core'
import { AF_INET, IPPROTO_TCP, SOCK_STREAM } from '@linux-sockets/native-core/constants'
import {
  expectErrno,
  expectHeaderNumbers,
  guardDescriptors,
  headerMacros,
  type Kind,
  type Need,
  needCapability,
  needCompiler,
  needLinux,
  numbersOf,
  rowsOf,
  rowTester,
  skipUnless,
} from '@linux-sockets/testkit'
import { describe, expect, expectTypeOf, it } from 'vitest'
import {
  type RepairWindow,
  SOL_MPTCP,
  TCP_INFO,
  TCPI_OPT_SACK,
  TCPI_OPT_TIMESTAMPS,
  TCPI_OPT_WSCALE,
  type TcpInfo,
  type TcpState,
  tcpInfo,
} from '../src/index.js'
import * as rows from '../src/options.js'
import { anyPort, connectedAtOnce, connectedPair, needKernelTls, needMd5 } from './loopback.js'

guardDescriptors()

const testRows = rowTester<Socket>({ getOption, setOption })

const tcp: Kind<Socket> = { open: () => Socket.open(AF_INET, SOCK_STREAM) }
const repaired: Kind<Socket> = {
  open: () => {
    const socket = tcp.open()
    setOption(socket, rows.TCP_REPAIR, rows.TCP_REPAIR_ON)
    return socket
  },
  need: () => needCapability('CAP_NET_ADMIN'),
}
/** A socket connected to a peer that needn't exist: in repair mode nothing is sent. */
const connectedInRepair: Kind<Socket> = {
  ...repaired,
  open: () => {
    const socket = repaired.open()
    socket.connect({ ...anyPort, port: 9 })
    return socket
  },
}
const since = (version: string): Kind<Socket> => ({ ...tcp, need: () => needLinux(version) })

testRows(rows, {
  TCP_NODELAY: [tcp, true],
  TCP_MAXSEG: [tcp, 1000],
  TCP_CORK: [tcp, true],
  TCP_KEEPIDLE: [tcp, 33],
  TCP_KEEPINTVL: [tcp, 11],
  TCP_KEEPCNT: [tcp, 3],
  TCP_SYNCNT: [tcp, 2],
  TCP_LINGER2: [tcp, 17],
  TCP_DEFER_ACCEPT: [tcp, 4, 7],
  TCP_WINDOW_CLAMP: [tcp, 50_000],
  TCP_QUICKACK: [tcp, false],
  TCP_CONGESTION: [tcp, 'reno', (socket) => expect(getOption(socket, rows.TCP_CONGESTION)).toBe('reno')],
  TCP_MD5SIG: [
    { ...tcp, need: needMd5 },
    { address: anyPort, key: Buffer.from('secret') },
    (socket) => {
      const away = { address: anyPort, key: Buffer.alloc(0) }
      setOption(socket, rows.TCP_MD5SIG, away)
      expectErrno(() => setOption(socket, rows.TCP_MD5SIG, away), 'ENOENT')
    },
  ],
  TCP_THIN_LINEAR_TIMEOUTS: [tcp, true],
  TCP_THIN_DUPACK: [tcp, true, (socket) => expect(getOption(socket, rows.TCP_THIN_DUPACK)).toBe(false)],
  TCP_USER_TIMEOUT: [tcp, 10_000],
  TCP_REPAIR: [{ ...tcp, need: repaired.need }, rows.TCP_REPAIR_ON],
  TCP_REPAIR_QUEUE: [repaired, rows.TCP_SEND_QUEUE],
  TCP_QUEUE_SEQ: [inQueue(rows.TCP_RECV_QUEUE), 4_000_000_001],
  TCP_REPAIR_OPTIONS: [
    connectedInRepair,
    { mss: 1234, snd_wscale: 3, rcv_wscale: 5, sack: true },
    (socket) => {
      expect(getOption(socket, rows.TCP_MAXSEG)).toBe(1234)
      const { snd_wscale, rcv_wscale, options } = tcpInfo(socket)
      expect({ snd_wscale, rcv_wscale, options }).toEqual({
        snd_wscale: 3,
        rcv_wscale: 5,
        options: TCPI_OPT_SACK | TCPI_OPT_WSCALE,
      })
      setOption(socket, rows.TCP_REPAIR_OPTIONS, { timestamps: true })
      expect(tcpInfo(socket).options & TCPI_OPT_TIMESTAMPS).not.toBe(0)
    },
  ],
  TCP_FASTOPEN: [tcp, 5],
  TCP_TIMESTAMP: [
    repaired,
    2 ** 31,
    (socket) => {
      const now = getOption(socket, rows.TCP_TIMESTAMP)
      expect(now).toBeGreaterThanOrEqual(2 ** 31)
      expect(now).toBeLessThan(2 ** 31 + 60_000)
    },
  ],
  TCP_NOTSENT_LOWAT: [tcp, 16_384],
  TCP_CC_INFO: [
    tcp,
    (_, socket) => {
      setOption(socket, rows.TCP_CONGESTION, 'reno')
      expect(getOption(socket, rows.TCP_CC_INFO)).toHaveLength(0)
    },
  ],
  TCP_SAVE_SYN: [tcp, 2],
  TCP_SAVED_SYN: [tcp, (value) => expect(value).toHaveLength(0)],
  TCP_REPAIR_WINDOW: [
    connectedInRepair,
    { snd_wl1: 0, snd_wnd: 20_000, max_window: 30_000, rcv_wnd: 40_000, rcv_wup: 0 },
  ],
  TCP_FASTOPEN_CONNECT: [tcp, true],
  TCP_ULP: [{ open: connectedAtOnce, need: needKernelTls }, 'tls'],
  TCP_MD5SIG_EXT: [
    { ...tcp, need: needMd5 },
    { address: anyPort, prefix: 8, key: Buffer.from('secret') },
    (socket) => {
      const away = { address: anyPort, key: Buffer.alloc(0) }
      expectErrno(() => setOption(socket, rows.TCP_MD5SIG_EXT, away), 'ENOENT')
      setOption(socket, rows.TCP_MD5SIG_EXT, { ...away, prefix: 8 })
    },
  ],
  TCP_FASTOPEN_KEY: [tcp, Uint8Array.from({ length: 32 }, (_, i) => i)],
  TCP_FASTOPEN_NO_COOKIE: [tcp, true],
  TCP_INQ: [tcp, true],
  TCP_TX_DELAY: [tcp, 3000],
  TCP_IS_MPTCP: [since('6.10'), (value) => expect(value).toBe(false)],
  TCP_RTO_MAX_MS: [since('6.15'), 5000],
  TCP_RTO_MIN_US: [since('6.15'), 100_000],
  TCP_DELACK_MAX_US: [since('6.15'), 100_000],
})

it.each([
  ['TCP_MAXSEG', rows.TCP_MAXSEG, 87],
  ['TCP_MAXSEG', rows.TCP_MAXSEG, 32_768],
  ['TCP_KEEPIDLE', rows.TCP_KEEPIDLE, 0],
  ['TCP_KEEPIDLE', rows.TCP_KEEPIDLE, 32_768],
  ['TCP_KEEPINTVL', rows.TCP_KEEPINTVL, 32_768],
  ['TCP_KEEPCNT', rows.TCP_KEEPCNT, 128],
  ['TCP_SYNCNT', rows.TCP_SYNCNT, 128],
  ['TCP_USER_TIMEOUT', rows.TCP_USER_TIMEOUT, -1],
  ['TCP_FASTOPEN', rows.TCP_FASTOPEN, -1],
  ['TCP_SAVE_SYN', rows.TCP_SAVE_SYN, 3],
  ['TCP_TX_DELAY', rows.TCP_TX_DELAY, -1],
])('%s is refused by the kernel out of its documented range: %3$i', (_, row, value) => {
  using socket = Socket.open(AF_INET, SOCK_STREAM)
  expectErrno(() => setOption(socket, row, value), 'EINVAL')
})

describe('TCP_LINGER2', () => {
  it.each([
    [300, 120],
    [-1, -1],
  ])('makes %i into %i', (set, read) => {
    using socket = Socket.open(AF_INET, SOCK_STREAM)
    setOption(socket, rows.TCP_LINGER2, set)
    expect(getOption(socket, rows.TCP_LINGER2)).toBe(read)
  })
})

describe('TCP_DEFER_ACCEPT', () => {
  it('holds a connection back until it has data', async () => {
    using listener = tcp.open()
    setOption(listener, rows.TCP_DEFER_ACCEPT, 20)
    listener.bind(anyPort)
    listener.listen()
    using silent = await connectTo(listener)
    using talkative = await connectTo(listener)
    for (const client of [talkative, silent]) {
      expect(listener.accept()).toBeNull()
      client.send(Buffer.from('hello'))
      await readable(listener)
      using accepted = listener.accept() as Socket
      expect(accepted.peerName).toEqual(client.localName)
      expect(accepted.recv(Buffer.alloc(10))).toBe(5)
    }
  })
})

describe('TCP_CONGESTION', () => {
  it('refuses an algorithm that does not exist, and a name that is too long', () => {
    using socket = Socket.open(AF_INET, SOCK_STREAM)
    expectErrno(() => setOption(socket, rows.TCP_CONGESTION, 'no-such-one'), 'ENOENT')
    expect(() => setOption(socket, rows.TCP_CONGESTION, 'sixteen-letters!')).toThrow(RangeError)
  })
})

describe('TCP_CC_INFO', () => {
  it('is the struct that bbr reports', async (test) => {
    skipUnless(test, needAlgorithm('bbr'))
    const { connected, accepted } = await connectedPair(undefined, (socket) =>
      setOption(socket, rows.TCP_CONGESTION, 'bbr'),
    )
    connected.send(Buffer.from('to be acknowledged'))
    await readable(accepted)
    await expect.poll(() => tcpInfo(connected).unacked).toBe(0)
    // struct tcp_bbr_info: bytes/s, µs, and the gains of its first phase, 2885 ‰ in units of 1/256.
    const info = getOption(connected, rows.TCP_CC_INFO)
    expect(info).toHaveLength(20)
    const view = new DataView(info.buffer, info.byteOffset)
    expect(view.getBigUint64(0, true)).toBeGreaterThan(0n)
    expect(view.getUint32(8, true)).toBe(tcpInfo(connected).min_rtt)
    expect([view.getUint32(12, true), view.getUint32(16, true)]).toEqual([739, 739])
  })

  it.for([
    ['vegas', 16],
    ['dctcp', 16],
  ] as const)('is what %s tells of the connection', async ([algorithm, size], test) => {
    skipUnless(test, needAlgorithm(algorithm))
    const { connected } = await connectedPair(undefined, (socket) => setOption(socket, rows.TCP_CONGESTION, algorithm))
    expect(getOption(connected, rows.TCP_CC_INFO)).toHaveLength(size)
  })
})

describe('repair mode', () => {
  it('is needed for its options', () => {
    using socket = tcp.open()
    expectErrno(() => setOption(socket, rows.TCP_TIMESTAMP, 1000), 'EPERM')
    expectErrno(() => getOption(socket, rows.TCP_REPAIR_QUEUE), 'EINVAL')
  })

  it('has a sequence number for each queue', (test) => {
    skipUnless(test, needCapability('CAP_NET_ADMIN'))
    using socket = repaired.open()
    expectErrno(() => getOption(socket, rows.TCP_QUEUE_SEQ), 'EINVAL')
    const queues = [rows.TCP_RECV_QUEUE, rows.TCP_SEND_QUEUE]
    for (const queue of queues) {
      setOption(socket, rows.TCP_REPAIR_QUEUE, queue)
      setOption(socket, rows.TCP_QUEUE_SEQ, 1000 + queue)
    }
    for (const queue of queues) {
      setOption(socket, rows.TCP_REPAIR_QUEUE, queue)
      expect(getOption(socket, rows.TCP_QUEUE_SEQ)).toBe(1000 + queue)
    }
    setOption(socket, rows.TCP_REPAIR_QUEUE, rows.TCP_NO_QUEUE)
    setOption(socket, rows.TCP_REPAIR, rows.TCP_REPAIR_OFF_NO_WP)
    expect(getOption(socket, rows.TCP_REPAIR)).toBe(rows.TCP_REPAIR_OFF)
  })
})

describe('options that only a connection has', () => {
  it('TCP_SAVED_SYN returns the headers of the SYN once', async () => {
    const { accepted } = await connectedPair((listener) => setOption(listener, rows.TCP_SAVE_SYN, 1))
    const syn = getOption(accepted, rows.TCP_SAVED_SYN)
    expect([syn[0], syn[9]]).toEqual([0x45, 6]) // IPv4 with 20 bytes, of TCP
    expect(syn[20 + 13]).toBe(0x02 | ((syn[33] ?? 0) & 0xc0)) // flags: SYN, perhaps with ECN
    expect(getOption(accepted, rows.TCP_SAVED_SYN)).toHaveLength(0)
  })

  it('TCP_CM_INQ reports the bytes left to read', async () => {
    const { connected, accepted } = await connectedPair()
    setOption(accepted, rows.TCP_INQ, true)
    connected.send(Buffer.from('0123456789'))
    await readable(accepted)
    const message = accepted.recvMessage(Buffer.alloc(4), { control: controlSpace(4) })
    expect(readControl(message?.control ?? [], rows.TCP_CM_INQ)).toBe(6)
  })

  it('TCP_MAXSEG reads as the size in use', async () => {
    const { connected } = await connectedPair(undefined, (socket) => setOption(socket, rows.TCP_MAXSEG, 1000))
    expect(getOption(connected, rows.TCP_MAXSEG)).toBeLessThanOrEqual(1000)
    expect(getOption(connected, rows.TCP_MAXSEG)).toBeGreaterThan(900) // without the timestamps
  })
})

describe('types', () => {
  it('are those of the rows', () => {
    using socket = tcp.open()
    expectTypeOf(getOption(socket, rows.TCP_NODELAY)).toEqualTypeOf<boolean>()
    expectTypeOf(getOption(socket, rows.TCP_USER_TIMEOUT)).toEqualTypeOf<number>()
    expectTypeOf(getOption(socket, rows.TCP_CONGESTION)).toEqualTypeOf<string>()
    expectTypeOf(getOption(socket, rows.TCP_SAVED_SYN)).toEqualTypeOf<Uint8Array>()
    expectTypeOf(getOption(socket, TCP_INFO)).toEqualTypeOf<TcpInfo>()
    expectTypeOf(tcpInfo(socket)).toEqualTypeOf<TcpInfo>()
    expectTypeOf(tcpInfo(socket).state).toEqualTypeOf<TcpState>()
    const never: boolean = false
    if (!never) return
    expectTypeOf(getOption(socket, rows.TCP_REPAIR_WINDOW)).toEqualTypeOf<RepairWindow>()
    setOption(socket, rows.TCP_REPAIR_OPTIONS, { mss: 1 })
    // @ts-expect-error a boolean is wanted
    setOption(socket, rows.TCP_NODELAY, 1)
    // @ts-expect-error a number is wanted
    setOption(socket, rows.TCP_USER_TIMEOUT, '1')
    // @ts-expect-error a name is wanted
    setOption(socket, rows.TCP_CONGESTION, 1)
    // @ts-expect-error bytes are wanted
    setOption(socket, rows.TCP_FASTOPEN_KEY, 'key')
    // @ts-expect-error there is no such field
    setOption(socket, rows.TCP_REPAIR_OPTIONS, { window: 1 })
    // @ts-expect-error it can only be read
    setOption(socket, rows.TCP_CC_INFO, new Uint8Array())
    // @ts-expect-error it can only be read
    setOption(socket, TCP_INFO, tcpInfo(socket))
    // @ts-expect-error it can only be written
    getOption(socket, rows.TCP_MD5SIG)
  })
})

it('has the numbers of <linux/tcp.h>', (test) => {
  skipUnless(test, needCompiler())
  const options = rowsOf({ ...rows, TCP_INFO }).map(({ name, option }) => [name, option] as const)
  const sizes = [
    ['sizeof(struct tcp_md5sig)', rows.TCP_MD5SIG.size],
    ['offsetof(struct tcp_md5sig, tcpm_keylen)', 130],
    ['offsetof(struct tcp_md5sig, tcpm_ifindex)', 132],
    ['offsetof(struct tcp_md5sig, tcpm_key)', 136],
    ['4 * sizeof(struct tcp_repair_opt)', rows.TCP_REPAIR_OPTIONS.size],
    ['sizeof(struct tcp_repair_window)', rows.TCP_REPAIR_WINDOW.size],
  ] as const
  const control = [rows.TCP_CM_INQ.name, rows.TCP_CM_INQ.type] as const
  const unknown = expectHeaderNumbers(['linux/tcp.h'], [...options, ...numbersOf(rows), ...sizes, control])
  if (unknown.length > 0) console.warn(`not known to these headers: ${unknown.join(', ')}`)
  const recent = ['TCP_IS_MPTCP', 'TCP_RTO_MAX_MS', 'TCP_RTO_MIN_US', 'TCP_DELACK_MAX_US']
  expect(recent).toEqual(expect.arrayContaining(unknown))
})

/** A congestion control algorithm that is built in or loaded. */
function needAlgorithm(name: string): Need {
  const available = readFileSync('/proc/sys/net/ipv4/tcp_available_congestion_control', 'utf8').trim().split(' ')
  return available.includes(name) ? null : `this kernel has no ${name} built in or loaded`
}

it('has every option of <linux/tcp.h>, except those left out on purpose', (test) => {
  skipUnless(test, needCompiler())
  const macros = headerMacros(['linux/tcp.h']).filter((name) => /^TCP_[A-Z]/.test(name))
  const ours = new Set([...rowsOf({ ...rows, TCP_INFO }).map(({ name }) => name), ...Object.keys(rows)])
  const missing = macros.filter((name) => !ours.has(name))
  const leftOut = [
    // They hold memory addresses, or can't be tested: see the comment at the top of options.ts.
    'TCP_ZEROCOPY_RECEIVE',
    ...['ADD_KEY', 'DEL_KEY', 'INFO', 'GET_KEYS', 'REPAIR'].map((name) => `TCP_AO_${name}`),
  ]
  const noOptions =
    /^TCP_(MSS_DEFAULT|MSS_DESIRED|MD5SIG_MAXKEYLEN|MD5SIG_FLAG_\w+|AO_MAXKEYLEN|AO_KEYF_\w+|RECEIVE_ZEROCOPY_FLAG_\w+)$/
  expect(macros).toContain('TCP_NODELAY')
  expect(leftOut).toEqual(expect.arrayContaining(missing.filter((name) => !noOptions.test(name))))
  expect(leftOut.filter((name) => ours.has(name))).toEqual([])
})

it('can’t be made to pass memory addresses', () => {
  using socket = tcp.open()
  for (const [level, option] of [
    [IPPROTO_TCP, 35], // TCP_ZEROCOPY_RECEIVE
    [SOL_MPTCP, 4], // MPTCP_FULL_INFO
  ] as const) {
    expectErrno(() => getOptionBytes(socket, level, option, Buffer.alloc(128)), 'ENOTSUP')
  }
})

async function connectTo(listener: Socket): Promise<Socket> {
  const socket = tcp.open()
  socket.connect(listener.localName)
  await writable(socket)
  return socket
}

/** A socket in repair mode, with one of the queues selected. */
function inQueue(queue: number): Kind<Socket> {
  const open = () => {
    const socket = repaired.open()
    setOption(socket, rows.TCP_REPAIR_QUEUE, queue)
    return socket
  }
  return { ...repaired, open }
}
