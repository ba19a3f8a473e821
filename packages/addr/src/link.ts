import { formatIpv4, formatIpv6 } from '@linux-sockets/native-core'
import { AF_INET, AF_INET6, AF_UNSPEC } from '@linux-sockets/native-core/constants'
import type { AddressOnInterface, NetworkInterface } from './interfaces.js'
import { attributes, dump, type NetlinkMessage, RTM_GETADDR, RTM_GETLINK, RTM_NEWADDR, RTM_NEWLINK } from './netlink.js'

/** An interface without its addresses. */
export type Link = Omit<NetworkInterface, 'addresses'>

/** Reads all interfaces and their addresses, keyed by index. */
export function readInterfaces(): Map<number, NetworkInterface> {
  const found = new Map<number, NetworkInterface>()
  for (const message of dump(RTM_GETLINK)) {
    const link = message.type === RTM_NEWLINK ? readLink(message) : undefined
    if (link !== undefined) found.set(link.index, { ...link, addresses: [] })
  }
  for (const message of dump(RTM_GETADDR)) {
    const { index, address } = (message.type === RTM_NEWADDR && readAddress(message)) || {}
    const link = index === undefined ? undefined : found.get(index)
    // Undefined if the interface was added between the two dumps.
    if (link !== undefined && address !== undefined) {
      found.set(link.index, { ...link, addresses: [...link.addresses, address] })
    }
  }
  return found
}

/**
 * Reads an interface from a message, `struct ifinfomsg`. Undefined if the message is about a part of it only: the port of a
 * bridge, or a wireless event.
 */
export function readLink({ body }: NetlinkMessage): Link | undefined {
  if (body.length < 16 || body.readUInt8(0) !== AF_UNSPEC) return undefined
  const found = attributes(body, 16)
  const [name, mtu, mac] = [found.get(IFLA_IFNAME), found.get(IFLA_MTU), found.get(IFLA_ADDRESS)]
  if (name === undefined || mtu === undefined) return undefined
  return {
    name: name.toString('utf8', 0, name.length - 1),
    index: body.readInt32LE(4),
    flags: body.readUInt32LE(8),
    mtu: mtu.readUInt32LE(0),
    ...(mac?.length && { mac: macText(mac) }),
  }
}

/** Reads an address from a message, `struct ifaddrmsg`. Undefined for families other than IPv4 and IPv6. */
export function readAddress({ body }: NetlinkMessage): { index: number; address: AddressOnInterface } | undefined {
  if (body.length < 8) return undefined
  const found = attributes(body, 8)
  const [family, index] = [body.readUInt8(0), body.readUInt32LE(4)]
  const [far, broadcast] = [found.get(IFA_ADDRESS), found.get(IFA_BROADCAST)]
  // Without a peer, an IPv6 address has IFA_ADDRESS alone, and an IPv4 address has both.
  const own = found.get(IFA_LOCAL) ?? far
  if (own === undefined || (family !== AF_INET && family !== AF_INET6)) return undefined
  const format = family === AF_INET ? formatIpv4 : formatIpv6
  const rest = {
    port: 0,
    prefixLength: body.readUInt8(1),
    // The older field in the struct has only 8 bits.
    flags: found.get(IFA_FLAGS)?.readUInt32LE(0) ?? body.readUInt8(2),
    ...(far !== undefined && !far.equals(own) && { peer: format(far) }),
    ...(broadcast !== undefined && { broadcast: format(broadcast) }),
  }
  if (family === AF_INET) return { index, address: { family: 'ipv4', address: format(own), ...rest } }
  const isLinkLocal = own[0] === 0xfe && ((own[1] as number) & 0xc0) === 0x80
  return { index, address: { family: 'ipv6', address: format(own), ...rest, ...(isLinkLocal && { scope: index }) } }
}

function macText(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join(':')
}

const IFLA_ADDRESS = 1
const IFLA_IFNAME = 3
const IFLA_MTU = 4
const IFA_ADDRESS = 1
const IFA_LOCAL = 2
const IFA_BROADCAST = 4
const IFA_FLAGS = 8
