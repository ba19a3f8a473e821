/** Deno's own connections: what comes goes on to a connection of its own, and back. */
import { argument, ready } from './control.js'

const listener = Deno.listen({ hostname: '127.0.0.1', port: 0 })
ready(listener.addr.port)
for await (const client of listener) relay(client)

async function relay(client: DenoConnection): Promise<void> {
  const backend = await Deno.connect({ hostname: '127.0.0.1', port: Number(argument) })
  client.setNoDelay()
  backend.setNoDelay()
  try {
    await Promise.all([pass(client, backend), pass(backend, client)])
  } catch {
    // Broken by a peer.
  }
  client.close()
  backend.close()
}

/** By hand: a connection's `readable` closes the whole connection when it ends, so `pipeTo` would cut off what is on its way back. */
async function pass(from: DenoConnection, to: DenoConnection): Promise<void> {
  const buffer = new Uint8Array(64 * 1024)
  for (;;) {
    const count = await from.read(buffer)
    if (count === null) break
    for (let sent = 0; sent < count; ) sent += await to.write(buffer.subarray(sent, count))
  }
  await to.closeWrite()
}
