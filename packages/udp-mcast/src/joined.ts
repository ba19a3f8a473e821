import { encodeAddress, type FdLike } from '@linux-sockets/native-core'
import type { UdpDatagram } from './received.js'

/** The groups that a socket has joined, by interface and group, and for each the sources; undefined for any source. */
export class Joined {
  readonly #sources = new Map<string, Set<string> | undefined>()

  /** The socket receives a group on an interface: from these sources alone, or from any. None at all ends the membership. */
  set(ifindex: number, group: string, sources: Iterable<string> | undefined): void {
    const set = sources && new Set(Array.from(sources, canonical))
    if (set?.size === 0) this.delete(ifindex, group)
    else this.#sources.set(keyOf(ifindex, group), set)
  }

  addSource(ifindex: number, group: string, source: string): void {
    const sources = this.#sources.get(keyOf(ifindex, group))
    if (sources === undefined) this.set(ifindex, group, [source])
    else sources.add(canonical(source))
  }

  deleteSource(ifindex: number, group: string, source: string): void {
    const sources = this.#sources.get(keyOf(ifindex, group))
    sources?.delete(canonical(source))
    if (sources?.size === 0) this.delete(ifindex, group)
  }

  delete(ifindex: number, group: string): void {
    this.#sources.delete(keyOf(ifindex, group))
  }

  /** Whether a datagram is unicast or broadcast, or came to a group that was joined on its interface for its sender. */
  admits({ destination, ifindex = 0, address }: UdpDatagram): boolean {
    if (destination === undefined || !isMulticast(destination)) return true
    const key = keyOf(ifindex, destination)
    if (!this.#sources.has(key)) return false
    return this.#sources.get(key)?.has(canonical(address.address)) ?? true
  }
}

/** From now on the functions that join and leave note what they do with this socket. */
export function track(socket: object): Joined {
  const joined = new Joined()
  tracked.set(socket, joined)
  return joined
}

export function joinedBy(socket: FdLike): Joined | undefined {
  return typeof socket === 'object' ? tracked.get(socket) : undefined
}

const tracked = new WeakMap<object, Joined>()

function isMulticast(address: string): boolean {
  if (address.startsWith('ff')) return true
  const text = unmapped(address)
  const first = Number.parseInt(text, 10)
  return first >= 224 && first <= 239 && !text.includes(':')
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
