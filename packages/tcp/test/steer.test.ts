import { once } from 'node:events'
import { resolve } from 'node:path'
import { text } from 'node:stream/consumers'
import { pathToFileURL } from 'node:url'
import { Worker } from 'node:worker_threads'
import { type InetAddress, parseIpv4, parseIpv6, Socket } from '@linux-sockets/native-core'
import { AF_INET, SOCK_STREAM } from '@linux-sockets/native-core/constants'
import { detachReusePortFilter } from '@linux-sockets/native-core/filter'
import {
  createNamespace,
  expectErrno,
  guardDescriptors,
  needNamespaces,
  needProgram,
  runPython,
  skipUnless,
  spawnProgram,
  waitForLine,
} from '@linux-sockets/testkit'
import { describe, expect, it, onTestFinished } from 'vitest'
import { connect, listen, type Server, steerConnections } from '../src/index.js'
import { anyPort, runInNamespace } from './loopback.js'

guardDescriptors()

const clients = Array.from({ length: 40 }, (_, i) => `127.0.${i % 3}.${i + 1}`)

describe('steerConnections', () => {
  it('sends all connections of a client to one listener, and some clients to each listener', async () => {
    const [server] = group(3)
    steerConnections(server, 'client', 3)
    const answers = await Promise.all(clients.map((client) => answersTo(client, server.address)))
    expect(answers).toEqual(clients.map((client) => Array(3).fill(String(hash(client) % 3))))
    expect(new Set(answers.flat()).size).toBe(3)
  })

  it('does the same across Workers', async () => {
    const [server] = group(1)
    for (const name of ['1', '2']) await startWorker(server.address, name)
    steerConnections(server, 'client', 3)
    const answers = await Promise.all(clients.map((client) => answersTo(client, server.address)))
    expect(answers).toEqual(clients.map((client) => Array(3).fill(String(hash(client) % 3))))
  })

  it('does the same across processes', async () => {
    const [server] = group(1)
    for (const name of ['1', '2']) await startProcess(server.address, name)
    steerConnections(server, 'client', 3)
    const answers = await Promise.all(clients.map((client) => answersTo(client, server.address)))
    expect(answers).toEqual(clients.map((client) => Array(3).fill(String(hash(client) % 3))))
  })

  it('reads the IPv4 header if an IPv6 socket listens for both', async () => {
    const [server] = group(4, { family: 'ipv6', address: '::', port: 0 }, false)
    const { port } = server.address
    steerConnections(server, 'client', 4)
    const answers = clients.map((client) => answersTo(client, { ...anyPort, port }))
    expect(await Promise.all(answers)).toEqual(clients.map((client) => Array(3).fill(String(hash(client) % 4))))
  })

  it('distinguishes IPv6 clients by each part of their address', async (test) => {
    skipUnless(test, needNamespaces())
    const addresses = ['fd00::1', 'fd00::2', 'fd00::1:0:0:1', 'fd00::1:0:0:0:1', 'fd00:7::1', 'fd00:7:0:9:8::1']
    const namespace = createNamespace()
    for (const address of addresses) {
      await namespace.run('ip', ['address', 'add', `${address}/128`, 'dev', 'lo', 'nodad'])
    }
    const answers = await runInNamespace(
      namespace,
      `
      import { text } from 'node:stream/consumers'
      import { connect, listen, steerConnections } from '@linux-sockets/tcp'
      const servers = []
      for (let i = 0; i < 5; i++) {
        const address = servers[0]?.address ?? { family: 'ipv6', address: '::', port: 0 }
        const server = listen(address, { reusePort: true })
        server.run((stream) => stream.resume().end(String(i)))
        servers.push(server)
      }
      steerConnections(servers[0], 'client', 5)
      const answers = []
      for (const address of ${JSON.stringify(addresses)}) {
        const localAddress = { family: 'ipv6', address, port: 0 }
        answers.push(Number(await text(await connect({ ...servers[0].address, address: 'fd00::1' }, { localAddress }))))
      }
      console.log(JSON.stringify(answers))
      process.exit()
    `,
    )
    const expected = addresses.map((address) => {
      const bytes = Buffer.from(parseIpv6(address, 'address'))
      return mixed(bytes.readInt32BE(0) ^ bytes.readInt32BE(4) ^ bytes.readInt32BE(8) ^ bytes.readInt32BE(12)) % 5
    })
    expect(answers).toEqual(expected)
    expect(new Set(expected).size).toBeGreaterThan(3)
  })

  it('sends connections to the listener of their CPU', async (test) => {
    skipUnless(test, needProgram('python3'))
    const [server] = group(2)
    steerConnections(server, 'cpu', 2)
    const said = await runPython(
      `
import os, socket, sys
for cpu in os.sched_getaffinity(0):
    os.sched_setaffinity(0, {cpu})
    for _ in range(5):
        with socket.create_connection(('127.0.0.1', int(sys.argv[1]))) as peer:
            print(cpu % 2, peer.recv(10).decode())
`,
      String(server.address.port),
    )
    const pairs = said.trim().split('\n')
    expect(pairs.length).toBeGreaterThanOrEqual(5)
    for (const pair of pairs) expect(['0 0', '1 1']).toContain(pair)
  })

  it('ends with detachReusePortFilter', async () => {
    const [server] = group(2)
    steerConnections(server, 'client', 1)
    const before = await Promise.all(clients.map((client) => answersTo(client, server.address)))
    expect(new Set(before.flat())).toEqual(new Set(['0']))
    detachReusePortFilter(server)
    const after = await Promise.all(clients.map((client) => answersTo(client, server.address)))
    expect(new Set(after.flat())).toEqual(new Set(['0', '1']))
  })

  it('refuses unknown ways, invalid counts, and a listener that shares no port', () => {
    using socket = Socket.open(AF_INET, SOCK_STREAM)
    expect(() => steerConnections(socket, 'hash' as never, 2)).toThrow(TypeError)
    expect(() => steerConnections(socket, 'toString' as never, 2)).toThrow(TypeError)
    for (const count of [0, 1.5, 65_536]) expect(() => steerConnections(socket, 'cpu', count)).toThrow(RangeError)
    socket.bind(anyPort)
    expectErrno(() => steerConnections(socket, 'cpu', 2), 'EINVAL')
  })
})

/** Listeners that share an address, closed when the running test ends. Each answers with its index. */
function group(count: number, address: InetAddress = anyPort, v6only = true): [Server, ...Server[]] {
  const listeners: Server[] = []
  onTestFinished(() => {
    for (const listener of listeners) listener.close()
  })
  for (let i = 0; i < count; i++) {
    const listener = listen(listeners[0]?.address ?? address, { reusePort: true, v6only })
    listener.run((stream) => stream.resume().end(String(i)))
    listeners.push(listener)
  }
  return listeners as [Server, ...Server[]]
}

/** A Worker that also listens at the address, and answers with its name. It runs the built package. */
async function startWorker(address: InetAddress, name: string): Promise<void> {
  const worker = new Worker(
    `const { parentPort, workerData: { tcp, address, name } } = require('node:worker_threads')
     import(tcp).then(({ listen }) => {
       const server = listen(address, { reusePort: true })
       server.run((stream) => stream.resume().end(name))
       parentPort.postMessage('listening')
     })`,
    {
      eval: true,
      workerData: { tcp: pathToFileURL(resolve(import.meta.dirname, '../dist/index.js')).href, address, name },
    },
  )
  onTestFinished(async () => {
    await worker.terminate()
  })
  await once(worker, 'message')
}

/** A process that also listens at the address, and answers with its name. It runs the built package. */
async function startProcess(address: InetAddress, name: string): Promise<void> {
  const program = `
    import { listen } from '@linux-sockets/tcp'
    const server = listen(${JSON.stringify(address)}, { reusePort: true })
    server.run((stream) => stream.resume().end('${name}'))
    console.log('listening')`
  const args = ['--input-type=module', '--eval', program]
  await waitForLine(spawnProgram(process.execPath, args, { cwd: resolve(import.meta.dirname, '..') }), /listening/)
}

/** The answers to three connections of a client. */
async function answersTo(client: string, server: InetAddress): Promise<string[]> {
  const localAddress = {
    family: client.includes(':') ? ('ipv6' as const) : ('ipv4' as const),
    address: client,
    port: 0,
  }
  const answers: string[] = []
  for (let i = 0; i < 3; i++) answers.push(await text(await connect(server, { localAddress })))
  return answers
}

function hash(client: string): number {
  return mixed(Buffer.from(parseIpv4(client, 'client')).readUint32BE())
}

function mixed(word: number): number {
  return Math.imul(word, 0x9e37_79b1) >>> 16
}
