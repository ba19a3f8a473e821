import { describe, expect, it } from 'vitest'
import { delimited, encodeLength, type Framing, type LengthPrefixOptions, lengthPrefixed, lines } from '../src/index.js'

/** What comes out when the input comes in these chunks. */
function cut(framing: Framing, chunks: readonly Uint8Array[]): string[] {
  const frames: string[] = []
  for (const chunk of chunks) framing.push(chunk, (frame) => frames.push(frame.toString('latin1')))
  framing.end()
  return frames
}

/** Every way to split the input into chunks. */
function* splits(input: Buffer): Generator<Buffer[]> {
  for (let mask = 0; mask < 2 ** (input.length - 1); mask++) {
    const chunks: Buffer[] = []
    let start = 0
    for (let i = 1; i <= input.length; i++) {
      if (i === input.length || (mask >> (i - 1)) & 1) {
        chunks.push(input.subarray(start, i))
        start = i
      }
    }
    yield chunks
  }
}

function random(below: number): number {
  return Math.floor(Math.random() * below)
}

function randomChunks(input: Buffer): Buffer[] {
  const chunks: Buffer[] = []
  for (let at = 0; at < input.length; ) {
    const size = 1 + random(random(2) === 0 ? 3 : 5000)
    chunks.push(input.subarray(at, at + size))
    at += size
  }
  return chunks
}

const text = (value: string) => Buffer.from(value, 'latin1')

describe('lines', () => {
  it('are cut alike under every split', () => {
    const input = text('a\r\n\nb\r\rc\r\n\r\nd\n')
    for (const chunks of splits(input)) expect(cut(lines(), chunks)).toEqual(['a', '', 'b\r\rc', '', 'd'])
  })

  it('have a limit, without their end', () => {
    expect(cut(lines({ limit: 3 }), [text('abc\r\nabc\nab'), text('c\r'), text('\n')])).toEqual(['abc', 'abc', 'abc'])
    expect(() => cut(lines({ limit: 3 }), [text('abcd\n')])).toThrow(
      expect.objectContaining({ code: 'ERR_FRAME_TOO_LONG' }),
    )
    expect(() => cut(lines({ limit: 3 }), [text('abcd\r\n')])).toThrow('longer than 3 bytes')
    expect(() => cut(lines({ limit: 3 }), [text('ab'), text('cde')])).toThrow('longer than 3 bytes')
    expect(cut(lines({ limit: 0 }), [text('\n\r\n')])).toEqual(['', ''])
  })

  it('that are not finished are an error at the end', () => {
    const framing = lines()
    framing.push(text('abc'), () => {})
    expect(framing.buffered).toBe(3)
    expect(() => framing.end()).toThrow(expect.objectContaining({ code: 'ERR_FRAME_CUT' }))
  })
})

describe('delimited', () => {
  it.each([
    ['ab', 'xabaabbaab'],
    ['aab', 'aaaabaabaaab'],
    ['abab', 'ababaabababab'],
    ['aaa', 'aaaabaaaaaa'],
    ['\0', 'a\0\0bc\0'],
    ['abcabd', 'abcabcabdabcabd'],
  ])('by %j are cut alike under every split', (delimiter, input) => {
    const expected = input.split(delimiter)
    const rest = expected.pop() as string
    for (const chunks of splits(text(input))) {
      const framing = delimited(text(delimiter))
      const frames: string[] = []
      for (const chunk of chunks) framing.push(chunk, (frame) => frames.push(frame.toString('latin1')))
      expect(frames).toEqual(expected)
      expect(framing.buffered).toBe(rest.length)
    }
  })

  it('are cut alike under random splits of random input', () => {
    for (let round = 0; round < 300; round++) {
      const delimiter = Array.from({ length: 1 + random(5) }, () => 'ab'[random(2)]).join('')
      const input = `${Array.from({ length: random(2000) }, () => 'ab'[random(2)]).join('')}c${delimiter}`
      const frames = cut(delimited(text(delimiter)), randomChunks(text(input)))
      expect(frames).toEqual(input.split(delimiter).slice(0, -1))
    }
  })

  it('have a limit, which the delimiter does not count for', () => {
    const frames = (...chunks: string[]) => cut(delimited(text('--'), { limit: 4 }), chunks.map(text))
    expect(frames('abcd--')).toEqual(['abcd'])
    expect(frames('abcd-', '-')).toEqual(['abcd'])
    expect(frames('ab', 'cd', '-', '-')).toEqual(['abcd'])
    expect(() => frames('abcde')).toThrow('longer than 4 bytes')
    expect(() => frames('abcd-', 'e')).toThrow('longer than 4 bytes')
    expect(() => frames('abcde--')).toThrow('longer than 4 bytes')
  })

  it('refuse a delimiter that is none', () => {
    expect(() => delimited(Buffer.alloc(0))).toThrow(RangeError)
    expect(() => delimited('--' as unknown as Uint8Array)).toThrow(TypeError)
    expect(() => delimited(text('-'), { limit: -1 })).toThrow(RangeError)
    expect(() => delimited(text('-'), { limit: Number.NaN })).toThrow(TypeError)
  })
})

describe('lengthPrefixed', () => {
  const forms: LengthPrefixOptions[] = [
    ...([1, 2, 4, 8] as const).flatMap((size) => [
      { size, endian: 'big' as const },
      { size, endian: 'little' as const },
    ]),
    { size: 'varint' },
    {},
  ]

  it.each(forms)('with %o are cut alike under every split', (form) => {
    const input = Buffer.concat(['ab', '', 'c'].flatMap((frame) => [encodeLength(frame.length, form), text(frame)]))
    const all = input.length > 16 ? [randomChunks(input), [...input].map((byte) => Buffer.of(byte))] : splits(input)
    for (const chunks of all) expect(cut(lengthPrefixed(form), chunks)).toEqual(['ab', '', 'c'])
  })

  it.each(forms)('with %o are cut alike under random splits of frames of all sizes', (form) => {
    const most = form.size === 1 ? 255 : 60_000
    const frames = Array.from({ length: 50 }, () => text('x'.repeat(random(most))))
    const input = Buffer.concat(frames.flatMap((frame) => [encodeLength(frame.length, form), frame]))
    expect(cut(lengthPrefixed(form), randomChunks(input))).toEqual(frames.map((frame) => frame.toString('latin1')))
  })

  it('have a limit, known from the length alone', () => {
    const framing = lengthPrefixed({ limit: 1000 })
    framing.push(Buffer.of(0, 0), () => {})
    expect(() => framing.push(Buffer.of(3, 233), () => {})).toThrow('longer than 1000 bytes')
    expect(() => lengthPrefixed().push(Buffer.of(255), () => {})).not.toThrow()
    expect(() => lengthPrefixed({ size: 8 }).push(Buffer.alloc(8, 255), () => {})).toThrow('longer than')
    expect(() => lengthPrefixed({ size: 'varint' }).push(Buffer.alloc(9, 0x80), () => {})).toThrow(
      expect.objectContaining({ code: 'ERR_FRAME_INVALID' }),
    )
  })

  it('that are not finished are an error at the end', () => {
    const framing = lengthPrefixed()
    framing.push(Buffer.of(0, 0, 0), () => {})
    expect(framing.buffered).toBe(3)
    expect(() => framing.end()).toThrow(expect.objectContaining({ code: 'ERR_FRAME_CUT' }))
  })

  it('refuse lengths and forms that are none', () => {
    expect(() => encodeLength(256, { size: 1 })).toThrow(RangeError)
    expect(() => encodeLength(-1)).toThrow(RangeError)
    expect(() => encodeLength(Number.NaN)).toThrow(TypeError)
    expect(() => lengthPrefixed({ size: 3 as 4 })).toThrow(RangeError)
    expect(() => lengthPrefixed({ endian: 'middle' as 'big' })).toThrow(RangeError)
    expect(encodeLength(300, { size: 'varint' })).toEqual(Buffer.of(0xac, 0x02))
    expect(encodeLength(0x0102, { size: 2, endian: 'little' })).toEqual(Buffer.of(2, 1))
    expect(encodeLength(2 ** 40, { size: 8 })).toEqual(Buffer.of(0, 0, 1, 0, 0, 0, 0, 0))
  })
})

it('keeps at most one unfinished frame, and lends whole ones without copying', () => {
  const framing = lengthPrefixed()
  const chunk = Buffer.concat([encodeLength(5), text('whole'), encodeLength(100), Buffer.alloc(60)])
  framing.push(chunk, (frame) => expect(frame.buffer).toBe(chunk.buffer))
  expect(framing.buffered).toBe(64)
})
