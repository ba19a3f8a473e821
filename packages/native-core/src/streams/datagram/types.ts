import type { AddressLike, SocketAddress } from '../../address.js'
import type { ReceiveBatchOptions } from '../../batch.js'
import type { Decoder } from '../../codecs/codec.js'
import type { ControlMessage, ControlName } from '../../control.js'
import type { SystemError } from '../../error.js'
import type { FdLike, OwnedFd } from '../../fd.js'
import type { IncomingMessage } from '../../message.js'

/** A received datagram. */
export interface IncomingDatagram<Address extends SocketAddress = SocketAddress> {
  /** The bytes, cut to the size of the receive buffer. */
  readonly data: Buffer
  /** The true length in bytes: more than `data.length` when the datagram was cut. */
  readonly length: number
  /** The sender's address; `null` if the sender has no name. */
  readonly address: Address | null
  /** `MSG_TRUNC`: the data was cut. `MSG_CTRUNC`: control messages were cut. `MSG_EOR` and others as the kernel set them. */
  readonly flags: number
  /** The control messages, in the kernel's order; needs `receive.control`. Messages that carried descriptors have no data. */
  readonly control: readonly ControlMessage[]
  /**
   * The descriptors that came with the datagram. The program must close them. Empty if the message was cut
   * (`MSG_CTRUNC`), unless `keepTruncated` is set.
   */
  readonly descriptors: readonly OwnedFd[]
  /** The process that sent the datagram, on a socket with `SO_PASSPIDFD`. The program must close it. */
  readonly pidfd: OwnedFd | undefined
}

/**
 * The datagram that a handler is called with. The channel reuses one object for all datagrams: it is valid only during the
 * call, and `copy` takes what must last longer. A property is decoded when it is read; a property that isn't read costs
 * nothing.
 */
export interface DatagramView<Address extends SocketAddress = SocketAddress> extends IncomingDatagram<Address> {
  /** The sender's address as bytes, overwritten by later datagrams. `send` takes it as it is, without decoding and encoding. */
  readonly sockaddr: Uint8Array
  /** Descriptors that the handler doesn't read from here are closed when the handler returns. */
  readonly descriptors: readonly OwnedFd[]
  /** Closed when the handler returns, unless the handler has read it from here. */
  readonly pidfd: OwnedFd | undefined
  /**
   * The value of the first control message of this kind, or undefined if there is none. It decodes nothing else, and copies
   * nothing.
   * @throws TypeError for a row of another thing, such as an option
   */
  readControl<T>(kind: ControlName & Decoder<T>): T | undefined
  /** Returns a copy that stays valid. The copy takes over the descriptors and the pidfd. */
  copy(): IncomingDatagram<Address>
}

/**
 * The datagrams that one recvmmsg(2) returned, valid only during the call of the handler. `at` and the iterator show one at a
 * time, in the same object.
 */
export interface DatagramBatch<Address extends SocketAddress = SocketAddress> extends Iterable<DatagramView<Address>> {
  /** The number of datagrams, at least 1. */
  readonly length: number
  /** Shows datagram i. @throws RangeError if there is none */
  at(i: number): DatagramView<Address>
}

/** A datagram to send. */
export interface OutgoingDatagram {
  /** The bytes. */
  readonly data: Uint8Array
  /** The destination; undefined for the connected peer. */
  readonly address?: AddressLike | undefined
  /** Control messages and descriptors. */
  readonly options?: SendOptions | undefined
}

/** A datagram that could not be sent. */
export interface FailedDatagram {
  /** The bytes that were to be sent. */
  readonly data: Uint8Array
  /** The destination; undefined for the connected peer. */
  readonly address: AddressLike | undefined
}

/**
 * The functions that a `DatagramChannel` calls, always from the event loop and in the async context that made the channel. An
 * exception that one of them throws is uncaught, and the channel goes on.
 */
export interface DatagramHandlers<Address extends SocketAddress = SocketAddress> {
  /**
   * Called with each datagram. Without it, datagrams are read by iterating over the channel. If it throws, the following
   * datagrams are still delivered.
   */
  datagram?(datagram: DatagramView<Address>): void
  /**
   * Called with the datagrams of each recvmmsg(2), in place of `datagram`: a program that answers can send all answers with
   * one `sendBatch`. A `pause` takes effect after the batch.
   */
  batch?(batch: DatagramBatch<Address>): void
  /**
   * Called with an error that the network has reported for the socket (`ECONNREFUSED`, `EHOSTUNREACH`, …), and, with
   * `failed`, for every datagram that the kernel refused to send (`EMSGSIZE`, `EPERM`, `ENETUNREACH`, …). Neither ends the
   * channel. `EBADF` without `failed`, reported once, does: other code has closed the socket.
   */
  error(error: SystemError, failed?: FailedDatagram): void
  /** Called when the last queued datagram has left the queue: the caller can send more. */
  drain?(): void
  /** Called when nothing more can be received: after `shutdown(SHUT_RD)`, or when the peer of a `SOCK_SEQPACKET` has closed. */
  end?(): void
  /**
   * Called with each message of the socket's error queue: ICMP errors with `IP_RECVERR`, transmit timestamps, zero-copy
   * notices. `data` is valid only during the call. Without this handler the channel empties the queue and counts the
   * messages, since an unread queue would wake the loop forever.
   */
  errorQueue?(message: IncomingMessage<Address>, data: Buffer): void
}

/** The sizes and limits of a channel. */
export interface DatagramChannelOptions {
  /** The receive buffers: the datagrams per call, and the bytes per datagram. Default 32 of 2048 bytes, no control. */
  readonly receive?: ReceiveBatchOptions | undefined
  /** The most datagrams to receive, and to send from the queue, before the event loop gets its turn. Default 256. */
  readonly budget?: number | undefined
  /** The most datagrams that may wait to be sent. Default 4096. */
  readonly maxQueuedDatagrams?: number | undefined
  /** The most **bytes** that may wait to be sent. Default 4 MiB. */
  readonly maxQueuedBytes?: number | undefined
  /** Closes the channel at once; pending promises are rejected with the signal's reason. */
  readonly signal?: AbortSignal | undefined
}

/** Control messages and descriptors that are sent along with a datagram. */
export interface SendOptions {
  /** Control messages, such as `IP_PKTINFO`: a list, or bytes from `encodeControl`. */
  readonly control?: readonly ControlMessage[] | Uint8Array | undefined
  /** Descriptors to pass over a Unix socket. They may be closed as soon as `send` returns. */
  readonly descriptors?: readonly FdLike[] | undefined
  /** The number of datagrams that the kernel makes of the data (`UDP_SEGMENT`), for the statistics. Default 1. */
  readonly segments?: number | undefined
  /**
   * Called if the kernel refuses the datagram. What it returns is sent in its place, before later datagrams; the error is then
   * not reported. Undefined: the datagram has failed.
   */
  readonly replace?: ((error: SystemError) => readonly OutgoingDatagram[] | undefined) | undefined
  /**
   * Called once, when the kernel has taken the datagram, or with the error or the reason for which it was not sent. The
   * `error` handler is then not called for it. If `replace` has returned others, it isn't called.
   */
  readonly settled?: ((error?: unknown) => void) | undefined
}

/** Counts since the channel was made. */
export interface DatagramStatistics {
  /** Datagrams delivered. */
  readonly received: number
  /** Bytes delivered. */
  readonly bytesRead: number
  /** Datagrams delivered that were cut (`MSG_TRUNC`). */
  readonly truncated: number
  /** Datagrams delivered whose control messages were cut (`MSG_CTRUNC`). */
  readonly controlTruncated: number
  /** Datagrams that the kernel accepted. */
  readonly sent: number
  /** Bytes that the kernel accepted. */
  readonly bytesWritten: number
  /** Datagrams that the kernel refused, each of them reported. */
  readonly failed: number
  /** How often the socket's send buffer was full (`EAGAIN`). */
  readonly wouldBlock: number
  /** How often the device's queue was full (`ENOBUFS`). */
  readonly noBuffers: number
  /** The most datagrams that ever waited to be sent. */
  readonly peakQueuedDatagrams: number
  /** Messages taken from the error queue. */
  readonly errorQueue: number
}
