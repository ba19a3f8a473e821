// Compares the code with the table of “The rooms” in CONTRIBUTING.md, which says what each room may import.
import { execFileSync } from 'node:child_process'
import { existsSync, readdirSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { entriesOf } from '../src/program.js'
import { examples, filesIn, importsOf, packages, read, root, tools } from '../src/workspace.js'

const core = '@linux-sockets/native-core'

describe.each(packages)('$path', ({ path, manifest }) => {
  const sources = filesIn(`${path}/src`)

  it.each(['package.json', 'README.md', 'CHANGELOG.md', 'tsconfig.json', 'tsup.config.ts'])('has %s', (file) => {
    expect(existsSync(join(root, path, file))).toBe(true)
  })

  it('depends on nothing but native-core', () => {
    expect(manifest.dependencies ?? {}).toEqual(manifest.name === core ? {} : { [core]: 'workspace:^' })
    expect(Object.keys(manifest)).not.toContain('peerDependencies')
    expect(Object.keys(manifest)).not.toContain('optionalDependencies')
  })

  it('tests itself without its siblings', () => {
    const names = packages.map(({ manifest }) => manifest.name)
    expect(Object.keys(manifest.devDependencies ?? {}).filter((name) => names.includes(name))).toEqual([])
  })

  it('is published as ES modules', () => {
    expect(manifest).toMatchObject({
      name: `@linux-sockets/${basename(path)}`,
      license: 'MIT',
      type: 'module',
      sideEffects: false,
      engines: { node: '>=20.19' },
      publishConfig: { access: 'public', provenance: true },
      repository: { directory: path },
    })
    const subpaths = Object.keys(manifest.exports as object).filter((subpath) => subpath !== './package.json')
    expect(subpaths).toContain('.')
    // Only native-core has several, one of which is for its siblings.
    if (manifest.name !== core) expect(subpaths).toHaveLength(1)
    expect(manifest.exports).toEqual({
      ...Object.fromEntries(subpaths.map((subpath) => [subpath, entry(subpath === '.' ? 'index' : basename(subpath))])),
      './package.json': './package.json',
    })
    expect(manifest.files).toEqual(manifest.name === core ? ['dist', 'prebuilds'] : ['dist'])
  })

  it('runs nothing when it is installed', () => {
    expect(Object.keys(manifest.scripts ?? {}).filter((name) => /^((pre|post)?install|prepare)$/.test(name))).toEqual(
      [],
    )
    // npm would run node-gyp by itself if the package contained a binding.gyp.
    if (existsSync(join(root, path, 'binding.gyp'))) expect(manifest.gypfile).toBe(false)
  })

  it('imports itself, Node and its dependencies', () => {
    const allowed = Object.keys(manifest.dependencies ?? {})
    const foreign = imports(sources).filter(
      ({ name }) =>
        !name.startsWith('./') &&
        !name.startsWith('../') &&
        !name.startsWith('node:') &&
        !allowed.includes(packageName(name)),
    )
    expect(foreign).toEqual([])
  })

  it('stays within its own src', () => {
    const outside = imports(sources).filter(
      ({ file, name }) => name.startsWith('.') && !join(dirname(file), name).startsWith(`${path}/src/`),
    )
    expect(outside).toEqual([])
  })

  it('has tests that reach into no other package', () => {
    const outside = imports(filesIn(`${path}/test`)).filter(
      ({ file, name }) => name.startsWith('.') && !join(dirname(file), name).startsWith(`${path}/`),
    )
    expect(outside).toEqual([])
  })

  it('lists the names in each index', () => {
    const indexes = sources.filter((file) => basename(file) === 'index.ts')
    expect(indexes.filter((file) => /^export \* /m.test(read(file)))).toEqual([])
  })

  it('imports in no circle, not even types', () => {
    const next = new Map(
      sources.map((file) => [
        file,
        importsOf(file)
          .filter((name) => name.startsWith('.'))
          .map((name) => join(dirname(file), name).replace(/\.js$/, '.ts')),
      ]),
    )
    expect(circlesIn(next)).toEqual([])
  })

  it('leaves node:net, node:dgram and node:dns to the bridge', () => {
    const replaced = imports(sources).filter(({ name }) => /^node:(net|dgram|dns)(\/|$)/.test(name))
    expect(replaced.filter(({ file }) => file !== 'packages/native-core/src/streams/bridge.ts')).toEqual([])
  })
})

const native = filesIn('packages/native-core/native')

describe('native-core', () => {
  it('does not export the boundary', () => {
    const indexes = filesIn('packages/native-core/src').filter((file) => /(index|internal)\.ts$/.test(file))
    expect(indexes.flatMap(importsOf).filter((name) => basename(name) === 'native.js')).toEqual([])
  })

  it('reaches the boundary from the upper layer through the lower one only', () => {
    const upper = imports(filesIn('packages/native-core/src/streams'))
    expect(upper.filter(({ name }) => basename(name) === 'native.js')).toEqual([])
  })

  it.each(native)('%s builds no errors', (file) => {
    expect(read(file)).not.toMatch(/\bthrow\b|napi_throw|napi_create_\w*error|Napi::\w*Error/)
  })

  it.each(native.filter((file) => basename(file) !== 'watch.cc'))('%s leaves libuv to watch.cc', (file) => {
    expect(read(file)).not.toMatch(/\buv_\w+\s*\(|<uv\.h>/)
  })
})

it('native-core checks the result of each call to Node and libuv', () => {
  const ignored = native.flatMap((file) => {
    const code = read(file).replaceAll(/\/\/.*/g, '')
    return [...code.matchAll(/(?<=[;{})]\s*)(?:napi|uv)_\w+(?=\()/g)].map(([call]) => call)
  })
  expect([...new Set(ignored)].sort()).toEqual([
    // These end something, or can't fail in a way that the caller could handle.
    'napi_async_destroy',
    'napi_close_handle_scope',
    'napi_delete_reference',
    'napi_fatal_exception',
    'napi_ref_threadsafe_function',
    'napi_release_threadsafe_function',
    'napi_remove_async_cleanup_hook',
    'napi_unref_threadsafe_function',
    // These return nothing, or always 0: https://docs.libuv.org/en/v1.x/prepare.html
    'uv_close',
    'uv_poll_stop',
    'uv_prepare_init',
    'uv_prepare_start',
    'uv_prepare_stop',
    'uv_unref',
    'uv_update_time',
  ])
})

it('native-core keeps no state outside its environments', () => {
  const objects = join(root, 'packages/native-core/build/Release/obj.target/native_core/native')
  const files = readdirSync(objects).filter((file) => file.endsWith('.o'))
  expect(files.length).toBe(native.filter((file) => file.endsWith('.cc')).length)
  const symbols = execFileSync('nm', ['--demangle', '--defined-only', ...files], { cwd: objects, encoding: 'utf8' })
  // Writable data: initialised, zeroed or thread-local. Tables of virtual functions are not writable.
  const writable = symbols.split('\n').filter((line) => /^[\da-f]+ [bBdDsSgG] (?!vtable for )/.test(line))
  expect(writable).toEqual([])
})

describe.each(examples)('$path', ({ path, manifest }) => {
  it('imports packages by their published names', () => {
    const published = packages.flatMap(entriesOf).map(({ specifier }) => specifier)
    const foreign = imports(filesIn(`${path}/src`)).filter(
      ({ name }) => !name.startsWith('./') && !name.startsWith('node:') && !published.includes(name),
    )
    expect(foreign).toEqual([])
  })

  it('is private', () => expect(manifest.private).toBe(true))
})

it.each(tools)('$path is private', ({ manifest }) => expect(manifest.private).toBe(true))

it.each([...packages, ...examples, ...tools])('$path declares what it imports', ({ path, manifest }) => {
  const declared = [
    manifest.name,
    ...Object.keys(manifest.dependencies ?? {}),
    ...Object.keys(manifest.devDependencies ?? {}),
  ]
  const undeclared = imports([...filesIn(`${path}/src`), ...filesIn(`${path}/test`)]).filter(
    ({ name }) => !name.startsWith('.') && !name.startsWith('node:') && !declared.includes(packageName(name)),
  )
  expect(undeclared).toEqual([])
})

it('has no file called utils', () => {
  const files = ['packages', 'apps', 'tools', 'scripts'].flatMap(filesIn)
  expect(files.filter((file) => /^utils?\b/i.test(basename(file)))).toEqual([])
})

it('names no registry in the lockfile', () => {
  expect(read('pnpm-lock.yaml')).not.toMatch(/https?:\/\//)
})

/** Returns an `exports` entry: one module for `import` and `require`, with declarations for each. */
function entry(name: string): object {
  const types = { require: `./dist/${name}.d.cts`, default: `./dist/${name}.d.ts` }
  return { types, default: `./dist/${name}.js` }
}

function imports(files: string[]): { file: string; name: string }[] {
  return files.filter((file) => /\.m?ts$/.test(file)).flatMap((file) => importsOf(file).map((name) => ({ file, name })))
}

/** Returns the files that import themselves through others, each with what lies between. */
function circlesIn(next: ReadonlyMap<string, readonly string[]>): string[] {
  const done = new Set<string>()
  const circles: string[] = []
  const visit = (file: string, path: readonly string[]) => {
    if (path.includes(file)) circles.push([...path.slice(path.indexOf(file)), file].join(' → '))
    if (done.has(file) || path.includes(file)) return
    for (const imported of next.get(file) ?? []) visit(imported, [...path, file])
    done.add(file)
  }
  for (const file of next.keys()) visit(file, [])
  return circles
}

/** `@scope/name/deep` → `@scope/name`. */
function packageName(specifier: string): string {
  return specifier.split('/', specifier.startsWith('@') ? 2 : 1).join('/')
}
