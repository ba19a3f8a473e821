import { createHash } from 'node:crypto'
import { existsSync } from 'node:fs'
import {
  createNamespace,
  expectErrno,
  guardDescriptors,
  needFile,
  needNamespaces,
  needRoot,
  runPython,
  skipUnless,
  spawnProgram,
  temporaryDirectory,
} from '@linux-sockets/testkit'
import { describe, expect, it } from 'vitest'
import { readSlot, slot } from '../src/address.js'
import {
  AF_INET,
  AF_INET6,
  AF_NETLINK,
  AF_PACKET,
  AF_UNIX,
  AF_VSOCK,
  SOCK_DGRAM,
  SOCK_RAW,
  SOCK_SEQPACKET,
  SOCK_STREAM,
  VMADDR_CID_ANY,
  VMADDR_PORT_ANY,
} from '../src/constants.js'
import {
  type Datagram,
  decodeAddress,
  encodeAddress,
  familyOf,
  formatAddress,
  type Ipv6Address,
  type PacketAddress,
  readable,
  Socket,
  type SocketAddress,
  setOption,
  UNIX_NAME_MAX,
  UNIX_PATH_MAX,
  type UnixAbstractAddress,
} from '../src/index.js'
import { ifindexOf } from '../src/interfaces/index.js'
import { IPV6_FLOWINFO_SEND } from '../src/options/index.js'
import { compileSources, runModule } from './outside.js'

guardDescriptors()
compileSources()

const notUtf8 = Uint8Array.of(0xff, 0x00, 0xfe, 0x80)

describe('encodeAddress, decodeAddress', () => {
  const samples: [string, SocketAddress][] = [
    ['ipv4', { family: 'ipv4', address: '192.0.2.1', port: 65535 }],
    ['ipv4 any', { family: 'ipv4', address: '0.0.0.0', port: 0 }],
    ['ipv6', { family: 'ipv6', address: '2001:db8::1', port: 443 }],
    [
      'ipv6 with scope and flow',
      { family: 'ipv6', address: 'fe80::1', port: 1, flowlabel: 0xfffff, scope: 0xffffffff },
    ],
    ['ipv6 with a traffic class', { family: 'ipv6', address: '::1', port: 1, flowlabel: 1, tclass: 0xff }],
    ['ipv4 in ipv6', { family: 'ipv6', address: '::ffff:192.0.2.1', port: 1 }],
    ['path', { family: 'unix', path: '/run/x.sock' }],
    ['long path', { family: 'unix', path: `/${'é'.repeat(53)}` }],
    ['path that is not UTF-8', { family: 'unix', path: Uint8Array.of(47, 0xff, 0xfe) }],
    ['abstract', { family: 'unix', abstract: 'name' }],
    ['abstract with NULs', { family: 'unix', abstract: 'a\0b\0' }],
    ['abstract that is empty', { family: 'unix', abstract: '' }],
    ['abstract that is not UTF-8', { family: 'unix', abstract: notUtf8 }],
    ['abstract with a byte order mark', { family: 'unix', abstract: '\ufeffname' }],
    ['longest path', { family: 'unix', path: `/${'x'.repeat(107)}` }],
    ['long abstract', { family: 'unix', abstract: 'x'.repeat(107) }],
    ['unnamed', { family: 'unix' }],
    ['vsock', { family: 'vsock', cid: VMADDR_CID_ANY, port: VMADDR_PORT_ANY }],
    ['vsock with flags', { family: 'vsock', cid: 2, port: 1024, flags: 1 }],
    ['netlink', { family: 'netlink', pid: 0xffffffff, groups: 0x80000001 }],
    ['raw', { family: 38, data: Uint8Array.of(1, 2, 3) }],
    ['raw, empty', { family: 0, data: new Uint8Array(0) }],
  ]

  it.each(samples)('%s is decoded as it was encoded', (_name, address) => {
    expect(decodeAddress(encodeAddress(address))).toEqual(address)
  })

  it('fills in the fields of a packet address that only the kernel knows', () => {
    const address = {
      family: 'packet',
      protocol: 0x0800,
      ifindex: 7,
      address: Uint8Array.of(1, 2, 3, 4, 5, 6),
    } as const
    expect(decodeAddress(encodeAddress(address))).toEqual({ ...address, hatype: 0, pkttype: 0 })
  })

  it('lays them out as the C library does', async () => {
    const sample = `
import socket
print(socket.inet_pton(socket.AF_INET, '192.0.2.1').hex())
print(socket.inet_pton(socket.AF_INET6, '2001:db8::1').hex())`
    const [v4, v6] = (await runPython(sample)).trim().split('\n')
    const hex = (address: SocketAddress) => Buffer.from(encodeAddress(address)).toString('hex')
    expect(hex({ family: 'ipv4', address: '192.0.2.1', port: 0x1234 })).toBe(`02001234${v4}${'00'.repeat(8)}`)
    expect(hex({ family: 'ipv6', address: '2001:db8::1', port: 0x1234, flowlabel: 0x12345, scope: 2 })).toBe(
      `0a00123400012345${v6}02000000`,
    )
    expect(hex({ family: 'unix', path: '/a' })).toBe('01002f6100')
    expect(hex({ family: 'unix', abstract: 'a' })).toBe('01000061')
    expect(hex({ family: 'unix' })).toBe('0100')
    expect(hex({ family: 'vsock', cid: 2, port: 3 })).toBe('28000000030000000200000000000000')
    expect(hex({ family: 'netlink', pid: 1, groups: 2 })).toBe('100000000100000002000000')
  })

  it('passes bytes on as they are', () => {
    const bytes = encodeAddress({ family: 'ipv4', address: '1.2.3.4', port: 5 })
    expect(encodeAddress(bytes)).toBe(bytes)
    expect(() => encodeAddress(new Uint8Array(1))).toThrow(RangeError)
    expect(() => encodeAddress(new Uint8Array(129))).toThrow(RangeError)
  })

  it.each([
    [undefined, TypeError, 'address must be an object'],
    [null, TypeError, 'address must be an object'],
    ['127.0.0.1', TypeError, 'address must be an object'],
    [{}, TypeError, 'address.family must be'],
    [{ family: 'ipv5' }, TypeError, '"ipv5"'],
    [{ family: -1, data: new Uint8Array(0) }, RangeError, 'address.family'],
    [{ family: 1.5, data: new Uint8Array(0) }, RangeError, 'address.family'],
    [{ family: 70000, data: new Uint8Array(0) }, RangeError, 'address.family'],
    [{ family: 2 }, TypeError, 'address.data'],
    [{ family: 2, data: [1] }, TypeError, 'address.data'],
    [{ family: 2, data: new Uint8Array(127) }, RangeError, 'address.data'],
    [{ family: 'ipv4', address: '::1', port: 1 }, TypeError, 'IPv4'],
    [{ family: 'ipv4', address: undefined, port: 1 }, TypeError, 'IPv4'],
    [{ family: 'ipv4', address: '1.2.3.4', port: 65536 }, RangeError, 'port'],
    [{ family: 'ipv4', address: '1.2.3.4', port: -1 }, RangeError, 'port'],
    [{ family: 'ipv4', address: '1.2.3.4', port: '80' }, TypeError, 'port'],
    [{ family: 'ipv4', address: '1.2.3.4', port: Number.NaN }, TypeError, 'port'],
    [{ family: 'ipv4', address: '1.2.3.4' }, TypeError, 'port'],
    [{ family: 'ipv6', address: '127.0.0.1', port: 1 }, TypeError, 'IPv6'],
    [{ family: 'ipv6', address: 'fe80::1%lo', port: 1 }, TypeError, 'belongs in `scope`'],
    [{ family: 'ipv6', address: '::1', port: 1, flowlabel: 0x100000 }, RangeError, 'flowlabel'],
    [{ family: 'ipv6', address: '::1', port: 1, tclass: 256 }, RangeError, 'tclass'],
    [{ family: 'ipv6', address: '::1', port: 1, scope: 2 ** 32 }, RangeError, 'scope'],
    [{ family: 'ipv6', address: '::1', port: 1, scope: 'lo' }, TypeError, 'scope'],
    [{ family: 'unix', path: '' }, TypeError, 'path must not be empty'],
    [{ family: 'unix', path: '/a\0b' }, TypeError, 'path must not contain a NUL'],
    [{ family: 'unix', path: 5 }, TypeError, 'path must be a string'],
    [{ family: 'unix', path: '/a', abstract: 'a' }, TypeError, 'not both'],
    [{ family: 'unix', path: 'x'.repeat(109) }, RangeError, 'path must be at most 108 bytes, not 109'],
    [{ family: 'unix', path: 'é'.repeat(55) }, RangeError, 'path must be at most 108 bytes, not 110'],
    [{ family: 'unix', abstract: 'x'.repeat(108) }, RangeError, 'at most 107'],
    [{ family: 'unix', abstract: 5 }, TypeError, 'abstract must be a string'],
    [{ family: 'vsock', cid: -1, port: 1 }, RangeError, 'cid'],
    [{ family: 'vsock', cid: 1, port: 2 ** 32 }, RangeError, 'port'],
    [{ family: 'vsock', cid: 1, port: 1, flags: 256 }, RangeError, 'flags'],
    [{ family: 'netlink', pid: 1.5 }, RangeError, 'pid'],
    [{ family: 'netlink', pid: 1, groups: -1 }, RangeError, 'groups'],
    [{ family: 'packet', protocol: 65536, ifindex: 1 }, RangeError, 'protocol'],
    [{ family: 'packet', protocol: 1, ifindex: 2 ** 31 }, RangeError, 'ifindex'],
    [{ family: 'packet', protocol: 1, ifindex: 1, hatype: -1 }, RangeError, 'hatype'],
    [{ family: 'packet', protocol: 1, ifindex: 1, pkttype: 256 }, RangeError, 'pkttype'],
    [{ family: 'packet', protocol: 1, ifindex: 1, address: [1] }, TypeError, 'address must be a Uint8Array'],
    [{ family: 'packet', protocol: 1, ifindex: 1, address: new Uint8Array(33) }, RangeError, 'at most 32 bytes'],
  ])('refuses %j', (address, type, message) => {
    const thrown = catchError(() => encodeAddress(address as never))
    expect(thrown).toBeInstanceOf(type)
    expect(thrown.message).toContain(message)
  })

  it('refuses too few bytes for a family', () => {
    for (const [family, size] of [
      [AF_INET, 8],
      [AF_INET6, 24],
      [AF_VSOCK, 13],
      [AF_NETLINK, 12],
      [AF_PACKET, 12],
    ] as const) {
      const bytes = new Uint8Array(size)
      bytes[0] = family
      expect(decodeAddress(bytes)).toHaveProperty('family')
      expect(() => decodeAddress(bytes.subarray(0, size - 1))).toThrow(RangeError)
    }
    for (const size of [0, 1]) expect(() => decodeAddress(new Uint8Array(size))).toThrow(RangeError)
  })

  it('refuses what the kernel never gives, rather than cutting it', () => {
    for (const [bytes, message] of [
      [Uint8Array.of(AF_UNIX, 0, ...Buffer.from('x'.repeat(109))), 'sun_path must be at most 108 bytes, not 109'],
      [Uint8Array.of(AF_UNIX, 0, 0, ...Buffer.from('x'.repeat(108))), 'sun_path must be at most 108 bytes, not 109'],
      [Uint8Array.of(AF_PACKET, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9, ...new Uint8Array(8)), 'an address of 9 bytes'],
      [Uint8Array.of(AF_PACKET, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 33, ...new Uint8Array(33)), 'sll_halen'],
      [Uint8Array.of(38, 0, ...new Uint8Array(127)), 'a sockaddr must be at most 128 bytes, not 129'],
    ] as const) {
      const thrown = catchError(() => decodeAddress(bytes))
      expect(thrown).toBeInstanceOf(RangeError)
      expect(thrown.message).toContain(message)
    }
  })

  it('reads a path up to its NUL, or to the end of 108 bytes without one', () => {
    const path = 'x'.repeat(108)
    expect(decodeAddress(Buffer.from(`\u0001\0${path}`))).toEqual({ family: 'unix', path })
    expect(decodeAddress(Buffer.from('\u0001\0/a\0rest'))).toEqual({ family: 'unix', path: '/a' })
  })

  it('reads no address where the kernel wrote none, and only as much as it wrote', () => {
    slot.fill(0)
    expect(readSlot()).toBe(null)
    slot.set([3, 0, 0, 0, AF_UNIX, 0, 0x41, 0x42])
    expect(readSlot()).toEqual({ family: 'unix', path: 'A' })
    slot.set([255, 255, 0, 0, AF_UNIX, 0, 0x41, 0])
    expect(readSlot()).toEqual({ family: 'unix', path: 'A' })
  })
})

it('familyOf reads both bytes, even if nothing follows', () => {
  expect(familyOf(Uint8Array.of(2, 0))).toBe(AF_INET)
  expect(familyOf(Uint8Array.of(38, 1, 9))).toBe(294)
})

describe('formatAddress', () => {
  it.each([
    [{ family: 'ipv4', address: '192.0.2.1', port: 80 }, '192.0.2.1:80'],
    [{ family: 'ipv6', address: '2001:db8::1', port: 80 }, '[2001:db8::1]:80'],
    [{ family: 'ipv6', address: 'fe80::1', port: 80, scope: 2 }, '[fe80::1%2]:80'],
    [{ family: 'unix', path: '/run/x.sock' }, '/run/x.sock'],
    [{ family: 'unix', path: Uint8Array.of(47, 0xe9) }, '/é'],
    [{ family: 'unix', abstract: 'a\0b' }, '@a\\0b'],
    [{ family: 'unix', abstract: notUtf8 }, '@ÿ\\0þ\u0080'],
    [{ family: 'unix' }, '(unnamed)'],
    [{ family: 'vsock', cid: 2, port: 1024 }, 'vsock:2:1024'],
    [{ family: 'netlink', pid: 5 }, 'netlink:5'],
    [{ family: 'packet', protocol: 3, ifindex: 1 }, 'packet:1'],
    [{ family: 38, data: new Uint8Array(2) }, 'family 38'],
  ] as const)('%j is %s', (address, text) => {
    expect(formatAddress(address)).toBe(text)
    expect(formatAddress(encodeAddress(address))).toBe(text)
  })
})

describe('the kernel', () => {
  it.each([
    ['ipv4', AF_INET, { family: 'ipv4', address: '127.0.0.1', port: 0 }],
    ['ipv4, another', AF_INET, { family: 'ipv4', address: '127.1.2.3', port: 0 }],
    ['ipv6', AF_INET6, { family: 'ipv6', address: '::1', port: 0 }],
    ['ipv6 any', AF_INET6, { family: 'ipv6', address: '::', port: 0 }],
  ] as const)('binds %s and gives it back', (_name, family, address) => {
    using socket = Socket.open(family, SOCK_DGRAM)
    socket.bind(address)
    const { port, ...rest } = socket.localName as typeof address
    expect({ ...rest, port: 0 }).toEqual(address)
    expect(port).toBeGreaterThan(0)
  })

  it('binds IPv4 within IPv6', () => {
    using socket = Socket.open(AF_INET6, SOCK_DGRAM)
    socket.bind({ family: 'ipv6', address: '::ffff:127.0.0.1', port: 0 })
    expect(socket.localName).toMatchObject({ family: 'ipv6', address: '::ffff:127.0.0.1' })
  })

  it('keeps the scope of a link-local address', () => {
    using socket = Socket.open(AF_INET6, SOCK_DGRAM)
    const scope = ifindexOf('lo')
    // A multicast address, since loopback has no link-local address of its own.
    socket.bind({ family: 'ipv6', address: 'ff02::1', port: 0, scope })
    const { port } = socket.localName as Ipv6Address
    expect(socket.localName).toEqual({ family: 'ipv6', address: 'ff02::1', port, scope })
  })

  const directory = () => temporaryDirectory()
  const padded = (length: number) => {
    const start = `${directory()}/`
    return start + 'p'.repeat(length - start.length)
  }

  it.each([106, UNIX_NAME_MAX, UNIX_PATH_MAX])('binds a path of %i bytes', (length) => {
    using socket = Socket.open(AF_UNIX, SOCK_STREAM)
    const path = padded(length)
    socket.bind({ family: 'unix', path })
    expect(socket.localName).toEqual({ family: 'unix', path })
    expect(existsSync(path)).toBe(true)
  })

  it('replies to a peer whose path has 108 bytes and no NUL', async () => {
    using server = Socket.open(AF_UNIX, SOCK_DGRAM)
    server.bind({ family: 'unix' })
    const { abstract } = server.localName as UnixAbstractAddress
    const path = padded(UNIX_PATH_MAX)
    const peer = spawnProgram('python3', [
      '-uc',
      // Python's own bind needs room for a NUL.
      `import ctypes, socket, sys
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
assert ctypes.CDLL(None).bind(s.fileno(), b'\\1\\0' + sys.argv[1].encode(), 110) == 0
s.sendto(b'ping', b'\\0' + sys.argv[2].encode())
print(s.recv(10).decode())`,
      path,
      abstract as string,
    ])
    await readable(server)
    const { address } = server.recvFrom(Buffer.alloc(10)) as Datagram
    expect(address).toEqual({ family: 'unix', path })
    expect(server.sendTo(Buffer.from('pong'), address as SocketAddress)).toBe(4)
    expect(await peer.finished).toMatchObject({ code: 0, stdout: 'pong\n' })
    // The kernel reports it so, too: with a NUL that it doesn't accept.
    using other = Socket.open(AF_UNIX, SOCK_DGRAM)
    expectErrno(() => other.connect(Buffer.from(`\u0001\0${path}\0`)), 'EINVAL')
    expectErrno(() => other.connect({ family: 'unix', path }), 'ECONNREFUSED')
  })

  it('returns the traffic class', () => {
    using socket = Socket.open(AF_INET6, SOCK_DGRAM)
    setOption(socket, IPV6_FLOWINFO_SEND, true)
    const address = { family: 'ipv6', address: '::1', port: 9, tclass: 0xb8 } as const
    socket.connect(address)
    expect(socket.peerName).toEqual(address)
  })

  it('binds a path that is not UTF-8', () => {
    using socket = Socket.open(AF_UNIX, SOCK_STREAM)
    const path = Buffer.concat([Buffer.from(`${directory()}/`), Uint8Array.of(0xff, 0xfe)])
    socket.bind({ family: 'unix', path })
    expect(socket.localName).toEqual({ family: 'unix', path: Uint8Array.from(path) })
    expect(existsSync(path)).toBe(true)
  })

  it.each([
    ['text', 'plain'],
    ['NULs', 'a\0\0b\0'],
    ['bytes that are not UTF-8', notUtf8],
    ['the most bytes', 'x'.repeat(97)],
    ['nothing', ''],
  ])('binds an abstract name of %s, and sends to it', (_what, name) => {
    using socket = Socket.open(AF_UNIX, SOCK_DGRAM)
    const suffix = `${process.pid}${Math.random()}`.slice(0, 10)
    const abstract =
      typeof name === 'string' ? name && name + suffix : Uint8Array.from([...name, ...Buffer.from(suffix)])
    socket.bind({ family: 'unix', abstract })
    expect(socket.localName).toEqual({ family: 'unix', abstract })
    using sender = Socket.open(AF_UNIX, SOCK_DGRAM)
    sender.sendTo(Buffer.from('x'), { family: 'unix', abstract })
    expect(socket.recv(Buffer.alloc(2))).toBe(1)
  })

  it('agrees with Python about an abstract name', async () => {
    using socket = Socket.open(AF_UNIX, SOCK_DGRAM)
    const abstract = `from us\0${process.pid}-${Math.random()}`
    socket.bind({ family: 'unix', abstract })
    await runPython(
      `import socket, sys
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.bind(bytes.fromhex(sys.argv[1]) + b'\\xff')
s.sendto(b'hi', bytes.fromhex(sys.argv[1]))`,
      Buffer.from(`\0${abstract}`).toString('hex'),
    )
    const got = socket.recvFrom(Buffer.alloc(4))
    expect(got).toEqual({
      length: 2,
      address: { family: 'unix', abstract: Uint8Array.from([...Buffer.from(abstract), 0xff]) },
    })
  })

  it('chooses an abstract name (autobind), and has none before', () => {
    using socket = Socket.open(AF_UNIX, SOCK_DGRAM)
    expect(socket.localName).toEqual({ family: 'unix' })
    socket.bind({ family: 'unix' })
    expect((socket.localName as UnixAbstractAddress).abstract).toMatch(/^[\da-f]{5}$/)
  })

  it('reports the peers of a pair as unnamed', () => {
    const [a, b] = Socket.pair()
    expect(a.peerName).toEqual({ family: 'unix' })
    a.close()
    b.close()
  })

  it('binds netlink', () => {
    const NETLINK_ROUTE = 0
    using socket = Socket.open(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE)
    socket.bind({ family: 'netlink', pid: 0, groups: 1 })
    const address = socket.localName
    expect(address).toMatchObject({ family: 'netlink', groups: 1 })
    expect((address as { pid: number }).pid).toBeGreaterThan(0)
    expect(decodeAddress(encodeAddress(address))).toEqual(address)
  })

  it('binds packet sockets to an interface', (test) => {
    skipUnless(test, needRoot())
    const ifindex = ifindexOf('lo')
    const protocol = 0x88b5
    // Protocols of packet(7) sockets are in network byte order.
    using socket = Socket.open(AF_PACKET, SOCK_DGRAM, 0)
    socket.bind({ family: 'packet', protocol, ifindex })
    const ARPHRD_LOOPBACK = 772
    const lo = { family: 'packet', protocol, ifindex, hatype: ARPHRD_LOOPBACK, pkttype: 0, address: new Uint8Array(6) }
    expect(socket.localName).toEqual(lo)
    using sender = Socket.open(AF_PACKET, SOCK_DGRAM, 0)
    sender.sendTo(Buffer.from('frame'), { family: 'packet', protocol, ifindex, address: new Uint8Array(6) })
    const got = socket.recvFrom(Buffer.alloc(100)) as Datagram
    expect(got.length).toBe(5)
    expect(got.address).toMatchObject({ family: 'packet', protocol, ifindex, hatype: ARPHRD_LOOPBACK })
    expect([0, 4]).toContain((got.address as PacketAddress).pkttype)
  })

  it('gives packet addresses that can be encoded: with long hardware addresses, and of an interface that is gone', async (test) => {
    skipUnless(test, needNamespaces(), needFile('/dev/net/tun'))
    const namespace = createNamespace()
    // A tunnel that calls itself one of IPv6, whose addresses have 16 bytes.
    const device = `
import fcntl, struct
tun = open('/dev/net/tun', 'r+b', buffering=0)
TUNSETIFF, TUNSETLINK, TUNSETPERSIST, ARPHRD_TUNNEL6 = 0x400454ca, 0x400454cd, 0x400454cb, 769
fcntl.ioctl(tun, TUNSETIFF, struct.pack('16sH22x', b'tun6', 0x1001))
fcntl.ioctl(tun, TUNSETLINK, ARPHRD_TUNNEL6)
fcntl.ioctl(tun, TUNSETPERSIST, 1)`
    await namespace.run('python3', ['-c', device])
    const script = `
      import { execFileSync } from 'node:child_process'
      import { AF_PACKET, decodeAddress, encodeAddress, ifindexOf, interfaces, SOCK_DGRAM, Socket } from './everything.js'
      const socket = Socket.open(AF_PACKET, SOCK_DGRAM, 0)
      const ifindex = ifindexOf('tun6')
      socket.bind({ family: 'packet', protocol: 0x88b5, ifindex })
      const bound = socket.localName
      const { mac } = interfaces().find(({ name }) => name === 'tun6')
      console.log(Buffer.from(bound.address).toString('hex') === mac.replaceAll(':', ''))
      execFileSync('ip', ['link', 'delete', 'tun6'])
      const gone = socket.localName
      for (const each of [bound, gone]) {
        const again = decodeAddress(encodeAddress(each))
        const same = JSON.stringify(again) === JSON.stringify(each)
        console.log(each.ifindex === ifindex ? 'its index' : each.ifindex, each.address.length, same)
      }
      socket.close()`
    const { stdout, stderr } = await runModule(script, { wrapper: ['ip', 'netns', 'exec', namespace.name] })
    expect(stdout, stderr).toBe('true\nits index 16 true\n-1 0 true\n')
  })

  it('binds vsock', (test) => {
    const socket = openOrReason(AF_VSOCK, SOCK_STREAM)
    skipUnless(test, typeof socket === 'string' ? `AF_VSOCK can't be opened: ${socket}` : null)
    using opened = socket as Socket
    opened.bind({ family: 'vsock', cid: VMADDR_CID_ANY, port: VMADDR_PORT_ANY })
    expect(opened.localName).toMatchObject({ family: 'vsock', cid: VMADDR_CID_ANY })
    expect((opened.localName as { port: number }).port).not.toBe(VMADDR_PORT_ANY)
  })

  it('accepts a family without a shape of its own, as bytes', (test) => {
    const AF_ALG = 38
    const opened = openOrReason(AF_ALG, SOCK_SEQPACKET)
    skipUnless(test, typeof opened === 'string' ? `AF_ALG can't be opened: ${opened}` : null)
    using socket = opened as Socket
    const data = Buffer.alloc(86)
    data.write('hash', 0)
    data.write('sha256', 22)
    socket.bind({ family: AF_ALG, data })
    using hashing = socket.accept() as Socket
    hashing.send(Buffer.from('abc'))
    const digest = Buffer.alloc(100)
    expect(digest.subarray(0, hashing.recv(digest) as number)).toEqual(createHash('sha256').update('abc').digest())
  })
})

function openOrReason(family: number, type: number): Socket | string {
  try {
    return Socket.open(family, type)
  } catch (error) {
    return (error as Error).message
  }
}

function catchError(action: () => unknown): Error {
  try {
    action()
  } catch (error) {
    return error as Error
  }
  throw new Error('nothing was thrown')
}
