import { spawn } from 'node:child_process'
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { environment, root, tryRun } from './run.mjs'

const vitest = join(root, 'node_modules/vitest/vitest.mjs')

/** Selects the suites of the packages. Not by what to leave out: of several `--project=!…` each admits the rest. */
export const packages = readdirSync(join(root, 'packages')).map((name) => `--project=${name}`)

/**
 * Returns arguments for vitest that select these projects, unless the caller's arguments select others: vitest would run both.
 * @param {string[]} projects
 * @param {string[]} args
 */
export function selecting(projects, args) {
  return args.some((arg) => arg.startsWith('--project')) ? args : [...projects, ...args]
}

/** Runs more files at a time than most CI machines have processors, because tests wait about as much as they compute. */
const inProcesses = ['--pool=forks', '--maxWorkers=3']

/** A test in a Worker sees the descriptors of the whole process, so the files of a process run one after the other. */
const inWorkers = ['--pool=threads', '--maxWorkers=1']

/**
 * Runs the suites, each file in a process of its own, and returns vitest's exit code. Results are never cached, because they
 * depend on the kernel.
 * @param {string[]} args for vitest
 * @param {{ node?: string, env?: Record<string, string> }} options
 */
export function runSuites(args, { node = process.execPath, env } = {}) {
  return tryRun(node, [vitest, 'run', ...inProcesses, ...args], { env })
}

/**
 * Runs the suites inside Workers of two processes at a time, and returns whether all passed. The output of the second process
 * is printed after that of the first, but not if it would only bury the report of the first one's failures.
 * @param {string[]} args for vitest
 * @param {Record<string, string>} env
 */
export async function runInWorkers(args, env = {}) {
  const printed = []
  const codes = [1, 2].map(
    (shard) =>
      new Promise((resolve, reject) => {
        const all = [vitest, 'run', ...inWorkers, `--shard=${shard}/2`, '--passWithNoTests', ...args]
        const output = shard === 1 ? 'inherit' : 'pipe'
        const child = spawn(process.execPath, all, {
          cwd: root,
          env: { ...environment(), ...env },
          stdio: ['ignore', output, output],
        })
        child.on('error', reject).on('close', resolve)
        for (const stream of [child.stdout, child.stderr]) stream?.on('data', (chunk) => printed.push(chunk))
      }),
  )
  const [first, second] = await Promise.all(codes)
  if (first === 0 || second !== 0) process.stdout.write(Buffer.concat(printed))
  return first === 0 && second === 0
}
