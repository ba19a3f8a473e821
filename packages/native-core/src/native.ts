/**
 * The boundary: every function that the C++ side exports, with its types. Integers and bytes go in; a count, a
 * descriptor or −errno comes out. Nothing here throws, allocates or knows a name: meaning begins one file up.
 *
 * A result below `-MAX_ERRNO` is no errno but the complaint of the argument reader; `fail` in error.ts turns it into a
 * `TypeError` or `RangeError`.
 *
 * This file is not exported from the package.
 */
import { closeSync, existsSync, openSync, readSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'

/** One `Uint8Array` per iovec, at most `IOV_MAX` (1024) of them; or a single one, which is faster. */
export type Vector = Uint8Array | readonly Uint8Array[]

/**
 * Where the kernel writes a socket address: 4 bytes of length (u32, host order), then the sockaddr.
 * `SOCKADDR_SLOT_SIZE` bytes hold any address of any family.
 */
export type SockaddrSlot = Uint8Array

export interface Native {
  // fd.cc
  /** Clears the environment's mark and closes. Never retried. */
  close(fd: number): number
  /**
   * Marks a descriptor as belonging to this environment, which closes it when it ends. Calls that create descriptors do
   * this.
   */
  own(fd: number): number
  disown(fd: number): number
  fcntl(fd: number, command: number, argument: number): number
  /** Only requests that carry a known number of ints: one, or the two of `struct epoll_params`. */
  ioctl(fd: number, request: number, value: Int32Array): number
  pipe2(flags: number, fds: Int32Array): number
  eventfd(initial: number, flags: number): number
  readv(fd: number, buffers: Vector): number
  writev(fd: number, buffers: Vector): number
  getrlimit(resource: number, softHard: BigUint64Array): number
  setrlimit(resource: number, softHard: BigUint64Array): number

  // socket.cc
  socket(domain: number, type: number, protocol: number): number
  socketpair(domain: number, type: number, protocol: number, fds: Int32Array): number
  bind(fd: number, sockaddr: Uint8Array): number
  listen(fd: number, backlog: number): number
  accept4(fd: number, flags: number, peer: SockaddrSlot | null): number
  connect(fd: number, sockaddr: Uint8Array): number
  shutdown(fd: number, how: number): number
  getsockname(fd: number, name: SockaddrSlot): number
  getpeername(fd: number, name: SockaddrSlot): number

  // option.cc
  /** The number of bytes written to `value`. */
  getsockopt(fd: number, level: number, option: number, value: Uint8Array, length: number): number
  /** A `value` of null is the null pointer; an empty one is not. */
  setsockopt(fd: number, level: number, option: number, value: Uint8Array | null, length: number): number
  /** SO_ATTACH_FILTER and its like take a struct with a pointer in it; `program` is the array of `struct sock_filter`. */
  setsockopt_fprog(fd: number, level: number, option: number, program: Uint8Array): number

  // message.cc
  send(fd: number, buffer: Uint8Array, offset: number, length: number, flags: number): number
  recv(fd: number, buffer: Uint8Array, offset: number, length: number, flags: number): number
  sendto(fd: number, buffer: Uint8Array, offset: number, length: number, flags: number, sockaddr: Uint8Array): number
  recvfrom(fd: number, buffer: Uint8Array, offset: number, length: number, flags: number, name: SockaddrSlot): number
  sendmsg(fd: number, buffers: Vector, sockaddr: Uint8Array | null, control: Uint8Array | null, flags: number): number
  /** `result`: control length, msg_flags. */
  recvmsg(
    fd: number,
    buffers: Vector,
    name: SockaddrSlot | null,
    control: Uint8Array | null,
    flags: number,
    result: Int32Array,
  ): number
  /**
   * Sends messages `first … first + count − 1` of a batch.
   * `table`: 4 words per message: payload offset, payload length, sockaddr length (0: none), control length (0: none).
   * `names`: `SOCKADDR_MAX` bytes per message; `control`: `control.length / capacity` bytes per message,
   * where capacity is `table.length / 4`.
   */
  sendmmsg(
    fd: number,
    payload: Uint8Array,
    names: Uint8Array,
    control: Uint8Array | null,
    table: Int32Array,
    first: number,
    count: number,
    flags: number,
  ): number
  /**
   * Receives up to `table.length / 4` messages: each gets an equal share of `payload`, `names` and `control`.
   * `table`: 4 words per message: length, sockaddr length, control length, msg_flags.
   */
  recvmmsg(
    fd: number,
    payload: Uint8Array,
    names: Uint8Array,
    control: Uint8Array | null,
    table: Int32Array,
    count: number,
    flags: number,
  ): number

  // transfer.cc
  /** An `offset` of −1 stands for the file's own position. */
  sendfile(out: number, input: number, offset: number, count: number): number
  /** An offset of −1 stands for the descriptor's own position. */
  splice(input: number, inOffset: number, out: number, outOffset: number, length: number, flags: number): number
  tee(input: number, out: number, length: number, flags: number): number

  // epoll.cc
  epoll_create1(flags: number): number
  epoll_ctl(epfd: number, operation: number, fd: number, events: number, dataLow: number, dataHigh: number): number
  /** `events`: 3 words per event: events, data low, data high. `timeout` in nanoseconds; −1 waits forever. */
  epoll_pwait2(epfd: number, events: Uint32Array, maxEvents: number, timeout: number): number

  // resolve.cc
  /** `text` is bytes without NUL. Returns 1 if the address was written, 0 if the text is no address of that family. */
  inet_pton(family: number, text: Uint8Array, address: Uint8Array): number
  /** The length of the text. */
  inet_ntop(family: number, address: Uint8Array, text: Uint8Array): number
  if_nametoindex(name: Uint8Array): number
  /** The length of the name. */
  if_indextoname(index: number, name: Uint8Array): number
  /** Returns the size of the whole list in bytes; nothing past `list.length` is written. Layout: native/resolve.cc. */
  /** Opens a pool of threads, at first one; returns a handle. `done` is called with the outcome of each request. */
  resolve_open(done: (id: number, eai: number, errno: number, result: Uint8Array | null) => void): number
  /** Sets the most threads. Threads beyond that number finish their request first. */
  resolve_limit(resolver: number, maxThreads: number): number
  /** Returns 1 if the request waits in line because all threads are busy, else 0. So does `getnameinfo`. */
  getaddrinfo(
    resolver: number,
    id: number,
    node: Uint8Array | null,
    service: Uint8Array | null,
    flags: number,
    family: number,
    socktype: number,
    protocol: number,
  ): number
  getnameinfo(resolver: number, id: number, sockaddr: Uint8Array, flags: number): number
  /** Cancels a request: `done` is not called for `id`, and the request no longer keeps the process alive. */
  resolve_cancel(resolver: number, id: number): number

  // watch.cc
  /**
   * Fetches the events of `epfd` from Node's loop as they come, writes them to `events` as epoll_pwait2 does, and calls
   * `ready` with their number, or with −errno. Returns a handle.
   */
  loop_attach(epfd: number, events: Uint32Array, ready: (count: number) => void): number
  /** Whether the handle keeps the loop alive. A new one does not. */
  loop_ref(handle: number, on: number): number
  /** Sets whether the thread waits in `epfd` itself; Node's loop then gets its turn when it has something to do. */
  loop_lead(handle: number, on: number): number
  loop_detach(handle: number): number
}

/** The largest errno that the kernel can return; results below −MAX_ERRNO name a bad argument. */
export const MAX_ERRNO = 4095

/** sizeof(struct sockaddr_storage). */
export const SOCKADDR_MAX = 128

/** A `SockaddrSlot` for any address. */
export const SOCKADDR_SLOT_SIZE = 4 + SOCKADDR_MAX

/**
 * A bad argument comes back as −(MAX_ERRNO + 1 + 8 × index + kind), with these kinds.
 * native/abi.h has the same numbers.
 */
export const BAD_ARGUMENT_KINDS = [
  'a 32-bit integer',
  'a Uint8Array',
  'a Uint8Array or an array of at most 1024 of them',
  'within the buffer',
  'a function',
  'a typed array of the right kind and length',
  'a safe integer not below -1',
] as const

export const native: Native = connect(load())

/** The exports of the binary: all functions, those of `HotCalls` also in a faster form, and the registers of that form. */
interface Binary extends Native {
  readonly hot: { readonly [Name in keyof HotCalls]: (...objects: readonly unknown[]) => void }
  readonly registers: Float64Array
}

/** The functions of NATIVE_CORE_HOT in native/syscalls.h. */
type HotCalls = Pick<
  Native,
  | 'own'
  | 'close'
  | 'accept4'
  | 'getsockopt'
  | 'setsockopt'
  | 'send'
  | 'recv'
  | 'sendto'
  | 'recvfrom'
  | 'sendmsg'
  | 'recvmsg'
  | 'epoll_ctl'
  | 'epoll_pwait2'
>

/**
 * Returns the boundary, with its hot calls in the faster form: their numbers go through shared registers, one for each
 * argument, and so does the result. Node-API takes some 20 ns for each number that it passes, and a call has up to six.
 */
function connect({ hot, registers: r, ...plain }: Binary): Native {
  const result = () => (r[8] as number) | 0
  return {
    ...plain,
    own(fd) {
      r[0] = number(fd)
      hot.own()
      return result()
    },
    close(fd) {
      r[0] = number(fd)
      hot.close()
      return result()
    },
    accept4(fd, flags, peer) {
      r[0] = number(fd)
      r[1] = number(flags)
      hot.accept4(0, 0, peer)
      return result()
    },
    getsockopt(fd, level, option, value, length) {
      r[0] = number(fd)
      r[1] = number(level)
      r[2] = number(option)
      r[4] = number(length)
      hot.getsockopt(0, 0, 0, value)
      return result()
    },
    setsockopt(fd, level, option, value, length) {
      r[0] = number(fd)
      r[1] = number(level)
      r[2] = number(option)
      r[4] = number(length)
      hot.setsockopt(0, 0, 0, value)
      return result()
    },
    send(fd, buffer, offset, length, flags) {
      r[0] = number(fd)
      r[2] = number(offset)
      r[3] = number(length)
      r[4] = number(flags)
      hot.send(0, buffer)
      return result()
    },
    recv(fd, buffer, offset, length, flags) {
      r[0] = number(fd)
      r[2] = number(offset)
      r[3] = number(length)
      r[4] = number(flags)
      hot.recv(0, buffer)
      return result()
    },
    sendto(fd, buffer, offset, length, flags, sockaddr) {
      r[0] = number(fd)
      r[2] = number(offset)
      r[3] = number(length)
      r[4] = number(flags)
      hot.sendto(0, buffer, 0, 0, 0, sockaddr)
      return result()
    },
    recvfrom(fd, buffer, offset, length, flags, name) {
      r[0] = number(fd)
      r[2] = number(offset)
      r[3] = number(length)
      r[4] = number(flags)
      hot.recvfrom(0, buffer, 0, 0, 0, name)
      return result()
    },
    sendmsg(fd, buffers, sockaddr, control, flags) {
      r[0] = number(fd)
      r[4] = number(flags)
      hot.sendmsg(0, buffers, sockaddr, control)
      return result()
    },
    recvmsg(fd, buffers, name, control, flags, received) {
      r[0] = number(fd)
      r[4] = number(flags)
      hot.recvmsg(0, buffers, name, control, 0, received)
      return result()
    },
    epoll_ctl(epfd, operation, fd, events, dataLow, dataHigh) {
      r[0] = number(epfd)
      r[1] = number(operation)
      r[2] = number(fd)
      r[3] = number(events)
      r[4] = number(dataLow)
      r[5] = number(dataHigh)
      hot.epoll_ctl()
      return result()
    },
    epoll_pwait2(epfd, events, maxEvents, timeout) {
      r[0] = number(epfd)
      r[2] = number(maxEvents)
      r[3] = number(timeout)
      hot.epoll_pwait2(0, events)
      return result()
    },
  }
}

/**
 * Refuses what is not a number: the Float64Array would store null as 0, a descriptor, and convert strings. NaN is refused
 * below.
 */
function number(value: number): number {
  return typeof value === 'number' ? value : Number.NaN
}

/** Loads the binary: node-gyp's in a checkout, the platform's in the published package, and the one beside a bundle. */
function load(): Binary {
  const { arch, platform, env } = process
  if (platform !== 'linux') {
    throw new Error(`@linux-sockets is for Linux; this is ${platform}`)
  }
  if (arch !== 'x64' && arch !== 'arm64') {
    throw new Error(`@linux-sockets is for x64 and arm64; this is ${arch}`)
  }
  // In a CommonJS bundle `import.meta` is empty.
  const here = import.meta.url === undefined ? __filename : fileURLToPath(import.meta.url)
  const require = createRequire(here)
  // No other binary is tried: tests with sanitizers must not pass because another binary was found.
  if (env.LINUX_SOCKETS_BINARY !== undefined) {
    try {
      return require(resolve(env.LINUX_SOCKETS_BINARY))
    } catch (error) {
      const why = (error as Error).message.split('\n')[0]
      throw new Error(`LINUX_SOCKETS_BINARY names no binary that loads: ${why}`, { cause: error })
    }
  }
  const candidates = [
    '../build/Release/native_core.node',
    `../prebuilds/linux-${arch}${isMusl() ? '-musl' : ''}/native_core.node`,
    './native_core.node',
  ]
  const failures: string[] = []
  for (const candidate of candidates) {
    const file = join(dirname(here), candidate)
    try {
      return require(file)
    } catch (error) {
      failures.push(existsSync(file) ? `${file}: ${(error as Error).message.split('\n')[0]}` : `${file} does not exist`)
    }
  }
  throw new Error(
    `@linux-sockets/native-core found no binary that loads: ${failures.join('; ')}. In a bundle, leave the package external, put its native_core.node beside the bundle, or name that file in LINUX_SOCKETS_BINARY`,
  )
}

/** Whether this Node runs on musl: the path of the loader is at the start of its executable. elf(5), PT_INTERP */
function isMusl(): boolean {
  const start = Buffer.alloc(4096)
  // Not `process.execPath`: after an upgrade another Node may be there, or none, and Workers load this at any time.
  const file = openSync('/proc/self/exe', 'r')
  readSync(file, start)
  closeSync(file)
  return start.includes('/ld-musl-')
}
