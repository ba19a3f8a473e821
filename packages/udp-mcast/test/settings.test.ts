/** Buffers, drops, broadcast and path MTU discovery. */
import { readFileSync } from 'node:fs'
import { getOption, type InetAddress, Socket } from '@linux-sockets/native-core'
import { AF_INET, AF_INET6, SOCK_DGRAM } from '@linux-sockets/native-core/constants'
import { IP_MTU_DISCOVER, IPV6_MTU_DISCOVER, SO_RCVBUF } from '@linux-sockets/native-core/options'
import {
  connectNamespaces,
  createNamespace,
  expectErrno,
  guardDescriptors,
  needCapability,
  needNamespaces,
  skipUnless,
} from '@linux-sockets/testkit'
import { expect, it } from 'vitest'
import { drops, pathMtu, setPathMtuDiscovery, setReceiveBuffer, setSendBuffer } from '../src/index.js'
import { routedHosts, runOn } from './network.js'

guardDescriptors()

it.each([
  ['receive', setReceiveBuffer, 'net.core.rmem_max'],
  ['send', setSendBuffer, 'net.core.wmem_max'],
] as const)('tells what became of the size of the %s buffer', (_, set, sysctl) => {
  using socket = Socket.open(AF_INET, SOCK_DGRAM)
  const limit = Number(readFileSync(`/proc/sys/${sysctl.replaceAll('.', '/')}`, 'utf8'))
  expect(set(socket, 50_000)).toEqual({ asked: 50_000, given: 50_000, accounted: 100_000 })
  expect(set(socket, limit + 1)).toEqual({ asked: limit + 1, given: limit, accounted: 2 * limit, raise: sysctl })
  expect(set(socket, 1).given).toBeGreaterThan(1)
})

it('goes beyond the limit with force', (test) => {
  skipUnless(test, needCapability('CAP_NET_ADMIN'))
  using socket = Socket.open(AF_INET, SOCK_DGRAM)
  for (const set of [setReceiveBuffer, setSendBuffer]) {
    const most = 0x3fff_ffff
    expect(set(socket, most, { force: true })).toEqual({ asked: most, given: most, accounted: 2 * most })
  }
})

it('counts drops at once', () => {
  using receiver = Socket.open(AF_INET, SOCK_DGRAM)
  using sender = Socket.open(AF_INET, SOCK_DGRAM)
  setReceiveBuffer(receiver, 1)
  receiver.bind({ family: 'ipv4', address: '127.0.0.1', port: 0 })
  expect(drops(receiver)).toBe(0)
  for (let i = 0; i < 100; i++) sender.sendTo(Buffer.alloc(100), receiver.localName)
  const dropped = drops(receiver)
  let kept = 0
  while (receiver.recv(Buffer.alloc(100)) !== null) kept++
  expect(dropped).toBeGreaterThan(50)
  expect(dropped + kept).toBe(100)
  expect(getOption(receiver, SO_RCVBUF)).toBeLessThan(10_000)
})

it('sets the mode of path MTU discovery for both families', () => {
  using v4 = Socket.open(AF_INET, SOCK_DGRAM)
  using v6 = Socket.open(AF_INET6, SOCK_DGRAM)
  for (const [number, mode] of (['dont', 'want', 'do', 'probe', 'interface', 'omit'] as const).entries()) {
    setPathMtuDiscovery(v4, mode)
    setPathMtuDiscovery(v6, mode)
    expect(getOption(v4, IP_MTU_DISCOVER)).toBe(number)
    expect([getOption(v6, IP_MTU_DISCOVER), getOption(v6, IPV6_MTU_DISCOVER)]).toEqual([number, number])
  }
})

it('reads the path MTU of a connected socket', () => {
  const lo = Number(readFileSync('/sys/class/net/lo/mtu', 'utf8'))
  for (const address of ['127.0.0.1', '::1', '::ffff:127.0.0.1']) {
    const family = address.includes(':') ? 'ipv6' : 'ipv4'
    using socket = Socket.open(family === 'ipv6' ? AF_INET6 : AF_INET, SOCK_DGRAM)
    expectErrno(() => pathMtu(socket), 'ENOTCONN')
    socket.connect({ family, address, port: 9 } as InetAddress)
    expect([lo, lo - 1]).toContain(pathMtu(socket))
  }
})

it('learns by IPV6_RECVPATHMTU what is too big for the path, with IPV6_DONTFRAG', async (test) => {
  skipUnless(test, needNamespaces())
  const { left, router } = await routedHosts()
  await router.run('ip', ['link', 'set', 'right', 'mtu', '1300'])
  const report = await runOn(
    left,
    `
    import { readControl, recvMessage, setOption, Socket } from '@linux-sockets/native-core'
    import { AF_INET6, SOCK_DGRAM } from '@linux-sockets/native-core/constants'
    import { IPV6_DONTFRAG, IPV6_RECVPATHMTU } from '@linux-sockets/native-core/options'
    import { CMSG_IPV6_PATHMTU, setPathMtuDiscovery } from '@linux-sockets/udp-mcast'
    const socket = Socket.open(AF_INET6, SOCK_DGRAM)
    setOption(socket, IPV6_DONTFRAG, true)
    setOption(socket, IPV6_RECVPATHMTU, true)
    socket.connect({ family: 'ipv6', address: 'fd70:2::2', port: 9 })
    // The router answers the first one; the path's MTU is then known, and the kernel refuses the next.
    for (let report; report === undefined; ) {
      let message
      try {
        socket.send(Buffer.alloc(1400))
        message = recvMessage(socket, Buffer.alloc(10), { control: 512 })
      } catch ({ code }) {
        if (code !== 'EMSGSIZE') throw new Error(code)
        message = recvMessage(socket, Buffer.alloc(10), { control: 512 })
      }
      report = message?.length === 0 ? readControl(message.control, CMSG_IPV6_PATHMTU) : undefined
      if (report !== undefined) console.log(JSON.stringify(report))
      await new Promise(setImmediate)
    }`,
  )
  expect(report).toMatchObject({ destination: { family: 'ipv6', address: 'fd70:2::2' }, mtu: 1300 })
})

it('broadcasts by interface without a default route, and to the network’s address', async (test) => {
  skipUnless(test, needNamespaces())
  const [host, peer] = [createNamespace(), createNamespace()]
  for (const [i, name] of ['red', 'blue'].entries()) {
    const addresses = (end: number) => [`10.${80 + i}.0.${end}/23`]
    connectNamespaces({ namespace: host, addresses: addresses(1) }, { namespace: peer, addresses: addresses(2) }, name)
  }
  const all = await runOn(
    host,
    `
    import { broadcastAddresses } from '@linux-sockets/udp-mcast'
    const { ifindex } = broadcastAddresses('blue')[0]
    console.log(JSON.stringify([broadcastAddresses(), broadcastAddresses(ifindex), broadcastAddresses('10.80.0.1'),
      broadcastAddresses('lo'), broadcastAddresses('nowhere')].map((list) => list.map(({ name, broadcast }) => [name, broadcast]))))`,
  )
  const [red, blue] = [
    ['red', '10.80.1.255'],
    ['blue', '10.81.1.255'],
  ]
  expect(all).toEqual([[red, blue], [blue], [red], [], []])
  const receiver = runOn(
    peer,
    `
    import { readable, recvMessage, setOption, Socket } from '@linux-sockets/native-core'
    import { AF_INET, SOCK_DGRAM } from '@linux-sockets/native-core/constants'
    import { CMSG_IP_PKTINFO, IP_PKTINFO, ifindexOf, readControl } from '@linux-sockets/udp-mcast'
    const socket = Socket.open(AF_INET, SOCK_DGRAM)
    setOption(socket, IP_PKTINFO, true)
    socket.bind({ family: 'ipv4', address: '0.0.0.0', port: 5100 })
    const names = Object.fromEntries(['red', 'blue'].map((name) => [ifindexOf(name), name]))
    const got = new Set()
    while (got.size < 3) {
      await readable(socket)
      const { control } = recvMessage(socket, Buffer.alloc(10), { control: 64 })
      const { ifindex, addr } = readControl(control, CMSG_IP_PKTINFO)
      got.add(names[ifindex] + ' ' + addr)
    }
    console.log(JSON.stringify([...got].sort()))`,
  )
  const sender = host.spawn(process.execPath, ['--input-type=module', '--eval', BROADCASTER], {
    cwd: new URL('..', import.meta.url).pathname,
  })
  expect(await receiver, sender.stderr).toEqual(['blue 10.81.1.255', 'blue 255.255.255.255', 'red 255.255.255.255'])
  expect(sender.stdout).toContain('without an interface: ENETUNREACH')
})

/** Sends again and again, since it doesn't know when the receiver is ready. */
const BROADCASTER = `
import { sendMessage, setOption, Socket, controlMessage } from '@linux-sockets/native-core'
import { AF_INET, SOCK_DGRAM } from '@linux-sockets/native-core/constants'
import { broadcastAddresses, CMSG_IP_PKTINFO, SO_BROADCAST } from '@linux-sockets/udp-mcast'
const socket = Socket.open(AF_INET, SOCK_DGRAM)
const data = Buffer.from('hello')
setOption(socket, SO_BROADCAST, true)
const limited = { family: 'ipv4', address: '255.255.255.255', port: 5100 }
try { socket.sendTo(data, limited) } catch ({ code }) { console.log('without an interface:', code) }
setInterval(() => {
  for (const { ifindex } of broadcastAddresses()) {
    sendMessage(socket, { data, address: limited, control: [controlMessage(CMSG_IP_PKTINFO, { ifindex, spec_dst: '0.0.0.0' })] })
  }
  socket.sendTo(data, { ...limited, address: broadcastAddresses('blue')[0].broadcast })
}, 20)`
