import {
  connectNamespaces,
  createHosts,
  createNamespace,
  guardDescriptors,
  type Namespace,
  needNamespaces,
  needProgram,
  skipUnless,
  waitForLine,
} from '@linux-sockets/testkit'
import { beforeEach, describe, expect, it } from 'vitest'
import { runOurs, startOurs, valuesOf } from '../src/host.js'

guardDescriptors()

beforeEach((test) => skipUnless(test, needNamespaces()))

// So few and small datagrams are sent that all fit into a receive buffer: none is lost, however busy the machine is.
const COUNT = 100
const SIZE = 200

const FAMILIES = [
  ['IPv4', '232.1.1.1', '10.0.0.1', '10.0.0.11', []],
  ['IPv6', 'ff3e::1:1', 'fd00::1', 'fd00::11', ['-V']],
] as const

function hosts(): { left: Namespace; right: Namespace } {
  const [left, right] = createHosts(
    ['10.0.0.1/24', '10.0.0.11/24', 'fd00::1/64', 'fd00::11/64'],
    ['10.0.0.2/24', 'fd00::2/64'],
  )
  return { left, right }
}

/** Receives a group from one source until iperf's last datagram, whose number is negative, and says all numbers. */
const RECEIVER = `
  const numbers = []
  const [address, other] = args.family === 'ipv4' ? ['0.0.0.0:5001', '0.0.0.0:5002'] : ['[::]:5001', '[::]:5002']
  const socket = UdpSocket.open({ address }, {
    datagram({ data, address, destination }) {
      if (data.length !== args.size || address.address !== args.source || destination !== args.group)
        error(new Error('from ' + address.address + ' to ' + destination + ': ' + data.length))
      const number = data.readInt32BE(0)
      numbers.push(number)
      if (number < 0) {
        say(numbers)
        socket.close()
      }
    },
    error,
  })
  socket.join(args.group, { interface: 'veth0', source: args.source })
  say('ready')`

/** Sends datagrams as iperf's client does: number, seconds, microseconds. */
const SENDER = `
  import { setTimeout } from 'node:timers/promises'
  const socket = UdpSocket.open({ address: args.family === 'ipv4' ? '0.0.0.0:0' : '[::]:0' }, { error })
  const to = { family: args.family, address: args.group, port: 5001 }
  for (const source of args.sources) {
    for (let i = 1; i <= args.count + 1; i++) {
      const data = Buffer.alloc(args.size)
      data.writeInt32BE(i <= args.count ? i : -i)
      data.writeUInt32BE(Date.now() / 1000, 4)
      data.writeUInt32BE((Date.now() % 1000) * 1000, 8)
      socket.send(data, to, { source, interface: 'veth0', ttl: 2 })
      if (i % 10 === 0) await setTimeout(1)
    }
  }
  await socket.drain()`

describe('iperf 2', () => {
  beforeEach((test) => skipUnless(test, needProgram('iperf')))

  it.for(FAMILIES)(
    'sends a group to our socket, which receives it from one source: %s',
    async ([name, group, source, other, options]) => {
      const { left, right } = hosts()
      const settings = { family: name.toLowerCase(), group, source, size: SIZE }
      const receiver = await startOurs(right, RECEIVER, settings)
      const send = (from: string) =>
        left.run('iperf', [
          ...['-c', `${group}%veth0`, '-B', from, '-u', '-T', '2', ...options],
          ...['-l', String(SIZE), '-b', '1000pps', '-n', String(SIZE * COUNT)],
        ])
      await send(other)
      await send(source)
      await receiver.finished
      const numbers = Array.from({ length: COUNT }, (_, i) => i + 1)
      expect(valuesOf(receiver.stdout)).toEqual([[...numbers, -COUNT - 1]])
    },
  )

  it.for(FAMILIES)(
    'receives a group from one source, to which our socket sends: %s',
    async ([name, group, source, other, options]) => {
      const { left, right } = hosts()
      // Into a pipe it prints only at its end.
      const server = right.spawn('stdbuf', [
        ...['-oL', 'iperf'],
        ...['-s', '-u', '-e', '-B', `${group}%veth0`, '--ssm-host', source, ...options],
      ])
      await waitForLine(server, /UDP buffer size/)
      const settings = { family: name.toLowerCase(), group, sources: [other, source], count: COUNT, size: SIZE }
      await runOurs(left, SENDER, settings)
      // iperf may or may not count the last datagram.
      expect(await waitForLine(server, / sec .*%/)).toMatch(new RegExp(` 0/(${COUNT}|${COUNT + 1}) \\(0%\\)`))
      expect(server.stdout).toContain(`connected with ${source} port`)
      expect(server.stdout).not.toContain(other)
    },
  )
})

/** A relay at port 5201: TCP, by which iperf3 controls the test, and UDP, with a pair of connected sockets for each peer. */
const RELAY = `
  import { connect, listen, relay } from '@linux-sockets/tcp'
  const stream = { allowHalfOpen: true }
  listen(args.address, { stream }).run(async (client) => relay(client, await connect(args.server, { stream })))
  const pairs = []
  const front = UdpSocket.open({ address: args.address, reusePort: true }, {
    datagram(first) {
      const back = UdpSocket.open({ peer: args.server }, { datagram: ({ data }) => client.send(data), error })
      const client = front.accept(first, { datagram: ({ data }) => back.send(data), error })
      back.send(first.data)
      pairs.push([client, back])
    },
    error,
  })
  say('ready')
  process.stdin.on('end', () => {
    say(pairs.length)
    process.exit()
  }).resume()`

describe('iperf3', () => {
  beforeEach((test) => skipUnless(test, needProgram('iperf3')))

  it.for([
    ['to the server, IPv4', '10.0.0.11:5201', '10.0.0.11', []],
    ['to the client, IPv4', '10.0.0.11:5201', '10.0.0.11', ['--reverse']],
    ['to the server, IPv6', '[fd00::11]:5201', 'fd00::11', []],
  ] as const)('loses no datagram through our relay: %s', async ([, address, host, options]) => {
    const [client, relay, server] = [createNamespace(), createNamespace(), createNamespace()]
    connectNamespaces(
      { namespace: client, addresses: ['10.0.0.9/24', 'fd00::9/64'] },
      { namespace: relay, addresses: ['10.0.0.1/24', '10.0.0.11/24', 'fd00::1/64', 'fd00::11/64'] },
    )
    connectNamespaces(
      { namespace: relay, addresses: ['10.0.1.1/24'] },
      { namespace: server, addresses: ['10.0.1.2/24'] },
      'veth1',
    )
    const iperf = server.spawn('iperf3', ['--server', '--one-off', '--forceflush'])
    await waitForLine(iperf, /Server listening/)
    const relaying = await startOurs(relay, RELAY, { address, server: '10.0.1.2:5201' })
    const report = await client.run('iperf3', [
      ...['--client', host, '--udp', '--json', '--parallel', '3', ...options],
      ...['--length', String(SIZE), '--bitrate', '400K', '--blockcount', String(COUNT)],
    ])
    const { end } = JSON.parse(report)
    expect(end.sum.packets).toBeGreaterThanOrEqual(COUNT)
    expect(end.sum.lost_packets).toBe(0)
    relaying.process.stdin?.end()
    await relaying.finished
    // One pair of sockets for each stream.
    expect(valuesOf(relaying.stdout)).toEqual([3])
  })
})
