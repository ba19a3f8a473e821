import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { guardDescriptors, needFile, runPython, skipUnless, temporaryDirectory } from '@linux-sockets/testkit'
import { describe, expect, it } from 'vitest'
import { AF_INET, AF_INET6, SOCK_DGRAM, SOCK_STREAM } from '../../src/constants.js'
import { encodeAddress } from '../../src/index.js'
import { type AddressInfoQuery, lookupAddresses, lookupNames } from '../../src/resolve/index.js'
import { compileSources, runModule } from '../outside.js'

guardDescriptors()
compileSources()

const [AI_PASSIVE, AI_CANONNAME, AI_NUMERICHOST, AI_V4MAPPED, AI_NUMERICSERV] = [1, 2, 4, 8, 0x400]
const [NI_NUMERICHOST, NI_NUMERICSERV, NI_NAMEREQD, NI_DGRAM] = [1, 2, 8, 16]
const [EAI_NONAME, EAI_SERVICE, EAI_FAMILY, EAI_BADFLAGS] = [-2, -8, -6, -1]

describe('lookupAddresses', () => {
  it('gives every field of addrinfo', async () => {
    const query = { node: '127.0.0.1', service: '80', socktype: SOCK_STREAM, flags: AI_CANONNAME }
    expect(await lookupAddresses(query).result).toEqual({
      eai: 0,
      errno: 0,
      value: [
        {
          flags: AI_CANONNAME,
          family: AF_INET,
          socktype: SOCK_STREAM,
          protocol: 6,
          address: { family: 'ipv4', address: '127.0.0.1', port: 80 },
          canonname: '127.0.0.1',
        },
      ],
    })
  })

  it('gives one entry for each type unless one is asked for', async () => {
    const { value } = await lookupAddresses({ node: '::1', service: null }).result
    expect(value?.map(({ socktype }) => socktype)).toEqual([1, 2, 3])
    expect(value?.[0]).toMatchObject({ family: AF_INET6, address: { family: 'ipv6', address: '::1', port: 0 } })
    expect(value?.[0]).not.toHaveProperty('canonname')
  })

  it('agrees with Python', async (test) => {
    skipUnless(test, needFile('/etc/services'))
    const script = `import socket, json
print(json.dumps([[f, t, p, c, a[0], a[1]] for f, t, p, c, a in socket.getaddrinfo('localhost', 'http')]))`
    const theirs = JSON.parse(await runPython(script))
    const { value } = await lookupAddresses({ node: 'localhost', service: 'http' }).result
    const ours = value?.map(({ family, socktype, protocol, address }) => {
      const { address: text, port } = address as { address: string; port: number }
      return [family, socktype, protocol, '', text, port]
    })
    expect(ours).toEqual(theirs)
  })

  it('finds this host to bind to', async () => {
    const { value } = await lookupAddresses({ node: null, service: '0', flags: AI_PASSIVE, family: AF_INET6 }).result
    expect(value?.[0]?.address).toMatchObject({ address: '::' })
  })

  it('keeps the scope of a link-local address', async () => {
    const { value } = await lookupAddresses({ node: 'fe80::1%lo', service: '1' }).result
    expect(value?.[0]?.address).toEqual({ family: 'ipv6', address: 'fe80::1', port: 1, scope: 1 })
  })

  it.each([
    ['no name', { node: 'no.such.name.invalid', service: null, flags: AI_NUMERICHOST }, EAI_NONAME],
    ['no service', { node: '127.0.0.1', service: 'no-such-service' }, EAI_SERVICE],
    ['no family', { node: '127.0.0.1', service: null, family: 77 }, EAI_FAMILY],
    ['bad flags', { node: '127.0.0.1', service: null, flags: 1 << 30 }, EAI_BADFLAGS],
    ['neither', { node: null, service: null }, EAI_NONAME],
  ])('reports %s', async (_what, query, eai) => {
    expect(await lookupAddresses(query).result).toMatchObject({ eai, value: null })
  })

  it('answers like the C library whenever it is certain, and uses no thread for it', async () => {
    const hosts = [
      ...['127.0.0.1', '0.0.0.0', '255.255.255.255', '224.0.0.1', '10.20.30.40'],
      ...['::', '::1', '2001:DB8:0:0:1::1', 'fe80::1', 'ff02::1', '::ffff:192.0.2.1', '::192.0.2.1', '1:2:3:4:5:6:7:8'],
      ...['127.1', '0x7f.1', '010.0.0.1', '1.2.3.04', '2130706433', '1.2.3.256', '1.2.3', '1.2.3.4.5', '1.2.3.4 ', ''],
      ...['fe80::1%lo', 'fe80::1%1', '::1%lo', '::1%1', '::1%', '[::1]', '1::2::3', '::1.2.3', 'localhost'],
    ]
    const services = [
      null,
      '0',
      '80',
      '00080',
      '65535',
      '65536',
      '99999',
      '100000',
      '+80',
      ' 80',
      '80 ',
      '-1',
      'http',
      '',
    ]
    const kinds = [
      ...[0, SOCK_STREAM, SOCK_DGRAM, 3].map((socktype) => [0, socktype, 0] as const),
      ...[6, 17, 132, 255].flatMap((protocol) => [1, 2].map((socktype) => [0, socktype, protocol] as const)),
      ...[AF_INET, AF_INET6, 77].map((family) => [family, SOCK_STREAM, 0] as const),
    ]
    const compared: Promise<void>[] = []
    const answer = async (query: AddressInfoQuery) => {
      const { eai, value } = await lookupAddresses(query).result
      return { eai, value: value?.map(({ flags: _, canonname: __, ...rest }) => rest) }
    }
    for (const node of hosts) {
      for (const service of node === '127.0.0.1' || node === '::1' || node === '127.1' ? services : ['80']) {
        for (const [family, socktype, protocol] of kinds) {
          for (const more of [0, AI_PASSIVE, AI_NUMERICSERV, AI_V4MAPPED]) {
            const query = { node, service, family, socktype, protocol, flags: AI_NUMERICHOST | more }
            const compare = async () => {
              // With that, a thread asks the C library.
              const theirs = await answer({ ...query, flags: query.flags | AI_CANONNAME })
              expect(await answer(query), JSON.stringify(query)).toEqual(theirs)
            }
            compared.push(compare())
          }
        }
      }
    }
    await Promise.all(compared)
    const flags = AI_NUMERICHOST | AI_PASSIVE
    const { value } = await lookupAddresses({ node: '::1', service: '1', socktype: SOCK_STREAM, flags }).result
    expect(value?.[0]?.flags).toBe(flags)
    const { stdout } = await runModule(`
      import { readdirSync } from 'node:fs'
      import { lookupAddresses } from './everything.js'
      const threads = () => readdirSync('/proc/self/task').length
      const before = threads()
      for (const node of ['127.0.0.1', '::1', '2001:db8::1']) {
        for (const socktype of [1, 2]) await lookupAddresses({ node, service: '80', socktype }).result
      }
      const between = threads()
      await lookupAddresses({ node: '127.1', service: '80', socktype: 1 }).result
      console.log(between - before, threads() - before)
    `)
    expect(stdout).toBe('0 1\n')
  })

  it('refuses text with a NUL, and values that are not text', () => {
    expect(() => lookupAddresses({ node: 'a\0b', service: null })).toThrow('node must not contain a NUL')
    expect(() => lookupAddresses({ node: null, service: 'a\0' })).toThrow('service must not contain a NUL')
    expect(() => lookupAddresses({ node: undefined as never, service: null })).toThrow('node must be a string or null')
    expect(() => lookupAddresses({ node: null, service: 80 as never })).toThrow(TypeError)
    expect(() => lookupAddresses({ node: '', service: null, family: Number.NaN })).toThrow(TypeError)
  })

  it('looks up many at once, each with its own answer', async () => {
    const before = readdirSync('/proc/self/task').length
    const lookups = Array.from({ length: 1000 }, (_, i) =>
      lookupAddresses({ node: `127.0.${i >> 8}.${i & 255}`, service: String(i) }),
    )
    const results = await Promise.all(lookups.map(({ result }) => result))
    for (const [i, { value }] of results.entries()) {
      expect(value?.[0]?.address).toEqual({ family: 'ipv4', address: `127.0.${i >> 8}.${i & 255}`, port: i })
    }
    expect(readdirSync('/proc/self/task').length).toBeLessThanOrEqual(before + 8)
  })

  it('does not settle once cancelled, and cancels once', async () => {
    const { result, cancel } = lookupAddresses({ node: '127.0.0.1', service: null })
    cancel()
    cancel()
    const other = await lookupAddresses({ node: '127.0.0.1', service: null }).result
    expect(other.eai).toBe(0)
    const outcome = await Promise.race([result, setTimeout(20, 'not settled')])
    expect(outcome).toBe('not settled')
    const done = lookupAddresses({ node: '127.0.0.1', service: null })
    await done.result
    done.cancel()
    const atOnce = lookupAddresses({ node: '127.0.0.1', service: null, socktype: SOCK_STREAM })
    atOnce.cancel()
    expect(await Promise.race([atOnce.result, setTimeout(20, 'not settled')])).toBe('not settled')
  })

  it('serves each copy of the package in a thread', async () => {
    const { code, stdout, stderr } = await runModule(`
      const copies = await Promise.all(['./resolve/resolve.js', './resolve/resolve.js?again'].map((path) => import(path)))
      const lookups = copies.map(({ lookupAddresses }, i) => lookupAddresses({ node: '127.0.0.' + i, service: null }))
      for (const { result } of lookups) console.log((await result).value[0].address.address)
    `)
    expect({ code, stdout, stderr }).toEqual({ code: 0, stdout: '127.0.0.0\n127.0.0.1\n', stderr: '' })
  })

  it('does not use Node’s own pool', async () => {
    const fifo = join(temporaryDirectory(), 'fifo')
    // The pool's only thread waits until the other end is opened.
    const { code, stdout, stderr } = await runModule(
      `import { execFileSync } from 'node:child_process'
       import { closeSync, openSync } from 'node:fs'
       import { open } from 'node:fs/promises'
       import { lookupAddresses } from './everything.js'
       execFileSync('mkfifo', ['${fifo}'])
       let opened = false
       const opening = open('${fifo}').then((file) => {
         opened = true
         return file.close()
       })
       const { value } = await lookupAddresses({ node: '127.0.0.1', service: null }).result
       console.log(value[0].address.address, opened)
       closeSync(openSync('${fifo}', 'w'))
       await opening`,
      { wrapper: ['env', 'UV_THREADPOOL_SIZE=1'] },
    )
    expect({ code, stdout }, stderr).toEqual({ code: 0, stdout: '127.0.0.1 false\n' })
  })

  it.each([
    ['keeps the process alive', 'lookup.result.then(({ eai }) => console.log(eai))', '0\n'],
    ['but not once cancelled', 'lookup.result.then(({ eai }) => console.log(eai)); lookup.cancel()', ''],
  ])('%s', async (_name, action, expected) => {
    const { code, stdout, stderr } = await runModule(`
      import { lookupAddresses } from './everything.js'
      const lookup = lookupAddresses({ node: '127.0.0.1', service: null })
      ${action}
    `)
    expect({ code, stdout, stderr }).toEqual({ code: 0, stdout: expected, stderr: '' })
  })
})

describe('lookupNames', () => {
  const address = (port: number) => encodeAddress({ family: 'ipv4', address: '127.0.0.1', port })

  it('gives host and service, as numbers and as names', async () => {
    const numeric = lookupNames(address(80), NI_NUMERICHOST | NI_NUMERICSERV)
    expect(await numeric.result).toEqual({ eai: 0, errno: 0, value: { host: '127.0.0.1', service: '80' } })
    const script = `import socket, json
print(json.dumps(socket.getnameinfo(('127.0.0.1', 512), 0) + socket.getnameinfo(('127.0.0.1', 512), socket.NI_DGRAM)))`
    const [host, service, , datagramService] = JSON.parse(await runPython(script))
    expect((await lookupNames(address(512)).result).value).toEqual({ host, service })
    expect((await lookupNames(address(512), NI_DGRAM).result).value).toEqual({ host, service: datagramService })
  })

  it('writes IPv6 with its zone', async () => {
    const scoped = encodeAddress({ family: 'ipv6', address: 'fe80::1', port: 0, scope: 1 })
    const { value } = await lookupNames(scoped, NI_NUMERICHOST | NI_NUMERICSERV).result
    expect(value?.host).toBe('fe80::1%lo')
  })

  it('reports failures', async () => {
    const family = encodeAddress({ family: 77, data: new Uint8Array(14) })
    expect(await lookupNames(family).result).toMatchObject({ eai: EAI_FAMILY, value: null })
    expect(await lookupNames(address(80).subarray(0, 4)).result).toMatchObject({ eai: EAI_FAMILY, value: null })
    const anywhere = encodeAddress({ family: 'ipv4', address: '0.0.0.0', port: 0 })
    expect((await lookupNames(anywhere, NI_NAMEREQD | (1 << 29)).result).value).toBe(null)
    expect(() => lookupNames('text' as never)).toThrow(TypeError)
  })
})
