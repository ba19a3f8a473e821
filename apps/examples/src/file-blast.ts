/**
 * Sends a file over UDP as fast as segmentation allows: one call of the kernel makes up to 50 datagrams (UDP_SEGMENT), and the
 * receiver gets many at once (UDP_GRO). After each part the sender asks what is missing, and sends that.
 *
 *     node dist/file-blast.js                         a transfer over loopback
 *     node dist/file-blast.js receive 7779 copy       receives a file as `copy`
 *     node dist/file-blast.js send file host:7779     sends `file`
 */
import { createHash, randomBytes } from 'node:crypto'
import { readFile, writeFile } from 'node:fs/promises'
import { pathToFileURL } from 'node:url'
import { UdpSocket } from '@linux-sockets/udp-mcast'
import { Bar, type Progress, size } from './report.js'

/** A segment is its number and **bytes** of the file, and fits into a packet of Ethernet also over IPv6. */
const NUMBER = 4
const PAYLOAD = 1400
const SEGMENT = NUMBER + PAYLOAD
/** 50 segments are little more than the 65 507 bytes that one call may send. */
const PER_CALL = Math.floor(65_507 / SEGMENT)
/** Segments that are sent before the sender asks. They fit into the receive buffer that Linux gives by default. */
const PER_PART = 2 * PER_CALL
/** In place of a segment's number, marks a question: its serial number and the length of the file follow. */
const QUESTION = 0xffff_ffff
/** The receiver names this many ranges of missing segments at most. */
const MAX_RANGES = 64
/** **Milliseconds** after which the sender asks again, and the number of questions without an answer after which it fails. */
const PATIENCE = 200
const MAX_QUESTIONS = 50

type Range = readonly [start: number, end: number]

/** Sends data to a receiver, and resolves when it has all of it. */
export async function sendFile(data: Uint8Array, to: string, progress: Progress): Promise<UdpSocket['statistics']> {
  let answered: ((message: Buffer) => void) | undefined
  using socket = UdpSocket.open(
    { peer: to },
    {
      datagram: ({ data: message }) => answered?.(Buffer.from(message)),
      // A receiver that isn't there yet: the question is asked again.
      error: () => {},
    },
  )
  const count = Math.ceil(data.length / PAYLOAD)
  let serial = 0
  const ask = async (): Promise<{ missing: Range[]; have: number }> => {
    for (let i = 0; i < MAX_QUESTIONS; i++) {
      const mine = serial++
      const question = Buffer.alloc(16)
      question.writeUInt32BE(QUESTION, 0)
      question.writeUInt32BE(mine, 4)
      question.writeBigUInt64BE(BigInt(data.length), 8)
      const message = await new Promise<Buffer | undefined>((resolve) => {
        const timer = setTimeout(() => resolve(undefined), PATIENCE)
        answered = (answer) => {
          if (answer.readUInt32BE(0) !== mine) return
          clearTimeout(timer)
          resolve(answer)
        }
        socket.send(question)
      })
      if (message !== undefined) return { have: message.readUInt32BE(4), missing: rangesOf(message.subarray(8)) }
    }
    throw new Error(`${to} doesn't answer`)
  }
  for (;;) {
    const { missing, have } = await ask()
    progress(have, count)
    if (missing.length === 0) return socket.statistics
    let left = PER_PART
    for (const [start, end] of missing) {
      for (let i = start; i < end && left > 0; i += PER_CALL) {
        const last = Math.min(end, i + PER_CALL, i + left)
        socket.send(segments(data, i, last), undefined, { segmentSize: SEGMENT })
        left -= last - i
      }
    }
    await socket.flush()
  }
}

/** Makes one piece of data of the segments from `first` to before `end`. */
function segments(data: Uint8Array, first: number, end: number): Buffer {
  const parts: Uint8Array[] = []
  for (let i = first; i < end; i++) {
    const number = Buffer.alloc(NUMBER)
    number.writeUInt32BE(i)
    parts.push(number, data.subarray(i * PAYLOAD, (i + 1) * PAYLOAD))
  }
  return Buffer.concat(parts)
}

/** Receives one file. Its `done` resolves when all of it is there. */
export class Receiver {
  readonly done: Promise<Buffer>
  readonly #socket: UdpSocket
  #finish: (data: Buffer) => void = () => {}
  #data: Buffer | undefined
  #has: boolean[] = []
  #have = 0

  /** `limit` is the longest file that it takes, in **bytes**. */
  constructor(address: string, limit: number) {
    this.done = new Promise((resolve) => {
      this.#finish = resolve
    })
    this.#socket = UdpSocket.open(
      { address, receive: { gro: true } },
      {
        datagram: (datagram) => {
          for (const segment of datagram.segments()) {
            const message = Buffer.from(segment.buffer, segment.byteOffset, segment.byteLength)
            if (message.length < NUMBER) continue
            const number = message.readUInt32BE(0)
            if (number !== QUESTION) this.#store(number, message.subarray(NUMBER))
            else if (message.length === 16) {
              const length = Number(message.readBigUInt64BE(8))
              if (length > limit) continue
              this.#data ??= this.#begin(length)
              this.#socket.reply(datagram, this.#answer(message.subarray(4, 8)))
              if (this.#have === this.#has.length) this.#finish(this.#data)
            }
          }
        },
        error: ({ message }) => console.error(message),
      },
    )
  }

  get port(): number {
    return this.#socket.localName.port
  }

  #begin(length: number): Buffer {
    this.#has = Array.from({ length: Math.ceil(length / PAYLOAD) }, () => false)
    return Buffer.alloc(length)
  }

  #store(number: number, bytes: Buffer): void {
    if (this.#data === undefined || this.#has[number] !== false) return
    // A segment that was cut isn't whole.
    if (bytes.length !== Math.min(PAYLOAD, this.#data.length - number * PAYLOAD)) return
    bytes.copy(this.#data, number * PAYLOAD)
    this.#has[number] = true
    this.#have++
  }

  /** The serial number of the question, the number of segments that are there, and the ranges of those that aren't. */
  #answer(serial: Buffer): Buffer {
    const numbers = [this.#have]
    for (let end = 0; numbers.length < 2 * MAX_RANGES; ) {
      const start = this.#has.indexOf(false, end)
      if (start === -1) break
      const next = this.#has.indexOf(true, start)
      end = next === -1 ? this.#has.length : next
      numbers.push(start, end)
    }
    const answer = Buffer.alloc(4 * numbers.length)
    for (const [i, number] of numbers.entries()) answer.writeUInt32BE(number, 4 * i)
    return Buffer.concat([serial, answer])
  }

  [Symbol.dispose](): void {
    this.#socket.close()
  }
}

function rangesOf(bytes: Buffer): Range[] {
  return Array.from({ length: Math.floor(bytes.length / 8) }, (_, i) => [
    bytes.readUInt32BE(8 * i),
    bytes.readUInt32BE(8 * i + 4),
  ])
}

const sha256 = (data: Uint8Array) => createHash('sha256').update(data).digest('hex').slice(0, 16)

async function blast(data: Uint8Array, to: string): Promise<void> {
  const bar = new Bar('sending')
  const started = performance.now()
  const { sent, segmented } = await sendFile(data, to, (done, total) => bar.show(done, total))
  bar.clear()
  const rate = size((1000 * data.length) / (performance.now() - started))
  console.log(
    `sent ${size(data.length)} at ${rate}/s, ${segmented} segments, ${sent} datagrams, sha256 ${sha256(data)}`,
  )
}

async function receive(address: string, path: string | undefined): Promise<void> {
  using receiver = new Receiver(address, 4 * 1024 ** 3)
  const data = await receiver.done
  if (path !== undefined) await writeFile(path, data)
  console.log(`received ${size(data.length)}, sha256 ${sha256(data)}`)
}

async function run(role?: string, first = '', second = ''): Promise<void> {
  if (role === 'send') return blast(await readFile(first), second)
  if (role === 'receive') return receive(`0.0.0.0:${first}`, second)
  const data = randomBytes(16 * 1024 * 1024 + 1)
  using receiver = new Receiver('127.0.0.1:0', data.length)
  await blast(data, `127.0.0.1:${receiver.port}`)
  const received = await receiver.done
  console.log(`received ${size(received.length)}, sha256 ${sha256(received)}`)
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) await run(...process.argv.slice(2))
