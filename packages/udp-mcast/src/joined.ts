import { encodeAddress } from '@linux-sockets/native-core'
import { indexOf } from './membership.js'
import type { UdpDatagram } from './received.js'

/** The groups that a socket has joined, by interface and group, and for each the sources; undefined for any source. */
export class Joined {
  readonly #sources = new Map<string, Set<string> | undefined>()

  add(group: string, { source, ...where }: Where): void {
    const key = keyOf(indexOf(where.interface, 0), group)
    if (source === undefined) this.#sources.set(key, undefined)
    else if (!this.#sources.has(key)) this.#sources.set(key, new Set([canonical(source)]))
    else this.#sources.get(key)?.add(canonical(source))
  }

  delete(group: string, { source, ...where }: Where): void {
    const key = keyOf(indexOf(where.interface, 0), group)
    const sources = this.#sources.get(key)
    if (source !== undefined) sources?.delete(canonical(source))
    if (source === undefined || sources?.size === 0) this.#sources.delete(key)
  }

  /** Whether a datagram is unicast or broadcast, or came to a group that was joined on its interface for its sender. */
  admits({ destination, ifindex = 0, address }: UdpDatagram): boolean {
    if (destination === undefined || !isMulticast(destination)) return true
    const key = keyOf(ifindex, destination)
    if (!this.#sources.has(key)) return false
    return this.#sources.get(key)?.has(canonical(address.address)) ?? true
  }
}

interface Where {
  readonly interface?: number | string | undefined
  readonly source?: string | undefined
}

function isMulticast(address: string): boolean {
  if (address.startsWith('ff')) return true
  const first = Number.parseInt(unmapped(address), 10)
  return first >= 224 && first <= 239 && !unmapped(address).includes(':')
}

function keyOf(ifindex: number, group: string): string {
  return `${ifindex} ${canonical(group)}`
}

/** One text for each address: IPv6 has several, and an IPv6 socket maps IPv4. */
function canonical(address: string): string {
  const text = unmapped(address)
  const family = text.includes(':') ? 'ipv6' : 'ipv4'
  return Buffer.from(encodeAddress({ family, address: text, port: 0 })).toString('latin1')
}

function unmapped(address: string): string {
  return /^::ffff:[\d.]+$/i.test(address) ? address.slice(7) : address
}
