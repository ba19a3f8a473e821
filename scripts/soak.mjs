// Sets up, and opens and closes connections for a while: npm run soak -- --seconds 60
import { join } from 'node:path'
import { root, run } from './run.mjs'
import { setup } from './setup.mjs'

setup()
run(process.execPath, ['--expose-gc', join(root, 'tools/stress/dist/soak.js'), ...process.argv.slice(2)])
