import { expectHeaderNumbers, guardDescriptors, needCompiler, runPython, skipUnless } from '@linux-sockets/testkit'
import { expect, it } from 'vitest'
import { bool, control, int, raw, text } from '../src/codecs/index.js'
import {
  type ControlMessage,
  controlLength,
  controlMessage,
  controlSpace,
  decodeControl,
  encodeControl,
  readControl,
} from '../src/index.js'

guardDescriptors()

const messages: ControlMessage[] = [
  { level: 1, type: 2, data: Uint8Array.of(1, 2, 3) },
  { level: 0, type: -1, data: new Uint8Array(0) },
  { level: 0x7fff_ffff, type: 8, data: Uint8Array.from({ length: 16 }, (_, i) => i) },
]

it('has the space and the length that cmsg(3) defines', (test) => {
  skipUnless(test, needCompiler())
  const lengths = [0, 1, 4, 7, 8, 9, 12, 20, 1000]
  const spaces = lengths.map((length) => [`CMSG_SPACE(${length})`, controlSpace(length)] as const)
  const stated = lengths.map((length) => [`CMSG_LEN(${length})`, controlLength(length)] as const)
  expectHeaderNumbers(['sys/socket.h'], [...spaces, ...stated, ['sizeof(struct cmsghdr)', controlSpace(0)]])
})

it('decodes what it has encoded', () => {
  const bytes = encodeControl(messages)
  expect(bytes.length).toBe(messages.reduce((sum, { data }) => sum + controlSpace(data.length), 0))
  expect(decodeControl(bytes)).toEqual(messages)
  expect(decodeControl(encodeControl([]))).toEqual([])
})

it('encodes as C does, and reads the same at any offset', async () => {
  const hex = await runPython(
    `
import struct
def cmsg(level, type, data): return struct.pack('=Nii', 16 + len(data), level, type) + data + b'\\0' * (-len(data) % 8)
print((cmsg(1, 2, b'\\1\\2\\3') + cmsg(0, -1, b'') + cmsg(0x7fffffff, 8, bytes(range(16)))).hex())`.replace('=N', '@N'),
  )
  expect(Buffer.from(encodeControl(messages)).toString('hex')).toBe(hex.trim())
  const shifted = Buffer.from(`00${hex.trim()}`, 'hex').subarray(1)
  expect(decodeControl(shifted)).toEqual(messages)
})

it('copies, and obeys the length', () => {
  const bytes = encodeControl(messages)
  const [first] = decodeControl(bytes, controlSpace(3))
  bytes.fill(0xff)
  expect(first).toEqual(messages[0])
  expect(decodeControl(encodeControl(messages), controlSpace(3))).toEqual([messages[0]])
  expect(decodeControl(encodeControl(messages), 0)).toEqual([])
  expect(decodeControl(encodeControl(messages), 1e6)).toEqual(messages)
})

it('cuts a message at the end of the buffer, and stops at nonsense', () => {
  const bytes = encodeControl(messages.slice(0, 1))
  expect(decodeControl(bytes.subarray(0, 17))).toEqual([{ level: 1, type: 2, data: Uint8Array.of(1) }])
  expect(decodeControl(bytes.subarray(0, 16))).toEqual([{ level: 1, type: 2, data: new Uint8Array(0) }])
  expect(decodeControl(bytes.subarray(0, 15))).toEqual([])
  const view = new DataView(bytes.buffer)
  for (const [length, count] of [
    [0n, 0],
    [15n, 0],
    [2n ** 63n, 1],
    [2n ** 64n - 1n, 1],
  ] as const) {
    view.setBigUint64(0, length, true)
    expect(decodeControl(bytes)).toHaveLength(count)
  }
})

it('writes and reads values by rows', () => {
  const number = control('NUMBER', 7, 1, int)
  const flag = control('FLAG', 7, 2, bool)
  const name = control('NAME', 7, 3, text(16))
  const list = [
    controlMessage(number, -5),
    controlMessage(flag, true),
    controlMessage(name, 'eth0'),
    controlMessage(number, 6),
  ]
  expect(list.map(({ level, type, data }) => [level, type, data.length])).toEqual([
    [7, 1, 4],
    [7, 2, 4],
    [7, 3, 5],
    [7, 1, 4],
  ])
  const received = decodeControl(encodeControl(list))
  expect(readControl(received, number)).toBe(-5)
  expect(readControl(received, flag)).toBe(true)
  expect(readControl(received, name)).toBe('eth0')
  expect(readControl(received, control('OTHER', 8, 1, int))).toBeUndefined()
  expect(() => controlMessage(number, 2 ** 31)).toThrow(
    new RangeError('NUMBER must be an integer from -2147483648 to 2147483647, not 2147483648'),
  )
  expect(() => controlMessage(flag, 1 as unknown as boolean)).toThrow(TypeError)
})

it('reads an int of which the kernel sent one byte, and an empty one', () => {
  const tos = control('IP_TOS', 0, 1, int)
  expect(readControl([{ level: 0, type: 1, data: Uint8Array.of(0xb8) }], tos)).toBe(0xb8)
  expect(readControl([{ level: 0, type: 1, data: new Uint8Array(0) }], tos)).toBe(0)
})

it('returns raw bytes as they are', () => {
  const data = Uint8Array.of(9, 8, 7)
  expect(readControl([{ level: 0, type: 1, data }], control('RAW', 0, 1, raw(100)))).toEqual(data)
})
