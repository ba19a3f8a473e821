/** Runs the programs of udp-mcast as they are printed, and some of them with a peer that was not written here. */
import { readFileSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import {
  createHosts,
  guardDescriptors,
  needNamespaces,
  needProgram,
  runProgram,
  skipUnless,
  temporaryDirectory,
  waitForLine,
} from '@linux-sockets/testkit'
import { describe, expect, it } from 'vitest'
import { decodeMessage, encodeMessage, TYPES } from '../src/dns-message.js'

guardDescriptors()

const program = (name: string) => resolve(import.meta.dirname, `../dist/${name}.js`)
const runExample = (name: string) => runProgram(process.execPath, [program(name)])

describe('without arguments', () => {
  it.each([
    [
      'mdns',
      /^lo {2}_demo\._tcp\.local {2}PTR example\._demo\._tcp\.local .*\n.*SRV host\.local:8080 .*\n.*A 127\.0\.0\.1 .*\n$/,
    ],
    ['multicast-chat', /^Grace hears Ada on lo: Is there anybody\?\nAda hears Grace on lo: Hello, Ada\n$/],
    ['dhcp-discover', /^127\.0\.0\.1 offers 10\.0\.0\.42 for 3600 s\n {2}mask –, routers 10\.0\.0\.1, dns –\n$/],
    ['ntp', /^stratum 1, offset -?\d+\.\d{3} ms, delay \d+\.\d{3} ms\n$/],
    [
      'dns-forwarder',
      /^asked 127\.0\.0\.1; 127\.0\.0\.1 answers question 7: 192\.0\.2\.80\nasked 127\.0\.0\.53; 127\.0\.0\.53 answers question 7: 192\.0\.2\.80\n$/,
    ],
    ['udp-meter', /^receive buffer .*\n(\d+ datagrams\/s · .*\/s · [1-9]\d* dropped \(.* %\)\n){3}$/],
    [
      'file-blast',
      /sent 16\.0 MiB at .*\/s, \d+ segments, \d+ datagrams, sha256 (\S+)\nreceived 16\.0 MiB, sha256 \1\n$/,
    ],
  ])('%s runs', async (name, output) => {
    expect(await runExample(name)).toMatch(output)
  })

  it('ping runs', async (test) => {
    skipUnless(test, process.getuid?.() === 0 ? null : 'raw sockets need root')
    expect(await runExample('ping')).toMatch(
      /^(127\.0\.0\.1: sequence \d, ttl 64, \d+\.\d{3} ms\n){4}4 sent, 4 answered, least .* ms\n$/,
    )
  })
})

/** A program that binds a UDP socket, says so, and answers what comes with what `answer` makes of it. */
const python = (port: number, answer: string, more = '') => `
import socket, struct, time
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
${more}
s.bind(('', ${port}))
print('ready', flush=True)
while True:
    data, peer = s.recvfrom(2000)
    ${answer}`

function hosts() {
  const [ours, theirs] = createHosts(['10.0.0.1/24', 'fd00::1/64'], ['10.0.0.2/24', 'fd00::2/64'])
  return { ours, theirs }
}

describe('between hosts', () => {
  it('ping reaches another host over both families', async (test) => {
    skipUnless(test, needNamespaces())
    const { ours } = hosts()
    for (const address of ['10.0.0.2', 'fd00::2']) {
      const said = await ours.run(process.execPath, [program('ping'), address, '2'])
      expect(said).toContain(`${address}: sequence 1, ttl 64, `)
      expect(said).toMatch(/\n2 sent, 2 answered, /)
    }
    await ours.run('sysctl', ['-qw', 'net.ipv4.ping_group_range=0 0'])
    expect(await ours.run(process.execPath, [program('ping'), '10.0.0.2', '2'])).toMatch(/\n2 sent, 2 answered, /)
  })

  it('ntp asks a server of Python, whose clock is an hour ahead', async (test) => {
    skipUnless(test, needNamespaces(), needProgram('python3'))
    const { ours, theirs } = hosts()
    const answer = `
    now = time.time() + 2208988800 + 3600
    stamp = struct.pack('!II', int(now) & 0xffffffff, int(now % 1 * 2**32))
    s.sendto(bytes([0x24, 2]) + bytes(22) + data[40:48] + stamp + stamp, peer)`
    const server = theirs.spawn('python3', ['-c', python(123, answer)])
    await waitForLine(server, /^ready$/)
    const said = await ours.run(process.execPath, [program('ntp'), '10.0.0.2'])
    expect(said).toMatch(/^stratum 2, offset (3599|3600)\d{3}\.\d{3} ms, delay \d+\.\d{3} ms\n$/)
  })

  it('dhcp-discover asks by broadcast from an interface without an address', async (test) => {
    skipUnless(test, needNamespaces(), needProgram('python3'))
    const { ours, theirs } = hosts()
    await ours.run('ip', ['-4', 'address', 'flush', 'dev', 'veth0'])
    const answer = `
    assert data[0] == 1 and data[236:244] == bytes([99, 130, 83, 99, 53, 1, 1, 55]), data
    offer = bytes([2, 1, 6, 0]) + data[4:8] + bytes(8) + bytes([10, 0, 0, 77]) + bytes(8) + data[28:44] + bytes(192)
    offer += bytes([99, 130, 83, 99, 53, 1, 2, 54, 4, 10, 0, 0, 2, 1, 4, 255, 255, 255, 0, 51, 4, 0, 0, 0, 60])
    s.sendto(offer + bytes([0, 3, 8, 10, 0, 0, 2, 10, 0, 0, 3, 6, 4, 10, 0, 0, 2, 255]), ('255.255.255.255', 68))`
    const device = "s.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b'veth0')"
    const server = theirs.spawn('python3', ['-c', python(67, answer, device)])
    await waitForLine(server, /^ready$/)
    expect(await ours.run(process.execPath, [program('dhcp-discover'), 'veth0'])).toBe(
      '10.0.0.2 offers 10.0.0.77 for 60 s\n  mask 255.255.255.0, routers 10.0.0.2 10.0.0.3, dns 10.0.0.2\n',
    )
  })

  it('file-blast sends to a receiver on another host', async (test) => {
    skipUnless(test, needNamespaces())
    const { ours, theirs } = hosts()
    const directory = temporaryDirectory()
    const data = Buffer.alloc(3_000_001, 'abcdefg')
    const [file, copy] = [join(directory, 'file'), join(directory, 'copy')]
    writeFileSync(file, data)
    const receiver = theirs.spawn(process.execPath, [program('file-blast'), 'receive', '7779', copy])
    const received = waitForLine(receiver, /^received/)
    expect(await ours.run(process.execPath, [program('file-blast'), 'send', file, '10.0.0.2:7779'])).toMatch(/^sent/m)
    await received
    expect(readFileSync(copy).equals(data)).toBe(true)
  })
})

describe('DNS messages', () => {
  const question = { name: 'www.example', type: TYPES.A }

  it('survive encoding and decoding', () => {
    const record = { ...question, ttl: 100_000, data: Buffer.of(192, 0, 2, 1), text: '192.0.2.1' }
    const message = { id: 77, flags: 0x8400, questions: [question], records: [record] }
    expect(decodeMessage(encodeMessage(message))).toEqual(message)
  })

  it('follow names that point backwards, and refuse the others', () => {
    const start = encodeMessage({ questions: [question] })
    const record = (pointer: number) => {
      const message = Buffer.concat([start, Buffer.of(0xc0, pointer, 0, 1, 0, 1, 0, 0, 0, 9, 0, 4, 1, 2, 3, 4)])
      message.writeUInt16BE(1, 6)
      return message
    }
    expect(decodeMessage(record(12)).records).toMatchObject([{ name: 'www.example', text: '1.2.3.4' }])
    expect(() => decodeMessage(record(start.length))).toThrow(RangeError)
  })

  it('are refused when cut anywhere', () => {
    const record = { ...question, ttl: 1, data: Buffer.of(1, 2, 3, 4), text: '' }
    const message = encodeMessage({ questions: [question], records: [record] })
    for (let length = 0; length < message.length; length++) {
      expect(() => decodeMessage(message.subarray(0, length)), `${length} bytes`).toThrow(RangeError)
    }
  })
})
