import { createHash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import http from 'node:http'
import https from 'node:https'
import { json } from 'node:stream/consumers'
import { guardDescriptors, needProgram, skipUnless, temporaryCertificate } from '@linux-sockets/testkit'
import { fastify } from 'fastify'
import { Agent, type buildConnector, fetch, request } from 'undici'
import { expect, it, onTestFinished } from 'vitest'
import { WebSocket, WebSocketServer } from 'ws'
import { agentTo, connectTo, listenFor } from '../src/listening.js'

guardDescriptors()

it('Fastify serves undici, with concurrent requests and large bodies', async () => {
  const port = await fastifyEcho()
  const dispatcher = undiciTo(port)
  const origin = 'http://localhost'
  const greeting = await fetch(`${origin}/hello/world`, { dispatcher })
  expect([greeting.status, await greeting.json()]).toEqual([200, { hello: 'world' }])
  const missing = await fetch(`${origin}/nothing`, { dispatcher })
  expect([missing.status, await missing.json()]).toMatchObject([404, { error: 'Not Found' }])

  const bodies = [...Array.from({ length: 40 }, (_, i) => randomBytes(i * 1000)), randomBytes(8 * 1024 * 1024 + 1)]
  const echoes = bodies.map(async (body) => {
    const headers = { 'content-type': 'application/octet-stream' }
    const response = await request(`${origin}/echo`, { dispatcher, method: 'POST', headers, body })
    return sha256(Buffer.from(await response.body.arrayBuffer()))
  })
  expect(await Promise.all(echoes)).toEqual(bodies.map(sha256))
})

it.for([false, true])('Fastify logs its clients, and closes the listener; over TLS %s', async (secure, test) => {
  skipUnless(test, needProgram('openssl'))
  const pair = await temporaryCertificate()
  const lines: string[] = []
  const options = { logger: { stream: { write: (line: string) => void lines.push(line) } } }
  const app = fastify(secure ? ({ ...options, https: pair } as typeof options) : options)
  app.get('/', async ({ ip, socket }) => ({ ip, port: socket.remotePort }))
  await app.ready()
  const { listener, port } = listenFor(app.server)
  expect(app.server.listening).toBe(true)
  const get = secure ? https.get : http.get
  const asked = get({ host: 'localhost', family: 4, port, ca: pair.cert })
  const [response] = (await once(asked, 'response')) as [http.IncomingMessage]
  expect(await json(response)).toEqual({ ip: '127.0.0.1', port: asked.socket?.localPort })
  const log = lines.map((line) => JSON.parse(line)).find(({ msg }) => msg === 'incoming request')
  expect(log.req).toMatchObject({ remoteAddress: '127.0.0.1', remotePort: asked.socket?.localPort })
  await app.close()
  expect([listener.closed, listener.connections.size]).toEqual([true, 0])
})

it('undici pipelines requests, and gives up an aborted one', async () => {
  const server = http.createServer((asked, response) => {
    if (asked.url !== '/never') response.end(asked.url)
  })
  const dispatcher = undiciTo(listenFor(server).port, { pipelining: 10, connections: 1 })
  const paths = Array.from({ length: 30 }, (_, i) => `/${i}`)
  const answers = paths.map(async (path) => {
    return await (await request(`http://localhost${path}`, { dispatcher })).body.text()
  })
  expect(await Promise.all(answers)).toEqual(paths)
  const abort = new AbortController()
  const never = fetch('http://localhost/never', { dispatcher, signal: abort.signal })
  server.once('request', () => abort.abort())
  await expect(never).rejects.toMatchObject({ name: 'AbortError' })
  expect(await (await fetch('http://localhost/after', { dispatcher })).text()).toBe('/after')
})

it('ws over TLS knows the address of its client', async (test) => {
  skipUnless(test, needProgram('openssl'))
  const pair = await temporaryCertificate()
  const server = https.createServer(pair)
  const sockets = new WebSocketServer({ server })
  sockets.on('connection', (socket, request) => {
    const { remoteAddress, remotePort } = request.socket
    socket.send(JSON.stringify({ remoteAddress, remotePort }))
  })
  const client = new WebSocket(`wss://localhost:${listenFor(server).port}/`, { ca: pair.cert, family: 4 })
  const upgraded = once(client, 'upgrade')
  const [message] = (await once(client, 'message')) as [Buffer]
  const [{ socket }] = (await upgraded) as [http.IncomingMessage]
  expect(JSON.parse(String(message))).toEqual({ remoteAddress: '127.0.0.1', remotePort: socket.localPort })
  client.close()
  await once(client, 'close')
})

it('ws carries messages of all sizes, compressed or not, pings and a close', async () => {
  const server = http.createServer()
  const sockets = new WebSocketServer({ server, perMessageDeflate: true })
  sockets.on('connection', (socket) => {
    socket.on('message', (data, binary) => socket.send(data, { binary, compress: binary }))
  })
  const client = new WebSocket('ws://localhost/', { agent: agentTo(listenFor(server).port), perMessageDeflate: true })
  await once(client, 'open')
  for (const size of [0, 1, 125, 126, 65_535, 65_536, 4 * 1024 * 1024]) {
    const data = randomBytes(size)
    client.send(data)
    const [echo] = (await once(client, 'message')) as [Buffer]
    expect(sha256(echo)).toBe(sha256(data))
  }
  client.send('grüße')
  expect(String((await once(client, 'message'))[0])).toBe('grüße')
  client.ping('here')
  expect(String((await once(client, 'pong'))[0])).toBe('here')
  client.close(4000, 'enough')
  const [code, reason] = (await once(client, 'close')) as [number, Buffer]
  expect([code, String(reason)]).toEqual([4000, 'enough'])
})

async function fastifyEcho(): Promise<number> {
  const app = fastify({ bodyLimit: 64 * 1024 * 1024 })
  app.addContentTypeParser('application/octet-stream', { parseAs: 'buffer' }, (_request, body, done) =>
    done(null, body),
  )
  app.get<{ Params: { name: string } }>('/hello/:name', async ({ params }) => ({ hello: params.name }))
  app.post('/echo', async ({ body }, reply) => reply.type('application/octet-stream').send(body))
  await app.ready()
  onTestFinished(() => app.close())
  return listenFor(app.server).port
}

function undiciTo(port: number, options: Agent.Options = {}): Agent {
  const connect = (_options: buildConnector.Options, callback: buildConnector.Callback) => {
    connectTo(port).then(
      (stream) => callback(null, stream as never),
      (error) => callback(error, null),
    )
  }
  const agent = new Agent({ ...options, connect })
  onTestFinished(() => agent.destroy())
  return agent
}

function sha256(data: Uint8Array): string {
  return createHash('sha256').update(data).digest('hex')
}
