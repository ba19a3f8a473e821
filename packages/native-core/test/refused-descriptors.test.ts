/** Bad arguments of every function that is in no other table: each is refused by its name, before any system call. */
import net from 'node:net'
import {
  guardDescriptors,
  optionRefusals,
  type Refusal,
  refusalsOf,
  testRefusals,
  unknownName,
} from '@linux-sockets/testkit'
import { onTestFinished } from 'vitest'
import * as address from '../src/address.js'
import * as batch from '../src/batch.js'
import * as byteorder from '../src/codecs/byteorder.js'
import * as codec from '../src/codecs/codec.js'
import * as sockaddr from '../src/codecs/sockaddr.js'
import * as control from '../src/control.js'
import * as inter from '../src/interfaces/index.js'
import * as ip from '../src/ip.js'
import * as message from '../src/message.js'
import * as option from '../src/option.js'
import * as resolve from '../src/resolve/resolve.js'
import * as datagram from '../src/streams/datagram.js'
import * as text from '../src/text.js'
import * as core from './everything.js'

guardDescriptors()

const tested = [
  address,
  batch,
  byteorder,
  codec,
  control,
  datagram,
  inter,
  ip,
  message,
  option,
  resolve,
  sockaddr,
  text,
]
const rest = Object.fromEntries(Object.entries(core).filter(([name]) => !tested.some((module) => name in module)))

// biome-ignore lint/suspicious/noExplicitAny: what JavaScript lets through
type Bad = any

const notObjects: Bad[] = [null, 1, 'text', true]
const notFds: Bad[] = [undefined, null, 'text', {}, { fd: '1' }, Number.NaN, 1.5]
const notNumbers: Bad[] = [null, '1', Number.NaN, {}, 1n]
const notInt32: Bad[] = [...notNumbers, 1.5, 2 ** 31, 2 ** 40]
const notFlags: Bad[] = [...notNumbers, 1.5, 2 ** 32]
const notCounts: Bad[] = [...notNumbers, -1, 1.5]
const notBooleans: Bad[] = [null, 1, 'yes']
const notFunctions: Bad[] = [null, 1, 'f', {}]
const notBytes: Bad[] = [undefined, null, 1, 'text', [1], {}, new Int32Array(2), new ArrayBuffer(4)]
const notBuffers: Bad[] = [undefined, null, 1, 'text', {}, [1], ['x'], [new Int32Array(1)]]
const notSockets: Bad[] = [undefined, null, 1, 'text', {}, { port: 80 }]
const notAddresses: Bad[] = [undefined, null, 1, 'text', {}, { family: 'ipv9' }]

/** With no descriptor behind it, so that a system call would say EBADF. */
const none = -1
const x = Buffer.from('x')
const stop = () => {}
const server = net.createServer()

/** A socket that is open for the time of the test. */
function socket(type = core.SOCK_STREAM): core.Socket {
  const [ours, peer] = core.Socket.pair(core.AF_UNIX, type)
  onTestFinished(() => {
    ours.close()
    peer.close()
  })
  return ours
}

function listening(): core.Socket {
  const made = core.Socket.open(core.AF_INET, core.SOCK_STREAM)
  onTestFinished(() => made.close())
  made.bind({ family: 'ipv4', address: '127.0.0.1', port: 0 })
  made.listen()
  return made
}

function stream(): core.SocketStream {
  const made = new core.SocketStream(socket())
  onTestFinished(() => void made.destroy())
  return made
}

const ready = (call: (target: Bad, events: Bad, options?: Bad) => unknown): Refusal[] => [
  ...refusalsOf(notFds, (target) => call(target, core.EPOLLIN), 'target'),
  ...refusalsOf(notObjects, (options) => call(none, core.EPOLLIN, options), 'options'),
  unknownName('timeout', (options) => call(none, core.EPOLLIN, options)),
  ...optionRefusals('timeout', [...notNumbers, 0, 1.5, 2 ** 31], (options) => call(none, core.EPOLLIN, options)),
  ...optionRefusals('signal', [null, 1, {}], (options) => call(none, core.EPOLLIN, options)),
]

const program = (attach: (socket: Bad, program: Bad) => unknown): Refusal[] => [
  ...refusalsOf(notFds, (bad) => attach(bad, [core.BPF_STMT(6, 0)]), 'socket'),
  ...refusalsOf([undefined, null, 1, 'text', {}, []], (bad) => attach(none, bad), 'program'),
  ...refusalsOf([undefined, null, 1, 'text'], (bad) => attach(none, [bad]), 'program[0]'),
  ...['code', 'jt', 'jf', 'k'].flatMap((field) =>
    refusalsOf(notFlags, (bad) => attach(none, [{ ...core.BPF_STMT(6, 0), [field]: bad }]), `program[0].${field}`),
  ),
]

testRefusals(rest, {
  BPF_JUMP: [
    ...refusalsOf([...notCounts, 2 ** 16], (code) => core.BPF_JUMP(code, 0, 0, 0), 'code'),
    ...refusalsOf(notFlags, (k) => core.BPF_JUMP(0, k, 0, 0), 'k'),
    ...refusalsOf([...notCounts, 256], (jt) => core.BPF_JUMP(0, 0, jt, 0), 'jt'),
    ...refusalsOf([...notCounts, 256], (jf) => core.BPF_JUMP(0, 0, 0, jf), 'jf'),
  ],
  BPF_STMT: [
    ...refusalsOf([...notCounts, 2 ** 16], (code) => core.BPF_STMT(code, 0), 'code'),
    ...refusalsOf(notFlags, (k) => core.BPF_STMT(0, k), 'k'),
  ],
  Listener: [
    ...refusalsOf(notSockets, (bad) => new core.Listener(bad), 'socket'),
    ...refusalsOf(notObjects, (options) => new core.Listener(listening(), options), 'options'),
    unknownName('wrap', (options) => new core.Listener(listening(), options)),
    ...optionRefusals('budget', [...notCounts, 0], (options) => new core.Listener(listening(), options)),
    ...['wrap', 'delayed', 'watch'].flatMap((name) =>
      optionRefusals(name, notFunctions, (options) => new core.Listener(listening(), options)),
    ),
    ...optionRefusals('signal', [null, 1, {}], (options) => new core.Listener(listening(), options)),
  ],
  'Listener.run': refusalsOf(
    [undefined, ...notFunctions],
    (callback) => withListener((it) => it.run(callback)),
    'callback',
  ),
  OwnedFd: refusalsOf([undefined, ...notCounts, 2 ** 31], (fd) => core.OwnedFd.adopt(fd), 'fd'),
  Socket: [
    ...refusalsOf([undefined, ...notInt32], (domain) => core.Socket.open(domain, 1), 'domain'),
    ...refusalsOf([undefined, ...notFlags], (type) => core.Socket.open(1, type), 'type'),
    ...refusalsOf(notInt32, (protocol) => core.Socket.open(1, 1, protocol), 'protocol'),
    ...refusalsOf(notObjects, (options) => core.Socket.open(1, 1, 0, options), 'options'),
    unknownName('blocking', (options) => core.Socket.open(1, 1, 0, options)),
    ...optionRefusals('blocking', notBooleans, (options) => core.Socket.open(1, 1, 0, options)),
    ...refusalsOf(notInt32, (domain) => core.Socket.pair(domain, 1), 'domain'),
    ...refusalsOf(notFlags, (type) => core.Socket.pair(1, type), 'type'),
    ...refusalsOf(notInt32, (protocol) => core.Socket.pair(1, 1, protocol), 'protocol'),
    ...refusalsOf(notObjects, (options) => core.Socket.pair(1, 1, 0, options), 'options'),
    unknownName('blocking', (options) => core.Socket.pair(1, 1, 0, options)),
    ...refusalsOf([undefined, ...notCounts], (fd) => core.Socket.adopt(fd), 'fd'),
    ...refusalsOf(notSockets, (owner) => core.Socket.from(owner), 'owner'),
    ...refusalsOf(notInt32, (backlog) => socket().listen(backlog), 'backlog'),
  ],
  'Socket.accept': [
    ...refusalsOf(notObjects, (options) => socket().accept(options), 'options'),
    unknownName('blocking', (options) => socket().accept(options)),
    ...optionRefusals('blocking', notBooleans, (options) => socket().accept(options)),
  ],
  'Socket.bind': refusalsOf(notAddresses, (bad) => socket().bind(bad), 'address'),
  'Socket.connect': refusalsOf(notAddresses, (bad) => socket().connect(bad), 'address'),
  'Socket.shutdown': refusalsOf([undefined, ...notInt32], (how) => socket().shutdown(how), 'how'),
  'Socket.send': [
    ...refusalsOf(notBytes, (data) => socket().send(data), 'data'),
    ...refusalsOf(notFlags, (flags) => socket().send(x, flags), 'flags'),
    ...refusalsOf([...notCounts, 2], (offset) => socket().send(x, 0, offset), 'offset'),
    ...refusalsOf([...notCounts, 2], (length) => socket().send(x, 0, 0, length), 'length'),
  ],
  'Socket.recv': [
    ...refusalsOf(notBytes, (buffer) => socket().recv(buffer), 'buffer'),
    ...refusalsOf(notFlags, (flags) => socket().recv(Buffer.alloc(1), flags), 'flags'),
    ...refusalsOf([...notCounts, 2], (offset) => socket().recv(Buffer.alloc(1), 0, offset), 'offset'),
    ...refusalsOf([...notCounts, 2], (length) => socket().recv(Buffer.alloc(1), 0, 0, length), 'length'),
    [() => socket().recv(Buffer.alloc(0)), /buffer is empty/],
  ],
  'Socket.sendTo': [
    ...refusalsOf(notBytes, (data) => socket().sendTo(data, { family: 'unix', abstract: 'x' }), 'data'),
    ...refusalsOf(notAddresses, (bad) => socket().sendTo(x, bad), 'address'),
    ...refusalsOf(notFlags, (flags) => socket().sendTo(x, { family: 'unix', abstract: 'x' }, flags), 'flags'),
  ],
  'Socket.recvFrom': [
    ...refusalsOf(notBytes, (buffer) => socket().recvFrom(buffer), 'buffer'),
    ...refusalsOf(notFlags, (flags) => socket().recvFrom(Buffer.alloc(1), flags), 'flags'),
  ],
  // As `sendMessage` and `recvMessage`.
  'Socket.sendMessage': refusalsOf(notObjects, (bad) => socket().sendMessage(bad), 'message'),
  'Socket.recvMessage': refusalsOf(notBuffers, (bad) => socket().recvMessage(bad), 'buffers'),
  SocketStream: [
    ...refusalsOf(notSockets, (bad) => new core.SocketStream(bad), 'socket'),
    ...refusalsOf(notObjects, (options) => new core.SocketStream(socket(), options), 'options'),
    unknownName('highWaterMark', (options) => new core.SocketStream(socket(), options)),
    ...['highWaterMark', 'readableHighWaterMark', 'writableHighWaterMark'].flatMap((name) =>
      optionRefusals(name, notCounts, (options) => new core.SocketStream(socket(), options)),
    ),
    ...optionRefusals('allowHalfOpen', notBooleans, (options) => new core.SocketStream(socket(), options)),
    ...optionRefusals('signal', [null, 1, {}], (options) => new core.SocketStream(socket(), options)),
    ...optionRefusals('watch', notFunctions, (options) => new core.SocketStream(socket(), options)),
  ],
  'SocketStream.setTimeout': [
    ...refusalsOf([undefined, ...notNumbers, -1, 2 ** 31], (timeout) => stream().setTimeout(timeout), 'timeout'),
    ...refusalsOf(notFunctions, (callback) => stream().setTimeout(1, callback), 'callback'),
  ],
  'SocketStream.surrender': [
    ...refusalsOf(notFunctions, (callback) => stream().surrender(callback), 'callback'),
    ...refusalsOf(notObjects, (options) => stream().surrender(() => {}, options), 'options'),
    ...optionRefusals('ended', notFunctions, (options) => stream().surrender(() => {}, options)),
    unknownName('ended', (options) => stream().surrender(() => {}, options)),
  ],
  readExactly: [
    ...refusalsOf([undefined, null, 1, {}], (bad) => core.readExactly(bad, 1), 'stream'),
    ...refusalsOf([undefined, ...notCounts], (length) => core.readExactly(stream(), length), 'length'),
    ...refusalsOf(notObjects, (options) => core.readExactly(stream(), 1, options), 'options'),
    ...optionRefusals('signal', [null, 1, {}], (options) => core.readExactly(stream(), 1, options)),
    ...optionRefusals('timeout', [...notCounts, 0], (options) => core.readExactly(stream(), 1, options)),
    unknownName('signal', (options) => core.readExactly(stream(), 1, options)),
  ],
  'SocketStream.lend': refusalsOf([undefined, ...notFunctions], (send) => stream().lend(send), 'send'),
  // For subclasses, and for Node.
  'SocketStream.write': [],
  'SocketStream.receive': [],
  'SocketStream.transmit': [],
  'SocketStream._write': [],
  'SocketStream._writev': [],
  'SocketStream._final': [],
  'SocketStream._destroy': [],
  SystemError: [],
  attachEpoll: [
    ...refusalsOf(notFds, (epoll) => core.attachEpoll(epoll, new Uint32Array(3), stop), 'epoll'),
    ...refusalsOf([...notBytes, new Uint32Array(2)], (events) => core.attachEpoll(none, events, stop), 'events'),
    ...refusalsOf([undefined, ...notFunctions], (bad) => core.attachEpoll(none, new Uint32Array(3), bad), 'ready'),
  ],
  attachFilter: program(core.attachFilter),
  attachProgram: [
    ...refusalsOf(notFds, (bad) => core.attachProgram(bad, 0), 'socket'),
    ...refusalsOf(notFds, (bad) => core.attachProgram(0, bad), 'program'),
  ],
  attachReusePortFilter: program(core.attachReusePortFilter),
  attachReusePortProgram: [
    ...refusalsOf(notFds, (bad) => core.attachReusePortProgram(bad, 0), 'socket'),
    ...refusalsOf(notFds, (bad) => core.attachReusePortProgram(0, bad), 'program'),
  ],
  borrow: refusalsOf([undefined, null, 1, 'text', {}], (thing) => core.borrow(thing), 'borrow'),
  detachFilter: refusalsOf(notFds, (bad) => core.detachFilter(bad), 'socket'),
  detachReusePortFilter: refusalsOf(notFds, (bad) => core.detachReusePortFilter(bad), 'socket'),
  dup: refusalsOf(notFds, (bad) => core.dup(bad), 'source'),
  effectiveBacklog: refusalsOf(notInt32, (backlog) => core.effectiveBacklog(backlog), 'backlog'),
  epollControl: [
    ...refusalsOf(notFds, (epoll) => core.epollControl(epoll, 1, none), 'epoll'),
    ...refusalsOf([undefined, ...notInt32], (operation) => core.epollControl(none, operation, none), 'operation'),
    ...refusalsOf(notFds, (target) => core.epollControl(none, 1, target), 'target'),
    ...refusalsOf(notFlags, (events) => core.epollControl(none, 1, none, events), 'events'),
    ...refusalsOf(notFlags, (low) => core.epollControl(none, 1, none, 0, low), 'dataLow'),
    ...refusalsOf(notFlags, (high) => core.epollControl(none, 1, none, 0, 0, high), 'dataHigh'),
  ],
  epollCreate: [],
  epollWait: [
    ...refusalsOf(notFds, (epoll) => core.epollWait(epoll, new Uint32Array(3)), 'epoll'),
    ...refusalsOf([...notBytes, new Uint32Array(2)], (events) => core.epollWait(none, events), 'events'),
    ...refusalsOf(
      [...notNumbers, -2, 1e300],
      (timeout) => core.epollWait(none, new Uint32Array(3), timeout),
      'timeout',
    ),
  ],
  errnoName: refusalsOf([undefined, ...notNumbers], (number) => core.errnoName(number), 'number'),
  errnoText: refusalsOf([undefined, ...notNumbers], (number) => core.errnoText(number), 'number'),
  eventfd: [
    ...refusalsOf([...notCounts, 2 ** 32], (initial) => core.eventfd(initial), 'initial'),
    ...refusalsOf(notObjects, (options) => core.eventfd(0, options), 'options'),
    unknownName('semaphore', (options) => core.eventfd(0, options)),
    ...optionRefusals('semaphore', notBooleans, (options) => core.eventfd(0, options)),
    ...optionRefusals('blocking', notBooleans, (options) => core.eventfd(0, options)),
  ],
  fcntl: [
    ...refusalsOf(notFds, (file) => core.fcntl(file, 3), 'file'),
    ...refusalsOf([undefined, ...notInt32], (command) => core.fcntl(none, command), 'command'),
    ...refusalsOf(notFlags, (argument) => core.fcntl(none, 4, argument), 'argument'),
    [() => core.fcntl(none, 0), /dup/],
  ],
  getFilter: refusalsOf(notFds, (bad) => core.getFilter(bad), 'socket'),
  getResourceLimit: refusalsOf(notCounts, (resource) => core.getResourceLimit(resource), 'resource'),
  ioctl: [
    ...refusalsOf(notFds, (file) => core.ioctl(file, 0x541b), 'file'),
    ...refusalsOf([undefined, ...notFlags], (request) => core.ioctl(none, request), 'request'),
    ...refusalsOf([null, 1, {}, new Uint8Array(4)], (value) => core.ioctl(none, 0x541b, value), 'value'),
  ],
  isNonBlocking: refusalsOf(notFds, (file) => core.isNonBlocking(file), 'file'),
  pipe: [
    ...refusalsOf(notObjects, (options) => core.pipe(options), 'options'),
    unknownName('blocking', (options) => core.pipe(options)),
    ...optionRefusals('blocking', notBooleans, (options) => core.pipe(options)),
  ],
  raiseDescriptorLimit: [],
  readable: ready((target, _events, options) => core.readable(target, options)),
  readv: [
    ...refusalsOf(notFds, (file) => core.readv(file, [Buffer.alloc(1)]), 'file'),
    ...refusalsOf(notBuffers, (buffers) => core.readv(none, buffers), 'buffers'),
  ],
  ready: [
    ...ready(core.ready),
    ...refusalsOf([undefined, ...notFlags, core.EPOLLET], (events) => core.ready(none, events), 'events'),
  ],
  sendfile: [
    ...refusalsOf(notFds, (out) => core.sendfile(out, none, null, 1), 'out'),
    ...refusalsOf(notFds, (input) => core.sendfile(none, input, null, 1), 'input'),
    ...refusalsOf(
      [undefined, ...notCounts.filter((bad) => bad !== null)],
      (offset) => core.sendfile(none, none, offset, 1),
      'offset',
    ),
    ...refusalsOf([undefined, ...notCounts], (count) => core.sendfile(none, none, null, count), 'count'),
  ],
  setNonBlocking: [
    ...refusalsOf(notFds, (file) => core.setNonBlocking(file), 'file'),
    ...refusalsOf(notBooleans, (on) => core.setNonBlocking(none, on), 'on'),
  ],
  setResourceLimit: [
    ...refusalsOf([undefined, ...notObjects], (limit) => core.setResourceLimit(limit), 'limit'),
    unknownName('hard', (limit) => core.setResourceLimit(limit), 'limit'),
    // The kernel, were it asked, would refuse the resource.
    ...optionRefusals('soft', notCounts, (limit) => core.setResourceLimit(limit, 1000)),
    ...optionRefusals('hard', notCounts, (limit) => core.setResourceLimit(limit, 1000)),
    ...refusalsOf(notCounts, (resource) => core.setResourceLimit({}, resource), 'resource'),
  ],
  serve: [
    ...refusalsOf([...notSockets, socket], (bad) => core.serve(bad, server), 'listener'),
    ...refusalsOf(
      [undefined, ...notObjects, {}],
      (bad) => withListener((listener) => core.serve(listener as Bad, bad)),
      'server',
    ),
  ],
  splice: [
    ...refusalsOf(notFds, (input) => core.splice(input, none, 1), 'input'),
    ...refusalsOf(notFds, (out) => core.splice(none, out, 1), 'out'),
    ...refusalsOf([undefined, ...notCounts], (length) => core.splice(none, none, length), 'length'),
    ...refusalsOf(notFlags, (flags) => core.splice(none, none, 1, flags), 'flags'),
  ],
  tee: [
    ...refusalsOf(notFds, (input) => core.tee(input, none, 1), 'input'),
    ...refusalsOf(notFds, (out) => core.tee(none, out, 1), 'out'),
    ...refusalsOf([undefined, ...notCounts], (length) => core.tee(none, none, length), 'length'),
    ...refusalsOf(notFlags, (flags) => core.tee(none, none, 1, flags), 'flags'),
  ],
  toDgramSocket: refusalsOf(notSockets, (bad) => core.toDgramSocket(bad), 'socket'),
  toNetServer: [
    ...refusalsOf(notSockets, (bad) => core.toNetServer(bad, server), 'socket'),
    ...refusalsOf([undefined, ...notObjects, {}], (bad) => core.toNetServer(socket(), bad), 'server'),
    ...refusalsOf(notObjects, (options) => core.toNetServer(socket(), server, options), 'options'),
    unknownName('backlog', (options) => core.toNetServer(socket(), server, options)),
    ...optionRefusals('backlog', notInt32, (options) => core.toNetServer(socket(), server, options)),
  ],
  toNetSocket: [
    ...refusalsOf(notSockets, (bad) => core.toNetSocket(bad), 'socket'),
    ...refusalsOf(notObjects, (options) => core.toNetSocket(socket(), options), 'options'),
    unknownName('allowHalfOpen', (options) => core.toNetSocket(socket(), options)),
    ...optionRefusals('allowHalfOpen', notBooleans, (options) => core.toNetSocket(socket(), options)),
    ...refusalsOf(notObjects, (options) => core.toNetSocket(stream(), options), 'options'),
    ...optionRefusals('allowHalfOpen', notBooleans, (options) => core.toNetSocket(stream(), options)),
  ],
  // The contract of WatchFunction has more.
  watch: [
    ...refusalsOf(notFds, (target) => core.watch(target, core.EPOLLIN, stop), 'target'),
    ...refusalsOf([undefined, ...notFlags], (events) => core.watch(none, events, stop), 'events'),
    ...refusalsOf([undefined, ...notFunctions], (callback) => core.watch(none, core.EPOLLIN, callback), 'callback'),
    ...refusalsOf(notObjects, (options) => core.watch(none, core.EPOLLIN, stop, options), 'options'),
    unknownName('ended', (options) => core.watch(none, core.EPOLLIN, stop, options)),
    ...optionRefusals('ended', notFunctions, (options) => core.watch(none, core.EPOLLIN, stop, options)),
  ],
  StreamServer: [
    ...refusalsOf(notSockets, (bad) => new core.StreamServer(bad), 'socket'),
    ...refusalsOf(notObjects, (options) => new core.StreamServer(listening(), options), 'options'),
    unknownName('budget', (options) => new core.StreamServer(listening(), options)),
    ...optionRefusals('stream', notObjects, (options) => new core.StreamServer(listening(), options)),
    ...optionRefusals('budget', [...notCounts, 0], (options) => new core.StreamServer(listening(), options)),
  ],
  'StreamServer.drain': [
    ...refusalsOf(notObjects, (options) => withStreamServer((server) => server.drain(options)), 'options'),
    unknownName('timeout', (options) => withStreamServer((server) => server.drain(options))),
    ...optionRefusals('timeout', notCounts, (options) => withStreamServer((server) => server.drain(options))),
  ],
  writable: ready((target, _events, options) => core.writable(target, options)),
  writev: [
    ...refusalsOf(notFds, (file) => core.writev(file, [x]), 'file'),
    ...refusalsOf(notBuffers, (buffers) => core.writev(none, buffers), 'buffers'),
  ],
})

function withStreamServer(use: (server: core.StreamServer<core.SocketAddress>) => unknown): unknown {
  const server = new core.StreamServer<core.SocketAddress>(listening())
  onTestFinished(() => server.close())
  return use(server)
}

function withListener(use: (listener: core.Listener) => unknown): unknown {
  const listener = new core.Listener(listening())
  onTestFinished(() => listener.close())
  return use(listener)
}
