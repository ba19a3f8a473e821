/** The package multicast-dns over a socket of `createDgram`. */
import { createHosts, guardDescriptors, type Namespace, needNamespaces, skipUnless } from '@linux-sockets/testkit'
import { beforeEach, expect, it } from 'vitest'
import { runOurs, startOurs } from '../src/host.js'

guardDescriptors()
beforeEach((test) => skipUnless(test, needNamespaces()))

/** Makes `responder` over our socket or over Node's. */
const OPEN = `
  import dgram from 'node:dgram'
  import { createDgram } from '@linux-sockets/udp-mcast'
  import mdns from 'multicast-dns'
  const make = args.maker === 'ours' ? createDgram : dgram.createSocket
  const responder = mdns({ ...args.where, socket: make({ type: args.where.type, reuseAddr: true }) })`

const RESPONDER = `${OPEN}
  responder.on('query', (query, { address }) => {
    if (query.questions.some(({ name }) => name === 'printer.local')) {
      responder.respond([{ name: 'printer.local', type: 'TXT', ttl: 120, data: 'asked by ' + address }])
    }
  })
  responder.on('ready', () => say('ready'))`

/** Asks until there is an answer: the first question may leave before the network has learnt of the responder's membership. */
const QUERIER = `${OPEN}
  responder.on('response', ({ answers }, { address }) => {
    const answer = answers.find(({ name }) => name === 'printer.local')
    if (answer === undefined) return
    say('' + answer.data + ' answered by ' + address)
    clearInterval(asking)
    responder.destroy()
  })
  const ask = () => responder.query('printer.local', 'TXT')
  const asking = setInterval(ask, 500)
  responder.on('ready', ask)`

async function hosts(): Promise<[left: Namespace, right: Namespace]> {
  const [left, right] = createHosts(['10.0.0.1/24', 'fd00::1/64'], ['10.0.0.2/24', 'fd00::2/64'])
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
  const where = type === 'udp4' ? { type } : { type, ip: 'ff02::fb', interface: '::%veth0' }
  await startOurs(left, RESPONDER, { maker: responder, where })
  const said = await runOurs(right, QUERIER, { maker: querier, where })
  // An address of global scope answers as long as the kernel looks for duplicates of the link's.
  const [its, own] =
    type === 'udp4' ? ['10.0.0.2', '10.0.0.1'] : ['(fd00::2|fe80::\\S+%veth0)', '(fd00::1|fe80::\\S+%veth0)']
  expect(said).toEqual([expect.stringMatching(new RegExp(`^asked by ${its} answered by ${own}$`))])
})
