import { AF_NETLINK, errno, MSG_TRUNC, SOCK_RAW, Socket, SystemError } from '@linux-sockets/native-core'

// What the kernel tells of interfaces: rtnetlink(7). Numbers are in host order, which is little-endian on x64 and arm64.

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

/** A message of the kernel. */
export interface NetlinkMessage {
  /** `RTM_…` */
  readonly type: number
  /** What follows the header: a struct that goes with the type, and attributes. */
  readonly body: Buffer
}

/** Asks the kernel for everything that there is, with `RTM_GETLINK` or `RTM_GETADDR`. */
export function dump(type: number): NetlinkMessage[] {
  for (let tries = 0; tries < DUMP_TRIES; tries++) {
    const messages = tryDump(type)
    if (messages !== undefined) return messages
  }
  throw new SystemError(errno.EAGAIN, 'recvfrom', 'the interfaces change too fast to be read')
}

/** The messages that wait together in the socket; undefined when there are none. They last. */
export function receive(socket: Socket): NetlinkMessage[] | undefined {
  const received = socket.recvFrom(buffer, MSG_TRUNC)
  if (received === null) return undefined
  const { length, address } = received
  if (length > buffer.length) throw new SystemError(errno.EMSGSIZE, 'recvfrom', `a netlink message of ${length} bytes`)
  // Others may send to the socket, too. The kernel is port 0.
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

/** The attributes from `start` on, by their types. Of several of one type it is the last. */
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

/** Undefined when something changed meanwhile, so that parts may be missing. */
function tryDump(type: number): NetlinkMessage[] | undefined {
  // The kernel has its answer ready when the request has been sent, so this never waits.
  const socket = Socket.open(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE, { blocking: true })
  try {
    socket.sendTo(request(type), { family: 'netlink', pid: 0 })
    const all: NetlinkMessage[] = []
    for (;;) {
      for (const message of receive(socket) ?? []) {
        if (message.type === INTERRUPTED) return undefined
        if (message.type === NLMSG_DONE) return all
        if (message.type === NLMSG_ERROR) throw new SystemError(-message.body.readInt32LE(0), 'recvfrom', 'rtnetlink')
        all.push(message)
      }
    }
  } finally {
    socket.close()
  }
}

function request(type: number): Buffer {
  // struct ifinfomsg or struct ifaddrmsg, zero: of every family.
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
/** Without the bits for nested attributes and for byte order. */
const NLA_TYPE_MASK = 0x3fff
/** In place of the type of a message that says that the dump is inconsistent. */
const INTERRUPTED = -1
const DUMP_TRIES = 16

/** The kernel's own messages of a dump have at most 32 KiB. A thread reads one at a time. */
const buffer = Buffer.alloc(65_536)
