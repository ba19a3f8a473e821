import { closeSync } from 'node:fs'
import { setImmediate } from 'node:timers/promises'
import { eventfd, OwnedFd, Socket } from '@linux-sockets/native-core'
import { EPOLLET, EPOLLIN } from '@linux-sockets/native-core/constants'
import { expectRest, guardDescriptors, spawnProgram, testWatch } from '@linux-sockets/testkit'
import { describe, expect, it } from 'vitest'
import { Reactor } from '../src/index.js'

guardDescriptors()

for (const kind of ['watch', 'watchExclusive'] as const) {
  testWatch(
    `reactor.${kind}`,
    { Socket, eventfd },
    () => {
      const reactor = new Reactor()
      return { watch: reactor[kind], close: () => reactor.close() }
    },
    (script) =>
      spawnProgram(process.execPath, ['--input-type=module', '-e', around(kind, script)], { cwd: import.meta.dirname })
        .finished,
  )
}

const around = (kind: string, script: string) => `
  import { eventfd, Socket } from '@linux-sockets/native-core'
  import { Reactor } from '@linux-sockets/epoll'
  const watch = new Reactor().${kind}
  ${script}`

describe('reactor.watch', () => {
  it('ends with the reactor, which leaves the descriptor open', async () => {
    const reactor = new Reactor()
    const [a, b] = Socket.pair()
    const ended: string[] = []
    reactor.watch(a, 0, () => {}, { ended: () => ended.push('watch') })
    reactor.watchExclusive(a, 0, () => {}, { ended: () => ended.push('watchExclusive') })
    reactor.watch(b, 0, () => {}, { ended: () => ended.push('stopped') }).stop()
    reactor.close()
    await setImmediate()
    expect(ended.sort()).toEqual(['watch', 'watchExclusive'])
    expect(a.send(Buffer.from('x'))).toBe(1)
    expect(() => reactor.watch(a, EPOLLIN, () => {})).toThrow('EBADF')
    a.close()
    b.close()
  })
})

describe('reactor.register', () => {
  it.each(['close', 'release'] as const)(
    'calls `ended` once after the owner’s %s, and doesn’t spin on a duplicate',
    async (end) => {
      using reactor = new Reactor()
      const [a, b] = Socket.pair()
      const copy = a.dup()
      const { fd } = a
      const calls: string[] = []
      reactor.register(
        a,
        EPOLLIN,
        () => calls.push('event'),
        () => calls.push(`ended, ${a.fd}`),
      )
      a[end]()
      expect(calls).toEqual([])
      b.send(Buffer.from('x'))
      await expectRest()
      expect(calls).toEqual(['ended, -1'])
      expect(reactor.size).toBe(0)
      copy.close()
      b.close()
      if (end === 'release') OwnedFd.adopt(fd).close()
    },
  )

  it('doesn’t spin if other code has closed the descriptor while a duplicate is open', async () => {
    using reactor = new Reactor()
    const [a, b] = Socket.pair()
    const copy = a.dup()
    const fd = a.release()
    let calls = 0
    const registration = reactor.register(fd, EPOLLIN | EPOLLET, () => calls++)
    closeSync(fd)
    registration.stop()
    b.send(Buffer.from('x'))
    await expectRest()
    expect(calls).toBe(0)
    copy.close()
    b.close()
  })
})
