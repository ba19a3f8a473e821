import { type InetAddress, inetPton, type UnixAbstractAddress, type UnixPathAddress } from '@linux-sockets/native-core'
import { AF_INET, AF_INET6 } from '@linux-sockets/native-core/constants'
import { guardDescriptors, runProgram } from '@linux-sockets/testkit'
import { describe, expect, expectTypeOf, it } from 'vitest'
import {
  AI_NUMERICHOST,
  formatAddress,
  formatHostPort,
  formatIpv4,
  formatIpv6,
  type HostPort,
  ifindexOf,
  parseAddress,
  parseHostPort,
  parseIpv4,
  parseIpv6,
  resolve,
} from '../src/index.js'

guardDescriptors()

// The same texts in every run.
let state = 7
function random(below: number): number {
  state = (Math.imul(state, 1103515245) + 12345) >>> 0
  return Math.floor((state / 2 ** 32) * below)
}

const pick = <T>(list: readonly T[]): T => list[random(list.length)] as T

/** 16 bytes with the runs of zeros and the prefixes that texts differ in. */
function randomBytes(): Uint8Array {
  const bytes = Uint8Array.from({ length: 16 }, () => random(256))
  for (let i = 0; i < 8; i++) if (random(2) === 0) bytes.fill(0, 2 * i, 2 * i + 2)
  if (random(8) === 0) bytes.fill(0, 0, 10).fill(0xff, 10, 12)
  return bytes
}

function textOf(bytes: Uint8Array): string {
  const full = Buffer.from(bytes).toString('hex').match(/.{4}/g)?.join(':') as string
  const dotted = `${full.slice(0, 30)}${formatIpv4(bytes.subarray(12))}`
  return pick([formatIpv6(bytes), formatIpv4(bytes.subarray(12)), full, full.toUpperCase(), dotted])
}

/** A text that is nearly an address. */
function mutated(text: string): string {
  const characters = [...text]
  for (let i = random(3); i >= 0; i--) {
    const other = pick([...'0123456789abcdefABCDEFg:. %x-', '::', '0.', '.0', '255', '256'])
    characters.splice(random(characters.length + 1), random(2), ...(random(3) === 0 ? [] : [other]))
  }
  return characters.join('')
}

/** A text of the parts of addresses. */
function assembled(): string {
  const parts = ['0', '1', '00', '01', '255', '256', 'ffff', 'fffff', 'a', ':', '::', '.', ':', '.']
  return Array.from({ length: random(16) }, () => pick(parts)).join('')
}

const texts = Array.from({ length: 40_000 }, () => {
  const text = textOf(randomBytes())
  return pick([() => text, () => mutated(text), assembled])()
})

const hex = (bytes: Uint8Array | null) => (bytes === null ? '-' : Buffer.from(bytes).toString('hex'))

function attempt(parse: (text: string) => Uint8Array, text: string): string {
  try {
    return hex(parse(text))
  } catch (error) {
    if (error instanceof TypeError) return '-'
    throw error
  }
}

describe('parseIpv4 and parseIpv6', () => {
  it('agree with inet_pton about 40000 texts, as Python calls it and as we do', async () => {
    const script = `
import socket, sys, json
def attempt(family, text):
    try: return socket.inet_pton(family, text).hex()
    except OSError: return '-'
json.dump([[attempt(socket.AF_INET, t), attempt(socket.AF_INET6, t)] for t in json.load(sys.stdin)], sys.stdout)`
    const theirs: [string, string][] = JSON.parse(
      await runProgram('python3', ['-c', script], { input: JSON.stringify(texts) }),
    )
    const parsed = texts.map((text) => [attempt(parseIpv4, text), attempt(parseIpv6, text)])
    const called = texts.map((text) => [hex(inetPton(AF_INET, text)), hex(inetPton(AF_INET6, text))])
    const differing = texts.filter(
      (_, i) => String(parsed[i]) !== String(theirs[i]) || String(called[i]) !== String(theirs[i]),
    )
    expect(differing).toEqual([])
    // Neither answer is rare among them.
    const good = theirs.filter(([v4, v6]) => v4 !== '-' || v6 !== '-').length
    expect(good).toBeGreaterThan(10_000)
    expect(good).toBeLessThan(30_000)
  })
})

describe('parseAddress', () => {
  it.each([
    ['192.0.2.1:80', { family: 'ipv4', address: '192.0.2.1', port: 80 }],
    ['0.0.0.0:0', { family: 'ipv4', address: '0.0.0.0', port: 0 }],
    ['192.0.2.1:00080', { family: 'ipv4', address: '192.0.2.1', port: 80 }],
    ['[::1]:65535', { family: 'ipv6', address: '::1', port: 65535 }],
    ['[2001:DB8:0:0::1]:80', { family: 'ipv6', address: '2001:db8::1', port: 80 }],
    ['[::ffff:192.0.2.1]:80', { family: 'ipv6', address: '::ffff:192.0.2.1', port: 80 }],
    ['[fe80::1%lo]:80', { family: 'ipv6', address: 'fe80::1', port: 80, scope: 1 }],
    ['[fe80::1%4294967295]:80', { family: 'ipv6', address: 'fe80::1', port: 80, scope: 4294967295 }],
    ['[ff01::1%lo]:80', { family: 'ipv6', address: 'ff01::1', port: 80, scope: 1 }],
    ['[2001:db8::1%7]:80', { family: 'ipv6', address: '2001:db8::1', port: 80, scope: 7 }],
    ['[fe80::1%0]:80', { family: 'ipv6', address: 'fe80::1', port: 80 }],
  ])('reads %s', (text, expected) => expect(parseAddress(text)).toEqual(expected))

  it.each(['192.0.2.1', '[::1]', '::1', 'fe80::1%lo'])('uses its second argument as the port for %s', (text) => {
    expect(parseAddress(text, 443)).toMatchObject({ port: 443 })
    expect(() => parseAddress(text)).toThrow('with its port')
  })

  it('returns an address of either family', () => {
    expectTypeOf(parseAddress('[::1]:80')).toEqualTypeOf<InetAddress | UnixPathAddress | UnixAbstractAddress>()
    expectTypeOf(parseHostPort('a:1')).toEqualTypeOf<HostPort>()
  })

  it('prefers the port of the text', () => expect(parseAddress('[::1]:80', 443)).toMatchObject({ port: 80 }))

  it.each([
    '',
    ':80',
    '[]:80',
    'localhost:80',
    '192.0.2.1:',
    '[::1]:',
    '[::1',
    '::1]:80',
    '[[::1]]:80',
    '[192.0.2.1]:80',
    '192.0.2.01:80',
    '192.0.2.1:65536',
    '192.0.2.1:100000',
    '192.0.2.1:-1',
    '192.0.2.1:+1',
    '192.0.2.1: 80',
    '192.0.2.1:80 ',
    ' 192.0.2.1:80',
    '192.0.2.1:80\n',
    '192.0.2.1:0x50',
    '192.0.2.1:1e1',
    '192.0.2.1:８０',
    '192.0.2.1:80:80',
    '[::1]80',
    '[::1%]:80',
    '[fe80::1%no-such-link]:80',
    '[2001:db8::1%lo]:80',
    '[fe80::1%4294967296]:80',
    '[fe80::1%lo%lo]:80',
    '[fe80::1%l\0o]:80',
    '192.0.2.1%lo:80',
  ])('refuses %j', (text) => {
    expect(() => parseAddress(text)).toThrow(TypeError)
    expect(() => parseAddress(text, 1)).toThrow(TypeError)
  })

  it.each([undefined, null, 80, {}, ['::1']])('refuses %j', (text) => {
    expect(() => parseAddress(text as never, 1)).toThrow(TypeError)
  })

  it('refuses an invalid port', () => {
    expect(() => parseAddress('::1', 65536)).toThrow(RangeError)
    expect(() => parseAddress('::1', Number.NaN)).toThrow(TypeError)
  })

  it('reads what formatAddress writes', () => {
    for (let i = 0; i < 2000; i++) {
      const bytes = randomBytes()
      const port = random(65536)
      const v4 = { family: 'ipv4', address: formatIpv4(bytes.subarray(0, 4)), port } as const
      const v6 = { family: 'ipv6', address: formatIpv6(bytes), port, ...(i % 3 > 0 && { scope: i }) } as const
      expect(parseAddress(formatAddress(v4))).toEqual(v4)
      expect(parseAddress(formatAddress(v6))).toEqual(v6)
    }
  })

  // Except for interface-local groups (ff01::), whose scopes musl doesn't read.
  it('reads scopes as getaddrinfo does', async () => {
    const hosts = ['fe80::1', 'febf::1', 'fec0::1', 'ff02::1', 'ff12::1', 'ff05::1', '2001:db8::1', '::1']
    const zones = ['lo', 'nothing', '0', '1', '001', '77', '4294967295', '4294967296', '1x', '+1', '', ' 1']
    const cases = hosts.flatMap((host) => zones.map((zone) => `${host}%${zone}`))
    const theirs = await Promise.all(
      cases.map((host) =>
        resolve(host, 80, { flags: AI_NUMERICHOST }).then(
          ([found]) => (found as { scope?: number }).scope ?? 0,
          () => 'refused',
        ),
      ),
    )
    const ours = cases.map((host) => {
      try {
        return (parseAddress(`[${host}]:80`) as { scope?: number }).scope ?? 0
      } catch {
        return 'refused'
      }
    })
    expect(Object.fromEntries(cases.map((host, i) => [host, ours[i]]))).toEqual(
      Object.fromEntries(cases.map((host, i) => [host, theirs[i]])),
    )
    expect(ours).toContain(ifindexOf('lo'))
  })
})

describe('parseHostPort and formatHostPort', () => {
  it.each([
    ['example.org:443', 'example.org', 443],
    ['example.org', 'example.org', null],
    ['192.0.2.1:80', '192.0.2.1', 80],
    ['bücher.example:80', 'bücher.example', 80],
    ['[::1]:80', '::1', 80],
    ['[::1]', '::1', null],
    ['::1', '::1', null],
    ['[fe80::1%eth7]:80', 'fe80::1%eth7', 80],
  ])('split %s', (text, host, port) => {
    expect(parseHostPort(text)).toEqual({ host, port })
    if (port !== null) expect(formatHostPort(host, port)).toBe(text)
  })

  it.each([
    '',
    ':80',
    '[]:80',
    'example.org:',
    'example.org:http',
    'example.org:65536',
    'a:b:80',
    '[example.org]:80',
    '[192.0.2.1]:80',
    '[::1]x',
    '[::1]:80:80',
    'exa[mple:80',
    null,
    7,
  ])('refuse %j', (text) => expect(() => parseHostPort(text as string)).toThrow(TypeError))

  it('refuse an invalid port', () => {
    expect(() => formatHostPort('example.org', 65536)).toThrow(RangeError)
    expect(() => formatHostPort('example.org', Number.NaN)).toThrow(TypeError)
    expect(() => formatHostPort(undefined as never, 80)).toThrow(TypeError)
  })

  it.each(['', 'a:b', '[::1]', 'exa]mple'])('refuse the host %j, which could not be read again', (host) => {
    expect(() => formatHostPort(host, 80)).toThrow('host must be a name or an address')
  })

  it('work with resolve', async () => {
    const { host, port } = parseHostPort('[::1]:80')
    expect(await resolve(host, port)).toMatchObject([{ family: 'ipv6', address: '::1', port: 80 }])
  })
})
