/** The package multicast-dns over a socket of `createDgram`. */
import { resolve } from 'node:path'
import {
  connectNamespaces,
  createNamespace,
  guardDescriptors,
  type Namespace,
  needNamespaces,
  skipUnless,
  waitForLine,
} from '@linux-sockets/testkit'
import { beforeEach, expect, it } from 'vitest'

guardDescriptors()
beforeEach((test) => skipUnless(test, needNamespaces()))

const room = resolve(import.meta.dirname, '..')

/** Makes `responder` over our socket or over Node's. */
const OPEN = `
  import dgram from 'node:dgram'
  import { createDgram } from '@linux-sockets/udp-mcast'
  import mdns from 'multicast-dns'
  const [maker, type, ip, chosen] = process.argv.slice(1)
  const make = maker === 'ours' ? createDgram : dgram.createSocket
  const responder = mdns({ socket: make({ type, reuseAddr: true }), type, ip, interface: chosen })`

const RESPONDER = `${OPEN}
  responder.on('query', (query, { address }) => {
    if (query.questions.some(({ name }) => name === 'printer.local')) {
      responder.respond([{ name: 'printer.local', type: 'TXT', ttl: 120, data: 'asked by ' + address }])
    }
  })
  responder.on('ready', () => console.log('ready'))`

/** Asks until there is an answer: the first question may leave before the network has learnt of the responder's membership. */
const QUERIER = `${OPEN}
  responder.on('response', ({ answers }, { address }) => {
    const answer = answers.find(({ name }) => name === 'printer.local')
    if (answer === undefined) return
    console.log(String(answer.data), 'answered by', address)
    clearInterval(asking)
    responder.destroy()
  })
  const ask = () => responder.query('printer.local', 'TXT')
  const asking = setInterval(ask, 500)
  responder.on('ready', ask)`

const script = (source: string, ...args: string[]) => ['--input-type=module', '--eval', source, ...args]

async function hosts(): Promise<[left: Namespace, right: Namespace]> {
  const [left, right] = [createNamespace(), createNamespace()]
  connectNamespaces(
    { namespace: left, addresses: ['10.0.0.1/24', 'fd00::1/64'] },
    { namespace: right, addresses: ['10.0.0.2/24', 'fd00::2/64'] },
  )
  // The package lets the routing table choose the interface.
  for (const host of [left, right]) await host.run('ip', ['route', 'add', '224.0.0.0/4', 'dev', 'veth0'])
  return [left, right]
}

it.each([
  ['ours', 'ours', 'udp4'],
  ['ours', 'node', 'udp4'],
  ['node', 'ours', 'udp4'],
  ['ours', 'ours', 'udp6'],
  ['ours', 'node', 'udp6'],
])('a responder over a socket of %s answers a querier over one of %s: %s', async (responder, querier, type) => {
  const [left, right] = await hosts()
  // For IPv4 the package would bind to the interface's address, to which no group comes.
  const where = type === 'udp4' ? ['224.0.0.251'] : ['ff02::fb', '::%veth0']
  const server = left.spawn(process.execPath, script(RESPONDER, responder, type, ...where), { cwd: room })
  await waitForLine(server, /^ready$/)
  const asked = await right.run(process.execPath, script(QUERIER, querier, type, ...where), { cwd: room })
  // An address of global scope answers as long as the kernel looks for duplicates of the link's.
  const [its, own] =
    type === 'udp4' ? ['10.0.0.2', '10.0.0.1'] : ['(fd00::2|fe80::\\S+%veth0)', '(fd00::1|fe80::\\S+%veth0)']
  expect(asked).toMatch(new RegExp(`^asked by ${its} answered by ${own}\\n$`))
})
