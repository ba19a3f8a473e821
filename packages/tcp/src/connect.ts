import {
  type AddressLike,
  checkInteger,
  encodeAddress,
  errno,
  formatAddress,
  getOption,
  SO_ERROR,
  SOCK_STREAM,
  Socket,
  SocketStream,
  type SocketStreamOptions,
  SystemError,
  writable,
} from '@linux-sockets/native-core'
import { familyOf } from './family.js'

/** How to connect. */
export interface ConnectOptions {
  /** Gives up connecting: the promise rejects with the signal's reason, and nothing stays open. */
  readonly signal?: AbortSignal | undefined
  /** **Milliseconds** for all attempts together, at least 1, after which the promise rejects with `ETIMEDOUT`. Default: only the kernel's own limits. */
  readonly timeout?: number | undefined
  /** The address to connect from; its port may be 0. Only addresses of its family can then be connected to. */
  readonly localAddress?: AddressLike | undefined
  /**
   * Called with each attempt's socket before it is bound and connected, to set options:
   * `(socket) => setOption(socket, TCP_USER_TIMEOUT, 10_000)`. What it throws fails that attempt.
   */
  readonly prepare?: ((socket: Socket) => void) | undefined
  /** `IPPROTO_…`: `IPPROTO_MPTCP` for multipath TCP. Default 0: TCP. */
  readonly protocol?: number | undefined
  /** For the stream. */
  readonly stream?: SocketStreamOptions | undefined
}

/**
 * connect(2): a connection to the first address that takes it, as a stream. Addresses are tried one after the other, each
 * without blocking anything.
 *
 *     const stream = await connect({ family: 'ipv4', address: '127.0.0.1', port: 8080 }, { timeout: 5000 })
 *
 * @throws SystemError of the attempt when there was one address: `ECONNREFUSED`, `ETIMEDOUT`, `ENETUNREACH`, …
 * @throws AggregateError with the `errors` of all attempts when there were several; its `code` is that of the first
 * @throws TypeError without an address, or for one that is none
 */
export async function connect(
  addresses: AddressLike | Iterable<AddressLike>,
  options: ConnectOptions = {},
): Promise<SocketStream> {
  const { signal, timeout, stream } = options
  const list = listOf(addresses)
  if (timeout !== undefined) checkInteger(timeout, 1, 0x7fff_ffff, 'timeout')
  signal?.throwIfAborted()
  const limit = new AbortController()
  const late = () => limit.abort(new SystemError(errno.ETIMEDOUT, 'connect', list.map(formatAddress).join(', ')))
  const timer = timeout === undefined ? undefined : setTimeout(late, timeout)
  const abort = () => limit.abort(signal?.reason)
  signal?.addEventListener('abort', abort)
  try {
    return streamOf(await connectFirst(list, options, limit.signal), stream)
  } finally {
    clearTimeout(timer)
    signal?.removeEventListener('abort', abort)
  }
}

async function connectFirst(
  addresses: readonly AddressLike[],
  options: ConnectOptions,
  signal: AbortSignal,
): Promise<Socket> {
  const errors: unknown[] = []
  for (const address of addresses) {
    try {
      return await attempt(address, options, signal)
    } catch (error) {
      signal.throwIfAborted()
      errors.push(error)
    }
  }
  if (errors.length === 1) throw errors[0]
  throw allFailed(errors)
}

async function attempt(address: AddressLike, options: ConnectOptions, signal: AbortSignal): Promise<Socket> {
  const sockaddr = encodeAddress(address)
  const socket = Socket.open(familyOf(sockaddr), SOCK_STREAM, options.protocol)
  try {
    options.prepare?.(socket)
    if (options.localAddress !== undefined) socket.bind(options.localAddress)
    if (socket.connect(sockaddr) === null) {
      await writable(socket, { signal })
      const failure = getOption(socket, SO_ERROR)
      if (failure !== 0) throw new SystemError(failure, 'connect', formatAddress(address))
    }
    return socket
  } catch (error) {
    socket.close()
    throw error
  }
}

/** Its own code is the first attempt's, whose address was the best. */
function allFailed(errors: readonly unknown[]): AggregateError {
  const messages = errors.map((error) => (error instanceof Error ? error.message : String(error)))
  const all = new AggregateError(errors, `no address could be connected to: ${messages.join('; ')}`)
  return Object.assign(all, { code: (errors[0] as Partial<SystemError> | undefined)?.code })
}

function streamOf(socket: Socket, options: SocketStreamOptions | undefined): SocketStream {
  try {
    return new SocketStream(socket, options)
  } catch (error) {
    socket.close()
    throw error
  }
}

function listOf(addresses: AddressLike | Iterable<AddressLike>): AddressLike[] {
  // A sockaddr is bytes, and so can be iterated over itself.
  const several = !(addresses instanceof Uint8Array) && Symbol.iterator in Object(addresses)
  const list = several ? [...(addresses as Iterable<AddressLike>)] : [addresses as AddressLike]
  if (list.length === 0) throw new TypeError('there is no address to connect to')
  for (const address of list) encodeAddress(address)
  return list
}
