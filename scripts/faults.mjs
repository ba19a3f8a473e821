// Sets up, and makes the calls of native-core's binary fail: a sample of them, or with --all every one.
// Arguments: npm run test:faults -- --all --seconds 600 relay accept4
import { join } from 'node:path'
import { root, run } from './run.mjs'
import { setup } from './setup.mjs'

setup()
run(process.execPath, [join(root, 'tools/stress/dist/faults.js'), ...process.argv.slice(2)])
