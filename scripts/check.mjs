// Runs all checks that don't run the packages' tests. A failed check doesn't stop the ones after it.
import { join } from 'node:path'
import { fail, root, say, tryRun } from './run.mjs'
import { setup } from './setup.mjs'

setup()
const checks = [
  ['format and lint', 'biome', ['check', '--error-on-warnings']],
  ['C and C++', process.execPath, [join(root, 'scripts/native.mjs'), 'lint']],
  ['types', 'turbo', ['run', 'types', '--concurrency=2', '--continue', '--output-logs=errors-only']],
  ['rooms, manifests and tarballs', 'vitest', ['run', '--root=tools/checks']],
]
const failed = checks.filter(([name, command, args]) => {
  say(`Checking ${name}.`)
  return tryRun(command, args) !== 0
})
if (failed.length > 0) fail(`Failed: ${failed.map(([name]) => name).join('; ')}.`)
say('All checks passed.')
