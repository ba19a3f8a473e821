/** The task of a program. */
export type Mode = 'echo' | 'lines' | 'datagrams' | 'relay' | 'file' | 'connect' | 'descriptors'

/** A case of the benchmark. */
export interface Case {
  readonly name: string
  readonly title: string
  readonly mode: Mode
  /** The arguments for native/load.c; absent if the programs make their own load. */
  readonly load?: Load
  /**
   * How often each byte that the load receives has passed through the server. If it is set, costs are per GiB instead of per
   * round trip.
   */
  readonly passes?: number
  /** Whether to measure the memory of the connections, too. */
  readonly memory?: boolean
}

export type Load = Readonly<Record<string, string | number>>

export const cases: readonly Case[] = [
  echo('echo-64x1', '64 B, 1 connection', 64, 1),
  echo('echo-64x50', '64 B, 50 connections', 64, 50),
  echo('echo-64x500', '64 B, 500 connections', 64, 500),
  echo('echo-64x5000', '64 B, 5 000 connections', 64, 5000),
  echo('echo-1kx50', '1 KiB, 50 connections', 1024, 50),
  echo('echo-64kx50', '64 KiB, 50 connections', 64 * 1024, 50),
  {
    name: 'lines',
    title: '64 lines at a time, 50 connections',
    mode: 'lines',
    load: { size: 32, depth: 64, lines: 1, connections: 50 },
  },
  {
    name: 'close',
    title: 'connect, 64 B, close; 50 at a time',
    mode: 'echo',
    load: { mode: 'close', size: 64, connections: 50 },
  },
  {
    name: 'idle',
    title: '10 000 connections, 100 of them active',
    mode: 'echo',
    // The load and the server need a descriptor each per connection, and a process here may have twice as many.
    load: { size: 64, connections: 10_000, active: 100 },
    memory: true,
  },
  {
    name: 'datagrams',
    title: 'UDP echo 64 B, 20 sockets with 4 each under way',
    mode: 'datagrams',
    // A receive buffer of the default size holds all of them, so that none is lost.
    load: { mode: 'udp', size: 64, depth: 4, connections: 20 },
  },
  {
    name: 'relay',
    title: 'proxy, 256 KiB there and back, 8 connections',
    mode: 'relay',
    load: { size: 256 * 1024, connections: 8 },
    passes: 2,
  },
  {
    name: 'relay-close',
    title: 'proxy: connect, 64 B, close; 50 at a time',
    mode: 'relay',
    load: { mode: 'close', size: 64, connections: 50 },
  },
  {
    name: 'file',
    title: 'a file of 1 MiB, 8 connections',
    mode: 'file',
    load: { mode: 'file', size: 64, connections: 8 },
    passes: 1,
  },
  { name: 'connect', title: 'connect, accept, close; 50 at a time', mode: 'connect' },
  { name: 'descriptors', title: 'pass a descriptor', mode: 'descriptors' },
]

function echo(name: string, title: string, size: number, connections: number): Case {
  return { name, title: `echo ${title}`, mode: 'echo', load: { size, connections } }
}
