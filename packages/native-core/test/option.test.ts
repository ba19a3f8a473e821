import { closeSync, openSync, readFileSync } from 'node:fs'
import {
  expectCloexec,
  expectErrno,
  guardDescriptors,
  needLinux,
  needProgram,
  openDescriptors,
  skipUnless,
} from '@linux-sockets/testkit'
import { describe, expect, expectTypeOf, it } from 'vitest'
import { bool, type Codec, int, raw, ro, rw, wo } from '../src/codecs/index.js'
import {
  AF_INET,
  AF_UNIX,
  IPPROTO_IP,
  IPPROTO_IPV6,
  IPPROTO_TCP,
  SOCK_DGRAM,
  SOCK_STREAM,
  SOL_SOCKET,
} from '../src/constants.js'
import {
  getOption,
  getOptionBytes,
  getOptionInt,
  OwnedFd,
  peerPidfd,
  Socket,
  setOption,
  setOptionBytes,
  setOptionInt,
} from '../src/index.js'
import {
  SO_BINDTODEVICE,
  SO_KEEPALIVE,
  SO_MAX_PACING_RATE,
  SO_RCVBUF,
  SO_REUSEADDR,
  SO_TYPE,
} from '../src/options/index.js'
import { compileSources, runModule } from './outside.js'

guardDescriptors()
compileSources()

describe('getOption, setOption', () => {
  it('read and write', () => {
    using socket = Socket.open(AF_INET, SOCK_STREAM)
    expect(getOption(socket, SO_KEEPALIVE)).toBe(false)
    setOption(socket, SO_KEEPALIVE, true)
    expect(getOption(socket, SO_KEEPALIVE)).toBe(true)
  })

  it('accept any object with a descriptor', () => {
    using socket = Socket.open(AF_INET, SOCK_STREAM)
    setOption({ fd: socket.fd }, SO_REUSEADDR, true)
    expect(getOption({ fd: socket.fd }, SO_REUSEADDR)).toBe(true)
  })

  it('refuse a bad value before any system call', () => {
    const socket = Socket.open(AF_INET, SOCK_STREAM)
    socket.close()
    // The kernel would say EBADF.
    expect(() => setOption(socket, SO_RCVBUF, Number.NaN)).toThrow('SO_RCVBUF must be a number, not NaN')
    expect(() => setOption(socket, SO_RCVBUF, 2 ** 31)).toThrow(RangeError)
    expect(() => setOption(socket, SO_RCVBUF, '1' as unknown as number)).toThrow(TypeError)
    expect(() => setOption(socket, SO_KEEPALIVE, 1 as unknown as boolean)).toThrow(TypeError)
    expect(() => setOption(socket, SO_MAX_PACING_RATE, -1n)).toThrow(RangeError)
    expect(() => setOption(socket, SO_BINDTODEVICE, 'x'.repeat(16))).toThrow(RangeError)
    expect(() => setOption(socket, SO_BINDTODEVICE, 'lo\0')).toThrow(TypeError)
    expect(() => setOptionInt(socket, SOL_SOCKET, 2, 0.5)).toThrow(RangeError)
  })

  it('report the kernel’s error, with the option’s name', () => {
    const socket = Socket.open(AF_INET, SOCK_STREAM)
    socket.close()
    const error = expectErrno(() => setOption(socket, SO_RCVBUF, 1), 'EBADF')
    expect(error.message).toBe('setsockopt EBADF SO_RCVBUF: bad file descriptor')
    expect(error).toMatchObject({ errno: -9, syscall: 'setsockopt', detail: 'SO_RCVBUF' })
    expectErrno(() => getOption(socket, SO_RCVBUF), 'EBADF')
    expectErrno(() => getOption({ fd: -1 }, SO_RCVBUF), 'EBADF')
    const fd = openSync('/dev/null', 'r')
    expectErrno(() => getOption({ fd }, SO_RCVBUF), 'ENOTSOCK')
    closeSync(fd)
  })

  it('refuse other values than descriptors', () => {
    for (const fd of [Number.NaN, 1.5, 2 ** 31, '1', undefined, null]) {
      expect(() => getOption({ fd: fd as number }, SO_RCVBUF)).toThrow(TypeError)
    }
  })

  it('throw ENOPROTOOPT for an option that the kernel doesn’t know', () => {
    using socket = Socket.open(AF_INET, SOCK_STREAM)
    const future = rw('SO_OF_THE_FUTURE', SOL_SOCKET, 1000, int)
    expectErrno(() => getOption(socket, future), 'ENOPROTOOPT')
    const error = expectErrno(() => setOption(socket, future, 1), 'ENOPROTOOPT')
    expect(error.message).toBe('setsockopt ENOPROTOOPT SO_OF_THE_FUTURE: protocol not available')
  })

  it('accept rows that a program defines', () => {
    using socket = Socket.open(AF_INET, SOCK_STREAM)
    const TCP_NODELAY = rw('TCP_NODELAY', 6, 1, bool)
    setOption(socket, TCP_NODELAY, true)
    expect(getOption(socket, TCP_NODELAY)).toBe(true)
    expect(getOption(socket, ro('SO_TYPE', SOL_SOCKET, 3, int))).toBe(SOCK_STREAM)
    setOption(socket, wo('TCP_NODELAY', 6, 1, bool), false)
    expect(getOption(socket, TCP_NODELAY)).toBe(false)
  })

  it('accept values larger than any before', () => {
    using socket = Socket.open(AF_INET, SOCK_STREAM)
    // TCP_INFO: some 250 bytes, whatever more is offered.
    const info = getOption(socket, ro('TCP_INFO', 6, 11, raw(100_000)))
    expect(info.length).toBeGreaterThan(100)
    expect(info.length).toBeLessThan(1000)
  })

  it('give each value its own memory', () => {
    using socket = Socket.open(AF_INET, SOCK_STREAM)
    const type = ro('SO_TYPE', SOL_SOCKET, 3, raw(4))
    const before = getOption(socket, type)
    getOption(socket, SO_RCVBUF)
    expect(before).toEqual(Uint8Array.of(1, 0, 0, 0))
  })
})

describe('the raw form', () => {
  it('reads and writes ints', () => {
    using socket = Socket.open(AF_INET, SOCK_DGRAM)
    setOptionInt(socket, SOL_SOCKET, 2, 1)
    expect(getOptionInt(socket, SOL_SOCKET, 2)).toBe(1)
    expect(getOptionInt(socket, SOL_SOCKET, 3)).toBe(SOCK_DGRAM)
  })

  it('reads and writes bytes of any length', () => {
    using socket = Socket.open(AF_INET, SOCK_STREAM)
    const linger = Uint8Array.of(1, 0, 0, 0, 5, 0, 0, 0)
    setOptionBytes(socket, SOL_SOCKET, 13, linger)
    const buffer = new Uint8Array(100)
    expect(getOptionBytes(socket, SOL_SOCKET, 13, buffer)).toBe(8)
    expect(buffer.subarray(0, 8)).toEqual(linger)
    expect(buffer.subarray(8)).toEqual(new Uint8Array(92))
    const short = new Uint8Array(1)
    expect(getOptionBytes(socket, SOL_SOCKET, 3, short)).toBe(1)
    expect(short).toEqual(Uint8Array.of(1))
  })

  it('works on a part of a buffer', () => {
    using socket = Socket.open(AF_INET, SOCK_STREAM)
    const buffer = new Uint8Array(12).fill(9)
    expect(getOptionBytes(socket, SOL_SOCKET, 3, buffer.subarray(4, 8))).toBe(4)
    expect(buffer).toEqual(Uint8Array.of(9, 9, 9, 9, 1, 0, 0, 0, 9, 9, 9, 9))
  })

  it('names level and option in errors', () => {
    using socket = Socket.open(AF_INET, SOCK_STREAM)
    const error = expectErrno(() => getOptionInt(socket, SOL_SOCKET, 1000), 'ENOPROTOOPT')
    expect(error.message).toBe('getsockopt ENOPROTOOPT level 1 option 1000: protocol not available')
    expectErrno(() => setOptionBytes(socket, SOL_SOCKET, 2, new Uint8Array(3)), 'EINVAL')
    expectErrno(() => setOptionBytes(socket, SOL_SOCKET, 2, new Uint8Array(0)), 'EINVAL')
    expectErrno(() => getOptionBytes(socket, SOL_SOCKET, 1000, new Uint8Array(4)), 'ENOPROTOOPT')
  })

  it('never returns a descriptor as a number', () => {
    const SO_PEERPIDFD = 77
    const noNumber = new TypeError('SO_PEERPIDFD answers with a descriptor: use peerPidfd, which gives it an owner')
    const [a, b] = Socket.pair()
    const before = openDescriptors().length
    for (const length of [0, 1, 3, 4, 8]) {
      expect(() => getOptionBytes(a, SOL_SOCKET, SO_PEERPIDFD, new Uint8Array(length))).toThrow(noNumber)
    }
    expect(() => getOptionInt(a, SOL_SOCKET, SO_PEERPIDFD)).toThrow(noNumber)
    expect(() => getOption(a, ro('SO_PEERPIDFD', SOL_SOCKET, SO_PEERPIDFD, int))).toThrow(noNumber)
    expect(openDescriptors()).toHaveLength(before)
    a.close()
    b.close()
  })

  it.each([
    ['IP_MSFILTER', IPPROTO_IP, 41, 12],
    ['MCAST_MSFILTER', IPPROTO_IP, 48, 140],
    ['MCAST_MSFILTER', IPPROTO_IPV6, 48, 140],
    ['TCP_AO_GET_KEYS', IPPROTO_TCP, 41, 272],
  ])('says why %s at level %i is refused a buffer that is too short', (name, level, option, at) => {
    using socket = Socket.open(AF_INET, SOCK_STREAM)
    const buffer = new Uint8Array(400)
    new DataView(buffer.buffer).setUint32(at, 100, true)
    expect(() => getOptionBytes(socket, level, option, buffer)).toThrow(
      new RangeError(
        `buffer is too short for ${name}: its value holds the number of entries that the kernel writes, ` +
          'whatever length it is told',
      ),
    )
  })

  it.each([
    ['TCP_ZEROCOPY_RECEIVE', IPPROTO_TCP, 35],
    ['MPTCP_FULL_INFO', 284, 4],
  ])('says why %s is refused', (name, level, option) => {
    using socket = Socket.open(AF_INET, SOCK_STREAM)
    const error = expectErrno(() => getOptionBytes(socket, level, option, new Uint8Array(400)), 'ENOTSUP')
    expect(error.message).toBe(
      `getsockopt ENOTSUP ${name}: its value holds addresses where the kernel would write, whatever length it is told: ` +
        'operation not supported',
    )
  })

  it('distinguishes an empty value from the null pointer', async (test) => {
    skipUnless(test, needProgram('strace'))
    const { stdout, stderr } = await runModule(
      `
      import { AF_INET, SOCK_STREAM, Socket, setOptionBytes } from './everything.js'
      const socket = Socket.open(AF_INET, SOCK_STREAM)
      const detached = new Uint8Array(4)
      structuredClone(detached.buffer, { transfer: [detached.buffer] })
      for (const bytes of [null, new Uint8Array(), new Uint8Array(8).subarray(4, 4), Buffer.alloc(0), detached]) {
        try {
          setOptionBytes(socket, 6, 1234, bytes)
        } catch (error) {
          console.log(error.code)
        }
      }`,
      { wrapper: ['strace', '-qq', '-e', 'trace=setsockopt', '-e', 'raw=setsockopt'] },
    )
    expect(stdout).toBe('EINVAL\n'.repeat(5))
    const values = [...stderr.matchAll(/^setsockopt\(\w+, 0x6, 0x4d2, (\w+), (\w+)\)/gm)].map(([, at, size]) => [
      at,
      size,
    ])
    expect(values).toHaveLength(5)
    expect(values[0]).toEqual(['0', '0'])
    for (const [at, size] of values.slice(1)) {
      expect(at).toMatch(/^0x[1-9a-f]/)
      expect(size).toBe('0')
    }
  })

  it('refuses invalid numbers and bytes', () => {
    using socket = Socket.open(AF_INET, SOCK_STREAM)
    for (const bad of [Number.NaN, '1', undefined]) {
      expect(() => getOptionInt(socket, bad as number, 3)).toThrow(TypeError)
      expect(() => getOptionInt(socket, SOL_SOCKET, bad as number)).toThrow(TypeError)
    }
    for (const bad of ['abcd', [1, 2, 3, 4], undefined]) {
      expect(() => setOptionBytes(socket, SOL_SOCKET, 2, bad as unknown as Uint8Array)).toThrow(TypeError)
      expect(() => getOptionBytes(socket, SOL_SOCKET, 2, bad as unknown as Uint8Array)).toThrow(TypeError)
    }
  })

  it('treats a detached buffer as empty', () => {
    using socket = Socket.open(AF_INET, SOCK_STREAM)
    const buffer = new Uint8Array(4)
    structuredClone(buffer.buffer, { transfer: [buffer.buffer] })
    expectErrno(() => setOptionBytes(socket, SOL_SOCKET, 2, buffer), 'EINVAL')
  })
})

describe('peerPidfd', () => {
  it('opens the peer’s process, and the descriptor has an owner', async (test) => {
    skipUnless(test, needLinux('6.5'))
    const [a, b] = Socket.pair()
    using pidfd = peerPidfd(a)
    expect(pidfd).toBeInstanceOf(OwnedFd)
    expectCloexec(pidfd)
    expect(readFileSync(`/proc/self/fdinfo/${pidfd.fd}`, 'utf8')).toMatch(new RegExp(`^Pid:\\t${process.pid}$`, 'm'))
    a.close()
    b.close()
  })

  it('throws if there is no peer', (test) => {
    skipUnless(test, needLinux('6.5'))
    using socket = Socket.open(AF_UNIX, SOCK_STREAM)
    expectErrno(() => peerPidfd(socket), 'ENODATA')
    expect(expectErrno(() => peerPidfd(-1), 'EBADF').message).toContain('SO_PEERPIDFD')
  })
})

it('has types that know which options can be read or written, and their values', () => {
  const never: boolean = false
  using socket = Socket.open(AF_INET, SOCK_STREAM)
  expectTypeOf(getOption(socket, SO_RCVBUF)).toEqualTypeOf<number>()
  expectTypeOf(ro('X', 1, 2, int)).not.toHaveProperty('encode')
  expectTypeOf(wo('X', 1, 2, int)).not.toHaveProperty('decode')
  const wide: Codec<string, string | number> = raw(1) as never
  if (never) {
    const row = rw('X', 1, 2, wide)
    setOption(socket, row, 1)
    setOption(socket, row, 'a')
    expectTypeOf(getOption(socket, row)).toEqualTypeOf<string>()
    // @ts-expect-error neither a string nor a number
    setOption(socket, row, true)
    // @ts-expect-error SO_TYPE can only be read
    setOption(socket, SO_TYPE, 1)
    // @ts-expect-error X can only be written
    getOption(socket, wo('X', 1, 2, int))
    // @ts-expect-error a number is wanted
    setOption(socket, SO_RCVBUF, true)
    // @ts-expect-error a row is wanted, not its number
    getOption(socket, 8)
    getOption(3, SO_RCVBUF)
    // @ts-expect-error a text is no descriptor
    getOption('3', SO_RCVBUF)
  }
})
