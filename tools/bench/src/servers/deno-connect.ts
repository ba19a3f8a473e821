/** Deno's own connections: connects to a listener of this process, which closes the connections. */
import { atATime, drive } from './drive.js'

const listener = Deno.listen({ hostname: '127.0.0.1', port: 0 })
const { port } = listener.addr
closeAll()
await drive((end) =>
  atATime(50, end, async () => {
    const connection = await Deno.connect({ hostname: '127.0.0.1', port })
    await connection.read(new Uint8Array(1))
    connection.close()
  }),
)

async function closeAll(): Promise<void> {
  for await (const connection of listener) connection.close()
}
