import { getOption, Socket, setOption } from '@linux-sockets/native-core'
import { AF_INET, AF_INET6, IPPROTO_UDPLITE, MSG_MORE, SOCK_DGRAM } from '@linux-sockets/native-core/constants'
import {
  expectErrno,
  expectHeaderNumbers,
  guardDescriptors,
  headerMacros,
  type Kind,
  needCompiler,
  needUdpLite,
  numbersOf,
  rowsOf,
  rowTester,
  skipUnless,
} from '@linux-sockets/testkit'
import { describe, expect, it } from 'vitest'
import * as rows from '../src/options.js'

guardDescriptors()

const testRows = rowTester<Socket>({ getOption, setOption })

const udp: Kind<Socket> = { open: () => Socket.open(AF_INET, SOCK_DGRAM) }
const udp6: Kind<Socket> = { open: () => Socket.open(AF_INET6, SOCK_DGRAM) }
const lite: Kind<Socket> = { open: () => Socket.open(AF_INET, SOCK_DGRAM, IPPROTO_UDPLITE), need: needUdpLite }

testRows(rows, {
  UDP_CORK: [udp, true],
  UDP_ENCAP: [udp, rows.UDP_ENCAP_L2TPINUDP],
  UDP_NO_CHECK6_TX: [udp6, true],
  UDP_NO_CHECK6_RX: [udp6, true],
  UDP_SEGMENT: [udp, 1400],
  UDP_GRO: [udp, true],
  UDPLITE_SEND_CSCOV: [lite, 20],
  UDPLITE_RECV_CSCOV: [lite, 30],
})

it.each([
  ['UDP_SEGMENT', rows.UDP_SEGMENT, -1, 'EINVAL'],
  ['UDP_SEGMENT', rows.UDP_SEGMENT, 65_536, 'EINVAL'],
  ['UDP_ENCAP', rows.UDP_ENCAP, rows.UDP_ENCAP_GTP1U, 'ENOPROTOOPT'],
  ['UDPLITE_SEND_CSCOV on UDP', rows.UDPLITE_SEND_CSCOV, 20, 'ENOPROTOOPT'],
] as const)('%s is refused by the kernel: %3$i', (_, row, value, code) => {
  using socket = udp.open()
  expectErrno(() => setOption(socket, row, value), code)
})

it.for([
  [3, 8],
  [65_536, 65_535],
  [0, 0],
] as const)('the coverage %i becomes %i', ([set, read], test) => {
  skipUnless(test, needUdpLite())
  using socket = lite.open()
  for (const row of [rows.UDPLITE_SEND_CSCOV, rows.UDPLITE_RECV_CSCOV]) {
    setOption(socket, row, set)
    expect(getOption(socket, row)).toBe(read)
  }
})

describe('what the options do, over loopback', () => {
  it('UDP_CORK makes one datagram of several sends, as MSG_MORE does', () => {
    using receiver = bound(udp)
    using sender = udp.open()
    sender.connect(receiver.localName)
    setOption(sender, rows.UDP_CORK, true)
    for (const part of ['one', 'two', 'three']) sender.send(Buffer.from(part))
    expect(receive(receiver)).toBeNull()
    setOption(sender, rows.UDP_CORK, false)
    expect(receive(receiver)).toBe('onetwothree')
    sender.send(Buffer.from('more '), MSG_MORE)
    sender.send(Buffer.from('and last'))
    expect(receive(receiver)).toBe('more and last')
    expect(receive(receiver)).toBeNull()
  })

  it('UDP_SEGMENT cuts a send, the last piece shorter', () => {
    using receiver = bound(udp)
    using sender = udp.open()
    sender.connect(receiver.localName)
    setOption(sender, rows.UDP_SEGMENT, 4)
    sender.send(Buffer.from('0123456789'))
    expect([receive(receiver), receive(receiver), receive(receiver), receive(receiver)]).toEqual([
      '0123',
      '4567',
      '89',
      null,
    ])
  })

  it('UDP_GRO joins what was segmented', () => {
    using receiver = bound(udp)
    using sender = udp.open()
    setOption(receiver, rows.UDP_GRO, true)
    sender.connect(receiver.localName)
    setOption(sender, rows.UDP_SEGMENT, 4)
    sender.send(Buffer.from('0123456789'))
    expect(receive(receiver)).toBe('0123456789')
  })

  it('UDPLITE_RECV_CSCOV drops what its sender’s checksum covers less', (test) => {
    skipUnless(test, needUdpLite())
    using receiver = bound(lite)
    using sender = lite.open()
    sender.connect(receiver.localName)
    setOption(receiver, rows.UDPLITE_RECV_CSCOV, 40)
    for (const coverage of [39, 40, 0]) {
      setOption(sender, rows.UDPLITE_SEND_CSCOV, coverage)
      sender.send(Buffer.from(`the checksum covers ${coverage} bytes`.padEnd(60)))
    }
    expect([receive(receiver)?.trim(), receive(receiver)?.trim(), receive(receiver)]).toEqual([
      'the checksum covers 40 bytes',
      'the checksum covers 0 bytes',
      null,
    ])
    setOption(receiver, rows.UDPLITE_RECV_CSCOV, 0)
    for (const coverage of [60, 0]) {
      setOption(sender, rows.UDPLITE_SEND_CSCOV, coverage)
      sender.send(Buffer.from(`the checksum covers ${coverage} bytes`.padEnd(60)))
    }
    expect([receive(receiver)?.trim(), receive(receiver)]).toEqual(['the checksum covers 0 bytes', null])
  })
})

it('has the numbers of <linux/udp.h>, and every option of it', (test) => {
  skipUnless(test, needCompiler())
  // The C library's headers don't have UDP-Lite's two; udplite(7) says to define them.
  const { UDPLITE_SEND_CSCOV, UDPLITE_RECV_CSCOV, ...known } = rows
  const options = rowsOf(known).map(({ name, option }) => [name, option] as const)
  expect(expectHeaderNumbers(['linux/udp.h'], [...options, ...numbersOf(known)])).toEqual([])
  const macros = headerMacros(['linux/udp.h']).filter((name) => /^UDP_/.test(name))
  expect(macros.filter((name) => !(name in known))).toEqual([])
  expect(macros).toContain('UDP_GRO')
  expect([UDPLITE_SEND_CSCOV.option, UDPLITE_RECV_CSCOV.option]).toEqual([10, 11])
  expect(expectHeaderNumbers(['netinet/in.h'], [['IPPROTO_UDPLITE', UDPLITE_SEND_CSCOV.level]])).toEqual([])
})

function bound({ open }: Kind<Socket>): Socket {
  const socket = open()
  socket.bind({ family: 'ipv4', address: '127.0.0.1', port: 0 })
  return socket
}

/** Over loopback a datagram is queued before its send returns. */
function receive(socket: Socket): string | null {
  const buffer = Buffer.alloc(1000)
  const length = socket.recv(buffer)
  return length === null ? null : buffer.toString('utf8', 0, length)
}
