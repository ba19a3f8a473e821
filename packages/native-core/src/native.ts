/**
 * The boundary: every function that the C++ side exports, with its types. Integers and bytes go in; a count, a
 * descriptor or −errno comes out. Nothing here throws, allocates or knows a name: meaning begins one file up.
 *
 * A result below `-MAX_ERRNO` is no errno but the complaint of the argument reader; `fail` in error.ts turns it into a
 * `TypeError` or `RangeError`.
 *
 * This file is not exported from the package.
 */
import { closeSync, openSync, readSync } from 'node:fs'
import { createRequire } from 'node:module'

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
  /** Mark a descriptor as belonging to this environment: closed when the environment goes. Creating calls mark by themselves. */
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
  setsockopt(fd: number, level: number, option: number, value: Uint8Array, length: number): number
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
  /** `offset` −1: the file's own position. */
  sendfile(out: number, input: number, offset: number, count: number): number
  /** Offsets −1: no offset (the descriptor's own position). */
  splice(input: number, inOffset: number, out: number, outOffset: number, length: number, flags: number): number
  tee(input: number, out: number, length: number, flags: number): number

  // epoll.cc
  epoll_create1(flags: number): number
  epoll_ctl(epfd: number, operation: number, fd: number, events: number, dataLow: number, dataHigh: number): number
  /** `events`: 3 words per event: events, data low, data high. `timeout` in nanoseconds; −1 waits for ever. */
  epoll_pwait2(epfd: number, events: Uint32Array, maxEvents: number, timeout: number): number

  // resolve.cc
  /** Text as bytes without NUL. 1: written; 0: not an address of that family. */
  inet_pton(family: number, text: Uint8Array, address: Uint8Array): number
  /** The length of the text. */
  inet_ntop(family: number, address: Uint8Array, text: Uint8Array): number
  if_nametoindex(name: Uint8Array): number
  /** The length of the name. */
  if_indextoname(index: number, name: Uint8Array): number
  /** The number of bytes that the whole list takes; nothing past `list.length` is written. Layout: native/resolve.cc. */
  getifaddrs(list: Uint8Array): number
  /** A pool of threads; returns a handle. `done` is called with the outcome of each request. */
  resolve_open(
    done: (id: number, eai: number, errno: number, result: Uint8Array | null) => void,
    maxThreads: number,
  ): number
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
  /** `done` will not be called for `id`, and it no longer keeps the process alive. */
  resolve_cancel(resolver: number, id: number): number

  // watch.cc
  /**
   * Fetches the events of `epfd` from Node's loop as they come, writes them to `events` as epoll_pwait2 does, and calls
   * `ready` with their number, or with −errno. Returns a handle.
   */
  loop_attach(epfd: number, events: Uint32Array, ready: (count: number) => void): number
  /** Whether the handle keeps the loop alive. A new one does not. */
  loop_ref(handle: number, on: number): number
  /** Whether the thread waits in `epfd` itself, and Node's loop gets its turn when it has something to do. */
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
 * The same numbers stand in native/abi.h.
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

/** What the binary exports: all functions, those of `HotCalls` once more in a faster form, and the registers of that form. */
interface Binary extends Native {
  readonly hot: { readonly [Name in keyof HotCalls]: (...objects: readonly unknown[]) => void }
  readonly registers: Float64Array
}

/** NATIVE_CORE_HOT in native/syscalls.h. */
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
 * The boundary, with its hot calls in the faster form: their numbers go through shared registers, one for each argument,
 * and so does the result. Node-API takes some 20 ns for each number that it hands over, and a call has up to six.
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

/** A Float64Array would make 0 of null, which is a descriptor, and numbers of strings; NaN is refused below. */
function number(value: number): number {
  return typeof value === 'number' ? value : Number.NaN
}

/** In a checkout node-gyp builds the binary; the published package carries one for each platform. */
function load(): Binary {
  const { arch, platform, env } = process
  if (platform !== 'linux') {
    throw new Error(`@linux-sockets is for Linux; this is ${platform}`)
  }
  if (arch !== 'x64' && arch !== 'arm64') {
    throw new Error(`@linux-sockets is for x64 and arm64; this is ${arch}`)
  }
  const require = createRequire(import.meta.url)
  // Tests with sanitizers must not pass because another binary was found.
  if (env.LINUX_SOCKETS_BINARY !== undefined) return require(env.LINUX_SOCKETS_BINARY)
  const candidates = [
    '../build/Release/native_core.node',
    `../prebuilds/linux-${arch}${isMusl() ? '-musl' : ''}/native_core.node`,
  ]
  const failures: string[] = []
  for (const candidate of candidates) {
    try {
      return require(candidate)
    } catch (error) {
      failures.push(`${candidate}: ${(error as Error).message.split('\n')[0]}`)
    }
  }
  throw new Error(`@linux-sockets/native-core found no binary that loads: ${failures.join('; ')}`)
}

/** Whether this Node runs on musl: the loader's path stands at the start of its executable. elf(5), PT_INTERP */
function isMusl(): boolean {
  const start = Buffer.alloc(4096)
  // Not `process.execPath`, where another Node may stand since an upgrade, or none: Workers load this at any time.
  const file = openSync('/proc/self/exe', 'r')
  readSync(file, start)
  closeSync(file)
  return start.includes('/ld-musl-')
}
