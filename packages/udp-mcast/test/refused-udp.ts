/** Bad arguments of `UdpSocket` and of what belongs to it. */
import { readControl, Socket } from '@linux-sockets/native-core'
import { AF_INET, SOCK_DGRAM } from '@linux-sockets/native-core/constants'
import { optionRefusals, type Refusal, refusalsOf, unknownName } from '@linux-sockets/testkit'
import { UdpDatagram, UdpSocket } from '../src/index.js'

// biome-ignore lint/suspicious/noExplicitAny: what JavaScript lets through
type Bad = any

const error = () => {}
const x = Buffer.from('x')
const group = '239.1.2.3'
const to = '127.0.0.1:9'

const notObjects: Bad[] = [null, 1, 'text', true]
const notBooleans: Bad[] = [null, 1, 'true', {}]
const notBytes: Bad[] = [undefined, null, 1, 'text', {}, new Uint16Array(1)]
const notInts: Bad[] = [null, 'text', Number.NaN, -1, 1.5, 2 ** 40]
const notAddresses: Bad[] = [null, 1, {}, '', 'text', '127.0.0.1', '/path', { family: 'unix', path: '/x' }]

/** Calls something with an open socket, which is closed afterwards. */
function onUdp(call: (socket: Bad) => unknown): unknown {
  const socket: Bad = UdpSocket.open({ address: '127.0.0.1:0', receive: { only: true } }, { error })
  try {
    const result = call(socket)
    if (!(result instanceof Promise)) return result
    result.catch(() => {})
    return result.finally(() => socket.close())
  } finally {
    socket.close()
  }
}

const sendOptions = (call: (socket: Bad, options: Bad) => unknown): Refusal[] => [
  ...refusalsOf(notObjects, (options) => onUdp((socket) => call(socket, options)), 'options'),
  unknownName('ttl', (options) => onUdp((socket) => call(socket, options))),
  ...optionRefusals('source', [null, 1, {}], (options) => onUdp((socket) => call(socket, options))),
  ...optionRefusals('source', ['text', '::1', '300.1.1.1'], (options) => onUdp((socket) => call(socket, options))),
  ...optionRefusals('interface', [null, {}, -1, 1.5], (options) => onUdp((socket) => call(socket, options))),
  ...optionRefusals('ttl', [...notInts, 0, 256], (options) => onUdp((socket) => call(socket, options))),
  ...optionRefusals('tos', [...notInts, 256], (options) => onUdp((socket) => call(socket, options))),
  ...optionRefusals('ecn', [null, 1, {}, 'ect2'], (options) => onUdp((socket) => call(socket, options))),
  ...optionRefusals('dontFragment', notBooleans, (options) => onUdp((socket) => call(socket, options))),
  ...optionRefusals('dontFragment', [true], (options) => onUdp((socket) => call(socket, options))),
  ...optionRefusals('transmitTime', [null, 1, '1'], (options) => onUdp((socket) => call(socket, options))),
  ...optionRefusals('mark', notInts, (options) => onUdp((socket) => call(socket, options))),
  ...optionRefusals('priority', notInts, (options) => onUdp((socket) => call(socket, options))),
]

const joining = (call: (socket: Bad, ...args: Bad[]) => unknown, known: string): Refusal[] => [
  ...refusalsOf(
    [undefined, null, 1, {}, '', 'text', '239.1.2'],
    (bad) => onUdp((socket) => call(socket, bad, {})),
    'group',
  ),
  ...refusalsOf(notObjects, (options) => onUdp((socket) => call(socket, group, options)), 'options'),
  unknownName(known, (options) => onUdp((socket) => call(socket, group, options))),
  ...refusalsOf(
    [null, true, -1, 1.5],
    (bad) => onUdp((socket) => call(socket, group, { interface: bad })),
    /^(interface|receive.only)/,
  ),
]

const channelOptions = (call: (options: Bad) => unknown): Refusal[] => [
  ...refusalsOf(notObjects, (options) => call(options), 'options'),
  unknownName('errors', (options) => call(options)),
  ...optionRefusals('receive', notObjects, call),
  unknownName('arrival', (receive) => call({ receive }), 'receive'),
  ...(['arrival', 'ttl', 'tos', 'ecn', 'drops', 'gro', 'only'] as const).flatMap((name) =>
    refusalsOf(notBooleans, (bad) => call({ receive: { [name]: bad } }), name),
  ),
  ...refusalsOf([null, 1, {}, 'ms'], (timestamp) => call({ receive: { timestamp } }), 'timestamp'),
  ...refusalsOf([...notInts, 0, 1025], (count) => call({ receive: { count } }), 'count'),
  ...refusalsOf([...notInts, 0], (size) => call({ receive: { size } }), 'size'),
  ...refusalsOf(notInts, (control) => call({ receive: { control } }), 'control'),
  ...optionRefusals('errors', notBooleans, call),
  ...['budget', 'maxQueuedDatagrams', 'maxQueuedBytes'].flatMap((name) => optionRefusals(name, [...notInts, 0], call)),
  ...optionRefusals('signal', [null, 1, {}], call),
]

const handlers = (call: (handlers: Bad) => unknown): Refusal[] => [
  ...refusalsOf([undefined, ...notObjects], call, 'handlers'),
  ...refusalsOf([{}, { error: 1 }], call, 'handlers.error'),
  ...['datagram', 'batch', 'drain', 'end'].flatMap((name) =>
    refusalsOf([null, 1, {}], (bad) => call({ error, [name]: bad }), `handlers.${name}`),
  ),
  unknownName('datagram', (object) => call({ error, ...(object as object) }), 'handlers'),
  [() => call({ error, datagram: error, batch: error }), 'handlers must not have both datagram and batch'],
]

/** Makes a socket of an open one, which is closed if that fails. */
function take(options: Bad, given: Bad): unknown {
  const socket = Socket.open(AF_INET, SOCK_DGRAM)
  try {
    return new UdpSocket(socket, given, options)
  } finally {
    socket.close()
  }
}

const address = to
const openWith = (options: Bad) => UdpSocket.open(options, { error })

/** For the table of `testRefusals`. */
export const udpRefusals: Record<string, readonly Refusal[]> = {
  UdpSocket: [
    ...channelOptions((options) => take(options, { error })),
    ...handlers((given) => take({}, given)),
    ...refusalsOf([undefined, null, 1, {}], (socket: Bad) => new UdpSocket(socket, { error }), 'socket'),
    ...refusalsOf(notObjects, (options) => openWith(options), 'options'),
    unknownName('peer', (options) => openWith({ address, ...(options as object) })),
    ...refusalsOf(notAddresses, (bad) => openWith({ address: bad }), 'address'),
    ...refusalsOf(notAddresses, (peer) => openWith({ peer }), 'peer'),
    ...refusalsOf([null, 1, 'ipv5', {}], (family) => openWith({ family }), 'family'),
    [() => openWith({}), 'family'],
    ...['v6only', 'reuseAddress', 'reusePort', 'broadcast'].flatMap((name) =>
      refusalsOf(notBooleans, (bad) => openWith({ address, [name]: bad }), name),
    ),
    ...refusalsOf([null, {}, 0, -1, 1.5], (bad) => openWith({ address, interface: bad }), 'interface'),
    ...refusalsOf(notInts, (protocol) => openWith({ address, protocol }), 'protocol'),
    ...refusalsOf([null, 1, {}], (prepare) => openWith({ address, prepare }), 'prepare'),
    [() => openWith({ address: '127.0.0.1:0', reuseAddress: true }), 'reuseAddress'],
    ...handlers((given) => UdpSocket.open({ address }, given)),
  ],
  'UdpSocket.connect': refusalsOf(notAddresses, (bad) => onUdp((socket) => socket.connect(bad)), 'peer'),
  'UdpSocket.send': [
    ...refusalsOf(notBytes, (data) => onUdp((socket) => socket.send(data, to)), 'data'),
    ...refusalsOf(notBytes, (data) => onUdp((socket) => socket.send(data, to, { ttl: 1 })), 'data'),
    ...refusalsOf([null, 1, {}, 'text'], (bad) => onUdp((socket) => socket.send(x, bad)), 'address'),
    ...optionRefusals('segmentSize', [...notInts, 0, 65_508], (options) =>
      onUdp((socket) => socket.send(x, to, options)),
    ),
    ...sendOptions((socket, options) => socket.send(x, to, options)),
  ],
  'UdpSocket.sendBatch': [
    ...refusalsOf([undefined, null, 1, {}, 'text'], (bad) => onUdp((socket) => socket.sendBatch(bad)), 'datagrams'),
    ...refusalsOf(notObjects, (bad) => onUdp((socket) => socket.sendBatch([bad])), 'datagrams[0]'),
    ...refusalsOf(
      notBytes,
      (data) => onUdp((socket) => socket.sendBatch([{ data, address: to }])),
      'datagrams[0].data',
    ),
    ...sendOptions((socket, options) => socket.sendBatch([{ data: x, address: to, options }])),
  ],
  'UdpSocket.sendAsync': [
    ...refusalsOf(notBytes, (data) => onUdp((socket) => socket.sendAsync(data, to)), 'data'),
    [() => onUdp((socket) => socket.sendAsync(x, to, { segmentSize: 1 })), 'sendAsync sends one datagram'],
    ...sendOptions((socket, options) => socket.sendAsync(x, to, options)),
  ],
  'UdpSocket.sendTimestamped': [
    ...refusalsOf(notBytes, (data) => onUdp((socket) => socket.sendTimestamped(data, to)), 'data'),
    ...optionRefusals('timeout', notInts, (options) => onUdp((socket) => socket.sendTimestamped(x, to, options))),
    [() => onUdp((socket) => socket.sendTimestamped(x, to, { segmentSize: 1 })), 'sendTimestamped sends one datagram'],
    ...sendOptions((socket, options) => socket.sendTimestamped(x, to, options)),
  ],
  'UdpSocket.reply': [
    ...refusalsOf([undefined, null, 1, {}], (bad) => onUdp((socket) => socket.reply(bad, x)), 'datagram'),
    ...refusalsOf(notBytes, (data) => onUdp((socket) => socket.reply(received(), data)), 'data'),
    ...sendOptions((socket, options) => socket.reply(received(), x, options)),
  ],
  'UdpSocket.accept': [
    ...refusalsOf([undefined, null, 1, {}], (bad) => onUdp((socket) => socket.accept(bad, { error })), 'datagram'),
    ...channelOptions((options) => onUdp((socket) => socket.accept(received(), { error }, options))),
    ...handlers((given) => onUdp((socket) => socket.accept(received(), given))),
  ],
  'UdpSocket.join': joining((socket, ...args) => socket.join(...args), 'source'),
  'UdpSocket.leave': joining((socket, ...args) => socket.leave(...args), 'source'),
  'UdpSocket.block': joining((socket, bad, options) => socket.block(bad, '10.0.0.1', options), 'interface'),
  'UdpSocket.unblock': joining((socket, bad, options) => socket.unblock(bad, '10.0.0.1', options), 'interface'),
  'UdpSocket.drain': [
    ...refusalsOf(notObjects, (options) => onUdp((socket) => socket.drain(options)), 'options'),
    ...optionRefusals('timeout', notInts, (options) => onUdp((socket) => socket.drain(options))),
    unknownName('timeout', (options) => onUdp((socket) => socket.drain(options))),
  ],
  UdpDatagram: [],
  'UdpDatagram.readControl': refusalsOf([undefined, null, 1, {}], (kind: Bad) => received().readControl(kind), 'kind'),
}

function received(): UdpDatagram {
  const source = {
    data: x,
    length: 1,
    address: { family: 'ipv4', address: '127.0.0.1', port: 9 },
    flags: 0,
    control: [],
    sockaddr: Buffer.from('02000009 7f000001 0000000000000000'.replaceAll(' ', ''), 'hex'),
    readControl: (kind: Bad) => readControl([], kind),
  }
  return new UdpDatagram(source as Bad)
}
