import { type Codec, type Decoder, type Encoder, int } from './codec.js'
import { check } from './error.js'
import type { AsFd } from './fd.js'
import { native } from './native.js'

/** What every option has: its C name, and the two numbers that the kernel knows it by. */
export interface OptionName {
  /** `'SO_RCVBUF'` */
  readonly name: string
  /** `SOL_SOCKET`, `IPPROTO_…` */
  readonly level: number
  /** Its number at that level. */
  readonly option: number
}

/** An option that getsockopt(2) can read. */
export interface ReadableOption<T> extends OptionName, Decoder<T> {}

/** An option that setsockopt(2) can write. */
export interface WritableOption<T> extends OptionName, Encoder<T> {}

/** A row for an option that can be read and written: `rw('TCP_KEEPIDLE', IPPROTO_TCP, 4, seconds)`. */
export function rw<Get, Set>(
  name: string,
  level: number,
  option: number,
  codec: Codec<Get, Set>,
): ReadableOption<Get> & WritableOption<Set> {
  const { size, encode, decode } = codec
  return { name, level, option, size, encode, decode }
}

/** A row for an option that can only be read. */
export function ro<T>(name: string, level: number, option: number, codec: Decoder<T>): ReadableOption<T> {
  const { size, decode } = codec
  return { name, level, option, size, decode }
}

/** A row for an option that can only be written. */
export function wo<T>(name: string, level: number, option: number, codec: Encoder<T>): WritableOption<T> {
  const { size, encode } = codec
  return { name, level, option, size, encode }
}

/**
 * getsockopt(2): reads an option.
 *
 *     getOption(socket, SO_RCVBUF) // 212992
 *
 * @throws SystemError `ENOPROTOOPT` when this kernel or protocol doesn't know the option
 * @see {@link https://man7.org/linux/man-pages/man2/getsockopt.2.html getsockopt(2)}
 */
export function getOption<T>(socket: AsFd, option: ReadableOption<T>): T {
  const { value, view } = scratch(option.size)
  const length = check(
    native.getsockopt(socket.fd, option.level, option.option, value, option.size),
    'getsockopt',
    option.name,
  )
  return option.decode(view, length)
}

/**
 * setsockopt(2): sets an option.
 *
 *     setOption(socket, SO_RCVBUF, 1 << 20)
 *
 * @throws TypeError, RangeError before any system call, for a value that the option can't hold
 * @throws SystemError `ENOPROTOOPT` when this kernel or protocol doesn't know the option
 * @see {@link https://man7.org/linux/man-pages/man2/setsockopt.2.html setsockopt(2)}
 */
export function setOption<T>(socket: AsFd, option: WritableOption<T>, value: NoInfer<T>): void {
  const { value: bytes, view } = scratch(option.size)
  const length = option.encode(value, view, option.name)
  check(native.setsockopt(socket.fd, option.level, option.option, bytes, length), 'setsockopt', option.name)
}

/** getsockopt(2) of any option as an `int`, without a row. */
export function getOptionInt(socket: AsFd, level: number, option: number): number {
  return getOption(socket, ro(numbered(level, option), level, option, int))
}

/** setsockopt(2) of any option as an `int`, without a row. */
export function setOptionInt(socket: AsFd, level: number, option: number, value: number): void {
  setOption(socket, wo(numbered(level, option), level, option, int), value)
}

/**
 * getsockopt(2) as it is: any option, into the caller's buffer, whose contents the kernel may read first.
 * Returns the number of bytes that the kernel wrote.
 */
export function getOptionBytes(socket: AsFd, level: number, option: number, buffer: Uint8Array): number {
  return check(
    native.getsockopt(socket.fd, level, option, buffer, buffer.length),
    'getsockopt',
    numbered(level, option),
  )
}

/** setsockopt(2) as it is: any option, as bytes. A few options answer in them (`IPV6_FLOWLABEL_MGR`). */
export function setOptionBytes(socket: AsFd, level: number, option: number, bytes: Uint8Array): void {
  check(native.setsockopt(socket.fd, level, option, bytes, bytes.length), 'setsockopt', numbered(level, option))
}

function numbered(level: number, option: number): string {
  return `level ${level} option ${option}`
}

// Values pass through one buffer per thread: the boundary never keeps it, and codecs copy what they give out.
let scratchValue = new Uint8Array(256)
let scratchView = new DataView(scratchValue.buffer)

function scratch(size: number): { value: Uint8Array; view: DataView } {
  if (size > scratchValue.length) {
    scratchValue = new Uint8Array(size)
    scratchView = new DataView(scratchValue.buffer)
  }
  return { value: scratchValue, view: scratchView }
}
