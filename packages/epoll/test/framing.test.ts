import { describe, expect, it } from 'vitest'
import {
  delimited,
  encodeLength,
  type Framing,
  type FramingError,
  type LengthPrefixOptions,
  lengthPrefixed,
  lines,
} from '../src/index.js'

/** The outcome if the input comes in these chunks. */
function cut(framing: Framing, chunks: readonly Uint8Array[]): string[] {
  const frames: string[] = []
  for (const chunk of chunks) framing.push(chunk, (frame) => frames.push(frame.toString('latin1')))
  framing.end()
  return frames
}

/** Every way to split the input into chunks. */
function* splits(input: Buffer): Generator<Buffer[]> {
  if (input.length === 0) yield []
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

/** Every text of these letters up to a length. */
function* texts(letters: string, most: number): Generator<string> {
  for (let all = ['']; all[0] !== undefined && all[0].length <= most; ) {
    yield* all
    all = all.flatMap((begun) => [...letters].map((letter) => begun + letter))
  }
}

/** The frames, and then the end of the stream: an error's code, or the bytes of an unfinished frame. */
function outcome(framing: Framing, chunks: readonly Uint8Array[]): (string | number)[] {
  const got: (string | number)[] = []
  try {
    for (const chunk of chunks) framing.push(chunk, (frame) => got.push(frame.toString('latin1')))
  } catch (error) {
    return [...got, (error as FramingError).code]
  }
  return [...got, framing.buffered]
}

/** The same as `outcome`, but the framing is stopped after every frame, and gets the rest again. */
function stoppedOutcome(framing: Framing, chunks: readonly Uint8Array[]): (string | number)[] {
  const got: (string | number)[] = []
  try {
    for (const chunk of chunks) {
      for (let rest = chunk; rest.length > 0; ) {
        const before = got.length
        rest = framing.push(rest, (frame) => {
          got.push(frame.toString('latin1'))
          framing.stop()
        })
        const came = got.length - before
        // At a frame's end nothing is kept, and without one nothing is left.
        if (came > 1 || (came === 1 ? framing.buffered : rest.length) > 0) throw new Error(`not stopped: ${came}`)
      }
    }
  } catch (error) {
    return [...got, (error as FramingError).code]
  }
  return [...got, framing.buffered]
}

/** The expected outcome, found without a state: `ends` are the beginnings of a delimiter, the longest first. */
function expectedOutcome(input: string, delimiter: string | RegExp, ends: readonly string[], limit: number) {
  const frames = input.split(delimiter)
  const rest = frames.pop() as string
  const long = frames.findIndex((frame) => frame.length > limit)
  if (long >= 0) return [...frames.slice(0, long), 'ERR_FRAME_TOO_LONG']
  const begun = ends.find((end) => rest.endsWith(end)) ?? ''
  return [...frames, rest.length - begun.length > limit ? 'ERR_FRAME_TOO_LONG' : rest.length]
}

const beginnings = (delimiter: string) => Array.from(delimiter, (_, i) => delimiter.slice(0, -1 - i))

/** A chunk that counts how often each of its bytes is read, by index or by `indexOf` on its way to the match. */
function counted(chunk: Buffer): { chunk: Buffer; reads: number[] } {
  const reads = new Array<number>(chunk.length).fill(0)
  const read = (i: number) => {
    reads[i] = (reads[i] as number) + 1
  }
  const indexOf = (value: number | Uint8Array, from = 0) => {
    const found = chunk.indexOf(value, from)
    const length = typeof value === 'number' ? 1 : value.length
    for (let i = from; i < (found < 0 ? chunk.length : found + length); i++) read(i)
    return found
  }
  const counting = new Proxy(chunk, {
    get(target, name) {
      if (name === 'indexOf') return indexOf
      if (typeof name === 'string' && /^\d+$/.test(name)) read(Number(name))
      const value = Reflect.get(target, name, target)
      return typeof value === 'function' ? value.bind(target) : value
    },
  })
  return { chunk: counting, reads }
}

/** How often each byte of the input is read. */
function readsOf(framing: Framing, chunks: readonly Buffer[]): number[] {
  const all = chunks.map(counted)
  for (const { chunk } of all) framing.push(chunk, () => {})
  return all.flatMap(({ reads }) => reads)
}

describe('lines', () => {
  it('are cut alike under every split', () => {
    const input = text('a\r\n\nb\r\rc\r\n\r\nd\n')
    for (const chunks of splits(input)) expect(cut(lines(), chunks)).toEqual(['a', '', 'b\r\rc', '', 'd'])
  })

  it('are cut alike under every split of every short input, up to their limit', () => {
    for (const input of texts('a\r\n', 5)) {
      const expected = [0, 1, 5].map((limit) => expectedOutcome(input, /\r?\n/, ['\r'], limit))
      for (const chunks of splits(text(input))) {
        expect([0, 1, 5].map((limit) => outcome(lines({ limit }), chunks))).toEqual(expected)
      }
    }
  })

  it('are read once, except for the last byte of a line or chunk, which may be a CR', () => {
    const input = text('some\r\nlines\n\r\n\nand the rest'.repeat(50))
    for (const chunks of [[input], [...input].map((byte) => Buffer.of(byte)), randomChunks(input)]) {
      const allowed = chunks.flatMap((chunk) =>
        Array.from(chunk, (_, i) => (chunk[i + 1] === 0x0a || i === chunk.length - 1 ? 2 : 1)),
      )
      const wrong = readsOf(lines(), chunks).filter((count, i) => count < 1 || count > (allowed[i] as number))
      expect(wrong).toEqual([])
    }
  })

  it('have a limit, which does not count the line end', () => {
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

  it('are cut alike under every split of every short input, up to their limit', () => {
    for (const delimiter of ['a', 'ab', 'aa', 'aab', 'aba', 'abb']) {
      for (const input of texts('ab', 6)) {
        const expected = [1, 6].map((limit) => expectedOutcome(input, delimiter, beginnings(delimiter), limit))
        for (const chunks of splits(text(input))) {
          expect([1, 6].map((limit) => outcome(delimited(text(delimiter), { limit }), chunks))).toEqual(expected)
        }
      }
    }
  })

  it.each([
    ['one byte', ';', 'a;bc;;def'],
    ['its own beginning', 'aab', 'aaab'],
    ['an end that begins it again', 'abab', 'ababaabab'],
    ['CRLF CRLF', '\r\n\r\n', 'a\r\nb\r\n\r\n\r\r\n\r'],
    ['nothing but beginnings', `${'a'.repeat(999)}b`, 'a'.repeat(100)],
  ])('are read once: %s', (_, delimiter, part) => {
    const input = text(part.repeat(100))
    for (const chunks of [[input], [...input].map((byte) => Buffer.of(byte)), randomChunks(input)]) {
      expect(readsOf(delimited(text(delimiter)), chunks).every((count) => count === 1)).toBe(true)
    }
  })

  it('have a limit, which does not count the delimiter', () => {
    const frames = (...chunks: string[]) => cut(delimited(text('--'), { limit: 4 }), chunks.map(text))
    expect(frames('abcd--')).toEqual(['abcd'])
    expect(frames('abcd-', '-')).toEqual(['abcd'])
    expect(frames('ab', 'cd', '-', '-')).toEqual(['abcd'])
    expect(() => frames('abcde')).toThrow('longer than 4 bytes')
    expect(() => frames('abcd-', 'e')).toThrow('longer than 4 bytes')
    expect(() => frames('abcde--')).toThrow('longer than 4 bytes')
  })

  it('refuses an invalid delimiter', () => {
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

  it('have a limit, which is checked as soon as the length is known', () => {
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

  it('refuses invalid lengths and options', () => {
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

it.each([
  ['lines', () => lines(), (frame: Buffer) => Buffer.concat([frame, text('\n')])],
  ['delimited', () => delimited(text('--')), (frame: Buffer) => Buffer.concat([frame, text('--')])],
  ['lengthPrefixed', () => lengthPrefixed(), (frame: Buffer) => Buffer.concat([encodeLength(frame.length), frame])],
])('%s accepts frames of up to 64 KiB by default', (_name, make, enclose) => {
  const longest = Buffer.alloc(65_536, 'x')
  expect(cut(make(), [enclose(longest)])).toEqual([longest.toString()])
  expect(() => cut(make(), [enclose(Buffer.alloc(65_537, 'x'))])).toThrow(
    expect.objectContaining({ code: 'ERR_FRAME_TOO_LONG' }),
  )
})

describe('a framing that is stopped within a chunk', () => {
  const framed = (frame: string, form?: LengthPrefixOptions) =>
    Buffer.concat([encodeLength(frame.length, form), text(frame)])

  it.each<[string, () => Framing, Buffer]>([
    ['lines', () => lines({ limit: 3 }), text('ab\r\n\n\rc\n\r\n\r')],
    ['lines that are too long', () => lines({ limit: 3 }), text('a\r\n\nabcd\nf\n')],
    ['delimited', () => delimited(text('aab')), text('aaabaabxaaba')],
    [
      'lengthPrefixed',
      () => lengthPrefixed({ size: 1 }),
      Buffer.concat(['ab', '', '', 'c', 'def'].map((f) => framed(f, { size: 1 }))),
    ],
    [
      'varints',
      () => lengthPrefixed({ size: 'varint' }),
      Buffer.concat([framed('abc', { size: 'varint' }), Buffer.of(0x80, 0, 0x81, 0, 0x61), Buffer.of(0x85)]),
    ],
  ])('continues with the rest as if it had not been stopped, under every split: %s', (_name, make, input) => {
    for (const chunks of splits(input)) expect(stoppedOutcome(make(), chunks)).toEqual(outcome(make(), chunks))
  })

  it('leaves the rest to another framing, under every split', () => {
    const input = Buffer.concat([
      text('2\r\n'),
      framed('\na', { size: 1 }),
      framed('', { size: 1 }),
      text('1\n'),
      framed('\r\n', { size: 1 }),
      text('0\n'),
    ])
    for (const chunks of splits(input)) {
      const seen: string[] = []
      const head = lines()
      const body = lengthPrefixed({ size: 1 })
      let bodies = 0
      for (const chunk of chunks) {
        for (let rest = chunk; rest.length > 0; ) {
          rest =
            bodies === 0
              ? head.push(rest, (line) => {
                  bodies = Number(line)
                  if (bodies > 0) head.stop()
                })
              : body.push(rest, (frame) => {
                  seen.push(String(frame))
                  if (--bodies === 0) body.stop()
                })
        }
      }
      expect(seen).toEqual(['\na', '', '\r\n'])
      head.end()
      body.end()
    }
  })

  it.each<[string, () => Framing, Buffer]>([
    ['lines', lines, text('a\nb\nc\n')],
    ['lengthPrefixed', lengthPrefixed, Buffer.concat([framed('a'), framed('b'), framed('c')])],
  ])('lends the rest, and is stopped for that chunk only: %s', (_name, make, chunk) => {
    const framing = make()
    const seen: string[] = []
    const take = (frame: Buffer) => void seen.push(String(frame))
    // There is nothing to stop yet.
    framing.stop()
    expect(framing.push(chunk, take)).toHaveLength(0)
    expect(seen.splice(0)).toEqual(['a', 'b', 'c'])

    const rest = framing.push(chunk, (frame) => {
      take(frame)
      framing.stop()
    })
    expect(seen.splice(0)).toEqual(['a'])
    expect([rest.buffer, rest.byteOffset + rest.length]).toEqual([chunk.buffer, chunk.byteOffset + chunk.length])
    expect(rest).toHaveLength((chunk.length / 3) * 2)

    expect(() =>
      framing.push(chunk, () => {
        framing.stop()
        throw new Error('from the handler')
      }),
    ).toThrow('from the handler')
    expect(framing.push(rest, take)).toHaveLength(0)
    expect(seen).toEqual(['b', 'c'])
  })
})
