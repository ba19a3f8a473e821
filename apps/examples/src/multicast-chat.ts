/**
 * A chat without a server: each line goes to a multicast group out of all interfaces, and all members on these networks get
 * it.
 *
 *     node dist/multicast-chat.js         a conversation of two members on loopback
 *     node dist/multicast-chat.js Ada     what Ada types, until Ctrl-C or Ctrl-D
 */
import { createInterface } from 'node:readline/promises'
import { pathToFileURL } from 'node:url'
import { AllInterfaces, interfaceNameOf, UdpSocket } from '@linux-sockets/udp-mcast'

/** An address from the block for use within a site (RFC 2365). */
const GROUP = '239.255.77.78'
const PORT = 7778

/** A member of the chat. */
export class Member {
  readonly name: string
  readonly #socket: UdpSocket
  readonly #everywhere: AllInterfaces
  readonly #to: string

  /** `heard` gets each line that another member says. */
  constructor(
    name: string,
    heard: (line: string, from: string, on: string) => void,
    { port = PORT, only }: { port?: number; only?: string } = {},
  ) {
    this.name = name
    this.#to = `${GROUP}:${port}`
    this.#socket = UdpSocket.open(
      // Several members of one machine share the port, and each gets a copy.
      { address: `${GROUP}:${port}`, reuseAddress: true },
      {
        datagram({ data, ifindex = 0 }) {
          const [from = '', line = ''] = Buffer.from(data).toString().split('\n')
          if (from !== name) heard(line, from, interfaceNameOf(ifindex))
        },
        error: ({ message }) => console.error(message),
      },
    )
    this.#everywhere = new AllInterfaces(
      this.#socket,
      { error: ({ message }, link) => console.error(`${link?.name}: ${message}`) },
      only === undefined ? {} : { filter: (link) => link.name === only },
    )
    this.#everywhere.join(GROUP)
  }

  /** Says a line, and returns the number of interfaces by which it left. */
  say(line: string): number {
    return this.#everywhere.send(Buffer.from(`${this.name}\n${line}`), this.#to)
  }

  [Symbol.dispose](): void {
    this.#everywhere.close()
    this.#socket.close()
  }
}

async function demo(): Promise<void> {
  let answered = () => {}
  const answer = new Promise<void>((resolve) => {
    answered = resolve
  })
  // A port that is free now; another member may share it.
  const probe = UdpSocket.open({ address: '0.0.0.0:0' }, { error: console.error })
  const { port } = probe.localName
  probe.close()
  using ada = new Member(
    'Ada',
    (line, from, on) => {
      console.log(`Ada hears ${from} on ${on}: ${line}`)
      answered()
    },
    { port, only: 'lo' },
  )
  using grace = new Member(
    'Grace',
    (line, from, on) => {
      console.log(`Grace hears ${from} on ${on}: ${line}`)
      grace.say('Hello, Ada')
    },
    { port, only: 'lo' },
  )
  ada.say('Is there anybody?')
  await answer
}

async function chat(name: string): Promise<void> {
  const lines = createInterface({ input: process.stdin })
  lines.once('SIGINT', () => lines.close())
  process.once('SIGINT', () => lines.close())
  using member = new Member(name, (line, from, on) => console.log(`${from} (${on}): ${line}`))
  for await (const line of lines) {
    if (member.say(line) === 0) console.error('There is no network to say this on.')
  }
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  await (process.argv[2] === undefined ? demo() : chat(process.argv[2]))
}
