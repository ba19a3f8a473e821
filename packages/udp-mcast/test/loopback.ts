/** Sockets for the tests, closed when the running test ends. */
import { type InetAddress, Socket, setOption } from '@linux-sockets/native-core'
import { AF_INET, AF_INET6, SOCK_DGRAM } from '@linux-sockets/native-core/constants'
import {
  IP_MULTICAST_ALL,
  IP_PKTINFO,
  IPV6_MULTICAST_ALL,
  IPV6_RECVPKTINFO,
  IPV6_V6ONLY,
} from '@linux-sockets/native-core/options'
import { onTestFinished } from 'vitest'
import { type UdpDatagram, type UdpHandlers, UdpSocket, type UdpSocketOptions } from '../src/index.js'

export const V4 = '127.0.0.1:0'
export const V6 = '[::1]:0'

/** Opens a socket, at loopback unless the options tell otherwise, whose errors are collected. */
export function open(options: UdpSocketOptions = {}, handlers: Partial<UdpHandlers> = {}) {
  const errors: unknown[][] = []
  const socket = UdpSocket.open(
    { ...(options.family === undefined && options.peer === undefined ? { address: V4 } : {}), ...options },
    { error: (...args) => errors.push(args), ...handlers },
  )
  onTestFinished(() => socket.close())
  return { socket, errors }
}

/** The next `count` datagrams, in copies. */
export async function receive(socket: UdpSocket, count: number): Promise<UdpDatagram[]> {
  const got: UdpDatagram[] = []
  if (count > 0) {
    for await (const datagram of socket) if (got.push(datagram) === count) break
  }
  return got
}

export function texts(datagrams: readonly UdpDatagram[]): string[] {
  return datagrams.map(({ data }) => data.toString())
}

/** A socket without a loop, at any address and a port of its own. The caller closes it. */
export function multicastSocket(family: 'ipv4' | 'ipv6'): Socket<InetAddress> {
  const isIpv6 = family === 'ipv6'
  const socket: Socket<InetAddress> = Socket.open(isIpv6 ? AF_INET6 : AF_INET, SOCK_DGRAM)
  if (isIpv6) setOption(socket, IPV6_V6ONLY, true)
  setOption(socket, isIpv6 ? IPV6_MULTICAST_ALL : IP_MULTICAST_ALL, false)
  setOption(socket, isIpv6 ? IPV6_RECVPKTINFO : IP_PKTINFO, true)
  socket.bind({ family, address: isIpv6 ? '::' : '0.0.0.0', port: 0 })
  return socket
}

export const bytes = (text: string) => Buffer.from(text)
