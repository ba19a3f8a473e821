// Sets up, and runs the tour.
import { join } from 'node:path'
import { root, run } from './run.mjs'
import { setup } from './setup.mjs'

setup()
run(process.execPath, [join(root, 'apps/examples/dist/tour.js'), ...process.argv.slice(2)])
