import {
  type InetAddress,
  type InterfaceAddress,
  interfaceAddresses,
  interfaceIndexOf,
  type PacketAddress,
  parseIpv4,
  parseIpv6,
  type SocketAddress,
} from '@linux-sockets/native-core'

// Flags of an interface: <net/if.h>, netdevice(7)

/** Switched on. */
export const IFF_UP = 0x1
/** Has a broadcast address. */
export const IFF_BROADCAST = 0x2
/** Is a loopback. */
export const IFF_LOOPBACK = 0x8
/** Is a point-to-point link. */
export const IFF_POINTOPOINT = 0x10
/** Has a carrier. */
export const IFF_RUNNING = 0x40
/** Has no ARP: no link-layer addresses to look for. */
export const IFF_NOARP = 0x80
/** Receives all packets, whoever they are for. */
export const IFF_PROMISC = 0x100
/** Receives all multicast packets. */
export const IFF_ALLMULTI = 0x200
/** Is the master of a bond. */
export const IFF_MASTER = 0x400
/** Is a slave of a bond. */
export const IFF_SLAVE = 0x800
/** Can multicast. */
export const IFF_MULTICAST = 0x1000

/** An address of an interface; with its port of 0 it can be bound to. */
export type AddressOnInterface = InetAddress & {
  /** The bits of the network part: 24 of `192.0.2.1/24`. */
  readonly prefixLength: number
  /** The broadcast address of an IPv4 network. */
  readonly broadcast?: string
  /** The other end of a point-to-point link. */
  readonly peer?: string
}

/** An interface, and what getifaddrs(3) knows of it. */
export interface NetworkInterface {
  /** `'eth0'` */
  readonly name: string
  /** What `scope`, `IP_PKTINFO` and the like call it; at least 1. */
  readonly index: number
  /** `IFF_…` */
  readonly flags: number
  /** The hardware address, `'02:00:5e:10:00:01'`; all zeros on loopback, absent where the link has none. */
  readonly mac?: string
  /** Its IPv4 and IPv6 addresses. */
  readonly addresses: readonly AddressOnInterface[]
}

/**
 * getifaddrs(3): the interfaces of this machine (of its network namespace) in the order of their indexes, also those that
 * are down or have no address.
 * @see {@link https://man7.org/linux/man-pages/man3/getifaddrs.3.html getifaddrs(3)}
 */
export function interfaces(): NetworkInterface[] {
  const byName = new Map<string, InterfaceAddress[]>()
  for (const entry of interfaceAddresses()) {
    const name = linkName(entry.name)
    byName.set(name, [...(byName.get(name) ?? []), entry])
  }
  return [...byName].map(([name, found]) => describe(name, found)).sort((a, b) => a.index - b.index)
}

/** An IPv4 address may have a label of its own, `eth0:1`; no interface has a colon in its name. */
function linkName(label: string): string {
  return label.split(':', 1)[0] as string
}

function describe(name: string, entries: readonly InterfaceAddress[]): NetworkInterface {
  const link = entries.map(({ address }) => address).find(isPacket)
  const mac = link?.address?.length ? macText(link.address) : undefined
  return {
    name,
    index: link?.ifindex ?? interfaceIndexOf(name),
    flags: entries[0]?.flags ?? 0,
    ...(mac !== undefined && { mac }),
    addresses: entries.flatMap(addressOf),
  }
}

function addressOf({ address, netmask, broadcast, flags }: InterfaceAddress): AddressOnInterface[] {
  if (!isInet(address)) return []
  const prefixLength = isInet(netmask) ? countBits(netmask) : 0
  // The C library repeats the address itself where there is neither broadcast nor peer.
  if (!isInet(broadcast) || broadcast.address === address.address) return [{ ...address, prefixLength }]
  return [{ ...address, prefixLength, [flags & IFF_POINTOPOINT ? 'peer' : 'broadcast']: broadcast.address }]
}

function countBits(netmask: InetAddress): number {
  const bytes = netmask.family === 'ipv4' ? parseIpv4(netmask.address) : parseIpv6(netmask.address)
  return bytes.reduce((bits, byte) => bits + byte.toString(2).replaceAll('0', '').length, 0)
}

function isInet(address: SocketAddress | null): address is InetAddress {
  return address?.family === 'ipv4' || address?.family === 'ipv6'
}

function isPacket(address: SocketAddress | null): address is PacketAddress {
  return address?.family === 'packet'
}

function macText(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join(':')
}
