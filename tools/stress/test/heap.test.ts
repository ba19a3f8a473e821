import { describe, expect, it } from 'vitest'
import { moreThan } from '../src/descriptors.js'
import { growthOf } from '../src/heap.js'

const samples = (bytes: (visits: number, round: number) => number) =>
  Array.from({ length: 11 }, (_, round) => ({ visits: 1000 * round, bytes: bytes(1000 * round, round) }))

describe('the heap', () => {
  it('may fluctuate, but not grow with the visits', () => {
    expect(growthOf(samples(() => 10e6))).toBeUndefined()
    expect(growthOf(samples((_, round) => 10e6 + (round % 2) * 2e6))).toBeUndefined()
    expect(growthOf(samples((_, round) => (round === 7 ? 30e6 : 10e6)))).toBeUndefined()
    expect(growthOf(samples((visits) => 10e6 + 200 * visits))).toMatch('200 bytes with each visit, 2.0 MB in all')
  })

  it('may grow a little, whatever the number of visits', () => {
    expect(growthOf(samples((visits) => 10e6 + 90 * visits))).toBeUndefined()
    expect(
      growthOf(samples((visits) => 10e6 + 60 * visits).map(({ visits, bytes }) => ({ visits: 100 * visits, bytes }))),
    ).toBe(undefined)
  })
})

it('compares the descriptors of each kind', () => {
  const before = new Map([
    ['socket', 2],
    ['pipe', 1],
  ])
  expect(moreThan(before, new Map([['socket', 1]]))).toEqual([])
  expect(
    moreThan(
      before,
      new Map([
        ['socket', 3],
        ['eventfd', 1],
      ]),
    ),
  ).toEqual(['1 × socket', '1 × eventfd'])
})
