/**
 * Options of TCP, at IPPROTO_TCP, in the order of their numbers in the kernel's <linux/tcp.h>. `TCP_INFO` is in info.ts,
 * those of multipath TCP (SOL_MPTCP) are in mptcp.ts.
 *
 * TCP_ZEROCOPY_RECEIVE and MPTCP_FULL_INFO are left out: their structs hold memory addresses, which no value passed to the
 * kernel may contain. Use `MPTCP_INFO`, `subflowInfo` and `subflowAddresses` instead of the latter. TCP_AO_ADD_KEY …
 * TCP_AO_REPAIR (TCP-AO, Linux 6.7, RFC 5925) are left out, since every row has a test, and theirs needs a kernel with
 * CONFIG_TCP_AO.
 */
import {
  bool,
  bytes,
  control,
  int,
  microseconds,
  milliseconds,
  raw,
  ro,
  rw,
  seconds,
  text,
  uint,
  wo,
} from '@linux-sockets/native-core/codecs'
import { IPPROTO_TCP } from '@linux-sockets/native-core/constants'
import { md5Key, md5NetworkKey } from './md5.js'
import { repairOptions, repairWindow } from './repair.js'

export { TCP_KEEPIDLE, TCP_NODELAY } from '@linux-sockets/native-core/internal'

/**
 * The largest segment, in **bytes**: 88 … 32767, or 0 for the route's value. Set before connecting or listening, it is
 * announced to the peer, and the route's limit still holds. On a connection it reads as the size in use; in repair mode, as
 * the largest that the peer accepts.
 * get/set
 * @throws SystemError `EINVAL` out of range
 * @see {@link https://man7.org/linux/man-pages/man7/tcp.7.html tcp(7)}
 */
export const TCP_MAXSEG = rw('TCP_MAXSEG', IPPROTO_TCP, 2, bytes)

/**
 * Sends full segments only; a partial segment is sent when this is turned off, or after 200 ms. Default false.
 * get/set
 * @see {@link https://man7.org/linux/man-pages/man7/tcp.7.html tcp(7)}
 */
export const TCP_CORK = rw('TCP_CORK', IPPROTO_TCP, 3, bool)

/**
 * The time between keepalive probes, in **seconds**: 1 … 32767. Default 75 (`net.ipv4.tcp_keepalive_intvl`).
 * get/set
 * @throws SystemError `EINVAL` out of range
 * @see {@link https://man7.org/linux/man-pages/man7/tcp.7.html tcp(7)}
 */
export const TCP_KEEPINTVL = rw('TCP_KEEPINTVL', IPPROTO_TCP, 5, seconds)

/**
 * The number of unanswered keepalive probes after which the connection is dropped: 1 … 127. Default 9
 * (`net.ipv4.tcp_keepalive_probes`). If `TCP_USER_TIMEOUT` is set, it decides instead.
 * get/set
 * @throws SystemError `EINVAL` out of range
 * @see {@link https://man7.org/linux/man-pages/man7/tcp.7.html tcp(7)}
 */
export const TCP_KEEPCNT = rw('TCP_KEEPCNT', IPPROTO_TCP, 6, int)

/**
 * How often a SYN is retransmitted before connecting fails: 1 … 127. Default 6 (`net.ipv4.tcp_syn_retries`).
 * get/set
 * @throws SystemError `EINVAL` out of range
 * @see {@link https://man7.org/linux/man-pages/man7/tcp.7.html tcp(7)}
 */
export const TCP_SYNCNT = rw('TCP_SYNCNT', IPPROTO_TCP, 7, int)

/**
 * How long a closed socket waits in FIN-WAIT-2 for the peer's FIN, in **seconds**; a value above 120 is lowered to 120. 0
 * sets the default, and reads as it (60, `net.ipv4.tcp_fin_timeout`); −1 does not wait at all. Unrelated to `SO_LINGER`.
 * get/set
 * @see {@link https://man7.org/linux/man-pages/man7/tcp.7.html tcp(7)}
 */
export const TCP_LINGER2 = rw('TCP_LINGER2', IPPROTO_TCP, 8, seconds)

/**
 * A listener's connections are accepted when their first data arrives, or after this many **seconds**, rounded up to a time
 * at which a SYN-ACK is retransmitted: 1, 3, 7, 15, …. 0, the default, accepts at once.
 * get/set
 * @see {@link https://man7.org/linux/man-pages/man7/tcp.7.html tcp(7)}
 */
export const TCP_DEFER_ACCEPT = rw('TCP_DEFER_ACCEPT', IPPROTO_TCP, 9, seconds)

/**
 * The largest receive window to announce, in **bytes**; the kernel raises it to at least half of the smallest receive
 * buffer. 0 means no limit, and can be set only before connecting. On a connection it reads as the limit that the buffer
 * gives.
 * get/set
 * @throws SystemError `EINVAL` for 0 on a connection or listener
 * @see {@link https://man7.org/linux/man-pages/man7/tcp.7.html tcp(7)}
 */
export const TCP_WINDOW_CLAMP = rw('TCP_WINDOW_CLAMP', IPPROTO_TCP, 10, bytes)

// TCP_INFO, 11, is in info.ts with its struct.

/**
 * Acknowledges at once, instead of waiting for data to send along. The kernel leaves this mode by itself, so it must be set
 * again after receiving. Default true at a connection's start.
 * get/set
 * @see {@link https://man7.org/linux/man-pages/man7/tcp.7.html tcp(7)}
 */
export const TCP_QUICKACK = rw('TCP_QUICKACK', IPPROTO_TCP, 12, bool)

/**
 * The congestion control algorithm: `'cubic'`, `'reno'`, `'bbr'`, …, at most 15 bytes. Default
 * `net.ipv4.tcp_congestion_control`. Accepted sockets inherit it.
 * get/set · Linux 2.6.13 · `CAP_NET_ADMIN` for those that aren't in `net.ipv4.tcp_allowed_congestion_control`
 * @throws SystemError `ENOENT` if the kernel has no algorithm of this name, `EPERM`
 * @see {@link https://man7.org/linux/man-pages/man7/tcp.7.html tcp(7)}
 */
export const TCP_CONGESTION = rw('TCP_CONGESTION', IPPROTO_TCP, 13, text(16))

/**
 * Signs the segments to a peer with a key, and drops segments from it without the right signature, as BGP sessions do (RFC
 * 2385): `{ address, key }`. Set it on both sides before connecting, also on the listener; a peer with another key or none
 * gets no answer. An empty key removes the peer's key.
 * set · Linux 2.6.20
 * @throws SystemError `EINVAL` for an address of another family, `ENOENT` if there is no key to remove, `ENOPROTOOPT`
 * without `CONFIG_TCP_MD5SIG`
 * @see {@link https://datatracker.ietf.org/doc/html/rfc2385 RFC 2385}
 */
export const TCP_MD5SIG = wo('TCP_MD5SIG', IPPROTO_TCP, 14, md5Key)

/**
 * While fewer than four packets are in flight, retransmits at a constant pace (six times) before slowing down. Default
 * false.
 * get/set · Linux 2.6.34
 * @see {@link https://docs.kernel.org/networking/tcp-thin.html tcp-thin}
 */
export const TCP_THIN_LINEAR_TIMEOUTS = rw('TCP_THIN_LINEAR_TIMEOUTS', IPPROTO_TCP, 16, bool)

/**
 * Has no effect since Linux 4.11: it is accepted, and always reads as false. Before, the kernel retransmitted after one
 * duplicate acknowledgement while few packets were in flight.
 * get/set · Linux 2.6.34
 */
export const TCP_THIN_DUPACK = rw('TCP_THIN_DUPACK', IPPROTO_TCP, 17, bool)

/**
 * How long sent data may stay unacknowledged before the connection is dropped with `ETIMEDOUT`, in **milliseconds**. It
 * also limits connecting, unless `TCP_SYNCNT` ends that earlier. With `SO_KEEPALIVE` it overrides `TCP_KEEPCNT`: a silent
 * connection is dropped after this time, once it has been probed. 0, the default, leaves it to `net.ipv4.tcp_retries2`,
 * `TCP_SYNCNT` and `TCP_KEEPCNT`.
 * get/set · Linux 2.6.37
 * @throws SystemError `EINVAL` when negative
 * @see {@link https://man7.org/linux/man-pages/man7/tcp.7.html tcp(7)}
 */
export const TCP_USER_TIMEOUT = rw('TCP_USER_TIMEOUT', IPPROTO_TCP, 18, milliseconds)

/** `TCP_REPAIR`: leaves repair mode, and probes the peer so that both windows agree. */
export const TCP_REPAIR_OFF = 0
/** `TCP_REPAIR`: enters repair mode. */
export const TCP_REPAIR_ON = 1
/** `TCP_REPAIR`: leaves repair mode without a probe. */
export const TCP_REPAIR_OFF_NO_WP = -1

/**
 * Turns on repair mode, in which a connection's state can be read and written to move it to another process; connect(2) and
 * close(2) then send nothing. `TCP_REPAIR_ON`, `TCP_REPAIR_OFF` or `TCP_REPAIR_OFF_NO_WP`; reads as 0 or 1.
 * get/set · Linux 3.5 · `CAP_NET_ADMIN`
 * @throws SystemError `EPERM`, also on a listener
 * @see {@link https://criu.org/TCP_connection TCP connection (CRIU)}
 */
export const TCP_REPAIR = rw('TCP_REPAIR', IPPROTO_TCP, 19, int)

/** `TCP_REPAIR_QUEUE`: no queue. */
export const TCP_NO_QUEUE = 0
/** `TCP_REPAIR_QUEUE`: the data received and not yet read. */
export const TCP_RECV_QUEUE = 1
/** `TCP_REPAIR_QUEUE`: the data sent and not yet acknowledged. */
export const TCP_SEND_QUEUE = 2

/**
 * In repair mode, the queue to which `TCP_QUEUE_SEQ`, send(2) and recv(2) with `MSG_PEEK` apply: `TCP_NO_QUEUE`,
 * `TCP_RECV_QUEUE` or `TCP_SEND_QUEUE`.
 * get/set · Linux 3.5 · `CAP_NET_ADMIN`
 * @throws SystemError `EINVAL` (get) or `EPERM` (set) outside repair mode
 */
export const TCP_REPAIR_QUEUE = rw('TCP_REPAIR_QUEUE', IPPROTO_TCP, 20, int)

/**
 * In repair mode, the sequence number at the end of the queue that `TCP_REPAIR_QUEUE` selects. It can be set only on a
 * closed socket.
 * get/set · Linux 3.5 · `CAP_NET_ADMIN`
 * @throws SystemError `EINVAL` if no queue is selected, `EPERM` if the socket isn't closed
 */
export const TCP_QUEUE_SEQ = rw('TCP_QUEUE_SEQ', IPPROTO_TCP, 21, uint)

/**
 * In repair mode, on a connection that has sent nothing yet, the options that both sides agreed on in their SYNs:
 * `{ mss, snd_wscale, rcv_wscale, sack, timestamps }`, as read from the connection that moves by `TCP_INFO`, and by
 * `TCP_MAXSEG` in repair mode.
 * set · Linux 3.5 · `CAP_NET_ADMIN`
 * @throws SystemError `EINVAL` outside repair mode, `EPERM` if the socket isn't connected or has sent data
 * @see {@link https://criu.org/TCP_connection TCP connection (CRIU)}
 */
export const TCP_REPAIR_OPTIONS = wo('TCP_REPAIR_OPTIONS', IPPROTO_TCP, 22, repairOptions)

/**
 * The length of a listener's queue of connections that opened with data (TCP Fast Open) and aren't established yet. 0, the
 * default, accepts no such data. It has an effect only if `net.ipv4.tcp_fastopen` has the bit 2.
 * get/set · Linux 3.7
 * @throws SystemError `EINVAL` when negative, or on a connection
 * @see {@link https://man7.org/linux/man-pages/man7/tcp.7.html tcp(7)}
 */
export const TCP_FASTOPEN = rw('TCP_FASTOPEN', IPPROTO_TCP, 23, int)

/**
 * The clock of the connection's timestamps, in their unit: **milliseconds**, modulo 2³². It can be set only in repair mode.
 * get/set · Linux 3.9 · `CAP_NET_ADMIN` to set
 * @throws SystemError `EPERM` when set outside repair mode
 */
export const TCP_TIMESTAMP = rw('TCP_TIMESTAMP', IPPROTO_TCP, 24, uint)

/**
 * The socket is writable only while fewer **bytes** than this wait unsent in its buffer, so that the buffer holds little
 * outdated data. 0, the default, stands for `net.ipv4.tcp_notsent_lowat`: no limit unless changed.
 * get/set · Linux 3.12
 * @see {@link https://docs.kernel.org/networking/ip-sysctl.html ip-sysctl}
 */
export const TCP_NOTSENT_LOWAT = rw('TCP_NOTSENT_LOWAT', IPPROTO_TCP, 25, uint)

/**
 * The state of the congestion control algorithm, as its own struct: `struct tcp_bbr_info`, `struct tcp_dctcp_info`,
 * `struct tcpvegas_info` of <linux/inet_diag.h>; empty if it reports none.
 * get · Linux 4.1
 */
export const TCP_CC_INFO = ro('TCP_CC_INFO', IPPROTO_TCP, 26, raw(20))

/**
 * Keeps the headers of each connection's SYN for `TCP_SAVED_SYN`: 0, the default, none; 1 from the IP header on; 2 from the
 * link-layer header on (Linux 5.10). Set it on a listener.
 * get/set · Linux 4.3
 * @throws SystemError `EINVAL` for other values
 */
export const TCP_SAVE_SYN = rw('TCP_SAVE_SYN', IPPROTO_TCP, 27, int)

/**
 * On an accepted socket, the headers of its SYN, if its listener had `TCP_SAVE_SYN`. Reading frees them: a second read is
 * empty.
 * get · Linux 4.3
 */
export const TCP_SAVED_SYN = ro('TCP_SAVED_SYN', IPPROTO_TCP, 28, raw(512))

/**
 * In repair mode, both windows of the connection; with them the moved connection continues where it was, and needs no probe
 * (`TCP_REPAIR_OFF_NO_WP`). Set it after the queues.
 * get/set · Linux 4.8 · `CAP_NET_ADMIN`
 * @throws SystemError `EPERM` outside repair mode, `EINVAL` for windows that don't fit each other or the queues
 * @see {@link https://criu.org/TCP_connection TCP connection (CRIU)}
 */
export const TCP_REPAIR_WINDOW = rw('TCP_REPAIR_WINDOW', IPPROTO_TCP, 29, repairWindow)

/**
 * connect(2) delays the SYN until the first data, which goes with it (TCP Fast Open). Set it before connecting. Default
 * false.
 * get/set · Linux 4.11
 * @throws SystemError `ENOTSUP` if `net.ipv4.tcp_fastopen` lacks the bit 1; `EINVAL` on a connection
 * @see {@link https://man7.org/linux/man-pages/man7/tcp.7.html tcp(7)}
 */
export const TCP_FASTOPEN_CONNECT = rw('TCP_FASTOPEN_CONNECT', IPPROTO_TCP, 30, bool)

/**
 * The protocol layered on the connection: `'tls'`, `'espintcp'`, `'smc'`; empty for none. It can be set once.
 * get/set · Linux 4.13
 * @throws SystemError `ENOENT` if the kernel has no protocol of this name, `ENOTCONN`, `EEXIST`
 * @see {@link https://docs.kernel.org/networking/tls.html Kernel TLS}
 */
export const TCP_ULP = rw('TCP_ULP', IPPROTO_TCP, 31, text(16))

/**
 * Like `TCP_MD5SIG`, for all peers of a network, `{ address, prefix, key }`, or within one VRF, `{ …, ifindex }`. The key
 * with the longest prefix applies.
 * set · Linux 4.13 (`prefix`), 5.5 (`ifindex`)
 * @throws SystemError `EINVAL` for an address of another family, a prefix that is too long for it, or an interface that is
 * no VRF; `ENOENT` if there is no key to remove; `ENOPROTOOPT` without `CONFIG_TCP_MD5SIG`
 */
export const TCP_MD5SIG_EXT = wo('TCP_MD5SIG_EXT', IPPROTO_TCP, 32, md5NetworkKey)

/**
 * The key for a listener's Fast Open cookies: 16 bytes, or 32 for the current key and the previous one. Empty if it is the
 * system's (`net.ipv4.tcp_fastopen_key`).
 * get/set · Linux 4.15
 * @throws SystemError `EINVAL` for another length
 */
export const TCP_FASTOPEN_KEY = rw('TCP_FASTOPEN_KEY', IPPROTO_TCP, 33, raw(32))

/**
 * Uses Fast Open without a cookie, for networks where addresses can't be forged. Set it before connecting. Default false.
 * get/set · Linux 4.15
 * @throws SystemError `EINVAL` on a connection
 */
export const TCP_FASTOPEN_NO_COOKIE = rw('TCP_FASTOPEN_NO_COOKIE', IPPROTO_TCP, 34, bool)

/**
 * Received messages carry `TCP_CM_INQ`. Default false.
 * get/set · Linux 4.18
 */
export const TCP_INQ = rw('TCP_INQ', IPPROTO_TCP, 36, bool)

/** The **bytes** that are left to read after this message, with `TCP_INQ`; one more at the end of the stream. */
export const TCP_CM_INQ = control('TCP_CM_INQ', IPPROTO_TCP, 36, bytes)

/**
 * Delays every packet by this many **microseconds**, to imitate a longer path. Default 0. The first use slows down all TCP
 * sockets of the machine a little until it is rebooted.
 * get/set · Linux 5.3
 * @throws SystemError `EINVAL` when negative
 */
export const TCP_TX_DELAY = rw('TCP_TX_DELAY', IPPROTO_TCP, 37, microseconds)

/**
 * Whether the connection uses MPTCP and hasn't fallen back to plain TCP.
 * get · Linux 6.10
 * @see {@link https://docs.kernel.org/networking/mptcp.html MPTCP}
 */
export const TCP_IS_MPTCP = ro('TCP_IS_MPTCP', IPPROTO_TCP, 43, bool)

/**
 * The longest time between retransmissions, in **milliseconds**: 1000 … 120000. Default 120000 (`net.ipv4.tcp_rto_max_ms`).
 * get/set · Linux 6.15
 * @throws SystemError `EINVAL` out of range
 */
export const TCP_RTO_MAX_MS = rw('TCP_RTO_MAX_MS', IPPROTO_TCP, 44, milliseconds)

/**
 * The shortest time before a retransmission, in **microseconds**, rounded up to the kernel's clock ticks: at most
 * 200000, the default (`net.ipv4.tcp_rto_min_us`).
 * get/set · Linux 6.15
 * @throws SystemError `EINVAL` out of range
 */
export const TCP_RTO_MIN_US = rw('TCP_RTO_MIN_US', IPPROTO_TCP, 45, microseconds)

/**
 * The longest delay of an acknowledgement, in **microseconds**, rounded up to the kernel's clock ticks: at most 200000,
 * the default.
 * get/set · Linux 6.15
 * @throws SystemError `EINVAL` out of range
 */
export const TCP_DELACK_MAX_US = rw('TCP_DELACK_MAX_US', IPPROTO_TCP, 46, microseconds)
