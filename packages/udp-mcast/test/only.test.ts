/** `receive.only`: a group joined on one interface, and what other interfaces bring in for other programs. */
import { resolve } from 'node:path'
import {
  connectNamespaces,
  createNamespace,
  guardDescriptors,
  needNamespaces,
  needProgram,
  skipUnless,
  waitForLine,
} from '@linux-sockets/testkit'
import { beforeEach, expect, it } from 'vitest'
import { open } from './loopback.js'

guardDescriptors()

const room = resolve(import.meta.dirname, '..')

beforeEach((test) => skipUnless(test, needNamespaces(), needProgram('python3')))

const RECEIVER = `
  import { interfaceNameOf, UdpSocket } from '@linux-sockets/udp-mcast'
  const [address, group, source, only, batches] = process.argv.slice(1)
  const error = (error) => console.log(error.message)
  const others = UdpSocket.open({ address: address.replace('5000', '5001') }, { datagram() {}, error })
  others.join(group, { interface: 'veth1' })
  const show = ({ data, ifindex }) => {
    console.log(data.toString(), interfaceNameOf(ifindex))
    if (String(data) === 'end') console.log('not joined: ' + socket.statistics.notJoined)
  }
  const handlers = batches ? { batch: (batch) => Array.from(batch, show) } : { datagram: show }
  const socket = UdpSocket.open({ address, receive: { only: only === 'only', arrival: true } }, { ...handlers, error })
  socket.join(group, { interface: 'veth0', ...(source && { source }) })
  console.log('ready')`

const SENDER = `
import socket, sys
group, source, end = sys.argv[1:4]
for name in ('veth0', 'veth1'):
    for port in (5000, 5001):
        s = socket.socket(socket.AF_INET6 if ':' in group else socket.AF_INET, socket.SOCK_DGRAM)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, name.encode())
        s.sendto(name.encode(), socket.getaddrinfo(group, port, type=socket.SOCK_DGRAM)[0][4])
s = socket.socket(socket.AF_INET6 if ':' in end else socket.AF_INET, socket.SOCK_DGRAM)
s.sendto(b'end', (end, 5000))`

it.each([
  ['IPv4', '0.0.0.0:5000', '239.6.6.6', '10.0.0.1', '10.0.0.2', ''],
  ['IPv6', '[::]:5000', 'ff15::66', 'fd00::1', 'fd00::2', ''],
  ['IPv4, in batches', '0.0.0.0:5000', '239.6.6.6', '10.0.0.1', '10.0.0.2', 'batches'],
  ['IPv4, for a source', '0.0.0.0:5000', '232.6.6.6', '10.0.0.1', '10.0.0.2', 'source'],
])('drops what came to an interface without the membership: %s', async (_n, address, group, source, end, how) => {
  const [sender, receiver] = [createNamespace(), createNamespace()]
  for (const [i, name] of ['veth0', 'veth1'].entries()) {
    connectNamespaces(
      { namespace: sender, addresses: [`10.0.${i}.1/24`, `fd0${i}::1/64`] },
      { namespace: receiver, addresses: [`10.0.${i}.2/24`, `fd0${i}::2/64`] },
      name,
    )
  }
  const only = ['only', ''].map((mode) => [
    address,
    group,
    how === 'source' ? source : '',
    mode,
    how === 'batches' ? how : '',
  ])
  for (const args of only) {
    const program = receiver.spawn(process.execPath, ['--input-type=module', '--eval', RECEIVER, ...args], {
      cwd: room,
    })
    await waitForLine(program, /^ready$/)
    await sender.run('python3', ['-c', SENDER, group, source, end])
    expect(await waitForLine(program, /^not joined/)).toBe(
      `not joined: ${args[3] === 'only' && group.includes(':') ? 1 : 0}`,
    )
    const lines = program.stdout.trim().split('\n').slice(1)
    // For IPv4 the kernel drops it already, as IP_MULTICAST_ALL is off.
    const foreign = args[3] === 'only' || !group.includes(':') ? [] : ['veth1 veth1']
    expect(lines.filter((line) => line.startsWith('veth'))).toEqual(['veth0 veth0', ...foreign])
    program.process.kill()
    await program.finished
  }
})

it('needs an interface to join on', () => {
  const { socket } = open({ receive: { only: true } })
  expect(() => socket.join('239.6.6.6')).toThrow('receive.only needs an interface to join the group on')
})
