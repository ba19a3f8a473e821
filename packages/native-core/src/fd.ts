import { EFD_NONBLOCK, EFD_SEMAPHORE, F_DUPFD, F_DUPFD_CLOEXEC, F_GETFL, F_SETFL, O_NONBLOCK } from './constants.js'
import { errno } from './errno.js'
import { check, fail, unlessBlocked } from './error.js'
import { native } from './native.js'

/** Anything with a descriptor in it, lent for the time of one call: our sockets, a `FileHandle`, `{ fd: 0 }`. */
export interface AsFd {
  /** The descriptor; negative when there is none (any more), and then the kernel answers `EBADF`. */
  readonly fd: number
}

/**
 * A descriptor with one owner. `close()` it, or let `using` do so; what is forgotten is closed when it is collected, with a
 * warning, as with Node's `FileHandle`. Descriptors that a Worker owned are closed when the Worker ends.
 */
export class OwnedFd implements AsFd, Disposable {
  // Shared with the finalizer, which must know the number but not keep this object.
  readonly #held: Held

  /** Use `OwnedFd.adopt`. */
  protected constructor(fd: number) {
    check(native.own(fd), 'adopt')
    this.#held = { fd, kind: new.target.name }
    forgotten.register(this, this.#held, this.#held)
  }

  /**
   * Takes over a descriptor that someone else opened. Makes no system call, but for a first number beyond 1023: `fd` is
   * believed.
   *
   * In a Worker, Node goes on to count what `fs.open` opened as its own, and closes that number again when the Worker ends
   * (`trackUnmanagedFds`): adopt a `dup` of it instead.
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
   * @throws SystemError `EIO`, `ENOSPC`, `EDQUOT`: of a file whose last write failed. The descriptor is closed all the same.
   */
  close(): void {
    if (this.closed) return
    const result = native.close(this.release())
    // Linux closes the descriptor before it can be interrupted, so EINTR is a success.
    if (result < 0 && result !== -errno.EINTR) throw fail(result, 'close')
  }

  /** Gives up the descriptor without closing it: whoever takes the number must close it. Watches on it end. */
  release(): number {
    const { fd } = this
    if (fd < 0) return fd
    for (const listener of releaseListeners) listener(fd)
    native.disown(fd)
    this.#held.fd = -1
    forgotten.unregister(this.#held)
    return fd
  }

  /** fcntl(2) `F_DUPFD_CLOEXEC`: another descriptor for the same open file. */
  dup(): OwnedFd {
    return dup(this)
  }

  /** What `using` calls: closes. */
  [Symbol.dispose](): void {
    this.close()
  }
}

/** fcntl(2) `F_DUPFD_CLOEXEC`: another descriptor for the same open file, closed on exec. */
export function dup(source: AsFd): OwnedFd {
  return OwnedFd.adopt(check(native.fcntl(source.fd, F_DUPFD_CLOEXEC, 0), 'fcntl', 'F_DUPFD_CLOEXEC'))
}

/**
 * fcntl(2) with a command whose argument is an integer or absent: `F_GETFL`, `F_SETPIPE_SZ` and so on.
 * @throws TypeError for `F_DUPFD` and `F_DUPFD_CLOEXEC`: use `dup`, whose descriptor has an owner
 * @throws SystemError `EINVAL` for commands that take a pointer
 */
export function fcntl(file: AsFd, command: number, argument = 0): number {
  if (command === F_DUPFD || command === F_DUPFD_CLOEXEC) throw new TypeError('use dup: its descriptor has an owner')
  return check(native.fcntl(file.fd, command, argument), 'fcntl')
}

/**
 * ioctl(2) with a request that answers with one `int`, which is returned: `SIOCINQ`, `SIOCOUTQ`, `SIOCOUTQNSD`, `SIOCATMARK`.
 * Or with one that carries two of them, in `value`: `EPIOCSPARAMS`, `EPIOCGPARAMS`.
 * @throws TypeError when `value` is too small
 * @throws SystemError `EINVAL` for other requests, `ENOTTY` for a file or a kernel that doesn't know it
 */
export function ioctl(file: AsFd, request: number, value: Int32Array = oneInt): number {
  check(native.ioctl(file.fd, request, value), 'ioctl')
  return value[0] as number
}

/** Whether calls on this open file return at once (`O_NONBLOCK`). The flag is shared by all its descriptors. */
export function isNonBlocking(file: AsFd): boolean {
  return (fcntl(file, F_GETFL) & O_NONBLOCK) !== 0
}

/**
 * Sets or clears `O_NONBLOCK`. The flag belongs to the open file: it changes for every process that shares it.
 * A blocking call stops its whole thread, so blocking is for Workers.
 */
export function setNonBlocking(file: AsFd, on = true): void {
  const flags = fcntl(file, F_GETFL)
  const wanted = on ? flags | O_NONBLOCK : flags & ~O_NONBLOCK
  if (wanted !== flags) fcntl(file, F_SETFL, wanted)
}

/** pipe2(2): a pipe, non-blocking and closed on exec. */
export function pipe({ blocking = false } = {}): { read: OwnedFd; write: OwnedFd } {
  check(native.pipe2(blocking ? 0 : O_NONBLOCK, twoInts), 'pipe2')
  const [read, write] = twoInts as unknown as [number, number]
  return { read: OwnedFd.adopt(read), write: OwnedFd.adopt(write) }
}

/** eventfd(2): a counter to wait for, non-blocking and closed on exec. Read and write it as 8 bytes in host order. */
export function eventfd(initial = 0, { semaphore = false, blocking = false } = {}): OwnedFd {
  const flags = (semaphore ? EFD_SEMAPHORE : 0) | (blocking ? 0 : EFD_NONBLOCK)
  return OwnedFd.adopt(check(native.eventfd(initial, flags), 'eventfd'))
}

/** readv(2): fills the buffers in order. Returns the bytes read, 0 at the end, `null` when it would block. */
export function readv(file: AsFd, buffers: readonly Uint8Array[]): number | null {
  return unlessBlocked(native.readv(file.fd, buffers), 'readv')
}

/** writev(2), never raising SIGPIPE. Returns the bytes written, which may be fewer than given, or `null` when it would block. */
export function writev(file: AsFd, buffers: readonly Uint8Array[]): number | null {
  return unlessBlocked(native.writev(file.fd, buffers), 'writev')
}

/** Calls `listener` with every descriptor just before its owner closes or releases it. For this package's own use. */
export function onRelease(listener: (fd: number) => void): void {
  releaseListeners.push(listener)
}

interface Held {
  fd: number
  readonly kind: string
}

const releaseListeners: ((fd: number) => void)[] = []

const forgotten = new FinalizationRegistry<Held>(({ fd, kind }) => {
  native.close(fd)
  process.emitWarning(`A ${kind} (fd ${fd}) was closed on garbage collection; close it when you are done with it`, {
    code: 'LINUX_SOCKETS_FD_LEAK',
  })
})

const oneInt = new Int32Array(1)
const twoInts = new Int32Array(2)
