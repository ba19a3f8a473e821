// Sets up and runs the benchmarks.
import { join } from 'node:path'
import { root, run } from './run.mjs'
import { setup } from './setup.mjs'

setup()
run(process.execPath, [join(root, 'tools/bench/dist/index.js'), ...process.argv.slice(2)])
