/** Node's own streams: what comes goes on to a connection of its own, and back. */
import { type AddressInfo, connect, createServer } from 'node:net'
import { pipeline } from 'node:stream/promises'
import { argument, ready } from './control.js'

const server = createServer({ noDelay: true, allowHalfOpen: true }, async (socket) => {
  const backend = connect({ port: Number(argument), host: '127.0.0.1', noDelay: true, allowHalfOpen: true })
  await Promise.all([pipeline(socket, backend), pipeline(backend, socket)])
})
server.listen(0, '127.0.0.1', 4096, () => ready((server.address() as AddressInfo).port))
