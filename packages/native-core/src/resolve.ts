import { readSockaddr, type SocketAddress } from './address.js'
import { check } from './error.js'
import { readIpv4, readIpv6 } from './ip.js'
import { native } from './native.js'

/** What getaddrinfo(3) takes. Numbers are those of <netdb.h>, named in the package `addr`. */
export interface AddressInfoQuery {
  /** A host name or an address; `null` is this host. */
  readonly node: string | null
  /** A service name or a port; `null` leaves the port 0. */
  readonly service: string | null
  /** `AI_…`. Default 0. */
  readonly flags?: number | undefined
  /** `AF_…`. Default 0: any. */
  readonly family?: number | undefined
  /** `SOCK_…`. Default 0: any, so that each address comes once for every type. */
  readonly socktype?: number | undefined
  /** `IPPROTO_…`. Default 0: any. */
  readonly protocol?: number | undefined
}

/** One `struct addrinfo`. */
export interface AddressInfo {
  /** `AI_…` as they were asked for. */
  readonly flags: number
  /** `AF_…` */
  readonly family: number
  /** `SOCK_…` */
  readonly socktype: number
  /** `IPPROTO_…` */
  readonly protocol: number
  /** The address, with the port. */
  readonly address: SocketAddress
  /** With `AI_CANONNAME`, on the first. */
  readonly canonname?: string
}

/** How a lookup ended. */
export interface LookupResult<T> {
  /** 0 or `EAI_…`, negative as in C. */
  readonly eai: number
  /** The error number (positive) behind `EAI_SYSTEM`. */
  readonly errno: number
  /** Null unless `eai` is 0. */
  readonly value: T | null
}

/** A lookup that is under way. */
export interface Lookup<T> {
  /** Never rejects, and never settles once cancelled. */
  readonly result: Promise<LookupResult<T>>
  /** Forgets the lookup. What runs can't be stopped, but it no longer keeps the process alive. */
  cancel(): void
}

/**
 * The most lookups of names that run at a time for one thread of JavaScript; more wait in line. Each takes a thread with
 * 512 KiB of stack, of which little is touched, and while it asks a server a descriptor. Threads start when they are
 * needed and end after 5 seconds without work.
 */
export const LOOKUP_THREADS_MAX = 1024

/**
 * getaddrinfo(3), on a pool of our own threads that grows with demand, up to `LOOKUP_THREADS_MAX`: slow answers hold up
 * neither `fs` nor other lookups. What has only numbers to read is done by threads of its own, and never waits for names.
 * The package `addr` makes promises, errors and shared lookups of it.
 * @throws TypeError for text with a NUL
 */
export function lookupAddresses(query: AddressInfoQuery): Lookup<AddressInfo[]> {
  const { flags = 0, family = 0, socktype = 0, protocol = 0 } = query
  const node = textBytes(query.node, 'node')
  const service = textBytes(query.service, 'service')
  const numeric = isNumericHost(query.node, flags) && (query.service === null || /^\d+$/.test(query.service))
  return start(
    'getaddrinfo',
    numeric ? numbers : names,
    (resolver, id) => native.getaddrinfo(resolver, id, node, service, flags, family, socktype, protocol),
    readAddressInfo,
  )
}

/** getnameinfo(3), on the same threads. `sockaddr` is from `encodeAddress`. */
export function lookupNames(sockaddr: Uint8Array, flags = 0): Lookup<{ host: string; service: string }> {
  const numeric = (flags & NUMBERS_ONLY) === NUMBERS_ONLY
  const begin = (resolver: number, id: number) => native.getnameinfo(resolver, id, sockaddr, flags)
  return start('getnameinfo', numeric ? numbers : names, begin, readNameInfo)
}

function start<T>(
  syscall: string,
  pool: Pool,
  begin: (resolver: number, id: number) => number,
  read: (bytes: Uint8Array) => T,
): Lookup<T> {
  pool.resolver ??= check(native.resolve_open(finished, pool.threads), syscall)
  const { resolver } = pool
  const id = nextId()
  check(begin(resolver, id), syscall)
  const result = new Promise<LookupResult<T>>((resolve) => {
    pending.set(id, (eai, errno, bytes) => resolve({ eai, errno, value: bytes && read(bytes) }))
  })
  const cancel = () => {
    if (pending.delete(id)) native.resolve_cancel(resolver, id)
  }
  return { result, cancel }
}

type Finish = (eai: number, errno: number, bytes: Uint8Array | null) => void

interface Pool {
  readonly threads: number
  /** The boundary's handle, once there was something to look up. */
  resolver?: number
}

const names: Pool = { threads: LOOKUP_THREADS_MAX }
/** For lookups that no server is asked for, so that none of these threads is ever held up. */
const numbers: Pool = { threads: 2 }
const pending = new Map<number, Finish>()
let lastId = 0

const AI_NUMERICHOST = 0x0004
/** `NI_NUMERICHOST` and `NI_NUMERICSERV`. */
const NUMBERS_ONLY = 3

/** Whether the C library takes the host as it is. It takes more than this, such as `127.1`. */
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
  if (typeof text !== 'string') throw new TypeError(`${what} must be a string or null`)
  if (text.includes('\0')) throw new TypeError(`${what} must not contain a NUL`)
  return Buffer.from(text)
}

// The layouts below are written by native/resolve.cc.

function readAddressInfo(bytes: Uint8Array): AddressInfo[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
  const list: AddressInfo[] = []
  for (let at = 0; at < bytes.length; ) {
    const addressLength = view.getUint32(at + 16, true)
    const nameLength = view.getUint32(at + 20, true)
    const addressAt = at + 24
    const nameAt = addressAt + padded(addressLength)
    const address = readSockaddr(bytes.subarray(addressAt), addressLength)
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
