/** Deno's own connections. */
import { mode, ready } from './control.js'
import { LineAnswers } from './lines.js'

/** **Bytes.** A read holds its buffer until bytes arrive, so each connection has its own, as large as its messages need. */
const SMALLEST = 1024
const LARGEST = 64 * 1024

const listener = Deno.listen({ hostname: '127.0.0.1', port: 0 })
ready(listener.addr.port)
for await (const connection of listener) answer(connection)

async function answer(connection: DenoConnection): Promise<void> {
  const lines = mode === 'lines' ? new LineAnswers() : undefined
  let buffer = new Uint8Array(SMALLEST)
  try {
    connection.setNoDelay()
    for (;;) {
      const count = await connection.read(buffer)
      if (count === null) break
      const chunk = buffer.subarray(0, count)
      const bytes = lines === undefined ? chunk : lines.answer(chunk)
      for (let sent = 0; sent < bytes.length; ) sent += await connection.write(bytes.subarray(sent))
      if (count === buffer.length && count < LARGEST) buffer = new Uint8Array(count * 8)
    }
  } catch {
    // The peer has broken the connection.
  }
  connection.close()
}
