// Builds and checks the binary of native-core.
//   node scripts/native.mjs build    compiles it for this machine, into build/Release
//   node scripts/native.mjs pack     copies it to where the published package carries it, prebuilds/<platform>
//   node scripts/native.mjs lint     fails if the formatter or the compiler complains about C or C++ of this repository
//   node scripts/native.mjs format   formats the C and C++ of this repository
//   node scripts/native.mjs verify   fails unless the published package would have a loadable binary for every platform
import { copyFileSync, existsSync, mkdirSync, readdirSync, readFileSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { fail, root, run, say, tryRun } from './run.mjs'

export const core = join(root, 'packages/native-core')

const platforms = ['linux-x64', 'linux-x64-musl', 'linux-arm64', 'linux-arm64-musl']

/** The versions on the oldest systems that Node.js runs on: it needs glibc 2.28, which came with libstdc++ 3.4.25. */
const newestSymbols = { GLIBC_2: 28, 'GLIBCXX_3.4': 25 }

/**
 * Compiles the project whose binding.gyp is in `directory`. make knows what changed: an up-to-date binary takes a second.
 * @param {string[]} variables gyp variables, as `--name=value`
 */
export function compile(directory = core, variables = []) {
  const nodeGyp = join(core, 'node_modules/.bin/node-gyp')
  const options = ['--loglevel=warn', '--directory', directory, ...headers(), ...variables]
  run(nodeGyp, ['configure', ...options])
  run(nodeGyp, ['build', '--jobs=max', ...options], { env: { MAKEFLAGS: 's' } })
}

/** Most Node installations include the headers; if they are missing, node-gyp downloads them. */
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

/** Warnings that `lint` treats as errors. binding.gyp has none: another compiler may warn of more, and must still build. */
const warnings = [
  '-Wall',
  '-Wextra',
  '-Wcast-qual',
  '-Wconversion',
  '-Wduplicated-cond',
  '-Wformat=2',
  '-Wlogical-op',
  '-Wnon-virtual-dtor',
  '-Wnull-dereference',
  '-Wold-style-cast',
  '-Wshadow',
  '-Wsign-conversion',
]

/** Checks the formatting and the warnings, with the Node headers that the last build used. */
function lint() {
  const [, nodedir] = /"nodedir": "(.*)"/.exec(readFileSync(join(core, 'build/config.gypi'), 'utf8'))
  const own = sources(/\.cc$/).filter((file) => file.startsWith(core))
  const dialect = ['-std=c++17', '-fno-exceptions', '-fno-rtti', '-DNAPI_VERSION=8', `-isystem${nodedir}/include/node`]
  const failed = [
    ['clang-format', ['--dry-run', '--Werror', ...sources()]],
    [process.env.CXX ?? 'g++', ['-fsyntax-only', '-Werror', ...warnings, ...dialect, ...own]],
  ].filter(([command, args]) => tryRun(command, args) !== 0)
  if (failed.length > 0) fail('`npm run format` mends what the formatter complains of.')
}

function format() {
  run('clang-format', ['-i', ...sources()])
}

/** Returns the C and C++ files of the repository whose names match. */
function sources(name = /\.(c|cc|h)$/) {
  const rooms = ['packages', 'tools'].flatMap((folder) =>
    readdirSync(join(root, folder)).map((room) => join(root, folder, room, 'native')),
  )
  return rooms
    .filter((directory) => existsSync(directory))
    .flatMap((directory) => readdirSync(directory).map((file) => join(directory, file)))
    .filter((file) => name.test(file))
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
  const command = { build: () => compile(), pack, lint, format, verify }[process.argv[2]]
  if (command === undefined) fail('build, pack, lint, format or verify?')
  command()
}
