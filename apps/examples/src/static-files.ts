/**
 * A static file server: node:http reads the requests, sendfile(2) sends the files, and each download has a bar.
 *
 *     node dist/static-files.js                a download of a file of its own, then the end
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
import { formatAddress, type InetAddress, type SocketStream } from '@linux-sockets/native-core'
import { listen, type Server, sendFile } from '@linux-sockets/tcp'
import { Bar, type Progress, size } from './report.js'

/** How long the downloads have to finish when the server ends, in **milliseconds**. */
const PATIENCE = 5000

/** Called for each download when it begins; what it returns shows how far it is. */
export type Downloads = (name: string) => Progress

/** How long a client may take, in **milliseconds**. */
export interface Limits {
  /** For its request: then it is answered with 408. */
  readonly request: number
  /** To take nothing of what it is sent: then it is cut off. */
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
      // What was promised can't be sent any more.
      if (response.headersSent) request.socket.destroy()
      else response.writeHead(statusOf(error)).end()
    })
  })
  requests.timeout = stall
  const server = listen({ family: 'ipv4', address: '127.0.0.1', port })
  // From here on it counts its connections, and looks at their times.
  requests.emit('listening')
  server.run((stream) => requests.emit('connection', stream)).finally(() => requests.close())
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

/** Of several requests at once, each gets the connection when the one before is answered. */
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

/** One range of bytes; undefined, which is answered with all, for none and for what is not understood. */
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

/** Downloads a file of its own, whole and in part, and says how it went. */
export async function downloadOne(length: number, downloads: Downloads): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'static-files-'))
  const server = serveFiles(directory, 0, downloads)
  try {
    const data = randomBytes(length)
    await writeFile(join(directory, 'random'), data)
    const { port } = server.address as InetAddress
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

/** The SHA-256 of what is answered. */
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
