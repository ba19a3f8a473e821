/**
 * Shows what the kernel knows about a running transfer: a line per second with the round-trip time, the congestion window and
 * two rates. One is computed from the bytes that the peer has acknowledged. The other is the kernel's own estimate
 * (delivery_rate), made during a burst: it shows what the path can carry rather than what was sent.
 *
 *     node dist/tcp-info.js       until Ctrl-C
 *     node dist/tcp-info.js 10    for 10 seconds
 */
import { once } from 'node:events'
import { setInterval } from 'node:timers/promises'
import { pathToFileURL } from 'node:url'
import { setOption } from '@linux-sockets/native-core'
import { SO_MAX_PACING_RATE } from '@linux-sockets/native-core/options'
import { connect, listen, type TcpInfo, tcpInfo } from '@linux-sockets/tcp'
import { size } from './report.js'

/** **Bytes per second.** The limit makes loopback look like a network, and leaves processor time to other programs. */
const PACE = 64n * 1024n * 1024n
const CHUNK = Buffer.alloc(64 * 1024)

/** **Milliseconds** between lines. */
const INTERVAL = 1000

/** A sample of the transfer. */
export interface Sample {
  readonly info: TcpInfo
  /** The bytes acknowledged since the previous sample, in **bytes per second**. */
  readonly acknowledged: number
}

/** Samples a transfer over loopback every `interval` **milliseconds** until the signal ends it. */
export async function* watchTransfer(interval: number, signal: AbortSignal): AsyncGenerator<Sample> {
  await using server = listen({ family: 'ipv4', address: '127.0.0.1', port: 0 })
  server.run((stream) => stream.resume())
  const stream = await connect(server.address)
  setOption(stream, SO_MAX_PACING_RATE, PACE)
  const send = () => {
    while (stream.write(CHUNK)) {}
  }
  stream.on('drain', send)
  let before = acknowledgedBy(tcpInfo(stream))
  send()
  try {
    for await (const _ of setInterval(interval, undefined, { signal })) {
      const info = tcpInfo(stream)
      const now = acknowledgedBy(info)
      yield { info, acknowledged: (1000 * (now.bytes - before.bytes)) / (now.time - before.time) }
      before = now
    }
  } catch (error) {
    if (!signal.aborted) throw error
  } finally {
    stream.off('drain', send).resume().end()
    await once(stream, 'close')
  }
}

function acknowledgedBy({ bytes_acked: bytes = 0 }: TcpInfo): { bytes: number; time: number } {
  return { bytes, time: performance.now() }
}

function report({ info, acknowledged }: Sample): string {
  const { rtt, rttvar, snd_cwnd, unacked, delivery_rate = 0, bytes_acked = 0, total_retrans } = info
  return [
    `rtt ${milliseconds(rtt)} ± ${milliseconds(rttvar)} ms`,
    `cwnd ${snd_cwnd} segments, ${unacked} in flight`,
    `${size(acknowledged)}/s acknowledged, ${size(bytes_acked)} in all`,
    `in bursts ${size(delivery_rate)}/s (delivery_rate)`,
    `${total_retrans} retransmitted`,
  ].join(' · ')
}

function milliseconds(microseconds: number): string {
  return (microseconds / 1000).toFixed(2)
}

/** Prints a line per second: `lines` of them, or until Ctrl-C. */
async function run(lines: number): Promise<void> {
  const stop = new AbortController()
  process.once('SIGINT', () => stop.abort())
  let left = lines
  for await (const sample of watchTransfer(INTERVAL, stop.signal)) {
    console.log(report(sample))
    if (--left === 0) break
  }
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  await run(process.argv[2] === undefined ? Number.POSITIVE_INFINITY : Number(process.argv[2]))
}
