import { once } from 'node:events'
import net from 'node:net'
import { type Duplex, finished, PassThrough, pipeline, Readable, Writable } from 'node:stream'
import { setImmediate as turn } from 'node:timers/promises'
import { guardDescriptors } from '@linux-sockets/testkit'
import { describe, expect, it, onTestFinished } from 'vitest'
import { AF_INET, SOCK_STREAM } from '../../src/constants.js'
import { type InetAddress, readable, Socket } from '../../src/index.js'
import { SocketStream, toNetSocket } from '../../src/streams/index.js'

guardDescriptors()

const MiB = 1024 * 1024

/** The events of a stream, in words that both kinds share. */
type Outcome = Record<string, unknown>
/** `peer` is a `net.Socket` that reads nothing by itself. */
type Scenario = (stream: Duplex, peer: net.Socket, tell: (name: string, value: unknown) => void) => unknown

const broken = () => Object.assign(new Error('broken'), { code: 'BROKEN' })

const scenarios: Record<string, Scenario> = {
  'destroy at rest': (stream) => stream.destroy(),
  'destroy with an error': (stream) => stream.destroy(broken()),
  'destroy with a write in flight': (stream) => {
    stream.write(Buffer.alloc(16 * MiB))
    stream.destroy()
  },
  'destroy with a write in flight, later': async (stream) => {
    stream.write(Buffer.alloc(16 * MiB))
    await turn()
    stream.destroy()
  },
  'destroy with writes in flight and queued': async (stream, _peer, tell) => {
    stream.write(Buffer.alloc(16 * MiB))
    stream.write('queued', (error) => tell('queued', wordsOf(error)))
    await turn()
    stream.destroy()
  },
  'destroy with pieces in flight': async (stream) => {
    stream.cork()
    for (let i = 0; i < 16; i++) stream.write(Buffer.alloc(MiB))
    stream.uncork()
    await turn()
    stream.destroy()
  },
  'destroy with a write and the end in flight': async (stream, _peer, tell) => {
    stream.end(Buffer.alloc(16 * MiB), () => tell('end', 'called back'))
    await turn()
    stream.destroy()
  },
  'destroy with an error and a write in flight': async (stream) => {
    stream.write(Buffer.alloc(16 * MiB))
    await turn()
    stream.destroy(broken())
  },
  'destroy with an error and an end in flight': async (stream) => {
    stream.end(Buffer.alloc(16 * MiB))
    await turn()
    stream.destroy(broken())
  },
  'destroy twice': (stream) => {
    stream.destroy()
    stream.destroy(broken())
  },
  'destroy behind the end': (stream) => {
    stream.end('all')
    stream.destroy()
  },
  'destroy after the end': async (stream) => {
    stream.end('all')
    await once(stream, 'finish')
    stream.destroy()
  },
  'resetAndDestroy with a write in flight': async (stream) => {
    stream.write(Buffer.alloc(16 * MiB))
    await turn()
    ;(stream as net.Socket).resetAndDestroy()
  },
  'destroySoon with a write': (stream, peer) => {
    stream.write(Buffer.alloc(MiB))
    peer.resume()
    ;(stream as net.Socket).destroySoon()
  },
  'both ends': (stream, peer) => {
    stream.resume().end('all')
    peer.resume().end('all')
  },
  'the peer ends first': (stream, peer) => {
    stream.resume().once('end', () => stream.end())
    peer.resume().end('all')
  },
  'the peer ends and the stream is not read': (stream, peer) => {
    stream.once('end', () => stream.end())
    peer.resume().end()
  },
  'a reset': (stream, peer) => {
    stream.resume()
    peer.resetAndDestroy()
  },
  'a reset with a write in flight': async (stream, peer) => {
    stream.resume()
    stream.write(Buffer.alloc(16 * MiB))
    await turn()
    peer.resetAndDestroy()
  },
  'a write after the end': (stream, _peer, tell) => {
    stream.end()
    stream.write('late', (error) => tell('late', wordsOf(error)))
  },
  'a write after destroy': (stream, _peer, tell) => {
    stream.destroy()
    stream.write('late', (error) => tell('late', wordsOf(error)))
  },
  'pipeline into it, destroyed with a write in flight': async (stream, _peer, tell) => {
    const source = new PassThrough()
    source.write(Buffer.alloc(16 * MiB))
    pipeline(source, stream, (error) => tell('pipeline', wordsOf(error)))
    await turn()
    stream.destroy()
  },
  'pipeline into it from a source that breaks': (stream, _peer, tell) => {
    const source = Readable.from(
      (async function* () {
        yield Buffer.alloc(16 * MiB)
        throw broken()
      })(),
    )
    pipeline(source, stream, (error) => tell('pipeline', wordsOf(error)))
  },
  'pipeline into it, to the end': (stream, peer, tell) => {
    peer.resume().end()
    stream.resume()
    pipeline(Readable.from([Buffer.alloc(MiB)]), stream, (error) => tell('pipeline', wordsOf(error)))
  },
  'pipeline from it, destroyed': async (stream, _peer, tell) => {
    pipeline(stream, new Writable({ write() {} }), (error) => tell('pipeline', wordsOf(error)))
    await turn()
    stream.destroy()
  },
  'pipeline from it to a target that breaks': (stream, peer, tell) => {
    peer.write('data')
    const target = new Writable({ write: (_chunk, _encoding, callback) => callback(broken()) })
    pipeline(stream, target, (error) => tell('pipeline', wordsOf(error)))
  },
  'pipeline from it, to the end': (stream, peer, tell) => {
    peer.resume().end('data')
    pipeline(stream, new PassThrough().resume(), (error) => {
      tell('pipeline', wordsOf(error))
      stream.end()
    })
  },
  'a loop over it that is left': async (stream, peer) => {
    peer.write('data')
    for await (const _chunk of stream) break
  },
}

// Different by design: the error of a write callback after a plain destroy, see `write`.
describe.each(Object.entries(scenarios))('%s', (_name, scenario) => {
  it.each([false, true])('ends as over net.Socket, with allowHalfOpen %s', async (allowHalfOpen) => {
    const theirs = await play(scenario, (socket) => toNetSocket(socket, { allowHalfOpen }))
    const ours = await play(scenario, (socket) => new SocketStream(socket, { allowHalfOpen }))
    expect(ours).toEqual(theirs)
    expect(ours.close).toEqual([[expect.any(Boolean)]])
  })
})

/** Over loopback TCP, until the stream is closed. */
async function play(scenario: Scenario, wrap: (socket: Socket) => Duplex): Promise<Outcome> {
  const [socket, peer] = await connected()
  const stream = wrap(socket)
  const outcome: Outcome = { events: [], close: [] }
  const tell = (name: string, value: unknown) => {
    outcome[name] = [...((outcome[name] as unknown[] | undefined) ?? []), value]
  }
  for (const event of ['end', 'finish', 'error', 'close', 'drain', 'prefinish']) {
    stream.on(event, (value) => tell('events', event === 'error' ? wordsOf(value) : event))
  }
  const closed = new Promise<void>((resolve) => {
    stream.on('close', (...args) => {
      tell('close', args)
      resolve()
    })
  })
  finished(stream, (error) => tell('finished', wordsOf(error)))
  finished(stream, { readable: false }, (error) => tell('finished writing', wordsOf(error)))
  finished(stream, { writable: false }, (error) => tell('finished reading', wordsOf(error)))
  await scenario(stream, peer, tell)
  await closed
  await turn()
  finished(stream, (error) => tell('finished afterwards', wordsOf(error)))
  await turn()
  const { destroyed, closed: isClosed, errored, readable, readableAborted, readableDidRead, readableEnded } = stream
  const { writable, writableEnded, writableFinished, writableNeedDrain, writableAborted } = stream as Writable
  const state = { destroyed, isClosed, errored: wordsOf(errored), readable, readableAborted, readableDidRead }
  const writing = { readableEnded, writable, writableEnded, writableFinished, writableNeedDrain, writableAborted }
  return { ...outcome, ...state, ...writing }
}

function wordsOf(error: Error | null | undefined): unknown {
  return error ? ((error as NodeJS.ErrnoException).code ?? error.message) : null
}

async function connected(): Promise<[Socket, net.Socket]> {
  const listening = Socket.open(AF_INET, SOCK_STREAM)
  listening.bind({ family: 'ipv4', address: '127.0.0.1', port: 0 })
  listening.listen()
  const { port } = listening.localName as InetAddress
  const peer = net.connect({ port, host: '127.0.0.1', allowHalfOpen: true })
  peer.on('error', () => {})
  onTestFinished(async () => {
    if (peer.closed) return
    peer.destroy()
    await once(peer, 'close')
  })
  await readable(listening)
  const socket = listening.accept() as Socket
  listening.close()
  if (peer.connecting) await once(peer, 'connect')
  return [socket, peer]
}
