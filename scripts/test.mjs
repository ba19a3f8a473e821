// Sets up and runs every suite twice: in processes, and again inside Workers.
// Arguments go to vitest: npm test -- option.test
import { fail, say } from './run.mjs'
import { setup } from './setup.mjs'
import { runInWorkers, runSuites } from './suites.mjs'

const args = process.argv.slice(2)
setup()
say('Testing in processes.')
if (runSuites(args) !== 0) fail('Tests failed in processes.')
say('Testing again inside Workers.')
if (!(await runInWorkers(args))) fail('Tests failed inside Workers.')
