// The diffs in CONTRIBUTING.md match this repository: every line that they add, and every line of context, is in its file.
import { expect, it } from 'vitest'
import { read } from '../src/workspace.js'

const diffs = [...read('CONTRIBUTING.md').matchAll(/^```diff\n(.*?)^```$/gms)].map((match) => match[1] as string)
const files = diffs.flatMap((diff) => diff.split(/^\+\+\+ /m).slice(1))

it('shows diffs of each kind of addition', () => {
  expect(diffs.length).toBe(5)
})

it.each(files.map((text) => [text.slice(0, text.indexOf('\n')), text] as const))('quotes lines of %s', (file, text) => {
  const lines = text
    .split('\n')
    .slice(1)
    .filter((line) => /^[+ ]./.test(line))
    .map((line) => line.slice(1))
  const present = new Set(read(file).split('\n'))
  expect(lines.filter((line) => line !== '' && !present.has(line))).toEqual([])
})
