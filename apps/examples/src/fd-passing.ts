/**
 * Passes a listening socket to another process, which answers a connection on it.
 *
 *     node dist/fd-passing.js
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { text } from 'node:stream/consumers'
import { fileURLToPath } from 'node:url'
import { type OwnedFd, readable, Socket } from '@linux-sockets/native-core'
import { AF_INET, SOCK_STREAM } from '@linux-sockets/native-core/constants'
import { SocketStream } from '@linux-sockets/native-core/streams'
import { connect } from '@linux-sockets/tcp'
import { receiveDescriptors, sendDescriptors, unixPair } from '@linux-sockets/unix-fdpass'

/** The number of the descriptor of the socket pair in the child process. */
const FD_OF_CHILD = 3

/** Passes a listening socket to a child process, connects to it, and returns a summary with the child's answer. */
export async function passListener(): Promise<string> {
  using listener = Socket.open(AF_INET, SOCK_STREAM)
  listener.bind({ family: 'ipv4', address: '127.0.0.1', port: 0 })
  listener.listen()
  const address = listener.localName

  const [mine, theirs] = unixPair()
  const child = spawn(process.execPath, [fileURLToPath(import.meta.url), 'child'], {
    stdio: ['ignore', 'inherit', 'inherit', theirs.fd],
  })
  const ended = once(child, 'close')
  theirs.close()
  sendDescriptors(mine, [listener], Buffer.from('answer on this'))
  mine.close()
  // From here on only the child can accept.
  listener.close()

  const answer = await text(await connect(address, { timeout: 10_000 }))
  const [code] = await ended
  if (code !== 0) throw new Error(`the child ended with ${code}`)
  if (answer !== `process ${child.pid}`) throw new Error(`the answer was ${JSON.stringify(answer)}`)
  return `opened by process ${process.pid}, answered by ${answer}`
}

async function answerOnce(): Promise<void> {
  using parent = Socket.adopt(FD_OF_CHILD)
  await readable(parent)
  const [descriptor] = receiveDescriptors(parent)?.descriptors ?? []
  using listener = Socket.from(descriptor as OwnedFd)
  await readable(listener)
  const stream = new SocketStream(listener.accept() as Socket)
  stream.end(`process ${process.pid}`)
  await once(stream.resume(), 'close')
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  if (process.argv[2] === 'child') await answerOnce()
  else console.log(await passListener())
}
