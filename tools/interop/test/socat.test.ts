import { IPPROTO_UDPLITE } from '@linux-sockets/native-core/constants'
import {
  createHosts,
  guardDescriptors,
  type Namespace,
  needNamespaces,
  needProgram,
  needUdpLite,
  type Program,
  skipUnless,
  waitForLine,
} from '@linux-sockets/testkit'
import { beforeEach, expect, it } from 'vitest'
import { askBySocat } from '../src/daemon.js'
import { runOurs, startOurs, valuesOf } from '../src/host.js'

guardDescriptors()

beforeEach((test) => skipUnless(test, needNamespaces(), needProgram('socat')))

function hosts(): { ours: Namespace; theirs: Namespace } {
  const [ours, theirs] = createHosts(['10.0.0.1/24', 'fd00::1/64'], ['10.0.0.2/24', 'fd00::2/64'])
  return { ours, theirs }
}

/** Starts socat, which copies from one address to the other, and waits until its socket is bound. */
async function startSocat(host: Namespace, from: string, to: string): Promise<Program> {
  const socat = host.spawn('socat', ['-d', '-d', '-b', '70000', ...(to === 'STDOUT' ? ['-u'] : []), from, to])
  await waitForLine(socat, /receiving on|starting data transfer/)
  return socat
}

const FAMILIES = [
  ['IPv4', '4', '0.0.0.0', '10.0.0.1', '10.0.0.2'],
  ['IPv6', '6', '[::]', '[fd00::1]', '[fd00::2]'],
] as const

/** Sends datagrams of all sizes to an echo server, one after the other, and compares what returns. */
const ASK = `
  import { randomBytes } from 'node:crypto'
  const socket = UdpSocket.open({ ...args.options, peer: args.peer, receive: { size: 70_000 } }, { error })
  const answers = socket[Symbol.asyncIterator]()
  for (const size of args.sizes) {
    const data = randomBytes(size)
    socket.send(data)
    const answer = await answers.next()
    say([size, data.equals(answer.value.data)])
  }
  socket.close()`

const SIZES = [1, 100, 1472, 1473, 9000, 65_000]

it.for(FAMILIES)('sends back what our socket sends: %s', async ([, family, , , peer]) => {
  const { ours, theirs } = hosts()
  await startSocat(theirs, `UDP${family}-RECVFROM:6000,fork`, 'EXEC:cat')
  expect(await runOurs(ours, ASK, { peer: `${peer}:6000`, sizes: SIZES })).toEqual(SIZES.map((size) => [size, true]))
})

/** Says of each datagram its length and where it arrived, also to its sender if it `answers`. */
const SERVER = `
  const { address, groups = [], answers = false } = args
  const socket = UdpSocket.open({ address, receive: { arrival: true, size: 70_000 } }, {
    datagram(datagram) {
      const { length, destination, ifindex } = datagram
      const said = [length, destination, interfaceNameOf(ifindex)]
      say(said)
      if (answers) socket.reply(datagram, Buffer.from(JSON.stringify(said) + '\\n'))
    },
    error,
  })
  for (const group of groups) socket.join(group, { interface: 'veth0' })
  say('ready')`

it.for(FAMILIES)('sends to our socket, and takes its answers: %s', async ([, family, any, peer]) => {
  const { ours, theirs } = hosts()
  await startOurs(ours, SERVER, { address: `${any}:5000`, answers: true })
  for (const size of SIZES) {
    const answer = await askBySocat(theirs, `UDP${family}-CONNECT:${peer}:5000`, 'x'.repeat(size))
    const [length, destination, name] = JSON.parse(answer)
    // A pipe may give socat a large text in parts, of which each becomes a datagram.
    if (size < 4096) expect(length).toBe(size)
    expect([destination, name]).toEqual([peer.replaceAll(/[[\]]/g, ''), 'veth0'])
  }
})

const SEND = `
  const socket = UdpSocket.open(args.options, { error })
  for (const [text, to, options] of args.sends) socket.send(Buffer.from(text + '\\n'), to, options)
  await socket.drain()`

it.for([
  ['IPv4', 'UDP4-RECV:6000,ip-add-membership=239.5.5.5:veth0', '0.0.0.0:0', '239.5.5.5:6000', '10.0.0.2:6000'],
  ['IPv6', 'UDP6-RECV:6000,ipv6-join-group=[ff02::5:5]:veth0', '[::]:0', '[ff02::5:5]:6000', '[fd00::2]:6000'],
] as const)('receives a group to which our socket sends: %s', async ([, from, address, group, unicast]) => {
  const { ours, theirs } = hosts()
  const socat = await startSocat(theirs, from, 'STDOUT')
  const sends = [
    ['first', group, { interface: 'veth0' }],
    ['lost', anotherGroup(group), { interface: 'veth0' }],
    ['second', group, { interface: 'veth0', ttl: 9 }],
    ['end', unicast],
  ]
  await runOurs(ours, SEND, { options: { address }, sends })
  await waitForLine(socat, /^end$/)
  expect(socat.stdout).toBe('first\nsecond\nend\n')
})

it.for([
  [
    'IPv4',
    '0.0.0.0:5000',
    '239.5.5.5',
    'UDP4-DATAGRAM:239.5.5.5:5000,ip-multicast-if=10.0.0.2',
    'UDP4-SENDTO:10.0.0.1:5000',
  ],
  [
    'IPv6',
    '[::]:5000',
    'ff02::5:5',
    'UDP6-DATAGRAM:[ff02::5:5]:5000,so-bindtodevice=veth0',
    'UDP6-SENDTO:[fd00::1]:5000',
  ],
] as const)('sends to a group that our socket has joined: %s', async ([, address, group, to, unicast]) => {
  const { ours, theirs } = hosts()
  const server = await startOurs(ours, SERVER, { address, groups: [group] })
  await theirs.run('socat', ['-u', 'STDIN', to], { input: '12345' })
  await theirs.run('socat', ['-u', 'STDIN', anotherGroup(to)], { input: 'lost' })
  await theirs.run('socat', ['-u', 'STDIN', unicast], { input: 'end' })
  const host = /:\[?(.*?)\]?:5000/.exec(unicast)?.[1]
  const expected = [
    [5, group, 'veth0'],
    [3, host, 'veth0'],
  ]
  await expect.poll(() => valuesOf(server.stdout)).toEqual(expected)
})

it('receives and sends broadcast', async () => {
  const { ours, theirs } = hosts()
  const socat = await startSocat(theirs, 'UDP4-RECV:6000', 'STDOUT')
  const options = { address: '0.0.0.0:0', broadcast: true }
  const sends = [
    ['network', '10.0.0.255:6000'],
    ['limited', '255.255.255.255:6000', { interface: 'veth0' }],
  ]
  await runOurs(ours, SEND, { options, sends })
  await waitForLine(socat, /^limited$/)
  expect(socat.stdout).toBe('network\nlimited\n')
  const server = await startOurs(ours, SERVER, { address: '0.0.0.0:5000' })
  await theirs.run('socat', ['-u', 'STDIN', 'UDP4-DATAGRAM:10.0.0.255:5000,broadcast'], { input: '1234' })
  await expect.poll(() => valuesOf(server.stdout)).toEqual([[4, '10.0.0.255', 'veth0']])
})

it.for(FAMILIES)('speaks UDP-Lite: %s', async ([, family, , , peer], test) => {
  skipUnless(test, needUdpLite())
  const { ours, theirs } = hosts()
  await startSocat(theirs, `UDP${family}-RECVFROM:6000,prototype=${IPPROTO_UDPLITE},fork`, 'EXEC:cat')
  const asked = { peer: `${peer}:6000`, options: { protocol: IPPROTO_UDPLITE }, sizes: SIZES }
  expect(await runOurs(ours, ASK, asked)).toEqual(SIZES.map((size) => [size, true]))
})

function anotherGroup(text: string): string {
  return text.replace('239.5.5.5', '239.5.5.6').replace('ff02::5:5', 'ff02::5:6')
}
