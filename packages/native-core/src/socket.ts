import { type AddressLike, encodeAddress, formatAddress, readSlot, type SocketAddress, slot } from './address.js'
import { AF_UNIX, SOCK_CLOEXEC, SOCK_NONBLOCK, SOMAXCONN } from './constants.js'
import { errno } from './errno.js'
import { check, fail, unlessBlocked } from './error.js'
import { OwnedFd } from './fd.js'
import { type IncomingMessage, type OutgoingMessage, type ReceiveOptions, recvMessage, sendMessage } from './message.js'
import { native } from './native.js'

/** How a socket is opened. */
export interface SocketOptions {
  /** Whether calls wait. They then stop the whole thread, so this is for Workers. Default false. */
  readonly blocking?: boolean | undefined
}

/** What recvfrom(2) gave. */
export interface Datagram {
  /** Bytes received; with `MSG_TRUNC` among the flags the datagram's true length. */
  readonly length: number
  /** The sender; `null` where it has no name. */
  readonly address: SocketAddress | null
}

/**
 * A socket: the kernel's own calls on it, synchronous and exact. Would-block is `null`; every other failure is thrown.
 *
 *     using socket = Socket.open(AF_INET, SOCK_DGRAM)
 *     socket.bind({ family: 'ipv4', address: '127.0.0.1', port: 0 })
 *     socket.sendTo(Buffer.from('hello'), socket.localAddress)
 */
export class Socket extends OwnedFd {
  /**
   * socket(2). Closed on exec, and non-blocking unless asked otherwise.
   * @throws SystemError `EAFNOSUPPORT`, `EPROTONOSUPPORT`, `EPERM`, `EMFILE`, …
   */
  static open(domain: number, type: number, protocol = 0, { blocking = false }: SocketOptions = {}): Socket {
    return new Socket(check(native.socket(domain, type | nonBlockFlag(blocking), protocol), 'socket'))
  }

  /** socketpair(2): two sockets connected to each other. */
  static pair(
    domain: number = AF_UNIX,
    type = 1,
    protocol = 0,
    { blocking = false }: SocketOptions = {},
  ): [Socket, Socket] {
    check(native.socketpair(domain, type | nonBlockFlag(blocking), protocol, pair), 'socketpair')
    const [a, b] = pair as unknown as [number, number]
    return [new Socket(a), new Socket(b)]
  }

  /** Takes over a descriptor that someone else opened. Makes no system call: `fd` is believed to be a socket. */
  static override adopt(fd: number): Socket {
    return new Socket(fd)
  }

  /** Makes a socket of a descriptor that was received or opened elsewhere; `owner` is released. Makes no system call. */
  static from(owner: OwnedFd): Socket {
    return new Socket(owner.release())
  }

  /** bind(2). Binding to `{ family: 'unix' }` lets the kernel choose an abstract name. */
  bind(address: AddressLike): void {
    const result = native.bind(this.fd, encodeAddress(address))
    if (result < 0) throw fail(result, 'bind', formatAddress(address))
  }

  /** listen(2). The backlog is lowered to `net.core.somaxconn`; asking again changes it. */
  listen(backlog: number = SOMAXCONN): void {
    check(native.listen(this.fd, backlog), 'listen')
  }

  /**
   * accept4(2): the next connection, or `null` when none waits. Closed on exec, and non-blocking unless asked otherwise.
   * @throws SystemError `EMFILE`, `ENFILE`, `ENOBUFS`, `ENOMEM`: the connection still waits. `ECONNABORTED` and
   * pending network errors: that connection is gone, the next call is worth while. accept(2)
   */
  accept({ blocking = false }: SocketOptions = {}): Socket | null {
    const fd = unlessBlocked(native.accept4(this.fd, nonBlockFlag(blocking), null), 'accept4')
    return fd === null ? null : new Socket(fd)
  }

  /**
   * connect(2). Returns true when connected, `null` when under way: then wait until the socket is writable and read
   * `SO_ERROR`. On a datagram socket it only sets the peer.
   * @throws SystemError also `EAGAIN`, which on a Unix socket says that the listener's backlog is full, and nothing is under way
   */
  connect(address: AddressLike): true | null {
    const result = native.connect(this.fd, encodeAddress(address))
    if (result >= 0) return true
    if (result === -errno.EINPROGRESS) return null
    throw fail(result, 'connect', formatAddress(address))
  }

  /** connect(2) with `AF_UNSPEC`: a datagram socket has no peer any more. */
  disconnect(): void {
    check(native.connect(this.fd, unspecified), 'connect', 'AF_UNSPEC')
  }

  /** shutdown(2): `SHUT_RD`, `SHUT_WR` (sends a FIN) or `SHUT_RDWR`. */
  shutdown(how: number): void {
    check(native.shutdown(this.fd, how), 'shutdown')
  }

  /** getsockname(2): what `bind`, or the kernel, has given to this end. */
  get localAddress(): SocketAddress {
    check(native.getsockname(this.fd, slot), 'getsockname')
    return readSlot() as SocketAddress
  }

  /**
   * getpeername(2): the other end.
   * @throws SystemError `ENOTCONN`
   */
  get peerAddress(): SocketAddress {
    check(native.getpeername(this.fd, slot), 'getpeername')
    return readSlot() as SocketAddress
  }

  /**
   * send(2), never raising SIGPIPE. Returns the bytes sent, which on a stream may be fewer than given, or `null` when it
   * would block.
   */
  send(data: Uint8Array, flags = 0, offset = 0, length: number = data.length - offset): number | null {
    return unlessBlocked(native.send(this.fd, data, offset, length, flags), 'send')
  }

  /**
   * recv(2) into the caller's buffer. Returns the bytes received, 0 at the end of a stream (or for an empty datagram), or
   * `null` when it would block. With `MSG_TRUNC` a datagram's true length is returned, even where it didn't fit.
   * @throws RangeError for an empty or detached buffer, since its 0 would look like the end of the stream
   */
  recv(buffer: Uint8Array, flags = 0, offset = 0, length: number = buffer.length - offset): number | null {
    if (length === 0 && flags === 0) throw new RangeError('recv: the buffer is empty or detached')
    return unlessBlocked(native.recv(this.fd, buffer, offset, length, flags), 'recv')
  }

  /** sendto(2): one datagram. Returns the bytes sent, or `null` when it would block. */
  sendTo(data: Uint8Array, address: AddressLike, flags = 0): number | null {
    const sent = native.sendto(this.fd, data, 0, data.length, flags, encodeAddress(address))
    if (sent >= 0) return sent
    if (sent === -errno.EAGAIN) return null
    throw fail(sent, 'sendto', formatAddress(address))
  }

  /** recvfrom(2): one datagram into the caller's buffer, or `null` when there is none. */
  recvFrom(buffer: Uint8Array, flags = 0): Datagram | null {
    const length = unlessBlocked(native.recvfrom(this.fd, buffer, 0, buffer.length, flags, slot), 'recvfrom')
    return length === null ? null : { length, address: readSlot() }
  }

  /** sendmsg(2): see `sendMessage`. */
  sendMessage(message: OutgoingMessage): number | null {
    return sendMessage(this, message)
  }

  /** recvmsg(2): see `recvMessage`. */
  recvMessage(buffers: Uint8Array | readonly Uint8Array[], options?: ReceiveOptions): IncomingMessage | null {
    return recvMessage(this, buffers, options)
  }
}

function nonBlockFlag(blocking: boolean): number {
  return blocking ? SOCK_CLOEXEC : SOCK_CLOEXEC | SOCK_NONBLOCK
}

const pair = new Int32Array(2)
const unspecified = new Uint8Array(16)
