import { getOption, ioctl, readable, Socket, setOption, watch } from '@linux-sockets/native-core'
import { AF_INET, EPOLLPRI, MSG_OOB, SIOCATMARK, SOCK_STREAM } from '@linux-sockets/native-core/constants'
import { SO_OOBINLINE } from '@linux-sockets/native-core/options'
import {
  expectErrno,
  guardDescriptors,
  needProgram,
  type Program,
  skipUnless,
  spawnProgram,
} from '@linux-sockets/testkit'
import { describe, expect, it, onTestFinished, type TestContext } from 'vitest'
import { anyPort } from './loopback.js'

guardDescriptors()

describe('urgent data that Python sends', () => {
  const send = `
peer.send(b'before')
peer.send(b'!', socket.MSG_OOB)
peer.send(b'after')
`

  it('are received apart from the others', async (test) => {
    const { socket } = await connectPython(test, send)
    await urgent(socket)
    expect(getOption(socket, SO_OOBINLINE)).toBe(false)
    expect(receive(socket, 10, MSG_OOB)).toBe('!')
    expectErrno(() => receive(socket, 10, MSG_OOB), 'EINVAL')
    expect([ioctl(socket, SIOCATMARK), receive(socket, 10)]).toEqual([0, 'before'])
    expect(ioctl(socket, SIOCATMARK)).toBe(1)
    expect(await receiveAll(socket, 5)).toBe('after')
    expect(ioctl(socket, SIOCATMARK)).toBe(0)
  })

  it('are received in order with SO_OOBINLINE', async (test) => {
    const { socket } = await connectPython(test, send, (listener) => setOption(listener, SO_OOBINLINE, true))
    await urgent(socket)
    expect(getOption(socket, SO_OOBINLINE)).toBe(true)
    expectErrno(() => receive(socket, 10, MSG_OOB), 'EINVAL')
    expect([ioctl(socket, SIOCATMARK), receive(socket, 10)]).toEqual([0, 'before'])
    expect(ioctl(socket, SIOCATMARK)).toBe(1)
    expect(await receiveAll(socket, 6)).toBe('!after')
    expect(ioctl(socket, SIOCATMARK)).toBe(0)
  })
})

describe('urgent data that Python receives', () => {
  it.for([
    { inline: false, said: ["b'before'", 'mark 1', "b'after'", "urgent b'!'"] },
    { inline: true, said: ["b'before'", 'mark 1', "b'!after'", 'urgent none'] },
  ])('are where its SO_OOBINLINE, $inline, wants them', async ({ inline, said }, test) => {
    const { socket, program } = await connectPython(
      test,
      `
import fcntl, select
peer.setsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE, ${Number(inline)})
peer.send(b'ready')
poll = select.poll()
poll.register(peer, select.POLLPRI)
poll.poll()
try:
    urgent = peer.recv(10, socket.MSG_OOB)
except OSError:
    urgent = 'none'
print(peer.recv(10))
print('mark', int.from_bytes(fcntl.ioctl(peer, 0x8905, bytes(4)), 'little'))
print(peer.recv(${5 + Number(inline)}, socket.MSG_WAITALL))
print('urgent', urgent)
`,
    )
    await receiveAll(socket, 5)
    socket.send(Buffer.from('before'))
    socket.send(Buffer.from('!'), MSG_OOB)
    socket.send(Buffer.from('after'))
    const { stdout, stderr } = await program.finished
    expect(stdout.trim().split('\n'), stderr).toEqual(said)
  })
})

/** A Python program that has the connection to `socket` as its `peer`. */
async function connectPython(
  test: TestContext,
  script: string,
  prepare: (listener: Socket) => void = () => {},
): Promise<{ socket: Socket; program: Program }> {
  skipUnless(test, needProgram('python3'))
  using listener = Socket.open(AF_INET, SOCK_STREAM)
  prepare(listener)
  listener.bind(anyPort)
  listener.listen()
  const { port } = listener.localName as typeof anyPort
  const connect = `import socket\npeer = socket.create_connection(('127.0.0.1', ${port}))\n`
  const program = spawnProgram('python3', ['-u', '-c', connect + script])
  await readable(listener)
  const socket = listener.accept() as Socket
  onTestFinished(() => socket.close())
  return { socket, program }
}

async function urgent(socket: Socket): Promise<void> {
  await new Promise<void>((resolve) => {
    const watching = watch(socket, EPOLLPRI, () => {
      watching.stop()
      resolve()
    })
  })
}

function receive(socket: Socket, length: number, flags = 0): string {
  const buffer = Buffer.alloc(length)
  return buffer.toString('latin1', 0, socket.recv(buffer, flags) ?? 0)
}

async function receiveAll(socket: Socket, length: number): Promise<string> {
  let text = ''
  while (text.length < length) {
    await readable(socket)
    text += receive(socket, length - text.length)
  }
  return text
}
