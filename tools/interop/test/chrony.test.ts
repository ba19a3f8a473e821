import {
  createHosts,
  guardDescriptors,
  type Namespace,
  needNamespaces,
  skipUnless,
  waitForLine,
} from '@linux-sockets/testkit'
import { beforeEach, expect, it } from 'vitest'
import { needDaemon, startChrony } from '../src/daemon.js'
import { runOurs, startOurs } from '../src/host.js'

guardDescriptors()

beforeEach((test) => skipUnless(test, needNamespaces(), needDaemon('chronyd')))

/** RFC 5905, section 6: times in seconds since 1900, with 32 bits of fraction, to and from nanoseconds since 1970. */
const TIMES = `
  const EPOCH = 2_208_988_800n
  const readTime = (data, at) => {
    const time = data.readBigUInt64BE(at)
    return ((time >> 32n) - EPOCH) * 1_000_000_000n + (((time & 0xffff_ffffn) * 1_000_000_000n) >> 32n)
  }
  const writeTime = (data, nanoseconds, at) => {
    const [seconds, rest] = [nanoseconds / 1_000_000_000n, nanoseconds % 1_000_000_000n]
    data.writeBigUInt64BE(((seconds + EPOCH) << 32n) + (rest << 32n) / 1_000_000_000n, at)
  }
`

/** Asks an NTP server until it answers, and says when both saw the question and the answer, in microseconds since 1970. */
const CLIENT = `
  import { randomBytes } from 'node:crypto'
  ${TIMES}
  const sent = new Map()
  const socket = UdpSocket.open({ peer: args.peer, receive: { timestamp: 'ns' } }, {
    async datagram({ data, timestamp }) {
      const departure = sent.get(data.toString('hex', 24, 32))
      if (departure === undefined) return error(new Error('an answer to no question'))
      clearInterval(timer)
      const times = [(await departure).software, readTime(data, 32), readTime(data, 40), timestamp]
      say({ mode: data[0] & 7, stratum: data[1], length: data.length, times: times.map((time) => Number(time / 1000n)) })
      sent.clear()
      socket.close()
    },
    // The server may not have opened its port yet.
    error: (problem) => problem.code === 'ECONNREFUSED' || error(problem),
  })
  const ask = () => {
    const question = Buffer.alloc(48)
    question[0] = (4 << 3) | 3
    randomBytes(8).copy(question, 40)
    const departure = socket.sendTimestamped(question)
    departure.catch(() => {})
    sent.set(question.toString('hex', 40, 48), departure)
  }
  let timer = setInterval(ask, 500)
  ask()`

it.for([
  ['IPv4', '10.0.0.2:123'],
  ['IPv6', '[fd00::2]:123'],
] as const)('is asked for the time over %s, with time stamps of both directions', async ([, peer]) => {
  const { ours, theirs } = hosts()
  startChrony(theirs, ['local stratum 5', 'allow'])
  const [answer] = await runOurs<{ times: number[] }>(ours, CLIENT, { peer })
  expect(answer).toMatchObject({ mode: 4, stratum: 5, length: 48 })
  // All are times of one clock, in the order of events. chronyd adds random bits below its precision.
  const { times = [] } = answer ?? {}
  expect(times).toHaveLength(4)
  for (let i = 1; i < 4; i++) expect((times[i] as number) - (times[i - 1] as number)).toBeGreaterThan(-1000)
})

/** An NTP server that answers with the kernel's time of arrival. */
const SERVER = `
  ${TIMES}
  const now = () => BigInt(Math.round((performance.timeOrigin + performance.now()) * 1e6))
  const socket = UdpSocket.open({ address: args.address, receive: { arrival: true, timestamp: 'ns' } }, {
    datagram(datagram) {
      const { data, timestamp } = datagram
      const answer = Buffer.alloc(48)
      answer.set([(data[0] & 0x38) | 4, 1, data[2], 0xec])
      answer.write('TEST', 12)
      writeTime(answer, timestamp, 16)
      data.copy(answer, 24, 40, 48)
      writeTime(answer, timestamp, 32)
      writeTime(answer, now(), 40)
      socket.reply(datagram, answer)
    },
    error,
  })
  say('ready')`

it('takes the time from our server', async () => {
  const { ours, theirs } = hosts()
  await startOurs(ours, SERVER, { address: '0.0.0.0:123' })
  // At an address that is not the first one: chronyd takes no answer from another.
  const program = startChrony(theirs, ['server 10.0.0.11 iburst maxsamples 1', 'maxdistance 60'], ['-Q'])
  const line = await waitForLine(program, /System clock wrong by/)
  expect(Math.abs(Number(/by (\S+) seconds/.exec(line)?.[1]))).toBeLessThan(60)
  expect((await program.finished).code).toBe(0)
})

function hosts(): { ours: Namespace; theirs: Namespace } {
  const [ours, theirs] = createHosts(['10.0.0.1/24', '10.0.0.11/24', 'fd00::1/64'], ['10.0.0.2/24', 'fd00::2/64'])
  return { ours, theirs }
}
