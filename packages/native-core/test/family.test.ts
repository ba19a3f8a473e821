/** Families and protocols other than TCP, UDP and Unix sockets, each with real traffic. */
import { networkInterfaces } from 'node:os'
import {
  createHosts,
  createNamespace,
  guardDescriptors,
  type Need,
  needCapability,
  needNamespaces,
  needProgram,
  skipUnless,
  waitForLine,
} from '@linux-sockets/testkit'
import { describe, expect, it } from 'vitest'
import { control, raw } from '../src/codecs/index.js'
import {
  AF_CAN,
  AF_INET,
  AF_INET6,
  AF_NETLINK,
  AF_PACKET,
  AF_VSOCK,
  IPPROTO_ICMP,
  IPPROTO_IPV6,
  IPPROTO_RAW,
  IPV6_FL_A_GET,
  IPV6_FL_F_CREATE,
  IPV6_FL_S_EXCL,
  MSG_PEEK,
  MSG_TRUNC,
  SOCK_DGRAM,
  SOCK_RAW,
  SOCK_STREAM,
  VMADDR_CID_LOCAL,
  VMADDR_PORT_ANY,
} from '../src/constants.js'
import {
  attachFilter,
  BPF_ABS,
  BPF_H,
  BPF_JEQ,
  BPF_JMP,
  BPF_JUMP,
  BPF_K,
  BPF_LD,
  BPF_RET,
  BPF_STMT,
} from '../src/filter.js'
import {
  type Datagram,
  getOption,
  type Ipv6Address,
  type NetlinkAddress,
  parseIpv4,
  readable,
  readControl,
  Socket,
  setOption,
  setOptionBytes,
  writable,
} from '../src/index.js'
import { ifindexOf, interfaces } from '../src/interfaces/index.js'
import {
  IP_HDRINCL,
  IPV6_CHECKSUM,
  IPV6_FLOWINFO,
  IPV6_FLOWINFO_SEND,
  IPV6_FLOWLABEL_MGR,
  SO_PROTOCOL,
} from '../src/options/index.js'
import { compileSources, runModule, spawnModule } from './outside.js'

guardDescriptors()
compileSources()

const CAN_RAW = 1
/** EtherType for experiments (IEEE 802), not the one of address.test.ts. */
const ETH_P_EXPERIMENT = 0x88b6
/** IP protocol for experiments (RFC 3692), not the one of options/kind.ts. */
const IPPROTO_EXPERIMENT = 254

describe('ICMP', () => {
  it.for([
    ['ipv4', 'AF_INET', 'IPPROTO_ICMP', '127.0.0.1', 8, 0],
    ['ipv6', 'AF_INET6', 'IPPROTO_ICMPV6', '::1', 128, 129],
  ] as const)('pings over a datagram socket of %s without CAP_NET_RAW', async (given, test) => {
    skipUnless(test, needNamespaces(), needProgram('setpriv'))
    const [family, domain, protocol, address, request, reply] = given
    // net.ipv4.ping_group_range, which each namespace has of its own, says which users may do so.
    const namespace = createNamespace()
    await namespace.run('sh', ['-c', 'echo 0 0 > /proc/sys/net/ipv4/ping_group_range'])
    const { stdout, stderr } = await runModule(
      `import { ${domain}, ${protocol}, readable, SOCK_DGRAM, SOCK_RAW, Socket } from './everything.js'
       try { Socket.open(${domain}, SOCK_RAW, ${protocol}) } catch ({ code }) { console.log(code) }
       const socket = Socket.open(${domain}, SOCK_DGRAM, ${protocol})
       const [identifier, sequence] = [4711, 7]
       socket.bind({ family: '${family}', address: '${address}', port: identifier })
       // The kernel fills in the checksum and the identifier, which is the port.
       const echo = Buffer.from([${request}, 0, 0, 0, 0, 0, 0, sequence, ...Buffer.from('ping')])
       console.log(socket.sendTo(echo, { family: '${family}', address: '${address}', port: 0 }))
       await readable(socket)
       const buffer = Buffer.alloc(100)
       const got = socket.recvFrom(buffer)
       console.log(got.address.address, got.length, buffer[0] === ${reply}, buffer.readUInt16BE(4), buffer[7])
       console.log(buffer.toString('latin1', 8, got.length))
       socket.close()`,
      { wrapper: ['ip', 'netns', 'exec', namespace.name, 'setpriv', '--bounding-set=-net_raw'] },
    )
    expect(stdout, stderr).toBe(`EPERM\n12\n${address} 12 true 4711 7\nping\n`)
  })

  it('is received by a raw socket with its IP header', async (test) => {
    skipUnless(test, needCapability('CAP_NET_RAW'))
    using socket = Socket.open(AF_INET, SOCK_RAW, IPPROTO_ICMP)
    expect(getOption(socket, SO_PROTOCOL)).toBe(IPPROTO_ICMP)
    socket.connect({ family: 'ipv4', address: '127.0.0.1', port: 0 })
    const [ECHO, REPLY] = [8, 0]
    const echo = Buffer.from([ECHO, 0, 0, 0, 0x47, 0x11, 0, 1])
    echo.writeUInt16BE(checksum(echo), 2)
    socket.send(echo)
    const packet = Buffer.alloc(100)
    // The request itself is received, too.
    do {
      await readable(socket)
      socket.recv(packet)
    } while (packet[20] !== REPLY || packet.readUInt16BE(24) !== 0x4711)
    expect([packet[0], packet[9]]).toEqual([0x45, IPPROTO_ICMP])
  })
})

describe('raw IP', () => {
  it('sends a packet with a header of its own', async (test) => {
    skipUnless(test, needCapability('CAP_NET_RAW'))
    using receiver = Socket.open(AF_INET, SOCK_DGRAM)
    receiver.bind({ family: 'ipv4', address: '127.0.0.1', port: 0 })
    const { port } = receiver.localName as { port: number }
    using socket = Socket.open(AF_INET, SOCK_RAW, IPPROTO_RAW)
    expect(getOption(socket, IP_HDRINCL)).toBe(true)
    const packet = Buffer.alloc(20 + 8 + 5)
    packet.set([0x45, 0, 0, packet.length, 0, 0, 0, 0, 64, 17])
    packet.set(parseIpv4('127.0.0.77'), 12)
    packet.set(parseIpv4('127.0.0.1'), 16)
    packet.writeUInt16BE(9, 20)
    packet.writeUInt16BE(port, 22)
    packet.writeUInt16BE(8 + 5, 24)
    packet.write('crate', 28)
    expect(socket.sendTo(packet, { family: 'ipv4', address: '127.0.0.1', port: 0 })).toBe(packet.length)
    await readable(receiver)
    const buffer = Buffer.alloc(10)
    expect(receiver.recvFrom(buffer)).toEqual({
      length: 5,
      address: { family: 'ipv4', address: '127.0.0.77', port: 9 },
    })
    expect(buffer.toString('latin1', 0, 5)).toBe('crate')
  })

  it('carries a protocol of its own over IPv6, with the kernel’s checksum', async (test) => {
    skipUnless(test, needCapability('CAP_NET_RAW'), needIpv6())
    const loopback = { family: 'ipv6', address: '::1', port: 0 } as const
    using a = Socket.open(AF_INET6, SOCK_RAW, IPPROTO_EXPERIMENT)
    using b = Socket.open(AF_INET6, SOCK_RAW, IPPROTO_EXPERIMENT)
    setOption(a, IPV6_CHECKSUM, 0)
    b.bind(loopback)
    a.sendTo(Buffer.from([0, 0, 1, 2, 3, 4]), loopback)
    await readable(b)
    const buffer = Buffer.alloc(20)
    expect(b.recvFrom(buffer)).toMatchObject({ length: 6, address: { family: 'ipv6', address: '::1' } })
    expect(buffer.readUInt16BE(0)).not.toBe(0)
    expect([...buffer.subarray(2, 6)]).toEqual([1, 2, 3, 4])
  })
})

describe('IPv6 flow labels', () => {
  it('go from the address to the wire, and come back as a control message', async (test) => {
    skipUnless(test, needIpv6())
    using receiver = Socket.open(AF_INET6, SOCK_DGRAM)
    receiver.bind({ family: 'ipv6', address: '::1', port: 0 })
    setOption(receiver, IPV6_FLOWINFO, true)
    const to = receiver.localName as Ipv6Address

    using sender = Socket.open(AF_INET6, SOCK_DGRAM)
    const flowlabel = lease(sender)
    setOption(sender, IPV6_FLOWINFO_SEND, true)
    sender.sendTo(Buffer.from('to'), { ...to, flowlabel })
    sender.connect({ ...to, flowlabel })
    expect(sender.peerName).toEqual({ ...to, flowlabel })
    sender.send(Buffer.from('connected'))

    const flowinfo = control('IPV6_FLOWINFO', IPPROTO_IPV6, IPV6_FLOWINFO.option, raw(4))
    for (const length of [2, 9]) {
      await readable(receiver)
      const message = receiver.recvMessage(Buffer.alloc(20), { control: 64 })
      expect(message?.length).toBe(length)
      const info = readControl(message?.control ?? [], flowinfo) as Uint8Array
      expect(Buffer.from(info).readUInt32BE() & 0xf_ffff).toBe(flowlabel)
    }
  })

  /** A label that the kernel chooses. */
  function lease(socket: Socket): number {
    const request = new Uint8Array(IPV6_FLOWLABEL_MGR.size)
    const wanted = {
      action: IPV6_FL_A_GET,
      dst: '::1',
      flags: IPV6_FL_F_CREATE,
      share: IPV6_FL_S_EXCL,
    }
    IPV6_FLOWLABEL_MGR.encode(wanted, new DataView(request.buffer), 'request')
    setOptionBytes(socket, IPPROTO_IPV6, IPV6_FLOWLABEL_MGR.option, request)
    return new DataView(request.buffer).getUint32(16) & 0xf_ffff
  }
})

describe('netlink', () => {
  const [NETLINK_ROUTE, RTM_NEWLINK, RTM_GETLINK, NLMSG_DONE] = [0, 16, 18, 3]
  const [NLM_F_REQUEST, NLM_F_DUMP, IFLA_IFNAME, RTMGRP_LINK] = [1, 0x300, 3, 1]

  it('asks the kernel for its interfaces', async () => {
    using socket = Socket.open(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE)
    socket.bind({ family: 'netlink', pid: 0 })
    const { pid } = socket.localName as NetlinkAddress
    const request = Buffer.alloc(16 + 16)
    request.writeUInt32LE(request.length, 0)
    request.writeUInt16LE(RTM_GETLINK, 4)
    request.writeUInt16LE(NLM_F_REQUEST | NLM_F_DUMP, 6)
    request.writeUInt32LE(1, 8)
    socket.sendTo(request, { family: 'netlink', pid: 0 })

    const found: [number, string][] = []
    for (let done = false; !done; ) {
      await readable(socket)
      // As netlink(7) advises: how long is it, then all of it.
      const length = socket.recv(Buffer.alloc(1), MSG_PEEK | MSG_TRUNC) as number
      const buffer = Buffer.alloc(length)
      expect(socket.recvFrom(buffer)).toEqual({ length, address: { family: 'netlink', pid: 0, groups: 0 } })
      for (let at = 0; at < length; at += buffer.readUInt32LE(at)) {
        expect([buffer.readUInt32LE(at + 8), buffer.readUInt32LE(at + 12)]).toEqual([1, pid])
        const type = buffer.readUInt16LE(at + 4)
        if (type === NLMSG_DONE) done = true
        if (type === RTM_NEWLINK) found.push(link(buffer.subarray(at, at + buffer.readUInt32LE(at))))
      }
    }
    expect(found.sort()).toEqual(
      interfaces()
        .map(({ ifindex, name }) => [ifindex, name])
        .sort(),
    )
  })

  it('receives the kernel’s announcements', async (test) => {
    skipUnless(test, needNamespaces())
    const namespace = createNamespace()
    const { stdout, stderr } = await runModule(
      `import { execFileSync } from 'node:child_process'
       import { AF_NETLINK, readable, SOCK_RAW, Socket } from './everything.js'
       const socket = Socket.open(AF_NETLINK, SOCK_RAW, ${NETLINK_ROUTE})
       socket.bind({ family: 'netlink', pid: 0, groups: ${RTMGRP_LINK} })
       execFileSync('ip', ['link', 'set', 'lo', 'down'])
       await readable(socket)
       const buffer = Buffer.alloc(8192)
       const { address } = socket.recvFrom(buffer)
       console.log(address.pid, address.groups, buffer.readUInt16LE(4), buffer.readUInt32LE(16 + 4))
       socket.close()`,
      { wrapper: ['ip', 'netns', 'exec', namespace.name] },
    )
    expect(stdout, stderr).toBe(`0 ${RTMGRP_LINK} ${RTM_NEWLINK} 1\n`)
  })

  /** Index and name from an RTM_NEWLINK: struct nlmsghdr, struct ifinfomsg, attributes. rtnetlink(7) */
  function link(message: Buffer): [number, string] {
    for (let at = 32; at < message.length; at += Math.ceil(message.readUInt16LE(at) / 4) * 4) {
      if (message.readUInt16LE(at + 2) !== IFLA_IFNAME) continue
      return [message.readInt32LE(20), message.toString('utf8', at + 4, at + message.readUInt16LE(at) - 1)]
    }
    throw new Error('a link without a name')
  }
})

describe('packet sockets', () => {
  const ARPHRD_LOOPBACK = 772

  it('send and receive whole frames, and a filter chooses among them', async (test) => {
    skipUnless(test, needCapability('CAP_NET_RAW'))
    const ETH_P_ALL = 3
    const ifindex = ifindexOf('lo')
    // Until it is bound it receives nothing, so that the filter comes first.
    using sniffer = Socket.open(AF_PACKET, SOCK_RAW, 0)
    attachFilter(sniffer, [
      BPF_STMT(BPF_LD | BPF_H | BPF_ABS, 12),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ETH_P_EXPERIMENT, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, 0xffff_ffff),
      BPF_STMT(BPF_RET | BPF_K, 0),
    ])
    sniffer.bind({ family: 'packet', protocol: ETH_P_ALL, ifindex })
    using sender = Socket.open(AF_PACKET, SOCK_RAW, 0)
    const destination = { family: 'packet', protocol: ETH_P_EXPERIMENT, ifindex } as const
    const frame = (type: number) =>
      Buffer.concat([Buffer.alloc(12), Buffer.from([type >> 8, type & 255]), Buffer.from('frame')])
    sender.sendTo(frame(ETH_P_EXPERIMENT + 1), destination)
    sender.sendTo(frame(ETH_P_EXPERIMENT), destination)

    await readable(sniffer)
    const buffer = Buffer.alloc(100)
    const got = sniffer.recvFrom(buffer) as Datagram
    expect(buffer.subarray(0, got.length)).toEqual(frame(ETH_P_EXPERIMENT))
    expect(got.address).toMatchObject({
      family: 'packet',
      protocol: ETH_P_EXPERIMENT,
      ifindex,
      hatype: ARPHRD_LOOPBACK,
    })
  })

  it('reach the neighbour over a cable, by its hardware address', async (test) => {
    skipUnless(test, needNamespaces())
    const [here, there] = createHosts([], [])
    const open = `
      import { readFileSync } from 'node:fs'
      import { AF_PACKET, interfaces, readable, SOCK_DGRAM, Socket } from './everything.js'
      const { ifindex, mac } = interfaces().find(({ name }) => name === 'veth0')
      const address = Buffer.from(mac.replaceAll(':', ''), 'hex')
      const hex = (bytes) => Buffer.from(bytes).toString('hex')
      const socket = Socket.open(AF_PACKET, SOCK_DGRAM, 0)
      socket.bind({ family: 'packet', protocol: ${ETH_P_EXPERIMENT}, ifindex })`
    const receiver = spawnModule(
      `${open}
       console.log(hex(address))
       await readable(socket)
       const buffer = Buffer.alloc(100)
       const got = socket.recvFrom(buffer)
       console.log(buffer.toString('latin1', 0, got.length), 'from', hex(got.address.address), got.address.pkttype)
       socket.close()`,
      { wrapper: ['ip', 'netns', 'exec', there.name] },
    )
    const mac = await waitForLine(receiver, /^[\da-f]{12}$/)
    const sender = await runModule(
      `${open}
       const to = Buffer.from('${mac}', 'hex')
       socket.sendTo(Buffer.from('hello'), { family: 'packet', protocol: ${ETH_P_EXPERIMENT}, ifindex, address: to })
       console.log(hex(address))
       socket.close()`,
      { wrapper: ['ip', 'netns', 'exec', here.name] },
    )
    const { stdout, stderr } = await receiver.finished
    const PACKET_HOST = 0
    expect(stdout, sender.stderr + stderr).toBe(`${mac}\nhello from ${sender.stdout.trim()} ${PACKET_HOST}\n`)
  })
})

describe('CAN', () => {
  it('carries a frame over a virtual bus', async (test) => {
    skipUnless(test, needSocket(AF_CAN, SOCK_RAW, CAN_RAW), needNamespaces())
    const namespace = createNamespace()
    const added = await namespace.spawn('ip', ['link', 'add', 'vcan0', 'type', 'vcan']).finished
    skipUnless(test, added.code === 0 ? null : `no virtual CAN bus: ${added.stderr.trim()}`)
    await namespace.run('ip', ['link', 'set', 'vcan0', 'up'])
    // struct sockaddr_can after the family: two bytes of padding, the interface's index, 16 bytes for other protocols.
    const { stdout, stderr } = await runModule(
      `import { AF_CAN, ifindexOf, readable, SOCK_RAW, Socket } from './everything.js'
       const data = Buffer.alloc(22)
       data.writeInt32LE(ifindexOf('vcan0'), 2)
       const [a, b] = [0, 1].map(() => Socket.open(AF_CAN, SOCK_RAW, ${CAN_RAW}))
       for (const socket of [a, b]) socket.bind({ family: AF_CAN, data })
       const frame = Buffer.alloc(16)
       frame.writeUInt32LE(0x123, 0)
       frame[4] = 2
       frame.set([0xca, 0xfe], 8)
       a.send(frame)
       await readable(b)
       const buffer = Buffer.alloc(100)
       const { length, address } = b.recvFrom(buffer)
       console.log(length, buffer.subarray(0, length).equals(frame), address.family === AF_CAN, address.data[2] === data[2])
       process.exit()`,
      { wrapper: ['ip', 'netns', 'exec', namespace.name] },
    )
    expect(stdout, stderr).toBe('16 true true true\n')
  })
})

describe('vsock', () => {
  it('carries a stream within this machine', async (test) => {
    skipUnless(test, needSocket(AF_VSOCK, SOCK_STREAM, 0), needLocalVsock())
    using listener = Socket.open(AF_VSOCK, SOCK_STREAM)
    listener.bind({ family: 'vsock', cid: VMADDR_CID_LOCAL, port: VMADDR_PORT_ANY })
    listener.listen()
    using client = Socket.open(AF_VSOCK, SOCK_STREAM)
    client.connect(listener.localName)
    await readable(listener)
    using server = listener.accept() as Socket
    expect(server.peerName).toMatchObject({ family: 'vsock', cid: VMADDR_CID_LOCAL })
    expect(client.peerName).toEqual(server.localName)
    await writable(client)
    client.send(Buffer.from('hello'))
    await readable(server)
    const buffer = Buffer.alloc(10)
    expect(buffer.toString('latin1', 0, server.recv(buffer) as number)).toBe('hello')
  })
})

/** Whether the kernel has such sockets, and we may open them. */
function needSocket(domain: number, type: number, protocol: number): Need {
  try {
    Socket.open(domain, type, protocol).close()
    return null
  } catch (error) {
    return (error as Error).message
  }
}

function needIpv6(): Need {
  const has = Object.values(networkInterfaces()).some((list) => list?.some(({ address }) => address === '::1'))
  return has ? null : 'the loopback interface has no ::1'
}

/** Few kernels have vsock's loopback transport, and without it nothing of this machine may be called. */
function needLocalVsock(): Need {
  using socket = Socket.open(AF_VSOCK, SOCK_STREAM)
  try {
    socket.bind({ family: 'vsock', cid: VMADDR_CID_LOCAL, port: VMADDR_PORT_ANY })
    return null
  } catch (error) {
    return `no vsock within this machine: ${(error as Error).message}`
  }
}

/** The checksum of the Internet: RFC 1071. */
function checksum(bytes: Buffer): number {
  let sum = 0
  for (let at = 0; at < bytes.length; at += 2) sum += bytes.readUInt16BE(at)
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >> 16)
  return ~sum & 0xffff
}
