/**
 * Numbers of the kernel's socket ABI that are not options, control messages or errnos. They are the same on x64, arm64,
 * riscv64 and s390x (asm-generic), and frozen. Each is checked against the kernel's headers by a test.
 */

// Address families: socket(2), address_families(7)
/** No family: any family in a query; no address for `connect`. */
export const AF_UNSPEC = 0
/** unix(7): between processes of this host. */
export const AF_UNIX = 1
/** ip(7): IPv4. */
export const AF_INET = 2
/** ipv6(7): IPv6, and IPv4 by mapped addresses unless `IPV6_V6ONLY` is set. */
export const AF_INET6 = 10
/** netlink(7): messages to and from the kernel. */
export const AF_NETLINK = 16
/** packet(7): the frames of an interface. `CAP_NET_RAW`. */
export const AF_PACKET = 17
/** CAN, the bus of vehicles and machines; its addresses are given as `{ family: AF_CAN, data }`. */
export const AF_CAN = 29
/** vsock(7): virtual machines and their host. */
export const AF_VSOCK = 40

// Socket types: socket(2)
/** Bytes in order, both ways, over a connection. */
export const SOCK_STREAM = 1
/** Separate messages; UDP may lose or reorder them. */
export const SOCK_DGRAM = 2
/** Packets with their protocol’s own header. raw(7), `CAP_NET_RAW`. */
export const SOCK_RAW = 3
/** Messages that are not lost but may be reordered. */
export const SOCK_RDM = 4
/** Messages in order, over a connection. */
export const SOCK_SEQPACKET = 5
/** Or-ed to a type: calls don't block. `Socket` sets it unless `blocking` is set. */
export const SOCK_NONBLOCK = 0o4000
/** Or-ed to a type: closed on exec. Always set. */
export const SOCK_CLOEXEC = 0o2000000

// Protocols and option levels: ip(7), ipv6(7), tcp(7), udp(7)
/** The level of options and control messages of every socket. socket(7) */
export const SOL_SOCKET = 1
/** The level of IPv4’s options; as a protocol it is 0, the default protocol of the type. */
export const IPPROTO_IP = 0
/** ICMP; with `SOCK_DGRAM` for pings without a capability (`net.ipv4.ping_group_range`). icmp(7) */
export const IPPROTO_ICMP = 1
/** TCP, and the level of its options. tcp(7) */
export const IPPROTO_TCP = 6
/** UDP, and the level of its options. udp(7) */
export const IPPROTO_UDP = 17
/** The level of IPv6’s options. ipv6(7) */
export const IPPROTO_IPV6 = 41
/** ICMPv6, and the level of `ICMP6_FILTER`. */
export const IPPROTO_ICMPV6 = 58
/** SCTP. sctp(7) */
export const IPPROTO_SCTP = 132
/** UDP-Lite: UDP with a checksum over a part. udplite(7) */
export const IPPROTO_UDPLITE = 136
/** Raw IP with a header that the sender writes, for sending only; the level of `ICMP_FILTER`. raw(7) */
export const IPPROTO_RAW = 255
/** Multipath TCP, Linux 5.6. */
export const IPPROTO_MPTCP = 262
/** The level of options of packet sockets. packet(7) */
export const SOL_PACKET = 263
/** The level of options of netlink sockets. netlink(7) */
export const SOL_NETLINK = 270

// Flags of send and receive calls: send(2), recv(2)
/** Sends or receives urgent data: one byte of TCP, out of line. */
export const MSG_OOB = 0x1
/** Receives without taking the data from the queue. */
export const MSG_PEEK = 0x2
/** Sends to directly connected networks only. */
export const MSG_DONTROUTE = 0x4
/** Received: control messages were cut, since their buffer was too small. */
export const MSG_CTRUNC = 0x8
/** Received: the datagram was cut. As a flag of the call: the true length is returned (TCP: the bytes are dropped). */
export const MSG_TRUNC = 0x20
/** This call doesn't block, whatever the socket’s mode. */
export const MSG_DONTWAIT = 0x40
/** The end of a record: `SOCK_SEQPACKET`. */
export const MSG_EOR = 0x80
/** A blocking receive waits until all requested bytes have come. Streams. */
export const MSG_WAITALL = 0x100
/** The neighbor is alive, so the kernel need not probe it (ARP). `SOCK_DGRAM` and `SOCK_RAW`. */
export const MSG_CONFIRM = 0x800
/** Receives from the error queue: ICMP errors, timestamps, zero-copy notices. */
export const MSG_ERRQUEUE = 0x2000
/** No SIGPIPE. Always set. */
export const MSG_NOSIGNAL = 0x4000
/** More data follows: TCP holds back partial segments, UDP makes one datagram of all. */
export const MSG_MORE = 0x8000
/** recvmmsg(2) on a blocking socket waits for the first message only. */
export const MSG_WAITFORONE = 0x10000
/** The kernel reads the caller’s memory later; needs `SO_ZEROCOPY`. Linux 4.14. */
export const MSG_ZEROCOPY = 0x4000000
/** Connects and sends data with the SYN. TCP, Linux 3.6. */
export const MSG_FASTOPEN = 0x20000000
/** Received descriptors are closed on exec. Always set. */
export const MSG_CMSG_CLOEXEC = 0x40000000

// shutdown(2)
/** Ends receiving. */
export const SHUT_RD = 0
/** Ends sending: the peer gets the end. */
export const SHUT_WR = 1
/** Ends both directions. */
export const SHUT_RDWR = 2

/** The longest backlog to request: the kernel lowers it to net.core.somaxconn. listen(2) */
export const SOMAXCONN = 4096

// epoll_ctl(2)
/** Adds a descriptor. */
export const EPOLL_CTL_ADD = 1
/** Removes a descriptor. */
export const EPOLL_CTL_DEL = 2
/** Changes a descriptor's events. */
export const EPOLL_CTL_MOD = 3
/** There is something to read, a connection to accept, or an end. */
export const EPOLLIN = 0x001
/** There is urgent data, or with `SO_SELECT_ERR_QUEUE` a message in the error queue. */
export const EPOLLPRI = 0x002
/** There is room to write, or a connection has been made. */
export const EPOLLOUT = 0x004
/** There is an error (`SO_ERROR`) or a message in the error queue. Always reported. */
export const EPOLLERR = 0x008
/** Both directions have ended. Always reported. */
export const EPOLLHUP = 0x010
/** The peer has ended its direction. Linux 2.6.17. */
export const EPOLLRDHUP = 0x2000
/** Only some of several epoll instances that wait for one descriptor are woken. Linux 4.5. */
export const EPOLLEXCLUSIVE = 0x10000000
/** The system does not suspend while the event is handled. Linux 3.5, `CAP_BLOCK_SUSPEND`. */
export const EPOLLWAKEUP = 0x20000000
/** Reported once; then disabled until `EPOLL_CTL_MOD`. */
export const EPOLLONESHOT = 0x40000000
/** Edge-triggered: reported when the state changes, not as long as it lasts. */
export const EPOLLET = 0x80000000

// fcntl(2), open(2)
/** Duplicates a descriptor; use `dup`. */
export const F_DUPFD = 0
/** Duplicates a descriptor, closed on exec; use `dup`, which gives the new descriptor its owner. */
export const F_DUPFD_CLOEXEC = 1030
/** Reads the descriptor’s flags. */
export const F_GETFD = 1
/** Sets the descriptor’s flags. */
export const F_SETFD = 2
/** Reads the open file’s flags. */
export const F_GETFL = 3
/** Sets the open file’s flags, for every process that shares it. */
export const F_SETFL = 4
/** Sets the capacity of a pipe in **bytes**, rounded up to a power of two pages. Linux 2.6.35. */
export const F_SETPIPE_SZ = 1031
/** Reads the capacity of a pipe in **bytes**. Linux 2.6.35. */
export const F_GETPIPE_SZ = 1032
/** A descriptor’s flag: closed on exec. */
export const FD_CLOEXEC = 1
/** An open file’s flag: calls don't block. */
export const O_NONBLOCK = 0o4000

// ioctl(2): sockets
/** The number of **bytes** that wait to be read; for datagrams, those of the first. tcp(7), udp(7) */
export const SIOCINQ = 0x541b
/** The number of **bytes** that wait to be sent or, for TCP, acknowledged. tcp(7), udp(7) */
export const SIOCOUTQ = 0x5411
/** Whether the next byte to be read is the urgent one: 1 or 0. sockatmark(3) */
export const SIOCATMARK = 0x8905
/** The number of **bytes** that TCP has not sent yet. */
export const SIOCOUTQNSD = 0x894b

// ioctl(2): epoll instances
/** Sets `struct epoll_params`: how an instance busy polls. Linux 6.9. ioctl_eventpoll(2) */
export const EPIOCSPARAMS = 0x40088a01
/** Gets `struct epoll_params`. Linux 6.9. ioctl_eventpoll(2) */
export const EPIOCGPARAMS = 0x80088a02

// eventfd(2)
/** Each read takes 1 from the counter. */
export const EFD_SEMAPHORE = 1
/** Calls don't block. */
export const EFD_NONBLOCK = 0o4000

// splice(2)
/** Moves pages instead of copying them, if possible. Only a hint. */
export const SPLICE_F_MOVE = 1
/** Does not wait for the pipe. */
export const SPLICE_F_NONBLOCK = 2
/** More data follows, like `MSG_MORE`. */
export const SPLICE_F_MORE = 4

// getrlimit(2)
/** One more than the largest number that a descriptor may have. */
export const RLIMIT_NOFILE = 7
/** No limit, as the kernel writes it; in this package it is `Infinity`. */
export const RLIM_INFINITY = 0xffff_ffff_ffff_ffffn

// cmsg(3): control messages at SOL_SOCKET
/** Passed descriptors: the `descriptors` of `sendMessage` and `recvMessage`. */
export const SCM_RIGHTS = 1

// SO_BUF_LOCK
/** The send buffer keeps its size. */
export const SOCK_SNDBUF_LOCK = 1
/** The receive buffer keeps its size. */
export const SOCK_RCVBUF_LOCK = 2

// SO_TIMESTAMPING: https://docs.kernel.org/networking/timestamping.html
/** Takes a timestamp when the device sends the packet. */
export const SOF_TIMESTAMPING_TX_HARDWARE = 0x1
/** Takes a timestamp when the packet is passed to the device. */
export const SOF_TIMESTAMPING_TX_SOFTWARE = 0x2
/** Takes a timestamp when the device receives the packet. */
export const SOF_TIMESTAMPING_RX_HARDWARE = 0x4
/** Takes a timestamp when the packet enters the network stack. */
export const SOF_TIMESTAMPING_RX_SOFTWARE = 0x8
/** Reports timestamps that were taken in software. */
export const SOF_TIMESTAMPING_SOFTWARE = 0x10
/** No effect; formerly, device timestamps in the system’s time. */
export const SOF_TIMESTAMPING_SYS_HARDWARE = 0x20
/** Reports timestamps of the device, by its own clock. */
export const SOF_TIMESTAMPING_RAW_HARDWARE = 0x40
/** Each reported timestamp tells which packet, or which byte of a stream, it belongs to. */
export const SOF_TIMESTAMPING_OPT_ID = 0x80
/** Takes a timestamp when the packet enters the queueing discipline. */
export const SOF_TIMESTAMPING_TX_SCHED = 0x100
/** Takes a timestamp when TCP’s peer has acknowledged all of the data. */
export const SOF_TIMESTAMPING_TX_ACK = 0x200
/** The transmit timestamp of a packet comes with the packet's control messages (`IP_PKTINFO`). */
export const SOF_TIMESTAMPING_OPT_CMSG = 0x400
/** Transmit timestamps come without the packet. */
export const SOF_TIMESTAMPING_OPT_TSONLY = 0x800
/** Transmit timestamps of TCP come with statistics. Needs `SOF_TIMESTAMPING_OPT_TSONLY`. */
export const SOF_TIMESTAMPING_OPT_STATS = 0x1000
/** Receive timestamps of the device come with the interface and the length of the packet. */
export const SOF_TIMESTAMPING_OPT_PKTINFO = 0x2000
/** Reports a software timestamp even if the device takes one, too. */
export const SOF_TIMESTAMPING_OPT_TX_SWHW = 0x4000
/** Timestamps are by a chosen clock of the device. Linux 5.14. */
export const SOF_TIMESTAMPING_BIND_PHC = 0x8000
/** `SOF_TIMESTAMPING_OPT_ID` on TCP counts from the bytes written, not acknowledged. Linux 6.2. */
export const SOF_TIMESTAMPING_OPT_ID_TCP = 0x10000
/** Reports only timestamps that this socket asked for, though others have switched on receive timestamps. Linux 6.12. */
export const SOF_TIMESTAMPING_OPT_RX_FILTER = 0x20000
/** Takes a timestamp when the device reports that it is done with the packet. Linux 6.15. */
export const SOF_TIMESTAMPING_TX_COMPLETION = 0x40000

// SO_TXTIME
/** The time is a deadline: the packet may be sent earlier. */
export const SOF_TXTIME_DEADLINE_MODE = 1
/** Packets that could not leave in time are reported on the error queue. */
export const SOF_TXTIME_REPORT_ERRORS = 2
/** The time of day, which can be set. */
export const CLOCK_REALTIME = 0
/** The time since some starting point, which never goes back. */
export const CLOCK_MONOTONIC = 1
/** The time of day without leap seconds. */
export const CLOCK_TAI = 11

// IP_TOS, IPV6_TCLASS: RFC 2474, RFC 3168, RFC 1349
/** Assured forwarding (RFC 2597), class 1, drop precedence 1. */
export const IPTOS_DSCP_AF11 = 0x28
/** Assured forwarding (RFC 2597), class 1, drop precedence 2. */
export const IPTOS_DSCP_AF12 = 0x30
/** Assured forwarding (RFC 2597), class 1, drop precedence 3. */
export const IPTOS_DSCP_AF13 = 0x38
/** Assured forwarding (RFC 2597), class 2, drop precedence 1. */
export const IPTOS_DSCP_AF21 = 0x48
/** Assured forwarding (RFC 2597), class 2, drop precedence 2. */
export const IPTOS_DSCP_AF22 = 0x50
/** Assured forwarding (RFC 2597), class 2, drop precedence 3. */
export const IPTOS_DSCP_AF23 = 0x58
/** Assured forwarding (RFC 2597), class 3, drop precedence 1. */
export const IPTOS_DSCP_AF31 = 0x68
/** Assured forwarding (RFC 2597), class 3, drop precedence 2. */
export const IPTOS_DSCP_AF32 = 0x70
/** Assured forwarding (RFC 2597), class 3, drop precedence 3. */
export const IPTOS_DSCP_AF33 = 0x78
/** Assured forwarding (RFC 2597), class 4, drop precedence 1. */
export const IPTOS_DSCP_AF41 = 0x88
/** Assured forwarding (RFC 2597), class 4, drop precedence 2. */
export const IPTOS_DSCP_AF42 = 0x90
/** Assured forwarding (RFC 2597), class 4, drop precedence 3. */
export const IPTOS_DSCP_AF43 = 0x98
/** Expedited forwarding (RFC 3246): for voice. */
export const IPTOS_DSCP_EF = 0xb8
/** Class selector 0 (RFC 2474): the default. */
export const IPTOS_CLASS_CS0 = 0x00
/** Class selector 1 (RFC 2474). */
export const IPTOS_CLASS_CS1 = 0x20
/** Class selector 2 (RFC 2474). */
export const IPTOS_CLASS_CS2 = 0x40
/** Class selector 3 (RFC 2474). */
export const IPTOS_CLASS_CS3 = 0x60
/** Class selector 4 (RFC 2474). */
export const IPTOS_CLASS_CS4 = 0x80
/** Class selector 5 (RFC 2474). */
export const IPTOS_CLASS_CS5 = 0xa0
/** Class selector 6 (RFC 2474). */
export const IPTOS_CLASS_CS6 = 0xc0
/** Class selector 7 (RFC 2474). */
export const IPTOS_CLASS_CS7 = 0xe0
/** The mask of the two ECN bits. */
export const IPTOS_ECN_MASK = 0x03
/** No ECN. */
export const IPTOS_ECN_NOT_ECT = 0x00
/** ECN is supported, the other code point: L4S (RFC 9331). */
export const IPTOS_ECN_ECT1 = 0x01
/** ECN is supported. */
export const IPTOS_ECN_ECT0 = 0x02
/** A router was congested. */
export const IPTOS_ECN_CE = 0x03
/** RFC 1349, obsolete. */
export const IPTOS_LOWDELAY = 0x10
/** RFC 1349, obsolete. */
export const IPTOS_THROUGHPUT = 0x08
/** RFC 1349, obsolete. */
export const IPTOS_RELIABILITY = 0x04
/** RFC 1349, obsolete. */
export const IPTOS_MINCOST = 0x02

// IP_MTU_DISCOVER, IPV6_MTU_DISCOVER: ip(7)
/** Never forbids fragmenting. */
export const IP_PMTUDISC_DONT = 0
/** The route's setting, the default: forbids fragmenting in the network, and fragments here what is too big. */
export const IP_PMTUDISC_WANT = 1
/** Always forbids fragmenting, and refuses what is too big with `EMSGSIZE`. */
export const IP_PMTUDISC_DO = 2
/** Forbids fragmenting and ignores the known MTU: for programs that discover it themselves. */
export const IP_PMTUDISC_PROBE = 3
/** Uses the interface's MTU, ignores reports about the path's, never forbids fragmenting and never fragments. */
export const IP_PMTUDISC_INTERFACE = 4
/** Like `IP_PMTUDISC_INTERFACE`, but fragments what is too big for the interface. */
export const IP_PMTUDISC_OMIT = 5
/** Like `IP_PMTUDISC_DONT`. */
export const IPV6_PMTUDISC_DONT = 0
/** Like `IP_PMTUDISC_WANT`. */
export const IPV6_PMTUDISC_WANT = 1
/** Like `IP_PMTUDISC_DO`. */
export const IPV6_PMTUDISC_DO = 2
/** Like `IP_PMTUDISC_PROBE`. */
export const IPV6_PMTUDISC_PROBE = 3
/** Like `IP_PMTUDISC_INTERFACE`. */
export const IPV6_PMTUDISC_INTERFACE = 4
/** Like `IP_PMTUDISC_OMIT`. */
export const IPV6_PMTUDISC_OMIT = 5

// IPV6_FLOWLABEL_MGR
/** Leases a label, or reads its state. */
export const IPV6_FL_A_GET = 0
/** Gives a label back. */
export const IPV6_FL_A_PUT = 1
/** Extends the lease of a label. */
export const IPV6_FL_A_RENEW = 2
/** Creates the label if it is not leased. */
export const IPV6_FL_F_CREATE = 1
/** Fails if the label is already leased. */
export const IPV6_FL_F_EXCL = 2
/** Answers on this connection carry the labels that its peer uses. TCP, Linux 3.14. */
export const IPV6_FL_F_REFLECT = 4
/** Reads the label that the peer uses. Linux 3.14. */
export const IPV6_FL_F_REMOTE = 8
/** No sharing: refused with `EINVAL`. For giving back and renewing, which ignore it. */
export const IPV6_FL_S_NONE = 0
/** For this socket alone, and only once. */
export const IPV6_FL_S_EXCL = 1
/** For sockets of this process. */
export const IPV6_FL_S_PROCESS = 2
/** For sockets of this user. */
export const IPV6_FL_S_USER = 3
/** For all sockets. */
export const IPV6_FL_S_ANY = 255

// IPV6_ADDR_PREFERENCES: RFC 5014
/** Prefers a temporary address (RFC 8981). */
export const IPV6_PREFER_SRC_TMP = 0x0001
/** Prefers a public address. */
export const IPV6_PREFER_SRC_PUBLIC = 0x0002
/** The preference of `net.ipv6.conf.*.use_tempaddr`. */
export const IPV6_PREFER_SRC_PUBTMP_DEFAULT = 0x0100
/** Prefers a care-of address (Mobile IPv6). */
export const IPV6_PREFER_SRC_COA = 0x0004
/** Prefers a home address (Mobile IPv6). */
export const IPV6_PREFER_SRC_HOME = 0x0400
/** Prefers a cryptographically generated address. No effect on Linux. */
export const IPV6_PREFER_SRC_CGA = 0x0008
/** Prefers an address that is not cryptographically generated. No effect on Linux. */
export const IPV6_PREFER_SRC_NONCGA = 0x0800

// AF_NETLINK: netlink(7)
/** Interfaces, addresses and routes: rtnetlink(7). */
export const NETLINK_ROUTE = 0
/** Sockets of this machine: sock_diag(7). */
export const NETLINK_SOCK_DIAG = 4

// AF_VSOCK: vsock(7)
/** Any address, to bind to. */
export const VMADDR_CID_ANY = 0xffff_ffff
/** Reserved; formerly the hypervisor itself. */
export const VMADDR_CID_HYPERVISOR = 0
/** This machine itself. Linux 5.6, where the loopback transport is loaded. */
export const VMADDR_CID_LOCAL = 1
/** The host of this virtual machine. */
export const VMADDR_CID_HOST = 2
/** Binding to it lets the kernel choose a port. */
export const VMADDR_PORT_ANY = 0xffff_ffff
