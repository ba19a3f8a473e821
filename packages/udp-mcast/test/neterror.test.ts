import { type InetAddress, Socket } from '@linux-sockets/native-core'
import { AF_INET, AF_INET6, SOCK_DGRAM } from '@linux-sockets/native-core/constants'
import {
  expectHeaderNumbers,
  guardDescriptors,
  needCompiler,
  needNamespaces,
  needProgram,
  numbersOf,
  skipUnless,
} from '@linux-sockets/testkit'
import { describe, expect, it } from 'vitest'
import * as mcast from '../src/index.js'
import { CMSG_IP_RECVERR, CMSG_IPV6_RECVERR, drainErrors, networkErrorOf, reportErrors } from '../src/index.js'
import { routedHosts, runOn } from './network.js'

guardDescriptors()

it('has the numbers and layouts of the headers', (test) => {
  skipUnless(test, needCompiler())
  const unknown = expectHeaderNumbers(
    ['sys/socket.h', 'netinet/in.h', 'linux/errqueue.h'],
    [
      ...numbersOf(mcast, /^SO_EE_ORIGIN_/),
      ['IP_RECVERR', CMSG_IP_RECVERR.type],
      ['IPV6_RECVERR', CMSG_IPV6_RECVERR.type],
      ['sizeof(struct sock_extended_err)', 16],
      ['sizeof(struct sock_extended_err) + sizeof(struct sockaddr_in6)', mcast.extendedError.size],
      ['offsetof(struct sock_extended_err, ee_info)', 8],
      ['offsetof(struct sock_extended_err, ee_data)', 12],
    ],
  )
  expect(unknown).toEqual([])
})

it.each([
  ['ipv4', AF_INET, '127.0.0.1', '127.0.0.1', { origin: 'icmp', icmpType: 3, icmpCode: 3 }],
  ['ipv6', AF_INET6, '::1', '::1', { origin: 'icmp6', icmpType: 1, icmpCode: 4 }],
  ['mapped', AF_INET6, '::ffff:127.0.0.1', '::ffff:127.0.0.1', { origin: 'icmp', icmpType: 3, icmpCode: 3 }],
] as const)(
  'tells which port is closed, and then the socket is well again: %s',
  (_, family, address, offender, icmp) => {
    using socket = Socket.open(family, SOCK_DGRAM)
    reportErrors(socket, true)
    const destination = closedPort(family, address)
    socket.sendTo(Buffer.from('knock'), destination)
    const [error, ...more] = drainErrors(socket)
    expect(more).toEqual([])
    expect(error).toMatchObject({ code: 'ECONNREFUSED', errno: -111, reason: 'port unreachable', destination, ...icmp })
    expect(error?.offender?.address).toBe(offender)
    expect(error?.mtu).toBeUndefined()
    // The error has been read, so the next send isn't charged with it.
    expect(socket.sendTo(Buffer.from('knock'), destination)).toBe(5)
  },
)

it('reports nothing once it is off', () => {
  using socket = Socket.open(AF_INET6, SOCK_DGRAM)
  reportErrors(socket, true)
  reportErrors(socket, false)
  socket.sendTo(Buffer.from('knock'), closedPort(AF_INET6, '::1'))
  socket.sendTo(Buffer.from('knock'), closedPort(AF_INET6, '::ffff:127.0.0.1'))
  expect(drainErrors(socket)).toEqual([])
})

interface Kind {
  readonly what: string
  /** A command on the router. */
  readonly command: readonly string[]
  readonly ttl?: number
  readonly expected: readonly [code: string, icmpType: number, icmpCode: number, reason: string]
}

const route = (family: string, kind: string, to: string): string[] => ['ip', family, 'route', 'add', kind, to]
const reject = (program: string, type: string): string[] => [
  program,
  '-A',
  'FORWARD',
  '-p',
  'udp',
  '-j',
  'REJECT',
  '--reject-with',
  type,
]

const kinds4: Kind[] = [
  {
    what: 'host unreachable',
    command: route('-4', 'unreachable', '10.70.2.2'),
    expected: ['EHOSTUNREACH', 3, 1, 'host unreachable'],
  },
  {
    what: 'prohibited',
    command: route('-4', 'prohibit', '10.70.2.2'),
    expected: ['EHOSTUNREACH', 3, 13, 'communication administratively prohibited'],
  },
  {
    what: 'no route',
    command: ['ip', 'route', 'delete', '10.70.2.0/24'],
    expected: ['ENETUNREACH', 3, 0, 'network unreachable'],
  },
  { what: 'TTL', command: ['true'], ttl: 1, expected: ['EHOSTUNREACH', 11, 0, 'time to live exceeded in transit'] },
]
const rejects4: Kind[] = [
  {
    what: 'host rejected',
    command: reject('iptables', 'icmp-host-prohibited'),
    expected: ['EHOSTUNREACH', 3, 10, 'host administratively prohibited'],
  },
  {
    what: 'network rejected',
    command: reject('iptables', 'icmp-net-prohibited'),
    expected: ['ENETUNREACH', 3, 9, 'network administratively prohibited'],
  },
  {
    what: 'protocol rejected',
    command: reject('iptables', 'icmp-proto-unreachable'),
    expected: ['ENOPROTOOPT', 3, 2, 'protocol unreachable'],
  },
]
const kinds6: Kind[] = [
  {
    what: 'unreachable',
    command: route('-6', 'unreachable', 'fd70:2::2'),
    expected: ['ENETUNREACH', 1, 0, 'no route to destination'],
  },
  {
    what: 'prohibited',
    command: route('-6', 'prohibit', 'fd70:2::2'),
    expected: ['EACCES', 1, 1, 'communication administratively prohibited'],
  },
  {
    what: 'no route',
    command: ['ip', '-6', 'route', 'delete', 'fd70:2::/64'],
    expected: ['ENETUNREACH', 1, 0, 'no route to destination'],
  },
  { what: 'hop limit', command: ['true'], ttl: 1, expected: ['EHOSTUNREACH', 3, 0, 'hop limit exceeded in transit'] },
]
const rejects6: Kind[] = [
  {
    what: 'address rejected',
    command: reject('ip6tables', 'icmp6-addr-unreachable'),
    expected: ['EHOSTUNREACH', 1, 3, 'address unreachable'],
  },
  {
    what: 'port rejected',
    command: reject('ip6tables', 'icmp6-port-unreachable'),
    expected: ['ECONNREFUSED', 1, 4, 'port unreachable'],
  },
  {
    what: 'policy',
    command: reject('ip6tables', 'icmp6-policy-fail'),
    expected: ['EACCES', 1, 5, 'source address failed ingress or egress policy'],
  },
]

describe.each([
  ['ipv4', '10.70.2.2', '10.70.1.254', kinds4, null],
  ['ipv4', '10.70.2.2', '10.70.1.254', rejects4, 'iptables'],
  ['ipv6', 'fd70:2::2', 'fd70:1::fe', kinds6, null],
  ['ipv6', 'fd70:2::2', 'fd70:1::fe', rejects6, 'ip6tables'],
] as const)('a router reports, by %s', (family, address, offender, kinds, program) => {
  it.for(kinds)('$what', async ({ command: [name, ...args], ttl, expected }, test) => {
    skipUnless(test, needNamespaces(), program === null ? null : needProgram(program))
    const { left, router } = await routedHosts()
    await router.run(name as string, args)
    const error = await runOn(left, SEND, { family, address, ttl: ttl ?? null, length: 10 })
    const [code, icmpType, icmpCode, reason] = expected
    expect(error).toMatchObject({
      code,
      icmpType,
      icmpCode,
      reason,
      offender: { family, address: offender, port: 0 },
      destination: { family, address, port: 9 },
    })
  })
})

it.for([
  ['ipv4', '10.70.2.2', '10.70.1.254', 'icmp', 'fragmentation needed'],
  ['ipv6', 'fd70:2::2', 'fd70:1::fe', 'icmp6', 'packet too big'],
] as const)('has the MTU of a path that narrows: %s', async ([family, address, offender, origin, reason], test) => {
  skipUnless(test, needNamespaces())
  const { left, router } = await routedHosts()
  await router.run('ip', ['link', 'set', 'right', 'mtu', '1300'])
  const error = await runOn(left, SEND, { family, address, ttl: null, length: 1400 })
  expect(error).toMatchObject({ code: 'EMSGSIZE', origin, reason, mtu: 1300, offender: { address: offender } })
  expect(error).toMatchObject({ again: { code: 'EMSGSIZE', origin: 'local', mtu: 1300 }, pathMtu: 1300 })
})

/** Sends one datagram that can't be fragmented, and prints the error that comes; if its length was wrong, also the next. */
const SEND = `
import { once } from 'node:events'
import { readable, Socket } from '@linux-sockets/native-core'
import { AF_INET, AF_INET6, SOCK_DGRAM } from '@linux-sockets/native-core/constants'
import { drainErrors, IP_TTL, IPV6_UNICAST_HOPS, pathMtu, reportErrors, setOption, setPathMtuDiscovery } from '@linux-sockets/udp-mcast'
const socket = Socket.open(args.family === 'ipv6' ? AF_INET6 : AF_INET, SOCK_DGRAM)
reportErrors(socket, true)
setPathMtuDiscovery(socket, 'do')
if (args.ttl !== null) setOption(socket, args.family === 'ipv6' ? IPV6_UNICAST_HOPS : IP_TTL, args.ttl)
const destination = { family: args.family, address: args.address, port: 9 }
socket.sendTo(Buffer.alloc(args.length), destination)
const next = async () => {
  for (;;) {
    const [error] = drainErrors(socket)
    if (error !== undefined) return { ...error }
    await readable(socket)
  }
}
const error = await next()
if (error.code === 'EMSGSIZE') {
  try { socket.sendTo(Buffer.alloc(args.length), destination) } catch {}
  error.again = await next()
  socket.connect(destination)
  error.pathMtu = pathMtu(socket)
}
console.log(JSON.stringify(error))
`

it('takes no other message for an error, and refuses one that was cut', () => {
  const of = (data: Uint8Array) => networkErrorOf({ control: [{ level: 0, type: 11, data }], address: null })
  expect(networkErrorOf({ control: [], address: null })).toBeUndefined()
  for (const origin of [0, 4, 5, 7]) {
    expect(of(Uint8Array.from([42, 0, 0, 0, origin, ...Array(11).fill(0)]))).toBeUndefined()
  }
  for (const length of [0, 1, 15]) expect(() => of(new Uint8Array(length))).toThrow('a struct sock_extended_err has')
})

it('reads any bytes without a crash', () => {
  let state = 1
  const random = () => {
    state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0
    return state >>> 16
  }
  let errors = 0
  for (let i = 0; i < 20_000; i++) {
    const data = Uint8Array.from({ length: 16 + (random() % 40) }, random)
    // Half of them have the number of an error, a known origin and a known family.
    if (i % 2 === 0) data.set([random() & 127, 0, 0, 0, random() % 8])
    if (data.length > 17 && i % 4 === 0) data.set([random() % 2 ? AF_INET : AF_INET6, 0], 16)
    const [level, type] = random() % 2 ? [0, 11] : [41, 25]
    const error = networkErrorOf({ control: [{ level, type, data }], address: null })
    if (error !== undefined) {
      errors++
      expect(error.errno).toBeLessThan(0)
      expect(['local', 'icmp', 'icmp6', 'txtime']).toContain(error.origin)
    }
  }
  expect(errors).toBeGreaterThan(1000)
})

function closedPort(family: number, address: string): InetAddress {
  using socket = Socket.open(family, SOCK_DGRAM)
  socket.bind({ family: family === AF_INET ? 'ipv4' : 'ipv6', address, port: 0 })
  return socket.localName as InetAddress
}
