/** The packages as TypeScript sees them. */
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import ts from 'typescript'
import { packages, type Room, root } from './workspace.js'

/** A public subpath of a package. */
export interface Entry {
  /** The specifier that programs import: `@linux-sockets/native-core/codecs`. */
  readonly specifier: string
  /** The module that exports its names, relative to the root. */
  readonly source: string
}

/** Returns the subpaths that a package exports, but for the one that only its siblings may use. */
export function entriesOf({ path, manifest }: Room): Entry[] {
  return Object.keys(manifest.exports as object)
    .filter((subpath) => !['./package.json', './internal'].includes(subpath))
    .map((subpath) => ({ specifier: join(manifest.name, subpath), source: sourceOf(path, subpath) }))
}

/** Returns the module of a subpath: `./codecs` is `codecs.ts` or `codecs/index.ts`. */
function sourceOf(path: string, subpath: string): string {
  const file = join(path, 'src', `${subpath}.ts`)
  return subpath !== '.' && existsSync(join(root, file)) ? file : join(path, 'src', subpath, 'index.ts')
}

const program = ts.createProgram(
  packages.flatMap(entriesOf).map(({ source }) => join(root, source)),
  { module: ts.ModuleKind.NodeNext, target: ts.ScriptTarget.ES2022, skipLibCheck: true, strict: true },
)

export const checker = program.getTypeChecker()

/** Returns what a subpath exports, under the name that it has there. */
export function namesOf({ source }: Entry): { name: string; symbol: ts.Symbol }[] {
  const file = program.getSourceFile(join(root, source)) as ts.SourceFile
  const module = checker.getSymbolAtLocation(file) as ts.Symbol
  return checker.getExportsOfModule(module).map((symbol) => ({ name: symbol.name, symbol: resolved(symbol) }))
}

/** Returns what all subpaths of a package export, with aliases resolved. */
export function exportsOf(room: Room): ts.Symbol[] {
  return entriesOf(room).flatMap((entry) => namesOf(entry).map(({ symbol }) => symbol))
}

/** Returns the symbol that an alias stands for, or the symbol itself. */
export function resolved(symbol: ts.Symbol): ts.Symbol {
  return symbol.flags & ts.SymbolFlags.Alias ? checker.getAliasedSymbol(symbol) : symbol
}
