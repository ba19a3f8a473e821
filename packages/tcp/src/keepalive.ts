import { type FdLike, setOption } from '@linux-sockets/native-core'
import { checkInteger, checkOptions, describe } from '@linux-sockets/native-core/internal'
import { SO_KEEPALIVE } from '@linux-sockets/native-core/options'
import { TCP_KEEPCNT, TCP_KEEPIDLE, TCP_KEEPINTVL } from './options.js'

/** How an idle connection is probed. An omitted field keeps its value: the system's default, unless it was set before. */
export interface KeepAlive {
  /** `TCP_KEEPIDLE`: the time without anything received before the first probe, in **seconds**: 1 … 32767. */
  readonly idle?: number | undefined
  /** `TCP_KEEPINTVL`: the time between probes, in **seconds**: 1 … 32767. */
  readonly interval?: number | undefined
  /** `TCP_KEEPCNT`: the number of unanswered probes after which the connection is dropped: 1 … 127. */
  readonly count?: number | undefined
}

/**
 * setsockopt(2) `SO_KEEPALIVE`, and the options for its times: probes an idle connection, to detect a peer that has
 * vanished. The connection then fails with `ETIMEDOUT`, after about `idle + interval · count` seconds in which nothing came
 * from the peer. `false` turns probing off and leaves the times unchanged.
 *
 *     setKeepAlive(stream, { idle: 30, interval: 5, count: 3 }) // noticed after 45 s
 *
 * The kernel sends no probes while sent data waits to be acknowledged: use `TCP_USER_TIMEOUT` for that. If it is set, it
 * also decides in place of `count`.
 * @throws TypeError, RangeError for an invalid argument, before anything is set
 * @throws SystemError `EBADF`; `ENOTSUP` or `ENOPROTOOPT` if it isn't a TCP socket
 * @see {@link https://man7.org/linux/man-pages/man7/tcp.7.html tcp(7)}
 */
export function setKeepAlive(socket: FdLike, keepAlive: KeepAlive | false): void {
  const { idle, interval, count } = timesOf(keepAlive)
  if (idle !== undefined) checkInteger(idle, 1, 32_767, 'idle')
  if (interval !== undefined) checkInteger(interval, 1, 32_767, 'interval')
  if (count !== undefined) checkInteger(count, 1, 127, 'count')
  // Probing starts last, so that it starts with these times.
  if (idle !== undefined) setOption(socket, TCP_KEEPIDLE, idle)
  if (interval !== undefined) setOption(socket, TCP_KEEPINTVL, interval)
  if (count !== undefined) setOption(socket, TCP_KEEPCNT, count)
  setOption(socket, SO_KEEPALIVE, keepAlive !== false)
}

function timesOf(keepAlive: KeepAlive | false): KeepAlive {
  if (keepAlive === false) return {}
  if (typeof keepAlive !== 'object' || keepAlive === null) {
    throw new TypeError(`keepAlive must be an object or false, not ${describe(keepAlive)}`)
  }
  checkOptions(keepAlive, 'keepAlive', { idle: true, interval: true, count: true })
  return keepAlive
}
