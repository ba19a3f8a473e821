/**
 * Browses for services by multicast DNS (RFC 6762): asks out of all interfaces, over IPv4 and IPv6, and prints what answers on
 * which interface. It asks from a port of its own, so responders answer it directly, and it needs no port that another
 * program may have.
 *
 *     node dist/mdns.js                     asks a responder of its own on loopback
 *     node dist/mdns.js _http._tcp.local    until Ctrl-C
 */
import { once } from 'node:events'
import { setTimeout } from 'node:timers/promises'
import { pathToFileURL } from 'node:url'
import { AllInterfaces, interfaceNameOf, UdpSocket } from '@linux-sockets/udp-mcast'
import {
  type DnsRecord,
  decodeMessage,
  encodeMessage,
  encodeName,
  encodeService,
  RESPONSE,
  TYPES,
} from './dns-message.js'

const PORT = 5353
const GROUPS = { ipv4: '224.0.0.251', ipv6: 'ff02::fb' } as const
const REPEATS = 3

/** What a responder said. */
export interface Found {
  readonly name: string
  readonly record: DnsRecord
  readonly interface: string
  readonly from: string
}

interface Browsing {
  readonly signal: AbortSignal
  /** The port that responders listen on. */
  readonly port?: number
  /** The interface to ask on; by default all. */
  readonly only?: string
  /** By default both. */
  readonly families?: readonly ('ipv4' | 'ipv6')[]
}

/** Asks for a type of service, again after 1, 3 and 7 seconds, and calls back for each record until the signal aborts. */
export async function browse(
  type: string,
  found: (answer: Found) => void,
  { signal, port = PORT, only, families = ['ipv4', 'ipv6'] }: Browsing,
): Promise<void> {
  const query = encodeMessage({ questions: [{ name: type, type: TYPES.PTR }] })
  const seen = new Set<string>()
  const report = ({ message }: Error) => console.error(message)
  const sockets = families.map((family) => {
    const socket = UdpSocket.open(
      { address: family === 'ipv4' ? '0.0.0.0:0' : '[::]:0', signal },
      {
        datagram({ data, address, ifindex = 0 }) {
          for (const record of recordsOf(data)) {
            const answer = { name: record.name, record, interface: interfaceNameOf(ifindex), from: address.address }
            const key = [record.name, record.type, record.text, ifindex].join('\n')
            if (seen.has(key)) continue
            seen.add(key)
            found(answer)
          }
        },
        error: report,
      },
    )
    const to = `${family === 'ipv4' ? GROUPS.ipv4 : `[${GROUPS.ipv6}]`}:${port}`
    const everywhere = new AllInterfaces(
      socket,
      { error: report, added: () => void everywhere.send(query, to) },
      { signal, filter: ({ name }) => only === undefined || name === only },
    )
    return { everywhere, to }
  })
  try {
    for (let i = 0; i < REPEATS; i++) {
      await setTimeout(1000 * 2 ** i, undefined, { signal })
      for (const { everywhere, to } of sockets) everywhere.send(query, to)
    }
    await once(signal, 'abort')
  } catch (error) {
    if (!signal.aborted) throw error
  }
}

/** Returns the records of a response, and none of what isn't a message. */
function recordsOf(data: Uint8Array): readonly DnsRecord[] {
  try {
    const { flags, records } = decodeMessage(data)
    return flags & 0x8000 ? records : []
  } catch (error) {
    console.error('malformed answer:', (error as Error).message)
    return []
  }
}

/** Answers questions for `_demo._tcp.local` on loopback. */
export function startResponder(): UdpSocket {
  const socket = UdpSocket.open(
    { address: '0.0.0.0:0' },
    {
      datagram(datagram) {
        const { id, questions } = decodeMessage(datagram.data)
        if (!questions.some(({ name }) => name === '_demo._tcp.local')) return
        const record = (name: string, type: number, data: Uint8Array) => ({ name, type, ttl: 10, data, text: '' })
        const records = [
          record('_demo._tcp.local', TYPES.PTR, encodeName('example._demo._tcp.local')),
          record('example._demo._tcp.local', TYPES.SRV, encodeService(8080, 'host.local')),
          record('host.local', TYPES.A, Buffer.of(127, 0, 0, 1)),
        ]
        socket.reply(datagram, encodeMessage({ id, flags: RESPONSE, questions, records }))
      },
      error: ({ message }) => console.error(message),
    },
  )
  socket.join(GROUPS.ipv4, { interface: 'lo' })
  return socket
}

const show = ({ name, record, interface: link, from }: Found) =>
  console.log(`${link}  ${name}  ${nameOf(record.type)} ${record.text}  (from ${from})`)

function nameOf(type: number): string {
  return Object.entries(TYPES).find(([, value]) => value === type)?.[0] ?? `type ${type}`
}

async function run(type: string | undefined): Promise<void> {
  const stop = new AbortController()
  process.once('SIGINT', () => stop.abort())
  if (type !== undefined) return browse(type, show, { signal: stop.signal })
  using responder = startResponder()
  const found = (answer: Found) => {
    show(answer)
    if (answer.record.type === TYPES.A) stop.abort()
  }
  // Loopback has no route for multicast of IPv6.
  await browse('_demo._tcp.local', found, {
    signal: stop.signal,
    port: responder.localName.port,
    only: 'lo',
    families: ['ipv4'],
  })
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) await run(process.argv[2])
