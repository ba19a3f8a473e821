// Sets up and runs every suite in processes, and those of the packages again inside Workers.
// Arguments go to vitest: npm test -- option.test
import { fail, say } from './run.mjs'
import { setup } from './setup.mjs'
import { packages, runInWorkers, runSuites, selecting } from './suites.mjs'

const args = process.argv.slice(2)
setup()
say('Testing in processes.')
if (runSuites(args) !== 0) fail('Tests failed in processes.')
// The examples and the tools are programs of their own wherever their tests run.
say('Testing the packages again inside Workers.')
if (!(await runInWorkers(selecting(packages, args)))) fail('Tests failed inside Workers.')
