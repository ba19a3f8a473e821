// Every public export has a doc comment, and so has every member of what it consists of: an editor shows it where it is used.
import { join } from 'node:path'
import ts from 'typescript'
import { expect, it } from 'vitest'
import { packages, root } from '../src/workspace.js'

const entries = packages.map(({ path }) => join(root, path, 'src/index.ts'))
const program = ts.createProgram(entries, {
  module: ts.ModuleKind.NodeNext,
  target: ts.ScriptTarget.ES2022,
  skipLibCheck: true,
})
const checker = program.getTypeChecker()

it.each(packages)('$path documents what it exports', { timeout: 60_000 }, ({ path }) => {
  const source = program.getSourceFile(join(root, path, 'src/index.ts')) as ts.SourceFile
  const exported = checker.getExportsOfModule(checker.getSymbolAtLocation(source) as ts.Symbol).map(resolved)
  expect(exported.length).toBeGreaterThan(0)
  expect(
    exported
      .flatMap((symbol) => [symbol, ...members(symbol)])
      .filter(isBare)
      .map(nameOf),
  ).toEqual([])
})

function resolved(symbol: ts.Symbol): ts.Symbol {
  return symbol.flags & ts.SymbolFlags.Alias ? checker.getAliasedSymbol(symbol) : symbol
}

/** But for those that speak for themselves, those that Node calls (`_read`), and those that a language feature calls. */
function members(symbol: ts.Symbol): ts.Symbol[] {
  const declared = (symbol.declarations ?? []).filter(
    (node) => ts.isClassDeclaration(node) || ts.isInterfaceDeclaration(node),
  )
  return declared
    .flatMap((node): readonly (ts.ClassElement | ts.TypeElement)[] => node.members)
    .filter(({ name }) => name !== undefined && ts.isIdentifier(name) && !/^(_.*|family|name)$/.test(name.text))
    .filter((node) => !(ts.getCombinedModifierFlags(node) & ts.ModifierFlags.Private))
    .map((node) => checker.getSymbolAtLocation(node.name as ts.Identifier) as ts.Symbol)
}

function isBare(symbol: ts.Symbol): boolean {
  return symbol.getDocumentationComment(checker).length === 0
}

function nameOf(symbol: ts.Symbol): string {
  return checker.symbolToString(symbol)
}
