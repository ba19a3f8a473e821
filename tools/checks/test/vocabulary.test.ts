// Compares the public names with the table of “Vocabulary” in CONTRIBUTING.md.
import ts from 'typescript'
import { expect, it } from 'vitest'
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

const methods = members.filter(({ symbol }) => symbol.flags & ts.SymbolFlags.Method)
/** Objects that a program makes to be called. `TimerWheel.stop` ends a timer, not the wheel. */
const handlers = /Handlers$|^(Timer|Framing|LoopTimers|TimerWheel)$/

it('returns this from pause, resume, ref and unref', () => {
  const chained = methods.filter(({ name }) => /^(pause|resume|ref|unref)$/.test(name))
  expect(chained.length).toBeGreaterThan(20)
  expect(chained.filter((member) => !returns(member, /^this$/)).map(pathOf)).toEqual([])
})

it('returns a promise from drain', () => {
  const drains = methods.filter(({ owner, name }) => name === 'drain' && !handlers.test(owner))
  expect(drains.length).toBeGreaterThan(4)
  expect(drains.filter((member) => !returns(member, /^(Promise<|Relay$|this$)/)).map(pathOf)).toEqual([])
})

it('lets `using` end whatever has close or stop', () => {
  const ending = methods.filter(({ owner, name }) => /^(close|stop)$/.test(name) && !handlers.test(owner))
  expect(ending.length).toBeGreaterThan(10)
  expect(ending.filter(({ owner }) => !isDisposable(owner)).map(pathOf)).toEqual([])
})

function isDisposable(owner: string): boolean {
  const type = types.find(({ name }) => name === owner) as ts.Symbol
  const all = checker.getDeclaredTypeOfSymbol(type).getProperties()
  return all.some(({ name }) => name.startsWith('__@dispose'))
}

function pathOf({ owner, name }: Member): string {
  return `${owner}.${name}`
}

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
