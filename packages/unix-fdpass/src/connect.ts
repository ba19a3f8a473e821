import { setTimeout } from 'node:timers/promises'
import {
  AF_UNIX,
  checkInteger,
  errno,
  formatAddress,
  SOCK_STREAM,
  Socket,
  SocketStream,
  type SocketStreamOptions,
  SystemError,
  type UnixAddress,
} from '@linux-sockets/native-core'

/** How to connect. */
export interface ConnectOptions {
  /** Gives up connecting: the promise rejects with the signal's reason, and nothing stays open. */
  readonly signal?: AbortSignal | undefined
  /** **Milliseconds** to wait for room in the listener's backlog, at least 1; then the promise rejects with `ETIMEDOUT`. Default: for ever. */
  readonly timeout?: number | undefined
  /** Called with the socket before it is connected, to set options or bind it. */
  readonly prepare?: ((socket: Socket) => void) | undefined
  /** For the stream. */
  readonly stream?: SocketStreamOptions | undefined
}

/**
 * connect(2): a connection to a path or an abstract name, as a stream. Where the listener's backlog is full, it
 * is tried again until there is room: the kernel has no event for that.
 *
 *     const stream = await connect({ family: 'unix', abstract: 'greeter' }, { timeout: 5000 })
 *
 * @throws SystemError `ENOENT` where the path doesn't exist, `ECONNREFUSED` where nobody listens, `EACCES`, `EPROTOTYPE`
 * @see {@link https://man7.org/linux/man-pages/man7/unix.7.html unix(7)}
 */
export async function connect(address: UnixAddress, options: ConnectOptions = {}): Promise<SocketStream> {
  const { signal, timeout, prepare, stream } = options
  if (timeout !== undefined) checkInteger(timeout, 1, 0x7fff_ffff, 'timeout')
  signal?.throwIfAborted()
  const deadline = performance.now() + (timeout ?? Infinity)
  const socket = Socket.open(AF_UNIX, SOCK_STREAM)
  try {
    prepare?.(socket)
    for (let delay = 1; !connectNow(socket, address); delay = Math.min(2 * delay, MAX_DELAY)) {
      const left = deadline - performance.now()
      if (left <= 0) throw new SystemError(errno.ETIMEDOUT, 'connect', formatAddress(address))
      await waitFor(Math.min(delay, left), signal)
    }
    return new SocketStream(socket, stream)
  } catch (error) {
    socket.close()
    throw error
  }
}

/** The longest time between two tries, in milliseconds. */
const MAX_DELAY = 50

/** False when the backlog is full. */
function connectNow(socket: Socket, address: UnixAddress): boolean {
  try {
    socket.connect(address)
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
