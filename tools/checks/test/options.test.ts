// `testRefusals` recognises an object of options by the name of its parameter. It then requires a test with a misspelt member.
import ts from 'typescript'
import { expect, it } from 'vitest'
import { NAMED_OPTIONS } from '../../testkit/src/refusal.js'
import { checker, exportsOf } from '../src/program.js'
import { packages } from '../src/workspace.js'

const known: readonly string[] = NAMED_OPTIONS

/** Parameters whose optional members are no options: addresses, what isn't written by hand, what is sent with each datagram. */
const others = /^(addresses|address|destination|peer|a|b|stream|socket|member|error|link|message|value|__\d)$/

it.each(packages)('$path gives its options a name that the tests recognise', (room) => {
  const parameters = exportsOf(room)
    .flatMap(signaturesOf)
    .flatMap(({ parameters }) => parameters)
  const optional = new Set(parameters.filter(hasOptionalMembers).map(({ name }) => name))
  expect([...optional].some((name) => known.includes(name))).toBe(true)
  expect([...optional].filter((name) => !known.includes(name) && !others.test(name))).toEqual([])
})

function signaturesOf(symbol: ts.Symbol): readonly ts.Signature[] {
  const node = symbol.valueDeclaration
  if (node === undefined) return []
  const type = checker.getTypeOfSymbolAtLocation(symbol, node)
  const made = type.getConstructSignatures()
  const methods = [type, ...made.map((signature) => signature.getReturnType())].flatMap((owner) =>
    owner.getProperties().flatMap((property) => checker.getTypeOfSymbolAtLocation(property, node).getCallSignatures()),
  )
  return [...type.getCallSignatures(), ...made, ...methods]
}

function hasOptionalMembers(parameter: ts.Symbol): boolean {
  const type = checker.getTypeOfSymbolAtLocation(parameter, parameter.valueDeclaration as ts.Declaration)
  const types = type.isUnion() ? type.types : [type]
  return types.some((one) => isOurs(one) && one.getProperties().some(({ flags }) => flags & ts.SymbolFlags.Optional))
}

function isOurs(type: ts.Type): boolean {
  const files = type.getProperties().flatMap(({ declarations }) => declarations ?? [])
  return files.some((node) => /\/packages\/[^/]+\/(src|dist)\//.test(node.getSourceFile().fileName))
}
