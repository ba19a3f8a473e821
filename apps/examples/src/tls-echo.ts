/**
 * An echo over TLS: `node:tls` over our sockets, with the name, the authority and the protocol verified. A client that expects
 * another name refuses the server.
 *
 *     node dist/tls-echo.js
 */
import { execFileSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import tls from 'node:tls'
import { pathToFileURL } from 'node:url'
import type { InetAddress } from '@linux-sockets/native-core'
import { connect, listen, type Server, serve } from '@linux-sockets/tcp'

/** A key and a certificate, in PEM. */
export interface KeyPair {
  readonly key: Buffer
  readonly cert: Buffer
}

const PROTOCOL = 'echo'

/** Echoes over TLS to clients that support the protocol. The signal ends the server and its connections. */
export function startTlsEcho(pair: KeyPair, signal: AbortSignal): Server {
  const server = tls.createServer({ ...pair, ALPNProtocols: [PROTOCOL], handshakeTimeout: 5000 })
  server.on('tlsClientError', (error) => console.log(`server: a handshake failed: ${error.message}`))
  server.on('secureConnection', (socket) => {
    socket.on('error', (error) => console.log(`server: a connection broke: ${error.message}`))
    // TLS does not refuse a client that offers no protocol at all.
    if (socket.alpnProtocol === PROTOCOL) socket.pipe(socket)
    else socket.destroy()
  })
  const listener = listen({ family: 'ipv4', address: '127.0.0.1', port: 0 }, { signal, stream: { signal } })
  serve(listener, server)
  return listener
}

/** Sends `message` to a server whose certificate, verified by `ca`, must be for `servername`. Returns the answer. */
export async function askTlsEcho(
  address: InetAddress,
  ca: Buffer,
  servername: string,
  message: string,
): Promise<string> {
  const connected = await connect(address, { timeout: 5000 })
  const socket = tls.connect({ socket: connected, ca, servername, ALPNProtocols: [PROTOCOL] })
  try {
    await once(socket, 'secureConnect')
    if (socket.alpnProtocol !== PROTOCOL) throw new Error(`the server does not speak ${PROTOCOL}`)
    console.log(`client: ${servername} is verified; ${socket.getProtocol()}, ${socket.getCipher().name}`)
    socket.end(message)
    return await text(socket)
  } finally {
    socket.destroy()
  }
}

/** Makes a self-signed certificate for `localhost` that is valid for a day. Returns undefined if openssl is not installed. */
export function createKeyPair(): KeyPair | undefined {
  const directory = mkdtempSync(join(tmpdir(), 'linux-sockets-'))
  const [key, cert] = [join(directory, 'key.pem'), join(directory, 'cert.pem')]
  const request = ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '1']
  const name = ['-subj', '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost']
  try {
    execFileSync('openssl', [...request, ...name, '-keyout', key, '-out', cert], { stdio: 'pipe' })
    return { key: readFileSync(key), cert: readFileSync(cert) }
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw error
  } finally {
    rmSync(directory, { recursive: true })
  }
}

async function show(pair: KeyPair): Promise<void> {
  const stop = new AbortController()
  const server = startTlsEcho(pair, stop.signal)
  try {
    console.log(`client: got back “${await askTlsEcho(server.address, pair.cert, 'localhost', 'hello over TLS')}”`)
    const wrong = await askTlsEcho(server.address, pair.cert, 'example.org', 'never sent').catch((error) => error)
    if (!(wrong instanceof Error)) throw new Error('the wrong name was accepted')
    console.log(`client: refused as it should: ${wrong.message}`)
  } finally {
    stop.abort()
  }
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  const pair = createKeyPair()
  if (pair === undefined) console.log('openssl, which makes the certificate, is not installed')
  else await show(pair)
}
