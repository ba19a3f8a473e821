import { networkInterfaces } from 'node:os'
import { expectErrno, guardDescriptors } from '@linux-sockets/testkit'
import { describe, expect, it } from 'vitest'
import { AF_INET, AF_INET6, AF_UNIX } from '../src/constants.js'
import { inetNtop, inetPton } from '../src/index.js'
import { interfaceAddresses, interfaceIndexOf, interfaceNameOf } from '../src/interfaces/index.js'

guardDescriptors()

describe('interfaceAddresses', () => {
  it('has loopback, with its link', () => {
    const lo = interfaceAddresses().filter(({ name }) => name === 'lo')
    const [IFF_UP, IFF_LOOPBACK] = [1, 8]
    for (const { flags } of lo) expect(flags & (IFF_UP | IFF_LOOPBACK)).toBe(IFF_UP | IFF_LOOPBACK)
    expect(lo.find(({ address }) => address?.family === 'ipv4')).toMatchObject({
      address: { family: 'ipv4', address: '127.0.0.1', port: 0 },
      netmask: { family: 'ipv4', address: '255.0.0.0', port: 0 },
    })
    expect(lo.find(({ address }) => address?.family === 'packet')?.address).toMatchObject({
      ifindex: interfaceIndexOf('lo'),
      address: new Uint8Array(6),
    })
  })

  it('has all that Node finds, and the same masks', () => {
    const ours = interfaceAddresses()
    const find = (name: string, text: string) =>
      ours.find(
        (entry) =>
          entry.name === name &&
          entry.address !== null &&
          'port' in entry.address &&
          'address' in entry.address &&
          entry.address.address === text,
      )
    for (const [name, addresses] of Object.entries(networkInterfaces())) {
      for (const { address, netmask, scopeid } of addresses ?? []) {
        const entry = find(name, address)
        expect(entry, `${name} ${address}`).toBeDefined()
        expect(entry?.netmask).toMatchObject({ address: netmask })
        if (scopeid) expect(entry?.address).toMatchObject({ scope: scopeid })
      }
    }
    // Every interface has its link, up or down, and points to a known index.
    for (const { name, address } of ours) {
      if (address?.family === 'packet') expect(interfaceIndexOf(name)).toBe((address as { ifindex: number }).ifindex)
    }
  })
})

describe('interfaceIndexOf, interfaceNameOf', () => {
  it('are each other’s inverse', () => {
    const names = new Set(interfaceAddresses().map(({ name }) => name))
    expect(names.size).toBeGreaterThan(0)
    for (const name of names) expect(interfaceNameOf(interfaceIndexOf(name))).toBe(name)
  })

  it('throw for unknown names and indices', () => {
    expect(expectErrno(() => interfaceIndexOf('nothing0'), 'ENODEV').message).toContain('nothing0')
    expectErrno(() => interfaceIndexOf(''), 'ENODEV')
    expectErrno(() => interfaceIndexOf('x'.repeat(100)), 'ENODEV')
    expectErrno(() => interfaceNameOf(2 ** 31 - 1), 'ENXIO')
    expectErrno(() => interfaceNameOf(0), 'ENXIO')
    expect(() => interfaceIndexOf('lo\0x')).toThrow(TypeError)
    expect(() => interfaceIndexOf(1 as never)).toThrow(TypeError)
    expect(() => interfaceNameOf(Number.NaN)).toThrow(TypeError)
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
