import * as core from '@linux-sockets/native-core'
import { Socket } from '@linux-sockets/native-core'
import { EPOLLIN } from '@linux-sockets/native-core/constants'
import * as streams from '@linux-sockets/native-core/streams'
import {
  guardDescriptors,
  optionRefusals,
  type Refusal,
  refusalsOf,
  testRefusals,
  unknownName,
} from '@linux-sockets/testkit'
import { afterAll } from 'vitest'
import * as epoll from '../src/index.js'

guardDescriptors()

const {
  adopt,
  connect,
  delimited,
  Epoll,
  EpollEvents,
  encodeLength,
  LoopTimers,
  lengthPrefixed,
  lines,
  listen,
  Reactor,
  serve,
  Timer,
  TimerWheel,
  wake,
} = epoll

const handlers = { data: () => {} }
const reactor = new Reactor()
const address = { family: 'ipv4', address: '127.0.0.1', port: 1 } as const

/** Calls `use` with sockets that are open for the time of the call. */
function lend(use: (a: Socket, b: Socket) => unknown): () => unknown {
  return () => {
    const [a, b] = Socket.pair()
    try {
      return use(a, b)
    } finally {
      a.close()
      b.close()
    }
  }
}

/** A value for an argument of another type. */
const any = (value: unknown) => value as never

const descriptors: unknown[] = [undefined, null, '1', 1.5, {}, { fd: '1' }, { fd: undefined }]
const milliseconds: unknown[] = [Number.NaN, -1, 2 ** 31, '5', null]
const counts: unknown[] = [0, -1, 1.5, Number.NaN, '5', null]
const functions: unknown[] = [null, 1, 'f', {}]
const objects: unknown[] = [null, 1, 'f', true]

const ofConnections = (use: (options: never) => unknown): Refusal[] => [
  ...['lowWaterMark', 'highWaterMark', 'maxQueuedBytes'].flatMap((name) =>
    optionRefusals(name, [Number.NaN, -1, '5', null], use),
  ),
  ...['connectTimeout', 'idleTimeout', 'readTimeout', 'writeTimeout'].flatMap((name) =>
    optionRefusals(name, [...milliseconds, 0], use),
  ),
  [() => use(any({ lowWaterMark: 10, highWaterMark: 5 })), 'lowWaterMark ≤ highWaterMark'],
  unknownName('idleTimeout', use),
  ...internal(use),
]

/** Names of what the package passes to a connection, and programs can't. */
const internal = (use: (options: never) => unknown): Refusal[] =>
  ['policy', 'owner', 'connecting'].map((name) => [
    () => use(any({ [name]: {} })),
    new RegExp(`^options\\.${name} is not known; known are `),
  ])

const ofHandlers = (use: (handlers: never) => unknown): Refusal[] => [
  ...refusalsOf([undefined, null, 1, 'f'], use, /^handlers must be/),
  ...refusalsOf([{}, { data: null }, { data: 'f' }], use, /^handlers\.data must be/),
  unknownName('data', use, 'handlers'),
  ...['state', 'open', 'drain', 'end', 'error', 'close', 'timeout'].flatMap((name) =>
    refusalsOf(
      functions,
      (value) => use(any({ ...handlers, [name]: value })),
      new RegExp(`^handlers\\.${name} must be`),
    ),
  ),
]

const ofServers = (use: (options: never) => unknown): Refusal[] => [
  ...ofConnections(use),
  ...['maxConnections', 'budget'].flatMap((name) => optionRefusals(name, counts, use)),
  ...optionRefusals('exclusive', [null, 1, 'yes'], use),
  ...['delayed', 'ended'].flatMap((name) => optionRefusals(name, functions, use)),
]

const ofDrain = (use: (options: never) => unknown): Refusal[] => [
  ...refusalsOf([null, 5], use, /^options must be/),
  unknownName('timeout', use),
  ...optionRefusals('timeout', [...milliseconds, 1.5], use),
]

const ofFramings = (use: (options: never) => unknown): Refusal[] => [
  ...refusalsOf(objects, use, /^options must be/),
  ...optionRefusals('limit', [-1, 1.5, '5', null], use),
  unknownName('limit', use),
]

const instance = new Epoll()
// Every system call on these fails with EBADF.
const closed = new Epoll()
closed.close()
const gone = Socket.open(1, 1)
gone.close()
const wheel = new TimerWheel()
const timers = new LoopTimers()
const [ours, peer] = Socket.pair()
const connection = adopt(reactor, ours, handlers)
const listener = Socket.open(2, 1)
listener.bind({ ...address, port: 0 })
listener.listen()
const server = serve(reactor, listener, handlers)

afterAll(() => {
  connection.abort()
  peer.close()
  reactor.close()
  instance.close()
})

testRefusals(
  epoll,
  {
    adopt: [
      ...refusalsOf(descriptors, (socket) => adopt(reactor, socket, handlers), /^socket must be a Socket/),
      [lend((socket) => adopt(any({}), socket, handlers)), /^reactor must be a Reactor/],
      ...ofHandlers((value) => adopt(reactor, gone, value)),
      ...ofConnections((value) => adopt(reactor, gone, handlers, value)),
    ],
    'Connection.drain': ofDrain((value) => connection.drain(value)),
    'Connection.toStream': [
      ...refusalsOf([null, 1, 'f', true], (value) => connection.toStream(value), /^options must be/),
      unknownName('signal', (value) => connection.toStream(value)),
      ...optionRefusals('allowHalfOpen', [null, 1, 'yes'], (value) => connection.toStream(value)),
      ...optionRefusals('signal', [null, 1, {}], (value) => connection.toStream(value)),
      ...optionRefusals('highWaterMark', [null, -1, 1.5, '5'], (value) => connection.toStream(value)),
    ],
    'Connection.write': refusalsOf(
      [undefined, null, 1, {}, [1], new ArrayBuffer(1)],
      (data) => connection.write(data),
      /^data must be/,
    ),
    Epoll: [],
    'Epoll.add': [
      ...refusalsOf(descriptors, (target) => instance.add(target, EPOLLIN), /^target must be/),
      ...refusalsOf(
        [undefined, null, '1', 1.5, Number.NaN, 2 ** 32],
        (events) => instance.add(0, events),
        /^events must be/,
      ),
      ...refusalsOf([-1, 1.5, '1', 2n ** 64n, -1n], (data) => instance.add(0, EPOLLIN, data), /^data must be/),
    ],
    'Epoll.modify': [
      ...refusalsOf(descriptors, (target) => instance.modify(target, EPOLLIN), /^target must be/),
      ...refusalsOf(
        [undefined, null, '1', 1.5, Number.NaN, 2 ** 32],
        (events) => instance.modify(0, events),
        /^events must be/,
      ),
      ...refusalsOf([-1, 1.5, '1', 2n ** 64n, -1n], (data) => instance.modify(0, EPOLLIN, data), /^data must be/),
    ],
    'Epoll.delete': refusalsOf(descriptors, (target) => instance.delete(target), /^target must be/),
    'Epoll.wait': [
      ...refusalsOf([undefined, null, 1, {}, []], (events) => instance.wait(events), /^events must be/),
      ...refusalsOf(
        [Number.NaN, '1', null, -2, 1e300],
        (timeout) => instance.wait(new EpollEvents(1), timeout),
        /^timeout must be/,
      ),
    ],
    'Epoll.setBusyPoll': [
      ...refusalsOf([undefined, null, 1, 'f'], (changes) => closed.setBusyPoll(changes), /^changes must be/),
      unknownName('budget', (changes) => closed.setBusyPoll(changes), 'changes'),
      ...optionRefusals('usecs', [-1, '1', 2 ** 31], (changes) => closed.setBusyPoll(changes)),
      ...optionRefusals('budget', [-1, '1', 2 ** 16], (changes) => closed.setBusyPoll(changes)),
      ...optionRefusals('prefer', [1, 'yes', null], (changes) => closed.setBusyPoll(changes)),
    ],
    EpollEvents: refusalsOf([...counts, 2 ** 31], (capacity) => new EpollEvents(capacity), /^capacity must be/),
    'EpollEvents.events': [],
    'EpollEvents.low': [],
    'EpollEvents.high': [],
    'EpollEvents.data': [],
    FramingError: [],
    LoopTimers: [],
    'LoopTimers.start': [
      ...refusalsOf([undefined, null, {}, () => {}], (timer) => timers.start(timer, 1), /^timer must be/),
      ...refusalsOf(milliseconds, (value) => timers.start(new Timer(() => {}), value), /^milliseconds must be/),
    ],
    'LoopTimers.stop': refusalsOf([undefined, null, {}, () => {}], (timer) => timers.stop(timer), /^timer must be/),
    Reactor: [],
    'Reactor.register': [
      ...refusalsOf(descriptors, (target) => reactor.register(target, EPOLLIN, () => {}), /^target must be/),
      ...refusalsOf(
        [undefined, null, '1', 1.5, 2 ** 32],
        (events) => reactor.register(0, events, () => {}),
        /^events must be/,
      ),
      ...refusalsOf([undefined, ...functions], (handler) => reactor.register(0, EPOLLIN, handler), /^handler must be/),
      ...refusalsOf(functions, (ended) => reactor.register(0, EPOLLIN, () => {}, ended), /^ended must be/),
    ],
    'Reactor.run': [
      ...refusalsOf([null, 1, 'text'], (options) => reactor.run(options), /^options must be/),
      ...optionRefusals('lead', [null, 1, 'yes'], (options) => reactor.run(options)),
      unknownName('lead', (options) => reactor.run(options)),
    ],
    'Reactor.waker': refusalsOf([undefined, ...functions], (callback) => reactor.waker(callback), /^callback must be/),
    'Server.drain': ofDrain((value) => server.drain(value)),
    Timer: [
      ...refusalsOf([undefined, ...functions], (expired) => new Timer(expired), /^expired must be/),
      ...refusalsOf([null, 1, 'f'], (options) => new Timer(() => {}, options), /^options must be/),
      unknownName('ref', (options) => new Timer(() => {}, options)),
      ...optionRefusals('ref', [null, 1, 'yes'], (options) => new Timer(() => {}, options)),
    ],
    TimerWheel: [
      ...refusalsOf(functions, (clock) => new TimerWheel(clock), /^clock must/),
      [() => new TimerWheel(() => Number.NaN), /^clock must/],
    ],
    'TimerWheel.start': [
      ...refusalsOf([undefined, null, {}, () => {}], (timer) => wheel.start(timer, 1), /^timer must be/),
      ...refusalsOf(milliseconds, (value) => wheel.start(new Timer(() => {}), value), /^milliseconds must be/),
    ],
    'TimerWheel.stop': refusalsOf([undefined, null, {}, () => {}], (timer) => wheel.stop(timer), /^timer must be/),
    connect: [
      [() => connect(any({}), address, handlers), /^reactor must be a Reactor/],
      ...refusalsOf(
        [undefined, null, 5, {}, 'nowhere', { family: 'ipv9' }],
        (to) => connect(reactor, to, handlers),
        /address|family/,
      ),
      ...ofHandlers((value) => connect(reactor, address, value)),
      ...ofConnections((value) => connect(reactor, address, handlers, value)),
      ...optionRefusals('prepare', functions, (value) => connect(reactor, address, handlers, value)),
      ...optionRefusals('protocol', ['tcp', 1.5, -1], (value) => connect(reactor, address, handlers, value)),
      ...optionRefusals('localAddress', [null, 5, 'nowhere'], (value) => connect(reactor, address, handlers, value)),
    ],
    delimited: [
      ...refusalsOf([undefined, null, '\n', [10]], (delimiter) => delimited(delimiter), /^delimiter must be/),
      [() => delimited(new Uint8Array(0)), /^delimiter must/],
      ...ofFramings((value) => delimited(Buffer.from('x'), value)),
    ],
    encodeLength: [
      ...refusalsOf([undefined, null, '5', -1, 1.5, 2 ** 32], (length) => encodeLength(length), /^length must be/),
      ...refusalsOf(objects, (value) => encodeLength(1, value), /^options must be/),
      unknownName('endian', (value) => encodeLength(1, value)),
      ...optionRefusals('size', [3, '4', null], (value) => encodeLength(1, value)),
      ...optionRefusals('endian', ['middle', 1, null], (value) => encodeLength(1, value)),
    ],
    lengthPrefixed: [
      ...ofFramings((value) => lengthPrefixed(value)),
      ...optionRefusals('size', [3, '4', null], (value) => lengthPrefixed(value)),
      ...optionRefusals('endian', ['middle', 1, null], (value) => lengthPrefixed(value)),
    ],
    lines: ofFramings((value) => lines(value)),
    listen: [
      [() => listen(any({}), address, handlers), /^reactor must be a Reactor/],
      ...refusalsOf(
        [undefined, null, 5, {}, [address], 'nowhere', { family: 'ipv9' }],
        (at) => listen(reactor, at, handlers),
        /address|family/,
      ),
      ...ofHandlers((value) => listen(reactor, address, value)),
      ...ofServers((value) => listen(reactor, address, handlers, value)),
      ...optionRefusals('backlog', ['5', 1.5, -1, null], (value) => listen(reactor, address, handlers, value)),
      ...['reuseAddress', 'reusePort', 'v6only'].flatMap((name) =>
        optionRefusals(name, [null, 1, 'yes'], (value) => listen(reactor, address, handlers, value)),
      ),
      ...optionRefusals('prepare', functions, (value) => listen(reactor, address, handlers, value)),
      ...optionRefusals('protocol', ['tcp', 1.5, -1], (value) => listen(reactor, address, handlers, value)),
    ],
    serve: [
      [lend((socket) => serve(any({}), socket, handlers)), /^reactor must be a Reactor/],
      ...refusalsOf(
        [...descriptors, { port: 80 }, 3],
        (socket) => serve(reactor, socket, handlers),
        /^socket must be a Socket/,
      ),
      [lend((socket) => serve(reactor, socket, handlers)), /listen/],
      ...ofHandlers((value) => serve(reactor, gone, value)),
      ...ofServers((value) => serve(reactor, gone, handlers, value)),
    ],
    wake: refusalsOf(descriptors, (waker) => wake(waker), /^waker must be/),
  },
  [core, streams],
)
