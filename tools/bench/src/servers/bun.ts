/** Bun's own sockets, with what they don't do by themselves: a queue for what the kernel doesn't take. */
import { mode, ready } from './control.js'
import { LineAnswers } from './lines.js'

interface State {
  readonly lines: LineAnswers | undefined
  queue: Uint8Array[]
}

interface BunSocket {
  data: State
  write(bytes: Uint8Array): number
  pause(): void
  resume(): void
  end(): void
  setNoDelay(on: boolean): void
}

declare const Bun: {
  listen(options: {
    hostname: string
    port: number
    socket: Record<string, (socket: BunSocket, bytes: Uint8Array) => void>
  }): { port: number }
}

const server = Bun.listen({
  hostname: '127.0.0.1',
  port: 0,
  socket: {
    open(socket) {
      socket.data = { lines: mode === 'lines' ? new LineAnswers() : undefined, queue: [] }
      socket.setNoDelay(true)
    },
    data(socket, chunk) {
      const { lines, queue } = socket.data
      const bytes = lines === undefined ? chunk : lines.answer(chunk)
      const sent = queue.length === 0 ? Math.max(0, socket.write(bytes)) : 0
      if (sent === bytes.length) return
      // The chunk is Bun's buffer, and is used again.
      queue.push(Uint8Array.from(bytes.subarray(sent)))
      socket.pause()
    },
    drain(socket) {
      const { queue } = socket.data
      while (queue.length > 0) {
        const bytes = queue[0] as Uint8Array
        const sent = Math.max(0, socket.write(bytes))
        if (sent < bytes.length) {
          queue[0] = bytes.subarray(sent)
          return
        }
        queue.shift()
      }
      socket.resume()
    },
    error() {},
  },
})
ready(server.port)
