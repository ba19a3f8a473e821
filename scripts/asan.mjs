// Runs the suites with a binary compiled with AddressSanitizer and UndefinedBehaviorSanitizer.
import { execFileSync } from 'node:child_process'
import { existsSync, mkdirSync, symlinkSync } from 'node:fs'
import { isAbsolute, join } from 'node:path'
import { compile, core } from './native.mjs'
import { fail, run, say } from './run.mjs'
import { setup } from './setup.mjs'
import { packages, runInWorkers, runSuites, selecting } from './suites.mjs'

const directory = join(core, 'build-asan')
const args = process.argv.slice(2)

setup()
const preload = [library('libasan.so'), library('libubsan.so')]
say('Building native-core’s binary with sanitizers.')
linkSources()
compile(directory, ['--sanitize=1'])

const options = {
  env: {
    LINUX_SOCKETS_BINARY: join(directory, 'build/Release/native_core.node'),
    LD_PRELOAD: preload.join(' '),
    // Node never frees objects that live as long as the process. A leak check would report only those.
    ASAN_OPTIONS: 'detect_leaks=0:strict_string_checks=1:detect_stack_use_after_return=1',
    UBSAN_OPTIONS: 'halt_on_error=1:print_stacktrace=1',
  },
}
run(process.execPath, ['-e', 'require(process.env.LINUX_SOCKETS_BINARY)'], options)
// package.test.ts packs, bundles and installs: its programs run without sanitizers.
const common = ['--testTimeout=300000', '--hookTimeout=300000', '--exclude=**/package.test.ts']
// Inside Workers only the end of an environment differs, which native-core and epoll handle. workers.test.ts starts Workers
// wherever it runs.
const workers = ['--project=native-core', '--project=epoll']
// Tools and examples are left out: they run no native code that the packages' own tests don't run.
say('Testing with sanitizers, in processes.')
if (runSuites([...common, ...selecting(packages, args)], options) !== 0) fail('Tests failed with sanitizers.')
say('Testing with sanitizers, inside Workers.')
if (!(await runInWorkers([...common, '--exclude=**/workers.test.ts', ...selecting(workers, args)], options.env))) {
  fail('Tests failed with sanitizers inside Workers.')
}

/** Returns the path of a sanitizer's run-time library, which must be loaded before Node's own code runs. */
function library(name) {
  const path = execFileSync(process.env.CXX ?? 'g++', [`-print-file-name=${name}`], { encoding: 'utf8' }).trim()
  if (!isAbsolute(path)) fail(`${name} is missing; it comes with the compiler:\n\n    apt-get install -y g++\n`)
  return path
}

/** node-gyp always builds into `build` beside binding.gyp. A directory of links to the sources keeps the two builds apart. */
function linkSources() {
  mkdirSync(directory, { recursive: true })
  for (const name of ['binding.gyp', 'native']) {
    if (!existsSync(join(directory, name))) symlinkSync(join('..', name), join(directory, name))
  }
}
