// Prepares a clone so that everything in it runs. Needs only Node; takes a second or two when nothing changed.
import { spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { build } from './build.mjs'
import { cache, fail, root, run, say } from './run.mjs'

export function setup() {
  checkPlatform()
  checkCompiler()
  install()
  build()
}

function checkPlatform() {
  const [major, minor] = process.versions.node.split('.').map(Number)
  if (process.platform !== 'linux') fail(`linux-sockets is for Linux; this is ${process.platform}.`)
  if (process.arch !== 'x64' && process.arch !== 'arm64')
    fail(`linux-sockets is for x64 and arm64; this is ${process.arch}.`)
  if (major < 20 || (major === 20 && minor < 19))
    fail(`linux-sockets needs Node.js 20.19 or newer; this is ${process.version}.`)
}

function checkCompiler() {
  const needed = { 'g++': process.env.CXX ?? 'g++', make: 'make', python3: process.env.PYTHON ?? 'python3' }
  const missing = Object.keys(needed).filter((name) => spawnSync(needed[name], ['--version']).error)
  if (missing.length > 0)
    fail(
      `The binary can’t be compiled here without ${missing.join(', ')}:\n\n    apt-get install -y ${missing.join(' ')}\n`,
    )
}

/** Installs the dependencies in the lockfile, unless they are installed already. */
export function install() {
  const stamp = join(cache, 'installed')
  const state = installState()
  if (existsSync(stamp) && readFileSync(stamp, 'utf8') === state) return
  say('Installing dependencies.')
  const { packageManager } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))
  run('npx', ['--yes', packageManager, 'install', '--frozen-lockfile', '--reporter=append-only'], {
    env: { CI: 'true' },
  })
  mkdirSync(cache, { recursive: true })
  writeFileSync(stamp, state)
}

/** Returns a digest of everything that determines the result of an install. */
function installState() {
  const manifests = ['packages', 'apps', 'tools'].flatMap((folder) =>
    readdirSync(join(root, folder)).map((room) => join(folder, room, 'package.json')),
  )
  const files = ['pnpm-lock.yaml', 'pnpm-workspace.yaml', 'package.json', ...manifests].map((file) => join(root, file))
  const digest = createHash('sha256').update(`${process.version} ${process.arch}`)
  for (const file of files.filter(existsSync)) digest.update(readFileSync(file))
  return digest.digest('hex')
}

if (process.argv[1] === fileURLToPath(import.meta.url)) setup()
