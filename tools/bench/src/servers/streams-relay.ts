/** Ours as streams: relays each connection to a new connection to the backend, both ways, by `pipe`. */
import { type Socket, setOption } from '@linux-sockets/native-core'
import { connect, listen, TCP_NODELAY } from '@linux-sockets/tcp'
import { argument, ready } from './control.js'

const options = {
  prepare: (socket: Socket) => setOption(socket, TCP_NODELAY, true),
  stream: { allowHalfOpen: true },
}
const server = listen({ family: 'ipv4', address: '127.0.0.1', port: 0 }, options)
const address = { family: 'ipv4', address: '127.0.0.1', port: Number(argument) } as const
server.run(async (stream) => {
  const backend = await connect(address, options)
  stream.on('error', () => backend.destroy())
  backend.on('error', () => stream.destroy())
  stream.pipe(backend).pipe(stream)
})
ready(server.address.port)
