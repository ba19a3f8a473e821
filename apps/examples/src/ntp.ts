/**
 * Asks an NTP server for the time (RFC 5905). The kernel stamps the question when it leaves and the answer when it arrives, so
 * that what this process takes to run doesn't count.
 *
 *     node dist/ntp.js                    asks a server of its own on loopback
 *     node dist/ntp.js pool.ntp.org       asks this server
 */
import { randomBytes } from 'node:crypto'
import { pathToFileURL } from 'node:url'
import { resolve } from '@linux-sockets/addr'
import { type InetAddress, UdpSocket } from '@linux-sockets/udp-mcast'

const PORT = 123
/** **Seconds** from 1900, from which NTP counts, to 1970. */
const EPOCH = 2_208_988_800n
const SECOND = 1_000_000_000n
const CLIENT = 3
const SERVER = 4
const VERSION = 4

/** What a server says. The durations are in **nanoseconds**. */
export interface NtpAnswer {
  readonly stratum: number
  /** What to add to this machine's clock. */
  readonly offset: bigint
  /** The time on the network, both ways. */
  readonly delay: bigint
}

/** Asks a server. Rejects if it doesn't answer within `timeout` **milliseconds**. */
export async function askTime(server: InetAddress, timeout = 5000): Promise<NtpAnswer> {
  using socket = UdpSocket.open(
    { peer: server, receive: { timestamp: 'ns' }, signal: AbortSignal.timeout(timeout) },
    { error: ({ message }) => console.error(message) },
  )
  const question = Buffer.alloc(48)
  question[0] = (VERSION << 3) | CLIENT
  // The server returns it. A random number tells nothing of this clock, and an answer that was not asked for lacks it.
  const cookie = randomBytes(8)
  cookie.copy(question, 40)
  const { software: sent } = await socket.sendTimestamped(question, undefined, { timeout })
  if (sent === undefined) throw new Error('the kernel gave no time stamp')
  for await (const { data, timestamp: received } of socket) {
    const answer = Buffer.from(data)
    if (answer.length < 48 || (answer.readUInt8(0) & 7) !== SERVER || !answer.subarray(24, 32).equals(cookie)) continue
    const stratum = answer.readUInt8(1)
    if (stratum === 0) throw new Error(`the server refuses: ${answer.toString('latin1', 12, 16)}`)
    if (received === undefined) throw new Error('the kernel gave no time stamp')
    const [arrived, left] = [timeAt(answer, 32), timeAt(answer, 40)]
    return { stratum, offset: (arrived - sent + (left - received)) / 2n, delay: received - sent - (left - arrived) }
  }
  throw new Error(`no answer within ${timeout} ms`)
}

/** Reads a time in **nanoseconds** since 1970. Its seconds overflow in 2036, when the next era begins. */
function timeAt(message: Buffer, at: number): bigint {
  const seconds = BigInt(message.readUInt32BE(at))
  const era = seconds < EPOCH ? 1n << 32n : 0n
  return (seconds + era - EPOCH) * SECOND + ((BigInt(message.readUInt32BE(at + 4)) * SECOND) >> 32n)
}

function writeTime(message: Buffer, at: number, time: bigint): void {
  message.writeUInt32BE(Number((time / SECOND + EPOCH) & 0xffff_ffffn), at)
  message.writeUInt32BE(Number(((time % SECOND) << 32n) / SECOND), at + 4)
}

/** A server on loopback with the clock of this machine. */
export function startServer(): UdpSocket {
  const server = UdpSocket.open(
    { address: '127.0.0.1:0', receive: { timestamp: 'ns' } },
    {
      datagram(datagram) {
        if (datagram.data.length < 48) return
        const answer = Buffer.alloc(48)
        answer.set([(VERSION << 3) | SERVER, 1])
        answer.set(datagram.data.subarray(40, 48), 24)
        writeTime(answer, 32, datagram.timestamp ?? now())
        writeTime(answer, 40, now())
        server.reply(datagram, answer)
      },
      error: ({ message }) => console.error(message),
    },
  )
  return server
}

function now(): bigint {
  return BigInt(Math.round((performance.timeOrigin + performance.now()) * 1e6))
}

function report({ stratum, offset, delay }: NtpAnswer): void {
  console.log(`stratum ${stratum}, offset ${milliseconds(offset)} ms, delay ${milliseconds(delay)} ms`)
}

function milliseconds(nanoseconds: bigint): string {
  return (Number(nanoseconds) / 1e6).toFixed(3)
}

async function run(host: string | undefined): Promise<void> {
  if (host !== undefined) {
    const [server] = await resolve(host, PORT)
    if (server === undefined) throw new Error(`${host} has no address`)
    return report(await askTime(server))
  }
  using server = startServer()
  report(await askTime(server.localName))
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) await run(process.argv[2])
