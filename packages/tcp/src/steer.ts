import type { FdLike } from '@linux-sockets/native-core'
import {
  attachReusePortFilter,
  BPF_A,
  BPF_ABS,
  BPF_ALU,
  BPF_B,
  BPF_JEQ,
  BPF_JMP,
  BPF_JUMP,
  BPF_K,
  BPF_LD,
  BPF_MISC,
  BPF_MOD,
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
import { checkInteger, fdOf } from '@linux-sockets/native-core/internal'

/**
 * How the listener for a connection is chosen: `'cpu'`, by the CPU that handled its SYN, or `'client'`, by a hash of the
 * client's address without the port.
 */
export type Steering = 'cpu' | 'client'

/**
 * setsockopt(2) `SO_ATTACH_REUSEPORT_CBPF`: steers connections among `count` listeners that share an address (`reusePort`),
 * in this process, its Workers or other processes, and replaces the kernel's hash of both addresses and ports. Call it
 * once, on any of them that listens; it applies to all, including those opened later.
 *
 *     const server = listen(address, { reusePort: true })
 *     steerConnections(server, 'client', 4) // all connections of a client come to the same one of 4 Workers
 *
 * With `'cpu'`, a connection whose SYN was handled by CPU c goes to listener c modulo `count`: if the thread of that
 * listener is bound to CPU c, the data needn't leave the cache of that CPU. Listeners are numbered from 0, in the order in which they began to
 * listen; when one closes, the last takes its number. While there are fewer than `count`, the kernel's hash distributes the
 * connections for the missing ones. `detachReusePortFilter` ends the steering.
 *
 * Linux 4.6
 * @throws TypeError, RangeError for an unknown way of steering, or a count that isn't from 1 to 65535
 * @throws SystemError `EINVAL` if the socket is bound without `SO_REUSEPORT`, `EBADF`
 * @see {@link https://man7.org/linux/man-pages/man7/socket.7.html socket(7)}
 */
export function steerConnections(listener: FdLike, by: Steering, count: number): void {
  const fd = fdOf(listener, 'listener')
  checkInteger(count, 1, 0xffff, 'count')
  if (!Object.hasOwn(hashes, by)) throw new TypeError(`by must be 'cpu' or 'client', not ${JSON.stringify(by)}`)
  attachReusePortFilter(fd, [...hashes[by], BPF_STMT(BPF_ALU | BPF_MOD | BPF_K, count), BPF_STMT(BPF_RET | BPF_A, 0)])
}

const word = (offset: number) => BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offset)
const keep = BPF_STMT(BPF_MISC | BPF_TAX, 0)
const mix = BPF_STMT(BPF_ALU | BPF_XOR | BPF_X, 0)

/** The source address in the IPv4 header: RFC 791. */
const ipv4Source = [word(SKF_NET_OFF + 12)]

/** The source address in the IPv6 header, folded into one word: RFC 8200. */
const ipv6Source = [word(SKF_NET_OFF + 8), ...[12, 16, 20].flatMap((offset) => [keep, word(SKF_NET_OFF + offset), mix])]

const clientHash = [
  BPF_STMT(BPF_LD | BPF_B | BPF_ABS, SKF_NET_OFF),
  BPF_STMT(BPF_ALU | BPF_RSH | BPF_K, 4),
  BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 4, 0, ipv4Source.length + 1),
  ...ipv4Source,
  BPF_STMT(BPF_JMP, ipv6Source.length),
  ...ipv6Source,
  // Fibonacci hashing: spreads consecutive addresses. The high half is the better one.
  BPF_STMT(BPF_ALU | BPF_MUL | BPF_K, 0x9e37_79b1),
  BPF_STMT(BPF_ALU | BPF_RSH | BPF_K, 16),
]

/** Filter programs that leave a number in the accumulator. */
const hashes: Readonly<Record<Steering, readonly FilterInstruction[]>> = {
  cpu: [word(SKF_AD_OFF + SKF_AD_CPU)],
  client: clientHash,
}
