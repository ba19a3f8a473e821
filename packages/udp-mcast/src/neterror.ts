import {
  type AddressLike,
  type ControlMessage,
  type ControlName,
  controlSpace,
  decodeAddress,
  errno,
  type FdLike,
  formatAddress,
  getOption,
  type InetAddress,
  readControl,
  recvMessage,
  type SocketAddress,
  SystemError,
  setOption,
} from '@linux-sockets/native-core'
import type { Decoder } from '@linux-sockets/native-core/codecs'
import { AF_INET, AF_INET6, IPPROTO_IP, IPPROTO_IPV6, MSG_ERRQUEUE } from '@linux-sockets/native-core/constants'
import { checkBoolean, checkInteger, checkObject, fdOf, needBytes } from '@linux-sockets/native-core/internal'
import { IP_RECVERR, IPV6_RECVERR, SO_DOMAIN } from '@linux-sockets/native-core/options'
import { setIpv4Option } from './family.js'

/** `ExtendedError.origin`: none. */
export const SO_EE_ORIGIN_NONE = 0
/** `ExtendedError.origin`: this host, such as a datagram that was too big. */
export const SO_EE_ORIGIN_LOCAL = 1
/** `ExtendedError.origin`: an ICMP message. */
export const SO_EE_ORIGIN_ICMP = 2
/** `ExtendedError.origin`: an ICMPv6 message. */
export const SO_EE_ORIGIN_ICMP6 = 3
/** `ExtendedError.origin`: not an error but a transmit time stamp; `info` is its kind, `data` the number of the send. */
export const SO_EE_ORIGIN_TIMESTAMPING = 4
/** `ExtendedError.origin`: not an error but a notice of `MSG_ZEROCOPY`, for the sends `info` … `data`. */
export const SO_EE_ORIGIN_ZEROCOPY = 5
/** `ExtendedError.origin`: a datagram that wasn't sent at its transmit time (`SO_TXTIME`). */
export const SO_EE_ORIGIN_TXTIME = 6

/** A message of the error queue, as the kernel describes it. */
export interface ExtendedError {
  /** The error number, positive; 0 or `ENOMSG` for what isn't an error. */
  readonly errno: number
  /** `SO_EE_ORIGIN_…` */
  readonly origin: number
  /** The type of the ICMP message. */
  readonly type: number
  /** The code of the ICMP message, or another number that depends on the origin. */
  readonly code: number
  /** The MTU for `EMSGSIZE`, or another number that depends on the origin. */
  readonly info: number
  /** A number that depends on the origin. */
  readonly data: number
  /** The host that sent the ICMP message; its port is 0. Undefined for other origins. */
  readonly offender: InetAddress | undefined
}

/** `struct sock_extended_err` with the offender's `sockaddr` behind it. */
export const extendedError: Decoder<ExtendedError> = {
  size: 44,
  decode: (view, length) => {
    needBytes(length, 16, 'struct sock_extended_err')
    return {
      errno: view.getUint32(0, true),
      origin: view.getUint8(4),
      type: view.getUint8(5),
      code: view.getUint8(6),
      info: view.getUint32(8, true),
      data: view.getUint32(12, true),
      offender: offenderOf(view, length),
    }
  },
}

/**
 * A message of an IPv4 socket's error queue.
 * received with `IP_RECVERR` and `MSG_ERRQUEUE` · Linux 2.2
 * @see {@link https://man7.org/linux/man-pages/man7/ip.7.html ip(7)}
 */
export const CMSG_IP_RECVERR: ControlName & Decoder<ExtendedError> = {
  name: 'IP_RECVERR',
  level: IPPROTO_IP,
  type: 11,
  ...extendedError,
}

/**
 * A message of an IPv6 socket's error queue, also if it is about a datagram to an IPv4-mapped address; the offender's
 * address is mapped then, too.
 * received with `IPV6_RECVERR` and `MSG_ERRQUEUE` · Linux 2.2
 * @see {@link https://man7.org/linux/man-pages/man7/ipv6.7.html ipv6(7)}
 */
export const CMSG_IPV6_RECVERR: ControlName & Decoder<ExtendedError> = {
  name: 'IPV6_RECVERR',
  level: IPPROTO_IPV6,
  type: 25,
  ...extendedError,
}

/** Who found the error: this host, a host on the way or the destination by ICMP, or the queue for `SO_TXTIME`. */
export type NetworkErrorOrigin = 'local' | 'icmp' | 'icmp6' | 'txtime'

/** A datagram that did not arrive: what the network, or this host, reports about an earlier send. */
export class NetworkError extends SystemError {
  /** Who found the error. */
  readonly origin: NetworkErrorOrigin
  /** Where the datagram was sent. */
  readonly destination: InetAddress | undefined
  /** The host that sent the ICMP message: the destination, or a router; its port is 0. */
  readonly offender: InetAddress | undefined
  /** The type of the ICMP message: 3, destination unreachable; 11, time exceeded; of ICMPv6, 1 and 3 … */
  readonly icmpType: number | undefined
  /** The code of the ICMP message, which tells more of the reason. */
  readonly icmpCode: number | undefined
  /** What type and code mean, in the words of the RFCs: `'port unreachable'`. Undefined for unknown ones. */
  readonly reason: string | undefined
  /** The MTU that the datagram exceeds, in **bytes** with the IP header, if the error is `EMSGSIZE` and it is known. */
  readonly mtu: number | undefined

  /**
   * `networkErrorOf` makes these.
   * @throws TypeError, RangeError for an error number that isn't an integer from 1 to 4095, or an origin that has no errors
   */
  constructor(error: ExtendedError, destination?: InetAddress) {
    checkObject(error, 'error')
    checkInteger(error.errno, 1, 4095, 'error.errno')
    checkInteger(error.origin, 0, 255, 'error.origin')
    const origin = ORIGINS.get(error.origin)
    if (origin === undefined) throw new RangeError(`error.origin must be that of an error, not ${error.origin}`)
    const reason = reasonOf(error)
    const parts = [
      destination && `to ${formatAddress(destination as AddressLike)}`,
      reason && `(${reason})`,
      error.offender && `from ${error.offender.address}`,
    ]
    super(error.errno, 'send', parts.filter(Boolean).join(' ') || undefined)
    const isIcmp = origin === 'icmp' || origin === 'icmp6'
    this.origin = origin
    this.destination = destination
    this.offender = error.offender
    this.icmpType = isIcmp ? error.type : undefined
    this.icmpCode = isIcmp ? error.code : undefined
    this.reason = reason
    this.mtu = error.errno === errno.EMSGSIZE && error.info > 0 ? error.info : undefined
  }
}

/**
 * Reads the error from a message of the error queue: what was received with `MSG_ERRQUEUE`, and a control buffer of
 * `NETWORK_ERROR_SPACE`. Undefined for what isn't an error: transmit time stamps, notices of `MSG_ZEROCOPY`, messages without a
 * `CMSG_IP_RECVERR` or `CMSG_IPV6_RECVERR`. `reportErrors` turns the error queue on.
 *
 *     const message = recvMessage(socket, [], { control: NETWORK_ERROR_SPACE, address: true, flags: MSG_ERRQUEUE })
 *     const error = message && networkErrorOf(message)
 *     if (error?.code === 'ECONNREFUSED') console.log('nobody receives at', error.destination)
 *
 * @throws TypeError if it isn't a message, RangeError for one that was cut
 */
export function networkErrorOf(message: {
  readonly control: readonly ControlMessage[]
  readonly address: SocketAddress | null
}): NetworkError | undefined {
  checkObject(message, 'message')
  const { control, address } = message
  const error = readControl(control, CMSG_IP_RECVERR) ?? readControl(control, CMSG_IPV6_RECVERR)
  if (error === undefined || !ORIGINS.has(error.origin) || error.errno === 0 || error.errno > 4095) return undefined
  return new NetworkError(error, isInet(address) ? address : undefined)
}

/** The size of the control buffer that `networkErrorOf` needs, in **bytes**, if nothing else was turned on. */
export const NETWORK_ERROR_SPACE = controlSpace(extendedError.size)

/**
 * recvmsg(2) `MSG_ERRQUEUE`: empties the error queue of a UDP, raw or ICMP socket, and returns its errors in the order in
 * which they came; an empty list for sockets of other families. What isn't an error is dropped: don't use it together with
 * transmit time stamps or `MSG_ZEROCOPY`. A queue that isn't emptied makes each poll report `EPOLLERR`.
 * @throws SystemError `EBADF`, …
 */
export function drainErrors(socket: FdLike): NetworkError[] {
  const fd = fdOf(socket, 'socket')
  // Other families may take a message that isn't from the error queue.
  if (familyOf(fd) === undefined) return []
  const errors: NetworkError[] = []
  for (;;) {
    const message = recvMessage(fd, [], { control: ERROR_CONTROL, address: true, flags: MSG_ERRQUEUE })
    if (message === null) return errors
    const error = networkErrorOf(message)
    if (error !== undefined) errors.push(error)
  }
}

/**
 * setsockopt(2) `IP_RECVERR`, `IPV6_RECVERR`: whether errors that concern earlier sends are put into the socket's error queue,
 * each with its destination. An IPv6 socket gets both options, because ICMP about IPv4-mapped addresses obeys that of IPv4.
 *
 * - Off, the default: only a connected socket learns of ICMP errors, and only of those that say that nobody will ever receive
 *   there (`ECONNREFUSED`), by the next call of any kind that it makes.
 * - On: all ICMP errors are queued, also on a socket that isn't connected; yet the next send or receive still fails with the
 *   error's code, and that call then has sent and received nothing: empty the queue (`drainErrors`) and repeat it.
 *
 * Linux 2.2
 * @throws TypeError if `on` isn't a boolean
 * @throws SystemError `ENOPROTOOPT` on sockets of other families
 * @see {@link https://man7.org/linux/man-pages/man7/ip.7.html ip(7)}
 */
export function reportErrors(socket: FdLike, on: boolean): void {
  const fd = fdOf(socket, 'socket')
  checkBoolean(on, 'on')
  if (familyOf(fd) === AF_INET6) setOption(fd, IPV6_RECVERR, on)
  setIpv4Option(fd, IP_RECVERR, on)
}

function familyOf(fd: number): typeof AF_INET | typeof AF_INET6 | undefined {
  const family = getOption(fd, SO_DOMAIN)
  return family === AF_INET || family === AF_INET6 ? family : undefined
}

/** The kernel leaves the family 0 where there is no offender. */
function offenderOf(view: DataView, length: number): InetAddress | undefined {
  if (length < 18) return undefined
  const size = SOCKADDR_SIZES.get(view.getUint16(16, true))
  if (size === undefined || length < 16 + size) return undefined
  return decodeAddress(new Uint8Array(view.buffer, view.byteOffset + 16, size)) as InetAddress
}

function isInet(address: SocketAddress | null): address is InetAddress {
  return address !== null && (address.family === 'ipv4' || address.family === 'ipv6')
}

function reasonOf({ origin, type, code }: ExtendedError): string | undefined {
  const key = `${type} ${code}`
  if (origin === SO_EE_ORIGIN_ICMP) return ICMP_REASONS[key]
  if (origin === SO_EE_ORIGIN_ICMP6) return ICMP6_REASONS[key]
  return origin === SO_EE_ORIGIN_TXTIME ? TXTIME_REASONS[code] : undefined
}

const SOCKADDR_SIZES: ReadonlyMap<number, number> = new Map([
  [AF_INET, 16],
  [AF_INET6, 28],
])

const ORIGINS: ReadonlyMap<number, NetworkErrorOrigin> = new Map([
  [SO_EE_ORIGIN_LOCAL, 'local'],
  [SO_EE_ORIGIN_ICMP, 'icmp'],
  [SO_EE_ORIGIN_ICMP6, 'icmp6'],
  [SO_EE_ORIGIN_TXTIME, 'txtime'],
])

/** By type and code: RFC 792, RFC 1122 section 3.2.2.1, RFC 1812 section 5.2.7.1. */
const ICMP_REASONS: Readonly<Record<string, string>> = {
  '3 0': 'network unreachable',
  '3 1': 'host unreachable',
  '3 2': 'protocol unreachable',
  '3 3': 'port unreachable',
  '3 4': 'fragmentation needed',
  '3 5': 'source route failed',
  '3 6': 'destination network unknown',
  '3 7': 'destination host unknown',
  '3 8': 'source host isolated',
  '3 9': 'network administratively prohibited',
  '3 10': 'host administratively prohibited',
  '3 11': 'network unreachable for type of service',
  '3 12': 'host unreachable for type of service',
  '3 13': 'communication administratively prohibited',
  '3 14': 'host precedence violation',
  '3 15': 'precedence cutoff in effect',
  '4 0': 'source quench',
  '11 0': 'time to live exceeded in transit',
  '11 1': 'fragment reassembly time exceeded',
  '12 0': 'parameter problem',
  '12 1': 'required option missing',
  '12 2': 'bad length',
}

/** By type and code: RFC 4443, RFC 7112. */
const ICMP6_REASONS: Readonly<Record<string, string>> = {
  '1 0': 'no route to destination',
  '1 1': 'communication administratively prohibited',
  '1 2': 'beyond scope of source address',
  '1 3': 'address unreachable',
  '1 4': 'port unreachable',
  '1 5': 'source address failed ingress or egress policy',
  '1 6': 'reject route to destination',
  '2 0': 'packet too big',
  '3 0': 'hop limit exceeded in transit',
  '3 1': 'fragment reassembly time exceeded',
  '4 0': 'erroneous header field encountered',
  '4 1': 'unrecognized next header type encountered',
  '4 2': 'unrecognized IPv6 option encountered',
  '4 3': 'first fragment has incomplete header chain',
}

/** `SO_EE_CODE_TXTIME_…` */
const TXTIME_REASONS: Readonly<Record<number, string>> = {
  1: 'invalid transmit time',
  2: 'transmit time missed',
}

/** Room for the error and all other control messages that a socket may have turned on. */
const ERROR_CONTROL = 1024
