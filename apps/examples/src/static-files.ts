/**
 * A static file server: node:http reads the requests, sendfile(2) sends the files, and each download has a bar.
 *
 *     node dist/static-files.js                a download of its own file, then the end
 *     node dist/static-files.js public 8080    until Ctrl-C; try `curl -O http://127.0.0.1:8080/some-file`
 */
import { createHash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { constants } from 'node:fs'
import { mkdtemp, open, rm, writeFile } from 'node:fs/promises'
import http, { type IncomingMessage, type ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join, normalize } from 'node:path'
import { pathToFileURL } from 'node:url'
import { formatAddress } from '@linux-sockets/native-core'
import type { SocketStream } from '@linux-sockets/native-core/streams'
import { listen, type Server, sendFile, serve } from '@linux-sockets/tcp'
import { Bar, type Progress, size } from './report.js'

/** How long the downloads may take to finish when the server ends, in **milliseconds**. */
const PATIENCE = 10_000

/** Called at the beginning of each download. Returns the function that shows its progress. */
export type Downloads = (name: string) => Progress

/** How long a client may take, in **milliseconds**. */
export interface Limits {
  /** The time to send a request; after it the answer is 408. */
  readonly request: number
  /** The time in which the client may read nothing; after it the client is disconnected. */
  readonly stall: number
}

/** Serves the files of a directory, with ranges, until the server is closed. */
export function serveFiles(
  directory: string,
  port = 0,
  downloads: Downloads = () => () => {},
  { request: requestTimeout, stall }: Limits = { request: 10_000, stall: 30_000 },
): Server {
  const connectionsCheckingInterval = Math.ceil(requestTimeout / 4)
  const options = { requestTimeout, headersTimeout: requestTimeout, connectionsCheckingInterval }
  const requests = http.createServer(options, (request, response) => {
    answer(request, response, directory, downloads).catch((error) => {
      console.error(`${request.url}: ${error.message}`)
      // The announced body can no longer be sent.
      if (response.headersSent) request.socket.destroy()
      else response.writeHead(statusOf(error)).end()
    })
  })
  requests.timeout = stall
  const server = listen({ family: 'ipv4', address: '127.0.0.1', port })
  serve(server, requests)
  return server
}

async function answer(
  request: IncomingMessage,
  response: ServerResponse,
  directory: string,
  downloads: Downloads,
): Promise<void> {
  const { pathname } = new URL(request.url ?? '/', 'http://localhost')
  const name = normalize(`/${decodeURIComponent(pathname)}`)
  const file = await open(join(directory, name), constants.O_RDONLY | constants.O_NONBLOCK)
  try {
    const info = await file.stat()
    if (!info.isFile()) {
      response.writeHead(404).end()
      return
    }
    const range = rangeOf(request.headers.range, info.size)
    const { start, end } = range ?? { start: 0, end: info.size - 1 }
    response.writeHead(range === undefined ? 200 : 206, {
      'Accept-Ranges': 'bytes',
      'Content-Length': end - start + 1,
      ...(range && { 'Content-Range': `bytes ${start}-${end}/${info.size}` }),
    })
    if (request.method !== 'HEAD') {
      response.flushHeaders()
      const socket: unknown = await turnOf(request, response)
      const total = end - start + 1
      const progress = downloads(name)
      const onProgress = (sent: number) => progress(sent, total)
      const sent = await sendFile(socket as SocketStream, file, { start, end, onProgress })
      if (sent < total) throw new Error(`the file has become shorter: ${sent} bytes of ${total} are sent`)
    }
    response.end()
  } finally {
    await file.close()
  }
}

/** Waits until the responses to earlier requests on the connection are sent, and returns its socket. */
async function turnOf({ socket }: IncomingMessage, response: ServerResponse): Promise<Socket> {
  if (response.socket !== null) return response.socket
  const gone = new AbortController()
  const leave = () => gone.abort()
  socket.once('close', leave)
  try {
    if (socket.destroyed) leave()
    return (await once(response, 'socket', { signal: gone.signal }))[0]
  } finally {
    socket.off('close', leave)
  }
}

/** Parses a range of bytes. Returns undefined without a range or for an unsupported one; the answer is then the whole file. */
function rangeOf(header: string | undefined, length: number): { start: number; end: number } | undefined {
  const [, first = '', last = ''] = /^bytes=(\d*)-(\d*)$/.exec(header ?? '') ?? []
  if (first === '' && last === '') return undefined
  const start = first === '' ? Math.max(length - Number(last), 0) : Number(first)
  const end = first === '' || last === '' ? length - 1 : Math.min(Number(last), length - 1)
  return start <= end ? { start, end } : undefined
}

function statusOf(error: NodeJS.ErrnoException): number {
  if (error instanceof URIError) return 400
  return error.code === 'EACCES' ? 403 : 404
}

function barOf(name: string): Progress {
  const bar = new Bar(name)
  return (done, total) => {
    bar.show(done, total)
    if (done < total) return
    bar.clear()
    console.log(`  ${name}: ${size(total)} sent`)
  }
}

/** Makes a file, downloads it as a whole and in part, and returns a summary. */
export async function downloadOne(length: number, downloads: Downloads): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'static-files-'))
  const server = serveFiles(directory, 0, downloads)
  try {
    const data = randomBytes(length)
    await writeFile(join(directory, 'random'), data)
    const { port } = server.address
    const url = `http://127.0.0.1:${port}/random`
    const whole = await get(url, {})
    const half = length >> 1
    const rest = await get(url, { Range: `bytes=${half}-` })
    if (whole !== sha256(data) || rest !== sha256(data.subarray(half)))
      throw new Error('what arrived is something else')
    return `${size(length)} and its second half arrived as they are, SHA-256 ${whole.slice(0, 16)}…`
  } finally {
    await server.drain({ timeout: PATIENCE })
    await rm(directory, { recursive: true })
  }
}

/** Returns the SHA-256 digest of a response. */
async function get(url: string, headers: http.OutgoingHttpHeaders): Promise<string> {
  const [response] = (await once(http.get(url, { headers, agent: false }), 'response')) as [IncomingMessage]
  const hash = createHash('sha256')
  for await (const chunk of response) hash.update(chunk)
  return hash.digest('hex')
}

function sha256(data: Uint8Array): string {
  return createHash('sha256').update(data).digest('hex')
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  const [directory, port = '8080'] = process.argv.slice(2)
  if (directory === undefined) {
    console.log(await downloadOne(48 * 1024 * 1024, barOf))
  } else {
    const server = serveFiles(directory, Number(port), barOf)
    console.log(`${directory} is at http://${formatAddress(server.address)}/; Ctrl-C ends it`)
    await once(process, 'SIGINT')
    await server.drain({ timeout: PATIENCE })
  }
}
