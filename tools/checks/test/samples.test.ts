// The samples of the documentation compile in a strict TypeScript project, for Node and for a bundler. The tests of the
// packages run them.
import { basename, join } from 'node:path'
import { documentedPrograms, programsOf } from '@linux-sockets/testkit'
import ts from 'typescript'
import { describe, expect, it } from 'vitest'
import { filesIn, packages, read, root } from '../src/workspace.js'

/** Samples by the names of virtual files, each inside a package: TypeScript resolves its imports as that package's. */
const samples = new Map(
  [
    ...packages.flatMap(({ path }) => documentedPrograms(join(root, path)).map((sample) => ({ path, ...sample }))),
    ...programsOf(join(root, 'README.md')).map((sample) => ({ path: 'apps/examples', ...sample })),
  ].map(({ path, place, file, code }) => [
    join(root, path, `${place.replace(/\W/g, '-')}.${file.endsWith('.cjs') ? 'cts' : 'mts'}`),
    code,
  ]),
)

const strict: ts.CompilerOptions = {
  strict: true,
  noEmit: true,
  skipLibCheck: true,
  target: ts.ScriptTarget.ES2022,
  types: ['node'],
}

const node16 = { ...strict, module: ts.ModuleKind.Node16 }

describe.each([
  ['node16', node16],
  ['bundler', { ...strict, module: ts.ModuleKind.ES2022, moduleResolution: ts.ModuleResolutionKind.Bundler }],
])('under the module resolution %s', (_name, options) => {
  it('all samples compile', () => {
    expect(complaintsOf(samples, options)).toEqual([])
  })
})

const exported = new Map<string, readonly string[]>()
for (const { path, manifest } of packages) {
  exported.set(manifest.name, Object.keys(await import(join(root, path, 'dist/index.js'))))
}

/** The samples of doc comments are parts of programs. An undeclared name is an export of the package, or can be of any type. */
const fragments = new Map(
  packages.flatMap(({ path, manifest }) =>
    filesIn(`${path}/src`)
      .filter((file) => basename(file) !== 'index.ts')
      .flatMap((file) =>
        fragmentsOf(file).map((code, i) => [join(root, `${file}-${i}.mts`), code, manifest.name] as const),
      )
      .map(([file, code, name]) => [file, `${importsFor(code, name)}\n${code}`]),
  ),
)

describe('the samples of doc comments', () => {
  it('are found', () => expect(fragments.size).toBeGreaterThan(30))
  it('compile', () => {
    const undeclared = /: TS(2304|2552|18004) /
    expect(
      complaintsOf(fragments, { ...node16, noImplicitAny: false }).filter((complaint) => !undeclared.test(complaint)),
    ).toEqual([])
  })
})

it('shows programs as `js`, so that they are run', () => {
  const documents = ['README.md', ...packages.map(({ path }) => `${path}/README.md`)]
  const others = documents.flatMap((file) => read(file).match(/^```(ts|typescript|javascript|mjs|cjs)$/gm) ?? [])
  expect(others).toEqual([])
})

it('uses no syntax that only newer Node.js knows, unless the sample says so', () => {
  const all = [...samples, ...fragments]
  const using = all.filter(
    ([, code]) => /^\s*(await )?using /m.test(code) && !/^\/\/ Node\.js \d+ or newer$/m.test(code),
  )
  expect(using.map(([file]) => file)).toEqual([])
})

function complaintsOf(sources: ReadonlyMap<string, string>, options: ts.CompilerOptions): string[] {
  const host = ts.createCompilerHost(options)
  const { getSourceFile, fileExists, readFile } = host
  host.fileExists = (file) => sources.has(file) || fileExists(file)
  host.readFile = (file) => sources.get(file) ?? readFile(file)
  host.getSourceFile = (file, version, ...rest) => {
    const text = sources.get(file)
    return text === undefined ? getSourceFile(file, version, ...rest) : ts.createSourceFile(file, text, version)
  }
  const program = ts.createProgram([...sources.keys()], options, host)
  return ts.getPreEmitDiagnostics(program).map((diagnostic) => {
    const { line = 0 } = diagnostic.file?.getLineAndCharacterOfPosition(diagnostic.start ?? 0) ?? {}
    const place = `${diagnostic.file?.fileName.slice(root.length + 1)}:${line + 1}`
    return `${place}: TS${diagnostic.code} ${ts.flattenDiagnosticMessageText(diagnostic.messageText, ' ')}`
  })
}

function fragmentsOf(file: string): string[] {
  const comments = [...read(file).matchAll(/^ *\/\*\*\n((?: *\*.*\n)*?) *\*\/\n/gm)].map((match) => match[1] as string)
  return comments
    .map((comment) =>
      comment
        .split('\n')
        .flatMap((line) => /^ *\* {5}(.*)/.exec(line)?.[1] ?? [])
        .join('\n'),
    )
    .filter(Boolean)
}

function importsFor(code: string, name: string): string {
  const used = new Set(code.match(/\w+/g)?.filter((word) => !new RegExp(`(const|let|function) ${word}\\b`).test(code)))
  const own = (exported.get(name) ?? []).filter((word) => used.has(word))
  const core = (exported.get('@linux-sockets/native-core') ?? []).filter(
    (word) => used.has(word) && !own.includes(word),
  )
  return `import { ${own.join(', ')} } from '${name}'; import { ${core.join(', ')} } from '@linux-sockets/native-core'`
}
