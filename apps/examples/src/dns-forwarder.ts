/**
 * Forwards DNS questions to another server, and answers from the address that was asked, so that it serves every address of
 * the machine with one socket.
 *
 *     node dist/dns-forwarder.js                  asks itself, with a server of its own behind it
 *     node dist/dns-forwarder.js 5300 9.9.9.9     for `dig -p 5300 @127.0.0.1 example.org`, until Ctrl-C
 */
import { randomInt } from 'node:crypto'
import { once } from 'node:events'
import { pathToFileURL } from 'node:url'
import { UdpSocket } from '@linux-sockets/udp-mcast'
import { decodeMessage, encodeMessage, RESPONSE, TYPES } from './dns-message.js'

/** The questions that may wait for answers. More are dropped, and the clients ask again. */
const MAX_PENDING = 10_000
/** **Milliseconds** after which an answer is too late. */
const PATIENCE = 5000
/** The least that is a message: its header. */
const HEADER = 12

interface Pending {
  readonly answer: (data: Uint8Array) => void
  readonly since: number
}

/** A forwarder that runs until `close`. */
export class Forwarder {
  readonly #front: UdpSocket
  readonly #upstream: UdpSocket
  /** By the identifier of the question that was sent on, in the order in which they were asked. */
  readonly #pending = new Map<number, Pending>()

  /** Both are given with their ports. */
  constructor(address: string, upstream: string) {
    const report = ({ message }: Error) => console.error(message)
    // The kernel takes answers from the one peer only.
    this.#upstream = UdpSocket.open(
      { peer: upstream, receive: { size: 65_535, count: 8 } },
      { datagram: ({ data }) => this.#answer(data), error: report },
    )
    this.#front = UdpSocket.open(
      { address, receive: { size: 65_535, count: 8 } },
      {
        datagram: (datagram) => {
          if (datagram.data.length < HEADER) return
          // The datagram is valid during this call only.
          const asked = datagram.copy()
          this.#ask(datagram.data, (data) => this.#front.reply(asked, data))
        },
        error: report,
      },
    )
  }

  /** The port that it listens on. */
  get port(): number {
    return this.#front.localName.port
  }

  #ask(question: Uint8Array, answer: (data: Uint8Array) => void): void {
    const now = performance.now()
    for (const [id, { since }] of this.#pending) {
      if (now - since < PATIENCE) break
      this.#pending.delete(id)
    }
    if (this.#pending.size >= MAX_PENDING) return
    // A number that nobody can guess: an answer from elsewhere would have to have it.
    let id = randomInt(0x1_0000)
    while (this.#pending.has(id)) id = randomInt(0x1_0000)
    const original = idOf(question)
    this.#pending.set(id, { answer: (data) => answer(withId(data, original)), since: now })
    this.#upstream.send(withId(question, id))
  }

  #answer(data: Uint8Array): void {
    if (data.length < HEADER) return
    const id = idOf(data)
    this.#pending.get(id)?.answer(data)
    this.#pending.delete(id)
  }

  [Symbol.dispose](): void {
    this.#front.close()
    this.#upstream.close()
  }
}

function idOf(message: Uint8Array): number {
  return Buffer.from(message.buffer, message.byteOffset, HEADER).readUInt16BE(0)
}

function withId(message: Uint8Array, id: number): Buffer {
  const copy = Buffer.from(message)
  copy.writeUInt16BE(id, 0)
  return copy
}

/** A server that knows one address for every name. */
function startUpstream(): UdpSocket {
  const server = UdpSocket.open(
    { address: '127.0.0.1:0' },
    {
      datagram(datagram) {
        const { id, questions } = decodeMessage(datagram.data)
        const data = Buffer.of(192, 0, 2, 80)
        const records = questions.map(({ name }) => ({ name, type: TYPES.A, ttl: 60, data, text: '' }))
        server.reply(datagram, encodeMessage({ id, flags: RESPONSE, questions, records }))
      },
      error: ({ message }) => console.error(message),
    },
  )
  return server
}

/** Asks the forwarder at two addresses. */
async function demo(): Promise<void> {
  using upstream = startUpstream()
  using forwarder = new Forwarder('0.0.0.0:0', `127.0.0.1:${upstream.localName.port}`)
  using client = UdpSocket.open(
    { address: '0.0.0.0:0', signal: AbortSignal.timeout(10_000) },
    { error: ({ message }) => console.error(message) },
  )
  const question = encodeMessage({ id: 7, flags: 0x100, questions: [{ name: 'www.example', type: TYPES.A }] })
  for (const host of ['127.0.0.1', '127.0.0.53']) {
    client.send(question, `${host}:${forwarder.port}`)
    for await (const { data, address } of client) {
      const { id, records } = decodeMessage(data)
      console.log(`asked ${host}; ${address.address} answers question ${id}: ${records.map(({ text }) => text)}`)
      break
    }
  }
}

async function run(port: string | undefined, upstream = '9.9.9.9'): Promise<void> {
  if (port === undefined) return demo()
  using forwarder = new Forwarder(`0.0.0.0:${port}`, `${upstream}:53`)
  console.log(`forwards from port ${forwarder.port} to ${upstream}`)
  await once(process, 'SIGINT')
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href)
  await run(...(process.argv.slice(2, 4) as [string?, string?]))
