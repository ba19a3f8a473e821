/** Ours: connections as `Duplex`. */
import { setOption } from '@linux-sockets/native-core'
import type { SocketStream } from '@linux-sockets/native-core/streams'
import { listen, TCP_NODELAY } from '@linux-sockets/tcp'
import { mode, ready } from './control.js'
import { LineAnswers } from './lines.js'

const server = listen(
  { family: 'ipv4', address: '127.0.0.1', port: 0 },
  { prepare: (socket) => setOption(socket, TCP_NODELAY, true) },
)
server.run(mode === 'echo' ? echo : answerLines)
ready(server.address.port)

function echo(stream: SocketStream): void {
  stream.on('data', (chunk) => {
    if (!stream.write(chunk)) stream.pause()
  })
  stream.on('drain', () => stream.resume())
  stream.on('error', () => {})
}

function answerLines(stream: SocketStream): void {
  const lines = new LineAnswers()
  stream.on('data', (chunk) => {
    if (!stream.write(lines.answer(chunk))) stream.pause()
  })
  stream.on('drain', () => stream.resume())
  stream.on('error', () => {})
}
