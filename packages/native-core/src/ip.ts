/**
 * The text form of an IPv4 address as 4 bytes. As strict as inet_pton(3): four decimal numbers, no leading zeros.
 * @throws TypeError
 */
export function parseIpv4(text: string, what = 'address'): Uint8Array {
  const bytes = typeof text === 'string' ? readIpv4(text) : undefined
  if (bytes === undefined) throw new TypeError(`${what} must be an IPv4 address, not ${JSON.stringify(text)}`)
  return bytes
}

/**
 * The text form of an IPv6 address (RFC 4291 section 2.2) as 16 bytes. As strict as inet_pton(3); a zone (`%eth0`) is not
 * part of it, but the `scope` of a `SocketAddress`.
 * @throws TypeError
 */
export function parseIpv6(text: string, what = 'address'): Uint8Array {
  const bytes = typeof text === 'string' ? readIpv6(text) : undefined
  if (bytes !== undefined) return bytes
  const hint = String(text).includes('%') ? ' (the part after % belongs in `scope`, as an interface index)' : ''
  throw new TypeError(`${what} must be an IPv6 address, not ${JSON.stringify(text)}${hint}`)
}

/** 4 bytes as text: `192.0.2.1`. */
export function formatIpv4(bytes: Uint8Array): string {
  return `${bytes[0]}.${bytes[1]}.${bytes[2]}.${bytes[3]}`
}

/** 16 bytes as text in the canonical form of RFC 5952: `2001:db8::1`, `::ffff:192.0.2.1`. */
export function formatIpv6(bytes: Uint8Array): string {
  const groups: number[] = []
  for (let i = 0; i < 16; i += 2) groups.push(((bytes[i] as number) << 8) | (bytes[i + 1] as number))
  const mapped = groups[5] === 0xffff && groups.slice(0, 5).every((group) => group === 0)
  if (mapped) return `::ffff:${formatIpv4(bytes.subarray(12))}`
  const [start, length] = longestZeroRun(groups)
  const hex = groups.map((group) => group.toString(16))
  if (length < 2) return hex.join(':')
  return `${hex.slice(0, start).join(':')}::${hex.slice(start + length).join(':')}`
}

/** `parseIpv4` without the exception. For this package's own use. */
export function readIpv4(text: string): Uint8Array | undefined {
  const parts = text.split('.')
  if (parts.length !== 4) return undefined
  const bytes = new Uint8Array(4)
  for (let i = 0; i < 4; i++) {
    const part = parts[i] as string
    if (!/^(?:0|[1-9]\d{0,2})$/.test(part) || Number(part) > 255) return undefined
    bytes[i] = Number(part)
  }
  return bytes
}

/** `parseIpv6` without the exception. For this package's own use. */
export function readIpv6(text: string): Uint8Array | undefined {
  const halves = text.split('::')
  if (halves.length > 2) return undefined
  const head = readGroups(halves[0] as string, halves.length === 1)
  const tail = halves.length === 2 ? readGroups(halves[1] as string, true) : []
  if (head === undefined || tail === undefined) return undefined
  const missing = 16 - head.length - tail.length
  // "::" stands for at least one group.
  if (halves.length === 2 ? missing < 2 : missing !== 0) return undefined
  const bytes = new Uint8Array(16)
  bytes.set(head)
  bytes.set(tail, 16 - tail.length)
  return bytes
}

/** The bytes of colon-separated groups, of which the last may be an IPv4 address where the text ends. */
function readGroups(text: string, atEnd: boolean): number[] | undefined {
  if (text === '') return []
  const bytes: number[] = []
  const groups = text.split(':')
  for (const [i, group] of groups.entries()) {
    if (/^[\da-f]{1,4}$/i.test(group)) {
      const value = Number.parseInt(group, 16)
      bytes.push(value >> 8, value & 255)
    } else {
      const embedded = atEnd && i === groups.length - 1 ? readIpv4(group) : undefined
      if (embedded === undefined) return undefined
      bytes.push(...embedded)
    }
  }
  return bytes
}

/** The first of the longest runs of zero groups. */
function longestZeroRun(groups: readonly number[]): [start: number, length: number] {
  let best: [number, number] = [0, 0]
  let start = 0
  for (let i = 0; i < groups.length; i++) {
    if (groups[i] !== 0) start = i + 1
    else if (i + 1 - start > best[1]) best = [start, i + 1 - start]
  }
  return best
}
