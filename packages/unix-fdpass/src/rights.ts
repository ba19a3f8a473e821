import {
  type AsFd,
  type Credentials,
  checkInteger,
  controlSpace,
  descriptorSpace,
  MSG_CTRUNC,
  MSG_TRUNC,
  type OwnedFd,
  readControl,
  recvMessage,
  SCM_MAX_FD,
  sendMessage,
} from '@linux-sockets/native-core'
import { SCM_CREDENTIALS } from './credentials.js'

/** How much to take. */
export interface ReceiveDescriptorsOptions {
  /** The most descriptors to take, 0 … 253. A message with more comes without any, and `truncated`. Default 253. */
  readonly max?: number | undefined
  /** The most **bytes** of data to take, at least 1. Default 65536. */
  readonly size?: number | undefined
  /**
   * Whether received descriptors are left as they come. By default `O_NONBLOCK` is set on them, which their sender sees
   * too, since the flag belongs to the open file.
   */
  readonly keepBlocking?: boolean | undefined
}

/** A message, and what came with it. */
export interface DescriptorMessage {
  /** The bytes; none at the end of a stream. */
  readonly data: Buffer
  /** The descriptors of this message, in the order in which they were sent. Yours to close. */
  readonly descriptors: OwnedFd[]
  /**
   * Whether descriptors were lost: more came than `max`, or than this process may have open. Those that did come were
   * closed, so that none is taken for another.
   */
  readonly truncated: boolean
  /** Whether bytes were lost: a datagram was longer than `size`. */
  readonly dataTruncated: boolean
  /** The sender, on a socket with `SO_PASSCRED`. */
  readonly credentials: Credentials | undefined
}

/**
 * sendmsg(2) with `SCM_RIGHTS`: passes open descriptors over a Unix socket to whoever receives there. What they get are
 * duplicates: those given here stay open, and can be closed as soon as this returns.
 *
 * At least one byte must go along, since a stream would drop descriptors that come with none. On a stream they travel with
 * the first byte, also where fewer bytes are sent than given: send the rest without them.
 *
 * Returns the bytes sent, or `null` when it would block: then nothing was sent, and `writable(socket)` tells when to try again.
 *
 * @throws RangeError for more than 253 descriptors, or no data
 * @throws TypeError for a descriptor that is closed
 * @throws SystemError `EBADF` for a number that isn't open; `ETOOMANYREFS` when more are in flight than the sender may have
 * open; `EPIPE`, `ECONNREFUSED`. Sockets of other families send the data and ignore the descriptors
 * @see {@link https://man7.org/linux/man-pages/man7/unix.7.html unix(7)}
 */
export function sendDescriptors(
  socket: AsFd,
  descriptors: readonly AsFd[],
  data: Uint8Array = Uint8Array.of(0),
): number | null {
  if (data.length === 0) throw new RangeError('descriptors need at least one byte of data to go with')
  return sendMessage(socket, { data, descriptors })
}

/**
 * recvmsg(2): takes the next message and the descriptors that came with it, or `null` when there is none yet.
 * They are closed on exec, non-blocking, and have their owners before anything can fail.
 *
 * On datagram and seqpacket sockets the message is what was sent. On a stream it ends with the bytes of the
 * send that carried the descriptors, and may begin with those of earlier sends that carried none; descriptors of
 * two sends never come together.
 *
 * @throws RangeError, TypeError for a `max` or `size` out of range
 * @throws SystemError `ECONNRESET`, `EBADF`
 * @see {@link https://man7.org/linux/man-pages/man7/unix.7.html unix(7)}
 */
export function receiveDescriptors(socket: AsFd, options: ReceiveDescriptorsOptions = {}): DescriptorMessage | null {
  const { max = SCM_MAX_FD, size = 0x1_0000, keepBlocking = false } = options
  checkInteger(max, 0, SCM_MAX_FD, 'max')
  checkInteger(size, 1, 0x7fff_ffff, 'size')
  const data = Buffer.allocUnsafe(size)
  const control = controlSpace(SCM_CREDENTIALS.size) + descriptorSpace(max)
  const message = recvMessage(socket, data, { control, keepBlocking })
  if (message === null) return null
  const { length, flags, descriptors } = message
  // Room for credentials that didn't come, and for alignment, lets more descriptors in.
  const tooMany = descriptors.length > max
  if (tooMany) for (const descriptor of descriptors.splice(0)) descriptor.close()
  return {
    data: data.subarray(0, length),
    descriptors,
    truncated: tooMany || (flags & MSG_CTRUNC) !== 0,
    dataTruncated: (flags & MSG_TRUNC) !== 0,
    credentials: readControl(message.control, SCM_CREDENTIALS),
  }
}
