import { type AddressLike, encodeAddress, readSlot, type SocketAddress, slot } from './address.js'
import { MSG_CMSG_CLOEXEC, MSG_CTRUNC, SCM_RIGHTS, SOL_SOCKET } from './constants.js'
import { type ControlMessage, controlSpace, decodeControl, encodeControl, passesDescriptors } from './control.js'
import { unlessBlocked } from './error.js'
import { type AsFd, OwnedFd, setNonBlocking } from './fd.js'
import { native } from './native.js'

/** What sendmsg(2) takes. */
export interface OutgoingMessage {
  /** The bytes, in one or more pieces that are sent as one message. */
  readonly data: Uint8Array | readonly Uint8Array[]
  /** Where to, on a socket that isn't connected. */
  readonly address?: AddressLike | undefined
  /** Control messages, or a control buffer as it is. */
  readonly control?: readonly ControlMessage[] | Uint8Array | undefined
  /** Descriptors to pass over a Unix socket (`SCM_RIGHTS`), at most 253. They stay open here. */
  readonly descriptors?: readonly AsFd[] | undefined
  /** `MSG_…`; `MSG_NOSIGNAL` is always set. */
  readonly flags?: number | undefined
}

/** What recvmsg(2) should fill in besides the data. */
export interface ReceiveOptions {
  /** Bytes of control buffer: a size, or a buffer to use again and again. Default 0: none, so passed descriptors are dropped by the kernel. */
  readonly control?: number | Uint8Array | undefined
  /** Whether to decode the sender's address. Default false. */
  readonly address?: boolean | undefined
  /** `MSG_…`; `MSG_CMSG_CLOEXEC` is always set. */
  readonly flags?: number | undefined
  /**
   * Whether received descriptors are left as they come. By default `O_NONBLOCK` is set on them, which their sender
   * sees too, since the flag belongs to the open file.
   */
  readonly keepBlocking?: boolean | undefined
}

/** What recvmsg(2) gave. */
export interface IncomingMessage {
  /** Bytes of data; 0 at the end of a stream. With `MSG_TRUNC` among the receive flags the datagram's true length. */
  readonly length: number
  /** `MSG_TRUNC`, `MSG_CTRUNC`, `MSG_EOR`, `MSG_OOB`, `MSG_ERRQUEUE` as the kernel set them. */
  readonly flags: number
  /** The sender, where asked for and known. */
  readonly address: SocketAddress | null
  /** All control messages but those that passed descriptors. */
  readonly control: ControlMessage[]
  /** The descriptors that came along, yours to close. Empty when the message was cut (`MSG_CTRUNC`): those were closed. */
  readonly descriptors: OwnedFd[]
}

/** The kernel's limit of descriptors per message (`SCM_MAX_FD`). */
export const SCM_MAX_FD = 253

/**
 * sendmsg(2): sends one message with all that may go with it.
 * Returns the bytes sent, fewer than given only on streams, or `null` when it would block.
 * @throws RangeError for more than 253 descriptors
 */
export function sendMessage(socket: AsFd, message: OutgoingMessage): number | null {
  const { data, address, flags = 0 } = message
  const sockaddr = address === undefined ? null : encodeAddress(address)
  return unlessBlocked(native.sendmsg(socket.fd, data, sockaddr, controlOf(message), flags), 'sendmsg')
}

/**
 * recvmsg(2): receives one message into the caller's buffers, filled in order.
 * Returns `null` when there is none yet.
 */
export function recvMessage(
  socket: AsFd,
  buffers: Uint8Array | readonly Uint8Array[],
  options: ReceiveOptions = {},
): IncomingMessage | null {
  const { address = false, flags = 0, keepBlocking = false } = options
  const control = typeof options.control === 'number' ? new Uint8Array(options.control) : (options.control ?? null)
  const count = native.recvmsg(socket.fd, buffers, address ? slot : null, control, flags, received)
  const length = unlessBlocked(count, 'recvmsg')
  if (length === null) return null
  const [controlLength, messageFlags] = received as unknown as [number, number]
  const all = control === null ? [] : decodeControl(control, controlLength)
  return {
    length,
    // The kernel repeats what recvMessage asked for.
    flags: messageFlags & ~MSG_CMSG_CLOEXEC,
    descriptors: takeDescriptors(all, (messageFlags & MSG_CTRUNC) !== 0, keepBlocking),
    control: all.filter((message) => !passesDescriptors(message)),
    address: address ? readSlot() : null,
  }
}

/** The control buffer that receiving `count` descriptors takes. */
export function descriptorSpace(count: number): number {
  return controlSpace(4 * count)
}

function controlOf({ control, descriptors }: OutgoingMessage): Uint8Array | null {
  if (descriptors === undefined || descriptors.length === 0) {
    if (control === undefined || control instanceof Uint8Array) return control ?? null
    return encodeControl(control)
  }
  if (control instanceof Uint8Array) throw new TypeError('descriptors go with a list of control messages, not a buffer')
  return encodeControl([...(control ?? []), rights(descriptors)])
}

/** The control message that passes descriptors. For this package's own use. */
export function rights(descriptors: readonly AsFd[]): ControlMessage {
  if (descriptors.length > SCM_MAX_FD) {
    throw new RangeError(`at most ${SCM_MAX_FD} descriptors go with a message, not ${descriptors.length}`)
  }
  const fds = Int32Array.from(descriptors, ({ fd }) => {
    if (!Number.isInteger(fd) || fd < 0) throw new TypeError('a descriptor to pass is closed')
    return fd
  })
  return { level: SOL_SOCKET, type: SCM_RIGHTS, data: new Uint8Array(fds.buffer) }
}

/** Every received descriptor gets its owner before anything here can fail. For this package's own use. */
export function takeDescriptors(messages: readonly ControlMessage[], cut: boolean, keepBlocking: boolean): OwnedFd[] {
  const descriptors: OwnedFd[] = []
  for (const message of messages) {
    if (!passesDescriptors(message)) continue
    const view = new DataView(message.data.buffer, message.data.byteOffset, message.data.length)
    for (let at = 0; at + 4 <= view.byteLength; at += 4) descriptors.push(OwnedFd.adopt(view.getInt32(at, true)))
  }
  // What the sender chose must not cost the message: a close may report an error of its file system, and an O_PATH
  // descriptor has no flags to set.
  if (cut) for (const descriptor of descriptors.splice(0)) native.close(descriptor.release())
  for (const descriptor of keepBlocking ? [] : descriptors) {
    try {
      setNonBlocking(descriptor)
    } catch {
      // It is passed on as it came.
    }
  }
  return descriptors
}

/** Where recvmsg(2) leaves the control length and the flags; one per thread is enough, since nothing runs in between. */
const received = new Int32Array(2)
