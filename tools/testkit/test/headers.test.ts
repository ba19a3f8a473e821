import { describe, expect, it } from 'vitest'
import { expectHeaderNumbers, headerMacros, needCompiler, numbersOf, skipUnless } from '../src/index.js'

describe('expectHeaderNumbers', () => {
  it('knows macros, enumerators, expressions and large numbers', (test) => {
    skipUnless(test, needCompiler())
    const headers = ['sys/socket.h', 'netinet/in.h', 'sys/epoll.h', 'sys/resource.h', 'linux/filter.h']
    const unknown = expectHeaderNumbers(headers, [
      ['SOL_SOCKET', 1],
      ['IPPROTO_UDP', 17],
      ['EPOLLET', 0x8000_0000],
      ['RLIM_INFINITY', 2n ** 64n - 1n],
      ['SKF_AD_OFF', -0x1000],
      ['sizeof(struct in_pktinfo)', 12],
      ['offsetof(struct in_pktinfo, ipi_addr)', 8],
    ])
    expect(unknown).toEqual([])
  })

  it('fails for a wrong number, and names all wrong ones', (test) => {
    skipUnless(test, needCompiler())
    const check = () =>
      expectHeaderNumbers(
        ['sys/socket.h'],
        [
          ['SOL_SOCKET', 1],
          ['SO_TYPE', 4],
          ['sizeof(struct ucred)', 12],
          ['sizeof(struct msghdr)', 12],
        ],
      )
    expect(check).toThrow('wrong against the headers: SO_TYPE is not 4, sizeof(struct msghdr) is not 12')
  })

  it('returns the names that the headers don’t define, and still sees wrong numbers after them', (test) => {
    skipUnless(test, needCompiler())
    const unknown = ['SO_OF_THE_FUTURE', 1000] as const
    expect(expectHeaderNumbers(['sys/socket.h'], [unknown])).toEqual(['SO_OF_THE_FUTURE'])
    expect(() => expectHeaderNumbers(['sys/socket.h'], [unknown, ['SO_TYPE', 4]])).toThrow('SO_TYPE is not 4')
  })

  it('fails where it can’t check', (test) => {
    skipUnless(test, needCompiler())
    expect(() => expectHeaderNumbers(['no/such/header.h'], [['SOL_SOCKET', 1]])).toThrow('No such file')
    expect(() => expectHeaderNumbers([], [['sizeof(struct of_the_future)', 1]])).toThrow('of_the_future')
    expect(() => expectHeaderNumbers([], [['SOL_SOCKET;', 1]])).toThrow(TypeError)
  })
})

it('numbersOf picks the numbers among the exports of a module', () => {
  const module = { AF_INET: 2, AF_NAME: 'inet', MASK: 2n ** 63n, open() {} }
  expect(numbersOf(module)).toEqual([
    ['AF_INET', 2],
    ['MASK', 2n ** 63n],
  ])
  expect(numbersOf(module, /^AF_/)).toEqual([['AF_INET', 2]])
})

it('headerMacros lists what a header defines with a value', (test) => {
  skipUnless(test, needCompiler())
  const macros = headerMacros(['linux/tcp.h'])
  expect(macros).toEqual(expect.arrayContaining(['TCP_NODELAY', 'TCP_ULP']))
  expect(macros).not.toContain('_LINUX_TCP_H')
  expect(() => headerMacros(['linux/no-such-header.h'])).toThrow('no-such-header')
})
