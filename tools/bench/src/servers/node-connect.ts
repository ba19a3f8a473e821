/** Node's own connections: connects to a listener of this process, which closes the connections. */
import { once } from 'node:events'
import { type AddressInfo, connect, createServer } from 'node:net'
import { atATime, drive } from './drive.js'

const server = createServer((socket) => {
  socket.destroy()
})
await once(server.listen(0, '127.0.0.1', 4096), 'listening')
const { port } = server.address() as AddressInfo
await drive((end) =>
  atATime(50, end, async () => {
    const socket = connect(port, '127.0.0.1')
    await new Promise((resolve, reject) => socket.resume().on('error', reject).on('close', resolve))
  }),
)
