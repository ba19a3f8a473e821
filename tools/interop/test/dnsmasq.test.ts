import {
  connectNamespaces,
  createHosts,
  createNamespace,
  guardDescriptors,
  type Namespace,
  needNamespaces,
  skipUnless,
} from '@linux-sockets/testkit'
import { beforeEach, expect, it } from 'vitest'
import { needDaemon, startDnsmasq } from '../src/daemon.js'
import { QUESTION, runOurs, startOurs } from '../src/host.js'

guardDescriptors()

beforeEach((test) => skipUnless(test, needNamespaces(), needDaemon('dnsmasq')))

/** RFC 2131: asks for an address on an interface that has none, by broadcast. */
const DHCP = `
  import { randomInt } from 'node:crypto'
  const hardware = Buffer.from('020000000001', 'hex')
  const id = randomInt(2 ** 32)
  const message = (type, ...options) => {
    const fixed = Buffer.alloc(236)
    fixed.set([1, 1, 6])
    fixed.writeUInt32BE(id, 4)
    fixed.writeUInt16BE(0x8000, 10)
    hardware.copy(fixed, 28)
    return Buffer.concat([fixed, Buffer.from([0x63, 0x82, 0x53, 0x63, 53, 1, type, ...options.flat(), 255])])
  }
  const optionOf = (data, wanted) => {
    for (let at = 240; data[at] !== 255; at += 2 + data[at + 1]) {
      if (data[at] === wanted) return data.subarray(at + 2, at + 2 + data[at + 1])
    }
  }
  const settings = { address: '0.0.0.0:68', broadcast: true, interface: 'veth0' }
  const socket = UdpSocket.open(settings, { error })
  const send = (data) => socket.send(data, '255.255.255.255:67')
  send(message(1))
  for await (const { data, address, ifindex, destination } of socket) {
    if (data.readUInt32BE(4) !== id) continue
    const type = optionOf(data, 53)[0]
    const offered = data.subarray(16, 20)
    say([type, offered.join('.'), address.address, address.port, interfaceNameOf(ifindex), destination])
    if (type === 5) break
    send(message(3, [50, 4, ...offered], [54, 4, ...optionOf(data, 54)]))
  }
  socket.close()`

it('leases an address to an interface without one', async () => {
  const [client, server] = createHosts([], ['10.0.0.1/24'])
  // An interface by which it must not leave, with an address and the default route.
  connectNamespaces(
    { namespace: client, addresses: ['10.0.1.9/24'] },
    { namespace: server, addresses: ['10.0.1.1/24'] },
    'veth1',
  )
  await client.run('ip', ['route', 'add', 'default', 'via', '10.0.1.1'])
  await startDnsmasq(server, ['--port=0', '--interface=veth0', '--dhcp-range=10.0.0.100,10.0.0.100,1h', '--no-ping'])
  const [offer, ack] = [2, 5].map((type) => [type, '10.0.0.100', '10.0.0.1', 67, 'veth0', '255.255.255.255'])
  expect(await runOurs(client, DHCP)).toEqual([offer, ack])
})

/** Asks each server in turn, by one socket, and says the address in the answer and that it came from. */
const ASK = `
  ${QUESTION}
  const socket = UdpSocket.open({ address: args.address }, { error })
  const answers = socket[Symbol.asyncIterator]()
  for (const [i, server] of args.servers.entries()) {
    socket.send(question(4000 + i, 1, args.name, 1), server + ':53')
    const { data, address } = (await answers.next()).value
    say([data.readUInt16BE(0), data.subarray(-4).join('.'), address.address, address.port])
  }
  socket.close()`

it.for([
  ['IPv4', '0.0.0.0:0', ['10.0.0.1', '10.0.0.2', '10.0.0.3']],
  ['IPv6', '[::]:0', ['[fd00::1]', '[fd00::2]']],
] as const)('answers from the address that was asked: %s', async ([, address, servers]) => {
  const [client, server] = [createNamespace(), createNamespace()]
  connectDns(client, server)
  await startDnsmasq(server, ['--address=/interop.test/192.0.2.7'])
  expect(await runOurs(client, ASK, { address, servers, name: 'interop.test' })).toEqual(
    servers.map((host, i) => [4000 + i, '192.0.2.7', host.replaceAll(/[[\]]/g, ''), 53]),
  )
})

/** Answers each question with an address in which the one that was asked is encoded. */
const NAMESERVER = `
  const socket = UdpSocket.open({ address: args.address, v6only: false }, {
    datagram(datagram) {
      const { data, destination } = datagram
      const last = Number(/(\\d+)$/.exec(destination)[1])
      const head = Buffer.from(data.subarray(0, 12))
      head.set([0x85, 0x80, 0, 1, 0, 1, 0, 0, 0, 0], 2)
      let end = 12
      while (data[end] !== 0) end += data[end] + 1
      const answer = [0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4, 192, 0, 2, last]
      socket.reply(datagram, Buffer.concat([head, data.subarray(12, end + 5), Buffer.from(answer)]))
    },
    error,
  })
  say('ready')`

it.for([
  ['IPv4', '0.0.0.0:5300', '10.0.0.3'],
  ['IPv4 of a dual-stack socket', '[::]:5300', '10.0.0.3'],
  ['IPv6', '[::]:5300', 'fd00::1'],
] as const)('takes the answers of our server, which has many addresses: %s', async ([, address, upstream]) => {
  const [server, resolver, client] = [createNamespace(), createNamespace(), createNamespace()]
  connectDns(resolver, server)
  connectNamespaces(
    { namespace: client, addresses: ['10.0.9.1/24'] },
    { namespace: resolver, addresses: ['10.0.9.2/24'] },
    'client',
  )
  await startOurs(server, NAMESERVER, { address })
  await startDnsmasq(resolver, [`--server=${upstream}#5300`])
  const options = { address: '0.0.0.0:0', servers: ['10.0.9.2'], name: 'other.example' }
  expect(await runOurs(client, ASK, options)).toEqual([[4000, `192.0.2.${upstream.at(-1)}`, '10.0.9.2', 53]])
})

function connectDns(client: Namespace, server: Namespace): void {
  connectNamespaces(
    { namespace: client, addresses: ['10.0.0.9/24', 'fd00::9/64'] },
    { namespace: server, addresses: ['10.0.0.1/24', '10.0.0.2/24', '10.0.0.3/24', 'fd00::1/64', 'fd00::2/64'] },
  )
}
