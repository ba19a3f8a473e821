/** Node's own streams: sends a file for each 64 bytes received. */
import { once } from 'node:events'
import { createReadStream, openSync } from 'node:fs'
import { type AddressInfo, createServer, type Socket } from 'node:net'
import { argument, REQUEST, ready } from './control.js'

const fd = openSync(argument, 'r')
const server = createServer({ noDelay: true, allowHalfOpen: true }, answer)
server.listen(0, '127.0.0.1', 4096, () => ready((server.address() as AddressInfo).port))

async function answer(socket: Socket): Promise<void> {
  let asked = 0
  for await (const chunk of socket) {
    asked += chunk.length
    for (; asked >= REQUEST; asked -= REQUEST) {
      const file = createReadStream('', { fd, autoClose: false, start: 0 })
      file.pipe(socket, { end: false })
      await once(file, 'end')
    }
  }
  socket.end()
}
