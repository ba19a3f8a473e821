import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { guardDescriptors, needFile, skipUnless, temporaryDirectory } from '@linux-sockets/testkit'
import { describe, expect, it } from 'vitest'
import { runAlone } from './outside.js'

guardDescriptors()

// The C library waits 30 seconds for a name server, so a test that had to wait would exceed vitest's own limit.

const SERVER = `
  const server = await nameServer({
    '*': { A: ['192.0.2.9'] },
    '1.2.0.192.in-addr.arpa': { PTR: ['one.test'], slow: true },
    'now.test': { A: ['192.0.2.1'] },
  })
  const v4 = { family: 'ipv4' }
  // Not all at once, since the server's receive buffer holds some 250 questions.
  const slow = async (count, hints) => {
    const lookups = []
    while (lookups.length < count) {
      lookups.push(resolve('slow' + lookups.length + '.test', 80, { ...v4, ...hints }))
      if (lookups.length % 50 === 0) await server.held(Math.min(lookups.length, addr.LOOKUP_THREADS_MAX))
    }
    return lookups
  }
`

describe('200 lookups that wait', () => {
  it('hold up neither other lookups nor the file system, and all end', async (test) => {
    const file = join(temporaryDirectory(), 'file')
    writeFileSync(file, 'read')
    const result = await runAlone(
      test,
      `${SERVER}
      import { readFile } from 'node:fs/promises'
      const events = []
      const note = (what) => (value) => { events.push(what); return value }
      const waiting = (await slow(200)).map((lookup) => lookup.then(note('slow')))
      const fast = [
        resolve('now.test', 80, v4),
        resolve('127.0.0.1', 80),
        resolve('localhost', 80, v4),
        reverse({ family: 'ipv4', address: '192.0.2.10', port: 80 }),
        readFile(${JSON.stringify(file)}, 'utf8'),
      ]
      const [now, numeric, local, { host }, text] = await Promise.all(fast.map((one) => one.then(note('fast'))))
      server.release()
      const found = await Promise.all(waiting)
      server.close()
      console.log(JSON.stringify({
        fast: [now[0].address, numeric[0].address, local[0].address, host, text],
        before: events.indexOf('slow'),
        slow: [...new Set(found.map(([{ address }]) => address))],
        count: found.length,
      }))`,
      { env: { UV_THREADPOOL_SIZE: '1' } },
    )
    expect(result).toEqual({
      fast: ['192.0.2.1', '127.0.0.1', '127.0.0.1', 'host.example.test', 'read'],
      before: 5,
      slow: ['192.0.2.9'],
      count: 200,
    })
  })

  it('end at once by one signal, and the process with them', async (test) => {
    const result = await runAlone(
      test,
      `${SERVER}
      const controller = new AbortController()
      const waiting = await slow(200, { signal: controller.signal })
      controller.abort()
      const ends = await Promise.allSettled(waiting)
      server.unref()
      console.log(JSON.stringify([...new Set(ends.map(({ reason }) => reason.name))]))`,
    )
    expect(result).toEqual(['AbortError'])
  })
})

it('answers numeric lookups even when every thread for names waits', async (test) => {
  const result = await runAlone(
    test,
    `${SERVER}
    const controller = new AbortController()
    const waiting = await slow(addr.LOOKUP_THREADS_MAX + 100, { signal: controller.signal })
    // This lookup is queued, and would wait for half a minute.
    const queued = resolve('now.test', 80, v4)
    const [{ address }] = await resolve('192.0.2.5', 80)
    const [, scoped] = await Promise.all([resolve(null, 80), resolve('fe80::1%lo', '80')])
    const numbers = addr.NI_NUMERICHOST | addr.NI_NUMERICSERV
    const { host } = await reverse({ family: 'ipv4', address: '192.0.2.6', port: 80 }, numbers)
    const asked = server.asked.includes('A now.test')
    controller.abort()
    await Promise.allSettled(waiting)
    server.release()
    const [late] = await queued
    server.close()
    console.log(JSON.stringify({ address, scope: scoped[0].scope, host, asked, late: late.address }))`,
  )
  expect(result).toEqual({ address: '192.0.2.5', scope: 1, host: '192.0.2.6', asked: false, late: '192.0.2.1' })
})

describe('a name server that is down', () => {
  it('leaves descriptors for connections, and its lookups neither stay queued nor hold up /etc/hosts', async (test) => {
    const result = await runAlone(
      test,
      `import { setResourceLimit } from '@linux-sockets/native-core'
      import { connect, createServer } from 'node:net'
      import { once } from 'node:events'
      import { readdirSync } from 'node:fs'
      setResourceLimit({ soft: 1024 })
      ${SERVER}
      const tcp = createServer((socket) => socket.end('served')).listen(0, '127.0.0.1')
      await once(tcp, 'listening')
      let count = 0
      const giveUp = async (more) => {
        const controller = new AbortController()
        const { signal } = controller
        const lookups = Array.from({ length: more }, () => resolve('slow' + count++ + '.test', 80, { ...v4, signal }))
        await server.held(Math.min(count, 256))
        controller.abort()
        for (const { reason } of await Promise.allSettled(lookups)) if (reason?.name !== 'AbortError') throw reason
      }
      while (count < 2000) await giveUp(50)
      const open = readdirSync('/proc/self/fd').length
      const connections = Array.from({ length: 100 }, () => connect(tcp.address().port, '127.0.0.1'))
      const served = await Promise.all(connections.map(async (socket) => {
        let text = ''
        for await (const chunk of socket) text += chunk
        return text
      }))
      const hosts = [
        resolve('host.example.test', 80),
        resolve('HOST.example.test', 'http', v4),
        reverse({ family: 'ipv4', address: '192.0.2.10', port: 80 }),
        reverse({ family: 'ipv4', address: '203.0.113.1', port: 80 }, addr.NI_NUMERICHOST),
        resolve('192.0.2.7', 80),
      ]
      const found = await Promise.all(hosts.map((one) => one.catch(({ code }) => code)))
      // The remaining lookups need the server, and are given up while they are queued.
      await Promise.allSettled(['unknown.test', 'other.test'].map((name) => resolve(name, 80, { ...v4, timeout: 1 })))
      const asked = server.asked.length
      server.release()
      await resolve('now.test', 80, v4)
      server.close()
      tcp.close()
      console.log(JSON.stringify({
        open: open < 256 + 64,
        served: served.filter((text) => text === 'served').length,
        found: found.map((one) => Array.isArray(one) ? one[0].address : one.host),
        asked,
        later: server.asked.slice(asked),
      }))`,
    )
    expect(result).toEqual({
      open: true,
      served: 100,
      found: ['192.0.2.10', '192.0.2.10', 'host.example.test', '203.0.113.1', '192.0.2.7'],
      asked: 256,
      later: ['A now.test'],
    })
  })

  it('takes at most a quarter of the limit of descriptors, read at each lookup', async (test) => {
    const result = await runAlone(
      test,
      `import { setResourceLimit } from '@linux-sockets/native-core'
      ${SERVER}
      const lookups = []
      const ask = (count) => {
        for (let i = 0; i < count; i++) lookups.push(resolve('slow' + lookups.length + '.test', 80, v4))
      }
      const asked = []
      // Names in /etc/hosts use the other threads only when no ordinary thread is left.
      const settle = async () => {
        await resolve('host.example.test', 80, v4)
        asked.push(server.asked.length)
      }
      setResourceLimit({ soft: 256 })
      ask(100)
      await server.held(64)
      await settle()
      setResourceLimit({ soft: 400 })
      ask(36)
      await server.held(100)
      await settle()
      // Threads beyond the new limit end later, not at once.
      setResourceLimit({ soft: 200 })
      ask(4)
      await settle()
      server.release()
      const found = await Promise.all(lookups)
      const [{ address }] = await resolve('now.test', 80, v4)
      server.close()
      console.log(JSON.stringify({ asked, found: found.length, address }))`,
    )
    expect(result).toEqual({ asked: [64, 100, 100], found: 140, address: '192.0.2.1' })
  })

  it('is asked for a name if /etc/hosts has no address of the family for it', async (test) => {
    const result = await runAlone(
      test,
      `import { setResourceLimit } from '@linux-sockets/native-core'
      ${SERVER}
      setResourceLimit({ soft: 40 })
      const waiting = await slow(10)
      const v6 = resolve('host.example.test', 80, { family: 'ipv6' }).catch(({ code }) => code)
      const [{ address }] = await resolve('host.example.test', 80, v4)
      const asked = server.asked.includes('AAAA host.example.test')
      server.release()
      await Promise.all(waiting)
      console.log(JSON.stringify({ address, asked, v6: await v6 }))
      server.close()`,
    )
    expect(result).toEqual({ address: '192.0.2.10', asked: false, v6: 'EAI_NODATA' })
  })
})

describe('a lookup that waits', () => {
  it('ends at its timeout, and the process with it', async (test) => {
    const result = await runAlone(
      test,
      `${SERVER}
      server.unref()
      const { code, syscall, message } = await resolve('slow.test', 80, { timeout: 50 }).catch((error) => error)
      console.log(JSON.stringify({ code, syscall, message }))`,
    )
    expect(result).toEqual({
      code: 'ETIMEDOUT',
      syscall: 'getaddrinfo',
      message: expect.stringContaining('slow.test:80'),
    })
  })

  it('ends by its signal, also with reverse', async (test) => {
    const result = await runAlone(
      test,
      `${SERVER}
      server.unref()
      const signal = AbortSignal.timeout(50)
      const address = { family: 'ipv4', address: '192.0.2.1', port: 80 }
      const lookups = [resolve('slow.test', 80, { signal }), reverse(address, 0, { signal })]
      const ends = await Promise.allSettled(lookups)
      console.log(JSON.stringify(ends.map(({ reason }) => reason.name)))`,
    )
    expect(result).toEqual(['TimeoutError', 'TimeoutError'])
  })

  it('keeps the process alive', async (test) => {
    const result = await runAlone(
      test,
      `${SERVER}
      resolve('slow.test', 80, v4).then(([{ address }]) => {
        console.log(JSON.stringify(address))
      })
      await server.held(1)
      server.unref()
      setTimeout(() => server.release(), 50).unref()`,
    )
    expect(result).toBe('192.0.2.9')
  })
})

describe('equal lookups', () => {
  it('are asked once, and each has its own answer', async (test) => {
    const result = await runAlone(
      test,
      `${SERVER}
      const same = Array.from({ length: 50 }, () => resolve('slow.test', 80, v4))
      await server.held(1)
      same.push(resolve('slow.test', 80, v4), resolve('slow.test', '80', v4))
      const other = resolve('slow.test', 81, v4)
      await server.held(2)
      server.release()
      const found = await Promise.all(same)
      await other
      // An answer isn't cached.
      await resolve('slow.test', 80, v4)
      server.close()
      console.log(JSON.stringify({
        asked: server.asked,
        addresses: [...new Set(found.flat().map(({ address }) => address))],
        distinct: [new Set(found).size, new Set(found.flat()).size],
      }))`,
    )
    expect(result).toEqual({
      asked: ['A slow.test', 'A slow.test', 'A slow.test'],
      addresses: ['192.0.2.9'],
      distinct: [52, 52],
    })
  })

  it('are shared only when they are equal in everything', async (test) => {
    const result = await runAlone(
      test,
      `${SERVER}
      const questions = [
        resolve('slow.test', 80, v4),
        resolve('slow.test', null, v4),
        resolve('slow.test', 80, { ...v4, socktype: 2 }),
        resolve('slow.test', 80, { ...v4, protocol: 6 }),
        resolve('slow.test', 80, { ...v4, flags: addr.AI_CANONNAME }),
        resolve('slow.test', 80, { family: 'ipv6' }).catch(() => []),
        resolve('slow2.test', 80, v4),
      ]
      await server.held(7)
      server.release()
      const found = await Promise.all(questions)
      server.close()
      console.log(JSON.stringify(found.map(([first]) => first && [first.port, first.socktype, 'canonname' in first])))`,
    )
    expect(result).toEqual([
      [80, 1, false],
      [0, 1, false],
      [80, 2, false],
      [80, 1, false],
      [80, 1, true],
      null,
      [80, 1, false],
    ])
  })

  it('are given up one by one', async (test) => {
    const result = await runAlone(
      test,
      `${SERVER}
      const controller = new AbortController()
      const given = resolve('slow.test', 80, { ...v4, signal: controller.signal })
      const late = resolve('slow.test', 80, { ...v4, timeout: 50 })
      const patient = resolve('slow.test', 80, { ...v4, timeout: 20_000 })
      await server.held(1)
      controller.abort(new Error('no longer wanted'))
      const ends = [await given.catch(({ message }) => message), await late.catch(({ code }) => code)]
      server.release()
      ends.push((await patient)[0].address)
      server.close()
      console.log(JSON.stringify([ends, server.asked]))`,
    )
    expect(result).toEqual([['no longer wanted', 'ETIMEDOUT', '192.0.2.9'], ['A slow.test']])
  })

  it('are asked again when all callers have given up the first', async (test) => {
    const result = await runAlone(
      test,
      `${SERVER}
      const controller = new AbortController()
      const given = resolve('slow.test', 80, { ...v4, signal: controller.signal }).catch(({ name }) => name)
      await server.held(1)
      controller.abort()
      const first = await given
      const second = resolve('slow.test', 80, v4)
      await server.held(2)
      server.release()
      const [{ address }] = await second
      server.close()
      console.log(JSON.stringify([first, address, server.asked.length]))`,
    )
    expect(result).toEqual(['AbortError', '192.0.2.9', 2])
  })

  it('fail together, each with an error of its own', async (test) => {
    const result = await runAlone(
      test,
      `const server = await nameServer({})
      const ends = await Promise.allSettled([1, 2].map(() => resolve('slow.test', 80, { family: 'ipv4' }).finally(() => {})).concat(server.held(1).then(server.release)))
      server.close()
      const [a, b] = ends.map(({ reason }) => reason)
      console.log(JSON.stringify([a.code, b.code, a === b, server.asked.length]))`,
    )
    expect(result).toEqual(['EAI_NONAME', 'EAI_NONAME', false, 1])
  })

  it('keep the context of each caller', async (test) => {
    const result = await runAlone(
      test,
      `import { AsyncLocalStorage } from 'node:async_hooks'
      ${SERVER}
      const context = new AsyncLocalStorage()
      const ask = (who) => context.run(who, async () => {
        await resolve('slow.test', 80, v4)
        return context.getStore()
      })
      const lookups = [ask('a'), ask('b')]
      await server.held(1)
      server.release()
      console.log(JSON.stringify(await Promise.all(lookups)))
      server.close()`,
    )
    expect(result).toEqual(['a', 'b'])
  })

  it('are also shared by reverse', async (test) => {
    skipUnless(test, needFile('/etc/services'))
    const result = await runAlone(
      test,
      `const server = await nameServer({ '*': { PTR: ['some.test'] } })
      const address = { family: 'ipv4', address: '203.0.113.1', port: 80 }
      const found = await Promise.all([reverse(address), reverse(address), reverse({ ...address, port: 7 })])
      server.close()
      console.log(JSON.stringify([found, found[0] === found[1], server.asked.length]))`,
    )
    expect(result).toEqual([
      [
        { host: 'some.test', service: 'http' },
        { host: 'some.test', service: 'http' },
        { host: 'some.test', service: 'echo' },
      ],
      false,
      2,
    ])
  })
})
