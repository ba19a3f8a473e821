import {
  type AsFd,
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
  checkInteger,
  type FilterInstruction,
  SKF_AD_CPU,
  SKF_AD_OFF,
  SKF_NET_OFF,
} from '@linux-sockets/native-core'

/**
 * What decides which listener a connection comes to: `'cpu'`, the CPU that handled its SYN, or `'client'`, a hash of the
 * address, without the port, that it comes from.
 */
export type Steering = 'cpu' | 'client'

/**
 * setsockopt(2) `SO_ATTACH_REUSEPORT_CBPF`: chooses among `count` listeners that share an address (`reusePort`), in this
 * process, its Workers or others, in place of the kernel's hash of both addresses and ports. Called once, on any one of
 * them that listens; it holds for all, and for those to come.
 *
 *     const server = listen(address, { reusePort: true })
 *     steerConnections(server, 'client', 4) // all connections of a client come to the same one of 4 Workers
 *
 * With `'cpu'` the connection of CPU c comes to listener c modulo `count`: where that one's thread is bound to the CPU,
 * the data needn't leave its cache. Listeners count from 0, in the order in which they began to listen; when one closes,
 * the last takes its place. While there are fewer than `count`, what would come to the missing ones is spread by the
 * kernel's hash. `detachReusePortFilter` ends it.
 *
 * Linux 4.6
 * @throws TypeError, RangeError for another way of steering, or a count that isn't from 1 to 65535
 * @throws SystemError `EINVAL` when the socket is bound without `SO_REUSEPORT`, `EBADF`
 * @see {@link https://man7.org/linux/man-pages/man7/socket.7.html socket(7)}
 */
export function steerConnections(listener: AsFd, by: Steering, count: number): void {
  checkInteger(count, 1, 0xffff, 'count')
  if (!Object.hasOwn(hashes, by)) throw new TypeError(`by must be 'cpu' or 'client', not ${JSON.stringify(by)}`)
  attachReusePortFilter(listener, [
    ...hashes[by],
    BPF_STMT(BPF_ALU | BPF_MOD | BPF_K, count),
    BPF_STMT(BPF_RET | BPF_A, 0),
  ])
}

const word = (offset: number) => BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offset)
const keep = BPF_STMT(BPF_MISC | BPF_TAX, 0)
const mix = BPF_STMT(BPF_ALU | BPF_XOR | BPF_X, 0)

/** The source address in the IPv4 header: RFC 791. */
const ipv4Source = [word(SKF_NET_OFF + 12)]

/** That in the IPv6 header, folded into one word: RFC 8200. */
const ipv6Source = [word(SKF_NET_OFF + 8), ...[12, 16, 20].flatMap((offset) => [keep, word(SKF_NET_OFF + offset), mix])]

const clientHash = [
  BPF_STMT(BPF_LD | BPF_B | BPF_ABS, SKF_NET_OFF),
  BPF_STMT(BPF_ALU | BPF_RSH | BPF_K, 4),
  BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 4, 0, ipv4Source.length + 1),
  ...ipv4Source,
  BPF_STMT(BPF_JMP, ipv6Source.length),
  ...ipv6Source,
  // Fibonacci hashing: addresses that follow one another are spread. The high half is the better one.
  BPF_STMT(BPF_ALU | BPF_MUL | BPF_K, 0x9e37_79b1),
  BPF_STMT(BPF_ALU | BPF_RSH | BPF_K, 16),
]

/** Programs that leave a number in the accumulator. */
const hashes: Readonly<Record<Steering, readonly FilterInstruction[]>> = {
  cpu: [word(SKF_AD_OFF + SKF_AD_CPU)],
  client: clientHash,
}
