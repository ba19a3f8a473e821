import { guardDescriptors, needCapability, skipUnless } from '@linux-sockets/testkit'
import { describe, expect, expectTypeOf, it } from 'vitest'
import { control, ipv6AtInterface } from '../../src/codecs/index.js'
import {
  AF_INET,
  AF_INET6,
  IPPROTO_IPV6,
  IPV6_FL_A_GET,
  IPV6_FL_F_CREATE,
  IPV6_FL_S_EXCL,
  IPV6_PMTUDISC_DO,
  IPV6_PREFER_SRC_HOME,
  IPV6_PREFER_SRC_PUBLIC,
} from '../../src/constants.js'
import {
  decodeControl,
  encodeControl,
  getOption,
  getOptionBytes,
  readControl,
  setOption,
  setOptionBytes,
} from '../../src/index.js'
import { SO_DOMAIN } from '../../src/options/index.js'
import * as rows from '../../src/options/ipv6.js'
import { expectSendRefused, ipsecPolicy, needIpsecPolicies, xfrmPolicy } from './ipsec.js'
import {
  after,
  icmp6,
  ipproto6,
  loopback,
  needing,
  raw6,
  since,
  tcp6,
  tcp6Pair,
  testRows,
  udp6,
  udp6Pair,
  withCapability,
} from './kind.js'

guardDescriptors()

/** An extension header that has nothing in it but 4 bytes of padding (RFC 8200). */
const padding = Uint8Array.of(0, 0, 1, 4, 0, 0, 0, 0)
/** A segment routing header (RFC 8754) of one segment, `::1`. */
const segments = Uint8Array.of(0, 2, 4, 0, 0, 0, 0, 0, ...new Uint8Array(15), 1)
/** Labels stay taken for some seconds. */
const label = 1 + Math.trunc(Math.random() * 0xf_fffe)

testRows(rows, {
  IPV6_ADDRFORM: [
    after((socket) => socket.connect({ family: 'ipv6', address: '::ffff:127.0.0.1', port: 9 }), udp6),
    AF_INET,
    (socket) => expect(getOption(socket, SO_DOMAIN)).toBe(AF_INET),
  ],
  IPV6_2292PKTINFO: [udp6, true],
  IPV6_2292HOPOPTS: [udp6, true],
  IPV6_2292DSTOPTS: [udp6, true],
  IPV6_2292RTHDR: [udp6, true],
  IPV6_2292PKTOPTIONS: [
    withCapability('CAP_NET_RAW', tcp6),
    encodeControl([{ level: IPPROTO_IPV6, type: rows.IPV6_HOPOPTS.option, data: padding }]),
    (socket) => expect(getOption(socket, rows.IPV6_HOPOPTS)).toEqual(padding),
  ],
  IPV6_CHECKSUM: [raw6, 4],
  IPV6_2292HOPLIMIT: [udp6, true],
  IPV6_FLOWINFO: [udp6, true],
  IPV6_UNICAST_HOPS: [udp6, 9],
  IPV6_MULTICAST_IF: [udp6, 1],
  IPV6_MULTICAST_HOPS: [udp6, 9],
  IPV6_MULTICAST_LOOP: [udp6, false],
  IPV6_ROUTER_ALERT: [ipproto6, 5, 1],
  IPV6_MTU_DISCOVER: [udp6, IPV6_PMTUDISC_DO],
  IPV6_MTU: [
    udp6Pair,
    1300,
    (socket) => {
      setOption(socket, rows.IPV6_DONTFRAG, true)
      expect(() => socket.send(new Uint8Array(1400))).toThrow('EMSGSIZE')
      expect(socket.send(new Uint8Array(1200))).toBe(1200)
    },
  ],
  IPV6_RECVERR: [udp6, true],
  IPV6_V6ONLY: [tcp6, true],
  IPV6_JOIN_ANYCAST: [
    needing(() => 'loopback has no prefix with room: see namespace.test.ts', udp6),
    { address: '::', ifindex: 1 },
    () => {},
  ],
  IPV6_LEAVE_ANYCAST: [
    needing(() => 'loopback has no prefix with room: see namespace.test.ts', udp6),
    { address: '::', ifindex: 1 },
    () => {},
  ],
  IPV6_MULTICAST_ALL: [since('4.20', udp6), false],
  IPV6_ROUTER_ALERT_ISOLATE: [since('5.1', udp6), true],
  IPV6_RECVERR_RFC4884: [since('5.9', udp6), true],
  IPV6_FLOWLABEL_MGR: [
    udp6,
    { action: IPV6_FL_A_GET, label, dst: '::1', flags: IPV6_FL_F_CREATE, share: IPV6_FL_S_EXCL },
    (socket) => {
      setOption(socket, rows.IPV6_FLOWINFO_SEND, true)
      const address = { family: 'ipv6', address: '::1', port: 9 } as const
      expect(() => socket.connect({ ...address, flowlabel: label ^ 1 })).toThrow('EINVAL')
      socket.connect({ ...address, flowlabel: label })
      const request = new Uint8Array(32)
      getOptionBytes(socket, IPPROTO_IPV6, rows.IPV6_FLOWLABEL_MGR.option, request)
      expect(new DataView(request.buffer).getUint32(16)).toBe(label)
    },
  ],
  IPV6_FLOWINFO_SEND: [udp6, true],
  IPV6_IPSEC_POLICY: [
    needing(needIpsecPolicies, withCapability('CAP_NET_ADMIN', udp6)),
    ipsecPolicy(),
    (socket) => expectSendRefused(socket, { ...loopback(AF_INET6), port: 9 }),
  ],
  IPV6_XFRM_POLICY: [
    withCapability('CAP_NET_ADMIN', udp6),
    xfrmPolicy(AF_INET6),
    (socket) => expectSendRefused(socket, { ...loopback(AF_INET6), port: 9 }),
  ],
  IPV6_HDRINCL: [raw6, true],
  IPV6_RECVPKTINFO: [udp6, true],
  IPV6_PKTINFO: [
    tcp6,
    { address: '::1', ifindex: 1 },
    (socket) => {
      setOption(socket, rows.IPV6_RECVPKTINFO, true)
      const messages = decodeControl(getOption(socket, rows.IPV6_2292PKTOPTIONS))
      const info = control('IPV6_PKTINFO', IPPROTO_IPV6, 50, ipv6AtInterface)
      expect(readControl(messages, info)).toEqual({ address: '::1', ifindex: 1 })
    },
  ],
  IPV6_RECVHOPLIMIT: [udp6, true],
  IPV6_RECVHOPOPTS: [udp6, true],
  IPV6_HOPOPTS: [withCapability('CAP_NET_RAW', udp6), padding],
  IPV6_RTHDRDSTOPTS: [withCapability('CAP_NET_RAW', udp6), padding],
  IPV6_RECVRTHDR: [udp6, true],
  IPV6_RTHDR: [withCapability('CAP_NET_RAW', udp6), segments],
  IPV6_RECVDSTOPTS: [udp6, true],
  IPV6_DSTOPTS: [withCapability('CAP_NET_RAW', udp6), padding],
  IPV6_RECVPATHMTU: [udp6, true],
  IPV6_PATHMTU: [udp6Pair, (value, socket) => expect(value).toBe(getOption(socket, rows.IPV6_MTU))],
  IPV6_DONTFRAG: [udp6, true],
  IPV6_RECVTCLASS: [udp6, true],
  IPV6_TCLASS: [udp6, 0xb8],
  IPV6_AUTOFLOWLABEL: [udp6, false],
  IPV6_ADDR_PREFERENCES: [udp6, IPV6_PREFER_SRC_PUBLIC, IPV6_PREFER_SRC_PUBLIC | IPV6_PREFER_SRC_HOME],
  IPV6_MINHOPCOUNT: [tcp6, 255],
  IPV6_RECVORIGDSTADDR: [udp6, true],
  IPV6_TRANSPARENT: [withCapability('CAP_NET_ADMIN', tcp6), true],
  IPV6_UNICAST_IF: [udp6, 1],
  IPV6_RECVFRAGSIZE: [udp6, true],
  IPV6_FREEBIND: [udp6, true],
  IP6T_SO_ORIGINAL_DST: [
    needing(() => 'only a connection that was redirected has one: see namespace.test.ts', tcp6Pair),
    (value) => expect(value.family).toBe('ipv6'),
  ],
  ICMP6_FILTER: [icmp6, new Uint8Array(32).fill(0xff)],
})

describe('what the comments promise', () => {
  it.each([rows.IPV6_UNICAST_HOPS, rows.IPV6_MULTICAST_HOPS])('$name: −1 is the default', (row) => {
    using socket = udp6.open()
    const initial = getOption(socket, row)
    setOption(socket, row, 9)
    setOption(socket, row, -1)
    expect(getOption(socket, row)).toBe(initial)
    expect(() => setOption(socket, row, 256)).toThrow('EINVAL')
  })

  it('IPV6_V6ONLY: not on a bound socket', () => {
    using socket = tcp6.open()
    socket.bind(loopback(AF_INET6))
    expect(() => setOption(socket, rows.IPV6_V6ONLY, true)).toThrow('EINVAL')
  })

  it('IPV6_MTU: at least 1280, and read only when connected', () => {
    using socket = udp6.open()
    expect(() => setOption(socket, rows.IPV6_MTU, 1279)).toThrow('EINVAL')
    expect(() => getOption(socket, rows.IPV6_MTU)).toThrow('ENOTCONN')
    expect(() => getOption(socket, rows.IPV6_PATHMTU)).toThrow('ENOTCONN')
  })

  it('IPV6_HOPOPTS: an empty array removes them', (test) => {
    skipUnless(test, needCapability('CAP_NET_RAW'))
    using socket = udp6.open()
    expect(getOption(socket, rows.IPV6_HOPOPTS)).toEqual(new Uint8Array(0))
    setOption(socket, rows.IPV6_HOPOPTS, padding)
    setOption(socket, rows.IPV6_HOPOPTS, new Uint8Array(0))
    expect(getOption(socket, rows.IPV6_HOPOPTS)).toEqual(new Uint8Array(0))
    expect(() => setOption(socket, rows.IPV6_HOPOPTS, new Uint8Array(12))).toThrow('EINVAL')
  })

  it('IPV6_UNICAST_IF: in network byte order', () => {
    using socket = udp6.open()
    setOptionBytes(socket, IPPROTO_IPV6, rows.IPV6_UNICAST_IF.option, Uint8Array.of(0, 0, 0, 1))
    expect(getOption(socket, rows.IPV6_UNICAST_IF)).toBe(1)
  })

  it('IPV6_FLOWLABEL_MGR: setOptionBytes tells the label that the kernel chose', () => {
    using socket = udp6.open()
    const request = new Uint8Array(32)
    const value = { action: IPV6_FL_A_GET, dst: '::1', flags: IPV6_FL_F_CREATE, share: IPV6_FL_S_EXCL }
    rows.IPV6_FLOWLABEL_MGR.encode(value, new DataView(request.buffer), 'request')
    setOptionBytes(socket, IPPROTO_IPV6, rows.IPV6_FLOWLABEL_MGR.option, request)
    expect(new DataView(request.buffer).getUint32(16)).toBeGreaterThan(0)
  })

  it('ICMP6_FILTER keeps echo requests away', (test) => {
    skipUnless(test, needCapability('CAP_NET_RAW'))
    using socket = icmp6.open()
    const [ECHO_REQUEST, ECHO_REPLY] = [128, 129]
    const filter = new Uint8Array(32)
    filter[ECHO_REQUEST >> 3] = 1 << (ECHO_REQUEST & 7)
    setOption(socket, rows.ICMP6_FILTER, filter)
    socket.sendTo(Uint8Array.of(ECHO_REQUEST, 0, 0, 0, 0, 0, 0, 0), loopback(AF_INET6))
    const buffer = new Uint8Array(64)
    const types: (number | undefined)[] = []
    while (socket.recvFrom(buffer) !== null) types.push(buffer[0])
    expect(types).not.toContain(ECHO_REQUEST)
    expect(types).toContain(ECHO_REPLY)
  })
})

it('has the types of its rows', () => {
  const never: boolean = false
  using socket = udp6.open()
  expectTypeOf(getOption(socket, rows.IPV6_V6ONLY)).toEqualTypeOf<boolean>()
  if (never) {
    // @ts-expect-error it can only be read
    setOption(socket, rows.IPV6_PATHMTU, 1500)
    // @ts-expect-error it can only be written
    getOption(socket, rows.IPV6_PKTINFO)
    // @ts-expect-error the interface is missing
    setOption(socket, rows.IPV6_PKTINFO, { address: '::1' })
    // @ts-expect-error a boolean is wanted
    setOption(socket, rows.IPV6_V6ONLY, 1)
  }
})
