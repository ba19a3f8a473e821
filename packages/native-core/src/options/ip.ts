/**
 * Options of IPv4, at IPPROTO_IP, in the order of their numbers in the kernel's linux/in.h; then the filter of ICMP.
 * They can be set on IPv6 sockets of TCP and UDP as well, whose IPv4-mapped traffic obeys them.
 *
 * Not here: membership of multicast groups, which is more than a value (`@linux-sockets/udp-mcast`), and the options of
 * netfilter's and multicast routing's own tools.
 *
 * “Every Linux” is every version that Node.js runs on.
 */
import { bigEndianIfindex, bool, bytes, hops, int, ipv4Interface, portRange, raw, uint } from '../codecs/codec.js'
import { sockaddr } from '../codecs/sockaddr.js'
import { IPPROTO_IP, IPPROTO_RAW } from '../constants.js'
import { ro, rw, wo } from '../option.js'

/**
 * The type-of-service byte of outgoing packets, 0 … 255: DSCP in the upper six bits (`IPTOS_DSCP_…`), ECN in the lower two,
 * which TCP controls itself. Default 0. Sets `SO_PRIORITY`, too.
 * get/set · every Linux
 * @see {@link https://man7.org/linux/man-pages/man7/ip.7.html ip(7)}
 */
export const IP_TOS = rw('IP_TOS', IPPROTO_IP, 1, int)

/**
 * The time to live of outgoing unicast packets in **hops**, 1 … 255. −1, the default, stands for `net.ipv4.ip_default_ttl`,
 * whose value (64) is then read.
 * get/set · every Linux
 * @throws SystemError `EINVAL` out of range, also for 0
 * @see {@link https://man7.org/linux/man-pages/man7/ip.7.html ip(7)}
 */
export const IP_TTL = rw('IP_TTL', IPPROTO_IP, 2, hops)

/**
 * Whether sent data begins with its own IP header. Default false (true for `IPPROTO_RAW`). Raw sockets.
 * get/set · every Linux
 * @throws SystemError `ENOPROTOOPT` when set on other sockets
 * @see {@link https://man7.org/linux/man-pages/man7/raw.7.html raw(7)}
 */
export const IP_HDRINCL = rw('IP_HDRINCL', IPPROTO_IP, 3, bool)

/**
 * The IP options that every packet carries, as **bytes** in the layout of RFC 791, at most 40; the kernel pads them to a
 * multiple of 4. Default: none, an empty array. On an accepted TCP connection: the options of the SYN, reversed.
 * get/set · every Linux · `CAP_NET_RAW` for options that steer routers
 * @throws SystemError `EINVAL` for bytes that are no IP options
 * @see {@link https://man7.org/linux/man-pages/man7/ip.7.html ip(7)}
 */
export const IP_OPTIONS = rw('IP_OPTIONS', IPPROTO_IP, 4, raw(40))

/**
 * Whether the socket gets packets that carry the router alert option, instead of the kernel forwarding them. Default false.
 * Raw sockets of another protocol than `IPPROTO_RAW`.
 * get/set · every Linux
 * @throws SystemError `EINVAL` when set on other sockets
 * @see {@link https://man7.org/linux/man-pages/man7/ip.7.html ip(7)}
 */
export const IP_ROUTER_ALERT = rw('IP_ROUTER_ALERT', IPPROTO_IP, 5, bool)

/**
 * Whether each received packet carries its IP options (`IP_OPTIONS`). Default false. Not for streams.
 * get/set · every Linux
 * @see {@link https://man7.org/linux/man-pages/man7/ip.7.html ip(7)}
 */
export const IP_RECVOPTS = rw('IP_RECVOPTS', IPPROTO_IP, 6, bool)

/**
 * Like `IP_RECVOPTS`, but the options are those that an answer would have to carry: routes reversed, timestamps filled in
 * (`IP_RETOPTS`). Also called `IP_RECVRETOPTS`. Default false.
 * get/set · every Linux
 * @see {@link https://man7.org/linux/man-pages/man7/ip.7.html ip(7)}
 */
export const IP_RETOPTS = rw('IP_RETOPTS', IPPROTO_IP, 7, bool)

/**
 * Whether each received packet carries the interface and the local address it came to (`IP_PKTINFO`). Default false.
 * get/set · every Linux
 * @see {@link https://man7.org/linux/man-pages/man7/ip.7.html ip(7)}
 */
export const IP_PKTINFO = rw('IP_PKTINFO', IPPROTO_IP, 8, bool)

/**
 * The control messages that a datagram of this connection would have carried, for those of `IP_PKTINFO`, `IP_RECVTTL`
 * and `IP_RECVTOS` that are on, as **bytes** for `decodeControl`. TCP.
 * get · every Linux
 * @throws SystemError `ENOPROTOOPT` on other sockets
 * @see {@link https://git.kernel.org/pub/scm/linux/kernel/git/torvalds/linux.git/tree/net/ipv4/ip_sockglue.c
 * ip_sockglue.c}
 */
export const IP_PKTOPTIONS = ro('IP_PKTOPTIONS', IPPROTO_IP, 9, raw(256))

/**
 * Whether packets may be fragmented, and whether the path MTU is discovered: `IP_PMTUDISC_…`. Default `IP_PMTUDISC_WANT`,
 * unless `net.ipv4.ip_no_pmtu_disc` says otherwise.
 * get/set · every Linux; `IP_PMTUDISC_PROBE` 2.6.22, `IP_PMTUDISC_INTERFACE` 3.13, `IP_PMTUDISC_OMIT` 3.14
 * @throws SystemError `EINVAL` for other numbers
 * @see {@link https://man7.org/linux/man-pages/man7/ip.7.html ip(7)}
 */
export const IP_MTU_DISCOVER = rw('IP_MTU_DISCOVER', IPPROTO_IP, 10, int)

/**
 * Whether network errors are queued, each with the packet that caused it, to be received with `MSG_ERRQUEUE`
 * (`IP_RECVERR`). Default false. Switching it off empties the queue.
 * get/set · every Linux
 * @see {@link https://man7.org/linux/man-pages/man7/ip.7.html ip(7)}
 */
export const IP_RECVERR = rw('IP_RECVERR', IPPROTO_IP, 11, bool)

/**
 * Whether each received packet carries its time to live (`IP_TTL`, an int). Default false. Not for streams.
 * get/set · every Linux
 * @see {@link https://man7.org/linux/man-pages/man7/ip.7.html ip(7)}
 */
export const IP_RECVTTL = rw('IP_RECVTTL', IPPROTO_IP, 12, bool)

/**
 * Whether each received packet carries its type-of-service byte (`IP_TOS`, one byte). Default false. Not for streams.
 * get/set · every Linux
 * @see {@link https://man7.org/linux/man-pages/man7/ip.7.html ip(7)}
 */
export const IP_RECVTOS = rw('IP_RECVTOS', IPPROTO_IP, 13, bool)

/**
 * The known MTU of the path to the peer, in **bytes**.
 * get · every Linux
 * @throws SystemError `ENOTCONN` on a socket that isn't connected
 * @see {@link https://man7.org/linux/man-pages/man7/ip.7.html ip(7)}
 */
export const IP_MTU = ro('IP_MTU', IPPROTO_IP, 14, bytes)

/**
 * Whether bind(2) takes an address that this host doesn't have, or not yet. Default false. `net.ipv4.ip_nonlocal_bind`
 * allows it for all sockets.
 * get/set · every Linux
 * @see {@link https://man7.org/linux/man-pages/man7/ip.7.html ip(7)}
 */
export const IP_FREEBIND = rw('IP_FREEBIND', IPPROTO_IP, 15, bool)

/**
 * An IPsec policy for this socket, as the **bytes** of PF_KEY's `struct sadb_x_policy` and its requests.
 * set · every Linux · `CAP_NET_ADMIN`
 * @throws SystemError `EPERM` without the capability, `EOPNOTSUPP` (`ENOTSUP` in Node) where the kernel was built
 * without PF_KEY
 * @see {@link https://git.kernel.org/pub/scm/linux/kernel/git/torvalds/linux.git/tree/net/key/af_key.c af_key.c}
 */
export const IP_IPSEC_POLICY = wo('IP_IPSEC_POLICY', IPPROTO_IP, 16, raw(4096))

/**
 * An IPsec policy for one direction of this socket, as the **bytes** of `struct xfrm_userpolicy_info` and its templates. A
 * later policy replaces it.
 * set · every Linux · `CAP_NET_ADMIN`
 * @throws SystemError `EPERM` without the capability, `EINVAL` for bytes that are no policy
 * @see {@link https://man7.org/linux/man-pages/man8/ip-xfrm.8.html ip-xfrm(8)}
 */
export const IP_XFRM_POLICY = wo('IP_XFRM_POLICY', IPPROTO_IP, 17, raw(4096))

/**
 * Whether each received datagram carries the security context of its peer (`SCM_SECURITY`), where IPsec or NetLabel
 * gives one. Default false. UDP.
 * get/set · Linux 2.6.17
 * @see {@link https://man7.org/linux/man-pages/man7/ip.7.html ip(7)}
 */
export const IP_PASSSEC = rw('IP_PASSSEC', IPPROTO_IP, 18, bool)

/**
 * Whether the socket may be bound to any address and accept what netfilter's TPROXY redirects to it, for transparent
 * proxies. Default false.
 * get/set · Linux 2.6.28 · `CAP_NET_ADMIN` or `CAP_NET_RAW` to switch it on
 * @throws SystemError `EPERM` without the capability
 * @see {@link https://docs.kernel.org/networking/tproxy.html tproxy}
 */
export const IP_TRANSPARENT = rw('IP_TRANSPARENT', IPPROTO_IP, 19, bool)

/**
 * Whether each received datagram carries the address it was sent to before TPROXY redirected it (`IP_ORIGDSTADDR`, a
 * `sockaddr`). Default false.
 * get/set · Linux 2.6.29
 * @see {@link https://man7.org/linux/man-pages/man7/ip.7.html ip(7)}
 */
export const IP_RECVORIGDSTADDR = rw('IP_RECVORIGDSTADDR', IPPROTO_IP, 20, bool)

/**
 * The minimum time to live of received packets in **hops**, 0 … 255; packets with a smaller one are dropped. Default 0:
 * none are. 255 admits only neighbors (RFC 5082). TCP; for other sockets only errors are checked.
 * get/set · Linux 2.6.34
 * @throws SystemError `EINVAL` out of range
 * @see {@link https://datatracker.ietf.org/doc/html/rfc5082 RFC 5082}
 */
export const IP_MINTTL = rw('IP_MINTTL', IPPROTO_IP, 21, hops)

/**
 * Whether netfilter leaves fragments that this socket sends alone; otherwise it reassembles them to track them. Default
 * false. Raw sockets.
 * get/set · Linux 2.6.36
 * @throws SystemError `ENOPROTOOPT` when set on other sockets
 * @see {@link https://man7.org/linux/man-pages/man7/ip.7.html ip(7)}
 */
export const IP_NODEFRAG = rw('IP_NODEFRAG', IPPROTO_IP, 22, bool)

/**
 * Whether each received datagram carries the checksum that the device computed over it (`IP_CHECKSUM`, a u32), if it
 * did. Default false. UDP.
 * get/set · Linux 4.0
 * @see {@link https://git.kernel.org/pub/scm/linux/kernel/git/torvalds/linux.git/tree/net/ipv4/ip_sockglue.c
 * ip_sockglue.c}
 */
export const IP_CHECKSUM = rw('IP_CHECKSUM', IPPROTO_IP, 23, bool)

/**
 * Whether bind(2) to an address with port 0 leaves the port open until `connect`, which can then use one port for
 * connections to many peers. Default false.
 * get/set · Linux 4.2
 * @see {@link https://man7.org/linux/man-pages/man7/ip.7.html ip(7)}
 */
export const IP_BIND_ADDRESS_NO_PORT = rw('IP_BIND_ADDRESS_NO_PORT', IPPROTO_IP, 24, bool)

/**
 * Whether each datagram that arrived in fragments carries the size of the largest (`IP_RECVFRAGSIZE`, an int). Default
 * false. Datagram and raw sockets.
 * get/set · Linux 4.10
 * @throws SystemError `EINVAL` when set on streams
 * @see {@link https://git.kernel.org/pub/scm/linux/kernel/git/torvalds/linux.git/tree/net/ipv4/ip_sockglue.c
 * ip_sockglue.c}
 */
export const IP_RECVFRAGSIZE = rw('IP_RECVFRAGSIZE', IPPROTO_IP, 25, bool)

/**
 * Whether queued errors (`IP_RECVERR`) tell where in the packet the extensions of the ICMP message begin (RFC 4884).
 * Default false.
 * get/set · Linux 5.9
 * @see {@link https://datatracker.ietf.org/doc/html/rfc4884 RFC 4884}
 */
export const IP_RECVERR_RFC4884 = rw('IP_RECVERR_RFC4884', IPPROTO_IP, 26, bool)

/**
 * The interface that multicast is sent from: `{ ifindex: 2 }`, or the text of an address of the interface. `'0.0.0.0'`, the
 * default, stands for the routing table's choice. Only the address can be read: after an index was set, it is `'0.0.0.0'`.
 * Not for streams.
 * get/set · every Linux
 * @throws SystemError `EADDRNOTAVAIL` if there is no such interface, `EINVAL` on streams
 * @see {@link https://man7.org/linux/man-pages/man7/ip.7.html ip(7)}
 */
export const IP_MULTICAST_IF = rw('IP_MULTICAST_IF', IPPROTO_IP, 32, ipv4Interface)

/**
 * The time to live of outgoing multicast in **hops**, 0 … 255. 0 keeps it on this host. −1 stands for the default, 1: this
 * network. Not for streams.
 * get/set · every Linux
 * @throws SystemError `EINVAL` out of range, and on streams
 * @see {@link https://man7.org/linux/man-pages/man7/ip.7.html ip(7)}
 */
export const IP_MULTICAST_TTL = rw('IP_MULTICAST_TTL', IPPROTO_IP, 33, hops)

/**
 * Whether multicast that this socket sends is also delivered to members on this host, including the sender. Default true.
 * get/set · every Linux
 * @see {@link https://man7.org/linux/man-pages/man7/ip.7.html ip(7)}
 */
export const IP_MULTICAST_LOOP = rw('IP_MULTICAST_LOOP', IPPROTO_IP, 34, bool)

/**
 * Whether the socket gets datagrams to any group that some socket on this host has joined, and not only to its own groups.
 * Default true; on IPv6 sockets false.
 * get/set · Linux 2.6.31
 * @see {@link https://man7.org/linux/man-pages/man7/ip.7.html ip(7)}
 */
export const IP_MULTICAST_ALL = rw('IP_MULTICAST_ALL', IPPROTO_IP, 49, bool)

/**
 * The index of the interface that unicast and broadcast are sent from; it doesn't restrict receiving. 0, the default,
 * stands for the routing table's choice. (C takes it in network byte order; here it is a plain number.)
 * get/set · Linux 3.4
 * @throws SystemError `EADDRNOTAVAIL` if there is no such interface, `EINVAL` if the socket is bound to one
 * @see {@link https://git.kernel.org/torvalds/c/76e21053b5bf the commit}
 */
export const IP_UNICAST_IF = rw('IP_UNICAST_IF', IPPROTO_IP, 50, bigEndianIfindex)

/**
 * The range of ports from which the kernel chooses a local port, both limits included. A limit of 0, the default for both,
 * is that of `net.ipv4.ip_local_port_range`. Limits beyond that range have no effect.
 * get/set · Linux 6.3
 * @throws SystemError `EINVAL` if low is above high
 * @see {@link https://git.kernel.org/torvalds/c/91d0b78c5177 the commit}
 */
export const IP_LOCAL_PORT_RANGE = rw('IP_LOCAL_PORT_RANGE', IPPROTO_IP, 51, portRange)

/**
 * The protocol of a raw socket; 0 on other sockets that aren't bound.
 * get · Linux 6.4
 * @see {@link https://git.kernel.org/torvalds/c/3632679d9e4f the commit}
 */
export const IP_PROTOCOL = ro('IP_PROTOCOL', IPPROTO_IP, 52, int)

/**
 * The destination of a connection before netfilter's NAT redirected it. TCP and SCTP.
 * get · every Linux
 * @throws SystemError `ENOENT` if it wasn't redirected or isn't tracked, `ENOPROTOOPT` on other sockets or without
 * connection tracking
 * @see {@link https://man7.org/linux/man-pages/man8/iptables-extensions.8.html iptables-extensions(8)}, REDIRECT
 */
export const SO_ORIGINAL_DST = ro('SO_ORIGINAL_DST', IPPROTO_IP, 80, sockaddr)

/**
 * The ICMP messages that are blocked: bit n stands for type n, 0 … 31. Default 0: none. Raw sockets of `IPPROTO_ICMP`.
 * get/set · every Linux
 * @throws SystemError `EOPNOTSUPP` (`ENOTSUP` in Node) on raw sockets of other protocols
 * @see {@link https://man7.org/linux/man-pages/man7/raw.7.html raw(7)}
 */
export const ICMP_FILTER = rw('ICMP_FILTER', IPPROTO_RAW, 1, uint)
