import {
  type AddressLike,
  type AsFd,
  controlMessage,
  dup,
  encodeAddress,
  encodeControl,
  getOption,
  type IncomingMessage,
  type InetAddress,
  Socket,
  SystemError,
  setOption,
} from '@linux-sockets/native-core'
import { AF_INET, AF_INET6, IPPROTO_UDP, MSG_ERRQUEUE, SOCK_DGRAM } from '@linux-sockets/native-core/constants'
import { attachReusePortFilter, BPF_K, BPF_RET, BPF_STMT } from '@linux-sockets/native-core/filter'
import { ifindexOf, interfaceNameOf } from '@linux-sockets/native-core/interfaces'
import {
  addressOf,
  checkBoolean,
  checkBytes,
  checkFunction,
  checkHandlers,
  checkInteger,
  checkObject,
  checkOptions,
  checkSignal,
  checkSocket,
  closeQuietly,
  describe,
  type NamesOf,
  orUndefined,
} from '@linux-sockets/native-core/internal'
import {
  IP_MULTICAST_ALL,
  IPV6_MULTICAST_ALL,
  IPV6_V6ONLY,
  SO_BINDTODEVICE,
  SO_BROADCAST,
  SO_DOMAIN,
  SO_REUSEADDR,
  SO_REUSEPORT,
} from '@linux-sockets/native-core/options'
import {
  type Borrowable,
  borrow,
  type DatagramBatch,
  DatagramChannel,
  type DatagramHandlers,
  type DatagramStatistics,
  type DgramSocket,
  type FailedDatagram,
  type OutgoingDatagram,
  toDgramSocket,
} from '@linux-sockets/native-core/streams'
import { CMSG_UDP_SEGMENT, type Timestamps } from './control.js'
import { drops } from './drops.js'
import { setIpv4Option } from './family.js'
import { type Joined, track } from './joined.js'
import {
  blockSource,
  checkGroup,
  joinGroup,
  joinSourceGroup,
  leaveGroup,
  leaveSourceGroup,
  unblockSource,
} from './membership.js'
import { type NetworkError, networkErrorOf, reportErrors } from './neterror.js'
import { UDP_SEGMENT } from './options.js'
import { kept, replyControl, UdpDatagram } from './received.js'
import { checkReceive, type ReceiveSettings, turnOn } from './receiving.js'
import {
  checkUdpSendOptions,
  controlOf,
  type SendFamily,
  sendFamilyOf,
  type UdpSendOptions,
  withMessage,
} from './sending.js'
import { TransmitTimestamps } from './timestamp.js'

/** The datagrams that one recvmmsg(2) returned, valid only during the call of the handler. */
export interface UdpBatch extends Iterable<UdpDatagram> {
  /** The number of datagrams, at least 1. */
  readonly length: number
  /** Shows datagram i, always in the same object. @throws RangeError if there is none */
  at(i: number): UdpDatagram
}

/**
 * The functions that a `UdpSocket` calls, always from the event loop and in the async context that made the socket. An exception
 * that one of them throws is uncaught, and the socket goes on. Without `datagram` and `batch` the socket is iterated over.
 */
export interface UdpHandlers {
  /** Called with each datagram. */
  datagram?(datagram: UdpDatagram): void
  /** Called with the datagrams of each recvmmsg(2), in place of `datagram`. */
  batch?(batch: UdpBatch): void
  /**
   * Called with what the network or the kernel reports: a `NetworkError` about an earlier send, with its `destination`; or, with
   * `failed`, why the kernel refused a datagram. Neither ends the socket. `EBADF` without `failed` does: other code has closed
   * the socket.
   */
  error(error: SystemError | NetworkError, failed?: FailedDatagram): void
  /** Called when the last queued datagram has left the queue. */
  drain?(): void
  /** Called when nothing more can be received, after `shutdown(SHUT_RD)`. */
  end?(): void
}

const HANDLERS: NamesOf<UdpHandlers> = { datagram: true, batch: true, error: true, drain: true, end: true }

/** The settings of a `UdpSocket` that takes over an open socket. */
export interface UdpChannelOptions {
  /** What is received together with each datagram, and into which buffers. */
  readonly receive?: ReceiveSettings | undefined
  /**
   * `IP_RECVERR`, `IPV6_RECVERR`: whether the `error` handler gets what ICMP messages report about earlier sends, each with its
   * destination. Default true. If false, only a connected socket learns of `ECONNREFUSED`.
   */
  readonly errors?: boolean | undefined
  /** The most datagrams to receive, and to send from the queue, before the event loop gets its turn. Default 256. */
  readonly budget?: number | undefined
  /** The most datagrams that may wait to be sent. Default 4096. */
  readonly maxQueuedDatagrams?: number | undefined
  /** The most **bytes** that may wait to be sent. Default 4 MiB. */
  readonly maxQueuedBytes?: number | undefined
  /** Closes the socket at once; pending promises are rejected with the signal's reason. */
  readonly signal?: AbortSignal | undefined
}

/** How `UdpSocket.open` opens, binds and connects a socket. */
export interface UdpSocketOptions extends UdpChannelOptions {
  /** Default: the family of `address` or `peer`. */
  readonly family?: 'ipv4' | 'ipv6' | undefined
  /** bind(2): the local address, also as text: `'0.0.0.0:5353'`, `'[::]:0'`. Default: the kernel binds at the first send. */
  readonly address?: InetAddress | string | undefined
  /** connect(2): the only peer to send to and to receive from. */
  readonly peer?: InetAddress | string | undefined
  /** `IPV6_V6ONLY`: false makes an IPv6 socket receive and send IPv4, with mapped addresses. Default true. */
  readonly v6only?: boolean | undefined
  /**
   * `SO_REUSEADDR`: whether the port may be shared with other sockets that have it set. Each gets a copy of a multicast or
   * broadcast datagram; a unicast one goes to the socket that was bound last. Default false. Refused with port 0, where it
   * may give a port that another socket has.
   */
  readonly reuseAddress?: boolean | undefined
  /**
   * `SO_REUSEPORT`: whether sockets of the same user share the port, and each flow of datagrams goes to one of them
   * (`steerDatagrams`). Default false.
   */
  readonly reusePort?: boolean | undefined
  /** `SO_BINDTODEVICE`: the only interface to receive from and to send by, by name or index. Default: all. */
  readonly interface?: string | number | undefined
  /** `SO_BROADCAST`: whether the socket may send to broadcast addresses. Default false. */
  readonly broadcast?: boolean | undefined
  /** `IPPROTO_UDPLITE`, or another protocol. Default `IPPROTO_UDP`. */
  readonly protocol?: number | undefined
  /** Called with the socket before it is bound, to set options. */
  readonly prepare?: ((socket: Socket<InetAddress>) => void) | undefined
}

const CHANNEL_OPTIONS: NamesOf<UdpChannelOptions> = {
  receive: true,
  errors: true,
  budget: true,
  maxQueuedDatagrams: true,
  maxQueuedBytes: true,
  signal: true,
}

const OPTIONS: NamesOf<UdpSocketOptions> = {
  ...CHANNEL_OPTIONS,
  family: true,
  address: true,
  peer: true,
  v6only: true,
  reuseAddress: true,
  reusePort: true,
  interface: true,
  broadcast: true,
  protocol: true,
  prepare: true,
}

/** A datagram for `UdpSocket.sendBatch`. */
export interface UdpOutgoing {
  /** The bytes. */
  readonly data: Uint8Array
  /** The destination; undefined for the connected peer. */
  readonly address?: AddressLike | string | undefined
  /** How it is sent. */
  readonly options?: UdpSendOptions | undefined
}

/** A multicast group for `UdpSocket.join`. */
export interface JoinOptions {
  /** The interface, by index, name or one of its addresses. Default: the one to which the routing table sends the group. */
  readonly interface?: number | string | undefined
  /** The only source to receive from; further calls add others. Default: any source. */
  readonly source?: string | undefined
}

/** Counts since the socket was made. */
export interface UdpStatistics extends DatagramStatistics {
  /** Datagrams that `receive.only` has dropped. */
  readonly notJoined: number
  /** Datagrams that were sent by `UDP_SEGMENT`. */
  readonly segmented: number
  /** Whether `UDP_SEGMENT` is used: false once the kernel or the device has refused it. */
  readonly segmentation: boolean
}

/**
 * A UDP socket on Node's loop. It receives in batches into buffers that it reuses, knows for each datagram where it arrived, and
 * answers from there; what the kernel doesn't take at once waits in a bounded queue.
 *
 *     const socket = UdpSocket.open(
 *       { address: '0.0.0.0:5300' },
 *       { datagram: (datagram) => socket.reply(datagram, datagram.data), error: console.error },
 *     )
 *
 * Without a handler it is iterated over: `for await (const { data, address } of socket)`.
 *
 * `IP_MULTICAST_ALL` is off: it receives only the groups that it has joined itself.
 */
export class UdpSocket implements AsFd, AsyncIterable<UdpDatagram>, Disposable, AsyncDisposable {
  /** The channel that receives and sends. */
  readonly #channel: DatagramChannel<InetAddress>
  readonly #handlers: UdpHandlers
  readonly #joined: Joined = track(this)
  readonly #stamps: TransmitTimestamps
  readonly #only: boolean
  readonly #errors: boolean
  #peerFamily: SendFamily | undefined
  #segmentation: boolean | undefined
  #segmented = 0
  #notJoined = 0
  /** The codes of the errors from the error queue in this turn of the loop. */
  readonly #told = new Set<string>()

  /**
   * socket(2), bind(2), connect(2): opens a socket.
   *
   * @throws TypeError, RangeError for invalid options or handlers; the reason of a signal that is already aborted
   * @throws SystemError `EADDRINUSE`, `EADDRNOTAVAIL`, `EACCES` (a port below 1024), `ENODEV` (no such interface), …
   */
  static open(options: UdpSocketOptions, handlers: UdpHandlers): UdpSocket {
    checkOptions(options, 'options', OPTIONS)
    const { address, peer, v6only = true, reuseAddress = false, reusePort = false, broadcast = false } = options
    const { family, protocol = IPPROTO_UDP, prepare } = options
    const local = address === undefined ? undefined : inetAddress(address, 'address')
    const remote = peer === undefined ? undefined : inetAddress(peer, 'peer')
    const domain = familyFor(family ?? local?.family ?? remote?.family)
    for (const [name, value] of Object.entries({ v6only, reuseAddress, reusePort, broadcast }))
      checkBoolean(value, name)
    checkInteger(protocol, 0, 0x7fff_ffff, 'protocol')
    if (prepare !== undefined) checkFunction(prepare, 'prepare')
    if (reuseAddress && local !== undefined && local.port === 0) {
      throw new TypeError(
        'reuseAddress needs a port in address: with port 0 the socket may get a port that another one has',
      )
    }
    const device = deviceOf(options.interface)
    const channelOptions = Object.fromEntries(
      Object.entries(options).filter(([name]) => Object.hasOwn(CHANNEL_OPTIONS, name)),
    )
    checkChannelOptions(channelOptions)
    checkUdpHandlers(handlers)
    const socket: Socket<InetAddress> = Socket.open(domain, SOCK_DGRAM, protocol)
    try {
      if (domain === AF_INET6) setOption(socket, IPV6_V6ONLY, v6only)
      if (reuseAddress) setOption(socket, SO_REUSEADDR, true)
      if (reusePort) setOption(socket, SO_REUSEPORT, true)
      if (broadcast) setOption(socket, SO_BROADCAST, true)
      if (device !== undefined) setOption(socket, SO_BINDTODEVICE, device)
      prepare?.(socket)
      // Before it is bound: what is queued without the options comes without their messages, and with the groups of others.
      const arrival = options.receive?.arrival ?? remote === undefined
      const udp = new UdpSocket(socket, handlers, { ...channelOptions, receive: { ...options.receive, arrival } })
      try {
        if (local !== undefined) socket.bind(local)
        if (remote !== undefined) socket.connect(remote)
        return udp
      } catch (error) {
        udp.close()
        throw error
      }
    } catch (error) {
      closeQuietly(socket)
      throw error
    }
  }

  /**
   * Hands the socket of a bound `dgram.Socket` over: this socket gets a duplicate, and the `dgram.Socket` is closed. Datagrams
   * that wait in the kernel stay.
   * @throws TypeError for invalid arguments; SystemError `EBADF` if it is not bound
   */
  static fromDgram(
    socket: Borrowable & { close(): unknown },
    handlers: UdpHandlers,
    options: UdpChannelOptions = {},
  ): UdpSocket {
    checkChannelOptions(options)
    checkUdpHandlers(handlers)
    const copy = Socket.from(dup(borrow(socket))) as Socket<InetAddress>
    try {
      const udp = new UdpSocket(copy, handlers, options)
      socket.close()
      return udp
    } catch (error) {
      closeQuietly(copy)
      throw error
    }
  }

  /**
   * Takes over an open UDP socket, bound or not, and turns on what `options.receive` asks for.
   * @throws TypeError, RangeError for an invalid socket, handlers or options; the reason of a signal that is already aborted
   * @throws SystemError `EBADF`, …; the caller then still owns the socket
   */
  constructor(socket: Socket<InetAddress>, handlers: UdpHandlers, options: UdpChannelOptions = {}) {
    checkSocket(socket, 'socket')
    checkUdpHandlers(handlers)
    checkChannelOptions(options)
    const { receive = {}, errors = true, ...limits } = options
    const batch = turnOn(socket, receive)
    setIpv4Option(socket, IP_MULTICAST_ALL, false)
    if (getOption(socket, SO_DOMAIN) === AF_INET6) setOption(socket, IPV6_MULTICAST_ALL, false)
    reportErrors(socket, errors)
    this.#handlers = handlers
    this.#errors = errors
    this.#only = receive.only ?? false
    this.#stamps = new TransmitTimestamps(socket)
    this.#channel = new DatagramChannel(socket, this.#calls(handlers), { ...limits, receive: batch })
  }

  /** The descriptor, for functions that take one: `setOption(socket, IP_TTL, 5)`. −1 once it is closed. */
  get fd(): number {
    return this.#channel.socket.fd
  }

  /** getsockname(2): the local address. */
  get localName(): InetAddress {
    return this.#channel.socket.localName
  }

  /** getpeername(2). @throws SystemError `ENOTCONN` */
  get peerName(): InetAddress {
    return this.#channel.socket.peerName
  }

  /** Counts since the socket was made, as a copy. */
  get statistics(): UdpStatistics {
    return {
      ...this.#channel.statistics,
      notJoined: this.#notJoined,
      segmented: this.#segmented,
      segmentation: this.#segmentation ?? true,
    }
  }

  /** The number of datagrams that the socket has dropped because its receive buffer was full (`SO_MEMINFO`), as of now. */
  get drops(): number {
    return drops(this)
  }

  /** The number of datagrams that wait to be sent. */
  get queuedDatagrams(): number {
    return this.#channel.queuedDatagrams
  }

  /** The number of **bytes** that wait to be sent. */
  get queuedBytes(): number {
    return this.#channel.queuedBytes
  }

  /** Whether the socket has been closed. */
  get closed(): boolean {
    return this.#channel.closed
  }

  /**
   * connect(2): from now on the socket sends to this peer if no address is given, and receives from it alone. Datagrams of others
   * that are queued already are still received.
   * @throws SystemError `EINVAL`, `ENETUNREACH`, …
   */
  connect(peer: InetAddress | string): void {
    this.#channel.socket.connect(inetAddress(peer, 'peer'))
    this.#peerFamily = undefined
  }

  /** connect(2) with `AF_UNSPEC`: the socket has no peer any longer. */
  disconnect(): void {
    this.#channel.socket.disconnect()
    this.#peerFamily = undefined
  }

  /**
   * Opens a socket of its own for the sender of a datagram, as accept(2) does for TCP: bound to the same port, at the address that
   * the datagram was sent to, and connected to the sender. What the peer sends from now on comes to it; everything else still
   * comes here, and no datagram is lost or goes astray in between. Answer the datagram itself with the new socket's `send`.
   *
   * The socket must have been opened with `reusePort`, as the first of its port. Its group gets a program that gives everything
   * to the first socket (`SO_ATTACH_REUSEPORT_CBPF`), so don't call `steerDatagrams`.
   * Linux 4.6
   * @throws TypeError, RangeError for invalid arguments; SystemError `EINVAL` without `reusePort`
   */
  accept(datagram: UdpDatagram, handlers: UdpHandlers, options: UdpChannelOptions = {}): UdpSocket {
    checkDatagram(datagram)
    checkChannelOptions(options)
    checkUdpHandlers(handlers)
    const { address: peer, localAddress } = datagram
    const { family, port, address } = this.localName
    const asked = localAddress ?? address
    const local = {
      family,
      address: family === 'ipv6' && !asked.includes(':') ? `::ffff:${asked}` : asked,
      port,
      // A link-local address is bound together with its interface.
      ...(peer.family === 'ipv6' && asked.startsWith('fe80:') && { scope: peer.scope }),
    }
    attachReusePortFilter(this, [BPF_STMT(BPF_RET | BPF_K, 0)])
    const v6only = family === 'ipv4' || getOption(this, IPV6_V6ONLY)
    return UdpSocket.open({ ...options, address: local as InetAddress, peer, reusePort: true, v6only }, handlers)
  }

  /**
   * Sends a datagram, to the connected peer if no address is given. Datagrams leave in the order of the calls.
   *
   * Returns true if the kernel took or refused it. Returns false if a copy waits in the queue: `flush()` or the `drain` handler
   * tells when to go on. The `error` handler gets a refusal after this call has returned.
   *
   * @throws SystemError `ENOBUFS` if the queue is full: this datagram is not sent. `EBADF` once `close` or `drain` was called
   * @throws TypeError, RangeError for arguments that can't be sent
   */
  send(data: Uint8Array, address?: AddressLike | string, options?: UdpSendOptions): boolean {
    if (options === undefined) return this.#channel.send(data, address)
    const list = this.#outgoing({ data, address, options })
    const [first] = list
    if (list.length !== 1 || first === undefined) return this.#channel.sendBatch(list)
    return this.#channel.send(first.data, first.address, first.options)
  }

  /**
   * Sends datagrams in their order, many with each sendmmsg(2). Returns as `send` does.
   * @throws as `send`; none of them is sent then
   */
  sendBatch(datagrams: readonly UdpOutgoing[]): boolean {
    if (!Array.isArray(datagrams)) throw new TypeError(`datagrams must be an array, not ${describe(datagrams)}`)
    for (let i = 0; i < datagrams.length; i++) {
      checkObject(datagrams[i], `datagrams[${i}]`)
      checkBytes((datagrams[i] as UdpOutgoing).data, `datagrams[${i}].data`)
    }
    return this.#channel.sendBatch(datagrams.flatMap((datagram) => this.#outgoing(datagram)))
  }

  /**
   * Sends one datagram, and resolves when the kernel has taken it. If the queue is full, it waits for room; the caller must not
   * change the data until then. Rejects if the kernel refuses it, and the `error` handler is not told; rejects with `ECANCELED`
   * if the socket is closed before.
   * @throws (rejects with) TypeError for `segmentSize`: `send` and `flush` are for that
   */
  async sendAsync(data: Uint8Array, address?: AddressLike | string, options?: UdpSendOptions): Promise<void> {
    const [outgoing] = this.#single(data, address, options, 'sendAsync')
    await this.#channel.sendAsync(outgoing.data, outgoing.address, outgoing.options)
  }

  /**
   * Answers a datagram: sends to its sender, by the interface that it came to and from the address that it was sent to; never from
   * a multicast or broadcast address, in place of which one of the interface's is taken. Returns as `send` does.
   * `options` replace what the datagram tells.
   */
  reply(datagram: UdpDatagram, data: Uint8Array, options?: UdpSendOptions): boolean {
    checkDatagram(datagram)
    const control = replyControl(datagram)
    if (options === undefined) return this.#channel.send(data, datagram.sockaddr, control && { control })
    checkUdpSendOptions(options)
    const { ifindex, localAddress } = datagram
    return this.send(data, datagram.sockaddr, { interface: ifindex, source: localAddress, ...options })
  }

  /**
   * Sends a datagram, and resolves with the time at which it left: the network card's if it has a clock for it, and the kernel's,
   * when it passed the datagram to the driver. Rejects with `ETIMEDOUT` if there is no stamp within `timeout` **milliseconds**
   * (default 1000), because the driver takes none or the datagram was dropped; with `ENOBUFS` if the queue is full; otherwise as
   * `sendAsync`.
   * Linux 3.17
   */
  async sendTimestamped(
    data: Uint8Array,
    address?: AddressLike | string,
    options: UdpSendOptions & { readonly timeout?: number | undefined } = {},
  ): Promise<Timestamps> {
    checkObject(options, 'options')
    const { timeout = 1000, ...rest } = options
    checkInteger(timeout, 0, 0x7fff_ffff, 'timeout')
    const [outgoing] = this.#single(data, address, rest, 'sendTimestamped')
    const transmit = (numbered: OutgoingDatagram) =>
      this.#channel.send(numbered.data, numbered.address, numbered.options)
    return this.#stamps.send(transmit, outgoing, timeout)
  }

  /** Resolves when the kernel has taken or refused every datagram that was sent before; rejects if the socket is closed before. */
  flush(): Promise<void> {
    return this.#channel.flush()
  }

  /**
   * Joins a multicast group, on one interface. The membership ends with the socket.
   * @throws TypeError, RangeError for invalid arguments; SystemError whose `detail` says what to do: see `joinGroup`
   */
  join(group: string, options: JoinOptions = {}): void {
    checkJoin(group, options)
    const { source, ...where } = options
    if (this.#only) needInterface(options)
    if (source === undefined) joinGroup(this, group, where)
    else joinSourceGroup(this, group, source, where)
  }

  /** Ends what `join` with the same arguments began. @throws SystemError `EADDRNOTAVAIL` if the socket isn't a member */
  leave(group: string, options: JoinOptions = {}): void {
    checkJoin(group, options)
    const { source, ...where } = options
    if (source === undefined) leaveGroup(this, group, where)
    else leaveSourceGroup(this, group, source, where)
  }

  /** Drops what a source sends to a group that the socket has joined for any source. */
  block(group: string, source: string, options: Omit<JoinOptions, 'source'> = {}): void {
    checkOptions(options, 'options', { interface: true })
    blockSource(this, group, source, options)
  }

  /** Receives from a source again. @throws SystemError `EADDRNOTAVAIL` if it isn't blocked */
  unblock(group: string, source: string, options: Omit<JoinOptions, 'source'> = {}): void {
    checkOptions(options, 'options', { interface: true })
    unblockSource(this, group, source, options)
  }

  /** Stops receiving. Errors are still reported, and sending goes on. */
  pause(): this {
    this.#channel.pause()
    return this
  }

  /** Resumes receiving. */
  resume(): this {
    this.#channel.resume()
    return this
  }

  /** Keeps the process alive while the socket is open. This is the default. */
  ref(): this {
    this.#channel.ref()
    return this
  }

  /** Lets the process end although the socket is open. */
  unref(): this {
    this.#channel.unref()
    return this
  }

  /**
   * Hands the socket over to `node:dgram`: Node gets a duplicate that only it owns, and this socket is closed. Datagrams that wait
   * in the kernel stay; those in the queue are lost, so `flush` first.
   * @throws TypeError if the socket is connected
   */
  toDgram(): DgramSocket {
    const copy = Socket.from(dup(this))
    try {
      const handed = toDgramSocket(copy)
      this.close()
      return handed
    } catch (error) {
      closeQuietly(copy)
      throw error
    }
  }

  /** Closes the socket at once. Queued datagrams are lost, and pending promises reject with `ECANCELED`. */
  close(): void {
    this.#channel.close()
    this.#stamps.close()
  }

  /**
   * Stops receiving, and closes the socket once all queued datagrams are sent. After `timeout` **milliseconds** it closes all the
   * same, and the promise rejects with `ETIMEDOUT`.
   */
  async drain(options: { readonly timeout?: number | undefined } = {}): Promise<void> {
    await this.#channel.drain(options)
    this.#stamps.close()
  }

  /** Closes at once. */
  [Symbol.dispose](): void {
    this.close()
  }

  /** Closes after all queued datagrams are sent. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.drain()
  }

  /**
   * Iterates over the datagrams, in copies. It ends when the socket is closed; leaving the loop doesn't close the socket.
   * @throws TypeError if there is a `datagram` or a `batch` handler
   */
  [Symbol.asyncIterator](): AsyncIterableIterator<UdpDatagram> {
    const datagrams = this.#channel[Symbol.asyncIterator]()
    const iterator: AsyncIterableIterator<UdpDatagram> = {
      next: async () => {
        for (;;) {
          const { done, value } = await datagrams.next()
          if (done) return { done: true, value: undefined }
          const datagram = kept(value)
          if (this.#isWanted(datagram)) return { done: false, value: datagram }
        }
      },
      return: async () => {
        await datagrams.return?.()
        return { done: true, value: undefined }
      },
      [Symbol.asyncIterator]: () => iterator,
    }
    return iterator
  }

  #calls(handlers: UdpHandlers): DatagramHandlers<InetAddress> {
    let shown: UdpDatagram | undefined
    const calls: DatagramHandlers<InetAddress> = {
      error: (error, failed) => {
        if (failed === undefined && this.#errors && this.#isTold(error)) return
        handlers.error(error, failed)
      },
      errorQueue: (message, data) => this.#takeError(message, data),
    }
    if (handlers.drain !== undefined) calls.drain = () => handlers.drain?.()
    if (handlers.end !== undefined) calls.end = () => handlers.end?.()
    if (handlers.datagram !== undefined) {
      calls.datagram = (view) => {
        // The channel shows all datagrams in the same view.
        shown ??= new UdpDatagram(view)
        if (this.#isWanted(shown)) handlers.datagram?.(shown)
      }
    }
    if (handlers.batch !== undefined) {
      const views = new Views()
      calls.batch = (batch) => {
        views.show(batch, this.#only ? (datagram) => this.#isWanted(datagram) : undefined)
        if (views.length > 0) handlers.batch?.(views)
      }
    }
    return calls
  }

  /** Whether the socket has joined the group on the interface of arrival, if only such datagrams are wanted. */
  #isWanted(datagram: UdpDatagram): boolean {
    if (!this.#only || this.#joined.admits(datagram)) return true
    this.#notJoined++
    return false
  }

  #takeError(message: IncomingMessage<InetAddress>, data: Buffer): void {
    if (this.#stamps.take(message.control)) return
    const error = networkErrorOf(message)
    if (error === undefined) return
    if (this.#told.size === 0) setImmediate(() => this.#told.clear()).unref()
    this.#told.add(error.code)
    this.#handlers.error(error, { data: Buffer.from(data), address: error.destination })
  }

  /**
   * Whether the error queue has told of an error that the kernel also returned from a call, without the destination. It has not
   * if there was no memory for its message, which counts as received data: the receive buffer was full.
   *
   * Once this socket is closed, nothing can tell to which send the error belongs, so it isn't reported. That other code has
   * closed the descriptor (`EBADF`) is always news.
   */
  #isTold({ code }: SystemError): boolean {
    if (this.closed) return code !== 'EBADF'
    for (;;) {
      const message = orUndefined(() => this.#channel.socket.recvMessage(errorData, ERROR_QUEUE))
      if (message === undefined || message === null) return this.#told.has(code)
      this.#takeError(message, errorData.subarray(0, message.length))
    }
  }

  /** What the channel is to send: one message, or several for more segments than one call takes. */
  #outgoing({ data, address, options }: UdpOutgoing): OutgoingDatagram[] {
    checkBytes(data, 'data')
    const destination = address === undefined ? undefined : addressOf(address)
    if (options === undefined) return [{ data, address: destination }]
    checkUdpSendOptions(options)
    const sockaddr = destination && encodeAddress(destination)
    const control = encodeControl(controlOf(this, this.#familyOf(sockaddr), options))
    const { segmentSize } = options
    if (segmentSize === undefined || data.length <= segmentSize)
      return [{ data, address: sockaddr, options: { control } }]
    this.#segmentation ??= orUndefined(() => getOption(this, UDP_SEGMENT)) !== undefined
    const most = this.#segmentation ? Math.max(1, Math.min(SEGMENTS_MAX, Math.floor(DATA_MAX / segmentSize))) : 1
    return pieces(data, most * segmentSize).map((piece) => this.#segments(piece, sockaddr, control, segmentSize))
  }

  #single(
    data: Uint8Array,
    address: AddressLike | string | undefined,
    options: UdpSendOptions | undefined,
    what: string,
  ): [OutgoingDatagram] {
    checkBytes(data, 'data')
    if (options !== undefined) checkObject(options, 'options')
    if (options?.segmentSize !== undefined) throw new TypeError(`${what} sends one datagram: it takes no segmentSize`)
    return this.#outgoing({ data, address, options }) as [OutgoingDatagram]
  }

  /**
   * One call with `UDP_SEGMENT`. A device that can't segment refuses it with EIO or EINVAL, as the kernel does with a wrong control
   * message of another kind. So the same datagrams are sent one by one; if the first of them is taken, segmenting was the reason.
   */
  #segments(data: Uint8Array, address: AddressLike | undefined, control: Uint8Array, size: number): OutgoingDatagram {
    // A single segment with the message is refused by some kernels.
    if (data.length <= size) return { data, address, options: { control } }
    const count = Math.ceil(data.length / size)
    const replace = (error: SystemError): OutgoingDatagram[] | undefined => {
      if (error.code !== 'EIO' && error.code !== 'EINVAL') return undefined
      const settled = (failure?: unknown) => {
        if (failure === undefined) this.#segmentation = false
        else if (failure instanceof SystemError) this.#reportLater(failure, { data: first as Uint8Array, address })
      }
      const [first, ...others] = pieces(data, size)
      const options = { control }
      return [
        { data: first as Uint8Array, address, options: { control, settled } },
        ...others.map((piece) => ({ data: piece, address, options })),
      ]
    }
    const segmented = withMessage(control, controlMessage(CMSG_UDP_SEGMENT, size))
    const settled = (error?: unknown) => {
      if (error === undefined) this.#segmented += count
      else if (error instanceof SystemError && !this.closed) this.#reportLater(error, { data, address })
    }
    return { data, address, options: { control: segmented, segments: count, replace, settled } }
  }

  #reportLater(error: SystemError, { data, address }: FailedDatagram): void {
    if (this.closed) return
    const failed = { data: Uint8Array.from(data), address }
    process.nextTick(() => this.#handlers.error(error, failed))
  }

  #familyOf(sockaddr: Uint8Array | undefined): SendFamily {
    if (sockaddr !== undefined) return sendFamilyOf(sockaddr)
    // Without a peer the kernel refuses the datagram.
    const peer = this.#peerFamily === undefined ? orUndefined(() => this.peerName) : undefined
    if (peer !== undefined) this.#peerFamily = sendFamilyOf(encodeAddress(peer))
    return this.#peerFamily ?? 'ipv4'
  }
}

/** Shows the datagrams of a channel's batch. */
class Views implements UdpBatch {
  #batch: DatagramBatch<InetAddress> | undefined
  #shown: UdpDatagram | undefined
  /** The numbers of those that are wanted; undefined for all. */
  #wanted: number[] | undefined

  show(batch: DatagramBatch<InetAddress>, isWanted: ((datagram: UdpDatagram) => boolean) | undefined): void {
    this.#batch = batch
    this.#shown ??= new UdpDatagram(batch.at(0))
    this.#wanted = undefined
    if (isWanted === undefined) return
    const wanted: number[] = []
    for (let i = 0; i < batch.length; i++) if (isWanted(this.at(i))) wanted.push(i)
    this.#wanted = wanted
  }

  get length(): number {
    return this.#wanted?.length ?? this.#batch?.length ?? 0
  }

  at(i: number): UdpDatagram {
    checkInteger(i, 0, this.length - 1, 'i')
    // The channel shows all datagrams in the same view.
    this.#batch?.at(this.#wanted?.[i] ?? i)
    return this.#shown as UdpDatagram
  }

  *[Symbol.iterator](): IterableIterator<UdpDatagram> {
    for (let i = 0; i < this.length; i++) yield this.at(i)
  }
}

// One buffer per thread: a thread reads one message at a time.
const errorData = Buffer.alloc(65_536)
const ERROR_QUEUE = { control: new Uint8Array(1024), address: true, flags: MSG_ERRQUEUE }

/** The most datagrams for one call with `UDP_SEGMENT`; 128 on Linux 6.9. */
const SEGMENTS_MAX = 64
/** The most bytes for one call. */
const DATA_MAX = 65_507

function pieces(data: Uint8Array, size: number): Uint8Array[] {
  const list: Uint8Array[] = []
  for (let at = 0; at < data.length; at += size) list.push(data.subarray(at, at + size))
  return list
}

function inetAddress(value: InetAddress | string, what: string): InetAddress {
  const address = addressOf(value, what)
  if (address instanceof Uint8Array || (address.family !== 'ipv4' && address.family !== 'ipv6')) {
    throw new TypeError(`${what} must be an IPv4 or IPv6 address with a port`)
  }
  encodeAddress(address)
  return address
}

function familyFor(family: unknown): typeof AF_INET | typeof AF_INET6 {
  if (family === 'ipv4') return AF_INET
  if (family === 'ipv6') return AF_INET6
  const given = typeof family === 'string' ? `'${family}'` : describe(family)
  throw new TypeError(`family must be 'ipv4' or 'ipv6', not ${given}; without it, address or peer tells the family`)
}

function deviceOf(chosen: unknown): string | undefined {
  if (chosen === undefined) return undefined
  if (typeof chosen === 'string') {
    ifindexOf(chosen)
    return chosen
  }
  checkInteger(chosen as number, 1, 0x7fff_ffff, 'interface')
  return interfaceNameOf(chosen as number)
}

function checkChannelOptions(options: UdpChannelOptions): void {
  checkOptions(options, 'options', CHANNEL_OPTIONS)
  const { receive, errors, budget, maxQueuedDatagrams, maxQueuedBytes, signal } = options
  if (receive !== undefined) checkReceive(receive)
  if (errors !== undefined) checkBoolean(errors, 'errors')
  for (const [name, value] of Object.entries({ budget, maxQueuedDatagrams, maxQueuedBytes })) {
    if (value !== undefined) checkInteger(value, 1, 0x7fff_ffff, name)
  }
  checkSignal(signal)
}

function checkUdpHandlers(handlers: UdpHandlers): void {
  checkHandlers(handlers, 'error', HANDLERS)
  if (handlers.datagram !== undefined && handlers.batch !== undefined) {
    throw new TypeError('handlers must not have both datagram and batch')
  }
}

function checkDatagram(datagram: unknown): asserts datagram is UdpDatagram {
  if (datagram instanceof UdpDatagram) return
  throw new TypeError(`datagram must be a UdpDatagram, not ${describe(datagram)}`)
}

function checkJoin(group: string, options: JoinOptions): void {
  checkGroup(group)
  checkOptions(options, 'options', { interface: true, source: true })
}

function needInterface(options: JoinOptions): void {
  if (options.interface !== undefined && options.interface !== 0) return
  throw new TypeError('receive.only needs an interface to join the group on')
}
