import { guardDescriptors, needProgram, skipUnless, withFault } from '@linux-sockets/testkit'
import { describe, expect, it } from 'vitest'
import { interfaces, watchInterfaces } from '../src/index.js'

guardDescriptors()

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
