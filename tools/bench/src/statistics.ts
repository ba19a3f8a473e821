/** The median and the quartiles of a set of values. */
export interface Spread {
  readonly median: number
  readonly low: number
  readonly high: number
}

/** Returns the median and the quartiles, interpolated between neighbours. Throws RangeError if there are no values. */
export function spread(values: readonly number[]): Spread {
  if (values.length === 0) throw new RangeError('there are no values')
  const sorted = values.toSorted((a, b) => a - b)
  const at = (share: number) => {
    const place = share * (sorted.length - 1)
    const low = Math.floor(place)
    const below = sorted[low] as number
    const above = sorted[Math.min(low + 1, sorted.length - 1)] as number
    return below + (above - below) * (place - low)
  }
  return { median: at(0.5), low: at(0.25), high: at(0.75) }
}

/** Returns the spread of the quotients of `values` and `others` of the same rounds. A slow round doesn't move it. */
export function ratios(values: readonly number[], others: readonly number[]): Spread {
  if (values.length !== others.length) throw new RangeError('the values are not of the same rounds')
  return spread(values.map((value, round) => value / (others[round] as number)))
}
