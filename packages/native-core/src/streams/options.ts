import type { DuplexOptions } from 'node:stream'
import { checkBoolean, checkFunction, checkInteger, checkOptions, checkSignal, type NamesOf } from '../argument.js'
import type { WatchFunction } from '../watch.js'

/** Options of a `SocketStream`. */
export interface SocketStreamOptions
  extends Pick<DuplexOptions, 'highWaterMark' | 'readableHighWaterMark' | 'writableHighWaterMark'> {
  /**
   * Whether the stream stays writable after the peer has sent its end; otherwise the stream ends too, after what was
   * written. Default false, as in `node:net`. A `tls.TLSSocket` over the stream takes the option over, and decides when the
   * stream ends.
   */
  readonly allowHalfOpen?: boolean | undefined
  /** Destroys the stream with an `AbortError`. */
  readonly signal?: AbortSignal | undefined
  /** The source of readiness events. Default: `watch`, that is Node's loop. */
  readonly watch?: WatchFunction | undefined
}

/**
 * Checks the options before there is a socket to make a stream of. `within` is the name of the option of another function
 * that holds them. For the packages of `@linux-sockets`.
 * @throws TypeError, RangeError
 */
export function checkStreamOptions(options: SocketStreamOptions, within = ''): void {
  checkOptions(options, within || 'options', OPTIONS)
  const path = within && `${within}.`
  const { allowHalfOpen, signal, watch } = options
  if (allowHalfOpen !== undefined) checkBoolean(allowHalfOpen, `${path}allowHalfOpen`)
  if (signal !== undefined) checkSignal(signal, `${path}signal`)
  if (watch !== undefined) checkFunction(watch, `${path}watch`)
  checkMark(options.highWaterMark, path, 'highWaterMark')
  checkMark(options.readableHighWaterMark, path, 'readableHighWaterMark')
  checkMark(options.writableHighWaterMark, path, 'writableHighWaterMark')
}

function checkMark(mark: number | undefined, path: string, name: string): void {
  if (mark !== undefined) checkInteger(mark, 0, Number.MAX_SAFE_INTEGER, `${path}${name}`)
}

const OPTIONS: NamesOf<SocketStreamOptions> = {
  allowHalfOpen: true,
  signal: true,
  watch: true,
  highWaterMark: true,
  readableHighWaterMark: true,
  writableHighWaterMark: true,
}
