import { execFileSync } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { readable, Socket } from '@linux-sockets/native-core'
import { AF_INET, AF_UNIX, SOCK_STREAM } from '@linux-sockets/native-core/constants'
import {
  expectErrno,
  expectHeaderNumbers,
  guardDescriptors,
  needCompiler,
  needProgram,
  numbersOf,
  skipUnless,
  temporaryDirectory,
  testShortAnswers,
} from '@linux-sockets/testkit'
import { describe, expect, it } from 'vitest'
import * as info from '../src/info.js'
import { TCP_INFO, type TcpInfo, tcpInfo } from '../src/info.js'
import { TLS_GET_RECORD_TYPE } from '../src/ktls.js'
import { MPTCP_INFO } from '../src/mptcp.js'
import { TCP_REPAIR_WINDOW } from '../src/options.js'
import { anyPort, connectedPair } from './loopback.js'

guardDescriptors()

describe('tcpInfo', () => {
  it('reports on a connection', async () => {
    const { connected, accepted } = await connectedPair()
    connected.send(Buffer.alloc(10_000))
    const buffer = Buffer.alloc(10_000)
    for (let received = 0; received < buffer.length; ) {
      await readable(accepted)
      received += accepted.recv(buffer) ?? 0
    }
    const [sender, receiver] = [tcpInfo(connected), tcpInfo(accepted)]
    expect(sender).toMatchObject({
      state: 'ESTABLISHED',
      ca_state: 'Open',
      retransmits: 0,
      total_retrans: 0,
      bytes_sent: 10_000,
    })
    expect(receiver).toMatchObject({ state: 'ESTABLISHED', bytes_received: 10_000 })
    expect(sender.rtt).toBeGreaterThan(0)
    expect(sender.snd_cwnd).toBeGreaterThan(0)
    expect(sender.data_segs_out).toBeGreaterThan(0)
    expect(sender.max_pacing_rate).toBe(Infinity)
    expect(sender.rto).toBeGreaterThanOrEqual(1000)
  })

  it('reports on a listener: waiting connections, and the backlog', async () => {
    using listener = Socket.open(AF_INET, SOCK_STREAM)
    listener.bind(anyPort)
    listener.listen(7)
    using client = Socket.open(AF_INET, SOCK_STREAM)
    client.connect(listener.localName)
    await readable(listener)
    expect(tcpInfo(listener)).toMatchObject({ state: 'LISTEN', unacked: 1, sacked: 7 })
  })

  it('follows the state', async () => {
    using fresh = Socket.open(AF_INET, SOCK_STREAM)
    expect(tcpInfo(fresh).state).toBe('CLOSE')
    const { connected, accepted } = await connectedPair()
    connected.shutdown(1)
    await readable(accepted)
    // FIN_WAIT2 when the FIN has been acknowledged.
    expect(tcpInfo(connected).state).toMatch(/^FIN_WAIT[12]$/)
    expect(tcpInfo(accepted).state).toBe('CLOSE_WAIT')
  })

  it('refuses sockets that are not of TCP', () => {
    using unix = Socket.open(AF_UNIX, SOCK_STREAM)
    expectErrno(() => tcpInfo(unix), 'ENOTSUP')
    expectErrno(() => tcpInfo({ fd: -1 }), 'EBADF')
  })
})

describe('TCP_INFO', () => {
  // The shape of `struct tcp_info` in the first kernel that had it, and in later ones.
  it.each([
    [104, 'total_retrans', 'pacing_rate'],
    [160, 'data_segs_out', 'delivery_rate'],
    [232, 'snd_wnd', 'rcv_wnd'],
    [248, 'total_rto_time', 'received_ce'],
  ] as const)('decodes the %i bytes of an older kernel', (length, last, next) => {
    const bytes = new Uint8Array(TCP_INFO.size).fill(1)
    const decoded = TCP_INFO.decode(new DataView(bytes.buffer), length)
    expect(decoded[last]).toBe(0x0101_0101)
    expect(decoded[next]).toBeUndefined()
    expect(decoded.rtt).toBe(0x0101_0101)
  })

  it('reads every field where the C compiler puts it', (test) => {
    skipUnless(test, needProgram('cc'))
    const fields = fieldsOfHeader()
    const program = [
      '#include <linux/tcp.h>\n#include <stdio.h>\nint main(void) {\n  static struct tcp_info i;',
      ...fields.map(([field, value]) => `  i.tcpi_${field} = ${value};`),
      '  fwrite(&i, sizeof i, 1, stdout);\n}\n',
    ]
    const directory = temporaryDirectory()
    writeFileSync(join(directory, 'info.c'), program.join('\n'))
    execFileSync('cc', ['-o', 'info', 'info.c'], { cwd: directory })
    const bytes = execFileSync('./info', { cwd: directory })
    const decoded = TCP_INFO.decode(new DataView(bytes.buffer, bytes.byteOffset, bytes.length), bytes.length)
    const names: Partial<Record<keyof TcpInfo, unknown>> = {
      state: 'SYN_SENT',
      ca_state: 'Recovery',
      delivery_rate_app_limited: true,
    }
    // Newer headers say `accecn` in bits.
    const comparable = fields.filter(([field]) => !/^(accecn|ecn_mode|options2)/.test(field))
    expect(comparable.length).toBeGreaterThan(50)
    expect(decoded).toMatchObject(
      Object.fromEntries(comparable.map(([field, value]) => [field, names[field as keyof TcpInfo] ?? value])),
    )
  })
})

it('has the numbers of <linux/tcp.h>', (test) => {
  skipUnless(test, needCompiler())
  const unknown = expectHeaderNumbers(['linux/tcp.h'], numbersOf(info, /^TCPI_OPT_/))
  expect(['TCPI_OPT_USEC_TS', 'TCPI_OPT_TFO_CHILD']).toEqual(expect.arrayContaining(unknown))
})

/** The fields of `struct tcp_info`, each with a value of its own that fits it. */
function fieldsOfHeader(): [field: string, value: number][] {
  const header = readFileSync('/usr/include/linux/tcp.h', 'utf8')
  const struct = /struct tcp_info \{(.*?)\n\};/s.exec(header)?.[1] ?? ''
  const small: Record<string, number> = {
    state: 2,
    ca_state: 3,
    delivery_rate_app_limited: 1,
    fastopen_client_fail: 2,
    snd_wscale: 7,
    rcv_wscale: 11,
  }
  const names = [...struct.matchAll(/\btcpi_(\w+)\s*[:;]/g)].map((match) => match[1] as string)
  return names.map((field, i) => [field, small[field] ?? (/^(accecn|ecn_mode|options2)/.test(field) ? 0 : 100 + i)])
}

describe('a kernel that returns less', () => {
  testShortAnswers({
    TCP_INFO: [TCP_INFO, 104],
    MPTCP_INFO: [MPTCP_INFO, 43],
    TCP_REPAIR_WINDOW: [TCP_REPAIR_WINDOW, 20],
    TLS_GET_RECORD_TYPE: [TLS_GET_RECORD_TYPE, 1],
  })
})
