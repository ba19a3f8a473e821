import { resolve } from 'node:path'
import { controlMessage, getOption, readable, type Socket, setOption } from '@linux-sockets/native-core'
import { SOCK_STREAM } from '@linux-sockets/native-core/constants'
import { SO_PASSCRED } from '@linux-sockets/native-core/options'
import {
  expectErrno,
  expectHeaderNumbers,
  guardDescriptors,
  needCompiler,
  needRoot,
  skipUnless,
  spawnProgram,
} from '@linux-sockets/testkit'
import { describe, expect, it } from 'vitest'
import {
  listen,
  peerCredentials,
  receiveDescriptors,
  SCM_CREDENTIALS,
  sendDescriptors,
  unixPair,
} from '../src/index.js'

guardDescriptors()

const own = { pid: process.pid, uid: process.getuid?.() ?? -1, gid: process.getgid?.() ?? -1 }

describe('peerCredentials', () => {
  it('are those of this process on a pair', () => {
    const [a, b] = unixPair()
    expect(peerCredentials(a)).toEqual(own)
    expect(peerCredentials(b)).toEqual(own)
    a.close()
    b.close()
    expectErrno(() => peerCredentials(a), 'EBADF')
  })

  it('are those of the process that connected', async () => {
    await using server = listen({ family: 'unix' })
    const { abstract } = server.address as { abstract: string }
    const script = `
import socket, sys
s = socket.socket(socket.AF_UNIX)
s.connect('\\0' + sys.argv[1])
s.recv(1)`
    const program = spawnProgram('python3', ['-c', script, abstract])
    for await (const stream of server) {
      expect(peerCredentials(stream)).toEqual({ ...own, pid: program.process.pid })
      stream.resume().end()
      break
    }
    expect(await program.finished).toMatchObject({ code: 0, stderr: '' })
  })
})

describe('SCM_CREDENTIALS', () => {
  it('names the process that sent a message, together with its descriptors', async () => {
    const [mine, theirs] = unixPair()
    setOption(mine, SO_PASSCRED, true)
    expect(getOption(mine, SO_PASSCRED)).toBe(true)
    const script = `
import os, socket
s = socket.socket(fileno=3)
socket.send_fds(s, [b'hello'], [1])`
    const program = spawnProgram('python3', ['-c', script], {
      stdio: ['pipe', 'pipe', 'pipe', theirs.fd],
      cwd: resolve(import.meta.dirname, '..'),
    })
    theirs.close()
    const message = await receive(mine, 1)
    expect(message.credentials).toEqual({ ...own, pid: program.process.pid })
    expect(message.descriptors).toHaveLength(1)
    for (const descriptor of message.descriptors) descriptor.close()
    mine.close()
    expect(await program.finished).toMatchObject({ code: 0, stderr: '' })
  })

  it('can be sent, and those of other processes only with privilege', async (test) => {
    skipUnless(test, needRoot())
    const [a, b] = unixPair()
    setOption(b, SO_PASSCRED, true)
    const sent = { pid: own.pid, uid: 12, gid: 34 }
    a.sendMessage({ data: Buffer.from('x'), control: [controlMessage(SCM_CREDENTIALS, sent)] })
    expect((await receive(b)).credentials).toEqual(sent)
    const unused = { ...sent, pid: 0x7fff_fffe }
    expectErrno(
      () => a.sendMessage({ data: Buffer.from('x'), control: [controlMessage(SCM_CREDENTIALS, unused)] }),
      'ESRCH',
    )
    a.close()
    b.close()
  })

  it('is absent without SO_PASSCRED', async () => {
    const [a, b] = unixPair(SOCK_STREAM)
    sendDescriptors(a, [])
    expect((await receive(b)).credentials).toBeUndefined()
    a.close()
    b.close()
  })

  it('has the number of <sys/socket.h>', (test) => {
    skipUnless(test, needCompiler())
    const { type, size } = SCM_CREDENTIALS
    const numbers = [['SCM_CREDENTIALS', type] as const, ['sizeof(struct ucred)', size] as const]
    expect(expectHeaderNumbers(['sys/socket.h'], numbers)).toEqual([])
  })
})

async function receive(socket: Socket, max?: number) {
  await readable(socket)
  return receiveDescriptors(socket, { max }) ?? expect.fail('there was no message')
}
