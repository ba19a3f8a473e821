import { performance } from 'node:perf_hooks'
import { isDeepStrictEqual } from 'node:util'
import {
  type AddressLike,
  decodeAddress,
  encodeAddress,
  errno,
  formatIpv6,
  parseIpv6,
  SystemError,
} from '@linux-sockets/native-core'
import {
  type AddressOnInterface,
  IFA_F_DADFAILED,
  IFA_F_OPTIMISTIC,
  IFA_F_TENTATIVE,
  IFF_LOOPBACK,
  IFF_LOWER_UP,
  IFF_MULTICAST,
  IFF_UP,
  type InterfaceWatch,
  interfaceNameOf,
  type NetworkInterface,
  watchInterfaces,
} from '@linux-sockets/native-core/interfaces'
import {
  addressOf,
  checkBytes,
  checkFunction,
  checkHandlers,
  checkObject,
  checkOptions,
  checkSignal,
  describe,
  onAbort,
  onRelease,
} from '@linux-sockets/native-core/internal'
import {
  checkGroup,
  checkSource,
  isGroup,
  joinGroup,
  joinSourceGroup,
  leaveGroup,
  leaveSourceGroup,
  needFamily,
} from './membership.js'

/** The socket of `AllInterfaces`: a UDP socket that can send from an interface of the caller's choice. */
export interface AllInterfacesSocket<Options extends object = object> {
  /** The descriptor; negative once the socket is closed. */
  readonly fd: number
  /** Sends a datagram out of the interface `options.interface`. A promise that it returns is watched for its rejection. */
  send(data: Uint8Array, address: AddressLike, options: Options & { readonly interface: number }): unknown
}

/** The handlers of `AllInterfaces`. */
export interface AllInterfacesHandlers {
  /**
   * Something failed on one interface: a join, a leave, a send, or the filter. The other interfaces go on. Without `link`,
   * following the interfaces has failed; the memberships stay as they are.
   */
  error(error: unknown, link?: NetworkInterface): void
  /** An interface counts from now on: it has come up, or the filter accepts it. Its groups are joined. */
  added?(link: NetworkInterface): void
  /** An interface that counts has another name, other addresses, or other flags than before. */
  changed?(link: NetworkInterface, before: NetworkInterface): void
  /** An interface no longer counts: it was removed, is down, or the filter refuses it. Its groups are left. */
  removed?(link: NetworkInterface): void
}

/** Options of `AllInterfaces`. */
export interface AllInterfacesOptions {
  /**
   * Returns whether an interface counts. It is asked about each interface that is up and has `IFF_MULTICAST` or is the loopback
   * interface, and again after each change. Default: all but loopback; loopback if there is no other, so that the
   * programs of a machine without a network find each other.
   */
  readonly filter?: ((link: NetworkInterface) => boolean) | undefined
  /** Closes it. */
  readonly signal?: AbortSignal | undefined
}

/**
 * Multicast on every interface. The kernel joins a group on one interface, and sends each datagram out of one interface; this
 * class joins on all of them, and sends one copy out of each. It follows the interfaces as they come, go, and change
 * (`watchInterfaces`): an interface that appears later is joined and sent on, and one that returns is joined again.
 *
 *     const everywhere = new AllInterfaces(socket, { error: console.error })
 *     everywhere.join('224.0.0.251')
 *     everywhere.send(query, { family: 'ipv4', address: '224.0.0.251', port: 5353 })
 *
 * Starting without any network doesn't fail. While an interface has no usable address of the destination's family, the
 * kernel would send from an address of another interface, or from none. Therefore up to 64 datagrams wait for an address of
 * the interface, for at most ten seconds. An IPv6 address is tentative for one or two seconds after the interface has come
 * up, while the kernel looks for duplicates.
 *
 * It keeps the process alive until it or its socket is closed.
 * @see {@link https://datatracker.ietf.org/doc/html/rfc6762#section-14 RFC 6762}
 */
export class AllInterfaces<Options extends object = object> implements Disposable {
  readonly #socket: AllInterfacesSocket<Options>
  readonly #handlers: AllInterfacesHandlers
  readonly #filter: ((link: NetworkInterface) => boolean) | undefined
  readonly #watch: InterfaceWatch
  readonly #active = new Map<number, Active<Options>>()
  readonly #groups = new Map<string, Group>()
  readonly #forget: readonly (() => void)[]
  #closed = false

  /**
   * Begins to follow the interfaces. `added` is called for those that are there in a later turn.
   * @throws TypeError for an invalid socket, handler or option
   * @throws SystemError as `watchInterfaces` does; `EBADF` if the socket is closed
   */
  constructor(
    socket: AllInterfacesSocket<Options>,
    handlers: AllInterfacesHandlers,
    options: AllInterfacesOptions = {},
  ) {
    if (typeof socket?.fd !== 'number' || typeof socket.send !== 'function') {
      throw new TypeError(`socket must have a descriptor and \`send\`, not ${describe(socket)}`)
    }
    checkHandlers(handlers, 'error', { error: true, added: true, changed: true, removed: true })
    checkOptions(options, 'options', { filter: true, signal: true })
    const { filter, signal } = options
    if (filter !== undefined) checkFunction(filter, 'filter')
    checkSignal(signal)
    signal?.throwIfAborted()
    this.#socket = socket
    this.#handlers = handlers
    this.#filter = filter
    this.#needOpen()
    this.#watch = watchInterfaces()
    const { fd } = socket
    this.#forget = [
      // The kernel leaves the groups of a socket that is closed.
      onRelease((released) => {
        if (released === fd) this.#end()
      }),
      signal === undefined ? () => {} : onAbort(signal, () => this.close()),
    ]
    void this.#follow()
  }

  /** The interfaces that count now, in the order of their indexes. */
  get interfaces(): NetworkInterface[] {
    return [...this.#active.values()].map(({ link }) => link).sort((a, b) => a.ifindex - b.ifindex)
  }

  /**
   * Joins a group on every interface that counts now or later; with `source`, for this source alone (`joinSourceGroup`).
   * If joining fails on one interface, `error` is called.
   * @throws TypeError if an address or an option is invalid
   * @throws SystemError `EINVAL` if the address isn't a multicast group, `EADDRINUSE` if it is joined already,
   * `EAFNOSUPPORT` if the socket can't receive the group's family, `EBADF` if the socket is closed
   */
  join(group: string, options: { readonly source?: string | undefined } = {}): void {
    const member = readGroup(group, options)
    this.#needOpen()
    const detail = `AllInterfaces.join ${group}`
    if (!isGroup(group)) throw new SystemError(errno.EINVAL, 'setsockopt', `${detail}: it is not a multicast group`)
    needFamily({ name: 'MCAST_JOIN_GROUP', socket: this.#socket, group })
    const clash = this.#groups.has(keyOf(member)) || this.#named(group).some(({ source }) => !source || !member.source)
    if (clash) throw new SystemError(errno.EADDRINUSE, 'setsockopt', `${detail}: it is already joined`)
    this.#groups.set(keyOf(member), member)
    for (const { link } of this.#active.values()) this.#joinOn(link, member)
  }

  /**
   * Leaves a group on every interface; with `source`, for this source alone.
   * @throws TypeError if an address or an option is invalid
   * @throws SystemError `EADDRNOTAVAIL` if it isn't joined, `EBADF` if the socket is closed
   */
  leave(group: string, options: { readonly source?: string | undefined } = {}): void {
    const member = readGroup(group, options)
    this.#needOpen()
    if (!this.#groups.delete(keyOf(member))) {
      throw new SystemError(errno.EADDRNOTAVAIL, 'setsockopt', `AllInterfaces.leave ${group}: it is not joined`)
    }
    for (const { link, joined } of this.#active.values()) {
      if (joined.has(keyOf(member))) this.#leaveOn(link, joined, member)
    }
  }

  /**
   * Sends one copy of a datagram out of every interface that counts, from an address of that interface. Returns the number of
   * copies that were sent or wait for an address. If sending fails on one interface, `error` is called.
   *
   *     everywhere.send(Buffer.from('hello'), '239.1.2.3:5007')
   *
   * @param address the group and the port, as an address or as text
   * @param sendOptions further options for the socket's `send`
   * @throws TypeError, RangeError if the data or the address is invalid, or the address has a scope
   * @throws SystemError `EBADF` if the socket is closed
   */
  send(data: Uint8Array, address: AddressLike | string, sendOptions?: Options): number {
    checkBytes(data, 'data')
    const target = addressOf(address)
    const family = familyToSend(target)
    if (sendOptions !== undefined) checkObject(sendOptions, 'sendOptions')
    this.#needOpen()
    let copies = 0
    for (const active of [...this.#active.values()]) {
      const { link } = active
      const copy = { data, address: target, options: { ...(sendOptions as Options), interface: link.ifindex } }
      if (!hasUsable(link, family)) {
        if (!(link.flags & IFF_LOWER_UP)) continue
        hold(active, copy, family)
      } else if (!this.#sendOn(link, copy)) continue
      copies++
    }
    return copies
  }

  /** Leaves all groups and no longer follows the interfaces. The socket stays open. Idempotent. */
  close(): void {
    if (this.#closed) return
    const joined = [...this.#active.values()]
    this.#end()
    if (this.#socket.fd < 0) return
    for (const active of joined) this.#leaveAll(active)
  }

  [Symbol.dispose](): void {
    this.close()
  }

  #end(): void {
    this.#closed = true
    for (const forget of this.#forget) forget()
    this.#watch.close()
    this.#active.clear()
    this.#groups.clear()
  }

  #needOpen(): void {
    if (this.#closed || this.#socket.fd < 0) throw new SystemError(errno.EBADF, 'setsockopt', 'AllInterfaces is closed')
  }

  async #follow(): Promise<void> {
    try {
      this.#refresh('silently')
      // The program gets the interfaces of the beginning after its constructor has returned.
      await null
      for (const { link } of [...this.#active.values()]) this.#call(() => this.#handlers.added?.(link))
      for await (const change of this.#watch) {
        // An interface with the same index may have followed already, of which the socket isn't a member.
        if (change.type === 'linkRemoved') this.#remove(change.link.ifindex)
        if (change.type === 'lost') for (const active of this.#active.values()) this.#joinAgain(active)
        this.#refresh()
      }
    } catch (error) {
      if (!this.#closed) this.#call(() => this.#handlers.error(error))
    }
  }

  /** Makes the active interfaces those that count in the present state of the watch. */
  #refresh(silently?: 'silently'): void {
    if (this.#closed) return
    const links = new Map(this.#counting().map((link) => [link.ifindex, link]))
    for (const ifindex of [...this.#active.keys()]) if (!links.has(ifindex)) this.#remove(ifindex)
    for (const [ifindex, link] of links) {
      if (this.#closed) return
      const active = this.#active.get(ifindex)
      if (active === undefined) this.#add(link, silently)
      else if (!isDeepStrictEqual(active.link, link)) this.#change(active, link)
    }
  }

  #counting(): NetworkInterface[] {
    const able = this.#watch.interfaces.filter(({ flags }) => flags & IFF_UP && flags & (IFF_MULTICAST | IFF_LOOPBACK))
    if (this.#filter !== undefined) return able.filter((link) => this.#passes(link))
    const others = able.filter(({ flags }) => !(flags & IFF_LOOPBACK))
    return others.length > 0 ? others : able
  }

  #passes(link: NetworkInterface): boolean {
    try {
      return this.#filter?.(link) === true
    } catch (error) {
      this.#call(() => this.#handlers.error(error, link))
      return false
    }
  }

  #add(link: NetworkInterface, silently?: 'silently'): void {
    this.#active.set(link.ifindex, { link, joined: new Set(), held: [] })
    for (const member of this.#groups.values()) this.#joinOn(link, member)
    if (silently === undefined) this.#call(() => this.#handlers.added?.(link))
  }

  #change(active: Active<Options>, link: NetworkInterface): void {
    const before = active.link
    active.link = link
    // With a smaller MTU the kernel removes IPv6 from the interface, and its memberships.
    if (before.mtu < IPV6_MIN_MTU && link.mtu >= IPV6_MIN_MTU) this.#joinAgain(active)
    for (const family of ['ipv4', 'ipv6'] as const) {
      if (hasUsable(link, family)) for (const copy of unhold(active, family)) this.#sendOn(link, copy)
    }
    this.#call(() => this.#handlers.changed?.(link, before))
  }

  #remove(ifindex: number): void {
    const active = this.#active.get(ifindex)
    if (active === undefined) return
    this.#active.delete(ifindex)
    this.#leaveAll(active)
    this.#call(() => this.#handlers.removed?.(active.link))
  }

  #joinOn(link: NetworkInterface, member: Group): void {
    const options = { interface: link.ifindex }
    try {
      if (member.source === undefined) joinGroup(this.#socket, member.group, options)
      else joinSourceGroup(this.#socket, member.group, member.source, options)
      this.#active.get(link.ifindex)?.joined.add(keyOf(member))
    } catch (error) {
      this.#report(error, link)
    }
  }

  /** The socket may believe that it is a member where the interface has lost its memberships. */
  #joinAgain(active: Active<Options>): void {
    this.#leaveAll(active)
    active.joined.clear()
    for (const member of this.#groups.values()) this.#joinOn(active.link, member)
  }

  #leaveOn(link: NetworkInterface, joined: Set<string>, member: Group): void {
    const options = { interface: link.ifindex }
    try {
      if (member.source === undefined) leaveGroup(this.#socket, member.group, options)
      else leaveSourceGroup(this.#socket, member.group, member.source, options)
      joined.delete(keyOf(member))
    } catch (error) {
      this.#report(error, link)
    }
  }

  /**
   * The kernel counts memberships on interfaces that are gone against the limit until they are left. They can't be left by
   * the source.
   */
  #leaveAll({ link, joined }: Active<Options>): void {
    for (const group of new Set(Array.from(joined, groupOf))) {
      try {
        leaveGroup(this.#socket, group, { interface: link.ifindex })
      } catch (error) {
        this.#report(error, link)
      }
    }
  }

  /** Returns whether the socket took the datagram. */
  #sendOn(link: NetworkInterface, { data, address, options }: Copy<Options>): boolean {
    try {
      const sent = this.#socket.send(data, address, options)
      if (sent instanceof Promise) sent.catch((error) => this.#report(error, link))
      return true
    } catch (error) {
      this.#report(error, link)
      return false
    }
  }

  #named(group: string): Group[] {
    return [...this.#groups.values()].filter((member) => member.group === group)
  }

  /** Reports an error, unless it only says that the interface is gone, of which the watch hasn't told yet. */
  #report(error: unknown, link: NetworkInterface): void {
    if (exists(link.ifindex)) this.#call(() => this.#handlers.error(error, link))
  }

  /** A handler that throws doesn't end the following, but the process, unless the program catches it there. */
  #call(handler: () => void): void {
    try {
      handler()
    } catch (error) {
      process.nextTick(() => {
        throw error
      })
    }
  }
}

/** The most datagrams that wait for an address of one interface. */
const HELD_MAX = 64

/** The least MTU of an interface with IPv6, in bytes: RFC 8200, section 5. */
const IPV6_MIN_MTU = 1280

/** How long they wait, in milliseconds. By default the kernel looks for duplicates of an address for up to two seconds. */
const HELD_FOR = 10_000

interface Active<Options> {
  link: NetworkInterface
  /** The keys of the groups that are joined on it. */
  readonly joined: Set<string>
  /** The datagrams that wait until an address of their family can be used. */
  held: Held<Options>[]
}

interface Copy<Options> {
  readonly data: Uint8Array
  readonly address: AddressLike
  readonly options: Options & { readonly interface: number }
}

interface Held<Options> extends Copy<Options> {
  readonly family: 'ipv4' | 'ipv6'
  readonly since: number
}

interface Group {
  readonly group: string
  readonly source?: string | undefined
}

function readGroup(group: string, options: { readonly source?: string | undefined }): Group {
  checkGroup(group)
  checkOptions(options, 'options', { source: true })
  const { source } = options
  if (source !== undefined) checkSource(source, group, 'source')
  return { group: canonical(group), source: source === undefined ? undefined : canonical(source) }
}

/** The one text of an address, so that `ff02:0::fb` and `ff02::fb` are the same group. */
function canonical(address: string): string {
  return address.includes(':') ? formatIpv6(parseIpv6(address)) : address
}

function keyOf({ group, source }: Group): string {
  return source === undefined ? group : `${group} ${source}`
}

function groupOf(key: string): string {
  return key.split(' ')[0] as string
}

/** The family of the datagrams to the address, which an IPv6 socket may have in its mapped form. */
function familyToSend(address: AddressLike): 'ipv4' | 'ipv6' {
  const decoded = address instanceof Uint8Array ? decodeAddress(address) : address
  encodeAddress(decoded)
  if (decoded.family !== 'ipv4' && decoded.family !== 'ipv6') throw new TypeError('address must be of IPv4 or IPv6')
  if (decoded.family === 'ipv4') return 'ipv4'
  if (decoded.scope) throw new TypeError('address must have no scope: the datagram leaves by every interface')
  return canonical(decoded.address).startsWith('::ffff:') ? 'ipv4' : 'ipv6'
}

function hasUsable({ addresses }: NetworkInterface, family: 'ipv4' | 'ipv6'): boolean {
  return addresses.some((own) => own.family === family && isUsable(own))
}

function isUsable({ flags }: AddressOnInterface): boolean {
  if (flags & IFA_F_DADFAILED) return false
  return !(flags & IFA_F_TENTATIVE) || (flags & IFA_F_OPTIMISTIC) !== 0
}

/**
 * Keeps a datagram until the interface has an address. The kernel creates a link-local address after it has told that the
 * interface is up, and doesn't tell of it while it is tentative, so the datagram waits even if no address is known.
 */
function hold<Options>(
  { held }: Active<Options>,
  { data, address, options }: Copy<Options>,
  family: 'ipv4' | 'ipv6',
): void {
  if (held.length === HELD_MAX) held.shift()
  held.push({
    data: Uint8Array.from(data),
    address: address instanceof Uint8Array ? Uint8Array.from(address) : address,
    options,
    family,
    since: performance.now(),
  })
}

/** Takes the datagrams of a family, and drops those that have waited too long. */
function unhold<Options>(active: Active<Options>, family: 'ipv4' | 'ipv6'): Held<Options>[] {
  const due = active.held.filter((copy) => copy.family === family)
  active.held = active.held.filter((copy) => copy.family !== family)
  return due.filter(({ since }) => performance.now() - since < HELD_FOR)
}

function exists(ifindex: number): boolean {
  try {
    interfaceNameOf(ifindex)
    return true
  } catch {
    return false
  }
}
