import { constants } from 'node:fs'
import { open } from 'node:fs/promises'
import {
  type AsFd,
  checkInteger,
  EPOLLOUT,
  errno,
  SocketStream,
  SystemError,
  sendfile,
  type Watch,
  watch,
} from '@linux-sockets/native-core'

/** What of a file to send, and how. */
export interface SendFileOptions {
  /** The first **byte** to send, counted from 0. Default 0. */
  readonly start?: number | undefined
  /**
   * The last **byte** to send, itself included, as in `fs.createReadStream` and in a `Range` header; `start − 1` sends
   * nothing. Default: the last that the file has when it is reached.
   */
  readonly end?: number | undefined
  /** Gives up: the promise rejects at once with the signal's reason. What is sent by then is what `onProgress` was told. */
  readonly signal?: AbortSignal | undefined
  /** Called whenever the kernel has taken some, with all the **bytes** that it has taken. What it throws ends the sending. */
  readonly onProgress?: ((sent: number) => void) | undefined
}

/**
 * sendfile(2): sends a file, or a part of it, without bringing it into the process. Resolves to the **bytes** that the
 * kernel has taken: fewer than asked for where the file ends before.
 *
 *     response.flushHeaders()
 *     await sendFile(stream, '/srv/index.html')
 *
 * A client that has all bytes of a response may ask again before its `end`: under `node:http` the next one has its turn when it
 * has a socket, `if (response.socket === null) await once(response, 'socket')`.
 *
 * On a `SocketStream` it takes its turn among the writes: what was written before goes first, what is written meanwhile
 * waits, and so does the end. On a plain socket, which must be connected and non-blocking, nobody else may send before the
 * promise settles. The socket stays open, whatever comes of it.
 *
 * A `file` with a descriptor stays open too, and its position is neither used nor moved. What isn't in the page cache is
 * read from the disk within the call, as sendfile(2) knows no other way; other sockets get their turn after each MiB.
 *
 * @throws SystemError `EPIPE`, `ECONNRESET`, … of the connection; `ENOENT` and the like of a path; `EBADF` when the socket is
 * closed meanwhile; `EINVAL` for what isn't a regular file or a block device, which `stream.pipeline` can send; `ESPIPE` for
 * pipes and sockets, which `relay` is for
 * @throws TypeError, RangeError for a range that is none
 * @see {@link https://man7.org/linux/man-pages/man2/sendfile.2.html sendfile(2)}
 */
export async function sendFile(
  socket: AsFd,
  file: AsFd | string | URL,
  options: SendFileOptions = {},
): Promise<number> {
  const { start = 0, end, signal } = options
  checkInteger(start, 0, Number.MAX_SAFE_INTEGER, 'start')
  if (end !== undefined) checkInteger(end, start - 1, Number.MAX_SAFE_INTEGER - 1, 'end')
  signal?.throwIfAborted()
  return await orAborted(signal, sendInTurn(socket, file, options))
}

async function sendInTurn(socket: AsFd, file: AsFd | string | URL, options: SendFileOptions): Promise<number> {
  // The place among the writes is taken now, whatever has to be waited for.
  if (socket instanceof SocketStream) return await socket.lend((sent) => openAndSend(socket, file, options, sent))
  return await openAndSend(socket, file, options)
}

async function openAndSend(
  socket: AsFd,
  file: AsFd | string | URL,
  options: SendFileOptions,
  account?: (bytes: number) => void,
): Promise<number> {
  options.signal?.throwIfAborted()
  if (typeof file !== 'string' && !(file instanceof URL)) return await send(socket, file, options, account)
  // To open a FIFO would otherwise be to wait for its writer.
  const handle = await open(file, constants.O_RDONLY | constants.O_NONBLOCK)
  try {
    options.signal?.throwIfAborted()
    return await send(socket, handle, options, account)
  } finally {
    await handle.close()
  }
}

async function send(
  socket: AsFd,
  file: AsFd,
  { start = 0, end = Number.POSITIVE_INFINITY, signal, onProgress }: SendFileOptions,
  account?: (bytes: number) => void,
): Promise<number> {
  const total = end - start + 1
  let sent = 0
  /** Sends what the socket takes in one turn, and returns whether that was the last. */
  const step = (): boolean => {
    for (let left = Math.min(total, PER_TURN); left > 0; ) {
      const wanted = Math.min(total - sent, left)
      if (wanted === 0) return true
      const count = sendfile(socket, file, start + sent, wanted)
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
  // A small file is gone with this, and nothing needs to be watched.
  if (step()) return sent
  signal?.throwIfAborted()
  await new Promise<void>((resolve, reject) => {
    let watching: Watch | undefined
    const settle = (finish: () => void) => {
      watching?.stop()
      signal?.removeEventListener('abort', abort)
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
    const ended = () => {
      const cause = socket instanceof SocketStream ? socket.errored : null
      settle(() => reject(cause ?? new SystemError(errno.EBADF, 'sendfile', 'closed while a file was being sent')))
    }
    // Level-triggered: whatever a turn leaves is reported again in the next.
    watching = watch(socket, EPOLLOUT, ready, { ended })
    signal?.addEventListener('abort', abort)
  })
  return sent
}

/** As `work`, but for the signal, which doesn't wait until `work` has noticed it. */
async function orAborted<T>(signal: AbortSignal | undefined, work: Promise<T>): Promise<T> {
  if (signal === undefined) return await work
  let abort = () => {}
  const aborted = new Promise<never>((_, reject) => {
    abort = () => reject(signal.reason)
  })
  signal.addEventListener('abort', abort)
  try {
    return await Promise.race([work, aborted])
  } finally {
    signal.removeEventListener('abort', abort)
  }
}

/** **Bytes** sent before other sockets get their turn. */
const PER_TURN = 1024 * 1024
