import { AF_NETLINK, readable, SOCK_RAW, Socket, SystemError } from '@linux-sockets/native-core'
import type { AddressOnInterface, NetworkInterface } from './interfaces.js'
import { type Link, readAddress, readInterfaces, readLink } from './link.js'
import {
  NETLINK_ROUTE,
  type NetlinkMessage,
  RTM_DELADDR,
  RTM_DELLINK,
  RTM_NEWADDR,
  RTM_NEWLINK,
  RTMGRP_IPV4_IFADDR,
  RTMGRP_IPV6_IFADDR,
  RTMGRP_LINK,
  receive,
} from './netlink.js'

/** What happened to an interface. */
export type InterfaceChange =
  /** It came; its addresses follow. */
  | { readonly type: 'linkAdded'; readonly link: NetworkInterface }
  /** It has another name, MTU or hardware address, or other flags: was switched on or off, got or lost its carrier. */
  | { readonly type: 'linkChanged'; readonly link: NetworkInterface; readonly before: NetworkInterface }
  /** It is gone, after its addresses. `link` is as it was. */
  | { readonly type: 'linkRemoved'; readonly link: NetworkInterface }
  /** It has one more address. An IPv6 address mostly comes with `IFA_F_TENTATIVE`, and changes when it can be used. */
  | { readonly type: 'addressAdded'; readonly link: NetworkInterface; readonly address: AddressOnInterface }
  /** The address has other flags, or another broadcast address or peer. */
  | {
      readonly type: 'addressChanged'
      readonly link: NetworkInterface
      readonly address: AddressOnInterface
      readonly before: AddressOnInterface
    }
  /** It has an address less. */
  | { readonly type: 'addressRemoved'; readonly link: NetworkInterface; readonly address: AddressOnInterface }
  /**
   * Changes came faster than they were read, and the kernel dropped some. The interfaces were read anew, and the changes
   * that follow lead from what was known to what is; what came and went in between is not among them.
   */
  | { readonly type: 'lost' }

/** How to watch. */
export interface WatchInterfacesOptions {
  /** Closes the watch at once; who waits for a change, or asks for one, gets the signal's reason. */
  readonly signal?: AbortSignal | undefined
}

/**
 * Watches the interfaces of this machine (of its network namespace) from now on, by rtnetlink. Nothing is polled.
 *
 *     for await (const change of watchInterfaces({ signal })) {
 *       if (change.type === 'addressAdded') console.log(change.link.name, change.address.address)
 *     }
 *
 * @throws SystemError as `interfaces` does
 */
export function watchInterfaces(options: WatchInterfacesOptions = {}): InterfaceWatch {
  return new InterfaceWatch(options)
}

/**
 * The changes of interfaces, from `watchInterfaces`, to be iterated over once. Leaving the loop closes the watch.
 *
 * Changes wait in the kernel until they are asked for, so that memory is bounded: what its buffer doesn't hold is lost and
 * made good (`lost`). The process is kept alive only while a change is waited for.
 */
export class InterfaceWatch implements AsyncIterable<InterfaceChange>, Disposable {
  readonly #socket: Socket
  readonly #signal: AbortSignal | undefined
  readonly #links: Map<number, NetworkInterface>
  readonly #abort = () => this.close()

  /** For `watchInterfaces`. */
  constructor({ signal }: WatchInterfacesOptions) {
    signal?.throwIfAborted()
    this.#signal = signal
    this.#socket = Socket.open(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE)
    try {
      // Before the interfaces are read, so that no change falls in between. One that is seen twice is no change.
      this.#socket.bind({ family: 'netlink', pid: 0, groups: RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR })
      this.#links = readInterfaces()
    } catch (error) {
      this.#socket.close()
      throw error
    }
    signal?.addEventListener('abort', this.#abort)
  }

  /**
   * The interfaces in the order of their indexes: at first as they were when the watch began, then as the changes have left
   * them. At least as new as the last change that was delivered.
   */
  get interfaces(): NetworkInterface[] {
    return [...this.#links.values()].sort((a, b) => a.index - b.index)
  }

  /** Ends the watch, and the loop over it. Idempotent. */
  close(): void {
    this.#signal?.removeEventListener('abort', this.#abort)
    this.#socket.close()
  }

  [Symbol.dispose](): void {
    this.close()
  }

  [Symbol.asyncIterator](): AsyncIterableIterator<InterfaceChange> {
    const changes = this.#changes()
    return {
      next: () => changes.next(),
      // A generator that waits is not reached by its own `return`.
      return: () => {
        this.close()
        return changes.return(undefined)
      },
      [Symbol.asyncIterator]() {
        return this
      },
    }
  }

  async *#changes(): AsyncGenerator<InterfaceChange, undefined> {
    try {
      while (this.#isOpen()) {
        const changes = this.#read()
        if (changes === undefined) await this.#readable()
        for (const change of changes ?? []) {
          yield change
          if (!this.#isOpen()) return
        }
      }
    } finally {
      this.close()
    }
  }

  #isOpen(): boolean {
    this.#signal?.throwIfAborted()
    return this.#socket.fd >= 0
  }

  async #readable(): Promise<void> {
    try {
      await readable(this.#socket)
    } catch (error) {
      if (this.#isOpen()) throw error
    }
  }

  /** The changes of one message from the kernel, or what to make of its having dropped some; undefined when there is none. */
  #read(): InterfaceChange[] | undefined {
    try {
      return receive(this.#socket)?.flatMap((message) => this.#apply(message))
    } catch (error) {
      if (!isOverrun(error)) throw error
      return [{ type: 'lost' }, ...this.#readAnew()]
    }
  }

  #apply(message: NetlinkMessage): InterfaceChange[] {
    switch (message.type) {
      case RTM_NEWLINK: {
        const link = readLink(message)
        return link ? this.#set(link.index, { ...link, addresses: this.#links.get(link.index)?.addresses ?? [] }) : []
      }
      case RTM_DELLINK: {
        const link = readLink(message)
        return link ? this.#set(link.index, undefined) : []
      }
      case RTM_NEWADDR:
      case RTM_DELADDR: {
        const { index, address } = readAddress(message) ?? {}
        const link = index === undefined ? undefined : this.#links.get(index)
        if (link === undefined || address === undefined) return []
        const addresses = message.type === RTM_NEWADDR ? withAddress(link, address) : withoutAddress(link, address)
        return this.#set(link.index, { ...link, addresses })
      }
      default:
        return []
    }
  }

  #set(index: number, link: NetworkInterface | undefined): InterfaceChange[] {
    const before = this.#links.get(index)
    if (link === undefined) this.#links.delete(index)
    else this.#links.set(index, link)
    return compare(before, link)
  }

  #readAnew(): InterfaceChange[] {
    // What still waits is older than what was dropped, and the kernel tells of drops once until it has all been taken.
    while (!isDrained(this.#socket));
    const now = readInterfaces()
    const gone = [...this.#links.keys()].filter((index) => !now.has(index))
    return [
      ...gone.flatMap((index) => this.#set(index, undefined)),
      ...[...now].flatMap(([index, link]) => this.#set(index, link)),
    ]
  }
}

function isDrained(socket: Socket): boolean {
  try {
    return receive(socket) === undefined
  } catch (error) {
    if (isOverrun(error)) return false
    throw error
  }
}

function isOverrun(error: unknown): boolean {
  return error instanceof SystemError && error.code === 'ENOBUFS'
}

/** What leads from one state of an interface to another. */
function compare(before: NetworkInterface | undefined, after: NetworkInterface | undefined): InterfaceChange[] {
  const link = after ?? before
  if (link === undefined) return []
  const changes: InterfaceChange[] = []
  for (const address of before?.addresses ?? []) {
    if (!find(after, address)) changes.push({ type: 'addressRemoved', link, address })
  }
  if (after === undefined) changes.push({ type: 'linkRemoved', link })
  else if (before === undefined) changes.push({ type: 'linkAdded', link })
  else if (!isSameLink(before, after)) changes.push({ type: 'linkChanged', link, before })
  for (const address of after?.addresses ?? []) {
    const known = find(before, address)
    if (known === undefined) changes.push({ type: 'addressAdded', link, address })
    else if (!isSameAddress(known, address)) changes.push({ type: 'addressChanged', link, address, before: known })
  }
  return changes
}

function withAddress(link: NetworkInterface, address: AddressOnInterface): AddressOnInterface[] {
  const known = find(link, address)
  if (known === undefined) return [...link.addresses, address]
  return link.addresses.map((other) => (other === known ? address : other))
}

function withoutAddress(link: NetworkInterface, address: AddressOnInterface): AddressOnInterface[] {
  const known = find(link, address)
  return link.addresses.filter((other) => other !== known)
}

function find(link: NetworkInterface | undefined, address: AddressOnInterface): AddressOnInterface | undefined {
  return link?.addresses.find((other) => identity(other) === identity(address))
}

/** An IPv6 address is once on an interface; an IPv4 address may be there for several networks and peers. */
function identity({ family, address, prefixLength, peer }: AddressOnInterface): string {
  return family === 'ipv6' ? address : `${address}/${prefixLength} ${peer}`
}

function isSameLink(a: Link, b: Link): boolean {
  return a.name === b.name && a.flags === b.flags && a.mtu === b.mtu && a.mac === b.mac
}

function isSameAddress(a: AddressOnInterface, b: AddressOnInterface): boolean {
  return a.flags === b.flags && a.prefixLength === b.prefixLength && a.broadcast === b.broadcast && a.peer === b.peer
}
