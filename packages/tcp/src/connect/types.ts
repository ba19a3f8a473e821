import type { Socket } from '@linux-sockets/native-core'
import type { SocketStreamOptions } from '@linux-sockets/native-core/streams'
import type { AddressOrText, InetAddressLike } from '../addresses.js'

/** Options of `connect`, for its attempts and for the stream. */
export interface ConnectOptions {
  /** Aborts connecting: the promise rejects with the signal's reason, and no socket stays open. */
  readonly signal?: AbortSignal | undefined
  /**
   * The time limit for all attempts together, in **milliseconds**, at least 1. Attempts that still run then fail with
   * `ETIMEDOUT`. Default: only the kernel's own limits.
   */
  readonly timeout?: number | undefined
  /**
   * The time from the start of one attempt to the start of the next, in **milliseconds**, at least 10. When an attempt
   * fails, the next one starts at once. Default 250. RFC 8305, section 5
   */
  readonly attemptDelay?: number | undefined
  /**
   * Whether the address families alternate: the next attempt uses the first address of another family, if there is one. A
   * family whose network is broken then costs one attempt, not one for each of its addresses. False keeps the given order.
   * Default true. RFC 8305, section 4
   */
  readonly interleave?: boolean | undefined
  /**
   * The local address to connect from, or one for each family. With port 0, connect(2) chooses the port
   * (`IP_BIND_ADDRESS_NO_PORT`), so that connections to different peers may share one. An attempt fails if none of these
   * has its family.
   */
  readonly localAddress?: AddressOrText | readonly AddressOrText[] | undefined
  /**
   * Called with the socket of each attempt before it is bound and connected, to set options:
   * `(socket) => setOption(socket, TCP_USER_TIMEOUT, 10_000)`. If it throws, that attempt fails.
   */
  readonly prepare?: ((socket: Socket) => void) | undefined
  /**
   * `MSG_FASTOPEN`: the first **bytes** to send, allowed only with exactly one address. If an earlier connection has
   * brought the peer's cookie, as many of them as fit go with the SYN. The rest is the stream's first write; so are all of
   * them without a cookie, or if `net.ipv4.tcp_fastopen` is off. The peer's program may receive them twice, so choose bytes
   * that do no harm then. They must not change before they are sent. RFC 7413
   */
  readonly fastOpen?: Uint8Array | undefined
  /** Called for each event of an attempt. If it throws, connecting ends, and the promise rejects with that error. */
  readonly onAttempt?: ((attempt: ConnectAttempt) => void) | undefined
  /** `IPPROTO_…`: `IPPROTO_MPTCP` for multipath TCP. Default 0: TCP. */
  readonly protocol?: number | undefined
  /** Options of the stream. Its `watch` is also used for the attempts. */
  readonly stream?: SocketStreamOptions | undefined
}

/**
 * An event of an attempt to connect. An attempt that is closed because another one connected first reports no further
 * event.
 */
export type ConnectAttempt =
  | {
      /** `'start'`: the attempt starts. `'win'`: it is the first that is connected. */
      readonly event: 'start' | 'win'
      /** The address of the attempt. */
      readonly address: InetAddressLike
      /** Undefined: these events have no error. */
      readonly error?: undefined
    }
  | {
      /** The attempt has failed. */
      readonly event: 'fail'
      /** The address of the attempt. */
      readonly address: InetAddressLike
      /**
       * The reason: a SystemError, or the value that `prepare` threw. A value that is no Error becomes the `cause` of one.
       */
      readonly error: NodeJS.ErrnoException
    }
