const LF = 0x0a

/**
 * Answers each line with itself, for runtimes without framing of their own: returns the bytes to send for a chunk, and keeps
 * the beginning of an unfinished line. The caller may keep the result, and may reuse the chunk.
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
