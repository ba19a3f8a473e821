import http from 'node:http'
import type { Duplex } from 'node:stream'
import { type Ipv4Address, type Listener, type Socket, type SocketStream, setOption } from '@linux-sockets/native-core'
import { connect, listen, TCP_NODELAY } from '@linux-sockets/tcp'
import { onTestFinished } from 'vitest'

const prepare = (socket: Socket) => setOption(socket, TCP_NODELAY, true)

/** A listener of ours and what it has accepted, closed when the running test ends. */
export interface Listening {
  readonly listener: Listener<SocketStream>
  readonly port: number
}

/** Feeds a server with the connections to a listener of ours. */
export function listenFor(
  server: { emit(event: string, ...args: unknown[]): boolean },
  allowHalfOpen = false,
): Listening {
  const listener = listen(loopback(0), { prepare, stream: { allowHalfOpen } })
  const streams = new Set<SocketStream>()
  listener.run((stream) => {
    streams.add(stream)
    stream.on('close', () => streams.delete(stream))
    server.emit('connection', stream)
  })
  onTestFinished(() => {
    listener.close()
    for (const stream of streams) stream.destroy()
  })
  return { listener, port: (listener.address as Ipv4Address).port }
}

/** A stream of ours to a port of this machine. */
export function connectTo(port: number, allowHalfOpen = false): Promise<SocketStream> {
  return connect(loopback(port), { timeout: 10_000, prepare, stream: { allowHalfOpen } })
}

/** An agent that asks a port of this machine through our sockets, however the request names its host. */
export function agentTo(port: number): http.Agent {
  class Agent extends http.Agent {
    override createConnection(
      _options: http.ClientRequestArgs,
      callback: (error: Error | null, stream: Duplex) => void,
    ): undefined {
      connectTo(port).then((stream) => callback(null, stream), callback as (error: Error) => void)
    }
  }
  const agent = new Agent({ keepAlive: true })
  onTestFinished(() => agent.destroy())
  return agent
}

function loopback(port: number): Ipv4Address {
  return { family: 'ipv4', address: '127.0.0.1', port }
}
