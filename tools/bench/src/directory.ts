import { spawnSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { mkdirSync, statSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

/** The repository. */
export const root = join(dirname(fileURLToPath(import.meta.url)), '../../..')

/** The tool's own directory. */
export const home = join(root, 'tools/bench')

/** Compiles `native/NAME.c` unless its program is newer, and returns the program's path. */
export function compile(name: string): string {
  const program = join(cache(), name)
  const sources = [join(home, 'native', `${name}.c`), join(home, 'native/common.h')]
  if (sources.every((source) => changed(source) < changed(program))) return program
  // The one compiler that the repository needs anyway is g++.
  const { status, stderr } = spawnSync(
    'g++',
    ['-x', 'c', '-O2', '-Wall', '-Wextra', '-pthread', '-o', program, sources[0] as string],
    { encoding: 'utf8' },
  )
  if (status !== 0) throw new Error(`g++: ${stderr}`)
  return program
}

/** The path of a file with a MiB of bytes that repeat nowhere. */
export function sampleFile(): string {
  const path = join(cache(), 'sample')
  if (statSync(path, { throwIfNoEntry: false })?.size !== SAMPLE_SIZE) writeFileSync(path, randomBytes(SAMPLE_SIZE))
  return path
}

/** **Bytes.** */
const SAMPLE_SIZE = 1024 * 1024

function cache(): string {
  const directory = join(root, 'node_modules/.cache/linux-sockets/bench')
  mkdirSync(directory, { recursive: true })
  return directory
}

function changed(path: string): number {
  return statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? 0
}
