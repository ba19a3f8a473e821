import * as core from '@linux-sockets/native-core'
import { Socket } from '@linux-sockets/native-core'
import { AF_INET, SOCK_STREAM } from '@linux-sockets/native-core/constants'
import * as streams from '@linux-sockets/native-core/streams'
import { SocketStream } from '@linux-sockets/native-core/streams'
import {
  guardDescriptors,
  optionRefusals,
  type Refusal,
  refusalsOf,
  testRefusals,
  unknownName,
} from '@linux-sockets/testkit'
import * as tcp from '../src/index.js'
import { anyPort } from './loopback.js'

guardDescriptors()

const {
  connect,
  listen,
  relay,
  Server,
  sendFile,
  serve,
  setKeepAlive,
  steerConnections,
  subflowAddresses,
  subflowInfo,
  tcpInfo,
  ZeroCopyStream,
} = tcp

/** Passes a value as an argument of another type. */
const any = (value: unknown) => value as never

const objects: unknown[] = [null, 1, 'f', true]
const functions: unknown[] = [null, 1, 'f', {}]
const counts: unknown[] = [0, -1, 1.5, Number.NaN, '5', null]
const descriptors: unknown[] = [undefined, null, '1', 1.5, {}, { fd: '1' }, { fd: undefined }]
const noFiles = descriptors.filter((value) => typeof value !== 'string')
const noSockets: unknown[] = [undefined, null, 5, {}, { port: 80 }, 'nowhere']
/** Addresses that are not of TCP. */
const others = ['/run/x.sock', '@name', { family: 'unix', path: '/run/x.sock' }, { family: 'vsock', cid: 2, port: 1 }]
const noAddresses: unknown[] = [
  undefined,
  null,
  5,
  {},
  'nowhere',
  '127.0.0.1',
  [],
  [null],
  ['nowhere'],
  { family: 'ipv9' },
]

/** An address for which a system call would fail with EADDRNOTAVAIL. RFC 5737 */
const elsewhere = { family: 'ipv4', address: '192.0.2.1', port: 0 } as const
/** A closed socket, for which a system call would fail with EBADF. */
const gone = Socket.open(AF_INET, SOCK_STREAM)
gone.close()

/** Calls `use` with an object that is open during the call, and closes the object in any case. */
async function lend<T extends { close(): void }>(open: () => T, use: (lent: T) => unknown): Promise<unknown> {
  const lent = open()
  try {
    return await use(lent)
  } finally {
    lent.close()
  }
}

const bound = () => {
  const socket = Socket.open(AF_INET, SOCK_STREAM)
  socket.bind(anyPort)
  socket.listen()
  return socket
}
const withSocket = (use: (socket: Socket) => unknown) => lend(bound, use)
const withServer = (use: (server: tcp.Server) => unknown) => lend(() => listen(anyPort), use)

async function withStreams(use: (a: SocketStream, b: SocketStream) => unknown): Promise<unknown> {
  const [a, b] = Socket.pair().map((socket) => new SocketStream(socket)) as [SocketStream, SocketStream]
  try {
    return await use(a, b)
  } finally {
    a.destroy()
    b.destroy()
  }
}

const ofStreams = (use: (options: never) => unknown): Refusal[] => [
  ...optionRefusals('stream', objects, use),
  unknownName('allowHalfOpen', (stream) => use(any({ stream })), 'stream'),
  ...[
    ['allowHalfOpen', [null, 1, 'yes']],
    ['signal', [null, 1, {}]],
    ['watch', functions],
    ['highWaterMark', [null, -1, 1.5, '5']],
    ['readableHighWaterMark', [null, -1, 1.5, '5']],
    ['writableHighWaterMark', [null, -1, 1.5, '5']],
  ].flatMap(([name, values]) =>
    refusalsOf(values as unknown[], (value) => use(any({ stream: { [name as string]: value } })), `stream.${name}`),
  ),
]

const ofServers = (use: (options: never) => unknown): Refusal[] => [
  ...refusalsOf(objects, use, /^options must be/),
  ...optionRefusals('budget', counts, use),
  ...optionRefusals('delayed', functions, use),
  ...optionRefusals('watch', functions, use),
  ...optionRefusals('signal', [null, 1, {}], use),
  ...ofStreams(use),
  unknownName('budget', use),
]

testRefusals(
  tcp,
  {
    connect: [
      ...refusalsOf(noAddresses, (addresses) => connect(addresses), /address/),
      ...refusalsOf(others, (addresses) => connect(addresses), /^address must be one of IPv4 or IPv6, not /),
      ...refusalsOf(others, (localAddress) => connect(anyPort, { localAddress }), /^localAddress must be one of IPv4/),
      ...refusalsOf(objects, (value) => connect(anyPort, value), /^options must be/),
      ...optionRefusals('timeout', counts, (value) => connect(anyPort, value)),
      ...optionRefusals('attemptDelay', [...counts, 9], (value) => connect(anyPort, value)),
      ...optionRefusals('fastOpen', [null, 1, 'hello', [1]], (value) => connect(anyPort, value)),
      ...optionRefusals('onAttempt', functions, (value) => connect(anyPort, value)),
      ...optionRefusals('prepare', functions, (value) => connect(anyPort, value)),
      ...optionRefusals('localAddress', [null, 5, 'nowhere', [null]], (value) => connect(anyPort, value)),
      ...optionRefusals('protocol', ['tcp', -1, 1.5, null], (value) => connect(anyPort, value)),
      ...optionRefusals('signal', [null, 1, {}], (value) => connect(anyPort, value)),
      ...ofStreams((value) => connect(anyPort, value)),
      unknownName('localAddress', (value) => connect(anyPort, value)),
    ],
    listen: [
      ...refusalsOf(noAddresses, (addresses) => listen(addresses), /address/),
      ...refusalsOf(others, (addresses) => listen(addresses), /^address must be one of IPv4 or IPv6, not /),
      ...ofServers((value) => listen(elsewhere, value)),
      ...optionRefusals('backlog', [-1, 1.5, '5', null], (value) => listen(elsewhere, value)),
      ...optionRefusals('prepare', functions, (value) => listen(elsewhere, value)),
      ...optionRefusals('protocol', ['tcp', -1, 1.5, null], (value) => listen(elsewhere, value)),
      ...['reuseAddress', 'reusePort', 'v6only'].flatMap((name) =>
        optionRefusals(name, [null, 1, 'yes'], (value) => listen(elsewhere, value)),
      ),
    ],
    relay: [
      ...refusalsOf(noSockets, (a) => withStreams((b) => relay(a, b)), /^a must be a Socket/),
      ...refusalsOf(noSockets, (b) => withStreams((a) => relay(a, b)), /^b must be a Socket/),
      [() => withStreams((a) => relay(a, a)), /two connections/],
      ...refusalsOf(objects, (value) => withStreams((a, b) => relay(a, b, value)), /^options must be/),
      unknownName('idleTimeout', (value) => withStreams((a, b) => relay(a, b, value))),
      unknownName('aToB', (tap) => withStreams((a, b) => relay(a, b, { tap })), 'tap'),
      ...optionRefusals('idleTimeout', counts, (value) => withStreams((a, b) => relay(a, b, value))),
      ...optionRefusals('signal', [null, 1, {}], (value) => withStreams((a, b) => relay(a, b, value))),
      ...optionRefusals('onProgress', functions, (value) => withStreams((a, b) => relay(a, b, value))),
      ...optionRefusals('tap', objects, (value) => withStreams((a, b) => relay(a, b, value))),
      ...['aToB', 'bToA'].flatMap((way) =>
        refusalsOf(
          descriptors.slice(1),
          (tap) => withStreams((a, b) => relay(a, b, { tap: { [way]: tap } })),
          new RegExp(`^tap\\.${way} must be`),
        ),
      ),
    ],
    Server: [
      ...refusalsOf(noSockets, (socket) => new Server(socket), /^socket must be a Socket/),
      [() => new Server([]), /no socket/],
      [
        () =>
          lend(
            () => Socket.open(AF_INET, SOCK_STREAM),
            (socket) => new Server(socket),
          ),
        /does not listen/,
      ],
      ...ofServers((value) => new Server(gone, value)),
    ],
    'Server.drain': [
      ...refusalsOf(objects, (value) => withServer((server) => server.drain(value)), /^options must be/),
      unknownName('timeout', (value) => withServer((server) => server.drain(value))),
      ...optionRefusals('timeout', [-1, 1.5, Number.NaN, '5', null], (value) =>
        withServer((server) => server.drain(value)),
      ),
    ],
    sendFile: [
      ...refusalsOf(descriptors, (socket) => sendFile(socket, 0), /^socket must be/),
      ...refusalsOf(noFiles, (file) => withStreams((a) => sendFile(a, file)), /^file must be/),
      ...refusalsOf(objects, (value) => withStreams((a) => sendFile(a, 0, value)), /^options must be/),
      unknownName('end', (value) => withStreams((a) => sendFile(a, 0, value))),
      ...optionRefusals('start', [-1, 1.5, '5', null], (value) => withStreams((a) => sendFile(a, 0, value))),
      ...optionRefusals('end', [-2, 1.5, '5', null], (value) => withStreams((a) => sendFile(a, 0, value))),
      ...optionRefusals('signal', [null, 1, {}], (value) => withStreams((a) => sendFile(a, 0, value))),
      ...optionRefusals('onProgress', functions, (value) => withStreams((a) => sendFile(a, 0, value))),
    ],
    serve: [
      ...refusalsOf(noSockets, (listener) => serve(listener, any(undefined)), /^listener must be a Listener/),
      ...refusalsOf(noSockets, (to) => withServer((server) => serve(server, to)), /^server must be a net.Server/),
    ],
    setKeepAlive: [
      ...refusalsOf(descriptors, (socket) => setKeepAlive(socket, false), /^socket must be/),
      ...refusalsOf(
        [undefined, ...objects],
        (value) => withSocket((socket) => setKeepAlive(socket, value)),
        /^keepAlive must be/,
      ),
      unknownName('interval', (value) => withSocket((socket) => setKeepAlive(socket, value)), 'keepAlive'),
      ...['idle', 'interval', 'count'].flatMap((name) =>
        optionRefusals(name, counts, (value) => withSocket((socket) => setKeepAlive(socket, value))),
      ),
    ],
    steerConnections: [
      ...refusalsOf(descriptors, (listener) => steerConnections(listener, 'cpu', 1), /^listener must be/),
      ...refusalsOf(
        [undefined, null, 'moon', 1, 'toString'],
        (by) => withSocket((socket) => steerConnections(socket, by, 1)),
        /^by must be/,
      ),
      ...refusalsOf(
        [...counts, 65_536],
        (count) => withSocket((socket) => steerConnections(socket, 'cpu', count)),
        /^count must be/,
      ),
    ],
    subflowAddresses: refusalsOf(descriptors, (socket) => subflowAddresses(socket), /^socket must be/),
    subflowInfo: refusalsOf(descriptors, (socket) => subflowInfo(socket), /^socket must be/),
    tcpInfo: refusalsOf(descriptors, (socket) => tcpInfo(socket), /^socket must be/),
    ZeroCopyStream: [
      ...refusalsOf(noSockets, (socket) => new ZeroCopyStream(socket), /^socket must be a Socket/),
      ...refusalsOf(objects, (value) => new ZeroCopyStream(gone, value), /^options must be/),
      unknownName('allowHalfOpen', (value) => new ZeroCopyStream(gone, value)),
    ],
    'ZeroCopyStream.sendZeroCopy': refusalsOf(
      [undefined, null, 'hello', 1, [1], new ArrayBuffer(1)],
      (data) => ZeroCopyStream.prototype.sendZeroCopy.call(any({}), data),
      /^data must be/,
    ),
    'ZeroCopyStream._final': [],
    'ZeroCopyStream._destroy': [],
  },
  [core, streams],
)
