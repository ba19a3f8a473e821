/** Bun's own sockets: relays each connection to a new connection to the backend, both ways. */
import { BunOutput } from './bun-output.js'
import { argument, ready } from './control.js'

interface Side {
  readonly output: BunOutput
  /** The socket that the bytes go to; until it is known, this one is paused. */
  other?: BunSocket<Side>
}

const handlers: BunHandlers<Side> = {
  data(socket, chunk) {
    const other = otherOf(socket)
    if (!other.data.output.write(other, chunk)) socket.pause()
  },
  drain(socket) {
    if (socket.data.output.flush(socket)) socket.data.other?.resume()
  },
  end(socket) {
    const other = otherOf(socket)
    other.data.output.end(other)
  },
  close(socket, error) {
    const { other } = socket.data
    if (error === undefined) other?.data.output.end(other)
    else other?.terminate()
  },
  error() {},
}

const server = Bun.listen<Side>({
  hostname: '127.0.0.1',
  port: 0,
  allowHalfOpen: true,
  socket: {
    ...handlers,
    async open(client) {
      client.data = { output: new BunOutput() }
      client.setNoDelay(true)
      client.pause()
      const data: Side = { output: new BunOutput(), other: client }
      try {
        const port = Number(argument)
        const backend = await Bun.connect({ hostname: '127.0.0.1', port, allowHalfOpen: true, data, socket: handlers })
        backend.setNoDelay(true)
        client.data.other = backend
        if (client.readyState > 0) client.resume()
        else backend.terminate()
      } catch {
        client.terminate()
      }
    },
  },
})
ready(server.port)

function otherOf(socket: BunSocket<Side>): BunSocket<Side> {
  return socket.data.other as BunSocket<Side>
}
