import {
  decodeAddress,
  encodeAddress,
  errno,
  type FdLike,
  formatIpv6,
  getOption,
  getOptionBytes,
  type InetAddress,
  parseIpv4,
  parseIpv6,
  SystemError,
  setOptionBytes,
} from '@linux-sockets/native-core'
import { type Encoder, int } from '@linux-sockets/native-core/codecs'
import { AF_INET, AF_INET6, IPPROTO_IP, IPPROTO_IPV6 } from '@linux-sockets/native-core/constants'
import { ifindexOf, interfaces } from '@linux-sockets/native-core/interfaces'
import { checkInteger, checkObject, checkOptions, checkString, fdOf, quote } from '@linux-sockets/native-core/internal'
import { IPV6_V6ONLY, SO_DOMAIN } from '@linux-sockets/native-core/options'
import { joinedBy } from './joined.js'

/** Options of the functions that change memberships. */
export interface MembershipOptions {
  /**
   * The interface: its index, its name, or one of its addresses (`'192.0.2.1'`, `'2001:db8::1'`). Default 0: the one to which
   * the routing table sends the group.
   */
  readonly interface?: number | string | undefined
}

/**
 * setsockopt(2) `MCAST_JOIN_GROUP`: the socket receives datagrams that are sent to an IPv4 or IPv6 multicast group and
 * arrive on the interface, from every source. A socket may join many groups, and one group on many interfaces.
 *
 *     joinGroup(socket, 'ff02::fb', { interface: 'eth0' })
 *
 * Linux 2.6 · net.ipv4.igmp_max_memberships limits the groups of an IPv4 socket (20), net.core.optmem_max those of an IPv6
 * socket
 * @throws TypeError, RangeError if the group isn't an address, or an option is invalid
 * @throws SystemError `EINVAL` if the address isn't a multicast group, `ENODEV` if there is no such interface (or no route
 * to the group, without one), `ENOTUNIQ` if several interfaces have the address, `EADDRINUSE` if the socket is already a
 * member, `ENOBUFS` (IPv6: `ENOMEM`) beyond the limit, `EAFNOSUPPORT` if the socket can't receive the group's family. The
 * `detail` says what to do.
 * @see {@link https://datatracker.ietf.org/doc/html/rfc3678#section-5.1 RFC 3678}
 */
export function joinGroup(socket: FdLike, group: string, options: MembershipOptions = {}): void {
  const call = read('MCAST_JOIN_GROUP', MCAST_JOIN_GROUP, socket, group, options)
  needFamily(call)
  run(call, encoded(groupRequest, { ifindex: call.ifindex, group }))
  joinedBy(socket)?.set(call.ifindex, group, undefined)
}

/**
 * setsockopt(2) `MCAST_LEAVE_GROUP`: the socket no longer receives the group on the interface, from any source. Closing the
 * socket leaves all groups.
 * @throws SystemError `EADDRNOTAVAIL` if the socket isn't a member; otherwise as `joinGroup`
 */
export function leaveGroup(socket: FdLike, group: string, options: MembershipOptions = {}): void {
  const call = read('MCAST_LEAVE_GROUP', MCAST_LEAVE_GROUP, socket, group, options)
  run(call, encoded(groupRequest, { ifindex: call.ifindex, group }))
  joinedBy(socket)?.delete(call.ifindex, group)
}

/**
 * setsockopt(2) `MCAST_JOIN_SOURCE_GROUP`: the socket receives what this source sends to the group (source-specific
 * multicast). To receive from several sources, call it for each of them.
 *
 *     joinSourceGroup(socket, '232.1.2.3', '192.0.2.7', { interface: 'eth0' })
 *
 * A membership by `joinGroup` that blocks no source becomes one for this source alone.
 *
 * Linux 2.6 · net.ipv4.igmp_max_msf (10) and net.ipv6.mld_max_msf (64) limit the sources of a group
 * @throws TypeError if an address is invalid, or the source is of another family than the group
 * @throws SystemError `EADDRNOTAVAIL` if the socket has joined this source already, `EINVAL` also if the socket blocks sources
 * of the group, `ENOBUFS` beyond the limit of the groups or of the sources; otherwise as `joinGroup`
 * @see {@link https://datatracker.ietf.org/doc/html/rfc3678#section-5.1 RFC 3678}
 */
export function joinSourceGroup(socket: FdLike, group: string, source: string, options: MembershipOptions = {}): void {
  const call = readSource('MCAST_JOIN_SOURCE_GROUP', MCAST_JOIN_SOURCE_GROUP, socket, group, source, options)
  needFamily(call)
  run(call, encoded(groupSourceRequest, { ifindex: call.ifindex, group, source }))
  joinedBy(socket)?.addSource(call.ifindex, group, source)
}

/**
 * setsockopt(2) `MCAST_LEAVE_SOURCE_GROUP`: the socket no longer receives what this source sends to the group. With its last
 * source it leaves the group.
 * @throws SystemError `EINVAL` if the socket isn't a member for single sources, `EADDRNOTAVAIL` if it isn't one for this
 * source; otherwise as `joinSourceGroup`
 */
export function leaveSourceGroup(socket: FdLike, group: string, source: string, options: MembershipOptions = {}): void {
  const call = readSource('MCAST_LEAVE_SOURCE_GROUP', MCAST_LEAVE_SOURCE_GROUP, socket, group, source, options)
  run(call, encoded(groupSourceRequest, { ifindex: call.ifindex, group, source }))
  joinedBy(socket)?.deleteSource(call.ifindex, group, source)
}

/**
 * setsockopt(2) `MCAST_BLOCK_SOURCE`: of a group that the socket has joined with `joinGroup`, it no longer receives what this
 * source sends.
 * @throws SystemError `EINVAL` if the socket isn't a member, or is one for single sources; `EADDRNOTAVAIL` if the source is
 * already blocked; otherwise as `joinSourceGroup`
 */
export function blockSource(socket: FdLike, group: string, source: string, options: MembershipOptions = {}): void {
  const call = readSource('MCAST_BLOCK_SOURCE', MCAST_BLOCK_SOURCE, socket, group, source, options)
  run(call, encoded(groupSourceRequest, { ifindex: call.ifindex, group, source }))
}

/**
 * setsockopt(2) `MCAST_UNBLOCK_SOURCE`: the socket again receives what this source sends to the group.
 * @throws SystemError `EADDRNOTAVAIL` if the source isn't blocked; otherwise as `blockSource`
 */
export function unblockSource(socket: FdLike, group: string, source: string, options: MembershipOptions = {}): void {
  const call = readSource('MCAST_UNBLOCK_SOURCE', MCAST_UNBLOCK_SOURCE, socket, group, source, options)
  run(call, encoded(groupSourceRequest, { ifindex: call.ifindex, group, source }))
}

/** The sources of a group whose datagrams a socket receives. */
export interface SourceFilter {
  /** `'include'`: these sources alone. `'exclude'`: all but these. */
  readonly mode: 'include' | 'exclude'
  /** The addresses of the sources, of the group's family. */
  readonly sources: readonly string[]
}

/**
 * getsockopt(2) `MCAST_MSFILTER`: the source filter of a socket's membership. A membership by `joinGroup` excludes no source
 * at first; one by `joinSourceGroup` includes its sources. The interface must be given.
 * Linux 2.6
 * @throws SystemError `EADDRNOTAVAIL` if the socket isn't a member; `EINVAL`, `ENODEV`, `ENOTUNIQ` as `joinGroup`
 * @see {@link https://datatracker.ietf.org/doc/html/rfc3678#section-5.2 RFC 3678}
 */
export function getSourceFilter(
  socket: FdLike,
  group: string,
  options: { readonly interface: number | string },
): SourceFilter {
  const call = read('MCAST_MSFILTER', MCAST_MSFILTER, socket, group, options, 1)
  for (let room = 16; ; ) {
    const bytes = filterBytes(call, MCAST_EXCLUDE, [], room)
    const view = new DataView(bytes.buffer)
    view.setUint32(FILTER_COUNT, room, true)
    try {
      getOptionBytes(socket, call.level, MCAST_MSFILTER, bytes)
    } catch (error) {
      throw explained(call, error, 'getsockopt')
    }
    const count = view.getUint32(FILTER_COUNT, true)
    if (count <= room) {
      const mode = view.getUint32(FILTER_MODE, true) === MCAST_INCLUDE ? 'include' : 'exclude'
      return { mode, sources: Array.from({ length: count }, (_, i) => sourceAt(bytes, FILTER_SOURCES + i * STORAGE)) }
    }
    room = count
  }
}

/**
 * setsockopt(2) `MCAST_MSFILTER`: replaces the source filter of a membership in one step, and with it its mode. Including no
 * source leaves the group.
 *
 *     setSourceFilter(socket, '239.1.2.3', { mode: 'exclude', sources: ['192.0.2.7', '192.0.2.8'] }, { interface: 'eth0' })
 *
 * Linux 2.6 · net.ipv4.igmp_max_msf (10) and net.ipv6.mld_max_msf (64) limit the sources
 * @throws TypeError for an invalid filter
 * @throws SystemError `EINVAL` if the socket isn't a member, `EADDRNOTAVAIL` if it isn't one and no source is included,
 * `ENOBUFS` for too many sources; otherwise as `joinGroup`
 * @see {@link https://datatracker.ietf.org/doc/html/rfc3678#section-5.2 RFC 3678}
 */
export function setSourceFilter(
  socket: FdLike,
  group: string,
  filter: SourceFilter,
  options: MembershipOptions = {},
): void {
  checkSocketAndGroup(socket, group)
  checkOptions(filter, 'filter', { mode: true, sources: true })
  const { mode, sources } = filter
  if (mode !== 'include' && mode !== 'exclude') {
    throw new TypeError(`filter.mode must be "include" or "exclude", not ${quote(mode)}`)
  }
  if (!Array.isArray(sources)) throw new TypeError(`filter.sources must be an array, not ${quote(sources)}`)
  const list: string[] = Array.from(sources)
  for (const [i, source] of list.entries()) checkSource(source, group, `filter.sources[${i}]`)
  const call = read('MCAST_MSFILTER', MCAST_MSFILTER, socket, group, options)
  run(call, filterBytes(call, mode === 'include' ? MCAST_INCLUDE : MCAST_EXCLUDE, list, list.length))
  joinedBy(socket)?.set(call.ifindex, group, mode === 'include' ? list : undefined)
}

/** The value of `MCAST_JOIN_GROUP` and `MCAST_LEAVE_GROUP`. */
export interface GroupRequest {
  /** The index of the interface; 0 for the one to which the routing table sends the group. */
  readonly ifindex: number
  /** The group's address, IPv4 or IPv6. */
  readonly group: string
}

/** `struct group_req`: the interface, and at the next multiple of 8 a `struct sockaddr_storage`. */
export const groupRequest: Encoder<GroupRequest> = {
  size: 136,
  encode: (value, view, what) => {
    checkObject(value, what)
    const { ifindex, group } = value
    const bytes = new Uint8Array(view.buffer, view.byteOffset, 136).fill(0)
    int.encode(ifindex, view, `${what}.ifindex`)
    bytes.set(sockaddrOf(group, `${what}.group`), 8)
    return 136
  },
}

/** The value of `MCAST_JOIN_SOURCE_GROUP`, `MCAST_LEAVE_SOURCE_GROUP`, `MCAST_BLOCK_SOURCE` and `MCAST_UNBLOCK_SOURCE`. */
export interface GroupSourceRequest extends GroupRequest {
  /** The source's address, of the group's family. */
  readonly source: string
}

/** `struct group_source_req`: a `struct group_req`, and a `struct sockaddr_storage` for the source. */
export const groupSourceRequest: Encoder<GroupSourceRequest> = {
  size: 264,
  encode: (value, view, what) => {
    groupRequest.encode(value, view, what)
    const bytes = new Uint8Array(view.buffer, view.byteOffset, 264).fill(0, 136)
    checkSource(value.source, value.group, `${what}.source`)
    bytes.set(sockaddrOf(value.source, `${what}.source`), 136)
    return 264
  },
}

/** Returns whether the address is a multicast group: 224.0.0.0/4, ff00::/8. For this package's own use. */
export function isGroup(group: string): boolean {
  return familyOf(group) === 'ipv6' ? parseIpv6(group)[0] === 0xff : ((parseIpv4(group)[0] as number) & 0xf0) === 0xe0
}

/** The family of an address by its text. For this package's own use. */
export function familyOf(address: string): 'ipv4' | 'ipv6' {
  return address.includes(':') ? 'ipv6' : 'ipv4'
}

/** Checks arguments before any system call. For this package's own use. @throws TypeError, RangeError */
export function checkGroup(group: string): void {
  sockaddrOf(group, 'group')
}

/** Checks that a source has the group's family. For this package's own use. @throws TypeError */
export function checkSource(source: string, group: string, what: string): void {
  checkString(source, what)
  if (familyOf(group) === 'ipv6') parseIpv6(source, what)
  else parseIpv4(source, what)
}

/**
 * Refuses a socket that can't receive the group. The kernel lets an IPv6 socket with IPV6_V6ONLY join an IPv4 group, from which
 * it then never receives. For this package's own use.
 */
export function needFamily({ name, socket, group }: Pick<Call, 'name' | 'socket' | 'group'>): void {
  const domain = getOption(socket, SO_DOMAIN)
  const family = familyOf(group)
  if (family === 'ipv6' && domain === AF_INET6) return
  if (family === 'ipv4' && (domain === AF_INET || (domain === AF_INET6 && !getOption(socket, IPV6_V6ONLY)))) return
  const own =
    domain === AF_INET ? 'an IPv4 socket' : domain === AF_INET6 ? 'an IPv6 socket with IPV6_V6ONLY' : 'the socket'
  throw new SystemError(
    errno.EAFNOSUPPORT,
    'setsockopt',
    `${name} ${group}: ${own} can't receive ${LABEL[family]} groups`,
  )
}

const MCAST_JOIN_GROUP = 42
const MCAST_BLOCK_SOURCE = 43
const MCAST_UNBLOCK_SOURCE = 44
const MCAST_LEAVE_GROUP = 45
const MCAST_JOIN_SOURCE_GROUP = 46
const MCAST_LEAVE_SOURCE_GROUP = 47
const MCAST_MSFILTER = 48

const MCAST_EXCLUDE = 0
const MCAST_INCLUDE = 1

// struct group_filter: the interface, the group at 8, the mode, the number of sources, and the sources.
const STORAGE = 128
const FILTER_MODE = 136
const FILTER_COUNT = 140
const FILTER_SOURCES = 144

const LABEL = { ipv4: 'IPv4', ipv6: 'IPv6' } as const

/** The arguments of a call, checked, with the interface looked up. */
interface Call {
  readonly name: string
  readonly option: number
  readonly socket: FdLike
  readonly level: number
  readonly ifindex: number
  readonly group: string
  readonly source?: string
}

/** Checks all arguments, by the names that the caller knows, before it looks up the interface. */
function read(
  name: string,
  option: number,
  socket: FdLike,
  group: string,
  options: MembershipOptions,
  leastIndex = 0,
): Call {
  checkSocketAndGroup(socket, group)
  checkOptions(options, 'options', { interface: true })
  const { interface: chosen = leastIndex === 0 ? 0 : undefined } = options
  const level = familyOf(group) === 'ipv6' ? IPPROTO_IPV6 : IPPROTO_IP
  return { name, option, socket, level, ifindex: indexOf(chosen, leastIndex), group }
}

function readSource(
  name: string,
  option: number,
  socket: FdLike,
  group: string,
  source: string,
  options: MembershipOptions,
): Call {
  checkSocketAndGroup(socket, group)
  checkSource(source, group, 'source')
  return { ...read(name, option, socket, group, options), source }
}

function checkSocketAndGroup(socket: FdLike, group: string): void {
  fdOf(socket, 'socket')
  checkGroup(group)
}

/** The index of an interface that is given by index, name or address. For this package's own use. */
export function indexOf(chosen: number | string | undefined, least: number): number {
  if (typeof chosen !== 'string') {
    checkInteger(chosen, least, 0x7fff_ffff, 'interface')
    return chosen
  }
  const address = canonical(chosen)
  if (address === undefined) return ifindexOf(chosen)
  const found = interfaces().filter((link) => link.addresses.some((own) => own.address === address))
  if (found.length === 0) throw new SystemError(errno.ENODEV, 'setsockopt', `no interface has the address ${address}`)
  if (found.length > 1) {
    const names = found.map((link) => link.name).join(', ')
    throw new SystemError(errno.ENOTUNIQ, 'setsockopt', `${names} have the address ${address}: give a name or an index`)
  }
  return (found[0] as { ifindex: number }).ifindex
}

/** The address in the form in which interfaces list theirs; undefined for text that is a name. */
function canonical(text: string): string | undefined {
  try {
    if (text.includes(':')) return formatIpv6(parseIpv6(text, 'interface'))
    parseIpv4(text, 'interface')
    return text
  } catch (error) {
    // No interface has a name with a colon.
    if (text.includes(':')) throw error
    return undefined
  }
}

function encoded<T>(encoder: Encoder<T>, value: T): Uint8Array {
  const bytes = new Uint8Array(encoder.size)
  encoder.encode(value, new DataView(bytes.buffer), 'value')
  return bytes
}

function filterBytes({ ifindex, group }: Call, mode: number, sources: readonly string[], room: number): Uint8Array {
  const bytes = new Uint8Array(FILTER_SOURCES + room * STORAGE)
  const view = new DataView(bytes.buffer)
  groupRequest.encode({ ifindex, group }, view, 'value')
  view.setUint32(FILTER_MODE, mode, true)
  view.setUint32(FILTER_COUNT, sources.length, true)
  for (const [i, source] of sources.entries()) bytes.set(sockaddrOf(source, 'source'), FILTER_SOURCES + i * STORAGE)
  return bytes
}

function sourceAt(bytes: Uint8Array, offset: number): string {
  const address = decodeAddress(bytes.subarray(offset, offset + STORAGE)) as InetAddress
  return address.address
}

function run(call: Call, bytes: Uint8Array): void {
  try {
    setOptionBytes(call.socket, call.level, call.option, bytes)
  } catch (error) {
    throw explained(call, error, 'setsockopt', bytes.length)
  }
}

/** Makes the error that says what to do, of the kernel's, which uses one number for several reasons. */
function explained(call: Call, error: unknown, syscall: string, length = 0): unknown {
  if (!(error instanceof SystemError)) return error
  const object = call.source === undefined ? call.group : `${call.group} from ${call.source}`
  const advice = adviceFor(call, error.code, length)
  return new SystemError(error.errno, syscall, `${call.name} ${object}${advice === undefined ? '' : `: ${advice}`}`)
}

function adviceFor(call: Call, code: string, length: number): string | undefined {
  const { option, group, ifindex } = call
  const isV6 = familyOf(group) === 'ipv6'
  switch (code) {
    case 'EINVAL':
      if (!isGroup(group)) return `${group} is not a multicast group`
      if (option === MCAST_JOIN_SOURCE_GROUP && modeOf(call) === MCAST_EXCLUDE) {
        return 'the socket blocks sources of the group: leave it first'
      }
      if (option === MCAST_JOIN_GROUP || option === MCAST_JOIN_SOURCE_GROUP) {
        return 'the interface has no IPv6: its MTU is below 1280'
      }
      if (option === MCAST_MSFILTER) return `join the group ${on(ifindex)} first`
      if (option === MCAST_LEAVE_SOURCE_GROUP)
        return `the socket has not joined the group for single sources ${on(ifindex)}`
      return `join the group with joinGroup ${on(ifindex)} first`
    case 'EADDRINUSE':
      return `the socket is already a member ${on(ifindex)}`
    case 'EADDRNOTAVAIL':
      if (option === MCAST_JOIN_SOURCE_GROUP) return `the socket has already joined this source ${on(ifindex)}`
      if (option === MCAST_BLOCK_SOURCE) return 'the source is already blocked'
      if (option === MCAST_UNBLOCK_SOURCE) return 'the source is not blocked'
      if (option === MCAST_LEAVE_SOURCE_GROUP) return `the socket has not joined this source ${on(ifindex)}`
      return `the socket is not a member ${on(ifindex)}`
    case 'ENODEV':
      if (ifindex === 0) return 'no route leads to the group: choose an interface'
      return `no interface has the index ${ifindex}${isV6 ? '' : ', or it has no IPv4'}`
    case 'ENOMEM':
      return 'raise net.core.optmem_max'
    case 'ENOBUFS':
      return isV6 ? tooManySources('net.ipv6.mld_max_msf', length) : tooManyIpv4(call, length)
    default:
      return undefined
  }
}

/** The kernel has one error for too many groups of a socket and too many sources of a group. Members have too many sources. */
function tooManyIpv4(call: Call, length: number): string {
  const memberships = 'raise net.ipv4.igmp_max_memberships'
  const sources = tooManySources('net.ipv4.igmp_max_msf', length)
  if (call.option === MCAST_JOIN_GROUP) return memberships
  if (call.option !== MCAST_JOIN_SOURCE_GROUP) return sources
  if (call.ifindex === 0) return `${memberships} (groups of the socket) or net.ipv4.igmp_max_msf (sources of the group)`
  return modeOf(call) === undefined ? memberships : sources
}

function tooManySources(sysctl: string, length: number): string {
  return length > OPTMEM_LEAST ? `raise ${sysctl} and net.core.optmem_max` : `raise ${sysctl}`
}

/** The least default of net.core.optmem_max in bytes, on Linux before 6.8. */
const OPTMEM_LEAST = 20_480

/** The mode of the socket's membership; undefined if it isn't a member. */
function modeOf(call: Call): number | undefined {
  const bytes = filterBytes(call, MCAST_EXCLUDE, [], 0)
  try {
    getOptionBytes(call.socket, call.level, MCAST_MSFILTER, bytes)
    return new DataView(bytes.buffer).getUint32(FILTER_MODE, true)
  } catch {
    return undefined
  }
}

function on(ifindex: number): string {
  return ifindex === 0 ? 'on this interface' : `on interface ${ifindex}`
}

function sockaddrOf(address: string, what: string): Uint8Array {
  checkString(address, what)
  const family = familyOf(address)
  if (family === 'ipv6') parseIpv6(address, what)
  else parseIpv4(address, what)
  return encodeAddress({ family, address, port: 0 })
}
