// Every public export and each of its members has a doc comment, which editors show where the export is used.
import { join } from 'node:path'
import ts from 'typescript'
import { expect, it } from 'vitest'
import { checker, exportsOf, resolved } from '../src/program.js'
import { packages, read } from '../src/workspace.js'

it.each(packages)('$path documents what it exports', (room) => {
  const exported = exportsOf(room)
  expect(exported.length).toBeGreaterThan(0)
  expect(
    exported
      .flatMap((symbol) => [symbol, ...members(symbol)])
      .filter(isBare)
      .map(nameOf),
  ).toEqual([])
})

/** Returns members; not `family` and `name`, those that Node calls (`_read`), and those that a language feature calls. */
function members(symbol: ts.Symbol): ts.Symbol[] {
  return (symbol.declarations ?? [])
    .flatMap(bodies)
    .flatMap((node): readonly (ts.ClassElement | ts.TypeElement)[] => node.members)
    .filter(({ name }) => name !== undefined && ts.isIdentifier(name) && !/^(_.*|family|name)$/.test(name.text))
    .filter((node) => !(ts.getCombinedModifierFlags(node) & ts.ModifierFlags.Private))
    .map((node) => checker.getSymbolAtLocation(node.name as ts.Identifier) as ts.Symbol)
}

/** Returns declarations with members: the symbol's own, or those that a type alias combines, such as a private interface. */
function bodies(node: ts.Node): (ts.ClassDeclaration | ts.InterfaceDeclaration)[] {
  if (ts.isClassDeclaration(node) || ts.isInterfaceDeclaration(node)) return [node]
  if (ts.isTypeAliasDeclaration(node)) return bodies(node.type)
  if (ts.isIntersectionTypeNode(node)) return node.types.flatMap(bodies)
  const alias = ts.isTypeReferenceNode(node) ? checker.getSymbolAtLocation(node.typeName) : undefined
  const isOwn = (declaration: ts.Declaration) => !declaration.getSourceFile().isDeclarationFile
  return (alias === undefined ? [] : (resolved(alias).declarations ?? [])).filter(isOwn).flatMap(bodies)
}

function isBare(symbol: ts.Symbol): boolean {
  return symbol.getDocumentationComment(checker).length === 0
}

function nameOf(symbol: ts.Symbol): string {
  return checker.symbolToString(symbol)
}

// Readers of the README learn that an export exists. For C names, the README may name the family: `MSG_…`.
it.each(packages)('$path names what it exports in its README', (room) => {
  const code = read(join(room.path, 'README.md')).match(/```.*?```|`[^`]+`/gs) ?? []
  const names = new Set(code.flatMap((piece) => piece.match(/\w+…?/g) ?? []))
  const families = [...names].filter((name) => name.endsWith('…')).map((name) => name.slice(0, -1))
  const isNamed = (name: string) =>
    names.has(name) || (isCName(name) && families.some((family) => isCName(family) && name.startsWith(family)))
  expect(
    exportsOf(room)
      .map(nameOf)
      .filter((name) => !isNamed(name)),
  ).toEqual([])
})

function isCName(name: string): boolean {
  return /^[A-Z][A-Z0-9_]+$/.test(name)
}
