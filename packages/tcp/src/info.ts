import { type FdLike, getOption } from '@linux-sockets/native-core'
import { ro } from '@linux-sockets/native-core/codecs'
import { IPPROTO_TCP } from '@linux-sockets/native-core/constants'
import { needBytes } from '@linux-sockets/native-core/internal'

// `TcpInfo.options`: <linux/tcp.h>
/** Both sides send timestamps. */
export const TCPI_OPT_TIMESTAMPS = 1
/** Both sides can acknowledge selectively. */
export const TCPI_OPT_SACK = 2
/** Both sides scale their windows. */
export const TCPI_OPT_WSCALE = 4
/** Both sides support ECN. */
export const TCPI_OPT_ECN = 8
/** A packet with an ECN mark has been received. */
export const TCPI_OPT_ECN_SEEN = 16
/** The SYN carried data that was acknowledged (Fast Open). */
export const TCPI_OPT_SYN_DATA = 32
/** Timestamps count microseconds. Linux 6.7 */
export const TCPI_OPT_USEC_TS = 64
/** The peer opened the connection with a Fast Open SYN. */
export const TCPI_OPT_TFO_CHILD = 128

/** The states of a connection; the index is the number in the kernel's <net/tcp_states.h>. */
const states = [
  'UNKNOWN',
  'ESTABLISHED',
  'SYN_SENT',
  'SYN_RECV',
  'FIN_WAIT1',
  'FIN_WAIT2',
  'TIME_WAIT',
  'CLOSE',
  'CLOSE_WAIT',
  'LAST_ACK',
  'LISTEN',
  'CLOSING',
  'NEW_SYN_RECV',
  'BOUND_INACTIVE',
] as const

/** The state of a connection, by the kernel's name without `TCP_`. */
export type TcpState = (typeof states)[number]

/** The states of congestion avoidance; the index is the number in <linux/tcp.h>: `enum tcp_ca_state`. */
const caStates = ['Open', 'Disorder', 'CWR', 'Recovery', 'Loss'] as const

/** The state of congestion avoidance, by the kernel's name without `TCP_CA_`. */
export type TcpCaState = (typeof caStates)[number] | 'unknown'

/**
 * `struct tcp_info`: the kernel's information about a connection. Names are those of C without `tcpi_`. Each field states
 * its unit; segment and packet mean the same. Fields that this kernel is too old for are undefined.
 *
 * On a listener, `unacked` is the number of connections that wait to be accepted, and `sacked` the effective backlog.
 * @see {@link https://man7.org/linux/man-pages/man7/tcp.7.html tcp(7)}
 */
export interface TcpInfo {
  /** The connection's state: `'ESTABLISHED'`. */
  readonly state: TcpState
  /** The state of congestion control: `'Open'` if all is well. */
  readonly ca_state: TcpCaState
  /** Consecutive unanswered retransmissions of the segment that is due. */
  readonly retransmits: number
  /** Unanswered keepalive or zero-window probes. */
  readonly probes: number
  /** How often the retransmission timeout has been doubled. */
  readonly backoff: number
  /** `TCPI_OPT_…` */
  readonly options: number
  /** The shift of the peer's window, in **bits**. */
  readonly snd_wscale: number
  /** The shift of our window, in **bits**. */
  readonly rcv_wscale: number
  /** Whether `delivery_rate` was limited by the program's sending rather than by the network. Linux 4.9 */
  readonly delivery_rate_app_limited: boolean
  /**
   * Why our Fast Open failed: 0 it didn't, 1 no cookie, 2 the data was not acknowledged, 3 the SYN was retransmitted. Linux
   * 5.5
   */
  readonly fastopen_client_fail: number
  /** The retransmission timeout, in **microseconds**. */
  readonly rto: number
  /** How long an acknowledgement may currently be delayed, in **microseconds**. */
  readonly ato: number
  /** The largest segment that is sent, in **bytes**. */
  readonly snd_mss: number
  /** The largest segment that the peer seems to send, in **bytes**. */
  readonly rcv_mss: number
  /** **Segments** sent and not acknowledged. */
  readonly unacked: number
  /** **Segments** acknowledged selectively. */
  readonly sacked: number
  /** **Segments** believed lost. */
  readonly lost: number
  /** Retransmitted **segments** that are not acknowledged. */
  readonly retrans: number
  /** Unused by the kernel: 0 since Linux 4.15. */
  readonly fackets: number
  /** **Milliseconds** since data was last sent. */
  readonly last_data_sent: number
  /** Unused by the kernel: 0. */
  readonly last_ack_sent: number
  /** **Milliseconds** since data was last received. */
  readonly last_data_recv: number
  /** **Milliseconds** since an acknowledgement was last received. */
  readonly last_ack_recv: number
  /** The path's largest packet, in **bytes**. */
  readonly pmtu: number
  /** The threshold up to which our window grows fast, in **bytes**. */
  readonly rcv_ssthresh: number
  /** The smoothed round-trip time, in **microseconds**. */
  readonly rtt: number
  /** How much the round-trip time varies (mean deviation), in **microseconds**. */
  readonly rttvar: number
  /** The threshold of slow start, in **segments**; 0x7fffffff if there is none yet. */
  readonly snd_ssthresh: number
  /** The congestion window, in **segments**. */
  readonly snd_cwnd: number
  /** The largest segment that we announced, in **bytes**. */
  readonly advmss: number
  /** How many **segments** a packet may be late without counting as lost. */
  readonly reordering: number
  /** The round-trip time as the receiving side estimates it, in **microseconds**; 0 without an estimate. */
  readonly rcv_rtt: number
  /** The space that the receive buffer is tuned for, in **bytes**. */
  readonly rcv_space: number
  /** **Segments** retransmitted since the connection began. */
  readonly total_retrans: number
  /** The pacing rate of sending, in **bytes per second**; `Infinity` if there is none. Linux 3.15 */
  readonly pacing_rate?: number
  /**
   * The limit of the pacing rate (`SO_MAX_PACING_RATE`), in **bytes per second**; `Infinity` if there is none. Linux 3.15
   */
  readonly max_pacing_rate?: number
  /** **Bytes** sent and acknowledged. Linux 4.1 */
  readonly bytes_acked?: number
  /** **Bytes** received in order. Linux 4.1 */
  readonly bytes_received?: number
  /** **Segments** sent, including all retransmissions and pure acknowledgements. Linux 4.2 */
  readonly segs_out?: number
  /** **Segments** received. Linux 4.2 */
  readonly segs_in?: number
  /** **Bytes** in the send buffer that were never sent. Linux 4.6 */
  readonly notsent_bytes?: number
  /** The smallest recent round-trip time, in **microseconds**; 0xffffffff without a sample. Linux 4.6 */
  readonly min_rtt?: number
  /** **Segments** with data received. Linux 4.6 */
  readonly data_segs_in?: number
  /** **Segments** with data sent, including retransmissions. Linux 4.6 */
  readonly data_segs_out?: number
  /** The rate at which data recently arrived at the peer, in **bytes per second**. Linux 4.9 */
  readonly delivery_rate?: number
  /** **Microseconds** with data to send. Linux 4.10 */
  readonly busy_time?: number
  /** The part of `busy_time` in which the peer's window limited sending, in **microseconds**. Linux 4.10 */
  readonly rwnd_limited?: number
  /** The part of `busy_time` in which the send buffer limited sending, in **microseconds**. Linux 4.10 */
  readonly sndbuf_limited?: number
  /** **Segments** with data that are known to have arrived. Linux 4.18 */
  readonly delivered?: number
  /** The **segments** of `delivered` that got an ECN mark. Linux 4.18 */
  readonly delivered_ce?: number
  /** **Bytes** of data sent, including retransmissions. Linux 4.19 */
  readonly bytes_sent?: number
  /** **Bytes** of data retransmitted. Linux 4.19 */
  readonly bytes_retrans?: number
  /** Duplicates of our data that the peer reported (DSACK). Linux 4.19 */
  readonly dsack_dups?: number
  /** How often reordering of packets was observed. Linux 4.19 */
  readonly reord_seen?: number
  /** **Segments** received out of order. Linux 5.4 */
  readonly rcv_ooopack?: number
  /** The peer's window, in **bytes**. Linux 5.4 */
  readonly snd_wnd?: number
  /** Our window, in **bytes**. Linux 6.2 */
  readonly rcv_wnd?: number
  /** How often another path was tried after a timeout or congestion. Linux 6.2 */
  readonly rehash?: number
  /** Retransmission timeouts, including those of the SYN. Linux 6.7 */
  readonly total_rto?: number
  /** Recoveries from consecutive retransmission timeouts, including unfinished ones. Linux 6.7 */
  readonly total_rto_recoveries?: number
  /** **Milliseconds** spent in these recoveries. Linux 6.7 */
  readonly total_rto_time?: number
  /** **Segments** received with an ECN mark. Linux 6.18 */
  readonly received_ce?: number
  /**
   * **Bytes** that arrived with the ECN codepoint ECT(1), as the peer reports; modulo 2³², like the following ones. Linux
   * 6.18
   */
  readonly delivered_e1_bytes?: number
  /** **Bytes** that arrived with the ECN codepoint ECT(0), as the peer reports. Linux 6.18 */
  readonly delivered_e0_bytes?: number
  /** **Bytes** that arrived with an ECN mark, as the peer reports. Linux 6.18 */
  readonly delivered_ce_bytes?: number
  /** **Bytes** received with the ECN codepoint ECT(1). Linux 6.18 */
  readonly received_e1_bytes?: number
  /** **Bytes** received with the ECN codepoint ECT(0). Linux 6.18 */
  readonly received_e0_bytes?: number
  /** **Bytes** received with an ECN mark. Linux 6.18 */
  readonly received_ce_bytes?: number
  /** The modes of accurate ECN, packed: Linux 6.18 and 7.0 pack them differently. */
  readonly accecn?: number
}

/**
 * The kernel's information about a connection. `tcpInfo(socket)` reads it.
 * get
 * @see {@link https://man7.org/linux/man-pages/man7/tcp.7.html tcp(7)}
 */
export const TCP_INFO = ro('TCP_INFO', IPPROTO_TCP, 11, { size: 280, decode })

/**
 * getsockopt(2) `TCP_INFO`: reads the kernel's information about a connection or listener.
 *
 *     const { rtt, snd_cwnd, delivery_rate } = tcpInfo(stream)
 *
 * @throws SystemError `EBADF`; `ENOTSUP` or `ENOPROTOOPT` if it isn't a TCP socket
 * @throws RangeError if the kernel's answer is shorter than that of any Linux, such as an emulator's
 */
export function tcpInfo(socket: FdLike): TcpInfo {
  return getOption(socket, TCP_INFO)
}

type NumberField = Exclude<
  keyof TcpInfo,
  'state' | 'ca_state' | 'snd_wscale' | 'rcv_wscale' | 'delivery_rate_app_limited' | 'fastopen_client_fail'
>

/** The offset and size of each number, in **bytes**. The kernel appends new fields and never moves one. */
const layout: { readonly [Field in NumberField]-?: readonly [at: number, size: 1 | 2 | 4 | 8] } = {
  retransmits: [2, 1],
  probes: [3, 1],
  backoff: [4, 1],
  options: [5, 1],
  rto: [8, 4],
  ato: [12, 4],
  snd_mss: [16, 4],
  rcv_mss: [20, 4],
  unacked: [24, 4],
  sacked: [28, 4],
  lost: [32, 4],
  retrans: [36, 4],
  fackets: [40, 4],
  last_data_sent: [44, 4],
  last_ack_sent: [48, 4],
  last_data_recv: [52, 4],
  last_ack_recv: [56, 4],
  pmtu: [60, 4],
  rcv_ssthresh: [64, 4],
  rtt: [68, 4],
  rttvar: [72, 4],
  snd_ssthresh: [76, 4],
  snd_cwnd: [80, 4],
  advmss: [84, 4],
  reordering: [88, 4],
  rcv_rtt: [92, 4],
  rcv_space: [96, 4],
  total_retrans: [100, 4],
  pacing_rate: [104, 8],
  max_pacing_rate: [112, 8],
  bytes_acked: [120, 8],
  bytes_received: [128, 8],
  segs_out: [136, 4],
  segs_in: [140, 4],
  notsent_bytes: [144, 4],
  min_rtt: [148, 4],
  data_segs_in: [152, 4],
  data_segs_out: [156, 4],
  delivery_rate: [160, 8],
  busy_time: [168, 8],
  rwnd_limited: [176, 8],
  sndbuf_limited: [184, 8],
  delivered: [192, 4],
  delivered_ce: [196, 4],
  bytes_sent: [200, 8],
  bytes_retrans: [208, 8],
  dsack_dups: [216, 4],
  reord_seen: [220, 4],
  rcv_ooopack: [224, 4],
  snd_wnd: [228, 4],
  rcv_wnd: [232, 4],
  rehash: [236, 4],
  total_rto: [240, 2],
  total_rto_recoveries: [242, 2],
  total_rto_time: [244, 4],
  received_ce: [248, 4],
  delivered_e1_bytes: [252, 4],
  delivered_e0_bytes: [256, 4],
  delivered_ce_bytes: [260, 4],
  received_e1_bytes: [264, 4],
  received_e0_bytes: [268, 4],
  received_ce_bytes: [272, 4],
  accecn: [276, 4],
}

const LE = true

/** The **bytes** that every Linux returns: up to `total_retrans`. */
const LEAST = 104

/** An older kernel returns fewer bytes; fields that a newer kernel adds are not requested. */
function decode(view: DataView, length: number): TcpInfo {
  needBytes(length, LEAST, 'struct tcp_info')
  const scale = view.getUint8(6)
  const flags = view.getUint8(7)
  const numbers = Object.entries(layout)
    .filter(([, [at, size]]) => at + size <= length)
    .map(([field, [at, size]]) => [field, readNumber(view, at, size)])
  return {
    state: states[view.getUint8(0)] ?? 'UNKNOWN',
    ca_state: caStates[view.getUint8(1)] ?? 'unknown',
    snd_wscale: scale & 15,
    rcv_wscale: scale >> 4,
    delivery_rate_app_limited: (flags & 1) !== 0,
    fastopen_client_fail: (flags >> 1) & 3,
    ...(Object.fromEntries(numbers) as { [Field in NumberField]: number }),
  }
}

function readNumber(view: DataView, at: number, size: 1 | 2 | 4 | 8): number {
  switch (size) {
    case 1:
      return view.getUint8(at)
    case 2:
      return view.getUint16(at, LE)
    case 4:
      return view.getUint32(at, LE)
    case 8: {
      const value = view.getBigUint64(at, LE)
      return value === UNLIMITED ? Infinity : Number(value)
    }
  }
}

/** A rate without a limit: ~0. */
const UNLIMITED = 0xffff_ffff_ffff_ffffn
