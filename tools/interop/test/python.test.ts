/** What Python's `recvmsg` and ours read of the same datagrams. */
import {
  createHosts,
  guardDescriptors,
  type Namespace,
  needNamespaces,
  needProgram,
  skipUnless,
  waitForLine,
} from '@linux-sockets/testkit'
import { beforeEach, expect, it } from 'vitest'
import { runOurs, startOurs, valuesOf } from '../src/host.js'

guardDescriptors()

beforeEach((test) => skipUnless(test, needNamespaces(), needProgram('python3')))

/** What a receiver says of a datagram. */
interface Reading {
  readonly length: number
  readonly name: string
  readonly destination: string
  readonly ttl: number
  readonly tos: number
}

/** Old versions of Python's `socket` lack `IP_PKTINFO` and `IP_RECVTTL`. */
const PYTHON_RECEIVER = `
import json, socket, struct, sys
IP_PKTINFO, IP_RECVTTL = 8, 12
family, group, count = sys.argv[1:4]
v6 = family == 'ipv6'
s = socket.socket(socket.AF_INET6 if v6 else socket.AF_INET, socket.SOCK_DGRAM)
if v6:
    for option in (socket.IPV6_RECVPKTINFO, socket.IPV6_RECVHOPLIMIT, socket.IPV6_RECVTCLASS):
        s.setsockopt(socket.IPPROTO_IPV6, option, 1)
else:
    for option in (IP_PKTINFO, IP_RECVTTL, socket.IP_RECVTOS):
        s.setsockopt(socket.IPPROTO_IP, option, 1)
s.bind(('', 6000))
index = socket.if_nametoindex('veth0')
if v6:
    s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, socket.inet_pton(s.family, group) + struct.pack('i', index))
else:
    s.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, socket.inet_aton(group) + struct.pack('=4si', bytes(4), index))
print('"ready"', flush=True)
for _ in range(int(count)):
    data, control, flags, address = s.recvmsg(100, 1000)
    said = {'length': len(data)}
    for level, kind, value in control:
        if v6 and kind == socket.IPV6_PKTINFO:
            said['destination'] = socket.inet_ntop(s.family, value[:16])
            said['name'] = socket.if_indextoname(struct.unpack('i', value[16:20])[0])
        elif v6: said['ttl' if kind == socket.IPV6_HOPLIMIT else 'tos'] = struct.unpack('i', value[:4])[0]
        elif kind == IP_PKTINFO:
            said['destination'] = socket.inet_ntoa(value[8:12])
            said['name'] = socket.if_indextoname(struct.unpack('i', value[:4])[0])
        elif kind == socket.IP_TTL: said['ttl'] = struct.unpack('i', value[:4])[0]
        elif kind == socket.IP_TOS: said['tos'] = value[0]
    print(json.dumps(said), flush=True)`

const PYTHON_SENDER = `
import json, socket, sys
for length, (to, ttl, tos) in enumerate(json.loads(sys.argv[1]), 1):
    v6 = ':' in to
    s = socket.socket(socket.AF_INET6 if v6 else socket.AF_INET, socket.SOCK_DGRAM)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b'veth0')
    level = socket.IPPROTO_IPV6 if v6 else socket.IPPROTO_IP
    for option in (socket.IPV6_UNICAST_HOPS, socket.IPV6_MULTICAST_HOPS) if v6 else (socket.IP_TTL, socket.IP_MULTICAST_TTL):
        s.setsockopt(level, option, ttl)
    s.setsockopt(level, socket.IPV6_TCLASS if v6 else socket.IP_TOS, tos)
    s.sendto(bytes(length), (to, 6000))
    s.close()`

const OUR_RECEIVER = `
  const socket = UdpSocket.open({ address: args.address, receive: { arrival: true, ttl: true, tos: true } }, {
    datagram({ length, ifindex, destination, ttl, tos }) {
      say({ length, name: interfaceNameOf(ifindex), destination, ttl, tos })
    },
    error,
  })
  socket.join(args.group, { interface: 'veth0' })
  say('ready')`

const OUR_SENDER = `
  const socket = UdpSocket.open({ address: args.address }, { error })
  for (const [i, [address, ttl, tos]] of args.sends.entries()) {
    socket.send(Buffer.alloc(i + 1), { family: args.family, address, port: 6000 }, { ttl, tos, interface: 'veth0' })
  }
  await socket.drain()`

const FAMILIES = [
  ['ipv4', '0.0.0.0', '239.7.7.7', ['10.0.0.2', '10.0.0.3']],
  ['ipv6', '[::]', 'ff15::7:7', ['fd00::2', 'fd00::3']],
] as const

it.for(FAMILIES)('both read the same of what either sends: %s', async ([family, any, group, [first, second]]) => {
  const sends = [
    [first, 42, 0xb8],
    [second, 255, 0x03],
    [group, 7, 0x22],
  ] as const
  const expected: Reading[] = sends.map(([destination, ttl, tos], i) => ({
    length: i + 1,
    name: 'veth0',
    destination,
    ttl,
    tos,
  }))
  const { left, right } = hosts()
  for (const sender of ['Python', 'ours']) {
    for (const receiver of ['Python', 'ours']) {
      const receiving =
        receiver === 'ours'
          ? await startOurs(right, OUR_RECEIVER, { address: `${any}:6000`, group })
          : right.spawn('python3', ['-u', '-c', PYTHON_RECEIVER, family, group, String(sends.length)])
      await waitForLine(receiving, /^"ready"$/)
      if (sender === 'ours') await runOurs(left, OUR_SENDER, { address: `${any}:0`, family, sends })
      else await left.run('python3', ['-c', PYTHON_SENDER, JSON.stringify(sends)])
      await expect.poll(() => valuesOf(receiving.stdout), { message: `${sender} to ${receiver}` }).toEqual(expected)
      receiving.process.kill()
      await receiving.finished
    }
  }
})

function hosts(): { left: Namespace; right: Namespace } {
  const [left, right] = createHosts(
    ['10.0.0.1/24', 'fd00::1/64'],
    ['10.0.0.2/24', '10.0.0.3/24', 'fd00::2/64', 'fd00::3/64'],
  )
  return { left, right }
}
