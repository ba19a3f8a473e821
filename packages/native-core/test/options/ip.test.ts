import { guardDescriptors, needCapability, needLinux, skipUnless } from '@linux-sockets/testkit'
import { describe, expect, expectTypeOf, it } from 'vitest'
import { AF_INET, IP_PMTUDISC_DO, IPPROTO_ICMP, IPPROTO_IP, IPTOS_ECN_CE, IPTOS_LOWDELAY } from '../../src/constants.js'
import { decodeControl, getOption, setOption, setOptionBytes } from '../../src/index.js'
import { SO_PRIORITY } from '../../src/options/index.js'
import * as rows from '../../src/options/ip.js'
import { expectSendRefused, ipsecPolicy, needIpsecPolicies, xfrmPolicy } from './ipsec.js'
import {
  icmp4,
  loopback,
  needing,
  peerOf,
  since,
  tcp4,
  tcp4Pair,
  testRows,
  udp4,
  udp4Pair,
  udp6,
  withCapability,
} from './kind.js'

guardDescriptors()

/** A timestamp option (RFC 791) without room for any. */
const timestamp = Uint8Array.of(68, 4, 5, 0)

testRows(rows, {
  IP_TOS: [udp4, IPTOS_LOWDELAY],
  IP_TTL: [udp4, 3],
  IP_HDRINCL: [icmp4, true],
  IP_OPTIONS: [udp4, timestamp],
  IP_ROUTER_ALERT: [icmp4, true],
  IP_RECVOPTS: [udp4, true],
  IP_RETOPTS: [udp4, true],
  IP_PKTINFO: [udp4, true],
  IP_PKTOPTIONS: [
    tcp4Pair,
    (value, socket) => {
      expect(value).toEqual(new Uint8Array(0))
      setOption(socket, rows.IP_RECVTTL, true)
      const [message] = decodeControl(getOption(socket, rows.IP_PKTOPTIONS))
      expect(message).toMatchObject({ level: IPPROTO_IP, type: rows.IP_TTL.option })
    },
  ],
  IP_MTU_DISCOVER: [udp4, IP_PMTUDISC_DO],
  IP_RECVERR: [udp4, true],
  IP_RECVTTL: [udp4, true],
  IP_RECVTOS: [udp4, true],
  IP_MTU: [udp4Pair, (value) => expect(value).toBeGreaterThanOrEqual(1500)],
  IP_FREEBIND: [udp4, true],
  IP_IPSEC_POLICY: [
    needing(needIpsecPolicies, withCapability('CAP_NET_ADMIN', udp4)),
    ipsecPolicy(),
    (socket) => expectSendRefused(socket, { ...loopback(AF_INET), port: 9 }),
  ],
  IP_XFRM_POLICY: [
    withCapability('CAP_NET_ADMIN', udp4),
    xfrmPolicy(AF_INET),
    (socket) => expectSendRefused(socket, { ...loopback(AF_INET), port: 9 }),
  ],
  IP_PASSSEC: [udp4, true],
  IP_TRANSPARENT: [withCapability('CAP_NET_ADMIN', tcp4), true],
  IP_RECVORIGDSTADDR: [udp4, true],
  IP_MINTTL: [tcp4, 255],
  IP_NODEFRAG: [icmp4, true],
  IP_CHECKSUM: [udp4, true],
  IP_BIND_ADDRESS_NO_PORT: [tcp4, true],
  IP_RECVFRAGSIZE: [udp4, true],
  IP_RECVERR_RFC4884: [since('5.9', udp4), true],
  IP_MULTICAST_IF: [udp4, '127.0.0.1'],
  IP_MULTICAST_TTL: [udp4, 7],
  IP_MULTICAST_LOOP: [udp4, false],
  IP_MULTICAST_ALL: [udp4, false],
  IP_UNICAST_IF: [udp4, 1],
  IP_LOCAL_PORT_RANGE: [since('6.3', tcp4), { low: 40_000, high: 40_100 }],
  IP_PROTOCOL: [since('6.4', icmp4), (value) => expect(value).toBe(IPPROTO_ICMP)],
  SO_ORIGINAL_DST: [
    needing(() => 'only a connection that was redirected has one: see namespace.test.ts', tcp4Pair),
    (value) => expect(value.family).toBe('ipv4'),
  ],
  ICMP_FILTER: [icmp4, 0x8000_0100],
})

describe('what the comments promise', () => {
  it('IP_TOS: sets the priority, and TCP keeps the ECN bits', () => {
    using udp = udp4.open()
    setOption(udp, rows.IP_TOS, IPTOS_LOWDELAY)
    expect(getOption(udp, SO_PRIORITY)).toBe(6)
    using tcp = tcp4.open()
    setOption(tcp, rows.IP_TOS, IPTOS_LOWDELAY | IPTOS_ECN_CE)
    expect(getOption(tcp, rows.IP_TOS)).toBe(IPTOS_LOWDELAY)
  })

  it.each([rows.IP_TTL, rows.IP_MULTICAST_TTL])('$name: −1 is the default', (row) => {
    using socket = udp4.open()
    const initial = getOption(socket, row)
    setOption(socket, row, 9)
    setOption(socket, row, -1)
    expect(getOption(socket, row)).toBe(initial)
    expect(() => setOption(socket, row, 256)).toThrow('EINVAL')
  })

  it('IP_TTL is what the receiver sees', () => {
    using socket = udp4Pair.open()
    const peer = peerOf(socket)
    setOption(socket, rows.IP_TTL, 9)
    setOption(peer, rows.IP_RECVTTL, true)
    socket.send(Buffer.from('x'))
    const message = peer.recvMessage(new Uint8Array(1), { control: 64 })
    expect(message?.control).toMatchObject([{ level: IPPROTO_IP, type: rows.IP_TTL.option }])
    expect(message?.control[0]?.data[0]).toBe(9)
  })

  it('IP_OPTIONS: an empty array removes them', () => {
    using socket = udp4.open()
    setOption(socket, rows.IP_OPTIONS, timestamp)
    setOption(socket, rows.IP_OPTIONS, new Uint8Array(0))
    expect(getOption(socket, rows.IP_OPTIONS)).toEqual(new Uint8Array(0))
    expect(() => setOption(socket, rows.IP_OPTIONS, new Uint8Array(41))).toThrow(RangeError)
  })

  it('IP_MULTICAST_IF: by index and by address', () => {
    using socket = udp4.open()
    expect(getOption(socket, rows.IP_MULTICAST_IF)).toBe('0.0.0.0')
    setOption(socket, rows.IP_MULTICAST_IF, { ifindex: 1, address: '127.0.0.1' })
    expect(getOption(socket, rows.IP_MULTICAST_IF)).toBe('127.0.0.1')
    setOption(socket, rows.IP_MULTICAST_IF, { ifindex: 1 })
    expect(getOption(socket, rows.IP_MULTICAST_IF)).toBe('0.0.0.0')
    expect(() => setOption(socket, rows.IP_MULTICAST_IF, { ifindex: 0x7fff_ffff })).toThrow('EADDRNOTAVAIL')
    expect(() => setOption(socket, rows.IP_MULTICAST_IF, '192.0.2.1')).toThrow('EADDRNOTAVAIL')
    expect(() => setOption(socket, rows.IP_MULTICAST_IF, 'lo')).toThrow(TypeError)
    expect(() => setOption(socket, rows.IP_MULTICAST_IF, { ifindex: -1 })).toThrow(RangeError)
  })

  it('IP_UNICAST_IF: in network byte order', () => {
    using socket = udp4.open()
    setOptionBytes(socket, IPPROTO_IP, rows.IP_UNICAST_IF.option, Uint8Array.of(0, 0, 0, 1))
    expect(getOption(socket, rows.IP_UNICAST_IF)).toBe(1)
    expect(() => setOption(socket, rows.IP_UNICAST_IF, 0x100_0000)).toThrow('EADDRNOTAVAIL')
  })

  it('IP_LOCAL_PORT_RANGE is where a port is chosen from', (test) => {
    skipUnless(test, needLinux('6.3'))
    using socket = udp4.open()
    setOption(socket, rows.IP_LOCAL_PORT_RANGE, { low: 40_000, high: 40_009 })
    socket.bind(loopback(AF_INET))
    const { localName } = socket
    expect(localName.family === 'ipv4' && Math.trunc(localName.port / 10)).toBe(4000)
    expect(() => setOption(socket, rows.IP_LOCAL_PORT_RANGE, { low: 2, high: 1 })).toThrow('EINVAL')
    expect(() => setOption(socket, rows.IP_LOCAL_PORT_RANGE, { low: 0, high: 65536 })).toThrow(RangeError)
  })

  it('IP_FREEBIND binds to an address that is not here', () => {
    using socket = udp4.open()
    const elsewhere = { family: 'ipv4', address: '192.0.2.1', port: 0 } as const
    expect(() => socket.bind(elsewhere)).toThrow('EADDRNOTAVAIL')
    setOption(socket, rows.IP_FREEBIND, true)
    socket.bind(elsewhere)
    expect(socket.localName).toMatchObject({ address: '192.0.2.1' })
  })

  it('IP_MTU: only when connected', () => {
    using socket = udp4.open()
    expect(() => getOption(socket, rows.IP_MTU)).toThrow('ENOTCONN')
  })

  it('IP_MULTICAST_ALL: false on an IPv6 socket', () => {
    using socket = udp6.open()
    expect(getOption(socket, rows.IP_MULTICAST_ALL)).toBe(false)
  })

  it('ICMP_FILTER keeps echo requests away', (test) => {
    skipUnless(test, needCapability('CAP_NET_RAW'))
    using socket = icmp4.open()
    const [echo, ECHO_REQUEST] = [Uint8Array.of(8, 0, 0xf7, 0xff, 0, 0, 0, 0), 8]
    setOption(socket, rows.ICMP_FILTER, 1 << ECHO_REQUEST)
    socket.sendTo(echo, loopback(AF_INET))
    const buffer = new Uint8Array(64)
    const types: (number | undefined)[] = []
    while (socket.recvFrom(buffer) !== null) types.push(buffer[20])
    expect(types).not.toContain(ECHO_REQUEST)
    expect(types).toContain(0)
  })
})

it('has the types of its rows', () => {
  const never: boolean = false
  using socket = udp4.open()
  expectTypeOf(getOption(socket, rows.IP_MULTICAST_IF)).toEqualTypeOf<string>()
  expectTypeOf(getOption(socket, rows.IP_LOCAL_PORT_RANGE)).toEqualTypeOf<{
    readonly low: number
    readonly high: number
  }>()
  if (never) {
    // @ts-expect-error it can only be read
    setOption(socket, rows.IP_MTU, 1500)
    // @ts-expect-error it can only be written
    getOption(socket, rows.IP_XFRM_POLICY)
    // @ts-expect-error one end is missing
    setOption(socket, rows.IP_LOCAL_PORT_RANGE, { low: 1 })
    // @ts-expect-error bytes are wanted
    setOption(socket, rows.IP_OPTIONS, 'abc')
  }
})
