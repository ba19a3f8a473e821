/** Options of TCP that streams set for `node:net`. The others are in `@linux-sockets/tcp`, which has these too. */
import { bool, seconds } from '../codecs/codec.js'
import { IPPROTO_TCP } from '../constants.js'
import { rw } from '../option.js'

/**
 * Sends small pieces at once, instead of collecting them until earlier ones are acknowledged (Nagle's algorithm). Default
 * false.
 * get/set
 * @see {@link https://man7.org/linux/man-pages/man7/tcp.7.html tcp(7)}
 */
export const TCP_NODELAY = rw('TCP_NODELAY', IPPROTO_TCP, 1, bool)

/**
 * How long a connection is idle before the first keepalive probe, with `SO_KEEPALIVE`, in **seconds**: 1 … 32767.
 * Default 7200 (`net.ipv4.tcp_keepalive_time`).
 * get/set
 * @throws SystemError `EINVAL` out of range
 * @see {@link https://man7.org/linux/man-pages/man7/tcp.7.html tcp(7)}
 */
export const TCP_KEEPIDLE = rw('TCP_KEEPIDLE', IPPROTO_TCP, 4, seconds)
