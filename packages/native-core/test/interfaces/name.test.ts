import { expectErrno, guardDescriptors } from '@linux-sockets/testkit'
import { describe, expect, it } from 'vitest'
import { ifindexOf, interfaceNameOf, interfaces } from '../../src/interfaces/index.js'

guardDescriptors()

describe('ifindexOf, interfaceNameOf', () => {
  it('are each other’s inverse', () => {
    const all = interfaces()
    expect(all.length).toBeGreaterThan(0)
    for (const { name, ifindex } of all) {
      expect(ifindexOf(name)).toBe(ifindex)
      expect(interfaceNameOf(ifindex)).toBe(name)
    }
  })

  it('throw for unknown names and numbers', () => {
    expect(expectErrno(() => ifindexOf('nothing0'), 'ENODEV').message).toContain('nothing0')
    expectErrno(() => ifindexOf(''), 'ENODEV')
    expectErrno(() => ifindexOf('x'.repeat(100)), 'ENODEV')
    expectErrno(() => interfaceNameOf(2 ** 31 - 1), 'ENXIO')
    expectErrno(() => interfaceNameOf(0), 'ENXIO')
    expect(() => ifindexOf('lo\0x')).toThrow(TypeError)
    expect(() => ifindexOf(1 as never)).toThrow(TypeError)
    expect(() => interfaceNameOf(Number.NaN)).toThrow(TypeError)
  })
})
