import type { InetAddress, SocketAddress } from '../address.js'
import { interfaceNameOf } from '../interfaces/name.js'
import { orUndefined } from '../quietly.js'

/** An address in the words of `node:net`. */
export interface NetAddress {
  /** `'127.0.0.1'`; a link-local address has its zone, `'fe80::1%eth0'`. */
  readonly address: string
  /** The family, as Node spells it. */
  readonly family: 'IPv4' | 'IPv6'
  /** 0 … 65535. */
  readonly port: number
}

/** The two addresses of a connection as text, as `net.Socket` has them. */
export interface NetNames {
  /** The local address as text, like `net.Socket`'s: `'127.0.0.1'`. Undefined for families other than IPv4 and IPv6. */
  readonly localAddress: string | undefined
  /** The local port. Undefined for families other than IPv4 and IPv6. */
  readonly localPort: number | undefined
  /** `'IPv4'`, `'IPv6'`, or undefined for other families. */
  readonly localFamily: 'IPv4' | 'IPv6' | undefined
  /** The peer's address as text, like `net.Socket`'s: `'127.0.0.1'`. Undefined for families other than IPv4 and IPv6. */
  readonly remoteAddress: string | undefined
  /** The peer's port. Undefined for families other than IPv4 and IPv6. */
  readonly remotePort: number | undefined
  /** `'IPv4'`, `'IPv6'`, or undefined for other families. */
  readonly remoteFamily: 'IPv4' | 'IPv6' | undefined
}

/**
 * Returns a subclass of `base` with the members of `NetNames`. They are read from `localName` and `peerName`, which the
 * class that extends it must have. For the packages of `@linux-sockets`.
 */
export function withNetNames<Base extends Constructor>(base: Base): WithNetNames<Base> {
  abstract class Names extends (base as abstract new () => object) implements NetNames {
    declare abstract readonly localName: SocketAddress | undefined
    declare abstract readonly peerName: SocketAddress | undefined
    get localAddress() {
      return netAddress(this.localName)?.address
    }
    get localPort() {
      return netAddress(this.localName)?.port
    }
    get localFamily() {
      return netAddress(this.localName)?.family
    }
    get remoteAddress() {
      return netAddress(this.peerName)?.address
    }
    get remotePort() {
      return netAddress(this.peerName)?.port
    }
    get remoteFamily() {
      return netAddress(this.peerName)?.family
    }
  }
  return Names as unknown as WithNetNames<Base>
}

type Constructor = abstract new (...args: never[]) => object

/** `Base` with the members of `NetNames`. */
export type WithNetNames<Base extends Constructor> = Pick<Base, keyof Base> &
  (new (
    ...args: ConstructorParameters<Base>
  ) => InstanceType<Base> & NetNames)

/**
 * The address in the words of `node:net`; undefined for families other than IPv4 and IPv6. For the packages of
 * `@linux-sockets`.
 */
export function netAddress(name: InetAddress): NetAddress
export function netAddress(name: SocketAddress | undefined): NetAddress | undefined
export function netAddress(name: SocketAddress | undefined): NetAddress | undefined {
  if (name?.family === 'ipv4') return { address: name.address, family: 'IPv4', port: name.port }
  if (name?.family !== 'ipv6') return undefined
  const { address, port, scope = 0 } = name
  const zone = scope === 0 ? undefined : orUndefined(() => interfaceNameOf(scope))
  return { address: zone === undefined ? address : `${address}%${zone}`, family: 'IPv6', port }
}
