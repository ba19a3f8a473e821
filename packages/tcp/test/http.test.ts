import { createHash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import http from 'node:http'
import http2 from 'node:http2'
import { type Duplex, Readable } from 'node:stream'
import { buffer, text } from 'node:stream/consumers'
import { type Socket, setOption } from '@linux-sockets/native-core'
import type { SocketStream } from '@linux-sockets/native-core/streams'
import { guardDescriptors } from '@linux-sockets/testkit'
import { describe, expect, it, onTestFinished } from 'vitest'
import { connect, listen, type Server, serve, TCP_NODELAY } from '../src/index.js'
import { anyPort, fullListener } from './loopback.js'

guardDescriptors()

// The default of node:http with its own sockets. Without it HTTP/2 waits for one delayed acknowledgement after another.
const prepare = (socket: Socket) => setOption(socket, TCP_NODELAY, true)
const LARGE = 8 * 1024 * 1024

describe('http.createServer and an http.Agent', () => {
  it('send many requests over one kept-alive connection', async () => {
    const { listener, agent } = start(http.createServer((request, response) => request.pipe(response)))
    for (let i = 0; i < 20; i++) expect(await ask(agent, `question ${i}`)).toBe(`question ${i}`)
    expect(listener.statistics.accepted).toBe(1)
  })

  it('send concurrent requests over many connections, and reuse them', async () => {
    const { listener, agent } = start(http.createServer((request, response) => request.pipe(response)))
    const questions = Array.from({ length: 100 }, (_, i) => `question ${i}`)
    for (let round = 0; round < 2; round++) {
      expect(await Promise.all(questions.map((question) => ask(agent, question)))).toEqual(questions)
    }
    expect(listener.statistics.accepted).toBe(100)
  })

  it('connect again after the server has ended an idle connection', async () => {
    const server = http.createServer((request, response) => request.pipe(response))
    const { listener, agent } = start(server)
    for (const question of ['first', 'second']) {
      expect(await ask(agent, question)).toBe(question)
      const [idle] = Object.values(agent.freeSockets).flatMap((sockets) => sockets ?? [])
      const ended = once(idle as Duplex, 'close')
      server.closeIdleConnections()
      await ended
    }
    expect(listener.statistics.accepted).toBe(2)
  })

  it('abort a request whose headers take too long', async () => {
    const { listener } = start(http.createServer({ headersTimeout: 500, connectionsCheckingInterval: 10 }))
    const client = await connect(listener.address)
    client.write('GET / HTTP/1.1\r\nHost: a\r\n')
    expect(await text(client)).toMatch(/^HTTP\/1.1 408 /)
  })

  it('carry chunked bodies of all sizes, with trailers', async () => {
    const sizes = [1, 2, 15, 16, 17, 255, 256, 4095, 4096, 65_535, 65_536, 65_537, 1_000_000]
    const chunks = sizes.map((size) => randomBytes(size))
    const { agent } = start(
      http.createServer((request, response) => {
        response.writeHead(200, { trailer: 'x-digest' })
        const hash = createHash('sha256')
        request.on('data', (chunk) => {
          hash.update(chunk)
          response.write(chunk)
        })
        request.on('end', () => {
          response.addTrailers({ 'x-digest': `${hash.digest('hex')} ${request.trailers['x-count']}` })
          response.end()
        })
      }),
    )
    const request = http.request({ agent, method: 'POST', headers: { trailer: 'x-count' } })
    for (const chunk of chunks) request.write(chunk)
    request.addTrailers({ 'x-count': String(chunks.length) })
    request.end()
    const response = await responseTo(request)
    expect(response.headers['transfer-encoding']).toBe('chunked')
    expect(sha256(await buffer(response))).toBe(sha256(Buffer.concat(chunks)))
    expect(response.trailers['x-digest']).toBe(`${sha256(Buffer.concat(chunks))} ${chunks.length}`)
  })

  it('carry large bodies both ways, as fast as the slower end reads', async () => {
    const data = randomBytes(LARGE)
    const { agent } = start(http.createServer((request, response) => request.pipe(response)))
    const request = http.request({ agent, method: 'POST', headers: { 'content-length': LARGE } })
    Readable.from(pieces(data)).pipe(request)
    const response = await responseTo(request)
    expect(sha256(await buffer(response))).toBe(sha256(data))
  })

  it('wait for 100 Continue', async () => {
    const order: string[] = []
    const server = http.createServer((request, response) => request.pipe(response))
    server.on('checkContinue', (request, response) => {
      order.push('asked')
      response.writeContinue()
      server.emit('request', request, response)
    })
    const { agent } = start(server)
    const request = http.request({ agent, method: 'POST', headers: { expect: '100-continue' } })
    request.on('continue', () => {
      order.push('allowed')
      request.end('hello')
    })
    request.flushHeaders()
    expect(await text(await responseTo(request))).toBe('hello')
    expect(order).toEqual(['asked', 'allowed'])
  })

  it('upgrade, with the bytes that came with the request', async () => {
    const server = http.createServer()
    server.on('upgrade', (_request, socket: Duplex, head: Buffer) => {
      socket.write('HTTP/1.1 101 Switching Protocols\r\nUpgrade: echo\r\nConnection: Upgrade\r\n\r\nfirst ')
      socket.write(head)
      socket.pipe(socket)
    })
    const { agent } = start(server)
    const request = http.get({ agent, headers: { connection: 'Upgrade', upgrade: 'echo' } })
    const [, socket, head] = (await once(request, 'upgrade')) as [http.IncomingMessage, SocketStream, Buffer]
    socket.unshift(head)
    socket.end('second')
    expect(await text(socket)).toBe('first second')
  })

  it('tell the server when the client aborts', async () => {
    const server = http.createServer((_request, response) => void response.write('x'))
    const { agent } = start(server)
    const asked = once(server, 'request')
    const abort = new AbortController()
    const request = http.get({ agent, signal: abort.signal })
    const response = await responseTo(request)
    const [, answer] = (await asked) as [http.IncomingMessage, http.ServerResponse]
    const gone = once(answer, 'close')
    abort.abort()
    await expect(text(response)).rejects.toThrow()
    await gone
    expect(answer.writableFinished).toBe(false)
  })

  it('tell the client when the server aborts', async () => {
    const { agent } = start(
      http.createServer((_request, response) => {
        response.writeHead(200, { 'content-length': 1000 })
        response.write('part', () => response.destroy())
      }),
    )
    const response = await responseTo(http.get({ agent }))
    await expect(text(response)).rejects.toMatchObject({ code: 'ECONNRESET' })
  })

  it('stop connecting after the timeout of the request', async () => {
    const { localName } = await fullListener()
    const request = http.get({ agent: agentTo({ address: localName }), timeout: 50 })
    expect(await once(request, 'error')).toMatchObject([{ code: 'ETIMEDOUT', syscall: 'connect' }])
  })

  it('report a refused connection by its error', async () => {
    const listener = listen(anyPort)
    const { address } = listener
    listener.close()
    const request = http.get({ agent: agentTo({ address }) })
    expect(await once(request, 'error')).toMatchObject([{ code: 'ECONNREFUSED', syscall: 'connect' }])
  })
})

describe('http2', () => {
  it('carries many concurrent requests over one connection', async () => {
    const { session, listener } = await http2Session(echo)
    const bodies = Array.from({ length: 50 }, (_, i) => randomBytes(i * 1000))
    const answers = bodies.map(async (body) => {
      const request = session.request({ ':method': 'POST' })
      request.end(body)
      return sha256(await buffer(request))
    })
    expect(await Promise.all(answers)).toEqual(bodies.map(sha256))
    expect(listener.statistics.accepted).toBe(1)
  })

  it('carries a large body both ways', async () => {
    const data = randomBytes(LARGE)
    const { session } = await http2Session(echo)
    const request = session.request({ ':method': 'POST' })
    Readable.from(pieces(data)).pipe(request)
    expect(sha256(await buffer(request))).toBe(sha256(data))
  })

  it('resets one request and goes on with the others', async () => {
    const closed: number[] = []
    const { session } = await http2Session((stream, headers) => {
      if (headers[':path'] === '/echo') echo(stream)
      else stream.on('close', () => closed.push(stream.rstCode)).respond()
    })
    const doomed = session.request({ ':path': '/' })
    await once(doomed, 'response')
    doomed.close(http2.constants.NGHTTP2_CANCEL)
    await once(doomed, 'close')
    const other = session.request({ ':path': '/echo', ':method': 'POST' })
    expect(await text(other.end('hello'))).toBe('hello')
    expect(closed).toEqual([http2.constants.NGHTTP2_CANCEL])
  })

  it('ends with its session, and fails with its connection', async () => {
    const { session, connected } = await http2Session(echo)
    const ended = once(connected, 'close')
    session.close()
    await ended

    const broken = await http2Session((stream) => stream.respond())
    const request = broken.session.request()
    await once(request, 'response')
    const ends = Promise.all([request, broken.session].map((one) => once(one, 'close')))
    broken.connected.destroy()
    await ends
  })
})

/** Serves the connections of our listener, and sends requests with the agent. Everything is closed when the test ends. */
function start(server: http.Server): { listener: Server; agent: http.Agent } {
  const listener = listen(anyPort)
  serve(listener, server)
  onTestFinished(() => {
    server.close()
    server.closeAllConnections()
  })
  return { listener, agent: agentTo(listener, { keepAlive: true }) }
}

/** The agent of the README, but always for the same address. */
function agentTo({ address }: Pick<Server, 'address'>, options?: http.AgentOptions): http.Agent {
  class Agent extends http.Agent {
    override createConnection(
      { timeout = 10_000 }: http.ClientRequestArgs,
      callback: (error: Error | null, stream: Duplex) => void,
    ): undefined {
      connect(address, { timeout, prepare }).then(
        (stream) => callback(null, stream),
        callback as (error: Error) => void,
      )
    }
  }
  const agent = new Agent(options)
  onTestFinished(() => agent.destroy())
  return agent
}

async function ask(agent: http.Agent, question: string): Promise<string> {
  return await text(await responseTo(http.request({ agent, method: 'POST' }).end(question)))
}

async function responseTo(request: http.ClientRequest): Promise<http.IncomingMessage> {
  return ((await once(request, 'response')) as [http.IncomingMessage])[0]
}

function echo(stream: http2.ServerHttp2Stream): void {
  stream.respond()
  stream.pipe(stream)
}

async function http2Session(
  answer: (stream: http2.ServerHttp2Stream, headers: http2.IncomingHttpHeaders) => void,
): Promise<{ session: http2.ClientHttp2Session; connected: SocketStream; listener: Server }> {
  const server = http2
    .createServer()
    .on('stream', answer)
    .on('sessionError', () => {})
  const listener = listen(anyPort, { prepare })
  serve(listener, server)
  const connected = await connect(listener.address, { prepare })
  const session = http2.connect('http://localhost', { createConnection: () => connected })
  onTestFinished(async () => {
    listener.close()
    if (!session.closed) await new Promise<void>((resolve) => session.close(resolve))
  })
  return { session, connected, listener }
}

function* pieces(data: Buffer): Generator<Buffer> {
  for (let at = 0; at < data.length; at += 100_000) yield data.subarray(at, at + 100_000)
}

function sha256(data: Uint8Array): string {
  return createHash('sha256').update(data).digest('hex')
}
