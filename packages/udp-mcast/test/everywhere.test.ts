import { resolve } from 'node:path'
import { setImmediate } from 'node:timers/promises'
import { type AddressLike, formatAddress, type Socket, SystemError } from '@linux-sockets/native-core'
import { ifindexOf } from '@linux-sockets/native-core/interfaces'
import {
  connectNamespaces,
  createHosts,
  createNamespace,
  expectErrno,
  guardDescriptors,
  type Namespace,
  needNamespaces,
  needProgram,
  type Program,
  skipUnless,
} from '@linux-sockets/testkit'
import { expect, it, onTestFinished } from 'vitest'
import {
  AllInterfaces,
  type AllInterfacesHandlers,
  type AllInterfacesOptions,
  joinGroup,
  leaveGroup,
} from '../src/index.js'
import { multicastSocket } from './loopback.js'

guardDescriptors()

const lo = ifindexOf('lo')
const onlyLo: AllInterfacesOptions = { filter: ({ name }) => name === 'lo' }

it('joins on the interfaces that the filter accepts, and leaves on close', () => {
  const { socket, everywhere, errors } = start()
  expect(everywhere.interfaces.map(({ name }) => name)).toEqual(['lo'])
  everywhere.join('239.7.8.1')
  everywhere.join('232.7.8.1', { source: '192.0.2.1' })
  everywhere.join('232.7.8.1', { source: '192.0.2.2' })
  expectErrno(() => joinGroup(socket, '239.7.8.1', { interface: 'lo' }), 'EADDRINUSE')
  everywhere.leave('232.7.8.1', { source: '192.0.2.1' })
  expectErrno(() => joinGroup(socket, '232.7.8.1', { interface: 'lo' }), 'EADDRINUSE')
  everywhere.close()
  everywhere.close()
  expectErrno(() => leaveGroup(socket, '239.7.8.1', { interface: 'lo' }), 'EADDRNOTAVAIL')
  expectErrno(() => leaveGroup(socket, '232.7.8.1', { interface: 'lo' }), 'EADDRNOTAVAIL')
  expect(errors).toEqual([])
  expectErrno(() => everywhere.join('239.7.8.1'), 'EBADF')
  expectErrno(() => everywhere.leave('239.7.8.1'), 'EBADF')
  expectErrno(() => everywhere.send(Buffer.of(1), '239.7.8.1:5007'), 'EBADF')
  expect(everywhere.interfaces).toEqual([])
})

it('joins a group once', () => {
  const { everywhere } = start()
  expectErrno(() => everywhere.leave('239.7.8.2'), 'EADDRNOTAVAIL')
  everywhere.join('239.7.8.2')
  expectErrno(() => everywhere.join('239.7.8.2'), 'EADDRINUSE')
  expectErrno(() => everywhere.join('239.7.8.2', { source: '192.0.2.1' }), 'EADDRINUSE')
  everywhere.leave('239.7.8.2')
  everywhere.join('239.7.8.2', { source: '192.0.2.1' })
  expectErrno(() => everywhere.join('239.7.8.2'), 'EADDRINUSE')
  expectErrno(() => everywhere.leave('239.7.8.2'), 'EADDRNOTAVAIL')
  expectErrno(() => everywhere.join('192.0.2.1'), 'EINVAL')
  expectErrno(() => everywhere.join('ff02::7:8'), 'EAFNOSUPPORT')
})

it('knows a group by any text of its address', () => {
  const socket = open('ipv6')
  using everywhere = new AllInterfaces({ fd: socket.fd, send: () => {} }, { error: console.error }, onlyLo)
  everywhere.join('ff15:0:0::7:8')
  expectErrno(() => everywhere.join('ff15::7:8'), 'EADDRINUSE')
  everywhere.leave('FF15::7:8')
})

it('sends by each interface, with the options of the socket’s send', () => {
  const { everywhere, sent } = start()
  expect(everywhere.send(Buffer.from('a'), '239.7.8.3:5007')).toBe(1)
  expect(everywhere.send(Buffer.from('b'), { family: 'ipv4', address: '239.7.8.3', port: 5008 }, { ttl: 3 })).toBe(1)
  expect(sent).toEqual([
    ['a', '239.7.8.3:5007', { interface: lo }],
    ['b', '239.7.8.3:5008', { interface: lo, ttl: 3 }],
  ])
})

it('reports what fails on an interface, and goes on', async () => {
  const { everywhere, errors } = start((data) => {
    if (data === 'later') return Promise.reject(new SystemError(101, 'sendmsg'))
    throw new SystemError(100, 'sendmsg')
  })
  expect(everywhere.send(Buffer.from('now'), '239.7.8.4:5007')).toBe(0)
  expect(everywhere.send(Buffer.from('later'), '239.7.8.4:5007')).toBe(1)
  await setImmediate()
  expect(errors).toEqual(['ENETDOWN on lo', 'ENETUNREACH on lo'])
})

it('reports a filter that throws, and leaves the interface out', () => {
  const { everywhere, errors } = start(() => {}, {
    filter: ({ name }) => {
      if (name === 'lo') throw new SystemError(1, 'filter')
      return false
    },
  })
  expect(everywhere.interfaces).toEqual([])
  expect(errors).toEqual(['EPERM on lo'])
})

it('calls `added` for the interfaces of the beginning after the constructor has returned', async () => {
  const added: string[] = []
  const { everywhere } = start(() => {}, onlyLo, { added: ({ name }) => added.push(name) })
  expect(added).toEqual([])
  await expect.poll(() => added).toEqual(['lo'])
  everywhere.close()
})

it('closes with its signal, or with its socket', () => {
  const abort = new AbortController()
  const one = start(() => {}, { ...onlyLo, signal: abort.signal })
  one.everywhere.join('239.7.8.5')
  abort.abort()
  expectErrno(() => one.everywhere.join('239.7.8.6'), 'EBADF')
  expectErrno(() => leaveGroup(one.socket, '239.7.8.5', { interface: 'lo' }), 'EADDRNOTAVAIL')
  expect(() => start(() => {}, { signal: abort.signal })).toThrow(abort.signal.reason)
  const two = start()
  two.everywhere.join('239.7.8.5')
  two.socket.close()
  expect(two.everywhere.interfaces).toEqual([])
  expect(two.errors).toEqual([])
})

it.for([
  ['ipv4', '239.7.9.1', 'ip'],
  ['ipv6', 'ff15::7:9', 'ip6'],
] as const)('follows the interfaces under traffic: %s', async ([family, group], test) => {
  skipUnless(test, needNamespaces(), needProgram('python3'))
  const [host, peer] = [createNamespace(), createNamespace()]
  const connect = (name: string, i: number) => {
    const addresses = (end: number) => [`10.${80 + i}.0.${end}/24`, `fd${80 + i}::${end}/64`]
    connectNamespaces({ namespace: host, addresses: addresses(1) }, { namespace: peer, addresses: addresses(2) }, name)
  }
  // Memberships of interfaces that are gone would soon reach this limit.
  await host.run('sh', ['-c', 'echo 2 > /proc/sys/net/ipv4/igmp_max_memberships'])
  const follower = run(host, FOLLOWER, family, group)
  await said(follower, 'added lo')
  const port = /^port (\d+)$/m.exec(follower.stdout)?.[1] as string
  const speak = (link: string, text: string) => peer.run('python3', ['-c', SPEAKER, group, port, link, text])
  /** What the peer hears on a link: the source of a datagram of the follower. */
  const hear = async (link: string) => (await peer.run('python3', ['-c', LISTENER, group, port, link])).trim()
  const from = (i: number) => (family === 'ipv4' ? `10.${80 + i}.0.1` : `fd${80 + i}::1`)

  connect('red', 0)
  await said(follower, 'added red')
  await said(follower, 'removed lo')
  expect(await hear('red')).toBe(from(0))
  await speak('red', 'one')
  await said(follower, 'got one on red')

  connect('blue', 1)
  await said(follower, 'added blue')
  expect(await Promise.all([hear('red'), hear('blue')])).toEqual([from(0), from(1)])
  await speak('blue', 'two')
  await said(follower, 'got two on blue')

  await host.run('ip', ['link', 'set', 'red', 'down'])
  await said(follower, 'removed red')
  await host.run('ip', ['link', 'set', 'red', 'name', 'crimson'])
  await host.run('ip', ['link', 'set', 'crimson', 'up'])
  await said(follower, 'added crimson')
  await host.run('ip', ['address', 'flush', 'dev', 'crimson', 'scope', 'global'])
  const added = family === 'ipv4' ? '10.80.0.9' : 'fd80::9'
  const nodad = family === 'ipv4' ? [] : ['nodad']
  await host.run('ip', ['address', 'add', `${added}/${family === 'ipv4' ? 24 : 64}`, 'dev', 'crimson', ...nodad])
  await said(follower, `changed crimson ${added}`)
  expect(await hear('red')).toBe(added)
  await speak('red', 'three')
  await said(follower, 'got three on crimson')

  for (const round of ['four', 'five', 'six']) {
    const before = count(follower, 'removed crimson') + count(follower, 'removed red')
    await host.run('ip', ['link', 'delete', round === 'four' ? 'crimson' : 'red'])
    await expect.poll(() => count(follower, 'removed crimson') + count(follower, 'removed red')).toBe(before + 1)
    const known = count(follower, 'added red')
    connect('red', 0)
    await expect.poll(() => count(follower, 'added red')).toBe(known + 1)
    expect(await hear('red')).toBe(from(0))
    await speak('red', round)
    await said(follower, `got ${round} on red`)
  }
  await host.run('ip', ['link', 'delete', 'blue'])
  await host.run('ip', ['link', 'delete', 'red'])
  await expect.poll(() => count(follower, 'added lo')).toBe(2)
  follower.process.stdin?.end()
  expect(await follower.finished).toMatchObject({ code: 0, stderr: '' })
  expect(follower.stdout).not.toContain('error')
})

it('joins again when another interface has taken the index at once', async (test) => {
  skipUnless(test, needNamespaces(), needProgram('python3'))
  const [host, peer] = [createNamespace(), createNamespace()]
  const add = [
    `link add red index 77 type veth peer name red netns ${peer.name}`,
    'address add 10.80.0.1/24 dev red',
    'link set red up',
  ]
  const batch = (...lines: string[]) => host.run('ip', ['-batch', '-'], { input: lines.join('\n') })
  const connectPeer = async () => {
    await peer.run('ip', ['link', 'set', 'red', 'up'])
    await peer.run('ip', ['address', 'add', '10.80.0.2/24', 'dev', 'red'])
  }
  await batch(...add)
  await connectPeer()
  const follower = run(host, FOLLOWER, 'ipv4', '239.7.9.3')
  await said(follower, 'added red')
  for (const text of ['one', 'two', 'three']) {
    const known = count(follower, 'added red')
    // Stopped, so that it reads all changes at once.
    follower.process.kill('SIGSTOP')
    await batch('link delete red', ...add)
    await connectPeer()
    follower.process.kill('SIGCONT')
    await expect.poll(() => count(follower, 'added red')).toBeGreaterThan(known)
    const port = /^port (\d+)$/m.exec(follower.stdout)?.[1] as string
    await peer.run('python3', ['-c', SPEAKER, '239.7.9.3', port, 'red', text])
    await said(follower, `got ${text} on red`)
  }
  follower.process.stdin?.end()
  expect(await follower.finished).toMatchObject({ code: 0, stderr: '' })
  expect(follower.stdout).not.toContain('error')
})

it('joins again after changes that the kernel dropped', async (test) => {
  skipUnless(test, needNamespaces(), needProgram('python3'))
  const [host, peer] = [createNamespace(), createNamespace()]
  const add = [
    `link add red index 77 address 02:00:00:00:00:01 type veth peer name red netns ${peer.name}`,
    'address add 10.80.0.1/24 dev red',
    'link set red up',
  ]
  const connect = async (...before: string[]) => {
    await host.run('ip', ['-batch', '-'], { input: [...before, ...add].join('\n') })
    await peer.run('ip', ['link', 'set', 'red', 'up'])
    await peer.run('ip', ['address', 'add', '10.80.0.2/24', 'dev', 'red'])
  }
  await connect()
  const follower = run(host, FOLLOWER, 'ipv4', '239.7.9.4')
  await said(follower, 'added red')
  follower.process.kill('SIGSTOP')
  // More than the socket of the watch has room for.
  const flood = Array.from({ length: 1000 }, (_, i) => `link set red mtu ${1400 + (i % 2)}`)
  await connect(...flood, 'link delete red')
  follower.process.kill('SIGCONT')
  await saysUntilGot(peer, follower, '239.7.9.4', 'red')
  follower.process.stdin?.end()
  expect(await follower.finished).toMatchObject({ code: 0, stderr: '' })
})

it('joins again when IPv6 returns to an interface whose MTU was too small', async (test) => {
  skipUnless(test, needNamespaces(), needProgram('python3'))
  const [host, peer] = createHosts(['fd80::1/64'], ['fd80::2/64'], 'red')
  const follower = run(host, FOLLOWER, 'ipv6', 'ff15::7:94')
  await said(follower, 'added red')
  await host.run('ip', ['link', 'set', 'red', 'mtu', '1000'])
  await host.run('ip', ['link', 'set', 'red', 'mtu', '1500'])
  await saysUntilGot(peer, follower, 'ff15::7:94', 'red')
  follower.process.stdin?.end()
  expect(await follower.finished).toMatchObject({ code: 0, stderr: '' })
})

it('reports an interface on which it can’t join, and follows the others', async (test) => {
  skipUnless(test, needNamespaces(), needProgram('python3'))
  const [host, peer] = [createNamespace(), createNamespace()]
  await host.run('sh', ['-c', 'echo 1 > /proc/sys/net/ipv4/igmp_max_memberships'])
  for (const [i, name] of ['red', 'blue'].entries()) {
    const addresses = (end: number) => [`10.${80 + i}.0.${end}/24`]
    connectNamespaces({ namespace: host, addresses: addresses(1) }, { namespace: peer, addresses: addresses(2) }, name)
  }
  const follower = run(host, FOLLOWER, 'ipv4', '239.7.9.2')
  await said(follower, 'added blue')
  expect(follower.stdout).toMatch(/^error ENOBUFS on blue .*raise net\.ipv4\.igmp_max_memberships$/m)
  const port = /^port (\d+)$/m.exec(follower.stdout)?.[1] as string
  await peer.run('python3', ['-c', SPEAKER, '239.7.9.2', port, 'red', 'one'])
  await said(follower, 'got one on red')
  follower.process.stdin?.end()
  expect(await follower.finished).toMatchObject({ code: 0, stderr: '' })
})

it('keeps a datagram until a tentative address can be used', async (test) => {
  skipUnless(test, needNamespaces(), needProgram('python3'))
  const [host, peer] = [createNamespace(), createNamespace()]
  const follower = run(host, PATIENT, 'ff02::7:9')
  await said(follower, 'ready')
  await host.run('ip', ['link', 'add', 'red', 'type', 'veth', 'peer', 'name', 'red', 'netns', peer.name])
  await peer.run('ip', ['link', 'set', 'red', 'up'])
  const listener = peer.spawn('python3', ['-c', LISTENER, 'ff02::7:9', '5007', 'red'])
  await said(listener, 'listening')
  await host.run('ip', ['link', 'set', 'red', 'up'])
  await said(follower, 'waits 1')
  const { code, stdout } = await listener.finished
  expect({ code, stdout }).toEqual({ code: 0, stdout: expect.stringMatching(/^fe80::/) })
  follower.process.stdin?.end()
  expect(await follower.finished).toMatchObject({ code: 0, stderr: '' })
})

const COMMON = `
import { setInterval } from 'node:timers'
import { AllInterfaces, interfaceNameOf, UdpSocket } from '@linux-sockets/udp-mcast'

const error = (error, link) => console.log('error', error.code, 'on', link?.name, error.detail)`

/** Sends all the time, and says what it gets and which interfaces count. */
const FOLLOWER = `${COMMON}
const [family, group] = process.argv.slice(1)
const socket = UdpSocket.open({ address: family === 'ipv6' ? '[::]:0' : '0.0.0.0:0' }, {
  datagram({ data, ifindex }) {
    if (data.toString() !== 'tick') console.log('got', data.toString(), 'on', interfaceNameOf(ifindex))
  },
  error: ({ code, message }) => ['ENETUNREACH', 'ENODEV', 'ENETDOWN'].includes(code) || console.log('error', message),
})
const { port } = socket.localName
console.log('port', port)
const everywhere = new AllInterfaces(socket, {
  error,
  added: (link) => console.log('added', link.name),
  changed: (link) => console.log('changed', link.name, ...link.addresses.map(({ address }) => address).filter((it) => !it.startsWith('fe80'))),
  removed: (link) => console.log('removed', link.name),
})
everywhere.join(group)
const timer = setInterval(() => everywhere.send(Buffer.from('tick'), { family, address: group, port }), 20)
process.stdin.on('end', () => {
  clearInterval(timer)
  everywhere.close()
  socket.close()
}).resume()`

/** Sends once, when the only address of an interface is tentative. */
const PATIENT = `${COMMON}
import { IFA_F_TENTATIVE, IFF_LOWER_UP } from '@linux-sockets/native-core/interfaces'

const [group] = process.argv.slice(1)
const socket = UdpSocket.open({ address: '[::]:0' }, { datagram() {}, error: console.error })
let sent = false
const send = (link) => {
  const isUsable = ({ family, flags }) => family === 'ipv6' && !(flags & IFA_F_TENTATIVE)
  if (sent || link.name !== 'red' || !(link.flags & IFF_LOWER_UP) || link.addresses.some(isUsable)) return
  sent = true
  console.log('waits', everywhere.send(Buffer.from('tick'), { family: 'ipv6', address: group, port: 5007 }))
}
const everywhere = new AllInterfaces(socket, { error, added: send, changed: send })
console.log('ready')
process.stdin.on('end', () => {
  everywhere.close()
  socket.close()
}).resume()`

const MEMBER = `
import socket, struct, sys
group, port, link = sys.argv[1], int(sys.argv[2]), sys.argv[3]
index = socket.if_nametoindex(link)
v6 = ':' in group
s = socket.socket(socket.AF_INET6 if v6 else socket.AF_INET, socket.SOCK_DGRAM)`

/** Prints the source of the next datagram of a group on a link. */
const LISTENER = `${MEMBER}
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
# The kernel doesn't compare the interface of an IPv6 membership with that of the datagram.
s.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, link.encode())
if v6:
    s.setsockopt(socket.IPPROTO_IPV6, 29, 0)
    s.bind(('::', port))
    s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, socket.inet_pton(socket.AF_INET6, group) + struct.pack('@i', index))
else:
    s.setsockopt(socket.IPPROTO_IP, 49, 0)
    s.bind(('', port))
    s.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, socket.inet_aton(group) + struct.pack('@4si', b'', index))
print('listening', file=sys.stderr, flush=True)
data, address = s.recvfrom(100)
assert data == b'tick', data
print(address[0].split('%')[0])`

/** Sends a text to a group by a link. */
const SPEAKER = `${MEMBER}
if v6: s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, index)
else: s.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, struct.pack('@4s4si', b'', b'', index))
s.sendto(sys.argv[4].encode(), (group, port))`

function run(namespace: Namespace, script: string, ...args: string[]): Program {
  return namespace.spawn(process.execPath, ['--input-type=module', '--eval', script, ...args], {
    cwd: resolve(import.meta.dirname, '..'),
  })
}

/** Sends to the group again and again until the follower gets it. */
async function saysUntilGot(peer: Namespace, follower: Program, group: string, link: string): Promise<void> {
  const port = /^port (\d+)$/m.exec(follower.stdout)?.[1] as string
  await expect
    .poll(async () => {
      await peer.run('python3', ['-c', SPEAKER, group, port, link, 'hello'])
      return follower.stdout
    })
    .toContain(`got hello on ${link}`)
}

/** Waits until a program has printed a line that begins with these words. */
async function said(program: Program, words: string): Promise<void> {
  await expect
    .poll(() => `${program.stdout}${program.stderr}`.split('\n'))
    .toContainEqual(expect.stringMatching(`^${words}`))
}

function count(program: Program, line: string): number {
  return program.stdout.split('\n').filter((it) => it === line).length
}

function open(family: 'ipv4' | 'ipv6'): Socket {
  const socket = multicastSocket(family)
  onTestFinished(() => socket.close())
  return socket
}

/** On loopback only, with a socket that records what it should send. */
function start(
  send: (data: string) => unknown = () => {},
  options: AllInterfacesOptions = onlyLo,
  handlers: Partial<AllInterfacesHandlers> = {},
) {
  const socket = open('ipv4')
  const sent: unknown[] = []
  const errors: string[] = []
  const everywhere = new AllInterfaces<{ ttl?: number }>(
    {
      get fd() {
        return socket.fd
      },
      send(data: Uint8Array, address: AddressLike, options) {
        const text = Buffer.from(data).toString()
        sent.push([text, formatAddress(address), options])
        return send(text)
      },
    },
    {
      error: (error, link) => errors.push(`${(error as SystemError).code} on ${link?.name}`),
      ...handlers,
    },
    options,
  )
  onTestFinished(() => everywhere.close())
  return { socket, everywhere, sent, errors }
}
