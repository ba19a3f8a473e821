import { readFileSync } from 'node:fs'
import { resolve } from 'node:path'
import { type InetAddress, inetPton, readable, Socket, setOption } from '@linux-sockets/native-core'
import { AF_INET, AF_INET6, SOCK_DGRAM } from '@linux-sockets/native-core/constants'
import { ifindexOf } from '@linux-sockets/native-core/interfaces'
import { IP_MULTICAST_IF, IPV6_V6ONLY } from '@linux-sockets/native-core/options'
import {
  connectNamespaces,
  createHosts,
  createNamespace,
  expectErrno,
  expectHeaderNumbers,
  guardDescriptors,
  needCompiler,
  needNamespaces,
  needProgram,
  skipUnless,
  waitForLine,
} from '@linux-sockets/testkit'
import { describe, expect, it, onTestFinished } from 'vitest'
import {
  blockSource,
  getSourceFilter,
  groupRequest,
  groupSourceRequest,
  joinGroup,
  joinSourceGroup,
  leaveGroup,
  leaveSourceGroup,
  setSourceFilter,
  unblockSource,
} from '../src/index.js'
import { multicastSocket } from './loopback.js'

guardDescriptors()

it('has the numbers and layouts of the headers', (test) => {
  skipUnless(test, needCompiler())
  const unknown = expectHeaderNumbers(
    ['netinet/in.h'],
    [
      ['MCAST_JOIN_GROUP', 42],
      ['MCAST_LEAVE_GROUP', 45],
      ['sizeof(struct group_req)', groupRequest.size],
      ['offsetof(struct group_req, gr_interface)', 0],
      ['offsetof(struct group_req, gr_group)', 8],
      ['MCAST_BLOCK_SOURCE', 43],
      ['MCAST_UNBLOCK_SOURCE', 44],
      ['MCAST_JOIN_SOURCE_GROUP', 46],
      ['MCAST_LEAVE_SOURCE_GROUP', 47],
      ['MCAST_MSFILTER', 48],
      ['MCAST_EXCLUDE', 0],
      ['MCAST_INCLUDE', 1],
      ['sizeof(struct group_source_req)', groupSourceRequest.size],
      ['offsetof(struct group_source_req, gsr_interface)', 0],
      ['offsetof(struct group_source_req, gsr_group)', 8],
      ['offsetof(struct group_source_req, gsr_source)', 136],
      ['offsetof(struct group_filter, gf_interface)', 0],
      ['offsetof(struct group_filter, gf_group)', 8],
      ['offsetof(struct group_filter, gf_fmode)', 136],
      ['offsetof(struct group_filter, gf_numsrc)', 140],
      ['offsetof(struct group_filter, gf_slist)', 144],
    ],
  )
  expect(unknown).toEqual([])
})

it('receives a group from joining until leaving', async () => {
  const socket = open()
  send(socket, '239.7.7.1')
  joinGroup(socket, '239.7.7.1', { interface: 'lo' })
  joinGroup(socket, '239.7.7.2', { interface: ifindexOf('lo') })
  send(socket, '239.7.7.1')
  send(socket, '239.7.7.2')
  leaveGroup(socket, '239.7.7.1', { interface: 'lo' })
  send(socket, '239.7.7.1')
  send(socket, '239.7.7.2')
  expect(await receive(socket, 3)).toEqual(['239.7.7.1', '239.7.7.2', '239.7.7.2'])
  expect(socket.recv(Buffer.alloc(100))).toBeNull()
})

it('can join a group only once', () => {
  const socket = open()
  joinGroup(socket, '239.7.7.1', { interface: 'lo' })
  expectErrno(() => joinGroup(socket, '239.7.7.1', { interface: 'lo' }), 'EADDRINUSE')
  leaveGroup(socket, '239.7.7.1', { interface: 'lo' })
  expectErrno(() => leaveGroup(socket, '239.7.7.1', { interface: 'lo' }), 'EADDRNOTAVAIL')
})

it('reports what is wrong', () => {
  const socket = open()
  expectErrno(() => joinGroup(socket, '192.0.2.1', { interface: 'lo' }), 'EINVAL')
  expectErrno(() => joinGroup(socket, '239.7.7.1', { interface: 'nowhere' }), 'ENODEV')
  expectErrno(() => joinGroup(socket, '239.7.7.1', { interface: 2 ** 31 - 1 }), 'ENODEV')
  expectErrno(() => joinGroup({ fd: -1 }, '239.7.7.1', { interface: 'lo' }), 'EBADF')
  expect(() => joinGroup(socket, '239.7.7', { interface: 'lo' })).toThrow(TypeError)
  expect(() => joinGroup(socket, 239 as unknown as string)).toThrow(TypeError)
  expect(() => joinGroup(socket, '239.7.7.1', { interface: 2 ** 32 })).toThrow(RangeError)
  expect(() => joinGroup(socket, '239.7.7.1', { interface: Number.NaN })).toThrow(TypeError)
})

describe.each([
  {
    family: 'ipv4' as const,
    group: '239.7.7.10',
    other: 'ff15::7:10',
    source: (i: number) => `192.0.2.${i}`,
    many: (i: number) => `239.8.${i >> 8}.${i & 255}`,
    sourceLimit: 'net.ipv4.igmp_max_msf',
    tooMany: ['ENOBUFS', 'raise net.ipv4.igmp_max_memberships'] as const,
  },
  {
    family: 'ipv6' as const,
    group: 'ff15::7:10',
    other: '239.7.7.10',
    source: (i: number) => `2001:db8::${i.toString(16)}`,
    many: (i: number) => `ff15::8:${i.toString(16)}`,
    sourceLimit: 'net.ipv6.mld_max_msf',
    tooMany: ['ENOMEM', 'raise net.core.optmem_max'] as const,
  },
])('memberships of $family', ({ family, group, other, source, many, sourceLimit, tooMany }) => {
  const on = { interface: 'lo' }
  const lo = ifindexOf('lo')

  it('has a filter that follows each change', () => {
    const socket = open(family)
    const filter = () => getSourceFilter(socket, group, on)
    joinGroup(socket, group, on)
    expect(filter()).toEqual({ mode: 'exclude', sources: [] })
    blockSource(socket, group, source(1), on)
    expect(filter()).toEqual({ mode: 'exclude', sources: [source(1)] })
    unblockSource(socket, group, source(1), on)
    expect(filter()).toEqual({ mode: 'exclude', sources: [] })
    leaveGroup(socket, group, on)
    expectDetail(filter, 'EADDRNOTAVAIL', `the socket is not a member on interface ${lo}`)
    joinSourceGroup(socket, group, source(2), on)
    joinSourceGroup(socket, group, source(3), on)
    expect(filter()).toEqual({ mode: 'include', sources: [source(2), source(3)] })
    leaveSourceGroup(socket, group, source(2), on)
    expect(filter()).toEqual({ mode: 'include', sources: [source(3)] })
    setSourceFilter(socket, group, { mode: 'exclude', sources: [source(4), source(5)] }, on)
    expect(filter()).toEqual({ mode: 'exclude', sources: [source(4), source(5)] })
    setSourceFilter(socket, group, { mode: 'include', sources: [] }, on)
    expectDetail(filter, 'EADDRNOTAVAIL', 'is not a member')
  })

  it('takes the interface by name, index or address', () => {
    const socket = open(family)
    const loopback = family === 'ipv4' ? '127.0.0.1' : '0:0::1'
    joinGroup(socket, group, { interface: loopback })
    expectErrno(() => joinGroup(socket, group, { interface: 'lo' }), 'EADDRINUSE')
    expectErrno(() => joinGroup(socket, group, { interface: lo }), 'EADDRINUSE')
    leaveGroup(socket, group, { interface: lo })
    expectDetail(
      () => joinGroup(socket, group, { interface: source(77) }),
      'ENODEV',
      `no interface has the address ${source(77)}`,
    )
  })

  it('says in each error what to do', () => {
    const socket = open(family)
    const nowhere = { interface: 2 ** 31 - 1 }
    const to = source(1)
    const notGroup = `${to} is not a multicast group`
    const notMember = `the socket is not a member on interface ${lo}`
    expectDetail(() => joinGroup(socket, to, on), 'EINVAL', notGroup)
    expectDetail(() => joinSourceGroup(socket, to, to, on), 'EINVAL', notGroup)
    expectDetail(() => joinGroup(socket, group, nowhere), 'ENODEV', 'no interface has the index 2147483647')
    expectDetail(() => blockSource(socket, group, to, nowhere), 'ENODEV', 'no interface has the index')
    expectDetail(() => leaveGroup(socket, group, on), 'EADDRNOTAVAIL', notMember)
    expectDetail(() => setSourceFilter(socket, group, { mode: 'include', sources: [] }, on), 'EADDRNOTAVAIL', notMember)
    expectDetail(
      () => setSourceFilter(socket, group, { mode: 'exclude', sources: [to] }, on),
      'EINVAL',
      `join the group on interface ${lo} first`,
    )
    expectDetail(() => blockSource(socket, group, to, on), 'EINVAL', 'join the group with joinGroup')
    expectDetail(() => unblockSource(socket, group, to, on), 'EINVAL', 'join the group with joinGroup')
    expectDetail(() => leaveSourceGroup(socket, group, to, on), 'EINVAL', 'not joined the group for single sources')
    joinSourceGroup(socket, group, to, on)
    expectDetail(() => joinSourceGroup(socket, group, to, on), 'EADDRNOTAVAIL', 'already joined this source')
    expectDetail(() => leaveSourceGroup(socket, group, source(2), on), 'EADDRNOTAVAIL', 'has not joined this source')
    expectDetail(() => joinGroup(socket, group, on), 'EADDRINUSE', 'already a member')
    leaveGroup(socket, group, on)
    joinGroup(socket, group, on)
    expectDetail(() => unblockSource(socket, group, to, on), 'EADDRNOTAVAIL', 'not blocked')
    blockSource(socket, group, to, on)
    expectDetail(() => blockSource(socket, group, to, on), 'EADDRNOTAVAIL', 'already blocked')
    expectDetail(() => joinSourceGroup(socket, group, to, on), 'EINVAL', 'blocks sources of the group: leave it first')
  })

  it('names the limit of sources', () => {
    const socket = open(family)
    const max = sysctl(sourceLimit)
    const sources = Array.from({ length: max }, (_, i) => source(i + 1))
    const next = source(max + 1)
    const advice = `raise ${sourceLimit}`
    for (const each of sources) joinSourceGroup(socket, group, each, on)
    expectDetail(() => joinSourceGroup(socket, group, next, on), 'ENOBUFS', advice)
    const exclude = (list: string[]) => setSourceFilter(socket, group, { mode: 'exclude', sources: list }, on)
    expectDetail(() => exclude([...sources, next]), 'ENOBUFS', advice)
    exclude(sources)
    expect(getSourceFilter(socket, group, on)).toEqual({ mode: 'exclude', sources })
    expectDetail(() => blockSource(socket, group, next, on), 'ENOBUFS', advice)
    const long = Array.from({ length: max + 160 }, (_, i) => source((i % 200) + 1))
    expectDetail(() => exclude(long), 'ENOBUFS', `${advice} and net.core.optmem_max`)
  })

  it('names the limit of groups', () => {
    for (const join of [
      (socket: Socket, i: number) => joinGroup(socket, many(i), on),
      (socket: Socket, i: number) => joinSourceGroup(socket, many(i), source(1), on),
    ]) {
      const socket = open(family)
      const fill = () => {
        for (let i = 1; i < 60_000; i++) join(socket, i)
      }
      expectDetail(fill, tooMany[0], tooMany[1])
      socket.close()
    }
  })

  it('are refused to a socket that could not receive the group', () => {
    const socket = open(family)
    const [own, label] = family === 'ipv4' ? ['an IPv4 socket', 'IPv6'] : ['an IPv6 socket with IPV6_V6ONLY', 'IPv4']
    const advice = `MCAST_JOIN_GROUP ${other}: ${own} can't receive ${label} groups`
    expectDetail(() => joinGroup(socket, other, on), 'EAFNOSUPPORT', advice)
  })
})

it('reads a filter of many sources', async (test) => {
  skipUnless(test, needNamespaces())
  const host = createNamespace()
  await host.run('sh', ['-c', 'echo 300 > /proc/sys/net/ipv4/igmp_max_msf'])
  const sources = Array.from({ length: 150 }, (_, i) => `192.0.2.${i + 1}`)
  const script = `
    import { getSourceFilter, joinGroup, setSourceFilter, UdpSocket } from '@linux-sockets/udp-mcast'
    const socket = UdpSocket.open({ address: '0.0.0.0:0' }, { error: console.error }).unref()
    joinGroup(socket, '239.7.7.40', { interface: 'lo' })
    setSourceFilter(socket, '239.7.7.40', { mode: 'exclude', sources: process.argv.slice(1) }, { interface: 'lo' })
    console.log(JSON.stringify(getSourceFilter(socket, '239.7.7.40', { interface: 'lo' })))
    socket.close()`
  const args = ['--input-type=module', '--eval', script, ...sources]
  const output = await host.run(process.execPath, args, { cwd: resolve(import.meta.dirname, '..') })
  expect(JSON.parse(output)).toEqual({ mode: 'exclude', sources })
})

it('lets a dual-stack socket join groups of both families', () => {
  const socket = Socket.open(AF_INET6, SOCK_DGRAM)
  onTestFinished(() => socket.close())
  setOption(socket, IPV6_V6ONLY, false)
  joinGroup(socket, '239.7.7.20', { interface: 'lo' })
  joinGroup(socket, 'ff15::7:20', { interface: 'lo' })
  expectErrno(() => joinGroup(socket, '239.7.7.20', { interface: 'lo' }), 'EADDRINUSE')
  const [left, right] = Socket.pair()
  onTestFinished(() => left.close())
  onTestFinished(() => right.close())
  expectDetail(() => joinGroup(left, '239.7.7.20'), 'EAFNOSUPPORT', "the socket can't receive IPv4 groups")
})

it('refuses an address that several interfaces have', async (test) => {
  skipUnless(test, needNamespaces())
  const host = createNamespace()
  for (const name of ['one', 'two']) {
    await host.run('ip', ['link', 'add', name, 'type', 'veth', 'peer', 'name', `${name}-peer`])
    await host.run('ip', ['address', 'add', 'fe80::7/64', 'dev', name, 'nodad'])
  }
  const script = `
    import { joinGroup, UdpSocket } from '@linux-sockets/udp-mcast'
    const socket = UdpSocket.open({ address: '[::]:0' }, { error: console.error }).unref()
    try {
      joinGroup(socket, 'ff02::7', { interface: 'fe80::7' })
    } catch (error) {
      console.log(error.code, error.detail)
    }
    socket.close()`
  const args = ['--input-type=module', '--eval', script]
  const output = await host.run(process.execPath, args, { cwd: resolve(import.meta.dirname, '..') })
  expect(output).toBe('ENOTUNIQ one, two have the address fe80::7: give a name or an index\n')
})

it('says that a group without a route needs an interface', async (test) => {
  skipUnless(test, needNamespaces())
  const script = `
    import { joinGroup, UdpSocket } from '@linux-sockets/udp-mcast'
    const socket = UdpSocket.open({ address: '0.0.0.0:0' }, { error: console.error }).unref()
    try {
      joinGroup(socket, '239.7.7.7')
    } catch (error) {
      console.log(error.code, error.detail)
    }
    socket.close()`
  const args = ['--input-type=module', '--eval', script]
  const output = await createNamespace().run(process.execPath, args, { cwd: resolve(import.meta.dirname, '..') })
  expect(output).toBe('ENODEV MCAST_JOIN_GROUP 239.7.7.7: no route leads to the group: choose an interface\n')
})

it.for([
  ['ipv4', '239.7.7.30', '232.7.7.30', '10.90.0.2', '10.90.0.3'],
  ['ipv6', 'ff15::7:30', 'ff35::7:30', 'fd90::2', 'fd90::3'],
] as const)('receives from the sources that it wants: %s', async ([family, any, ssm, wanted, unwanted], test) => {
  skipUnless(test, needNamespaces(), needProgram('python3'))
  const [host, peer] = createHosts(
    ['10.90.0.1/24', 'fd90::1/64'],
    ['10.90.0.2/24', '10.90.0.3/24', 'fd90::2/64', 'fd90::3/64'],
  )
  const receiver = host.spawn(
    process.execPath,
    ['--input-type=module', '--eval', SELECTIVE, family, any, ssm, wanted, unwanted],
    { cwd: resolve(import.meta.dirname, '..') },
  )
  const port = (await waitForLine(receiver, /^port/)).slice(5)
  const files = family === 'ipv4' ? ['igmp', 'mcfilter'] : ['igmp6', 'mcfilter6']
  const [groups = '', filters = ''] = await Promise.all(files.map((file) => host.run('cat', [`/proc/net/${file}`])))
  for (const group of [any, ssm]) expect(groups).toMatch(new RegExp(hexOf(group, 'native'), 'i'))
  expect(filters).toMatch(new RegExp(`${hexOf(any)} ${hexOf(unwanted)}\\s+0\\s+1$`, 'm'))
  expect(filters).toMatch(new RegExp(`${hexOf(ssm)} ${hexOf(wanted)}\\s+1\\s+0$`, 'm'))
  const ifindex = Number(await host.run('cat', ['/sys/class/net/veth0/ifindex']))
  const base = { ifindex, name: 'veth0', family, users: 1 }
  expect(JSON.parse(await waitForLine(receiver, /^\[/))).toEqual(
    expect.arrayContaining([
      { ...base, group: any, sources: [{ address: unwanted, included: 0, excluded: 1 }] },
      { ...base, group: ssm, sources: [{ address: wanted, included: 1, excluded: 0 }] },
    ]),
  )
  await peer.run('python3', ['-c', FROM_SOURCES, port, any, ssm, wanted, unwanted])
  await waitForLine(receiver, /^end/)
  expect(receiver.stdout.split('\n').slice(2, -2)).toEqual([`${wanted} to ${any}`, `${wanted} to ${ssm}`])
})

/** Blocks one source of a group, and joins one source of another, until a datagram says that it is the end. */
const SELECTIVE = `
import { blockSource, joinGroup, joinSourceGroup, memberships, UdpSocket } from '@linux-sockets/udp-mcast'

const [family, any, ssm, wanted, unwanted] = process.argv.slice(1)
const socket = UdpSocket.open({ address: family === 'ipv6' ? '[::]:0' : '0.0.0.0:0' }, { error: console.error })
joinGroup(socket, any, { interface: 'veth0' })
blockSource(socket, any, unwanted, { interface: 'veth0' })
joinSourceGroup(socket, ssm, wanted, { interface: 'veth0' })
console.log('port', socket.localName.port)
console.log(JSON.stringify(memberships()))
for await (const { data, address, destination } of socket) {
  if (data.toString() === 'end') break
  console.log(address.address, 'to', destination)
}
console.log('end')
socket.close()`

const FROM_SOURCES = `
import socket, sys
port, any, ssm, wanted, unwanted = sys.argv[1:]
def send(source, group, text):
    family = socket.AF_INET6 if ':' in group else socket.AF_INET
    s = socket.socket(family, socket.SOCK_DGRAM)
    s.bind((source, 0))
    if ':' in group: s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, socket.if_nametoindex('veth0'))
    s.sendto(text, (group, int(port)))
for group in (any, ssm):
    for source in (unwanted, wanted): send(source, group, b'data')
send(wanted, any, b'end')`

/** An address as /proc/net prints it. Only /proc/net/igmp has the native byte order. */
function hexOf(address: string, order?: 'native'): string {
  const bytes = Buffer.from(inetPton(address.includes(':') ? AF_INET6 : AF_INET, address) as Uint8Array)
  if (bytes.length === 16) return bytes.toString('hex')
  return order === 'native' ? bytes.reverse().toString('hex') : `0x${bytes.toString('hex')}`
}

function sysctl(name: string): number {
  return Number(readFileSync(`/proc/sys/${name.replaceAll('.', '/')}`, 'utf8'))
}

function expectDetail(call: () => unknown, code: string, detail: string): void {
  expect(expectErrno(call, code)).toHaveProperty('detail', expect.stringContaining(detail))
}

it.for([
  ['ipv4', '239.7.7.3'],
  ['ipv6', 'ff15::7:3'],
] as const)('is a member on one interface, not on another: %s', async ([family, group], test) => {
  skipUnless(test, needNamespaces(), needProgram('python3'))
  const [host, peer] = [createNamespace(), createNamespace()]
  for (const [i, name] of ['red', 'blue'].entries()) {
    const addresses = (end: number) => [`10.${80 + i}.0.${end}/24`, `fd${80 + i}::${end}/64`]
    connectNamespaces({ namespace: host, addresses: addresses(1) }, { namespace: peer, addresses: addresses(2) }, name)
  }
  const receiver = host.spawn(process.execPath, ['--input-type=module', '--eval', RECEIVER, family, group], {
    cwd: resolve(import.meta.dirname, '..'),
  })
  const port = (await waitForLine(receiver, /^port/)).slice(5)
  await peer.run('python3', ['-c', SENDER, group, port])
  expect(await waitForLine(receiver, /^end/)).toBe('end')
  expect(receiver.stdout.split('\n').slice(1, -2)).toEqual([
    `via blue on blue to ${group}`,
    `via both on blue to ${group}`,
  ])
})

/** Joins the group on blue, and returns what came until it has come twice. */
const RECEIVER = `
import { interfaceNameOf } from '@linux-sockets/native-core/interfaces'
import { joinGroup, UdpSocket } from '@linux-sockets/udp-mcast'

const [family, group] = process.argv.slice(1)
const socket = UdpSocket.open({ address: family === 'ipv6' ? '[::]:0' : '0.0.0.0:0' }, { error: console.error })
joinGroup(socket, group, { interface: 'blue' })
console.log('port', socket.localName.port)
for await (const { data, ifindex, destination } of socket) {
  if (data.toString() === 'end') break
  console.log('via', data.toString(), 'on', interfaceNameOf(ifindex), 'to', destination)
}
console.log('end')
socket.close()`

const SENDER = `
import socket, struct, sys
group, port = sys.argv[1], int(sys.argv[2])
s = socket.socket(socket.AF_INET6 if ':' in group else socket.AF_INET, socket.SOCK_DGRAM)
def via(name):
    index = socket.if_nametoindex(name)
    if ':' in group: s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, index)
    else: s.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, struct.pack('4s4si', b'', b'', index))
for names, text in ((['red'], b'red'), (['blue'], b'blue'), (['red', 'blue'], b'both'), (['blue'], b'end')):
    for name in names:
        via(name)
        s.sendto(text, (group, port))`

function open(family: 'ipv4' | 'ipv6' = 'ipv4'): Socket {
  const socket = multicastSocket(family)
  onTestFinished(() => socket.close())
  return socket
}

/** Sends the group's name to the group, on loopback, at the socket's own port. */
function send(socket: Socket, group: string): void {
  setOption(socket, IP_MULTICAST_IF, { ifindex: ifindexOf('lo') })
  const { port } = socket.localName as InetAddress
  socket.sendTo(Buffer.from(group), { family: 'ipv4', address: group, port })
}

async function receive(socket: Socket, count: number): Promise<string[]> {
  const buffer = Buffer.alloc(100)
  const got: string[] = []
  while (got.length < count) {
    const length = socket.recv(buffer)
    if (length === null) await readable(socket, { signal: AbortSignal.timeout(5000) })
    else got.push(buffer.toString('utf8', 0, length))
  }
  return got
}
