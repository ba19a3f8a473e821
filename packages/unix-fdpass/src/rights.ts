import {
  controlSpace,
  descriptorSpace,
  type FdLike,
  type OwnedFd,
  readControl,
  recvMessage,
  SCM_MAX_FD,
  SCM_PIDFD,
  sendMessage,
} from '@linux-sockets/native-core'
import type { Credentials } from '@linux-sockets/native-core/codecs'
import { MSG_CTRUNC, MSG_TRUNC } from '@linux-sockets/native-core/constants'
import {
  checkBytes,
  checkInteger,
  checkOptions,
  closeQuietly,
  describe,
  type NamesOf,
} from '@linux-sockets/native-core/internal'
import { SCM_CREDENTIALS } from './credentials.js'

/** Options of `receiveDescriptors`. */
export interface ReceiveDescriptorsOptions {
  /** The most descriptors to take, 0 … 253. A message with more has none, and is `truncated`. Default 253. */
  readonly max?: number | undefined
  /** The most **bytes** of data to take, at least 1. Default 65536. */
  readonly size?: number | undefined
}

/** A message, and the descriptors and credentials that came with it. */
export interface DescriptorMessage {
  /** The bytes of the message; none at the end of a stream. */
  readonly data: Buffer
  /**
   * The descriptors of this message, in the order in which they were sent. They are closed on exec, and blocking or not as
   * the sender has them. The caller must close them.
   */
  readonly descriptors: OwnedFd[]
  /**
   * Whether descriptors were lost: more came than `max`, or than this process may have open. Those that did come were
   * closed, so that none is mistaken for another; `recvMessage` of native-core with `keepTruncated` returns them.
   */
  readonly truncated: boolean
  /** Whether bytes were lost: a datagram was longer than `size`. */
  readonly dataTruncated: boolean
  /** The sender's credentials, on a socket with `SO_PASSCRED`. */
  readonly credentials: Credentials | undefined
  /** The process that sent the message, on a socket with `SO_PASSPIDFD`. The caller must close it. Linux 6.5 */
  readonly pidfd: OwnedFd | undefined
}

/**
 * sendmsg(2) with `SCM_RIGHTS`: passes open descriptors over a Unix socket. The receiver gets duplicates; the caller's
 * descriptors stay open, and can be closed as soon as this returns.
 *
 * `data` must have at least one byte, since a stream would drop descriptors without data. On a stream the descriptors go
 * with the first byte, even if fewer bytes are sent than given: send the rest without them.
 *
 * Returns the number of bytes sent, or `null` if it would block: then nothing was sent, and `writable(socket)` tells when
 * to try again. A datagram socket without a peer is always writable: use a `DatagramChannel` for it.
 *
 * @throws RangeError for more than 253 descriptors, or no data
 * @throws TypeError if `descriptors` isn't a list of descriptors, `data` isn't bytes, or a descriptor is closed
 * @throws SystemError `EBADF` for a number that isn't open; `ETOOMANYREFS` if more are in flight than the sender may have
 * open; `EPIPE`, `ECONNREFUSED`. Sockets of other families send the data and ignore the descriptors
 * @see {@link https://man7.org/linux/man-pages/man7/unix.7.html unix(7)}
 */
export function sendDescriptors(
  socket: FdLike,
  descriptors: readonly FdLike[],
  data: Uint8Array = Uint8Array.of(0),
): number | null {
  if (!Array.isArray(descriptors)) throw new TypeError(`descriptors must be an array, not ${describe(descriptors)}`)
  checkBytes(data, 'data')
  if (data.length === 0) throw new RangeError('data must be at least one byte for the descriptors to go with')
  return sendMessage(socket, { data, descriptors })
}

/**
 * recvmsg(2): takes the next message and the descriptors that came with it, or returns `null` if there is none yet. The
 * descriptors are closed on exec, and each has its owner before anything can fail. Their `O_NONBLOCK` is left unchanged,
 * because it belongs to the open file, which the sender may share. Classes that take a descriptor over and wait for it, such
 * as `SocketStream`, set it.
 *
 * On datagram and seqpacket sockets the message is the one that was sent. On a stream it ends with the bytes of the send
 * that carried the descriptors, and may begin with bytes of earlier sends that carried none; descriptors of two sends never
 * come together.
 *
 * @throws TypeError, RangeError if an option is invalid
 * @throws SystemError `ECONNRESET`, `EBADF`
 * @see {@link https://man7.org/linux/man-pages/man7/unix.7.html unix(7)}
 */
export function receiveDescriptors(socket: FdLike, options: ReceiveDescriptorsOptions = {}): DescriptorMessage | null {
  checkOptions(options, 'options', RECEIVE_OPTIONS)
  const { max = SCM_MAX_FD, size = 0x1_0000 } = options
  checkInteger(max, 0, SCM_MAX_FD, 'max')
  checkInteger(size, 1, 0x7fff_ffff, 'size')
  const data = Buffer.allocUnsafe(size)
  const control = controlSpace(SCM_CREDENTIALS.size) + descriptorSpace(max) + controlSpace(SCM_PIDFD.size)
  const message = recvMessage(socket, data, { control })
  if (message === null) return null
  const { length, flags, descriptors, pidfd } = message
  // Alignment, and room for messages that didn't come, can let in more than `max` descriptors.
  const tooMany = descriptors.length > max
  if (tooMany) for (const descriptor of descriptors.splice(0)) closeQuietly(descriptor)
  return {
    data: data.subarray(0, length),
    descriptors,
    truncated: tooMany || (flags & MSG_CTRUNC) !== 0,
    dataTruncated: (flags & MSG_TRUNC) !== 0,
    credentials: readControl(message.control, SCM_CREDENTIALS),
    pidfd,
  }
}

const RECEIVE_OPTIONS: NamesOf<ReceiveDescriptorsOptions> = { max: true, size: true }
