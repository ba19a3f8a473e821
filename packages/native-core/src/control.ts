import type { Codec, Decoder, Encoder } from './codec.js'
import { SCM_RIGHTS, SOL_SOCKET } from './constants.js'

/**
 * A control message as the kernel sees it: what travels beside the data of sendmsg(2) and recvmsg(2).
 * @see {@link https://man7.org/linux/man-pages/man3/cmsg.3.html cmsg(3)}
 */
export interface ControlMessage {
  /** `SOL_SOCKET`, `IPPROTO_…` */
  readonly level: number
  /** Its number at that level. */
  readonly type: number
  /** What it says, in the kernel's layout. */
  readonly data: Uint8Array
}

/** What every kind of control message has: its C name, and the two numbers that the kernel knows it by. */
export interface ControlName {
  /** `'IP_PKTINFO'` */
  readonly name: string
  /** `SOL_SOCKET`, `IPPROTO_…` */
  readonly level: number
  /** Its number at that level. */
  readonly type: number
}

/** A kind of control message, and its layout. */
export interface ControlType<Get, Set = Get> extends ControlName, Encoder<Set>, Decoder<Get> {}

/** A row for a kind of control message: `control('IP_TTL', IPPROTO_IP, 2, int)`. */
export function control<Get, Set>(
  name: string,
  level: number,
  type: number,
  codec: Codec<Get, Set>,
): ControlType<Get, Set> {
  const { size, encode, decode } = codec
  return { name, level, type, size, encode, decode }
}

/**
 * A control message to send.
 * @throws TypeError, RangeError for a value that it can't hold
 */
export function controlMessage<T>(kind: ControlName & Encoder<T>, value: NoInfer<T>): ControlMessage {
  const data = new Uint8Array(kind.size)
  const length = kind.encode(value, new DataView(data.buffer), kind.name)
  return { level: kind.level, type: kind.type, data: data.subarray(0, length) }
}

/** The value of the first control message of this kind, or undefined when there is none. */
export function readControl<T>(messages: readonly ControlMessage[], kind: ControlName & Decoder<T>): T | undefined {
  const found = messages.find(({ level, type }) => level === kind.level && type === kind.type)
  if (found === undefined) return undefined
  const { data } = found
  if (data.length < MIN_INT && kind.size >= MIN_INT) return kind.decode(padded(data), data.length)
  return kind.decode(new DataView(data.buffer, data.byteOffset, data.length), data.length)
}

/** The bytes of control buffer that a message with `length` bytes of data takes: `CMSG_SPACE`. */
export function controlSpace(length: number): number {
  return HEADER + align(length)
}

/** Control messages as one buffer for sendmsg(2). */
export function encodeControl(messages: readonly ControlMessage[]): Uint8Array {
  const size = messages.reduce((sum, { data }) => sum + controlSpace(data.length), 0)
  const bytes = new Uint8Array(size)
  const view = new DataView(bytes.buffer)
  let at = 0
  for (const { level, type, data } of messages) {
    view.setBigUint64(at, BigInt(HEADER + data.length), true)
    view.setInt32(at + 8, level, true)
    view.setInt32(at + 12, type, true)
    bytes.set(data, at + HEADER)
    at += controlSpace(data.length)
  }
  return bytes
}

/**
 * The control messages in a buffer that recvmsg(2) filled. Data is copied. A message that says it is longer than the
 * buffer (MSG_CTRUNC) is cut at its end.
 */
export function decodeControl(buffer: Uint8Array, length = buffer.length): ControlMessage[] {
  const end = Math.min(length, buffer.length)
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

/** Whether a control message carries descriptors. For this package's own use. */
export function passesDescriptors({ level, type }: ControlMessage): boolean {
  return level === SOL_SOCKET && type === SCM_RIGHTS
}

/** Whether any of the control messages at `start` carries descriptors. Decodes nothing. For this package's own use. */
export function hasDescriptors(buffer: Uint8Array, start: number, length: number): boolean {
  const words = new Uint32Array(buffer.buffer, buffer.byteOffset + start, length >> 2)
  for (let at = 0; at + HEADER / 4 <= words.length; ) {
    const claimed = words[at] as number
    const beyond = words[at + 1] !== 0
    if (claimed < HEADER && !beyond) break
    if (words[at + 2] === SOL_SOCKET && words[at + 3] === SCM_RIGHTS) return true
    if (beyond) break
    at += align(claimed) / 4
  }
  return false
}

/** `struct cmsghdr`: a size_t, two ints. */
const HEADER = 16
const MIN_INT = 4

function align(length: number): number {
  return Math.ceil(length / 8) * 8
}

// A few messages (IP_TOS) carry one byte where their codec reads an int.
function padded(data: Uint8Array): DataView {
  const bytes = new Uint8Array(MIN_INT)
  bytes.set(data)
  return new DataView(bytes.buffer)
}
