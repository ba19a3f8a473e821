import { guardDescriptors } from '@linux-sockets/testkit'
import { beforeEach, describe, expect, it } from 'vitest'
import { decodeAddress, encodeAddress, type SocketAddress } from '../src/address.js'
import { ReceiveBatch } from '../src/batch.js'
import * as codecs from '../src/codecs/codec.js'
import { AF_INET, AF_INET6, AF_NETLINK, AF_PACKET, AF_UNIX, AF_VSOCK, SOCK_DGRAM } from '../src/constants.js'
import {
  type ControlMessage,
  control,
  decodeControl,
  encodeControl,
  hasDescriptors,
  readControl,
} from '../src/control.js'
import { SystemError } from '../src/error.js'
import type { AsFd } from '../src/fd.js'
import { recvMessage, sendMessage } from '../src/message.js'
import { native, SOCKADDR_MAX } from '../src/native.js'
import { Socket } from '../src/socket.js'
import { openFile } from './outside.js'

guardDescriptors()

/** A new seed for each run; pass the printed one to reproduce a failure: `FUZZ_SEED=… npm test`. */
const seed = Number(process.env.FUZZ_SEED ?? Math.floor(Math.random() * 2 ** 32))
const ROUNDS = 20_000

beforeEach(({ onTestFailed }) => onTestFailed(() => console.error(`FUZZ_SEED=${seed}`)))

/** mulberry32: small, and good enough to make junk with. */
function randomNumbers(start: number): (below: number) => number {
  let state = start
  return (below) => {
    state = (state + 0x6d2b79f5) | 0
    let t = Math.imul(state ^ (state >>> 15), 1 | state)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) % below
  }
}

const random = randomNumbers(seed)

/** Random bytes in the middle of a bigger buffer, whose other bytes must never be seen. */
function junk(length: number): Uint8Array {
  const around = new Uint8Array(length + 32).fill(CANARY)
  const bytes = around.subarray(16, 16 + length)
  for (let i = 0; i < length; i++) bytes[i] = random(256)
  return bytes
}

const CANARY = 0xa5
const FAMILIES = [AF_INET, AF_INET6, AF_UNIX, AF_VSOCK, AF_NETLINK, AF_PACKET]

describe('random bytes as a sockaddr', () => {
  it('are decoded, or refused with a RangeError, and what is decoded encodes again', () => {
    for (let round = 0; round < ROUNDS; round++) {
      const bytes = junk(random(SOCKADDR_MAX + 1))
      if (bytes.length >= 2 && random(4) > 0) {
        bytes[0] = FAMILIES[random(FAMILIES.length)] as number
        bytes[1] = 0
      }
      let address: SocketAddress
      try {
        address = decodeAddress(bytes)
      } catch (error) {
        expect(error).toBeInstanceOf(RangeError)
        continue
      }
      expect(decodeAddress(encodeAddress(address))).toEqual(address)
    }
  })

  it.each(Object.entries(KERNEL))('of %s, from the kernel, is decoded and encoded to the same bytes', (_, give) => {
    for (let round = 0; round < ROUNDS / 10; round++) {
      const bytes = give()
      const encoded = encodeAddress(decodeAddress(bytes))
      // The NUL that the kernel counts behind a path of 108 bytes, where its own limit is 110.
      const length = bytes[0] === AF_UNIX ? Math.min(bytes.length, 110) : bytes.length
      expect(Buffer.from(encoded).equals(bytes.subarray(0, length)), Buffer.from(bytes).toString('hex')).toBe(true)
    }
  })

  it('as a name to bind, connect and send to, get an errno from the kernel and nothing else', () => {
    for (let round = 0; round < 2_000; round++) {
      const family = [AF_INET, AF_INET6, AF_UNIX, AF_NETLINK][random(4)] as number
      using socket = Socket.open(family, SOCK_DGRAM)
      const bytes = junk(2 + random(SOCKADDR_MAX - 1))
      // Never this family: an address that happens to be valid would send junk somewhere.
      bytes[0] = family + 1 + random(200)
      for (const call of [
        () => socket.bind(bytes),
        () => socket.connect(bytes),
        () => socket.sendTo(Buffer.from('x'), bytes),
      ]) {
        expect(outcome(call)).toMatch(/^(E[A-Z]+|RangeError)$/)
      }
    }
  })
})

/** A sockaddr of each family in every form that the kernel gives it. */
const KERNEL: Record<string, () => Uint8Array> = {
  ipv4: () => Uint8Array.of(AF_INET, 0, ...junk(6), ...new Uint8Array(8)),
  // Of the flow information the kernel keeps 28 bits.
  ipv6: () =>
    Uint8Array.of(AF_INET6, 0, ...junk(2), random(16), ...junk(3), ...junkIpv6(), ...pick([junk(4), [0, 0, 0, 0]])),
  'unix, a path': () => Uint8Array.of(AF_UNIX, 0, ...junk(1 + random(108)).map((byte) => byte || 1), 0),
  'unix, a path in UTF-8': () =>
    Buffer.concat([Buffer.of(AF_UNIX, 0), Buffer.from('é'.repeat(1 + random(54))), Buffer.of(0)]),
  'unix, an abstract name': () => Uint8Array.of(AF_UNIX, 0, 0, ...junk(random(108))),
  'unix, unnamed': () => Uint8Array.of(AF_UNIX, 0),
  vsock: () => Uint8Array.of(AF_VSOCK, 0, 0, 0, ...junk(9), 0, 0, 0),
  netlink: () => Uint8Array.of(AF_NETLINK, 0, 0, 0, ...junk(8)),
  packet: () => {
    const length = random(33)
    const rest = new Uint8Array(Math.max(0, 8 - length))
    return Uint8Array.of(AF_PACKET, 0, ...junk(9), length, ...junk(length), ...rest)
  },
  'another family': () => Uint8Array.of(pick([0, 3, 38, 44, 255]), random(256), ...junk(random(SOCKADDR_MAX - 1))),
}

/** With runs of zeros, and IPv4 within. */
function junkIpv6(): Uint8Array {
  const bytes = junk(16)
  for (let i = 0; i < 16; i += 2) if (random(2) === 0) bytes.fill(0, i, i + 2)
  return random(8) === 0 ? bytes.fill(0, 0, 10).fill(0xff, 10, 12) : bytes
}

describe('random bytes as control messages', () => {
  const kinds = [
    codecs.int,
    codecs.u64,
    codecs.credentials,
    codecs.timeval,
    codecs.text(16),
    codecs.raw(8),
    codecs.ipv6,
  ]

  it('are decoded within their bounds, alike by all decoders', () => {
    for (let round = 0; round < ROUNDS; round++) {
      const bytes = controlJunk()
      const length = random(4) === 0 ? random(2 * bytes.length + 1) : bytes.length
      const messages = decodeControl(bytes, length)
      const total = messages.reduce((sum, { data }) => sum + data.length + 16, 0)
      expect(total).toBeLessThanOrEqual(bytes.length)
      // The canary stands around the buffer: a message that reads past the end would carry it, in a row of 8 and more.
      for (const { data } of messages) expect(Buffer.from(data).includes(Buffer.alloc(8, CANARY))).toBe(false)

      const aligned = new Uint8Array(bytes.length)
      aligned.set(bytes)
      expect(hasDescriptors(aligned, 0, Math.min(length, bytes.length))).toBe(messages.some(mayBringDescriptors))

      for (const message of messages) {
        const codec = kinds[random(kinds.length)] as codecs.Codec<unknown>
        const kind = control('JUNK', message.level, message.type, codec)
        try {
          readControl([message], kind)
        } catch (error) {
          expect(error).toBeInstanceOf(RangeError)
        }
      }
      expect(decodeControl(encodeControl(messages))).toEqual(messages)
    }
  })

  it('sent to the kernel get an errno or are sent, and what arrives is received, or closed, whole', () => {
    const file = openFile('/dev/null')
    const [a, b] = Socket.pair(AF_UNIX, SOCK_DGRAM)
    for (let round = 0; round < 3_000; round++) {
      const bytes = controlJunk(file)
      const sent = outcome(() => sendMessage(a, { data: Buffer.from('x'), control: bytes }))
      expect(sent).toMatch(/^(1|null|E[A-Z]+)$/)
      if (sent !== '1') continue
      const message = recvMessage(b, Buffer.alloc(4), { control: controlJunk() })
      for (const descriptor of message?.descriptors ?? []) descriptor.close()
    }
    for (const descriptor of [file, a, b]) descriptor.close()
  })

  it('with descriptors among them leak none, whatever the size of the control buffer', () => {
    const file = openFile('/dev/null')
    const [a, b] = Socket.pair(AF_UNIX, SOCK_DGRAM)
    for (let size = 0; size <= 80; size++) {
      for (const count of [1, 2, 7]) {
        sendMessage(a, { data: Buffer.from('x'), descriptors: Array.from({ length: count }, () => file) })
        const message = recvMessage(b, Buffer.alloc(4), { control: junk(size) })
        for (const descriptor of message?.descriptors ?? []) descriptor.close()

        sendMessage(a, { data: Buffer.from('x'), descriptors: Array.from({ length: count }, () => file) })
        const batch = new ReceiveBatch({ count: 1, size: 4, control: size })
        expect(batch.receive(b)).toBe(1)
        for (const descriptor of batch.descriptors(0)) descriptor.close()
      }
    }
    for (const descriptor of [file, a, b]) descriptor.close()
  })
})

describe('random numbers in the tables of the batches', () => {
  it('never make the boundary read or write outside of its buffers', () => {
    const [a, b] = Socket.pair(AF_UNIX, SOCK_DGRAM)
    for (let round = 0; round < ROUNDS; round++) {
      const capacity = 1 + random(4)
      const table = Int32Array.from({ length: 4 * capacity }, () => pick([0, 1, 64, -1, 2 ** 31 - 1, random(200)]))
      const names = new Uint8Array(pick([0, 1, SOCKADDR_MAX, capacity * SOCKADDR_MAX]))
      const ancillary = pick([null, new Uint8Array(random(100))])
      const payload = new Uint8Array(random(200))
      const flags = 0x40
      const sent = native.sendmmsg(a.fd, payload, names, ancillary, table, random(6), random(6), flags)
      expect(Number.isInteger(sent)).toBe(true)
      const got = native.recvmmsg(b.fd, payload, names, ancillary, table, random(6), flags)
      expect(got).toBeLessThanOrEqual(capacity)
    }
    a.close()
    b.close()
  })
})

/** Like control messages more often than not: headers with a plausible length, known numbers, and SCM_RIGHTS. */
function controlJunk(descriptor?: AsFd): Uint8Array {
  const bytes = junk(random(120))
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
  for (let at = 0; at + 16 <= bytes.length; ) {
    const length = pick([16, 17, 20, 24, 36, random(64), random(256)])
    view.setBigUint64(at, BigInt(pick([length, length, length, 2 ** 32 + length])), true)
    view.setInt32(at + 8, pick([0, 1, 1, 41, random(300)]), true)
    view.setInt32(at + 12, pick([1, 1, 2, 4, 8, random(100)]), true)
    if (descriptor !== undefined && at + 20 <= bytes.length) view.setInt32(at + 16, descriptor.fd, true)
    at += Math.max(8, Math.ceil(length / 8) * 8)
  }
  return bytes
}

/** SCM_RIGHTS and SCM_PIDFD, at SOL_SOCKET. */
function mayBringDescriptors({ level, type }: ControlMessage): boolean {
  return level === 1 && (type === 1 || type === 4)
}

function pick<T>(choices: readonly T[]): T {
  return choices[random(choices.length)] as T
}

/** The result of a call, or the code or name of its error. */
function outcome(call: () => unknown): string {
  try {
    return String(call())
  } catch (error) {
    return error instanceof SystemError ? error.code : (error as Error).name
  }
}
