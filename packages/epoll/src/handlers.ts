// The types by which a program sees connections. `Connection` and its handlers refer to each other.
import type { AsFd, SocketAddress } from '@linux-sockets/native-core'
import type { NamesOf } from '@linux-sockets/native-core/internal'
import type { DrainOptions, SocketStream, SocketStreamOptions } from '@linux-sockets/native-core/streams'
import type { ConnectionStatistics } from './statistics.js'

/** The handlers of connections; one object serves them all. `state` is required unless `State` may be undefined. */
export type Handlers<State = undefined, Address extends SocketAddress = SocketAddress> = ConnectionHandlers<
  State,
  Address
> &
  (undefined extends State ? unknown : Required<Pick<ConnectionHandlers<State, Address>, 'state'>>)

/** The handlers of connections; only `data` is required. */
export interface ConnectionHandlers<State, Address extends SocketAddress> {
  /**
   * Makes the state of each new connection, before any other handler is called for it. This handler may read the
   * connection's properties and keep it. Methods that act on it, such as `write` or `close`, throw a TypeError here; call
   * them in `open`. If this handler throws, the connection is not made. Without this handler the state is undefined.
   */
  state?(connection: Connection<never, Address>): State
  /** The connection is established. */
  open?(connection: Connection<State, Address>): void
  /** Bytes have arrived. `chunk` is overwritten after the call, so copy what you keep. */
  data(connection: Connection<State, Address>, chunk: Buffer): void
  /** The queue has fallen to `lowWaterMark`, after `write` has returned false. */
  drain?(connection: Connection<State, Address>): void
  /** The peer has ended its side, and no more bytes follow. Without this handler the connection ends its own side, too. */
  end?(connection: Connection<State, Address>): void
  /** The connection broke: `ECONNRESET`, `ETIMEDOUT`, … `close` follows. */
  error?(connection: Connection<State, Address>, error: Error): void
  /** The connection is closed. This is always the last call, and is made once. */
  close?(connection: Connection<State, Address>): void
  /**
   * A timeout of `Timeouts` has expired. It starts again if the connection goes on. Without this handler the connection
   * breaks with `ETIMEDOUT`, as it always does after `connectTimeout`.
   */
  timeout?(connection: Connection<State, Address>, kind: 'idle' | 'read' | 'write'): void
}

export const HANDLERS: NamesOf<ConnectionHandlers<unknown, SocketAddress>> = {
  state: true,
  open: true,
  data: true,
  drain: true,
  end: true,
  error: true,
  close: true,
  timeout: true,
}

/**
 * A connected stream socket in a reactor, edge-triggered: the connections of a server, and the result of `connect` and
 * `adopt`.
 */
export interface Connection<State = undefined, Address extends SocketAddress = SocketAddress> extends AsFd {
  /** The value that the handler `state` has returned; undefined without that handler. The program may replace it. */
  state: State

  /** The descriptor, for use with socket options; −1 once closed. */
  readonly fd: number
  /** getsockname(2): the local address. Undefined once the connection is closed. */
  readonly localName: Address | undefined
  /**
   * The peer's address. For an accepted connection it is the address from accept4(2): it takes no system call, and stays
   * known after a reset and after the close. For any other connection getpeername(2) is called, and the address is
   * undefined while the socket is not connected.
   */
  readonly peerName: Address | undefined
  /** The local address as text, as in `net.Socket`: `'127.0.0.1'`. Undefined if `localName` is, or is neither IPv4 nor IPv6. */
  readonly localAddress: string | undefined
  /** The local port. Undefined if `localAddress` is. */
  readonly localPort: number | undefined
  /** `'IPv4'` or `'IPv6'`. Undefined if `localAddress` is. */
  readonly localFamily: 'IPv4' | 'IPv6' | undefined
  /** The peer's address as text, as in `net.Socket`: `'127.0.0.1'`. Undefined if `peerName` is, or is neither IPv4 nor IPv6. */
  readonly remoteAddress: string | undefined
  /** The peer's port. Undefined if `remoteAddress` is. */
  readonly remotePort: number | undefined
  /** `'IPv4'` or `'IPv6'`. Undefined if `remoteAddress` is. */
  readonly remoteFamily: 'IPv4' | 'IPv6' | undefined

  /** Whether connect(2) is still under way. If it succeeds, the handler `open` is called. */
  readonly connecting: boolean
  /** Whether the connection is closed. */
  readonly closed: boolean
  /** **Bytes** in the write queue, which the kernel has not accepted yet. */
  readonly queuedBytes: number
  /** **Bytes** received so far. */
  readonly bytesRead: number
  /** **Bytes** that the kernel has accepted for sending so far. */
  readonly bytesWritten: number
  /** The traffic so far, as a copy. */
  readonly statistics: ConnectionStatistics

  /**
   * Sends as much as the kernel accepts at once, and queues a copy of the rest, so the caller may reuse `data`. Text is sent
   * as UTF-8. Returns false when the queue has reached `highWaterMark`; the handler `drain` or `close` is called later. After
   * `end` and on a closed connection the data is dropped, and the result is true, since there is nothing to wait for.
   * @throws TypeError if `data` is neither bytes nor text
   */
  write(data: Uint8Array | string): boolean
  /**
   * Holds the queue back: data that is queued already, and data written from now on. When `uncork` has been called as often as
   * `cork`, the queue is sent with as few system calls as possible (`sendmsg`). `end` removes all corks, and after `end` this
   * does nothing.
   */
  cork(): void
  /** Ends one `cork`. The last one sends the queued data. */
  uncork(): void

  /** Sends the queued data, then a FIN. The connection closes when the peer has ended, too. */
  end(): void
  /**
   * Stops reading, sends the queued data, then closes without waiting for the peer's end. If connect(2) is under way, it is
   * completed first. If the peer has sent bytes that were not read, or sends more later, the kernel resets the connection, and
   * the peer can lose what it has not read yet. To avoid this, use `end`.
   *
   * The promise is fulfilled when the connection is closed. If the queued data could not all be sent, it is rejected with the
   * error, `ETIMEDOUT` after `timeout`. The rejection need not be handled: the handler `error` is called as well, unless the
   * program itself has closed the connection.
   * @throws TypeError, RangeError if an option is invalid; the connection then goes on
   */
  drain(options?: DrainOptions): Promise<void>
  /**
   * Closes at once: with a FIN if nothing is queued. If queued data is lost, the peer sees a reset, as it does if it has sent
   * bytes that were not read.
   */
  close(): void
  /** Closes at once, with a reset. */
  abort(): void
  /** Called by `using`; closes at once, as `close` does. */
  [Symbol.dispose](): void

  /**
   * Stops reading: the kernel's buffer fills, and the peer must wait. The peer's end or reset is then noticed after `resume`,
   * once the bytes before it have been read. Without `resume`, only a write or a timeout reveals a reset, and these bytes are
   * lost.
   */
  pause(): this
  /** Reads again after `pause`. */
  resume(): this
  /** Keeps the process alive while the connection is open. This is the default. */
  ref(): this
  /** Lets the process end although the connection is open. */
  unref(): this

  /**
   * Makes a standard `Duplex` of the connection, for `node:tls`, `node:http`, `stream.pipeline` or `Duplex.toWeb`. The stream
   * runs on the same reactor, first sends the data that is queued here, and keeps the process alive if the connection did.
   * The handlers see the connection close.
   * @throws SystemError `EBADF` if the connection is closed or has ended, `ENOTCONN` while it is connecting
   * @throws TypeError, RangeError if an option is invalid; the connection then goes on
   */
  toStream(options?: Omit<SocketStreamOptions, 'watch'>): SocketStream<Address>
}
