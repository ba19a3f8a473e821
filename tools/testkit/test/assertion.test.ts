import { describe, expect, it } from 'vitest'
import { checkAgainstHeaders, needCompiler, skipUnless } from '../src/index.js'

describe('checkAgainstHeaders', () => {
  it('knows macros, enumerators and large numbers', (test) => {
    skipUnless(test, needCompiler())
    const entries = [
      { name: 'SOL_SOCKET', value: 1 },
      { name: 'IPPROTO_UDP', value: 17 },
      { name: 'EPOLLET', value: 0x8000_0000 },
      { name: 'RLIM_INFINITY', value: 2n ** 64n - 1n },
      { name: 'SKF_AD_OFF', value: -0x1000 },
    ]
    const includes = ['sys/socket.h', 'netinet/in.h', 'sys/epoll.h', 'sys/resource.h', 'linux/filter.h']
    expect(checkAgainstHeaders(includes, entries)).toEqual({ known: entries.map(({ name }) => name), unknown: [] })
  })

  it('fails for a wrong number, and names all that are', (test) => {
    skipUnless(test, needCompiler())
    const check = () =>
      checkAgainstHeaders(
        ['sys/socket.h'],
        [
          { name: 'SOL_SOCKET', value: 1 },
          { name: 'SO_TYPE', value: 4 },
          { name: 'SO_ERROR', value: 3 },
        ],
      )
    expect(check).toThrow('wrong against the headers: SO_TYPE is not 4, SO_ERROR is not 3')
  })

  it('returns what the headers don’t know, and still sees what is wrong after it', (test) => {
    skipUnless(test, needCompiler())
    const unknown = { name: 'SO_OF_THE_FUTURE', value: 1000 }
    expect(checkAgainstHeaders(['sys/socket.h'], [unknown])).toEqual({ known: [], unknown: ['SO_OF_THE_FUTURE'] })
    expect(() => checkAgainstHeaders(['sys/socket.h'], [unknown, { name: 'SO_TYPE', value: 4 }])).toThrow('SO_TYPE')
  })

  it('fails where it can’t tell', (test) => {
    skipUnless(test, needCompiler())
    expect(() => checkAgainstHeaders(['no/such/header.h'], [{ name: 'SOL_SOCKET', value: 1 }])).toThrow('No such file')
    expect(() => checkAgainstHeaders([], [{ name: 'SOL_SOCKET;', value: 1 }])).toThrow(TypeError)
  })
})
