/**
 * Numbers of the kernel's socket ABI that are not options, control messages or errnos. They are the same on x64, arm64,
 * riscv64 and s390x (asm-generic), and frozen. Each is checked against the kernel's headers by a test.
 */

// Address families: socket(2), address_families(7)
export const AF_UNSPEC = 0
export const AF_UNIX = 1
export const AF_INET = 2
export const AF_INET6 = 10
export const AF_NETLINK = 16
export const AF_PACKET = 17
export const AF_CAN = 29
export const AF_VSOCK = 40

// Socket types: socket(2)
export const SOCK_STREAM = 1
export const SOCK_DGRAM = 2
export const SOCK_RAW = 3
export const SOCK_RDM = 4
export const SOCK_SEQPACKET = 5
export const SOCK_NONBLOCK = 0o4000
export const SOCK_CLOEXEC = 0o2000000

// Protocols and option levels: ip(7), ipv6(7), tcp(7), udp(7)
export const SOL_SOCKET = 1
export const IPPROTO_IP = 0
export const IPPROTO_ICMP = 1
export const IPPROTO_TCP = 6
export const IPPROTO_UDP = 17
export const IPPROTO_IPV6 = 41
export const IPPROTO_ICMPV6 = 58
export const IPPROTO_SCTP = 132
export const IPPROTO_UDPLITE = 136
export const IPPROTO_RAW = 255
export const IPPROTO_MPTCP = 262
export const SOL_PACKET = 263
export const SOL_NETLINK = 270

// Flags of send and receive calls: send(2), recv(2)
export const MSG_OOB = 0x1
export const MSG_PEEK = 0x2
export const MSG_DONTROUTE = 0x4
export const MSG_CTRUNC = 0x8
export const MSG_TRUNC = 0x20
export const MSG_DONTWAIT = 0x40
export const MSG_EOR = 0x80
export const MSG_WAITALL = 0x100
export const MSG_CONFIRM = 0x800
export const MSG_ERRQUEUE = 0x2000
export const MSG_NOSIGNAL = 0x4000
export const MSG_MORE = 0x8000
export const MSG_WAITFORONE = 0x10000
export const MSG_ZEROCOPY = 0x4000000
export const MSG_FASTOPEN = 0x20000000
export const MSG_CMSG_CLOEXEC = 0x40000000

// shutdown(2)
export const SHUT_RD = 0
export const SHUT_WR = 1
export const SHUT_RDWR = 2

/** The longest backlog to ask for: the kernel lowers it to net.core.somaxconn. listen(2) */
export const SOMAXCONN = 4096

// epoll_ctl(2)
export const EPOLL_CTL_ADD = 1
export const EPOLL_CTL_DEL = 2
export const EPOLL_CTL_MOD = 3
export const EPOLLIN = 0x001
export const EPOLLPRI = 0x002
export const EPOLLOUT = 0x004
export const EPOLLERR = 0x008
export const EPOLLHUP = 0x010
export const EPOLLRDHUP = 0x2000
export const EPOLLEXCLUSIVE = 0x10000000
export const EPOLLWAKEUP = 0x20000000
export const EPOLLONESHOT = 0x40000000
export const EPOLLET = 0x80000000

// fcntl(2), open(2)
export const F_DUPFD_CLOEXEC = 1030
export const F_GETFD = 1
export const F_SETFD = 2
export const F_GETFL = 3
export const F_SETFL = 4
export const F_SETPIPE_SZ = 1031
export const F_GETPIPE_SZ = 1032
export const FD_CLOEXEC = 1
export const O_NONBLOCK = 0o4000

// ioctl(2): sockets
export const SIOCINQ = 0x541b
export const SIOCOUTQ = 0x5411
export const SIOCATMARK = 0x8905
export const SIOCOUTQNSD = 0x894b

// eventfd(2)
export const EFD_SEMAPHORE = 1
export const EFD_NONBLOCK = 0o4000

// splice(2)
export const SPLICE_F_MOVE = 1
export const SPLICE_F_NONBLOCK = 2
export const SPLICE_F_MORE = 4

// getrlimit(2)
export const RLIMIT_NOFILE = 7
export const RLIM_INFINITY = 0xffff_ffff_ffff_ffffn

// cmsg(3): control messages at SOL_SOCKET
export const SCM_RIGHTS = 1

// SO_BUF_LOCK
export const SOCK_SNDBUF_LOCK = 1
export const SOCK_RCVBUF_LOCK = 2

// SO_TIMESTAMPING: https://docs.kernel.org/networking/timestamping.html
export const SOF_TIMESTAMPING_TX_HARDWARE = 0x1
export const SOF_TIMESTAMPING_TX_SOFTWARE = 0x2
export const SOF_TIMESTAMPING_RX_HARDWARE = 0x4
export const SOF_TIMESTAMPING_RX_SOFTWARE = 0x8
export const SOF_TIMESTAMPING_SOFTWARE = 0x10
export const SOF_TIMESTAMPING_SYS_HARDWARE = 0x20
export const SOF_TIMESTAMPING_RAW_HARDWARE = 0x40
export const SOF_TIMESTAMPING_OPT_ID = 0x80
export const SOF_TIMESTAMPING_TX_SCHED = 0x100
export const SOF_TIMESTAMPING_TX_ACK = 0x200
export const SOF_TIMESTAMPING_OPT_CMSG = 0x400
export const SOF_TIMESTAMPING_OPT_TSONLY = 0x800
export const SOF_TIMESTAMPING_OPT_STATS = 0x1000
export const SOF_TIMESTAMPING_OPT_PKTINFO = 0x2000
export const SOF_TIMESTAMPING_OPT_TX_SWHW = 0x4000
export const SOF_TIMESTAMPING_BIND_PHC = 0x8000
export const SOF_TIMESTAMPING_OPT_ID_TCP = 0x10000
export const SOF_TIMESTAMPING_OPT_RX_FILTER = 0x20000
export const SOF_TIMESTAMPING_TX_COMPLETION = 0x40000

// SO_TXTIME
export const SOF_TXTIME_DEADLINE_MODE = 1
export const SOF_TXTIME_REPORT_ERRORS = 2
export const CLOCK_REALTIME = 0
export const CLOCK_MONOTONIC = 1
export const CLOCK_TAI = 11

// IP_TOS, IPV6_TCLASS: RFC 2474, RFC 3168, RFC 1349
export const IPTOS_DSCP_AF11 = 0x28
export const IPTOS_DSCP_AF12 = 0x30
export const IPTOS_DSCP_AF13 = 0x38
export const IPTOS_DSCP_AF21 = 0x48
export const IPTOS_DSCP_AF22 = 0x50
export const IPTOS_DSCP_AF23 = 0x58
export const IPTOS_DSCP_AF31 = 0x68
export const IPTOS_DSCP_AF32 = 0x70
export const IPTOS_DSCP_AF33 = 0x78
export const IPTOS_DSCP_AF41 = 0x88
export const IPTOS_DSCP_AF42 = 0x90
export const IPTOS_DSCP_AF43 = 0x98
export const IPTOS_DSCP_EF = 0xb8
export const IPTOS_CLASS_CS0 = 0x00
export const IPTOS_CLASS_CS1 = 0x20
export const IPTOS_CLASS_CS2 = 0x40
export const IPTOS_CLASS_CS3 = 0x60
export const IPTOS_CLASS_CS4 = 0x80
export const IPTOS_CLASS_CS5 = 0xa0
export const IPTOS_CLASS_CS6 = 0xc0
export const IPTOS_CLASS_CS7 = 0xe0
export const IPTOS_ECN_MASK = 0x03
export const IPTOS_ECN_NOT_ECT = 0x00
export const IPTOS_ECN_ECT1 = 0x01
export const IPTOS_ECN_ECT0 = 0x02
export const IPTOS_ECN_CE = 0x03
export const IPTOS_LOWDELAY = 0x10
export const IPTOS_THROUGHPUT = 0x08
export const IPTOS_RELIABILITY = 0x04
export const IPTOS_MINCOST = 0x02

// IP_MTU_DISCOVER, IPV6_MTU_DISCOVER: ip(7)
/** Never forbid fragmenting. */
export const IP_PMTUDISC_DONT = 0
/** As the route says: the default. Forbid fragmenting, and fragment here what is too big. */
export const IP_PMTUDISC_WANT = 1
/** Always forbid fragmenting, and refuse what is too big with `EMSGSIZE`. */
export const IP_PMTUDISC_DO = 2
/** Forbid fragmenting and don't look at the known MTU: for finding it out oneself. */
export const IP_PMTUDISC_PROBE = 3
/** Use the interface's MTU, take no word about the path's, never forbid fragmenting and never fragment. */
export const IP_PMTUDISC_INTERFACE = 4
/** As `IP_PMTUDISC_INTERFACE`, but fragment what is too big for it. */
export const IP_PMTUDISC_OMIT = 5
export const IPV6_PMTUDISC_DONT = 0
export const IPV6_PMTUDISC_WANT = 1
export const IPV6_PMTUDISC_DO = 2
export const IPV6_PMTUDISC_PROBE = 3
export const IPV6_PMTUDISC_INTERFACE = 4
export const IPV6_PMTUDISC_OMIT = 5

// IPV6_FLOWLABEL_MGR
export const IPV6_FL_A_GET = 0
export const IPV6_FL_A_PUT = 1
export const IPV6_FL_A_RENEW = 2
export const IPV6_FL_F_CREATE = 1
export const IPV6_FL_F_EXCL = 2
export const IPV6_FL_F_REFLECT = 4
export const IPV6_FL_F_REMOTE = 8
export const IPV6_FL_S_NONE = 0
export const IPV6_FL_S_EXCL = 1
export const IPV6_FL_S_PROCESS = 2
export const IPV6_FL_S_USER = 3
export const IPV6_FL_S_ANY = 255

// IPV6_ADDR_PREFERENCES: RFC 5014
export const IPV6_PREFER_SRC_TMP = 0x0001
export const IPV6_PREFER_SRC_PUBLIC = 0x0002
export const IPV6_PREFER_SRC_PUBTMP_DEFAULT = 0x0100
export const IPV6_PREFER_SRC_COA = 0x0004
export const IPV6_PREFER_SRC_HOME = 0x0400
export const IPV6_PREFER_SRC_CGA = 0x0008
export const IPV6_PREFER_SRC_NONCGA = 0x0800

// AF_VSOCK: vsock(7)
export const VMADDR_CID_ANY = 0xffff_ffff
export const VMADDR_CID_HYPERVISOR = 0
export const VMADDR_CID_LOCAL = 1
export const VMADDR_CID_HOST = 2
export const VMADDR_PORT_ANY = 0xffff_ffff
