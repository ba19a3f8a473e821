import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { compile, home } from './directory.js'

/** Who is measured: how its server is started for a mode. */
export interface Contender {
  readonly name: string
  readonly command: (mode: string) => readonly string[]
  /** Whether it answers to questions for memory. */
  readonly tells: boolean
}

/** The programs besides this Node.js, by name: `node26`, `bun`, `deno`. */
export type Runtimes = Readonly<Record<string, string>>

/** All that can be measured here, C first; `missing` says what can't. */
export function contenders(runtimes: Runtimes): { readonly present: Contender[]; readonly missing: string[] } {
  const present: Contender[] = [{ name: 'c', command: (mode) => [compile('server'), mode], tells: false }]
  const missing: string[] = []
  const node = (suffix: string, program: string) => {
    for (const server of ['reactor', 'streams', 'net']) {
      const command = (mode: string) => [program, '--expose-gc', script(server), mode]
      present.push({ name: `${server}${suffix}`, command, tells: true })
    }
  }
  node('', process.execPath)
  const { node26, bun, deno } = runtimes
  if (isThere(node26)) node('@26', node26)
  else missing.push('Node.js 26')
  if (isThere(bun)) present.push({ name: 'bun', command: (mode) => [bun, script('bun'), mode], tells: true })
  else missing.push('Bun')
  if (isThere(deno)) {
    const command = (mode: string) => [
      deno,
      'run',
      '--allow-all',
      '--quiet',
      '--v8-flags=--expose-gc',
      script('deno'),
      mode,
    ]
    present.push({ name: 'deno', command, tells: true })
  } else missing.push('Deno')
  return { present, missing }
}

function isThere(program: string | undefined): program is string {
  return program !== undefined && existsSync(program)
}

function script(server: string): string {
  return join(home, 'dist/servers', `${server}.js`)
}
