/** Every function and class of the package, with what it must refuse before any system call. */
import { guardDescriptors, type Refusal, testRefusals, unknownName } from '@linux-sockets/testkit'
import * as addr from '../src/index.js'

guardDescriptors()

const junk = [undefined, null, true, 1n, {}, Symbol('x'), () => {}, Object.create(null)]
const each = (values: readonly unknown[], call: (value: never) => unknown, name: string): Refusal[] =>
  values.map((value) => [() => call(value as never), new RegExp(`^(?:a )?${name.replace('[', '\\[')}(?![a-z])`)])
const notTexts = [...junk, 1, ['x'], new Uint8Array(4)]
const notBytes = [...junk, 1, 'text', [1, 2, 3, 4], new Int32Array(4)]
const notObjects = [null, 1, 'text', true]
const notCounts = [null, '1', 0, 1.5, Number.NaN]
const notInt32 = [null, '1', 1.5, Number.NaN, 2 ** 32]
const notSignals = [null, 1, 'x', {}, new AbortController()]
const loopback = { family: 'ipv4', address: '127.0.0.1', port: 0 } as const
const limits = (look: (options: never) => unknown): Refusal[] => [
  ...each(notSignals, (signal) => look({ signal } as never), 'signal'),
  ...each(notCounts, (timeout) => look({ timeout } as never), 'timeout'),
]

const resolve: Refusal[] = [
  ...each([...notTexts.filter((host) => host !== null), 'a\0b'], (host) => addr.resolve(host), 'host'),
  ...each(
    [true, {}, ['80'], 1n, 'a\0b', -1, 65536, 1.5, Number.NaN],
    (service) => addr.resolve('localhost', service),
    'service',
  ),
  ...each(notObjects, (hints) => addr.resolve('localhost', 80, hints), 'hints'),
  ...each([null, 4, 'ipv5', {}], (family) => addr.resolve('localhost', 80, { family }), 'family'),
  ...(['socktype', 'protocol', 'flags'] as const).flatMap((name) =>
    each(notInt32, (value) => addr.resolve('localhost', 80, { [name]: value }), name),
  ),
  ...limits((hints) => addr.resolve('localhost', 80, hints)),
  unknownName('timeout', (hints) => addr.resolve('localhost', 80, hints), 'hints'),
]
const reverse: Refusal[] = [
  ...each([undefined, null, 1, 'text', {}, []], (address) => addr.reverse(address), 'address'),
  ...each([{ family: 'ipv4', address: '127.0.0.1' }], (address) => addr.reverse(address), 'port'),
  ...each(notInt32, (flags) => addr.reverse(loopback, flags), 'flags'),
  ...each(notObjects, (options) => addr.reverse(loopback, 0, options), 'options'),
  ...limits((options) => addr.reverse(loopback, 0, options)),
  unknownName('signal', (options) => addr.reverse(loopback, 0, options)),
]

const watches: Refusal[] = [
  ...each(notObjects, (options) => addr.watchInterfaces(options), 'options'),
  ...each(notSignals, (signal) => addr.watchInterfaces({ signal }), 'signal'),
  unknownName('signal', (options) => addr.watchInterfaces(options)),
]

testRefusals(addr, {
  AddressInfoError: [
    ...each(notInt32, (eai) => new addr.AddressInfoError(eai, 0, 'getaddrinfo', ''), 'eai'),
    ...each(notInt32, (errno) => new addr.AddressInfoError(-11, errno, 'getaddrinfo', ''), 'errno'),
  ],
  candidates: [
    ...each([undefined, null, 1, 'text', {}], addr.candidates, 'addresses'),
    ...each([null, 1, 'text'], (address) => addr.candidates([loopback, address]), 'addresses[1]'),
    ...each(notObjects, (options) => addr.candidates([], options), 'options'),
    ...each(notCounts, (firstFamilyCount) => addr.candidates([], { firstFamilyCount }), 'firstFamilyCount'),
    unknownName('firstFamilyCount', (options) => addr.candidates([], options)),
  ],
  formatAddress: each([undefined, null, 1, 'text', {}], addr.formatAddress, 'address'),
  formatHostPort: [
    ...each([...notTexts, '', '[::1]', 'a:b'], (host) => addr.formatHostPort(host, 80), 'host'),
    ...each([undefined, null, '80', -1, 65536, 1.5], (port) => addr.formatHostPort('a', port), 'port'),
  ],
  formatIpv4: each([...notBytes, new Uint8Array(3)], addr.formatIpv4, 'bytes'),
  formatIpv6: each([...notBytes, new Uint8Array(4)], addr.formatIpv6, 'bytes'),
  inetAton: each(notTexts, addr.inetAton, 'text'),
  inetNtop: each([...notBytes, new Uint8Array(16)], (bytes) => addr.inetNtop(2, bytes), 'address'),
  inetPton: each(notTexts, (text) => addr.inetPton(2, text), 'text'),
  ifindexOf: each(notTexts, addr.ifindexOf, 'name'),
  interfaceNameOf: each([...notInt32, -1], addr.interfaceNameOf, 'ifindex'),
  interfaces: [],
  parseAddress: each([...notTexts, 'localhost:80'], (text) => addr.parseAddress(text), 'text'),
  parseHostPort: each([...notTexts, '', 'a:b'], addr.parseHostPort, 'text'),
  parseIpv4: each([...notTexts, '127.1'], addr.parseIpv4, 'address'),
  parseIpv6: each([...notTexts, '127.0.0.1'], addr.parseIpv6, 'address'),
  resolve,
  reverse,
  SystemError: [],
  watchInterfaces: watches,
})
