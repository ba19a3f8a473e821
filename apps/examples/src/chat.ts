/**
 * A chat of lines. Each member has a state of its own, and each line goes to all members. The chat waits for no member: one
 * that reads too slowly misses lines and is told how many, and one that reads nothing at all is disconnected.
 *
 *     node dist/chat.js          a conversation among its own clients, then the end
 *     node dist/chat.js 7777     until Ctrl-C; try `nc localhost 7777` twice
 */
import { once } from 'node:events'
import { pathToFileURL } from 'node:url'
import {
  type Connection,
  connect,
  type Framing,
  type Handlers,
  lines,
  listen,
  Reactor,
  type Server,
  Timer,
} from '@linux-sockets/epoll'
import { type AddressLike, formatAddress, type Socket, setOption } from '@linux-sockets/native-core'
import { SO_RCVBUF, SO_SNDBUF } from '@linux-sockets/native-core/options'

/** The longest line, in bytes. */
const LINE_LIMIT = 2048

/** Bytes that may be queued for a member before it misses lines. */
const QUEUE = 16 * 1024

/** How long a member may read none of the bytes queued for it, and how long the demonstration may take, in milliseconds. */
const PATIENCE = 10_000

/** The state of a connection. */
interface Member {
  readonly framing: Framing
  /** Undefined until the first line, which is the name. */
  name: string | undefined
  /** Whether so many bytes are queued for the member that it gets no more lines. */
  behind: boolean
  missed: number
  /** Runs once the member is being disconnected. Until it expires the member can read the reason and end its side. */
  deadline: Timer | undefined
}

class Chat implements Handlers<Member> {
  readonly #members = new Map<string, Connection<Member>>()
  readonly #reactor: Reactor

  constructor(reactor: Reactor) {
    this.#reactor = reactor
  }

  state(): Member {
    return { framing: lines({ limit: LINE_LIMIT }), name: undefined, behind: false, missed: 0, deadline: undefined }
  }

  open(connection: Connection<Member>): void {
    tell(connection, 'who are you?')
  }

  data(connection: Connection<Member>, chunk: Buffer): void {
    if (connection.state.deadline !== undefined) return
    try {
      // Control characters from one member must not reach the terminal of another.
      connection.state.framing.push(chunk, (line) => this.#hear(connection, String(line).replace(/\p{Cc}/gu, '')))
    } catch {
      this.#dismiss(connection, `a line has more than ${LINE_LIMIT} bytes`)
    }
  }

  drain(connection: Connection<Member>): void {
    const { missed } = connection.state
    connection.state.behind = false
    connection.state.missed = 0
    if (missed > 0) tell(connection, `you missed ${missed} lines`)
  }

  close({ state: { name, deadline } }: Connection<Member>): void {
    if (deadline !== undefined) this.#reactor.timers.stop(deadline)
    if (name === undefined) return
    this.#members.delete(name)
    this.#sayToAll(`* ${name} has left`)
  }

  #hear(connection: Connection<Member>, line: string): void {
    const { name, deadline } = connection.state
    if (deadline !== undefined) return
    if (name === undefined) this.#welcome(connection, line.trim())
    else this.#sayToAll(`${name}: ${line}`)
  }

  #welcome(connection: Connection<Member>, name: string): void {
    if (!/^[\p{L}\p{N}_-]{1,20}$/u.test(name)) this.#dismiss(connection, 'a name has 1 to 20 letters and digits')
    else if (this.#members.has(name)) this.#dismiss(connection, `${name} is here already`)
    else {
      connection.state.name = name
      this.#members.set(name, connection)
      this.#sayToAll(`* ${name} has come`)
    }
  }

  #dismiss(connection: Connection<Member>, reason: string): void {
    const deadline = new Timer(() => connection.abort())
    connection.state.deadline = deadline
    this.#reactor.timers.start(deadline, PATIENCE)
    tell(connection, reason)
    connection.end()
  }

  #sayToAll(line: string): void {
    const bytes = Buffer.from(`${line}\n`)
    for (const member of this.#members.values()) send(member, bytes)
  }
}

/** Sends a message of the chat itself to a member. */
function tell(connection: Connection<Member>, text: string): void {
  send(connection, Buffer.from(`* ${text}\n`))
}

/** Sends a line to a member, or drops it if the member reads too slowly. At most `QUEUE` bytes and a line are queued for it. */
function send(connection: Connection<Member>, line: Buffer): void {
  const { state } = connection
  if (state.behind) state.missed++
  else if (!connection.write(line)) state.behind = true
}

/** Opens the chat. `sendBuffer` limits the **bytes** that the kernel queues for a member; by default the kernel adapts it. */
export function startChat(reactor: Reactor, port = 0, sendBuffer?: number): Server<Member> {
  const address = port === 0 ? '127.0.0.1' : '0.0.0.0'
  return listen(reactor, `${address}:${port}`, new Chat(reactor), {
    highWaterMark: QUEUE,
    writeTimeout: PATIENCE,
    prepare(socket) {
      // Accepted sockets inherit the size.
      if (sendBuffer !== undefined) setOption(socket, SO_SNDBUF, sendBuffer)
    },
  })
}

/** A member of the demonstration. */
class Guest {
  readonly #connection: Connection
  readonly #framing = lines({ limit: 2 * LINE_LIMIT })
  readonly #heard: string[] = []
  #listening: (() => void) | undefined
  #gone: Error | undefined

  constructor(reactor: Reactor, address: AddressLike, name: string, receiveBuffer?: number) {
    const prepare = (socket: Socket) => {
      if (receiveBuffer !== undefined) setOption(socket, SO_RCVBUF, receiveBuffer)
    }
    this.#connection = connect(
      reactor,
      address,
      {
        data: (_connection, chunk) => {
          this.#framing.push(chunk, (line) => this.#heard.push(String(line)))
          this.#listening?.()
        },
        error: (_connection, error) => {
          this.#gone = error
        },
        close: () => {
          this.#gone ??= new Error(`the chat has ended for ${name}`)
          this.#listening?.()
        },
      },
      { prepare, readTimeout: PATIENCE },
    )
    this.say(name)
  }

  say(line: string): void {
    this.#connection.write(Buffer.from(`${line}\n`))
  }

  /** Waits for the next line that matches, and returns all lines up to it. */
  async hear(pattern: RegExp): Promise<string[]> {
    for (;;) {
      const at = this.#heard.findIndex((line) => pattern.test(line))
      if (at >= 0) return this.#heard.splice(0, at + 1)
      if (this.#gone !== undefined) throw this.#gone
      await new Promise<void>((resolve) => {
        this.#listening = resolve
      })
    }
  }

  fallAsleep(): void {
    this.#connection.pause()
  }

  wakeUp(): void {
    this.#connection.resume()
  }

  leave(): void {
    this.#connection.end()
  }
}

/** Alice talks, Bob listens, Carol stops reading for a while, and Dave sends too long a line. Returns a summary. */
export async function converse(): Promise<string> {
  const reactor = new Reactor()
  // With small buffers in the kernel, a few lines are enough to make the chat itself queue them.
  const chat = startChat(reactor, 0, 4096)
  const seen: string[] = []
  try {
    const join = async (name: string) => {
      const guest = new Guest(reactor, chat.address, name, 4096)
      await guest.hear(new RegExp(`${name} has come`))
      return guest
    }
    const [alice, bob, carol] = await Promise.all([join('alice'), join('bob'), join('carol')])

    alice.say('hello')
    seen.push(`bob hears “${(await bob.hear(/hello/)).at(-1)}”`)
    await carol.hear(/hello/)

    carol.fallAsleep()
    const said = 200
    for (let i = 1; i <= said; i++) {
      alice.say(`${i} ${'la '.repeat(300)}`)
      const line = new RegExp(`^alice: ${i} `)
      await Promise.all([alice.hear(line), bob.hear(line)])
    }
    carol.wakeUp()
    let heard = 0
    let missed = 0
    while (heard + missed < said) {
      const [line] = (await carol.hear(/./)) as [string]
      const told = /^\* you missed (\d+) lines/.exec(line)
      if (told === null) heard++
      else missed += Number(told[1])
    }
    if (missed === 0 || heard + missed !== said) throw new Error(`carol heard ${heard}, and missed ${missed}`)
    seen.push(
      `alice says ${said} lines while carol sleeps: bob hears all, carol ${heard}, and that she missed ${missed}`,
    )

    const dave = new Guest(reactor, chat.address, 'dave')
    dave.say('x'.repeat(LINE_LIMIT + 1))
    seen.push(`dave hears “${(await dave.hear(/more than/)).at(-1)}”`)
    dave.leave()
    seen.push(`bob hears “${(await bob.hear(/dave has left/)).at(-1)}”`)
    for (const guest of [alice, bob, carol]) guest.leave()
    await chat.drain({ timeout: PATIENCE })
    return seen.join('\n')
  } finally {
    reactor.close()
  }
}

async function run(port: number): Promise<void> {
  const reactor = new Reactor()
  const chat = startChat(reactor, port)
  console.log(`chatting on ${formatAddress(chat.address)}; Ctrl-C ends it`)
  await once(process, 'SIGINT')
  await chat.drain({ timeout: 0 })
  reactor.close()
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  if (process.argv[2] === undefined) console.log(await converse())
  else await run(Number(process.argv[2]))
}
