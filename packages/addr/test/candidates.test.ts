import { guardDescriptors } from '@linux-sockets/testkit'
import { describe, expect, expectTypeOf, it } from 'vitest'
import { candidates, type ResolvedAddress, resolve } from '../src/index.js'

guardDescriptors()

/** `'6a 6b 4a'`: addresses by their family and a name. */
const list = (text: string) =>
  text
    .split(' ')
    .filter(Boolean)
    .map((name) => ({ family: name[0] === '6' ? ('ipv6' as const) : ('ipv4' as const), name }))
const order = (text: string, firstFamilyCount?: number) =>
  candidates(list(text), { firstFamilyCount })
    .map(({ name }) => name)
    .join(' ')

describe('candidates', () => {
  it.each([
    ['', undefined, ''],
    ['4a', undefined, '4a'],
    ['6a 6b 6c', undefined, '6a 6b 6c'],
    ['6a 6b 4a 4b', undefined, '6a 4a 6b 4b'],
    ['4a 6a 6b 6c', undefined, '4a 6a 6b 6c'],
    ['4a 4b 4c 6a', undefined, '4a 6a 4b 4c'],
    ['6a 6b 6c 6d 4a 4b', 2, '6a 6b 4a 6c 4b 6d'],
    ['6a 6b 6c 4a', 9, '6a 6b 6c 4a'],
  ])('orders “%s” with a first family count of %s', (before, count, after) => {
    expect(order(before, count)).toBe(after)
  })

  it('keeps its promises for every mixture of up to nine addresses', () => {
    for (let length = 1; length <= 9; length++) {
      for (let mixture = 0; mixture < 2 ** length; mixture++) {
        const before = Array.from({ length }, (_, i) => ({ family: mixture & (1 << i) ? 'ipv6' : 'ipv4', i }))
        const copy = structuredClone(before)
        for (const firstFamilyCount of [1, 2, 3]) {
          const after = candidates(before, { firstFamilyCount })
          const seen = `${JSON.stringify(before)} ${firstFamilyCount}`
          expect(before).toEqual(copy)
          expect(after[0], seen).toBe(before[0])
          for (const family of ['ipv4', 'ipv6']) {
            const of = (all: typeof before) => all.filter((address) => address.family === family)
            expect(of(after), seen).toEqual(of(before))
          }
          const ownFirst = before.filter(({ family }) => family === before[0]?.family).length
          const start = Math.min(firstFamilyCount, ownFirst)
          expect(after.slice(0, start).every(({ family }) => family === before[0]?.family)).toBe(true)
          // After the start, two addresses of one family are adjacent only when the other family has run out.
          for (let i = start; i < length; i++) {
            const [previous, here] = [after[i - 1]?.family, after[i]?.family]
            if (previous === here) expect(new Set(after.slice(i).map(({ family }) => family)).size, seen).toBe(1)
          }
        }
      }
    }
  })

  it('accepts the result of resolve, and any iterable', async () => {
    const found = await resolve('127.0.0.1', 80)
    expect(candidates(found)).toEqual(found)
    expectTypeOf(candidates(found)).toEqualTypeOf<ResolvedAddress[]>()
    expect(candidates(new Set(list('6a 6b 4a'))).map(({ name }) => name)).toEqual(['6a', '4a', '6b'])
  })

  it.each([0, -1, 1.5, Number.POSITIVE_INFINITY])('refuses %s as count', (firstFamilyCount) => {
    expect(() => candidates([], { firstFamilyCount })).toThrow(RangeError)
  })

  it('refuses NaN as count', () => {
    expect(() => candidates([], { firstFamilyCount: Number.NaN })).toThrow(TypeError)
  })
})
