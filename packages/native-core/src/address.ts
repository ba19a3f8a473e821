import { TextDecoder } from 'node:util'
import { checkBytes, checkInteger, describe, needBytes, quote } from './argument.js'
import { AF_INET, AF_INET6, AF_NETLINK, AF_PACKET, AF_UNIX, AF_VSOCK } from './constants.js'
import { formatIpv6, parseIpv4, parseIpv6 } from './ip.js'
import { SOCKADDR_MAX, SOCKADDR_SLOT_SIZE, type SockaddrSlot } from './native.js'

/** ip(7). The shape of Node's `net.SocketAddress`. */
export interface Ipv4Address {
  readonly family: 'ipv4'
  /** `'192.0.2.1'`; `'0.0.0.0'` is any address. */
  readonly address: string
  /** 0 … 65535; 0 lets the kernel choose on bind. */
  readonly port: number
}

/** ipv6(7). The shape of Node's `net.SocketAddress`, with the scope added. */
export interface Ipv6Address {
  readonly family: 'ipv6'
  /** `'2001:db8::1'`; `'::'` is any address. */
  readonly address: string
  /** 0 … 65535; 0 lets the kernel choose on bind. */
  readonly port: number
  /** The flow label: 20 bits, RFC 6437. Default 0. */
  readonly flowlabel?: number
  /**
   * The traffic class, which precedes the flow label: 8 bits, RFC 3542. Linux uses and reports it with
   * `IPV6_FLOWINFO_SEND`. Default 0.
   */
  readonly tclass?: number
  /** The index of the interface that a link-local address belongs to. Default 0: none. */
  readonly scope?: number
}

/**
 * unix(7): a path in the file system, at most 108 bytes. A path of 108 bytes leaves no room for the terminating NUL that
 * other systems, and some programs, expect.
 */
export interface UnixPathAddress {
  readonly family: 'unix'
  /** The path; as bytes if it isn't UTF-8. */
  readonly path: string | Uint8Array
}

/** unix(7): a name in the abstract namespace, at most 107 bytes of any value. The name ends with the socket. */
export interface UnixAbstractAddress {
  readonly family: 'unix'
  /** The name without the leading NUL; as bytes if it isn't UTF-8. */
  readonly abstract: string | Uint8Array
}

/** unix(7): no name. Binding to it lets the kernel choose an abstract name of 5 hexadecimal digits (autobind). */
export interface UnixUnnamedAddress {
  readonly family: 'unix'
}

/** vsock(7): a port of a virtual machine or its host. */
export interface VsockAddress {
  readonly family: 'vsock'
  /** `VMADDR_CID_…` */
  readonly cid: number
  /** 32 bits; `VMADDR_PORT_ANY` lets the kernel choose on bind. */
  readonly port: number
  /** `VMADDR_FLAG_…`, Linux 5.11. Default 0. */
  readonly flags?: number
}

/** netlink(7). */
export interface NetlinkAddress {
  readonly family: 'netlink'
  /** The port id. 0 is the kernel; on bind, 0 lets the kernel choose. */
  readonly pid: number
  /** The mask of multicast groups 1 … 32. Default 0. */
  readonly groups?: number
}

/** packet(7): a link-layer address. */
export interface PacketAddress {
  readonly family: 'packet'
  /** The EtherType in host order: 0x0800 is IPv4, 3 (`ETH_P_ALL`) stands for all. */
  readonly protocol: number
  /** The interface's index; 0 is any. The kernel gives −1 once the interface is gone. */
  readonly ifindex: number
  /** `ARPHRD_…`, set by the kernel. */
  readonly hatype?: number
  /** `PACKET_HOST`, `PACKET_BROADCAST`, …, set by the kernel. */
  readonly pkttype?: number
  /** The hardware address, at most 32 bytes. */
  readonly address?: Uint8Array
}

/** An address of a family without a shape of its own here: its number, and the bytes after `sa_family` as they are. */
export interface RawAddress {
  /** `AF_…` */
  readonly family: number
  /** The rest of the `sockaddr`, at most 126 bytes. */
  readonly data: Uint8Array
}

/** unix(7): a path, an abstract name, or none. */
export type UnixAddress = UnixPathAddress | UnixAbstractAddress | UnixUnnamedAddress
/** IPv4 or IPv6. */
export type InetAddress = Ipv4Address | Ipv6Address

/** A socket address, by its family. */
export type SocketAddress = InetAddress | UnixAddress | VsockAddress | NetlinkAddress | PacketAddress | RawAddress

/**
 * The type of the addresses of a domain's sockets: `AddressOf<typeof AF_INET>`; any address if the compiler doesn't know
 * the number.
 */
export type AddressOf<Domain extends number> = Domain extends typeof AF_INET | typeof AF_INET6
  ? InetAddress
  : Domain extends typeof AF_UNIX
    ? UnixAddress
    : Domain extends typeof AF_VSOCK
      ? VsockAddress
      : Domain extends typeof AF_NETLINK
        ? NetlinkAddress
        : Domain extends typeof AF_PACKET
          ? PacketAddress
          : SocketAddress

/** An address, or its bytes from `encodeAddress`; bytes save the encoding if one address is used often. */
export type AddressLike = SocketAddress | Uint8Array

/** The longest path in bytes: `sizeof sun_path`. */
export const UNIX_PATH_MAX = 108
/** The longest abstract name in bytes, and the longest path that leaves room for a NUL: `sizeof sun_path` − 1. */
export const UNIX_NAME_MAX = UNIX_PATH_MAX - 1

/**
 * Encodes an address as the `sockaddr` that the kernel takes.
 * @throws TypeError, RangeError naming the part that is wrong. A path or name that is too long is refused, never cut.
 */
export function encodeAddress(address: AddressLike): Uint8Array {
  if (address instanceof Uint8Array) {
    if (address.length < 2 || address.length > SOCKADDR_MAX) {
      throw new RangeError(`a sockaddr must have 2 to ${SOCKADDR_MAX} bytes, not ${address.length}`)
    }
    return address
  }
  if (typeof address !== 'object' || address === null) {
    throw new TypeError(`address must be an object with a \`family\`, not ${describe(address)}`)
  }
  switch (address.family) {
    case 'ipv4':
      return encodeIpv4(address)
    case 'ipv6':
      return encodeIpv6(address)
    case 'unix':
      return encodeUnix(address)
    case 'vsock':
      return encodeVsock(address)
    case 'netlink':
      return encodeNetlink(address)
    case 'packet':
      return encodePacket(address)
    default:
      return encodeRaw(address)
  }
}

/**
 * Decodes a `sockaddr`. `encodeAddress` turns the address into the same bytes, except for padding and the NUL that the
 * kernel counts behind a path of 108 bytes.
 * @throws RangeError for bytes that the kernel doesn't give: too few for their family, or a name that is too long
 */
export function decodeAddress(sockaddr: Uint8Array): SocketAddress {
  checkBytes(sockaddr, 'sockaddr')
  return decode(sockaddr)
}

/**
 * The socket family of an encoded address: `sa_family`, `AF_…`.
 * @throws TypeError, RangeError if there are too few bytes for a family
 */
export function familyOf(sockaddr: Uint8Array): number {
  checkBytes(sockaddr, 'sockaddr')
  if (sockaddr.length < 2) throw new RangeError(`a sockaddr has at least 2 bytes, not ${sockaddr.length}`)
  return (sockaddr[0] as number) | ((sockaddr[1] as number) << 8)
}

function decode(sockaddr: Uint8Array): SocketAddress {
  if (sockaddr.length < 2) throw new RangeError(`a sockaddr has at least 2 bytes, not ${sockaddr.length}`)
  const family = (sockaddr[0] as number) | ((sockaddr[1] as number) << 8)
  // By far the most frequent family, decoded for each datagram: without a view.
  if (family === AF_INET) return decodeIpv4(sockaddr)
  const view = new DataView(sockaddr.buffer, sockaddr.byteOffset, sockaddr.length)
  switch (family) {
    case AF_INET6:
      return decodeIpv6(sockaddr, view)
    case AF_UNIX:
      return decodeUnix(sockaddr)
    case AF_VSOCK:
      needBytes(sockaddr.length, 13, 'sockaddr_vm')
      return withFlags(
        { family: 'vsock', cid: view.getUint32(8, true), port: view.getUint32(4, true) },
        view.getUint8(12),
      )
    case AF_NETLINK:
      needBytes(sockaddr.length, 12, 'sockaddr_nl')
      return { family: 'netlink', pid: view.getUint32(4, true), groups: view.getUint32(8, true) }
    case AF_PACKET:
      return decodePacket(sockaddr, view)
    default:
      atMost(sockaddr.length, SOCKADDR_MAX, 'a sockaddr')
      return { family, data: new Uint8Array(sockaddr.subarray(2)) }
  }
}

/**
 * Formats an address for people: `192.0.2.1:80`, `[2001:db8::1]:80`, `/run/x.sock`, `@name`, `vsock:2:1024`. For messages
 * and logs.
 * @throws TypeError, RangeError as `encodeAddress` does
 */
export function formatAddress(address: AddressLike): string {
  const bytes = encodeAddress(address)
  const a = address instanceof Uint8Array ? decode(bytes) : address
  switch (a.family) {
    case 'ipv4':
      return `${a.address}:${a.port}`
    case 'ipv6':
      return `[${a.address}${a.scope ? `%${a.scope}` : ''}]:${a.port}`
    case 'unix':
      if ('path' in a) return printable(a.path)
      return 'abstract' in a ? `@${printable(a.abstract)}` : '(unnamed)'
    case 'vsock':
      return `vsock:${a.cid}:${a.port}`
    case 'netlink':
      return `netlink:${a.pid}`
    case 'packet':
      return `packet:${a.ifindex}`
    default:
      return `family ${a.family}`
  }
}

/**
 * The boundary writes addresses here that are decoded at once; one slot per thread is enough, since nothing runs in
 * between. For this package's own use.
 */
export const slot: SockaddrSlot = new Uint8Array(SOCKADDR_SLOT_SIZE)
const slotBytes = Buffer.from(slot.buffer)

/**
 * The address in `slot`; `null` if the kernel wrote none (an unnamed Unix peer of a datagram, a connected socket). For this
 * package's own use.
 */
export function readSlot(): SocketAddress | null {
  const length = (slot[0] as number) | ((slot[1] as number) << 8)
  return readSockaddr(slot.subarray(4), length)
}

/**
 * The `sockaddr` in `slot` as a string of its bytes, which takes a fifth of the memory of a `Uint8Array`; empty if the
 * kernel wrote none. For this package's own use.
 */
export function copySlot(): string {
  const length = (slot[0] as number) | ((slot[1] as number) << 8)
  return length < 2 ? '' : slotBytes.toString('latin1', 4, 4 + Math.min(length, SOCKADDR_MAX))
}

/** Decodes the first `length` bytes; `null` for no address. For this package's own use. */
export function readSockaddr(bytes: Uint8Array, length: number): SocketAddress | null {
  // unix(7): the kernel may count the NUL that it could not store.
  return length < 2 ? null : decode(bytes.subarray(0, Math.min(length, SOCKADDR_MAX)))
}

function encodeIpv4({ address, port }: Ipv4Address): Uint8Array {
  const [bytes, view] = sockaddr(AF_INET, 16)
  checkInteger(port, 0, 0xffff, 'port')
  view.setUint16(2, port)
  bytes.set(parseIpv4(address), 4)
  return bytes
}

function decodeIpv4(bytes: Uint8Array): Ipv4Address {
  needBytes(bytes.length, 8, 'sockaddr_in')
  const port = ((bytes[2] as number) << 8) | (bytes[3] as number)
  return { family: 'ipv4', address: `${bytes[4]}.${bytes[5]}.${bytes[6]}.${bytes[7]}`, port }
}

function encodeIpv6({ address, port, flowlabel = 0, tclass = 0, scope = 0 }: Ipv6Address): Uint8Array {
  const [bytes, view] = sockaddr(AF_INET6, 28)
  checkInteger(port, 0, 0xffff, 'port')
  checkInteger(flowlabel, 0, 0xf_ffff, 'flowlabel')
  checkInteger(tclass, 0, 0xff, 'tclass')
  checkInteger(scope, 0, 0xffff_ffff, 'scope')
  view.setUint16(2, port)
  view.setUint32(4, tclass * 0x10_0000 + flowlabel)
  bytes.set(parseIpv6(address), 8)
  view.setUint32(24, scope, true)
  return bytes
}

function decodeIpv6(bytes: Uint8Array, view: DataView): Ipv6Address {
  // A sockaddr_in6 without a scope (24 bytes) is still in use: RFC 2133.
  needBytes(bytes.length, 24, 'sockaddr_in6')
  const flowinfo = view.getUint32(4)
  const flowlabel = flowinfo & 0xf_ffff
  const tclass = (flowinfo >>> 20) & 0xff
  const scope = bytes.length < 28 ? 0 : view.getUint32(24, true)
  return {
    family: 'ipv6',
    address: formatIpv6(bytes.subarray(8, 24)),
    port: view.getUint16(2),
    ...(flowlabel !== 0 && { flowlabel }),
    ...(tclass !== 0 && { tclass }),
    ...(scope !== 0 && { scope }),
  }
}

function encodeUnix(address: UnixAddress): Uint8Array {
  if ('path' in address && address.path !== undefined) {
    if ('abstract' in address && address.abstract !== undefined)
      throw new TypeError('give a path or an abstract name, not both')
    const path = nameBytes(address.path, UNIX_PATH_MAX, 'path')
    if (path.length === 0) throw new TypeError('path must not be empty (leave it out for an unnamed address)')
    if (path.includes(0)) throw new TypeError('path must not contain a NUL (abstract names go into `abstract`)')
    // The kernel takes no more than `sizeof(struct sockaddr_un)`.
    return unixName(path, 0, Math.min(path.length + 1, UNIX_PATH_MAX))
  }
  if ('abstract' in address && address.abstract !== undefined) {
    const name = nameBytes(address.abstract, UNIX_NAME_MAX, 'abstract')
    return unixName(name, 1, name.length + 1)
  }
  return sockaddr(AF_UNIX, 2)[0]
}

function nameBytes(name: string | Uint8Array, max: number, what: string): Uint8Array {
  if (typeof name !== 'string' && !(name instanceof Uint8Array)) {
    throw new TypeError(`${what} must be a string or a Uint8Array, not ${describe(name)}`)
  }
  const bytes = typeof name === 'string' ? Buffer.from(name) : name
  atMost(bytes.length, max, what)
  return bytes
}

function unixName(name: Uint8Array, at: number, length: number): Uint8Array {
  const [bytes] = sockaddr(AF_UNIX, 2 + length)
  bytes.set(name, 2 + at)
  return bytes
}

function decodeUnix(bytes: Uint8Array): UnixAddress {
  const name = bytes.subarray(2)
  if (name.length === 0) return { family: 'unix' }
  if (name[0] === 0) {
    atMost(name.length, UNIX_PATH_MAX, 'sun_path')
    return { family: 'unix', abstract: nameText(name.subarray(1)) }
  }
  const end = name.indexOf(0)
  const path = end < 0 ? name : name.subarray(0, end)
  atMost(path.length, UNIX_PATH_MAX, 'sun_path')
  return { family: 'unix', path: nameText(path) }
}

function nameText(bytes: Uint8Array): string | Uint8Array {
  try {
    return strictUtf8.decode(bytes)
  } catch {
    return Uint8Array.from(bytes)
  }
}

function encodeVsock({ cid, port, flags = 0 }: VsockAddress): Uint8Array {
  const [bytes, view] = sockaddr(AF_VSOCK, 16)
  checkInteger(cid, 0, 0xffff_ffff, 'cid')
  checkInteger(port, 0, 0xffff_ffff, 'port')
  checkInteger(flags, 0, 0xff, 'flags')
  view.setUint32(4, port, true)
  view.setUint32(8, cid, true)
  view.setUint8(12, flags)
  return bytes
}

function withFlags(address: VsockAddress, flags: number): VsockAddress {
  return flags === 0 ? address : { ...address, flags }
}

function encodeNetlink({ pid, groups = 0 }: NetlinkAddress): Uint8Array {
  const [bytes, view] = sockaddr(AF_NETLINK, 12)
  checkInteger(pid, 0, 0xffff_ffff, 'pid')
  checkInteger(groups, 0, 0xffff_ffff, 'groups')
  view.setUint32(4, pid, true)
  view.setUint32(8, groups, true)
  return bytes
}

function encodePacket({ protocol, ifindex, hatype = 0, pkttype = 0, address }: PacketAddress): Uint8Array {
  checkInteger(protocol, 0, 0xffff, 'protocol')
  checkInteger(ifindex, -0x8000_0000, 0x7fff_ffff, 'ifindex')
  checkInteger(hatype, 0, 0xffff, 'hatype')
  checkInteger(pkttype, 0, 0xff, 'pkttype')
  if (address !== undefined) {
    checkBytes(address, 'address')
    atMost(address.length, MAX_ADDR_LEN, 'address')
  }
  // Like the kernel: no shorter than `struct sockaddr_ll`, and longer for the addresses of InfiniBand and tunnels.
  const [bytes, view] = sockaddr(AF_PACKET, Math.max(20, 12 + (address?.length ?? 0)))
  view.setUint16(2, protocol)
  view.setInt32(4, ifindex, true)
  view.setUint16(8, hatype, true)
  view.setUint8(10, pkttype)
  view.setUint8(11, address?.length ?? 0)
  bytes.set(address ?? [], 12)
  return bytes
}

function decodePacket(bytes: Uint8Array, view: DataView): PacketAddress {
  needBytes(bytes.length, 12, 'sockaddr_ll')
  const length = view.getUint8(11)
  atMost(length, MAX_ADDR_LEN, 'sll_halen')
  needBytes(bytes.length, 12 + length, `sockaddr_ll with an address of ${length} bytes`)
  return {
    family: 'packet',
    protocol: view.getUint16(2),
    ifindex: view.getInt32(4, true),
    hatype: view.getUint16(8, true),
    pkttype: view.getUint8(10),
    address: new Uint8Array(bytes.subarray(12, 12 + length)),
  }
}

function encodeRaw({ family, data }: RawAddress): Uint8Array {
  if (typeof family !== 'number') {
    throw new TypeError(
      `address.family must be 'ipv4', 'ipv6', 'unix', 'vsock', 'netlink', 'packet' or a number, not ${quote(family)}`,
    )
  }
  checkInteger(family, 0, 0xffff, 'address.family')
  checkBytes(data, 'address.data')
  atMost(data.length, SOCKADDR_MAX - 2, 'address.data')
  const [bytes] = sockaddr(family, 2 + data.length)
  bytes.set(data, 2)
  return bytes
}

function sockaddr(family: number, size: number): [Uint8Array, DataView] {
  const bytes = new Uint8Array(size)
  const view = new DataView(bytes.buffer)
  view.setUint16(0, family, true)
  return [bytes, view]
}

function atMost(length: number, max: number, what: string): void {
  if (length > max) throw new RangeError(`${what} must be at most ${max} bytes, not ${length}`)
}

function printable(name: string | Uint8Array): string {
  return typeof name === 'string'
    ? name.replaceAll('\0', '\\0')
    : Buffer.from(name).toString('latin1').replaceAll('\0', '\\0')
}

/** <linux/netdevice.h> */
const MAX_ADDR_LEN = 32
const strictUtf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })
