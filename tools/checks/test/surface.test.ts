// The public names are in a file beside each package, so that a review sees when they change. `npm run check:names` writes it.
import { join } from 'node:path'
import ts from 'typescript'
import { expect, it } from 'vitest'
import { entriesOf, namesOf } from '../src/program.js'
import { packages, root } from '../src/workspace.js'

it.each(packages)('$path exports what its names.md lists', { timeout: 60_000 }, async (room) => {
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

it('exports no name from two subpaths of a package', () => {
  for (const room of packages) {
    const names = entriesOf(room).flatMap((entry) => namesOf(entry).map(({ name }) => name))
    expect(names.filter((name, i) => names.indexOf(name) !== i)).toEqual([])
  }
})
