/** Every function of the subpath, with what it must refuse before any system call. */
import { guardDescriptors, optionRefusals, refusalsOf, testRefusals, unknownName } from '@linux-sockets/testkit'
import * as interfaces from '../../src/interfaces/index.js'

guardDescriptors()

const { ifindexOf, interfaceNameOf, netlinkAttributes, netlinkDump, watchInterfaces } = interfaces
const junk = [null, true, 1n, {}, Symbol('x'), () => {}, Object.create(null)]
const notTexts = [undefined, ...junk, 1, ['x'], new Uint8Array(4)]
const notNumbers = [...junk, '1', [1], Number.NaN, -1, 1.5, 2 ** 32]
const notBytes = [undefined, ...junk, 1, 'text', [1, 2, 3, 4], new Int32Array(4), new ArrayBuffer(4)]
const body = new Uint8Array(8)

testRefusals(interfaces, {
  ifindexOf: refusalsOf([...notTexts, 'lo\0'], ifindexOf, 'name'),
  interfaceNameOf: refusalsOf([undefined, ...notNumbers], interfaceNameOf, 'ifindex'),
  interfaces: [],
  netlinkAttributes: [
    ...refusalsOf(notBytes, (bytes) => netlinkAttributes(bytes), 'body'),
    ...refusalsOf([...notNumbers, body.length + 1], (start) => netlinkAttributes(body, start), 'start'),
  ],
  netlinkDump: [
    ...refusalsOf([undefined, ...notNumbers], (protocol) => netlinkDump(protocol, 18, body), 'protocol'),
    ...refusalsOf([undefined, ...notNumbers, 0x1_0000], (type) => netlinkDump(0, type, body), 'type'),
    ...refusalsOf(notBytes, (bytes) => netlinkDump(0, 18, bytes), 'body'),
  ],
  watchInterfaces: [
    ...refusalsOf([null, 1, 'text', true], watchInterfaces, 'options'),
    ...optionRefusals('signal', [null, 1, 'x', {}, new AbortController()], watchInterfaces),
    unknownName('signal', watchInterfaces),
  ],
})
