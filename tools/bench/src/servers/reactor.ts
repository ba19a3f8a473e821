/** Ours: the epoll reactor. */
import { type Connection, type Framing, lines, listen, Reactor, type Socket, setOption } from '@linux-sockets/epoll'
import { TCP_NODELAY } from '@linux-sockets/tcp'
import { mode, ready } from './control.js'

const reactor = new Reactor()
const address = { family: 'ipv4', address: '127.0.0.1', port: 0 } as const
const options = { prepare: (socket: Socket) => setOption(socket, TCP_NODELAY, true) }
const server =
  mode === 'echo'
    ? listen(reactor, address, { data: answer, drain: resume }, options)
    : listen(
        reactor,
        address,
        {
          state: () => lines(),
          data(connection, chunk) {
            const filled = answerLines(connection.state, chunk)
            if (filled > 0) answer(connection, answers.subarray(0, filled))
          },
          drain: resume,
        },
        options,
      )
ready(server.address.port)

function answer<State>(connection: Connection<State>, bytes: Buffer): void {
  if (!connection.write(bytes)) connection.pause()
}

function resume<State>(connection: Connection<State>): void {
  connection.resume()
}

/** Answers to lines that arrive in one chunk are sent together. They are at most as long as the chunk and one line limit. */
const answers = Buffer.alloc(256 * 1024)

function answerLines(framing: Framing, chunk: Buffer): number {
  let filled = 0
  framing.push(chunk, (line) => {
    answers.set(line, filled)
    filled += line.length
    answers[filled++] = 0x0a
  })
  return filled
}
