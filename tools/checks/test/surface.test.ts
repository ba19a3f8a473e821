// The public names are in a file beside each package, so that a review sees when they change. `npm run check:names` writes it.
import { join } from 'node:path'
import ts from 'typescript'
import { expect, it } from 'vitest'
import { entriesOf, namesOf } from '../src/program.js'
import { packages, read, root } from '../src/workspace.js'

const core = '@linux-sockets/native-core'
/** The classes that a package's own classes extend, and which programs need no name for. */
const bases = ['EventEmitter', 'StreamServer']

it.each(packages)('$path exports what its names.md lists', async (room) => {
  const parts = entriesOf(room).map((entry) => {
    const lines = namesOf(entry).map(({ name, symbol }) => `- ${kindOf(symbol)} \`${name}\``)
    return `## ${entry.specifier}\n\n${lines.sort().join('\n')}\n`
  })
  const text = `# What ${room.manifest.name} exports\n\n${parts.join('\n')}`
  await expect(text).toMatchFileSnapshot(join(root, room.path, 'names.md'))
})

function kindOf({ flags }: ts.Symbol): string {
  if (flags & ts.SymbolFlags.Class) return 'class'
  if (flags & ts.SymbolFlags.Function) return 'function'
  return flags & ts.SymbolFlags.Value ? 'const' : 'type'
}

it.each(packages.filter(({ manifest }) => manifest.name !== core))(
  '$path exports the types of its public face',
  (room) => {
    const exported = entriesOf(room).flatMap((entry) => namesOf(entry).map(({ name }) => name))
    const imports = ts.createSourceFile('index.d.ts', read(join(room.path, 'dist/index.d.ts')), ts.ScriptTarget.ES2022)
    const needed = imports.statements
      .filter(ts.isImportDeclaration)
      .map(({ importClause }) => importClause?.namedBindings)
      .flatMap((bindings) => (bindings && ts.isNamedImports(bindings) ? [...bindings.elements] : []))
      .map(({ name, propertyName }) => (propertyName ?? name).text)
    expect(needed.filter((name) => !exported.includes(name) && !bases.includes(name))).toEqual([])
  },
)

it('exports no name from two subpaths of a package', () => {
  for (const room of packages) {
    const names = entriesOf(room).flatMap((entry) => namesOf(entry).map(({ name }) => name))
    expect(names.filter((name, i) => names.indexOf(name) !== i)).toEqual([])
  }
})
