import {
  type AddressLike,
  type AddressOf,
  copySlot,
  decodeAddress,
  encodeAddress,
  formatAddress,
  readSlot,
  type SocketAddress,
  slot,
} from './address.js'
import {
  checkBoolean,
  checkBytes,
  checkFlags,
  checkInt32,
  checkInteger,
  checkOptions,
  describe,
  type NamesOf,
} from './argument.js'
import { AF_UNIX, SOCK_CLOEXEC, SOCK_NONBLOCK, SOMAXCONN } from './constants.js'
import { errno } from './errno.js'
import { check, fail, unlessBlocked } from './error.js'
import { type AsFd, OwnedFd, setName } from './fd.js'
import { type IncomingMessage, type OutgoingMessage, type ReceiveOptions, recvMessage, sendMessage } from './message.js'
import { native } from './native.js'

/** Options of `Socket.open`, `pair` and `accept`. */
export interface SocketOptions {
  /** Whether calls block. A blocking call stops the whole thread, so this is for Workers. Default false. */
  readonly blocking?: boolean | undefined
}

/** The result of recvfrom(2). */
export interface Datagram<Address extends SocketAddress = SocketAddress> {
  /** The bytes received; with `MSG_TRUNC` among the flags, the datagram's true length. */
  readonly length: number
  /** The sender's address; `null` if the sender has no name. */
  readonly address: Address | null
}

/**
 * A socket with the kernel's own calls, synchronous and exact. A call that would block returns
 * `null`; every other failure is thrown.
 *
 *     const socket = Socket.open(AF_INET, SOCK_DGRAM)
 *     socket.bind({ family: 'ipv4', address: '127.0.0.1', port: 0 })
 *     socket.sendTo(Buffer.from('hello'), socket.localName)
 *
 * `Address` is the type of its addresses, as far as the domain determines it: `InetAddress` for `AF_INET` and `AF_INET6`.
 */
export class Socket<Address extends SocketAddress = SocketAddress> extends OwnedFd {
  static {
    setName(Socket, 'Socket')
  }

  /** The peer's address that accept4(2) gave, from `copySlot`. Empty: ask the kernel. */
  #peer = ''

  /**
   * socket(2). Closed on exec, and non-blocking unless `blocking` is set.
   * @throws SystemError `EAFNOSUPPORT`, `EPROTONOSUPPORT`, `EPERM`, `EMFILE`, …
   * @throws TypeError, RangeError for invalid numbers or options
   */
  static open<Domain extends number>(
    domain: Domain,
    type: number,
    protocol = 0,
    options: SocketOptions = {},
  ): Socket<AddressOf<Domain>> {
    const blocking = isBlocking(options)
    checkInt32(domain, 'domain')
    checkFlags(type, 'type')
    checkInt32(protocol, 'protocol')
    return new Socket(check(native.socket(domain, type | nonBlockFlag(blocking), protocol), 'socket'))
  }

  /** socketpair(2): two sockets connected to each other. @throws as `open` */
  static pair<Domain extends number = typeof AF_UNIX>(
    domain?: Domain,
    type?: number,
    protocol?: number,
    options?: SocketOptions,
  ): [Socket<AddressOf<Domain>>, Socket<AddressOf<Domain>>]
  static pair(domain: number = AF_UNIX, type = 1, protocol = 0, options: SocketOptions = {}): [Socket, Socket] {
    const blocking = isBlocking(options)
    checkInt32(domain, 'domain')
    checkFlags(type, 'type')
    checkInt32(protocol, 'protocol')
    check(native.socketpair(domain, type | nonBlockFlag(blocking), protocol, pair), 'socketpair')
    const [a, b] = pair as unknown as [number, number]
    return [new Socket(a), new Socket(b)]
  }

  /** Takes over a descriptor that other code opened. Makes no system call, and doesn't check that `fd` is a socket. */
  static override adopt(fd: number): Socket {
    return new Socket(fd)
  }

  /** Makes a socket of a descriptor that was received or opened elsewhere; `owner` is released. Makes no system call. */
  static from<Address extends SocketAddress>(owner: Socket<Address>): Socket<Address>
  static from(owner: OwnedFd): Socket
  static from(owner: OwnedFd): Socket {
    if (typeof owner?.release !== 'function') throw new TypeError(`owner must be an OwnedFd, not ${describe(owner)}`)
    const peer = owner instanceof Socket ? owner.#peer : ''
    const socket = new Socket(owner.release())
    socket.#peer = peer
    return socket
  }

  /** bind(2). Binding to `{ family: 'unix' }` lets the kernel choose an abstract name. */
  bind(address: AddressLike): void {
    const result = native.bind(this.fd, encodeAddress(address))
    if (result < 0) throw fail(result, 'bind', formatAddress(address))
  }

  /** listen(2). The kernel lowers the backlog to `net.core.somaxconn`; another call changes it. */
  listen(backlog: number = SOMAXCONN): void {
    checkInt32(backlog, 'backlog')
    check(native.listen(this.fd, backlog), 'listen')
  }

  /**
   * accept4(2): returns the next connection, or `null` if none waits. The new socket is closed on exec, and non-blocking
   * unless `blocking` is set. Its `peerName` is the address that accept4(2) gave.
   * @throws SystemError `EMFILE`, `ENFILE`, `ENOBUFS`, `ENOMEM`: the connection still waits. `ECONNABORTED` and pending
   * network errors: that connection is gone, and the next call may succeed. accept(2)
   * @throws TypeError for invalid options
   */
  accept(options: SocketOptions = {}): Socket<Address> | null {
    const blocking = isBlocking(options)
    const fd = unlessBlocked(native.accept4(this.fd, nonBlockFlag(blocking), slot), 'accept4')
    if (fd === null) return null
    const socket = new Socket<Address>(fd)
    socket.#peer = copySlot()
    return socket
  }

  /**
   * connect(2). Returns true if connected, `null` while the connection is in progress: then wait until the socket is
   * writable, and read `SO_ERROR`. On a datagram socket it only sets the peer.
   * @throws SystemError also `EAGAIN`: on a Unix socket the listener's backlog is full, and no connection is in progress
   */
  connect(address: AddressLike): true | null {
    this.#peer = ''
    const result = native.connect(this.fd, encodeAddress(address))
    if (result >= 0) return true
    if (result === -errno.EINPROGRESS) return null
    throw fail(result, 'connect', formatAddress(address))
  }

  /** connect(2) with `AF_UNSPEC`: afterwards a datagram socket has no peer. */
  disconnect(): void {
    this.#peer = ''
    check(native.connect(this.fd, unspecified), 'connect', 'AF_UNSPEC')
  }

  /** shutdown(2): `SHUT_RD`, `SHUT_WR` (sends a FIN) or `SHUT_RDWR`. */
  shutdown(how: number): void {
    checkInt32(how, 'how')
    check(native.shutdown(this.fd, how), 'shutdown')
  }

  /** getsockname(2): the local address, as `bind` or the kernel has set it. */
  get localName(): Address {
    check(native.getsockname(this.fd, slot), 'getsockname')
    return readSlot() as Address
  }

  /**
   * getpeername(2): the peer's address. For an accepted socket it is the address that accept4(2) gave, without a system
   * call, and so it is still available after a reset, or after `close`.
   * @throws SystemError `ENOTCONN`
   */
  get peerName(): Address {
    const address = this.#peer === '' ? getPeerName(this) : decodeAddress(Buffer.from(this.#peer, 'latin1'))
    return address as Address
  }

  /**
   * send(2), never raising SIGPIPE. Returns the bytes sent, which on a stream may be fewer than given, or `null` if it
   * would block.
   */
  send(data: Uint8Array, flags = 0, offset = 0, length?: number): number | null {
    checkBytes(data, 'data')
    if (offset !== 0) checkInteger(offset, 0, data.length, 'offset')
    return unlessBlocked(
      native.send(this.fd, data, offset, length === undefined ? data.length - offset : length, flags),
      'send',
    )
  }

  /**
   * recv(2) into the caller's buffer. Returns the bytes received, 0 at the end of a stream (or for an empty datagram), or
   * `null` if it would block. With `MSG_TRUNC` it returns a datagram's true length, even if the datagram didn't fit.
   * @throws RangeError for an empty or detached buffer, since its 0 would look like the end of the stream
   */
  recv(buffer: Uint8Array, flags = 0, offset = 0, length?: number): number | null {
    checkBytes(buffer, 'buffer')
    if (offset !== 0) checkInteger(offset, 0, buffer.length, 'offset')
    const most = length === undefined ? buffer.length - offset : length
    if (most === 0 && flags === 0) throw new RangeError('buffer is empty or detached')
    return unlessBlocked(native.recv(this.fd, buffer, offset, most, flags), 'recv')
  }

  /**
   * sendto(2): sends one datagram. Returns the bytes sent, or `null` if it would block: then `await writable(socket)`, and
   * send it again.
   *
   * That doesn't help on a Unix socket without a peer (`connect`). The kernel reports it as writable even while the
   * receiver's queue is full, since it doesn't know the next receiver: `writable` resolves at once, every time, and such a
   * loop spins. A `DatagramChannel` retries by a timer there.
   */
  sendTo(data: Uint8Array, address: AddressLike, flags = 0): number | null {
    checkBytes(data, 'data')
    const sent = native.sendto(this.fd, data, 0, data.length, flags, encodeAddress(address))
    if (sent >= 0) return sent
    if (sent === -errno.EAGAIN) return null
    throw fail(sent, 'sendto', formatAddress(address))
  }

  /** recvfrom(2): receives one datagram into the caller's buffer. Returns `null` if none waits. */
  recvFrom(buffer: Uint8Array, flags = 0): Datagram<Address> | null {
    checkBytes(buffer, 'buffer')
    const length = unlessBlocked(native.recvfrom(this.fd, buffer, 0, buffer.length, flags, slot), 'recvfrom')
    return length === null ? null : { length, address: readSlot() as Address | null }
  }

  /** sendmsg(2): see `sendMessage`. */
  sendMessage(message: OutgoingMessage): number | null {
    return sendMessage(this, message)
  }

  /** recvmsg(2): see `recvMessage`. */
  recvMessage(buffers: Uint8Array | readonly Uint8Array[], options?: ReceiveOptions): IncomingMessage<Address> | null {
    return recvMessage(this, buffers, options)
  }
}

/**
 * getpeername(2), even if the socket's peer is already known. For this package's own use.
 * @throws SystemError `ENOTCONN`
 */
export function getPeerName(socket: AsFd): SocketAddress {
  check(native.getpeername(socket.fd, slot), 'getpeername')
  return readSlot() as SocketAddress
}

function isBlocking(options: SocketOptions): boolean {
  checkOptions(options, 'options', OPTIONS)
  const { blocking = false } = options
  checkBoolean(blocking, 'blocking')
  return blocking
}

const OPTIONS: NamesOf<SocketOptions> = { blocking: true }

function nonBlockFlag(blocking: boolean): number {
  return blocking ? SOCK_CLOEXEC : SOCK_CLOEXEC | SOCK_NONBLOCK
}

const pair = new Int32Array(2)
const unspecified = new Uint8Array(16)
