import { type AsFd, checkInteger, SO_KEEPALIVE, setOption } from '@linux-sockets/native-core'
import { TCP_KEEPCNT, TCP_KEEPIDLE, TCP_KEEPINTVL } from './options.js'

/** How an idle connection is probed. What is left out stays as it is: the system's default, unless it was set before. */
export interface KeepAlive {
  /** `TCP_KEEPIDLE`: how long nothing is received before the first probe, in **seconds**: 1 … 32767. */
  readonly idle?: number | undefined
  /** `TCP_KEEPINTVL`: the time between probes, in **seconds**: 1 … 32767. */
  readonly interval?: number | undefined
  /** `TCP_KEEPCNT`: the probes without an answer after which the connection is dropped: 1 … 127. */
  readonly count?: number | undefined
}

/**
 * setsockopt(2) `SO_KEEPALIVE`, and the options that go with it: a peer that has vanished is noticed, and the connection
 * fails with `ETIMEDOUT`, after about `idle + interval · count` seconds without a word from it. `false` switches probing
 * off and leaves the times as they are.
 *
 *     setKeepAlive(stream, { idle: 30, interval: 5, count: 3 }) // noticed after 45 s
 *
 * While sent data waits to be acknowledged nothing is probed: that is what `TCP_USER_TIMEOUT` is for, which, where set,
 * decides in place of `count`, too.
 * @throws TypeError, RangeError before anything is set
 * @throws SystemError `EBADF`; `ENOTSUP` or `ENOPROTOOPT` when it isn't a TCP socket
 * @see {@link https://man7.org/linux/man-pages/man7/tcp.7.html tcp(7)}
 */
export function setKeepAlive(socket: AsFd, keepAlive: KeepAlive | false): void {
  const { idle, interval, count } = timesOf(keepAlive)
  if (idle !== undefined) checkInteger(idle, 1, 32_767, 'idle')
  if (interval !== undefined) checkInteger(interval, 1, 32_767, 'interval')
  if (count !== undefined) checkInteger(count, 1, 127, 'count')
  // The probing begins last, so that it begins with these times.
  if (idle !== undefined) setOption(socket, TCP_KEEPIDLE, idle)
  if (interval !== undefined) setOption(socket, TCP_KEEPINTVL, interval)
  if (count !== undefined) setOption(socket, TCP_KEEPCNT, count)
  setOption(socket, SO_KEEPALIVE, keepAlive !== false)
}

function timesOf(keepAlive: KeepAlive | false): KeepAlive {
  if (keepAlive === false) return {}
  if (typeof keepAlive === 'object' && keepAlive !== null) return keepAlive
  throw new TypeError(`keepAlive must be an object or false, not ${String(keepAlive)}`)
}
