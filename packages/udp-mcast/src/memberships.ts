import { readFileSync } from 'node:fs'
import { formatIpv4, formatIpv6 } from '@linux-sockets/native-core'

/** A source of a group, and how many memberships of this machine name it. */
export interface MembershipSource {
  /** The source's address. */
  readonly address: string
  /** The number of sockets that receive from this source alone, or from a few (`joinSourceGroup`). */
  readonly included: number
  /** The number of sockets that block it (`blockSource`). */
  readonly excluded: number
}

/** A group that this machine receives on an interface. */
export interface Membership {
  /** The index of the interface. */
  readonly ifindex: number
  /** The name of the interface. */
  readonly name: string
  /** The family of the group. */
  readonly family: 'ipv4' | 'ipv6'
  /** The group's address. */
  readonly group: string
  /** The number of users: the sockets that have joined it, and the kernel itself for groups such as 224.0.0.1. */
  readonly users: number
  /** The sources that its users name. Empty if all of them receive from every source. */
  readonly sources: readonly MembershipSource[]
}

/**
 * Reads the multicast groups of this machine (of its network namespace) as the kernel has them, of all processes:
 * `/proc/net/igmp`, `igmp6`, `mcfilter` and `mcfilter6`. IPv4 groups come first, in the order of the interfaces.
 *
 *     for (const { name, group, users } of memberships()) console.log(name, group, users)
 *
 * The files are read one after another: a group that changes meanwhile may miss its sources.
 * @throws the errors of `node:fs` if /proc isn't mounted
 */
export function memberships(): Membership[] {
  return [
    ...parseIgmp(readTable('igmp', 'needed'), readTable('mcfilter')),
    ...parseIgmp6(readTable('igmp6'), readTable('mcfilter6')),
  ]
}

/** Parses `/proc/net/igmp` and `/proc/net/mcfilter`. For this package's own tests. */
export function parseIgmp(igmp: string, mcfilter: string): Membership[] {
  const sources = parseFilter(mcfilter, (hex) => formatIpv4(bytesOf(hex.slice(2))))
  const found: Membership[] = []
  let [ifindex, name] = [0, '']
  for (const line of igmp.split('\n')) {
    const link = /^(\d+)\t([^\s:]+)/.exec(line)
    const member = /^\s+([\dA-F]{8})\s+(\d+) /.exec(line)
    if (link) [ifindex, name] = [Number(link[1]), link[2] as string]
    if (!member) continue
    // Unlike those in mcfilter, the groups are printed as a number of the machine: little-endian.
    const group = formatIpv4(bytesOf(member[1] as string).reverse())
    const users = Number(member[2])
    found.push({ ifindex, name, family: 'ipv4', group, users, sources: sources.get(`${ifindex} ${group}`) ?? [] })
  }
  return found
}

/** Parses `/proc/net/igmp6` and `/proc/net/mcfilter6`. For this package's own tests. */
export function parseIgmp6(igmp6: string, mcfilter6: string): Membership[] {
  const sources = parseFilter(mcfilter6, (hex) => formatIpv6(bytesOf(hex)))
  const found: Membership[] = []
  for (const line of igmp6.split('\n')) {
    const member = /^(\d+)\s+(\S+)\s+([\da-f]{32})\s+(\d+) /.exec(line)
    if (!member) continue
    const [ifindex, name] = [Number(member[1]), member[2] as string]
    const group = formatIpv6(bytesOf(member[3] as string))
    const users = Number(member[4])
    found.push({ ifindex, name, family: 'ipv6', group, users, sources: sources.get(`${ifindex} ${group}`) ?? [] })
  }
  return found
}

/** Parses the lines `index name group source included excluded`, of which the kernel cuts the name to 6 bytes. */
function parseFilter(text: string, format: (hex: string) => string): Map<string, MembershipSource[]> {
  const found = new Map<string, MembershipSource[]>()
  for (const line of text.split('\n')) {
    const parts = /^\s*(\d+)\s+\S+\s+((?:0x)?[\da-f]+)\s+((?:0x)?[\da-f]+)\s+(\d+)\s+(\d+)$/.exec(line)
    if (!parts) continue
    const [, ifindex, group, source, included, excluded] = parts as unknown as [
      string,
      string,
      string,
      string,
      string,
      string,
    ]
    const key = `${ifindex} ${format(group)}`
    const list = found.get(key) ?? []
    list.push({ address: format(source), included: Number(included), excluded: Number(excluded) })
    found.set(key, list)
  }
  return found
}

function bytesOf(hex: string): Uint8Array {
  return new Uint8Array(Buffer.from(hex, 'hex'))
}

/** Reads a table of the network namespace. A kernel without IPv6, or without IGMP, lacks some of them. */
function readTable(name: string, needed?: 'needed'): string {
  try {
    return readFileSync(`/proc/net/${name}`, 'utf8')
  } catch (error) {
    if (needed === undefined && (error as NodeJS.ErrnoException).code === 'ENOENT') return ''
    throw error
  }
}
