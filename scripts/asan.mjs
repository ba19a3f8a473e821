// Runs the suites with a binary that was compiled with AddressSanitizer and UndefinedBehaviorSanitizer.
import { execFileSync } from 'node:child_process'
import { existsSync, mkdirSync, symlinkSync } from 'node:fs'
import { isAbsolute, join } from 'node:path'
import { compile, core } from './native.mjs'
import { fail, run, say } from './run.mjs'
import { setup } from './setup.mjs'
import { inProcesses, inWorkers, runSuites } from './suites.mjs'

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
    // Node never frees what lives as long as the process, so a search for leaks would only find that.
    ASAN_OPTIONS: 'detect_leaks=0:strict_string_checks=1:detect_stack_use_after_return=1',
    UBSAN_OPTIONS: 'halt_on_error=1:print_stacktrace=1',
  },
}
run(process.execPath, ['-e', 'require(process.env.LINUX_SOCKETS_BINARY)'], options)
const patient = ['--testTimeout=120000', '--hookTimeout=120000']
// Inside Workers what differs is how an environment ends, which is native-core's business and epoll's.
const processes = [...inProcesses, ...patient, '--project=!testkit']
// Two suites start Workers and processes of their own, wherever they run.
const own = '--exclude=**/{workers,package}.test.ts'
const workers = [...inWorkers, ...patient, '--project=native-core', '--project=epoll', own]
say('Testing with sanitizers, in processes.')
if (runSuites([...processes, ...args], options) !== 0) fail('Tests failed with sanitizers.')
say('Testing with sanitizers, inside Workers.')
if (runSuites([...workers, ...args], options) !== 0) fail('Tests failed with sanitizers inside Workers.')

/** The sanitizer's run-time library has to be loaded before Node's own code runs. */
function library(name) {
  const path = execFileSync(process.env.CXX ?? 'g++', [`-print-file-name=${name}`], { encoding: 'utf8' }).trim()
  if (!isAbsolute(path)) fail(`${name} is missing; it comes with the compiler:\n\n    apt-get install -y g++\n`)
  return path
}

/** node-gyp always builds into `build` beside binding.gyp; a directory of links keeps the two builds apart. */
function linkSources() {
  mkdirSync(directory, { recursive: true })
  for (const name of ['binding.gyp', 'native']) {
    if (!existsSync(join(directory, name))) symlinkSync(join('..', name), join(directory, name))
  }
}
