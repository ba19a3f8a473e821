import { readdirSync, readFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { type DocumentedProgram, guardDescriptors, programsOf, runDocumented } from '@linux-sockets/testkit'
import { describe, expect, it } from 'vitest'

guardDescriptors()

const directory = resolve(import.meta.dirname, '..')
const programs = programsOf(resolve(directory, '../../README.md'))

it('the program of the repository’s README runs', async () => {
  expect(programs.length).toBe(1)
  const said = await runDocumented(directory, programs[0] as DocumentedProgram)
  expect(said).toMatch(/^\{\n {2}length: 5,/)
  expect(said).toContain("family: 'ipv4', address: '127.0.0.1'")
  // IP_PKTINFO: the interface and the destination address.
  expect(said).toContain('{ level: 0, type: 8, data:')
})

describe('the list of programs', () => {
  const list = readFileSync(join(directory, 'README.md'), 'utf8')
  const listed = [...list.matchAll(/ \| `(node dist\/[^`]*)` \| ./g)].map((match) => match[1] as string)
  const sources = readdirSync(join(directory, 'src')).filter((file) => !['report.ts', 'dns-message.ts'].includes(file))

  it.each(sources)('has the command lines of %s', (file) => {
    expect(list).toContain(`](src/${file}) | `)
    const [about = ''] = readFileSync(join(directory, 'src', file), 'utf8').split('*/')
    // The text after a gap is an explanation.
    const lines = [...about.matchAll(/^ \* {5}(node dist\/.*?)(?: {3}.*)?$/gm)].map((match) => match[1] as string)
    expect(lines.length).toBeGreaterThan(0)
    expect(listed.filter((line) => line.startsWith(`node dist/${file.replace('.ts', '.js')}`))).toEqual(lines)
  })
})
