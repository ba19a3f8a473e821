import http from 'node:http'
import type net from 'node:net'
import type { Duplex } from 'node:stream'
import { type Ipv4Address, type Socket, setOption } from '@linux-sockets/native-core'
import type { SocketStream } from '@linux-sockets/native-core/streams'
import { connect, listen, type Server, serve, TCP_NODELAY } from '@linux-sockets/tcp'
import { onTestFinished } from 'vitest'

const prepare = (socket: Socket) => setOption(socket, TCP_NODELAY, true)

/** A listener of our packages, which is closed with all its connections when the running test ends. */
export interface Listening {
  readonly listener: Server
  readonly port: number
}

/** Has one of Node's servers serve the connections of one of our listeners. */
export function listenFor(server: net.Server): Listening {
  const listener = listen(loopback(0))
  serve(listener, server)
  onTestFinished(() => {
    listener.close()
    for (const stream of listener.connections) stream.destroy()
  })
  return { listener, port: listener.address.port }
}

/** Connects one of our streams to a port of this machine. */
export function connectTo(port: number): Promise<SocketStream> {
  return connect(loopback(port), { timeout: 10_000, prepare })
}

/** Makes an agent that sends requests to a port of this machine through our sockets, whatever host they name. */
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
