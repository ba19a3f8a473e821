/** Bun's own sockets: connects to a listener of this process, which closes the connections. */
import { atATime, drive } from './drive.js'

const { port } = Bun.listen({
  hostname: '127.0.0.1',
  port: 0,
  socket: {
    open(socket) {
      socket.end()
    },
    data() {},
  },
})
const client: BunHandlers<() => void> = {
  data() {},
  close({ data: done }) {
    done()
  },
}
await drive((end) =>
  atATime(50, end, async () => {
    await new Promise<void>((data, reject) => {
      Bun.connect({ hostname: '127.0.0.1', port, data, socket: client }).catch(reject)
    })
  }),
)
