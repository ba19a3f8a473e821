// What npm would hand out: every package is packed, and the tarball is examined.
import { execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import getReleasePlan from '@changesets/get-release-plan'
import { publint } from 'publint'
import { formatMessage } from 'publint/utils'
import { afterAll, describe, expect, it } from 'vitest'
import { packages, root } from '../src/workspace.js'

const directory = mkdtempSync(join(tmpdir(), 'linux-sockets-'))
afterAll(() => rmSync(directory, { recursive: true }))

describe.each(packages)('$manifest.name', ({ path, manifest }) => {
  const tarball = join(directory, `${path.replace('/', '-')}.tgz`)

  it('packs', { timeout: 60_000 }, () => {
    execFileSync('pnpm', ['pack', '--out', tarball], { cwd: join(root, path), stdio: 'pipe' })
    const files = execFileSync('tar', ['-tzf', tarball], { encoding: 'utf8' }).trim().split('\n')
    const expected =
      /^package\/(package\.json|README\.md|CHANGELOG\.md|LICENSE|dist\/.*|prebuilds\/linux-(x64|arm64)(-musl)?\/native_core\.node)$/
    expect(files.filter((file) => !expected.test(file))).toEqual([])
    for (const file of ['package.json', 'README.md', 'LICENSE', 'dist/index.js', 'dist/index.d.ts']) {
      expect(files).toContain(`package/${file}`)
    }
  })

  it('passes publint', async () => {
    const { buffer, byteOffset, byteLength } = readFileSync(tarball)
    const { messages, pkg } = await publint({
      pack: { tarball: buffer.slice(byteOffset, byteOffset + byteLength) },
      strict: true,
    })
    expect(messages.map((message) => formatMessage(message, pkg, { color: false }))).toEqual([])
  })

  it('passes “are the types wrong?”', { timeout: 60_000 }, () => {
    const attw = join(root, 'tools/checks/node_modules/.bin/attw')
    execFileSync(attw, [tarball, '--profile', 'esm-only', '--no-emoji'], { stdio: 'pipe' })
  })

  it('can be required', () => {
    const options = ['--disable-warning=ExperimentalWarning', '-p', `typeof require('${manifest.name}')`]
    const cwd = join(root, path) // a package can require itself by name
    expect(execFileSync(process.execPath, options, { cwd, encoding: 'utf8' })).toBe('object\n')
  })
})

it('has a valid changeset configuration and valid changesets', async () => {
  const { releases } = await getReleasePlan(root)
  const raised = releases.filter(({ type }) => type !== 'none').map(({ name }) => name)
  const published = packages.map(({ manifest }) => manifest.name)
  expect(raised.filter((name) => !published.includes(name))).toEqual([])
})
