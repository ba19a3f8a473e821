import { existsSync, readFileSync } from 'node:fs'
import { getOption, readable, Socket } from '@linux-sockets/native-core'
import { AF_INET, IPPROTO_MPTCP, IPPROTO_TCP, SOCK_STREAM } from '@linux-sockets/native-core/constants'
import {
  createNamespace,
  expectErrno,
  expectHeaderNumbers,
  guardDescriptors,
  type Need,
  needCompiler,
  needLinux,
  needNamespaces,
  numbersOf,
  rowsOf,
  skipUnless,
} from '@linux-sockets/testkit'
import { expect, it } from 'vitest'
import * as mptcp from '../src/mptcp.js'
import { MPTCP_INFO, MPTCP_INFO_FLAG_REMOTE_KEY_RECEIVED, subflowAddresses, subflowInfo } from '../src/mptcp.js'
import { connectedPair, runInNamespace } from './loopback.js'

guardDescriptors()

it('reports on an MPTCP connection and its subflow', async (test) => {
  skipUnless(test, needMptcp())
  const { connected, accepted } = await connectedPair(undefined, undefined, [IPPROTO_MPTCP, IPPROTO_MPTCP])
  connected.send(Buffer.from('hello'))
  await readable(accepted)
  accepted.recv(Buffer.alloc(10))
  accepted.send(Buffer.from('hi'))
  await readable(connected)

  const [info, peer] = [getOption(connected, MPTCP_INFO), getOption(accepted, MPTCP_INFO)]
  expect(info.flags).toBe(MPTCP_INFO_FLAG_REMOTE_KEY_RECEIVED)
  expect(info).toMatchObject({ subflows: 0, csum_enabled: false })
  expect(info.token).not.toBe(0)
  expect(peer.rcv_nxt).toBe(info.write_seq)
  expect(info.snd_una).toBe(info.write_seq)

  expect(subflowAddresses(connected)).toEqual([{ local: connected.localName, remote: connected.peerName }])
  expect(subflowAddresses(accepted)).toEqual([{ local: accepted.localName, remote: accepted.peerName }])
  expect(subflowInfo(connected)).toMatchObject([{ state: 'ESTABLISHED', bytes_sent: 5, bytes_received: 2 }])

  skipUnless(test, needLinux('6.10'))
  expect(info).toMatchObject({
    bytes_sent: 5,
    bytes_acked: 5,
    bytes_received: 2,
    retransmits: 0,
    bytes_retrans: 0,
    subflows_total: 1,
  })
  expect(info.last_data_sent).toBeLessThan(60_000)
})

it('reports on several subflows', async (test) => {
  skipUnless(test, needMptcp(), needNamespaces())
  const namespace = createNamespace()
  await namespace.run('ip', ['address', 'add', '10.0.0.1/24', 'dev', 'lo'])
  await namespace.run('ip', ['mptcp', 'limits', 'set', 'subflows', '2'])
  await namespace.run('ip', ['mptcp', 'endpoint', 'add', '10.0.0.1', 'dev', 'lo', 'subflow'])
  const { addresses, states, total = 2 } = await runInNamespace<Subflows>(namespace, twoSubflows)
  expect(addresses).toEqual(['127.0.0.1', '10.0.0.1'])
  expect(states).toEqual(['ESTABLISHED', 'ESTABLISHED'])
  expect(total).toBe(2) // left out before Linux 6.8
})

it('refuses a connection that is not of MPTCP, or has fallen back to TCP', async (test) => {
  skipUnless(test, needMptcp())
  const { connected } = await connectedPair(undefined, undefined, [IPPROTO_TCP, IPPROTO_MPTCP])
  using tcp = Socket.open(AF_INET, SOCK_STREAM)
  for (const read of [subflowInfo, subflowAddresses, (socket: Socket) => getOption(socket, MPTCP_INFO)]) {
    expectErrno(() => read(tcp), 'ENOTSUP')
    expectErrno(() => read(connected), 'ENOTSUP')
  }
})

it.each([
  [48, 'csum_enabled', 'retransmits'],
  [80, 'bytes_acked', 'subflows_total'],
  [84, 'endp_fullmesh_max', 'last_data_sent'],
] as const)('decodes the %i bytes of an older kernel', (length, last, next) => {
  const view = new DataView(new Uint8Array(MPTCP_INFO.size).fill(1).buffer)
  const decoded = MPTCP_INFO.decode(view, length)
  expect(decoded[last]).toBeTruthy()
  expect(decoded[next]).toBeUndefined()
})

it('has the numbers of <linux/mptcp.h>', (test) => {
  skipUnless(test, needCompiler())
  const options = rowsOf(mptcp).map(({ name, option }) => [name, option] as const)
  const numbers = numbersOf(mptcp, /^MPTCP_/)
  const offsets = [
    ['flags', 8],
    ['token', 12],
    ['write_seq', 16],
    ['snd_una', 24],
    ['rcv_nxt', 32],
    ['local_addr_used', 40],
    ['csum_enabled', 42],
  ].map(([field, at]) => [`offsetof(struct mptcp_info, mptcpi_${field})`, at] as [string, number])
  const sizes = [
    ['sizeof(struct mptcp_subflow_data)', 16],
    ['sizeof(struct mptcp_subflow_addrs)', 256],
  ] as const
  expect(expectHeaderNumbers(['linux/mptcp.h'], [...options, ...numbers, ...offsets, ...sizes])).toEqual([])
})

interface Subflows {
  readonly addresses: string[]
  readonly states: string[]
  readonly total?: number
}

const twoSubflows = `
  import { setTimeout } from 'node:timers/promises'
  import { getOption } from '@linux-sockets/native-core'
  import { IPPROTO_MPTCP } from '@linux-sockets/native-core/constants'
  import { connect, listen, MPTCP_INFO, subflowAddresses, subflowInfo } from '@linux-sockets/tcp'
  const server = listen({ family: 'ipv4', address: '127.0.0.1', port: 0 }, { protocol: IPPROTO_MPTCP })
  server.run((stream) => stream.pipe(stream))
  const stream = await connect(server.address, { protocol: IPPROTO_MPTCP })
  stream.resume().write('the first data confirm MPTCP')
  // The kernel creates the second one by itself, and reports it only by netlink.
  const deadline = Date.now() + 60_000
  while (subflowInfo(stream).filter(({ state }) => state === 'ESTABLISHED').length < 2 && Date.now() < deadline) {
    await setTimeout(5)
  }
  console.log(JSON.stringify({
    addresses: subflowAddresses(stream).map(({ local }) => local.address),
    states: subflowInfo(stream).map(({ state }) => state),
    total: getOption(stream, MPTCP_INFO).subflows_total,
  }))
  process.exit()
`

function needMptcp(): Need {
  const file = '/proc/sys/net/mptcp/enabled'
  if (!existsSync(file)) return 'this kernel has no MPTCP'
  return readFileSync(file, 'utf8').trim() === '1' ? null : 'net.mptcp.enabled is 0'
}
