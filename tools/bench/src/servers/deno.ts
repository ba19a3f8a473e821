/** Deno's own connections. */
import { mode, ready } from './control.js'
import { LineAnswers } from './lines.js'

interface DenoConnection {
  read(bytes: Uint8Array): Promise<number | null>
  write(bytes: Uint8Array): Promise<number>
  setNoDelay(): void
  close(): void
}

declare const Deno: {
  listen(options: { hostname: string; port: number }): AsyncIterable<DenoConnection> & { addr: { port: number } }
}

const listener = Deno.listen({ hostname: '127.0.0.1', port: 0 })
ready(listener.addr.port)
for await (const connection of listener) answer(connection)

async function answer(connection: DenoConnection): Promise<void> {
  const lines = mode === 'lines' ? new LineAnswers() : undefined
  const buffer = new Uint8Array(64 * 1024)
  try {
    connection.setNoDelay()
    for (;;) {
      const count = await connection.read(buffer)
      if (count === null) break
      const chunk = buffer.subarray(0, count)
      const bytes = lines === undefined ? chunk : lines.answer(chunk)
      for (let sent = 0; sent < bytes.length; ) sent += await connection.write(bytes.subarray(sent))
    }
  } catch {
    // Broken by its peer.
  }
  connection.close()
}
