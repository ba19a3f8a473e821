/**
 * Measures the cost of a call through the boundary beyond the system call itself. C, the boundary's bare functions and the
 * typed functions make the same calls on the same kinds of descriptors, in turns within one run.
 */
import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { fcntl, getOption, recvMessage, Socket, sendMessage, setOption } from '@linux-sockets/native-core'
import {
  AF_INET,
  AF_UNIX,
  EPOLL_CTL_ADD,
  EPOLL_CTL_MOD,
  EPOLLIN,
  F_GETFL,
  SOCK_DGRAM,
  SOCK_STREAM,
  SOL_SOCKET,
} from '@linux-sockets/native-core/constants'
import { epollControl, epollCreate, epollWait } from '@linux-sockets/native-core/epoll'
import { SO_KEEPALIVE, SO_RCVBUF } from '@linux-sockets/native-core/options'
import { compile, root } from './directory.js'
import { type Spread, spread } from './statistics.js'

const CALLS = 20_000
const ROUNDS = 31

/** A call in three ways: its name in boundary.c, the boundary's bare function, and the typed function. */
interface Case {
  readonly name: string
  readonly bare: () => unknown
  readonly typed: () => unknown
}

/** **Nanoseconds** per call in C, by the bare boundary and by the typed functions, and the differences of these from C. */
export interface BoundaryLine {
  readonly name: string
  readonly c: Spread
  readonly boundary: Spread
  readonly over: Spread
  readonly typed: Spread
  readonly typedOver: Spread
}

export async function benchBoundary(): Promise<BoundaryLine[]> {
  const program = compile('boundary')
  const cases = await prepare()
  for (const { bare, typed } of cases) {
    // The JIT compiles the functions before the measurement.
    for (let warm = 0; warm < 3; warm++) {
      time(bare)
      time(typed)
    }
  }
  console.log(
    `Nanoseconds of CPU time per call, medians of ${ROUNDS} rounds of ${CALLS} calls, in turns; ± is half the middle 50 %`,
  )
  console.log(row('call', 'C', 'boundary', 'over C', 'typed', 'over C'))
  return cases.map(({ name, bare, typed }) => {
    const rounds = Array.from({ length: ROUNDS }, () => [timeInC(program, name), time(bare), time(typed)] as const)
    const line = {
      name,
      c: spread(rounds.map(([inC]) => inC)),
      boundary: spread(rounds.map(([, inBoundary]) => inBoundary)),
      over: spread(rounds.map(([inC, inBoundary]) => inBoundary - inC)),
      typed: spread(rounds.map(([, , inTyped]) => inTyped)),
      typedOver: spread(rounds.map(([inC, , inTyped]) => inTyped - inC)),
    }
    const { c, boundary, over, typed: floor, typedOver } = line
    console.log(row(name, around(c), around(boundary), `+${around(over)}`, around(floor), `+${around(typedOver)}`))
    return line
  })
}

async function prepare(): Promise<Case[]> {
  const native = await loadBoundary()
  const [left, right] = Socket.pair(AF_UNIX, SOCK_STREAM)
  const udp = Socket.open(AF_INET, SOCK_DGRAM)
  udp.bind({ family: 'ipv4', address: '127.0.0.1', port: 0 })
  udp.connect(udp.localName)
  const epoll = epollCreate()
  epollControl(epoll, EPOLL_CTL_ADD, left, EPOLLIN)
  const buffer = Buffer.alloc(64)
  const four = new Uint8Array(4)
  const slot = new Uint8Array(132)
  const events = new Uint32Array(3 * 64)
  const result = new Int32Array(2)
  return [
    {
      name: 'recv, nothing there',
      bare: () => native.recv(left.fd, buffer, 0, 64, 0),
      typed: () => left.recv(buffer),
    },
    {
      name: 'send + recv, 64 B',
      bare: () => {
        native.send(right.fd, buffer, 0, 64, 0)
        native.recv(left.fd, buffer, 0, 64, 0)
      },
      typed: () => {
        right.send(buffer)
        left.recv(buffer)
      },
    },
    {
      name: 'sendmsg + recvmsg, 64 B',
      bare: () => {
        native.sendmsg(udp.fd, buffer, null, null, 0)
        native.recvmsg(udp.fd, buffer, null, null, 0, result)
      },
      typed: () => {
        sendMessage(udp, { data: buffer })
        recvMessage(udp, buffer)
      },
    },
    {
      name: 'getsockopt',
      bare: () => native.getsockopt(left.fd, SOL_SOCKET, SO_RCVBUF.option, four, 4),
      typed: () => getOption(left, SO_RCVBUF),
    },
    {
      name: 'setsockopt',
      bare: () => native.setsockopt(left.fd, SOL_SOCKET, SO_KEEPALIVE.option, four, 4),
      typed: () => setOption(left, SO_KEEPALIVE, false),
    },
    {
      name: 'getsockname',
      bare: () => native.getsockname(udp.fd, slot),
      typed: () => udp.localName,
    },
    {
      name: 'fcntl',
      bare: () => native.fcntl(left.fd, F_GETFL, 0),
      typed: () => fcntl(left, F_GETFL),
    },
    {
      name: 'epoll_ctl',
      bare: () => native.epoll_ctl(epoll.fd, EPOLL_CTL_MOD, left.fd, EPOLLIN, 1, 2),
      typed: () => epollControl(epoll, EPOLL_CTL_MOD, left, EPOLLIN, 1, 2),
    },
    {
      name: 'epoll_wait, nothing there',
      bare: () => native.epoll_pwait2(epoll.fd, events, 64, 0),
      typed: () => epollWait(epoll, events),
    },
  ]
}

function time(call: () => unknown): number {
  const before = process.cpuUsage()
  for (let i = 0; i < CALLS; i++) call()
  const { user, system } = process.cpuUsage(before)
  return ((user + system) * 1000) / CALLS
}

function timeInC(program: string, name: string): number {
  const { stdout, stderr, status } = spawnSync(program, [name, String(CALLS)], { encoding: 'utf8' })
  if (status !== 0) throw new Error(`${program} ${name}: ${stderr}`)
  return Number(stdout)
}

/** Formats the median and half the interquartile range. */
function around({ median, low, high }: Spread): string {
  return `${median.toFixed(0)} ±${((high - low) / 2).toFixed(0)}`
}

function row(name: string, ...cells: string[]): string {
  return `  ${name.padEnd(26)}${cells.map((cell) => cell.padStart(12)).join('')}`
}

/** Imports the boundary, which native-core doesn't export, with the binary of this checkout. */
async function loadBoundary() {
  process.env.LINUX_SOCKETS_BINARY ??= join(root, 'packages/native-core/build/Release/native_core.node')
  const { native } = await import('../../../packages/native-core/src/native.js')
  return native
}
