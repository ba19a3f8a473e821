/**
 * Options of IPv6, at IPPROTO_IPV6, in the order of their numbers in the kernel's linux/in6.h; then the filter of
 * ICMPv6.
 *
 * Not here: membership of multicast groups, which is more than a value (`@linux-sockets/udp-mcast`); what exists only
 * as a control message (IPV6_HOPLIMIT, IPV6_NEXTHOP); and the options of netfilter's and multicast routing's own tools.
 *
 * “Every Linux” is every version that Node.js runs on.
 */
import {
  bigEndianIfindex,
  bool,
  bytes,
  flowLabelRequest,
  hops,
  ifindex,
  int,
  ipv6AtInterface,
  pathMtu,
  raw,
} from '../codecs/codec.js'
import { sockaddr } from '../codecs/sockaddr.js'
import { IPPROTO_ICMPV6, IPPROTO_IPV6 } from '../constants.js'
import { ro, rw, wo } from '../option.js'

/**
 * The address family of a connected TCP or UDP socket. Setting it to `AF_INET`, the only choice, turns a socket that is
 * connected to an IPv4-mapped address into an IPv4 socket, irrevocably.
 * get/set · every Linux
 * @throws SystemError `ENOTCONN` if not connected, `EADDRNOTAVAIL` if the peer's address isn't mapped or `IPV6_V6ONLY` is
 * set
 * @see {@link https://man7.org/linux/man-pages/man7/ipv6.7.html ipv6(7)}
 */
export const IPV6_ADDRFORM = rw('IPV6_ADDRFORM', IPPROTO_IPV6, 1, int)

/**
 * Like `IPV6_RECVPKTINFO`, with the message number of RFC 2292 (`IPV6_2292PKTINFO`). Default false.
 * get/set · Linux 2.6.14
 * @see {@link https://datatracker.ietf.org/doc/html/rfc2292 RFC 2292}
 */
export const IPV6_2292PKTINFO = rw('IPV6_2292PKTINFO', IPPROTO_IPV6, 2, bool)

/**
 * Like `IPV6_RECVHOPOPTS`, with the message number of RFC 2292 (`IPV6_2292HOPOPTS`). Default false.
 * get/set · Linux 2.6.14
 * @see {@link https://datatracker.ietf.org/doc/html/rfc2292 RFC 2292}
 */
export const IPV6_2292HOPOPTS = rw('IPV6_2292HOPOPTS', IPPROTO_IPV6, 3, bool)

/**
 * Like `IPV6_RECVDSTOPTS`, with the message number of RFC 2292 (`IPV6_2292DSTOPTS`). Default false.
 * get/set · Linux 2.6.14
 * @see {@link https://datatracker.ietf.org/doc/html/rfc2292 RFC 2292}
 */
export const IPV6_2292DSTOPTS = rw('IPV6_2292DSTOPTS', IPPROTO_IPV6, 4, bool)

/**
 * Like `IPV6_RECVRTHDR`, with the message number of RFC 2292 (`IPV6_2292RTHDR`). Default false.
 * get/set · Linux 2.6.14
 * @see {@link https://datatracker.ietf.org/doc/html/rfc2292 RFC 2292}
 */
export const IPV6_2292RTHDR = rw('IPV6_2292RTHDR', IPPROTO_IPV6, 5, bool)

/**
 * Written: control messages that every packet carries, as **bytes** from `encodeControl`; empty, the default, for none.
 * Read (TCP only): the control messages that a datagram of this connection would have carried, for `decodeControl`.
 * get/set · every Linux
 * @throws SystemError `EINVAL` for bytes that are no control messages, `ENOPROTOOPT` when read on other sockets
 * @see {@link https://datatracker.ietf.org/doc/html/rfc2292 RFC 2292}
 */
export const IPV6_2292PKTOPTIONS = rw('IPV6_2292PKTOPTIONS', IPPROTO_IPV6, 6, raw(4096))

/**
 * The offset of the checksum in the packet, in **bytes**, even: the kernel then fills it in and checks it. −1, the default:
 * no checksum. Raw sockets; for `IPPROTO_ICMPV6` it is always 2 and can't be set.
 * get/set · every Linux
 * @throws SystemError `EINVAL` when odd or on ICMPv6, `ENOPROTOOPT` on other than raw sockets
 * @see {@link https://datatracker.ietf.org/doc/html/rfc3542#section-3.1 RFC 3542}
 */
export const IPV6_CHECKSUM = rw('IPV6_CHECKSUM', IPPROTO_IPV6, 7, bytes)

/**
 * Like `IPV6_RECVHOPLIMIT`, with the message number of RFC 2292 (`IPV6_2292HOPLIMIT`). Default false.
 * get/set · Linux 2.6.14
 * @see {@link https://datatracker.ietf.org/doc/html/rfc2292 RFC 2292}
 */
export const IPV6_2292HOPLIMIT = rw('IPV6_2292HOPLIMIT', IPPROTO_IPV6, 8, bool)

/**
 * Whether each received packet carries its traffic class and flow label (`IPV6_FLOWINFO`, 4 bytes in network byte
 * order). Default false.
 * get/set · every Linux
 * @see {@link https://man7.org/linux/man-pages/man7/ipv6.7.html ipv6(7)}
 */
export const IPV6_FLOWINFO = rw('IPV6_FLOWINFO', IPPROTO_IPV6, 11, bool)

/**
 * The hop limit of outgoing unicast packets in **hops**, 0 … 255. −1, the default, stands for the route's hop limit, which
 * is then read (64).
 * get/set · every Linux
 * @throws SystemError `EINVAL` out of range
 * @see {@link https://man7.org/linux/man-pages/man7/ipv6.7.html ipv6(7)}
 */
export const IPV6_UNICAST_HOPS = rw('IPV6_UNICAST_HOPS', IPPROTO_IPV6, 16, hops)

/**
 * The index of the interface that multicast is sent from. 0, the default, stands for the routing table's choice. Not for
 * streams.
 * get/set · every Linux
 * @throws SystemError `ENODEV` if there is no such interface, `EINVAL` if the socket is bound to another one, `ENOPROTOOPT`
 * when set on streams
 * @see {@link https://man7.org/linux/man-pages/man7/ipv6.7.html ipv6(7)}
 */
export const IPV6_MULTICAST_IF = rw('IPV6_MULTICAST_IF', IPPROTO_IPV6, 17, ifindex)

/**
 * The hop limit of outgoing multicast in **hops**, 0 … 255. 0 keeps it on this host. −1 stands for the default, 1: this
 * network. Not for streams.
 * get/set · every Linux
 * @throws SystemError `EINVAL` out of range, `ENOPROTOOPT` when set on streams
 * @see {@link https://man7.org/linux/man-pages/man7/ipv6.7.html ipv6(7)}
 */
export const IPV6_MULTICAST_HOPS = rw('IPV6_MULTICAST_HOPS', IPPROTO_IPV6, 18, hops)

/**
 * Whether multicast that this socket sends is also delivered to members on this host, including the sender. Default true.
 * get/set · every Linux
 * @see {@link https://man7.org/linux/man-pages/man7/ipv6.7.html ipv6(7)}
 */
export const IPV6_MULTICAST_LOOP = rw('IPV6_MULTICAST_LOOP', IPPROTO_IPV6, 19, bool)

/**
 * The value of the router alert option, 0 … 65535: the socket gets packets with that value, instead of the kernel
 * forwarding them. −1, the default: none. Reading gives 0 or 1: whether it was ever set. Raw sockets of `IPPROTO_RAW`.
 * get/set · every Linux
 * @throws SystemError `ENOPROTOOPT` when set on other sockets
 * @see {@link https://man7.org/linux/man-pages/man7/ipv6.7.html ipv6(7)}
 */
export const IPV6_ROUTER_ALERT = rw('IPV6_ROUTER_ALERT', IPPROTO_IPV6, 22, int)

/**
 * Whether packets may be fragmented, and whether the path MTU is discovered: `IPV6_PMTUDISC_…`. Default
 * `IPV6_PMTUDISC_WANT`.
 * get/set · every Linux; `IPV6_PMTUDISC_INTERFACE` 3.13, `IPV6_PMTUDISC_OMIT` 3.14
 * @throws SystemError `EINVAL` for other numbers
 * @see {@link https://man7.org/linux/man-pages/man7/ipv6.7.html ipv6(7)}
 */
export const IPV6_MTU_DISCOVER = rw('IPV6_MTU_DISCOVER', IPPROTO_IPV6, 23, int)

/**
 * Read: the known MTU of the path to the peer, in **bytes**. Written: the largest size of a fragment, and with
 * `IPV6_DONTFRAG` of a packet; at least 1280. 0, the default: the path's MTU. The written value can't be read back.
 * get/set · every Linux
 * @throws SystemError `ENOTCONN` when read on a socket that isn't connected, `EINVAL` when set to 1 … 1279
 * @see {@link https://man7.org/linux/man-pages/man7/ipv6.7.html ipv6(7)}
 */
export const IPV6_MTU = rw('IPV6_MTU', IPPROTO_IPV6, 24, bytes)

/**
 * Whether network errors are queued, each with the packet that caused it, to be received with `MSG_ERRQUEUE`
 * (`IPV6_RECVERR`). Default false. Switching it off empties the queue.
 * get/set · every Linux
 * @see {@link https://man7.org/linux/man-pages/man7/ipv6.7.html ipv6(7)}
 */
export const IPV6_RECVERR = rw('IPV6_RECVERR', IPPROTO_IPV6, 25, bool)

/**
 * Whether the socket uses IPv6 only, so that another socket can have the port for IPv4. Default false, unless
 * `net.ipv6.bindv6only` says otherwise. Set it before `bind` or `connect`.
 * get/set · every Linux
 * @throws SystemError `EINVAL` when set on a socket that is bound, and on raw sockets
 * @see {@link https://man7.org/linux/man-pages/man7/ipv6.7.html ipv6(7)}
 */
export const IPV6_V6ONLY = rw('IPV6_V6ONLY', IPPROTO_IPV6, 26, bool)

/**
 * Joins an anycast address: this host has it as long as the socket is open.
 * set · every Linux · `CAP_NET_ADMIN`
 * @throws SystemError `EPERM` without the capability, `EADDRNOTAVAIL` if the interface has no address of that prefix,
 * `EINVAL` for a multicast address or one that this host has
 * @see {@link https://datatracker.ietf.org/doc/html/rfc4291#section-2.6 RFC 4291}
 */
export const IPV6_JOIN_ANYCAST = wo('IPV6_JOIN_ANYCAST', IPPROTO_IPV6, 27, ipv6AtInterface)

/**
 * Leaves an anycast address that this socket has joined.
 * set · every Linux
 * @throws SystemError `ENOENT` if it hasn't
 * @see {@link https://datatracker.ietf.org/doc/html/rfc4291#section-2.6 RFC 4291}
 */
export const IPV6_LEAVE_ANYCAST = wo('IPV6_LEAVE_ANYCAST', IPPROTO_IPV6, 28, ipv6AtInterface)

/**
 * Whether the socket gets datagrams to any group that some socket on this host has joined, and not only to its own groups.
 * Default true.
 * get/set · Linux 4.20
 * @see {@link https://git.kernel.org/torvalds/c/15033f0457dc the commit}
 */
export const IPV6_MULTICAST_ALL = rw('IPV6_MULTICAST_ALL', IPPROTO_IPV6, 29, bool)

/**
 * Whether `IPV6_ROUTER_ALERT` is limited to packets of this socket's network namespace. Default false.
 * get/set · Linux 5.1
 * @see {@link https://git.kernel.org/pub/scm/linux/kernel/git/torvalds/linux.git/tree/net/ipv6/ipv6_sockglue.c
 * ipv6_sockglue.c}
 */
export const IPV6_ROUTER_ALERT_ISOLATE = rw('IPV6_ROUTER_ALERT_ISOLATE', IPPROTO_IPV6, 30, bool)

/**
 * Whether queued errors (`IPV6_RECVERR`) tell where in the packet the extensions of the ICMPv6 message begin (RFC
 * 4884). Default false.
 * get/set · Linux 5.9
 * @see {@link https://datatracker.ietf.org/doc/html/rfc4884 RFC 4884}
 */
export const IPV6_RECVERR_RFC4884 = rw('IPV6_RECVERR_RFC4884', IPPROTO_IPV6, 31, bool)

/**
 * Leases, renews or gives back a flow label for packets of this socket. To learn which label the kernel chose, or to read
 * the state of a label, pass the 32 bytes of `struct in6_flowlabel_req` to `setOptionBytes` or `getOptionBytes`: the kernel
 * writes its answer into them.
 * set · every Linux · without `CAP_NET_ADMIN` only few labels
 * @throws SystemError `EEXIST` for a label that another user has, `EPERM` if it may not be shared, `ENOENT`, `ESRCH` for a
 * label that isn't leased, `EINVAL`
 * @see {@link https://datatracker.ietf.org/doc/html/rfc6437 RFC 6437}
 */
export const IPV6_FLOWLABEL_MGR = wo('IPV6_FLOWLABEL_MGR', IPPROTO_IPV6, 32, flowLabelRequest)

/**
 * Whether the `flowlabel` of a destination address is sent; it must have been leased with `IPV6_FLOWLABEL_MGR` unless
 * `net.ipv6.flowlabel_consistency` is off. Default false.
 * get/set · every Linux
 * @see {@link https://man7.org/linux/man-pages/man7/ipv6.7.html ipv6(7)}
 */
export const IPV6_FLOWINFO_SEND = rw('IPV6_FLOWINFO_SEND', IPPROTO_IPV6, 33, bool)

/**
 * An IPsec policy for this socket, as the **bytes** of PF_KEY's `struct sadb_x_policy` and its requests.
 * set · every Linux · `CAP_NET_ADMIN`
 * @throws SystemError `EPERM` without the capability, `EOPNOTSUPP` (`ENOTSUP` in Node) where the kernel was built
 * without PF_KEY
 * @see {@link https://git.kernel.org/pub/scm/linux/kernel/git/torvalds/linux.git/tree/net/key/af_key.c af_key.c}
 */
export const IPV6_IPSEC_POLICY = wo('IPV6_IPSEC_POLICY', IPPROTO_IPV6, 34, raw(4096))

/**
 * An IPsec policy for one direction of this socket, as the **bytes** of `struct xfrm_userpolicy_info` and its templates. A
 * later policy replaces it.
 * set · every Linux · `CAP_NET_ADMIN`
 * @throws SystemError `EPERM` without the capability, `EINVAL` for bytes that are no policy
 * @see {@link https://man7.org/linux/man-pages/man8/ip-xfrm.8.html ip-xfrm(8)}
 */
export const IPV6_XFRM_POLICY = wo('IPV6_XFRM_POLICY', IPPROTO_IPV6, 35, raw(4096))

/**
 * Whether sent data begins with its own IPv6 header. Default false (true for `IPPROTO_RAW`). Raw sockets.
 * get/set · Linux 4.5
 * @throws SystemError `ENOPROTOOPT` on other sockets
 * @see {@link https://man7.org/linux/man-pages/man7/raw.7.html raw(7)}
 */
export const IPV6_HDRINCL = rw('IPV6_HDRINCL', IPPROTO_IPV6, 36, bool)

/**
 * Whether each received packet carries the interface and the local address it came to (`IPV6_PKTINFO`). Default false.
 * get/set · Linux 2.6.14
 * @see {@link https://man7.org/linux/man-pages/man7/ipv6.7.html ipv6(7)}
 */
export const IPV6_RECVPKTINFO = rw('IPV6_RECVPKTINFO', IPPROTO_IPV6, 49, bool)

/**
 * The address and interface that packets are sent from. Default `{ address: '::', ifindex: 0 }`: the kernel chooses.
 * set · Linux 2.6.14
 * @throws SystemError `EINVAL` if the socket is bound to another interface
 * @see {@link https://datatracker.ietf.org/doc/html/rfc3542#section-6 RFC 3542}
 */
export const IPV6_PKTINFO = wo('IPV6_PKTINFO', IPPROTO_IPV6, 50, ipv6AtInterface)

/**
 * Whether each received packet carries its hop limit (`IPV6_HOPLIMIT`, an int). Default false.
 * get/set · Linux 2.6.14
 * @see {@link https://datatracker.ietf.org/doc/html/rfc3542#section-6.3 RFC 3542}
 */
export const IPV6_RECVHOPLIMIT = rw('IPV6_RECVHOPLIMIT', IPPROTO_IPV6, 51, bool)

/**
 * Whether each received packet carries its hop-by-hop options (`IPV6_HOPOPTS`). Default false.
 * get/set · Linux 2.6.14
 * @see {@link https://datatracker.ietf.org/doc/html/rfc3542#section-8 RFC 3542}
 */
export const IPV6_RECVHOPOPTS = rw('IPV6_RECVHOPOPTS', IPPROTO_IPV6, 53, bool)

/**
 * The hop-by-hop options that every packet carries, as **bytes** of the whole extension header: a multiple of 8, at most
 * 2040. Default: none, an empty array.
 * get/set · Linux 2.6.14 · `CAP_NET_RAW` to set
 * @throws SystemError `EINVAL` for bytes that are no such header, `EPERM` without the capability
 * @see {@link https://datatracker.ietf.org/doc/html/rfc3542#section-8 RFC 3542}
 */
export const IPV6_HOPOPTS = rw('IPV6_HOPOPTS', IPPROTO_IPV6, 54, raw(2040))

/**
 * The destination options before the routing header, for each host on the route, as **bytes** of the whole extension
 * header: a multiple of 8, at most 2040. Default: none, an empty array. Sent only along with `IPV6_RTHDR`.
 * get/set · Linux 2.6.14 · `CAP_NET_RAW` to set
 * @throws SystemError `EINVAL` for bytes that are no such header, `EPERM` without the capability
 * @see {@link https://datatracker.ietf.org/doc/html/rfc3542#section-9 RFC 3542}
 */
export const IPV6_RTHDRDSTOPTS = rw('IPV6_RTHDRDSTOPTS', IPPROTO_IPV6, 55, raw(2040))

/**
 * Whether each received packet carries its routing header (`IPV6_RTHDR`). Default false.
 * get/set · Linux 2.6.14
 * @see {@link https://datatracker.ietf.org/doc/html/rfc3542#section-7 RFC 3542}
 */
export const IPV6_RECVRTHDR = rw('IPV6_RECVRTHDR', IPPROTO_IPV6, 56, bool)

/**
 * The routing header that every packet carries, as **bytes** of the whole extension header: of type 4 (segment routing, RFC
 * 8754) or, if the kernel was built with Mobile IPv6, 2. Default: none, an empty array.
 * get/set · Linux 2.6.14
 * @throws SystemError `EINVAL` for bytes that are no such header
 * @see {@link https://datatracker.ietf.org/doc/html/rfc3542#section-7 RFC 3542}
 */
export const IPV6_RTHDR = rw('IPV6_RTHDR', IPPROTO_IPV6, 57, raw(2040))

/**
 * Whether each received packet carries its destination options (`IPV6_DSTOPTS`). Default false.
 * get/set · Linux 2.6.14
 * @see {@link https://datatracker.ietf.org/doc/html/rfc3542#section-9 RFC 3542}
 */
export const IPV6_RECVDSTOPTS = rw('IPV6_RECVDSTOPTS', IPPROTO_IPV6, 58, bool)

/**
 * The destination options that every packet carries for its last host, as **bytes** of the whole extension header: a
 * multiple of 8, at most 2040. Default: none, an empty array.
 * get/set · Linux 2.6.14 · `CAP_NET_RAW` to set
 * @throws SystemError `EINVAL` for bytes that are no such header, `EPERM` without the capability
 * @see {@link https://datatracker.ietf.org/doc/html/rfc3542#section-9 RFC 3542}
 */
export const IPV6_DSTOPTS = rw('IPV6_DSTOPTS', IPPROTO_IPV6, 59, raw(2040))

/**
 * Whether a datagram that is too big for the path causes a message with the path's MTU (`IPV6_PATHMTU`). Default false.
 * get/set · Linux 2.6.35
 * @see {@link https://datatracker.ietf.org/doc/html/rfc3542#section-11.3 RFC 3542}
 */
export const IPV6_RECVPATHMTU = rw('IPV6_RECVPATHMTU', IPPROTO_IPV6, 60, bool)

/**
 * The known MTU of the path to the peer, in **bytes**: what `IPV6_MTU` reads.
 * get · Linux 2.6.35
 * @throws SystemError `ENOTCONN` on a socket that isn't connected
 * @see {@link https://datatracker.ietf.org/doc/html/rfc3542#section-11.4 RFC 3542}
 */
export const IPV6_PATHMTU = ro('IPV6_PATHMTU', IPPROTO_IPV6, 61, pathMtu)

/**
 * Whether a datagram that is too big for the interface is refused with `EMSGSIZE` rather than fragmented. Default
 * false. UDP and raw sockets.
 * get/set · Linux 2.6.35
 * @see {@link https://datatracker.ietf.org/doc/html/rfc3542#section-11.2 RFC 3542}
 */
export const IPV6_DONTFRAG = rw('IPV6_DONTFRAG', IPPROTO_IPV6, 62, bool)

/**
 * Whether each received packet carries its traffic class (`IPV6_TCLASS`, an int). Default false.
 * get/set · Linux 2.6.14
 * @see {@link https://datatracker.ietf.org/doc/html/rfc3542#section-6.5 RFC 3542}
 */
export const IPV6_RECVTCLASS = rw('IPV6_RECVTCLASS', IPPROTO_IPV6, 66, bool)

/**
 * The traffic class of outgoing packets, 0 … 255: DSCP in the upper six bits (`IPTOS_DSCP_…`), ECN in the lower two, which
 * TCP controls itself. −1 stands for the default, 0.
 * get/set · Linux 2.6.14
 * @throws SystemError `EINVAL` out of range
 * @see {@link https://datatracker.ietf.org/doc/html/rfc3542#section-6.5 RFC 3542}
 */
export const IPV6_TCLASS = rw('IPV6_TCLASS', IPPROTO_IPV6, 67, int)

/**
 * Whether packets without another flow label get one that is a hash of the flow. The default is that of
 * `net.ipv6.auto_flowlabels`, true.
 * get/set · Linux 3.17
 * @see {@link https://docs.kernel.org/networking/ip-sysctl.html ip-sysctl}, auto_flowlabels
 */
export const IPV6_AUTOFLOWLABEL = rw('IPV6_AUTOFLOWLABEL', IPPROTO_IPV6, 70, bool)

/**
 * The preferred source addresses among those of this host: `IPV6_PREFER_SRC_…`, one of temporary and public, one of home
 * and care-of. Default `IPV6_PREFER_SRC_PUBTMP_DEFAULT | IPV6_PREFER_SRC_HOME`. Setting one of a pair leaves the other pair
 * unchanged.
 * get/set · Linux 2.6.26
 * @throws SystemError `EINVAL` for both of a pair
 * @see {@link https://datatracker.ietf.org/doc/html/rfc5014 RFC 5014}
 */
export const IPV6_ADDR_PREFERENCES = rw('IPV6_ADDR_PREFERENCES', IPPROTO_IPV6, 72, int)

/**
 * The minimum hop limit of received packets in **hops**, 0 … 255; packets with a smaller one are dropped. Default 0: none
 * are. 255 admits only neighbors (RFC 5082). TCP; for other sockets only errors are checked.
 * get/set · Linux 2.6.35
 * @throws SystemError `EINVAL` out of range
 * @see {@link https://datatracker.ietf.org/doc/html/rfc5082 RFC 5082}
 */
export const IPV6_MINHOPCOUNT = rw('IPV6_MINHOPCOUNT', IPPROTO_IPV6, 73, hops)

/**
 * Whether each received datagram carries the address it was sent to before TPROXY redirected it (`IPV6_ORIGDSTADDR`, a
 * `sockaddr`). Default false.
 * get/set · Linux 2.6.37
 * @see {@link https://docs.kernel.org/networking/tproxy.html tproxy}
 */
export const IPV6_RECVORIGDSTADDR = rw('IPV6_RECVORIGDSTADDR', IPPROTO_IPV6, 74, bool)

/**
 * Whether the socket may be bound to any address and accept what netfilter's TPROXY redirects to it, for transparent
 * proxies. The same flag as `IP_TRANSPARENT`. Default false.
 * get/set · Linux 2.6.37 · `CAP_NET_ADMIN` or `CAP_NET_RAW` to switch it on
 * @throws SystemError `EPERM` without the capability
 * @see {@link https://docs.kernel.org/networking/tproxy.html tproxy}
 */
export const IPV6_TRANSPARENT = rw('IPV6_TRANSPARENT', IPPROTO_IPV6, 75, bool)

/**
 * The index of the interface that unicast is sent from; it doesn't restrict receiving. 0, the default, stands for the
 * routing table's choice. (C takes it in network byte order; here it is a plain number.)
 * get/set · Linux 3.4
 * @throws SystemError `EADDRNOTAVAIL` if there is no such interface, `EINVAL` if the socket is bound to one
 * @see {@link https://git.kernel.org/torvalds/c/c4062dfc425e the commit}
 */
export const IPV6_UNICAST_IF = rw('IPV6_UNICAST_IF', IPPROTO_IPV6, 76, bigEndianIfindex)

/**
 * Whether each datagram that arrived in fragments carries the size of the largest (`IPV6_RECVFRAGSIZE`, an int).
 * Default false.
 * get/set · Linux 4.10
 * @see {@link https://git.kernel.org/pub/scm/linux/kernel/git/torvalds/linux.git/tree/net/ipv6/ipv6_sockglue.c
 * ipv6_sockglue.c}
 */
export const IPV6_RECVFRAGSIZE = rw('IPV6_RECVFRAGSIZE', IPPROTO_IPV6, 77, bool)

/**
 * Whether bind(2) takes an address that this host doesn't have, or not yet. The same flag as `IP_FREEBIND`. Default false.
 * get/set · Linux 4.15
 * @see {@link https://git.kernel.org/pub/scm/linux/kernel/git/torvalds/linux.git/tree/net/ipv6/ipv6_sockglue.c
 * ipv6_sockglue.c}
 */
export const IPV6_FREEBIND = rw('IPV6_FREEBIND', IPPROTO_IPV6, 78, bool)

/**
 * The destination of a connection before netfilter's NAT redirected it. TCP and SCTP.
 * get · Linux 3.8
 * @throws SystemError `ENOENT` if it wasn't redirected or isn't tracked, `ENOPROTOOPT` on other sockets or without
 * connection tracking
 * @see {@link https://man7.org/linux/man-pages/man8/iptables-extensions.8.html iptables-extensions(8)}, REDIRECT
 */
export const IP6T_SO_ORIGINAL_DST = ro('IP6T_SO_ORIGINAL_DST', IPPROTO_IPV6, 80, sockaddr)

/**
 * The ICMPv6 messages that are blocked, as 32 **bytes**: type t stands for bit `t & 7` of byte `t >> 3`, and a set bit
 * blocks the type. Default: all bits zero, none is blocked. Raw sockets of `IPPROTO_ICMPV6`.
 * get/set · every Linux
 * @throws SystemError `EOPNOTSUPP` (`ENOTSUP` in Node) on raw sockets of other protocols
 * @see {@link https://datatracker.ietf.org/doc/html/rfc3542#section-3.2 RFC 3542}
 */
export const ICMP6_FILTER = rw('ICMP6_FILTER', IPPROTO_ICMPV6, 1, raw(32))
