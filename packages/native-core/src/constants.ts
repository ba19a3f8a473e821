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

// AF_VSOCK: vsock(7)
export const VMADDR_CID_ANY = 0xffff_ffff
export const VMADDR_CID_HYPERVISOR = 0
export const VMADDR_CID_LOCAL = 1
export const VMADDR_CID_HOST = 2
export const VMADDR_PORT_ANY = 0xffff_ffff
