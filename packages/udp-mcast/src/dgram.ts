import { EventEmitter } from 'node:events'
import {
  errno,
  getOption,
  type InetAddress,
  parseIpv4,
  parseIpv6,
  SystemError,
  setOption,
} from '@linux-sockets/native-core'
import {
  checkBoolean,
  checkFunction,
  checkInteger,
  checkOptions,
  checkSignal,
  checkString,
  describe,
  type NamesOf,
  netAddress,
  onAbort,
} from '@linux-sockets/native-core/internal'
import {
  IP_MULTICAST_IF,
  IP_MULTICAST_LOOP,
  IP_MULTICAST_TTL,
  IP_TTL,
  IPV6_MULTICAST_HOPS,
  IPV6_MULTICAST_IF,
  IPV6_MULTICAST_LOOP,
  IPV6_UNICAST_HOPS,
  SO_BROADCAST,
  SO_RCVBUF,
  SO_REUSEADDR,
  SO_SNDBUF,
} from '@linux-sockets/native-core/options'
import type { NetAddress } from '@linux-sockets/native-core/streams'
import { indexOf, joinGroup, joinSourceGroup, leaveGroup, leaveSourceGroup } from './membership.js'
import type { UdpDatagram } from './received.js'
import { UdpSocket } from './udp.js'

/** The options of `createDgram`: those of `dgram.createSocket`. */
export interface DgramOptions {
  /** The family. */
  readonly type: 'udp4' | 'udp6'
  /** `SO_REUSEADDR`. Default false. */
  readonly reuseAddr?: boolean | undefined
  /** `SO_REUSEPORT`. Default false. */
  readonly reusePort?: boolean | undefined
  /** `IPV6_V6ONLY`. Default false, as in Node: a `udp6` socket also receives IPv4. */
  readonly ipv6Only?: boolean | undefined
  /** `SO_RCVBUF` in **bytes**. */
  readonly recvBufferSize?: number | undefined
  /** `SO_SNDBUF` in **bytes**. */
  readonly sendBufferSize?: number | undefined
  /** Closes the socket. */
  readonly signal?: AbortSignal | undefined
}

const OPTIONS: NamesOf<DgramOptions> = {
  type: true,
  reuseAddr: true,
  reusePort: true,
  ipv6Only: true,
  recvBufferSize: true,
  sendBufferSize: true,
  signal: true,
}

/** Where `bind` of a `Dgram` binds. */
export interface DgramBindOptions {
  /** Default 0: a free port. */
  readonly port?: number | undefined
  /** Default: any address. */
  readonly address?: string | undefined
  /** Without effect: nothing is shared in a cluster. */
  readonly exclusive?: boolean | undefined
}

const BIND_OPTIONS: NamesOf<DgramBindOptions> = { port: true, address: true, exclusive: true }

/** What a `'message'` listener gets beside the data: Node's fields, and where the datagram arrived. */
export interface DgramInfo extends NetAddress {
  /** The length of the data in **bytes**. */
  readonly size: number
  /** The index of the interface on which it arrived. */
  readonly ifindex: number | undefined
  /** The address to which it was sent. */
  readonly destination: string | undefined
}

/** What `send` of a `Dgram` takes: text, bytes, or a list of them that makes one datagram. */
export type DgramData = string | NodeJS.ArrayBufferView | readonly (string | NodeJS.ArrayBufferView)[]

/** Called when a datagram was sent, or could not be. */
export type DgramCallback = (error: Error | null, bytes: number) => void

/** The events of a `Dgram`, with what their listeners get. */
export interface DgramEvents {
  /** The socket is bound. */
  listening: []
  /** A datagram has arrived. */
  message: [data: Buffer, info: DgramInfo]
  /** The socket has its peer. */
  connect: []
  /** `bind`, `connect` or a receive has failed. The socket stays as it was. */
  error: [error: Error]
  /** The socket is closed. */
  close: []
}

/**
 * Makes a socket in the shape of `dgram.Socket`, for packages that take one: it has the events `'listening'`, `'message'`,
 * `'connect'`, `'error'` and `'close'`. Behind it is a `UdpSocket`, from `bind` on its `udp`.
 *
 *     const server = createDgram('udp4', (data, info) => server.send(data, info.port, info.address))
 *     server.bind(0, '127.0.0.1')
 *
 * It differs from Node's in that it resolves no names but `'localhost'`, has no `cluster` mode, and its `'message'` also tells
 * `ifindex` and `destination`.
 * @throws TypeError, RangeError for invalid options
 */
export function createDgram(
  options: DgramOptions | 'udp4' | 'udp6',
  listener?: (data: Buffer, info: DgramInfo) => void,
): Dgram {
  const dgram = new Dgram(typeof options === 'string' ? { type: options } : options)
  if (listener !== undefined) {
    checkFunction(listener, 'listener')
    dgram.on('message', listener)
  }
  return dgram
}

/** A socket in the shape of `dgram.Socket`; `createDgram` makes it. The methods are Node's. */
export class Dgram extends EventEmitter<DgramEvents> {
  readonly #options: DgramOptions
  readonly #isIpv6: boolean
  readonly #ignoreSignal: (() => void) | undefined
  #udp: UdpSocket | undefined
  #state: 'unbound' | 'bound' | 'closed' = 'unbound'
  #referenced = true

  /** Use `createDgram`. */
  constructor(options: DgramOptions) {
    super()
    checkOptions(options, 'options', OPTIONS)
    const { type, reuseAddr, reusePort, ipv6Only, recvBufferSize, sendBufferSize, signal } = options
    if (type !== 'udp4' && type !== 'udp6') {
      throw new TypeError(
        `type must be 'udp4' or 'udp6', not ${typeof type === 'string' ? `'${type}'` : describe(type)}`,
      )
    }
    for (const [name, value] of Object.entries({ reuseAddr, reusePort, ipv6Only })) {
      if (value !== undefined) checkBoolean(value, name)
    }
    for (const [name, value] of Object.entries({ recvBufferSize, sendBufferSize })) {
      if (value !== undefined) checkInteger(value, 1, 0x7fff_ffff, name)
    }
    checkSignal(signal)
    this.#options = options
    this.#isIpv6 = type === 'udp6'
    this.#ignoreSignal = signal && onAbort(signal, () => this.#close())
    if (signal?.aborted) process.nextTick(() => this.#close())
  }

  /** The socket behind this one, once it is bound. */
  get udp(): UdpSocket | undefined {
    return this.#udp
  }

  /** Binds to a port and an address, and then emits `'listening'`; by default, to a free port and any address. */
  bind(port?: number, address?: string, callback?: () => void): this
  bind(port?: number, callback?: () => void): this
  bind(callback?: () => void): this
  bind(options: DgramBindOptions, callback?: () => void): this
  bind(...args: readonly unknown[]): this {
    if (this.#state !== 'unbound') throw this.#misuse('bind', this.#state === 'bound' ? 'already bound' : 'closed')
    const listener = args.find((value) => typeof value === 'function')
    const [first, second] = args.filter((value) => typeof value !== 'function')
    const options = typeof first === 'object' && first !== null ? first : { port: first, address: second }
    checkOptions(options, 'options', BIND_OPTIONS)
    const { port, address = '' } = options as DgramBindOptions
    const local = this.#local(port ?? 0, address)
    if (listener !== undefined) this.once('listening', listener as () => void)
    try {
      this.#open(local)
    } catch (error) {
      process.nextTick(() => this.emit('error', error as Error))
    }
    return this
  }

  /** Sets the only peer, and then emits `'connect'`. The peer's address is by default `'localhost'`. */
  connect(port: number, address?: string, callback?: () => void): void
  connect(port: number, callback: () => void): void
  connect(port: number, address?: string | (() => void), callback?: () => void): void {
    checkInteger(port, 1, 0xffff, 'port')
    const listener = typeof address === 'function' ? address : callback
    const peer = this.#addressOf(port, (typeof address === 'function' ? undefined : address) || 'localhost')
    this.#checkOpen('connect')
    if (listener !== undefined) this.once('connect', listener)
    process.nextTick(() => {
      if (this.#state === 'closed') return
      try {
        this.#bound().connect(peer)
        this.emit('connect')
      } catch (error) {
        if (listener !== undefined) this.off('connect', listener)
        this.emit('error', error as Error)
      }
    })
  }

  /** Has no peer any longer. */
  disconnect(): void {
    this.#need('disconnect').disconnect()
  }

  /**
   * Sends data: `send(data, [offset, length,] [port], [address], [callback])`. Binds the socket first if it isn't bound. Without
   * a callback an error is dropped, as in Node.
   */
  send(data: DgramData, callback?: DgramCallback): void
  send(data: DgramData, port?: number, callback?: DgramCallback): void
  send(data: DgramData, port?: number, address?: string, callback?: DgramCallback): void
  send(data: DgramData, offset: number, length: number, callback?: DgramCallback): void
  send(data: DgramData, offset: number, length: number, port?: number, callback?: DgramCallback): void
  send(data: DgramData, offset: number, length: number, port?: number, address?: string, callback?: DgramCallback): void
  send(data: DgramData, ...args: readonly unknown[]): void {
    const callback = typeof args.at(-1) === 'function' ? (args.at(-1) as DgramCallback) : undefined
    const rest = (callback === undefined ? args : args.slice(0, -1)).filter((value) => value != null)
    // Two numbers or more are offset and length, except for a list, which has neither.
    const isPart = typeof rest[0] === 'number' && typeof rest[1] === 'number' && !Array.isArray(data)
    const [offset, length] = isPart ? (rest.slice(0, 2) as [number, number]) : [0, undefined]
    const [port, host] = (isPart ? rest.slice(2) : rest) as [number | undefined, string | undefined]
    const whole = Array.isArray(data) ? Buffer.concat(data.map(bytesOf)) : bytesOf(data)
    checkInteger(offset, 0, whole.length, 'offset')
    if (length !== undefined) checkInteger(length, 0, whole.length - offset, 'length')
    const bytes = whole.subarray(offset, length === undefined ? undefined : offset + length)
    let address: InetAddress | undefined
    if (port !== undefined) {
      checkInteger(port, 1, 0xffff, 'port')
      address = this.#addressOf(port, host || 'localhost')
    }
    this.#checkOpen('send')
    const done = (error: Error | null) => callback?.(error, error === null ? bytes.length : 0)
    try {
      this.#bound()
        .sendAsync(bytes, address)
        .then(() => done(null), done)
    } catch (error) {
      process.nextTick(() => (callback === undefined ? this.emit('error', error as Error) : done(error as Error)))
    }
  }

  /** The local address. @throws SystemError `EBADF` if the socket isn't bound */
  address(): NetAddress {
    return netAddress(this.#need('getsockname').localName)
  }

  /** The peer. @throws SystemError `ENOTCONN` */
  remoteAddress(): NetAddress {
    return netAddress(this.#need('getpeername').peerName)
  }

  /** Closes the socket at once, and then emits `'close'`. */
  close(callback?: () => void): this {
    if (this.#state === 'closed') throw this.#misuse('close', 'closed')
    if (callback !== undefined) {
      checkFunction(callback, 'callback')
      this.once('close', callback)
    }
    this.#close()
    return this
  }

  /** Joins a group, on the interface with this address, or by a scope: `'::%eth1'`. */
  addMembership(group: string, multicastInterface?: string): void {
    joinGroup(this.#need('addMembership'), group, this.#where(multicastInterface))
  }

  /** Leaves a group. */
  dropMembership(group: string, multicastInterface?: string): void {
    leaveGroup(this.#need('dropMembership'), group, this.#where(multicastInterface))
  }

  /** Joins a group for one source. */
  addSourceSpecificMembership(source: string, group: string, multicastInterface?: string): void {
    joinSourceGroup(this.#need('addSourceSpecificMembership'), group, source, this.#where(multicastInterface))
  }

  /** Leaves a group for one source. */
  dropSourceSpecificMembership(source: string, group: string, multicastInterface?: string): void {
    leaveSourceGroup(this.#need('dropSourceSpecificMembership'), group, source, this.#where(multicastInterface))
  }

  /** The interface by which multicast leaves: one of its addresses, or a scope: `'::%eth1'`. */
  setMulticastInterface(multicastInterface: string): void {
    checkString(multicastInterface, 'multicastInterface')
    const udp = this.#need('setMulticastInterface')
    const { interface: chosen = 0 } = this.#where(multicastInterface)
    if (this.#isIpv6) setOption(udp, IPV6_MULTICAST_IF, indexOf(chosen, 0))
    else setOption(udp, IP_MULTICAST_IF, multicastInterface)
  }

  /** The hops of multicast. Returns them. */
  setMulticastTTL(ttl: number): number {
    checkInteger(ttl, 0, 255, 'ttl')
    setOption(this.#need('setMulticastTTL'), this.#isIpv6 ? IPV6_MULTICAST_HOPS : IP_MULTICAST_TTL, ttl)
    return ttl
  }

  /** Whether multicast that this machine sends also reaches its own sockets. Returns the flag. */
  setMulticastLoopback(flag: boolean): boolean {
    setOption(this.#need('setMulticastLoopback'), this.#isIpv6 ? IPV6_MULTICAST_LOOP : IP_MULTICAST_LOOP, Boolean(flag))
    return flag
  }

  /** The hops of unicast, 1 … 255. Returns them. */
  setTTL(ttl: number): number {
    checkInteger(ttl, 1, 255, 'ttl')
    setOption(this.#need('setTTL'), this.#isIpv6 ? IPV6_UNICAST_HOPS : IP_TTL, ttl)
    return ttl
  }

  /** Whether the socket may send to broadcast addresses. */
  setBroadcast(flag: boolean): void {
    setOption(this.#need('setBroadcast'), SO_BROADCAST, Boolean(flag))
  }

  /** `SO_RCVBUF` in **bytes**, doubled by the kernel. */
  getRecvBufferSize(): number {
    return getOption(this.#need('getRecvBufferSize'), SO_RCVBUF)
  }

  /** `SO_SNDBUF` in **bytes**, doubled by the kernel. */
  getSendBufferSize(): number {
    return getOption(this.#need('getSendBufferSize'), SO_SNDBUF)
  }

  /** Sets `SO_RCVBUF` in **bytes**. */
  setRecvBufferSize(size: number): void {
    checkInteger(size, 1, 0x7fff_ffff, 'size')
    setOption(this.#need('setRecvBufferSize'), SO_RCVBUF, size)
  }

  /** Sets `SO_SNDBUF` in **bytes**. */
  setSendBufferSize(size: number): void {
    checkInteger(size, 1, 0x7fff_ffff, 'size')
    setOption(this.#need('setSendBufferSize'), SO_SNDBUF, size)
  }

  /** The **bytes** that wait to be sent. */
  getSendQueueSize(): number {
    return this.#need('getSendQueueSize').queuedBytes
  }

  /** The datagrams that wait to be sent. */
  getSendQueueCount(): number {
    return this.#need('getSendQueueCount').queuedDatagrams
  }

  /** Keeps the process alive while the socket is open. This is the default. */
  ref(): this {
    this.#referenced = true
    this.#udp?.ref()
    return this
  }

  /** Lets the process end although the socket is open. */
  unref(): this {
    this.#referenced = false
    this.#udp?.unref()
    return this
  }

  /** Closes the socket if it is open. */
  [Symbol.dispose](): void {
    this.#close()
  }

  /** Closes, and resolves after `'close'`. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#state === 'closed') return
    await new Promise<void>((resolve) => this.close(resolve))
  }

  #open(address: InetAddress): UdpSocket {
    const { reuseAddr = false, reusePort = false, ipv6Only = false, recvBufferSize, sendBufferSize } = this.#options
    const udp = UdpSocket.open(
      {
        address,
        reusePort,
        v6only: ipv6Only,
        receive: { arrival: true, size: 65_535, count: 8 },
        prepare: (socket) => {
          if (reuseAddr) setOption(socket, SO_REUSEADDR, true)
          if (recvBufferSize !== undefined) setOption(socket, SO_RCVBUF, recvBufferSize)
          if (sendBufferSize !== undefined) setOption(socket, SO_SNDBUF, sendBufferSize)
        },
      },
      {
        datagram: (datagram) => void this.emit('message', Buffer.from(datagram.data), infoOf(datagram)),
        // What the kernel refuses is told to the callback of `send`.
        error: (error, failed) => {
          if (failed === undefined) this.emit('error', error)
        },
      },
    )
    this.#udp = udp
    this.#state = 'bound'
    if (!this.#referenced) udp.unref()
    process.nextTick(() => {
      if (this.#state === 'bound') this.emit('listening')
    })
    return udp
  }

  /** The socket, which is bound to any address if it wasn't bound. */
  #bound(): UdpSocket {
    return this.#udp ?? this.#open(this.#local(0, ''))
  }

  #checkOpen(call: string): void {
    if (this.#state === 'closed') throw this.#misuse(call, 'closed')
  }

  #need(call: string): UdpSocket {
    this.#checkOpen(call)
    if (this.#udp === undefined) throw this.#misuse(call, 'not bound')
    return this.#udp
  }

  #misuse(call: string, reason: string): SystemError {
    return new SystemError(errno.EBADF, call, `the socket is ${reason}`)
  }

  #close(): void {
    if (this.#state === 'closed') return
    this.#state = 'closed'
    this.#ignoreSignal?.()
    this.#udp?.close()
    process.nextTick(() => this.emit('close'))
  }

  #local(port: number, host: string): InetAddress {
    checkInteger(port, 0, 0xffff, 'port')
    return this.#addressOf(port, host === '' ? (this.#isIpv6 ? '::' : '0.0.0.0') : host)
  }

  #addressOf(port: number, host: string): InetAddress {
    checkString(host, 'address')
    if (host === 'localhost') return this.#addressOf(port, this.#isIpv6 ? '::1' : '127.0.0.1')
    if (!this.#isIpv6) {
      parseIpv4(host, 'address')
      return { family: 'ipv4', address: host, port }
    }
    if (!host.includes(':')) {
      parseIpv4(host, 'address')
      return { family: 'ipv6', address: `::ffff:${host}`, port }
    }
    const [address, zone] = splitZone(host, 'address')
    return { family: 'ipv6', address, port, ...(zone !== undefined && { scope: indexOf(zone, 0) }) }
  }

  #where(chosen: string | undefined): { readonly interface?: number | string } {
    if (chosen === undefined) return {}
    checkString(chosen, 'multicastInterface')
    if (!this.#isIpv6) {
      parseIpv4(chosen, 'multicastInterface')
      return chosen === '0.0.0.0' ? {} : { interface: chosen }
    }
    const [address, zone] = splitZone(chosen, 'multicastInterface')
    if (zone !== undefined) return { interface: zone }
    return address === '::' ? {} : { interface: address }
  }
}

/** Splits an IPv6 address from its zone: the name or the index of an interface. */
function splitZone(text: string, what: string): [address: string, zone: number | string | undefined] {
  const [address = '', zone] = text.split('%', 2)
  parseIpv6(address, what)
  if (zone === '') throw new TypeError(`${what} must have a name or an index after %, not '${text}'`)
  return [address, zone !== undefined && /^\d+$/.test(zone) ? Number(zone) : zone]
}

function bytesOf(data: unknown): Uint8Array {
  if (typeof data === 'string') return Buffer.from(data)
  if (data instanceof Uint8Array) return data
  if (ArrayBuffer.isView(data)) return new Uint8Array(data.buffer, data.byteOffset, data.byteLength)
  throw new TypeError(`data must be a string, a view of an ArrayBuffer, or a list of them, not ${describe(data)}`)
}

function infoOf({ address, data, ifindex, destination }: UdpDatagram): DgramInfo {
  return { ...netAddress(address), size: data.length, ifindex, destination }
}
