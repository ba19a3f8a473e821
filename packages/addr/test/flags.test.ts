import { guardDescriptors } from '@linux-sockets/testkit'
import { describe, expect, it, type TestContext } from 'vitest'
import { runAlone } from './outside.js'

guardDescriptors()

// Each program has a network, a name server, hosts and a domain of its own, so that each flag makes a difference.

const SERVER = `
  const server = await nameServer({
    'both.test': { A: ['192.0.2.1'], AAAA: ['2001:db8::1'] },
    'v4.test': { A: ['192.0.2.1'] },
    'alias.test': { CNAME: ['both.test'], A: ['192.0.2.1'] },
    'xn--strae-oqa.test': { A: ['192.0.2.2'] },
    'none.test': {},
    'broken.test': { rcode: 2 },
    'refused.test': { rcode: 5 },
    '1.2.0.192.in-addr.arpa': { PTR: ['both.test'] },
    '1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa': { PTR: ['six.test'] },
    '2.2.0.192.in-addr.arpa': { PTR: ['xn--strae-oqa.test'] },
    '9.2.0.192.in-addr.arpa': { rcode: 2 },
  })
  const codeOf = (promise) => promise.then((found) => found, (error) => error.code)
  const texts = (found) => Array.isArray(found) ? found.map(({ address }) => address).sort() : found
`

/** Evaluates expressions in a program of their own, and returns their values. */
const evaluate = async (test: TestContext, expressions: Record<string, string>, prepare: string[] = []) =>
  (await runAlone(
    test,
    `${SERVER}
    const results = {}
    ${Object.entries(expressions)
      .map(([name, expression]) => `results[${JSON.stringify(name)}] = await (${expression})`)
      .join('\n')}
    console.log(JSON.stringify(results))
    server.close()`,
    { prepare },
  )) as Record<string, unknown>

const resolved = (host: string, flags: string, hints = '') =>
  `codeOf(resolve('${host}', 80, { flags: ${flags}, ${hints} })).then(texts)`

describe('resolve', () => {
  it('heeds AI_V4MAPPED and AI_ALL', async (test) => {
    const v6 = "family: 'ipv6'"
    const found = await evaluate(test, {
      'v4, plain': resolved('v4.test', '0', v6),
      'v4, mapped': resolved('v4.test', 'addr.AI_V4MAPPED', v6),
      'both, mapped': resolved('both.test', 'addr.AI_V4MAPPED', v6),
      'both, all': resolved('both.test', 'addr.AI_V4MAPPED | addr.AI_ALL', v6),
      'both, all alone': resolved('both.test', 'addr.AI_ALL', v6),
    })
    expect(found).toEqual({
      'v4, plain': 'EAI_NODATA',
      'v4, mapped': ['::ffff:192.0.2.1'],
      'both, mapped': ['2001:db8::1'],
      'both, all': ['2001:db8::1', '::ffff:192.0.2.1'],
      'both, all alone': ['2001:db8::1'],
    })
  })

  it('heeds AI_ADDRCONFIG', async (test) => {
    const expressions = {
      plain: resolved('both.test', '0'),
      configured: resolved('both.test', 'addr.AI_ADDRCONFIG'),
      'configured, ipv6': resolved('both.test', 'addr.AI_ADDRCONFIG', "family: 'ipv6'"),
      'configured, ipv4': resolved('both.test', 'addr.AI_ADDRCONFIG', "family: 'ipv4'"),
    }
    const both = ['192.0.2.1', '2001:db8::1']
    expect(await evaluate(test, expressions, ['address add 198.51.100.1/32 dev lo'])).toEqual({
      plain: both,
      configured: ['192.0.2.1'],
      'configured, ipv6': 'EAI_NONAME',
      'configured, ipv4': ['192.0.2.1'],
    })
    expect(await evaluate(test, expressions, ['address add 2001:db8::7/128 dev lo nodad'])).toEqual({
      plain: both,
      configured: ['2001:db8::1'],
      'configured, ipv6': ['2001:db8::1'],
      'configured, ipv4': 'EAI_NONAME',
    })
  })

  it('heeds AI_CANONNAME', async (test) => {
    const names = (flags: string) =>
      `resolve('alias.test', 80, { flags: ${flags}, socktype: 0, family: 'ipv4' }).then((found) => found.map(({ canonname }) => canonname ?? null))`
    expect(await evaluate(test, { plain: names('0'), canonical: names('addr.AI_CANONNAME') })).toEqual({
      plain: [null, null, null],
      canonical: ['both.test', null, null],
    })
  })

  it('heeds AI_IDN and AI_CANONIDN', async (test) => {
    const name = (flags: string, host: string) =>
      `codeOf(resolve('${host}', 80, { flags: ${flags} })).then((found) => found[0].canonname ?? found)`
    const found = await evaluate(test, {
      plain: `codeOf(resolve('bücher.test'))`,
      file: name('addr.AI_IDN | addr.AI_CANONNAME', 'bücher.test'),
      server: name('addr.AI_IDN | addr.AI_CANONNAME', 'straße.test'),
      decoded: name('addr.AI_IDN | addr.AI_CANONNAME | addr.AI_CANONIDN', 'straße.test'),
      'only decoded': name('addr.AI_CANONNAME | addr.AI_CANONIDN', 'xn--strae-oqa.test'),
      'not encodable': `codeOf(resolve('-ü-.test', 80, { flags: addr.AI_IDN }))`,
      asked: 'server.asked.filter((question) => question.startsWith("A xn--"))',
    })
    test.skip(found.file === 'EAI_IDN_ENCODE', 'libidn2 is not installed')
    expect(found).toEqual({
      plain: 'EAI_NONAME',
      file: 'xn--bcher-kva.test',
      server: 'xn--strae-oqa.test',
      decoded: 'straße.test',
      'only decoded': 'straße.test',
      'not encodable': 'EAI_IDN_ENCODE',
      asked: Array.from({ length: 3 }, () => 'A xn--strae-oqa.test'),
    })
  })

  it('asks no server with AI_NUMERICHOST', async (test) => {
    const found = await evaluate(test, {
      name: resolved('both.test', 'addr.AI_NUMERICHOST'),
      asked: '[...server.asked]',
      address: resolved('192.0.2.1', 'addr.AI_NUMERICHOST'),
      'name, plain': resolved('both.test', '0'),
    })
    expect(found).toMatchObject({ name: 'EAI_NONAME', asked: [], address: ['192.0.2.1'] })
    expect(found['name, plain']).toHaveLength(2)
  })

  it('keeps the scope of a link', async (test) => {
    const found = await evaluate(
      test,
      { scope: `codeOf(resolve('fe80::1%eth0')).then(([{ scope }]) => scope - addr.ifindexOf('eth0'))` },
      ['link add eth0 type veth peer name eth1'],
    )
    expect(found).toEqual({ scope: 0 })
  })

  it('distinguishes failures', async (test) => {
    const failures = ['unknown.test', 'none.test', 'broken.test', 'refused.test']
    const found = await evaluate(test, Object.fromEntries(failures.map((name) => [name, resolved(name, '0')])))
    expect(found).toEqual({
      'unknown.test': 'EAI_NONAME',
      'none.test': 'EAI_NODATA',
      'broken.test': 'EAI_AGAIN',
      'refused.test': 'EAI_AGAIN',
    })
  })
})

describe('reverse', () => {
  const reversed = (address: string, flags: string) =>
    `codeOf(reverse({ family: '${address.includes(':') ? 'ipv6' : 'ipv4'}', address: '${address}', port: 512 }, ${flags}))
      .then((found) => found.host ?? found)`

  it('asks a server', async (test) => {
    const found = await evaluate(test, { v4: reversed('192.0.2.1', '0'), v6: reversed('2001:db8::1', '0') })
    expect(found).toEqual({ v4: 'both.test', v6: 'six.test' })
  })

  it('asks none with NI_NUMERICHOST', async (test) => {
    const found = await evaluate(test, { host: reversed('192.0.2.1', 'addr.NI_NUMERICHOST'), asked: 'server.asked' })
    expect(found).toEqual({ host: '192.0.2.1', asked: [] })
  })

  it('heeds NI_NAMEREQD', async (test) => {
    const found = await evaluate(test, {
      plain: reversed('203.0.113.1', '0'),
      required: reversed('203.0.113.1', 'addr.NI_NAMEREQD'),
      'has one': reversed('192.0.2.1', 'addr.NI_NAMEREQD'),
      broken: reversed('192.0.2.9', 'addr.NI_NAMEREQD'),
    })
    expect(found).toEqual({
      plain: '203.0.113.1',
      required: 'EAI_NONAME',
      'has one': 'both.test',
      broken: 'EAI_AGAIN',
    })
  })

  it('heeds NI_NOFQDN', async (test) => {
    const found = await evaluate(test, {
      plain: reversed('192.0.2.10', '0'),
      short: reversed('192.0.2.10', 'addr.NI_NOFQDN'),
      'of another domain': reversed('192.0.2.1', 'addr.NI_NOFQDN'),
    })
    expect(found).toEqual({ plain: 'host.example.test', short: 'host', 'of another domain': 'both.test' })
  })

  it('heeds NI_IDN', async (test) => {
    const found = await evaluate(test, {
      plain: reversed('192.0.2.2', '0'),
      decoded: reversed('192.0.2.2', 'addr.NI_IDN'),
    })
    test.skip(found.decoded === 'EAI_IDN_ENCODE', 'libidn2 is not installed')
    expect(found).toEqual({ plain: 'xn--strae-oqa.test', decoded: 'straße.test' })
  })

  it('reports the system’s error', async (test) => {
    const found = await runAlone(
      test,
      `import { setResourceLimit } from '@linux-sockets/native-core'
      import { openSync } from 'node:fs'
      // The C library then can't read its configuration. It uses what it has read before, and fails with EAI_AGAIN.
      setResourceLimit({ soft: 64 })
      try { for (;;) openSync('/dev/null') } catch {}
      const { code, errno, cause } = await reverse({ family: 'ipv4', address: '192.0.2.1', port: 1 }, addr.NI_NAMEREQD).catch((error) => error)
      console.log(JSON.stringify({ code, errno, cause: cause.code }))`,
    )
    expect(found).toEqual({ code: 'EAI_SYSTEM', errno: -24, cause: 'EMFILE' })
  })
})
