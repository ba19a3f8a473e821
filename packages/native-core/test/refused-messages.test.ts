/** Bad arguments of functions that send, receive and set: each is refused by its name, before any system call. */
import {
  beginning,
  guardDescriptors,
  type Refusal,
  refusalsOf,
  testRefusals,
  unknownName,
} from '@linux-sockets/testkit'
import { describe, expect, it } from 'vitest'
import * as batch from '../src/batch.js'
import * as codec from '../src/codecs/codec.js'
import * as control from '../src/control.js'
import * as message from '../src/message.js'
import * as option from '../src/option.js'
import * as datagram from '../src/streams/datagram.js'
import { closeLater, unixPair } from './datagram.js'
import * as core from './everything.js'

guardDescriptors()

// biome-ignore lint/suspicious/noExplicitAny: what JavaScript lets through
type Bad = any

const notObjects: Bad[] = [null, 1, 'text', true]
const notFds: Bad[] = [undefined, null, 'text', {}, { fd: '1' }, Number.NaN, 1.5]
const notNumbers: Bad[] = [null, '1', Number.NaN, {}, 1n]
const notInt32: Bad[] = [...notNumbers, undefined, 1.5, 2 ** 31, 2 ** 40, -(2 ** 40)]
const notFlags: Bad[] = [...notNumbers, 1.5, 2 ** 32, 2 ** 40]
const notCounts: Bad[] = [...notNumbers, -1, 1.5, 2 ** 40]
const notBytes: Bad[] = [
  undefined,
  null,
  1,
  'text',
  [1],
  {},
  new Int32Array(2),
  new ArrayBuffer(4),
  new DataView(new ArrayBuffer(4)),
]
const notTexts: Bad[] = [undefined, null, 1, {}]

/** With no descriptor behind it, so that a system call would say EBADF. */
const none = -1
const x = Buffer.from('x')
const row = option.rw('ROW', 1, 2, codec.int)
const kind = control.control('KIND', 1, 2, codec.int)

/** A list of control messages with one thing wrong, and that thing. */
const badControl: [control: Bad, name: string][] = [
  ...[null, 1, 'text', {}, new Int32Array(4)].map((bad): [Bad, string] => [bad, 'control must be']),
  ...[undefined, null, 1, 'text'].map((bad): [Bad, string] => [[bad], 'control[0] must be']),
  ...notInt32.map((level): [Bad, string] => [[{ level, type: 1, data: x }], 'control[0].level']),
  ...notInt32.map((type): [Bad, string] => [[{ level: 1, type, data: x }], 'control[0].type']),
  ...notBytes.map((data): [Bad, string] => [[{ level: 1, type: 1, data }], 'control[0].data']),
  [
    [
      { level: 1, type: 1, data: x },
      { type: 1, data: x },
    ],
    'control[1].level',
  ],
]
const badDescriptors: [descriptors: Bad, name: string][] = [
  ...[null, 1, 'text', {}].map((bad): [Bad, string] => [bad, 'descriptors must be']),
  ...notFds.map((bad): [Bad, string] => [[0, bad], 'descriptors[1]']),
  [[-1], 'descriptors[0] is closed'],
  [Array(254).fill(0), 'descriptors'],
]
const badRows = (way: 'encode' | 'decode'): [row: Bad, name: string][] => [
  ...[undefined, null, 1, 'text', {}].map((bad): [Bad, string] => [bad, 'option must be']),
  [kind, 'option must be a row for an option, not the control message KIND'],
  way === 'encode'
    ? [option.ro('ROW', 1, 2, codec.int), "ROW can't be set"]
    : [option.wo('ROW', 1, 2, codec.int), "ROW can't be read"],
]
const badKinds = (way: 'encode' | 'decode'): [kind: Bad, name: string][] => [
  ...[undefined, null, 1, 'text', {}].map((bad): [Bad, string] => [bad, 'kind must be']),
  [row, 'kind must be a row for a control message, not the option ROW'],
  [core.IP_TTL, 'kind must be a row for a control message, not the option IP_TTL'],
  [core.SO_MARK, 'kind must be a row for a control message, not the option SO_MARK'],
  ...(way === 'encode' ? [[control.SCM_PIDFD, "SCM_PIDFD can't be sent"] as [Bad, string]] : []),
]
const badCodecs: [codec: Bad, name: string][] = [
  ...[undefined, null, 1, 'text'].map((bad): [Bad, string] => [bad, 'codec must be']),
  ...notCounts.map((size): [Bad, string] => [{ ...codec.int, size }, 'codec.size']),
]
const noEncode: [Bad, string] = [{ size: 4, decode: codec.int.decode }, 'codec.encode']
const noDecode: [Bad, string] = [{ size: 4, encode: codec.int.encode }, 'codec.decode']

function rowRefusals(make: (...args: Bad[]) => unknown, number: string, ...halves: [Bad, string][]): Refusal[] {
  return [
    ...refusalsOf(notTexts, (name) => make(name, 1, 2, codec.int), 'name'),
    ...refusalsOf(notInt32, (level) => make('X', level, 2, codec.int), 'level'),
    ...refusalsOf(notInt32, (value) => make('X', 1, value, codec.int), number),
    ...pairs([...badCodecs, ...halves], (bad) => make('X', 1, 2, bad)),
  ]
}

const raw = (call: (...args: Bad[]) => unknown, ...rest: Bad[]): Refusal[] => [
  ...refusalsOf(notFds, (socket) => call(socket, 1, 2, ...rest), 'socket'),
  ...refusalsOf(notInt32, (level) => call(none, level, 2, ...rest), 'level'),
  ...refusalsOf(notInt32, (number) => call(none, 1, number, ...rest), 'option'),
]

describe('control.ts', () => {
  testRefusals(publicOf(control), {
    control: rowRefusals(control.control, 'type', noEncode, noDecode),
    controlLength: refusalsOf([...notCounts, undefined], control.controlLength, 'length'),
    controlMessage: [
      ...pairs(badKinds('encode'), (bad) => control.controlMessage(bad, 1)),
      ...refusalsOf(notInt32, (value) => control.controlMessage(kind, value), 'KIND'),
    ],
    controlSpace: refusalsOf([...notCounts, undefined], control.controlSpace, 'length'),
    decodeControl: [
      ...refusalsOf(notBytes, (buffer) => control.decodeControl(buffer), 'buffer'),
      ...refusalsOf([null, '1', -1, 1.5, Number.NaN], (length: Bad) => control.decodeControl(x, length), 'length'),
    ],
    encodeControl: pairs([...badControl, [undefined, 'control']], control.encodeControl),
    readControl: [
      ...pairs(
        [...badControl, [undefined, 'control'] as [Bad, string]].map(([bad, name]) => [
          bad,
          name.replace('control', 'messages'),
        ]),
        (bad) => control.readControl(bad, kind),
      ),
      ...pairs(badKinds('decode'), (bad) => control.readControl([], bad)),
    ],
  })
})

describe('message.ts', () => {
  testRefusals(publicOf(message), {
    descriptorSpace: refusalsOf([...notCounts, undefined], message.descriptorSpace, 'count'),
    recvMessage: [
      ...refusalsOf(notFds, (socket) => message.recvMessage(socket, x), 'socket'),
      ...refusalsOf(
        [...notBytes.filter((bad) => !Array.isArray(bad)), Array(1025).fill(x)],
        (bad) => message.recvMessage(none, bad),
        'buffers',
      ),
      ...refusalsOf(notBytes, (bad) => message.recvMessage(none, [x, bad]), 'buffers[1]'),
      ...refusalsOf(notObjects, (options) => message.recvMessage(none, x, options), 'options'),
      ...refusalsOf(notFlags, (flags) => message.recvMessage(none, x, { flags }), 'flags'),
      ...refusalsOf(
        [...notCounts, 2 ** 20 + 1, [], new Int32Array(4)],
        (bad) => message.recvMessage(none, x, { control: bad }),
        'control',
      ),
    ],
    sendMessage: [
      ...refusalsOf(notFds, (socket) => message.sendMessage(socket, { data: x }), 'socket'),
      ...refusalsOf([undefined, ...notObjects], (bad) => message.sendMessage(none, bad), 'message'),
      ...refusalsOf(
        [...notBytes.filter((bad) => !Array.isArray(bad)), Array(1025).fill(x)],
        (data) => message.sendMessage(none, { data }),
        'data',
      ),
      ...refusalsOf(notBytes, (bad) => message.sendMessage(none, { data: [x, bad] }), 'data[1]'),
      ...refusalsOf([null, 1, {}], (address: Bad) => message.sendMessage(none, { data: x, address }), 'address'),
      ...refusalsOf(notFlags, (flags) => message.sendMessage(none, { data: x, flags }), 'flags'),
      ...pairs(badControl, (bad) => message.sendMessage(none, { data: x, control: bad })),
      ...pairs(badControl, (bad) => message.sendMessage(none, { data: x, control: bad, descriptors: [0] })),
      ...pairs(badDescriptors, (descriptors) => message.sendMessage(none, { data: x, descriptors })),
      [
        () => message.sendMessage(none, { data: x, control: new Uint8Array(8), descriptors: [0] }),
        /^descriptors go with a list/,
      ],
    ],
  })
})

describe('batch.ts', () => {
  const received = new batch.ReceiveBatch({ count: 4 })
  const indices: Bad[] = [...notInt32, -1, 4]
  testRefusals(publicOf(batch), {
    ReceiveBatch: [
      ...refusalsOf(notObjects, (options) => new batch.ReceiveBatch(options), 'options'),
      unknownName('keepTruncated', (options) => new batch.ReceiveBatch(options)),
      ...refusalsOf([...notCounts, 0, 1025], (count) => new batch.ReceiveBatch({ count }), 'count'),
      ...refusalsOf([...notCounts, 0, 2 ** 29], (size) => new batch.ReceiveBatch({ size }), 'size'),
      ...refusalsOf([...notCounts, 2 ** 20 + 1], (bad) => new batch.ReceiveBatch({ control: bad }), 'control'),
    ],
    'ReceiveBatch.receive': [
      ...refusalsOf(notFds, (socket) => received.receive(socket), 'socket'),
      ...refusalsOf(notFlags, (flags) => received.receive(none, flags), 'flags'),
    ],
    ...Object.fromEntries(
      (['length', 'flags', 'data', 'address', 'sockaddr', 'control', 'descriptors', 'pidfd'] as const).map((name) => [
        `ReceiveBatch.${name}`,
        refusalsOf(indices, (i) => received[name](i), 'i must be'),
      ]),
    ),
    'ReceiveBatch.readControl': [
      ...refusalsOf(indices, (i) => received.readControl(i, control.SCM_PIDFD), 'i must be'),
      ...refusalsOf(
        [undefined, null, 1, {}],
        (kind) => new batch.ReceiveBatch({ control: 8 }).readControl(0, kind),
        'kind',
      ),
    ],
    'ReceiveBatch.drop': refusalsOf(
      indices.filter((i) => i !== undefined),
      (i) => received.drop(i),
      'i must be',
    ),
    SendBatch: [
      ...refusalsOf(notObjects, (options) => new batch.SendBatch(options), 'options'),
      unknownName('capacity', (options) => new batch.SendBatch(options)),
      ...refusalsOf([...notCounts, 0, 1025], (count) => new batch.SendBatch({ count }), 'count'),
      ...refusalsOf([...notCounts, 0, 2 ** 29], (capacity) => new batch.SendBatch({ capacity }), 'capacity'),
      ...refusalsOf([...notCounts, 2 ** 20 + 1], (bad) => new batch.SendBatch({ control: bad }), 'control'),
    ],
    'SendBatch.add': [
      ...refusalsOf(notBytes, (data) => new batch.SendBatch().add(data), 'data'),
      ...refusalsOf([null, 1, {}], (address: Bad) => new batch.SendBatch().add(x, address), 'address'),
      ...pairs(badControl, (bad) => new batch.SendBatch({ control: 64 }).add(x, undefined, bad)),
    ],
    'SendBatch.send': [
      ...refusalsOf(notFds, (socket) => new batch.SendBatch().send(socket), 'socket'),
      ...refusalsOf(notFlags, (flags) => new batch.SendBatch().send(none, flags), 'flags'),
    ],
  })
})

describe('option.ts', () => {
  testRefusals(publicOf(option), {
    getOption: [
      ...pairs(badRows('decode'), (bad) => option.getOption(none, bad)),
      ...refusalsOf(notFds, (socket) => option.getOption(socket, row), 'socket'),
    ],
    getOptionBytes: [
      ...raw(option.getOptionBytes, x),
      ...refusalsOf(notBytes, (buffer) => option.getOptionBytes(none, 1, 2, buffer), 'buffer'),
    ],
    getOptionInt: raw(option.getOptionInt),
    peerPidfd: refusalsOf(notFds, option.peerPidfd, 'socket'),
    ro: rowRefusals(option.ro, 'option', noDecode),
    rw: rowRefusals(option.rw, 'option', noEncode, noDecode),
    setOption: [
      ...pairs(badRows('encode'), (bad) => option.setOption(none, bad, 1 as never)),
      ...refusalsOf(notFds, (socket) => option.setOption(socket, row, 1), 'socket'),
      ...refusalsOf(notInt32, (value) => option.setOption(none, row, value), 'ROW'),
    ],
    setOptionBytes: [
      ...raw(option.setOptionBytes, x),
      ...refusalsOf(
        notBytes.filter((bad) => bad !== null),
        (bytes) => option.setOptionBytes(none, 1, 2, bytes),
        'bytes',
      ),
    ],
    setOptionInt: [
      ...raw(option.setOptionInt, 1),
      ...refusalsOf(notInt32, (value) => option.setOptionInt(none, 1, 2, value), 'value'),
    ],
    wo: rowRefusals(option.wo, 'option', noEncode),
  })

  it('refuses values that are not objects by the option’s name', () => {
    const codecs = Object.entries(codec).filter(([, value]) => typeof value === 'object' && 'encode' in value)
    expect(codecs.length).toBeGreaterThan(20)
    for (const [name, value] of codecs) {
      for (const bad of [undefined, Symbol('x'), () => 1]) {
        const call = () => option.setOption(none, option.wo('ROW', 1, 2, value as codec.Encoder<unknown>), bad)
        expect(call, name).toThrow(/^ROW must /)
      }
    }
  })
})

describe('codec.ts', () => {
  testRefusals(publicOf(codec), {
    raw: refusalsOf([...notCounts, undefined], codec.raw, 'size'),
    text: refusalsOf([...notCounts, undefined, 0], codec.text, 'size'),
    uints: refusalsOf([...notCounts, undefined], codec.uints, 'count'),
  })
})

describe('streams/datagram.ts', () => {
  const error = () => {}
  const make = (socket: Bad, handlers: Bad = { error }, options?: Bad) =>
    new datagram.DatagramChannel(socket, handlers, options)
  // Constructors that throw leave the socket to its owner.
  const onSocket = (call: (socket: core.Socket) => unknown) => {
    const [socket] = unixPair()
    try {
      return call(socket)
    } finally {
      expect(socket.closed).toBe(false)
    }
  }
  const onChannel = (full: boolean, call: (channel: datagram.DatagramChannel) => unknown) => {
    const [a, b] = core.Socket.pair(core.AF_UNIX, core.SOCK_DGRAM)
    closeLater(b)
    using channel = new datagram.DatagramChannel(a, { error })
    if (full) while (channel.send(x)) {}
    return call(channel)
  }
  testRefusals(publicOf(datagram), {
    DatagramChannel: [
      ...refusalsOf([undefined, null, 3, 'text', {}, { fd: 3 }], make, 'socket'),
      ...refusalsOf(notObjects, (handlers) => onSocket((socket) => make(socket, handlers)), 'handlers'),
      unknownName('errorQueue', (handlers) => onSocket((socket) => make(socket, handlers)), 'handlers'),
      ...refusalsOf([{}, { error: 1 }], (handlers) => onSocket((socket) => make(socket, handlers)), 'handlers.error'),
      ...['datagram', 'batch', 'drain', 'end', 'errorQueue'].flatMap((name) =>
        refusalsOf(
          [null, 1, {}],
          (bad) => onSocket((socket) => make(socket, { error, [name]: bad })),
          `handlers.${name}`,
        ),
      ),
      ...refusalsOf(notObjects, (options) => onSocket((socket) => make(socket, { error }, options)), 'options'),
      unknownName('maxQueuedBytes', (options) => onSocket((socket) => make(socket, { error }, options))),
      ...['budget', 'maxQueuedDatagrams', 'maxQueuedBytes'].flatMap((name) =>
        refusalsOf([...notCounts, 0], (bad) => onSocket((socket) => make(socket, { error }, { [name]: bad })), name),
      ),
      ...refusalsOf([null, 1, {}], (signal) => onSocket((socket) => make(socket, { error }, { signal })), 'signal'),
      ...refusalsOf(notObjects, (receive) => onSocket((socket) => make(socket, { error }, { receive })), 'receive'),
      unknownName('size', (receive) => onSocket((socket) => make(socket, { error }, { receive })), 'receive'),
    ],
    'DatagramChannel.drain': [
      ...refusalsOf(notObjects, (options) => onChannel(false, (channel) => channel.drain(options)), 'options'),
      ...refusalsOf(notCounts, (timeout) => onChannel(false, (channel) => channel.drain({ timeout })), 'timeout'),
      unknownName('timeout', (options) => onChannel(false, (channel) => channel.drain(options))),
    ],
    'DatagramChannel.sendBatch': [
      ...refusalsOf(
        [null, 1, {}, 'text'],
        (list) => onChannel(false, (channel) => channel.sendBatch(list)),
        'datagrams',
      ),
      ...refusalsOf(notObjects, (bad) => onChannel(false, (channel) => channel.sendBatch([bad])), 'datagrams[0]'),
      ...refusalsOf(
        notBytes,
        (data) => onChannel(false, (channel) => channel.sendBatch([{ data }])),
        'datagrams[0].data',
      ),
    ],
    'DatagramChannel.sendAsync': [false, true].flatMap((full) => [
      ...refusalsOf(notBytes, (data) => onChannel(full, (channel) => channel.sendAsync(data)), 'data'),
      ...refusalsOf(
        [null, 1, {}],
        (address: Bad) => onChannel(full, (channel) => channel.sendAsync(x, address)),
        'address',
      ),
      ...pairs(badControl, (bad) => onChannel(full, (channel) => channel.sendAsync(x, undefined, { control: bad }))),
      ...refusalsOf(
        [0, 1.5],
        (segments) => onChannel(full, (channel) => channel.sendAsync(x, undefined, { segments })),
        'segments',
      ),
      ...refusalsOf(
        [null, 1],
        (replace) => onChannel(full, (channel) => channel.sendAsync(x, undefined, { replace })),
        'replace',
      ),
    ]),
    'DatagramChannel.send': [
      ...[false, true].flatMap((full) => [
        ...refusalsOf(notBytes, (data) => onChannel(full, (channel) => channel.send(data)), 'data'),
        ...refusalsOf(
          [null, 1, {}],
          (address: Bad) => onChannel(full, (channel) => channel.send(x, address)),
          'address',
        ),
        ...refusalsOf(notObjects, (bad) => onChannel(full, (channel) => channel.send(x, undefined, bad)), 'options'),
        ...pairs(badControl, (bad) => onChannel(full, (channel) => channel.send(x, undefined, { control: bad }))),
        ...pairs(badDescriptors, (descriptors) =>
          onChannel(full, (channel) => channel.send(x, undefined, { descriptors })),
        ),
      ]),
    ],
  })
})

/** The exports of a module that the package exports, too. */
function publicOf(module: object): Record<string, unknown> {
  return Object.fromEntries(Object.entries(module).filter(([name]) => name in core))
}

function pairs(list: readonly [value: Bad, name: string][], call: (value: Bad) => unknown): Refusal[] {
  return list.map(([value, name]) => [() => call(value), beginning(name)])
}
