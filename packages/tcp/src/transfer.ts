import { constants, read } from 'node:fs'
import { open } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import {
  dup,
  type ErrnoName,
  errno,
  type FdLike,
  readable,
  SystemError,
  sendfile,
  setNonBlocking,
  type Watch,
  watch,
  writable,
  writev,
} from '@linux-sockets/native-core'
import { EPOLLOUT } from '@linux-sockets/native-core/constants'
import {
  checkFunction,
  checkInteger,
  checkOptions,
  checkSignal,
  fdOf,
  type NamesOf,
  onAbort,
  onRelease,
} from '@linux-sockets/native-core/internal'
import { SocketStream } from '@linux-sockets/native-core/streams'

/** Options of `sendFile`: the part of the file to send, and how to follow or abort the sending. */
export interface SendFileOptions {
  /** The first **byte** to send, counted from 0. Default 0. */
  readonly start?: number | undefined
  /**
   * The last **byte** to send, inclusive, as in `fs.createReadStream` and in a `Range` header; `start − 1` sends nothing.
   * Default: the last byte that the file has when it is reached.
   */
  readonly end?: number | undefined
  /**
   * Aborts sending: the promise rejects at once with the signal's reason. The last call of `onProgress` had the **bytes**
   * sent by then.
   */
  readonly signal?: AbortSignal | undefined
  /**
   * Called whenever the kernel has taken bytes, with the total of **bytes** taken. If it throws, sending ends with that
   * error.
   */
  readonly onProgress?: ((sent: number) => void) | undefined
}

/**
 * sendfile(2): sends a file, or a part of it, without bringing it into the process. Resolves to the number of **bytes**
 * that the kernel has taken; it is smaller than requested if the file ends earlier.
 *
 *     response.flushHeaders()
 *     await sendFile(stream, '/srv/index.html')
 *
 * A client that has all bytes of a response may send its next request before `end` is called on that response. Under
 * `node:http`, the next response can be sent once it has a socket:
 * `if (response.socket === null) await once(response, 'socket')`.
 *
 * On a `SocketStream`, the file is sent in order with the writes: earlier writes go first; later writes, and the end, wait.
 * A plain socket must be connected. It is made non-blocking, which every other holder of the same open file sees, and
 * nothing else may be sent on it until the promise settles. The socket stays open, also after a failure.
 *
 * A `file` is a path or a descriptor. A descriptor stays open too, and its position is neither used nor moved. sendfile(2)
 * itself reads from the disk what isn't in the page cache, while the thread waits; other sockets get their turn after each
 * MiB. Files that sendfile(2) refuses, such as those of /proc, devices and pipes, are read in Node's thread pool and
 * written to the socket; a pipe is read until its writers have closed it.
 *
 * @throws SystemError `ENOENT` and similar errors of a path; `EISDIR` for a directory; `ESPIPE` for a `start` in a pipe, a
 * terminal or a socket; `EPIPE` if a stream has already ended or is destroyed; `EPIPE`, `ECONNRESET`, … of the connection;
 * `EBADF` if a socket is closed meanwhile; the error with which a stream is destroyed meanwhile, or else `ECANCELED`
 * @throws TypeError, RangeError for invalid arguments
 * @see {@link https://man7.org/linux/man-pages/man2/sendfile.2.html sendfile(2)}
 */
export async function sendFile(
  socket: FdLike,
  file: FdLike | string | URL,
  options: SendFileOptions = {},
): Promise<number> {
  fdOf(socket, 'socket')
  if (typeof file !== 'string' && !(file instanceof URL)) fdOf(file, 'file')
  checkOptions(options, 'options', SEND_FILE_OPTIONS)
  const { start = 0, end, signal, onProgress } = options
  if (onProgress !== undefined) checkFunction(onProgress, 'onProgress')
  checkSignal(signal)
  checkInteger(start, 0, Number.MAX_SAFE_INTEGER, 'start')
  if (end !== undefined) checkInteger(end, start - 1, Number.MAX_SAFE_INTEGER - 1, 'end')
  signal?.throwIfAborted()
  return await orAborted(signal, sendInTurn(socket, file, options))
}

const SEND_FILE_OPTIONS: NamesOf<SendFileOptions> = { start: true, end: true, signal: true, onProgress: true }

async function sendInTurn(socket: FdLike, file: FdLike | string | URL, options: SendFileOptions): Promise<number> {
  if (!(socket instanceof SocketStream)) {
    setNonBlocking(socket)
    return await openAndSend(socket, file, options)
  }
  // Takes the place in the order of writes now, before anything is awaited.
  return await socket.lend((sent) => openAndSend(socket, file, options, sent))
}

async function openAndSend(
  socket: FdLike,
  file: FdLike | string | URL,
  options: SendFileOptions,
  account?: (bytes: number) => void,
): Promise<number> {
  options.signal?.throwIfAborted()
  if (typeof file !== 'string' && !(file instanceof URL)) {
    return await send(socket, file, `descriptor ${fdOf(file, 'file')}`, options, account)
  }
  // Without O_NONBLOCK, opening a FIFO would wait for its writer.
  const handle = await open(file, constants.O_RDONLY | constants.O_NONBLOCK)
  try {
    options.signal?.throwIfAborted()
    return await send(socket, handle, typeof file === 'string' ? file : fileURLToPath(file), options, account)
  } finally {
    await handle.close()
  }
}

async function send(
  socket: FdLike,
  file: FdLike,
  name: string,
  options: SendFileOptions,
  account?: (bytes: number) => void,
): Promise<number> {
  try {
    return await sendWithin(socket, file, options, account)
  } catch (error) {
    if (!(error instanceof Unsendable)) throw error
    // A pipe, a terminal or a socket has no position.
    const flows = error.code === 'ESPIPE'
    if (flows && options.start) throw new SystemError(errno.ESPIPE, 'sendfile', `${name} from ${options.start}`)
    return await copy(socket, file, new Reader(name, flows ? null : (options.start ?? 0)), options, account)
  }
}

/** Thrown if sendfile(2) refuses the file. Nothing was sent. */
class Unsendable extends Error {
  readonly code: string

  constructor(code: string) {
    super()
    this.code = code
  }
}

async function sendWithin(
  socket: FdLike,
  file: FdLike,
  { start = 0, end = Number.POSITIVE_INFINITY, signal, onProgress }: SendFileOptions,
  account?: (bytes: number) => void,
): Promise<number> {
  const total = end - start + 1
  let sent = 0
  /** Sends what the socket takes in one turn. Returns whether everything is sent. */
  const step = (): boolean => {
    for (let left = Math.min(total, PER_TURN); left > 0; ) {
      const wanted = Math.min(total - sent, left)
      if (wanted === 0) return true
      const count = sendfileOr(sent === 0, socket, file, start + sent, wanted)
      if (count === null) return false
      if (count === 0) return true
      sent += count
      left -= count
      account?.(count)
      onProgress?.(sent)
      // The socket is full, unless the file ends here.
      if (count < wanted && total !== Number.POSITIVE_INFINITY) return false
    }
    return sent === total
  }
  // This sends a small file completely, without a watch.
  if (step()) return sent
  signal?.throwIfAborted()
  await new Promise<void>((resolve, reject) => {
    let watching: Watch | undefined
    let ignore: (() => void) | undefined
    const settle = (finish: () => void) => {
      watching?.stop()
      ignore?.()
      finish()
    }
    const abort = () => settle(() => reject(signal?.reason))
    const ready = () => {
      try {
        if (step()) settle(resolve)
      } catch (error) {
        settle(() => reject(error))
      }
    }
    const ended = () => settle(() => reject(closedMeanwhile('sendfile')))
    // Level-triggered: room that a turn leaves is reported again in the next.
    watching = watch(socket, EPOLLOUT, ready, { ended })
    ignore = signal && onAbort(signal, abort)
  })
  return sent
}

/** @throws Unsendable if it is the first call and sendfile(2) refuses the file */
function sendfileOr(first: boolean, socket: FdLike, file: FdLike, offset: number, count: number): number | null {
  try {
    return sendfile(socket, file, offset, count)
  } catch (error) {
    const { code } = error as SystemError
    throw first && (code === 'EINVAL' || code === 'ESPIPE') ? new Unsendable(code) : error
  }
}

/** Reads the file in the thread pool, and writes it to the socket. */
async function copy(
  socket: FdLike,
  file: FdLike,
  reader: Reader,
  { start = 0, end = Number.POSITIVE_INFINITY, signal, onProgress }: SendFileOptions,
  account?: (bytes: number) => void,
): Promise<number> {
  // A read may outlast the promise, and the number of `file` may then belong to another file.
  const source = dup(file)
  const total = end - start + 1
  let sent = 0
  const over = new AbortController()
  const abort = () => over.abort(signal?.reason)
  const ignore = signal && onAbort(signal, abort)
  const out = fdOf(socket, 'socket')
  // A pipe may stay silent long after the socket is closed.
  const forget = onRelease((fd) => {
    if (fd === out) over.abort(closedMeanwhile('writev'))
  })
  try {
    if (signal?.aborted) abort()
    const buffer = Buffer.allocUnsafe(COPY_SIZE)
    while (sent < total) {
      await reader.ready(source.fd, over.signal)
      const count = await reader.read(source.fd, buffer.subarray(0, Math.min(total - sent, COPY_SIZE)))
      if (count === 0) break
      for (let at = 0; at < (count ?? 0); ) {
        over.signal.throwIfAborted()
        const written = writev(socket, [buffer.subarray(at, count ?? 0)])
        if (written === null) {
          await writable(socket, { signal: over.signal })
          continue
        }
        at += written
        sent += written
        account?.(written)
        onProgress?.(sent)
      }
    }
    return sent
  } finally {
    forget()
    ignore?.()
    source.close()
  }
}

function closedMeanwhile(syscall: string): SystemError {
  return new SystemError(errno.EBADF, syscall, 'closed while a file was being sent')
}

/** Reads in Node's thread pool, which a read from a blocking descriptor may block. */
class Reader {
  readonly #name: string
  /** The position of the next read, in **bytes**; null if the file has no positions. */
  #position: number | null
  #waits = true

  constructor(name: string, position: number | null) {
    this.#name = name
    this.#position = position
  }

  async ready(fd: number, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted()
    try {
      if (this.#waits) await readable(fd, { signal })
    } catch (error) {
      // The file is always ready, for instance one of /proc.
      if ((error as SystemError).code !== 'EPERM') throw error
      this.#waits = false
    }
  }

  /** Returns the number of **bytes** read, 0 at the end, or null if the read must be tried again. */
  async read(fd: number, buffer: Uint8Array): Promise<number | null> {
    const { error, count } = await new Promise<{ error: NodeJS.ErrnoException | null; count: number }>((resolve) => {
      read(fd, buffer, 0, buffer.length, this.#position, (error, count) => resolve({ error, count }))
    })
    if (error === null) {
      if (this.#position !== null) this.#position += count
      return count
    }
    if (error.code === 'EAGAIN') return null
    throw new SystemError(errno[error.code as ErrnoName], 'read', this.#name)
  }
}

/** Settles like `work`, but rejects as soon as the signal is aborted, before `work` notices it. */
async function orAborted<T>(signal: AbortSignal | undefined, work: Promise<T>): Promise<T> {
  if (signal === undefined) return await work
  let ignore = () => {}
  const aborted = new Promise<never>((_, reject) => {
    ignore = onAbort(signal, () => reject(signal.reason))
  })
  try {
    return await Promise.race([work, aborted])
  } finally {
    ignore()
  }
}

/** **Bytes** sent before other sockets get their turn. */
const PER_TURN = 1024 * 1024

/** **Bytes** read at a time. */
const COPY_SIZE = 64 * 1024
