/** What Bun's sockets don't do by themselves: a queue for what the kernel doesn't take. */
export class BunOutput {
  readonly #queue: Uint8Array[] = []
  #ended = false

  /** False when some of it has to wait, until `flush` returns true. */
  write(socket: BunSocket<unknown>, bytes: Uint8Array): boolean {
    const sent = this.#queue.length === 0 ? Math.max(0, socket.write(bytes)) : 0
    if (sent === bytes.length) return true
    this.#queue.push(bytes.subarray(sent))
    return false
  }

  /** For the socket's `drain`: whether nothing waits any more. */
  flush(socket: BunSocket<unknown>): boolean {
    for (let bytes = this.#queue[0]; bytes !== undefined; bytes = this.#queue[0]) {
      const sent = Math.max(0, socket.write(bytes))
      if (sent < bytes.length) {
        this.#queue[0] = bytes.subarray(sent)
        return false
      }
      this.#queue.shift()
    }
    if (this.#ended) socket.shutdown()
    return true
  }

  /** Ends the socket's side behind all that waits. */
  end(socket: BunSocket<unknown>): void {
    this.#ended = true
    this.flush(socket)
  }
}
