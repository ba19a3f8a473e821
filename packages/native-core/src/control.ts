import { checkBytes, checkCodec, checkInt32, checkInteger, checkObject, checkString, describe } from './argument.js'
import { type Codec, type Decoder, type Encoder, int } from './codecs/codec.js'
import { SCM_RIGHTS, SOL_SOCKET } from './constants.js'

/**
 * A control message as the kernel sees it: ancillary data of sendmsg(2) and recvmsg(2).
 * @see {@link https://man7.org/linux/man-pages/man3/cmsg.3.html cmsg(3)}
 */
export interface ControlMessage {
  /** `SOL_SOCKET`, `IPPROTO_…` */
  readonly level: number
  /** The type's number at that level. */
  readonly type: number
  /** The value, in the kernel's layout. */
  readonly data: Uint8Array
}

/** The C name of a kind of control message, and the kernel's two numbers for it. */
export interface ControlName {
  /** `'IP_PKTINFO'` */
  readonly name: string
  /** `SOL_SOCKET`, `IPPROTO_…` */
  readonly level: number
  /** The type's number at that level. */
  readonly type: number
}

/** A row: a kind of control message and its layout. */
export interface ControlType<Get, Set = Get> extends ControlName, Encoder<Set>, Decoder<Get> {}

/**
 * A descriptor of the process that sent a message: the `pidfd` of a received message. Among the control messages, its value
 * is 0 if there is that descriptor, and a negative errno if the kernel could not open one (`EMFILE`).
 * received with `SO_PASSPIDFD` · Linux 6.5
 * @see {@link https://man7.org/linux/man-pages/man7/unix.7.html unix(7)}
 */
export const SCM_PIDFD: ControlName & Decoder<number> = {
  name: 'SCM_PIDFD',
  level: SOL_SOCKET,
  type: 4,
  size: int.size,
  decode: int.decode,
}

/**
 * Makes a row for a kind of control message: `control('IP_TTL', IPPROTO_IP, 2, int)`.
 * @throws TypeError, RangeError for invalid arguments
 */
export function control<Get, Set>(
  name: string,
  level: number,
  type: number,
  codec: Codec<Get, Set>,
): ControlType<Get, Set> {
  checkString(name, 'name')
  checkInt32(level, 'level')
  checkInt32(type, 'type')
  checkCodec(codec, 'encode', 'decode')
  const { size, encode, decode } = codec
  return { name, level, type, size, encode, decode }
}

/**
 * Makes a control message to send.
 * @throws TypeError, RangeError for a value that the kind can't hold; TypeError for a row of another thing, such as an
 * option
 */
export function controlMessage<T>(kind: ControlName & Encoder<T>, value: NoInfer<T>): ControlMessage {
  checkKind(kind, 'encode')
  const data = new Uint8Array(kind.size)
  const length = kind.encode(value, new DataView(data.buffer), kind.name)
  return { level: kind.level, type: kind.type, data: data.subarray(0, length) }
}

/**
 * The value of the first control message of this kind, or undefined if there is none.
 * @throws TypeError for a row of another thing, such as an option
 */
export function readControl<T>(messages: readonly ControlMessage[], kind: ControlName & Decoder<T>): T | undefined {
  checkControl(messages, 'messages')
  checkKind(kind, 'decode')
  const found = messages.find(({ level, type }) => level === kind.level && type === kind.type)
  if (found === undefined) return undefined
  const { data } = found
  return decodeValue(new DataView(data.buffer, data.byteOffset, data.length), data.length, kind)
}

/**
 * The bytes of control buffer that a message with `length` bytes of data takes: `CMSG_SPACE`.
 * @throws TypeError, RangeError for an invalid length
 */
export function controlSpace(length: number): number {
  checkInteger(length, 0, INT_MAX, 'length')
  return spaceOf(length)
}

/**
 * The length in the header of a message with `length` bytes of data: `CMSG_LEN`, without the padding that `controlSpace`
 * counts.
 * @throws TypeError, RangeError for an invalid length
 */
export function controlLength(length: number): number {
  checkInteger(length, 0, INT_MAX, 'length')
  return HEADER + length
}

/**
 * Encodes control messages as one buffer for sendmsg(2).
 * @throws TypeError, RangeError if it isn't an array of `{ level, type, data }` with two 32-bit integers and a `Uint8Array`
 */
export function encodeControl(control: readonly ControlMessage[]): Uint8Array {
  checkControl(control, 'control')
  const size = control.reduce((sum, { data }) => sum + spaceOf(data.length), 0)
  const bytes = new Uint8Array(size)
  const view = new DataView(bytes.buffer)
  let at = 0
  for (const { level, type, data } of control) {
    view.setBigUint64(at, BigInt(HEADER + data.length), true)
    view.setInt32(at + 8, level, true)
    view.setInt32(at + 12, type, true)
    bytes.set(data, at + HEADER)
    at += spaceOf(data.length)
  }
  return bytes
}

/**
 * Decodes the control messages in a buffer that recvmsg(2) filled. Data is copied. A message whose length exceeds the
 * buffer (MSG_CTRUNC) is cut at the buffer's end. Descriptors in it are plain numbers, for the caller to own.
 * @throws TypeError, RangeError for an invalid buffer or length
 */
export function decodeControl(buffer: Uint8Array, length?: number): ControlMessage[] {
  checkBytes(buffer, 'buffer')
  if (length === undefined) return decode(buffer, buffer.length)
  checkInteger(length, 0, Number.MAX_SAFE_INTEGER, 'length')
  return decode(buffer, Math.min(length, buffer.length))
}

function decode(buffer: Uint8Array, end: number): ControlMessage[] {
  const view = new DataView(buffer.buffer, buffer.byteOffset, end)
  const messages: ControlMessage[] = []
  for (let at = 0; at + HEADER <= end; ) {
    const claimed = Number(view.getBigUint64(at, true))
    if (claimed < HEADER) break
    const data = new Uint8Array(buffer.subarray(at + HEADER, Math.min(at + claimed, end)))
    messages.push({ level: view.getInt32(at + 8, true), type: view.getInt32(at + 12, true), data })
    at += align(claimed)
  }
  return messages
}

/**
 * The descriptors in a control message: those of `SCM_RIGHTS`; that of `SCM_PIDFD`, unless the kernel could not open it.
 * Undefined for a kind of message that carries none. For this package's own use.
 */
export function numbersIn({ level, type, data }: ControlMessage): number[] | undefined {
  if (level !== SOL_SOCKET || (type !== SCM_RIGHTS && type !== SCM_PIDFD.type)) return undefined
  const view = new DataView(data.buffer, data.byteOffset, data.length)
  const numbers = Array.from({ length: data.length >> 2 }, (_, i) => view.getInt32(4 * i, true))
  return numbers.some((fd) => fd < 0) ? undefined : numbers
}

/**
 * Checks a list of control messages; `what` is the argument's name. For this package's own use.
 * @throws TypeError, RangeError
 */
export function checkControl(control: unknown, what: string): asserts control is readonly ControlMessage[] {
  if (!Array.isArray(control)) {
    throw new TypeError(`${what} must be an array of control messages, not ${describe(control)}`)
  }
  for (let i = 0; i < control.length; i++) {
    const { level, type, data }: Partial<ControlMessage> = control[i] ?? {}
    // Error texts are made only if there is an error.
    if (isInt32(level) && isInt32(type) && data instanceof Uint8Array) continue
    checkObject(control[i], `${what}[${i}]`)
    checkInt32(level, `${what}[${i}].level`)
    checkInt32(type, `${what}[${i}].type`)
    checkBytes(data, `${what}[${i}].data`)
  }
}

/** The control messages without the numbers of descriptors, as callers see them. For this package's own use. */
export function withoutNumbers(messages: readonly ControlMessage[]): ControlMessage[] {
  return messages.map((message) =>
    numbersIn(message) === undefined ? message : { ...message, data: new Uint8Array(0) },
  )
}

/** Whether any of the control messages at `start` may carry descriptors. Decodes nothing. For this package's own use. */
export function hasDescriptors(buffer: Uint8Array, start: number, length: number): boolean {
  const words = new Uint32Array(buffer.buffer, buffer.byteOffset + start, length >> 2)
  for (let at = 0; at + HEADER / 4 <= words.length; ) {
    const claimed = words[at] as number
    const beyond = words[at + 1] !== 0
    if (claimed < HEADER && !beyond) break
    const type = words[at + 3]
    if (words[at + 2] === SOL_SOCKET && (type === SCM_RIGHTS || type === SCM_PIDFD.type)) return true
    if (beyond) break
    at += align(claimed) / 4
  }
  return false
}

/** The most bytes of control buffer that a caller may ask for. For this package's own use. */
export const CONTROL_MAX = 0x10_0000

/**
 * Reads control messages in a buffer that is used again and again. It allocates nothing once a message has been read at each
 * place of the buffer. For this package's own use.
 */
export class ControlReader {
  readonly #words: Int32Array
  /** For each multiple of 8, a view of the data that begins there. */
  readonly #views: (DataView | undefined)[] = []

  constructor(buffer: Uint8Array) {
    this.#words = new Int32Array(buffer.buffer, buffer.byteOffset, buffer.length >> 2)
  }

  /** Decodes the first message of this kind among the `length` bytes at `start`, which is a multiple of 8. */
  read<T>(start: number, length: number, kind: ControlName & Decoder<T>): T | undefined {
    checkKind(kind, 'decode')
    const words = this.#words
    const end = start + length
    for (let at = start; at + HEADER <= end; ) {
      const word = at >> 2
      // A size that needs its upper word is none that the kernel gives.
      const claimed = words[word] as number
      if (claimed < HEADER || words[word + 1] !== 0) return undefined
      if (words[word + 2] === kind.level && words[word + 3] === kind.type) {
        return decodeValue(this.#view(at + HEADER), Math.min(claimed, end - at) - HEADER, kind)
      }
      at += align(claimed)
    }
    return undefined
  }

  #view(at: number): DataView {
    const { buffer, byteOffset, byteLength } = this.#words
    this.#views[at >> 3] ??= new DataView(buffer, byteOffset + at, byteLength - at)
    return this.#views[at >> 3] as DataView
  }
}

/** `struct cmsghdr`: a size_t, two ints. */
const HEADER = 16
const MIN_INT = 4
const INT_MAX = 0x7fff_ffff

/** Checks that a row is one for control messages: those have a `type`, options an `option`. */
function checkKind(kind: ControlName, way: 'encode' | 'decode'): void {
  if (typeof kind?.type !== 'number') {
    const given = typeof kind?.name === 'string' ? `the option ${kind.name}` : describe(kind)
    throw new TypeError(`kind must be a row for a control message, not ${given}`)
  }
  if (typeof (kind as Partial<Codec<unknown>>)[way] !== 'function') {
    throw new TypeError(`${kind.name} can't be ${way === 'encode' ? 'sent' : 'received'}`)
  }
}

function isInt32(value: unknown): boolean {
  return typeof value === 'number' && (value | 0) === value
}

function spaceOf(length: number): number {
  return HEADER + align(length)
}

function align(length: number): number {
  return Math.ceil(length / 8) * 8
}

// A few messages (IP_TOS) have one byte where their codec reads an int; the kernel doesn't clear what follows the byte.
function decodeValue<T>(view: DataView, length: number, kind: Decoder<T>): T {
  if (length >= MIN_INT || kind.size < MIN_INT) return kind.decode(view, length)
  padded.setUint32(0, 0)
  for (let i = 0; i < length; i++) padded.setUint8(i, view.getUint8(i))
  return kind.decode(padded, length)
}

const padded = new DataView(new ArrayBuffer(MIN_INT))
