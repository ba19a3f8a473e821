import { closeSync, openSync, readSync, writeSync } from 'node:fs'
import {
  expectCloexec,
  expectErrno,
  expectNonBlocking,
  guardDescriptors,
  openDescriptors,
  spawnProgram,
  temporaryDirectory,
} from '@linux-sockets/testkit'
import { describe, expect, it } from 'vitest'
import {
  AF_UNIX,
  descriptorSpace,
  dup,
  encodeAddress,
  encodeControl,
  type IncomingMessage,
  IP_PKTINFO,
  isNonBlocking,
  MSG_CTRUNC,
  MSG_DONTWAIT,
  MSG_PEEK,
  MSG_TRUNC,
  pipe,
  readable,
  recvMessage,
  SCM_MAX_FD,
  SCM_RIGHTS,
  SOCK_DGRAM,
  SOCK_STREAM,
  SOL_SOCKET,
  Socket,
  sendMessage,
  setOption,
  setOptionInt,
} from '../src/index.js'
import { closeLater, udp, unixPair } from './datagram.js'

guardDescriptors()

const O_PATH = 0o10000000

describe('data', () => {
  it('gathers and scatters', () => {
    const [a, b] = unixPair()
    expect(sendMessage(a, { data: [Buffer.from('ab'), new Uint8Array(0), Buffer.from('cdef')] })).toBe(6)
    const [head, tail] = [Buffer.alloc(3), Buffer.alloc(5)]
    expect(recvMessage(b, [head, tail])).toEqual({ length: 6, flags: 0, address: null, control: [], descriptors: [] })
    expect(head.toString()).toBe('abc')
    expect(tail.toString()).toBe('def\0\0')
  })

  it('sends and receives through the methods of a socket, and through any object with an fd', () => {
    const [a, b] = unixPair()
    expect(a.sendMessage({ data: Buffer.from('one') })).toBe(3)
    expect(sendMessage({ fd: a.fd }, { data: Buffer.from('two') })).toBe(3)
    expect(b.recvMessage(Buffer.alloc(9))?.length).toBe(3)
    expect(recvMessage({ fd: b.fd }, Buffer.alloc(9))?.length).toBe(3)
  })

  it('takes 1024 pieces, and refuses more', () => {
    const [a, b] = unixPair()
    const pieces = Array.from({ length: 1024 }, () => Buffer.from('x'))
    expect(sendMessage(a, { data: pieces })).toBe(1024)
    expect(recvMessage(b, pieces)?.length).toBe(1024)
    expect(() => sendMessage(a, { data: [...pieces, Buffer.from('x')] })).toThrow(TypeError)
  })

  it('is null where nothing waits, and where nothing fits', () => {
    const [a, b] = unixPair()
    expect(recvMessage(b, Buffer.alloc(1))).toBeNull()
    let count = 0
    while (sendMessage(a, { data: Buffer.alloc(1) }) !== null) count++
    expect(count).toBeGreaterThan(0)
  })

  it('says that data was cut', () => {
    const [a, b] = unixPair()
    for (let i = 0; i < 2; i++) sendMessage(a, { data: Buffer.from('abcdef') })
    expect(recvMessage(b, Buffer.alloc(4))).toMatchObject({ length: 4, flags: MSG_TRUNC })
    expect(recvMessage(b, Buffer.alloc(4), { flags: MSG_TRUNC })).toMatchObject({ length: 6, flags: MSG_TRUNC })
  })

  it('obeys the flags of a call', () => {
    const [a, b] = Socket.pair(AF_UNIX, SOCK_DGRAM, 0, { blocking: true })
    closeLater(a, b)
    expect(recvMessage(b, Buffer.alloc(1), { flags: MSG_DONTWAIT })).toBeNull()
    sendMessage(a, { data: Buffer.from('x'), flags: MSG_DONTWAIT })
    expect(recvMessage(b, Buffer.alloc(1), { flags: MSG_PEEK })?.length).toBe(1)
    expect(recvMessage(b, Buffer.alloc(1))?.length).toBe(1)
  })

  it('gives 0 at the end of a stream', () => {
    const [a, b] = Socket.pair(AF_UNIX, SOCK_STREAM)
    closeLater(b)
    a.close()
    expect(recvMessage(b, Buffer.alloc(1))?.length).toBe(0)
  })

  it('throws EPIPE, and no signal ends the process', () => {
    const [a, b] = Socket.pair(AF_UNIX, SOCK_STREAM)
    closeLater(a)
    b.close()
    expect(expectErrno(() => sendMessage(a, { data: Buffer.from('x') }), 'EPIPE').syscall).toBe('sendmsg')
  })

  it('refuses nonsense', () => {
    const [a, b] = unixPair()
    expect(() => sendMessage(a, { data: 'text' as unknown as Uint8Array })).toThrow(TypeError)
    expect(() => recvMessage(b, null as unknown as Uint8Array)).toThrow(TypeError)
    expect(() => recvMessage(b, Buffer.alloc(1), { flags: Number.NaN })).toThrow(TypeError)
    expectErrno(() => sendMessage({ fd: -1 }, { data: Buffer.alloc(1) }), 'EBADF')
    expect(expectErrno(() => recvMessage({ fd: -1 }, Buffer.alloc(1)), 'EBADF').syscall).toBe('recvmsg')
  })
})

describe('addresses', () => {
  it('sends to an address, given as an object or as bytes, and tells the sender', () => {
    const [a, b] = [udp(), udp()]
    for (const address of [b.localAddress, encodeAddress(b.localAddress)]) {
      expect(sendMessage(a, { data: Buffer.from('x'), address })).toBe(1)
      expect(recvMessage(b, Buffer.alloc(1), { address: true })?.address).toEqual(a.localAddress)
    }
  })

  it('decodes no sender unless asked, and is null for one without a name', () => {
    const [a, b] = [udp(), udp()]
    sendMessage(a, { data: Buffer.from('x'), address: b.localAddress })
    expect(recvMessage(b, Buffer.alloc(1))?.address).toBeNull()
    const [c, d] = unixPair()
    sendMessage(c, { data: Buffer.from('x') })
    expect(recvMessage(d, Buffer.alloc(1), { address: true })?.address).toBeNull()
  })
})

describe('control messages', () => {
  it('sends a list, or a buffer as it is, and receives a list', () => {
    const credentials = Buffer.alloc(12)
    credentials.writeInt32LE(process.pid)
    credentials.writeUInt32LE(process.getuid?.() ?? 0, 4)
    credentials.writeUInt32LE(process.getgid?.() ?? 0, 8)
    const control = [{ level: SOL_SOCKET, type: SCM_CREDENTIALS, data: credentials }]
    for (const given of [control, encodeControl(control)]) {
      const [a, b] = credentialedPair()
      sendMessage(a, { data: Buffer.from('x'), control: given })
      for (const space of [64, new Uint8Array(64)]) {
        const message = recvMessage(b, Buffer.alloc(1), { control: space, flags: MSG_PEEK }) as IncomingMessage
        expect(message.control).toEqual([{ ...control[0], data: new Uint8Array(credentials) }])
        expect(message.flags).toBe(0)
      }
    }
  })

  it('says that they were cut', () => {
    const receiver = udp()
    setOption(receiver, IP_PKTINFO, true)
    for (let i = 0; i < 2; i++) sendMessage(udp(), { data: Buffer.from('x'), address: receiver.localAddress })
    expect(recvMessage(receiver, Buffer.alloc(1))).toMatchObject({ flags: MSG_CTRUNC, control: [] })
    expect(recvMessage(receiver, Buffer.alloc(1), { control: 20 })).toMatchObject({
      flags: MSG_CTRUNC,
      control: [{ level: 0, type: 8, data: { length: 4 } }],
    })
  })
})

describe('descriptors', () => {
  it('passes them, closed on exec and non-blocking', () => {
    const [a, b] = unixPair()
    const { read, write } = pipe({ blocking: true })
    expect(isNonBlocking(read)).toBe(false)
    sendMessage(a, { data: Buffer.from('x'), descriptors: [read, { fd: write.fd }] })
    read.close()
    write.close()
    const { descriptors, control, flags } = receiveDescriptors(b, 2)
    expect([control, flags]).toEqual([[], 0])
    for (const descriptor of descriptors) {
      expectCloexec(descriptor)
      expectNonBlocking(descriptor)
    }
    const [first, second] = descriptors as [Socket, Socket]
    writeSync(second.fd, 'through')
    expect(readSync(first.fd, Buffer.alloc(20))).toBe(7)
    for (const descriptor of descriptors) descriptor.close()
  })

  it('leaves them blocking when asked to', () => {
    const [a, b] = unixPair()
    const { read, write } = pipe({ blocking: true })
    sendMessage(a, { data: Buffer.from('x'), descriptors: [read] })
    const message = recvMessage(b, Buffer.alloc(1), { control: descriptorSpace(1), keepBlocking: true })
    expect(message?.descriptors.map((descriptor) => isNonBlocking(descriptor))).toEqual([false])
    for (const descriptor of [read, write, ...(message?.descriptors ?? [])]) descriptor.close()
  })

  it('passes as many as the kernel allows, together with other control messages', () => {
    const [a, b] = credentialedPair()
    sendMessage(a, { data: Buffer.from('x'), descriptors: Array.from({ length: SCM_MAX_FD }, () => a) })
    const { descriptors, control } = receiveDescriptors(b, SCM_MAX_FD, 32)
    expect(descriptors).toHaveLength(SCM_MAX_FD)
    expect(control).toMatchObject([{ type: SCM_CREDENTIALS }])
    for (const descriptor of descriptors) descriptor.close()
    expect(() => sendMessage(a, { data: Buffer.from('x'), descriptors: Array(SCM_MAX_FD + 1).fill(a) })).toThrow(
      RangeError,
    )
  })

  it('closes those that came when there was no space for all', () => {
    const [a, b] = unixPair()
    sendMessage(a, { data: Buffer.from('x'), descriptors: [a, a, a, a] })
    const open = openDescriptors().length
    expect(receiveDescriptors(b, 2)).toMatchObject({ flags: MSG_CTRUNC, descriptors: [], length: 1 })
    expect(openDescriptors()).toHaveLength(open)
  })

  it('takes what can’t be made non-blocking as it comes', () => {
    const [a, b] = Socket.pair()
    // In a Worker Node would close it again: dup.
    const opened = openSync('/', O_PATH)
    using path = dup({ fd: opened })
    closeSync(opened)
    sendMessage(a, { data: Buffer.from('x'), descriptors: [path, a] })
    const { descriptors, length } = receiveDescriptors(b, 2)
    expect(length).toBe(1)
    expect(descriptors.map(isNonBlocking)).toEqual([false, true])
    for (const open of [...descriptors, a, b]) open.close()
  })

  it('receives none without a control buffer', () => {
    const [a, b] = unixPair()
    sendMessage(a, { data: Buffer.from('x'), descriptors: [a] })
    const open = openDescriptors().length
    expect(recvMessage(b, Buffer.alloc(1))).toMatchObject({ flags: MSG_CTRUNC, descriptors: [] })
    expect(openDescriptors()).toHaveLength(open)
  })

  it('gives each receiver descriptors of its own when the message is looked at first', () => {
    const [a, b] = unixPair()
    sendMessage(a, { data: Buffer.from('x'), descriptors: [a] })
    const looked = recvMessage(b, Buffer.alloc(1), { control: descriptorSpace(1), flags: MSG_PEEK })
    const taken = receiveDescriptors(b, 1)
    const fds = [...(looked?.descriptors ?? []), ...taken.descriptors]
    expect(new Set(fds.map(({ fd }) => fd)).size).toBe(2)
    for (const descriptor of fds) descriptor.close()
  })

  it('refuses what is not a descriptor, and a control buffer beside descriptors', () => {
    const [a] = unixPair()
    const closed = udp()
    closed.close()
    expect(() => sendMessage(a, { data: Buffer.from('x'), descriptors: [closed] })).toThrow(TypeError)
    expect(() => sendMessage(a, { data: Buffer.from('x'), descriptors: [{ fd: 1.5 }] })).toThrow(TypeError)
    expect(() => sendMessage(a, { data: Buffer.from('x'), descriptors: [a], control: new Uint8Array(8) })).toThrow(
      TypeError,
    )
    expectErrno(() => sendMessage(a, { data: Buffer.from('x'), descriptors: [{ fd: 1_000_000 }] }), 'EBADF')
  })

  it('receives what Python passes, and passes what Python receives', async () => {
    const path = `${temporaryDirectory()}/socket`
    const server = Socket.open(AF_UNIX, SOCK_DGRAM)
    closeLater(server)
    server.bind({ family: 'unix', path })
    const python = spawnProgram('python3', [
      '-uc',
      `
import array, os, socket, sys
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.bind(sys.argv[1] + '.client')
r, w = os.pipe()
os.write(w, b'from python')
s.sendmsg([b'here'], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array('i', [r]))], 0, sys.argv[1])
s.settimeout(10)
data, fds, flags, _ = socket.recv_fds(s, 100, 5)
print(data, [os.read(fd, 100) for fd in fds], flags)`,
      path,
    ])
    await readable(server, { signal: AbortSignal.timeout(10_000) })
    const message = recvMessage(server, Buffer.alloc(10), {
      control: descriptorSpace(4),
      address: true,
    }) as IncomingMessage
    expect(message).toMatchObject({
      length: 4,
      flags: 0,
      control: [],
      address: { family: 'unix', path: `${path}.client` },
    })
    const text = Buffer.alloc(20)
    const [received] = message.descriptors as [Socket]
    expect(text.toString('utf8', 0, readSync(received.fd, text))).toBe('from python')
    const { read, write } = pipe()
    writeSync(write.fd, 'from node')
    sendMessage(server, { data: Buffer.from('there'), descriptors: [read], address: message.address ?? undefined })
    for (const descriptor of [received, read, write]) descriptor.close()
    expect((await python.finished).stdout).toBe("b'there' [b'from node'] 0\n")
  })

  it('takes those of two messages', () => {
    const [a, b] = unixPair()
    const rights = { level: SOL_SOCKET, type: SCM_RIGHTS, data: new Uint8Array(Int32Array.of(a.fd).buffer) }
    sendMessage(a, { data: Buffer.from('x'), control: [rights], descriptors: [b] })
    const { descriptors } = receiveDescriptors(b, 2)
    expect(descriptors).toHaveLength(2)
    for (const descriptor of descriptors) descriptor.close()
  })
})

const SO_PASSCRED = 16
const SCM_CREDENTIALS = 2

/** The second one is told the credentials of whoever sends to it. */
function credentialedPair(): [Socket, Socket] {
  const [a, b] = unixPair()
  setOptionInt(b, SOL_SOCKET, SO_PASSCRED, 1)
  return [a, b]
}

function receiveDescriptors(socket: Socket, count: number, more = 0): IncomingMessage {
  const message = recvMessage(socket, Buffer.alloc(1), { control: descriptorSpace(count) + more })
  if (message === null) throw new Error('nothing came')
  return message
}
