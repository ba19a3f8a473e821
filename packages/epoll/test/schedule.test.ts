import { setImmediate } from 'node:timers/promises'
import { type AddressLike, Socket, type SystemError, setOption } from '@linux-sockets/native-core'
import { AF_INET, AF_UNIX, SOCK_STREAM } from '@linux-sockets/native-core/constants'
import { SO_RCVBUF, SO_SNDBUF } from '@linux-sockets/native-core/options'
import { guardDescriptors } from '@linux-sockets/testkit'
import { describe, expect, it } from 'vitest'
import { type Connection, connect, type Handlers, Reactor, serve } from '../src/index.js'

guardDescriptors()

/**
 * Both ends of many connections in one reactor take steps that a seed determines, inside and outside of handlers. Whatever the
 * steps are, the bytes that arrive are those that were written, in order and each once; all of them, unless an end broke off.
 */
describe('under every schedule', () => {
  it.for(Array.from({ length: 18 }, (_, i) => i + 1))(
    'bytes come once and in order, and connections close once: seed %i',
    async (seed) => {
      const schedule = new Schedule(seed)
      await schedule.run()
      schedule.verify()
    },
  )
})

const PAIRS = 12
const LARGEST = 200_000

class Schedule {
  readonly #random: Random
  readonly #reactor = new Reactor()
  readonly #ends: End[] = []
  /** The probability that an end breaks off at a step. */
  readonly #violence: number

  constructor(seed: number) {
    this.#random = new Random(seed)
    this.#violence = seed % 3 === 0 ? 0.02 : 0
    if (seed % 2 === 0) this.#reactor.run()
  }

  async run(): Promise<void> {
    const random = this.#random
    const listening = listen(random.chance(0.3) ? AF_UNIX : AF_INET, 4096 + random.upTo(16_000))
    const handlers = this.#handlers()
    const server = serve(this.#reactor, listening, handlers, this.#options())
    for (let i = 0; i < PAIRS; i++) {
      // The first byte identifies the other end.
      const end = this.#make(i)
      end.begin(
        connect(
          this.#reactor,
          server.address as AddressLike,
          { ...handlers, state: () => end },
          {
            ...this.#options(),
            prepare: (socket) => setOption(socket, SO_SNDBUF, 4096 + random.upTo(16_000)),
          },
        ),
      )
    }
    // While connecting.
    if (this.#violence > 0) this.#breakOff(random.pick(this.#ends))
    // The loop waits for nothing but the kernel, so it ends with the last connection.
    while (this.#ends.some(({ closes }) => closes === 0)) {
      for (const end of this.#ends) if (random.chance(0.3)) this.#act(end)
      await setImmediate()
    }
    await setImmediate()
    await server.drain()
    expect([this.#reactor.size, this.#reactor.timers.size]).toEqual([0, 0])
    this.#reactor.close()
  }

  verify(): void {
    if (this.#violence === 0) expect(this.#ends).toHaveLength(2 * PAIRS)
    for (const end of this.#ends) {
      expect(end.faults).toEqual([])
      expect(end.closes).toBe(1)
      const other = this.#ends.find((peer) => peer !== end && peer.pair === end.pair && end.pair !== undefined)
      if (this.#violence > 0 && (other === undefined || end.violent || other.violent)) continue
      expect({ ...end.received, pair: end.pair }).toEqual({ bytes: other?.planned, ends: 1, errors: 0, pair: end.pair })
    }
  }

  #options() {
    const highWaterMark = this.#random.upTo(30_000)
    return { highWaterMark, lowWaterMark: this.#random.upTo(highWaterMark), idleTimeout: 25_000, readTimeout: 26_000 }
  }

  #make(pair: number | undefined): End {
    const end = new End(pair, this.#random.upTo(LARGEST))
    this.#ends.push(end)
    return end
  }

  #handlers(): Handlers<End> {
    const alive = (connection: Connection<End>, what: string) => {
      if (connection.state.closes > 0) connection.state.faults.push(`${what} after close`)
    }
    return {
      state: () => this.#make(undefined),
      open: (connection) => {
        alive(connection, 'open')
        connection.state.begin(connection)
        this.#act(connection.state)
      },
      data: (connection, chunk) => {
        alive(connection, 'data')
        connection.state.receive(chunk)
        this.#act(connection.state)
        // Other connections may have events in the same batch.
        if (this.#random.chance(this.#violence)) this.#breakOff(this.#random.pick(this.#ends))
      },
      drain: (connection) => {
        alive(connection, 'drain')
        if (!connection.state.mustWait) connection.state.faults.push('drain that is not awaited')
        connection.state.mustWait = false
        this.#act(connection.state)
      },
      end: (connection) => {
        alive(connection, 'end')
        connection.state.received.ends++
        this.#act(connection.state)
      },
      error: (connection, error) => {
        alive(connection, 'error')
        connection.state.received.errors++
        if (!BROKEN.has((error as SystemError).code)) connection.state.faults.push(error.message)
      },
      close: (connection) => {
        connection.state.closes++
      },
      timeout: (connection, kind) => {
        connection.state.faults.push(`${kind} timeout`)
      },
    }
  }

  /** One step of what an end has to do: some bytes, a pause, a cork, and in the end its end. */
  #act(end: End): void {
    const { connection } = end
    if (connection === undefined || connection.closed) return
    const random = this.#random
    if (random.chance(this.#violence / 4)) this.#breakOff(end)
    if (end.paused ? random.chance(0.5) : random.chance(0.1)) {
      end.paused = !end.paused
      if (end.paused) connection.pause()
      else connection.resume()
    }
    if (end.corked ? random.chance(0.5) : random.chance(0.1)) {
      end.corked = !end.corked
      if (end.corked) connection.cork()
      else connection.uncork()
    }
    for (let writes = random.upTo(4); writes > 0 && !end.mustWait && end.written < end.planned; writes--) {
      end.write(random.chance(0.5) ? random.upTo(100) : random.upTo(40_000))
    }
    if (end.written === end.planned && random.chance(0.5)) connection.end()
  }

  #breakOff(end: End): void {
    if (end.connection === undefined || end.connection.closed) return
    end.violent = true
    const { connection } = end
    this.#random.pick([() => connection.abort(), () => connection.close(), () => void connection.drain()])()
  }
}

/** The errors of a connection whose peer broke off. */
const BROKEN = new Set(['ECONNRESET', 'EPIPE'])

/** One end of a connection: what it sends, and what it has received. */
class End {
  /** The pair that it belongs to; an accepted end learns it from the first byte. */
  pair: number | undefined
  readonly planned: number
  readonly received = { bytes: 0, ends: 0, errors: 0 }
  readonly faults: string[] = []
  connection: Connection<End> | undefined
  written = 0
  mustWait = false
  paused = false
  corked = false
  /** Whether it was made to break off. */
  violent = false
  closes = 0
  readonly #dialled: boolean

  constructor(pair: number | undefined, planned: number) {
    this.pair = pair
    this.planned = planned
    this.#dialled = pair !== undefined
  }

  begin(connection: Connection<End>): void {
    this.connection = connection
  }

  /** The accepting end sends other bytes than the connecting one, so that an echo would be noticed. */
  write(length: number): void {
    if (this.connection === undefined) return
    const size = Math.min(length, this.planned - this.written)
    const data = Buffer.allocUnsafe(size)
    for (let i = 0; i < size; i++) data[i] = byteAt(this.#dialled, this.written + i)
    if (this.#dialled && this.written === 0) data[0] = this.pair as number
    this.written += size
    this.mustWait = !this.connection.write(data)
    // It is only lent to the connection.
    data.fill(0xee)
  }

  receive(chunk: Buffer): void {
    if (chunk.length === 0) this.faults.push('an empty chunk')
    for (const byte of chunk) {
      const at = this.received.bytes++
      if (at === 0 && !this.#dialled) this.pair = byte
      else if (byte !== byteAt(!this.#dialled, at)) {
        this.faults.push(`wrong byte at ${at}`)
        return
      }
    }
  }
}

function byteAt(dialled: boolean, at: number): number {
  return (Math.imul(at + (dialled ? 1 : 7919), 0x9e3779b1) >>> 24) & 0xff
}

function listen(family: number, sendBuffer: number): Socket {
  const socket = Socket.open(family, SOCK_STREAM)
  if (family === AF_UNIX) socket.bind({ family: 'unix' })
  else socket.bind({ family: 'ipv4', address: '127.0.0.1', port: 0 })
  // Accepted connections have these options from the listening socket.
  setOption(socket, SO_SNDBUF, sendBuffer)
  setOption(socket, SO_RCVBUF, 4 * sendBuffer)
  socket.listen(2 * PAIRS)
  return socket
}

/** mulberry32: the same numbers for the same seed. */
class Random {
  #state: number

  constructor(seed: number) {
    this.#state = seed
  }

  next(): number {
    this.#state = (this.#state + 0x6d2b79f5) | 0
    let t = Math.imul(this.#state ^ (this.#state >>> 15), 1 | this.#state)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32
  }

  chance(probability: number): boolean {
    return this.next() < probability
  }

  /** 1 … `most`. */
  upTo(most: number): number {
    return 1 + Math.floor(this.next() * most)
  }

  pick<T>(items: readonly T[]): T {
    return items[Math.floor(this.next() * items.length)] as T
  }
}
