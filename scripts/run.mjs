import { spawnSync } from 'node:child_process'
import { accessSync, constants, mkdirSync } from 'node:fs'
import { delimiter, join, resolve } from 'node:path'

export const root = resolve(import.meta.dirname, '..')
export const cache = join(root, 'node_modules/.cache/linux-sockets')

/** Prints one step of the work. */
export function say(text) {
  process.stdout.write(`▸ ${text}\n`)
}

/** Prints an error message, and ends the process with exit code 1. */
export function fail(text) {
  process.stderr.write(`✗ ${text}\n`)
  process.exit(1)
}

/** Runs a program in the repository and shows its output. If it fails, ends this process with the program's exit code. */
export function run(command, args, options) {
  const code = tryRun(command, args, options)
  if (code !== 0) process.exit(code)
}

/** Runs a program in the repository, shows its output, and returns its exit code. */
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

/** Runs a program in the repository, and returns its exit code and its output. */
export function capture(command, args) {
  const { status, stdout, stderr, error } = spawnSync(command, args, {
    cwd: root,
    env: environment(),
    encoding: 'utf8',
    maxBuffer: Number.POSITIVE_INFINITY,
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  return { code: status ?? 1, output: error ? `✗ ${command}: ${error.message}\n` : stdout + stderr }
}

/** Returns the environment for programs: the repository's tools first in the path, no telemetry, a writable home directory. */
export function environment() {
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
