/**
 * A queue of bytes to send. `push` copies them. Small pieces share blocks, so that many of them take no more memory than
 * their bytes.
 */
export class WriteQueue {
  #pieces: Buffer[] = NONE
  #length = 0

  /** The number of queued **bytes**. */
  get length(): number {
    return this.#length
  }

  push(data: Uint8Array): void {
    if (data.length === 0) return
    if (this.#pieces === NONE) this.#pieces = []
    this.#length += data.length
    const last = this.#pieces.at(-1)
    if (last !== undefined && data.length <= last.buffer.byteLength - last.byteOffset - last.length) {
      const longer = Buffer.from(last.buffer, last.byteOffset, last.length + data.length)
      longer.set(data, last.length)
      this.#pieces[this.#pieces.length - 1] = longer
      return
    }
    const block = Buffer.allocUnsafeSlow(Math.max(data.length, BLOCK_SIZE))
    block.set(data)
    this.#pieces.push(block.subarray(0, data.length))
  }

  /** Returns the first pieces, at most `most`; by default all of them. */
  pieces(most?: number): Buffer[] {
    return this.#pieces.slice(0, most)
  }

  /** Removes `bytes` bytes from the front. */
  shift(bytes: number): void {
    this.#length -= bytes
    let whole = 0
    while (bytes > 0) {
      const piece = this.#pieces[whole] as Buffer
      if (bytes < piece.length) {
        this.#pieces[whole] = piece.subarray(bytes)
        break
      }
      bytes -= piece.length
      whole++
    }
    if (this.#length === 0) this.#pieces = NONE
    else if (whole > 0) this.#pieces.splice(0, whole)
  }

  clear(): void {
    this.#pieces = NONE
    this.#length = 0
  }
}

const BLOCK_SIZE = 4096

/** Shared by all empty queues: most connections have nothing queued most of the time, and then need no list of their own. */
const NONE: Buffer[] = []
