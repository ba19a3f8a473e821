/** Every public function of addresses and names, with what it must refuse before any system call. */
import { guardDescriptors, testRefusals, unknownName } from '@linux-sockets/testkit'
import * as address from '../src/address.js'
import * as byteorder from '../src/codecs/byteorder.js'
import * as sockaddr from '../src/codecs/sockaddr.js'
import * as ip from '../src/ip.js'
import * as resolve from '../src/resolve/resolve.js'
import * as text from '../src/text.js'
import * as core from './everything.js'

guardDescriptors()

const files = [address, byteorder, ip, resolve, sockaddr, text]
const ours = Object.fromEntries(Object.entries(core).filter(([name]) => files.some((file) => name in file)))

/** Values that are no text, no bytes, no number and no address. */
const junk = [undefined, null, true, 1n, {}, Symbol('x'), () => {}, Object.create(null)]
const each = (values: readonly unknown[], call: (value: never) => unknown, name: string) =>
  values.map((value) => [() => call(value as never), new RegExp(`^(?:a )?${name}(?![a-z])`)] as const)
const notNumbers = [...junk, '1', [1], Number.NaN]
const notTexts = [...junk, 1, ['x'], new Uint8Array(4)]
const notBytes = [...junk, 1, 'text', [1, 2, 3, 4], new Int32Array(4), new ArrayBuffer(4)]
const notInt32 = [...notNumbers, 1.5, 2 ** 31, -(2 ** 31) - 1, Number.POSITIVE_INFINITY]
const notWords = [...notNumbers, -1, 1.5, 2 ** 32]
const loopback = core.encodeAddress({ family: 'ipv4', address: '127.0.0.1', port: 0 })
const query = { node: '127.0.0.1', service: null }

testRefusals(ours, {
  encodeAddress: [
    ...each([undefined, null, true, 1, 'text', 1n, {}, []], core.encodeAddress, 'address'),
    ...each(
      [0, 1, 129].map((size) => new Uint8Array(size)),
      core.encodeAddress,
      'sockaddr',
    ),
  ],
  decodeAddress: [
    ...each(notBytes, core.decodeAddress, 'sockaddr'),
    ...each(
      [[], [1], [2, 0, 1], [10, 0, 1]].map((bytes) => Uint8Array.from(bytes)),
      core.decodeAddress,
      'sockaddr',
    ),
  ],
  formatAddress: [
    ...each([undefined, null, true, 1, 'text', 1n, {}, []], core.formatAddress, 'address'),
    ...each(
      [
        { family: 'ipv4', address: '127.0.0.1' },
        { family: 'ipv6', address: '::' },
      ],
      core.formatAddress,
      'port',
    ),
    ...each([{ family: 'unix', path: 1 }], core.formatAddress, 'path'),
  ],
  htons: each(notWords, core.htons, 'host'),
  ntohs: each(notWords, core.ntohs, 'network'),
  htonl: each(notWords, core.htonl, 'host'),
  ntohl: each(notWords, core.ntohl, 'network'),
  inetPton: [
    ...each(notInt32, (family) => core.inetPton(family, '127.0.0.1'), 'family'),
    ...each(notTexts, (text) => core.inetPton(core.AF_INET, text), 'text'),
  ],
  inetNtop: [
    ...each(notInt32, (family) => core.inetNtop(family, new Uint8Array(4)), 'family'),
    ...each([...notBytes, new Uint8Array(16)], (bytes) => core.inetNtop(core.AF_INET, bytes), 'address'),
    ...each([...notBytes, new Uint8Array(4)], (bytes) => core.inetNtop(core.AF_INET6, bytes), 'address'),
  ],
  parseIpv4: each([...notTexts, '', '::1', '127.1'], core.parseIpv4, 'address'),
  parseIpv6: each([...notTexts, '', '127.0.0.1', 'fe80::1%lo'], core.parseIpv6, 'address'),
  formatIpv4: each([...notBytes, ...[0, 3, 5, 16].map((size) => new Uint8Array(size))], core.formatIpv4, 'bytes'),
  formatIpv6: each([...notBytes, ...[0, 4, 15, 17].map((size) => new Uint8Array(size))], core.formatIpv6, 'bytes'),
  inetAton: each(notTexts, core.inetAton, 'text'),
  lookupAddresses: [
    ...each([undefined, null, 1, 'text', true], core.lookupAddresses, 'query'),
    unknownName('family', core.lookupAddresses, 'query'),
    ...each(
      [...notTexts.filter((node) => node !== null), 'a\0b'],
      (node) => core.lookupAddresses({ ...query, node }),
      'node',
    ),
    ...each(
      [...notTexts.filter((service) => service !== null), 80, 'a\0b'],
      (service) => core.lookupAddresses({ ...query, service }),
      'service',
    ),
    ...(['family', 'socktype', 'protocol'] as const).flatMap((name) =>
      each(
        notInt32.filter((value) => value !== undefined),
        (value) => core.lookupAddresses({ ...query, [name]: value }),
        name,
      ),
    ),
    ...each([null, 'x', Number.NaN, 1.5, 2 ** 32], (flags) => core.lookupAddresses({ ...query, flags }), 'flags'),
  ],
  lookupNames: [
    ...each([...notBytes, new Uint8Array(129)], (bytes) => core.lookupNames(bytes), 'sockaddr'),
    ...each([null, 'x', Number.NaN, 1.5, 2 ** 32], (flags) => core.lookupNames(loopback, flags), 'flags'),
  ],
  familyOf: each([...notBytes, new Uint8Array(1)], core.familyOf, 'sockaddr'),
  parseAddress: [
    ...each([...notTexts, '', 'localhost:80', '192.0.2.1'], (text) => core.parseAddress(text), 'text'),
    ...each([null, '80', -1, 65536, 1.5, Number.NaN], (port) => core.parseAddress('::1', port), 'port'),
  ],
})
