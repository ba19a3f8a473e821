import { closeSync, openSync } from 'node:fs'
import { createServer, type Server } from 'node:net'
import { expect, it, onTestFinished } from 'vitest'
import { expectCloexec, expectNonBlocking, guardDescriptors, openDescriptors } from '../src/index.js'

guardDescriptors()

it('lists the open descriptors', () => {
  const fd = openSync('/dev/null', 'r')
  expect(openDescriptors()).toContainEqual({ fd, target: '/dev/null' })
  closeSync(fd)
  expect(openDescriptors()).not.toContainEqual({ fd, target: '/dev/null' })
})

it('waits for the runtime to close a released descriptor', () => {
  createServer().listen(0, '127.0.0.1').close()
})

it('runs after the callbacks that the test itself registered', () => {
  const fd = openSync('/dev/null', 'r')
  onTestFinished(() => closeSync(fd))
})

let leaked = -1

it.fails('notices a leak', () => {
  leaked = openSync('/dev/null', 'r')
})

it.fails('notices that a descriptor of another owner was closed', () => {
  closeSync(leaked)
})

it('sees the close-on-exec flag that Node sets on its descriptors', () => {
  const fd = openSync('/dev/null', 'r')
  onTestFinished(() => closeSync(fd))
  expectCloexec(fd)
})

it('knows whether a descriptor blocks', async () => {
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  onTestFinished(() => void server.close())
  const fd = (server as Server & { _handle: { fd: number } })._handle.fd
  expectNonBlocking({ fd })
  expectCloexec({ fd })
  expect(() => expectNonBlocking(openDescriptors().find(({ target }) => target === '/dev/null')?.fd ?? 0)).toThrow(
    'O_NONBLOCK',
  )
})
