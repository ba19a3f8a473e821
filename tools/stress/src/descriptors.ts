import { readdirSync, readlinkSync } from 'node:fs'

/** Counts the open descriptors of each kind: `socket`, `pipe`, an `anon_inode:…`, or the path of a file. */
export function openKinds(): Map<string, number> {
  const kinds = new Map<string, number>()
  for (const number of readdirSync('/proc/self/fd')) {
    const kind = kindOf(number)
    if (kind !== undefined) kinds.set(kind, (kinds.get(kind) ?? 0) + 1)
  }
  return kinds
}

/** Returns the kinds that have more descriptors than before, with the difference: `2 × socket`. */
export function moreThan(before: ReadonlyMap<string, number>, after: ReadonlyMap<string, number>): string[] {
  return [...after].flatMap(([kind, count]) => {
    const more = count - (before.get(kind) ?? 0)
    return more > 0 ? [`${more} × ${kind}`] : []
  })
}

function kindOf(number: string): string | undefined {
  try {
    return readlinkSync(`/proc/self/fd/${number}`).replace(/^(socket|pipe):\[\d+\]$/, '$1')
  } catch {
    // The descriptor that was used to read the directory.
    return undefined
  }
}
