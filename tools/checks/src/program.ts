/** The packages as TypeScript sees them. */
import { join } from 'node:path'
import ts from 'typescript'
import { packages, root } from './workspace.js'

const entryOf = (path: string) => join(root, path, 'src/index.ts')

const program = ts.createProgram(
  packages.map(({ path }) => entryOf(path)),
  { module: ts.ModuleKind.NodeNext, target: ts.ScriptTarget.ES2022, skipLibCheck: true, strict: true },
)

export const checker = program.getTypeChecker()

/** Returns the exports of the package at this path, with aliases resolved. */
export function exportsOf(path: string): ts.Symbol[] {
  const source = program.getSourceFile(entryOf(path)) as ts.SourceFile
  return checker.getExportsOfModule(checker.getSymbolAtLocation(source) as ts.Symbol).map(resolved)
}

/** Returns the symbol that an alias stands for, or the symbol itself. */
export function resolved(symbol: ts.Symbol): ts.Symbol {
  return symbol.flags & ts.SymbolFlags.Alias ? checker.getAliasedSymbol(symbol) : symbol
}
