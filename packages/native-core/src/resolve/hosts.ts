import { readFileSync, statSync } from 'node:fs'
import { decodeAddress } from '../address.js'
import { AF_INET, AF_INET6, AF_UNSPEC } from '../constants.js'
import { formatIpv4, formatIpv6, readIpv4, readIpv6 } from '../ip.js'

// Reads /etc/hosts, hosts(5), only to find out whether a lookup that would have to wait in line may skip the line. The C
// library answers the lookup; it also knows nsswitch.conf(5).

/** Whether /etc/hosts has an address of the family (`AF_…`) for the name. */
export function isInHosts(name: string, family: number): boolean {
  const families = hosts().get(name.toLowerCase())
  return families !== undefined && (family === AF_UNSPEC || families.has(family))
}

/** Whether /etc/hosts has a name for the address. */
export function isAddressInHosts(sockaddr: Uint8Array): boolean {
  try {
    const { family, address } = decodeAddress(sockaddr) as { family: unknown; address?: unknown }
    return (family === 'ipv4' || family === 'ipv6') && hosts().has(address as string)
  } catch {
    // The C library reports what is wrong with the address.
    return false
  }
}

type Hosts = ReadonlyMap<string, ReadonlySet<number>>

const PATH = '/etc/hosts'
/** The largest file to read, in bytes; reading a larger one would block the thread too long. */
const SIZE_MAX = 1 << 20
const none: Hosts = new Map()
let known = none
let state = ''

/** The current contents of the file; empty if it can't be read, for example because no descriptors are left. */
function hosts(): Hosts {
  try {
    const { dev, ino, size, mtimeMs, ctimeMs } = statSync(PATH)
    const now = [dev, ino, size, mtimeMs, ctimeMs].join()
    if (now !== state) known = size > SIZE_MAX ? none : parse(readFileSync(PATH, 'utf8'))
    state = now
    return known
  } catch {
    return none
  }
}

function parse(text: string): Hosts {
  const found = new Map<string, Set<number>>()
  for (const line of text.split('\n')) {
    const [address = '', ...names] = (line.split('#', 1)[0] as string).trim().split(/\s+/)
    const [v4, v6] = [readIpv4(address), readIpv6(address.split('%', 1)[0] as string)]
    if (v4 === undefined && v6 === undefined) continue
    const family = v4 ? AF_INET : AF_INET6
    for (const name of [v4 ? formatIpv4(v4) : formatIpv6(v6 as Uint8Array), ...names]) {
      const key = name.toLowerCase()
      found.set(key, (found.get(key) ?? new Set()).add(family))
    }
  }
  return found
}
