import { spawnSync } from 'node:child_process'
import { haveProgram, type Need } from './need.js'

/** A C name and the number that it must stand for. */
export interface HeaderEntry {
  readonly name: string
  readonly value: number | bigint
}

/** What the headers said. */
export interface HeaderCheck {
  /** Names that the headers know, all with the right number. */
  readonly known: string[]
  /** Names that these headers don't know: they are older than the name, most likely. */
  readonly unknown: string[]
}

/** A C compiler is in the `PATH`. */
export function needCompiler(): Need {
  return compiler() === undefined ? 'no C compiler (cc, gcc, clang) is installed' : null
}

/**
 * Compiles a `_Static_assert` of every entry against the system's headers. Throws when a number is wrong, naming all that
 * are. Names that these headers don't know are no error, but returned: print them.
 *
 *     checkAgainstHeaders(['sys/socket.h', 'linux/tcp.h'], [{ name: 'TCP_NODELAY', value: 1 }])
 */
export function checkAgainstHeaders(includes: readonly string[], entries: readonly HeaderEntry[]): HeaderCheck {
  const command = compiler()
  if (command === undefined) throw new Error('no C compiler (cc, gcc, clang) is installed')
  const { status, stderr, error } = spawnSync(command, [...FLAGS, ...errorLimit(command), '-'], {
    encoding: 'utf8',
    input: program(includes, entries),
    env: { ...process.env, LC_ALL: 'C' },
    maxBuffer: 1 << 26,
  })
  if (error) throw error
  const complaints = new Map<number, string>()
  for (const [, entry, text] of stderr.matchAll(/^entry:(\d+):(?:\d+:)? error: (.*)$/gm)) {
    const index = Number(entry) - 1
    complaints.set(index, `${complaints.get(index) ?? ''}${text}\n`)
  }
  // Enumerators are no macros, so that #ifdef can't tell what a header knows; the compiler can.
  const isUnknown = (index: number) => /undeclared/.test(complaints.get(index) ?? '')
  const wrong = [...complaints].filter(([index]) => !isUnknown(index))
  if (wrong.some(([, text]) => !/static.assert/i.test(text)) || (status !== 0 && complaints.size === 0)) {
    throw new Error(`${command} failed: ${stderr}`)
  }
  if (wrong.length > 0) {
    const list = wrong
      .map(([index]) => entries[index] as HeaderEntry)
      .map(({ name, value }) => `${name} is not ${value}`)
    throw new Error(`wrong against the headers: ${list.join(', ')}`)
  }
  const names = entries.map(({ name }) => name)
  return { known: names.filter((_, i) => !isUnknown(i)), unknown: names.filter((_, i) => isUnknown(i)) }
}

const FLAGS = ['-xc', '-std=gnu11', '-fsyntax-only', '-w', '-D_GNU_SOURCE']

function compiler(): string | undefined {
  return ['cc', 'gcc', 'clang'].find(haveProgram)
}

/** Every name must be heard, not the first twenty. */
function errorLimit(command: string): string[] {
  const isClang = spawnSync(command, ['--version'], { encoding: 'utf8' }).stdout.includes('clang')
  return [isClang ? '-ferror-limit=0' : '-fmax-errors=0']
}

/** Each assertion is the line of its own number, in a file called “entry”. */
function program(includes: readonly string[], entries: readonly HeaderEntry[]): string {
  const assertions = entries.map(({ name, value }) => {
    if (!/^[A-Za-z_]\w*$/.test(name)) throw new TypeError(`${JSON.stringify(name)} is no C name`)
    const [type, suffix] = value > 0x7fff_ffff_ffff_ffffn ? ['unsigned long long', 'ULL'] : ['long long', 'LL']
    return `_Static_assert((${type})(${name}) == ${value}${suffix}, "${name}");`
  })
  return [...includes.map((include) => `#include <${include}>`), '#line 1 "entry"', ...assertions, ''].join('\n')
}
