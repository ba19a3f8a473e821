/** What our sockets put on the wire, as tcpdump sees it at the other end. */
import {
  connectNamespaces,
  createHosts,
  createNamespace,
  guardDescriptors,
  type Namespace,
  needNamespaces,
  needProgram,
  skipUnless,
} from '@linux-sockets/testkit'
import { beforeEach, describe, expect, it } from 'vitest'
import { capture, type Packet } from '../src/capture.js'
import { askBySocat } from '../src/daemon.js'
import { linkLocal, runOurs, startOurs, trustAddresses, valuesOf } from '../src/host.js'

guardDescriptors()

beforeEach((test) => skipUnless(test, needNamespaces(), needProgram('tcpdump'), needProgram('socat')))

/** Receives on port 6000, and says of each datagram what it knows. */
const RECEIVER = `
  const socket = UdpSocket.open({ address: '[::]:6000', v6only: false, receive: { ttl: true, tos: true } }, {
    datagram: ({ length, ttl, tos, ecn, address }) => say({ length, ttl, tos, ecn, from: address.address }),
    error,
  })
  say('ready')`

/** Sends each of `args.sends` to port 6000, then one to port 6001 at the same address. */
const SENDER = `
  import { setPathMtuDiscovery } from '@linux-sockets/udp-mcast'
  const socket = UdpSocket.open({ address: args.address, v6only: false }, { error: ({ code }) => say(code) })
  if (args.mode) setPathMtuDiscovery(socket, args.mode)
  for (const [to, length, options] of args.sends) {
    await socket.sendAsync(Buffer.alloc(length), to + ':6000', options).catch(({ code }) => say(code))
  }
  for (const [to, length, options] of args.segmented ?? []) socket.send(Buffer.alloc(length), to + ':6000', options)
  await socket.flush()
  say(socket.statistics.segmented)
  socket.send(Buffer.alloc(1), args.sends[0][0] + ':6001')
  await socket.drain()`

function pair(): { left: Namespace; right: Namespace } {
  const [left, right] = createHosts(
    ['10.0.0.1/24', '10.0.0.11/24', 'fd00::1/64', 'fd00::11/64'],
    ['10.0.0.2/24', 'fd00::2/64'],
  )
  return { left, right }
}

describe('on the wire', () => {
  it.for([
    ['IPv4', '0.0.0.0:5000', '10.0.0.2', '10.0.0.1', '10.0.0.11', '::ffff:'],
    ['IPv6', '[::]:5000', '[fd00::2]', 'fd00::1', 'fd00::11', ''],
    ['IPv4 of a dual-stack socket', '[::]:5000', '[::ffff:10.0.0.2]', '10.0.0.1', '10.0.0.11', '::ffff:'],
  ] as const)('%s has the options of each send', async ([, address, to, own, other, mapped]) => {
    const { left, right } = pair()
    const receiver = await startOurs(right, RECEIVER)
    const dump = await capture(right, 'veth0', 'udp')
    const sends = [
      [to, 0, { source: own }],
      [to, 101, { source: own, ttl: 42 }],
      [to, 102, { source: own, tos: 0xb8 }],
      [to, 103, { source: own, tos: 0xb8, ecn: 'ect1' }],
      [to, 104, { source: own, ecn: 'ce', ttl: 255 }],
      [to, 105, { source: other, ttl: 1, tos: 4, ecn: 'ect0' }],
    ]
    await runOurs(left, SENDER, { address, sends })
    const expected = [
      [0, 64, 0, own],
      [101, 42, 0, own],
      [102, 64, 0xb8, own],
      [103, 64, 0xb9, own],
      [104, 255, 3, own],
      [105, 1, 6, other],
    ] as const
    const seen = await dump.until(6001)
    expect(seen).toMatchObject(
      expected.map(([length, ttl, tos, from]) => ({ length, ttl, tos, from: `${from}.5000`, fragment: false })),
    )
    const ecn = ['not-ect', 'ect1', 'ect0', 'ce']
    await expect
      .poll(() => valuesOf(receiver.stdout))
      .toEqual(
        expected.map(([length, ttl, tos, from]) => ({ length, ttl, tos, ecn: ecn[tos & 3], from: mapped + from })),
      )
  })

  it.for([
    ['IPv4', '0.0.0.0:5000', '10.0.0.2'],
    ['IPv6', '[::]:5000', '[fd00::2]'],
    ['IPv4 of a dual-stack socket', '[::]:5000', '[::ffff:10.0.0.2]'],
  ] as const)('%s segments are datagrams of their own', async ([, address, to]) => {
    const { left, right } = pair()
    // The veth passes segments on in one piece, as a network card would get them; now the kernel cuts them before.
    await left.run('ip', ['link', 'set', 'veth0', 'gso_max_segs', '1'])
    const receiver = await startOurs(right, RECEIVER)
    const dump = await capture(right, 'veth0', 'udp')
    const segmented = [
      [to, 1050, { segmentSize: 100, ttl: 7, tos: 0x20 }],
      [to, 66_500, { segmentSize: 1000 }],
    ]
    const said = await runOurs(left, SENDER, { address, sends: [[to, 1]], segmented })
    expect(said).toEqual([11 + 67])
    const lengths = [1, ...Array(10).fill(100), 50, ...Array(66).fill(1000), 500]
    const seen = await dump.until(6001)
    expect(seen.map(({ length }) => length)).toEqual(lengths)
    expect(seen.slice(1, 12).every(({ ttl, tos }) => ttl === 7 && tos === 0x20)).toBe(true)
    const received = () => valuesOf<{ length: number }>(receiver.stdout).map(({ length }) => length)
    await expect.poll(received).toEqual(lengths)
  })

  it.for([
    ['IPv4', '0.0.0.0:5000', '10.0.0.2', true],
    ['IPv4 of a dual-stack socket', '[::]:5000', '[::ffff:10.0.0.2]', true],
    ['IPv6', '[::]:5000', '[fd00::2]', false],
  ] as const)('%s fragments only what may be fragmented', async ([, address, to, isIpv4]) => {
    const { left, right } = pair()
    const receiver = await startOurs(right, RECEIVER)
    const dump = await capture(right, 'veth0', 'udp')
    const sends = [
      [to, 100],
      [to, 2000],
    ]
    expect(await runOurs(left, SENDER, { address, sends, mode: 'do' })).toEqual(['EMSGSIZE', 0])
    expect((await dump.until(6001)).map(({ length, df }) => [length, df])).toEqual([[100, isIpv4]])
    const again = await capture(right, 'veth0', 'udp')
    expect(await runOurs(left, SENDER, { address, sends, mode: 'dont' })).toEqual([0])
    const fragments = (seen: Packet[]) => seen.map(({ fragment, df }) => [fragment, df])
    expect(fragments(await again.until(6001))).toEqual([
      [false, false],
      [true, false],
      [true, false],
    ])
    const received = () => valuesOf<{ length: number }>(receiver.stdout).map(({ length }) => length)
    await expect.poll(received).toEqual([100, 100, 2000])
  })

  it('dontFragment is for one datagram', async () => {
    const { left, right } = pair()
    await startOurs(right, RECEIVER)
    const dump = await capture(right, 'veth0', 'udp')
    const sends = [
      ['[fd00::2]', 1400, { dontFragment: true }],
      ['[fd00::2]', 2000, { dontFragment: true }],
      ['[fd00::2]', 2001, { dontFragment: false }],
    ]
    expect(await runOurs(left, SENDER, { address: '[::]:5000', sends })).toEqual(['EMSGSIZE', 0])
    const seen = await dump.until(6001)
    expect(seen.map(({ fragment }) => fragment)).toEqual([false, true, true])
    expect(seen[0]?.length).toBe(1400)
  })
})

/** Answers each datagram with where it arrived. */
const SERVER = `
  const socket = UdpSocket.open({ address: args.address, v6only: args.v6only }, {
    datagram(datagram) {
      socket.reply(datagram, Buffer.from(interfaceNameOf(datagram.ifindex) + ' ' + datagram.destination + '\\n'))
    },
    error,
  })
  for (const group of args.groups) for (const name of ['veth0', 'veth1']) socket.join(group, { interface: name })
  say('ready')`

/** A client and a server with two links between them, and two addresses of each family at the server's end of each link. */
async function multihomed(): Promise<{ client: Namespace; server: Namespace }> {
  const [client, server] = [createNamespace(), createNamespace()]
  for (const host of [client, server]) await trustAddresses(host)
  for (const i of [0, 1]) {
    connectNamespaces(
      { namespace: client, addresses: [`10.0.${i}.9/24`, `fd0${i}::9/64`] },
      { namespace: server, addresses: [1, 2].flatMap((host) => [`10.0.${i}.${host}/24`, `fd0${i}::${host}/64`]) },
      `veth${i}`,
    )
  }
  return { client, server }
}

describe('an answer', () => {
  it.for([
    ['an IPv4 socket', { address: '0.0.0.0:5000', v6only: true, groups: ['239.5.5.5'] }],
    ['a dual-stack socket', { address: '[::]:5000', v6only: false, groups: ['ff02::5:5'] }],
  ] as const)('leaves %s by the address and the interface that were asked', async ([, args]) => {
    const { client, server } = await multihomed()
    await startOurs(server, SERVER, args)
    const dump = await capture(client, 'any', 'udp src port 5000 or udp dst port 6001')
    const mapped = args.v6only ? '' : '::ffff:'
    const expected: { name: string; from: string | RegExp }[] = []
    const ask = async (name: string, from: string | RegExp, arrived: string, address: string) => {
      expect(await askBySocat(client, address, 'who?\n')).toBe(`${name} ${arrived}`)
      expected.push({ name, from: typeof from === 'string' ? `${from}.5000` : from })
    }
    for (const [i, name] of ['veth0', 'veth1'].entries()) {
      for (const to of [`10.0.${i}.1`, `10.0.${i}.2`]) {
        await ask(name, to, mapped + to, `UDP4-CONNECT:${to}:5000`)
      }
      for (const to of [`10.0.${i}.255`, '255.255.255.255']) {
        const options = `broadcast,so-bindtodevice=${name}`
        await ask(name, `10.0.${i}.1`, mapped + to, `UDP4-DATAGRAM:${to}:5000,${options}`)
      }
      if (args.v6only) {
        const options = `ip-multicast-if=10.0.${i}.9`
        await ask(name, `10.0.${i}.1`, '239.5.5.5', `UDP4-DATAGRAM:239.5.5.5:5000,${options}`)
        continue
      }
      const local = await linkLocal(server, name)
      for (const to of [`fd0${i}::1`, `fd0${i}::2`]) await ask(name, to, to, `UDP6-CONNECT:[${to}]:5000`)
      const options = `so-bindtodevice=${name}`
      await ask(name, local, local, `UDP6-CONNECT:[${local}]:5000,${options}`)
      // From one of the interface's addresses, which the kernel chooses.
      const any = new RegExp(`^(${local}|fd0${i}::[12])\\.5000$`)
      await ask(name, any, 'ff02::5:5', `UDP6-DATAGRAM:[ff02::5:5]:5000,${options}`)
    }
    await client.run('socat', ['-u', 'STDIN', 'UDP4-SENDTO:10.0.0.1:6001'], { input: 'end' })
    const seen = await dump.until(6001)
    expect(seen).toMatchObject(
      expected.map(({ name, from }) => ({
        name,
        direction: 'In',
        from: typeof from === 'string' ? from : expect.stringMatching(from),
      })),
    )
  })
})
