/** The kinds of sockets that the rows are tried on. */
import { readFileSync } from 'node:fs'
import { type Kind, type Need, needCapability, needLinux, rowTester } from '@linux-sockets/testkit'
import { onTestFinished } from 'vitest'
import {
  AF_INET,
  AF_INET6,
  AF_UNIX,
  IPPROTO_ICMP,
  IPPROTO_ICMPV6,
  IPPROTO_RAW,
  SOCK_DGRAM,
  SOCK_RAW,
  SOCK_STREAM,
} from '../../src/constants.js'
import { getOption, Socket, setOption } from '../../src/index.js'

/** Tests every row of a module, on these kinds. */
export const testRows = rowTester<Socket>({ getOption, setOption })

export const udp4 = plain(AF_INET, SOCK_DGRAM)
export const tcp4 = plain(AF_INET, SOCK_STREAM)
export const udp6 = plain(AF_INET6, SOCK_DGRAM)
export const tcp6 = plain(AF_INET6, SOCK_STREAM)
export const unix = plain(AF_UNIX, SOCK_STREAM)
export const icmp4 = withCapability('CAP_NET_RAW', plain(AF_INET, SOCK_RAW, IPPROTO_ICMP))
export const icmp6 = withCapability('CAP_NET_RAW', plain(AF_INET6, SOCK_RAW, IPPROTO_ICMPV6))
/** A raw socket with a protocol number for experiments (RFC 3692). */
export const raw6 = withCapability('CAP_NET_RAW', plain(AF_INET6, SOCK_RAW, 253))
export const ipproto6 = withCapability('CAP_NET_RAW', plain(AF_INET6, SOCK_RAW, IPPROTO_RAW))

export const unixPair = paired(AF_UNIX, () => Socket.pair(AF_UNIX, SOCK_STREAM))
/** Two UDP sockets on loopback, connected to each other. */
export const udp4Pair = paired(AF_INET, () => pairOf(AF_INET, SOCK_DGRAM))
export const udp6Pair = paired(AF_INET6, () => pairOf(AF_INET6, SOCK_DGRAM))
/** The connecting end of a TCP connection over loopback. */
export const tcp4Pair = paired(AF_INET, () => pairOf(AF_INET, SOCK_STREAM))
export const tcp6Pair = paired(AF_INET6, () => pairOf(AF_INET6, SOCK_STREAM))

/** The other end of a socket of one of the pairs. */
export function peerOf(socket: Socket): Socket {
  return peers.get(socket) as Socket
}

/** A kind that the machine must support. */
export function needing(need: () => Need, kind: Kind<Socket>): Kind<Socket> {
  return { open: kind.open, need: () => kind.need?.() ?? need() }
}

export function withCapability(name: Parameters<typeof needCapability>[0], kind: Kind<Socket>): Kind<Socket> {
  return needing(() => needCapability(name), kind)
}

export function since(version: string, kind: Kind<Socket>): Kind<Socket> {
  return needing(() => needLinux(version), kind)
}

/** A kind with a preparation step. */
export function after(prepare: (socket: Socket) => void, kind: Kind<Socket>): Kind<Socket> {
  return {
    ...kind,
    open: () => {
      const socket = kind.open()
      prepare(socket)
      return socket
    },
  }
}

export function loopback(domain: number) {
  return domain === AF_INET
    ? ({ family: 'ipv4', address: '127.0.0.1', port: 0 } as const)
    : ({ family: 'ipv6', address: '::1', port: 0 } as const)
}

const peers = new WeakMap<Socket, Socket>()

function plain(domain: number, type: number, protocol = 0): Kind<Socket> {
  return { open: () => Socket.open(domain, type, protocol), need: () => needFamily(domain) }
}

function paired(domain: number, open: () => [Socket, Socket]): Kind<Socket> {
  return {
    need: () => needFamily(domain),
    open: () => {
      const [socket, peer] = open()
      onTestFinished(() => peer.close())
      peers.set(socket, peer)
      return socket
    },
  }
}

function needFamily(domain: number): Need {
  if (domain !== AF_INET6) return null
  try {
    const loopback = `${'0'.repeat(31)}1`
    return readFileSync('/proc/net/if_inet6', 'utf8').includes(loopback) ? null : 'the loopback interface has no ::1'
  } catch {
    return 'the kernel has no IPv6'
  }
}

function pairOf(domain: number, type: number): [Socket, Socket] {
  const [a, b] = [Socket.open(domain, type), Socket.open(domain, type)]
  b.bind(loopback(domain))
  if (type === SOCK_STREAM) {
    using listener = b
    listener.listen()
    a.connect(listener.localName)
    return [a, listener.accept() as Socket]
  }
  a.bind(loopback(domain))
  a.connect(b.localName)
  b.connect(a.localName)
  return [a, b]
}
