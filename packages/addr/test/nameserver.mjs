import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import { parseIpv4, parseIpv6 } from '@linux-sockets/native-core'

/**
 * A name server on 127.0.0.1 for programs of the tests, RFC 1035. It has `zone`, such as
 * `{ 'now.test': { A: ['192.0.2.1'], AAAA: ['2001:db8::1'] }, 'broken.test': { rcode: 2 } }`, and knows no other name unless there is a `*`.
 *
 * Questions about names that begin with `slow`, or whose entry is `slow`, are held back until `release`. `asked` has all questions in their order,
 * `A now.test`.
 */
export async function nameServer(zone) {
  const socket = createSocket('udp4')
  const asked = []
  let held = []
  let open = false
  const listeners = []
  socket.on('message', (question, { port, address }) => {
    const { name, type, end } = readQuestion(question)
    asked.push(`${type} ${name}`)
    const entry = zone[name] ?? zone['*']
    const reply = () => socket.send(answer(question.subarray(0, end), type, entry), port, address)
    if ((name.startsWith('slow') || entry?.slow) && !open) held.push(reply)
    else reply()
    for (const listener of listeners) listener()
  })
  socket.bind(53, '127.0.0.1')
  await once(socket, 'listening')
  return {
    asked,
    /** Answers the questions that were held back, and from now on all questions. */
    release() {
      open = true
      for (const reply of held) reply()
      held = []
    },
    /** Resolves when so many questions are held back. */
    held: (count) =>
      new Promise((resolve) => {
        const look = () => held.length >= count && resolve()
        listeners.push(look)
        look()
      }),
    close: () => socket.close(),
    unref: () => socket.unref(),
  }
}

const TYPES = { A: 1, CNAME: 5, PTR: 12, AAAA: 28 }

function readQuestion(message) {
  const labels = []
  let at = 12
  for (; message[at] > 0; at += 1 + message[at]) labels.push(message.toString('latin1', at + 1, at + 1 + message[at]))
  const number = message.readUInt16BE(at + 1)
  const type = Object.keys(TYPES).find((name) => TYPES[name] === number) ?? String(number)
  return { name: labels.join('.').toLowerCase(), type, end: at + 5 }
}

function answer(question, type, entry) {
  const [alias] = entry?.CNAME ?? []
  const records = entry === undefined ? [] : recordsOf(type, entry[type] ?? [], alias)
  if (alias !== undefined) records.unshift(...recordsOf('CNAME', [alias]))
  const header = Buffer.from(question)
  // An authoritative answer, with recursion.
  header.writeUInt16BE(0x8580 | (entry === undefined ? 3 : (entry.rcode ?? 0)), 2)
  header.writeUInt16BE(records.length, 6)
  header.writeUInt32BE(0, 8)
  return Buffer.concat([header, ...records])
}

/** Records of a name; without one, of that of the question. */
function recordsOf(type, values, name) {
  return values.map((value) => {
    const owner = name === undefined ? Buffer.of(0xc0, 12) : writeName(name)
    const data = { A: parseIpv4, AAAA: parseIpv6, CNAME: writeName, PTR: writeName }[type](value)
    const fields = Buffer.alloc(10)
    fields.writeUInt16BE(TYPES[type], 0)
    fields.writeUInt16BE(1, 2)
    fields.writeUInt16BE(data.length, 8)
    return Buffer.concat([owner, fields, data])
  })
}

function writeName(name) {
  const labels = name.split('.').map((label) => Buffer.from(`${String.fromCharCode(label.length)}${label}`, 'latin1'))
  return Buffer.concat([...labels, Buffer.alloc(1)])
}
