import { expect } from 'vitest'

/** An error with the properties of Node's own errors from system calls. */
export interface SystemErrorLike extends Error {
  readonly code: string
  readonly errno: number
  readonly syscall: string
}

/**
 * Fails unless `action` throws an error, or its promise rejects with an error, that has this `code` as well as `errno` and
 * `syscall`. Returns that error.
 */
export function expectErrno(action: () => Promise<unknown>, code: string): Promise<SystemErrorLike>
export function expectErrno(action: () => unknown, code: string): SystemErrorLike
export function expectErrno(action: () => unknown, code: string): SystemErrorLike | Promise<SystemErrorLike> {
  let result: unknown
  try {
    result = action()
  } catch (error) {
    return verify(error, code)
  }
  if (!(result instanceof Promise)) return expect.fail(`expected ${code}, but nothing was thrown`)
  return result.then(
    () => expect.fail(`expected ${code}, but the promise was fulfilled`),
    (error: unknown) => verify(error, code),
  )
}

function verify(error: unknown, code: string): SystemErrorLike {
  if (!(error instanceof Error) || (error as Partial<SystemErrorLike>).code !== code) throw error
  expect(error).toMatchObject({ code, errno: expect.any(Number), syscall: expect.any(String) })
  return error as SystemErrorLike
}
