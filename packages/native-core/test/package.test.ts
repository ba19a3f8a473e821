import { execFile } from 'node:child_process'
import { cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { binary } from './outside.js'

const run = promisify(execFile)
const room = join(import.meta.dirname, '..')
const directory = mkdtempSync(join(tmpdir(), 'linux-sockets-package-'))
const project = join(directory, 'project')
const installed = join(project, 'node_modules/@linux-sockets/native-core')
afterAll(() => rmSync(directory, { recursive: true }))

/** The test is about finding the binary, so no variable points at one. */
const { LINUX_SOCKETS_BINARY: _, ...environment } = process.env
const node = (args: string[], options = {}) =>
  run(process.execPath, args, { cwd: project, env: environment, ...options })

const musl =
  (process.report.getReport() as { header: { glibcVersionRuntime?: string } }).header.glibcVersionRuntime === undefined
const prebuild = `prebuilds/linux-${process.arch}${musl ? '-musl' : ''}/native_core.node`
let files: string[] = []

// The way of a release: the sources built, the binary put where the package carries it, packed, and installed by npm
// in a project that knows nothing else, with scripts disabled and without a network.
beforeAll(async () => {
  const copy = join(directory, 'copy')
  mkdirSync(copy)
  for (const file of readdirSync(room)) {
    if (!['node_modules', 'build', 'dist', 'prebuilds', 'test', '.turbo'].includes(file)) {
      cpSync(join(room, file), join(copy, file), { recursive: true })
    }
  }
  const tsup = join(room, 'node_modules/.bin/tsup')
  await run(tsup, ['--out-dir', join(copy, 'dist')], { cwd: room })
  await run(process.execPath, [join(room, '../../scripts/declare.mjs'), join(copy, 'dist')])
  mkdirSync(join(copy, prebuild, '..'), { recursive: true })
  cpSync(binary, join(copy, prebuild))
  const packed = await run('npm', ['pack', '--ignore-scripts', '--json', '--pack-destination', directory], {
    cwd: copy,
  })
  const [{ filename, files: list }] = JSON.parse(packed.stdout)
  files = list.map(({ path }: { path: string }) => path)
  mkdirSync(project)
  writeFileSync(join(project, 'package.json'), '{ "private": true }')
  const install = ['install', '--ignore-scripts', '--offline', '--no-audit', '--no-fund', join(directory, filename)]
  await run('npm', install, { cwd: project })
})

describe('the tarball', () => {
  it('contains the built code, and nothing to compile', () => {
    expect(files).toContain(prebuild)
    expect(files).toContain('dist/index.js')
    expect(files).toContain('dist/index.d.ts')
    expect(files).toContain('dist/index.d.cts')
    const expected =
      /^(package\.json|README\.md|CHANGELOG\.md|LICENSE|dist\/[\w.-]+\.(js|d\.ts|d\.cts)|prebuilds\/.*\.node)$/
    expect(files.filter((file) => !expected.test(file))).toEqual([])
  })

  it('has its code in one file, from which the entries take', () => {
    const manifest = JSON.parse(readFileSync(join(installed, 'package.json'), 'utf8'))
    const entries = Object.values<{ default?: string }>(manifest.exports).flatMap((entry) => entry.default ?? [])
    const code = files.filter((file) => file.endsWith('.js')).map((file) => `./${file}`)
    expect(code.sort()).toEqual([...entries, './dist/core.js'].sort())
  })

  it('runs nothing when it is installed', () => {
    const manifest = JSON.parse(readFileSync(join(installed, 'package.json'), 'utf8'))
    for (const script of ['preinstall', 'install', 'postinstall', 'prepare']) {
      expect(manifest.scripts ?? {}).not.toHaveProperty(script)
    }
    expect(existsSync(join(installed, 'binding.gyp'))).toBe(false)
    expect(manifest.dependencies ?? {}).toEqual({})
    expect(readdirSync(join(project, 'node_modules/@linux-sockets'))).toEqual(['native-core'])
  })
})

const echo = (load: string) => `
  ${load}
  async function main() {
    const server = Socket.open(AF_INET, SOCK_DGRAM)
    server.bind({ family: 'ipv4', address: '127.0.0.1', port: 0 })
    const client = Socket.open(AF_INET, SOCK_DGRAM)
    client.sendTo(Buffer.from('hello'), server.localName)
    await readable(server)
    const buffer = Buffer.alloc(100)
    const { length, address } = server.recvFrom(buffer)
    server.sendTo(buffer.subarray(0, length), address)
    await readable(client)
    console.log(buffer.toString('latin1', 0, client.recv(buffer)))
    server.close()
    client.close()
  }
  main()
`

describe('installed', () => {
  const imports = `
    import { readable, Socket } from '@linux-sockets/native-core'
    import { AF_INET, SOCK_DGRAM } from '@linux-sockets/native-core/constants'`

  it('works when it is imported', async () => {
    const script = echo(imports)
    const { stdout, stderr } = await node(['--input-type=module', '--eval', script])
    expect({ stdout, stderr }).toEqual({ stdout: 'hello\n', stderr: '' })
  })

  it('works when it is required', async () => {
    const script = echo(`
      const { readable, Socket } = require('@linux-sockets/native-core')
      const { AF_INET, SOCK_DGRAM } = require('@linux-sockets/native-core/constants')`)
    const { stdout } = await node(['--no-warnings', '--eval', script])
    expect(stdout).toBe('hello\n')
  })

  it('names forgotten descriptors and classes correctly', async () => {
    const script = `
      import * as root from '@linux-sockets/native-core'
      import { AF_INET, SOCK_DGRAM, SOCK_STREAM } from '@linux-sockets/native-core/constants'
      import { epollCreate } from '@linux-sockets/native-core/epoll'
      import * as streams from '@linux-sockets/native-core/streams'
      const core = { ...root, ...streams }
      const said = []
      process.on('warning', ({ code, message }) => said.push(code + ' ' + message.replace(/ \\(fd .*/, '')))
      class Mine extends core.Socket {}
      ;(() => {
        core.Socket.open(AF_INET, SOCK_STREAM)
        epollCreate()
        core.eventfd()
        const { read, write } = core.pipe()
        write.close()
        core.OwnedFd.adopt(core.dup(0).release())
        core.dup(0)
        Mine.from(Mine.open(AF_INET, SOCK_DGRAM))
      })()
      for (let turn = 0; turn < 1000 && said.length < 7; turn++) {
        gc()
        await new Promise((resolve) => setImmediate(resolve))
      }
      const classes = Object.entries(core).filter(([, value]) => /^class/.test(String(value)))
      const renamed = classes.filter(([name, value]) => value.name !== name).map(([name]) => name)
      console.log(JSON.stringify({ said: said.sort(), classes: classes.length, renamed }))`
    const { stdout } = await node(['--expose-gc', '--no-warnings', '--input-type=module', '--eval', script])
    const { said, classes, renamed } = JSON.parse(stdout)
    expect(said).toEqual(
      [
        'A Socket',
        'A Socket',
        'A duplicated descriptor',
        'A pipe',
        'An OwnedFd',
        'An epoll instance',
        'An eventfd',
      ].map((words) => `LINUX_SOCKETS_FD_LEAK ${words}`),
    )
    expect(classes).toBeGreaterThan(5)
    expect(renamed).toEqual([])
  })

  it('type-checks in a strict project', async () => {
    const types = join(room, 'node_modules/@types')
    writeFileSync(
      join(project, 'program.ts'),
      `import { Socket, type SocketAddress } from '@linux-sockets/native-core'
import { AF_INET, SOCK_DGRAM } from '@linux-sockets/native-core/constants'
using socket = Socket.open(AF_INET, SOCK_DGRAM)
const address: SocketAddress = socket.localName
// @ts-expect-error a string is no buffer
socket.send('text')
console.log(address.family)\n`,
    )
    const options = [
      '--strict',
      '--noEmit',
      '--module',
      'nodenext',
      '--target',
      'es2022',
      '--lib',
      'es2023,esnext.disposable',
    ]
    const tsc = join(room, 'node_modules/.bin/tsc')
    await run(tsc, [...options, '--typeRoots', types, '--types', 'node', 'program.ts'], { cwd: project }).catch(
      (error) => expect.fail(error.stdout),
    )
  })

  describe.each(['esm', 'cjs'] as const)('bundled by esbuild as %s', (format) => {
    const bundled = join(project, `bundled-${format}`)
    const bundle = async (name: string, ...options: string[]) => {
      const file = join(bundled, name, `program.${format === 'esm' ? 'mjs' : 'cjs'}`)
      writeFileSync(join(project, 'program.mjs'), echo(imports))
      const esbuild = join(room, 'node_modules/.bin/esbuild')
      const common = ['--bundle', '--platform=node', `--format=${format}`, `--outfile=${file}`, '--log-level=error']
      await run(esbuild, ['program.mjs', ...common, ...options], { cwd: project })
      return file
    }
    const output = async (file: string, env = environment) => (await node(['--no-warnings', file], { env })).stdout

    it('works with the package left external', async () => {
      expect(await output(await bundle('external', '--external:@linux-sockets/*'))).toBe('hello\n')
    })

    it('works with the binary beside it', async () => {
      const file = await bundle('beside')
      cpSync(join(installed, prebuild), join(file, '../native_core.node'))
      expect(await output(file)).toBe('hello\n')
    })

    it('works with the binary named, from the working directory on', async () => {
      const env = { ...environment, LINUX_SOCKETS_BINARY: join('node_modules/@linux-sockets/native-core', prebuild) }
      expect(await output(await bundle('named'), env)).toBe('hello\n')
    })

    it.each(['/nowhere.node', '/etc/passwd'])('says that %s was named', async (named) => {
      const env = { ...environment, LINUX_SOCKETS_BINARY: named }
      const file = await bundle('misnamed')
      await expect(output(file, env)).rejects.toThrow(/LINUX_SOCKETS_BINARY names no binary that loads: /)
    })

    it('says what to do without a binary', async () => {
      const file = await bundle('bare')
      await expect(output(file)).rejects.toThrow(
        /found no binary that loads: .*beside the bundle, or name that file in LINUX_SOCKETS_BINARY/,
      )
    })
  })

  it.each([
    ['platform', 'darwin', '@linux-sockets is for Linux; this is darwin'],
    ['platform', 'win32', '@linux-sockets is for Linux; this is win32'],
    ['arch', 'ia32', '@linux-sockets is for x64 and arm64; this is ia32'],
    ['arch', 'riscv64', '@linux-sockets is for x64 and arm64; this is riscv64'],
  ])('says in one sentence that it is not for %s %s', async (property, value, sentence) => {
    const preload = join(project, `${value}.cjs`)
    writeFileSync(preload, `Object.defineProperty(process, '${property}', { value: '${value}' })`)
    expect(await complaint(['--require', preload])).toBe(sentence)
  })

  it('says where it looked when it finds no binary', async () => {
    const bare = join(directory, 'bare')
    cpSync(project, bare, { recursive: true })
    rmSync(join(bare, 'node_modules/@linux-sockets/native-core/prebuilds'), { recursive: true })
    const message = await complaint([], bare)
    expect(message).toMatch(/^@linux-sockets\/native-core found no binary that loads: \S/)
    expect(message).toContain(prebuild)
    expect(message).not.toContain('\n')
  })

  it('says what is wrong with a binary that does not load', async () => {
    const broken = join(directory, 'broken')
    cpSync(project, broken, { recursive: true })
    writeFileSync(join(broken, 'node_modules/@linux-sockets/native-core', prebuild), 'no binary')
    expect(await complaint([], broken)).toMatch(/native_core\.node: .*(file too short|invalid ELF)/)
  })

  async function complaint(options: string[], cwd = project): Promise<string> {
    const script = `import('@linux-sockets/native-core').then(() => console.log('loaded'), (error) => process.stdout.write(error.message))`
    return (await node([...options, '--eval', script], { cwd })).stdout
  }
})
