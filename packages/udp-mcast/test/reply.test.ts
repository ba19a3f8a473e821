/** Answers between hosts that have several addresses and interfaces. */
import { resolve } from 'node:path'
import {
  connectNamespaces,
  createHosts,
  guardDescriptors,
  type Namespace,
  needNamespaces,
  needProgram,
  skipUnless,
  waitForLine,
} from '@linux-sockets/testkit'
import { beforeEach, describe, expect, it } from 'vitest'

guardDescriptors()

const room = resolve(import.meta.dirname, '..')

/** Answers each datagram with where it arrived. */
const SERVER = `
  import { interfaceNameOf, UdpSocket } from '@linux-sockets/udp-mcast'
  const [address, v6only, group, ...interfaces] = process.argv.slice(1)
  const socket = UdpSocket.open({ address, v6only: v6only === 'true', receive: { arrival: true } }, {
    datagram(datagram) {
      const { ifindex, destination } = datagram
      socket.reply(datagram, Buffer.from(interfaceNameOf(ifindex) + ' ' + destination))
    },
    error: (error) => console.log(error.message),
  })
  for (const name of interfaces) socket.join(group, { interface: name })
  console.log('ready')`

/** Sends to each destination in turn, and prints the source of the answer and what it says. */
const CLIENT = `
import socket, sys
for to in sys.argv[2:]:
    s = socket.socket(socket.AF_INET6 if ':' in to else socket.AF_INET, socket.SOCK_DGRAM)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    s.settimeout(60)
    if sys.argv[1]: s.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, sys.argv[1].encode())
    s.sendto(b'who', socket.getaddrinfo(to, 5000, type=socket.SOCK_DGRAM)[0][4])
    data, sender = s.recvfrom(100)
    print(to, 'from', sender[0].split('%')[0], 'at', data.decode())
    s.close()`

async function serve(namespace: Namespace, ...args: string[]): Promise<void> {
  const server = namespace.spawn(process.execPath, ['--input-type=module', '--eval', SERVER, ...args], { cwd: room })
  await waitForLine(server, /^ready$/)
}

function hosts() {
  const [client, server] = createHosts(
    ['10.0.0.9/24', 'fd00::9/64'],
    ['10.0.0.1/24', '10.0.0.2/24', 'fd00::1/64', 'fd00::2/64'],
  )
  connectNamespaces(
    { namespace: client, addresses: ['10.0.1.9/24', 'fd01::9/64'] },
    { namespace: server, addresses: ['10.0.1.1/24', '10.0.1.2/24', 'fd01::1/64'] },
    'veth1',
  )
  return { client, server }
}

const ask = (client: Namespace, device: string, ...to: string[]) =>
  client.run('python3', ['-c', CLIENT, device, ...to]).then((output) => output.trim().split('\n'))

describe('answers', () => {
  beforeEach((test) => skipUnless(test, needNamespaces(), needProgram('python3')))

  it.each([
    ['an IPv4 socket', '0.0.0.0:5000', 'true', ''],
    ['a dual-stack socket', '[::]:5000', 'false', '::ffff:'],
  ])('leave %s by the address that was asked', async (_name, address, v6only, mapped) => {
    const { client, server } = hosts()
    await serve(server, address, v6only, '239.5.5.5', ...(v6only === 'true' ? ['veth0', 'veth1'] : []))
    const destinations = ['10.0.0.1', '10.0.0.2', '10.0.1.2', '10.0.0.255', '10.0.1.255']
    expect(await ask(client, '', ...destinations)).toEqual([
      `10.0.0.1 from 10.0.0.1 at veth0 ${mapped}10.0.0.1`,
      `10.0.0.2 from 10.0.0.2 at veth0 ${mapped}10.0.0.2`,
      `10.0.1.2 from 10.0.1.2 at veth1 ${mapped}10.0.1.2`,
      `10.0.0.255 from 10.0.0.1 at veth0 ${mapped}10.0.0.255`,
      `10.0.1.255 from 10.0.1.1 at veth1 ${mapped}10.0.1.255`,
    ])
    expect(await ask(client, 'veth1', '255.255.255.255')).toEqual([
      `255.255.255.255 from 10.0.1.1 at veth1 ${mapped}255.255.255.255`,
    ])
    if (v6only === 'true') {
      expect(await ask(client, 'veth1', '239.5.5.5')).toEqual(['239.5.5.5 from 10.0.1.1 at veth1 239.5.5.5'])
    }
  })

  it('leave an IPv6 socket by the address that was asked, link-local and multicast included', async () => {
    const { client, server } = hosts()
    await serve(server, '[::]:5000', 'true', 'ff02::5:5', 'veth0', 'veth1')
    expect(await ask(client, '', 'fd00::1', 'fd00::2', 'fd01::1')).toEqual([
      'fd00::1 from fd00::1 at veth0 fd00::1',
      'fd00::2 from fd00::2 at veth0 fd00::2',
      'fd01::1 from fd01::1 at veth1 fd01::1',
    ])
    for (const name of ['veth0', 'veth1']) {
      const local = await linkLocal(server, name)
      expect(await ask(client, '', `${local}%${name}`)).toEqual([`${local}%${name} from ${local} at ${name} ${local}`])
      // From one of the interface's addresses, which the kernel chooses.
      const prefix = name === 'veth0' ? 'fd00' : 'fd01'
      const [line] = await ask(client, '', `ff02::5:5%${name}`)
      expect(line).toMatch(new RegExp(`^ff02::5:5%${name} from (${local}|${prefix}::[12]) at ${name} ff02::5:5$`))
    }
  })
})

/** The link-local address of an interface, once no other host has claimed it. */
async function linkLocal(namespace: Namespace, name: string): Promise<string> {
  const show = () => namespace.run('ip', ['-6', '-oneline', 'address', 'show', 'dev', name, 'scope', 'link'])
  await expect.poll(show).toMatch(/fe80(?!.*tentative)/)
  return /(fe80\S+)\//.exec(await show())?.[1] as string
}
