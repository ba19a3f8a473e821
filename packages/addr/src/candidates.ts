import { checkInteger, checkObject, checkOptions, describe } from '@linux-sockets/native-core/internal'

/** The options of `candidates`. */
export interface CandidateOptions {
  /**
   * The number of addresses of the first address's family that come before the first address of the other family: RFC 8305's
   * First Address Family Count, at least 1. Default 1; 2 prefers that family more.
   */
  readonly firstFamilyCount?: number | undefined
}

/**
 * Sorts addresses into the order in which RFC 8305 (Happy Eyeballs) tries them: the best first, then the families in turn. So
 * a family whose network is broken costs one attempt instead of one for each of its addresses.
 *
 *     candidates(await resolve('example.org', 443)) // ipv6, ipv4, ipv6, ipv4, ipv4, …
 *
 * The order within a family is kept. When only one family is left, its addresses follow one another. No address is dropped or
 * added, and the argument isn't changed.
 *
 * @throws TypeError, RangeError if an address or an option is invalid
 * @see {@link https://www.rfc-editor.org/rfc/rfc8305#section-4 RFC 8305 section 4}
 */
export function candidates<Address extends { readonly family: string }>(
  addresses: Iterable<Address>,
  options: CandidateOptions = {},
): Address[] {
  checkOptions(options, 'options', { firstFamilyCount: true })
  const { firstFamilyCount = 1 } = options
  checkInteger(firstFamilyCount, 1, Number.MAX_SAFE_INTEGER, 'firstFamilyCount')
  if (typeof addresses !== 'object' || typeof addresses?.[Symbol.iterator] !== 'function') {
    throw new TypeError(`addresses must be iterable, not ${describe(addresses)}`)
  }
  const all = [...addresses]
  for (const [i, address] of all.entries()) checkObject(address, `addresses[${i}]`)
  const first = all.filter(({ family }) => family === all[0]?.family)
  const others = all.filter(({ family }) => family !== all[0]?.family)
  const ordered = first.splice(0, firstFamilyCount)
  for (const [i, other] of others.entries()) ordered.push(other, ...first.slice(i, i + 1))
  return [...ordered, ...first.slice(others.length)]
}
