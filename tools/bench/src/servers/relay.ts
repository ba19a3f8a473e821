/** Ours: relays each connection to a new connection to the backend, both ways, within the kernel. */
import { type Socket, setOption } from '@linux-sockets/native-core'
import { connect, listen, relay, TCP_NODELAY } from '@linux-sockets/tcp'
import { argument, ready } from './control.js'

const options = {
  prepare: (socket: Socket) => setOption(socket, TCP_NODELAY, true),
  stream: { allowHalfOpen: true },
}
const server = listen({ family: 'ipv4', address: '127.0.0.1', port: 0 }, options)
const backend = { family: 'ipv4', address: '127.0.0.1', port: Number(argument) } as const
server.run(async (stream) => {
  await relay(stream, await connect(backend, options))
})
ready(server.address.port)
