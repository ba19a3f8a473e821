import { AsyncLocalStorage } from 'node:async_hooks'
import { once } from 'node:events'
import http from 'node:http'
import http2 from 'node:http2'
import https from 'node:https'
import net, { type AddressInfo } from 'node:net'
import { text } from 'node:stream/consumers'
import tls from 'node:tls'
import { dup, getOption, Socket } from '@linux-sockets/native-core'
import { SHUT_RDWR } from '@linux-sockets/native-core/constants'
import { SO_KEEPALIVE, SO_REUSEADDR } from '@linux-sockets/native-core/options'
import { borrow, type SocketStream } from '@linux-sockets/native-core/streams'
import {
  type Certificate,
  guardDescriptors,
  needProgram,
  runProgram,
  runPython,
  skipUnless,
  temporaryCertificate,
} from '@linux-sockets/testkit'
import { describe, expect, it } from 'vitest'
import { connect, listen, type Server, serve, TCP_KEEPIDLE, TCP_NODELAY } from '../src/index.js'
import { anyPort } from './loopback.js'

guardDescriptors()

type Start = (server: net.Server, host?: string) => Promise<void>

/** Starts a server, so that it gets its connections by itself or from our listener. */
const overNet: Start = async (server, host = '127.0.0.1') => {
  await once(server.listen(0, host), 'listening')
}
const overOurs: Start = async (server, host = '127.0.0.1') => {
  await once(serve(listen(host === '::1' ? '[::1]:0' : anyPort), server), 'listening')
}

describe('a server sees the same as over net', () => {
  it.for([
    ['net', '127.0.0.1'],
    ['net', '::1'],
    ['tls', '127.0.0.1'],
    ['tls', '::1'],
    ['http', '127.0.0.1'],
    ['https', '127.0.0.1'],
    ['http2', '127.0.0.1'],
    ['http2', '::1'],
    ['http2s', '127.0.0.1'],
  ] as const)('for addresses: %s at %s', async ([kind, host], test) => {
    skipUnless(test, needProgram('openssl'))
    const pair = await temporaryCertificate()
    const play = async (start: Start) => {
      const seen: unknown[] = []
      const server = serverOf(kind, pair, (socket) => seen.push(namesOf(socket)))
      await start(server, host)
      const { port } = server.address() as AddressInfo
      const client = net.connect(port, host)
      await once(client, 'connect')
      const ports = [port, client.localPort].map(String)
      await ask(kind, client, pair)
      await close(server)
      return JSON.stringify(seen).replace(
        new RegExp(ports.join('|'), 'g'),
        (found) => ['"the server’s"', '"the client’s"'][ports.indexOf(found)] as string,
      )
    }
    const ours = await play(overOurs)
    expect(ours).toBe(await play(overNet))
    expect(ours).toContain(`"remoteAddress":"${host}","remotePort":"the client’s"`)
    expect(ours).toContain(`{"address":"${host}","family":"${host === '::1' ? 'IPv6' : 'IPv4'}","port":"the server’s"}`)
  })

  const head = Buffer.from([22, 3, 1, 2, 0])
  const turns: Record<string, (peer: net.Socket) => void> = {
    'ends within the first record': (peer) => peer.end(head),
    'ends without a word': (peer) => peer.end(),
    'resets within the first record': (peer) => peer.write(head, () => peer.resetAndDestroy()),
    'speaks another protocol': (peer) => peer.write('GET / HTTP/1.0\r\n\r\n'),
    'ends after another protocol': (peer) => peer.end('GET / HTTP/1.0\r\n\r\n'),
  }
  it.for(Object.keys(turns).flatMap((turn) => (['tls', 'https'] as const).map((kind) => [kind, turn] as const)))(
    'in the handshake: %s, a client that %s',
    async ([kind, turn], test) => {
      skipUnless(test, needProgram('openssl'))
      const pair = await temporaryCertificate()
      const play = async (start: Start) => {
        const server = serverOf(kind, pair)
        const accepted = once(server, 'connection')
        const failed = once(server, 'tlsClientError')
        await start(server)
        const peer = net.connect((server.address() as AddressInfo).port, '127.0.0.1').resume()
        const gone = once(peer, 'close')
        turns[turn]?.(peer)
        const [raw] = (await accepted) as [net.Socket]
        const [error] = (await failed) as [NodeJS.ErrnoException]
        if (!raw.closed) await once(raw, 'close')
        await gone
        await close(server)
        return error.code
      }
      expect(await play(overOurs)).toEqual(await play(overNet))
    },
  )

  it.for([
    ['tls', 'client'],
    ['tls', 'client’s TCP'],
    ['tls', 'server'],
    ['net', 'client'],
    ['net', 'server'],
  ] as const)('at the end: over %s, the %s ends first and the other still sends', async ([kind, first], test) => {
    skipUnless(test, needProgram('openssl'))
    const pair = await temporaryCertificate()
    const much = Buffer.alloc(8_000_000)
    const play = async (start: Start) => {
      const server = serverOf(kind, pair)
      const met = once(server, kind === 'net' ? 'connection' : 'secureConnection')
      await start(server)
      const raw = net.connect({ port: (server.address() as AddressInfo).port, host: '127.0.0.1' })
      const client = kind === 'net' ? raw : secure(raw, pair)
      const [accepted] = (await met) as [net.Socket]
      const [early, late] = first === 'server' ? [accepted, client] : [client, accepted]
      // More than all buffers hold: when the end comes, the first half is being sent, the second isn't yet.
      early.pause()
      for (const half of [much, much]) late.write(half)
      if (first === 'client’s TCP') early.write('bye', () => raw.end())
      else early.end('bye')
      const lengths = [await lengthOf(late), await lengthOf(early)]
      await close(server)
      return lengths
    }
    const lengths = await play(overOurs)
    expect(lengths).toEqual(await play(overNet))
    expect(lengths).toEqual([3, 2 * much.length])
  })

  it('for its options', async () => {
    const play = async (start: Start) => {
      const seen: unknown[] = []
      const options = { allowHalfOpen: true, pauseOnConnect: true, noDelay: true, keepAlive: true }
      for (const server of [
        net.createServer({ ...options, keepAliveInitialDelay: 77_000 }),
        // More than the kernel accepts.
        net.createServer({ ...options, keepAliveInitialDelay: 40_000_000 }),
        net.createServer(),
        http.createServer(),
      ]) {
        const accepted = once(server, 'connection')
        await start(server)
        const client = net.connect((server.address() as AddressInfo).port, '127.0.0.1')
        const [socket] = (await accepted) as [net.Socket | SocketStream]
        const { fd } = socket instanceof net.Socket ? borrow(socket) : socket
        const set = [TCP_NODELAY, SO_KEEPALIVE, TCP_KEEPIDLE].map((option) => getOption({ fd }, option as never))
        seen.push([socket.allowHalfOpen, ...(server instanceof http.Server ? [] : [socket.isPaused()]), ...set])
        client.destroy()
        socket.destroy()
        await close(server)
      }
      return seen
    }
    expect(await play(overOurs)).toEqual(await play(overNet))
  })

  it('for too many connections', async () => {
    const play = async (start: Start) => {
      const server = net.createServer()
      server.maxConnections = 1
      await start(server)
      const { port } = server.address() as AddressInfo
      const accepted = once(server, 'connection')
      const welcome = net.connect({ port, host: '127.0.0.1' })
      const [socket] = (await accepted) as [net.Socket]
      const dropped = once(server, 'drop')
      const another = net.connect({ port, host: '127.0.0.1' }).resume()
      await once(another, 'close')
      const [data] = (await dropped) as [net.DropArgument]
      const count = await new Promise((resolve) => server.getConnections((_error, number) => resolve(number)))
      welcome.destroy()
      socket.destroy()
      await close(server)
      return [data.localAddress, data.localPort === port, data.remoteAddress, data.remoteFamily, count]
    }
    expect(await play(overOurs)).toEqual(await play(overNet))
  })

  it('for a block list, even before Node 22.13, which introduced it', async () => {
    const blockList = new net.BlockList()
    blockList.addAddress('127.0.0.9')
    const server = Object.assign(net.createServer(), { blockList })
    await overOurs(server)
    const { port } = server.address() as AddressInfo
    server.on('connection', (socket) => socket.end(String(socket.remoteAddress)))
    const answers = ['127.0.0.9', '127.0.0.8'].map((localAddress) =>
      text(net.connect({ port, host: '127.0.0.1', localAddress })),
    )
    expect(await Promise.all(answers)).toEqual(['', '127.0.0.8'])
    await close(server)
  })
})

describe('a TLS connection', () => {
  it.for(['tls', 'https', 'http2s'] as const)('is closed if the handshake takes too long: %s', async (kind, test) => {
    skipUnless(test, needProgram('openssl'))
    const server = serverOf(kind, { ...(await temporaryCertificate()), handshakeTimeout: 50 })
    const failed = once(server, 'tlsClientError')
    await overOurs(server)
    const peer = await connect(`127.0.0.1:${(server.address() as AddressInfo).port}`)
    peer.write(Buffer.from([22, 3, 1, 2, 0]))
    expect(await text(peer)).toBe('')
    expect(await failed).toMatchObject([{ code: 'ERR_TLS_HANDSHAKE_TIMEOUT' }, { destroyed: true }])
    await close(server)
    expect(server.listenerCount('tlsClientError')).toBe(serverOf(kind, {}).listenerCount('tlsClientError'))
  })

  it('has its addresses, `setNoDelay` and `setKeepAlive` at the client', async (test) => {
    skipUnless(test, needProgram('openssl'))
    const pair = await temporaryCertificate()
    const server = serverOf('tls', pair, (socket) => socket.on('error', ignore).resume())
    await overOurs(server)
    const { port } = server.address() as AddressInfo
    const stream = await connect(`127.0.0.1:${port}`)
    const client = secure(stream, pair)
    const names = {
      remoteAddress: '127.0.0.1',
      remotePort: port,
      remoteFamily: 'IPv4',
      localAddress: '127.0.0.1',
      localPort: stream.localPort,
      localFamily: 'IPv4',
      address: { address: '127.0.0.1', family: 'IPv4', port: stream.localPort },
    }
    expect(namesOf(client)).toEqual(names)
    await once(client, 'secureConnect')
    expect(namesOf(client)).toEqual(names)
    // A value above the kernel's limit changes nothing, as over net.
    client.setNoDelay(true).setKeepAlive(true, 77_000).setKeepAlive(true, 40_000_000)
    expect([getOption(stream, TCP_NODELAY), getOption(stream, SO_KEEPALIVE), getOption(stream, TCP_KEEPIDLE)]).toEqual([
      true,
      true,
      77,
    ])
    client.setNoDelay(false)
    expect(getOption(stream, TCP_NODELAY)).toBe(false)
    client.destroy()
    await close(server)
    expect(namesOf(client)).toMatchObject({ remoteAddress: '127.0.0.1', remotePort: port })
  })

  it('keeps the process of the client alive, or not', async (test) => {
    skipUnless(test, needProgram('openssl'))
    const server = serverOf('tls', await temporaryCertificate(), (socket) => socket.on('error', ignore).resume())
    await overOurs(server)
    const program = `
      import tls from 'node:tls'
      import { connect } from '@linux-sockets/tcp'
      const socket = await connect('127.0.0.1:${(server.address() as AddressInfo).port}')
      const client = tls.connect({ socket, rejectUnauthorized: false })
      client.on('secureConnect', () => {
        client.unref().ref()
        setTimeout(() => { console.log('kept'); client.unref() }, 20).unref()
      })
    `
    expect(await runNode(program)).toBe('kept\n')
    await close(server)
  })
})

describe('a server that is served', () => {
  it('listens at the address of the listener until either is closed', async () => {
    for (const closing of ['server', 'listener', 'signal'] as const) {
      const stop = new AbortController()
      const listener = listen(anyPort, { signal: stop.signal })
      const server = net.createServer()
      expect(serve(listener, server)).toBe(server)
      expect(server.listening).toBe(true)
      const { address, port } = listener.address as net.SocketAddress
      expect(server.address()).toEqual({ address, port, family: 'IPv4' })
      expect(getOption(borrow(server), SO_REUSEADDR)).toBe(true)
      await once(server, 'listening')
      const accepted = once(server, 'connection')
      const peer = await connect(listener.address)
      const [stream] = (await accepted) as [SocketStream]
      const ended = once(server, 'close')
      if (closing === 'server') server.close()
      else if (closing === 'listener') listener.close()
      else stop.abort()
      await new Promise(setImmediate)
      expect([server.listening, listener.closed, server.address()]).toEqual([false, true, null])
      // Accepted connections go on.
      stream.end('still here')
      expect(await text(peer)).toBe('still here')
      await ended
    }
  })

  it('calls back when it has closed, and can be served again', async () => {
    const server = http.createServer((_request, response) => response.end('hello'))
    for (let round = 0; round < 2; round++) {
      await overOurs(server)
      expect(await get(server)).toBe('hello')
      expect(await new Promise((resolve) => server.close(resolve))).toBeUndefined()
    }
    expect(await new Promise((resolve) => server.close(resolve))).toMatchObject({ code: 'ERR_SERVER_NOT_RUNNING' })
  })

  it.each(['server', 'listener'] as const)('ends idle HTTP connections when the %s closes', async (closing) => {
    const listener = listen(anyPort)
    const server = serve(
      listener,
      http.createServer((_request, response) => response.end('hello')),
    )
    const agent = new http.Agent({ keepAlive: true })
    expect(await get(server, { agent })).toBe('hello')
    expect(listener.connections.size).toBe(1)
    if (closing === 'server') await new Promise((resolve) => server.close(resolve))
    else expect(await listener.drain()).toBe(0)
    expect(listener.connections.size).toBe(0)
    agent.destroy()
  })

  it('counts its HTTP connections, and closes all or the idle ones', async () => {
    const strict = http.createServer({ headersTimeout: 500, connectionsCheckingInterval: 10 })
    await overOurs(strict)
    const slow = await connect(`127.0.0.1:${(strict.address() as AddressInfo).port}`)
    slow.write('GET / HTTP/1.1\r\nHost: a\r\n')
    expect(await text(slow)).toMatch(/^HTTP\/1.1 408 /)
    await close(strict)

    const server = http.createServer((request, response) => {
      if (request.url !== '/wait') response.end('hello')
    })
    await overOurs(server)
    const { port } = server.address() as AddressInfo
    const [idle, busy] = [await connect(`127.0.0.1:${port}`), await connect(`127.0.0.1:${port}`)]
    idle.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n')
    await once(idle, 'data')
    busy.write('GET /wait HTTP/1.1\r\nHost: a\r\n\r\n')
    await once(server, 'request')
    const ended = once(idle.resume(), 'close')
    server.closeIdleConnections()
    await ended
    expect(busy.closed).toBe(false)
    const all = once(busy.resume(), 'close')
    server.closeAllConnections()
    await all
    await close(server)
  })

  it('gets no further connections while the listener is paused', async () => {
    const listener = listen(anyPort)
    const server = net.createServer((socket) => socket.end('hello'))
    serve(listener, server)
    listener.pause()
    const peer = await connect(listener.address)
    for (let i = 0; i < 10; i++) await new Promise(setImmediate)
    expect(listener.statistics.accepted).toBe(0)
    listener.resume()
    expect(await text(peer)).toBe('hello')
    await close(server)
  })

  it('reports the failure that ended the listener by its `error`', async () => {
    const listener = listen(anyPort)
    const server = serve(listener, net.createServer())
    const events: string[] = []
    server.on('close', () => events.push('close'))
    const failed = once(server, 'error')
    using other = Socket.from(dup(listener))
    other.shutdown(SHUT_RDWR)
    expect(await failed).toMatchObject([{ code: 'EINVAL', syscall: 'accept4' }])
    if (events.length === 0) await once(server, 'close')
    expect([server.listening, listener.closed]).toEqual([false, true])
  })

  it('keeps the process alive like a server that accepts by itself', async () => {
    const program = `
      import net from 'node:net'
      import { listen, serve } from '@linux-sockets/tcp'
      const [before, after, kept] = Array.from({ length: 3 }, () => net.createServer())
      serve(listen('127.0.0.1:0'), before.unref())
      serve(listen('127.0.0.1:0'), after).unref()
      serve(listen('127.0.0.1:0'), kept).unref().ref()
      setTimeout(() => { console.log('kept'); kept.close() }, 20).unref()
      process.on('exit', () => console.log(before.listening, after.listening, kept.listening))
    `
    expect(await runNode(program)).toBe('kept\ntrue true false\n')
  })

  it('calls its listeners in the async context of `serve`', async () => {
    const context = new AsyncLocalStorage<string>()
    const server = http.createServer((_request, response) => response.end(context.getStore()))
    const seen: unknown[] = []
    for (const event of ['listening', 'connection', 'close']) server.on(event, () => seen.push(context.getStore()))
    const listener = listen(anyPort)
    context.run('of serve', () => serve(listener, server))
    expect(await get(server)).toBe('of serve')
    listener.close()
    await once(server, 'close')
    expect(seen).toEqual(['of serve', 'of serve', 'of serve'])
  })

  it('can’t serve a listener that is in use or closed, or a second one', async () => {
    const server = net.createServer()
    const listeners = Array.from({ length: 4 }, () => listen(anyPort)) as [Server, Server, Server, Server]
    const [run, iterated, shut, other] = listeners
    void run.run(() => {})
    const asked = iterated[Symbol.asyncIterator]().next()
    shut.close()
    expect(() => serve(run, server)).toThrow(new TypeError('the listener runs already, or is being iterated over'))
    expect(() => serve(iterated, server)).toThrow(TypeError)
    expect(() => serve(shut, server)).toThrow(new TypeError('the listener is closed'))
    expect(server.listening).toBe(false)
    serve(other, server)
    const second = listen(anyPort)
    expect(() => serve(second, server)).toThrow(expect.objectContaining({ code: 'ERR_SERVER_ALREADY_LISTEN' }))
    expect(() => server.listen(0)).toThrow(expect.objectContaining({ code: 'ERR_SERVER_ALREADY_LISTEN' }))
    expect([run.closed, iterated.closed, second.closed, other.closed]).toEqual([false, false, false, false])
    for (const listener of [run, iterated, second]) listener.close()
    await asked
    await close(server)
  })
})

describe('clients of other implementations', () => {
  it.for([
    ['http', []],
    ['http', ['--http2-prior-knowledge']],
    ['https', []],
    ['https', ['--http2']],
  ] as const)('curl: %s %j', async ([scheme, flags], test) => {
    skipUnless(test, needProgram('curl'), needProgram('openssl'))
    const pair = await temporaryCertificate()
    const isHttp2 = flags.length > 0
    const answer = (request: http.IncomingMessage | http2.Http2ServerRequest) =>
      `${request.httpVersion} ${request.socket.remoteAddress} ${request.socket.remotePort} ${request.socket.localPort}`
    const body = Buffer.alloc(1_000_000, 'x')
    const onRequest = (request: http.IncomingMessage, response: http.ServerResponse) => {
      response.setHeader('x-seen', answer(request))
      request.pipe(response)
    }
    const server =
      scheme === 'http'
        ? isHttp2
          ? http2.createServer(onRequest as never)
          : http.createServer(onRequest)
        : isHttp2
          ? http2.createSecureServer(pair, onRequest as never)
          : https.createServer(pair, onRequest)
    await overOurs(server)
    const { port } = server.address() as AddressInfo
    const asked = [
      '-sS',
      '--noproxy',
      '*',
      '--cacert',
      pair.certFile,
      '--data-binary',
      '@-',
      '-o',
      '/dev/null',
      ...flags,
    ]
    const told = '%{http_version} %{header_json} %{size_download} %{local_port}'
    const said = await runProgram('curl', [...asked, '-w', told, `${scheme}://127.0.0.1:${port}/`], { input: body })
    const [, version, size, localPort] = said.match(/^(\S+) .* (\d+) (\d+)$/s) as string[]
    expect([version, size]).toEqual([isHttp2 ? '2' : '1.1', String(body.length)])
    expect(said).toContain(`${isHttp2 ? '2.0' : '1.1'} 127.0.0.1 ${localPort} ${port}`)
    await close(server)
  })

  it('openssl s_client gets an answer', async (test) => {
    skipUnless(test, needProgram('openssl'))
    const pair = await temporaryCertificate()
    const server = tls.createServer(pair, (socket) => {
      socket.once('data', (chunk) => socket.end(`${chunk}, ${socket.remoteAddress}`))
    })
    await overOurs(server)
    const { port } = server.address() as AddressInfo
    const verified = ['-verify_return_error', '-CAfile', pair.certFile, '-servername', 'localhost']
    const said = await runProgram('openssl', ['s_client', '-connect', `127.0.0.1:${port}`, '-quiet', ...verified], {
      input: 'hello',
    })
    expect(said).toBe('hello, 127.0.0.1')
    await close(server)
  })

  it('Python’s ssl exchanges data, and disconnects during the handshake', async (test) => {
    skipUnless(test, needProgram('python3'), needProgram('openssl'))
    const pair = await temporaryCertificate()
    const server = tls.createServer(pair, (socket) => socket.on('error', ignore).pipe(socket))
    const failed = once(server, 'tlsClientError')
    await overOurs(server)
    const { port } = server.address() as AddressInfo
    const said = await runPython(
      `
import socket, ssl, sys
port, ca = int(sys.argv[1]), sys.argv[2]
context = ssl.create_default_context(cafile=ca)
with socket.create_connection(('127.0.0.1', port)) as raw:
    with context.wrap_socket(raw, server_hostname='localhost') as secure:
        secure.sendall(b'x' * 1000000)
        got = 0
        while got < 1000000: got += len(secure.recv(65536))
        print(got)
incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
half = context.wrap_bio(incoming, outgoing, server_hostname='localhost')
try: half.do_handshake()
except ssl.SSLWantReadError: pass
with socket.create_connection(('127.0.0.1', port)) as raw:
    raw.sendall(outgoing.read()[:100])
    raw.shutdown(socket.SHUT_WR)
    print(raw.recv(1))
`,
      String(port),
      pair.certFile,
    )
    expect(said).toBe("1000000\nb''\n")
    expect((await failed)[0]).toMatchObject({ code: 'ECONNRESET' })
    await close(server)
  })
})

/** The listener for the errors of a TLS connection whose client closes without a word. Node.js has it itself since 20.20. */
const ignore = () => {}

type Kind = 'net' | 'tls' | 'http' | 'https' | 'http2' | 'http2s'

/** A server that reports each socket that it passes to its program. */
function serverOf(kind: Kind, options: tls.TlsOptions, see: (socket: net.Socket) => void = () => {}): net.Server {
  const onRequest = (request: http.IncomingMessage, response: http.ServerResponse) => {
    see(request.socket)
    response.end('hello')
  }
  const makers: Record<Kind, () => net.Server> = {
    net: () => net.createServer(see),
    tls: () => tls.createServer(options, see),
    http: () => http.createServer(onRequest),
    https: () => https.createServer(options, onRequest),
    http2: () => http2.createServer(onRequest as never),
    http2s: () => http2.createSecureServer(options, onRequest as never),
  }
  return makers[kind]()
}

/** The addresses of both ends, as a socket reports them. */
function namesOf(socket: net.Socket): object {
  const { remoteAddress, remotePort, remoteFamily, localAddress, localPort, localFamily } = socket
  return { remoteAddress, remotePort, remoteFamily, localAddress, localPort, localFamily, address: socket.address() }
}

/** Makes a server of that kind see a socket, over a connection that then ends. */
async function ask(kind: Kind, client: net.Socket, pair: Certificate): Promise<void> {
  if (kind === 'net') {
    client.end()
  } else if (kind === 'tls') {
    const socket = secure(client, pair)
    await once(socket, 'secureConnect')
    socket.resume().end()
  } else if (kind === 'http' || kind === 'https') {
    const createConnection = () => (kind === 'http' ? client : secure(client, pair))
    const request = http.get({ createConnection })
    const [response] = (await once(request, 'response')) as [http.IncomingMessage]
    await text(response)
  } else {
    const createConnection = () => (kind === 'http2' ? client : secure(client, pair, ['h2']))
    const session = http2.connect('http://localhost', { createConnection })
    expect(await text(session.request())).toBe('hello')
    session.close()
  }
  if (!client.closed) await once(client.resume(), 'close')
}

function secure(socket: net.Socket | SocketStream, { cert }: Certificate, ALPNProtocols?: string[]): tls.TLSSocket {
  return tls.connect({ socket, ca: cert, servername: 'localhost', ALPNProtocols })
}

/** The number of bytes until the end, which destroys nothing. */
async function lengthOf(socket: net.Socket): Promise<number> {
  let length = 0
  socket.on('data', (chunk) => {
    length += chunk.length
  })
  await once(socket.resume(), 'end')
  return length
}

async function get(server: net.Server, options: http.RequestOptions = {}): Promise<string> {
  const { port } = server.address() as AddressInfo
  const [response] = await once(http.get({ port, host: '127.0.0.1', ...options }), 'response')
  return await text(response)
}

function runNode(program: string): Promise<string> {
  return runProgram(process.execPath, ['--input-type=module', '--eval', program], { cwd: import.meta.dirname })
}

async function close(server: net.Server): Promise<void> {
  await new Promise((resolve) => server.close(resolve))
}
