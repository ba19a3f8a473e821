/** Ours: the epoll reactor. */
import { type Connection, type Framing, lines, Reactor } from '@linux-sockets/epoll'
import { AF_INET, type InetAddress, SOCK_STREAM, Socket, setOption } from '@linux-sockets/native-core'
import { TCP_NODELAY } from '@linux-sockets/tcp'
import { mode, ready } from './control.js'

const socket = Socket.open(AF_INET, SOCK_STREAM)
socket.bind({ family: 'ipv4', address: '127.0.0.1', port: 0 })
setOption(socket, TCP_NODELAY, true)
socket.listen()
const reactor = new Reactor()
const server =
  mode === 'echo'
    ? reactor.serve(socket, { data: answer, drain: resume })
    : reactor.serve<Framing>(
        socket,
        {
          data(connection, chunk) {
            const filled = answerLines(connection.state, chunk)
            if (filled > 0) answer(connection, answers.subarray(0, filled))
          },
          drain: resume,
        },
        { state: () => lines() },
      )
ready((server.address as InetAddress).port)

function answer<State>(connection: Connection<State>, bytes: Buffer): void {
  if (!connection.write(bytes)) connection.pause()
}

function resume<State>(connection: Connection<State>): void {
  connection.resume()
}

/** The answers to what came together go out together. A chunk completes no more than its own length and one limit. */
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
