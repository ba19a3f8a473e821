/** Every number that stands in the sources, against the kernel's headers. */
import { expectHeaderNumbers, needCompiler, numbersOf, rowsOf, skipUnless } from '@linux-sockets/testkit'
import { expect, it } from 'vitest'
import * as constants from '../src/constants.js'
import { errno } from '../src/errno.js'
import * as filter from '../src/filter.js'
import * as flags from '../src/interfaces/flags.js'
import * as ip from '../src/options/ip.js'
import * as ipv6 from '../src/options/ipv6.js'
import * as socket from '../src/options/socket.js'
import * as resolve from '../src/resolve/resolve.js'
import * as core from './everything.js'

/** The C library's headers first: the kernel's make way for them. */
const includes = [
  'sys/socket.h',
  'sys/epoll.h',
  'sys/eventfd.h',
  'sys/ioctl.h',
  'sys/resource.h',
  'sys/un.h',
  'net/if.h',
  'netdb.h',
  'netinet/in.h',
  'netinet/ip.h',
  'netinet/icmp6.h',
  'errno.h',
  'fcntl.h',
  'time.h',
  'limits.h',
  'linux/sockios.h',
  'linux/filter.h',
  'linux/icmp.h',
  'linux/if_addr.h',
  'linux/if_packet.h',
  'linux/netfilter_ipv4.h',
  'linux/netfilter_ipv6/ip6_tables.h',
  'linux/netlink.h',
  'linux/net_tstamp.h',
  'linux/vm_sockets.h',
  'linux/in6.h',
  'asm/socket.h',
]

const options = [socket, ip, ipv6].flatMap(rowsOf).map(({ name, option }) => [name, option] as const)
const numbers = [
  ...[constants, filter].flatMap((module) => numbersOf(module)),
  ...[flags, resolve].flatMap((module) => numbersOf(module, /^(AI|NI|EAI|IFF|IFA_F)_/)),
]
const errnos = Object.entries(errno)
/** Rows of control messages, should there be any. */
const messages = Object.values(core)
  .filter(isControl)
  .map(({ name, type }) => [name, type] as const)

it('has every number as the headers have it', (test) => {
  skipUnless(test, needCompiler())
  const entries = [...options, ...numbers, ...errnos, ...messages]
  const unknown = expectHeaderNumbers(includes, entries)
  const known = entries.length - unknown.length
  console.info(`${known} names checked; these headers don't know ${unknown.length}: ${unknown.join(', ')}`)
  expect(known).toBeGreaterThan(entries.length * 0.9)
})

it.for([...options.slice(0, 1), ...errnos.slice(0, 1)])(
  'notices that %s is not another number',
  ([name, value], test) => {
    skipUnless(test, needCompiler())
    expect(() => expectHeaderNumbers(includes, [[name, value + 1]])).toThrow(`${name} is not ${value + 1}`)
  },
)

it('has each number once', () => {
  for (const module of [socket, ip, ipv6]) {
    const keys = rowsOf(module).map(({ level, option }) => `${level}:${option}`)
    expect(new Set(keys).size).toBe(keys.length)
  }
})

function isControl(value: unknown): value is core.ControlType<unknown> {
  return typeof value === 'object' && value !== null && 'type' in value && 'decode' in value
}
