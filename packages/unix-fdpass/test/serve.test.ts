import { once } from 'node:events'
import { rmSync } from 'node:fs'
import http from 'node:http'
import http2 from 'node:http2'
import https from 'node:https'
import net from 'node:net'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import tls from 'node:tls'
import {
  guardDescriptors,
  needProgram,
  runProgram,
  runPython,
  skipUnless,
  temporaryCertificate,
  temporaryDirectory,
} from '@linux-sockets/testkit'
import { expect, it } from 'vitest'
import { connect, listen, peerCredentials, serve } from '../src/index.js'

guardDescriptors()

it('shows a Node server the same as its own sockets', async () => {
  const play = async (start: (server: net.Server, path: string) => unknown) => {
    const server = net.createServer()
    server.maxConnections = 1
    const path = join(temporaryDirectory(), 'server.sock')
    start(server, path)
    if (!server.listening) await once(server, 'listening')
    const seen: unknown[] = [server.address() === path, server.listening]
    const met = once(server, 'connection')
    const peer = net.connect(path)
    const [socket] = (await met) as [net.Socket]
    seen.push(socket.remoteAddress, socket.remotePort, socket.remoteFamily, socket.localAddress, socket.address())
    const dropped = once(server, 'drop')
    const another = net.connect(path).resume()
    seen.push((await dropped)[0])
    await once(another, 'close')
    peer.destroy()
    socket.destroy()
    await close(server)
    rmSync(path, { force: true })
    return seen
  }
  const ours = await play((server, path) => serve(listen(path), server))
  expect(ours).toEqual(await play((server, path) => server.listen(path)))
  expect(ours).toEqual([true, true, undefined, undefined, undefined, undefined, {}, undefined])
})

it('reports an abstract name as node:net does', async () => {
  const abstract = `serve-${process.hrtime.bigint()}`
  const server = serve(
    listen({ family: 'unix', abstract }),
    net.createServer((socket) => socket.end('hello')),
  )
  expect(server.address()).toBe(`\0${abstract}`)
  expect(await text(await connect({ family: 'unix', abstract }))).toBe('hello')
  await close(server)
})

it.for([
  ['http', []],
  ['http', ['--http2-prior-knowledge']],
  ['https', []],
  ['https', ['--http2']],
] as const)('serves curl by %s %j', async ([scheme, flags], test) => {
  skipUnless(test, needProgram('curl'), needProgram('openssl'))
  const pair = await temporaryCertificate()
  const answer = (request: http.IncomingMessage, response: http.ServerResponse) => {
    response.end(`${request.httpVersion} ${request.socket.remoteAddress}`)
  }
  const makers = {
    http: () => http.createServer(answer),
    'http --http2-prior-knowledge': () => http2.createServer(answer as never),
    https: () => https.createServer(pair, answer),
    'https --http2': () => http2.createSecureServer(pair, answer as never),
  }
  const path = join(temporaryDirectory(), 'server.sock')
  const server = makers[[scheme, ...flags].join(' ') as keyof typeof makers]()
  serve(listen(path), server)
  const asked = [
    '-sS',
    '--noproxy',
    '*',
    '--cacert',
    pair.certFile,
    '--unix-socket',
    path,
    ...flags,
    `${scheme}://localhost/`,
  ]
  expect(await runProgram('curl', asked)).toBe(`${flags.length > 0 ? '2.0' : '1.1'} undefined`)
  await close(server)
})

it('serves Python’s ssl, knows its process, and drops it if it disconnects during the handshake', async (test) => {
  skipUnless(test, needProgram('python3'), needProgram('openssl'))
  const pair = await temporaryCertificate()
  const path = join(temporaryDirectory(), 'server.sock')
  // The client closes without a word. Node.js has a listener for the errors itself since 20.20.
  const server = tls.createServer(pair, (socket) => socket.on('error', () => {}).end('hello'))
  const processes = new Set<number>()
  server.on('connection', (stream) => processes.add(peerCredentials(stream as never).pid))
  const failed = once(server, 'tlsClientError')
  serve(listen(path), server)
  const script = `
import os, socket, ssl, sys
context = ssl.create_default_context(cafile=sys.argv[2])
with socket.socket(socket.AF_UNIX) as raw:
    raw.connect(sys.argv[1])
    with context.wrap_socket(raw, server_hostname='localhost') as secure: print(secure.recv(100).decode())
with socket.socket(socket.AF_UNIX) as raw:
    raw.connect(sys.argv[1])
    raw.sendall(bytes([22, 3, 1, 2, 0]))
    raw.shutdown(socket.SHUT_WR)
    print(raw.recv(1), os.getpid())`
  const said = await runPython(script, path, pair.certFile)
  expect(said).toBe(`hello\nb'' ${[...processes]}\n`)
  expect((await failed)[0]).toMatchObject({ code: 'ECONNRESET' })
  await close(server)
})

it('ends its connections under a TLS client as node:tls asks', async (test) => {
  skipUnless(test, needProgram('openssl'))
  const { key, cert } = await temporaryCertificate()
  const path = join(temporaryDirectory(), 'server.sock')
  const server = serve(
    listen(path),
    tls.createServer({ key, cert }, (socket) => socket.pipe(socket)),
  )
  const client = tls.connect({ socket: await connect(path), ca: cert, servername: 'localhost' })
  client.end('over and back')
  expect(await text(client)).toBe('over and back')
  await close(server)
})

async function close(server: net.Server): Promise<void> {
  await new Promise((resolve) => server.close(resolve))
}
