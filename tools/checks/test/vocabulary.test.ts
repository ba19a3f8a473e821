// Compares the public names with the table of “Vocabulary” in CONTRIBUTING.md.
import ts from 'typescript'
import { describe, expect, it } from 'vitest'
import { checker, exportsOf } from '../src/program.js'
import { packages, read } from '../src/workspace.js'

interface Member {
  readonly owner: string
  readonly name: string
  readonly symbol: ts.Symbol
}

const types = packages
  .flatMap(exportsOf)
  .filter(({ flags }) => flags & (ts.SymbolFlags.Class | ts.SymbolFlags.Interface))
const members = types.flatMap(membersOf)

const rows = (read('CONTRIBUTING.md').match(/## Vocabulary\n.*?(?=\n## )/s)?.[0] ?? '')
  .split('\n')
  .filter((line) => /^\| (?!idea)/.test(line))
  .map((line) => line.split('|').map((cell) => [...cell.matchAll(/`([\w.]+)`/g)].map(([, word]) => word as string)))

it('finds the table and the members', () => {
  expect(rows.length).toBeGreaterThan(15)
  expect(members.length).toBeGreaterThan(300)
})

it.each(rows.flatMap(([, , words = []]) => words).filter((word) => word !== 'this'))('uses %s', (word) => {
  expect(members.map(({ name }) => name)).toContain(word)
})

it.each(rows.flatMap(([, , , gone = []]) => gone))('no longer uses %s', (word) => {
  const name = (member: Member) => (word.includes('.') ? `${member.owner}.${member.name}` : member.name)
  expect(members.filter((member) => name(member) === word).map(({ owner }) => owner)).toEqual([])
})

describe.each(types.map((type) => ({ type, name: type.name })))('$name', ({ type }) => {
  const own = membersOf(type)
  const methods = own.filter(({ symbol }) => symbol.flags & ts.SymbolFlags.Method)

  it.runIf(methods.some(({ name }) => /^(pause|resume|ref|unref)$/.test(name)))('returns this to chain', () => {
    const chained = methods.filter(({ name }) => /^(pause|resume|ref|unref)$/.test(name))
    expect(chained.filter((member) => !returns(member, /^this$/)).map(({ name }) => name)).toEqual([])
  })

  it.runIf(methods.some(({ name }) => name === 'drain'))('promises the end of drain', () => {
    const drains = methods.filter(({ name }) => name === 'drain' && !type.name.endsWith('Handlers'))
    expect(drains.filter((member) => !returns(member, /^(Promise<|Relay$|this$)/)).map(({ owner }) => owner)).toEqual(
      [],
    )
  })

  const isHandler = /Handlers$|^Timer$|^Framing$|^TimerWheel$|^LoopTimers$/.test(type.name)
  it.runIf(!isHandler && methods.some(({ name }) => /^(close|stop)$/.test(name)))('is Disposable', () => {
    const all = checker.getDeclaredTypeOfSymbol(type).getProperties()
    expect(all.some(({ name }) => name.startsWith('__@dispose'))).toBe(true)
  })
})

/** Returns the members of a class or an interface, also inherited ones that are declared in this repository. */
function membersOf(type: ts.Symbol): Member[] {
  return checker
    .getDeclaredTypeOfSymbol(type)
    .getProperties()
    .filter(({ declarations = [] }) => declarations.some((node) => isOurs(node.getSourceFile().fileName)))
    .map((symbol) => ({ owner: type.name, name: symbol.name, symbol }))
}

function isOurs(file: string): boolean {
  return /\/packages\/[\w-]+\/(src|dist)\//.test(file)
}

function returns({ symbol }: Member, expected: RegExp): boolean {
  const node = symbol.valueDeclaration as ts.Declaration
  const signatures = checker.getTypeOfSymbolAtLocation(symbol, node).getCallSignatures()
  return signatures.every((signature) => {
    const type = (signature.getDeclaration() as ts.SignatureDeclaration).type?.getText() ?? ''
    return expected.test(type) || expected.test(checker.typeToString(signature.getReturnType()))
  })
}
