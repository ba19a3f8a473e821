import { testShortAnswers } from '@linux-sockets/testkit'
import { describe, expect, it } from 'vitest'
import {
  bigEndianIfindex,
  bool,
  type Codec,
  credentials,
  deviceMemoryRanges,
  type Encoder,
  flowLabelRequest,
  int,
  ipv4,
  ipv4Interface,
  ipv6,
  ipv6AtInterface,
  linger,
  pathMtu,
  portRange,
  raw,
  sockaddr,
  socketMemory,
  text,
  timeval,
  transmitTime,
  u64,
  uint,
  uints,
} from '../../src/codecs/index.js'

function encode<T>(codec: Encoder<T>, value: T): number[] {
  // Earlier contents must not remain, and nothing past `size` may be touched.
  const bytes = new Uint8Array(codec.size + 8).fill(0xee)
  const length = codec.encode(value, new DataView(bytes.buffer, 0, codec.size), 'OPTION')
  expect(length).toBeLessThanOrEqual(codec.size)
  expect([...bytes.subarray(codec.size)]).toEqual(Array(8).fill(0xee))
  return [...bytes.subarray(0, length)]
}

function decode<T>(
  codec: { decode: (view: DataView, length: number) => T; size: number },
  bytes: readonly number[],
): T {
  const buffer = new Uint8Array(codec.size)
  buffer.set(bytes)
  return codec.decode(new DataView(buffer.buffer), bytes.length)
}

function roundTrip<Get, Set>(codec: Codec<Get, Set>, value: Set): Get {
  return decode(codec, encode(codec, value))
}

const zeros = (count: number): number[] => Array(count).fill(0)

describe('layout', () => {
  it('int, uint', () => {
    expect(encode(int, -2)).toEqual([0xfe, 0xff, 0xff, 0xff])
    expect(encode(uint, 0xffff_fffe)).toEqual([0xfe, 0xff, 0xff, 0xff])
    expect(decode(int, [0xfe, 0xff, 0xff, 0xff])).toBe(-2)
    expect(decode(uint, [0xfe, 0xff, 0xff, 0xff])).toBe(0xffff_fffe)
    expect(roundTrip(int, 2 ** 31 - 1)).toBe(2 ** 31 - 1)
    expect(roundTrip(int, -(2 ** 31))).toBe(-(2 ** 31))
  })

  it('an int of which the kernel gives one byte or none', () => {
    expect(decode(int, [200])).toBe(200)
    expect(decode(bool, [1])).toBe(true)
    expect(decode(int, [])).toBe(0)
  })

  it('bool', () => {
    expect(encode(bool, true)).toEqual([1, 0, 0, 0])
    expect(encode(bool, false)).toEqual([0, 0, 0, 0])
    expect(decode(bool, [0, 0, 0, 4])).toBe(true)
  })

  it('u64', () => {
    expect(encode(u64, 0x0102n)).toEqual([2, 1, 0, 0, 0, 0, 0, 0])
    expect(roundTrip(u64, 2n ** 64n - 1n)).toBe(2n ** 64n - 1n)
    // 32-bit kernels of old.
    expect(decode(u64, [5, 0, 0, 0])).toBe(5n)
  })

  it('timeval', () => {
    expect(encode(timeval, 1500)).toEqual([1, ...zeros(7), 0x20, 0xa1, 7, ...zeros(5)])
    expect(roundTrip(timeval, 0)).toBe(0)
    expect(roundTrip(timeval, 0.25)).toBe(0.25)
    expect(roundTrip(timeval, 1e-9)).toBe(0.001)
    expect(roundTrip(timeval, 86_400_000)).toBe(86_400_000)
  })

  it('linger', () => {
    expect(encode(linger, null)).toEqual(zeros(8))
    expect(encode(linger, 0)).toEqual([1, ...zeros(7)])
    expect(encode(linger, 3)).toEqual([1, 0, 0, 0, 3, 0, 0, 0])
    expect(roundTrip(linger, 3)).toBe(3)
    expect(roundTrip(linger, null)).toBeNull()
  })

  it('credentials', () => {
    const value = { pid: 1, uid: 0xffff_ffff, gid: 3 }
    expect(encode(credentials, value)).toEqual([1, 0, 0, 0, 255, 255, 255, 255, 3, 0, 0, 0])
    expect(roundTrip(credentials, value)).toEqual(value)
  })

  it('text', () => {
    expect(encode(text(16), 'lo')).toEqual([108, 111, 0])
    expect(encode(text(16), '')).toEqual([0])
    expect(roundTrip(text(16), 'x'.repeat(15))).toBe('x'.repeat(15))
    expect(roundTrip(text(16), 'größe')).toBe('größe')
    expect(decode(text(4), [97, 98, 99, 100])).toBe('abcd')
    expect(decode(text(4), [])).toBe('')
  })

  it('raw', () => {
    expect(encode(raw(8), Uint8Array.of(1, 2, 3))).toEqual([1, 2, 3])
    expect(encode(raw(8), new Uint8Array(0))).toEqual([])
    expect(encode(raw(8), Buffer.from('ab'))).toEqual([97, 98])
  })

  it('raw gives a copy', () => {
    const buffer = new Uint8Array(4)
    const value = raw(4).decode(new DataView(buffer.buffer), 4)
    buffer.fill(9)
    expect(value).toEqual(new Uint8Array(4))
  })

  it('ipv4, ipv6', () => {
    expect(encode(ipv4, '192.0.2.1')).toEqual([192, 0, 2, 1])
    expect(roundTrip(ipv4, '255.255.255.255')).toBe('255.255.255.255')
    expect(encode(ipv6, '2001:db8::1')).toEqual([0x20, 1, 0xd, 0xb8, ...zeros(11), 1])
    expect(roundTrip(ipv6, '2001:DB8:0::1')).toBe('2001:db8::1')
  })

  it('bigEndianIfindex', () => {
    expect(encode(bigEndianIfindex, 0x102)).toEqual([0, 0, 1, 2])
    expect(roundTrip(bigEndianIfindex, 7)).toBe(7)
  })

  it('portRange', () => {
    expect(encode(portRange, { low: 0x0102, high: 0x0304 })).toEqual([2, 1, 4, 3])
    expect(roundTrip(portRange, { low: 0, high: 65535 })).toEqual({ low: 0, high: 65535 })
  })

  it('ipv4Interface', () => {
    expect(encode(ipv4Interface, '127.0.0.1')).toEqual([127, 0, 0, 1])
    expect(encode(ipv4Interface, { ifindex: 2 })).toEqual([...zeros(8), 2, 0, 0, 0])
    expect(encode(ipv4Interface, { ifindex: 2, address: '127.0.0.1' })).toEqual([...zeros(4), 127, 0, 0, 1, 2, 0, 0, 0])
    expect(decode(ipv4Interface, [127, 0, 0, 1])).toBe('127.0.0.1')
  })

  it('ipv6AtInterface', () => {
    expect(encode(ipv6AtInterface, { address: '::1', ifindex: 2 })).toEqual([...zeros(15), 1, 2, 0, 0, 0])
    expect(roundTrip(ipv6AtInterface, { address: 'ff02::1', ifindex: 2 })).toEqual({ address: 'ff02::1', ifindex: 2 })
  })

  it('uints', () => {
    expect(encode(uints(4), [1, 0xffff_ffff])).toEqual([1, 0, 0, 0, 255, 255, 255, 255])
    expect(roundTrip(uints(4), [1, 2, 3, 4])).toEqual([1, 2, 3, 4])
    expect(decode(uints(4), [])).toEqual([])
  })

  it('socketMemory', () => {
    const bytes = Array.from({ length: 36 }, (_, i) => (i % 4 === 0 ? i / 4 + 1 : 0))
    const value = {
      rmem_alloc: 1,
      rcvbuf: 2,
      wmem_alloc: 3,
      sndbuf: 4,
      fwd_alloc: 5,
      wmem_queued: 6,
      optmem: 7,
      backlog: 8,
    }
    expect(decode(socketMemory, bytes)).toEqual({ ...value, drops: 9 })
  })

  it('transmitTime', () => {
    expect(encode(transmitTime, { clockid: 11, flags: 3 })).toEqual([11, 0, 0, 0, 3, 0, 0, 0])
    expect(roundTrip(transmitTime, { clockid: 1 })).toEqual({ clockid: 1, flags: 0 })
  })

  it('deviceMemoryRanges', () => {
    const ranges = [
      { start: 1, count: 2 },
      { start: 3, count: 4 },
    ]
    expect(encode(deviceMemoryRanges, ranges)).toEqual([1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 4, 0, 0, 0])
  })

  it('pathMtu', () => {
    expect(decode(pathMtu, [...zeros(28), 0xdc, 5, 0, 0])).toBe(1500)
  })

  it('flowLabelRequest', () => {
    const request = { action: 1, label: 0x12345, dst: '::1', share: 2, flags: 3, expires: 4, linger: 5 }
    const tail = [0, 1, 0x23, 0x45, 1, 2, 3, 0, 4, 0, 5, 0, 0, 0, 0, 0]
    expect(encode(flowLabelRequest, request)).toEqual([...zeros(15), 1, ...tail])
    expect(encode(flowLabelRequest, { action: 2 })).toEqual([...zeros(20), 2, ...zeros(11)])
  })

  it('sockaddr', () => {
    const address = { family: 'ipv4', address: '127.0.0.1', port: 80 } as const
    expect(encode(sockaddr, address)).toEqual([2, 0, 0, 80, 127, 0, 0, 1, ...zeros(8)])
    expect(roundTrip(sockaddr, address)).toEqual(address)
  })
})

describe('bad input', () => {
  const nothing: unknown[] = [undefined, null, {}, [], '1', true, Symbol('x'), () => 1]

  it.each([int, uint, bigEndianIfindex])('numbers %#', (codec) => {
    for (const value of [...nothing, 1n, Number.NaN]) expect(() => encode(codec, value as number)).toThrow(TypeError)
    for (const value of [1.5, Infinity, -Infinity, 2 ** 32, -(2 ** 31) - 1, Number.MAX_SAFE_INTEGER]) {
      expect(() => encode(codec, value)).toThrow(RangeError)
    }
  })

  it('each within its range', () => {
    expect(() => encode(int, 2 ** 31)).toThrow(
      'OPTION must be an integer from -2147483648 to 2147483647, not 2147483648',
    )
    expect(() => encode(uint, -1)).toThrow(RangeError)
    expect(() => encode(bigEndianIfindex, -1)).toThrow(RangeError)
    for (const value of [-1, 1.5, 2 ** 31]) expect(() => encode(linger, value)).toThrow(RangeError)
    for (const value of [undefined, '1', Number.NaN, false]) {
      expect(() => encode(linger, value as number)).toThrow(TypeError)
    }
    for (const value of [-1, Infinity, Number.MAX_SAFE_INTEGER])
      expect(() => encode(timeval, value)).toThrow(RangeError)
    for (const value of [...nothing, Number.NaN, 1n]) expect(() => encode(timeval, value as number)).toThrow(TypeError)
  })

  it('bool takes only booleans', () => {
    for (const value of [undefined, null, 0, 1, 'true', {}]) {
      expect(() => encode(bool, value as boolean)).toThrow('OPTION must be a boolean')
    }
  })

  it('u64 takes only bigints', () => {
    for (const value of [...nothing, 1]) expect(() => encode(u64, value as bigint)).toThrow(TypeError)
    for (const value of [-1n, 2n ** 64n]) expect(() => encode(u64, value)).toThrow(RangeError)
  })

  it('text: no NUL, nothing too long', () => {
    for (const value of [undefined, null, 1, Buffer.from('lo')]) {
      expect(() => encode(text(16), value as unknown as string)).toThrow(TypeError)
    }
    expect(() => encode(text(16), 'lo\0')).toThrow('OPTION must not contain a NUL')
    expect(() => encode(text(16), 'x'.repeat(16))).toThrow(RangeError)
    // Bytes count, not characters.
    expect(() => encode(text(16), 'ö'.repeat(8))).toThrow(RangeError)
  })

  it('raw: bytes, not too many', () => {
    for (const value of [undefined, null, 'abc', [1], new ArrayBuffer(4), new Uint16Array(1)]) {
      expect(() => encode(raw(4), value as unknown as Uint8Array)).toThrow(TypeError)
    }
    expect(() => encode(raw(4), new Uint8Array(5))).toThrow(RangeError)
  })

  it('addresses', () => {
    for (const value of ['', '1.2.3', '1.2.3.4.5', '256.0.0.1', '01.2.3.4', '::1', 'localhost', undefined]) {
      expect(() => encode(ipv4, value as string)).toThrow(TypeError)
      expect(() => encode(ipv4Interface, { ifindex: 1, address: value ?? 'x' })).toThrow(TypeError)
    }
    for (const value of ['', '1.2.3.4', ':::', '1::2::3', 'fe80::1%eth0', '12345::', undefined]) {
      expect(() => encode(ipv6, value as string)).toThrow(TypeError)
      expect(() => encode(ipv6AtInterface, { address: value as string, ifindex: 0 })).toThrow(TypeError)
    }
  })

  it('the parts of a struct are named', () => {
    expect(() => encode(credentials, { pid: -1, uid: 0, gid: 0 })).toThrow('OPTION.pid')
    expect(() => encode(credentials, { pid: 1, uid: 2 ** 32, gid: 0 })).toThrow('OPTION.uid')
    expect(() => encode(portRange, { low: -1, high: 0 })).toThrow('OPTION.low')
    expect(() => encode(portRange, { low: 0, high: 65536 })).toThrow('OPTION.high')
    expect(() => encode(ipv4Interface, { ifindex: -1 })).toThrow('OPTION.ifindex')
    expect(() => encode(ipv6AtInterface, { address: '::', ifindex: 2 ** 31 })).toThrow('OPTION.ifindex')
    expect(() => encode(transmitTime, { clockid: 1.5 })).toThrow('OPTION.clockid')
    expect(() => encode(transmitTime, { clockid: 1, flags: -1 })).toThrow('OPTION.flags')
    expect(() => encode(uints(2), [1, -1])).toThrow('OPTION[1]')
    expect(() => encode(deviceMemoryRanges, [{ start: 0, count: 2 ** 32 }])).toThrow('OPTION[0].count')
    expect(() => encode(flowLabelRequest, { action: 0, label: 0x10_0000 })).toThrow('OPTION.label')
  })

  it('lists: arrays, not too long', () => {
    expect(() => encode(uints(2), [1, 2, 3])).toThrow(RangeError)
    expect(() => encode(uints(2), 'ab' as unknown as number[])).toThrow(TypeError)
    expect(() => encode(deviceMemoryRanges, Array(129).fill({ start: 0, count: 0 }))).toThrow(RangeError)
    expect(() => encode(deviceMemoryRanges, null as never)).toThrow(TypeError)
  })

  it.each([credentials, portRange, ipv4Interface, ipv6AtInterface, transmitTime, flowLabelRequest])(
    'anything but the struct %#',
    (codec) => {
      for (const value of [undefined, null, 5]) {
        expect(() => encode(codec as Encoder<unknown>, value)).toThrow(TypeError)
      }
    },
  )
})

describe('decode', () => {
  testShortAnswers({
    int: [int, 0],
    uint: [uint, 0],
    bool: [bool, 0],
    u64: [u64, 4],
    timeval: [timeval, 16],
    linger: [linger, 8],
    credentials: [credentials, 12],
    text: [text(16), 0],
    raw: [raw(16), 0],
    ipv4: [ipv4, 4],
    ipv6: [ipv6, 16],
    bigEndianIfindex: [bigEndianIfindex, 4],
    portRange: [portRange, 4],
    ipv4Interface: [ipv4Interface, 4],
    ipv6AtInterface: [ipv6AtInterface, 20],
    uints: [uints(4), 0],
    socketMemory: [socketMemory, 36],
    transmitTime: [transmitTime, 8],
    pathMtu: [pathMtu, 32],
    sockaddr: [sockaddr, 2],
  })
})
