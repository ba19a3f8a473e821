/** The static file server and the proxy, with curl as their client. */
import { randomBytes } from 'node:crypto'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
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
import { expect, it } from 'vitest'

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

it('the file server answers requests that come at once in their order', async (test) => {
  skipUnless(test, needProgram('nc'))
  const { url, data } = await fileServer()
  const { port } = new URL(url)
  const request = 'GET /data HTTP/1.1\r\nHost: x\r\n'
  const input = `${request}\r\n${request}Range: bytes=0-3\r\nConnection: close\r\n\r\n`
  const answer = await runProgram('sh', ['-c', `nc 127.0.0.1 ${port} | tail -c 4 | od -An -tx1`], { input })
  expect(answer.replaceAll(/\s/g, '')).toBe(data.subarray(0, 4).toString('hex'))
})

it('the proxy passes curl on, and counts', async (test) => {
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
