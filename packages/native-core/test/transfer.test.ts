import { readFileSync, writeFileSync } from 'node:fs'
import { expectErrno, guardDescriptors, temporaryDirectory } from '@linux-sockets/testkit'
import { describe, expect, it } from 'vitest'
import { SPLICE_F_MORE, SPLICE_F_NONBLOCK } from '../src/constants.js'
import { type OwnedFd, pipe, readable, readv, Socket, sendfile, splice, tee, writable, writev } from '../src/index.js'
import { openFile } from './outside.js'

guardDescriptors()

function file(content: Uint8Array | string, flags = 'r'): OwnedFd {
  const path = `${temporaryDirectory()}/file`
  writeFileSync(path, content)
  return openFile(path, flags)
}

function contents(descriptor: { readonly fd: number }): string {
  const buffer = Buffer.alloc(100)
  return buffer.toString('latin1', 0, readv(descriptor, [buffer]) ?? 0)
}

describe('sendfile', () => {
  it('sends a part of a file without moving its position', () => {
    using input = file('0123456789')
    const [a, b] = Socket.pair()
    expect(sendfile(a, input, 2, 3)).toBe(3)
    expect(sendfile(a, input, 8, 100)).toBe(2)
    expect(sendfile(a, input, 10, 100)).toBe(0)
    expect(contents(b)).toBe('23489')
    expect(sendfile(a, input, null, 4)).toBe(4)
    expect(sendfile(a, input, null, 100)).toBe(6)
    expect(sendfile(a, input, null, 100)).toBe(0)
    expect(contents(b)).toBe('0123456789')
    a.close()
    b.close()
  })

  it('sends all of a large file, in as many pieces as it takes', async () => {
    const data = Buffer.alloc(3 << 20)
    for (let i = 0; i < data.length; i++) data[i] = (i * 31) >> 3
    using input = file(data)
    const [a, b] = Socket.pair()
    const got = Buffer.alloc(data.length)
    let sent = sendfile(a, input, 0, data.length) as number
    expect(sent).toBeLessThan(data.length)
    expect(sendfile(a, input, sent, data.length - sent)).toBe(null)
    for (let received = 0; received < data.length; ) {
      received += b.recv(got, 0, received) ?? 0
      sent += sendfile(a, input, sent, data.length - sent) ?? 0
    }
    expect(got.equals(data)).toBe(true)
    a.close()
    b.close()
  })

  it('throws the kernel’s errors', () => {
    using input = file('x')
    const [a, b] = Socket.pair()
    expectErrno(() => sendfile(a, b, 0, 1), 'ESPIPE')
    expect(() => sendfile(a, input, 0, -1)).toThrow(RangeError)
    expectErrno(() => sendfile({ fd: -1 }, input, 0, 1), 'EBADF')
    expect(() => sendfile(a, input, 0.5, 1)).toThrow(RangeError)
    expect(() => sendfile(a, input, -2, 1)).toThrow(RangeError)
    expect(() => sendfile(a, input, 0, 2 ** 53)).toThrow(RangeError)
    expect(sendfile(a, input, 2 ** 40, 1)).toBe(0)
    b.close()
    expectErrno(() => sendfile(a, input, 0, 1), 'EPIPE')
    a.close()
  })
})

describe('splice', () => {
  it('moves from a socket through a pipe to a socket', async () => {
    const [a, b] = Socket.pair()
    const [c, d] = Socket.pair()
    const { read, write } = pipe()
    expect(splice(b, write, 100, SPLICE_F_NONBLOCK)).toBe(null)
    expect(splice(read, c, 100)).toBe(null)
    a.send(Buffer.from('through a pipe'))
    await readable(b)
    expect(splice(b, write, 100, SPLICE_F_NONBLOCK)).toBe(14)
    expect(splice(read, c, 7, SPLICE_F_MORE)).toBe(7)
    await writable(c)
    expect(splice(read, c, 100)).toBe(7)
    expect(contents(d)).toBe('through a pipe')
    a.close()
    expect(splice(b, write, 100)).toBe(0)
    for (const open of [b, c, d, read, write]) open.close()
  })

  it('moves to and from files at offsets', () => {
    using input = file('0123456789')
    const path = `${temporaryDirectory()}/out`
    writeFileSync(path, '..........')
    using output = openFile(path, 'r+')
    const { read, write } = pipe()
    expect(splice(input, write, 4, 0, 3)).toBe(4)
    expect(splice(read, output, 100, 0, null, 5)).toBe(4)
    expect(readFileSync(path, 'utf8')).toBe('.....3456.')
    expect(splice(input, write, 2)).toBe(2)
    expect(splice(read, output, 100)).toBe(2)
    expect(readFileSync(path, 'utf8')).toBe('01...3456.')
    read.close()
    write.close()
  })

  it('throws the kernel’s errors', () => {
    const [a, b] = Socket.pair()
    const { read, write } = pipe()
    expectErrno(() => splice(a, b, 1), 'EINVAL')
    // A pipe has no positions.
    expectErrno(() => splice(a, write, 1, 0, null, 0), 'ESPIPE')
    expect(() => splice(a, write, -1)).toThrow(RangeError)
    expectErrno(() => splice({ fd: -1 }, write, 1), 'EBADF')
    for (const open of [a, b, read, write]) open.close()
  })
})

describe('tee', () => {
  it('duplicates the bytes in a pipe, and leaves them there', () => {
    const [one, two] = [pipe(), pipe()]
    expect(tee(one.read, two.write, 100, SPLICE_F_NONBLOCK)).toBe(null)
    writev(one.write, [Buffer.from('twice')])
    expect(tee(one.read, two.write, 3)).toBe(3)
    expect(contents(one.read)).toBe('twice')
    expect(contents(two.read)).toBe('twi')
    one.write.close()
    expect(tee(one.read, two.write, 100)).toBe(0)
    const [a, b] = Socket.pair()
    expectErrno(() => tee(a, two.write, 1), 'EINVAL')
    expectErrno(() => tee(one.read, one.write, 1), 'EBADF')
    expect(() => tee(one.read, two.write, -1)).toThrow(RangeError)
    for (const open of [one.read, two.read, two.write, a, b]) open.close()
  })
})
