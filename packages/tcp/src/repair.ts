import type { Codec, Encoder } from '@linux-sockets/native-core/codecs'
import { checkInteger, checkObject, needBytes } from '@linux-sockets/native-core/internal'

/**
 * The options that both sides agreed on in their SYNs. The names are those of `TcpInfo`; an omitted option was not agreed
 * on.
 */
export interface RepairOptions {
  /** The largest segment to send, in **bytes**. */
  readonly mss?: number | undefined
  /** The shift of the peer's window, in **bits**, 0 … 14. Needs `rcv_wscale`. */
  readonly snd_wscale?: number | undefined
  /** The shift of our window, in **bits**, 0 … 14. Needs `snd_wscale`. */
  readonly rcv_wscale?: number | undefined
  /** Whether both sides acknowledge selectively. Default false. */
  readonly sack?: boolean | undefined
  /** Whether both sides send timestamps. Default false. */
  readonly timestamps?: boolean | undefined
}

/** Up to four `struct tcp_repair_opt`, one for each option. */
export const repairOptions: Encoder<RepairOptions> = {
  size: 32,
  encode: (value, view, what) => {
    checkObject(value, what)
    const { mss, snd_wscale, rcv_wscale, sack = false, timestamps = false } = value
    let length = 0
    const put = (code: number, value: number) => {
      view.setUint32(length, code, LE)
      view.setUint32(length + 4, value, LE)
      length += 8
    }
    if (mss !== undefined) {
      checkInteger(mss, 1, 0xffff, `${what}.mss`)
      put(TCPOPT_MAXSEG, mss)
    }
    if (snd_wscale !== undefined || rcv_wscale !== undefined) {
      checkInteger(snd_wscale, 0, 14, `${what}.snd_wscale`)
      checkInteger(rcv_wscale, 0, 14, `${what}.rcv_wscale`)
      put(TCPOPT_WINDOW, snd_wscale | (rcv_wscale << 16))
    }
    if (sack) put(TCPOPT_SACK_PERMITTED, 0)
    if (timestamps) put(TCPOPT_TIMESTAMP, 0)
    return length
  },
}

/** `struct tcp_repair_window`: both windows of a connection. The names are those of C. */
export interface RepairWindow {
  /** The sequence number of the segment that last changed the peer's window. */
  readonly snd_wl1: number
  /** The peer's window, in **bytes**. */
  readonly snd_wnd: number
  /** The largest window that the peer has announced, in **bytes**. */
  readonly max_window: number
  /** Our window, in **bytes**. */
  readonly rcv_wnd: number
  /** The sequence number up to which we had received when we last announced our window. */
  readonly rcv_wup: number
}

/** `struct tcp_repair_window`. */
export const repairWindow: Codec<RepairWindow> = {
  size: 20,
  encode: (value, view, what) => {
    checkObject(value, what)
    for (const [i, field] of windowFields.entries()) {
      checkInteger(value[field], 0, 0xffff_ffff, `${what}.${field}`)
      view.setUint32(4 * i, value[field], LE)
    }
    return 20
  },
  decode: (view, length) => {
    needBytes(length, 20, 'struct tcp_repair_window')
    const at = (index: number) => view.getUint32(4 * index, LE)
    return { snd_wl1: at(0), snd_wnd: at(1), max_window: at(2), rcv_wnd: at(3), rcv_wup: at(4) }
  },
}

const LE = true

// <netinet/tcp.h>: the kinds of TCP options, RFC 9293, RFC 7323, RFC 2018
const TCPOPT_MAXSEG = 2
const TCPOPT_WINDOW = 3
const TCPOPT_SACK_PERMITTED = 4
const TCPOPT_TIMESTAMP = 8

const windowFields = ['snd_wl1', 'snd_wnd', 'max_window', 'rcv_wnd', 'rcv_wup'] as const
