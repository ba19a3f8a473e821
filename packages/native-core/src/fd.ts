import { checkBoolean, checkFlags, checkInt32, checkInteger, checkOptions, describe } from './argument.js'
import { EFD_NONBLOCK, EFD_SEMAPHORE, F_DUPFD, F_DUPFD_CLOEXEC, F_GETFL, F_SETFL, O_NONBLOCK } from './constants.js'
import { errno } from './errno.js'
import { check, fail, type SystemError, unlessBlocked } from './error.js'
import { native } from './native.js'

/** Anything that has a descriptor, lent for one call: our sockets, a `FileHandle`, `process.stdin`. */
export interface AsFd {
  /** The descriptor; negative if there is none or it is closed; the kernel then answers `EBADF`. */
  readonly fd: number
}

/** A descriptor that is lent for one call: an object that has an `fd`, or a number as `fs.openSync` returns it. */
export type FdLike = AsFd | number

/**
 * A descriptor with one owner. Close it with `close()` or `using`. A forgotten descriptor is closed when its owner is
 * garbage-collected, with a warning, as with Node's `FileHandle`. A Worker's descriptors are closed when the Worker ends.
 */
export class OwnedFd implements AsFd, Disposable {
  static {
    setName(OwnedFd, 'OwnedFd')
  }

  // Shared with the finalizer, which must know the number without referencing this object.
  readonly #held: Held

  /** Use `OwnedFd.adopt`. */
  protected constructor(fd: number) {
    checkInteger(fd, 0, 0x7fff_ffff, 'fd')
    check(native.own(fd), 'adopt')
    const held = { fd, kind: new.target.name }
    const former = holders[fd]
    // Watches on the former descriptor learn only now that it is gone.
    if (former !== undefined) {
      drop(former)
      tellReleased(fd)
    }
    holders[fd] = held
    this.#held = held
    forgotten.register(this, held, held)
  }

  /**
   * Takes over a descriptor that other code opened. Makes no system call, except for a first number beyond 1023, and
   * doesn't check `fd`. If the number already has an owner, other code must have closed its descriptor: that owner then
   * counts as closed.
   *
   * In a Worker, Node still counts descriptors that `fs.open` opened as its own, and closes the number again when the
   * Worker ends (`trackUnmanagedFds`): adopt a `dup` instead.
   */
  static adopt(fd: number): OwnedFd {
    return new OwnedFd(fd)
  }

  /** The descriptor; −1 once it is closed or released, so that the kernel answers `EBADF`. */
  get fd(): number {
    return this.#held.fd
  }

  /** Whether the descriptor has been closed or released. */
  get closed(): boolean {
    return this.#held.fd < 0
  }

  /**
   * close(2). Watches on the descriptor end first. A second call does nothing.
   * @throws SystemError `EIO`, `ENOSPC`, `EDQUOT`: an earlier write to the file failed. The descriptor is closed
   * nevertheless.
   */
  close(): void {
    if (this.closed) return
    const result = native.close(this.release())
    // Linux closes the descriptor before the call can be interrupted, so EINTR is a success.
    if (result < 0 && result !== -errno.EINTR) throw fail(result, 'close')
  }

  /** Gives up the descriptor without closing it, and returns the number; the caller must close it. Watches on it end. */
  release(): number {
    const { fd } = this
    if (fd < 0) return fd
    tellReleased(fd)
    // Other code had closed the descriptor, and a listener has opened one that got its number, such as an epoll instance.
    if (this.closed) return -1
    native.disown(fd)
    drop(this.#held)
    return fd
  }

  /** fcntl(2) `F_DUPFD_CLOEXEC`: another descriptor for the same open file. */
  dup(): OwnedFd {
    return dup(this)
  }

  /** Called by `using`; closes the descriptor. */
  [Symbol.dispose](): void {
    this.close()
  }
}

/** fcntl(2) `F_DUPFD_CLOEXEC`: another descriptor for the same open file, closed on exec. */
export function dup(source: FdLike): OwnedFd {
  const fd = check(native.fcntl(fdOf(source, 'source'), F_DUPFD_CLOEXEC, 0), 'fcntl', 'F_DUPFD_CLOEXEC')
  return adoptAs('duplicated descriptor', fd)
}

/**
 * fcntl(2) with a command whose argument is an integer or absent: `F_GETFL`, `F_SETPIPE_SZ` and so on.
 * @throws TypeError for `F_DUPFD` and `F_DUPFD_CLOEXEC`: use `dup`, whose descriptor has an owner
 * @throws SystemError `EINVAL` for commands that take a pointer
 */
export function fcntl(file: FdLike, command: number, argument = 0): number {
  if (command === F_DUPFD || command === F_DUPFD_CLOEXEC) throw new TypeError('use dup: its descriptor has an owner')
  const fd = fdOf(file, 'file')
  checkInt32(command, 'command')
  checkFlags(argument, 'argument')
  return check(native.fcntl(fd, command, argument), 'fcntl')
}

/**
 * ioctl(2) with a request whose answer is one `int`, which is returned: `SIOCINQ`, `SIOCOUTQ`, `SIOCOUTQNSD`, `SIOCATMARK`.
 * Or with a request that carries two of them, in `value`: `EPIOCSPARAMS`, `EPIOCGPARAMS`.
 * @throws TypeError if `value` is too small
 * @throws SystemError `EINVAL` for other requests; `ENOTTY` if the file or the kernel doesn't know the request
 */
export function ioctl(file: FdLike, request: number, value: Int32Array = oneInt): number {
  const fd = fdOf(file, 'file')
  checkFlags(request, 'request')
  if (!(value instanceof Int32Array)) throw new TypeError(`value must be an Int32Array, not ${describe(value)}`)
  check(native.ioctl(fd, request, value), 'ioctl')
  return value[0] as number
}

/** Whether calls on this open file return at once (`O_NONBLOCK`). All its descriptors share the flag. */
export function isNonBlocking(file: FdLike): boolean {
  return (fcntl(file, F_GETFL) & O_NONBLOCK) !== 0
}

/**
 * Sets or clears `O_NONBLOCK`. The flag belongs to the open file: it changes for every process that shares it. A blocking
 * call stops its whole thread, so blocking is for Workers.
 */
export function setNonBlocking(file: FdLike, on = true): void {
  checkBoolean(on, 'on')
  const flags = fcntl(file, F_GETFL)
  const wanted = on ? flags | O_NONBLOCK : flags & ~O_NONBLOCK
  if (wanted !== flags) fcntl(file, F_SETFL, wanted)
}

/**
 * close(2) for an object that ends: if other code has closed the descriptor, nothing is left to do. If `error` is
 * `ENOTSOCK`, the number of a socket is another file's by now, and is released. For the packages of `@linux-sockets`.
 */
export function closeQuietly(file: OwnedFd | undefined, error?: unknown): void {
  if ((error as Partial<SystemError> | null | undefined)?.code === 'ENOTSOCK') {
    file?.release()
    return
  }
  try {
    file?.close()
  } catch {
    // Nothing sent on a socket is lost by this: close(2) reports errors of files.
  }
}

/** pipe2(2): a pipe, non-blocking and closed on exec. @throws TypeError for invalid options */
export function pipe(options: { readonly blocking?: boolean } = {}): { read: OwnedFd; write: OwnedFd } {
  checkOptions(options, 'options', { blocking: true })
  const { blocking = false } = options
  checkBoolean(blocking, 'blocking')
  check(native.pipe2(blocking ? 0 : O_NONBLOCK, twoInts), 'pipe2')
  const [read, write] = twoInts as unknown as [number, number]
  return { read: adoptAs('pipe', read), write: adoptAs('pipe', write) }
}

/**
 * eventfd(2): a counter to wait for, non-blocking and closed on exec. Read and write it as 8 bytes in host order.
 * @throws TypeError, RangeError for an invalid initial value or options
 */
export function eventfd(
  initial = 0,
  options: { readonly semaphore?: boolean; readonly blocking?: boolean } = {},
): OwnedFd {
  checkInteger(initial, 0, 0xffff_ffff, 'initial')
  checkOptions(options, 'options', { semaphore: true, blocking: true })
  const { semaphore = false, blocking = false } = options
  checkBoolean(semaphore, 'semaphore')
  checkBoolean(blocking, 'blocking')
  const flags = (semaphore ? EFD_SEMAPHORE : 0) | (blocking ? 0 : EFD_NONBLOCK)
  return adoptAs('eventfd', check(native.eventfd(initial, flags), 'eventfd'))
}

/** readv(2): fills the buffers in order. Returns the bytes read, 0 at the end, `null` if it would block. */
export function readv(file: FdLike, buffers: readonly Uint8Array[]): number | null {
  return unlessBlocked(native.readv(fdOf(file, 'file'), buffers), 'readv')
}

/** writev(2), never raising SIGPIPE. Returns the bytes written, which may be fewer than given, or `null` if it would block. */
export function writev(file: FdLike, buffers: readonly Uint8Array[]): number | null {
  return unlessBlocked(native.writev(fdOf(file, 'file'), buffers), 'writev')
}

/**
 * The number of a descriptor that was lent to a function; `what` is the argument's name. For the packages of
 * `@linux-sockets`.
 * @throws TypeError for anything else
 */
export function fdOf(file: FdLike, what: string): number {
  const fd = typeof file === 'number' ? file : (file as AsFd | null | undefined)?.fd
  if (typeof fd !== 'number' || (fd | 0) !== fd) {
    throw new TypeError(
      `${what} must be a descriptor, as a number or as an object with an \`fd\`, not ${describe(file)}`,
    )
  }
  return fd
}

/** Takes over a descriptor; `kind` names it in the warning about a forgotten one. For this package's own use. */
export function adoptAs(kind: string, fd: number): OwnedFd {
  const owned = OwnedFd.adopt(fd)
  ;(holders[fd] as Held).kind = kind
  return owned
}

/**
 * Sets the name of a class whose body mentions the class, which bundlers rename (esbuild to `_Socket`). Warnings and errors
 * call its instances by that name. For this package's own use.
 */
export function setName(of: typeof OwnedFd, name: string): void {
  Object.defineProperty(of, 'name', { value: name })
}

/**
 * Calls `listener` with every descriptor just before its owner closes or releases it, until the returned function is
 * called. For the packages of `@linux-sockets`.
 */
export function onRelease(listener: (fd: number) => void): () => void {
  // A new array each time: `tellReleased` may be iterating over the old one. A listener added meanwhile may have got the
  // number.
  releaseListeners = [...releaseListeners, listener]
  return () => {
    releaseListeners = releaseListeners.filter((other) => other !== listener)
  }
}

interface Held {
  fd: number
  kind: string
}

let releaseListeners: readonly ((fd: number) => void)[] = []

function tellReleased(fd: number): void {
  for (const listener of releaseListeners) listener(fd)
}

/**
 * The owner of each number. If an owned number is adopted again, other code has closed the former owner's descriptor and
 * the kernel has reused the number: the former owner must not close it.
 */
const holders: (Held | undefined)[] = []

function drop(held: Held): void {
  holders[held.fd] = undefined
  held.fd = -1
  forgotten.unregister(held)
}

const forgotten = new FinalizationRegistry<Held>(({ fd, kind }) => {
  holders[fd] = undefined
  // A watch may have been given just the number.
  tellReleased(fd)
  native.close(fd)
  process.emitWarning(
    `${/^[aeiou]/i.test(kind) ? 'An' : 'A'} ${kind} (fd ${fd}) was closed on garbage collection; close it when you are done with it`,
    {
      code: 'LINUX_SOCKETS_FD_LEAK',
    },
  )
})

const oneInt = new Int32Array(1)
const twoInts = new Int32Array(2)
