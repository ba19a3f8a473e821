import { createHash, randomBytes } from 'node:crypto'
import { readFileSync, writeFileSync } from 'node:fs'
import http from 'node:http'
import http2 from 'node:http2'
import https from 'node:https'
import { join } from 'node:path'
import {
  guardDescriptors,
  needProgram,
  runProgram,
  skipUnless,
  temporaryCertificate,
  temporaryDirectory,
} from '@linux-sockets/testkit'
import { expect, it } from 'vitest'
import { listenFor } from '../src/listening.js'

guardDescriptors()

const LARGE = 8 * 1024 * 1024 + 1

it.for(['http', 'https', 'http2'] as const)('curl sends and gets back a large file over %s', async (kind, test) => {
  skipUnless(test, needProgram('curl'), needProgram('openssl'))
  const certificate = await temporaryCertificate()
  const { port } = listenFor(serverOf(kind, certificate))
  const directory = temporaryDirectory()
  const [sent, received] = [join(directory, 'sent'), join(directory, 'received')]
  const data = randomBytes(LARGE)
  writeFileSync(sent, data)
  const said = await curl([
    ...['--cacert', certificate.certFile, kind === 'http2' ? '--http2' : '--http1.1'],
    ...['--upload-file', sent, '--output', received, '--write-out', '%{http_code} %{http_version} %{size_upload}'],
    `${kind === 'http' ? 'http' : 'https'}://localhost:${port}/`,
  ])
  expect(said).toBe(`200 ${kind === 'http2' ? '2' : '1.1'} ${LARGE}`)
  expect(sha256(readFileSync(received))).toBe(sha256(data))
})

it('curl keeps its connection', async (test) => {
  skipUnless(test, needProgram('curl'))
  const { port, listener } = listenFor(http.createServer((request, response) => response.end(request.url)))
  expect(await curl([1, 2, 3].map((i) => `http://localhost:${port}/${i}`))).toBe('/1/2/3')
  expect(listener.statistics.accepted).toBe(1)
})

it('curl makes many requests at once over one HTTP/2 connection', async (test) => {
  skipUnless(test, needProgram('curl'), needProgram('openssl'))
  const certificate = await temporaryCertificate()
  const directory = temporaryDirectory()
  const server = http2.createSecureServer(certificate, (request, response) => response.end(request.url.repeat(20_000)))
  const { port, listener } = listenFor(server)
  await curl([
    ...['--cacert', certificate.certFile, '--http2', '--parallel', '--output', join(directory, '#1')],
    `https://localhost:${port}/[10-39]`,
  ])
  for (let i = 10; i < 40; i++) expect(readFileSync(join(directory, String(i)), 'utf8')).toBe(`/${i}`.repeat(20_000))
  expect(listener.statistics.accepted).toBe(1)
})

it('curl refuses a certificate that it does not know, and our server goes on', async (test) => {
  skipUnless(test, needProgram('curl'), needProgram('openssl'))
  const certificate = await temporaryCertificate()
  const { port } = listenFor(serverOf('https', certificate))
  const url = `https://localhost:${port}/`
  await expect(curl([url])).rejects.toThrow(/ended with 60/)
  expect(await curl(['--cacert', certificate.certFile, '--data', 'hello', url])).toBe('hello')
})

/** Makes a server that sends back the body of each request. */
function serverOf(kind: 'http' | 'https' | 'http2', pair: { key: Buffer; cert: Buffer }) {
  if (kind === 'http2') return http2.createSecureServer(pair, (request, response) => request.pipe(response))
  const echo: http.RequestListener = (request, response) => request.pipe(response)
  return kind === 'http' ? http.createServer(echo) : https.createServer(pair, echo)
}

function curl(args: readonly string[]): Promise<string> {
  return runProgram('curl', ['--silent', '--show-error', '--ipv4', '--noproxy', '*', '--max-time', '50', ...args])
}

function sha256(data: Uint8Array): string {
  return createHash('sha256').update(data).digest('hex')
}
