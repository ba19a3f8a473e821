import { expect, it } from 'vitest'

/** Reads the kernel's answer. It is native-core's `Decoder`, which this package can't import. */
interface AnswerDecoder {
  readonly size: number
  readonly decode: (view: DataView, length: number) => unknown
}

/**
 * Tests decoders with answers that are shorter than the buffer, as an older kernel or an emulator gives them. An answer of
 * fewer than `least` bytes is refused. From a longer one no value is taken from beyond its end, and no value is NaN.
 */
export function testShortAnswers(decoders: Readonly<Record<string, readonly [decoder: AnswerDecoder, least: number]>>) {
  it.each(Object.entries(decoders))('%s invents no values for a short answer', (_, [{ size, decode }, least]) => {
    for (let length = 0; length < least; length++) {
      for (const room of [size, length]) expect(() => decode(answer(room, length, 0xaa), length)).toThrow(RangeError)
    }
    for (let length = least; length <= size; length++) {
      const value = decode(answer(size, length, 0xaa), length)
      expect(value, `of ${length} bytes`).toEqual(decode(answer(size, length, 0x55), length))
      expect(
        JSON.stringify([value], (_key, part) => (typeof part === 'bigint' || Number.isNaN(part) ? String(part) : part)),
      ).not.toContain('NaN')
    }
  })
}

/** Makes an answer of `length` bytes in a view of `room` bytes. The memory after the answer is filled with `behind`. */
function answer(room: number, length: number, behind: number): DataView {
  const bytes = Buffer.alloc(room + 256, behind).fill(0x2a, 0, length)
  return new DataView(bytes.buffer, bytes.byteOffset, room)
}
