import { once } from 'node:events'
import http2 from 'node:http2'
import { Duplex } from 'node:stream'
import tls from 'node:tls'
import { guardDescriptors } from '@linux-sockets/testkit'
import { expect, it, onTestFinished } from 'vitest'
import { AF_INET, SOCK_STREAM } from '../../src/constants.js'
import { readable, Socket } from '../../src/index.js'
import { SocketStream } from '../../src/streams/index.js'

guardDescriptors()

it.each(['client', 'server'])('shows the addresses to a TLS socket of the %s from the first moment', async (side) => {
  const [stream] = await tcpStreams()
  const { remoteAddress, remotePort, localAddress, localPort } = stream
  const socket = side === 'client' ? tls.connect({ socket: stream }) : new tls.TLSSocket(stream, { isServer: true })
  socket.on('error', () => {})
  expect(socket).toMatchObject({ remoteAddress, remotePort, remoteFamily: 'IPv4', localAddress, localPort })
  expect(socket.address()).toEqual({ address: '127.0.0.1', family: 'IPv4', port: localPort })
  socket.destroy()
  // As over net.Socket: an address that was read once stays.
  expect(socket).toMatchObject({ remoteAddress, remotePort, remoteFamily: 'IPv4' })
})

it('shows them to an HTTP/2 session', async () => {
  const [stream, peer] = await tcpStreams()
  const session = http2.connect('http://localhost', { createConnection: () => stream })
  expect(session.socket.remotePort).toBe(stream.remotePort)
  session.on('error', () => {}).destroy()
  peer.destroy()
})

it('shows nothing of a Unix socket, as net.Socket does', async () => {
  const [stream] = track(...Socket.pair().map((socket) => new SocketStream(socket)))
  const socket = tls.connect({ socket: stream as SocketStream }).on('error', () => {})
  expect([socket.remoteAddress, socket.remotePort, socket.localAddress, socket.address()]).toEqual([
    undefined,
    undefined,
    undefined,
    {},
  ])
  socket.destroy()
})

it('shows them to no socket over another stream whose context resumes ours', async () => {
  const [stream] = await tcpStreams()
  let resumed = 0
  class Other extends Duplex {
    override _read() {}
    override _write(_chunk: unknown, _encoding: string, callback: () => void) {
      callback()
    }
    override resume() {
      stream.resume()
      resumed++
      return super.resume()
    }
  }
  const socket = tls.connect({ socket: new Other() }).on('error', () => {})
  expect(resumed).toBeGreaterThan(0)
  expect([socket.remoteAddress, socket.localAddress, stream.allowHalfOpen]).toEqual([undefined, undefined, false])
  await new Promise(setImmediate)
  expect(stream.allowHalfOpen).toBe(false)
  socket.destroy()
})

it('leaves the end to TLS, which takes over the stream’s option', async () => {
  for (const allowHalfOpen of [false, true]) {
    const [stream] = await tcpStreams(allowHalfOpen)
    const socket = tls.connect({ socket: stream }).on('error', () => {})
    expect(socket.allowHalfOpen).toBe(allowHalfOpen)
    await new Promise(process.nextTick)
    expect(stream.allowHalfOpen).toBe(true)
    socket.destroy()
  }
})

async function tcpStreams(allowHalfOpen = false): Promise<[SocketStream, SocketStream]> {
  using listening = Socket.open(AF_INET, SOCK_STREAM)
  listening.bind({ family: 'ipv4', address: '127.0.0.1', port: 0 })
  listening.listen()
  const socket = Socket.open(AF_INET, SOCK_STREAM)
  socket.connect(listening.localName)
  await readable(listening)
  const accepted = listening.accept() as Socket
  return track(new SocketStream(socket, { allowHalfOpen }), new SocketStream(accepted)) as [SocketStream, SocketStream]
}

function track(...streams: SocketStream[]): SocketStream[] {
  onTestFinished(async () => {
    for (const stream of streams) {
      stream.on('error', () => {}).destroy()
      if (!stream.closed) await once(stream, 'close')
    }
  })
  return streams
}
