/** Makes bytes that differ by position, so that misplaced bytes are noticed. The pattern repeats after 251 × 256 bytes. */
export function pattern(length: number, seed = 0): Buffer {
  const bytes = Buffer.allocUnsafe(length)
  for (let i = 0; i < length; i++) bytes[i] = (i % 251) ^ ((i / 251 + seed) & 0xff)
  return bytes
}

/** Bytes that arrived are not those that were sent, or are more of them. */
export class WrongBytes extends Error {
  override readonly name = 'WrongBytes'
}

/** Fewer bytes arrived than were sent. The program must have been told of an error. */
export class MissingBytes extends Error {
  override readonly name = 'MissingBytes'
}

/** Throws WrongBytes or MissingBytes unless exactly the sent bytes came. */
export function expectBytes(what: string, came: Uint8Array, sent: Uint8Array): void {
  if (came.length > sent.length) throw new WrongBytes(`${what}: ${came.length} bytes came, ${sent.length} were sent`)
  if (Buffer.compare(came, sent.subarray(0, came.length)) !== 0) throw new WrongBytes(`${what}: other bytes came`)
  if (came.length < sent.length) throw new MissingBytes(`${what}: ${came.length} of ${sent.length} bytes came`)
}
