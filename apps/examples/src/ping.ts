/**
 * Pings a host, with the kernel's time stamps of sending and arrival. Linux lets the groups in `net.ipv4.ping_group_range` open
 * a ping socket; others need CAP_NET_RAW.
 *
 *     node dist/ping.js                  4 times loopback
 *     node dist/ping.js example.org      this host, once a second until Ctrl-C
 *     node dist/ping.js ::1 3            3 times
 */
import { randomInt } from 'node:crypto'
import { setTimeout } from 'node:timers/promises'
import { pathToFileURL } from 'node:url'
import { resolve } from '@linux-sockets/addr'
import {
  AF_INET,
  AF_INET6,
  IPPROTO_ICMP,
  IPPROTO_ICMPV6,
  SOCK_DGRAM,
  SOCK_RAW,
} from '@linux-sockets/native-core/constants'
import { type InetAddress, NetworkError, Socket, UdpSocket } from '@linux-sockets/udp-mcast'

const REQUEST = { ipv4: 8, ipv6: 128 } as const
const REPLY = { ipv4: 0, ipv6: 129 } as const
const HEADER = 8
const PAYLOAD = Buffer.alloc(48, 'ping')

/** The answer to one request. */
export interface Pong {
  readonly sequence: number
  readonly from: string
  readonly ttl: number | undefined
  /** **Milliseconds**. */
  readonly time: number
}

/** Sends ICMP echo requests, and matches the answers. */
export class Pinger {
  readonly #socket: UdpSocket
  readonly #family: 'ipv4' | 'ipv6'
  readonly #isRaw: boolean
  readonly #id = randomInt(0x1_0000)
  readonly #waiting = new Map<number, (pong: { received: bigint; ttl: number | undefined; from: string }) => void>()
  #sequence = 0

  /** The port of the address is without meaning. */
  constructor(host: InetAddress) {
    this.#family = host.family
    const [socket, isRaw] = openIcmp(host.family)
    this.#isRaw = isRaw
    try {
      socket.connect({ ...host, port: 0 })
      this.#socket = new UdpSocket(
        socket,
        {
          datagram: ({ data, address, ttl, timestamp = 0n }) => {
            const message = this.#messageOf(Buffer.from(data))
            if (message === undefined) return
            this.#waiting.get(message.readUInt16BE(6))?.({ received: timestamp, ttl, from: address.address })
          },
          error: (error) => console.error(error instanceof NetworkError ? error.reason : error.message),
        },
        { receive: { ttl: true, timestamp: 'ns' } },
      )
    } catch (error) {
      socket.close()
      throw error
    }
  }

  /** Sends a request, and resolves with its answer, or with undefined if there is none within `timeout` **milliseconds**. */
  async ping(timeout = 2000): Promise<Pong | undefined> {
    const sequence = this.#sequence++ & 0xffff
    const signal = new AbortController()
    try {
      const answer = new Promise<{ received: bigint; ttl: number | undefined; from: string }>((settle) => {
        this.#waiting.set(sequence, settle)
      })
      const { software: sent } = await this.#socket.sendTimestamped(this.#request(sequence), undefined, { timeout })
      const pong = await Promise.race([answer, setTimeout(timeout, undefined, signal)])
      if (pong === undefined || sent === undefined) return
      const { received, ttl, from } = pong
      return { sequence, from, ttl, time: Number(received - sent) / 1e6 }
    } finally {
      this.#waiting.delete(sequence)
      signal.abort()
    }
  }

  #request(sequence: number): Buffer {
    const message = Buffer.concat([Buffer.alloc(HEADER), PAYLOAD])
    message.writeUInt8(REQUEST[this.#family], 0)
    message.writeUInt16BE(this.#id, 4)
    message.writeUInt16BE(sequence, 6)
    // The kernel fills in the sum of ICMPv6, which covers the addresses, and that of ping sockets.
    if (this.#family === 'ipv4') message.writeUInt16BE(checksum(message), 2)
    return message
  }

  /** Returns a reply to our requests. A raw socket of IPv4 also gets the IP header, and raw sockets get other ICMP, too. */
  #messageOf(data: Buffer): Buffer | undefined {
    const message = this.#isRaw && this.#family === 'ipv4' ? data.subarray(4 * (data.readUInt8(0) & 15)) : data
    if (message.length < HEADER || message.readUInt8(0) !== REPLY[this.#family]) return
    // The identifier of a ping socket is its port, which the kernel has checked.
    if (this.#isRaw && message.readUInt16BE(4) !== this.#id) return
    return message
  }

  [Symbol.dispose](): void {
    this.#socket.close()
  }
}

function openIcmp(family: 'ipv4' | 'ipv6'): [socket: Socket<InetAddress>, isRaw: boolean] {
  const open = (type: number) =>
    family === 'ipv4' ? Socket.open(AF_INET, type, IPPROTO_ICMP) : Socket.open(AF_INET6, type, IPPROTO_ICMPV6)
  try {
    return [open(SOCK_DGRAM), false]
  } catch {
    return [open(SOCK_RAW), true]
  }
}

/** The sum of RFC 1071. */
function checksum(message: Buffer): number {
  let sum = 0
  for (let i = 0; i < message.length; i += 2) sum += message.readUInt16BE(i)
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16)
  return ~sum & 0xffff
}

/** Pings once a second, `count` times or until Ctrl-C, and prints a summary. */
async function run(host = '127.0.0.1', count = host === '127.0.0.1' ? 4 : Number.POSITIVE_INFINITY): Promise<void> {
  const [address] = await resolve(host, 0)
  if (address === undefined) throw new Error(`${host} has no address`)
  const stop = new AbortController()
  process.once('SIGINT', () => stop.abort())
  using pinger = new Pinger(address)
  const times: number[] = []
  let sent = 0
  while (sent < count && !stop.signal.aborted) {
    sent++
    const pong = await pinger.ping()
    if (pong === undefined) console.log('no answer')
    else {
      times.push(pong.time)
      console.log(`${pong.from}: sequence ${pong.sequence}, ttl ${pong.ttl}, ${pong.time.toFixed(3)} ms`)
    }
    if (sent < count) await setTimeout(Number.isFinite(count) ? 100 : 1000, undefined, stop).catch(() => {})
  }
  console.log(`${sent} sent, ${times.length} answered${times.length === 0 ? '' : `, ${summary(times)}`}`)
}

function summary(times: readonly number[]): string {
  const mean = times.reduce((a, b) => a + b, 0) / times.length
  return `least ${Math.min(...times).toFixed(3)}, mean ${mean.toFixed(3)}, most ${Math.max(...times).toFixed(3)} ms`
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  const [host, count] = process.argv.slice(2)
  await run(host, count === undefined ? undefined : Number(count))
}
