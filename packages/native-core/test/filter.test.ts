import { expectErrno, guardDescriptors, needProgram, skipUnless, spawnProgram } from '@linux-sockets/testkit'
import { describe, expect, it, onTestFinished } from 'vitest'
import { AF_INET, AF_UNIX, SOCK_DGRAM, SOCK_STREAM } from '../src/constants.js'
import {
  attachFilter,
  attachProgram,
  attachReusePortFilter,
  attachReusePortProgram,
  BPF_A,
  BPF_ABS,
  BPF_B,
  BPF_JEQ,
  BPF_JMP,
  BPF_JUMP,
  BPF_K,
  BPF_LD,
  BPF_RET,
  BPF_STMT,
  BPF_W,
  detachFilter,
  detachReusePortFilter,
  type FilterInstruction,
  getFilter,
  SKF_AD_CPU,
  SKF_AD_OFF,
} from '../src/filter.js'
import { descriptorSpace, type OwnedFd, readable, Socket, setOption } from '../src/index.js'
import { SO_LOCK_FILTER, SO_REUSEPORT } from '../src/options/index.js'

guardDescriptors()

const keep = [BPF_STMT(BPF_RET | BPF_K, 0xffff_ffff)]
const drop = [BPF_STMT(BPF_RET | BPF_K, 0)]
/** Datagrams whose payload begins with this byte. */
const beginningWith = (byte: number): FilterInstruction[] => [
  BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 8),
  BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, byte, 0, 1),
  ...keep,
  ...drop,
]

describe('attachFilter', () => {
  it('drops what the program refuses, and nothing else', () => {
    using receiver = bound()
    attachFilter(receiver, beginningWith(0x2a))
    send(receiver, [1, 0x2a, 2, 0x2a, 3])
    expect(received(receiver)).toEqual([0x2a, 0x2a])
  })

  it('cuts packets to the length that the program returns', () => {
    using receiver = bound()
    attachFilter(receiver, [BPF_STMT(BPF_RET | BPF_K, 8 + 2)])
    using sender = Socket.open(AF_INET, SOCK_DGRAM)
    sender.sendTo(Buffer.from('abcdef'), receiver.localName)
    const buffer = Buffer.alloc(10)
    expect(receiver.recv(buffer)).toBe(2)
    expect(buffer.toString('latin1', 0, 2)).toBe('ab')
  })

  it('replaces, and is detached', () => {
    using receiver = bound()
    attachFilter(receiver, drop)
    send(receiver, [1])
    attachFilter(receiver, beginningWith(2))
    send(receiver, [1, 2])
    detachFilter(receiver)
    send(receiver, [3])
    expect(received(receiver)).toEqual([2, 3])
    expectErrno(() => detachFilter(receiver), 'ENOENT')
  })

  it('is read back by getFilter', () => {
    using receiver = bound()
    expect(getFilter(receiver)).toEqual([])
    attachFilter(receiver, beginningWith(7))
    expect(getFilter(receiver)).toEqual(beginningWith(7))
    const negative = [BPF_STMT(BPF_LD | BPF_W | BPF_ABS, SKF_AD_OFF + SKF_AD_CPU), BPF_STMT(BPF_RET | BPF_A, 0)]
    attachFilter(receiver, negative)
    expect(getFilter(receiver)[0]?.k).toBe(2 ** 32 + SKF_AD_OFF + SKF_AD_CPU)
  })

  it('takes the longest program', () => {
    using receiver = bound()
    const longest = [...Array(4095).fill(BPF_STMT(BPF_LD | BPF_K, 1)), ...drop]
    attachFilter(receiver, longest)
    expect(getFilter(receiver)).toEqual(longest)
  })

  it('stays once SO_LOCK_FILTER is set', () => {
    using receiver = bound()
    attachFilter(receiver, drop)
    setOption(receiver, SO_LOCK_FILTER, true)
    expectErrno(() => detachFilter(receiver), 'EPERM')
    expectErrno(() => attachFilter(receiver, keep), 'EPERM')
    expectErrno(() => setOption(receiver, SO_LOCK_FILTER, false), 'EPERM')
    send(receiver, [1])
    expect(received(receiver)).toEqual([])
  })

  it('leaves it to the kernel to verify a program', () => {
    using receiver = bound()
    const error = expectErrno(() => attachFilter(receiver, [BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 0)]), 'EINVAL')
    expect(error.message).toBe('setsockopt EINVAL SO_ATTACH_FILTER: invalid argument')
    expectErrno(() => attachFilter(receiver, [BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0, 9, 9), ...drop]), 'EINVAL')
  })

  it('refuses bad programs before any system call', () => {
    const closed = bound()
    closed.close()
    expect(() => attachFilter(closed, [])).toThrow(RangeError)
    expect(() => attachFilter(closed, Array(4097).fill(drop[0]))).toThrow('1 to 4096 instructions, not 4097')
    expect(() => attachFilter(closed, new Uint8Array(8) as never)).toThrow(TypeError)
    const bad = { code: [-1, 65536, Number.NaN], jt: [-1, 256], jf: [-1, 256], k: [-(2 ** 31) - 1, 2 ** 32, 0.5] }
    for (const [part, values] of Object.entries(bad)) {
      for (const value of values) {
        const broken = { ...BPF_STMT(BPF_RET, 0), [part]: value }
        expect(() => attachFilter(closed, [...keep, broken])).toThrow(`program[1].${part}`)
      }
    }
    expectErrno(() => attachFilter(closed, drop), 'EBADF')
    expectErrno(() => getFilter(closed), 'EBADF')
    expectErrno(() => detachFilter(closed), 'EBADF')
  })
})

describe('attachReusePortFilter', () => {
  it('chooses the socket', () => {
    const group = reusePortGroup(3)
    // The socket whose index is the payload's first byte.
    attachReusePortFilter(group[0] as Socket, [BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 0), BPF_STMT(BPF_RET | BPF_A, 0)])
    send(group[0] as Socket, [2, 0, 1, 2, 2, 1, 0])
    expect(group.map(received)).toEqual([
      [0, 0],
      [1, 1],
      [2, 2, 2],
    ])
  })

  it('is detached, and then the hash chooses again', () => {
    const group = reusePortGroup(2)
    const [first] = group as [Socket, Socket]
    attachReusePortFilter(first, [BPF_STMT(BPF_RET | BPF_K, 1)])
    send(first, [1, 2, 3])
    expect(group.map(received)).toEqual([[], [1, 2, 3]])
    detachReusePortFilter(first)
    expectErrno(() => detachReusePortFilter(first), 'ENOENT')
    for (let i = 0; i < 64; i++) send(first, [i])
    expect(received(first).length).toBeGreaterThan(0)
  })

  it('sees the CPU', () => {
    using socket = reusePortGroup(1)[0] as Socket
    attachReusePortFilter(socket, [
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, SKF_AD_OFF + SKF_AD_CPU),
      BPF_STMT(BPF_RET | BPF_A, 0),
    ])
    send(socket, [1])
    expect(received(socket)).toEqual([1])
  })

  it('needs SO_REUSEPORT', () => {
    using receiver = bound()
    expectErrno(() => attachReusePortFilter(receiver, drop), 'EINVAL')
    expectErrno(() => detachReusePortFilter(receiver), 'EINVAL')
    expect(() => attachReusePortFilter(receiver, [])).toThrow(RangeError)
  })
})

describe('eBPF programs', () => {
  it('attachProgram drops what the program refuses', async (test) => {
    skipUnless(test, needProgram('python3'))
    const program = await loadProgram(0)
    if (typeof program === 'string') return skipUnless(test, program)
    using receiver = bound()
    attachProgram(receiver, program)
    program.close()
    send(receiver, [1])
    expect(received(receiver)).toEqual([])
    expectErrno(() => getFilter(receiver), 'EACCES')
    detachFilter(receiver)
    send(receiver, [2])
    expect(received(receiver)).toEqual([2])
  })

  it('attachReusePortProgram chooses the socket', async (test) => {
    skipUnless(test, needProgram('python3'))
    const program = await loadProgram(1)
    if (typeof program === 'string') return skipUnless(test, program)
    const group = reusePortGroup(2)
    attachReusePortProgram(group[0] as Socket, program)
    program.close()
    send(group[0] as Socket, [1, 2, 3, 4])
    expect(group.map(received)).toEqual([[], [1, 2, 3, 4]])
    detachReusePortFilter(group[0] as Socket)
  })

  it('refuse descriptors of anything else', () => {
    using receiver = bound()
    expectErrno(() => attachProgram(receiver, receiver), 'EINVAL')
    expectErrno(() => attachProgram(receiver, { fd: -1 }), 'EBADF')
    expectErrno(() => attachReusePortProgram(receiver, receiver), 'EINVAL')
  })
})

function bound(): Socket {
  const socket = Socket.open(AF_INET, SOCK_DGRAM)
  socket.bind({ family: 'ipv4', address: '127.0.0.1', port: 0 })
  return socket
}

function reusePortGroup(count: number): Socket[] {
  const group = Array.from({ length: count }, () => Socket.open(AF_INET, SOCK_DGRAM))
  onTestFinished(() => {
    for (const socket of group) socket.close()
  })
  for (const [i, socket] of group.entries()) {
    setOption(socket, SO_REUSEPORT, true)
    const address = i === 0 ? { family: 'ipv4', address: '127.0.0.1', port: 0 } : (group[0] as Socket).localName
    socket.bind(address as typeof socket.localName)
  }
  return group
}

/** One datagram for each number, from a new port. */
function send(receiver: Socket, bytes: readonly number[]): void {
  using sender = Socket.open(AF_INET, SOCK_DGRAM)
  for (const byte of bytes) sender.sendTo(Uint8Array.of(byte, 0, 0, 0), receiver.localName)
}

/** The first byte of every datagram that waits. Over loopback those are there when `send` returns. */
function received(socket: Socket): number[] {
  const buffer = new Uint8Array(16)
  const bytes: number[] = []
  while (socket.recv(buffer) !== null) bytes.push(buffer[0] as number)
  return bytes
}

/** `r0 = result; exit`, loaded by a program that may and can, and passed to here. A text tells why it couldn't. */
async function loadProgram(result: number): Promise<OwnedFd | string> {
  using listener = Socket.open(AF_UNIX, SOCK_STREAM)
  listener.bind({ family: 'unix' })
  listener.listen()
  const { localName } = listener
  const name = 'abstract' in localName ? String(localName.abstract) : ''
  const loader = spawnProgram('python3', ['-c', LOADER, name, String(result)])
  const { code, stderr } = await loader.finished
  if (code !== 0) return `a BPF program can't be loaded: ${stderr.trim().split('\n').at(-1)}`
  await readable(listener)
  using connection = listener.accept() as Socket
  await readable(connection)
  const message = connection.recvMessage(new Uint8Array(1), { control: descriptorSpace(1) })
  return message?.descriptors[0] as OwnedFd
}

const LOADER = `
import ctypes, os, platform, socket, struct, sys
libc = ctypes.CDLL(None, use_errno=True)
instructions = ctypes.create_string_buffer(struct.pack('<BBhi', 0xb7, 0, 0, int(sys.argv[2])) + struct.pack('<BBhi', 0x95, 0, 0, 0))
license = ctypes.create_string_buffer(b'GPL')
BPF_PROG_LOAD, SOCKET_FILTER = 5, 1
attributes = struct.pack('<IIQQIIQI', SOCKET_FILTER, 2, ctypes.addressof(instructions), ctypes.addressof(license), 0, 0, 0, 0)
number = {'x86_64': 321, 'aarch64': 280}[platform.machine()]
fd = libc.syscall(number, BPF_PROG_LOAD, ctypes.create_string_buffer(attributes), len(attributes))
if fd < 0: raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
connection = socket.socket(socket.AF_UNIX)
connection.connect('\\0' + sys.argv[1])
socket.send_fds(connection, [b'x'], [fd])
`
