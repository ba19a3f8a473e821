import { describe, expect, it } from 'vitest'
import { parseList } from '../src/processors.js'
import { ratios, spread } from '../src/statistics.js'

describe('spread', () => {
  it('is the median and the quartiles, interpolated between neighbours', () => {
    expect(spread([4, 1, 3, 2, 5])).toEqual({ median: 3, low: 2, high: 4 })
    expect(spread([10, 1])).toEqual({ median: 5.5, low: 3.25, high: 7.75 })
    expect(spread([7])).toEqual({ median: 7, low: 7, high: 7 })
  })

  it('refuses an empty set', () => {
    expect(() => spread([])).toThrow(RangeError)
  })
})

describe('ratios', () => {
  it('are taken within the rounds, so that a slow round changes nothing', () => {
    expect(ratios([2, 20, 2], [1, 10, 1])).toEqual({ median: 2, low: 2, high: 2 })
  })

  it('refuse lists of different lengths', () => {
    expect(() => ratios([1, 2], [1])).toThrow(RangeError)
  })
})

it('reads the kernel’s sets of processors', () => {
  expect(parseList('0-2,5\n')).toEqual([0, 1, 2, 5])
})
