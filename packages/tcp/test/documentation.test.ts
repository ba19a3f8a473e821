import { readdirSync, readFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import type * as core from '@linux-sockets/native-core'
import * as codecs from '@linux-sockets/native-core/codecs'
import { guardDescriptors, testDocumented } from '@linux-sockets/testkit'
import { describe, expect, it } from 'vitest'
import * as tcp from '../src/index.js'

guardDescriptors()

const directory = resolve(import.meta.dirname, '..')

/** The output of each program, in their order. The hash of the address decides which listener a client gets. */
const OUTPUTS = [
  /^echo: hello\n$/,
  /^hello, after \d+ µs, with a window of \d+ segments\n$/,
  /^start \[::1\]:1 \nfail \[::1\]:1 .*ECONNREFUSED.*\nstart (127\.0\.0\.1:\d+) \nwin \1 \nhello\n$/,
  /^hello over IPv6\nhello over IPv4\n2 served, 0 reset; 0 are left\n$/,
  /^2 wait; the kernel lets \d+\nhello\nagain\n$/,
  /^127\.0\.0\.1 (hello from listener 1)\n127\.0\.0\.2 hello from listener 0\n127\.0\.0\.1 \1\n$/,
  /^hello, to you too\n$/,
  /^hello, you: and the rest\n$/,
  /^hello, urgently: !\n$/,
  // In pieces of any size; the relay may see the end before the client does.
  /^hello, \n?ELF\n?(!\n11 bytes went through|11 bytes went through\n!)\n$/,
  /^hello, 127\.0\.0\.1\n$/,
]

testDocumented(directory, OUTPUTS)

describe('the table of options', () => {
  it('matches the doc comments of the rows', () => {
    const readme = readFileSync(join(directory, 'README.md'), 'utf8')
    const shown = /^\| option \| access .*\n(?:\|.*\n)*/m.exec(readme)?.[0] ?? ''
    // If they differ, copy the expected text into the README.
    expect(shown).toBe(optionTable())
  })
})

/** Every option that the package exports, in the order of their numbers, with the first sentence of its doc comment. */
function optionTable(): string {
  const files = readdirSync(join(directory, 'src')).filter((file) => file.endsWith('.ts'))
  // native-core has the two that `SocketStream` sets.
  const source = [...files.map((file) => join('src', file)), '../native-core/src/options/tcp.ts']
    .map((file) => readFileSync(join(directory, file), 'utf8'))
    .join('')
  const declarations = readFileSync(join(directory, 'dist/index.d.ts'), 'utf8')
  const lines = Object.values<unknown>(tcp)
    .filter(isOption)
    .filter(({ name }) => source.includes(`export const ${name} = `))
    .sort((a, b) => a.level - b.level || a.option - b.option)
    .map((row) => {
      const access = ['decode' in row && 'get', 'encode' in row && 'set'].filter(Boolean).join('/')
      return `| \`${row.name}\` | ${access} | \`${typeOf(row.name, source, declarations)}\` | ${meaningOf(row.name, source)} |\n`
    })
  return `| option | access | type | meaning |\n|---|---|---|---|\n${lines.join('')}`
}

/** Control messages are no options: they have their number as `type`. */
function isOption(value: unknown): value is core.OptionName {
  return typeof value === 'object' && value !== null && 'option' in value
}

/** The codec, which is the unit; for a codec of this package, the type of its value. */
function typeOf(name: string, source: string, declarations: string): string {
  const codec = new RegExp(`^export const ${name} = \\w+\\(.*?, .*?, \\d+, (.*)\\)$`, 'm').exec(source)?.[1] ?? ''
  if (codec.replace(/\(.*/, '') in codecs) return codec
  return new RegExp(`^declare const ${name}: [\\w.]+Option<(.*?)>[; ]`, 'm').exec(declarations)?.[1] ?? ''
}

function meaningOf(name: string, source: string): string {
  const comment = new RegExp(`^/\\*\\*\\n((?: \\*(?!/).*\\n)+) \\*/\\nexport const ${name} =`, 'm').exec(source)?.[1]
  const told = (comment ?? '').replaceAll(/^ \* ?/gm, '').replaceAll('\n', ' ')
  // <linux/inet_diag.h> would be a tag.
  return (/^.*?\.(?= )/.exec(told)?.[0] ?? '').replaceAll(/<.*?>/g, '`$&`')
}
