import { checkInteger } from '@linux-sockets/native-core'

/** How to order candidates. */
export interface CandidateOptions {
  /**
   * How many addresses of the first address's family come before the first of the other: RFC 8305's First Address Family
   * Count, at least 1. Default 1; 2 prefers that family more.
   */
  readonly firstFamilyCount?: number | undefined
}

/**
 * The addresses in the order in which RFC 8305 (Happy Eyeballs) tries them: the best first, then the families in turn, so
 * that a family whose network is broken costs one attempt and not as many as it has addresses.
 *
 *     candidates(await resolve('example.org', 443)) // ipv6, ipv4, ipv6, ipv4, ipv4, …
 *
 * Within a family the order stays; when only one family is left, its addresses follow one another. Nothing is dropped or
 * added, and the argument isn't changed.
 *
 * @see {@link https://www.rfc-editor.org/rfc/rfc8305#section-4 RFC 8305 section 4}
 */
export function candidates<Address extends { readonly family: string }>(
  addresses: Iterable<Address>,
  { firstFamilyCount = 1 }: CandidateOptions = {},
): Address[] {
  checkInteger(firstFamilyCount, 1, Number.MAX_SAFE_INTEGER, 'firstFamilyCount')
  const all = [...addresses]
  const first = all.filter(({ family }) => family === all[0]?.family)
  const others = all.filter(({ family }) => family !== all[0]?.family)
  const ordered = first.splice(0, firstFamilyCount)
  for (const [i, other] of others.entries()) ordered.push(other, ...first.slice(i, i + 1))
  return [...ordered, ...first.slice(others.length)]
}
