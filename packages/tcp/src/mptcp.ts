import { decodeAddress, type FdLike, getOptionBytes, type InetAddress } from '@linux-sockets/native-core'
import { ro } from '@linux-sockets/native-core/codecs'
import { needBytes } from '@linux-sockets/native-core/internal'
import { TCP_INFO, type TcpInfo } from './info.js'

/** The level of MPTCP's options. */
export const SOL_MPTCP = 284

// `MptcpInfo.flags`: <linux/mptcp.h>
/** The connection has fallen back to plain TCP. Reported only by sock_diag(7): the socket no longer has `MPTCP_INFO`. */
export const MPTCP_INFO_FLAG_FALLBACK = 1
/** The peer has sent its key, so that more subflows can be created. */
export const MPTCP_INFO_FLAG_REMOTE_KEY_RECEIVED = 2

/**
 * `struct mptcp_info`: the kernel's information about an MPTCP connection. Names are those of C without `mptcpi_`. Fields
 * that this kernel is too old for are undefined.
 * @see {@link https://docs.kernel.org/networking/mptcp.html MPTCP}
 */
export interface MptcpInfo {
  /** Subflows in addition to the first one. */
  readonly subflows: number
  /** Addresses that we announced. */
  readonly add_addr_signal: number
  /** Addresses of the peer that we accepted. */
  readonly add_addr_accepted: number
  /** The limit of `subflows`. */
  readonly subflows_max: number
  /** The number of addresses that can be announced. */
  readonly add_addr_signal_max: number
  /** The limit of `add_addr_accepted`. */
  readonly add_addr_accepted_max: number
  /** `MPTCP_INFO_FLAG_…` */
  readonly flags: number
  /** The token that identifies the connection to the peer's host and to `ip mptcp`. */
  readonly token: number
  /** The sequence number of the next **byte** to be written; modulo 2⁶⁴, like the next two. */
  readonly write_seq: bigint
  /** The sequence number of the first unacknowledged **byte**. */
  readonly snd_una: bigint
  /** The sequence number of the next **byte** to be received. */
  readonly rcv_nxt: bigint
  /** Local addresses from which subflows were created. */
  readonly local_addr_used: number
  /** The limit of `local_addr_used`. */
  readonly local_addr_max: number
  /** Whether the data has its own checksums. */
  readonly csum_enabled: boolean
  /** Timeouts after which data was retransmitted on another subflow. Linux 6.5 */
  readonly retransmits?: number
  /** **Bytes** retransmitted on another subflow. Linux 6.5 */
  readonly bytes_retrans?: number
  /** **Bytes** sent. Linux 6.5 */
  readonly bytes_sent?: number
  /** **Bytes** received. Linux 6.5 */
  readonly bytes_received?: number
  /** **Bytes** sent and acknowledged. Linux 6.5 */
  readonly bytes_acked?: number
  /** Subflows, including the first one. Linux 6.8 */
  readonly subflows_total?: number
  /** The number of laminar endpoints. Linux 6.18 */
  readonly endp_laminar_max?: number
  /** The number of fullmesh endpoints. Linux 6.18 */
  readonly endp_fullmesh_max?: number
  /** **Milliseconds** since data was last sent. Linux 6.10 */
  readonly last_data_sent?: number
  /** **Milliseconds** since data was last received. Linux 6.10 */
  readonly last_data_recv?: number
  /** **Milliseconds** since an acknowledgement was last received. Linux 6.10 */
  readonly last_ack_recv?: number
}

/**
 * The kernel's information about an MPTCP connection.
 *
 *     getOption(stream, MPTCP_INFO).subflows_total
 *
 * get · Linux 5.16
 * @throws SystemError `ENOTSUP` if the socket isn't of `IPPROTO_MPTCP`, or has fallen back to plain TCP
 * @see {@link https://docs.kernel.org/networking/mptcp.html MPTCP}
 */
export const MPTCP_INFO = ro('MPTCP_INFO', SOL_MPTCP, 1, { size: 96, decode: decodeInfo })

// The kernel reads the requested size from the value, so these are read by functions, not by option rows.
/** The option that `subflowInfo` reads. */
export const MPTCP_TCPINFO = 2
/** The option that `subflowAddresses` reads. */
export const MPTCP_SUBFLOW_ADDRS = 3

/**
 * getsockopt(2) `MPTCP_TCPINFO`: reads `TCP_INFO` of each subflow of an MPTCP connection. `tcpInfo` reads that of the first
 * one only.
 *
 * Linux 5.16
 * @throws SystemError `EBADF`; `ENOTSUP` when the socket isn't of `IPPROTO_MPTCP`, or has fallen back to plain TCP
 */
export function subflowInfo(socket: FdLike): TcpInfo[] {
  return readSubflows(socket, MPTCP_TCPINFO, TCP_INFO.size).map(({ buffer, byteOffset, length }) =>
    TCP_INFO.decode(new DataView(buffer, byteOffset, length), length),
  )
}

/** The addresses of both ends of a subflow. */
export interface SubflowAddresses {
  /** The local address. */
  readonly local: InetAddress
  /** The peer's address. */
  readonly remote: InetAddress
}

/**
 * getsockopt(2) `MPTCP_SUBFLOW_ADDRS`: reads the addresses of each subflow of an MPTCP connection.
 *
 * Linux 5.16
 * @throws SystemError `EBADF`; `ENOTSUP` when the socket isn't of `IPPROTO_MPTCP`, or has fallen back to plain TCP
 */
export function subflowAddresses(socket: FdLike): SubflowAddresses[] {
  return readSubflows(socket, MPTCP_SUBFLOW_ADDRS, 2 * SOCKADDR_STORAGE).map((bytes) => ({
    local: decodeAddress(bytes.subarray(0, SOCKADDR_STORAGE)) as InetAddress,
    remote: decodeAddress(bytes.subarray(SOCKADDR_STORAGE)) as InetAddress,
  }))
}

const LE = true

/** The size of the struct in Linux 5.16 without its padding, in **bytes**. */
const LEAST = 43

function decodeInfo(view: DataView, length: number): MptcpInfo {
  needBytes(length, LEAST, 'struct mptcp_info')
  const u8 = (at: number) => view.getUint8(at)
  const u32 = (at: number) => view.getUint32(at, LE)
  const count = (at: number) => Number(view.getBigUint64(at, LE))
  return {
    subflows: u8(0),
    add_addr_signal: u8(1),
    add_addr_accepted: u8(2),
    subflows_max: u8(3),
    add_addr_signal_max: u8(4),
    add_addr_accepted_max: u8(5),
    flags: u32(8),
    token: u32(12),
    write_seq: view.getBigUint64(16, LE),
    snd_una: view.getBigUint64(24, LE),
    rcv_nxt: view.getBigUint64(32, LE),
    local_addr_used: u8(40),
    local_addr_max: u8(41),
    csum_enabled: u8(42) !== 0,
    ...(length >= 80 && {
      retransmits: u32(44),
      bytes_retrans: count(48),
      bytes_sent: count(56),
      bytes_received: count(64),
      bytes_acked: count(72),
    }),
    // A kernel too old for the last of these returns zeros for them, as for all reserved bytes.
    ...(length >= 84 && { subflows_total: u8(80), endp_laminar_max: u8(81), endp_fullmesh_max: u8(82) }),
    ...(length >= 96 && { last_data_sent: u32(84), last_data_recv: u32(88), last_ack_recv: u32(92) }),
  }
}

/**
 * The size of `struct mptcp_subflow_data`: its own size, the number of subflows, the size of one in the kernel and in the
 * answer.
 */
const HEADER = 16
const SOCKADDR_STORAGE = 128
/** The most subflows up to Linux 6.18: the first one and eight more. */
const USUAL_SUBFLOWS = 9

/** Reads the kernel's data on each subflow, at most `size` bytes each. */
function readSubflows(socket: FdLike, option: number, size: number): Uint8Array[] {
  for (let room = USUAL_SUBFLOWS; ; ) {
    const buffer = new Uint8Array(HEADER + room * size)
    const view = new DataView(buffer.buffer)
    view.setUint32(0, HEADER, LE)
    view.setUint32(12, size, LE)
    getOptionBytes(socket, SOL_MPTCP, option, buffer)
    const [subflows, given] = [view.getUint32(4, LE), view.getUint32(12, LE)]
    if (subflows <= room) {
      return Array.from({ length: subflows }, (_, i) => buffer.subarray(HEADER + i * given, HEADER + (i + 1) * given))
    }
    room = subflows
  }
}
