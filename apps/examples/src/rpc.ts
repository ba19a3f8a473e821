/**
 * Remote procedure calls: a message is a length followed by JSON. Answers come in any order, with the number of their request.
 * A call fails after a timeout.
 *
 *     node dist/rpc.js
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { pathToFileURL } from 'node:url'
import {
  type Connection,
  connect,
  encodeLength,
  type Framing,
  type Handlers,
  lengthPrefixed,
  listen,
  Reactor,
  type Server,
  Timer,
} from '@linux-sockets/epoll'
import type { AddressLike } from '@linux-sockets/native-core'

/** The longest message, in bytes. */
const MESSAGE_LIMIT = 1024 * 1024

/** The most requests of one connection that run at a time. More requests wait, nearly all of them with the peer. */
const MOST_RUNNING = 100

/** The default timeout of a call, and the timeout of connecting, in milliseconds. */
const PATIENCE = 10_000

/** Procedures by name. Their parameters and results must be JSON values. */
// biome-ignore lint/suspicious/noExplicitAny: each procedure has parameters of its own.
export type Procedures = Record<string, (...parameters: any[]) => unknown>

interface Request {
  readonly id: number
  readonly name: string
  readonly parameters: unknown[]
}

/** An answer has either a result or an error. */
interface Answer {
  readonly id: number
  readonly result?: unknown
  readonly error?: string
}

/** Encodes a message as JSON. Throws TypeError for values that JSON doesn't have, and RangeError if the message is too long. */
function encode(message: Request | Answer): Buffer {
  const body = Buffer.from(JSON.stringify(message))
  if (body.length > MESSAGE_LIMIT)
    throw new RangeError(`a message has ${body.length} bytes, more than ${MESSAGE_LIMIT}`)
  return body
}

/** Sends the length and the message with one system call. Returns the result of `write`. */
function send(connection: Connection<unknown>, message: Buffer): boolean {
  connection.cork()
  connection.write(encodeLength(message.length))
  const more = connection.write(message)
  connection.uncork()
  return more
}

/** The state of a connection of the server. */
interface Caller {
  readonly framing: Framing
  /** The bytes that arrived in one chunk with the last request that could be started. */
  rest: Buffer
  running: number
  /** Whether answers are queued because the caller does not read them. */
  full: boolean
  /** Whether the caller has sent its last request. */
  ended: boolean
}

class RpcHandlers implements Handlers<Caller> {
  readonly #procedures: Procedures

  constructor(procedures: Procedures) {
    this.#procedures = procedures
  }

  state(): Caller {
    const framing = lengthPrefixed({ limit: MESSAGE_LIMIT })
    return { framing, rest: NOTHING, running: 0, full: false, ended: false }
  }

  data(connection: Connection<Caller>, chunk: Buffer): void {
    // The chunk is valid only during this call.
    connection.state.rest = Buffer.from(this.#begin(connection, chunk))
    this.#regulate(connection)
  }

  drain(connection: Connection<Caller>): void {
    connection.state.full = false
    this.#regulate(connection)
  }

  end(connection: Connection<Caller>): void {
    connection.state.ended = true
    this.#regulate(connection)
  }

  /** Starts as many requests as may run, and returns the rest of the bytes. */
  #begin(connection: Connection<Caller>, bytes: Buffer): Buffer {
    const { state } = connection
    try {
      return state.framing.push(bytes, (frame) => {
        void this.#answer(connection, asRequest(frame))
        if (state.running >= MOST_RUNNING) state.framing.stop()
      })
    } catch {
      // After an invalid message the rest of the stream has no meaning.
      connection.abort()
      return NOTHING
    }
  }

  async #answer(connection: Connection<Caller>, request: Request): Promise<void> {
    const { state } = connection
    state.running++
    const answer = await this.#run(request)
    state.running--
    if (!send(connection, answer)) state.full = true
    this.#regulate(connection)
  }

  async #run({ id, name, parameters }: Request): Promise<Buffer> {
    try {
      // Only own properties: not `constructor`, `toString`, …
      const procedure = Object.hasOwn(this.#procedures, name) ? this.#procedures[name] : undefined
      if (procedure === undefined) throw new Error(`there is no procedure ${name}`)
      return encode({ id, result: await procedure(...parameters) })
    } catch (error) {
      return encode({ id, error: String(error instanceof Error ? error.message : error).slice(0, 1000) })
    }
  }

  /** Reads no more requests than can be answered, and ends the connection after the last answer. */
  #regulate(connection: Connection<Caller>): void {
    const { state } = connection
    if (connection.closed) return
    if (!state.full && state.running < MOST_RUNNING) state.rest = this.#begin(connection, state.rest)
    if (state.ended) {
      if (state.running === 0) connection.end()
    } else if (state.full || state.running >= MOST_RUNNING) connection.pause()
    else connection.resume()
  }
}

const NOTHING = Buffer.alloc(0)

function asRequest(frame: Buffer): Request {
  const message: Partial<Request> | null = JSON.parse(String(frame))
  const { id, name, parameters } = message ?? {}
  if (typeof id !== 'number' || typeof name !== 'string' || !Array.isArray(parameters))
    throw new TypeError('no request')
  return { id, name, parameters }
}

/** Starts a server on the loopback interface, on a port that the kernel chooses. */
export function serveProcedures(reactor: Reactor, procedures: Procedures): Server<Caller> {
  return listen(reactor, '127.0.0.1:0', new RpcHandlers(procedures), { writeTimeout: PATIENCE })
}

/** A call that has no answer yet. */
interface Call {
  readonly resolve: (result: unknown) => void
  readonly reject: (error: Error) => void
  readonly timer: Timer
}

/** Calls the procedures of a server over one connection, any number at a time. */
export class RpcClient<Known extends Procedures> {
  readonly #reactor: Reactor
  readonly #connection: Connection
  readonly #calls = new Map<number, Call>()
  #lastId = 0
  #failure: Error | undefined
  #ended = false

  constructor(reactor: Reactor, address: AddressLike) {
    this.#reactor = reactor
    const framing = lengthPrefixed({ limit: MESSAGE_LIMIT })
    this.#connection = connect(
      reactor,
      address,
      {
        data: (connection, chunk) => {
          try {
            framing.push(chunk, (frame) => this.#settle(JSON.parse(String(frame))))
          } catch (error) {
            this.#failure = error as Error
            connection.abort()
          }
        },
        error: (_connection, error) => {
          this.#failure = error
        },
        close: () => this.#failAll(),
      },
      { connectTimeout: PATIENCE },
    )
  }

  /** Calls a procedure. Rejects if the procedure throws, if the connection is closed, or after `timeout` **milliseconds**. */
  call<Name extends keyof Known & string>(
    name: Name,
    parameters: Parameters<Known[Name]>,
    { timeout = PATIENCE }: { readonly timeout?: number } = {},
  ): Promise<Awaited<ReturnType<Known[Name]>>> {
    return new Promise((resolve, reject) => {
      if (this.#ended || this.#connection.closed) throw this.#failure ?? new Error('the connection is closed')
      const id = ++this.#lastId
      const request = encode({ id, name, parameters })
      const timer = new Timer(() => {
        // A later answer is ignored.
        this.#calls.delete(id)
        reject(new Error(`${name} took more than ${timeout} ms`))
      })
      this.#reactor.timers.start(timer, timeout)
      this.#calls.set(id, { resolve: resolve as Call['resolve'], reject, timer })
      send(this.#connection, request)
    })
  }

  /** Refuses further calls. Calls made before are still answered. */
  close(): void {
    this.#ended = true
    this.#connection.end()
  }

  #settle({ id, result, error }: Answer): void {
    const call = this.#calls.get(id)
    if (call === undefined) return
    this.#calls.delete(id)
    this.#reactor.timers.stop(call.timer)
    if (error === undefined) call.resolve(result)
    else call.reject(new Error(error))
  }

  #failAll(): void {
    for (const { timer, reject } of this.#calls.values()) {
      this.#reactor.timers.stop(timer)
      reject(this.#failure ?? new Error('the connection was closed before the answer'))
    }
    this.#calls.clear()
  }
}

const procedures = {
  add: (a: number, b: number) => a + b,
  later: async (milliseconds: number, what: string) => {
    await sleep(milliseconds)
    return what
  },
  tooMuch: () => 'x'.repeat(MESSAGE_LIMIT),
  fail: (): never => {
    throw new Error('this one always fails')
  },
}

/** Makes calls of every kind, and returns a summary. */
export async function callProcedures(): Promise<string> {
  const reactor = new Reactor()
  const server = serveProcedures(reactor, procedures)
  const client = new RpcClient<typeof procedures>(reactor, server.address)
  const seen: string[] = []
  try {
    const numbers = Array.from({ length: 1000 }, (_, i) => i)
    const sums = await Promise.all(numbers.map((i) => client.call('add', [i, i])))
    if (!sums.every((sum, i) => sum === 2 * i)) throw new Error('an answer went to another call')
    seen.push(`${sums.length} calls at once, each with its own answer`)

    const order: string[] = []
    const calls = [client.call('later', [50, 'the first call']), client.call('later', [1, 'the second call'])]
    await Promise.all(calls.map(async (call) => order.push(await call)))
    seen.push(`answered in this order: ${order.join(', ')}`)

    seen.push(`rejected: ${await reasonOf(client.call('fail', []))}`)
    seen.push(`rejected: ${await reasonOf(client.call('tooMuch', []))}`)
    seen.push(`rejected: ${await reasonOf(client.call('later', [200, 'too late'], { timeout: 20 }))}`)
    const unknown = client as unknown as RpcClient<{ constructor: () => void }>
    seen.push(`rejected: ${await reasonOf(unknown.call('constructor', []))}`)

    // A client that has ended its side still gets the answer.
    const last = client.call('later', [20, 'the last answer'])
    client.close()
    seen.push(`after the end: ${await last}`)
    seen.push(`rejected: ${await reasonOf(client.call('add', [1, 1]))}`)
    await server.drain({ timeout: PATIENCE })
    return seen.join('\n')
  } finally {
    reactor.close()
  }
}

async function reasonOf(call: Promise<unknown>): Promise<string> {
  try {
    await call
  } catch (error) {
    return (error as Error).message
  }
  throw new Error('a call succeeded that can’t')
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) console.log(await callProcedures())
