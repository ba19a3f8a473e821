/** Ours: sends a file for each 64 bytes received. */
import { open } from 'node:fs/promises'
import { setOption } from '@linux-sockets/native-core'
import type { SocketStream } from '@linux-sockets/native-core/streams'
import { listen, sendFile, TCP_NODELAY } from '@linux-sockets/tcp'
import { argument, REQUEST, ready } from './control.js'

const file = await open(argument)
const server = listen(
  { family: 'ipv4', address: '127.0.0.1', port: 0 },
  { prepare: (socket) => setOption(socket, TCP_NODELAY, true), stream: { allowHalfOpen: true } },
)
server.run(answer)
ready(server.address.port)

async function answer(stream: SocketStream): Promise<void> {
  let asked = 0
  for await (const chunk of stream) {
    asked += chunk.length
    for (; asked >= REQUEST; asked -= REQUEST) await sendFile(stream, file)
  }
  stream.end()
}
