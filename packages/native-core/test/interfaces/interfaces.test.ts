import { networkInterfaces } from 'node:os'
import {
  createHosts,
  createNamespace,
  guardDescriptors,
  needFile,
  needNamespaces,
  skipUnless,
} from '@linux-sockets/testkit'
import { describe, expect, expectTypeOf, it } from 'vitest'
import type { InetAddress } from '../../src/index.js'
import {
  IFA_F_NODAD,
  IFA_F_PERMANENT,
  IFF_LOOPBACK,
  IFF_UP,
  interfaces,
  type NetworkInterface,
} from '../../src/interfaces/index.js'

guardDescriptors()

describe('interfaces', () => {
  it('agrees with Node on every address', () => {
    const ours = interfaces().flatMap(({ name, mac, addresses }) =>
      addresses.map(({ address, prefixLength }) => ({ name, mac, cidr: `${address}/${prefixLength}` })),
    )
    const theirs = Object.entries(networkInterfaces()).flatMap(([name, addresses]) =>
      (addresses ?? []).map(({ mac, cidr }) => ({ name, mac, cidr })),
    )
    expect(ours).toEqual(expect.arrayContaining(theirs))
    expect(theirs.length).toBeGreaterThan(0)
  })

  it('returns values of its declared types', () => {
    expectTypeOf(interfaces()).toEqualTypeOf<NetworkInterface[]>()
    expectTypeOf<NetworkInterface['mac']>().toEqualTypeOf<string | undefined>()
    expectTypeOf<NetworkInterface['addresses'][number]['prefixLength']>().toEqualTypeOf<number>()
    expectTypeOf<NetworkInterface['addresses'][number]>().toExtend<InetAddress>()
  })

  it('finds loopback', () => {
    const loopback = interfaces().find(({ flags }) => flags & IFF_LOOPBACK)
    expect(loopback).toMatchObject({ name: 'lo', ifindex: 1, mtu: 65536, mac: '00:00:00:00:00:00' })
    expect((loopback?.flags ?? 0) & IFF_UP).toBe(IFF_UP)
    expect(loopback?.addresses).toContainEqual({
      family: 'ipv4',
      address: '127.0.0.1',
      port: 0,
      prefixLength: 8,
      flags: IFA_F_PERMANENT,
    })
  })

  it('finds everything in a network: labels, broadcast, peers, scopes, interfaces that are down', async (test) => {
    skipUnless(test, needNamespaces(), needFile('/dev/net/tun'))
    const [here] = createHosts(['10.1.2.3/20', 'fe80::5/64', 'fd00::7/56'], [])
    await here.run('ip', ['link', 'set', 'veth0', 'address', '02:00:00:00:00:09', 'mtu', '1280'])
    await here.run('ip', [
      'address',
      'add',
      '10.9.0.1/24',
      'broadcast',
      '10.9.0.255',
      'dev',
      'veth0',
      'label',
      'veth0:1',
    ])
    await here.run('ip', ['link', 'add', 'down0', 'type', 'veth', 'peer', 'name', 'down1'])
    await here.run('ip', ['tuntap', 'add', 'dev', 'tun0', 'mode', 'tun'])
    await here.run('ip', ['address', 'add', '10.8.0.1', 'peer', '10.8.0.2', 'dev', 'tun0'])
    const program =
      "import('@linux-sockets/native-core/interfaces').then(({ interfaces }) => console.log(JSON.stringify(interfaces())))"
    const output = await here.run(process.execPath, ['--eval', program], { cwd: `${import.meta.dirname}/..` })
    const found = new Map((JSON.parse(output) as NetworkInterface[]).map((link) => [link.name, link]))
    expect([...found.keys()]).toEqual(expect.arrayContaining(['lo', 'veth0', 'down0', 'tun0']))
    const { ifindex, mac, mtu, addresses } = found.get('veth0') as NetworkInterface
    expect(mac).toBe('02:00:00:00:00:09')
    expect(mtu).toBe(1280)
    expect(addresses).toEqual(
      expect.arrayContaining([
        { family: 'ipv4', address: '10.1.2.3', port: 0, prefixLength: 20, flags: IFA_F_PERMANENT },
        {
          family: 'ipv4',
          address: '10.9.0.1',
          port: 0,
          prefixLength: 24,
          broadcast: '10.9.0.255',
          flags: IFA_F_PERMANENT,
        },
        {
          family: 'ipv6',
          address: 'fe80::5',
          port: 0,
          prefixLength: 64,
          scope: ifindex,
          flags: IFA_F_PERMANENT | IFA_F_NODAD,
        },
        { family: 'ipv6', address: 'fd00::7', port: 0, prefixLength: 56, flags: IFA_F_PERMANENT | IFA_F_NODAD },
      ]),
    )
    expect(found.get('down0')).toMatchObject({ addresses: [], mac: expect.any(String) })
    expect((found.get('down0')?.flags ?? IFF_UP) & IFF_UP).toBe(0)
    expect(found.get('tun0')?.addresses).toContainEqual({
      family: 'ipv4',
      address: '10.8.0.1',
      port: 0,
      prefixLength: 32,
      flags: IFA_F_PERMANENT,
      peer: '10.8.0.2',
    })
    expect(found.get('tun0')).not.toHaveProperty('mac')
  })
})

it('agrees with ip about more interfaces than fit into one message', async (test) => {
  skipUnless(test, needNamespaces())
  const namespace = createNamespace()
  const steps = Array.from({ length: 60 }, (_, i) => [
    `link add a${i} mtu ${1300 + i} type veth peer name b${i}`,
    `link set a${i} up`,
    ...[1, 2, 3].map((host) => `address add 10.${i}.0.${host}/24 broadcast 10.${i}.0.255 dev a${i}`),
    `address add 2001:db8:${i}::1/64 dev a${i} nodad`,
    `address add 10.255.0.${i} peer 10.254.0.${i} dev b${i}`,
    `address add fe80::${i}/64 dev b${i} nodad`,
  ])
  await namespace.run('ip', ['-batch', '-'], { input: steps.flat().join('\n') })
  const program =
    "import('@linux-sockets/native-core/interfaces').then(({ interfaces }) => console.log(JSON.stringify(interfaces())))"
  const output = await namespace.run(process.execPath, ['--eval', program], { cwd: `${import.meta.dirname}/..` })
  const ours: NetworkInterface[] = JSON.parse(output)
  const theirs: IpLink[] = JSON.parse(await namespace.run('ip', ['-j', 'address']))
  expect(ours.length).toBeGreaterThan(120)
  expect(
    ours.map(({ ifindex, name, mtu, mac, addresses }) => ({
      ifindex,
      name,
      mtu,
      mac,
      addresses: addresses.map((a) => [a.address, a.peer, a.prefixLength, a.broadcast].join(' ')).sort(),
    })),
  ).toEqual(
    theirs.map(({ ifindex, ifname, mtu, address, addr_info }) => ({
      ifindex,
      name: ifname,
      mtu,
      mac: address,
      addresses: addr_info.map((a) => [a.local, a.address, a.prefixlen, a.broadcast].join(' ')).sort(),
    })),
  )
})

/** An interface in the output of `ip -j address`. */
interface IpLink {
  readonly ifindex: number
  readonly ifname: string
  readonly mtu: number
  readonly address: string
  readonly addr_info: readonly { local: string; address?: string; prefixlen: number; broadcast?: string }[]
}
