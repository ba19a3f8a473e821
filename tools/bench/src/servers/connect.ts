/** Ours: connects to a listener of this process, which closes the connections. */
import { connect, listen } from '@linux-sockets/tcp'
import { atATime, drive } from './drive.js'

const server = listen({ family: 'ipv4', address: '127.0.0.1', port: 0 })
server.run((stream) => {
  stream.destroy()
})
const { address } = server
await drive((end) =>
  atATime(50, end, async () => {
    const stream = await connect(address)
    await new Promise((resolve, reject) => stream.resume().on('error', reject).on('close', resolve))
  }),
)
