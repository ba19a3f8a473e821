import { type InetAddress, Socket, setOption } from '@linux-sockets/native-core'
import { AF_INET, AF_INET6, SOCK_DGRAM } from '@linux-sockets/native-core/constants'
import { SO_REUSEPORT } from '@linux-sockets/native-core/options'
import { expectErrno, guardDescriptors, needProgram, runPython, skipUnless } from '@linux-sockets/testkit'
import { expect, it, onTestFinished } from 'vitest'
import { type DatagramSteering, steerDatagrams } from '../src/index.js'

guardDescriptors()

it('steers by a byte of the payload, whoever sends it; what is too short goes to the first', () => {
  const sockets = group(3, { byte: 2 })
  for (let i = 0; i < 256; i++) {
    using client = open(AF_INET)
    client.sendTo(Uint8Array.of(9, 9, i), target(sockets))
  }
  for (let i = 0; i < 5; i++) send(Uint8Array.of(9, 9), sockets)
  const got = sockets.map(received)
  got.forEach((datagrams, i) => {
    const whole = datagrams.filter(({ data }) => data.length === 3)
    expect(whole.map(({ data }) => (data[2] as number) % 3)).toEqual(Array(whole.length).fill(i))
  })
  expect(got.map((datagrams) => datagrams.length)).toEqual([86 + 5, 85, 85])
})

it.each([
  ['ipv4', AF_INET, '127.0.0.1', '127.0.0.1'],
  ['ipv6', AF_INET6, '::1', '::1'],
  ['ipv4 on a dual-stack socket', AF_INET6, '::', '127.0.0.1'],
] as const)('keeps all datagrams of a flow on one socket, and uses every socket: %s', (_, family, bind, to) => {
  const sockets = group(3, 'flow', family, bind)
  const address = { ...target(sockets), family: to.includes(':') ? 'ipv6' : 'ipv4', address: to } as InetAddress
  for (let i = 0; i < 60; i++) {
    using client = open(to.includes(':') ? AF_INET6 : AF_INET)
    client.bind({ family: address.family, address: to, port: 0 })
    for (let times = 0; times < 3; times++)
      client.sendTo(Buffer.from(String((client.localName as InetAddress).port)), address)
  }
  const got = sockets.map((socket) => received(socket).map(({ data }) => Number(data)))
  expect(got.flat()).toHaveLength(180)
  got.forEach((ports, i) => {
    expect(ports.length).toBeGreaterThan(0)
    for (const port of ports) expect(Math.floor((hash(to, port) >>> 0) / 0x1_0000) % 3).toBe(i)
  })
})

it('steers by the CPU', async (test) => {
  skipUnless(test, needProgram('python3'))
  const sockets = group(2, 'cpu')
  await runPython(
    `
import os, socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for cpu in os.sched_getaffinity(0):
    os.sched_setaffinity(0, {cpu})
    for _ in range(5): s.sendto(bytes([cpu % 2]), ('127.0.0.1', int(sys.argv[1])))
`,
    String(target(sockets).port),
  )
  const got = sockets.map((socket) => received(socket).map(({ data }) => data[0]))
  expect(got.flat().length).toBeGreaterThanOrEqual(5)
  for (const [i, cpus] of got.entries()) expect(cpus).toEqual(Array(cpus.length).fill(i))
})

it('leaves the datagrams of missing sockets to the kernel’s hash', () => {
  const sockets = group(2, { byte: 0 }, AF_INET, '127.0.0.1', 4)
  for (let i = 0; i < 40; i++) {
    using client = open(AF_INET)
    client.sendTo(Uint8Array.of(3), target(sockets))
  }
  expect(sockets.flatMap(received)).toHaveLength(40)
})

it('needs a socket that shares its port', () => {
  using socket = open(AF_INET)
  socket.bind({ family: 'ipv4', address: '127.0.0.1', port: 0 })
  expectErrno(() => steerDatagrams(socket, 'flow', 2), 'EINVAL')
})

/** Sockets that share a port, steered before the others are bound, so that the group is whole before anything is sent. */
function group(
  size: number,
  by: DatagramSteering,
  family: number = AF_INET,
  address = '127.0.0.1',
  count = size,
): Socket[] {
  const sockets: Socket[] = []
  let port = 0
  for (let i = 0; i < size; i++) {
    const socket = open(family)
    onTestFinished(() => socket.close())
    setOption(socket, SO_REUSEPORT, true)
    socket.bind({ family: family === AF_INET ? 'ipv4' : 'ipv6', address, port })
    port = (socket.localName as InetAddress).port
    if (i === 0) steerDatagrams(socket, by, count)
    sockets.push(socket)
  }
  return sockets
}

function open(family: number): Socket {
  return Socket.open(family, SOCK_DGRAM)
}

function target(sockets: readonly Socket[]): InetAddress {
  return sockets[0]?.localName as InetAddress
}

function send(data: Uint8Array, sockets: readonly Socket[]): void {
  using client = open(AF_INET)
  client.sendTo(data, target(sockets))
}

/** Over loopback a datagram is queued before its send returns. */
function received(socket: Socket): { data: Buffer }[] {
  const all: { data: Buffer }[] = []
  for (;;) {
    const buffer = Buffer.alloc(100)
    const length = socket.recv(buffer)
    if (length === null) return all
    all.push({ data: buffer.subarray(0, length) })
  }
}

function hash(address: string, port: number): number {
  const word = address === '::1' ? 1 : 0x7f00_0001
  return Math.imul(word ^ port, 0x9e37_79b1)
}
