import { spawnSync } from 'node:child_process'
import { createCipheriv } from 'node:crypto'
import { mkdirSync, renameSync, statSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { threadId } from 'node:worker_threads'

/** The repository. */
export const root = join(dirname(fileURLToPath(import.meta.url)), '../../..')

/** The tool's own directory. */
export const home = join(root, 'tools/bench')

/** Compiles `native/NAME.c` unless its program is newer, and returns the program's path. */
export function compile(name: string): string {
  const program = join(cache(), name)
  const sources = [join(home, 'native', `${name}.c`), join(home, 'native/common.h')]
  if (sources.every((source) => changed(source) < changed(program))) return program
  make(program, (path) => {
    // The one compiler that the repository needs anyway is g++.
    const { status, stderr } = spawnSync(
      'g++',
      ['-x', 'c', '-O2', '-Wall', '-Wextra', '-pthread', '-o', path, sources[0] as string],
      { encoding: 'utf8' },
    )
    if (status !== 0) throw new Error(`g++: ${stderr}`)
  })
  return program
}

/** The path of a file with a MiB of bytes that repeat nowhere. */
export function sampleFile(): string {
  const file = join(cache(), 'sample')
  if (statSync(file, { throwIfNoEntry: false })?.size !== SAMPLE_SIZE) {
    // The same in every file, as another process may make it at the same time.
    const cipher = createCipheriv('aes-128-ctr', Buffer.alloc(16), Buffer.alloc(16))
    make(file, (path) => writeFileSync(path, cipher.update(Buffer.alloc(SAMPLE_SIZE))))
  }
  return file
}

/** **Bytes.** */
const SAMPLE_SIZE = 1024 * 1024

/** Others may make the same file at the same time, and may be running it: each finds it whole or not at all. */
function make(file: string, write: (path: string) => void): void {
  const own = `${file}.${process.pid}.${threadId}`
  write(own)
  renameSync(own, file)
}

function cache(): string {
  const directory = join(root, 'node_modules/.cache/linux-sockets/bench')
  mkdirSync(directory, { recursive: true })
  return directory
}

function changed(path: string): number {
  return statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? 0
}
