import { errno } from '@linux-sockets/native-core'
import { expectHeaderNumbers, guardDescriptors, needCompiler, skipUnless } from '@linux-sockets/testkit'
import { describe, expect, it } from 'vitest'
import { AddressInfoError, eai } from '../src/index.js'

guardDescriptors()

describe('eai', () => {
  it('has the numbers of <netdb.h>', (test) => {
    skipUnless(test, needCompiler())
    expect(expectHeaderNumbers(['netdb.h'], Object.entries(eai))).toEqual([])
  })
})

describe('AddressInfoError', () => {
  it('names the error, the call and what was looked up', () => {
    const error = new AddressInfoError(-2, 0, 'getaddrinfo', 'nowhere.invalid:80')
    expect(error).toMatchObject({ name: 'AddressInfoError', code: 'EAI_NONAME', eai: -2, syscall: 'getaddrinfo' })
    expect(error.message).toBe('getaddrinfo EAI_NONAME nowhere.invalid:80: name or service not known')
    expect(error.cause).toBeUndefined()
    expect(error.errno).toBeUndefined()
  })

  it('carries the system error behind EAI_SYSTEM', () => {
    const error = new AddressInfoError(eai.EAI_SYSTEM, errno.EMFILE, 'getaddrinfo', 'localhost:null')
    expect(error).toMatchObject({ code: 'EAI_SYSTEM', errno: -errno.EMFILE })
    expect(error.cause).toMatchObject({ code: 'EMFILE', errno: -errno.EMFILE, syscall: 'getaddrinfo' })
    expect(error.message).toContain('EMFILE')
  })

  it('keeps a number that it has no name for', () => {
    expect(new AddressInfoError(-77, 0, 'getnameinfo', '127.0.0.1:1')).toMatchObject({ code: 'EAI_77', eai: -77 })
  })
})
