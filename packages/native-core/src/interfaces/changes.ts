import { onAbort } from '../abort.js'
import { checkOptions, checkSignal } from '../argument.js'
import { AF_NETLINK, NETLINK_ROUTE, SOCK_RAW } from '../constants.js'
import { SystemError } from '../error.js'
import { closeQuietly } from '../fd.js'
import { Socket } from '../socket.js'
import { readable } from '../watch.js'
import { readInterfaces } from './interfaces.js'
import {
  type AddressOnInterface,
  type Link,
  type NetworkInterface,
  RTM_DELADDR,
  RTM_DELLINK,
  RTM_NEWADDR,
  RTM_NEWLINK,
  readAddress,
  readLink,
} from './link.js'
import { type NetlinkMessage, receive } from './netlink.js'

/** A change of an interface or of its addresses. */
export type InterfaceChange =
  /** The interface was added; its addresses follow. */
  | { readonly type: 'linkAdded'; readonly link: NetworkInterface }
  /** Its name, MTU, hardware address or flags have changed; flags, when it goes up or down, or gets or loses its carrier. */
  | { readonly type: 'linkChanged'; readonly link: NetworkInterface; readonly before: NetworkInterface }
  /** The interface was removed, after its addresses. `link` is its last state. */
  | { readonly type: 'linkRemoved'; readonly link: NetworkInterface }
  /** An address was added. An IPv6 address mostly has `IFA_F_TENTATIVE` at first, and changes when it can be used. */
  | { readonly type: 'addressAdded'; readonly link: NetworkInterface; readonly address: AddressOnInterface }
  /** The flags, the broadcast address, the peer or the prefix length of an address have changed. */
  | {
      readonly type: 'addressChanged'
      readonly link: NetworkInterface
      readonly address: AddressOnInterface
      readonly before: AddressOnInterface
    }
  /** An address was removed. */
  | { readonly type: 'addressRemoved'; readonly link: NetworkInterface; readonly address: AddressOnInterface }
  /**
   * Changes came faster than they were read, and the kernel dropped some; or a message was malformed. The interfaces were
   * read again. The changes that follow lead from the state that was known to the present one; what came and went in between
   * is not among them.
   */
  | { readonly type: 'lost' }

/** The options of `watchInterfaces`. */
export interface WatchInterfacesOptions {
  /** Closes the watch at once. A loop that waits for a change, or asks for the next one, throws the signal's reason. */
  readonly signal?: AbortSignal | undefined
}

/**
 * Watches the interfaces of this machine (of its network namespace) from now on, through rtnetlink and without polling.
 *
 *     for await (const change of watchInterfaces({ signal })) {
 *       if (change.type === 'addressAdded') console.log(change.link.name, change.address.address)
 *     }
 *
 * @throws SystemError as `interfaces` does
 * @throws TypeError if an option is invalid
 */
export function watchInterfaces(options: WatchInterfacesOptions = {}): InterfaceWatch {
  return new InterfaceWatch(options)
}

/**
 * An async iterable of the changes of interfaces, from `watchInterfaces`. It is iterated over once. Leaving the loop closes
 * the watch.
 *
 * Changes wait in the kernel until the loop asks for them, so memory is bounded. Changes for which the kernel's buffer has no
 * room are lost, and `lost` reports and repairs this. The process is kept alive only while the loop waits for a change.
 */
export class InterfaceWatch implements AsyncIterable<InterfaceChange>, Disposable {
  readonly #socket: Socket
  readonly #signal: AbortSignal | undefined
  readonly #ignoreSignal: (() => void) | undefined
  readonly #links: Map<number, NetworkInterface>

  /** Use `watchInterfaces`. */
  constructor(options: WatchInterfacesOptions) {
    checkOptions(options, 'options', { signal: true })
    const { signal } = options
    checkSignal(signal)
    signal?.throwIfAborted()
    this.#socket = Socket.open(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE)
    try {
      // Bound before the interfaces are read, so that no change is missed. A change that is then seen twice is not reported.
      this.#socket.bind({ family: 'netlink', pid: 0, groups: RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR })
      this.#links = readInterfaces()
    } catch (error) {
      closeQuietly(this.#socket)
      throw error
    }
    this.#signal = signal
    this.#ignoreSignal = signal && onAbort(signal, () => this.close())
  }

  /**
   * The interfaces in the order of their indexes. At first they are as they were when the watch began, and then they follow
   * the changes. They are at least as new as the last change that was delivered.
   */
  get interfaces(): NetworkInterface[] {
    return [...this.#links.values()].sort((a, b) => a.ifindex - b.ifindex)
  }

  /** Ends the watch, and the loop over it. Idempotent. */
  close(): void {
    this.#ignoreSignal?.()
    closeQuietly(this.#socket)
  }

  [Symbol.dispose](): void {
    this.close()
  }

  [Symbol.asyncIterator](): AsyncIterableIterator<InterfaceChange> {
    const changes = this.#changes()
    return {
      next: () => changes.next(),
      // A call of a generator's own `return` has no effect while the generator waits.
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

  /** Returns the changes that the kernel reports next, or `lost` and what follows it; undefined if there are none. */
  #read(): InterfaceChange[] | undefined {
    try {
      const messages = receive(this.#socket)
      return messages && Array.from(messages).flatMap((message) => this.#apply(message))
    } catch (error) {
      if (!isOverrun(error) && !isMalformed(error)) throw error
      return [{ type: 'lost' }, ...this.#readAgain()]
    }
  }

  #apply(message: NetlinkMessage): InterfaceChange[] {
    switch (message.type) {
      case RTM_NEWLINK: {
        const link = readLink(message)
        return link
          ? this.#set(link.ifindex, { ...link, addresses: this.#links.get(link.ifindex)?.addresses ?? [] })
          : []
      }
      case RTM_DELLINK: {
        const link = readLink(message)
        return link ? this.#set(link.ifindex, undefined) : []
      }
      case RTM_NEWADDR:
      case RTM_DELADDR: {
        const { ifindex, address } = readAddress(message) ?? {}
        const link = ifindex === undefined ? undefined : this.#links.get(ifindex)
        if (link === undefined || address === undefined) return []
        const addresses = message.type === RTM_NEWADDR ? withAddress(link, address) : withoutAddress(link, address)
        return this.#set(link.ifindex, { ...link, addresses })
      }
      default:
        return []
    }
  }

  #set(ifindex: number, link: NetworkInterface | undefined): InterfaceChange[] {
    const before = this.#links.get(ifindex)
    if (link === undefined) this.#links.delete(ifindex)
    else this.#links.set(ifindex, link)
    return compare(before, link)
  }

  #readAgain(): InterfaceChange[] {
    // Messages that still wait are older than those dropped. The kernel reports drops only once until all are received.
    drain(this.#socket)
    const now = readInterfaces()
    const gone = [...this.#links.keys()].filter((ifindex) => !now.has(ifindex))
    return [
      ...gone.flatMap((ifindex) => this.#set(ifindex, undefined)),
      ...[...now].flatMap(([ifindex, link]) => this.#set(ifindex, link)),
    ]
  }
}

function drain(socket: Socket): void {
  for (let overruns = 0; ; ) {
    try {
      if (receive(socket) === undefined) return
      overruns = 0
    } catch (error) {
      if (!isOverrun(error) || ++overruns === OVERRUNS_MAX) throw error
    }
  }
}

const RTMGRP_LINK = 0x1
const RTMGRP_IPV4_IFADDR = 0x10
const RTMGRP_IPV6_IFADDR = 0x100

/** The most overruns without a message between them. The kernel reports one, and then returns what is left. */
const OVERRUNS_MAX = 16

function isOverrun(error: unknown): boolean {
  return error instanceof SystemError && error.code === 'ENOBUFS'
}

function isMalformed(error: unknown): boolean {
  return error instanceof SystemError && error.code === 'EBADMSG'
}

/** Returns the changes that lead from one state of an interface to another. */
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

/** An interface has an IPv6 address only once, but may have an IPv4 address several times, for other networks and peers. */
function identity({ family, address, prefixLength, peer }: AddressOnInterface): string {
  return family === 'ipv6' ? address : `${address}/${prefixLength} ${peer}`
}

function isSameLink(a: Link, b: Link): boolean {
  return a.name === b.name && a.flags === b.flags && a.mtu === b.mtu && a.mac === b.mac
}

function isSameAddress(a: AddressOnInterface, b: AddressOnInterface): boolean {
  return a.flags === b.flags && a.prefixLength === b.prefixLength && a.broadcast === b.broadcast && a.peer === b.peer
}
