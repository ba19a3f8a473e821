import { describe, expect, it } from 'vitest'
import { check, fail } from '../src/error.js'
import { SystemError } from '../src/index.js'
import { BAD_ARGUMENT_KINDS, MAX_ERRNO } from '../src/native.js'

describe('SystemError', () => {
  it('has Node’s shape', () => {
    const error = new SystemError(111, 'connect', '192.0.2.1:80')
    expect(error).toBeInstanceOf(Error)
    expect(error).toMatchObject({
      name: 'SystemError',
      code: 'ECONNREFUSED',
      errno: -111,
      syscall: 'connect',
      detail: '192.0.2.1:80',
      message: 'connect ECONNREFUSED 192.0.2.1:80: connection refused',
    })
    expect(error.stack).toContain('error.test')
  })

  it('accepts a negative number too, and has no detail unless given', () => {
    const error = new SystemError(-9, 'close')
    expect(error).toMatchObject({ code: 'EBADF', errno: -9, message: 'close EBADF: bad file descriptor' })
    expect('detail' in error).toBe(false)
  })

  it('names a number that Linux does not use', () => {
    expect(new SystemError(524, 'bind')).toMatchObject({
      code: 'E524',
      errno: -524,
      message: 'bind E524: unknown error',
    })
  })
})

describe('check, fail', () => {
  it('pass on a result that is no failure', () => {
    for (const result of [0, 1, 2 ** 31 - 1]) expect(check(result, 'recv')).toBe(result)
  })

  it('throw the kernel’s error', () => {
    expect(() => check(-11, 'recv')).toThrow(expect.objectContaining({ code: 'EAGAIN', syscall: 'recv' }))
    expect(() => check(-MAX_ERRNO, 'recv')).toThrow(expect.objectContaining({ code: 'E4095' }))
    expect(fail(-1, 'bind', 'somewhere')).toMatchObject({ code: 'EPERM', detail: 'somewhere' })
  })

  it.each(BAD_ARGUMENT_KINDS.map((kind, number) => [kind, number] as const))(
    'name an argument that is not %s',
    (kind, number) => {
      for (const position of [0, 1, 7]) {
        const error = fail(-(MAX_ERRNO + 1 + 8 * position + number), 'sendfile')
        expect(error.message).toBe(`sendfile: argument ${position + 1} must be ${kind}`)
        expect(error.constructor).toBe(kind === 'within the buffer' ? RangeError : TypeError)
        // If the argument has a name for callers, the error has that name.
        const named = fail(-(MAX_ERRNO + 1 + 8 * position + number), 'sendto')
        const name = { 0: 'socket', 1: 'data' }[position] ?? 'sendto: argument 8'
        expect(named.message).toBe(`${name} must be ${kind}`)
      }
    },
  )
})
