/** Sockets for the tests, closed when the running test ends. */
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

export const bytes = (text: string) => Buffer.from(text)
