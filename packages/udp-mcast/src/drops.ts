import { type FdLike, getOption } from '@linux-sockets/native-core'
import { SO_MEMINFO } from '@linux-sockets/native-core/options'

/**
 * getsockopt(2) `SO_MEMINFO`: how many **datagrams** the socket has dropped since it was opened, since its receive buffer was
 * full or their checksum was wrong; modulo 2³². It is current, also while nothing is received.
 *
 * `SO_RXQ_OVFL` sends the same count with each datagram, but as it was when the datagram was queued: those that wait in a full
 * buffer were queued before the drops, so they don't have it. It arrives with the first datagram after the drops, and is
 * absent while the count is 0.
 *
 * Linux 4.12
 * @throws SystemError `EBADF`, `ENOPROTOOPT` on an older kernel
 * @see {@link https://man7.org/linux/man-pages/man8/ss.8.html ss(8)}, `--memory`
 */
export function drops(socket: FdLike): number {
  return getOption(socket, SO_MEMINFO).drops
}
