/** DNS messages (RFC 1035), as much of them as `mdns` and `dns-forwarder` need. */

export const TYPES = { A: 1, PTR: 12, TXT: 16, AAAA: 28, SRV: 33 } as const

export interface Question {
  readonly name: string
  readonly type: number
}

export interface DnsRecord extends Question {
  readonly ttl: number
  /** The bytes of the data. A name in them may point to elsewhere in the message, so `text` is what to show. */
  readonly data: Uint8Array
  /** The name of `PTR`, `host:port` of `SRV`, the address of `A` and `AAAA`, the strings of `TXT`. */
  readonly text: string
}

export interface Message {
  readonly id: number
  readonly flags: number
  readonly questions: readonly Question[]
  /** Answers, authorities and additional records. */
  readonly records: readonly DnsRecord[]
}

export const RESPONSE = 0x8400

/** Encodes a message. Labels of a name are separated by dots. */
export function encodeMessage({ id = 0, flags = 0, questions = [], records = [] }: Partial<Message>): Buffer {
  const parts = [words(id, flags, questions.length, records.length, 0, 0)]
  for (const { name, type } of questions) parts.push(encodeName(name), words(type, 1))
  for (const { name, type, ttl, data } of records) {
    parts.push(encodeName(name), words(type, 1, ttl >>> 16, ttl & 0xffff, data.length), Buffer.from(data))
  }
  return Buffer.concat(parts)
}

/** Decodes a message. @throws RangeError if it is cut short, or its names are malformed */
export function decodeMessage(bytes: Uint8Array): Message {
  const message = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  let at = 12
  const word = () => {
    at += 2
    return message.readUInt16BE(at - 2)
  }
  const named = () => {
    const [name, end] = decodeName(message, at)
    at = end
    return { name, type: word() }
  }
  const [id, flags, questionCount, ...counts] = Array.from({ length: 6 }, (_, i) => message.readUInt16BE(2 * i)) as [
    number,
    number,
    number,
  ]
  const questions = Array.from({ length: questionCount }, () => {
    const question = named()
    at += 2
    return question
  })
  const records = Array.from({ length: counts.reduce((a: number, b) => a + b, 0) }, () => {
    const { name, type } = named()
    at += 2
    const ttl = message.readUInt32BE(at)
    at += 4
    const length = word()
    const start = at
    at += length
    if (at > message.length) throw new RangeError('the message is cut short')
    return { name, type, ttl, data: message.subarray(start, at), text: textOf(message, type, start, at) }
  })
  return { id, flags, questions, records }
}

export function encodeName(name: string): Buffer {
  const labels = name.split('.').filter((label) => label !== '')
  return Buffer.concat([...labels.map((label) => prefixed(label)), Buffer.of(0)])
}

/** Encodes the data of a `SRV` record. */
export function encodeService(port: number, host: string): Buffer {
  return Buffer.concat([words(0, 0, port), encodeName(host)])
}

/** Returns the name at an offset and the offset behind it. A pointer must point backwards, so names end. */
function decodeName(message: Buffer, start: number): [name: string, end: number] {
  const labels: string[] = []
  let end: number | undefined
  let lowest = start
  for (let at = start; ; ) {
    const length = message.readUInt8(at)
    if (length === 0) return [labels.join('.'), end ?? at + 1]
    if (length >= 0xc0) {
      end ??= at + 2
      at = message.readUInt16BE(at) & 0x3fff
      if (at >= lowest) throw new RangeError('a name points forward')
      lowest = at
    } else if (length >= 0x40 || at + 1 + length > message.length) {
      throw new RangeError('a label is malformed')
    } else {
      labels.push(message.toString('utf8', at + 1, at + 1 + length))
      at += 1 + length
    }
  }
}

function textOf(message: Buffer, type: number, start: number, end: number): string {
  const data = message.subarray(start, end)
  if (type === TYPES.PTR) return decodeName(message, start)[0]
  if (type === TYPES.SRV) return `${decodeName(message, start + 6)[0]}:${data.readUInt16BE(4)}`
  if (type === TYPES.A && data.length === 4) return data.join('.')
  if (type === TYPES.AAAA && data.length === 16) {
    return Array.from({ length: 8 }, (_, i) => data.readUInt16BE(2 * i).toString(16)).join(':')
  }
  const strings: string[] = []
  for (let at = 0; at < data.length; at += 1 + data.readUInt8(at)) {
    strings.push(data.toString('utf8', at + 1, at + 1 + data.readUInt8(at)))
  }
  return strings.join(' ')
}

function prefixed(label: string): Buffer {
  const bytes = Buffer.from(label)
  if (bytes.length > 63) throw new RangeError(`the label '${label}' has more than 63 bytes`)
  return Buffer.concat([Buffer.of(bytes.length), bytes])
}

function words(...values: readonly number[]): Buffer {
  const bytes = Buffer.alloc(2 * values.length)
  for (const [i, value] of values.entries()) bytes.writeUInt16BE(value, 2 * i)
  return bytes
}
