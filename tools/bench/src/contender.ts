import { existsSync } from 'node:fs'
import { join } from 'node:path'
import type { Mode } from './case.js'
import { compile, home } from './directory.js'

/** A server that is measured. */
export interface Contender {
  readonly name: string
  /** Returns the command that starts the program for a mode, which may need an argument; undefined if there is no program. */
  readonly command: (mode: Mode, argument?: string) => readonly string[] | undefined
  /** Whether the program answers questions about its memory. */
  readonly tells: boolean
}

/** The paths of the runtimes other than this Node.js, by name: `node26`, `bun`, `deno`. */
export type Runtimes = Readonly<Record<string, string>>

/** Returns the contenders that can be measured on this machine, C first. `missing` names the runtimes that it lacks. */
export function contenders(runtimes: Runtimes): { readonly present: Contender[]; readonly missing: string[] } {
  const present: Contender[] = [{ name: 'c', command: commandInC, tells: false }]
  const missing: string[] = []
  const add = (name: string, scripts: Scripts, ...runtime: string[]) => {
    const command: Contender['command'] = (mode, argument = '') => {
      const script = scripts[mode]
      return script === undefined ? undefined : [...runtime, join(home, 'dist/servers', `${script}.js`), mode, argument]
    }
    present.push({ name, command, tells: true })
  }
  const addNode = (suffix: string, program: string) => {
    for (const [name, scripts] of Object.entries(onNode)) add(`${name}${suffix}`, scripts, program, '--expose-gc')
  }
  addNode('', process.execPath)
  const { node26, bun, deno } = runtimes
  if (isThere(node26)) addNode('@26', node26)
  else missing.push('Node.js 26')
  if (isThere(bun)) add('bun', onBun, bun)
  else missing.push('Bun')
  if (isThere(deno)) add('deno', onDeno, deno, 'run', '--allow-all', '--quiet', '--v8-flags=--expose-gc')
  else missing.push('Deno')
  return { present, missing }
}

/** The file in `src/servers` for each mode that a contender has a program for. */
type Scripts = Readonly<Partial<Record<Mode, string>>>

const onNode: Readonly<Record<string, Scripts>> = {
  reactor: both('reactor'),
  streams: { ...both('streams'), relay: 'streams-relay' },
  net: both('net'),
  ours: { datagrams: 'datagrams', relay: 'relay', file: 'file', connect: 'connect', descriptors: 'descriptors' },
  node: { datagrams: 'node-datagrams', relay: 'node-relay', file: 'node-file', connect: 'node-connect' },
}

const onBun: Scripts = {
  ...both('bun'),
  datagrams: 'bun-datagrams',
  relay: 'bun-relay',
  file: 'bun-file',
  connect: 'bun-connect',
}

/** Has no program for datagrams: Deno's are not stable. */
const onDeno: Scripts = { ...both('deno'), relay: 'deno-relay', file: 'deno-file', connect: 'deno-connect' }

function both(script: string): Scripts {
  return { echo: script, lines: script }
}

function commandInC(mode: Mode, argument = ''): string[] {
  switch (mode) {
    case 'echo':
    case 'lines':
      return [compile('server'), mode]
    case 'datagrams':
      return [compile('datagrams')]
    case 'relay':
    case 'file':
      return [compile('bulk'), mode, argument]
    default:
      return [compile('drive'), mode]
  }
}

function isThere(program: string | undefined): program is string {
  return program !== undefined && existsSync(program)
}
