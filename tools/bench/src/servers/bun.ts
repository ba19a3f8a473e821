/** Bun's own sockets. */
import { BunOutput } from './bun-output.js'
import { mode, ready } from './control.js'
import { LineAnswers } from './lines.js'

interface State {
  readonly lines: LineAnswers | undefined
  readonly output: BunOutput
}

const server = Bun.listen<State>({
  hostname: '127.0.0.1',
  port: 0,
  allowHalfOpen: true,
  socket: {
    open(socket) {
      socket.data = { lines: mode === 'lines' ? new LineAnswers() : undefined, output: new BunOutput() }
      socket.setNoDelay(true)
    },
    data(socket, chunk) {
      const { lines, output } = socket.data
      if (!output.write(socket, lines === undefined ? chunk : lines.answer(chunk))) socket.pause()
    },
    drain(socket) {
      if (socket.data.output.flush(socket)) socket.resume()
    },
    end(socket) {
      socket.data.output.end(socket)
    },
    error() {},
  },
})
ready(server.port)
