/** Node's own `net`. */
import { type AddressInfo, createServer } from 'node:net'
import { mode, ready } from './control.js'
import { LineAnswers } from './lines.js'

const server = createServer({ noDelay: true }, (socket) => {
  const lines = mode === 'lines' ? new LineAnswers() : undefined
  socket.on('data', (chunk) => {
    if (!socket.write(lines === undefined ? chunk : lines.answer(chunk))) socket.pause()
  })
  socket.on('drain', () => socket.resume())
  socket.on('error', () => {})
})
server.listen(0, '127.0.0.1', 4096, () => ready((server.address() as AddressInfo).port))
