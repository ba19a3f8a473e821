import { expect } from 'vitest'
import { spawnProgram } from './program.js'

/**
 * Fails unless C gives each of these names or expressions its number, with these headers: `{ AI_PASSIVE: 1 }`,
 * `{ 'sizeof(struct ucred)': 12 }`. Returns the names that the headers don't define, which may be older than the kernel.
 */
export async function expectHeaderNumbers(
  headers: readonly string[],
  numbers: Readonly<Record<string, number | bigint>>,
): Promise<string[]> {
  const lines = Object.entries(numbers).map(([name, number]) => {
    const assertion = `_Static_assert((${name}) == (${number}), "");`
    return /^\w+$/.test(name)
      ? `#ifdef ${name}\n${assertion}\n#else\n#pragma message "unknown ${name}"\n#endif`
      : assertion
  })
  const source = [
    '#define _GNU_SOURCE',
    '#include <stddef.h>',
    ...headers.map((header) => `#include <${header}>`),
    ...lines,
  ]
  const compiler = spawnProgram('cc', ['-fsyntax-only', '-x', 'c', '-'])
  compiler.process.stdin?.end(`${source.join('\n')}\n`)
  const { code, stderr } = await compiler.finished
  expect(code, stderr).toBe(0)
  return Object.keys(numbers).filter((name) => new RegExp(`unknown ${name}\\b`).test(stderr))
}
