import { type FdLike, getOption, SystemError, setOption } from '@linux-sockets/native-core'
import { checkBoolean, checkInteger, checkOptions, fdOf } from '@linux-sockets/native-core/internal'
import { SO_RCVBUF, SO_RCVBUFFORCE, SO_SNDBUF, SO_SNDBUFFORCE } from '@linux-sockets/native-core/options'

/** Options of `setReceiveBuffer` and `setSendBuffer`. */
export interface BufferOptions {
  /** Whether to go beyond the limit of the machine, which takes `CAP_NET_ADMIN`. Default false. */
  readonly force?: boolean | undefined
}

/** The size of a socket's buffer. */
export interface BufferSize {
  /** The **bytes** that were asked for. */
  readonly asked: number
  /** The **bytes** that were given: fewer than asked beyond the limit, and more than asked for tiny buffers. */
  readonly given: number
  /**
   * The kernel's own count of the buffer in **bytes**, as `SO_RCVBUF` and `SO_SNDBUF` read: twice `given`. The memory around
   * each datagram counts too, so that a buffer holds fewer small datagrams than their lengths suggest.
   */
  readonly accounted: number
  /** The sysctl that limits the buffer, if fewer bytes were given than asked for: raise it. */
  readonly raise?: 'net.core.rmem_max' | 'net.core.wmem_max'
}

/**
 * setsockopt(2) `SO_RCVBUF`, or `SO_RCVBUFFORCE` with `force`: sets the size of the receive buffer, and tells what became of
 * it. The kernel cuts what exceeds net.core.rmem_max without a word.
 *
 *     const { asked, given, raise } = setReceiveBuffer(socket, 8 << 20)
 *     if (raise !== undefined) console.warn(`${given} of ${asked} bytes: raise ${raise}`)
 *
 * Linux 2.6.14
 * @throws TypeError, RangeError for bytes that aren't from 1 to 1 073 741 823, or an invalid option
 * @throws SystemError `EPERM` with `force`, without `CAP_NET_ADMIN`
 * @see {@link https://man7.org/linux/man-pages/man7/socket.7.html socket(7)}
 */
export function setReceiveBuffer(socket: FdLike, bytes: number, options: BufferOptions = {}): BufferSize {
  return setBuffer(socket, bytes, options, SO_RCVBUF, SO_RCVBUFFORCE, 'net.core.rmem_max')
}

/**
 * setsockopt(2) `SO_SNDBUF`, or `SO_SNDBUFFORCE` with `force`: like `setReceiveBuffer`, for the send buffer, which
 * net.core.wmem_max limits.
 * @throws TypeError, RangeError, SystemError as `setReceiveBuffer`
 * @see {@link https://man7.org/linux/man-pages/man7/socket.7.html socket(7)}
 */
export function setSendBuffer(socket: FdLike, bytes: number, options: BufferOptions = {}): BufferSize {
  return setBuffer(socket, bytes, options, SO_SNDBUF, SO_SNDBUFFORCE, 'net.core.wmem_max')
}

function setBuffer(
  socket: FdLike,
  bytes: number,
  options: BufferOptions,
  plain: typeof SO_RCVBUF,
  forced: typeof SO_RCVBUFFORCE,
  sysctl: 'net.core.rmem_max' | 'net.core.wmem_max',
): BufferSize {
  const fd = fdOf(socket, 'socket')
  checkInteger(bytes, 1, BUFFER_MAX, 'bytes')
  checkOptions(options, 'options', { force: true })
  const { force = false } = options
  checkBoolean(force, 'force')
  try {
    setOption(fd, force ? forced : plain, bytes)
  } catch (error) {
    if (!(error instanceof SystemError) || error.code !== 'EPERM') throw error
    throw new SystemError(error.errno, error.syscall, `${forced.name} (it takes CAP_NET_ADMIN; or raise ${sysctl})`)
  }
  const accounted = getOption(fd, plain)
  const given = accounted / 2
  return { asked: bytes, given, accounted, ...(given < bytes && { raise: sysctl }) }
}

/** The kernel doubles the size, and keeps it in an int. */
const BUFFER_MAX = 0x3fff_ffff
