import { resolve } from 'node:path'
import { type InetAddress, readable, type Socket, setOption } from '@linux-sockets/native-core'
import { ifindexOf } from '@linux-sockets/native-core/interfaces'
import { IP_MULTICAST_IF } from '@linux-sockets/native-core/options'
import {
  connectNamespaces,
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
import { expect, it, onTestFinished } from 'vitest'
import { groupRequest, joinGroup, leaveGroup, openMulticastSocket } from '../src/index.js'

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
import { DatagramChannel } from '@linux-sockets/native-core/streams'
import { ARRIVAL_SPACE, arrivalOf, joinGroup, openMulticastSocket } from '@linux-sockets/udp-mcast'

const [family, group] = process.argv.slice(1)
const socket = openMulticastSocket({ family, port: 0 })
joinGroup(socket, group, { interface: 'blue' })
console.log('port', socket.localName.port)
const channel = new DatagramChannel(socket, { error: console.error }, { receive: { control: ARRIVAL_SPACE } })
for await (const { data, control } of channel) {
  if (data.toString() === 'end') break
  const { ifindex, destination } = arrivalOf(control)
  console.log('via', data.toString(), 'on', interfaceNameOf(ifindex), 'to', destination)
}
console.log('end')
channel.close()`

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

function open(): Socket {
  const socket = openMulticastSocket({ family: 'ipv4', port: 0 })
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
