import { randomBytes } from 'node:crypto'
import {
  controlMessage,
  controlSpace,
  getOption,
  readable,
  readControl,
  type Socket,
  setOption,
} from '@linux-sockets/native-core'
import {
  expectErrno,
  expectHeaderNumbers,
  guardDescriptors,
  type Kind,
  needCompiler,
  numbersOf,
  rowsOf,
  rowTester,
  skipUnless,
} from '@linux-sockets/testkit'
import { describe, expect, it } from 'vitest'
import * as ktls from '../src/ktls.js'
import { TCP_ULP } from '../src/options.js'
import { connectedAtOnce, connectedPair, needKernelTls } from './loopback.js'

guardDescriptors()

const info = cryptoInfo(ktls.TLS_CIPHER_AES_GCM_128, 8, 16, 4)

const tls: Kind<Socket> = {
  open: () => {
    const socket = connectedAtOnce()
    setOption(socket, TCP_ULP, 'tls')
    return socket
  },
  need: needKernelTls,
}
const receiving: Kind<Socket> = {
  ...tls,
  open: () => {
    const socket = tls.open()
    setOption(socket, ktls.TLS_RX, { ...info, version: ktls.TLS_1_3_VERSION })
    return socket
  },
}

rowTester<Socket>({ getOption, setOption })(ktls, {
  TLS_TX: [tls, info, (socket) => expect(socket.send(Buffer.from('sealed'))).toBe(6)],
  TLS_RX: [tls, info, (socket) => expect(socket.recv(Buffer.alloc(1))).toBeNull()],
  TLS_TX_ZEROCOPY_RO: [tls, true],
  TLS_RX_EXPECT_NO_PAD: [receiving, true],
})

describe('kernel TLS', () => {
  it('encrypts what is sent and decrypts what is received, with the type of each record', async (test) => {
    skipUnless(test, needKernelTls())
    const { connected, accepted } = await connectedPair()
    for (const socket of [connected, accepted]) setOption(socket, TCP_ULP, 'tls')
    setOption(connected, ktls.TLS_TX, info)
    setOption(accepted, ktls.TLS_RX, info)
    const alert = { data: Buffer.from([1, 0]), control: [controlMessage(ktls.TLS_SET_RECORD_TYPE, 21)] }
    connected.send(Buffer.from('sealed'))
    connected.sendMessage(alert)
    for (const [type, text] of [
      [23, 'sealed'],
      [21, '\u0001\u0000'],
    ]) {
      await readable(accepted)
      const buffer = Buffer.alloc(100)
      const message = accepted.recvMessage(buffer, { control: controlSpace(1) })
      expect(buffer.toString('latin1', 0, message?.length)).toBe(text)
      expect(readControl(message?.control ?? [], ktls.TLS_GET_RECORD_TYPE)).toBe(type)
    }
  })

  it('is unreadable without the key', async (test) => {
    skipUnless(test, needKernelTls())
    const { connected, accepted } = await connectedPair()
    setOption(connected, TCP_ULP, 'tls')
    setOption(connected, ktls.TLS_TX, info)
    connected.send(Buffer.from('sealed'))
    await readable(accepted)
    const buffer = Buffer.alloc(100)
    const record = buffer.subarray(0, accepted.recv(buffer) ?? 0)
    // Application data of TLS 1.2: five bytes of header, the explicit nonce, the text, the tag.
    expect([...record.subarray(0, 5)]).toEqual([23, 3, 3, 0, 8 + 6 + 16])
    expect(record.includes('sealed')).toBe(false)
  })

  it('refuses a socket without TCP_ULP', async () => {
    const { connected } = await connectedPair()
    expectErrno(() => setOption(connected, ktls.TLS_TX, info), 'ENOPROTOOPT')
  })
})

describe('TLS_TX', () => {
  it.each([
    ['aes_gcm_128', ktls.TLS_CIPHER_AES_GCM_128, 8, 16, 4],
    ['aes_gcm_256', ktls.TLS_CIPHER_AES_GCM_256, 8, 32, 4],
    ['aes_ccm_128', ktls.TLS_CIPHER_AES_CCM_128, 8, 16, 4],
    ['chacha20_poly1305', ktls.TLS_CIPHER_CHACHA20_POLY1305, 12, 32, 0],
    ['sm4_gcm', ktls.TLS_CIPHER_SM4_GCM, 8, 16, 4],
    ['sm4_ccm', ktls.TLS_CIPHER_SM4_CCM, 8, 16, 4],
    ['aria_gcm_128', ktls.TLS_CIPHER_ARIA_GCM_128, 8, 16, 4],
    ['aria_gcm_256', ktls.TLS_CIPHER_ARIA_GCM_256, 8, 32, 4],
  ])('writes struct tls12_crypto_info_%s', (name, cipher, iv, key, salt) => {
    const value = cryptoInfo(cipher, iv, key, salt)
    const bytes = Buffer.alloc(ktls.TLS_TX.size)
    const length = ktls.TLS_TX.encode(value, new DataView(bytes.buffer, bytes.byteOffset, bytes.length), 'TLS_TX')
    const at = (part: Uint8Array) => bytes.indexOf(part)
    expect(bytes.subarray(0, 4)).toEqual(Buffer.from([3, 3, cipher, 0]))
    const struct = `struct tls12_crypto_info_${name}`
    const places = [
      [`offsetof(${struct}, iv)`, at(value.iv)],
      [`offsetof(${struct}, key)`, at(value.key)],
      [`offsetof(${struct}, rec_seq)`, at(value.rec_seq)],
      ...(salt > 0 ? [[`offsetof(${struct}, salt)`, at(value.salt)] as const] : []),
      [`sizeof(${struct})`, length],
    ] as const
    if (needCompiler() === null) expect(expectHeaderNumbers(['linux/tls.h'], places)).toEqual([])
  })

  it('refuses values that fit no cipher', () => {
    const encode = (value: object) => () =>
      ktls.TLS_TX.encode({ ...info, ...value }, new DataView(new ArrayBuffer(56)), 'TLS_TX')
    expect(encode({ cipher_type: 50 })).toThrow(RangeError)
    expect(encode({ version: Number.NaN })).toThrow(TypeError)
    expect(encode({ key: Buffer.alloc(32) })).toThrow(RangeError)
    expect(encode({ salt: 'salt' })).toThrow(TypeError)
    expect(encode({ rec_seq: Buffer.alloc(7) })).toThrow(RangeError)
    expect(encode({})()).toBe(4 + 8 + 16 + 4 + 8)
  })
})

it('has the numbers of <linux/tls.h>', (test) => {
  skipUnless(test, needCompiler())
  const options = rowsOf(ktls).map(({ name, option }) => [name, option] as const)
  const controls = [ktls.TLS_SET_RECORD_TYPE, ktls.TLS_GET_RECORD_TYPE].map(({ name, type }) => [name, type] as const)
  const numbers = numbersOf(ktls, /^TLS_/)
  expect(expectHeaderNumbers(['linux/tls.h'], [...options, ...controls, ...numbers])).toEqual([])
})

function cryptoInfo(cipher_type: number, iv: number, key: number, salt: number): ktls.TlsCryptoInfo {
  return {
    version: ktls.TLS_1_2_VERSION,
    cipher_type,
    iv: randomBytes(iv),
    key: randomBytes(key),
    salt: randomBytes(salt),
    rec_seq: randomBytes(8),
  }
}
