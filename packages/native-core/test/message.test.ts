import { readFileSync, readSync, writeSync } from 'node:fs'
import {
  expectCloexec,
  expectErrno,
  guardDescriptors,
  needLinux,
  needProgram,
  openDescriptors,
  skipUnless,
  spawnProgram,
  temporaryDirectory,
} from '@linux-sockets/testkit'
import { describe, expect, it } from 'vitest'
import {
  AF_UNIX,
  MSG_CTRUNC,
  MSG_DONTWAIT,
  MSG_PEEK,
  MSG_TRUNC,
  SCM_RIGHTS,
  SOCK_DGRAM,
  SOCK_STREAM,
  SOL_SOCKET,
} from '../src/constants.js'
import {
  controlSpace,
  descriptorSpace,
  encodeAddress,
  encodeControl,
  errno,
  type IncomingMessage,
  isNonBlocking,
  OwnedFd,
  pipe,
  ReceiveBatch,
  readable,
  readControl,
  recvMessage,
  SCM_MAX_FD,
  SCM_PIDFD,
  Socket,
  sendMessage,
  setOption,
  setOptionInt,
} from '../src/index.js'
import { IP_PKTINFO, SO_PASSPIDFD } from '../src/options/index.js'
import { closeLater, udp, unixPair } from './datagram.js'
import { compileSources, runModule } from './outside.js'

guardDescriptors()
compileSources()

describe('data', () => {
  it('gathers and scatters', () => {
    const [a, b] = unixPair()
    expect(sendMessage(a, { data: [Buffer.from('ab'), new Uint8Array(0), Buffer.from('cdef')] })).toBe(6)
    const [head, tail] = [Buffer.alloc(3), Buffer.alloc(5)]
    expect(recvMessage(b, [head, tail])).toEqual({
      length: 6,
      flags: 0,
      address: null,
      control: [],
      descriptors: [],
      pidfd: undefined,
    })
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
    expect(() => sendMessage(a, { data: [...pieces, Buffer.from('x')] })).toThrow(RangeError)
  })

  it('is null if nothing waits, and if nothing fits', () => {
    const [a, b] = unixPair()
    expect(recvMessage(b, Buffer.alloc(1))).toBeNull()
    let count = 0
    while (sendMessage(a, { data: Buffer.alloc(1) }) !== null) count++
    expect(count).toBeGreaterThan(0)
  })

  it('reports that data was cut', () => {
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

  it('returns 0 at the end of a stream', () => {
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

  it('refuses invalid arguments', () => {
    const [a, b] = unixPair()
    expect(() => sendMessage(a, { data: 'text' as unknown as Uint8Array })).toThrow(TypeError)
    expect(() => recvMessage(b, null as unknown as Uint8Array)).toThrow(TypeError)
    expect(() => recvMessage(b, Buffer.alloc(1), { flags: Number.NaN })).toThrow(TypeError)
    expectErrno(() => sendMessage({ fd: -1 }, { data: Buffer.alloc(1) }), 'EBADF')
    expect(expectErrno(() => recvMessage({ fd: -1 }, Buffer.alloc(1)), 'EBADF').syscall).toBe('recvmsg')
  })
})

describe('addresses', () => {
  it('sends to an address, given as an object or as bytes, and reports the sender', () => {
    const [a, b] = [udp(), udp()]
    for (const address of [b.localName, encodeAddress(b.localName)]) {
      expect(sendMessage(a, { data: Buffer.from('x'), address })).toBe(1)
      expect(recvMessage(b, Buffer.alloc(1), { address: true })?.address).toEqual(a.localName)
    }
  })

  it('decodes no sender unless asked, and returns null for a sender without a name', () => {
    const [a, b] = [udp(), udp()]
    sendMessage(a, { data: Buffer.from('x'), address: b.localName })
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

  it('reports that they were cut', () => {
    const receiver = udp()
    setOption(receiver, IP_PKTINFO, true)
    for (let i = 0; i < 2; i++) sendMessage(udp(), { data: Buffer.from('x'), address: receiver.localName })
    expect(recvMessage(receiver, Buffer.alloc(1))).toMatchObject({ flags: MSG_CTRUNC, control: [] })
    expect(recvMessage(receiver, Buffer.alloc(1), { control: 20 })).toMatchObject({
      flags: MSG_CTRUNC,
      control: [{ level: 0, type: 8, data: { length: 4 } }],
    })
  })
})

describe('descriptors', () => {
  it.each([true, false])('passes them, closed on exec and otherwise as they are; blocking: %s', (blocking) => {
    const [a, b] = unixPair()
    const { read, write } = pipe({ blocking })
    sendMessage(a, { data: Buffer.from('x'), descriptors: [read, { fd: write.fd }] })
    const { descriptors, control, flags } = receiveDescriptors(b, 2)
    expect([control, flags]).toEqual([[{ level: SOL_SOCKET, type: SCM_RIGHTS, data: new Uint8Array(0) }], 0])
    for (const descriptor of descriptors) expectCloexec(descriptor)
    for (const descriptor of [read, write, ...descriptors]) expect(isNonBlocking(descriptor)).toBe(!blocking)
    read.close()
    write.close()
    const [first, second] = descriptors as [Socket, Socket]
    writeSync(second.fd, 'through')
    expect(readSync(first.fd, Buffer.alloc(20))).toBe(7)
    for (const descriptor of descriptors) descriptor.close()
  })

  it('leaves the sender’s pipe blocking', async () => {
    const path = `${temporaryDirectory()}/socket`
    const server = Socket.open(AF_UNIX, SOCK_DGRAM)
    closeLater(server)
    server.bind({ family: 'unix', path })
    const python = spawnProgram('python3', [
      '-uc',
      `
import array, os, socket, sys
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
r, w = os.pipe()
for _ in range(2):
    s.sendmsg([b'x'], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array('i', [r, w]))], 0, sys.argv[1])
sys.stdin.read()
print(os.get_blocking(r), os.get_blocking(w))`,
      path,
    ])
    await readable(server, { signal: AbortSignal.timeout(60_000) })
    const { descriptors } = receiveDescriptors(server, 2)
    const batch = new ReceiveBatch({ count: 1, control: descriptorSpace(2) })
    expect(await receiveBatch(server, batch)).toBe(1)
    for (const descriptor of [...descriptors, ...batch.descriptors(0)]) {
      expect(isNonBlocking(descriptor)).toBe(false)
      descriptor.close()
    }
    python.process.stdin?.end()
    expect((await python.finished).stdout).toBe('True True\n')
  })

  it('passes as many as the kernel allows, together with other control messages', () => {
    const [a, b] = credentialedPair()
    sendMessage(a, { data: Buffer.from('x'), descriptors: Array.from({ length: SCM_MAX_FD }, () => a) })
    const { descriptors, control } = receiveDescriptors(b, SCM_MAX_FD, 32)
    expect(descriptors).toHaveLength(SCM_MAX_FD)
    expect(control).toMatchObject([{ type: SCM_CREDENTIALS }, { type: SCM_RIGHTS, data: { length: 0 } }])
    for (const descriptor of descriptors) descriptor.close()
    expect(() => sendMessage(a, { data: Buffer.from('x'), descriptors: Array(SCM_MAX_FD + 1).fill(a) })).toThrow(
      RangeError,
    )
  })

  it('closes those that came if there was no space for all', () => {
    const [a, b] = unixPair()
    sendMessage(a, { data: Buffer.from('x'), descriptors: [a, a, a, a] })
    const open = openDescriptors().length
    expect(receiveDescriptors(b, 2)).toMatchObject({ flags: MSG_CTRUNC, descriptors: [], length: 1 })
    expect(openDescriptors()).toHaveLength(open)
  })

  it('hands over those that fitted if asked for', () => {
    const [a, b] = unixPair()
    const { read, write } = pipe()
    sendMessage(a, { data: Buffer.from('x'), descriptors: [read, write, a, a] })
    const message = recvMessage(b, Buffer.alloc(1), { control: descriptorSpace(2), keepTruncated: true })
    expect(message?.flags).toBe(MSG_CTRUNC)
    const [first, second, ...more] = (message as IncomingMessage).descriptors as [OwnedFd, OwnedFd]
    expect(more).toEqual([])
    writeSync(second.fd, 'through')
    expect(readSync(first.fd, Buffer.alloc(20))).toBe(7)
    for (const descriptor of [read, write, first, second]) descriptor.close()
  })

  it('receives none without a control buffer', () => {
    const [a, b] = unixPair()
    sendMessage(a, { data: Buffer.from('x'), descriptors: [a] })
    const open = openDescriptors().length
    expect(recvMessage(b, Buffer.alloc(1))).toMatchObject({ flags: MSG_CTRUNC, descriptors: [] })
    expect(openDescriptors()).toHaveLength(open)
  })

  it('gives each receive descriptors of its own if the message was peeked at', () => {
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
s.settimeout(60)
data, fds, flags, _ = socket.recv_fds(s, 100, 5)
print(data, [os.read(fd, 100) for fd in fds], flags)`,
      path,
    ])
    await readable(server, { signal: AbortSignal.timeout(60_000) })
    const message = recvMessage(server, Buffer.alloc(10), {
      control: descriptorSpace(4),
      address: true,
    }) as IncomingMessage
    expect(message).toMatchObject({
      length: 4,
      flags: 0,
      control: [{ type: SCM_RIGHTS }],
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

  it('keeps the order of the other control messages', () => {
    const [a, b] = credentialedPair()
    sendMessage(a, { data: Buffer.from('x'), descriptors: [a] })
    const { control, descriptors } = receiveDescriptors(b, 1, 32)
    expect(control.map(({ type, data }) => [type, data.length])).toEqual([
      [SCM_CREDENTIALS, 12],
      [SCM_RIGHTS, 0],
    ])
    for (const descriptor of descriptors) descriptor.close()
  })

  it('takes the descriptors of two control messages', () => {
    const [a, b] = unixPair()
    const rights = { level: SOL_SOCKET, type: SCM_RIGHTS, data: new Uint8Array(Int32Array.of(a.fd).buffer) }
    sendMessage(a, { data: Buffer.from('x'), control: [rights], descriptors: [b] })
    const { descriptors } = receiveDescriptors(b, 2)
    expect(descriptors).toHaveLength(2)
    for (const descriptor of descriptors) descriptor.close()
  })
})

describe('the pidfd of the sender', () => {
  it('has an owner, and the message says that it came', (test) => {
    skipUnless(test, needLinux('6.5'))
    const [a, b] = pidfdPair()
    sendMessage(a, { data: Buffer.from('x'), descriptors: [a] })
    const message = receiveDescriptors(b, 1, controlSpace(4))
    const { pidfd, descriptors, control } = message
    expect(pidfd).toBeInstanceOf(OwnedFd)
    expectCloexec(pidfd as OwnedFd)
    expect(processOf(pidfd as OwnedFd)).toBe(process.pid)
    expect(control.map(({ type }) => type)).toEqual([SCM_RIGHTS, SCM_PIDFD.type])
    expect(readControl(control, SCM_PIDFD)).toBe(0)
    expect(descriptors).toHaveLength(1)
    for (const descriptor of [pidfd as OwnedFd, ...descriptors]) descriptor.close()
  })

  it('refers to another process, and outlives it', async (test) => {
    skipUnless(test, needLinux('6.5'))
    const path = `${temporaryDirectory()}/socket`
    const server = Socket.open(AF_UNIX, SOCK_DGRAM)
    closeLater(server)
    server.bind({ family: 'unix', path })
    setOption(server, SO_PASSPIDFD, true)
    const python = spawnProgram('python3', [
      '-uc',
      `import socket, sys
socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).sendto(b'x', sys.argv[1])
sys.stdin.read()`,
      path,
    ])
    await readable(server, { signal: AbortSignal.timeout(60_000) })
    using pidfd = recvMessage(server, Buffer.alloc(1), { control: controlSpace(4) })?.pidfd as OwnedFd
    expect(processOf(pidfd)).toBe(python.process.pid)
    const ended = readable(pidfd, { signal: AbortSignal.timeout(60_000) })
    python.process.stdin?.end()
    await ended
  })

  it('is lost if it didn’t fit, and the descriptors of the cut message are closed or kept', (test) => {
    skipUnless(test, needLinux('6.5'))
    const [a, b] = pidfdPair()
    for (const keepTruncated of [false, true]) {
      sendMessage(a, { data: Buffer.from('x'), descriptors: [a] })
      const open = openDescriptors().length
      const control = descriptorSpace(1)
      const message = recvMessage(b, Buffer.alloc(1), { control, keepTruncated }) as IncomingMessage
      expect(message).toMatchObject({ flags: MSG_CTRUNC, pidfd: undefined })
      expect(message.descriptors).toHaveLength(keepTruncated ? 1 : 0)
      expect(openDescriptors()).toHaveLength(open + (keepTruncated ? 1 : 0))
      for (const descriptor of message.descriptors) descriptor.close()
    }
  })

  it('is an errno if the process is at its descriptor limit', async (test) => {
    skipUnless(test, needLinux('6.5'), needProgram('python3'))
    const { stdout, stderr } = await runModule(
      `
      import { closeSync, openSync, readdirSync } from 'node:fs'
      import * as core from './everything.js'
      const [a, b] = core.Socket.pair(core.AF_UNIX, core.SOCK_DGRAM)
      core.setOption(b, core.SO_PASSPIDFD, true)
      core.sendMessage(a, { data: Buffer.from('x') })
      const fds = []
      try { for (;;) fds.push(openSync('/dev/null')) } catch {}
      const { control, pidfd } = core.recvMessage(b, Buffer.alloc(1), { control: core.controlSpace(4) })
      for (const fd of fds) closeSync(fd)
      console.log(core.readControl(control, core.SCM_PIDFD), pidfd)`,
      { wrapper: ['sh', '-c', 'ulimit -n 60; exec "$@"', '-'] },
    )
    expect({ stdout, stderr }).toEqual({ stdout: `${-errno.EMFILE} undefined\n`, stderr: '' })
  })
})

const SO_PASSCRED = 16
const SCM_CREDENTIALS = 2

/** Two sockets; the second gets the sender's credentials with each message. */
function credentialedPair(): [Socket, Socket] {
  const [a, b] = unixPair()
  setOptionInt(b, SOL_SOCKET, SO_PASSCRED, 1)
  return [a, b]
}

/** Two sockets; the second gets the sender's process with each message. */
function pidfdPair(): [Socket, Socket] {
  const [a, b] = unixPair()
  setOption(b, SO_PASSPIDFD, true)
  return [a, b]
}

/** The pid of a pidfd's process. */
function processOf({ fd }: OwnedFd): number {
  return Number(/^Pid:\t(\d+)$/m.exec(readFileSync(`/proc/self/fdinfo/${fd}`, 'utf8'))?.[1])
}

/** A message that waits, or comes soon. */
async function receiveBatch(socket: Socket, batch: ReceiveBatch): Promise<number | null> {
  await readable(socket, { signal: AbortSignal.timeout(60_000) })
  return batch.receive(socket)
}

function receiveDescriptors(socket: Socket, count: number, more = 0): IncomingMessage {
  const message = recvMessage(socket, Buffer.alloc(1), { control: descriptorSpace(count) + more })
  if (message === null) throw new Error('nothing came')
  return message
}
