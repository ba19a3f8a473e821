import { readFileSync } from 'node:fs'
import { ifindexOf } from '@linux-sockets/native-core/interfaces'
import { guardDescriptors } from '@linux-sockets/testkit'
import { expect, it, onTestFinished } from 'vitest'
import { blockSource, joinGroup, joinSourceGroup, memberships } from '../src/index.js'
import { parseIgmp, parseIgmp6 } from '../src/memberships.js'
import { multicastSocket } from './loopback.js'

guardDescriptors()

it('parses what the kernel prints of IPv4', () => {
  const igmp = [
    'Idx\tDevice    : Count Querier\tGroup    Users Timer\tReporter',
    '1\tlo        :     1      V3',
    '\t\t\t\t010000E0     1 0:00000000\t\t0',
    '12\tlongestname0015:     2      V2',
    '\t\t\t\t030201E8    13 1:0000000A\t\t1',
    '\t\t\t\t010000E0     1 0:00000000\t\t0',
    '',
  ].join('\n')
  const mcfilter = [
    'Idx Device        MCA        SRC    INC    EXC',
    ' 12 longes 0xe8010203 0xc0000207      2      0',
    ' 12 longes 0xe8010203 0x0a000001      0      1',
    '',
  ].join('\n')
  const sources = [
    { address: '192.0.2.7', included: 2, excluded: 0 },
    { address: '10.0.0.1', included: 0, excluded: 1 },
  ]
  const all = { family: 'ipv4', group: '224.0.0.1', users: 1, sources: [] }
  expect(parseIgmp(igmp, mcfilter)).toEqual([
    { ifindex: 1, name: 'lo', ...all },
    { ifindex: 12, name: 'longestname0015', family: 'ipv4', group: '232.1.2.3', users: 13, sources },
    { ifindex: 12, name: 'longestname0015', ...all },
  ])
})

it('parses what the kernel prints of IPv6', () => {
  const igmp6 = [
    '1    lo              ff020000000000000000000000000001     1 0000000C 0',
    '1234 longestname0015 ff350000000000000000000000000001    12 00000004 0',
    '',
  ].join('\n')
  const mcfilter6 = [
    'Idx Device                Multicast Address                   Source Address    INC    EXC',
    '1234 longes ff350000000000000000000000000001 20010db8000000000000000000000001      3      0',
    '',
  ].join('\n')
  const sources = [{ address: '2001:db8::1', included: 3, excluded: 0 }]
  expect(parseIgmp6(igmp6, mcfilter6)).toEqual([
    { ifindex: 1, name: 'lo', family: 'ipv6', group: 'ff02::1', users: 1, sources: [] },
    { ifindex: 1234, name: 'longestname0015', family: 'ipv6', group: 'ff35::1', users: 12, sources },
  ])
})

it('lists the groups of every socket of this machine', () => {
  const lo = ifindexOf('lo')
  const on = { interface: lo }
  const sockets = (['ipv4', 'ipv4', 'ipv6'] as const).map((family) => multicastSocket(family))
  onTestFinished(() => {
    for (const socket of sockets) socket.close()
  })
  const [one, two, six] = sockets as [(typeof sockets)[0], (typeof sockets)[0], (typeof sockets)[0]]
  joinGroup(one, '239.7.11.1', on)
  joinSourceGroup(two, '239.7.11.1', '192.0.2.1', on)
  joinGroup(six, 'ff15::7:11', on)
  blockSource(six, 'ff15::7:11', '2001:db8::1', on)
  const base = { ifindex: lo, name: 'lo' }
  const found = () => memberships().filter(({ group }) => group === '239.7.11.1' || group === 'ff15::7:11')
  expect(found()).toEqual([
    {
      ...base,
      family: 'ipv4',
      group: '239.7.11.1',
      users: 2,
      sources: [{ address: '192.0.2.1', included: 1, excluded: 0 }],
    },
    {
      ...base,
      family: 'ipv6',
      group: 'ff15::7:11',
      users: 1,
      sources: [{ address: '2001:db8::1', included: 0, excluded: 1 }],
    },
  ])
  for (const socket of sockets) socket.close()
  expect(found()).toEqual([])
})

it('misses no line of the kernel', () => {
  const [igmp, igmp6] = ['igmp', 'igmp6'].map((file) => readFileSync(`/proc/net/${file}`, 'utf8')) as [string, string]
  const count = (text: string, pattern: RegExp) => text.split('\n').filter((line) => pattern.test(line)).length
  expect(parseIgmp(igmp, '')).toHaveLength(count(igmp, /^\t/))
  expect(parseIgmp6(igmp6, '')).toHaveLength(count(igmp6, /./))
})
