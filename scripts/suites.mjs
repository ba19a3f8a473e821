import { join } from 'node:path'
import { root, tryRun } from './run.mjs'

export const inProcesses = ['--pool=forks', '--maxWorkers=2']

/** In a Worker every test sees the descriptors of the whole process, so the files take turns. */
export const inWorkers = ['--pool=threads', '--maxWorkers=1']

/**
 * Runs the suites and returns vitest's exit code. No result is ever cached: tests talk to the kernel.
 * @param {string[]} args for vitest
 * @param {{ node?: string, env?: Record<string, string> }} options
 */
export function runSuites(args, { node = process.execPath, env } = {}) {
  return tryRun(node, [join(root, 'node_modules/vitest/vitest.mjs'), 'run', ...args], { env })
}
