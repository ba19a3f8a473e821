/** A queue for bytes that the kernel doesn't take, which Bun's sockets don't have themselves. */
export class BunOutput {
  readonly #queue: Uint8Array[] = []
  #ended = false

  /** Writes bytes. Returns false if some of them are queued; wait until `flush` returns true. */
  write(socket: BunSocket<unknown>, bytes: Uint8Array): boolean {
    const sent = this.#queue.length === 0 ? Math.max(0, socket.write(bytes)) : 0
    if (sent === bytes.length) return true
    this.#queue.push(bytes.subarray(sent))
    return false
  }

  /** Call it on the socket's `drain`. Returns whether the queue is empty. */
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

  /** Shuts down the sending side once all queued bytes are written. */
  end(socket: BunSocket<unknown>): void {
    this.#ended = true
    this.flush(socket)
  }
}
