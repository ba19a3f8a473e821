/** Bad arguments of every exported function: each is refused by its name, before any system call. */
import * as core from '@linux-sockets/native-core'
import { controlMessage, setOption } from '@linux-sockets/native-core'
import { wo } from '@linux-sockets/native-core/codecs'
import * as filters from '@linux-sockets/native-core/filter'
import * as interfaces from '@linux-sockets/native-core/interfaces'
import * as streams from '@linux-sockets/native-core/streams'
import {
  beginning,
  expectErrno,
  guardDescriptors,
  type Refusal,
  refusalsOf,
  testRefusals,
  unknownName,
} from '@linux-sockets/testkit'
import { expect, it } from 'vitest'
import * as mcast from '../src/index.js'
import { multicastSocket } from './loopback.js'
import { dgramRefusals } from './refused-dgram.js'
import { udpRefusals } from './refused-udp.js'

guardDescriptors()

// biome-ignore lint/suspicious/noExplicitAny: what JavaScript lets through
type Bad = any

const notObjects: Bad[] = [null, 1, 'text', true]
const notFds: Bad[] = [undefined, null, 'text', {}, { fd: '1' }, Number.NaN, 1.5]
const notIndices: Bad[] = [null, true, Number.NaN, -1, 1.5, 2 ** 31, 2 ** 40, {}]
const notInterfaces: Bad[] = [...notIndices, 'fe80::1%lo', ':::', 'a:b']
const notGroups: Bad[] = [
  undefined,
  null,
  1,
  {},
  '',
  'text',
  '239.1.2',
  '239.1.2.3.4',
  '239.1.2.256',
  'ff02::fb%lo',
  ':::',
]

/** A number without a descriptor, for which a system call would fail with EBADF. */
const none = -1
const group = '239.1.2.3'

const source = '192.0.2.1'
const notSources: Bad[] = [undefined, null, 1, {}, '', 'text', '192.0.2', 'fd00::1']

const withSource = (call: (...args: Bad[]) => unknown): Refusal[] => [
  ...refusalsOf(notFds, (socket) => call(socket, group, source), 'socket'),
  ...refusalsOf(notGroups, (bad) => call(none, bad, source), 'group'),
  ...refusalsOf(notSources, (bad) => call(none, group, bad), 'source'),
  [() => call(none, 'ff15::1', source), 'source'],
  ...refusalsOf(notObjects, (options) => call(none, group, source, options), 'options'),
  ...refusalsOf(notInterfaces, (bad) => call(none, group, source, { interface: bad }), 'interface'),
  unknownName('interface', (options) => call(none, group, source, options)),
]

const sourceFilter = { mode: 'exclude', sources: [source] } as const
const sender = { fd: none, send: () => {} }
const handlers = { error: () => {} }
/** Calls a method of an object that is closed at once. */
const everywhere = (call: (all: mcast.AllInterfaces) => unknown) => () => {
  const socket = multicastSocket('ipv4')
  const all = new mcast.AllInterfaces({ fd: socket.fd, send: () => {} }, handlers)
  try {
    return call(all)
  } finally {
    all.close()
    socket.close()
  }
}
const grouping = (name: 'join' | 'leave'): Refusal[] => [
  ...notGroups.map((bad): Refusal => [everywhere((all) => all[name](bad)), beginning('group')]),
  ...notObjects.map((bad): Refusal => [everywhere((all) => all[name](group, bad)), beginning('options')]),
  ...notSources
    .filter((bad) => bad !== undefined)
    .map((bad): Refusal => [everywhere((all) => all[name](group, { source: bad })), beginning('source')]),
  unknownName('source', (options) => everywhere((all) => all[name](group, options))()),
]

const membership = (call: (...args: Bad[]) => unknown): Refusal[] => [
  ...refusalsOf(notFds, (socket) => call(socket, group), 'socket'),
  ...refusalsOf(notGroups, (bad) => call(none, bad), 'group'),
  ...refusalsOf(notObjects, (options) => call(none, group, options), 'options'),
  ...refusalsOf(notInterfaces, (bad) => call(none, group, { interface: bad }), 'interface'),
  unknownName('interface', (options) => call(none, group, options)),
]

const report: mcast.ExtendedError = {
  errno: 111,
  origin: mcast.SO_EE_ORIGIN_ICMP,
  type: 3,
  code: 3,
  info: 0,
  data: 0,
  offender: undefined,
}

const buffer = (call: (...args: Bad[]) => unknown): Refusal[] => [
  ...refusalsOf(notFds, (socket) => call(socket, 1000), 'socket'),
  ...refusalsOf([undefined, null, '1', 0, -1, 1.5, 2 ** 30], (bytes) => call(none, bytes), 'bytes'),
  ...refusalsOf(notObjects, (options) => call(none, 1000, options), 'options'),
  ...refusalsOf([null, 1, 'yes'], (force) => call(none, 1000, { force }), 'force'),
  unknownName('force', (options) => call(none, 1000, options)),
]

testRefusals(
  mcast,
  {
    ...udpRefusals,
    ...dgramRefusals,
    AllInterfaces: [
      ...refusalsOf(
        [...notObjects, undefined, {}, { fd: 1 }, { fd: '1', send() {} }],
        (bad) => new mcast.AllInterfaces(bad, handlers),
        'socket',
      ),
      ...refusalsOf([undefined, ...notObjects], (bad) => new mcast.AllInterfaces(sender, bad), 'handlers'),
      [() => new mcast.AllInterfaces(sender, {} as Bad), 'handlers.error'],
      ...refusalsOf(
        [null, 1, 'text'],
        (added) => new mcast.AllInterfaces(sender, { ...handlers, added }),
        'handlers.added',
      ),
      ...refusalsOf(notObjects, (options) => new mcast.AllInterfaces(sender, handlers, options), 'options'),
      ...refusalsOf([null, 1, 'text', {}], (filter) => new mcast.AllInterfaces(sender, handlers, { filter }), 'filter'),
      ...refusalsOf([null, 1, {}], (signal) => new mcast.AllInterfaces(sender, handlers, { signal }), 'signal'),
      unknownName('filter', (options) => new mcast.AllInterfaces(sender, handlers, options)),
      unknownName(
        'added',
        (nonsense) => new mcast.AllInterfaces(sender, { ...handlers, ...(nonsense as object) }),
        'handlers',
      ),
    ],
    'AllInterfaces.join': grouping('join'),
    'AllInterfaces.leave': grouping('leave'),
    'AllInterfaces.send': [
      ...[undefined, null, 1, 'text', {}].map(
        (bad): Refusal => [everywhere((all) => all.send(bad as Bad, '239.1.2.3:5007')), beginning('data')],
      ),
      ...[undefined, null, 1, {}, 'text', '239.1.2.3'].map(
        (bad): Refusal => [everywhere((all) => all.send(Buffer.of(1), bad as Bad)), beginning('address')],
      ),
      [everywhere((all) => all.send(Buffer.of(1), '/run/x.sock')), 'address must be of IPv4 or IPv6'],
      [everywhere((all) => all.send(Buffer.of(1), '[ff02::fb%lo]:5353')), 'address must have no scope'],
      ...notObjects.map(
        (bad): Refusal => [
          everywhere((all) => all.send(Buffer.of(1), '239.1.2.3:5007', bad)),
          beginning('sendOptions'),
        ],
      ),
    ],
    blockSource: withSource(mcast.blockSource),
    getSourceFilter: [
      ...refusalsOf(notFds, (socket) => mcast.getSourceFilter(socket, group, { interface: 'lo' }), 'socket'),
      ...refusalsOf(notGroups, (bad) => mcast.getSourceFilter(none, bad, { interface: 'lo' }), 'group'),
      ...refusalsOf([undefined, ...notObjects], (options) => mcast.getSourceFilter(none, group, options), 'options'),
      ...refusalsOf(
        [undefined, 0, ...notInterfaces],
        (bad) => mcast.getSourceFilter(none, group, { interface: bad }),
        'interface',
      ),
      unknownName('interface', (options) => mcast.getSourceFilter(none, group, options)),
    ],
    broadcastAddresses: [
      ...refusalsOf([null, true, {}], mcast.broadcastAddresses, 'of'),
      ...refusalsOf([Number.NaN, 0, -1, 1.5, 2 ** 31], mcast.broadcastAddresses, 'of'),
    ],
    drainErrors: refusalsOf(notFds, mcast.drainErrors, 'socket'),
    drops: refusalsOf(notFds, mcast.drops, 'socket'),
    joinGroup: membership(mcast.joinGroup),
    joinSourceGroup: withSource(mcast.joinSourceGroup),
    leaveGroup: membership(mcast.leaveGroup),
    leaveSourceGroup: withSource(mcast.leaveSourceGroup),
    memberships: [],
    setSourceFilter: [
      ...refusalsOf(notFds, (socket) => mcast.setSourceFilter(socket, group, sourceFilter), 'socket'),
      ...refusalsOf(notGroups, (bad) => mcast.setSourceFilter(none, bad, sourceFilter), 'group'),
      ...refusalsOf([undefined, ...notObjects], (bad) => mcast.setSourceFilter(none, group, bad), 'filter'),
      ...refusalsOf(
        [undefined, null, 1, 'INCLUDE'],
        (mode) => mcast.setSourceFilter(none, group, { mode, sources: [] }),
        'filter.mode',
      ),
      ...refusalsOf(
        [undefined, null, 1, source, {}],
        (sources) => mcast.setSourceFilter(none, group, { mode: 'include', sources }),
        'filter.sources',
      ),
      ...refusalsOf(
        notSources,
        (bad) => mcast.setSourceFilter(none, group, { mode: 'include', sources: [bad] }),
        'filter.sources[0]',
      ),
      ...refusalsOf(notObjects, (options) => mcast.setSourceFilter(none, group, sourceFilter, options), 'options'),
      ...refusalsOf(
        notInterfaces,
        (bad) => mcast.setSourceFilter(none, group, sourceFilter, { interface: bad }),
        'interface',
      ),
      unknownName('interface', (options) => mcast.setSourceFilter(none, group, sourceFilter, options)),
      unknownName('mode', (bad) => mcast.setSourceFilter(none, group, bad), 'filter'),
    ],
    unblockSource: withSource(mcast.unblockSource),
    NetworkError: [
      ...refusalsOf([undefined, ...notObjects], (error) => new mcast.NetworkError(error), 'error'),
      ...refusalsOf(
        [undefined, '1', 0, 1.5, 4096],
        (errno) => new mcast.NetworkError({ ...report, errno }),
        'error.errno',
      ),
      ...refusalsOf(
        [undefined, '1', 0, -1, mcast.SO_EE_ORIGIN_ZEROCOPY, 256],
        (origin) => new mcast.NetworkError({ ...report, origin }),
        'error.origin',
      ),
    ],
    networkErrorOf: [
      ...refusalsOf([undefined, ...notObjects], mcast.networkErrorOf, 'message'),
      ...refusalsOf([undefined, null, 1], (control) => mcast.networkErrorOf({ control, address: null }), 'messages'),
    ],
    pathMtu: refusalsOf(notFds, mcast.pathMtu, 'socket'),
    reportErrors: [
      ...refusalsOf(notFds, (socket) => mcast.reportErrors(socket, true), 'socket'),
      ...refusalsOf([undefined, null, 1, 'on'], (on) => mcast.reportErrors(none, on), 'on'),
    ],
    setPathMtuDiscovery: [
      ...refusalsOf(notFds, (socket) => mcast.setPathMtuDiscovery(socket, 'do'), 'socket'),
      ...refusalsOf([undefined, null, 1, 'DO', 'toString'], (mode) => mcast.setPathMtuDiscovery(none, mode), 'mode'),
    ],
    setReceiveBuffer: buffer(mcast.setReceiveBuffer),
    setSendBuffer: buffer(mcast.setSendBuffer),
    steerDatagrams: [
      ...refusalsOf(notFds, (socket) => mcast.steerDatagrams(socket, 'flow', 2), 'socket'),
      ...refusalsOf([undefined, null, 1, 'hash', 'toString'], (by) => mcast.steerDatagrams(none, by, 2), 'by'),
      ...refusalsOf([{}, { byte: 1, at: 2 }], (by) => mcast.steerDatagrams(none, by, 2), /^by\.(byte must|at is not)/),
      ...refusalsOf(['1', -1, 1.5, 65_507], (byte) => mcast.steerDatagrams(none, { byte }, 2), 'by.byte'),
      ...refusalsOf([undefined, '1', 0, 1.5, 65_536], (count) => mcast.steerDatagrams(none, 'cpu', count), 'count'),
      ...refusalsOf([257], (count) => mcast.steerDatagrams(none, { byte: 0 }, count), 'count'),
    ],
  },
  [core, filters, interfaces, streams],
)

it('refuses values that the layouts can’t hold, by their names', () => {
  const row = wo('ROW', 0, 42, mcast.groupRequest)
  for (const bad of notObjects) expect(() => setOption(none, row, bad)).toThrow('ROW must be')
  for (const ifindex of notIndices.filter((bad) => bad !== -1)) {
    expect(() => setOption(none, row, { ifindex, group })).toThrow('ROW.ifindex')
  }
  for (const bad of notGroups) expect(() => setOption(none, row, { ifindex: 0, group: bad })).toThrow('ROW.group')
  const sources = wo('ROW', 0, 46, mcast.groupSourceRequest)
  for (const bad of notObjects) expect(() => setOption(none, sources, bad)).toThrow('ROW must be')
  for (const bad of notGroups) {
    expect(() => setOption(none, sources, { ifindex: 0, group: bad, source })).toThrow('ROW.group')
  }
  for (const bad of notSources) {
    expect(() => setOption(none, sources, { ifindex: 0, group, source: bad })).toThrow('ROW.source')
  }
  for (const bad of notObjects) expect(() => controlMessage(mcast.CMSG_IP_PKTINFO, bad)).toThrow('IP_PKTINFO must be')
  for (const bad of notObjects)
    expect(() => controlMessage(mcast.CMSG_IPV6_PKTINFO, bad)).toThrow('IPV6_PKTINFO must be')
  for (const bad of notGroups) {
    expect(() => controlMessage(mcast.CMSG_IP_PKTINFO, { ifindex: 0, spec_dst: bad })).toThrow('IP_PKTINFO.spec_dst')
  }
})

it('leaves to the kernel what only it can know', () => {
  expectErrno(() => mcast.joinGroup(none, group, { interface: 'nowhere' }), 'ENODEV')
  expectErrno(() => mcast.joinGroup(none, group), 'EBADF')
})
