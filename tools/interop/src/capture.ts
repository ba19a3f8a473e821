import type { Namespace, Program } from '@linux-sockets/testkit'
import { waitForLine } from '@linux-sockets/testkit'
import { expect } from 'vitest'

/** An IP packet, or a fragment of one, as tcpdump shows it. */
export interface Packet {
  /** The interface, if tcpdump watches all of them. */
  readonly name?: string
  readonly direction?: string
  /** Address and port: `10.0.0.1.5000`. */
  readonly from: string
  readonly to: string
  /** Type of service or traffic class. */
  readonly tos: number
  /** Time to live or hop limit. */
  readonly ttl: number
  /** Don't fragment, of IPv4. */
  readonly df: boolean
  readonly fragment: boolean
  /** The length of the UDP payload in **bytes**; NaN in a fragment. */
  readonly length: number
}

/** tcpdump, which is killed when the running test ends. */
export interface Capture {
  /** Waits for a packet to a port, and returns all packets until then in their order, without it. */
  until(port: number): Promise<Packet[]>
}

/** Starts tcpdump on an interface of a host, or on `any`. */
export async function capture(host: Namespace, name: string, filter: string): Promise<Capture> {
  const program = host.spawn('tcpdump', [
    ...['-i', name, '-n', '-t', '-v', '-K', '-l', '--immediate-mode', '-s', '256', '-Z', 'root', filter],
  ])
  await waitForLine(program, /listening on/)
  return { until: (port) => packetsUntil(program, port) }
}

async function packetsUntil(program: Program, port: number): Promise<Packet[]> {
  const end = () => packetsOf(program.stdout).findIndex(({ to }) => to.endsWith(`.${port}`))
  await expect.poll(end).not.toBe(-1)
  return packetsOf(program.stdout).slice(0, end())
}

function packetsOf(output: string): Packet[] {
  // The second line of a packet is indented.
  const lines = output
    .slice(0, output.lastIndexOf('\n') + 1)
    .replaceAll(/\n\s+/g, ' ')
    .split('\n')
  return lines.filter((line) => / > /.test(line)).map(packetOf)
}

function packetOf(line: string): Packet {
  const found = (pattern: RegExp) => pattern.exec(line)?.[1]
  const [, name, direction] = /^(\S+)\s+(In|Out|B|M)\s+IP/.exec(line) ?? []
  return {
    ...(name !== undefined && { name, direction }),
    from: found(/(\S+) > /) as string,
    to: found(/ > ([^\s:]\S*?):? /) as string,
    tos: Number(found(/\((?:tos|class) (0x[0-9a-f]+)/) ?? 0),
    ttl: Number(found(/(?:ttl|hlim) (\d+)/)),
    df: found(/flags \[([^\]]*)\]/)?.includes('DF') ?? false,
    fragment: /flags \[\+|offset [1-9]|frag \(/.test(line),
    length: Number(found(/UDP, length (\d+)/) ?? Number.NaN),
  }
}
