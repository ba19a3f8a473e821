import { guardDescriptors, needProgram, skipUnless, withFault } from '@linux-sockets/testkit'
import { beforeEach, describe, expect, it } from 'vitest'
import { AF_NETLINK } from '../../src/constants.js'
import { interfaces, netlinkAttributes, netlinkDump, watchInterfaces } from '../../src/interfaces/index.js'

guardDescriptors()

const [NETLINK_ROUTE, RTM_NEWLINK, RTM_GETLINK, RTM_GETRULE, IFLA_IFNAME] = [0, 16, 18, 34, 3]
const [NLMSG_ERROR, NLMSG_DONE, NLM_F_MULTI, NLM_F_DUMP_INTR] = [2, 3, 0x2, 0x10]

const names = () => netlinkDump(NETLINK_ROUTE, RTM_GETLINK, Buffer.alloc(16)).map(({ body }) => nameOf(body))
const nameOf = (body: Buffer) => netlinkAttributes(body, 16).get(IFLA_IFNAME)?.toString().replace('\0', '')

describe('netlinkDump', () => {
  it('returns the messages of the kernel, without their headers', () => {
    const messages = netlinkDump(NETLINK_ROUTE, RTM_GETLINK, Buffer.alloc(16))
    for (const { type, flags } of messages) expect([type, flags & NLM_F_MULTI]).toEqual([RTM_NEWLINK, NLM_F_MULTI])
    const found = messages.map(({ body }) => [body.readInt32LE(4), nameOf(body)])
    expect(found.sort()).toEqual(
      interfaces()
        .map(({ ifindex, name }) => [ifindex, name])
        .sort(),
    )
  })

  it('asks for nothing but what the body names', () => {
    const [AF_INET6, FR_ACT_TO_TBL] = [10, 1]
    const body = Buffer.alloc(12)
    body.writeUInt8(AF_INET6, 0)
    const rules = netlinkDump(NETLINK_ROUTE, RTM_GETRULE, body)
    for (const { body } of rules) expect([body.readUInt8(0), body.readUInt8(7)]).toEqual([AF_INET6, FR_ACT_TO_TBL])
  })

  it('throws the kernel’s error', () => {
    expect(() => netlinkDump(31, RTM_GETLINK, Buffer.alloc(16))).toThrow('EPROTONOSUPPORT')
    expect(() => netlinkDump(NETLINK_ROUTE, 0xffff, Buffer.alloc(16))).toThrow('ENOTSUP')
  })
})

describe('a dump', () => {
  beforeEach((test) => skipUnless(test, needProgram('strace')))

  it('that was interrupted is repeated', async () => {
    const { outcome } = await withFault(firstMessage(NLMSG_DONE, { flags: NLM_F_DUMP_INTR }), names)
    expect(outcome).toEqual({ status: 'fulfilled', value: names() })
  })

  it('ignores messages that are not from the kernel', async () => {
    const refusal = firstMessage(NLMSG_ERROR, { result: -2, sender: 4711 })
    const { outcome } = await withFault(refusal, names)
    expect(outcome).toMatchObject({ status: 'fulfilled' })
  })

  it.each([
    ['that is always interrupted', firstMessage(NLMSG_DONE, { flags: NLM_F_DUMP_INTR, when: '1+' }), 'EAGAIN'],
    ['that is refused by the kernel', firstMessage(NLMSG_ERROR, { result: -2 }), 'ENOENT'],
    ['that breaks off', firstMessage(NLMSG_DONE, { result: -12 }), 'ENOMEM'],
    ['that has an invalid message', firstMessage(NLMSG_DONE, { length: 8 }), 'EBADMSG'],
    ['that has an error without a number', firstMessage(NLMSG_ERROR, { length: 16 }), 'EBADMSG'],
  ])('%s is an error', async (_, fault, code) => {
    const { outcome } = await withFault(fault, names)
    expect(outcome).toMatchObject({ status: 'rejected', reason: { name: 'SystemError', code } })
  })
})

describe('netlinkAttributes', () => {
  const attribute = (size: number, type: number, ...data: number[]) => [size, 0, type & 0xff, type >> 8, ...data]

  it('reads values by type, without its flags, and the last of several', () => {
    const [NLA_F_NESTED, NLA_F_NET_BYTEORDER] = [0x8000, 0x4000]
    const bytes = [
      ...[9, 9],
      ...attribute(5, 1, 7, 0, 0, 0),
      ...attribute(4, 2 | NLA_F_NESTED),
      ...attribute(6, 1 | NLA_F_NET_BYTEORDER, 8, 9),
    ]
    // As a view, to prove that offsets are those of the body.
    const body = Uint8Array.of(...[1, 2, 3], ...bytes).subarray(3)
    expect([...netlinkAttributes(body, 2)]).toEqual([
      [1, Buffer.of(8, 9)],
      [2, Buffer.of()],
    ])
  })

  it('ends before an attribute that is not whole', () => {
    const first = attribute(8, 1, 1, 2, 3, 4)
    for (const rest of [attribute(3, 2, 0), attribute(9, 2, 1, 2, 3, 4), [4, 0, 2]]) {
      expect([...netlinkAttributes(Uint8Array.of(...first, ...rest)).keys()]).toEqual([1])
    }
    expect(netlinkAttributes(new Uint8Array()).size).toBe(0)
  })
})

// A call that waits would block this thread, and the test with it, for ever.
describe.each(['sendto', 'recvfrom'])('EAGAIN from %s', (syscall) => {
  const look = {
    interfaces: () => interfaces().map(({ name }) => name),
    watchInterfaces: () => {
      using watch = watchInterfaces()
      return watch.interfaces.map(({ name }) => name)
    },
  }

  it.for(Object.entries(look))('makes %s ask again', async ([, names], test) => {
    skipUnless(test, needProgram('strace'))
    const { outcome, injected } = await withFault(`${syscall}:error=EAGAIN:when=1`, names)
    expect(outcome).toEqual({ status: 'fulfilled', value: names() })
    expect(injected).toBe(1)
  })

  it.for(Object.entries(look))('is what %s throws when it does not end', async ([, names], test) => {
    skipUnless(test, needProgram('strace'))
    const { outcome, injected } = await withFault(`${syscall}:error=EAGAIN`, names)
    expect(outcome).toMatchObject({ status: 'rejected', reason: { name: 'SystemError', code: 'EAGAIN', syscall } })
    expect(injected).toBeGreaterThan(1)
  })
})

it('ends a watch if the kernel drops its changes for ever', async (test) => {
  skipUnless(test, needProgram('strace'))
  const watch = watchInterfaces()
  const next = () => watch[Symbol.asyncIterator]().next()
  const { outcome } = await withFault('recvfrom:error=ENOBUFS', next)
  expect(outcome).toMatchObject({ status: 'rejected', reason: { code: 'ENOBUFS' } })
})

/** Returns a fault that puts a message of netlink(7) at the beginning of the answer. */
function firstMessage(type: number, { flags = 0, result = 0, length = 20, when = '1', sender = 0 }): string {
  const message = Buffer.alloc(20)
  message.writeUInt32LE(length, 0)
  message.writeUInt16LE(type, 4)
  message.writeUInt16LE(flags, 6)
  message.writeInt32LE(result, 16)
  const address = Buffer.alloc(12)
  address.writeUInt16LE(AF_NETLINK, 0)
  address.writeUInt32LE(sender, 4)
  return `recvfrom:poke_exit=@arg2=${message.toString('hex')},@arg5=${address.toString('hex')}:when=${when}`
}
