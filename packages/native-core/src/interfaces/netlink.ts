// netlink(7): requests to the kernel, and its messages. Numbers are in host order, little-endian on x64 and arm64.
import { checkBytes, checkInteger } from '../argument.js'
import { AF_NETLINK, MSG_TRUNC, SOCK_RAW } from '../constants.js'
import { errno } from '../errno.js'
import { SystemError } from '../error.js'
import { Socket } from '../socket.js'

/** A netlink message from the kernel. */
export interface NetlinkMessage {
  /** The type, a number of the protocol: `RTM_NEWLINK`, … */
  readonly type: number
  /** `NLM_F_…` */
  readonly flags: number
  /** The bytes after the header: the struct of that type, and attributes. */
  readonly body: Buffer
}

/**
 * Asks the kernel for all objects of one kind (`NLM_F_DUMP`), and returns its messages. `protocol` is
 * `NETLINK_ROUTE`, `NETLINK_SOCK_DIAG` or another of netlink(7); `type` and `body` are those of the request, without the header.
 *
 *     const RTM_GETLINK = 18
 *     for (const { body } of netlinkDump(NETLINK_ROUTE, RTM_GETLINK, Buffer.alloc(16))) {
 *       console.log(netlinkAttributes(body, 16).get(3)?.toString())
 *     }
 *
 * It never waits: the kernel's answer can be read as soon as the request has been sent. If the answer is missing or
 * incomplete, the kernel is asked again.
 * @throws SystemError the kernel's error; `EAGAIN` if there was no complete answer, or the objects kept changing while they
 * were read; `EPROTONOSUPPORT`, `EMFILE`, …
 * @throws TypeError, RangeError for an invalid number or a body that isn't bytes
 */
export function netlinkDump(protocol: number, type: number, body: Uint8Array): NetlinkMessage[] {
  checkInteger(protocol, 0, 0x7fff_ffff, 'protocol')
  checkInteger(type, 0, 0xffff, 'type')
  checkBytes(body, 'body')
  const request = Buffer.alloc(HEADER + body.length)
  request.writeUInt32LE(request.length, 0)
  request.writeUInt16LE(type, 4)
  request.writeUInt16LE(NLM_F_REQUEST | NLM_F_DUMP, 6)
  request.set(body, HEADER)
  for (let tries = 1; ; tries++) {
    const messages = tryDump(protocol, request)
    if (!(messages instanceof SystemError)) return messages
    if (tries === DUMP_TRIES) throw messages
  }
}

/**
 * Reads the attributes of a message's body from `start` on, keyed by their type without its flags. Of several attributes of
 * one type the last one counts. The values share the memory of `body`.
 * @throws TypeError, RangeError if the body isn't bytes, or `start` is beyond them
 */
export function netlinkAttributes(body: Uint8Array, start = 0): Map<number, Buffer> {
  checkBytes(body, 'body')
  checkInteger(start, 0, body.length, 'start')
  const bytes = Buffer.from(body.buffer, body.byteOffset, body.length)
  const found = new Map<number, Buffer>()
  for (let at = start; at + 4 <= bytes.length; ) {
    const size = bytes.readUInt16LE(at)
    if (size < 4 || at + size > bytes.length) break
    found.set(bytes.readUInt16LE(at + 2) & NLA_TYPE_MASK, bytes.subarray(at + 4, at + size))
    at += align(size)
  }
  return found
}

/** Receives the messages of one datagram; undefined if none waits in the socket. For this package's own use. */
export function receive(socket: Socket): Iterable<NetlinkMessage> | undefined {
  const received = socket.recvFrom(buffer, MSG_TRUNC)
  if (received === null) return undefined
  const { length, address } = received
  if (length > buffer.length) throw new SystemError(errno.EMSGSIZE, 'recvfrom', `a netlink message of ${length} bytes`)
  // Other processes may send to the socket, too. The kernel has port 0.
  if (address?.family !== 'netlink' || address.pid !== 0) return []
  return messagesIn(Buffer.from(buffer.subarray(0, length)))
}

function* messagesIn(bytes: Buffer): Generator<NetlinkMessage, void> {
  for (let at = 0; at < bytes.length; ) {
    const size = bytes.length - at < HEADER ? 0 : bytes.readUInt32LE(at)
    if (size < HEADER || at + size > bytes.length) throw new SystemError(errno.EBADMSG, 'recvfrom', 'netlink')
    const [type, flags] = [bytes.readUInt16LE(at + 4), bytes.readUInt16LE(at + 6)]
    yield { type, flags, body: bytes.subarray(at + HEADER, at + size) }
    at += align(size)
  }
}

/** Returns an error if another try may succeed, and throws any other error. */
function tryDump(protocol: number, request: Buffer): NetlinkMessage[] | SystemError {
  const socket = Socket.open(AF_NETLINK, SOCK_RAW, protocol)
  try {
    const sent = socket.sendTo(request, { family: 'netlink', pid: 0 })
    if (sent === null) return new SystemError(errno.EAGAIN, 'sendto', 'netlink')
    const all: NetlinkMessage[] = []
    for (;;) {
      const messages = receive(socket)
      if (messages === undefined) return new SystemError(errno.EAGAIN, 'recvfrom', 'netlink has no whole answer')
      for (const message of messages) {
        // Parts of the dump may be missing.
        if ((message.flags & NLM_F_DUMP_INTR) !== 0) {
          return new SystemError(errno.EAGAIN, 'recvfrom', 'what netlink lists changes too fast to be read')
        }
        if (message.type === NLMSG_ERROR) throw failure(message)
        if (message.type === NLMSG_DONE) {
          // The error of a dump that broke off.
          if (message.body.length >= 4 && message.body.readInt32LE(0) < 0) throw failure(message)
          return all
        }
        all.push(message)
      }
    }
  } finally {
    socket.close()
  }
}

/** Both kinds of messages begin with −errno. */
function failure({ body }: NetlinkMessage): SystemError {
  return new SystemError(body.length < 4 ? errno.EBADMSG : -body.readInt32LE(0), 'recvfrom', 'netlink')
}

function align(size: number): number {
  return (size + 3) & ~3
}

/** sizeof(struct nlmsghdr) */
const HEADER = 16
const NLMSG_ERROR = 2
const NLMSG_DONE = 3
const NLM_F_REQUEST = 0x1
const NLM_F_DUMP_INTR = 0x10
const NLM_F_DUMP = 0x300
/** Removes the flags for nested attributes and for byte order. */
const NLA_TYPE_MASK = 0x3fff
const DUMP_TRIES = 16

/** The datagrams of a dump have at most 32 KiB. A thread reads one at a time. */
const buffer = Buffer.alloc(65_536)
