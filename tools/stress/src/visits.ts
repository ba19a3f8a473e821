import type { Duplex } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { setTimeout } from 'node:timers/promises'
import { type Connection, connect, listen, Reactor } from '@linux-sockets/epoll'
import type { Ipv4Address, SocketAddress, UnixAbstractAddress } from '@linux-sockets/native-core'
import type { SocketStream } from '@linux-sockets/native-core/streams'
import * as tcp from '@linux-sockets/tcp'
import * as unix from '@linux-sockets/unix-fdpass'
import { expectBytes, MissingBytes, pattern } from './bytes.js'

/** How a client behaves. */
export const manners = [
  'all at once', // Sends everything, ends, reads everything.
  'in pieces', // Sends and reads in turns, and ends after the last piece.
  'slowly', // Makes the server wait.
  'resets', // Resets the connection half-way.
  'is reset', // Has the server reset the connection.
  'says nothing',
  'gives up', // Aborts while connecting.
] as const

export type Manner = (typeof manners)[number]

/** A way to connect to a server. */
export interface Way {
  readonly name: string
  /** Whether the client can tell a reset from an end. */
  readonly resets: boolean
  dial(signal?: AbortSignal): Promise<Duplex>
}

export interface Places {
  readonly ways: readonly Way[]
  /** Returns the number of connections that the servers have. */
  open(): number
  close(): Promise<void>
}

/** The first byte that a client sends: it makes the server echo all bytes, or reset the connection at once. */
const [ECHO, RESET] = [0, 1]
const MOST = 400_000
const data = pattern(MOST)

/**
 * Opens the servers.
 * @param fail called for an error that no server should get
 */
export async function openPlaces(fail: (failure: string) => void): Promise<Places> {
  const meet = (error: unknown) => {
    const { code } = error as NodeJS.ErrnoException
    // Clients may leave in any way.
    if (!['ECONNRESET', 'EPIPE', 'ERR_STREAM_PREMATURE_CLOSE'].includes(code ?? '')) fail(`a server: ${error}`)
  }
  const name = (of: string): UnixAbstractAddress => ({
    family: 'unix',
    abstract: Buffer.from(`soak ${process.pid} ${of}`),
  })
  // One port at 250 addresses, because closed connections hold the ports of their clients for a minute.
  const everywhere = { family: 'ipv4', address: '0.0.0.0', port: 0 } as const
  let turn = 0
  const someAddress = (at: SocketAddress): Ipv4Address => {
    turn = (turn + 1) % 250
    return { family: 'ipv4', address: `127.0.1.${turn + 1}`, port: (at as Ipv4Address).port }
  }

  const streams = tcp.listen(everywhere, { delayed: meet })
  streams.run((stream) => void answer(stream).catch(meet)).catch(meet)
  const unixStreams = unix.listen(name('streams'), { delayed: meet })
  unixStreams.run((stream) => void answer(stream).catch(meet)).catch(meet)

  const reactor = new Reactor()
  const handlers = {
    data(connection: Connection<undefined>, chunk: Buffer) {
      if (connection.bytesRead === chunk.length && chunk[0] === RESET) connection.abort()
      else if (!connection.write(chunk)) connection.pause()
    },
    drain: (connection: Connection<undefined>) => void connection.resume(),
    error: (_: unknown, error: Error) => meet(error),
  }
  const inReactor = (address: SocketAddress) => listen(reactor, address, handlers, { delayed: meet, ended: meet })
  const reactors = inReactor(everywhere)
  const unixReactors = inReactor(name('reactor'))

  const overTcp = (at: () => SocketAddress) => (signal?: AbortSignal) => tcp.connect(someAddress(at()), { signal })
  const overUnix = (at: SocketAddress) => (signal?: AbortSignal) => unix.connect(at as UnixAbstractAddress, { signal })
  const overReactor = (at: () => SocketAddress) => (signal?: AbortSignal) =>
    new Promise<Duplex>((resolve, reject) => {
      let open = false
      const connection: Connection<undefined> = connect(reactor, at(), {
        open(connection) {
          // For these handlers, toStream closes the connection.
          open = true
          resolve(connection.toStream({ allowHalfOpen: true }))
        },
        data() {},
        error: (_, error) => reject(error),
        close() {
          if (!open) reject(signal?.reason ?? new MissingBytes('closed before it was open'))
        },
      })
      signal?.addEventListener('abort', () => connection.abort(), { once: true })
    })
  const address = (server: { readonly address: SocketAddress }) => () => server.address
  return {
    ways: [
      { name: 'streams over tcp', resets: true, dial: overTcp(address(streams)) },
      { name: 'streams over unix', resets: false, dial: overUnix(unixStreams.address) },
      { name: 'a reactor over tcp', resets: true, dial: overTcp(address(reactors)) },
      { name: 'a reactor over unix', resets: false, dial: overUnix(unixReactors.address) },
      { name: 'from a reactor to streams', resets: true, dial: overReactor(() => someAddress(streams.address)) },
      { name: 'from a reactor to itself', resets: false, dial: overReactor(address(unixReactors)) },
    ],
    open: () =>
      [streams, unixStreams, reactors, unixReactors].reduce((sum, { connections }) => sum + connections.size, 0),
    async close() {
      await Promise.all([streams, unixStreams, reactors, unixReactors].map((server) => server.drain()))
      reactor.close()
    },
  }
}

/** Connects and behaves in a manner. Rejects with an error if something goes wrong that the manner doesn't explain. */
export async function visit(way: Way, manner: Manner): Promise<void> {
  const sent = data.subarray(0, 1 + Math.floor(Math.random() ** 3 * MOST))
  if (manner === 'gives up') {
    const reason = new Error('given up')
    const giving = new AbortController()
    const dialing = way.dial(giving.signal)
    if (Math.random() < 0.5) giving.abort(reason)
    else setImmediate(() => giving.abort(reason))
    await dialing.then(
      async (stream) => {
        if (!stream.errored) stream.on('error', () => {})
        stream.destroy()
        await closed(stream)
      },
      (error) => {
        if (error !== reason) throw error
      },
    )
    return
  }

  const stream = await way.dial()
  let error: NodeJS.ErrnoException | undefined
  stream.on('error', (met) => {
    error = met
  })
  const ended = closed(stream)
  const came: Buffer[] = []
  let length = 0
  let atEnd = false
  stream.on('end', () => {
    atEnd = true
  })
  stream.on('data', (piece: Buffer) => {
    came.push(piece)
    length += piece.length
    if (manner === 'slowly' && length % 5 === 0) {
      stream.pause()
      setTimeout(1).then(() => stream.resume())
    }
    if (manner === 'resets' && length > sent.length / 2) reset(stream)
  })

  const head = Buffer.of(manner === 'is reset' ? RESET : ECHO)
  switch (manner) {
    case 'says nothing':
      stream.end()
      break
    case 'in pieces':
      stream.write(head)
      for (let at = 0; at < sent.length; at += 50_000) {
        if (!stream.write(sent.subarray(at, at + 50_000))) await Promise.race([ended, once(stream, 'drain')])
      }
      stream.end()
      break
    case 'resets':
      stream.write(head)
      stream.write(sent)
      break
    default:
      stream.write(head)
      stream.end(sent)
  }
  await ended

  const whole = manner === 'says nothing' ? Buffer.alloc(0) : Buffer.concat([head, sent])
  try {
    expectBytes('the echo', Buffer.concat(came), whole)
    if (manner === 'is reset') throw new Error('the connection was not reset')
    if (error !== undefined && manner !== 'resets') throw error
  } catch (thrown) {
    if (!(thrown instanceof MissingBytes) || !['resets', 'is reset'].includes(manner)) throw error ?? thrown
    if (manner === 'is reset' && way.resets && (atEnd || error === undefined))
      throw new Error('a reset looked like an end')
  }
}

async function answer(stream: SocketStream): Promise<void> {
  await pipeline(
    stream,
    async function* (source) {
      let first = true
      for await (const chunk of source) {
        if (first && chunk[0] === RESET) stream.resetAndDestroy()
        first = false
        yield chunk
      }
    },
    stream,
  )
}

function reset(stream: Duplex): void {
  if ('resetAndDestroy' in stream) (stream as SocketStream).resetAndDestroy()
  else stream.destroy()
}

function closed(stream: Duplex): Promise<void> {
  return stream.closed ? Promise.resolve() : once(stream, 'close')
}

function once(stream: Duplex, event: string): Promise<void> {
  return new Promise((resolve) => stream.once(event, () => resolve()))
}
