import { readFileSync } from 'node:fs'
import { resolve } from 'node:path'
import { guardDescriptors, runDocumented } from '@linux-sockets/testkit'
import { expect, it } from 'vitest'

guardDescriptors()

const directory = resolve(import.meta.dirname, '..')
const readme = readFileSync(resolve(directory, '../../README.md'), 'utf8')
const programs = [...readme.matchAll(/^```js\n(.*?)^```$/gms)].map((match) => match[1] as string)

it('the program of the repository’s README runs', async () => {
  expect(programs.length).toBe(1)
  const said = await runDocumented(directory, { place: 'README.md', code: programs[0] as string })
  expect(said).toMatch(/^\{\n {2}length: 5,/)
  expect(said).toContain("family: 'ipv4', address: '127.0.0.1'")
  // IP_PKTINFO: the interface and the address that it came to.
  expect(said).toContain('{ level: 0, type: 8, data:')
})
