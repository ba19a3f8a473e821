import { type AddressLike, encodeAddress, readSlot, type SocketAddress, slot } from './address.js'
import { checkBytes, checkFlags, checkInteger, checkObject, describe } from './argument.js'
import { MSG_CMSG_CLOEXEC, MSG_CTRUNC, SCM_RIGHTS, SOL_SOCKET } from './constants.js'
import {
  CONTROL_MAX,
  type ControlMessage,
  checkControl,
  controlSpace,
  decodeControl,
  encodeControl,
  numbersIn,
  SCM_PIDFD,
  withoutNumbers,
} from './control.js'
import { unlessBlocked } from './error.js'
import { type AsFd, type FdLike, fdOf, OwnedFd } from './fd.js'
import { native, type Vector } from './native.js'

/** A message for sendmsg(2). */
export interface OutgoingMessage {
  /** The bytes, in one or more pieces that are sent as one message. */
  readonly data: Uint8Array | readonly Uint8Array[]
  /** The destination, on a socket that isn't connected. */
  readonly address?: AddressLike | undefined
  /** Control messages, or a control buffer that is sent as it is. */
  readonly control?: readonly ControlMessage[] | Uint8Array | undefined
  /** Descriptors to pass over a Unix socket (`SCM_RIGHTS`), at most 253. They stay open in this process. */
  readonly descriptors?: readonly FdLike[] | undefined
  /** `MSG_…`; `MSG_NOSIGNAL` is always set. */
  readonly flags?: number | undefined
}

/** Options of `recvMessage`. */
export interface ReceiveOptions {
  /**
   * The control buffer: its size in bytes, up to 1 MiB, or a buffer to reuse. Default 0: no buffer, so the kernel drops
   * passed descriptors.
   */
  readonly control?: number | Uint8Array | undefined
  /** Whether to decode the sender's address. Default false. */
  readonly address?: boolean | undefined
  /** `MSG_…`; `MSG_CMSG_CLOEXEC` is always set. */
  readonly flags?: number | undefined
  /**
   * Whether descriptors of a message that was cut (`MSG_CTRUNC`) are handed over, as far as they fitted. Default false:
   * they are closed, so that the program doesn't mistake one for another.
   */
  readonly keepTruncated?: boolean | undefined
}

/** A message that recvmsg(2) received. */
export interface IncomingMessage<Address extends SocketAddress = SocketAddress> {
  /** Bytes of data; 0 at the end of a stream. With `MSG_TRUNC` among the receive flags, the datagram's true length. */
  readonly length: number
  /** `MSG_TRUNC`, `MSG_CTRUNC`, `MSG_EOR`, `MSG_OOB`, `MSG_ERRQUEUE` as the kernel set them. */
  readonly flags: number
  /** The sender's address, if it was asked for and is known. */
  readonly address: Address | null
  /** All control messages, in the kernel's order. Those that carried descriptors (`SCM_RIGHTS`, `SCM_PIDFD`) have no data. */
  readonly control: ControlMessage[]
  /**
   * The descriptors that came with the message (`SCM_RIGHTS`), closed on exec, otherwise as their sender has them. The
   * caller must close them. If the message was cut (`MSG_CTRUNC`) they are closed and this is empty, unless `keepTruncated`
   * is set.
   */
  readonly descriptors: OwnedFd[]
  /**
   * The process that sent the message (`SCM_PIDFD`), on a socket with `SO_PASSPIDFD`. The caller must close it. If the message
   * was cut, it is treated as `descriptors` are.
   */
  readonly pidfd: OwnedFd | undefined
}

/** The kernel's limit of descriptors per message (`SCM_MAX_FD`). */
export const SCM_MAX_FD = 253

/**
 * sendmsg(2): sends one message, with its address, control messages and descriptors. Returns the bytes sent, fewer than
 * given only on streams, or `null` if it would block: `Socket.sendTo` tells when `writable` helps then, and when it
 * doesn't.
 * @throws TypeError, RangeError before any system call, for a message that can't be sent: more than 253 descriptors, an
 * invalid control message
 */
export function sendMessage(socket: FdLike, message: OutgoingMessage): number | null {
  const fd = fdOf(socket, 'socket')
  checkObject(message, 'message')
  const { data, address, flags = 0 } = message
  checkVector(data, 'data')
  checkFlags(flags)
  const sockaddr = address === undefined ? null : encodeAddress(address)
  return unlessBlocked(native.sendmsg(fd, data, sockaddr, controlOf(message), flags), 'sendmsg')
}

/**
 * recvmsg(2): receives one message into the caller's buffers, filled in order. Returns `null` if no message waits.
 * @throws TypeError, RangeError before any system call, for invalid buffers or options
 */
export function recvMessage<Address extends SocketAddress = SocketAddress>(
  socket: AsFd & { readonly localName: Address },
  buffers: Uint8Array | readonly Uint8Array[],
  options?: ReceiveOptions,
): IncomingMessage<Address> | null
export function recvMessage(
  socket: FdLike,
  buffers: Uint8Array | readonly Uint8Array[],
  options?: ReceiveOptions,
): IncomingMessage | null
export function recvMessage(
  socket: FdLike,
  buffers: Uint8Array | readonly Uint8Array[],
  options: ReceiveOptions = {},
): IncomingMessage | null {
  const fd = fdOf(socket, 'socket')
  checkObject(options, 'options')
  const { address = false, flags = 0, keepTruncated = false } = options
  checkVector(buffers, 'buffers')
  checkFlags(flags)
  const control = controlBuffer(options.control)
  const length = unlessBlocked(native.recvmsg(fd, buffers, address ? slot : null, control, flags, received), 'recvmsg')
  if (length === null) return null
  const [controlLength, messageFlags] = received as unknown as [number, number]
  const all = control === null ? [] : decodeControl(control, controlLength)
  const { descriptors, pidfd } = takeDescriptors(all, !keepTruncated && (messageFlags & MSG_CTRUNC) !== 0)
  return {
    length,
    // The kernel also returns the flag that recvMessage has set.
    flags: messageFlags & ~MSG_CMSG_CLOEXEC,
    descriptors,
    pidfd,
    control: withoutNumbers(all),
    address: address ? readSlot() : null,
  }
}

/**
 * The bytes of control buffer needed to receive `count` descriptors.
 * @throws TypeError, RangeError for an invalid count
 */
export function descriptorSpace(count: number): number {
  checkInteger(count, 0, 0x1fff_ffff, 'count')
  return controlSpace(4 * count)
}

function checkVector(value: Vector, what: string): void {
  if (value instanceof Uint8Array) return
  if (!Array.isArray(value)) {
    throw new TypeError(`${what} must be a Uint8Array or an array of them, not ${describe(value)}`)
  }
  if (value.length > VECTOR_MAX) {
    throw new RangeError(`${what} must be at most ${VECTOR_MAX} pieces, not ${value.length}`)
  }
  for (let i = 0; i < value.length; i++) if (!(value[i] instanceof Uint8Array)) checkBytes(value[i], `${what}[${i}]`)
}

function controlBuffer(control: ReceiveOptions['control']): Uint8Array | null {
  if (control === undefined) return null
  if (control instanceof Uint8Array) return control
  if (typeof control !== 'number') {
    throw new TypeError(`control must be a size or a Uint8Array, not ${describe(control)}`)
  }
  checkInteger(control, 0, CONTROL_MAX, 'control')
  return new Uint8Array(control)
}

function controlOf({ control, descriptors }: OutgoingMessage): Uint8Array | null {
  const passed = descriptors === undefined ? none : rights(descriptors)
  if (passed.data.length === 0) {
    if (control === undefined || control instanceof Uint8Array) return control ?? null
    return encodeControl(control)
  }
  if (control === undefined) return encodeControl([passed])
  if (control instanceof Uint8Array) throw new TypeError('descriptors go with a list of control messages, not a buffer')
  checkControl(control, 'control')
  return encodeControl([...control, passed])
}

/**
 * The control message that passes descriptors. For this package's own use.
 * @throws TypeError, RangeError
 */
export function rights(descriptors: readonly FdLike[]): ControlMessage {
  if (!Array.isArray(descriptors)) {
    throw new TypeError(`descriptors must be an array, not ${describe(descriptors)}`)
  }
  if (descriptors.length > SCM_MAX_FD) {
    throw new RangeError(`descriptors must be at most ${SCM_MAX_FD}, not ${descriptors.length}`)
  }
  const fds = Int32Array.from(descriptors as readonly FdLike[], (descriptor, i) => {
    const fd = fdOf(descriptor, `descriptors[${i}]`)
    if (fd < 0) throw new TypeError(`descriptors[${i}] is closed`)
    return fd
  })
  return { level: SOL_SOCKET, type: SCM_RIGHTS, data: new Uint8Array(fds.buffer) }
}

/** The descriptors that a message carried, each with its owner. For this package's own use. */
export interface Brought {
  readonly descriptors: OwnedFd[]
  readonly pidfd: OwnedFd | undefined
}

/**
 * Gives every received descriptor its owner before anything else can fail; with `drop` they are closed. For this package's
 * own use.
 */
export function takeDescriptors(messages: readonly ControlMessage[], drop: boolean): Brought {
  const descriptors: OwnedFd[] = []
  const pidfds: OwnedFd[] = []
  for (const message of messages) {
    const owners = message.type === SCM_PIDFD.type ? pidfds : descriptors
    for (const fd of numbersIn(message) ?? []) owners.push(OwnedFd.adopt(fd))
  }
  if (drop) for (const owners of [descriptors, pidfds]) closeAll(owners.splice(0))
  return { descriptors, pidfd: pidfds[0] }
}

/**
 * Closes descriptors that were not handed over, or that were held for sending. close(2) may report an error of the file
 * system; that error concerns the file's writer, and must not keep the other descriptors open. For this package's own use.
 */
export function closeAll(descriptors: Iterable<OwnedFd>): void {
  for (const descriptor of descriptors) native.close(descriptor.release())
}

const none: ControlMessage = { level: SOL_SOCKET, type: SCM_RIGHTS, data: new Uint8Array(0) }

/** The most iovecs per call: `UIO_MAXIOV`. */
const VECTOR_MAX = 1024

/** recvmsg(2) leaves the control length and the flags here; one array per thread is enough, since nothing runs in between. */
const received = new Int32Array(2)
