import { setTimeout } from 'node:timers/promises'
import { errno, formatAddress, Socket, SystemError, type UnixAddress } from '@linux-sockets/native-core'
import { AF_UNIX, SOCK_STREAM } from '@linux-sockets/native-core/constants'
import {
  checkFunction,
  checkInteger,
  checkOptions,
  checkSignal,
  checkStreamOptions,
  closeQuietly,
  type NamesOf,
} from '@linux-sockets/native-core/internal'
import { SocketStream, type SocketStreamOptions } from '@linux-sockets/native-core/streams'
import { unixSockaddr } from './address.js'

/** Options of `connect`. */
export interface ConnectOptions {
  /** Aborts connecting: the promise rejects with the signal's reason, and the socket is closed. */
  readonly signal?: AbortSignal | undefined
  /**
   * How long to wait for room in the listener's backlog, in **milliseconds**, at least 1; then the promise rejects with
   * `ETIMEDOUT`. Default: no limit.
   */
  readonly timeout?: number | undefined
  /** Called with the socket before it is connected, to set options or bind it. */
  readonly prepare?: ((socket: Socket) => void) | undefined
  /** Options of the stream. */
  readonly stream?: SocketStreamOptions | undefined
}

/**
 * connect(2): connects to a path or an abstract name, and resolves to the stream. While the listener's backlog is full, it
 * tries again at intervals: the kernel has no event for that.
 *
 *     const stream = await connect({ family: 'unix', abstract: 'greeter' }, { timeout: 5000 })
 *
 * The address may be text: `/run/x.sock`, `./x.sock`, or `@name` for an abstract name.
 *
 * @throws TypeError, RangeError if the address isn't one of a Unix socket, or an option is invalid
 * @throws SystemError `ENOENT` if the path doesn't exist, `ECONNREFUSED` if no socket listens, `EACCES`, `EPROTOTYPE`
 * @see {@link https://man7.org/linux/man-pages/man7/unix.7.html unix(7)}
 */
export async function connect(
  address: UnixAddress | string,
  options: ConnectOptions = {},
): Promise<SocketStream<UnixAddress>> {
  const sockaddr = unixSockaddr(address)
  checkOptions(options, 'options', OPTIONS)
  const { signal, timeout, prepare, stream } = options
  checkSignal(signal)
  if (prepare !== undefined) checkFunction(prepare, 'prepare')
  if (stream !== undefined) checkStreamOptions(stream, 'stream')
  if (timeout !== undefined) checkInteger(timeout, 1, 0x7fff_ffff, 'timeout')
  signal?.throwIfAborted()
  const deadline = performance.now() + (timeout ?? Infinity)
  const socket = Socket.open(AF_UNIX, SOCK_STREAM)
  try {
    prepare?.(socket)
    for (let delay = 1; !connectNow(socket, sockaddr); delay = Math.min(2 * delay, MAX_DELAY)) {
      const left = deadline - performance.now()
      if (left <= 0) throw new SystemError(errno.ETIMEDOUT, 'connect', formatAddress(sockaddr))
      await waitFor(Math.min(delay, left), signal)
    }
    return new SocketStream(socket, stream)
  } catch (error) {
    closeQuietly(socket)
    throw error
  }
}

const OPTIONS: NamesOf<ConnectOptions> = { signal: true, timeout: true, prepare: true, stream: true }

/** The longest time between two tries, in **milliseconds**. */
const MAX_DELAY = 50

/** Calls connect(2). Returns false if the backlog is full. */
function connectNow(socket: Socket, sockaddr: Uint8Array): boolean {
  try {
    socket.connect(sockaddr)
    return true
  } catch (error) {
    if ((error as Partial<SystemError>).code === 'EAGAIN') return false
    throw error
  }
}

async function waitFor(milliseconds: number, signal: AbortSignal | undefined): Promise<void> {
  await setTimeout(milliseconds, undefined, signal && { signal }).catch(() => {})
  signal?.throwIfAborted()
}
