import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { guardDescriptors, openDescriptors } from '@linux-sockets/testkit'
import { describe, expect, it, onTestFinished } from 'vitest'
import { AF_INET, AF_UNIX, SOCK_DGRAM, SOCK_STREAM } from '../src/constants.js'
import { check } from '../src/error.js'
import { pipe, Socket } from '../src/index.js'
import { MAX_ERRNO, type Native, native, SOCKADDR_MAX, SOCKADDR_SLOT_SIZE } from '../src/native.js'
import { binary, compileSources, runModule } from './outside.js'

guardDescriptors()
compileSources()

const read = (file: string) => readFileSync(join(import.meta.dirname, '..', file), 'utf8')
const [EBADF, EINVAL] = [-9, -22]

describe('the list', () => {
  const [listed, hot] = read('native/syscalls.h')
    .split('#define NATIVE_CORE_HOT')
    .map((list) => [...list.matchAll(/\bX\((\w+)\)/g)].map(([, name]) => name as string)) as [string[], string[]]
  const declaration = /export interface Native \{\n(.*?)\n\}\n/s.exec(read('src/native.ts'))?.[1] ?? ''
  const declared = [...declaration.matchAll(/^ {2}(\w+)\(/gm)].map(([, name]) => name as string)

  it('in syscalls.h is the interface in native.ts', () => {
    expect(listed.length).toBeGreaterThan(40)
    expect(declared.toSorted()).toEqual(listed.toSorted())
    expect(new Set(listed).size).toBe(listed.length)
  })

  it('is what the binary exports', () => {
    expect(Object.keys(native).toSorted()).toEqual(listed.toSorted())
    for (const name of listed) expect(native[name as keyof Native]).toBeTypeOf('function')
  })

  it('has the same hot calls on both sides, all in the faster form', () => {
    const exported = createRequire(import.meta.url)(binary)
    expect(Object.keys(exported).toSorted()).toEqual([...listed, 'hot', 'registers'].toSorted())
    expect(Object.keys(exported.hot).toSorted()).toEqual(hot.toSorted())
    const replaced = listed.filter((name) => exported[name] !== native[name as keyof Native])
    expect(replaced.toSorted()).toEqual(hot.toSorted())
  })

  it('is covered by the tables below', () => {
    expect(Object.keys(calls).toSorted()).toEqual(listed.toSorted())
  })

  it('has the same kinds of complaint on both sides', () => {
    const kinds = /enum class Kind : int32_t \{ (.*?) \}/.exec(read('native/abi.h'))?.[1]?.split(', ') ?? []
    expect(kinds).toEqual(['int32', 'bytes', 'vector', 'within', 'function', 'array', 'safe_integer'])
    const [, max] = /kMaxErrno = (\d+)/.exec(read('native/abi.h')) ?? []
    expect(Number(max)).toBe(MAX_ERRNO)
    const [, size] = /kSockaddrMax = (\d+)/.exec(read('native/abi.h')) ?? []
    expect(Number(size)).toBe(SOCKADDR_MAX)
  })
})

// One call of every function that the argument reader accepts. `fd`: which arguments are descriptors.
const bytes = () => new Uint8Array(16)
const slot = () => new Uint8Array(SOCKADDR_SLOT_SIZE)
const inet = Uint8Array.of(2, 0, 0, 9, 127, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0)

interface Call {
  /** −1 stands for a descriptor. */
  readonly args: () => unknown[]
  readonly fds?: readonly number[]
  /** The error for a closed descriptor, if it isn't EBADF. */
  readonly closed?: number
}

const calls: Record<keyof Native, Call> = {
  close: { args: () => [-1], fds: [0] },
  own: { args: () => [-1], fds: [0] },
  disown: { args: () => [-1], fds: [0], closed: 0 },
  fcntl: { args: () => [-1, 3, 0], fds: [0] },
  ioctl: { args: () => [-1, 0x541b, new Int32Array(1)], fds: [0] },
  pipe2: { args: () => [-1, new Int32Array(2)] },
  eventfd: { args: () => [0, 0xff] },
  readv: { args: () => [-1, [bytes()]], fds: [0] },
  writev: { args: () => [-1, [bytes()]], fds: [0] },
  getrlimit: { args: () => [7, new BigUint64Array(2)] },
  setrlimit: { args: () => [999, new BigUint64Array(2)] },
  socket: { args: () => [12345, 1, 0] },
  socketpair: { args: () => [12345, 1, 0, new Int32Array(2)] },
  bind: { args: () => [-1, inet], fds: [0] },
  listen: { args: () => [-1, 1], fds: [0] },
  accept4: { args: () => [-1, 0, slot()], fds: [0] },
  connect: { args: () => [-1, inet], fds: [0] },
  shutdown: { args: () => [-1, 0], fds: [0] },
  getsockname: { args: () => [-1, slot()], fds: [0] },
  getpeername: { args: () => [-1, slot()], fds: [0] },
  getsockopt: { args: () => [-1, 1, 3, bytes(), 4], fds: [0] },
  setsockopt: { args: () => [-1, 1, 9, bytes(), 4], fds: [0] },
  setsockopt_fprog: { args: () => [-1, 1, 26, bytes()], fds: [0] },
  send: { args: () => [-1, bytes(), 0, 16, 0], fds: [0] },
  recv: { args: () => [-1, bytes(), 0, 16, 0], fds: [0] },
  sendto: { args: () => [-1, bytes(), 0, 16, 0, inet], fds: [0] },
  recvfrom: { args: () => [-1, bytes(), 0, 16, 0, slot()], fds: [0] },
  sendmsg: { args: () => [-1, [bytes()], inet, bytes(), 0], fds: [0] },
  recvmsg: { args: () => [-1, [bytes()], slot(), bytes(), 0, new Int32Array(2)], fds: [0] },
  sendmmsg: { args: () => [-1, bytes(), new Uint8Array(128), bytes(), new Int32Array(4), 0, 1, 0], fds: [0] },
  recvmmsg: { args: () => [-1, bytes(), new Uint8Array(128), bytes(), new Int32Array(4), 1, 0], fds: [0] },
  sendfile: { args: () => [-1, -1, -1, 1], fds: [0, 1] },
  splice: { args: () => [-1, -1, -1, -1, 1, 0], fds: [0, 2] },
  tee: { args: () => [-1, -1, 1, 0], fds: [0, 1] },
  epoll_create1: { args: () => [0xff] },
  epoll_ctl: { args: () => [-1, 1, -1, 1, 0, 0], fds: [0, 2] },
  epoll_pwait2: { args: () => [-1, new Uint32Array(3), 1, 0], fds: [0] },
  inet_pton: { args: () => [2, Buffer.from('1.2.3.4'), new Uint8Array(4)] },
  inet_ntop: { args: () => [2, new Uint8Array(4), new Uint8Array(46)] },
  if_nametoindex: { args: () => [Buffer.from('lo')] },
  if_indextoname: { args: () => [1, new Uint8Array(16)] },
  resolve_open: { args: () => [() => {}] },
  resolve_limit: { args: () => [9999, 1] },
  getaddrinfo: { args: () => [9999, 0, bytes(), bytes(), 0, 0, 0, 0] },
  getnameinfo: { args: () => [9999, 0, inet, 0] },
  resolve_cancel: { args: () => [9999, 0] },
  loop_attach: { args: () => [-1, new Uint32Array(3), () => {}], fds: [0] },
  loop_ref: { args: () => [9999, 1] },
  loop_lead: { args: () => [9999, 1] },
  loop_detach: { args: () => [9999] },
}

const names = Object.keys(calls) as (keyof Native)[]

function call(name: keyof Native, args: unknown[]): number {
  return (native[name] as (...args: unknown[]) => number)(...args)
}

describe('a closed descriptor', () => {
  const rows = names.flatMap((name) => (calls[name].fds ?? []).map((index) => [name, index] as const))

  it.each(rows)('%s answers EBADF at argument %i', (name, index) => {
    const [a, b] = Socket.pair()
    const { read, write } = pipe()
    const gone = Socket.open(AF_UNIX, SOCK_STREAM)
    const { fd } = gone
    gone.close()
    // The others are valid, so that this one is refused.
    const good: Partial<Record<keyof Native, number[]>> = {
      sendfile: [a.fd, a.fd],
      splice: [read.fd, a.fd],
      tee: [read.fd, write.fd],
      epoll_ctl: [a.fd, b.fd],
    }
    const { args, fds = [], closed = EBADF } = calls[name]
    for (const number of [-1, fd, 2 ** 31 - 1, -(2 ** 31)]) {
      // `own` accepts any number that could be a descriptor.
      if (name === 'own' && number === fd) continue
      const list = args()
      for (const [position, other] of fds.entries()) list[other] = good[name]?.[position] ?? number
      list[index] = number
      expect(call(name, list), `${name}(${number})`).toBe(closed)
    }
    for (const open of [a, b, read, write]) open.close()
  })
})

describe('a bad argument', () => {
  const numbers = [Number.NaN, 1.5, 2 ** 53, Number.POSITIVE_INFINITY, undefined, null, '1', {}, 1n, true, Symbol('s')]

  const rows = names.flatMap((name) => calls[name].args().map((_, index) => [name, index] as const))

  it.each(rows)('%s complains about argument %i', (name, index) => {
    const before = openDescriptors().length
    const { args } = calls[name]
    const given = args()[index]
    for (const bad of badFor(given)) {
      const list = args()
      list[index] = bad
      const result = call(name, list)
      expect(result, `${name} with ${String(bad)}`).toBeLessThan(-MAX_ERRNO)
      expect((-result - MAX_ERRNO - 1) >> 3, `position, with ${String(bad)}`).toBe(index)
      // The hot calls have names for their arguments: error.test.ts.
      expect(() => check(result, name)).toThrow(new RegExp(`^(?:${name}: argument ${index + 1}|[a-z]+) must be `))
      try {
        check(result, name)
      } catch (error) {
        expect(error instanceof TypeError || error instanceof RangeError).toBe(true)
      }
    }
    expect(openDescriptors().length).toBe(before)
  })

  function badFor(given: unknown): unknown[] {
    if (typeof given === 'number') return numbers
    if (typeof given === 'function') return [undefined, null, {}, 5]
    const wrong = [
      undefined,
      5,
      'text',
      {},
      new ArrayBuffer(16),
      new DataView(new ArrayBuffer(16)),
      new Float64Array(4),
    ]
    if (Array.isArray(given)) {
      return [...wrong, [5], [null], [[bytes()]], [new Int8Array(4)], new Array(1025).fill(bytes()), new Array(3)]
    }
    if (given instanceof Uint8Array) return [...wrong, new Int8Array(16), new Uint8ClampedArray(16), new Int32Array(4)]
    return [...wrong, bytes(), [1, 2]]
  }

  it.each(names)('%s complains when it gets no arguments', (name) => {
    expect(call(name, [])).toBeLessThan(-MAX_ERRNO)
  })

  it.each([
    ['ioctl', 2, new Int32Array(0)],
    ['pipe2', 1, new Int32Array(1)],
    ['socketpair', 3, new Int32Array(1)],
    ['getrlimit', 1, new BigUint64Array(1)],
    ['setrlimit', 1, new BigUint64Array(0)],
    ['recvmsg', 5, new Int32Array(1)],
    ['sendmmsg', 4, new Int32Array(3)],
    ['recvmmsg', 4, new Int32Array(3)],
    ['getsockname', 1, new Uint8Array(3)],
    ['recvfrom', 5, new Uint8Array(0)],
    ['send', 2, 17],
    ['send', 3, 17],
    ['recv', 2, -1],
    ['recv', 3, -1],
    ['sendmmsg', 5, 2],
    ['sendmmsg', 6, 2],
    ['sendmmsg', 6, -1],
    ['recvmmsg', 5, 2],
  ] as const)('%s complains about argument %i when it is too small or outside', (name, index, bad) => {
    const list = calls[name].args()
    list[index] = bad
    expect((-call(name, list) - MAX_ERRNO - 1) >> 3).toBe(index)
  })

  it.each([0x40088a01, 0x80088a02])('ioctl needs as much room as request %i carries', (request) => {
    expect(call('ioctl', [-1, request, new Int32Array(1)])).toBeLessThan(-MAX_ERRNO)
    expect(call('ioctl', [-1, request, new Int32Array(2)])).toBe(EBADF)
  })

  it.each(['getsockopt', 'setsockopt'] as const)('%s does not go beyond its buffer', (name) => {
    const length = 4
    const list = calls[name].args()
    for (const bad of [17, -1]) {
      list[length] = bad
      expect((-call(name, list) - MAX_ERRNO - 1) >> 3).toBe(length)
    }
    list[length] = 16
    expect(call(name, list)).toBe(EBADF)
  })

  it('treats a detached buffer as empty, and reads nothing outside', () => {
    const [a, b] = Socket.pair(AF_UNIX, SOCK_DGRAM)
    const detached = () => {
      const buffer = new Uint8Array(64)
      structuredClone(buffer.buffer, { transfer: [buffer.buffer] })
      return buffer
    }
    expect(native.send(a.fd, detached(), 0, 16, 0)).toBeLessThan(-MAX_ERRNO)
    expect(native.recv(a.fd, detached(), 0, 16, 0)).toBeLessThan(-MAX_ERRNO)
    expect(native.getsockopt(a.fd, 1, 3, detached(), 4)).toBeLessThan(-MAX_ERRNO)
    expect(native.getsockname(a.fd, detached())).toBeLessThan(-MAX_ERRNO)
    expect(native.bind(a.fd, detached())).toBe(EINVAL)
    // As the kernel's own writev: no empty datagram.
    expect(native.writev(a.fd, [detached()])).toBe(0)
    expect(native.writev(a.fd, [])).toBe(0)
    expect(b.recv(Buffer.alloc(4))).toBe(null)
    a.close()
    b.close()
  })

  it('survives a buffer detached by another element of the vector', () => {
    const [a, b] = Socket.pair()
    const victim = new Uint8Array(1 << 20)
    const evil = [victim]
    Object.defineProperty(evil, 1, {
      enumerable: true,
      get: () => {
        structuredClone(victim.buffer, { transfer: [victim.buffer] })
        return new Uint8Array(4)
      },
    })
    const result = native.writev(a.fd, evil)
    // Either it was refused, or nothing of what is gone was read.
    expect(result < -MAX_ERRNO || result === 4).toBe(true)
    a.close()
    b.close()
  })
})

it('finds the binary although process.execPath does not exist', async () => {
  const { stdout } = await runModule(
    `
    process.execPath = '/nowhere/node'
    import('./index.js').catch(({ message }) => console.log(message))
    `,
    { wrapper: ['env', '-u', 'LINUX_SOCKETS_BINARY'] },
  )
  expect(stdout).toMatch(/found no binary that loads: \/.*\/build\/Release\/native_core\.node does not exist; /)
})

describe('descriptors', () => {
  it('are closed on exec whatever the flags', () => {
    const fds = new Int32Array(2)
    const opened = [native.socket(AF_INET, SOCK_DGRAM, 0), native.eventfd(0, 0), native.epoll_create1(0)]
    native.pipe2(0, fds)
    opened.push(...fds)
    native.socketpair(AF_UNIX, SOCK_STREAM, 0, fds)
    opened.push(...fds)
    const F_DUPFD = 0
    opened.push(native.fcntl(opened[0] as number, F_DUPFD, 0))
    onTestFinished(() => {
      for (const fd of opened) native.close(fd)
    })
    for (const fd of opened) expect(native.fcntl(fd, 1, 0)).toBe(1)
  })

  it('are shared by several copies of the library, each with its own', async () => {
    const { code, stdout, stderr } = await runModule(`
      import { copyFileSync, mkdtempSync, rmSync } from 'node:fs'
      import { createRequire } from 'node:module'
      import { join } from 'node:path'
      import { tmpdir } from 'node:os'
      const require = createRequire(import.meta.url)
      const directory = mkdtempSync(join(tmpdir(), 'copies-'))
      const copies = ['a', 'b'].map((name) => {
        const file = join(directory, name + '.node')
        copyFileSync(process.env.LINUX_SOCKETS_BINARY, file)
        return require(file)
      })
      rmSync(directory, { recursive: true })
      const fds = copies.map((copy) => copy.eventfd(1, 0))
      const epolls = copies.map((copy) => copy.epoll_create1(0))
      copies.forEach((copy, i) => {
        copy.epoll_ctl(epolls[i], 1, fds[i], 1, 0, 0)
        const handle = copy.loop_attach(epolls[i], new Uint32Array(3), () => {
          console.log('copy', i)
          copy.loop_detach(handle)
        })
        copy.loop_ref(handle, 1)
      })
      console.log(copies[0] === copies[1], new Set(fds).size)
    `)
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
    expect(stdout.trim().split('\n').toSorted()).toEqual(['copy 0', 'copy 1', 'false 2'])
  })
})
