// Everything that can be said about the code without running its tests. Every check runs, whatever the ones before it said.
import { fail, say, tryRun } from './run.mjs'
import { setup } from './setup.mjs'

setup()
const checks = [
  ['format and lint', 'biome', ['check', '--error-on-warnings']],
  ['types', 'turbo', ['run', 'types', '--concurrency=2', '--continue', '--output-logs=errors-only']],
  ['rooms, manifests and tarballs', 'vitest', ['run', '--root=tools/checks']],
]
const failed = checks.filter(([name, command, args]) => {
  say(`Checking ${name}.`)
  return tryRun(command, args) !== 0
})
if (failed.length > 0) fail(`Failed: ${failed.map(([name]) => name).join('; ')}.`)
say('All checks passed.')
