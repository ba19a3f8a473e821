/**
 * What the kernel knows of a running transfer: a line per interval with the round-trip time, the congestion window and the
 * rate at which the data arrive.
 *
 *     node dist/tcp-info.js
 */
import { once } from 'node:events'
import { setInterval } from 'node:timers/promises'
import { pathToFileURL } from 'node:url'
import { SO_MAX_PACING_RATE, setOption } from '@linux-sockets/native-core'
import { connect, listen, type TcpInfo, tcpInfo } from '@linux-sockets/tcp'
import { size } from './report.js'

/** **Bytes per second**, so that loopback looks like a network, and leaves the processor to others. */
const PACE = 64n * 1024n * 1024n
const CHUNK = Buffer.alloc(64 * 1024)

/** Yields what the kernel knows of a transfer over loopback, `times` times, every `interval` **milliseconds**. */
export async function* watchTransfer(times: number, interval: number): AsyncGenerator<TcpInfo> {
  await using server = listen({ family: 'ipv4', address: '127.0.0.1', port: 0 })
  server.run((stream) => stream.resume())
  const stream = await connect(server.address)
  setOption(stream, SO_MAX_PACING_RATE, PACE)
  const send = () => {
    while (stream.write(CHUNK)) {}
  }
  stream.on('drain', send)
  send()
  try {
    let left = times
    for await (const _ of setInterval(interval)) {
      yield tcpInfo(stream)
      if (--left <= 0) return
    }
  } finally {
    stream.off('drain', send).resume().end()
    await once(stream, 'close')
  }
}

function report(info: TcpInfo): string {
  const { rtt, rttvar, snd_cwnd, unacked, delivery_rate = 0, bytes_acked = 0, total_retrans } = info
  return [
    `rtt ${milliseconds(rtt)} ± ${milliseconds(rttvar)} ms`,
    `cwnd ${snd_cwnd} segments, ${unacked} in flight`,
    `delivering ${size(delivery_rate)}/s`,
    `${size(bytes_acked)} acknowledged`,
    `${total_retrans} retransmitted`,
  ].join(' · ')
}

function milliseconds(microseconds: number): string {
  return (microseconds / 1000).toFixed(2)
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  for await (const info of watchTransfer(5, 100)) console.log(report(info))
}
