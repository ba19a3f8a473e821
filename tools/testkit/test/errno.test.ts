import { openSync } from 'node:fs'
import { open } from 'node:fs/promises'
import { expect, it } from 'vitest'
import { expectErrno } from '../src/index.js'

it('returns the error when it is the expected one', () => {
  expect(expectErrno(() => openSync('/nowhere', 'r'), 'ENOENT').syscall).toBe('open')
})

it('awaits a promise', async () => {
  expect((await expectErrno(() => open('/nowhere'), 'ENOENT')).syscall).toBe('open')
})

it('fails when nothing is thrown', async () => {
  expect(() => expectErrno(() => 1, 'EBADF')).toThrow('nothing was thrown')
  await expect(expectErrno(async () => 1, 'EBADF')).rejects.toThrow('fulfilled')
})

it('lets any other error through', () => {
  expect(() => expectErrno(() => openSync('/nowhere', 'r'), 'EINVAL')).toThrow('ENOENT')
})

it('requires errno and syscall as well', () => {
  const incomplete = Object.assign(new Error('half'), { code: 'EBADF' })
  expect(() =>
    expectErrno(() => {
      throw incomplete
    }, 'EBADF'),
  ).toThrow('to match object')
})
