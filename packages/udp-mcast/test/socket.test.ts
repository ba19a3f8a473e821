import { type InetAddress, readable, type Socket, setOption } from '@linux-sockets/native-core'
import { ifindexOf } from '@linux-sockets/native-core/interfaces'
import { IP_MULTICAST_IF, SO_REUSEADDR } from '@linux-sockets/native-core/options'
import { expectCloexec, expectErrno, expectNonBlocking, guardDescriptors, runPython } from '@linux-sockets/testkit'
import { expect, it, onTestFinished } from 'vitest'
import { arrivalOf, joinGroup, openMulticastSocket } from '../src/index.js'

guardDescriptors()

const lo = ifindexOf('lo')

it.each(['ipv4', 'ipv6'] as const)('is closed on exec and non-blocking: %s', (family) => {
  using socket = openMulticastSocket({ family, port: 0 })
  expectCloexec(socket)
  expectNonBlocking(socket)
  expect(socket.localName.port).toBeGreaterThan(0)
})

it('shares its port, and gives each member its copy with the interface and the group', async () => {
  const [one, two] = [open(), open(portOf(open()))]
  using three = openMulticastSocket({ family: 'ipv4', port: portOf(two) })
  using four = openMulticastSocket({ family: 'ipv4', port: portOf(two) })
  for (const socket of [two, three]) joinGroup(socket, '239.1.2.3', { interface: 'lo' })
  send(one, '239.1.2.3', portOf(two))
  for (const socket of [two, three]) {
    const { text, arrival } = await receive(socket)
    expect(text).toBe('hello')
    expect(arrival).toEqual({ ifindex: lo, destination: '239.1.2.3' })
  }
  // It has joined no group, and doesn't receive the groups that other sockets on this host have joined.
  expect(four.recv(Buffer.alloc(10))).toBeNull()
})

it('lets IPv4 and IPv6 use the same port', () => {
  using v4 = openMulticastSocket({ family: 'ipv4', port: 0 })
  using v6 = openMulticastSocket({ family: 'ipv6', port: portOf(v4) })
  expect(portOf(v6)).toBe(portOf(v4))
})

it('receives from Python what is sent to a group, and the unicast that comes with it', async () => {
  const socket = open()
  joinGroup(socket, '239.1.2.4', { interface: lo })
  await runPython(
    `
import socket, struct, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
lo = socket.if_nametoindex('lo')
s.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, struct.pack('4s4si', b'', b'', lo))
for address in ('239.1.2.4', '127.0.0.1'):
    s.sendto(address.encode(), (address, int(sys.argv[1])))`,
    String(portOf(socket)),
  )
  for (const destination of ['239.1.2.4', '127.0.0.1']) {
    expect(await receive(socket)).toEqual({ text: destination, arrival: { ifindex: lo, destination } })
  }
})

it('leaves nothing open when the port is taken', () => {
  using holder = open()
  setOption(holder, SO_REUSEADDR, false)
  expectErrno(() => openMulticastSocket({ family: 'ipv4', port: portOf(holder) }), 'EADDRINUSE')
})

function open(port = 0): Socket {
  const socket = openMulticastSocket({ family: 'ipv4', port })
  onTestFinished(() => socket.close())
  return socket
}

function portOf(socket: Socket): number {
  return (socket.localName as InetAddress).port
}

function send(socket: Socket, group: string, port: number): void {
  setOption(socket, IP_MULTICAST_IF, { ifindex: lo })
  socket.sendTo(Buffer.from('hello'), { family: 'ipv4', address: group, port })
}

async function receive(socket: Socket) {
  await readable(socket, { signal: AbortSignal.timeout(5000) })
  const buffer = Buffer.alloc(100)
  const message = socket.recvMessage(buffer, { control: 64 })
  if (message === null) throw new Error('nothing came')
  return { text: buffer.toString('utf8', 0, message.length), arrival: arrivalOf(message.control) }
}
