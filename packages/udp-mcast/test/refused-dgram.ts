/** Bad arguments of `createDgram` and of the methods of its sockets. */
import { optionRefusals, type Refusal, refusalsOf, unknownName } from '@linux-sockets/testkit'
import { createDgram, Dgram } from '../src/index.js'

// biome-ignore lint/suspicious/noExplicitAny: what JavaScript lets through
type Bad = any

const group = '239.1.2.3'
const source = '192.0.2.1'
const notGroups: Bad[] = [undefined, null, 1, {}, '', 'text', '239.1.2']
const notSources: Bad[] = [undefined, null, 1, {}, '', 'text', '192.0.2', 'fd00::1']
const notInterfaces: Bad[] = [null, 1, {}, 'fe80', '127.0.0', '::%']
const notBooleans: Bad[] = [null, 1, 'true', {}]
const notSizes: Bad[] = [null, '1', 0, -1, 1.5, 2 ** 31]
const notPorts: Bad[] = ['9', -1, 1.5, 65_536]

/** Calls something with a bound socket, which is closed afterwards. */
function onBound(call: (dgram: Bad) => unknown): unknown {
  return onSocket((dgram) => call(dgram.bind(0, '127.0.0.1')))
}

function onSocket(call: (dgram: Bad) => unknown): unknown {
  const dgram = createDgram('udp4')
  try {
    return call(dgram)
  } finally {
    dgram.close()
  }
}

const making = (make: (options: Bad) => unknown): Refusal[] => [
  ...refusalsOf([null, undefined, 1, true], make, 'options'),
  ...refusalsOf([null, undefined, 1, {}, 'udp', 'udp5'], (type) => make({ type }), 'type'),
  ...['reuseAddr', 'reusePort', 'ipv6Only'].flatMap((name) =>
    refusalsOf(notBooleans, (bad) => make({ type: 'udp4', [name]: bad }), name),
  ),
  ...['recvBufferSize', 'sendBufferSize'].flatMap((name) =>
    refusalsOf(notSizes, (bad) => make({ type: 'udp4', [name]: bad }), name),
  ),
  ...refusalsOf([null, 1, {}], (signal) => make({ type: 'udp4', signal }), 'signal'),
  unknownName('reuseAddr', (options: Bad) => make({ type: 'udp4', ...options })),
]

const grouping = (call: (dgram: Bad, ...args: Bad[]) => unknown): Refusal[] => [
  ...refusalsOf(notGroups, (bad) => onBound((dgram) => call(dgram, bad)), 'group'),
  ...refusalsOf(notInterfaces, (bad) => onBound((dgram) => call(dgram, group, bad)), 'multicastInterface'),
]

const withSource = (call: (dgram: Bad, ...args: Bad[]) => unknown): Refusal[] => [
  ...refusalsOf(notSources, (bad) => onBound((dgram) => call(dgram, bad, group)), 'source'),
  ...refusalsOf(notGroups, (bad) => onBound((dgram) => call(dgram, source, bad)), 'group'),
  ...refusalsOf(notInterfaces, (bad) => onBound((dgram) => call(dgram, source, group, bad)), 'multicastInterface'),
]

const number = (method: string, name: string, bad: Bad[]): Refusal[] =>
  refusalsOf(bad, (value) => onBound((dgram) => dgram[method](value)), name)

/** For the table of `testRefusals`. */
export const dgramRefusals: Record<string, readonly Refusal[]> = {
  createDgram: [
    ...making((options) => createDgram(options)),
    ...refusalsOf([null, 1, {}], (listener) => createDgram('udp4', listener), 'listener'),
  ],
  Dgram: making((options) => new Dgram(options)),
  'Dgram.bind': [
    ...refusalsOf(notPorts, (port) => onSocket((dgram) => dgram.bind(port)), 'port'),
    ...refusalsOf(['text', '127.0.0', '::1', 1], (address) => onSocket((dgram) => dgram.bind(0, address)), 'address'),
    ...optionRefusals('port', notPorts, (options) => onSocket((dgram) => dgram.bind(options))),
    unknownName('port', (options) => onSocket((dgram) => dgram.bind(options))),
  ],
  'Dgram.connect': [
    ...refusalsOf([...notPorts, undefined, null, 0], (port) => onSocket((dgram) => dgram.connect(port)), 'port'),
    ...refusalsOf(['text', '::1', 1], (address) => onSocket((dgram) => dgram.connect(9, address)), 'address'),
  ],
  'Dgram.send': [
    ...refusalsOf([undefined, null, 1, {}, [1]], (data) => onSocket((dgram) => dgram.send(data, 9)), 'data'),
    ...refusalsOf([-1, 1.5, 2], (offset) => onSocket((dgram) => dgram.send('x', offset, 0, 9)), 'offset'),
    ...refusalsOf([-1, 1.5, 2], (length) => onSocket((dgram) => dgram.send('x', 0, length, 9)), 'length'),
    ...refusalsOf([...notPorts, 0], (port) => onSocket((dgram) => dgram.send('x', port)), 'port'),
    ...refusalsOf(['text', '::1', 1.5], (address) => onSocket((dgram) => dgram.send(['x'], 9, address)), 'address'),
  ],
  'Dgram.close': refusalsOf([null, 1, {}], (callback) => onSocket((dgram) => dgram.close(callback)), 'callback'),
  'Dgram.addMembership': grouping((dgram, ...args) => dgram.addMembership(...args)),
  'Dgram.dropMembership': grouping((dgram, ...args) => dgram.dropMembership(...args)),
  'Dgram.addSourceSpecificMembership': withSource((dgram, ...args) => dgram.addSourceSpecificMembership(...args)),
  'Dgram.dropSourceSpecificMembership': withSource((dgram, ...args) => dgram.dropSourceSpecificMembership(...args)),
  'Dgram.setMulticastInterface': number('setMulticastInterface', 'multicastInterface', [undefined, ...notInterfaces]),
  'Dgram.setMulticastTTL': number('setMulticastTTL', 'ttl', [undefined, null, '1', -1, 256, 1.5]),
  'Dgram.setTTL': number('setTTL', 'ttl', [undefined, null, '1', 0, 256, 1.5]),
  // Node takes anything for true or false.
  'Dgram.setMulticastLoopback': [],
  'Dgram.setBroadcast': [],
  'Dgram.setRecvBufferSize': number('setRecvBufferSize', 'size', [undefined, ...notSizes]),
  'Dgram.setSendBufferSize': number('setSendBufferSize', 'size', [undefined, ...notSizes]),
}
