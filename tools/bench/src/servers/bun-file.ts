/** Bun's own sockets and files: sends a file for each 64 bytes received. */
import { BunOutput } from './bun-output.js'
import { argument, REQUEST, ready } from './control.js'

interface Client {
  readonly output: BunOutput
  /** **Bytes** of requests that are not answered yet. */
  asked: number
  answering: boolean
  ended: boolean
  /** Continues the answer once the kernel has taken the queued bytes, or the socket is closed. */
  goOn: (() => void) | undefined
}

const file = Bun.file(argument)
const server = Bun.listen<Client>({
  hostname: '127.0.0.1',
  port: 0,
  allowHalfOpen: true,
  socket: {
    open(socket) {
      socket.data = { output: new BunOutput(), asked: 0, answering: false, ended: false, goOn: undefined }
      socket.setNoDelay(true)
    },
    data(socket, chunk) {
      socket.data.asked += chunk.length
      answer(socket)
    },
    drain(socket) {
      if (socket.data.output.flush(socket)) socket.data.goOn?.()
    },
    end(socket) {
      socket.data.ended = true
      answer(socket)
    },
    close(socket) {
      socket.data.goOn?.()
    },
    error() {},
  },
})
ready(server.port)

async function answer(socket: BunSocket<Client>): Promise<void> {
  const client = socket.data
  if (client.answering) return
  client.answering = true
  for (; client.asked >= REQUEST; client.asked -= REQUEST) {
    for await (const chunk of file.stream()) {
      if (client.output.write(socket, chunk)) continue
      await new Promise<void>((resolve) => {
        client.goOn = resolve
      })
      if (socket.readyState <= 0) return
    }
  }
  client.answering = false
  if (client.ended) client.output.end(socket)
}
