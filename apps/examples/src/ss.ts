/**
 * Shows sockets as ss(8) and `lsof -i` do: the kernel lists the sockets of this network namespace by sock_diag(7), and /proc
 * has the processes that hold them. Addresses are shown as numbers.
 *
 *     node dist/ss.js           connected sockets
 *     node dist/ss.js -tulp     TCP and UDP sockets that wait for peers, and their processes
 *     node dist/ss.js -ti       TCP connections with their TCP_INFO
 */
import { readdirSync, readFileSync, readlinkSync } from 'node:fs'
import { pathToFileURL } from 'node:url'
import { parseArgs } from 'node:util'
import {
  decodeAddress,
  formatAddress,
  formatIpv4,
  formatIpv6,
  type InetAddress,
  type UnixAddress,
} from '@linux-sockets/native-core'
import {
  AF_INET,
  AF_INET6,
  AF_UNIX,
  IPPROTO_TCP,
  IPPROTO_UDP,
  NETLINK_SOCK_DIAG,
  SOCK_DGRAM,
  SOCK_SEQPACKET,
  SOCK_STREAM,
} from '@linux-sockets/native-core/constants'
import { interfaceNameOf, netlinkAttributes, netlinkDump } from '@linux-sockets/native-core/interfaces'
import { TCP_INFO, type TcpInfo } from '@linux-sockets/tcp'

const KINDS = ['tcp', 'udp', 'unix'] as const

/** The names that ss uses for the states, at the kernel's numbers. UDP and Unix sockets have some of these states, too. */
export const STATES = [
  'UNKNOWN',
  'ESTAB',
  'SYN-SENT',
  'SYN-RECV',
  'FIN-WAIT-1',
  'FIN-WAIT-2',
  'TIME-WAIT',
  'UNCONN',
  'CLOSE-WAIT',
  'LAST-ACK',
  'LISTEN',
  'CLOSING',
] as const

/** The types of Unix sockets: stream, datagram, seqpacket. */
type UnixType = 'u_str' | 'u_dgr' | 'u_seq'

export type State = (typeof STATES)[number]

/** The states of `ss -l`. A datagram socket that isn't connected waits for peers as a listener does. */
export const WAITING: readonly State[] = ['LISTEN', 'UNCONN']
/** The states that ss shows by default: of sockets that have a peer, had one, or try to connect to one. */
export const CONNECTED = STATES.filter((state) => ![...WAITING, 'TIME-WAIT', 'SYN-RECV'].includes(state))

/** Selects the sockets to list, and their details. */
export interface SocketQuery {
  readonly kinds?: readonly (typeof KINDS)[number][]
  readonly states?: readonly State[]
  /** Whether to request `tcpInfo` and `congestion`. */
  readonly info?: boolean
}

/** A socket. */
export interface SocketEntry {
  readonly netid: 'tcp' | 'udp' | UnixType
  readonly state: State
  /**
   * **Bytes** to be read. For UDP, the memory that they take; for Unix datagrams, the bytes of the first one. For a listener,
   * the **connections** to be accepted.
   */
  readonly receiveQueue: number
  /** **Bytes** that the peer hasn't acknowledged, or read; for UDP, memory. For a listener, the most **connections** in wait. */
  readonly sendQueue: number
  readonly local: InetAddress | UnixAddress
  /** For a Unix socket the name is empty if the peer is not among the selected sockets. */
  readonly peer: InetAddress | UnixAddress
  /** The number of the socket in /proc; 0 if no process has it, as in TIME-WAIT. */
  readonly inode: number
  /** The inode of a Unix socket's peer; 0 without a peer. */
  readonly peerInode?: number
  /** The interface that the socket, or its link-local address, is bound to. */
  readonly ifindex?: number
  /** Whether an IPv6 socket does not accept IPv4. Known only while it waits for peers. */
  readonly v6only?: boolean
  readonly tcpInfo?: TcpInfo
  /** The congestion control algorithm. */
  readonly congestion?: string
}

/** A process that has a socket open. */
export interface Holder {
  readonly command: string
  readonly pid: number
  readonly fd: number
}

/**
 * Returns the sockets of this network namespace. Each kind and family is read at a different moment, so sockets that are opened
 * or closed meanwhile may be missing.
 */
export function sockets({ kinds = KINDS, states = CONNECTED, info = false }: SocketQuery = {}): SocketEntry[] {
  const mask = states.reduce((bits, state) => bits | (1 << STATES.indexOf(state)), 0)
  return kinds.flatMap((kind) => {
    if (kind === 'unix') return unixSockets(mask)
    return [AF_INET, AF_INET6].flatMap((family) => inetSockets(kind, family, mask, info))
  })
}

/** Returns the processes that have sockets open, by inode. Only root sees the descriptors of other users. */
export function holders(): Map<number, Holder[]> {
  const found = new Map<number, Holder[]>()
  for (const pid of readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
    const command = ifVisible(() => readFileSync(`/proc/${pid}/comm`, 'utf8').replace(/\n$/, ''))
    for (const fd of ifVisible(() => readdirSync(`/proc/${pid}/fd`)) ?? []) {
      const target = ifVisible(() => readlinkSync(`/proc/${pid}/fd/${fd}`)) ?? ''
      const [, inode] = /^socket:\[(\d+)\]$/.exec(target) ?? []
      if (inode === undefined || command === undefined) continue
      const holder = { command, pid: Number(pid), fd: Number(fd) }
      found.set(Number(inode), [...(found.get(Number(inode)) ?? []), holder])
    }
  }
  return found
}

/** Returns undefined if the process belongs to another user, or has just ended. */
function ifVisible<T>(read: () => T): T | undefined {
  try {
    return read()
  } catch (error) {
    if (['EACCES', 'EPERM', 'ENOENT', 'ESRCH'].includes((error as NodeJS.ErrnoException).code ?? '')) return undefined
    throw error
  }
}

/** `struct inet_diag_req_v2` and `struct inet_diag_msg`: <linux/inet_diag.h>. Numbers except ports are in host byte order. */
function inetSockets(netid: 'tcp' | 'udp', family: number, states: number, info: boolean): SocketEntry[] {
  const request = Buffer.alloc(56)
  request.writeUInt8(family, 0)
  request.writeUInt8(netid === 'tcp' ? IPPROTO_TCP : IPPROTO_UDP, 1)
  // A bit for each attribute; attribute 1 is bit 0.
  if (info) request.writeUInt8((1 << (INET_DIAG_INFO - 1)) | (1 << (INET_DIAG_CONG - 1)), 2)
  request.writeUInt32LE(states, 4)
  return dump(request).map((message) => {
    const found = netlinkAttributes(message, 72)
    const ifindex = message.readUInt32LE(40)
    const v6only = found.get(INET_DIAG_SKV6ONLY)
    const tcpInfo = found.get(INET_DIAG_INFO)
    const congestion = found.get(INET_DIAG_CONG)
    return {
      netid,
      state: STATES[message.readUInt8(1)] ?? 'UNKNOWN',
      receiveQueue: message.readUInt32LE(56),
      sendQueue: message.readUInt32LE(60),
      local: inetAddress(family, message.subarray(8, 24), message.readUInt16BE(4)),
      peer: inetAddress(family, message.subarray(24, 40), message.readUInt16BE(6)),
      inode: message.readUInt32LE(68),
      ...(ifindex !== 0 && { ifindex }),
      ...(v6only && { v6only: v6only[0] === 1 }),
      ...(tcpInfo && { tcpInfo: decodeTcpInfo(tcpInfo) }),
      ...(congestion && { congestion: congestion.toString('latin1', 0, congestion.length - 1) }),
    }
  })
}

function inetAddress(family: number, bytes: Buffer, port: number): InetAddress {
  return family === AF_INET
    ? { family: 'ipv4', address: formatIpv4(bytes.subarray(0, 4)), port }
    : { family: 'ipv6', address: formatIpv6(bytes), port }
}

function decodeTcpInfo({ buffer, byteOffset, length }: Buffer): TcpInfo {
  return TCP_INFO.decode(new DataView(buffer, byteOffset, length), length)
}

/** `struct unix_diag_req` and `struct unix_diag_msg`: <linux/unix_diag.h>. */
function unixSockets(states: number): SocketEntry[] {
  const request = Buffer.alloc(24)
  request.writeUInt8(AF_UNIX, 0)
  request.writeUInt32LE(states, 4)
  request.writeUInt32LE(UDIAG_SHOW_NAME | UDIAG_SHOW_PEER | UDIAG_SHOW_RQLEN, 12)
  const all = dump(request).map((message) => {
    const found = netlinkAttributes(message, 16)
    const queues = found.get(UNIX_DIAG_RQLEN)
    return {
      netid: UNIX_TYPES[message.readUInt8(1)] as UnixType,
      state: STATES[message.readUInt8(2)] ?? 'UNKNOWN',
      receiveQueue: queues?.readUInt32LE(0) ?? 0,
      sendQueue: queues?.readUInt32LE(4) ?? 0,
      local: unixAddress(found.get(UNIX_DIAG_NAME)),
      inode: message.readUInt32LE(4),
      peerInode: found.get(UNIX_DIAG_PEER)?.readUInt32LE(0) ?? 0,
    }
  })
  const names = new Map(all.map(({ inode, local }) => [inode, local]))
  return all.map((socket) => ({ ...socket, peer: names.get(socket.peerInode) ?? unixAddress() }))
}

/** Decodes the attribute, which has the bytes of `struct sockaddr_un` after the family. */
function unixAddress(name: Uint8Array = new Uint8Array()): UnixAddress {
  return decodeAddress(Uint8Array.of(AF_UNIX, 0, ...name)) as UnixAddress
}

/** Returns the kernel's answer to a request. `ENOENT` means that it has no sock_diag for that kind of socket. */
function dump(request: Uint8Array): Buffer[] {
  return netlinkDump(NETLINK_SOCK_DIAG, SOCK_DIAG_BY_FAMILY, request).map(({ body }) => body)
}

const SOCK_DIAG_BY_FAMILY = 20
const INET_DIAG_INFO = 2
const INET_DIAG_CONG = 4
const INET_DIAG_SKV6ONLY = 11
const UDIAG_SHOW_NAME = 0x1
const UDIAG_SHOW_PEER = 0x4
const UDIAG_SHOW_RQLEN = 0x10
const UNIX_DIAG_NAME = 0
const UNIX_DIAG_PEER = 2
const UNIX_DIAG_RQLEN = 4
const UNIX_TYPES: Readonly<Record<number, UnixType>> = {
  [SOCK_STREAM]: 'u_str',
  [SOCK_DGRAM]: 'u_dgr',
  [SOCK_SEQPACKET]: 'u_seq',
}

const USAGE = `usage: node ss.js [options]
  -t, --tcp  -u, --udp  -x, --unix    only these
  -l, --listening                     those that wait for peers, not those that have one
  -a, --all                           both
  -p, --processes                     the processes that have them open
  -i, --info                          what TCP knows of the connection
  -n, --numeric                       numbers in place of names, as they are without it`

/** Returns the output. Throws the errors of `parseArgs`. */
function run(args: string[]): string {
  const boolean = (short: string) => ({ type: 'boolean', short }) as const
  const { values } = parseArgs({
    args,
    options: {
      tcp: boolean('t'),
      udp: boolean('u'),
      unix: boolean('x'),
      listening: boolean('l'),
      all: boolean('a'),
      processes: boolean('p'),
      info: boolean('i'),
      numeric: boolean('n'),
    },
  })
  const kinds = KINDS.filter((kind) => values[kind])
  const found = sockets({
    ...(kinds.length > 0 && { kinds }),
    states: values.all ? STATES : values.listening ? WAITING : CONNECTED,
    info: values.info === true,
  })
  return table(found, values.processes ? holders() : new Map())
}

function table(found: readonly SocketEntry[], heldBy: ReadonlyMap<number, readonly Holder[]>): string {
  const rows = found.map((socket) => {
    const { netid, state, receiveQueue, sendQueue, inode } = socket
    const users = heldBy.get(inode)?.map(({ command, pid, fd }) => `("${command}",pid=${pid},fd=${fd})`)
    const process = users === undefined ? '' : `users:(${users})`
    const cells = [netid, state, `${receiveQueue}`, `${sendQueue}`, ...ends(socket), process].map(printable)
    return { cells, info: infoLine(socket) }
  })
  const title = ['Netid', 'State', 'Recv-Q', 'Send-Q', 'Local Address:Port', 'Peer Address:Port', 'Process']
  const widths = title.map((name, i) =>
    rows.reduce((most, { cells }) => Math.max(most, cells[i]?.length ?? 0), name.length),
  )
  const line = (cells: readonly string[]) =>
    cells
      .map((cell, i) => cell.padEnd(widths[i] ?? 0))
      .join(' ')
      .trimEnd()
  return [line(title), ...rows.flatMap(({ cells, info }) => [line(cells), ...info])].join('\n')
}

/** Formats both ends as ss does: an address and a port, or the name of a Unix socket and its inode. */
function ends({ local, peer, inode, peerInode, ifindex, v6only }: SocketEntry): [local: string, peer: string] {
  if (local.family === 'unix' || peer.family === 'unix') {
    return [`${unixText(local)} ${inode}`, `${unixText(peer)} ${peerInode}`]
  }
  return [inetText(local, v6only, ifindex), inetText(peer, v6only)]
}

function unixText(address: InetAddress | UnixAddress): string {
  return 'path' in address || 'abstract' in address ? formatAddress(address) : '*'
}

function inetText({ family, address, port }: InetAddress, v6only = false, ifindex = 0): string {
  const ipv6 = address === '::' && !v6only ? '*' : `[${address}]`
  return `${family === 'ipv6' ? ipv6 : address}${ifindex === 0 ? '' : `%${interfaceText(ifindex)}`}:${port || '*'}`
}

function interfaceText(ifindex: number): string {
  try {
    return interfaceNameOf(ifindex)
  } catch {
    return `if${ifindex}`
  }
}

/** Formats the information with the names and units of ss: times in milliseconds. Leaves out what is 0 or unknown. */
function infoLine({ tcpInfo: info, congestion }: SocketEntry): string[] {
  if (info === undefined) return []
  const fields = {
    wscale: info.snd_wscale || info.rcv_wscale ? `${info.snd_wscale},${info.rcv_wscale}` : 0,
    rto: info.rto / 1000,
    backoff: info.backoff,
    rtt: info.rtt && `${info.rtt / 1000}/${info.rttvar / 1000}`,
    ato: info.ato / 1000,
    mss: info.snd_mss,
    pmtu: info.pmtu,
    rcvmss: info.rcv_mss,
    advmss: info.advmss,
    cwnd: info.snd_cwnd,
    bytes_sent: info.bytes_sent,
    bytes_retrans: info.bytes_retrans,
    bytes_acked: info.bytes_acked,
    bytes_received: info.bytes_received,
    segs_out: info.segs_out,
    segs_in: info.segs_in,
    lastsnd: info.last_data_sent,
    lastrcv: info.last_data_recv,
    lastack: info.last_ack_recv,
    unacked: info.unacked,
    retrans: info.total_retrans && `${info.retrans}/${info.total_retrans}`,
    lost: info.lost,
    notsent: info.notsent_bytes,
  }
  const known = Object.entries(fields).filter(([, value]) => value)
  return [`\t ${[congestion, ...known.map(([name, value]) => `${name}:${value}`)].join(' ')}`]
}

/** Replaces control characters. Other users choose the names of sockets and processes, which could confuse a terminal. */
function printable(text: string): string {
  return text.replaceAll(/\p{Cc}/gu, '?')
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  try {
    console.log(run(process.argv.slice(2)))
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException
    if (!code?.startsWith('ERR_PARSE_ARGS_')) throw error
    console.error(`${message}\n${USAGE}`)
    process.exitCode = 2
  }
}
