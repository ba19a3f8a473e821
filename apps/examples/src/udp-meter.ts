/**
 * Counts the datagrams that arrive at a port and those that the kernel drops because this program is too slow for them: a line
 * per second.
 *
 *     node dist/udp-meter.js         3 lines, under a load of its own that is too much for the receive buffer
 *     node dist/udp-meter.js 9000    what comes to this port, until Ctrl-C
 */
import { setInterval } from 'node:timers/promises'
import { pathToFileURL } from 'node:url'
import { setReceiveBuffer, UdpSocket } from '@linux-sockets/udp-mcast'
import { size } from './report.js'

/** What came within an interval. */
export interface Reading {
  readonly datagrams: number
  readonly bytes: number
  readonly dropped: number
}

/** A meter on a socket of its own, which reads until `close`. */
export class Meter {
  readonly #socket: UdpSocket
  #bytes = 0
  #before = { datagrams: 0, bytes: 0, dropped: 0 }

  constructor(address: string) {
    this.#socket = UdpSocket.open(
      { address, receive: { drops: true } },
      {
        batch: (batch) => {
          for (let i = 0; i < batch.length; i++) this.#bytes += batch.at(i).length
        },
        error: ({ message }) => console.error(message),
      },
    )
  }

  get port(): number {
    return this.#socket.localName.port
  }

  /** Asks for a receive buffer of **bytes**, and returns what there is and how to get more. */
  setBuffer(bytes: number): string {
    const { given, raise } = setReceiveBuffer(this.#socket, bytes)
    return `receive buffer ${size(given)}${raise === undefined ? '' : ` (for more, raise ${raise})`}`
  }

  /** Returns what came since the call before. */
  read(): Reading {
    const now = { datagrams: this.#socket.statistics.received, bytes: this.#bytes, dropped: this.#socket.drops }
    const { datagrams, bytes, dropped } = this.#before
    this.#before = now
    return { datagrams: now.datagrams - datagrams, bytes: now.bytes - bytes, dropped: now.dropped - dropped }
  }

  [Symbol.dispose](): void {
    this.#socket.close()
  }
}

function report({ datagrams, bytes, dropped }: Reading, seconds: number): void {
  const all = datagrams + dropped
  const share = all === 0 ? '' : ` (${((100 * dropped) / all).toFixed(1)} %)`
  const rate = (datagrams / seconds).toFixed(0)
  console.log(`${rate} datagrams/s · ${size(bytes / seconds)}/s · ${dropped} dropped${share}`)
}

/** Prints a line per second: `lines` of them, or until Ctrl-C. */
async function measure(meter: Meter, lines: number): Promise<void> {
  const stop = new AbortController()
  process.once('SIGINT', () => stop.abort())
  let left = lines
  let before = performance.now()
  meter.read()
  try {
    for await (const _ of setInterval(1000, undefined, { signal: stop.signal })) {
      const now = performance.now()
      report(meter.read(), (now - before) / 1000)
      before = now
      if (--left === 0) break
    }
  } catch (error) {
    if (!stop.signal.aborted) throw error
  }
}

/** Sends bursts that are larger than the meter's buffer: while this thread sends, nobody reads. */
function load(port: number): { [Symbol.dispose](): void } {
  const sender = UdpSocket.open({ peer: `127.0.0.1:${port}` }, { error: ({ message }) => console.error(message) })
  const burst = Array.from({ length: 100 }, () => ({ data: Buffer.alloc(200) }))
  const timer = globalThis.setInterval(() => sender.sendBatch(burst), 20)
  return {
    [Symbol.dispose]() {
      clearInterval(timer)
      sender.close()
    },
  }
}

async function run(port: string | undefined): Promise<void> {
  if (port !== undefined) {
    using meter = new Meter(`0.0.0.0:${port}`)
    console.log(meter.setBuffer(4 * 1024 * 1024))
    return await measure(meter, Number.POSITIVE_INFINITY)
  }
  using meter = new Meter('127.0.0.1:0')
  console.log(meter.setBuffer(10_000))
  using _load = load(meter.port)
  await measure(meter, 3)
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) await run(process.argv[2])
