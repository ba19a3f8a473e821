import { checkBytes, checkCodec, checkInt32, checkString, describe } from './argument.js'
import { type Codec, type Decoder, type Encoder, int } from './codecs/codec.js'
import { IPPROTO_IP, IPPROTO_IPV6, IPPROTO_TCP, SOL_SOCKET } from './constants.js'
import { errno } from './errno.js'
import { check, fail } from './error.js'
import { type FdLike, fdOf, OwnedFd } from './fd.js'
import { native } from './native.js'

/** The C name of an option, and the kernel's two numbers for it. */
export interface OptionName {
  /** `'SO_RCVBUF'` */
  readonly name: string
  /** `SOL_SOCKET`, `IPPROTO_…` */
  readonly level: number
  /** The option's number at that level. */
  readonly option: number
}

/** An option that getsockopt(2) can read. */
export interface ReadableOption<T> extends OptionName, Decoder<T> {}

/** An option that setsockopt(2) can write. */
export interface WritableOption<T> extends OptionName, Encoder<T> {}

/**
 * Makes a row for an option that can be read and written: `rw('TCP_KEEPIDLE', IPPROTO_TCP, 4, seconds)`.
 * @throws TypeError, RangeError for invalid arguments
 */
export function rw<Get, Set>(
  name: string,
  level: number,
  option: number,
  codec: Codec<Get, Set>,
): ReadableOption<Get> & WritableOption<Set> {
  checkRow(name, level, option)
  checkCodec(codec, 'encode', 'decode')
  const { size, encode, decode } = codec
  return { name, level, option, size, encode, decode }
}

/**
 * Makes a row for an option that can only be read.
 * @throws TypeError, RangeError for invalid arguments
 */
export function ro<T>(name: string, level: number, option: number, codec: Decoder<T>): ReadableOption<T> {
  checkRow(name, level, option)
  checkCodec(codec, 'decode')
  const { size, decode } = codec
  return { name, level, option, size, decode }
}

/**
 * Makes a row for an option that can only be written.
 * @throws TypeError, RangeError for invalid arguments
 */
export function wo<T>(name: string, level: number, option: number, codec: Encoder<T>): WritableOption<T> {
  checkRow(name, level, option)
  checkCodec(codec, 'encode')
  const { size, encode } = codec
  return { name, level, option, size, encode }
}

/**
 * getsockopt(2): reads an option.
 *
 *     getOption(socket, SO_RCVBUF) // 212992
 *
 * @throws TypeError if `option` is not a row of a readable option, but for example of a control message; for SO_PEERPIDFD,
 * which `peerPidfd` reads
 * @throws SystemError `ENOPROTOOPT` if this kernel or protocol doesn't know the option
 * @see {@link https://man7.org/linux/man-pages/man2/getsockopt.2.html getsockopt(2)}
 */
export function getOption<T>(socket: FdLike, option: ReadableOption<T>): T {
  checkOption(option, 'decode')
  const { value, view } = scratch(option.size)
  return option.decode(view, read(fdOf(socket, 'socket'), option, value, option.size))
}

/**
 * setsockopt(2): sets an option.
 *
 *     setOption(socket, SO_RCVBUF, 1 << 20)
 *
 * @throws TypeError, RangeError before any system call, for a value that the option can't hold, or if `option` is not a row
 * of a writable option
 * @throws SystemError `ENOPROTOOPT` if this kernel or protocol doesn't know the option
 * @see {@link https://man7.org/linux/man-pages/man2/setsockopt.2.html setsockopt(2)}
 */
export function setOption<T>(socket: FdLike, option: WritableOption<T>, value: NoInfer<T>): void {
  checkOption(option, 'encode')
  const { value: bytes, view } = scratch(option.size)
  const length = option.encode(value, view, option.name)
  check(
    native.setsockopt(fdOf(socket, 'socket'), option.level, option.option, bytes, length),
    'setsockopt',
    option.name,
  )
}

/**
 * getsockopt(2): reads any option as an `int`, without a row.
 * @throws TypeError, RangeError, SystemError as `getOption`
 */
export function getOptionInt(socket: FdLike, level: number, option: number): number {
  checkNumbers(level, option)
  return getOption(socket, ro(numbered(level, option), level, option, int))
}

/**
 * setsockopt(2): sets any option as an `int`, without a row.
 * @throws TypeError, RangeError, SystemError as `setOption`
 */
export function setOptionInt(socket: FdLike, level: number, option: number, value: number): void {
  checkNumbers(level, option)
  checkInt32(value, 'value')
  setOption(socket, wo(numbered(level, option), level, option, int), value)
}

/**
 * getsockopt(2): reads any option into the caller's buffer, whose contents the kernel may read first. Returns the number of
 * bytes that the kernel wrote.
 *
 * A few options are refused, since the length of the buffer doesn't bound what the kernel does with them, and the kernel
 * could overwrite memory outside of the buffer:
 *
 * - `TCP_ZEROCOPY_RECEIVE`, `MPTCP_FULL_INFO`: the value holds addresses to which the kernel would write.
 * - `IP_MSFILTER`, `MCAST_MSFILTER`, `TCP_AO_GET_KEYS`: the value holds the number of entries to write, and the buffer must
 *   have room for as many.
 * - `SO_PEERPIDFD` answers with a descriptor, which needs an owner: `peerPidfd` gives it one.
 *
 * The kernel counts `SO_GET_FILTER` in instructions; here its length is in **bytes**, as for all other options.
 * @throws RangeError if the buffer is shorter than the value asks for, TypeError for SO_PEERPIDFD
 * @throws SystemError `EOPNOTSUPP` (`ENOTSUP` in Node) for a value with addresses; the kernel's errors for the others
 * @see {@link https://man7.org/linux/man-pages/man2/getsockopt.2.html getsockopt(2)}
 */
export function getOptionBytes(socket: FdLike, level: number, option: number, buffer: Uint8Array): number {
  checkNumbers(level, option)
  checkBytes(buffer, 'buffer')
  return read(fdOf(socket, 'socket'), { name: numbered(level, option), level, option }, buffer, buffer.length)
}

/**
 * setsockopt(2): sets any option, as bytes. A few options write their answer into the bytes (`IPV6_FLOWLABEL_MGR`). An
 * empty array is an empty value: an address and the length 0. `null` is the null pointer with the length 0, which a few
 * options need.
 * @throws TypeError, RangeError for invalid numbers or bytes
 * @throws SystemError the kernel's errors, such as `EINVAL` for bytes of the wrong length
 * @see {@link https://man7.org/linux/man-pages/man2/setsockopt.2.html setsockopt(2)}
 */
export function setOptionBytes(socket: FdLike, level: number, option: number, bytes: Uint8Array | null): void {
  checkNumbers(level, option)
  if (bytes !== null) checkBytes(bytes, 'bytes')
  check(
    native.setsockopt(fdOf(socket, 'socket'), level, option, bytes, bytes?.length ?? 0),
    'setsockopt',
    numbered(level, option),
  )
}

/**
 * getsockopt(2) `SO_PEERPIDFD`: a descriptor of the process that is the peer of a connected Unix socket, as it was when it
 * called connect(2), listen(2) or socketpair(2). Closed on exec, and readable once that process has ended. Unlike a pid it
 * never refers to another process.
 * Linux 6.5
 * @throws SystemError `ENODATA` without a peer, `ESRCH` or `EINVAL` if the peer's process has ended (a newer kernel still
 * opens it), `EMFILE`, `ENOPROTOOPT` on an older kernel
 * @see {@link https://man7.org/linux/man-pages/man7/unix.7.html unix(7)}
 */
export function peerPidfd(socket: FdLike): OwnedFd {
  const { value, view } = scratch(4)
  check(native.getsockopt(fdOf(socket, 'socket'), SOL_SOCKET, SO_PEERPIDFD, value, 4), 'getsockopt', 'SO_PEERPIDFD')
  return OwnedFd.adopt(view.getInt32(0, true))
}

const SO_PEERPIDFD = 77
const SOL_MPTCP = 284
const ENTRIES = 'the number of entries that the kernel writes, whatever length it is told'
const ADDRESSES = 'addresses where the kernel would write, whatever length it is told'

/** The options whose answer isn't bounded by the length that the kernel is told. The boundary has the same list (option.cc). */
const UNBOUNDED: readonly { name: string; levels: readonly number[]; option: number; holds: string }[] = [
  { name: 'IP_MSFILTER', levels: [IPPROTO_IP], option: 41, holds: ENTRIES },
  { name: 'MCAST_MSFILTER', levels: [IPPROTO_IP, IPPROTO_IPV6], option: 48, holds: ENTRIES },
  { name: 'TCP_AO_GET_KEYS', levels: [IPPROTO_TCP], option: 41, holds: ENTRIES },
  { name: 'TCP_ZEROCOPY_RECEIVE', levels: [IPPROTO_TCP], option: 35, holds: ADDRESSES },
  { name: 'MPTCP_FULL_INFO', levels: [SOL_MPTCP], option: 4, holds: ADDRESSES },
]

/** Checks that a row is one for options: those have an `option`, control messages a `type`. */
function checkOption(row: OptionName, way: 'encode' | 'decode'): void {
  if (typeof row?.option !== 'number') {
    const given = typeof row?.name === 'string' ? `the control message ${row.name}` : describe(row)
    throw new TypeError(`option must be a row for an option, not ${given}`)
  }
  if (typeof (row as Partial<Codec<unknown>>)[way] !== 'function') {
    throw new TypeError(`${row.name} can't be ${way === 'encode' ? 'set' : 'read'}`)
  }
}

function checkRow(name: string, level: number, option: number): void {
  checkString(name, 'name')
  checkNumbers(level, option)
}

function checkNumbers(level: number, option: number): void {
  checkInt32(level, 'level')
  checkInt32(option, 'option')
}

function read(fd: number, { name, level, option }: OptionName, value: Uint8Array, length: number): number {
  // A plain number would have no owner to close it.
  if (level === SOL_SOCKET && option === SO_PEERPIDFD) {
    throw new TypeError('SO_PEERPIDFD answers with a descriptor: use peerPidfd, which gives it an owner')
  }
  const result = native.getsockopt(fd, level, option, value, length)
  if (result >= 0) return result
  const unbounded = UNBOUNDED.find((row) => row.option === option && row.levels.includes(level))
  if (unbounded === undefined) throw fail(result, 'getsockopt', name)
  const reason = `${unbounded.name}: its value holds ${unbounded.holds}`
  const error = fail(result, 'getsockopt', result === -errno.ENOTSUP ? reason : unbounded.name)
  throw error instanceof RangeError ? new RangeError(`buffer is too short for ${reason}`) : error
}

function numbered(level: number, option: number): string {
  return `level ${level} option ${option}`
}

// Values pass through one buffer per thread: the boundary never keeps it, and codecs copy what they return.
let scratchValue = new Uint8Array(256)
let scratchView = new DataView(scratchValue.buffer)

function scratch(size: number): { value: Uint8Array; view: DataView } {
  if (size > scratchValue.length) {
    scratchValue = new Uint8Array(size)
    scratchView = new DataView(scratchValue.buffer)
  }
  return { value: scratchValue, view: scratchView }
}
