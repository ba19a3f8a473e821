/** Deno's own connections: relays each connection to a new connection to the backend, both ways. */
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
    // A peer has broken its connection.
  }
  client.close()
  backend.close()
}

/** Doesn't use `pipeTo`: a connection's `readable` closes the whole connection when it ends, which would cut answers off. */
async function pass(from: DenoConnection, to: DenoConnection): Promise<void> {
  const buffer = new Uint8Array(64 * 1024)
  for (;;) {
    const count = await from.read(buffer)
    if (count === null) break
    for (let sent = 0; sent < count; ) sent += await to.write(buffer.subarray(sent, count))
  }
  await to.closeWrite()
}
