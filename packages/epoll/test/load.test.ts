import { spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { connect } from 'node:net'
import { type AddressLike, type Ipv4Address, Socket } from '@linux-sockets/native-core'
import { AF_INET, SOCK_STREAM } from '@linux-sockets/native-core/constants'
import { guardDescriptors, type Need, needProgram, skipUnless, spawnProgram, waitForLine } from '@linux-sockets/testkit'
import { describe, expect, it } from 'vitest'
import { adopt, type Connection, connect as dial, Reactor, serve } from '../src/index.js'
import { startServer } from './child.js'

guardDescriptors()

function listening(): Socket {
  const socket = Socket.open(AF_INET, SOCK_STREAM)
  socket.bind({ family: 'ipv4', address: '127.0.0.1', port: 0 })
  socket.listen(1024)
  return socket
}

describe('a reader that is slow', () => {
  it('makes an echo stop reading, and gets everything in the end', async () => {
    using reactor = new Reactor()
    const highWaterMark = 100_000
    const server = serve(
      reactor,
      listening(),
      {
        data(connection, chunk) {
          if (!connection.write(chunk)) connection.pause()
        },
        drain: (connection) => connection.resume(),
      },
      { highWaterMark },
    )
    const client = connect((server.address as Ipv4Address).port, '127.0.0.1').pause()
    await once(client, 'connect')
    const sent = Buffer.alloc(32 << 20, 'x')
    client.end(sent)
    // Until neither side accepts more bytes.
    await expect.poll(() => [...server.connections][0]?.queuedBytes ?? 0).toBeGreaterThan(highWaterMark)
    let received = 0
    for await (const chunk of client) received += chunk.length
    expect(received).toBe(sent.length)
    await server.drain()
    // The bytes of one receive are queued before the echo can stop reading.
    expect(server.statistics.peakQueuedBytes).toBeLessThanOrEqual(highWaterMark + 64 * 1024)
  })

  it('is dropped at maxQueuedBytes if the server ignores the high mark', async () => {
    using reactor = new Reactor()
    const errors: unknown[] = []
    const server = serve(
      reactor,
      listening(),
      {
        data: (connection, chunk) => void connection.write(chunk),
        error: (_connection, error) => errors.push((error as NodeJS.ErrnoException).code),
      },
      { maxQueuedBytes: 1 << 20 },
    )
    const client = connect((server.address as Ipv4Address).port, '127.0.0.1').pause()
    const closed = new Promise((resolve) => client.on('error', resolve))
    client.write(Buffer.alloc(64 << 20))
    await closed
    await server.drain()
    expect(errors).toEqual(['ENOBUFS'])
    expect(server.statistics.peakQueuedBytes).toBeLessThanOrEqual(1 << 20)
  })
})

describe('clients that send only half a request', () => {
  it('are ended by the read timeout, cost little until then, and do not keep others from being served', async () => {
    const server = await startServer(
      `import { lines } from '@linux-sockets/epoll'
      const errors = []
      const heaps = []
      let halves = 0
      const server = serve(reactor, listening, {
        state: () => lines(),
        data(connection, chunk) {
          connection.state.push(chunk, (line) => connection.write(Buffer.concat([line, Buffer.of(10)])))
          // Once with the first of them, and once with them all.
          if (connection.state.buffered > 0 && (++halves === 1 || halves === ${SLOW})) heaps.push(heap())
        },
        error: (_connection, error) => { errors.push(error.code) },
      }, { readTimeout: 2500 })
      orders.errors = () => errors
      orders.heaps = () => [...heaps, heap()]
      orders.open = () => server.connections.size
      ${HEAP}`,
      { flags: ['--expose-gc'] },
    )
    const dial = () => connect(server.port, '127.0.0.1').on('error', () => {})
    const slow = Array.from({ length: SLOW }, () => {
      const client = dial()
      client.write('GET /')
      return once(client, 'close')
    })
    let gone = false
    const allGone = Promise.all(slow).then(() => {
      gone = true
    })
    const polite = dial()
    let exchanges = 0
    while (!gone) {
      polite.write('GET / HTTP/1.0\n')
      await once(polite, 'data')
      exchanges++
    }
    await allGone
    expect(await server.ask('errors')).toEqual(new Array(SLOW).fill('ETIMEDOUT'))
    expect(exchanges).toBeGreaterThan(1)
    expect(await server.ask('open')).toBe(1)
    const [first, all, after] = await server.ask<[number, number, number]>('heaps')
    // How many of them were open already at the first measurement depends on the machine.
    expect((all - first) / SLOW).toBeLessThanOrEqual(4096)
    expect((after - first) / SLOW).toBeLessThanOrEqual(1024)
    polite.destroy()
    await server.end()
  })
})

describe('a client that never stops sending', () => {
  it('does not keep other clients from being served', async () => {
    using reactor = new Reactor()
    let greedyReads = 0
    const data = Buffer.alloc(256 * 1024)
    const source = new Map<Connection, Socket>()
    // Its socket is full again before the next receive: without a budget the first turn would never end.
    const refill = (socket: Socket) => {
      while (socket.send(data) !== null);
    }
    const greedy = Array.from({ length: 3 }, () => {
      const target = listening()
      const socket = Socket.open(AF_INET, SOCK_STREAM)
      socket.connect(target.localName)
      const accepted = target.accept() as Socket
      target.close()
      const connection = adopt(reactor, accepted, {
        data: (from) => {
          greedyReads++
          refill(source.get(from) as Socket)
        },
      })
      source.set(connection, socket)
      refill(socket)
      return { connection, socket }
    })
    const server = serve(reactor, listening(), { data: (connection, chunk) => void connection.write(chunk) })
    const readsAt: number[] = []
    let finished = () => {}
    const done = new Promise<void>((resolve) => {
      finished = resolve
    })
    dial(reactor, server.address as AddressLike, {
      open: (polite) => void polite.write(Buffer.from('ping')),
      data: (polite, chunk) => {
        readsAt.push(greedyReads)
        if (readsAt.length < 200) polite.write(chunk)
        else polite.end()
      },
      close: () => finished(),
    })
    await done
    for (const { connection, socket } of greedy) {
      connection.abort()
      socket.close()
    }
    await server.drain()
    expect(greedyReads).toBeGreaterThan(200)
    // An exchange takes a few turns, each with four receives for every greedy one: the median, as the kernel may deliver late.
    const between = readsAt.slice(1).map((reads, i) => reads - (readsAt[i] as number))
    expect(between.sort((a, b) => a - b)[99]).toBeLessThanOrEqual(6 * 4 * greedy.length)
  })
})

describe('a flood of connections', () => {
  it('beyond the limit of descriptors is survived, and leaves nothing behind', async () => {
    const server = await startServer(
      `const server = serve(reactor, listening, { data: (connection, chunk) => void connection.write(chunk) })
      orders.statistics = () => server.statistics
      orders.open = () => server.connections.size
      orders.heap = heap
      ${HEAP}`,
      { wrapper: ['sh', '-c', 'ulimit -n 64; exec "$0" "$@"'], flags: ['--expose-gc'] },
    )
    const dial = () => connect(server.port, '127.0.0.1').on('error', () => {})
    const before = await server.ask<number>('heap')
    const flood = Array.from({ length: FLOOD }, dial)
    const gone = flood.map((client) => once(client.resume(), 'close'))
    // Connections beyond the limit are closed, not left waiting.
    await expect
      .poll(() => server.ask<{ dropped: number }>('statistics'))
      .toMatchObject({
        dropped: expect.toSatisfy((dropped: number) => dropped > 0),
      })
    for (const client of flood) client.destroy()
    await Promise.all(gone)
    const client = dial()
    client.write('still here')
    expect(String((await once(client, 'data'))[0])).toBe('still here')
    client.destroy()
    await expect.poll(() => server.ask('open')).toBe(0)
    const after = await server.ask<number>('heap')
    expect((after - before) / FLOOD).toBeLessThanOrEqual(2048)
    await server.end()
  })
})

describe('10 000 idle connections', () => {
  it('take less than 1 KiB of the heap each, and any of them is served at once', async (test) => {
    skipUnless(test, needProgram('python3'), needDescriptors(COUNT + 100))
    const server = await startServer(
      `const server = serve(reactor, listening, { data: (connection, chunk) => void connection.write(chunk) })
      orders.open = () => server.connections.size
      orders.heap = heap
      ${HEAP}`,
      { wrapper: ['sh', '-c', `ulimit -n ${COUNT + 100}; exec "$0" "$@"`], flags: ['--expose-gc'] },
    )
    const clients = spawnProgram('sh', [
      '-c',
      `ulimit -n ${COUNT + 100}; exec python3 -u -c "$0" "$@"`,
      CLIENTS,
      `${server.port}`,
    ])
    await waitForLine(clients, /^100 /)
    const before = await server.ask<number>('heap')
    clients.process.stdin?.write(`${COUNT - 100}\n`)
    await waitForLine(clients, new RegExp(`^${COUNT} `))
    await expect.poll(() => server.ask('open')).toBe(COUNT)
    const after = await server.ask<number>('heap')
    expect((after - before) / (COUNT - 100)).toBeLessThanOrEqual(1024)
    clients.process.stdin?.write('0\n')
    await waitForLine(clients, /^served/)
    clients.process.kill('SIGKILL')
    await expect.poll(() => server.ask('open')).toBe(0)
    await server.end()
  })
})

const COUNT = 10_000
const SLOW = 200
const FLOOD = 500

/** The size of a server's heap in bytes. */
const HEAP = `
  function heap() {
    for (let i = 0; i < 4; i++) gc()
    const { heapUsed, external } = process.memoryUsage()
    return heapUsed + external
  }`

/** Opens a number of connections, and finally has one in a hundred of them echo something. */
const CLIENTS = `
import socket, struct, sys
clients = []
def dial(count):
    for _ in range(count):
        s = socket.create_connection(('127.0.0.1', int(sys.argv[1])))
        # They end with a reset, and leave no port waiting.
        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
        clients.append(s)
    print(len(clients), 'open')
dial(100)
dial(int(sys.stdin.readline()))
sys.stdin.readline()
for s in clients[::100]: s.sendall(b'ping')
for s in clients[::100]: assert s.recv(4) == b'ping'
print('served')
sys.stdin.readline()
`

function needDescriptors(count: number): Need {
  const { status } = spawnSync('sh', ['-c', `ulimit -n ${count}`])
  return status === 0 ? null : `not allowed to open ${count} descriptors`
}
