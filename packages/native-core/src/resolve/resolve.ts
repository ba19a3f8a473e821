// How names are looked up, and why in this way:
//
// getaddrinfo(3) and getnameinfo(3) of the C library do the lookups, so that /etc/hosts, nsswitch.conf(5), resolv.conf(5) and
// gai.conf(5) have the same effect as in other programs. Both block their thread. libuv's pool has 4 threads, which files,
// zlib and crypto use as well, and lookups get half of them: two names whose server is down would hold up all other lookups
// until the resolver's own timeout. Therefore native/resolve.cc starts threads of its own, in three pools for each thread of
// JavaScript:
//
// - `names`: one thread for each lookup, up to LOOKUP_THREADS_MAX, and up to a quarter of the soft RLIMIT_NOFILE.
// - `numbers`: 2 threads for lookups of numbers alone, which ask no server and so never wait behind a lookup that does.
// - `local`: 2 threads for names and addresses in /etc/hosts, used only while all threads of `names` are busy.
//
// An address with a port takes no thread: its answer is certain (`answerOf`).
//
// The hints are those of the caller. In particular AI_V4MAPPED and AI_ADDRCONFIG, which a C program without hints gets, are
// off: AI_ADDRCONFIG would drop ::1 on a machine that has no other IPv6 address. Numeric hosts don't get AI_NUMERICHOST: the
// C library recognizes them by itself, in more forms than inet_pton(3) does.
import { type InetAddress, readSockaddr } from '../address.js'
import { checkBytes, checkFlags, checkInt32, checkOptions, describe, type NamesOf } from '../argument.js'
import { AF_INET, AF_INET6, AF_UNSPEC, IPPROTO_TCP, IPPROTO_UDP, SOCK_DGRAM, SOCK_STREAM } from '../constants.js'
import { check } from '../error.js'
import { formatIpv6, readIpv4, readIpv6 } from '../ip.js'
import { getResourceLimit } from '../limit.js'
import { native, SOCKADDR_MAX } from '../native.js'
import { isAddressInHosts, isInHosts } from './hosts.js'

// Flags of `lookupAddresses`: <netdb.h>, getaddrinfo(3)

/** Without a host: the addresses to bind to (`0.0.0.0`, `::`) instead of loopback. */
export const AI_PASSIVE = 0x0001
/** The first result has a `canonname`. */
export const AI_CANONNAME = 0x0002
/** The host is an address: no name is looked up. */
export const AI_NUMERICHOST = 0x0004
/** With `family: 'ipv6'`: IPv4 addresses are returned as `::ffff:192.0.2.1` if there is no IPv6 address. */
export const AI_V4MAPPED = 0x0008
/** With `AI_V4MAPPED`: also if there are IPv6 addresses. */
export const AI_ALL = 0x0010
/** Only families of which this machine has an address other than loopback. */
export const AI_ADDRCONFIG = 0x0020
/** The host may be an international name, which is encoded (IDNA 2008) before it is looked up. Needs libidn2. */
export const AI_IDN = 0x0040
/** With `AI_CANONNAME`: an encoded name is returned decoded. Needs libidn2. */
export const AI_CANONIDN = 0x0080
/** The service is a port number: no name is looked up. */
export const AI_NUMERICSERV = 0x0400

// Flags of `lookupNames`: <netdb.h>, getnameinfo(3)

/** The host is returned as an address. */
export const NI_NUMERICHOST = 1
/** The service is returned as a port number. */
export const NI_NUMERICSERV = 2
/** A host of the local domain is returned without the domain. */
export const NI_NOFQDN = 4
/** A host without a name is an error, `EAI_NONAME`; otherwise its address is returned. */
export const NI_NAMEREQD = 8
/** The service is a UDP service; it differs from the TCP service for a few ports. */
export const NI_DGRAM = 16
/** An encoded international name is returned decoded. Needs libidn2. */
export const NI_IDN = 32

// Errors of a lookup: <netdb.h>, gai_strerror(3)

/** Flags are unknown or contradict each other. */
export const EAI_BADFLAGS = -1
/** Name or service not known. */
export const EAI_NONAME = -2
/** Temporary failure in name resolution. */
export const EAI_AGAIN = -3
/** Non-recoverable failure in name resolution. */
export const EAI_FAIL = -4
/** No address associated with the name. */
export const EAI_NODATA = -5
/** Address family not supported. */
export const EAI_FAMILY = -6
/** Socket type not supported. */
export const EAI_SOCKTYPE = -7
/** Service not known for this socket type. */
export const EAI_SERVICE = -8
/** The name has no address of this family. */
export const EAI_ADDRFAMILY = -9
/** Memory allocation failure. */
export const EAI_MEMORY = -10
/** System error. */
export const EAI_SYSTEM = -11
/** Result too long for its buffer. */
export const EAI_OVERFLOW = -12
/** The name can not be encoded as an international domain name. */
export const EAI_IDN_ENCODE = -105

/** The arguments of getaddrinfo(3). */
export interface AddressInfoQuery {
  /** A host name or an address; `null` stands for this host. */
  readonly node: string | null
  /** A service name or a port; `null` leaves the port 0. */
  readonly service: string | null
  /** `AI_…`. Default 0. */
  readonly flags?: number | undefined
  /** `AF_…`. Default 0: any. */
  readonly family?: number | undefined
  /** `SOCK_…`. Default 0: any, so that each address is returned once per type. */
  readonly socktype?: number | undefined
  /** `IPPROTO_…`. Default 0: any. */
  readonly protocol?: number | undefined
}

const QUERY: NamesOf<AddressInfoQuery> = {
  node: true,
  service: true,
  flags: true,
  family: true,
  socktype: true,
  protocol: true,
}

/** One `struct addrinfo`. */
export interface AddressInfo {
  /** `AI_…` of the query. */
  readonly flags: number
  /** `AF_…` */
  readonly family: number
  /** `SOCK_…` */
  readonly socktype: number
  /** `IPPROTO_…` */
  readonly protocol: number
  /** The address, with the port. */
  readonly address: InetAddress
  /** The canonical name, with `AI_CANONNAME`; only the first result has it. */
  readonly canonname?: string
}

/** The outcome of a lookup. */
export interface LookupResult<T> {
  /** 0 or `EAI_…`, negative as in C. */
  readonly eai: number
  /** The error number (positive) behind `EAI_SYSTEM`. */
  readonly errno: number
  /** Null unless `eai` is 0. */
  readonly value: T | null
}

/** A lookup in progress. */
export interface Lookup<T> {
  /** The outcome. Never rejects, and never settles once cancelled. */
  readonly result: Promise<LookupResult<T>>
  /**
   * Abandons the lookup. A lookup that waits in line is dropped; one that runs can't be stopped, but no longer keeps the
   * process alive.
   */
  cancel(): void
}

/**
 * The most name lookups that run at a time for one thread of JavaScript, including cancelled lookups that still run. The
 * number is lower if a quarter of the soft `RLIMIT_NOFILE` is, so that an unreachable name server leaves descriptors for
 * everything else. Further lookups wait in line. The number can't be changed, but each Worker has as many lookups of its
 * own. Each lookup takes a thread with 512 KiB of stack, of which little is touched, and a descriptor while it asks a
 * server. Threads start when they are needed and end after 5 seconds without work.
 */
export const LOOKUP_THREADS_MAX = 256

/**
 * getaddrinfo(3), on a pool of our own threads that grows with demand, up to `LOOKUP_THREADS_MAX`. Slow answers delay
 * neither `fs` nor other lookups, except those that wait in line. An address with a port, for a stream or for datagrams,
 * takes no thread at all. Other queries with only numbers have threads of their own, and never wait for names. Nor do names
 * and addresses of /etc/hosts wait in line, if nsswitch.conf puts the files first. The package `addr` offers promises,
 * errors and shared lookups on top of this function.
 * @throws TypeError, RangeError for text with a NUL, and for invalid numbers
 */
export function lookupAddresses(query: AddressInfoQuery): Lookup<AddressInfo[]> {
  checkOptions(query, 'query', QUERY)
  const { flags = 0, family = 0, socktype = 0, protocol = 0 } = query
  checkFlags(flags)
  checkInt32(family, 'family')
  checkInt32(socktype, 'socktype')
  checkInt32(protocol, 'protocol')
  const node = textBytes(query.node, 'node')
  const service = textBytes(query.service, 'service')
  const known = answerOf(query, { flags, family, socktype, protocol })
  if (known !== undefined) return answered(known)
  const numeric = isNumericHost(query.node, flags) && (query.service === null || /^\d+$/.test(query.service))
  return start(
    'getaddrinfo',
    numeric ? numbers : names,
    (resolver, id) => native.getaddrinfo(resolver, id, node, service, flags, family, socktype, protocol),
    readAddressInfo,
    () => query.node === null || isNumericHost(query.node, flags) || isInHosts(query.node, family),
  )
}

/**
 * The answer of getaddrinfo(3) if it is certain: for an address in the form that inet_pton(3) takes, with a port or none,
 * and the default protocol of a stream or of datagrams.
 */
function answerOf(
  { node, service }: AddressInfoQuery,
  { flags, family, socktype, protocol }: Pick<AddressInfo, 'flags' | 'family' | 'socktype' | 'protocol'>,
): AddressInfo | undefined {
  if (node === null || (flags & ~CERTAIN_FLAGS) !== 0) return undefined
  const own = socktype === SOCK_STREAM ? IPPROTO_TCP : socktype === SOCK_DGRAM ? IPPROTO_UDP : undefined
  if (own === undefined || (protocol !== 0 && protocol !== own)) return undefined
  const port = service === null ? 0 : /^\d{1,5}$/.test(service) ? Number(service) : Number.NaN
  if (!(port <= 0xffff)) return undefined
  const address = readAddress(node, port)
  const found = address?.family === 'ipv4' ? AF_INET : AF_INET6
  if (address === undefined || (family !== AF_UNSPEC && family !== found)) return undefined
  return { flags, family: found, socktype, protocol: own, address }
}

function readAddress(text: string, port: number): InetAddress | undefined {
  if (readIpv4(text) !== undefined) return { family: 'ipv4', address: text, port }
  const bytes = readIpv6(text)
  return bytes && { family: 'ipv6', address: formatIpv6(bytes), port }
}

function answered(info: AddressInfo): Lookup<AddressInfo[]> {
  let cancelled = false
  const result = new Promise<LookupResult<AddressInfo[]>>((resolve) => {
    queueMicrotask(() => {
      if (!cancelled) resolve({ eai: 0, errno: 0, value: [info] })
    })
  })
  const cancel = () => {
    cancelled = true
  }
  return { result, cancel }
}

/**
 * getnameinfo(3), on the same threads. `sockaddr` is from `encodeAddress`, `flags` are `NI_…`.
 * @throws TypeError, RangeError for an invalid address
 */
export function lookupNames(sockaddr: Uint8Array, flags = 0): Lookup<{ host: string; service: string }> {
  checkBytes(sockaddr, 'sockaddr')
  if (sockaddr.length > SOCKADDR_MAX) {
    throw new RangeError(`sockaddr must be at most ${SOCKADDR_MAX} bytes, not ${sockaddr.length}`)
  }
  checkFlags(flags)
  const numeric = (flags & NUMBERS_ONLY) === NUMBERS_ONLY
  const begin = (resolver: number, id: number) => native.getnameinfo(resolver, id, sockaddr, flags)
  return start('getnameinfo', numeric ? numbers : names, begin, readNameInfo, () => {
    return (flags & NI_NUMERICHOST) !== 0 || isAddressInHosts(sockaddr)
  })
}

function start<T>(
  syscall: string,
  pool: Pool,
  begin: (resolver: number, id: number) => number,
  read: (bytes: Uint8Array) => T,
  isLocal: () => boolean,
): Lookup<T> {
  const id = nextId()
  let resolver = resolverOf(pool)
  const waits = check(begin(resolver, id), syscall) === 1
  if (waits && pool === names && isLocal()) {
    native.resolve_cancel(resolver, id)
    resolver = resolverOf(local)
    // If no thread can be started for it, the request waits in line again.
    if (begin(resolver, id) < 0) {
      resolver = resolverOf(names)
      check(begin(resolver, id), syscall)
    }
  }
  const result = new Promise<LookupResult<T>>((resolve) => {
    pending.set(id, (eai, errno, bytes) => resolve({ eai, errno, value: bytes && read(bytes) }))
  })
  const cancel = () => {
    if (pending.delete(id)) native.resolve_cancel(resolver, id)
  }
  return { result, cancel }
}

function resolverOf(pool: Pool): number {
  pool.resolver ??= check(native.resolve_open(finished), 'resolve_open')
  // Read now: a program may raise the limit after its first lookup.
  const quarter = Math.floor(getResourceLimit().soft / 4)
  const limit = Math.max(1, Math.min(pool.threads, quarter))
  if (limit !== pool.limit) check(native.resolve_limit(pool.resolver, limit), 'resolve_limit')
  pool.limit = limit
  return pool.resolver
}

type Finish = (eai: number, errno: number, bytes: Uint8Array | null) => void

interface Pool {
  readonly threads: number
  /** The limit that the boundary was told. */
  limit?: number
  /** The boundary's handle, once there was a lookup. */
  resolver?: number
}

const names: Pool = { threads: LOOKUP_THREADS_MAX }
/** For lookups that ask no server, so that these threads are never blocked for long. */
const numbers: Pool = { threads: 2 }
/** For answers of /etc/hosts. Separate from `numbers`, since nsswitch.conf(5) may ask a server after all. */
const local: Pool = { threads: 2 }
const pending = new Map<number, Finish>()
let lastId = 0

/** The flags that don't change the answer for an address with a port. */
const CERTAIN_FLAGS = AI_PASSIVE | AI_NUMERICHOST | AI_NUMERICSERV

const NUMBERS_ONLY = NI_NUMERICHOST | NI_NUMERICSERV

/** Whether the C library takes the host as an address, without a lookup. It accepts more forms than this, such as `127.1`. */
function isNumericHost(node: string | null, flags: number): boolean {
  if (node === null || (flags & AI_NUMERICHOST) !== 0) return true
  return readIpv4(node) !== undefined || readIpv6(node.split('%', 1)[0] as string) !== undefined
}

function nextId(): number {
  do lastId = (lastId + 1) & 0x7fff_ffff
  while (pending.has(lastId))
  return lastId
}

function finished(id: number, eai: number, errno: number, bytes: Uint8Array | null): void {
  const finish = pending.get(id)
  pending.delete(id)
  finish?.(eai, errno, bytes)
}

function textBytes(text: string | null, what: string): Uint8Array | null {
  if (text === null) return null
  if (typeof text !== 'string') throw new TypeError(`${what} must be a string or null, not ${describe(text)}`)
  if (text.includes('\0')) throw new TypeError(`${what} must not contain a NUL`)
  return Buffer.from(text)
}

// native/resolve.cc writes the layouts below.

function readAddressInfo(bytes: Uint8Array): AddressInfo[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
  const list: AddressInfo[] = []
  for (let at = 0; at < bytes.length; ) {
    const addressLength = view.getUint32(at + 16, true)
    const nameLength = view.getUint32(at + 20, true)
    const addressAt = at + 24
    const nameAt = addressAt + padded(addressLength)
    const address = readSockaddr(bytes.subarray(addressAt), addressLength) as InetAddress | null
    const canonname = Buffer.from(bytes.buffer, bytes.byteOffset + nameAt, nameLength).toString()
    if (address !== null) {
      list.push({
        flags: view.getInt32(at, true),
        family: view.getInt32(at + 4, true),
        socktype: view.getInt32(at + 8, true),
        protocol: view.getInt32(at + 12, true),
        address,
        ...(nameLength > 0 && { canonname }),
      })
    }
    at = nameAt + padded(nameLength)
  }
  return list
}

function readNameInfo(bytes: Uint8Array): { host: string; service: string } {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
  const hostLength = view.getUint32(0, true)
  const serviceLength = view.getUint32(4, true)
  const text = Buffer.from(bytes.buffer, bytes.byteOffset + 8)
  const serviceAt = padded(hostLength)
  return {
    host: text.toString('utf8', 0, hostLength),
    service: text.toString('utf8', serviceAt, serviceAt + serviceLength),
  }
}

function padded(length: number): number {
  return Math.ceil(length / 4) * 4
}
