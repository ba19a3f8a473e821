import { existsSync, mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { cache, say, tryRun } from './run.mjs'

/** The npm package of each runtime, and the path of the program in it. */
const packages = {
  node: [`node-linux-${process.arch}`, 'bin/node'],
  bun: [`@oven/bun-linux-${process.arch === 'arm64' ? 'aarch64' : 'x64'}`, 'bin/bun'],
  deno: [`@deno/linux-${process.arch}-glibc`, 'deno'],
}

/**
 * Returns the path of a runtime's program, and downloads it if it is missing. The download may fail; the file then doesn't
 * exist.
 * @param {keyof typeof packages} name
 */
export function provide(name, version = 'latest') {
  const [packageName, path] = packages[name]
  const directory = join(cache, 'runtimes', name === 'node' ? version : name)
  const program = join(directory, 'node_modules', packageName, path)
  if (!existsSync(program)) {
    say(`Downloading ${name} ${version}.`)
    mkdirSync(directory, { recursive: true })
    writeFileSync(join(directory, 'package.json'), '{}')
    tryRun('npm', ['install', '--no-audit', '--no-fund', '--ignore-scripts', `${packageName}@${version}`], {
      cwd: directory,
    })
  }
  return program
}
