import type { FdLike } from '@linux-sockets/native-core'
import {
  attachReusePortFilter,
  BPF_A,
  BPF_ABS,
  BPF_ALU,
  BPF_B,
  BPF_H,
  BPF_IND,
  BPF_JEQ,
  BPF_JMP,
  BPF_JUMP,
  BPF_K,
  BPF_LD,
  BPF_LDX,
  BPF_MISC,
  BPF_MOD,
  BPF_MSH,
  BPF_MUL,
  BPF_RET,
  BPF_RSH,
  BPF_STMT,
  BPF_TAX,
  BPF_W,
  BPF_X,
  BPF_XOR,
  type FilterInstruction,
  SKF_AD_CPU,
  SKF_AD_OFF,
  SKF_NET_OFF,
} from '@linux-sockets/native-core/filter'
import { checkInteger, checkOptions, describe, fdOf, quote } from '@linux-sockets/native-core/internal'

/**
 * How the socket for a datagram is chosen: `'flow'`, by a hash of the sender's address and port; `'cpu'`, by the CPU that
 * handled the datagram; `{ byte }`, by the value of the byte of the payload at this offset, 0 … 65506.
 */
export type DatagramSteering = 'flow' | 'cpu' | { readonly byte: number }

/**
 * setsockopt(2) `SO_ATTACH_REUSEPORT_CBPF`: steers datagrams among `count` sockets that share an address (`SO_REUSEPORT`), in
 * this process, its Workers or other processes, and replaces the kernel's hash of both addresses and ports. Call it once, on
 * any of them; it applies to all, including those bound later.
 *
 *     steerDatagrams(socket, 'flow', 4) // all datagrams of a sender's port come to the same one of 4 Workers
 *     steerDatagrams(socket, { byte: 1 }, 4) // by the first byte of the connection id in a short header of QUIC
 *
 * - Sockets are numbered from 0, in the order in which they were bound; when one is closed, the last takes its number.
 * - `'cpu'`: a datagram that CPU c handled goes to socket c modulo `count`. With `{ byte }`, b goes to socket b modulo `count`,
 *   also if the sender's address changes; a shorter datagram goes to socket 0.
 * - Bind all sockets before the first datagram can arrive, such as before the port is announced. What is queued on a socket
 *   stays there; while there are fewer than `count`, the kernel's hash distributes the datagrams for the missing ones.
 * - A connected socket in the group gets the datagrams of its peer in any case.
 *
 * `detachReusePortFilter` ends the steering.
 *
 * Linux 4.5
 * @throws TypeError, RangeError for an unknown way of steering, or a count that isn't from 1 to 65535 (256 with `{ byte }`)
 * @throws SystemError `EINVAL` if the socket is bound without `SO_REUSEPORT`, `EBADF`
 * @see {@link https://man7.org/linux/man-pages/man7/socket.7.html socket(7)}
 */
export function steerDatagrams(socket: FdLike, by: DatagramSteering, count: number): void {
  const fd = fdOf(socket, 'socket')
  const number = numberBy(by)
  checkInteger(count, 1, typeof by === 'object' ? 0x100 : 0xffff, 'count')
  attachReusePortFilter(fd, [...number, BPF_STMT(BPF_ALU | BPF_MOD | BPF_K, count), BPF_STMT(BPF_RET | BPF_A, 0)])
}

/** A filter program that leaves a number in the accumulator. */
function numberBy(by: DatagramSteering): readonly FilterInstruction[] {
  if (by === 'flow') return flowHash
  if (by === 'cpu') return [word(SKF_AD_OFF + SKF_AD_CPU)]
  if (typeof by !== 'object' || by === null) {
    const given = typeof by === 'string' ? quote(by) : describe(by)
    throw new TypeError(`by must be 'flow', 'cpu' or { byte }, not ${given}`)
  }
  checkOptions(by, 'by', { byte: true })
  checkInteger(by.byte, 0, 65_506, 'by.byte')
  // The program of a group of UDP sockets sees the datagram from its payload on.
  return [byteAt(by.byte)]
}

const word = (offset: number) => BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offset)
const byteAt = (offset: number) => BPF_STMT(BPF_LD | BPF_B | BPF_ABS, offset)
const keep = BPF_STMT(BPF_MISC | BPF_TAX, 0)
const mix = BPF_STMT(BPF_ALU | BPF_XOR | BPF_X, 0)

/** The source address and, behind a header of any length, the source port: RFC 791, RFC 768. */
const ipv4Source = [
  BPF_STMT(BPF_LDX | BPF_B | BPF_MSH, SKF_NET_OFF),
  BPF_STMT(BPF_LD | BPF_H | BPF_IND, SKF_NET_OFF),
  keep,
  word(SKF_NET_OFF + 12),
  mix,
]

/** The source port and the source address, folded into one word: RFC 8200. */
const ipv6Source = [
  BPF_STMT(BPF_LD | BPF_H | BPF_ABS, SKF_NET_OFF + 40),
  ...[8, 12, 16, 20].flatMap((offset) => [keep, word(SKF_NET_OFF + offset), mix]),
]

const flowHash = [
  byteAt(SKF_NET_OFF),
  BPF_STMT(BPF_ALU | BPF_RSH | BPF_K, 4),
  BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 4, 0, ipv4Source.length + 1),
  ...ipv4Source,
  BPF_STMT(BPF_JMP, ipv6Source.length),
  ...ipv6Source,
  // Fibonacci hashing: spreads consecutive addresses and ports. The high half is the better one.
  BPF_STMT(BPF_ALU | BPF_MUL | BPF_K, 0x9e37_79b1),
  BPF_STMT(BPF_ALU | BPF_RSH | BPF_K, 16),
]
