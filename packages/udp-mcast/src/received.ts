import {
  type ControlName,
  controlMessage,
  encodeAddress,
  encodeControl,
  formatIpv4,
  formatIpv6,
  type InetAddress,
  readControl,
} from '@linux-sockets/native-core'
import type { Decoder } from '@linux-sockets/native-core/codecs'
import { IPPROTO_IP, IPPROTO_IPV6, MSG_TRUNC } from '@linux-sockets/native-core/constants'
import type { DatagramView, IncomingDatagram } from '@linux-sockets/native-core/streams'
import {
  CMSG_IP_PKTINFO,
  CMSG_IP_TOS,
  CMSG_IP_TTL,
  CMSG_IPV6_HOPLIMIT,
  CMSG_IPV6_PKTINFO,
  CMSG_IPV6_TCLASS,
  CMSG_SO_RXQ_OVFL,
  CMSG_UDP_GRO,
  SCM_TIMESTAMP,
  SCM_TIMESTAMPING,
  SCM_TIMESTAMPNS,
} from './control.js'

/** Explicit congestion notification, the lower two bits of TOS or traffic class: RFC 3168. */
export type Ecn = 'not-ect' | 'ect1' | 'ect0' | 'ce'

/** The names by their bits. For this package's own use. */
export const ECN: readonly Ecn[] = ['not-ect', 'ect1', 'ect0', 'ce']

/** Where a datagram's properties come from: a view of the batch, or a copy. */
type Source = Pick<
  DatagramView<InetAddress>,
  'data' | 'length' | 'address' | 'sockaddr' | 'flags' | 'control' | 'readControl'
>

/**
 * A datagram that a `UdpSocket` received. Its properties are decoded when they are read. One that a handler is called with is
 * valid only during the call; `copy` takes what must last longer.
 *
 * A property of which `receive` has not turned on the option is undefined.
 */
export class UdpDatagram {
  readonly #source: Source

  /** `UdpSocket` makes these. */
  constructor(source: Source) {
    this.#source = source
  }

  /** The bytes, cut to the size of the receive buffer. */
  get data(): Buffer {
    return this.#source.data
  }

  /** The true length in **bytes**: more than `data.length` if the datagram was cut. */
  get length(): number {
    return this.#source.length
  }

  /** Whether the data was cut (`MSG_TRUNC`), because it is longer than `receive.size`. */
  get truncated(): boolean {
    return (this.#source.flags & MSG_TRUNC) !== 0
  }

  /** `MSG_TRUNC`, `MSG_CTRUNC` as the kernel set them. */
  get flags(): number {
    return this.#source.flags
  }

  /** The sender's address. */
  get address(): InetAddress {
    return this.#source.address as InetAddress
  }

  /** The sender's address as bytes, which `send` takes without encoding; valid as long as the datagram. */
  get sockaddr(): Uint8Array {
    return this.#source.sockaddr
  }

  /** The index of the interface on which it arrived: `receive.arrival`. */
  get ifindex(): number | undefined {
    return this.#source.readControl(IFINDEX6) ?? this.#source.readControl(IFINDEX4)
  }

  /**
   * The address to which it was sent: a multicast group, a broadcast address, or an address of this host; an IPv4 address is
   * mapped (`'::ffff:192.0.2.1'`) on an IPv6 socket. `receive.arrival`.
   */
  get destination(): string | undefined {
    return this.#source.readControl(DESTINATION6) ?? this.#source.readControl(DESTINATION4)
  }

  /**
   * The address from which an answer is sent: the destination, or one of the interface's if that is a multicast or an IPv4
   * broadcast address; undefined if an IPv6 datagram was sent to a group. `receive.arrival`.
   */
  get localAddress(): string | undefined {
    const v4 = this.#source.readControl(CMSG_IP_PKTINFO)
    if (v4 !== undefined) return v4.spec_dst
    const v6 = this.#source.readControl(CMSG_IPV6_PKTINFO)?.address
    return v6 === undefined || v6.startsWith('ff') ? undefined : v6
  }

  /** The time to live, or the hop limit, with which it arrived, in **hops**: `receive.ttl`. */
  get ttl(): number | undefined {
    return this.#source.readControl(CMSG_IP_TTL) ?? this.#source.readControl(CMSG_IPV6_HOPLIMIT)
  }

  /** The type of service, or the traffic class: the DSCP in the upper 6 bits, ECN in the lower 2. `receive.tos`. */
  get tos(): number | undefined {
    return this.#source.readControl(CMSG_IP_TOS) ?? this.#source.readControl(CMSG_IPV6_TCLASS)
  }

  /** Explicit congestion notification: `'ce'` if a router has met congestion. `receive.tos`. */
  get ecn(): Ecn | undefined {
    const { tos } = this
    return tos === undefined ? undefined : ECN[tos & 3]
  }

  /** When the kernel received it, in **nanoseconds** since 1970: `receive.timestamp`. */
  get timestamp(): bigint | undefined {
    const source = this.#source
    return (
      source.readControl(SCM_TIMESTAMPNS) ??
      source.readControl(SCM_TIMESTAMP) ??
      source.readControl(SCM_TIMESTAMPING)?.software
    )
  }

  /** When the network card received it, in **nanoseconds** of its own clock: `receive.timestamp: 'hardware'`. */
  get hardwareTimestamp(): bigint | undefined {
    return this.#source.readControl(SCM_TIMESTAMPING)?.hardware
  }

  /**
   * The number of datagrams that the socket had dropped when this one was queued, 0 if none: `receive.drops`. Datagrams that
   * are dropped now show in those that are queued later; `UdpSocket.drops` is up to date.
   */
  get drops(): number {
    return this.#source.readControl(CMSG_SO_RXQ_OVFL) ?? 0
  }

  /** The size of the datagrams that the kernel has joined, in **bytes**; undefined for a single one. `receive.gro`. */
  get segmentSize(): number | undefined {
    return this.#source.readControl(CMSG_UDP_GRO)
  }

  /** The datagrams that the kernel has joined, without copying; one, if it has joined none. */
  *segments(): IterableIterator<Buffer> {
    const { data, segmentSize = 0 } = this
    if (segmentSize === 0) yield data
    else for (let at = 0; at < data.length; at += segmentSize) yield data.subarray(at, at + segmentSize)
  }

  /** The value of the first control message of this kind that came with it, or undefined. */
  readControl<T>(kind: ControlName & Decoder<T>): T | undefined {
    return this.#source.readControl(kind)
  }

  /** Returns a copy that stays valid. */
  copy(): UdpDatagram {
    const { length, address, flags, control } = this.#source
    return new UdpDatagram(new Copy({ data: Buffer.from(this.data), length, address, flags, control }))
  }
}

/** A copy of a received datagram that stays valid. For this package's own use. */
export function kept(datagram: Kept): UdpDatagram {
  return new UdpDatagram(new Copy(datagram))
}

type Kept = Pick<IncomingDatagram<InetAddress>, 'data' | 'length' | 'address' | 'flags' | 'control'>

class Copy implements Source {
  readonly data: Buffer
  readonly length: number
  readonly address: InetAddress | null
  readonly flags: number
  readonly control: Kept['control']

  constructor({ data, length, address, flags, control }: Kept) {
    this.data = data
    this.length = length
    this.address = address
    this.flags = flags
    this.control = control
  }

  get sockaddr(): Uint8Array {
    return this.address === null ? new Uint8Array(0) : encodeAddress(this.address)
  }

  readControl<T>(kind: ControlName & Decoder<T>): T | undefined {
    return readControl(this.control, kind)
  }
}

// Parts of `struct in_pktinfo` and `struct in6_pktinfo`: most programs need one of them, and the text of an address costs more
// than all the rest.

const v4 = { name: 'IP_PKTINFO', level: IPPROTO_IP, type: CMSG_IP_PKTINFO.type, size: CMSG_IP_PKTINFO.size }
const v6 = { name: 'IPV6_PKTINFO', level: IPPROTO_IPV6, type: CMSG_IPV6_PKTINFO.type, size: CMSG_IPV6_PKTINFO.size }

const IFINDEX4: ControlName & Decoder<number> = { ...v4, decode: (view) => view.getInt32(0, true) }
const IFINDEX6: ControlName & Decoder<number> = { ...v6, decode: (view) => view.getInt32(16, true) }
const DESTINATION4: ControlName & Decoder<string> = { ...v4, decode: (view) => formatIpv4(bytesAt(view, 8, 4)) }
const DESTINATION6: ControlName & Decoder<string> = { ...v6, decode: (view) => formatIpv6(bytesAt(view, 0, 16)) }

function bytesAt(view: DataView, offset: number, length: number): Uint8Array {
  return new Uint8Array(view.buffer, view.byteOffset + offset, length)
}

/**
 * The control messages with which an answer leaves by the address and the interface that a datagram came to, encoded; undefined
 * if it came without them. For this package's own use.
 */
export function replyControl(datagram: UdpDatagram): Uint8Array | undefined {
  return datagram.readControl(REPLY4) ?? datagram.readControl(REPLY6)
}

const REPLY4: ControlName & Decoder<Uint8Array> = {
  ...v4,
  decode: (view) => {
    const control = new Uint8Array(header4)
    control.set(bytesAt(view, 0, 8), header4.length - 12 - 4)
    return control
  },
}

const REPLY6: ControlName & Decoder<Uint8Array> = {
  ...v6,
  decode: (view) => {
    const control = new Uint8Array(header6)
    // A group can't be a source, and the kernel chooses one of the interface's addresses.
    const from = view.getUint8(0) === 0xff ? 16 : 0
    control.set(bytesAt(view, from, 20 - from), header6.length - 20 - 4 + from)
    return control
  },
}

const header4 = encodeControl([controlMessage(CMSG_IP_PKTINFO, { ifindex: 0, spec_dst: '0.0.0.0' })])
const header6 = encodeControl([controlMessage(CMSG_IPV6_PKTINFO, { ifindex: 0, address: '::' })])
