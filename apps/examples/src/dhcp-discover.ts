/**
 * Asks the DHCP servers of a network for offers (RFC 2131), and accepts none. The question is a broadcast out of one interface,
 * which needs no address of its own for that.
 *
 *     node dist/dhcp-discover.js         asks a server of its own on loopback
 *     node dist/dhcp-discover.js eth0    asks the servers on eth0, for 5 seconds; takes the port 68 and so privileges
 */
import { randomBytes } from 'node:crypto'
import { networkInterfaces } from 'node:os'
import { pathToFileURL } from 'node:url'
import { UdpSocket } from '@linux-sockets/udp-mcast'

const SERVER_PORT = 67
const CLIENT_PORT = 68
const MAGIC = 0x63825363
const DISCOVER = 1
const OFFER = 2
const OPTION = { mask: 1, router: 3, dns: 6, lease: 51, type: 53, server: 54, end: 255 } as const
/** The header up to the options, with the magic number. */
const HEADER = 240

/** What a server offers. */
export interface Offer {
  readonly server: string
  readonly address: string
  readonly mask: string | undefined
  readonly routers: readonly string[]
  readonly dns: readonly string[]
  /** In **seconds**. */
  readonly lease: number | undefined
}

interface Discovering {
  readonly interface: string
  /** **Milliseconds** to wait for offers. */
  readonly timeout: number
  /** Where servers listen; by default the limited broadcast. */
  readonly to?: string
  /** Default 68. */
  readonly port?: number
  /** Ends the wait after this number of offers. */
  readonly enough?: number
}

/** Asks for offers, twice a second since datagrams are lost. */
export async function discover({
  interface: name,
  timeout,
  to = `255.255.255.255:${SERVER_PORT}`,
  port = CLIENT_PORT,
  enough = Number.POSITIVE_INFINITY,
}: Discovering): Promise<Offer[]> {
  const offers = new Map<string, Offer>()
  const id = randomBytes(4)
  using socket = UdpSocket.open(
    { address: `0.0.0.0:${port}`, interface: name, broadcast: true },
    { error: ({ message }) => console.error(message) },
  )
  const question = discoverMessage(id, name)
  const ask = () => socket.send(question, to)
  const asking = setInterval(ask, 500)
  const waiting = setTimeout(() => socket.close(), timeout)
  ask()
  try {
    for await (const { data } of socket) {
      const offer = offerOf(Buffer.from(data), id)
      if (offer !== undefined) offers.set(offer.server, offer)
      if (offers.size >= enough) break
    }
  } finally {
    clearInterval(asking)
    clearTimeout(waiting)
  }
  return [...offers.values()]
}

function discoverMessage(id: Buffer, name: string): Buffer {
  const message = header(1, id)
  // Servers answer by broadcast: the interface has no address yet.
  message.writeUInt16BE(0x8000, 10)
  const mac = networkInterfaces()[name]?.[0]?.mac ?? '02:00:00:00:00:01'
  Buffer.from(mac.replaceAll(':', ''), 'hex').copy(message, 28)
  const wanted = [OPTION.mask, OPTION.router, OPTION.dns, OPTION.lease]
  return Buffer.concat([message, Buffer.of(OPTION.type, 1, DISCOVER, 55, wanted.length, ...wanted, OPTION.end)])
}

function header(operation: 1 | 2, id: Uint8Array): Buffer {
  const message = Buffer.alloc(HEADER)
  // Ethernet addresses have six bytes.
  message.set([operation, 1, 6])
  message.set(id, 4)
  message.writeUInt32BE(MAGIC, HEADER - 4)
  return message
}

/** Returns what a message offers, or undefined if it is no offer, or one to another question. */
function offerOf(message: Buffer, id: Uint8Array): Offer | undefined {
  if (message.length < HEADER || message[0] !== 2 || message.readUInt32BE(HEADER - 4) !== MAGIC) return
  if (!message.subarray(4, 8).equals(id)) return
  const options = optionsOf(message)
  const server = addresses(options.get(OPTION.server))[0]
  if (options.get(OPTION.type)?.[0] !== OFFER || server === undefined) return
  const lease = options.get(OPTION.lease)
  return {
    server,
    address: message.subarray(16, 20).join('.'),
    mask: addresses(options.get(OPTION.mask))[0],
    routers: addresses(options.get(OPTION.router)),
    dns: addresses(options.get(OPTION.dns)),
    lease: lease?.length === 4 ? lease.readUInt32BE() : undefined,
  }
}

function optionsOf(message: Buffer): Map<number, Buffer> {
  const options = new Map<number, Buffer>()
  for (let at = HEADER; at + 1 < message.length && message[at] !== OPTION.end; ) {
    // Zero is padding.
    if (message[at] === 0) at++
    else {
      const end = at + 2 + (message[at + 1] as number)
      options.set(message[at] as number, message.subarray(at + 2, end))
      at = end
    }
  }
  return options
}

function addresses(bytes: Buffer = Buffer.alloc(0)): string[] {
  return Array.from({ length: Math.floor(bytes.length / 4) }, (_, i) => bytes.subarray(4 * i, 4 * i + 4).join('.'))
}

/** A server that offers one address to everybody, on loopback. */
function startServer(): UdpSocket {
  const server = UdpSocket.open(
    { address: '0.0.0.0:0' },
    {
      datagram(datagram) {
        const offer = header(2, datagram.data.subarray(4, 8))
        offer.set([10, 0, 0, 42], 16)
        const options = [OPTION.type, 1, OFFER, OPTION.server, 4, 127, 0, 0, 1, OPTION.lease, 4, 0, 0, 0x0e, 0x10]
        server.reply(datagram, Buffer.concat([offer, Buffer.of(...options, OPTION.router, 4, 10, 0, 0, 1, OPTION.end)]))
      },
      error: ({ message }) => console.error(message),
    },
  )
  return server
}

function report(offers: readonly Offer[]): void {
  for (const { server, address, mask, routers, dns, lease } of offers) {
    console.log(`${server} offers ${address} for ${lease} s`)
    console.log(`  mask ${mask ?? '–'}, routers ${routers.join(' ') || '–'}, dns ${dns.join(' ') || '–'}`)
  }
  if (offers.length === 0) console.log('No server has made an offer.')
}

async function run(name: string | undefined): Promise<void> {
  if (name !== undefined) return report(await discover({ interface: name, timeout: 5000 }))
  using server = startServer()
  const to = `127.255.255.255:${server.localName.port}`
  report(await discover({ interface: 'lo', timeout: 10_000, to, port: 0, enough: 1 }))
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) await run(process.argv[2])
