import { resolve } from 'node:path'
import { documentedPrograms, guardDescriptors, runDocumented } from '@linux-sockets/testkit'
import { expect, it } from 'vitest'

guardDescriptors()

const directory = resolve(import.meta.dirname, '..')

const [opening, ...programs] = documentedPrograms(directory)

it('the program of src/index.ts runs', async () => {
  const lines = /^ipv4 127\.0\.0\.1 is localhost\n(.*\n)*1 lo 127\.0\.0\.1\/8( .*)?\n/m
  expect(await runDocumented(directory, opening as (typeof programs)[0])).toMatch(lines)
})

it.each(programs)('the program of $place prints what its comments say', async (program) => {
  expect(flat(await runDocumented(directory, program))).toMatch(promised(program.code))
})

/**
 * A pattern of the comments after `console.log`, in their order; “…” matches anything, or nothing. Calls in a loop or without a
 * comment may print more.
 */
function promised(code: string): RegExp {
  const comments = [...code.matchAll(/console\.log\(.*\) \/\/ +(.*)$/gm)].map((match) => flat(match[1] as string))
  expect(comments).not.toEqual([])
  const patterns = comments.map((comment) => comment.split(/,? …/).map(escaped).join('.*'))
  return new RegExp(`(^| )${patterns.join(' (.* )?')}( |$)`)
}

/** Joins lines: Node prints long objects on several lines. */
function flat(text: string): string {
  return text.replace(/\s+/g, ' ').trim()
}

function escaped(text: string): string {
  return text.replace(/[\\^$.*+?()[\]{}|]/g, '\\$&')
}
