import { type AddressLike, Socket } from '@linux-sockets/native-core'
import { AF_INET, IPPROTO_TCP, IPPROTO_UDP, SOCK_DGRAM, SOCK_STREAM } from '@linux-sockets/native-core/constants'
import {
  expectHeaderNumbers,
  guardDescriptors,
  needCompiler,
  needFile,
  numbersOf,
  runPython,
  skipUnless,
} from '@linux-sockets/testkit'
import { describe, expect, expectTypeOf, it } from 'vitest'
import * as addr from '../src/index.js'
import {
  AI_ALL,
  AI_CANONNAME,
  AI_NUMERICHOST,
  AI_NUMERICSERV,
  AI_PASSIVE,
  AI_V4MAPPED,
  ifindexOf,
  type ResolvedAddress,
  resolve,
} from '../src/index.js'
import { runAlone } from './outside.js'

guardDescriptors()

describe('resolve', () => {
  it('finds what getaddrinfo finds, in its order', async (test) => {
    skipUnless(test, needFile('/etc/services'))
    const found = await resolve('localhost', 'http')
    const script =
      'import socket, json; print(json.dumps(socket.getaddrinfo("localhost", "http", type=socket.SOCK_STREAM)))'
    const expected: [number, number, number, string, [string, number]][] = JSON.parse(await runPython(script))
    expect(found.map(({ address, port, socktype, protocol }) => [socktype, protocol, address, port])).toEqual(
      expected.map(([, socktype, protocol, , [address, port]]) => [socktype, protocol, address, port]),
    )
    expect(found).toContainEqual({
      family: 'ipv4',
      address: '127.0.0.1',
      port: 80,
      socktype: SOCK_STREAM,
      protocol: IPPROTO_TCP,
    })
  })

  it('returns each address once, in its order, even if /etc/hosts names it twice', async (test) => {
    const found = await runAlone(
      test,
      `const list = [{ flags: addr.AI_CANONNAME }, { family: 'ipv4', socktype: 0 }].map((hints) => resolve('twice.test', 80, hints))
       console.log(JSON.stringify(await Promise.all(list)))`,
    )
    const [streams, all] = found as ResolvedAddress[][]
    const addresses = streams?.map(({ address }) => address)
    expect(addresses?.toSorted()).toEqual(['127.0.0.2', '127.0.0.3', '2001:db8::8'])
    expect(addresses?.filter((address) => address !== '2001:db8::8')).toEqual(['127.0.0.2', '127.0.0.3'])
    expect(streams?.map(({ canonname }) => canonname)).toEqual(['twice.test', undefined, undefined])
    // For streams, datagrams and raw sockets.
    expect(all?.map(({ address, socktype }) => `${address} ${socktype}`)).toEqual(
      ['127.0.0.2', '127.0.0.3'].flatMap((address) => [1, 2, 3].map((socktype) => `${address} ${socktype}`)),
    )
  })

  it('returns addresses that a socket accepts as they are', async () => {
    using socket = Socket.open(AF_INET, SOCK_DGRAM)
    const [address] = await resolve('127.0.0.1', null, { socktype: SOCK_DGRAM })
    socket.bind(address as ResolvedAddress)
    expect(socket.localName).toMatchObject({ family: 'ipv4', address: '127.0.0.1' })
  })

  it('accepts the service as a name, as a port, or not at all', async (test) => {
    skipUnless(test, needFile('/etc/services'))
    const ports = await Promise.all(
      (['ssh', 22, '22', 0, 65535, null, undefined] as const).map((service) => resolve('127.0.0.1', service)),
    )
    expect(ports.map((found) => found[0]?.port)).toEqual([22, 22, 22, 0, 65535, 0, 0])
  })

  it('accepts null for this host', async () => {
    const here = await resolve(null, 80, { family: 'ipv4' })
    const any = await resolve(null, 80, { family: 'ipv6', flags: AI_PASSIVE })
    expect([here[0]?.address, any[0]?.address]).toEqual(['127.0.0.1', '::'])
  })

  it('narrows by family, type and protocol', async () => {
    expect((await resolve(null, 53, { family: 'ipv6' })).map(({ family }) => family)).toEqual(['ipv6'])
    const any = await resolve('127.0.0.1', 53, { socktype: 0 })
    expect(any.map(({ socktype }) => socktype)).toEqual(expect.arrayContaining([SOCK_STREAM, SOCK_DGRAM]))
    const udp = await resolve('127.0.0.1', 53, { socktype: 0, protocol: IPPROTO_UDP })
    expect(udp.map(({ socktype, protocol }) => [socktype, protocol])).toEqual([[SOCK_DGRAM, IPPROTO_UDP]])
  })

  it('keeps the scope of a link-local address', async () => {
    const [address] = await resolve('fe80::1%lo', 80, { flags: AI_NUMERICHOST })
    expect(address).toMatchObject({ family: 'ipv6', address: 'fe80::1', scope: ifindexOf('lo') })
  })

  it('returns the official name with the first result', async () => {
    const [first, ...rest] = await resolve('127.0.0.1', 80, { flags: AI_CANONNAME, socktype: 0 })
    expect(first?.canonname).toBe('127.0.0.1')
    expect(rest.filter((address) => 'canonname' in address)).toEqual([])
  })

  it('maps IPv4 into IPv6', async () => {
    const [address] = await resolve('127.0.0.1', 80, { family: 'ipv6', flags: AI_V4MAPPED | AI_ALL })
    expect(address).toMatchObject({ family: 'ipv6', address: '::ffff:127.0.0.1' })
  })

  it.each([
    ['a name instead of a numeric address', () => resolve('localhost', 80, { flags: AI_NUMERICHOST }), 'EAI_NONAME'],
    [
      'a service name instead of a port number',
      () => resolve('127.0.0.1', 'http', { flags: AI_NUMERICSERV }),
      'EAI_NONAME',
    ],
    ['neither host nor service', () => resolve(null), 'EAI_NONAME'],
    ['an unknown service', () => resolve('127.0.0.1', 'no-such-service'), 'EAI_SERVICE'],
    ['an unknown type', () => resolve('127.0.0.1', 80, { socktype: 77 }), 'EAI_SOCKTYPE'],
    ['flags that can not be combined', () => resolve(null, 80, { flags: AI_CANONNAME }), 'EAI_BADFLAGS'],
    ['an IPv4 address as IPv6', () => resolve('127.0.0.1', 80, { family: 'ipv6' }), 'EAI_ADDRFAMILY'],
  ])('refuses %s', async (_, lookup, code) => {
    await expect(lookup()).rejects.toMatchObject({ name: 'AddressInfoError', code, syscall: 'getaddrinfo' })
  })

  it.each([
    ['a host with a NUL', () => resolve('local\0host')],
    ['a host that is not text', () => resolve(7 as unknown as string)],
    ['another family', () => resolve('localhost', 80, { family: 'unix' as 'ipv4' })],
    ['NaN as port', () => resolve('localhost', Number.NaN)],
    ['NaN as timeout', () => resolve('localhost', 80, { timeout: Number.NaN })],
  ])('refuses %s as a TypeError', (_, lookup) => expect(lookup()).rejects.toThrow(TypeError))

  it.each([
    ['a port', () => resolve('localhost', 65536)],
    ['a negative port', () => resolve('localhost', -1)],
    ['a timeout', () => resolve('localhost', 80, { timeout: 2 ** 31 })],
  ])('refuses %s out of range', (_, lookup) => expect(lookup()).rejects.toThrow(RangeError))

  it('is given up at once by its signal', async () => {
    const reason = new Error('no longer wanted')
    const controller = new AbortController()
    const lookup = resolve('localhost', 80, { signal: controller.signal })
    controller.abort(reason)
    await expect(lookup).rejects.toBe(reason)
    await expect(resolve('localhost', 80, { signal: controller.signal })).rejects.toBe(reason)
  })
})

it('returns values of its declared types', async () => {
  const found = await resolve('127.0.0.1', 80)
  expectTypeOf(found).toEqualTypeOf<ResolvedAddress[]>()
  expectTypeOf<ResolvedAddress>().toExtend<AddressLike>()
  expectTypeOf<ResolvedAddress['family']>().toEqualTypeOf<'ipv4' | 'ipv6'>()
  expectTypeOf<ResolvedAddress['port']>().toEqualTypeOf<number>()
  expectTypeOf<ResolvedAddress['canonname']>().toEqualTypeOf<string | undefined>()
  expectTypeOf(resolve).parameter(0).toEqualTypeOf<string | null>()
})

it('has the numbers of <netdb.h>', (test) => {
  skipUnless(test, needCompiler())
  const numbers = numbersOf(addr, /^(AI|NI)_/)
  expect(numbers).toHaveLength(15)
  expect(expectHeaderNumbers(['netdb.h'], numbers)).toEqual([])
})
