// Builds what the tests load: native-core's binary, and the `dist` of each package.
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { compile, core } from './native.mjs'
import { cache, root, run, say } from './run.mjs'

const stamp = join(cache, 'built')

/** Builds everything; ends the program if that fails. Takes a second or two when nothing changed: make and turbo notice. */
export function build() {
  say('Building native-core’s binary.')
  compile()
  say('Building the packages.')
  run('turbo', ['run', 'build', '--concurrency=2', '--output-logs=errors-only'])
  mkdirSync(dirname(stamp), { recursive: true })
  writeFileSync(stamp, state())
}

/** Builds everything, unless neither the sources nor the built files have changed since the last build. */
export function buildIfStale() {
  if (!existsSync(stamp) || readFileSync(stamp, 'utf8') !== state()) build()
}

/** Returns a digest of all files that a build reads or writes. */
function state() {
  const rooms = ['packages', 'apps', 'tools'].flatMap((folder) =>
    readdirSync(join(root, folder)).map((room) => join(root, folder, room)),
  )
  const built = rooms.filter((room) => existsSync(join(room, 'tsup.config.ts')))
  const paths = [
    ...['tsconfig.base.json', 'tsup.base.ts', 'turbo.json', 'pnpm-lock.yaml', 'scripts/declare.mjs'].map((file) =>
      join(root, file),
    ),
    ...built.flatMap((room) =>
      ['package.json', 'tsconfig.json', 'tsup.config.ts', 'src', 'dist'].map((name) => join(room, name)),
    ),
    ...['binding.gyp', 'native', 'build/Release/native_core.node'].map((name) => join(core, name)),
  ]
  const digest = createHash('sha256')
  for (const file of paths.flatMap(filesAt)) digest.update(`${file}\0`).update(readFileSync(file))
  return digest.digest('hex')
}

function filesAt(path) {
  if (!existsSync(path)) return []
  if (!statSync(path).isDirectory()) return [path]
  return readdirSync(path)
    .sort()
    .flatMap((name) => filesAt(join(path, name)))
}
