/** Options that can only be tested in another network: each in a namespace of its own, with programs that import the sources. */
import {
  createHosts,
  createNamespace,
  guardDescriptors,
  needNamespaces,
  needProgram,
  skipUnless,
} from '@linux-sockets/testkit'
import { expect, it } from 'vitest'
import { compileSources, runModule } from '../outside.js'

guardDescriptors()
compileSources()

for (const [family, iptables, address, option, domain] of [
  ['ipv4', 'iptables', '127.0.0.1', 'SO_ORIGINAL_DST', 'AF_INET'],
  ['ipv6', 'ip6tables', '::1', 'IP6T_SO_ORIGINAL_DST', 'AF_INET6'],
] as const) {
  it(`${option}: the destination of a connection before it was redirected`, async (test) => {
    skipUnless(test, needNamespaces(), needProgram(iptables))
    const namespace = createNamespace()
    const redirect = ['-p', 'tcp', '--dport', '81', '-j', 'REDIRECT', '--to-ports', '8081']
    await namespace.run(iptables, ['-t', 'nat', '-A', 'OUTPUT', ...redirect])
    const { stdout, stderr } = await runModule(
      `import { ${domain}, ${option}, SOCK_STREAM, Socket, getOption, readable } from './everything.js'
       const address = { family: '${family}', address: '${address}' }
       const listener = Socket.open(${domain}, SOCK_STREAM)
       listener.bind({ ...address, port: 8081 })
       listener.listen()
       const client = Socket.open(${domain}, SOCK_STREAM)
       client.connect({ ...address, port: 81 })
       await readable(listener)
       console.log(JSON.stringify(getOption(listener.accept(), ${option})))
       process.exit()`,
      { wrapper: ['ip', 'netns', 'exec', namespace.name] },
    )
    expect(stdout, stderr).toBe(`${JSON.stringify({ family, address, port: 81 })}\n`)
  })
}

it('IPV6_JOIN_ANYCAST, IPV6_LEAVE_ANYCAST: join and leave an address', async (test) => {
  skipUnless(test, needNamespaces())
  const [namespace] = createHosts(['fd00::1/64'], [])
  const { stdout, stderr } = await runModule(
    `import { AF_INET6, IPV6_JOIN_ANYCAST, IPV6_LEAVE_ANYCAST, SOCK_DGRAM, Socket, ifindexOf, setOption } from './everything.js'
     import { readFileSync } from 'node:fs'
     const socket = Socket.open(AF_INET6, SOCK_DGRAM)
     const anycast = { address: 'fd00::77', ifindex: ifindexOf('veth0') }
     const taken = () => readFileSync('/proc/net/anycast6', 'utf8').includes('fd000000000000000000000000000077')
     const attempt = (option) => { try { setOption(socket, option, anycast) } catch (error) { return error.code } }
     console.log(taken())
     setOption(socket, IPV6_JOIN_ANYCAST, anycast)
     console.log(taken())
     setOption(socket, IPV6_LEAVE_ANYCAST, anycast)
     console.log(taken(), attempt(IPV6_LEAVE_ANYCAST))
     process.exit()`,
    { wrapper: ['ip', 'netns', 'exec', namespace.name] },
  )
  expect(stdout, stderr).toBe('false\ntrue\nfalse ENOENT\n')
})
