import { guardDescriptors, needFile, runPython, skipUnless } from '@linux-sockets/testkit'
import { describe, expect, expectTypeOf, it } from 'vitest'
import { NI_DGRAM, NI_NAMEREQD, NI_NUMERICHOST, NI_NUMERICSERV, type ReversedAddress, reverse } from '../src/index.js'

guardDescriptors()

const loopback = { family: 'ipv4', address: '127.0.0.1', port: 80 } as const

describe('reverse', () => {
  it.each([
    ['no flags', 0],
    ['NI_NUMERICHOST', NI_NUMERICHOST],
    ['NI_NUMERICSERV', NI_NUMERICSERV],
    ['both', NI_NUMERICHOST | NI_NUMERICSERV],
  ])('finds what getnameinfo finds with %s', async (_, flags) => {
    const script = 'import socket, sys; print(*socket.getnameinfo(("127.0.0.1", 80), int(sys.argv[1])), sep="\\n")'
    const [host, service] = (await runPython(script, String(flags))).split('\n')
    expect(await reverse(loopback, flags)).toEqual({ host, service })
  })

  it('names the service of the protocol asked for', async (test) => {
    skipUnless(test, needFile('/etc/services'))
    const shell = { ...loopback, port: 514 }
    const services = await Promise.all([reverse(shell, NI_NUMERICHOST), reverse(shell, NI_NUMERICHOST | NI_DGRAM)])
    expect(services.map(({ service }) => service)).toEqual(['shell', 'syslog'])
  })

  it('writes IPv6 with its scope', async () => {
    const address = { family: 'ipv6', address: 'fe80::1', port: 7, scope: 1 } as const
    expect(await reverse(address, NI_NUMERICHOST | NI_NUMERICSERV)).toEqual({ host: 'fe80::1%lo', service: '7' })
  })

  it('returns values of its declared types', () => {
    expectTypeOf(reverse).returns.resolves.toEqualTypeOf<ReversedAddress>()
    expectTypeOf<ReversedAddress>().branded.toEqualTypeOf<{ readonly host: string; readonly service: string }>()
  })

  it('accepts a Unix address', async () => {
    expect(await reverse({ family: 'unix', path: '/run/x.sock' })).toMatchObject({ service: '/run/x.sock' })
  })

  it.each([
    ['flags that do not exist', () => reverse(loopback, 1 << 20), 'EAI_BADFLAGS'],
    ['a family without names', () => reverse({ family: 'netlink', pid: 1 }), 'EAI_FAMILY'],
    ['NI_NAMEREQD together with NI_NUMERICHOST', () => reverse(loopback, NI_NAMEREQD | NI_NUMERICHOST), 'EAI_NONAME'],
  ])('refuses %s', async (_, lookup, code) => {
    await expect(lookup()).rejects.toMatchObject({ name: 'AddressInfoError', code, syscall: 'getnameinfo' })
  })

  it('refuses an invalid address', () =>
    expect(reverse({ family: 'ipv4', address: 'localhost', port: 80 })).rejects.toThrow(TypeError))

  it('is given up at once by its signal', async () => {
    const reason = new Error('no longer wanted')
    await expect(reverse(loopback, 0, { signal: AbortSignal.abort(reason) })).rejects.toBe(reason)
  })
})
