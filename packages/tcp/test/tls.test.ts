import { createHash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { buffer } from 'node:stream/consumers'
import tls from 'node:tls'
import type { SocketStream } from '@linux-sockets/native-core'
import { guardDescriptors, needProgram, runProgram, skipUnless, temporaryDirectory } from '@linux-sockets/testkit'
import { expect, it, onTestFinished } from 'vitest'
import { connect, listen } from '../src/index.js'
import { anyPort } from './loopback.js'

guardDescriptors()

// TLS says itself when each way has ended.
const stream = { allowHalfOpen: true }

it('carries a large transfer both ways, with name, CA and ALPN verified', async (test) => {
  skipUnless(test, needProgram('openssl'))
  const pair = await certificate()
  const data = randomBytes(4 * 1024 * 1024 + 1)
  const client = await converse(pair, { ca: pair.cert, servername: 'localhost', ALPNProtocols: ['echo'] })
  await once(client, 'secureConnect')
  expect([client.authorized, client.alpnProtocol]).toEqual([true, 'echo'])
  client.end(data)
  expect(sha256(await buffer(client))).toBe(sha256(data))
})

it.for([
  ['a wrong name', { servername: 'example.org' }, 'ERR_TLS_CERT_ALTNAME_INVALID'],
  ['an unknown CA', { ca: [] }, 'DEPTH_ZERO_SELF_SIGNED_CERT'],
  ['a wrong ALPN', { ALPNProtocols: ['other'] }, 'ERR_SSL_TLSV1_ALERT_NO_APPLICATION_PROTOCOL'],
] as const)('refuses %s', async ([_name, wrong, code], test) => {
  skipUnless(test, needProgram('openssl'))
  const pair = await certificate()
  const right = { ca: pair.cert, servername: 'localhost', ALPNProtocols: ['echo'] }
  const client = await converse(pair, { ...right, ...wrong } as tls.ConnectionOptions)
  const failure = new Promise((resolve) => client.once('error', resolve))
  const secure = once(client, 'secureConnect').then(
    () => 'secure',
    () => failure,
  )
  expect(await Promise.race([failure, secure])).toMatchObject({ code: expect.stringContaining(code) })
})

/** A client over our `connect`, of a TLS echo over our `listen`. All is closed when the test ends. */
async function converse(pair: { key: Buffer; cert: Buffer }, options: tls.ConnectionOptions): Promise<tls.TLSSocket> {
  const server = tls.createServer({ ...pair, ALPNProtocols: ['echo'] }, (socket) => socket.pipe(socket))
  const listener = listen(anyPort, { stream })
  const streams: SocketStream[] = []
  listener.run((accepted) => {
    streams.push(accepted)
    server.emit('connection', accepted)
  })
  server.on('tlsClientError', () => {})
  const connected = await connect(listener.address, { stream })
  onTestFinished(() => {
    listener.close()
    for (const each of [...streams, connected]) each.on('error', () => {}).destroy()
  })
  return tls.connect({ socket: connected, ...options })
}

async function certificate(): Promise<{ key: Buffer; cert: Buffer }> {
  const directory = temporaryDirectory()
  const [key, cert] = [join(directory, 'key.pem'), join(directory, 'cert.pem')]
  await runProgram('openssl', [
    ...['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2'],
    ...['-subj', '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost', '-keyout', key, '-out', cert],
  ])
  return { key: readFileSync(key), cert: readFileSync(cert) }
}

function sha256(data: Uint8Array): string {
  return createHash('sha256').update(data).digest('hex')
}
