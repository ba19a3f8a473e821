import { createHash, randomBytes } from 'node:crypto'
import {
  AF_INET,
  AF_UNIX,
  readable,
  SHUT_WR,
  SO_LINGER,
  SO_SNDBUF,
  SOCK_STREAM,
  Socket,
  setOption,
  writable,
} from '@linux-sockets/native-core'
import { guardDescriptors } from '@linux-sockets/testkit'
import { describe, expect, it } from 'vitest'
import { Connection, type ConnectionOptions, type Handlers, Reactor } from '../src/index.js'

guardDescriptors()

/** A connection whose last call, `close`, can be awaited, and its peer's socket. */
function connected(handlers: Partial<Handlers<string[]>>, options?: ConnectionOptions) {
  const reactor = new Reactor()
  const [mine, peer] = Socket.pair(AF_UNIX, SOCK_STREAM)
  let fulfil!: () => void
  const closed = new Promise<void>((resolve) => {
    fulfil = resolve
  })
  const all: Handlers<string[]> = {
    data: () => {},
    ...handlers,
    close(connection) {
      connection.state.push('close')
      handlers.close?.(connection)
      reactor.close()
      fulfil()
    },
  }
  const connection = new Connection<string[]>(reactor, mine, all, [], options)
  return { connection, peer, closed }
}

async function sendAll(socket: Socket, data: Buffer): Promise<void> {
  for (let sent = 0; sent < data.length; ) {
    const count = socket.send(data, 0, sent)
    if (count === null) await writable(socket)
    else sent += count
  }
}

async function readAll(socket: Socket): Promise<Buffer> {
  const parts: Buffer[] = []
  const buffer = Buffer.alloc(10_000)
  for (;;) {
    const count = socket.recv(buffer)
    if (count === 0) return Buffer.concat(parts)
    if (count === null) await readable(socket)
    else parts.push(Buffer.from(buffer.subarray(0, count)))
  }
}

const digest = (data: Buffer) => createHash('sha256').update(data).digest('hex')

describe('Connection', () => {
  it('echoes every byte in order, through partial writes and pauses', async () => {
    const { connection, peer, closed } = connected({
      data: (c, chunk) => {
        if (c.write(chunk)) return
        c.state.push('full')
        c.pause()
      },
      drain: (c) => {
        c.state.push('drain')
        c.resume()
      },
    })
    setOption(connection, SO_SNDBUF, 4096)
    const sent = randomBytes(3_000_000)
    const sending = sendAll(peer, sent).then(() => peer.shutdown(SHUT_WR))
    const [back] = await Promise.all([readAll(peer), sending])
    expect(digest(back)).toBe(digest(sent))
    await closed
    expect(connection.bytesRead).toBe(sent.length)
    expect(connection.bytesWritten).toBe(sent.length)
    expect(connection.state.filter((call) => call === 'full').length).toBeGreaterThan(0)
    expect(connection.state.filter((call) => call === 'drain').length).toBe(
      connection.state.filter((call) => call === 'full').length,
    )
    expect(connection.state.at(-1)).toBe('close')
    peer.close()
  })

  it('leaves the data of write to the caller', async () => {
    const { connection, peer, closed } = connected({})
    setOption(connection, SO_SNDBUF, 4096)
    const mine = Buffer.alloc(500_000, 'a')
    expect(connection.write(mine)).toBe(false)
    expect(connection.queued).toBeGreaterThan(0)
    mine.fill('b')
    connection.end()
    expect(connection.write(mine)).toBe(false)
    const got = await readAll(peer)
    expect(got.equals(Buffer.alloc(500_000, 'a'))).toBe(true)
    peer.close()
    await closed
  })

  it('stops at its hard bound with ENOBUFS', async () => {
    const { connection, peer, closed } = connected(
      { error: (c, error) => c.state.push((error as NodeJS.ErrnoException).code ?? '') },
      { maxQueued: 100_000 },
    )
    setOption(connection, SO_SNDBUF, 4096)
    expect(connection.write(Buffer.alloc(1_000_000))).toBe(false)
    await closed
    expect(connection.state).toEqual(['ENOBUFS', 'close'])
    expect(connection.fd).toBe(-1)
    peer.close()
  })

  it('ends both ways: each side can send after the other has ended', async () => {
    const { connection, peer, closed } = connected({
      end: (c) => {
        c.state.push('end')
        c.write(Buffer.from('last words'))
        c.end()
      },
      data: (c, chunk) => c.state.push(chunk.toString()),
    })
    peer.send(Buffer.from('first'))
    peer.shutdown(SHUT_WR)
    expect((await readAll(peer)).toString()).toBe('last words')
    await closed
    expect(connection.state).toEqual(['first', 'end', 'close'])
    peer.close()

    const other = connected({ data: (c, chunk) => c.state.push(chunk.toString()) })
    other.connection.end()
    expect((await readAll(other.peer)).length).toBe(0)
    other.peer.send(Buffer.from('still here'))
    other.peer.close()
    await other.closed
    expect(other.connection.state).toEqual(['still here', 'close'])
  })

  it('reports a reset, and makes one', async () => {
    const reactor = new Reactor()
    const listener = Socket.open(AF_INET, SOCK_STREAM)
    listener.bind({ family: 'ipv4', address: '127.0.0.1', port: 0 })
    listener.listen()
    const dial = async () => {
      const client = Socket.open(AF_INET, SOCK_STREAM)
      client.connect(listener.localAddress)
      await writable(client)
      await readable(listener)
      return [client, listener.accept() as Socket] as const
    }

    const calls: string[] = []
    const [client, accepted] = await dial()
    const closed = new Promise<void>((resolve) => {
      const handlers: Handlers<undefined> = {
        data: () => {},
        error: (_, error) => calls.push((error as NodeJS.ErrnoException).code ?? ''),
        close: () => resolve(),
      }
      new Connection(reactor, accepted, handlers, undefined)
    })
    setOption(client, SO_LINGER, 0)
    client.close()
    await closed
    expect(calls).toEqual(['ECONNRESET'])

    const [second, victim] = await dial()
    const connection = new Connection(reactor, victim, { data: () => {} }, undefined)
    connection.abort()
    expect(connection.closed).toBe(true)
    await readable(second)
    expect(() => second.recv(Buffer.alloc(1))).toThrow('ECONNRESET')
    second.close()
    listener.close()
    reactor.close()
  })

  it('may be aborted from inside any of its handlers', async () => {
    const { connection, peer, closed } = connected({
      data: (c) => {
        c.abort()
        expect(c.write(Buffer.from('x'))).toBe(false)
      },
    })
    peer.send(Buffer.from('a'))
    await closed
    expect(connection.state).toEqual(['close'])
    peer.close()
  })

  it('gives others their turn: a fast peer does not starve a slow one', async () => {
    const reactor = new Reactor()
    const [fast, fastPeer] = Socket.pair(AF_UNIX, SOCK_STREAM)
    const [slow, slowPeer] = Socket.pair(AF_UNIX, SOCK_STREAM)
    const chunk = Buffer.alloc(200_000)
    let fastBytes = 0
    const refill = () => {
      while (fastPeer.send(chunk) !== null) {}
    }
    const answered = new Promise<number>((resolve) => {
      // As long as the slow one has not been heard, there is always more to read for the fast one.
      new Connection(
        reactor,
        fast,
        {
          data: (_, bytes) => {
            fastBytes += bytes.length
            refill()
          },
        },
        undefined,
      )
      new Connection(reactor, slow, { data: () => resolve(fastBytes) }, undefined)
    })
    refill()
    slowPeer.send(Buffer.from('me too'))
    expect(await answered).toBeLessThan(64 * 1024 * 16 * 4)
    reactor.close()
    for (const socket of [fast, fastPeer, slow, slowPeer]) socket.close()
  })
})
