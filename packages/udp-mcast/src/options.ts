/**
 * Options of UDP and UDP-Lite, at IPPROTO_UDP and IPPROTO_UDPLITE: those of the kernel's <linux/udp.h> in the order of their
 * numbers, then those of udplite(7).
 */
import { bool, bytes, int, rw } from '@linux-sockets/native-core/codecs'
import { IPPROTO_UDP, IPPROTO_UDPLITE } from '@linux-sockets/native-core/constants'

/**
 * Collects what is sent, and sends it as one datagram when this is turned off. Default false. `MSG_MORE` does the same for
 * one call.
 * get/set · Linux 2.5.44
 * @see {@link https://man7.org/linux/man-pages/man7/udp.7.html udp(7)}
 */
export const UDP_CORK = rw('UDP_CORK', IPPROTO_UDP, 1, bool)

/** `UDP_ENCAP`: ESP in UDP as an early draft had it. Newer kernels refuse it. */
export const UDP_ENCAP_ESPINUDP_NON_IKE = 1
/** `UDP_ENCAP`: ESP in UDP (RFC 3948), for IPsec behind NAT. */
export const UDP_ENCAP_ESPINUDP = 2
/** `UDP_ENCAP`: L2TP (RFC 2661). */
export const UDP_ENCAP_L2TPINUDP = 3
/** `UDP_ENCAP`: GTP version 0. Only the kernel itself can set it. */
export const UDP_ENCAP_GTP0 = 4
/** `UDP_ENCAP`: GTP version 1. Only the kernel itself can set it. */
export const UDP_ENCAP_GTP1U = 5
/** `UDP_ENCAP`: RxRPC. Only the kernel itself can set it. */
export const UDP_ENCAP_RXRPC = 6

/**
 * What the socket's datagrams encapsulate, so that the kernel takes them: 0 for nothing, the default, or one of
 * `UDP_ENCAP_…`. With `UDP_ENCAP_ESPINUDP` only what isn't ESP, such as IKE, is still received.
 * get/set · Linux 2.5.67
 * @throws SystemError `ENOPROTOOPT` for other values
 * @see {@link https://man7.org/linux/man-pages/man7/udp.7.html udp(7)}
 */
export const UDP_ENCAP = rw('UDP_ENCAP', IPPROTO_UDP, 100, int)

/**
 * Sends IPv6 datagrams of a tunnel without a checksum (RFC 6935). Default false.
 * get/set · Linux 3.16
 * @see {@link https://datatracker.ietf.org/doc/html/rfc6935 RFC 6935}
 */
export const UDP_NO_CHECK6_TX = rw('UDP_NO_CHECK6_TX', IPPROTO_UDP, 101, bool)

/**
 * Receives IPv6 datagrams without a checksum, which the kernel otherwise drops. Default false.
 * get/set · Linux 3.16
 * @see {@link https://datatracker.ietf.org/doc/html/rfc6935 RFC 6935}
 */
export const UDP_NO_CHECK6_RX = rw('UDP_NO_CHECK6_RX', IPPROTO_UDP, 102, bool)

/**
 * Cuts each send into datagrams of this many **bytes**, the last one shorter: 1 … 65535. 0, the default, doesn't cut. Whether
 * the device can do it is known only at the send, which otherwise fails with `EIO` or `EINVAL`. A send has at most 128 pieces
 * (64 on older kernels), and 65 507 bytes.
 * get/set · Linux 4.18
 * @throws SystemError `EINVAL` out of range
 * @see {@link https://man7.org/linux/man-pages/man7/udp.7.html udp(7)}
 */
export const UDP_SEGMENT = rw('UDP_SEGMENT', IPPROTO_UDP, 103, bytes)

/**
 * Receives datagrams of one flow and one length joined into one, of up to 65535 bytes; the length of the pieces comes as a
 * control message. Default false.
 * get/set · Linux 5.0
 * @see {@link https://man7.org/linux/man-pages/man7/udp.7.html udp(7)}
 */
export const UDP_GRO = rw('UDP_GRO', IPPROTO_UDP, 104, bool)

/**
 * How many **bytes** of a datagram that is sent the checksum covers, from the 8 bytes of the header on: 8 … 65535; smaller
 * and larger values become those. 0, the default, covers all of it. On UDP-Lite sockets.
 * get/set · Linux 2.6.20
 * @throws SystemError `ENOPROTOOPT` on other sockets
 * @see {@link https://man7.org/linux/man-pages/man7/udplite.7.html udplite(7)}
 */
export const UDPLITE_SEND_CSCOV = rw('UDPLITE_SEND_CSCOV', IPPROTO_UDPLITE, 10, bytes)

/**
 * Drops datagrams whose checksum covers fewer **bytes** than this, counted as in `UDPLITE_SEND_CSCOV`: 8 … 65535. By default
 * none is dropped; 0, once it is set, drops those that aren't covered as a whole.
 * get/set · Linux 2.6.20
 * @throws SystemError `ENOPROTOOPT` on other sockets
 * @see {@link https://man7.org/linux/man-pages/man7/udplite.7.html udplite(7)}
 */
export const UDPLITE_RECV_CSCOV = rw('UDPLITE_RECV_CSCOV', IPPROTO_UDPLITE, 11, bytes)
