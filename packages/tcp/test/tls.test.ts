import { createHash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { createSecureServer, type Http2SecureServer } from 'node:http2'
import { buffer, text } from 'node:stream/consumers'
import tls from 'node:tls'
import type { SocketStream, SocketStreamOptions } from '@linux-sockets/native-core/streams'
import {
  type Certificate,
  guardDescriptors,
  needProgram,
  skipUnless,
  temporaryCertificate,
} from '@linux-sockets/testkit'
import { expect, it, onTestFinished } from 'vitest'
import { connect, listen, serve } from '../src/index.js'
import { anyPort } from './loopback.js'

guardDescriptors()

const LARGE = 32 * 1024 * 1024

it('carries a large transfer both ways, with name, CA and ALPN verified', async (test) => {
  skipUnless(test, needProgram('openssl'))
  const pair = await temporaryCertificate()
  const data = randomBytes(4 * 1024 * 1024 + 1)
  const { client } = await converse(echoOver(pair), trusting(pair))
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
  const pair = await temporaryCertificate()
  const { client } = await converse(echoOver(pair), { ...trusting(pair), ...wrong } as tls.ConnectionOptions)
  const failure = new Promise((resolve) => client.once('error', resolve))
  const secure = once(client, 'secureConnect').then(
    () => 'secure',
    () => failure,
  )
  expect(await Promise.race([failure, secure])).toMatchObject({ code: expect.stringContaining(code) })
})

it('refuses a missing ALPN where the protocol needs one', async (test) => {
  skipUnless(test, needProgram('openssl'))
  const pair = await temporaryCertificate()
  const unknown: unknown[] = []
  const server = createSecureServer(pair).on('unknownProtocol', (socket: tls.TLSSocket) => {
    unknown.push(socket.alpnProtocol)
    socket.end('no h2')
  })
  const { client } = await converse(server, { ...trusting(pair), ALPNProtocols: undefined })
  expect(await text(client)).toBe('no h2')
  expect([client.alpnProtocol, ...unknown]).toEqual([false, false])
})

it.for(['client', 'server'] as const)('lets the %s end first while the other goes on', async (first, test) => {
  skipUnless(test, needProgram('openssl'))
  const pair = await temporaryCertificate()
  const server = tls.createServer({ ...pair, allowHalfOpen: true })
  const secure = once(server, 'secureConnection')
  const { client } = await converse(server, trusting(pair), { allowHalfOpen: true })
  const [accepted] = (await secure) as [tls.TLSSocket]
  const [early, late] = first === 'client' ? [client, accepted] : [accepted, client]
  const data = [randomBytes(1024 * 1024 + 1), randomBytes(1024 * 1024 + 2)] as const
  early.end(data[0])
  expect(sha256(await untilEnd(late))).toBe(sha256(data[0]))
  expect([early.readableEnded, late.writable]).toEqual([false, true])
  late.end(data[1])
  expect(sha256(await untilEnd(early))).toBe(sha256(data[1]))
})

it.for(['TLSv1.2', 'TLSv1.3'] as const)('resumes a session of %s', async (version, test) => {
  skipUnless(test, needProgram('openssl'))
  const pair = await temporaryCertificate()
  const server = echoOver(pair)
  const options: tls.ConnectionOptions = { ...trusting(pair), minVersion: version, maxVersion: version }
  const resumed: boolean[] = []
  let session: Buffer | undefined
  for (let round = 0; round < 2; round++) {
    const { client } = await converse(server, { ...options, session })
    client.on('session', (ticket) => {
      session = ticket
    })
    client.once('secureConnect', () => resumed.push(client.isSessionReused()))
    client.end('hello')
    expect(await text(client)).toBe('hello')
    await new Promise((resolve) => server.close(resolve))
  }
  expect(resumed).toEqual([false, true])
})

it.for(['the TLS socket', 'the stream under it'] as const)(
  'leaves nothing when %s is destroyed',
  async (what, test) => {
    skipUnless(test, needProgram('openssl'))
    const pair = await temporaryCertificate()
    const server = tls.createServer({ ...pair, ALPNProtocols: ['echo'] })
    const secure = once(server, 'secureConnection')
    const { client, connected, streams } = await converse(server, trusting(pair))
    const [accepted] = (await secure) as [tls.TLSSocket]
    accepted.on('error', () => {}).on('end', () => accepted.end())
    client.on('error', () => {})
    const everything = [client, connected, accepted, ...streams]
    const closed = everything.map((each) => new Promise((resolve) => each.once('close', resolve)))
    // More than all buffers hold: it can't be finished when the connection is cut off.
    const written = new Promise((resolve) => client.write(Buffer.alloc(LARGE), resolve))
    await once(accepted, 'data')
    const victim = what === 'the TLS socket' ? client : connected
    victim.destroy()
    await Promise.all([...closed, written])
    expect(accepted.bytesRead).toBeLessThan(LARGE)
    expect([...streams, connected].map(({ fd }) => fd)).toEqual([-1, -1])
  },
)

/** Like `buffer`, but doesn't destroy a stream that it has read to the end. */
async function untilEnd(socket: tls.TLSSocket): Promise<Buffer> {
  const chunks: Buffer[] = []
  socket.on('data', (chunk) => chunks.push(chunk))
  await once(socket, 'end')
  return Buffer.concat(chunks)
}

/** The options of a client of `echoOver` that verifies everything. */
function trusting({ cert }: Certificate): tls.ConnectionOptions {
  return { ca: cert, servername: 'localhost', ALPNProtocols: ['echo'] }
}

function echoOver(pair: Certificate): tls.Server {
  return tls.createServer({ ...pair, ALPNProtocols: ['echo'] }, (socket) => socket.pipe(socket))
}

/** A client over our `connect`, of a server over our `listen`. Both are closed when the test ends. */
async function converse(
  server: tls.Server | Http2SecureServer,
  options: tls.ConnectionOptions,
  stream?: SocketStreamOptions,
): Promise<{ client: tls.TLSSocket; connected: SocketStream; streams: SocketStream[] }> {
  const listener = listen(anyPort)
  const streams: SocketStream[] = []
  server.on('connection', (accepted: SocketStream) => streams.push(accepted)).on('tlsClientError', () => {})
  // A client may leave without a word. Node.js has a listener for the errors itself since 20.20.
  server.on('secureConnection', (accepted: tls.TLSSocket) => accepted.on('error', () => {}))
  serve(listener, server)
  const connected = await connect(listener.address, { stream })
  onTestFinished(() => {
    server.close()
    for (const each of [...streams, connected]) each.on('error', () => {}).destroy()
  })
  return { client: tls.connect({ socket: connected, ...options }), connected, streams }
}

function sha256(data: Uint8Array): string {
  return createHash('sha256').update(data).digest('hex')
}
