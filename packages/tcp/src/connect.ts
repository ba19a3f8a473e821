import type { InetAddress, Socket } from '@linux-sockets/native-core'
import {
  checkBoolean,
  checkBytes,
  checkFunction,
  checkInteger,
  checkOptions,
  checkSignal,
  checkStreamOptions,
  closeQuietly,
  type NamesOf,
} from '@linux-sockets/native-core/internal'
import { SocketStream, type SocketStreamOptions } from '@linux-sockets/native-core/streams'
import { type AddressOrText, listOf, readAll } from './addresses.js'
import { type Connected, Race } from './connect/race.js'
import type { ConnectOptions } from './connect/types.js'

/**
 * connect(2): connects to the first address that accepts, and resolves to the stream. The thread is not blocked.
 *
 *     const stream = await connect({ family: 'ipv4', address: '127.0.0.1', port: 8080 }, { timeout: 5000 })
 *
 * An address may be text that `parseAddress` accepts: `connect('127.0.0.1:8080')`. To look up names, use `resolve` of the
 * package `addr`.
 *
 * Addresses are tried in the order of RFC 8305, in which the families alternate from the first address on; each address is
 * tried once. An attempt starts `attemptDelay` after the previous one, or at once when one fails. All attempts continue
 * until the first of them is connected; the others are then closed.
 *
 * An async iterable may deliver the addresses one by one. `connect` asks it for one address ahead, or for up to 32 as long as
 * all are of one family, and calls its `return` when no further address is needed.
 *
 * A socket that connects to itself counts as refused; this can happen if no socket listens on a port of this host.
 * `TCP_NODELAY` is left off, unlike in `node:http`; to set it, pass
 * `prepare: (socket) => setOption(socket, TCP_NODELAY, true)`.
 *
 * @throws SystemError of the attempt if there was only one: `ECONNREFUSED`, `ETIMEDOUT`, `ENETUNREACH`, …
 * @throws AggregateError with the `errors` of all attempts, and of the iterator, if there were several. Its `code` is that
 * of the first, or `ETIMEDOUT` after `timeout`. The error of each attempt is a SystemError with the `address` as it was
 * given. Another value that `prepare` has thrown is the `cause` of an Error with that `address` and the value's `code`.
 * @throws TypeError, RangeError if there is no address, or an invalid one; if `fastOpen` is given with more than one; if an
 * option is invalid
 * @see {@link https://www.rfc-editor.org/rfc/rfc8305 RFC 8305}
 */
export async function connect(
  addresses: AddressOrText | Iterable<AddressOrText> | AsyncIterable<AddressOrText>,
  options: ConnectOptions = {},
): Promise<SocketStream<InetAddress>> {
  checkOptions(options, 'options', CONNECT_OPTIONS)
  const { signal, timeout, attemptDelay = 250, interleave, fastOpen, onAttempt, prepare, protocol } = options
  const { stream: streamOptions } = options
  checkSignal(signal)
  if (timeout !== undefined) checkInteger(timeout, 1, 0x7fff_ffff, 'timeout')
  checkInteger(attemptDelay, 10, 0x7fff_ffff, 'attemptDelay')
  const local = options.localAddress === undefined ? [] : readAll(options.localAddress, 'localAddress')
  if (fastOpen !== undefined) checkBytes(fastOpen, 'fastOpen')
  if (onAttempt !== undefined) checkFunction(onAttempt, 'onAttempt')
  if (prepare !== undefined) checkFunction(prepare, 'prepare')
  if (protocol !== undefined) checkInteger(protocol, 0, 0x7fff_ffff, 'protocol')
  if (streamOptions !== undefined) checkStreamOptions(streamOptions, 'stream')
  if (interleave !== undefined) checkBoolean(interleave, 'interleave')
  const coming = Symbol.asyncIterator in Object(addresses)
  const list = coming ? [] : listOf(addresses as AddressOrText | Iterable<AddressOrText>)
  // With several addresses, several peers could act on the same bytes.
  if (fastOpen !== undefined && list.length !== 1) throw new TypeError('fastOpen takes exactly one address')
  signal?.throwIfAborted()
  const iterator = coming ? (addresses as AsyncIterable<AddressOrText>)[Symbol.asyncIterator]() : undefined
  const { socket, unsent } = await new Promise<Connected>((resolve, reject) => {
    new Race(list, iterator, local, options, attemptDelay, resolve, reject).run()
  })
  const stream = streamOf(socket, streamOptions)
  if (unsent.length > 0) stream.write(unsent)
  return stream
}

const CONNECT_OPTIONS: NamesOf<ConnectOptions> = {
  signal: true,
  timeout: true,
  attemptDelay: true,
  interleave: true,
  localAddress: true,
  prepare: true,
  fastOpen: true,
  onAttempt: true,
  protocol: true,
  stream: true,
}

function streamOf(socket: Socket<InetAddress>, options: SocketStreamOptions | undefined): SocketStream<InetAddress> {
  try {
    return new SocketStream(socket, options)
  } catch (error) {
    closeQuietly(socket)
    throw error
  }
}
