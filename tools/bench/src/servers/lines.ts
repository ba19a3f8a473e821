const LF = 0x0a

/**
 * Answers each line with itself, for runtimes without framing of their own: returns what to send for a chunk, and keeps
 * a line whose end has not come. What it returns is free to be kept; the chunk isn't needed any more.
 */
export class LineAnswers {
  #rest: Buffer | undefined

  answer(chunk: Uint8Array): Buffer {
    const answers: Buffer[] = []
    const bytes = this.#rest === undefined ? asBuffer(chunk) : Buffer.concat([this.#rest, chunk])
    let at = 0
    for (;;) {
      const end = bytes.indexOf(LF, at)
      if (end < 0) break
      answers.push(bytes.subarray(at, end + 1))
      at = end + 1
    }
    this.#rest = at < bytes.length ? Buffer.from(bytes.subarray(at)) : undefined
    return Buffer.concat(answers)
  }
}

function asBuffer(chunk: Uint8Array): Buffer {
  return chunk instanceof Buffer ? chunk : Buffer.from(chunk.buffer, chunk.byteOffset, chunk.length)
}
