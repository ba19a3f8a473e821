import { getOption, readable, Socket, type SocketAddress, setOption } from '@linux-sockets/native-core'
import { AF_INET, MSG_PEEK, SOCK_STREAM } from '@linux-sockets/native-core/constants'
import { attachFilter, BPF_K, BPF_RET, BPF_STMT, detachFilter } from '@linux-sockets/native-core/filter'
import { expectHeaderNumbers, guardDescriptors, needCapability, needCompiler, skipUnless } from '@linux-sockets/testkit'
import { expect, it } from 'vitest'
import {
  type RepairWindow,
  TCP_MAXSEG,
  TCP_QUEUE_SEQ,
  TCP_RECV_QUEUE,
  TCP_REPAIR,
  TCP_REPAIR_OFF_NO_WP,
  TCP_REPAIR_ON,
  TCP_REPAIR_OPTIONS,
  TCP_REPAIR_QUEUE,
  TCP_REPAIR_WINDOW,
  TCP_SEND_QUEUE,
  TCP_TIMESTAMP,
  TCPI_OPT_SACK,
  TCPI_OPT_TIMESTAMPS,
  type TcpInfo,
  tcpInfo,
} from '../src/index.js'
import { connectedPair } from './loopback.js'

guardDescriptors()

it('a live connection moves to another socket, with its unread and unacknowledged data', async (test) => {
  skipUnless(test, needCapability('CAP_NET_ADMIN'))
  const { connected, accepted } = await connectedPair()
  accepted.send(Buffer.from('not read'))
  await readable(connected)
  // Nothing reaches the peer until the connection has moved.
  attachFilter(accepted, [BPF_STMT(BPF_RET | BPF_K, 0)])
  connected.send(Buffer.from('not acknowledged'))

  const state = freeze(connected)
  connected.close()
  using moved = thaw(state)
  detachFilter(accepted)

  expect(receive(moved)).toBe('not read')
  await readable(accepted)
  expect(receive(accepted)).toBe('not acknowledged')
  moved.send(Buffer.from('there'))
  await readable(accepted)
  expect(receive(accepted)).toBe('there')
  accepted.send(Buffer.from('and back'))
  await readable(moved)
  expect(receive(moved)).toBe('and back')
  expect(agreed(tcpInfo(moved))).toEqual(agreed(state.info))
})

it('TCP_REPAIR_OPTIONS refuses invalid options', (test) => {
  using socket = Socket.open(AF_INET, SOCK_STREAM)
  const set = (value: object) => () => setOption(socket, TCP_REPAIR_OPTIONS, value)
  expect(set({ mss: 0x1_0000 })).toThrow(RangeError)
  expect(set({ snd_wscale: 15, rcv_wscale: 1 })).toThrow(RangeError)
  expect(set({ snd_wscale: 7 })).toThrow(TypeError)
  expect(() => setOption(socket, TCP_REPAIR_WINDOW, { snd_wl1: 0 } as RepairWindow)).toThrow(TypeError)
  skipUnless(test, needCompiler())
  expectHeaderNumbers(
    ['netinet/tcp.h'],
    [
      ['TCPOPT_MAXSEG', 2],
      ['TCPOPT_WINDOW', 3],
      ['TCPOPT_SACK_PERMITTED', 4],
      ['TCPOPT_TIMESTAMP', 8],
    ],
  )
})

interface Queue {
  /** The sequence number at its end. */
  readonly end: number
  readonly data: Uint8Array
}

interface Frozen {
  readonly local: SocketAddress
  readonly peer: SocketAddress
  readonly info: TcpInfo
  readonly mss: number
  readonly timestamp: number
  readonly window: RepairWindow
  readonly received: Queue
  readonly sent: Queue
}

/** Reads the whole state of the connection, which closing then doesn't end. */
function freeze(socket: Socket): Frozen {
  const info = tcpInfo(socket)
  setOption(socket, TCP_REPAIR, TCP_REPAIR_ON)
  return {
    local: socket.localName,
    peer: socket.peerName,
    info,
    mss: getOption(socket, TCP_MAXSEG),
    timestamp: getOption(socket, TCP_TIMESTAMP),
    window: getOption(socket, TCP_REPAIR_WINDOW),
    received: readQueue(socket, TCP_RECV_QUEUE),
    sent: readQueue(socket, TCP_SEND_QUEUE),
  }
}

/** The same connection on a new socket. */
function thaw({ local, peer, info, mss, timestamp, window, received, sent }: Frozen): Socket {
  const socket = Socket.open(AF_INET, SOCK_STREAM)
  setOption(socket, TCP_REPAIR, TCP_REPAIR_ON)
  setSequence(socket, TCP_SEND_QUEUE, sent)
  setSequence(socket, TCP_RECV_QUEUE, received)
  socket.bind(local)
  expect(socket.connect(peer)).toBe(true)
  setOption(socket, TCP_REPAIR_OPTIONS, {
    mss,
    snd_wscale: info.snd_wscale,
    rcv_wscale: info.rcv_wscale,
    sack: (info.options & TCPI_OPT_SACK) !== 0,
    timestamps: (info.options & TCPI_OPT_TIMESTAMPS) !== 0,
  })
  setOption(socket, TCP_TIMESTAMP, timestamp)
  fillQueue(socket, TCP_RECV_QUEUE, received)
  fillQueue(socket, TCP_SEND_QUEUE, sent)
  setOption(socket, TCP_REPAIR_WINDOW, window)
  setOption(socket, TCP_REPAIR, TCP_REPAIR_OFF_NO_WP)
  return socket
}

function readQueue(socket: Socket, queue: number): Queue {
  setOption(socket, TCP_REPAIR_QUEUE, queue)
  const buffer = Buffer.alloc(100)
  const data = buffer.subarray(0, socket.recv(buffer, MSG_PEEK) ?? 0)
  return { end: getOption(socket, TCP_QUEUE_SEQ), data }
}

function setSequence(socket: Socket, queue: number, { end, data }: Queue): void {
  setOption(socket, TCP_REPAIR_QUEUE, queue)
  setOption(socket, TCP_QUEUE_SEQ, (end - data.length) >>> 0)
}

function fillQueue(socket: Socket, queue: number, { data }: Queue): void {
  setOption(socket, TCP_REPAIR_QUEUE, queue)
  expect(socket.send(data)).toBe(data.length)
}

function receive(socket: Socket): string {
  const buffer = Buffer.alloc(100)
  return buffer.toString('latin1', 0, socket.recv(buffer) ?? 0)
}

function agreed({ options, snd_wscale, rcv_wscale }: TcpInfo) {
  return { options, snd_wscale, rcv_wscale }
}
