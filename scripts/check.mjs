// Runs all checks that don't run the packages' tests. A failed check doesn't stop the ones after it; its output
// comes last.
import { join } from 'node:path'
import { capture, fail, root, say } from './run.mjs'
import { setup } from './setup.mjs'

setup()
const checks = [
  ['format and lint', 'biome', ['check', '--error-on-warnings']],
  ['C and C++', process.execPath, [join(root, 'scripts/native.mjs'), 'lint']],
  ['types', 'turbo', ['run', 'types', '--concurrency=2', '--continue', '--output-logs=errors-only']],
  ['rooms, manifests and tarballs', 'vitest', ['run', '--root=tools/checks']],
]
const failed = checks.flatMap(([name, command, args]) => {
  say(`Checking ${name}.`)
  const { code, output } = capture(command, args)
  if (code !== 0) return { name, output }
  process.stdout.write(output)
  return []
})
for (const { name, output } of failed) process.stderr.write(`✗ ${name}\n${output}`)
if (failed.length > 0) fail(`Failed: ${failed.map(({ name }) => name).join('; ')}.`)
say('All checks passed.')
