/**
 * Options of every socket, at SOL_SOCKET, in the order of their numbers in the kernel's asm-generic/socket.h.
 *
 * Not here, because there is a better way: filters (`attachFilter`), SO_PEERNAME (`socket.peerName`), SO_PEERPIDFD
 * (`peerPidfd`). Nor the `_NEW` twins of the timestamp and timeout options, which on a 64-bit kernel equal the plain ones,
 * nor options that no kernel of this century obeys: SO_BSDCOMPAT, SO_SECURITY_….
 *
 * “Every Linux” is every version that Node.js runs on.
 */
import {
  bool,
  bytes,
  credentials,
  deviceMemoryRanges,
  ifindex,
  int,
  linger,
  microseconds,
  socketMemory,
  text,
  timeval,
  transmitTime,
  u64,
  uint,
  uints,
} from '../codecs/codec.js'
import { SOL_SOCKET } from '../constants.js'
import { ro, rw, wo } from '../option.js'

/**
 * Whether protocols log what they do on this socket to the kernel's log. Most of them no longer do. Default false.
 * get/set · every Linux · `CAP_NET_ADMIN` to switch it on
 * @throws SystemError `EACCES` without the capability
 * @see {@link https://man7.org/linux/man-pages/man7/socket.7.html socket(7)}
 */
export const SO_DEBUG = rw('SO_DEBUG', SOL_SOCKET, 1, bool)

/**
 * Whether bind(2) may take an address that is in TIME_WAIT, or for UDP in use by other sockets that set this too. Default
 * false (true for raw sockets). It doesn't allow two listeners on one port: see `SO_REUSEPORT`. Set it before `bind`.
 * get/set · every Linux
 * @see {@link https://man7.org/linux/man-pages/man7/socket.7.html socket(7)}
 */
export const SO_REUSEADDR = rw('SO_REUSEADDR', SOL_SOCKET, 2, bool)

/**
 * The socket's type: `SOCK_STREAM`, `SOCK_DGRAM`, ….
 * get · every Linux
 * @see {@link https://man7.org/linux/man-pages/man7/socket.7.html socket(7)}
 */
export const SO_TYPE = ro('SO_TYPE', SOL_SOCKET, 3, int)

/**
 * The pending error of the socket, as a positive errno (`errno.ECONNREFUSED`); 0 is none. Reading it clears it. It tells
 * the outcome of a `connect` that was in progress.
 * get · every Linux
 * @see {@link https://man7.org/linux/man-pages/man7/socket.7.html socket(7)}
 */
export const SO_ERROR = ro('SO_ERROR', SOL_SOCKET, 4, int)

/**
 * Whether packets go only to hosts on a directly connected network, never through a gateway. Default false.
 * get/set · every Linux
 * @see {@link https://man7.org/linux/man-pages/man7/socket.7.html socket(7)}
 */
export const SO_DONTROUTE = rw('SO_DONTROUTE', SOL_SOCKET, 5, bool)

/**
 * Whether a datagram socket may send to a broadcast address; otherwise that fails with `EACCES`. Default false.
 * get/set · every Linux
 * @see {@link https://man7.org/linux/man-pages/man7/socket.7.html socket(7)}
 */
export const SO_BROADCAST = rw('SO_BROADCAST', SOL_SOCKET, 6, bool)

/**
 * The size limit of the send queue, in **bytes** of kernel memory. The kernel doubles the value that is set, for its own
 * bookkeeping, and the doubled value is read; it is at most twice `net.core.wmem_max` and at least 4608. A larger value is
 * lowered without an error. Default `net.core.wmem_default` (TCP: `net.ipv4.tcp_wmem`, and it grows by itself until this is
 * set).
 * get/set · every Linux
 * @see {@link https://man7.org/linux/man-pages/man7/socket.7.html socket(7)}
 */
export const SO_SNDBUF = rw('SO_SNDBUF', SOL_SOCKET, 7, bytes)

/**
 * The size limit of the receive queue, in **bytes** of kernel memory. The kernel doubles the value that is set, for its own
 * bookkeeping, and the doubled value is read; it is at most twice `net.core.rmem_max` and at least 2304. A larger value is
 * lowered without an error. Default `net.core.rmem_default` (TCP: `net.ipv4.tcp_rmem`, and it grows by itself until this is
 * set; set it before `listen` or `connect`, since it bounds the window scale).
 * get/set · every Linux
 * @see {@link https://man7.org/linux/man-pages/man7/socket.7.html socket(7)}
 */
export const SO_RCVBUF = rw('SO_RCVBUF', SOL_SOCKET, 8, bytes)

/**
 * Whether an idle connection is probed, so that a vanished peer is noticed. Default false. `TCP_KEEPIDLE` and similar
 * options set the intervals.
 * get/set · every Linux
 * @see {@link https://man7.org/linux/man-pages/man7/socket.7.html socket(7)}
 */
export const SO_KEEPALIVE = rw('SO_KEEPALIVE', SOL_SOCKET, 9, bool)

/**
 * Whether urgent data is received in its place among the other data, rather than only with `MSG_OOB`. Default false.
 * get/set · every Linux
 * @see {@link https://man7.org/linux/man-pages/man7/socket.7.html socket(7)}
 */
export const SO_OOBINLINE = rw('SO_OOBINLINE', SOL_SOCKET, 10, bool)

/**
 * Whether UDP over IPv4 is sent without a checksum. Default false.
 * get/set · every Linux
 * @see {@link https://man7.org/linux/man-pages/man7/udp.7.html udp(7)}
 */
export const SO_NO_CHECK = rw('SO_NO_CHECK', SOL_SOCKET, 11, bool)

/**
 * The priority of outgoing packets for queueing disciplines: 0 … 6, with a capability any 32-bit number, where 0xMMMMmmmm
 * names a traffic class. Default 0. Setting `IP_TOS` changes it, too.
 * get/set · every Linux · `CAP_NET_ADMIN` or (5.17) `CAP_NET_RAW` above 6
 * @throws SystemError `EPERM` above 6 without the capability
 * @see {@link https://man7.org/linux/man-pages/man7/socket.7.html socket(7)}
 */
export const SO_PRIORITY = rw('SO_PRIORITY', SOL_SOCKET, 12, uint)

/**
 * How long close(2) waits for unsent data, in **seconds**. `null`, the default: it returns at once and the kernel goes on
 * sending. 0: the data is dropped and a TCP connection is reset. Any other value: close(2) blocks the whole thread until
 * the peer's kernel has acknowledged the data or the time is over; TCP waits on a non-blocking socket, too. Only when the
 * process ends does close not wait.
 * get/set · every Linux
 * @see {@link https://man7.org/linux/man-pages/man7/socket.7.html socket(7)}
 */
export const SO_LINGER = rw('SO_LINGER', SOL_SOCKET, 13, linger)

/**
 * Whether several sockets of one user may bind to the same address. All of them must set this before `bind`; connections
 * and datagrams are spread over them by a hash of the peer. Default false.
 * get/set · Linux 3.9
 * @throws SystemError `EOPNOTSUPP` (`ENOTSUP` in Node) when switched on for other than IPv4 and IPv6 sockets
 * @see {@link https://man7.org/linux/man-pages/man7/socket.7.html socket(7)}
 */
export const SO_REUSEPORT = rw('SO_REUSEPORT', SOL_SOCKET, 15, bool)

/**
 * Whether each received message carries the sender's process, user and group (`SCM_CREDENTIALS`). Default false. Unix
 * and netlink sockets.
 * get/set · every Linux
 * @throws SystemError `EOPNOTSUPP` (`ENOTSUP` in Node) on other sockets (since Linux 6.16)
 * @see {@link https://man7.org/linux/man-pages/man7/unix.7.html unix(7)}
 */
export const SO_PASSCRED = rw('SO_PASSCRED', SOL_SOCKET, 16, bool)

/**
 * The process, user and group of the peer of a connected Unix socket, as they were at `connect`, `listen` or
 * `socketpair`. Without such a peer: pid 0, uid and gid 0xffffffff.
 * get · every Linux
 * @see {@link https://man7.org/linux/man-pages/man7/unix.7.html unix(7)}
 */
export const SO_PEERCRED = ro('SO_PEERCRED', SOL_SOCKET, 17, credentials)

/**
 * How many **bytes** must wait before the socket counts as readable and a blocking receive returns. Default 1; 0 means 1.
 * Readiness obeys it on TCP (since Linux 2.6.28 for poll and epoll); TCP lowers it to half of the largest receive buffer.
 * get/set · every Linux
 * @see {@link https://man7.org/linux/man-pages/man7/socket.7.html socket(7)}
 */
export const SO_RCVLOWAT = rw('SO_RCVLOWAT', SOL_SOCKET, 18, bytes)

/**
 * Always 1 **byte**: Linux has no low-water mark for sending. (TCP has `TCP_NOTSENT_LOWAT`.)
 * get · every Linux
 * @see {@link https://man7.org/linux/man-pages/man7/socket.7.html socket(7)}
 */
export const SO_SNDLOWAT = ro('SO_SNDLOWAT', SOL_SOCKET, 19, bytes)

/**
 * How long a blocking receive or accept waits, in **milliseconds**, rounded up to the kernel's tick (1 … 10 ms). 0, the
 * default: no timeout. After the timeout the call returns `null`. No effect on a non-blocking socket, which ours are unless
 * `blocking` is set.
 * get/set · every Linux
 * @see {@link https://man7.org/linux/man-pages/man7/socket.7.html socket(7)}
 */
export const SO_RCVTIMEO = rw('SO_RCVTIMEO', SOL_SOCKET, 20, timeval)

/**
 * How long a blocking send or connect waits, in **milliseconds**, rounded up to the kernel's tick (1 … 10 ms). 0, the
 * default: no timeout. After the timeout a send returns `null`, or the bytes sent until then. No effect on a non-blocking
 * socket, which ours are unless `blocking` is set.
 * get/set · every Linux
 * @see {@link https://man7.org/linux/man-pages/man7/socket.7.html socket(7)}
 */
export const SO_SNDTIMEO = rw('SO_SNDTIMEO', SOL_SOCKET, 21, timeval)

/**
 * The name of the interface that the socket sends from and receives on: `'eth0'`. At most 15 bytes. `''`, the default: any.
 * `SO_BINDTOIFINDEX` takes the index instead.
 * get (Linux 3.8)/set · every Linux · `CAP_NET_RAW`, since Linux 5.7 only to change or end a binding
 * @throws SystemError `ENODEV` if no interface has that name, `EPERM` without the capability
 * @see {@link https://man7.org/linux/man-pages/man7/socket.7.html socket(7)}
 */
export const SO_BINDTODEVICE = rw('SO_BINDTODEVICE', SOL_SOCKET, 25, text(16))

/**
 * Whether each received packet carries its time of arrival in microseconds (`SCM_TIMESTAMP`). Default false. Switching it
 * on switches `SO_TIMESTAMPNS` off, and vice versa.
 * get/set · every Linux
 * @see {@link https://docs.kernel.org/networking/timestamping.html timestamping}
 */
export const SO_TIMESTAMP = rw('SO_TIMESTAMP', SOL_SOCKET, 29, bool)

/**
 * Whether the socket is listening.
 * get · every Linux
 * @see {@link https://man7.org/linux/man-pages/man7/socket.7.html socket(7)}
 */
export const SO_ACCEPTCONN = ro('SO_ACCEPTCONN', SOL_SOCKET, 30, bool)

/**
 * The security context of the peer of a connected Unix, TCP or SCTP socket, where SELinux, Smack or AppArmor gives one.
 * get · Linux 2.6.2
 * @throws SystemError `ENOPROTOOPT` without such a module or peer
 * @see {@link https://man7.org/linux/man-pages/man7/socket.7.html socket(7)}
 */
export const SO_PEERSEC = ro('SO_PEERSEC', SOL_SOCKET, 31, text(4096))

/**
 * Like `SO_SNDBUF`, in **bytes**, but not limited by `net.core.wmem_max`. Read `SO_SNDBUF` for the resulting size.
 * set · Linux 2.6.14 · `CAP_NET_ADMIN`
 * @throws SystemError `EPERM` without the capability
 * @see {@link https://man7.org/linux/man-pages/man7/socket.7.html socket(7)}
 */
export const SO_SNDBUFFORCE = wo('SO_SNDBUFFORCE', SOL_SOCKET, 32, bytes)

/**
 * Like `SO_RCVBUF`, in **bytes**, but not limited by `net.core.rmem_max`. Read `SO_RCVBUF` for the resulting size.
 * set · Linux 2.6.14 · `CAP_NET_ADMIN`
 * @throws SystemError `EPERM` without the capability
 * @see {@link https://man7.org/linux/man-pages/man7/socket.7.html socket(7)}
 */
export const SO_RCVBUFFORCE = wo('SO_RCVBUFFORCE', SOL_SOCKET, 33, bytes)

/**
 * Whether each received message carries the sender's security context (`SCM_SECURITY`). Default false. Unix and netlink
 * sockets.
 * get/set · Linux 2.6.18
 * @throws SystemError `EOPNOTSUPP` (`ENOTSUP` in Node) on other sockets, and where the kernel was built without
 * security modules (since Linux 6.16)
 * @see {@link https://man7.org/linux/man-pages/man7/unix.7.html unix(7)}
 */
export const SO_PASSSEC = rw('SO_PASSSEC', SOL_SOCKET, 34, bool)

/**
 * Whether each received packet carries its time of arrival in nanoseconds (`SCM_TIMESTAMPNS`). Default false. Switching it
 * on switches `SO_TIMESTAMP` off, and vice versa.
 * get/set · Linux 2.6.22
 * @see {@link https://docs.kernel.org/networking/timestamping.html timestamping}
 */
export const SO_TIMESTAMPNS = rw('SO_TIMESTAMPNS', SOL_SOCKET, 35, bool)

/**
 * The mark that outgoing packets carry for routing rules and netfilter, 32 bits. Default 0.
 * get/set · Linux 2.6.25 · `CAP_NET_ADMIN` or (5.17) `CAP_NET_RAW`, even to set 0
 * @throws SystemError `EPERM` without the capability
 * @see {@link https://man7.org/linux/man-pages/man7/socket.7.html socket(7)}
 */
export const SO_MARK = rw('SO_MARK', SOL_SOCKET, 36, uint)

/**
 * Which timestamps are taken of sent and received packets, by software and hardware, and how they are reported
 * (`SCM_TIMESTAMPING`): `SOF_TIMESTAMPING_…` flags. Default 0: none. To bind to a clock of the hardware
 * (`SOF_TIMESTAMPING_BIND_PHC`, Linux 5.14), pass the 8 bytes of `struct so_timestamping` to `setOptionBytes`.
 * get/set · Linux 2.6.30
 * @throws SystemError `EINVAL` for flags that contradict each other or that the kernel doesn't know
 * @see {@link https://docs.kernel.org/networking/timestamping.html timestamping}
 */
export const SO_TIMESTAMPING = rw('SO_TIMESTAMPING', SOL_SOCKET, 37, int)

/**
 * The socket's protocol: `IPPROTO_TCP`, `IPPROTO_UDP`, …; 0 for families without protocols.
 * get · Linux 2.6.32
 * @see {@link https://man7.org/linux/man-pages/man7/socket.7.html socket(7)}
 */
export const SO_PROTOCOL = ro('SO_PROTOCOL', SOL_SOCKET, 38, int)

/**
 * The socket's address family: `AF_INET`, `AF_UNIX`, ….
 * get · Linux 2.6.32
 * @see {@link https://man7.org/linux/man-pages/man7/socket.7.html socket(7)}
 */
export const SO_DOMAIN = ro('SO_DOMAIN', SOL_SOCKET, 39, int)

/**
 * Whether each received datagram carries the number of datagrams dropped since the socket was made because its queue was
 * full (`SO_RXQ_OVFL`, a u32). Default false.
 * get/set · Linux 2.6.33
 * @see {@link https://man7.org/linux/man-pages/man7/socket.7.html socket(7)}
 */
export const SO_RXQ_OVFL = rw('SO_RXQ_OVFL', SOL_SOCKET, 40, bool)

/**
 * Whether each frame that was sent over 802.11 reports whether it was acknowledged (`SCM_WIFI_STATUS`, on the error
 * queue). Default false.
 * get/set · Linux 3.3
 * @see {@link https://docs.kernel.org/networking/timestamping.html timestamping}
 */
export const SO_WIFI_STATUS = rw('SO_WIFI_STATUS', SOL_SOCKET, 41, bool)

/**
 * The position at which the next receive with `MSG_PEEK` begins, in **bytes** from the head of the queue. Each peek moves
 * it forward, each receive moves it back. −1, the default: every peek begins at the head.
 * get/set · Linux 3.4 (Unix sockets), 4.7 (UDP), 6.10 (TCP)
 * @throws SystemError `EOPNOTSUPP` (`ENOTSUP` in Node) on other sockets
 * @see {@link https://man7.org/linux/man-pages/man7/socket.7.html socket(7)}
 */
export const SO_PEEK_OFF = rw('SO_PEEK_OFF', SOL_SOCKET, 42, bytes)

/**
 * Whether a device that supports it takes the last 4 bytes of a frame sent through a packet socket as the frame's checksum.
 * Default false.
 * get/set · Linux 3.4
 * @see {@link https://man7.org/linux/man-pages/man7/packet.7.html packet(7)}
 */
export const SO_NOFCS = rw('SO_NOFCS', SOL_SOCKET, 43, bool)

/**
 * Whether the filter of this socket can no longer be changed or detached. Default false; once true it stays so.
 * get/set · Linux 3.9
 * @throws SystemError `EPERM` when set to false afterwards
 * @see {@link https://man7.org/linux/man-pages/man7/socket.7.html socket(7)}
 */
export const SO_LOCK_FILTER = rw('SO_LOCK_FILTER', SOL_SOCKET, 44, bool)

/**
 * Whether a message on the error queue makes the socket ready for `EPOLLPRI`, besides `EPOLLERR`. Default false.
 * get/set · Linux 3.10
 * @see {@link https://man7.org/linux/man-pages/man7/socket.7.html socket(7)}
 */
export const SO_SELECT_ERR_QUEUE = rw('SO_SELECT_ERR_QUEUE', SOL_SOCKET, 45, bool)

/**
 * How long a blocking receive on an empty queue polls the device instead of sleeping, in **microseconds**. Default
 * `net.core.busy_read`, which is 0: not at all.
 * get/set · Linux 3.11 · older kernels require `CAP_NET_ADMIN` to raise it
 * @throws SystemError `EINVAL` when negative, `EPERM` without the capability
 * @see {@link https://man7.org/linux/man-pages/man7/socket.7.html socket(7)}
 */
export const SO_BUSY_POLL = rw('SO_BUSY_POLL', SOL_SOCKET, 46, microseconds)

/**
 * The maximum send rate, in **bytes per second**. TCP paces itself; other sockets need the `fq` queueing discipline. `2n **
 * 64n - 1n`, the default: no limit.
 * get/set · Linux 3.13; above 4 GiB/s Linux 4.20
 * @see {@link https://man7.org/linux/man-pages/man8/tc-fq.8.html tc-fq(8)}
 */
export const SO_MAX_PACING_RATE = rw('SO_MAX_PACING_RATE', SOL_SOCKET, 47, u64)

/**
 * The size of the area of `SKF_AD_…` offsets from which a classic filter may load, in **bytes** from `SKF_AD_OFF`. 64.
 * get · Linux 3.14
 * @see {@link https://docs.kernel.org/networking/filter.html filter}
 */
export const SO_BPF_EXTENSIONS = ro('SO_BPF_EXTENSIONS', SOL_SOCKET, 48, int)

/**
 * The CPU that last processed a packet of this connection; a UDP socket must be connected for that. Setting it on one of
 * several sockets that share an address (`SO_REUSEPORT`) prefers that socket for packets that arrive on that CPU. −1, the
 * default: none.
 * get (Linux 3.19)/set (Linux 4.4)
 * @see {@link https://man7.org/linux/man-pages/man7/socket.7.html socket(7)}
 */
export const SO_INCOMING_CPU = rw('SO_INCOMING_CPU', SOL_SOCKET, 49, int)

/**
 * Advice about the connection; 1: the path seems bad, look for another route. Other numbers do nothing.
 * set · Linux 4.6
 * @see {@link https://git.kernel.org/torvalds/c/a87cb3e48ee8 the commit}
 */
export const SO_CNX_ADVICE = wo('SO_CNX_ADVICE', SOL_SOCKET, 53, int)

/**
 * The memory use of the socket's queues, in **bytes** of kernel memory, and the number of packets that it dropped.
 * get · Linux 4.12
 * @see {@link https://man7.org/linux/man-pages/man8/ss.8.html ss(8)}, `--memory`
 */
export const SO_MEMINFO = ro('SO_MEMINFO', SOL_SOCKET, 55, socketMemory)

/**
 * The device queue (its NAPI id) from which the connection's last packet came; a UDP socket must be connected for that. 0:
 * none, such as over loopback.
 * get · Linux 4.12
 * @see {@link https://man7.org/linux/man-pages/man7/socket.7.html socket(7)}
 */
export const SO_INCOMING_NAPI_ID = ro('SO_INCOMING_NAPI_ID', SOL_SOCKET, 56, uint)

/**
 * A number that no other socket has until the next boot; sock_diag(7) and BPF use the same number.
 * get · Linux 4.12
 * @see {@link https://man7.org/linux/man-pages/man7/sock_diag.7.html sock_diag(7)}
 */
export const SO_COOKIE = ro('SO_COOKIE', SOL_SOCKET, 57, u64)

/**
 * The supplementary groups of the peer of a connected Unix socket, as they were at `connect`, `listen` or `socketpair`.
 * get · Linux 4.13
 * @throws SystemError `ENODATA` without such a peer
 * @see {@link https://man7.org/linux/man-pages/man7/unix.7.html unix(7)}
 */
export const SO_PEERGROUPS = ro('SO_PEERGROUPS', SOL_SOCKET, 59, uints(65536))

/**
 * Whether a send may use `MSG_ZEROCOPY`: the kernel then reads the caller's memory until it reports completion on the error
 * queue. Default false. TCP (Linux 4.14) and UDP (Linux 5.0).
 * get/set · Linux 4.14
 * @throws SystemError `EOPNOTSUPP` (`ENOTSUP` in Node) on other sockets
 * @see {@link https://docs.kernel.org/networking/msg_zerocopy.html msg_zerocopy}
 */
export const SO_ZEROCOPY = rw('SO_ZEROCOPY', SOL_SOCKET, 60, bool)

/**
 * Lets packets carry the time at which to leave (`SCM_TXTIME`), read on `clock`. The device needs the `fq`
 * (`CLOCK_MONOTONIC`) or `etf` queueing discipline. It can't be switched off again.
 * get/set · Linux 4.19 · `CAP_NET_ADMIN` for other clocks than `CLOCK_MONOTONIC`
 * @throws SystemError `EINVAL` for an unknown clock or flag, `EPERM` without the capability
 * @see {@link https://man7.org/linux/man-pages/man8/tc-etf.8.html tc-etf(8)}
 */
export const SO_TXTIME = rw('SO_TXTIME', SOL_SOCKET, 61, transmitTime)

/**
 * The index of the interface that the socket sends from and receives on: `SO_BINDTODEVICE` by number. 0, the default: any.
 * The kernel accepts any index, even of no interface.
 * get/set · Linux 5.1 · `CAP_NET_RAW`, since Linux 5.7 only to change or end a binding
 * @throws SystemError `EINVAL` when negative, `EPERM` without the capability
 * @see {@link https://man7.org/linux/man-pages/man7/socket.7.html socket(7)}
 */
export const SO_BINDTOIFINDEX = rw('SO_BINDTOIFINDEX', SOL_SOCKET, 62, ifindex)

/**
 * Whether the network stack leaves the device's interrupts off while the application polls. Default false.
 * get/set · Linux 5.11 · `CAP_NET_ADMIN` to switch it on
 * @throws SystemError `EPERM` without the capability
 * @see {@link https://docs.kernel.org/networking/napi.html napi}
 */
export const SO_PREFER_BUSY_POLL = rw('SO_PREFER_BUSY_POLL', SOL_SOCKET, 69, bool)

/**
 * How many **packets** one busy poll may take, 0 … 65535. Default 8.
 * set · Linux 5.11 · `CAP_NET_ADMIN` to raise it
 * @throws SystemError `EINVAL` out of range, `EPERM` without the capability
 * @see {@link https://docs.kernel.org/networking/napi.html napi}
 */
export const SO_BUSY_POLL_BUDGET = wo('SO_BUSY_POLL_BUDGET', SOL_SOCKET, 70, int)

/**
 * A number that no other network namespace has until the next boot.
 * get · Linux 5.14
 * @see {@link https://man7.org/linux/man-pages/man7/network_namespaces.7.html network_namespaces(7)}
 */
export const SO_NETNS_COOKIE = ro('SO_NETNS_COOKIE', SOL_SOCKET, 71, u64)

/**
 * Which buffers keep their size instead of being tuned by the kernel: `SOCK_SNDBUF_LOCK`, `SOCK_RCVBUF_LOCK`. Setting
 * `SO_SNDBUF` or `SO_RCVBUF` sets its bit; clearing it here lets the kernel tune again. Default 0.
 * get/set · Linux 5.15
 * @throws SystemError `EINVAL` for other bits
 * @see {@link https://git.kernel.org/torvalds/c/04190bf8944deb7e3ac165a1a494db23aa0160a9 the commit}
 */
export const SO_BUF_LOCK = rw('SO_BUF_LOCK', SOL_SOCKET, 72, int)

/**
 * How many **bytes** of kernel memory are reserved for this socket. They are charged to its control group at once, so that
 * sending and receiving need no further accounting. Default 0.
 * get/set · Linux 5.16
 * @throws SystemError `EOPNOTSUPP` (`ENOTSUP` in Node) if the control group doesn't account for socket memory, `ENOMEM`,
 * `EINVAL` when negative
 * @see {@link https://git.kernel.org/torvalds/c/2bb2f5fb21b0486ff69b7b4a1fe03a760527d133 the commit}
 */
export const SO_RESERVE_MEM = rw('SO_RESERVE_MEM', SOL_SOCKET, 73, bytes)

/**
 * Whether a TCP connection in trouble picks another hash, so that it may take another path: 1 yes, 0 no. −1, the default,
 * stands for `net.core.txrehash`, whose value is then read.
 * get/set · Linux 5.18
 * @throws SystemError `EINVAL` for other numbers, `EOPNOTSUPP` (`ENOTSUP` in Node) on other sockets than TCP
 * @see {@link https://docs.kernel.org/admin-guide/sysctl/net.html net.core.txrehash}
 */
export const SO_TXREHASH = rw('SO_TXREHASH', SOL_SOCKET, 74, int)

/**
 * Whether each received packet carries its mark (`SO_MARK`, a u32). Default false.
 * get/set · Linux 5.19
 * @see {@link https://git.kernel.org/torvalds/c/6fd1d51cfa253b5ee7dae18d7cf1df830e9b6137 the commit}
 */
export const SO_RCVMARK = rw('SO_RCVMARK', SOL_SOCKET, 75, bool)

/**
 * Whether each received message carries a descriptor of the sending process (`SCM_PIDFD`): the `pidfd` in the results of
 * `recvMessage`, `ReceiveBatch` and `DatagramChannel`; the program must close it. Default false. Unix sockets.
 * get/set · Linux 6.5
 * @throws SystemError `EOPNOTSUPP` (`ENOTSUP` in Node) on other sockets (since Linux 6.16)
 * @see {@link https://man7.org/linux/man-pages/man7/unix.7.html unix(7)}
 */
export const SO_PASSPIDFD = rw('SO_PASSPIDFD', SOL_SOCKET, 76, bool)

/**
 * Gives back device memory that TCP received into.
 * set · Linux 6.12
 * @throws SystemError `EBADF` on other sockets than TCP, `EINVAL` for more than 128 ranges or 1024 fragments
 * @see {@link https://docs.kernel.org/networking/devmem.html devmem}
 */
export const SO_DEVMEM_DONTNEED = wo('SO_DEVMEM_DONTNEED', SOL_SOCKET, 80, deviceMemoryRanges)

/**
 * Whether each received datagram carries its priority (`SO_PRIORITY`, a u32). Default false. UDP.
 * get/set · Linux 6.14
 * @see {@link https://git.kernel.org/torvalds/c/e45469e594b255ef8d750ed5576698743450d2ac the commit}
 */
export const SO_RCVPRIORITY = rw('SO_RCVPRIORITY', SOL_SOCKET, 82, bool)

/**
 * Whether descriptors (`SCM_RIGHTS`) may be sent to this socket; otherwise a send with descriptors fails with `EPERM`.
 * Default true. Unix sockets; accepted connections inherit it from their listener.
 * get/set · Linux 6.16
 * @throws SystemError `EOPNOTSUPP` (`ENOTSUP` in Node) on other sockets
 * @see {@link https://git.kernel.org/torvalds/c/77cbe1a6d8730a07f99f9263c2d5f2304cf5e830 the commit}
 */
export const SO_PASSRIGHTS = rw('SO_PASSRIGHTS', SOL_SOCKET, 83, bool)

/**
 * Whether each receive reports how many **bytes** are left in the queue (`SCM_INQ`, an int). Default false. Unix stream
 * sockets; for TCP there is `TCP_INQ`.
 * set · Linux 6.17
 * @throws SystemError `ENOPROTOOPT` on other sockets
 * @see {@link https://git.kernel.org/torvalds/c/df30285b3670bf52e1e5512e4d4482bec5e93c16 the commit}
 */
export const SO_INQ = wo('SO_INQ', SOL_SOCKET, 84, bool)
