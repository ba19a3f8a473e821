/** Tests the static file server and the proxy with curl as their client. */
import { randomBytes } from 'node:crypto'
import { mkdirSync, readFileSync, truncateSync, writeFileSync } from 'node:fs'
import { connect, type Socket } from 'node:net'
import { join, resolve } from 'node:path'
import { text } from 'node:stream/consumers'
import type { InetAddress } from '@linux-sockets/native-core'
import type { Server } from '@linux-sockets/tcp'
import {
  guardDescriptors,
  needProgram,
  type Program,
  runProgram,
  skipUnless,
  spawnProgram,
  temporaryDirectory,
  waitForLine,
} from '@linux-sockets/testkit'
import { expect, it, onTestFinished, vi } from 'vitest'
import { serveFiles } from '../src/static-files.js'

guardDescriptors()

const built = resolve(import.meta.dirname, '../dist')

it('the file server answers curl with files, ranges and refusals', async (test) => {
  skipUnless(test, needProgram('curl'))
  const { server, url, directory, data } = await fileServer()
  const curl = (path: string, ...args: string[]) => runProgram('curl', ['-sS', '--path-as-is', ...args, url + path])

  const [got, part] = [join(directory, '../got'), join(directory, '../part')]
  await curl('data', '-o', got)
  expect(readFileSync(got).equals(data)).toBe(true)
  await curl('data', '-o', part, '-r', '1000000-1999999')
  expect(readFileSync(part).equals(data.subarray(1_000_000, 2_000_000))).toBe(true)
  await curl('data', '-o', part, '-r', '-10')
  expect(readFileSync(part).equals(data.subarray(-10))).toBe(true)
  expect(await curl('data', '-I')).toMatch(/^HTTP\/1.1 200 OK[\s\S]*\r\nContent-Length: 3000001\r\n/)
  const status = (path: string) => curl(path, '-o', '/dev/null', '-w', '%{http_code}')
  expect(await status('missing')).toBe('404')
  expect(await status('')).toBe('404')
  expect(await status('../secret')).toBe('404')
  expect(await status('%2e%2e/secret')).toBe('404')
  expect(await status('%zz')).toBe('400')
  expect(await status('empty')).toBe('200')

  server.process.kill('SIGINT')
  const { code, stdout } = await server.finished
  expect([code, stdout.match(/\/data {2}100 %/g)?.length]).toEqual([0, 3])
})

it('the file server answers pipelined requests in order', async (test) => {
  skipUnless(test, needProgram('nc'))
  const { url, data } = await fileServer()
  const { port } = new URL(url)
  const request = 'GET /data HTTP/1.1\r\nHost: x\r\n'
  const input = `${request}\r\n${request}Range: bytes=0-3\r\nConnection: close\r\n\r\n`
  const answer = await runProgram('sh', ['-c', `nc 127.0.0.1 ${port} | tail -c 4 | od -An -tx1`], { input })
  expect(answer.replaceAll(/\s/g, '')).toBe(data.subarray(0, 4).toString('hex'))
})

it.each(['', 'GET /data HTTP/1.1\r\nHost: x\r\n'])('the file server doesn’t wait for the rest of %j', async (begun) => {
  const server = serveFiles(temporaryDirectory(), 0, undefined, { request: 500, stall: 60_000 })
  onTestFinished(() => server.close())
  const client = connectTo(server)
  client.write(begun)
  expect(await text(client)).toMatch(/^HTTP\/1.1 408 /)
})

it('the file server disconnects a client that doesn’t read', async () => {
  const directory = temporaryDirectory()
  const complain = vi.spyOn(console, 'error').mockImplementation(() => {})
  onTestFinished(() => complain.mockRestore())
  writeFileSync(join(directory, 'data'), '')
  truncateSync(join(directory, 'data'), 2 ** 30)
  let sent = 0
  const progress = (done: number) => {
    sent = done
  }
  const server = serveFiles(directory, 0, () => progress, { request: 60_000, stall: 1000 })
  onTestFinished(() => server.close())
  const client = connectTo(server)
  // Two requests at once: the second has its file open while it waits for the first response, which is never complete.
  client.write('GET /data HTTP/1.1\r\nHost: x\r\n\r\n'.repeat(2))
  await expect.poll(() => sent).toBeGreaterThan(0)
  await expect.poll(() => server.connections.size).toBe(0)
  expect(sent).toBeLessThan(2 ** 30)
  await expect.poll(() => complain.mock.calls).toEqual(Array(2).fill([expect.stringMatching(/^\/data: /)]))
})

it('the proxy forwards the request of curl, and counts the bytes', async (test) => {
  skipUnless(test, needProgram('curl'))
  const { url, directory, data } = await fileServer()
  const proxy = spawnProgram(process.execPath, [join(built, 'proxy.js'), '0', '127.0.0.1', new URL(url).port])
  const at = await waitForLine(proxy, /is passed on to/)
  const got = join(directory, '../got')
  await runProgram('curl', ['-sS', '-o', got, `http://${at.split(' ')[0]}/data`])
  expect(readFileSync(got).equals(data)).toBe(true)
  await waitForLine(proxy, /0 open, 1 ended, 0 broken · ↑ \d+ B · ↓ 2\.9 MiB/)
  proxy.process.kill('SIGINT')
  expect((await proxy.finished).code).toBe(0)
})

/** Connects a client that reads only on demand. It is closed when the test ends. */
function connectTo({ address }: Pick<Server, 'address'>): Socket {
  const client = connect((address as InetAddress).port, '127.0.0.1')
  // A client that the server disconnects may get a reset.
  client.on('error', () => {})
  onTestFinished(() => {
    client.destroy()
  })
  return client
}

async function fileServer(): Promise<{ server: Program; url: string; directory: string; data: Buffer }> {
  const parent = temporaryDirectory()
  const directory = join(parent, 'public')
  const data = randomBytes(3_000_001)
  mkdirSync(directory)
  writeFileSync(join(parent, 'secret'), 'secret')
  writeFileSync(join(directory, 'data'), data)
  writeFileSync(join(directory, 'empty'), '')
  const server = spawnProgram(process.execPath, [join(built, 'static-files.js'), directory, '0'])
  const line = await waitForLine(server, /Ctrl-C/)
  return { server, url: /http:\S+\//.exec(line)?.[0] as string, directory, data }
}
