// Installs the dependencies, and applies the fixes of the formatter and the linter. The code need not compile.
import { join } from 'node:path'
import { root, tryRun } from './run.mjs'
import { install } from './setup.mjs'

install()
const codes = [
  tryRun('biome', ['check', '--write']),
  tryRun(process.execPath, [join(root, 'scripts/native.mjs'), 'format']),
]
process.exitCode = Math.max(...codes)
