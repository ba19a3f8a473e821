import { spawnSync } from 'node:child_process'
import { haveProgram, type Need } from './need.js'

/** A C name or expression, and the value that it must have: `['AI_PASSIVE', 1]`, `['sizeof(struct ucred)', 12]`. */
export type HeaderNumber = readonly [expression: string, value: number | bigint]

/** Needs a C compiler in the `PATH`. */
export function needCompiler(): Need {
  return compiler() === undefined ? 'no C compiler (cc, gcc, clang) is installed' : null
}

/**
 * Compiles a `_Static_assert` of every number against the system's headers. Throws an error that names all wrong numbers, if
 * there are any. Returns the names that these headers don't define because they are older: print them, or expect none.
 *
 *     expectHeaderNumbers(['sys/socket.h', 'linux/tcp.h'], [['TCP_NODELAY', 1]])
 */
export function expectHeaderNumbers(headers: readonly string[], numbers: readonly HeaderNumber[]): string[] {
  const command = compiler()
  if (command === undefined) throw new Error('no C compiler (cc, gcc, clang) is installed')
  const { status, stderr, error } = spawnSync(command, [...FLAGS, errorLimit(command), '-'], {
    encoding: 'utf8',
    input: program(headers, numbers),
    env: { ...process.env, LC_ALL: 'C' },
    maxBuffer: 1 << 26,
  })
  if (error) throw error
  const complaints = numbers.map(() => '')
  for (const [, line, text] of stderr.matchAll(/^number:(\d+):(?:\d+:)? error: (.*)$/gm)) {
    complaints[Number(line) - 1] += `${text}\n`
  }
  const complained = numbers.map(([expression, value], i) => ({ expression, value, text: complaints[i] as string }))
  // Enumerators are not macros, so #ifdef can't tell whether a header defines them; the compiler can.
  const unknown = complained.filter(({ expression, text }) => NAME.test(expression) && /undeclared/.test(text))
  const wrong = complained.filter((entry) => entry.text !== '' && !unknown.includes(entry))
  if (wrong.some(({ text }) => !/static.assert/i.test(text)) || (status !== 0 && unknown.length + wrong.length === 0)) {
    throw new Error(`${command} failed: ${stderr}`)
  }
  if (wrong.length > 0) {
    const list = wrong.map(({ expression, value }) => `${expression} is not ${value}`)
    throw new Error(`wrong against the headers: ${list.join(', ')}`)
  }
  return unknown.map(({ expression }) => expression)
}

/** Returns the names of the macros that headers define with a value: `TCP_NODELAY`. Enumerators are not macros. */
export function headerMacros(headers: readonly string[]): string[] {
  const command = compiler()
  if (command === undefined) throw new Error('no C compiler (cc, gcc, clang) is installed')
  const { status, stdout, stderr } = spawnSync(command, ['-xc', '-E', '-dM', '-'], {
    encoding: 'utf8',
    input: program(headers, []),
    maxBuffer: 1 << 26,
  })
  if (status !== 0) throw new Error(`${command} failed: ${stderr}`)
  return [...stdout.matchAll(/^#define (\w+) ./gm)].map((match) => match[1] as string)
}

/** Returns the numbers that a module exports under matching names; by default under any name. */
export function numbersOf(module: object, names = NAME): HeaderNumber[] {
  return Object.entries(module).filter(
    (entry): entry is [string, number | bigint] =>
      names.test(entry[0]) && (typeof entry[1] === 'number' || typeof entry[1] === 'bigint'),
  )
}

const NAME = /^[A-Za-z_]\w*$/
const FLAGS = ['-xc', '-std=gnu11', '-fsyntax-only', '-w', '-D_GNU_SOURCE']

function compiler(): string | undefined {
  return ['cc', 'gcc', 'clang'].find(haveProgram)
}

/** The compiler must report every name, not only the first twenty. */
function errorLimit(command: string): string {
  const isClang = spawnSync(command, ['--version'], { encoding: 'utf8' }).stdout.includes('clang')
  return isClang ? '-ferror-limit=0' : '-fmax-errors=0'
}

/** Each assertion gets the index of its number as its line, in a file called “number”. */
function program(headers: readonly string[], numbers: readonly HeaderNumber[]): string {
  const assertions = numbers.map(([expression, value]) => {
    if (/["\n;]/.test(expression)) throw new TypeError(`${JSON.stringify(expression)} is not a C expression`)
    const [type, suffix] = value > 0x7fff_ffff_ffff_ffffn ? ['unsigned long long', 'ULL'] : ['long long', 'LL']
    return `_Static_assert((${type})(${expression}) == ${value}${suffix}, "${expression}");`
  })
  const includes = ['stddef.h', ...headers].map((header) => `#include <${header}>`)
  return [...includes, '#line 1 "number"', ...assertions, ''].join('\n')
}
