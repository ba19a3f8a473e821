import {
  connectNamespaces,
  createNamespace,
  guardDescriptors,
  needNamespaces,
  skipUnless,
} from '@linux-sockets/testkit'
import { beforeEach, expect, it } from 'vitest'
import { needDaemon, startAvahi } from '../src/daemon.js'
import { QUESTION, runOurs, trustAddresses } from '../src/host.js'

guardDescriptors()

beforeEach((test) => skipUnless(test, needNamespaces(), needDaemon('avahi-daemon')))

/** A question for the services of the type `_interop._udp`. */
const QUERY = `
  ${QUESTION}
  const query = (id) => question(id, 0, '_interop._udp.local', 12)
  const isAnswer = (data) => (data[2] & 0x80) !== 0 && data.readUInt16BE(6) > 0
  const serviceIn = (data) => /interop-[a-z]/.exec(data.toString('latin1'))?.[0]
`

/** Asks on all interfaces by both families, until each service of `args.services` has answered by both. */
const BROWSE = `
  import { AllInterfaces } from '@linux-sockets/udp-mcast'
  ${QUERY}
  const groups = { ipv4: '224.0.0.251', ipv6: 'ff02::fb' }
  const seen = new Map()
  const ends = []
  for (const family of ['ipv4', 'ipv6']) {
    const address = family === 'ipv4' ? '0.0.0.0:5353' : '[::]:5353'
    const socket = UdpSocket.open({ address, reuseAddress: true, receive: { arrival: true, ttl: true } }, {
      datagram({ data, ifindex, destination, ttl, address }) {
        const service = isAnswer(data) && serviceIn(data)
        if (!service) return
        const [name, port] = [interfaceNameOf(ifindex), address.port]
        const scope = address.scope ? interfaceNameOf(address.scope) : null
        seen.set(service + family, { service, family, name, destination, ttl, port, scope })
        if (seen.size === args.services * 2) for (const end of ends) end()
      },
      error,
    })
    const everywhere = new AllInterfaces(socket, { error })
    everywhere.join(groups[family])
    const ask = () => everywhere.send(query(0), { family, address: groups[family], port: 5353 }, { ttl: 255 })
    const timer = setInterval(ask, 200)
    ends.push(() => {
      clearInterval(timer)
      everywhere.close()
      socket.close()
    })
  }
  process.on('exit', () => say([...seen.values()]))`

it('answers a query on all interfaces, each by its own', async () => {
  const [ours, ...others] = [createNamespace(), createNamespace(), createNamespace()]
  await Promise.all(
    others.map(async (other, i) => {
      await trustAddresses(other)
      connectNamespaces(
        { namespace: ours, addresses: [`10.0.${i}.1/24`] },
        { namespace: other, addresses: [`10.0.${i}.2/24`] },
        `veth${i}`,
      )
      await startAvahi(other, `interop-${'ab'[i]}`, `veth${i}`)
    }),
  )
  const [seen] = await runOurs<object[]>(ours, BROWSE, { services: 2 })
  expect(seen).toHaveLength(4)
  const about = { ttl: 255, port: 5353 }
  for (const [service, name] of [
    ['interop-a', 'veth0'],
    ['interop-b', 'veth1'],
  ]) {
    expect(seen).toContainEqual({ service, family: 'ipv4', name, destination: '224.0.0.251', scope: null, ...about })
    expect(seen).toContainEqual({ service, family: 'ipv6', name, destination: 'ff02::fb', scope: name, ...about })
  }
})

/** Asks the group from a port of its own, and ends with the first answer. */
const ASK_ONCE = `
  ${QUERY}
  const socket = UdpSocket.open({ address: args.address, receive: { arrival: true, ttl: true } }, {
    datagram({ data, destination, ttl, address }) {
      if (!isAnswer(data) || timer === undefined) return
      clearInterval(timer)
      timer = undefined
      say({ id: data.readUInt16BE(0), service: serviceIn(data), ttl, port: address.port, destination })
      socket.close()
    },
    error,
  })
  const ask = () => socket.send(query(0x1234), args.group + ':5353', { interface: 'veth0', ttl: 255 })
  let timer = setInterval(ask, 500)
  ask()`

it.for([
  ['IPv4', '0.0.0.0:0', '224.0.0.251', /^10\.0\.0\.1$/],
  ['IPv6', '[::]:0', '[ff02::fb]', /^(fd00::1|fe80:)/],
] as const)('answers a legacy query of %s by unicast', async ([, address, group, own]) => {
  const [ours, other] = [createNamespace(), createNamespace()]
  for (const host of [ours, other]) await trustAddresses(host)
  connectNamespaces(
    { namespace: ours, addresses: ['10.0.0.1/24', 'fd00::1/64'] },
    { namespace: other, addresses: ['10.0.0.2/24', 'fd00::2/64'] },
  )
  await startAvahi(other, 'interop-a', 'veth0')
  expect(await runOurs(ours, ASK_ONCE, { address, group })).toEqual([
    { id: 0x1234, service: 'interop-a', ttl: 255, port: 5353, destination: expect.stringMatching(own) },
  ])
})
