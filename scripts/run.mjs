import { spawnSync } from 'node:child_process'
import { accessSync, constants, mkdirSync } from 'node:fs'
import { delimiter, join, resolve } from 'node:path'

export const root = resolve(import.meta.dirname, '..')
export const cache = join(root, 'node_modules/.cache/linux-sockets')

/** Says what is done. */
export function say(text) {
  process.stdout.write(`▸ ${text}\n`)
}

/** Ends the program with one sentence. */
export function fail(text) {
  process.stderr.write(`✗ ${text}\n`)
  process.exit(1)
}

/** Runs a program in the repository with its output shown. Ends with the program's exit code when it fails. */
export function run(command, args, options) {
  const code = tryRun(command, args, options)
  if (code !== 0) process.exit(code)
}

/** Runs a program in the repository with its output shown; returns its exit code. */
export function tryRun(command, args, { env = {}, cwd = root, timeout } = {}) {
  const { status, signal, error } = spawnSync(command, args, {
    cwd,
    env: { ...environment(), ...env },
    stdio: ['ignore', 'inherit', 'inherit'],
    timeout,
  })
  if (error) process.stderr.write(`✗ ${command}: ${error.message}\n`)
  if (signal) process.stderr.write(`✗ ${command}: ended by ${signal}\n`)
  return status ?? 1
}

/** The environment of everything that is run: the repository's own tools first, nothing sent home, a home that can be written to. */
function environment() {
  const env = { ...process.env, TURBO_TELEMETRY_DISABLED: '1', DO_NOT_TRACK: '1' }
  env.PATH = [join(root, 'node_modules/.bin'), env.PATH].join(delimiter)
  if (!isWritable(env.HOME)) {
    env.HOME = join(cache, 'home')
    mkdirSync(env.HOME, { recursive: true })
  }
  return env
}

function isWritable(directory) {
  try {
    accessSync(directory, constants.W_OK | constants.X_OK)
    return true
  } catch {
    return false
  }
}
