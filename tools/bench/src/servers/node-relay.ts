/** Node's own streams: relays each connection to a new connection to the backend, both ways. */
import { type AddressInfo, connect, createServer } from 'node:net'
import { argument, ready } from './control.js'

const server = createServer({ noDelay: true, allowHalfOpen: true }, (socket) => {
  const backend = connect({ port: Number(argument), host: '127.0.0.1', noDelay: true, allowHalfOpen: true })
  socket.on('error', () => backend.destroy())
  backend.on('error', () => socket.destroy())
  socket.pipe(backend).pipe(socket)
})
server.listen(0, '127.0.0.1', 4096, () => ready((server.address() as AddressInfo).port))
