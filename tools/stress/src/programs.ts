import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import net from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import tls from 'node:tls'
import { ifindexOf, interfaceNameOf, interfaces, resolve, reverse, watchInterfaces } from '@linux-sockets/addr'
import {
  type Connection,
  connect as connectOn,
  Epoll,
  EpollEvents,
  listen as listenOn,
  Reactor,
  type ServeOptions,
} from '@linux-sockets/epoll'
import {
  dup,
  eventfd,
  type FdLike,
  getOption,
  ioctl,
  type OwnedFd,
  pipe,
  readable,
  readv,
  Socket,
  type SocketAddress,
  setOption,
  tee,
  writable,
  writev,
} from '@linux-sockets/native-core'
import {
  AF_INET,
  AF_UNIX,
  EPOLLIN,
  EPOLLOUT,
  SHUT_WR,
  SIOCINQ,
  SOCK_DGRAM,
  SOCK_SEQPACKET,
  SOCK_STREAM,
} from '@linux-sockets/native-core/constants'
import { attachEpoll, EPOLL_EVENT_WORDS, epollControl, epollCreate } from '@linux-sockets/native-core/epoll'
import { SO_KEEPALIVE, SO_RCVBUF } from '@linux-sockets/native-core/options'
import {
  DatagramChannel,
  type DatagramHandlers,
  type SocketStream,
  toNetServer,
  toNetSocket,
} from '@linux-sockets/native-core/streams'
import {
  connect,
  listen,
  relay,
  sendFile,
  setKeepAlive,
  TCP_NODELAY,
  tcpInfo,
  ZeroCopyStream,
} from '@linux-sockets/tcp'
import { UdpSocket } from '@linux-sockets/udp-mcast'
import * as unix from '@linux-sockets/unix-fdpass'
import { expectBytes, MissingBytes, pattern } from './bytes.js'

/** Called for every error that the program gets, except the one that rejects its own promise. */
export type Tell = (error: unknown) => void

/**
 * Uses the packages as a careful program would: it reports every error, closes everything, and leaves nothing to wait for.
 * Throws WrongBytes, MissingBytes, or an error after which it can't go on.
 */
export type Program = (tell: Tell) => Promise<void>

const loopback = { family: 'ipv4', address: '127.0.0.1', port: 0 } as const
const anyName = () => ({ family: 'unix', abstract: Buffer.from(`stress ${process.pid}`) }) as const
const half = { allowHalfOpen: true }
const data = pattern(300_000)

export const programs: Readonly<Record<string, Program>> = {
  async 'tcp streams'(tell) {
    using server = listen(loopback, { delayed: tell })
    server.run((stream) => echo(stream, tell)).catch(tell)
    await exchange(await connect(server.address, { prepare: (socket) => setOption(socket, TCP_NODELAY, true) }))
    // A second time, when everything that is made only once exists.
    await exchange(await connect(server.address))
    await server.drain()
  },

  async 'unix streams'(tell) {
    const name = anyName()
    using server = unix.listen(name, { delayed: tell })
    server.run((stream) => echo(stream, tell)).catch(tell)
    await exchange(await unix.connect(name))
    await server.drain()
  },

  async iteration(tell) {
    using server = listen([loopback, { ...loopback, address: '127.0.0.2' }], { delayed: tell })
    const clients = Promise.allSettled(server.addresses.map(async (address) => exchange(await connect(address))))
    clients.then((outcomes) => {
      for (const outcome of outcomes) if (outcome.status === 'rejected') tell(outcome.reason)
      server.close()
    })
    for await (const stream of server) echo(stream, tell)
    await clients
  },

  async reactor(tell) {
    await withReactor(tell, () => {})
  },

  async 'reactor that runs'(tell) {
    await withReactor(tell, (reactor) => reactor.run().catch(tell))
  },

  async 'exclusive server'(tell) {
    await withReactor(tell, () => {}, { exclusive: true, maxConnections: 1 })
  },

  async datagrams(tell) {
    const handlers = { error: tell }
    await using a = channel(bound(AF_INET, SOCK_DGRAM), { ...handlers, datagram: (d) => seen(d.data) })
    await using b = channel(bound(AF_INET, SOCK_DGRAM), {
      ...handlers,
      datagram: ({ data, address }) => void b.send(Uint8Array.from(data), address as SocketAddress),
    })
    const pieces = Array.from({ length: 40 }, (_, i) => pattern(1000, i))
    const back: Buffer[] = []
    let all!: () => void
    const done = new Promise<void>((resolve) => {
      all = resolve
    })
    const seen = (piece: Buffer) => {
      back.push(Buffer.from(piece))
      if (back.length === pieces.length) all()
    }
    const to = b.socket.localName
    for (const piece of pieces) a.send(piece, to)
    await a.flush()
    // Datagrams may be lost, and those that the kernel refused were reported.
    await within(2000, done)
    for (const piece of back) {
      const sent = pieces.find((candidate) => candidate.equals(piece))
      if (sent === undefined) expectBytes('a datagram', piece, pieces[0] as Buffer)
    }
    if (back.length < pieces.length) throw new MissingBytes(`${back.length} of ${pieces.length} datagrams came back`)
  },

  async 'unix datagrams'(tell) {
    const [mine, yours] = Socket.pair(AF_UNIX, SOCK_SEQPACKET)
    // Closes the socket if the channels can't be made.
    using _mine = mine
    using receiver = channel(yours, { error: tell })
    using sender = channel(mine, { error: tell })
    const pieces = Array.from({ length: 300 }, (_, i) => pattern(500, i))
    for (const piece of pieces) sender.send(piece)
    sender.drain().catch(tell)
    const came: Buffer[] = []
    for await (const datagram of receiver) came.push(datagram.data)
    for (const piece of came) {
      if (!pieces.some((sent) => sent.equals(piece))) expectBytes('a message', piece, pieces[0] as Buffer)
    }
    if (came.length < pieces.length) throw new MissingBytes(`${came.length} of ${pieces.length} messages came`)
  },

  async udp(tell) {
    const group = '239.255.7.7'
    const settings = {
      address: '0.0.0.0:0',
      receive: { arrival: true, ttl: true, timestamp: 'ns', only: true },
    } as const
    using echoing = UdpSocket.open(settings, {
      error: tell,
      batch(batch) {
        for (const datagram of batch) echoing.reply(datagram, Buffer.from(datagram.data))
      },
    })
    const back: Buffer[] = []
    let all!: () => void
    const done = new Promise<void>((resolve) => {
      all = resolve
    })
    await using asking = UdpSocket.open(settings, {
      error: tell,
      datagram({ data }) {
        if (back.push(Buffer.from(data)) === pieces.length) all()
      },
    })
    const { port } = echoing.localName
    const address = { family: 'ipv4', address: '127.0.0.5', port } as const
    const pieces = Array.from({ length: 48 }, (_, i) => pattern(500, i))
    echoing.join(group, { interface: 'lo' })
    asking.sendBatch(pieces.slice(0, 20).map((data) => ({ data, address })))
    asking.send(Buffer.concat(pieces.slice(20, 40)), address, { segmentSize: 500 })
    for (const data of pieces.slice(40, 44)) await asking.sendAsync(data, address, { ttl: 9 }).catch(tell)
    for (const data of pieces.slice(44, 46)) await asking.sendTimestamped(data, address, { timeout: 500 }).catch(tell)
    for (const data of pieces.slice(46)) asking.send(data, { ...address, address: group }, { interface: 'lo' })
    await asking.flush()
    await within(2000, done)
    echoing.leave(group, { interface: 'lo' })
    for (const piece of back) {
      if (!pieces.some((sent) => sent.equals(piece))) expectBytes('a datagram', piece, pieces[0] as Buffer)
    }
    if (back.length < pieces.length) throw new MissingBytes(`${back.length} of ${pieces.length} datagrams came back`)
  },

  async relay(tell) {
    using server = listen(loopback, { delayed: tell, stream: half })
    using proxy = listen(loopback, { delayed: tell, stream: half })
    server.run((stream) => echo(stream, tell)).catch(tell)
    const tap = pipe()
    const tapped = drain(tap.read).catch(tell)
    proxy
      .run(async (client) => {
        client.on('error', tell)
        try {
          const upstream = await connect(server.address, { stream: half })
          upstream.on('error', tell)
          await relay(client, upstream, { tap: { aToB: tap.write } })
        } catch (error) {
          tell(error)
          client.destroy()
        } finally {
          closing(tap.write, tell)
        }
      })
      .catch(tell)
    try {
      await exchange(await connect(proxy.address))
    } finally {
      proxy.close()
      if (proxy.statistics.accepted === 0) closing(tap.write, tell)
      await tapped
      closing(tap.read, tell)
    }
  },

  async 'send a file'(tell) {
    const directory = mkdtempSync(join(tmpdir(), 'stress-'))
    const path = join(directory, 'file')
    writeFileSync(path, data)
    using server = listen(loopback, { delayed: tell })
    server
      .run(async (stream) => {
        stream.on('error', tell)
        try {
          stream.write(data.subarray(0, 1000))
          await sendFile(stream, path, { start: 1000, end: 199_999 })
          await sendFile(stream, '/proc/self/stat', { end: 0 })
          stream.end()
        } catch (error) {
          tell(error)
          stream.resetAndDestroy()
        }
      })
      .catch(tell)
    try {
      const came = await buffered(await connect(server.address))
      const [{ length }, last] = [came, came.subarray(200_000)]
      expectBytes('the file', came.subarray(0, 200_000), data.subarray(0, 200_000))
      if (length > 200_000) expectBytes('the file of /proc', last, readFileSync('/proc/self/stat').subarray(0, 1))
    } finally {
      rmSync(directory, { recursive: true })
    }
  },

  descriptors: (tell) =>
    owning(tell, async (keep) => {
      const [mine, yours] = unix.unixPair().map(keep) as [Socket, Socket]
      const { read, write } = pipe()
      keep(read)
      keep(write)
      while (unix.sendDescriptors(mine, [read, write], Buffer.from('ends')) === null) await writable(mine)
      const message = await soon(yours, () => unix.receiveDescriptors(yours, { max: 2 }))
      const [from, to] = message.descriptors.map(keep) as [OwnedFd, OwnedFd]
      expectBytes('the message', message.data, Buffer.from('ends'))
      const [sent, came] = [pattern(100), Buffer.alloc(200)]
      while (writev(to, [sent.subarray(0, 50), sent.subarray(50)]) === null) await writable(to)
      const length = await soon(from, () => readv(from, [came]))
      expectBytes('the pipe', came.subarray(0, length), sent)
    }),

  async names(tell) {
    const lookups = [
      () => resolve('localhost', 80),
      () => resolve('127.0.0.1', 80),
      () => resolve('::1'),
      () => reverse({ family: 'ipv4', address: '127.0.0.1', port: 80 }),
    ]
    // A lookup that fails must not affect the next one.
    for (const lookup of [...lookups, ...lookups]) await lookup().catch(tell)
    const last = await Promise.allSettled(lookups.map((lookup) => lookup()))
    for (const outcome of last) if (outcome.status === 'rejected') tell(outcome.reason)
    const all = interfaces()
    if (!all.some(({ name }) => name === 'lo')) throw new MissingBytes('the loopback interface')
    if (interfaceNameOf(ifindexOf('lo') as number) !== 'lo') throw new MissingBytes('the name of lo')
  },

  async 'interface changes'(tell) {
    const watch = watchInterfaces()
    try {
      if (!watch.interfaces.some(({ name }) => name === 'lo')) throw new MissingBytes('the loopback interface')
      setImmediate(() => watch.close())
      for await (const { type } of watch) tell(new Error(`a change: ${type}`))
    } finally {
      watch.close()
    }
  },

  epoll: (tell) =>
    owning(tell, async (keep) => {
      const [a, b] = Socket.pair(AF_UNIX, SOCK_STREAM).map(keep) as [Socket, Socket]
      const counter = keep(eventfd(0))
      const epoll = keep(new Epoll())
      const events = new EpollEvents(4)
      epoll.add(b, EPOLLIN, 7n)
      epoll.add(counter, EPOLLIN)
      epoll.modify(counter, EPOLLIN | EPOLLOUT)
      epoll.delete(counter)
      const [sent, came] = [pattern(100), Buffer.alloc(100)]
      while (a.send(sent) === null) await writable(a)
      let length: number | null = null
      for (let turn = 0; length === null && turn < 100; turn++) {
        epoll.wait(events, 100)
        if (events.count > 0 && events.data(0) === 7n) length = b.recv(came)
      }
      expectBytes('what the pair carried', came.subarray(0, length ?? 0), sent)
      epoll.wait(events, 2.5)
      epoll.delete(b)
    }),

  'an attached epoll': (tell) =>
    owning(tell, async (keep) => {
      const [a, b] = Socket.pair(AF_UNIX, SOCK_STREAM).map(keep) as [Socket, Socket]
      const epoll = keep(epollCreate())
      epollControl(epoll, 1, b, EPOLLIN)
      const [sent, came] = [pattern(100), Buffer.alloc(100)]
      while (a.send(sent) === null) await writable(a)
      const length = await new Promise<number>((resolve, reject) => {
        const attached = attachEpoll(epoll, new Uint32Array(EPOLL_EVENT_WORDS * 4), () => {
          try {
            const length = b.recv(came)
            if (length === null) return
            resolve(length)
          } catch (error) {
            reject(error)
          }
          attached.stop()
        })
        attached.ref()
      })
      expectBytes('what the pair carried', came.subarray(0, length), sent)
    }),

  async options(tell) {
    using server = listen(loopback, { delayed: tell })
    server.pause()
    const stream = await connect(server.address)
    stream.on('error', tell)
    const steps = [
      () => setOption(stream, SO_RCVBUF, 100_000),
      () => getOption(stream, SO_RCVBUF),
      () => setOption(stream, SO_KEEPALIVE, true),
      () => setKeepAlive(stream, { idle: 10, interval: 1, count: 3 }),
      () => tcpInfo(stream).rtt,
      () => ioctl(stream, SIOCINQ),
      () => stream.localName,
      () => stream.peerName,
      () => dup(stream).close(),
      () => server.waiting,
    ]
    for (const step of [...steps, ...steps]) {
      try {
        step()
      } catch (error) {
        tell(error)
      }
    }
    stream.destroy()
  },

  async tls(tell) {
    const key = Buffer.alloc(32, 'k')
    const shared = { ciphers: 'PSK', maxVersion: 'TLSv1.2', minVersion: 'TLSv1.2' } as const
    using server = listen(loopback, { delayed: tell, stream: half })
    server
      .run((raw) => {
        raw.on('error', tell)
        const secure = new tls.TLSSocket(raw, {
          isServer: true,
          ...shared,
          pskCallback: () => key,
        } as tls.TLSSocketOptions)
        secure.on('error', tell)
        secure.on('end', () => secure.end())
        secure.pipe(secure, { end: false })
        raw.on('close', () => secure.destroy())
      })
      .catch(tell)
    const raw = await connect(server.address, { stream: half })
    raw.on('error', tell)
    const socket = tls.connect({
      socket: raw,
      ...shared,
      checkServerIdentity: () => undefined,
      pskCallback: () => ({ psk: key, identity: 'stress' }),
    })
    raw.on('close', () => socket.destroy())
    await exchange(socket)
  },

  'handed to Node': (tell) =>
    owning(tell, async (keep) => {
      const echoing = net.createServer((socket) => {
        socket.on('error', tell)
        socket.pipe(socket)
      })
      const server = keep(toNetServer(keep(bound(AF_INET, SOCK_STREAM)), echoing))
      server.on('error', tell)
      if (!server.listening) await new Promise((resolve) => server.once('listening', resolve))
      const client = keep(Socket.open(AF_INET, SOCK_STREAM))
      client.connect({ ...loopback, port: (server.address() as net.AddressInfo).port })
      await writable(client)
      await exchange(toNetSocket(client))
    }),

  'zero copy': (tell) =>
    owning(tell, async (keep) => {
      const listening = keep(bound(AF_INET, SOCK_STREAM))
      listening.listen()
      const client = keep(Socket.open(AF_INET, SOCK_STREAM))
      client.connect(listening.localName)
      const accepted = keep(await soon(listening, () => listening.accept()))
      const sender = new ZeroCopyStream(client)
      sender.on('error', tell)
      const sending = sender
        .sendZeroCopy(data)
        .then(() => sender.end())
        .catch((error) => {
          tell(error)
          sender.destroy()
        })
      const came = await drain(accepted)
      await sending
      sender.destroy()
      expectBytes('what was lent', came, data)
    }),

  'blocking calls': (tell) =>
    owning(tell, async (keep) => {
      const [a, b] = Socket.pair(AF_UNIX, SOCK_STREAM, 0, { blocking: true }).map(keep) as [Socket, Socket]
      const one = pipe()
      for (const end of Object.values(one)) keep(end)
      const two = pipe()
      for (const end of Object.values(two)) keep(end)
      const [sent, came] = [pattern(200), Buffer.alloc(300)]
      while (a.send(sent) === null);
      a.shutdown(SHUT_WR)
      let at = 0
      for (let length = b.recv(came); length !== 0; length = b.recv(came.subarray(at))) at += length ?? 0
      expectBytes('what was sent', came.subarray(0, at), sent)
      while (writev(one.write, [sent]) === null);
      while (tee(one.read, two.write, sent.length) === null);
      const length = await soon(two.read, () => readv(two.read, [came]))
      expectBytes('the copy', came.subarray(0, length), sent)
    }),
}

/** Sends all bytes, ends, and expects the same bytes back. */
async function exchange(stream: SocketStream | net.Socket): Promise<void> {
  const sending = new Promise<void>((resolve) => {
    stream.end(data, () => resolve())
    stream.once('close', resolve)
  })
  const came = await buffered(stream)
  await sending
  expectBytes('the echo', came, data)
}

async function buffered(stream: SocketStream | net.Socket): Promise<Buffer> {
  const pieces: Buffer[] = []
  for await (const piece of stream) pieces.push(piece)
  return Buffer.concat(pieces)
}

function echo(stream: SocketStream, tell: Tell): void {
  pipeline(stream, stream).catch(tell)
}

async function withReactor(tell: Tell, begin: (reactor: Reactor) => void, options: ServeOptions = {}): Promise<void> {
  const reactor = new Reactor()
  try {
    const server = listenOn(
      reactor,
      loopback,
      {
        data(connection, chunk) {
          if (!connection.write(chunk)) connection.pause()
        },
        drain: (connection) => connection.resume(),
        error: (_, error) => tell(error),
      },
      { ...options, delayed: tell, ended: tell },
    )
    begin(reactor)
    for (let round = 0; round < 2; round++) {
      await new Promise<void>((resolve, reject) => {
        const pieces: Buffer[] = []
        const client: Connection<undefined> = connectOn(reactor, server.address as SocketAddress, {
          data: (_, chunk) => void pieces.push(Buffer.from(chunk)),
          error: (_, error) => tell(error),
          close() {
            try {
              expectBytes('the echo', Buffer.concat(pieces), data)
              resolve()
            } catch (error) {
              reject(error)
            }
          },
        })
        client.write(data)
        client.end()
      })
    }
    await server.drain()
  } finally {
    reactor.close()
  }
}

/** Makes a channel, and closes the socket if that fails. */
function channel(socket: Socket, handlers: DatagramHandlers): DatagramChannel {
  try {
    return new DatagramChannel(socket, handlers)
  } catch (error) {
    socket.close()
    throw error
  }
}

function bound(family: number, type: number): Socket {
  const socket = Socket.open(family, type)
  try {
    socket.bind(loopback)
    return socket
  } catch (error) {
    socket.close()
    throw error
  }
}

/** Reads to the end, and returns all bytes. */
async function drain(fd: OwnedFd): Promise<Buffer> {
  const pieces: Buffer[] = []
  for (;;) {
    const piece = Buffer.alloc(65_536)
    const length = readv(fd, [piece])
    if (length === 0) return Buffer.concat(pieces)
    if (length === null) await readable(fd)
    else pieces.push(piece.subarray(0, length))
  }
}

/** Runs `body`, then closes everything that was passed to `keep`. Reports all errors. */
async function owning(
  tell: Tell,
  body: (keep: <T extends { close(): unknown }>(thing: T) => T) => Promise<void>,
): Promise<void> {
  const kept: { close(): unknown }[] = []
  try {
    await body((thing) => {
      kept.push(thing)
      return thing
    })
  } catch (error) {
    tell(error)
  }
  for (const thing of kept.reverse()) closing(thing, tell)
}

/** Waits until `fd` is readable and `take` returns something, and returns that. */
async function soon<T>(fd: FdLike, take: () => T | null): Promise<T> {
  for (;;) {
    await readable(fd, { signal: AbortSignal.timeout(10_000) })
    const taken = take()
    if (taken !== null) return taken
  }
}

function closing(thing: { close(): unknown }, tell: Tell): void {
  try {
    thing.close()
  } catch (error) {
    tell(error)
  }
}

async function within(milliseconds: number, promise: Promise<void>): Promise<void> {
  let timer: NodeJS.Timeout | undefined
  await Promise.race([
    promise,
    new Promise<void>((resolve) => {
      timer = setTimeout(resolve, milliseconds)
    }),
  ])
  clearTimeout(timer)
}
