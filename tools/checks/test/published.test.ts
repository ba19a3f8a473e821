// Every package is packed, and its tarball is examined as npm would publish it.
import { execFileSync, spawnSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import getReleasePlan from '@changesets/get-release-plan'
import { publint } from 'publint'
import { formatMessage } from 'publint/utils'
import { afterAll, describe, expect, it } from 'vitest'
import { packages, root } from '../src/workspace.js'

const directory = mkdtempSync(join(tmpdir(), 'linux-sockets-'))
afterAll(() => rmSync(directory, { recursive: true }))

/** A project in which all packages are installed, from their tarballs. */
const project = join(directory, 'project')

describe.each(packages)('$manifest.name', ({ path, manifest }) => {
  const tarball = join(directory, `${path.replace('/', '-')}.tgz`)

  it('packs', () => {
    execFileSync('pnpm', ['pack', '--out', tarball], { cwd: join(root, path), stdio: 'pipe' })
    const files = execFileSync('tar', ['-tzf', tarball], { encoding: 'utf8' }).trim().split('\n')
    const expected =
      /^package\/(package\.json|README\.md|CHANGELOG\.md|LICENSE|dist\/[\w.-]+\.(js|d\.ts|d\.cts)|prebuilds\/linux-(x64|arm64)(-musl)?\/native_core\.node)$/
    expect(files.filter((file) => !expected.test(file))).toEqual([])
    for (const file of [
      'package.json',
      'README.md',
      'LICENSE',
      'dist/index.js',
      'dist/index.d.ts',
      'dist/index.d.cts',
    ]) {
      expect(files).toContain(`package/${file}`)
    }
    const installed = join(project, 'node_modules', manifest.name)
    mkdirSync(installed, { recursive: true })
    execFileSync('tar', ['-xzf', tarball, '-C', installed, '--strip-components=1'])
    expect(readFileSync(join(installed, 'package.json'), 'utf8')).not.toMatch(
      /"@linux-sockets\/native-core": "workspace:/,
    )
  })

  it('passes publint', async () => {
    const { buffer, byteOffset, byteLength } = readFileSync(tarball)
    const { messages, pkg } = await publint({
      pack: { tarball: buffer.slice(byteOffset, byteOffset + byteLength) },
      strict: true,
    })
    expect(messages.map((message) => formatMessage(message, pkg, { color: false }))).toEqual([])
  })

  it('passes “are the types wrong?”', () => {
    const attw = join(root, 'tools/checks/node_modules/.bin/attw')
    // The tool doesn't know that Node.js can now require ES modules, whose names the declarations for `require` list.
    const rules = ['cjs-resolves-to-esm', 'false-cjs']
    const options = ['--profile', 'node16', '--no-emoji', '--ignore-rules', ...rules]
    execFileSync(attw, [tarball, ...options], { stdio: 'pipe' })
  })

  it('is packed by pnpm only', () => {
    const pack = () => execFileSync('npm', ['pack', '--dry-run'], { cwd: join(root, path), stdio: 'pipe' })
    expect(pack).toThrow('pnpm pack')
  })

  it('can be required', () => {
    const options = ['--disable-warning=ExperimentalWarning', '-p', `typeof require('${manifest.name}')`]
    const cwd = join(root, path) // a package can require itself by name
    expect(execFileSync(process.execPath, options, { cwd, encoding: 'utf8' })).toBe('object\n')
  })
})

describe.each(['typescript', 'typescript-oldest'])('the types compile with %s', (compiler) => {
  const entries = packages.flatMap(({ manifest }) =>
    Object.keys(manifest.exports as object)
      .filter((entry) => !entry.endsWith('.json'))
      .map((entry) => manifest.name + entry.slice(1)),
  )
  const program = entries.map((entry, i) => `import * as entry${i} from '${entry}'\nexport { entry${i} }\n`).join('')

  it.each([
    ['node16', 'program.mts'],
    ['node16', 'program.cts'],
    ['nodenext', 'program.cts'],
    ['preserve', 'program.ts', '--moduleResolution', 'bundler'],
  ])('under the module %s in %s', (module, file, ...more) => {
    writeFileSync(join(project, file), program)
    const require = createRequire(import.meta.url)
    const typeRoots = join(root, 'tools/checks/node_modules/@types')
    const options = ['--strict', '--noEmit', '--target', 'es2022', '--types', 'node', '--typeRoots', typeRoots]
    const tsc = [require.resolve(`${compiler}/bin/tsc`), ...options, '--module', module, ...more, file]
    const { stdout } = spawnSync(process.execPath, tsc, { cwd: project, encoding: 'utf8' })
    expect(stdout).toBe('')
  })
})

describe('the changesets', () => {
  it('are valid, and so is their configuration', async () => {
    const { releases } = await getReleasePlan(root)
    const raised = releases.filter(({ type }) => type !== 'none').map(({ name }) => name)
    const published = packages.map(({ manifest }) => manifest.name)
    expect(raised.filter((name) => !published.includes(name))).toEqual([])
  })

  it('include one for each package that was never released', async () => {
    const { changesets } = await getReleasePlan(root)
    const unreleased = packages.filter(({ manifest }) => manifest.version === '0.0.0')
    for (const { path, manifest } of unreleased) {
      const own = changesets.filter(({ releases }) => releases.some(({ name }) => name === manifest.name))
      expect(own.map(({ id }) => id)).toEqual([path.replace('packages/', 'first-')])
      expect(own[0]?.releases.map(({ name }) => name)).toEqual([manifest.name])
    }
  })
})
