import { errno, Socket, SystemError } from '@linux-sockets/native-core'
import { AF_NETLINK, MSG_TRUNC, SOCK_RAW } from '@linux-sockets/native-core/constants'

// rtnetlink(7): messages of the kernel about interfaces. Numbers are in host order, little-endian on x64 and arm64.

export const NETLINK_ROUTE = 0
export const RTM_NEWLINK = 16
export const RTM_DELLINK = 17
export const RTM_GETLINK = 18
export const RTM_NEWADDR = 20
export const RTM_DELADDR = 21
export const RTM_GETADDR = 22
export const RTMGRP_LINK = 0x1
export const RTMGRP_IPV4_IFADDR = 0x10
export const RTMGRP_IPV6_IFADDR = 0x100

/** A netlink message from the kernel. */
export interface NetlinkMessage {
  /** `RTM_…` */
  readonly type: number
  /** The bytes after the header: the struct of that type, and attributes. */
  readonly body: Buffer
}

/**
 * Asks the kernel for all interfaces (`RTM_GETLINK`) or all addresses (`RTM_GETADDR`). It never waits: the answer is there
 * when the request has been sent. If there is no answer all the same, or an incomplete one, the kernel is asked again.
 */
export function dump(type: number): NetlinkMessage[] {
  for (let tries = 1; ; tries++) {
    const messages = tryDump(type)
    if (!(messages instanceof SystemError)) return messages
    if (tries === DUMP_TRIES) throw messages
  }
}

/** Receives the messages of one datagram, as copies; undefined if none waits in the socket. */
export function receive(socket: Socket): NetlinkMessage[] | undefined {
  const received = socket.recvFrom(buffer, MSG_TRUNC)
  if (received === null) return undefined
  const { length, address } = received
  if (length > buffer.length) throw new SystemError(errno.EMSGSIZE, 'recvfrom', `a netlink message of ${length} bytes`)
  // Other processes may send to the socket, too. The kernel has port 0.
  if (address?.family !== 'netlink' || address.pid !== 0) return []
  const messages: NetlinkMessage[] = []
  for (let at = 0; at + HEADER <= length; ) {
    const size = buffer.readUInt32LE(at)
    if (size < HEADER || at + size > length) break
    const flags = buffer.readUInt16LE(at + 6)
    const type = (flags & NLM_F_DUMP_INTR) !== 0 ? INTERRUPTED : buffer.readUInt16LE(at + 4)
    messages.push({ type, body: Buffer.from(buffer.subarray(at + HEADER, at + size)) })
    at += align(size)
  }
  return messages
}

/** Reads the attributes from `start` on, keyed by type. Of several attributes of one type the last one counts. */
export function attributes(body: Buffer, start: number): Map<number, Buffer> {
  const found = new Map<number, Buffer>()
  for (let at = start; at + 4 <= body.length; ) {
    const size = body.readUInt16LE(at)
    if (size < 4 || at + size > body.length) break
    found.set(body.readUInt16LE(at + 2) & NLA_TYPE_MASK, body.subarray(at + 4, at + size))
    at += align(size)
  }
  return found
}

/** Returns an error if another try may succeed, and throws any other error. */
function tryDump(type: number): NetlinkMessage[] | SystemError {
  const socket = Socket.open(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE)
  try {
    const sent = socket.sendTo(request(type), { family: 'netlink', pid: 0 })
    if (sent === null) return new SystemError(errno.EAGAIN, 'sendto', 'rtnetlink')
    const all: NetlinkMessage[] = []
    for (;;) {
      const messages = receive(socket)
      if (messages === undefined) return new SystemError(errno.EAGAIN, 'recvfrom', 'rtnetlink has no whole answer')
      for (const message of messages) {
        // Parts of the dump may be missing.
        if (message.type === INTERRUPTED) {
          return new SystemError(errno.EAGAIN, 'recvfrom', 'the interfaces change too fast to be read')
        }
        if (message.type === NLMSG_DONE) {
          const status = message.body.length >= 4 ? message.body.readInt32LE(0) : 0
          if (status < 0) throw new SystemError(-status, 'recvfrom', 'rtnetlink')
          return all
        }
        if (message.type === NLMSG_ERROR) throw new SystemError(-message.body.readInt32LE(0), 'recvfrom', 'rtnetlink')
        all.push(message)
      }
    }
  } finally {
    socket.close()
  }
}

function request(type: number): Buffer {
  // A struct ifinfomsg or struct ifaddrmsg of zeros asks for every family.
  const bytes = Buffer.alloc(HEADER + (type === RTM_GETLINK ? 16 : 8))
  bytes.writeUInt32LE(bytes.length, 0)
  bytes.writeUInt16LE(type, 4)
  bytes.writeUInt16LE(NLM_F_REQUEST | NLM_F_DUMP, 6)
  return bytes
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
/** Replaces the type of a message that marks the dump as inconsistent. */
const INTERRUPTED = -1
const DUMP_TRIES = 16

/** The datagrams of a dump have at most 32 KiB. A thread reads one at a time. */
const buffer = Buffer.alloc(65_536)
