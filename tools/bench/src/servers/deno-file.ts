/** Deno's own streams: sends a file for each 64 bytes received. */
import { argument, REQUEST, ready } from './control.js'

const listener = Deno.listen({ hostname: '127.0.0.1', port: 0 })
ready(listener.addr.port)
for await (const connection of listener) answer(connection)

async function answer(connection: DenoConnection): Promise<void> {
  connection.setNoDelay()
  const request = new Uint8Array(REQUEST)
  let asked = 0
  try {
    for (;;) {
      const count = await connection.read(request)
      if (count === null) break
      asked += count
      for (; asked >= REQUEST; asked -= REQUEST) {
        const file = await Deno.open(argument)
        await file.readable.pipeTo(connection.writable, { preventClose: true })
      }
    }
  } catch {
    // The peer has broken the connection.
  }
  connection.close()
}
