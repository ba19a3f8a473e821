/** Bad arguments of every exported function: each is refused by its name, before any system call. */
import * as core from '@linux-sockets/native-core'
import * as streams from '@linux-sockets/native-core/streams'
import {
  expectErrno,
  guardDescriptors,
  openDescriptors,
  type Refusal,
  refusalsOf,
  testRefusals,
  unknownName,
} from '@linux-sockets/testkit'
import { expect, it } from 'vitest'
import * as unix from '../src/index.js'

guardDescriptors()

// biome-ignore lint/suspicious/noExplicitAny: what JavaScript lets through
type Bad = any

const notObjects: Bad[] = [null, 1, 'text', true]
const notFds: Bad[] = [undefined, null, 'text', {}, { fd: '1' }, Number.NaN, 1.5]
const notNumbers: Bad[] = [null, '1', Number.NaN, {}, 1.5, 2 ** 40]
const notBytes: Bad[] = [null, 1, 'text', [1], {}, new Int32Array(2), new ArrayBuffer(4), new Uint8Array(0)]
const notFunctions: Bad[] = [null, 1, 'text', {}]

/** A number without a descriptor, for which a system call would fail with EBADF. */
const none = -1
/** An address for which a system call would fail with ENOENT. */
const address = { family: 'unix', path: '/nowhere/socket' } as const

const addresses = (call: (...args: Bad[]) => unknown): Refusal[] => [
  ...refusalsOf([undefined, null, 1], call, 'address must be'),
  ...refusalsOf(['x', '127.0.0.1:1', { family: 'ipv4', address: '127.0.0.1', port: 1 }], call, 'address must be'),
  ...refusalsOf([{}, { family: 'Unix' }], call, 'address'),
  ...refusalsOf(['x'.repeat(109), 'with\0NUL', ''], (path) => call({ family: 'unix', path }), 'path'),
  ...refusalsOf([1, {}, 'x'.repeat(109)], (abstract) => call({ family: 'unix', abstract }), 'abstract'),
  ...refusalsOf(notObjects, (options) => call(address, options), 'options'),
  ...refusalsOf(notFunctions, (prepare) => call(address, { prepare }), 'prepare'),
  unknownName('prepare', (options) => call(address, options)),
  ...refusalsOf(notObjects, (stream) => call(address, { stream }), 'stream'),
  unknownName('allowHalfOpen', (stream) => call(address, { stream }), 'stream'),
  ...refusalsOf([null, 1], (allowHalfOpen) => call(address, { stream: { allowHalfOpen } }), 'stream.allowHalfOpen'),
]

const withListener = (use: (listener: ReturnType<typeof unix.listen>) => unknown) => {
  using listener = unix.listen({ family: 'unix' })
  return use(listener)
}

const connections: Refusal[] = [
  ...addresses(unix.connect),
  ...refusalsOf([...notNumbers, 0, -1], (timeout) => unix.connect(address, { timeout }), 'timeout'),
  ...refusalsOf([null, 1, {}], (signal) => unix.connect(address, { signal }), 'signal'),
]

testRefusals(
  unix,
  {
    connect: connections,
    listen: [
      ...addresses(unix.listen),
      ...refusalsOf([...notNumbers, -1], (backlog) => unix.listen(address, { backlog }), 'backlog'),
      ...refusalsOf([...notNumbers, 0], (budget) => unix.listen(address, { budget }), 'budget'),
      ...refusalsOf(notFunctions, (delayed) => unix.listen(address, { delayed }), 'delayed'),
      ...refusalsOf(notFunctions, (watch) => unix.listen(address, { watch }), 'watch'),
      ...refusalsOf([null, 1, {}], (signal) => unix.listen(address, { signal }), 'signal'),
    ],
    Server: [
      ...refusalsOf([undefined, null, 1, {}], (socket) => new unix.Server(socket), 'socket'),
      ...refusalsOf([[]], (sockets) => new unix.Server(sockets), 'there is no socket'),
      ...refusalsOf(notObjects, (options) => new unix.Server([], options), 'options'),
      unknownName('stream', (options) => new unix.Server([], options)),
    ],
    'Server.drain': [
      ...refusalsOf(notObjects, (options) => withListener((server) => server.drain(options)), 'options'),
      ...refusalsOf([...notNumbers, -1], (timeout) => withListener((server) => server.drain({ timeout })), 'timeout'),
      unknownName('timeout', (options) => withListener((server) => server.drain(options))),
    ],
    peerCredentials: refusalsOf(notFds, unix.peerCredentials, 'socket'),
    receiveDescriptors: [
      ...refusalsOf(notFds, (socket) => unix.receiveDescriptors(socket), 'socket'),
      ...refusalsOf(notObjects, (options) => unix.receiveDescriptors(none, options), 'options'),
      unknownName('max', (options) => unix.receiveDescriptors(none, options)),
      ...refusalsOf([...notNumbers, -1, 254], (max) => unix.receiveDescriptors(none, { max }), 'max'),
      ...refusalsOf([...notNumbers, -1, 0], (size) => unix.receiveDescriptors(none, { size }), 'size'),
    ],
    serve: [
      ...refusalsOf([undefined, ...notObjects, {}], (listener) => unix.serve(listener, none as Bad), 'listener'),
      ...refusalsOf(
        [undefined, ...notObjects, {}],
        (server) => withListener((listener) => unix.serve(listener, server)),
        'server',
      ),
    ],
    sendDescriptors: [
      ...refusalsOf(notFds, (socket) => unix.sendDescriptors(socket, [0]), 'socket'),
      ...refusalsOf(
        [undefined, null, 1, 'text', {}],
        (descriptors) => unix.sendDescriptors(none, descriptors),
        'descriptors',
      ),
      ...refusalsOf([...notFds, -1], (bad) => unix.sendDescriptors(none, [0, bad]), 'descriptors[1]'),
      ...refusalsOf([Array(254).fill(0)], (descriptors) => unix.sendDescriptors(none, descriptors), 'descriptors'),
      ...refusalsOf(notBytes, (data) => unix.sendDescriptors(none, [0], data), 'data'),
    ],
    unixPair: refusalsOf(notNumbers, unix.unixPair, 'type'),
  },
  [core, streams],
)

it('connect leaves nothing open if it rejects', async () => {
  const before = openDescriptors().length
  for (const [call] of connections) await expect(call).rejects.toThrow()
  expect(openDescriptors()).toHaveLength(before)
})

it('leaves to the kernel what only it can know', () => {
  expectErrno(() => unix.sendDescriptors(none, [0]), 'EBADF')
  expectErrno(() => unix.receiveDescriptors(none), 'EBADF')
  expectErrno(() => unix.unixPair(77), 'EINVAL')
})
