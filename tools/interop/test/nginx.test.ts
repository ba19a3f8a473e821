import { createHash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import http from 'node:http'
import { join } from 'node:path'
import { buffer } from 'node:stream/consumers'
import tls from 'node:tls'
import {
  guardDescriptors,
  needProgram,
  skipUnless,
  temporaryCertificate,
  temporaryDirectory,
} from '@linux-sockets/testkit'
import { expect, it } from 'vitest'
import { needNginx, startNginx } from '../src/daemon.js'
import { agentTo, connectTo, listenFor } from '../src/listening.js'

guardDescriptors()

const LARGE = 8 * 1024 * 1024 + 1

it('nginx passes requests to our server over connections that it keeps open', async (test) => {
  skipUnless(test, needNginx())
  // nginx stops sending a request once the response has begun.
  const server = http.createServer(async (request, response) => response.end(await buffer(request)))
  const { port, listener } = listenFor(server)
  const upstream = `upstream ours { server 127.0.0.1:${port}; keepalive 4; }`
  const proxy = 'proxy_pass http://ours; proxy_http_version 1.1; proxy_set_header Connection "";'
  const agent = agentTo(await startNginx(`location / { ${proxy} }`, upstream))
  for (const size of [0, 1, 65_536, LARGE]) {
    const data = randomBytes(size)
    expect(await ask(agent, { method: 'POST' }, data)).toBe(sha256(data))
  }
  expect(listener.statistics.accepted).toBe(1)
})

it('nginx breaks off a response when our server breaks it off', async (test) => {
  skipUnless(test, needNginx())
  const server = http.createServer((_request, response) => {
    response.writeHead(200, { 'content-length': 1000 })
    response.write('part', () => response.destroy())
  })
  const { port } = listenFor(server)
  const agent = agentTo(await startNginx(`location / { proxy_pass http://127.0.0.1:${port}; }`))
  await expect(ask(agent, {})).rejects.toMatchObject({ code: 'ECONNRESET' })
})

it('nginx serves a large file, whole and in ranges', async (test) => {
  skipUnless(test, needNginx())
  const directory = temporaryDirectory()
  const data = randomBytes(LARGE)
  writeFileSync(join(directory, 'file'), data)
  const agent = agentTo(await startNginx(`root ${directory}; sendfile on;`))
  expect(await ask(agent, { path: '/file' })).toBe(sha256(data))
  const headers = { range: 'bytes=1000000-1999999' }
  expect(await ask(agent, { path: '/file', headers })).toBe(sha256(data.subarray(1_000_000, 2_000_000)))
})

it('nginx serves over TLS', async (test) => {
  skipUnless(test, needNginx(), needProgram('openssl'))
  const { cert, certFile, keyFile } = await temporaryCertificate()
  const pair = `ssl_certificate ${certFile}; ssl_certificate_key ${keyFile}; ssl_protocols TLSv1.3;`
  const port = await startNginx(`${pair} location / { return 200 $ssl_protocol; }`, '', 'ssl')
  const socket = tls.connect({ socket: await connectTo(port), ca: cert, servername: 'localhost' })
  await once(socket, 'secureConnect')
  socket.write('GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n')
  expect(String(await buffer(socket))).toMatch(/^HTTP\/1\.1 200 .*\r\n\r\nTLSv1\.3$/s)
})

/** Sends a request, and returns the digest of the response's body. */
async function ask(agent: http.Agent, options: http.RequestOptions, body?: Buffer): Promise<string> {
  const request = http.request({ host: 'localhost', agent, ...options })
  request.end(body)
  const [response] = (await once(request, 'response')) as [http.IncomingMessage]
  return sha256(await buffer(response))
}

function sha256(data: Uint8Array): string {
  return createHash('sha256').update(data).digest('hex')
}
