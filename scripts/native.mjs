// The binary of native-core.
//   node scripts/native.mjs build    compiles it for this machine, into build/Release
//   node scripts/native.mjs pack     copies it to where the published package carries it, prebuilds/<platform>
//   node scripts/native.mjs verify   fails unless the published package would carry it for every platform, in a form that loads there
import { copyFileSync, existsSync, mkdirSync, readFileSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { fail, root, run, say } from './run.mjs'

export const core = join(root, 'packages/native-core')

const platforms = ['linux-x64', 'linux-x64-musl', 'linux-arm64', 'linux-arm64-musl']

/** What the oldest systems that Node.js itself runs on have: it needs glibc 2.28, beside which libstdc++ 3.4.25 came. */
const newestSymbols = { GLIBC_2: 28, 'GLIBCXX_3.4': 25 }

/**
 * Compiles what `directory` holds the binding.gyp of. make knows what changed, so an up-to-date binary costs a second.
 * @param {string[]} variables gyp variables, as `--name=value`
 */
export function compile(directory = core, variables = []) {
  const nodeGyp = join(core, 'node_modules/.bin/node-gyp')
  const options = ['--loglevel=warn', '--directory', directory, ...headers(), ...variables]
  run(nodeGyp, ['configure', ...options])
  run(nodeGyp, ['build', '--jobs=max', ...options], { env: { MAKEFLAGS: 's' } })
}

/** Most ways to install Node bring its headers along; without them node-gyp downloads them. */
function headers() {
  const prefix = resolve(dirname(process.execPath), '..')
  return existsSync(join(prefix, 'include/node/node_api.h')) ? ['--nodedir', prefix] : []
}

function pack() {
  const target = prebuilt(platform())
  mkdirSync(dirname(target), { recursive: true })
  copyFileSync(join(core, 'build/Release/native_core.node'), target)
  say(`Copied the binary to prebuilds/${platform()}.`)
}

function verify() {
  const missing = platforms.filter((name) => !existsSync(prebuilt(name)))
  if (missing.length > 0) fail(`native-core can’t be published without its binary for ${missing.join(', ')}.`)
  for (const name of platforms.filter((name) => !name.endsWith('musl'))) {
    const binary = readFileSync(prebuilt(name), 'latin1')
    for (const [family, newest] of Object.entries(newestSymbols)) {
      const needed = [...binary.matchAll(new RegExp(`\\b${family}\\.(\\d+)`, 'g'))].map(([, minor]) => Number(minor))
      const most = Math.max(...needed)
      if (most > newest)
        fail(
          `The binary for ${name} needs ${family}.${most}, but Node.js runs where there is ${family}.${newest} only.`,
        )
    }
  }
}

function prebuilt(name) {
  return join(core, 'prebuilds', name, 'native_core.node')
}

function platform() {
  const musl = process.report.getReport().header.glibcVersionRuntime === undefined
  return `linux-${process.arch}${musl ? '-musl' : ''}`
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const command = { build: () => compile(), pack, verify }[process.argv[2]]
  if (command === undefined) fail('build, pack or verify?')
  command()
}
