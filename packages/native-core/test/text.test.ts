import { guardDescriptors } from '@linux-sockets/testkit'
import { describe, expect, it } from 'vitest'
import { formatAddress, parseAddress } from '../src/index.js'
import { ifindexOf } from '../src/interfaces/index.js'
import { addressOf } from '../src/internal.js'

guardDescriptors()

// Invalid IP addresses and zones are tested in the package addr, whose parser agrees with this one.

const texts = [
  ['192.0.2.1:80', { family: 'ipv4', address: '192.0.2.1', port: 80 }],
  ['[2001:db8::1]:0', { family: 'ipv6', address: '2001:db8::1', port: 0 }],
  ['[fe80::1%1]:80', { family: 'ipv6', address: 'fe80::1', port: 80, scope: 1 }],
  ['/run/x.sock', { family: 'unix', path: '/run/x.sock' }],
  ['/', { family: 'unix', path: '/' }],
  ['./x:80', { family: 'unix', path: './x:80' }],
  ['../x', { family: 'unix', path: '../x' }],
  ['@name', { family: 'unix', abstract: 'name' }],
  ['@@/x:80', { family: 'unix', abstract: '@/x:80' }],
  ['@', { family: 'unix', abstract: '' }],
  [`/${'x'.repeat(107)}`, { family: 'unix', path: `/${'x'.repeat(107)}` }],
] as const

describe('parseAddress', () => {
  it.each(texts)('reads %s, which formatAddress writes', (text, address) => {
    expect(parseAddress(text)).toEqual(address)
    expect(formatAddress(address)).toBe(text)
  })

  it.each(['fe80::1', 'febf::1', 'ff01::1', 'ff02::1', 'ff11::1', 'ff32::1'])(
    'reads the name of an interface behind %s',
    (host) => {
      expect(parseAddress(`[${host}%lo]:80`)).toMatchObject({ scope: ifindexOf('lo') })
    },
  )

  it.each(['fe00::1', 'fec0::1', '2080::1', 'ff00::1', 'ff03::1', 'ff04::1', '::1'])(
    'reads numbers only behind %s',
    (host) => {
      expect(parseAddress(`[${host}%7]:80`)).toMatchObject({ scope: 7 })
      expect(() => parseAddress(`[${host}%lo]:80`)).toThrow(TypeError)
    },
  )

  it('reads the name of an interface', () => {
    const scope = ifindexOf('lo')
    expect(parseAddress('[fe80::1%lo]:80')).toEqual({ family: 'ipv6', address: 'fe80::1', port: 80, scope })
  })

  it('accepts ports up to 65535', () => {
    for (const text of ['127.0.0.1:65535', '[::1]:65535']) expect(parseAddress(text)).toMatchObject({ port: 65_535 })
    for (const text of ['127.0.0.1:65536', '[::1]:65536']) expect(() => parseAddress(text)).toThrow(TypeError)
  })

  it('accepts a port for an IP address only', () => {
    expect(parseAddress('::1', 80)).toEqual({ family: 'ipv6', address: '::1', port: 80 })
    expect(parseAddress('/run/x', 80)).toEqual({ family: 'unix', path: '/run/x' })
    expect(parseAddress('@x', 80)).toEqual({ family: 'unix', abstract: 'x' })
  })

  it.each(['', 'x', '.', '..', '.../x', 'x/y', 'localhost:80', '192.0.2.1', '::1', '~/x', 'unix:/x', ' /x'])(
    'refuses %j, and lists the accepted forms',
    (text) => {
      for (const form of ['192.0.2.1:80', '[2001:db8::1]:80', '/run/x.sock', '@name', `not ${JSON.stringify(text)}`]) {
        expect(() => parseAddress(text)).toThrow(form)
      }
      expect(() => parseAddress(text)).toThrow(TypeError)
    },
  )

  it('refuses names that do not fit', () => {
    expect(() => parseAddress(`/${'x'.repeat(108)}`)).toThrow(new RangeError('path must be at most 108 bytes, not 109'))
    expect(() => parseAddress(`@${'x'.repeat(108)}`)).toThrow(RangeError)
    expect(() => parseAddress('/a\0b')).toThrow('path must not contain a NUL')
  })
})

describe('addressOf', () => {
  it.each(texts)('reads %s', (text, address) => expect(addressOf(text)).toEqual(address))

  it('returns an address as it is', () => {
    for (const address of [texts[0][1], Uint8Array.of(1, 0)]) expect(addressOf(address)).toBe(address)
  })

  it.each([undefined, null, 80, true, Symbol('x'), {}, [], { family: null }])(
    'lists the accepted forms instead of %s',
    (address) => {
      expect(() => addressOf(address as never, 'localAddress')).toThrow(TypeError)
      expect(() => addressOf(address as never, 'localAddress')).toThrow(
        /^localAddress must be an object with a `family`, or text: .*192\.0\.2\.1:80.*@name/,
      )
      expect(() => addressOf('x', 'localAddress')).toThrow(/^localAddress must be an IP address with its port/)
    },
  )
})
