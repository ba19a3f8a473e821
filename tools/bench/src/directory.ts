import { spawnSync } from 'node:child_process'
import { createCipheriv } from 'node:crypto'
import { mkdirSync, renameSync, statSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { threadId } from 'node:worker_threads'

/** The root of the repository. */
export const root = join(dirname(fileURLToPath(import.meta.url)), '../../..')

/** The directory of this tool. */
export const home = join(root, 'tools/bench')

/** Compiles `native/NAME.c` unless its program is newer, and returns the program's path. */
export function compile(name: string): string {
  const program = join(cache(), name)
  const sources = [join(home, 'native', `${name}.c`), join(home, 'native/common.h')]
  if (sources.every((source) => changed(source) < changed(program))) return program
  make(program, (path) => {
    // g++ is the only compiler that the repository needs anyway.
    const { status, stderr } = spawnSync(
      'g++',
      ['-x', 'c', '-O2', '-Wall', '-Wextra', '-pthread', '-o', path, sources[0] as string],
      { encoding: 'utf8' },
    )
    if (status !== 0) throw new Error(`g++: ${stderr}`)
  })
  return program
}

/** Makes a file of 1 MiB whose bytes follow no pattern, unless it exists, and returns its path. */
export function sampleFile(): string {
  const file = join(cache(), 'sample')
  if (statSync(file, { throwIfNoEntry: false })?.size !== SAMPLE_SIZE) {
    // Always the same bytes, because another process may make the file at the same time.
    const cipher = createCipheriv('aes-128-ctr', Buffer.alloc(16), Buffer.alloc(16))
    make(file, (path) => writeFileSync(path, cipher.update(Buffer.alloc(SAMPLE_SIZE))))
  }
  return file
}

/** **Bytes.** */
const SAMPLE_SIZE = 1024 * 1024

/** Makes a file atomically: other processes may make the same file at the same time, or may be running it. */
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
