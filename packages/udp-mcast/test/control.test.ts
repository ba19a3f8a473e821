import {
  type ControlMessage,
  type ControlType,
  controlMessage,
  controlSpace,
  readable,
  readControl,
  Socket,
  setOption,
  type WritableOption,
} from '@linux-sockets/native-core'
import { AF_INET, AF_INET6, SOCK_DGRAM } from '@linux-sockets/native-core/constants'
import { ifindexOf } from '@linux-sockets/native-core/interfaces'
import {
  IP_PKTINFO,
  IP_RECVTOS,
  IP_RECVTTL,
  IPV6_RECVHOPLIMIT,
  IPV6_RECVPKTINFO,
  IPV6_RECVTCLASS,
} from '@linux-sockets/native-core/options'
import {
  expectHeaderNumbers,
  guardDescriptors,
  needCompiler,
  skipUnless,
  testShortAnswers,
} from '@linux-sockets/testkit'
import { describe, expect, it, onTestFinished } from 'vitest'
import {
  CMSG_IP_PKTINFO,
  CMSG_IP_TOS,
  CMSG_IP_TTL,
  CMSG_IPV6_HOPLIMIT,
  CMSG_IPV6_PKTINFO,
  CMSG_IPV6_TCLASS,
} from '../src/index.js'

guardDescriptors()

const rows = [CMSG_IP_TOS, CMSG_IP_TTL, CMSG_IP_PKTINFO, CMSG_IPV6_PKTINFO, CMSG_IPV6_HOPLIMIT, CMSG_IPV6_TCLASS]

it('has the numbers and layouts of the headers', (test) => {
  skipUnless(test, needCompiler())
  const unknown = expectHeaderNumbers(
    ['netinet/in.h', 'netinet/ip.h', 'sys/socket.h'],
    [
      ...rows.map(({ name, type }) => [name, type] as const),
      ['sizeof(struct in_pktinfo)', CMSG_IP_PKTINFO.size],
      ['offsetof(struct in_pktinfo, ipi_ifindex)', 0],
      ['offsetof(struct in_pktinfo, ipi_spec_dst)', 4],
      ['offsetof(struct in_pktinfo, ipi_addr)', 8],
      ['sizeof(struct in6_pktinfo)', CMSG_IPV6_PKTINFO.size],
      ['CMSG_SPACE(sizeof(struct in6_pktinfo))', controlSpace(CMSG_IPV6_PKTINFO.size)],
    ],
  )
  expect(unknown).toEqual([])
})

it('knows each level by its own name', () => {
  expect(rows.every(({ name, level }) => level === (name.startsWith('IPV6') ? 41 : 0))).toBe(true)
})

describe('a control message that is sent with a datagram is received with it', () => {
  it.each([
    ['IP_TOS', CMSG_IP_TOS, IP_RECVTOS, 0xb9],
    ['IP_TTL', CMSG_IP_TTL, IP_RECVTTL, 42],
    ['IPV6_HOPLIMIT', CMSG_IPV6_HOPLIMIT, IPV6_RECVHOPLIMIT, 43],
    ['IPV6_TCLASS', CMSG_IPV6_TCLASS, IPV6_RECVTCLASS, 0xba],
  ] as [string, ControlType<number>, WritableOption<boolean>, number][])('%s', async (name, kind, option, value) => {
    const { control } = await exchange(name.startsWith('IPV6') ? AF_INET6 : AF_INET, option, [
      controlMessage(kind, value),
    ])
    expect(readControl(control, kind)).toBe(value)
  })

  it('IP_PKTINFO', async () => {
    const source = { ifindex: 0, spec_dst: '127.0.0.2' }
    const { control, address } = await exchange(AF_INET, IP_PKTINFO, [controlMessage(CMSG_IP_PKTINFO, source)])
    const ifindex = ifindexOf('lo')
    expect(address).toMatchObject({ address: '127.0.0.2' })
    expect(readControl(control, CMSG_IP_PKTINFO)).toEqual({
      ifindex,
      spec_dst: '127.0.0.1',
      addr: '127.0.0.1',
    })
  })

  it('IPV6_PKTINFO', async () => {
    const ifindex = ifindexOf('lo')
    const source = { ifindex, address: '::1' }
    const { control, address } = await exchange(AF_INET6, IPV6_RECVPKTINFO, [controlMessage(CMSG_IPV6_PKTINFO, source)])
    expect(address).toMatchObject({ address: '::1' })
    expect(readControl(control, CMSG_IPV6_PKTINFO)).toEqual({ ifindex, address: '::1' })
  })
})

it('refuses values that a message can’t hold', () => {
  expect(() => controlMessage(CMSG_IP_PKTINFO, { ifindex: 2 ** 31, spec_dst: '127.0.0.1' })).toThrow(RangeError)
  expect(() => controlMessage(CMSG_IP_PKTINFO, { ifindex: 0, spec_dst: '::1' })).toThrow(TypeError)
  expect(() => controlMessage(CMSG_IPV6_PKTINFO, { ifindex: 0, address: '127.0.0.1' })).toThrow(TypeError)
})

/** Sends a datagram with control messages over loopback to a socket with the option on, and receives it there. */
async function exchange(family: number, option: WritableOption<boolean>, control: ControlMessage[]) {
  const receiver = Socket.open(family, SOCK_DGRAM)
  onTestFinished(() => receiver.close())
  setOption(receiver, option, true)
  receiver.bind(
    family === AF_INET
      ? { family: 'ipv4', address: '127.0.0.1', port: 0 }
      : { family: 'ipv6', address: '::1', port: 0 },
  )
  using sender = Socket.open(family, SOCK_DGRAM)
  sender.sendMessage({ data: Buffer.from('x'), address: receiver.localName, control })
  await readable(receiver, { signal: AbortSignal.timeout(5000) })
  const message = receiver.recvMessage(Buffer.alloc(10), { control: 256, address: true })
  if (message === null) throw new Error('nothing came')
  return message
}

testShortAnswers({ IP_PKTINFO: [CMSG_IP_PKTINFO, 12], IPV6_PKTINFO: [CMSG_IPV6_PKTINFO, 20] })
