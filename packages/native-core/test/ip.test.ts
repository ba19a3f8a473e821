import { expectErrno, guardDescriptors, runProgram } from '@linux-sockets/testkit'
import { describe, expect, it } from 'vitest'
import { AF_INET, AF_INET6, AF_UNIX } from '../src/constants.js'
import { formatIpv4, formatIpv6, inetAton, inetNtop, inetPton, parseIpv4, parseIpv6 } from '../src/index.js'

guardDescriptors()

// The same addresses in every run.
let state = 1
function random(below: number): number {
  state = (Math.imul(state, 1103515245) + 12345) >>> 0
  return Math.floor((state / 2 ** 32) * below)
}

/** 16 bytes with runs of zero groups, IPv4 in IPv6 and so on: what text forms differ in. */
function randomIpv6(): Uint8Array {
  const bytes = Uint8Array.from({ length: 16 }, () => random(256))
  for (let i = 0; i < 8; i++) if (random(2) === 0) bytes.fill(0, 2 * i, 2 * i + 2)
  for (let i = 0; i < 8; i++) if (random(4) === 0) bytes[2 * i] = 0
  if (random(8) === 0) bytes.fill(0, 0, 10).fill(0xff, 10, 12)
  if (random(8) === 0) bytes.fill(0, 0, 12)
  return bytes
}

/** Text like an address, more often wrong than right. */
function mutated(text: string): string {
  const characters = [...text]
  for (let i = random(3); i >= 0; i--) {
    const at = random(characters.length + 1)
    const other = '0123456789abcdefABCDEFg:. %x'[random(28)] as string
    characters.splice(at, random(2), ...(random(3) === 0 ? [] : [other]))
  }
  return characters.join('')
}

function attempt(parse: (text: string) => Uint8Array, text: string): string | null {
  try {
    return Buffer.from(parse(text)).toString('hex')
  } catch (error) {
    expect(error).toBeInstanceOf(TypeError)
    return null
  }
}

const hex = (bytes: Uint8Array | null) => bytes && Buffer.from(bytes).toString('hex')

const ipv4Texts = Array.from({ length: 2000 }, () => {
  const text = [0, 0, 0, 0].map(() => random(300)).join('.')
  return random(2) === 0 ? text : mutated(text)
})
const ipv6Bytes = Array.from({ length: 2000 }, randomIpv6)
const ipv6Texts = ipv6Bytes.flatMap((bytes) => {
  const [ours, full] = [formatIpv6(bytes), Buffer.from(bytes).toString('hex').match(/.{4}/g)?.join(':') as string]
  const dotted = `${full.slice(0, 30)}${formatIpv4(bytes.subarray(12))}`
  return [ours, full, full.toUpperCase(), dotted, mutated(ours), mutated(full), mutated(dotted)]
})

describe('parsing', () => {
  it('agrees with inet_pton about IPv4', () => {
    for (const text of ipv4Texts) expect(attempt(parseIpv4, text), text).toBe(hex(inetPton(AF_INET, text)))
  })

  it('agrees with inet_pton about IPv6', () => {
    for (const text of ipv6Texts) expect(attempt(parseIpv6, text), text).toBe(hex(inetPton(AF_INET6, text)))
  })

  const edges = [
    '',
    ':',
    '::',
    ':::',
    '::1',
    '1::',
    '1:',
    ':1',
    '::1:',
    ':1::',
    '1::2::3',
    '1:2:3:4:5:6:7:8',
    '1:2:3:4:5:6:7',
    '1:2:3:4:5:6:7:8:9',
    '1:2:3:4:5:6:7::',
    '::2:3:4:5:6:7:8',
    '1::3:4:5:6:7:8',
    '1:2:3:4::5:6:7:8',
    '12345::',
    '::1.2.3.4',
    '1.2.3.4',
    '1.2.3.4::',
    '::1.2.3.4:5',
    '::1.2.3',
    '::1.2.3.256',
    '::01.2.3.4',
    '1:2:3:4:5:6:1.2.3.4',
    '1:2:3:4:5:6:7:1.2.3.4',
    '1:2:3:4:5::1.2.3.4',
    '1:2:3:4:5:6::1.2.3.4',
    '::ffff:1.2.3.4',
    'fe80::1%lo',
    ' ::1',
    '::1 ',
    '::g',
    '::-1',
    '0x1::',
    '1.2.3',
    '1.2.3.4.5',
    '01.2.3.4',
    '1.2.3.04',
    '1..2.3',
    '.1.2.3.4',
    '1.2.3.4.',
    '256.1.1.1',
    '1.2.3.4 ',
    '+1.2.3.4',
    '1e0.2.3.4',
    '0.0.0.0',
    '00.0.0.0',
    '255.255.255.255',
    '::00001',
    '::\0',
    '１.2.3.4',
    '::１',
  ]

  it.each(edges)('agrees with inet_pton about %j', (text) => {
    // C text ends at a NUL; ours does not, and refuses it.
    if (text.includes('\0')) {
      expect(attempt(parseIpv6, text)).toBe(null)
      return
    }
    expect(attempt(parseIpv4, text)).toBe(hex(inetPton(AF_INET, text)))
    expect(attempt(parseIpv6, text)).toBe(hex(inetPton(AF_INET6, text)))
  })

  it.each([undefined, null, 5, {}, ['::1']])('refuses %j', (text) => {
    expect(() => parseIpv4(text as never)).toThrow(TypeError)
    expect(() => parseIpv6(text as never, 'group')).toThrow('group must be an IPv6 address')
  })

  it('says where to put a zone', () => {
    expect(() => parseIpv6('fe80::1%eth0')).toThrow('belongs in `scope`')
    expect(() => parseIpv6('fe80::1')).not.toThrow()
  })
})

describe('inetAton', () => {
  it.each([
    ['127.1', '127.0.0.1'],
    ['127.0.1', '127.0.0.1'],
    ['2130706433', '127.0.0.1'],
    ['0x7f.1', '127.0.0.1'],
    ['0177.0x0.0.01', '127.0.0.1'],
    ['010.0.0.1', '8.0.0.1'],
    ['1.65536', '1.1.0.0'],
    ['0', '0.0.0.0'],
    ['0XFFFFFFFF', '255.255.255.255'],
  ])('reads %s as %s', (text, address) => expect(formatIpv4(inetAton(text) as Uint8Array)).toBe(address))

  it('agrees with inet_aton, as Python calls it', async () => {
    const numbers = [
      '0',
      '1',
      '127',
      '255',
      '256',
      '65535',
      '65536',
      '16777215',
      '16777216',
      '4294967295',
      '4294967296',
    ]
    numbers.push(
      '00',
      '01',
      '010',
      '0377',
      '0400',
      '08',
      '0x',
      '0x0',
      '0xff',
      '0x100',
      '0XFf',
      '0xg',
      '',
      '-1',
      '+1',
      '1e1',
    )
    numbers.push('99999999999999999999', '0x00000000000000001', '037777777777', '040000000000', 'a', '1a')
    const texts = Array.from({ length: 5000 }, () =>
      Array.from({ length: 1 + random(5) }, () => numbers[random(numbers.length)]).join('.'),
    )
    const script = `import socket, sys, json
def attempt(text):
    try: return socket.inet_aton(text).hex()
    except OSError: return None
json.dump([attempt(text) for text in json.load(sys.stdin)], sys.stdout)`
    const all = [...new Set([...texts, ...numbers, ...ipv4Texts.filter((text) => !/\s/.test(text))])]
    const theirs = JSON.parse(await runProgram('python3', ['-c', script], { input: JSON.stringify(all) }))
    expect(Object.fromEntries(all.map((text) => [text, hex(inetAton(text))]))).toEqual(
      Object.fromEntries(all.map((text, i) => [text, theirs[i]])),
    )
    expect(theirs.filter((found: string | null) => found !== null).length).toBeGreaterThan(300)
  })

  it.each(['127.0.0.1 ', ' 127.0.0.1', '127.0.0.1 and more', '127.0.0.1\n', '1.2.3.4\0', '１'])('refuses %j', (text) =>
    expect(inetAton(text)).toBe(null),
  )
})

describe('formatting', () => {
  it('writes IPv4 as inet_ntop does', () => {
    for (let i = 0; i < 500; i++) {
      const bytes = Uint8Array.from({ length: 4 }, () => random(256))
      expect(formatIpv4(bytes)).toBe(inetNtop(AF_INET, bytes))
      expect(parseIpv4(formatIpv4(bytes))).toEqual(bytes)
    }
  })

  it('writes IPv6 as inet_ntop does, but for the deprecated ::192.0.2.1', () => {
    for (const bytes of ipv6Bytes) {
      // RFC 5952 section 5 writes dotted only what has a known prefix; glibc also what RFC 4291 calls IPv4-compatible.
      const compatible = bytes.subarray(0, 12).every((byte) => byte === 0)
      const theirs = inetNtop(AF_INET6, bytes)
      if (compatible) expect(hex(inetPton(AF_INET6, formatIpv6(bytes)))).toBe(hex(inetPton(AF_INET6, theirs)))
      else expect(formatIpv6(bytes)).toBe(theirs)
      expect(parseIpv6(formatIpv6(bytes))).toEqual(bytes)
    }
  })

  it('agrees with Python’s ipaddress', async () => {
    const script = `import sys, ipaddress
for line in sys.stdin:
    a = ipaddress.IPv6Address(bytes.fromhex(line.strip()))
    print('::ffff:' + str(a.ipv4_mapped) if a.ipv4_mapped else a.compressed)`
    const input = ipv6Bytes.map((bytes) => hex(bytes)).join('\n')
    const theirs = (await runProgram('python3', ['-c', script], { input })).trim().split('\n')
    expect(ipv6Bytes.map(formatIpv6)).toEqual(theirs)
  })

  it.each([
    ['00000000000000000000000000000000', '::'],
    ['00000000000000000000000000000001', '::1'],
    ['20010db8000000010001000100010001', '2001:db8:0:1:1:1:1:1'],
    ['20010000000000010000000000000001', '2001:0:0:1::1'],
    ['20010db8000000000001000000000001', '2001:db8::1:0:0:1'],
    ['00010000000000000000000000000000', '1::'],
    ['00000000000000000000ffffc0000201', '::ffff:192.0.2.1'],
    ['000000000000000000000000c0000201', '::c000:201'],
  ])('writes %s as %s (RFC 5952)', (bytes, text) => {
    expect(formatIpv6(Buffer.from(bytes, 'hex'))).toBe(text)
  })
})

describe('inetPton, inetNtop', () => {
  it('read and write addresses', () => {
    expect(inetPton(AF_INET, '192.0.2.1')).toEqual(Uint8Array.of(192, 0, 2, 1))
    expect(inetNtop(AF_INET, Uint8Array.of(192, 0, 2, 1))).toBe('192.0.2.1')
    const bytes = inetPton(AF_INET6, '2001:DB8::1') as Uint8Array
    expect(bytes).toHaveLength(16)
    expect(inetNtop(AF_INET6, bytes)).toBe('2001:db8::1')
    expect(inetNtop(AF_INET6, new Uint8Array(16).fill(255))).toBe('ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff')
  })

  it('return null for text that is no address', () => {
    for (const text of ['', '1.2.3', '::g', 'localhost', '1.2.3.4\0', '::1\0']) {
      expect(inetPton(AF_INET, text)).toBe(null)
      expect(inetPton(AF_INET6, text)).toBe(null)
    }
    expect(inetPton(AF_INET, '::1')).toBe(null)
    expect(inetPton(AF_INET6, `::${'0'.repeat(500)}`)).toBe(null)
  })

  it('refuse other families and too few bytes', () => {
    expectErrno(() => inetPton(AF_UNIX, '/x'), 'EAFNOSUPPORT')
    expectErrno(() => inetNtop(AF_UNIX, new Uint8Array(16)), 'EAFNOSUPPORT')
    expect(() => inetNtop(AF_INET6, new Uint8Array(15))).toThrow()
    expect(() => inetNtop(AF_INET, new Uint8Array(3))).toThrow()
  })
})
