/** Bun's own datagrams. */
import { ready } from './control.js'

const queue: Parameters<BunDatagrams['send']>[] = []
const { port } = await Bun.udpSocket({
  hostname: '127.0.0.1',
  socket: {
    data(socket, ...answer) {
      if (queue.length > 0 || !socket.send(...answer)) queue.push(answer)
    },
    drain(socket) {
      while (queue.length > 0 && socket.send(...(queue[0] as (typeof queue)[number]))) queue.shift()
    },
    error() {},
  },
})
ready(port)
