// No test runs with the build of other sources: if anything has changed, vitest builds first. Here the scripts work in a tree
// of their own, in which the compilers only report that they were called.
import { execFileSync } from 'node:child_process'
import {
  appendFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { read, root } from '../src/workspace.js'

const tree = mkdtempSync(join(tmpdir(), 'linux-sockets-'))
afterAll(() => rmSync(tree, { recursive: true }))

beforeAll(() => {
  cpSync(join(root, 'scripts'), join(tree, 'scripts'), { recursive: true })
  for (const program of ['node_modules/.bin/turbo', 'packages/native-core/node_modules/.bin/node-gyp']) {
    write(program, `#!/bin/sh\necho ${program.replace(/.*\//, '')} $1 >> "${tree}/calls"\n`, 0o755)
  }
  for (const floor of ['apps', 'tools']) mkdirSync(join(tree, floor))
  for (const file of [
    'tsup.config.ts',
    'native/fd.cc',
    'src/fd.ts',
    'dist/index.js',
    'build/Release/native_core.node',
  ]) {
    write(`packages/native-core/${file}`, '')
  }
})

const everything = ['node-gyp configure', 'node-gyp build', 'turbo run']

it('builds when nothing was built before', () => expect(calls()).toEqual(everything))

it('builds nothing when nothing has changed', () => expect(calls()).toEqual([]))

it.each(['src/fd.ts', 'native/fd.cc', 'dist/index.js', 'build/Release/native_core.node'])(
  'builds after a change of %s',
  (file) => {
    appendFileSync(join(tree, 'packages/native-core', file), '// changed\n')
    expect(calls()).toEqual(everything)
    expect(calls()).toEqual([])
  },
)

it('builds when a file is new, and when one is missing', () => {
  write('packages/native-core/src/new.ts', '')
  expect(calls()).toEqual(everything)
  rmSync(join(tree, 'packages/native-core/src/new.ts'))
  expect(calls()).toEqual(everything)
})

it.each(['vitest.config.ts', 'tools/checks/vitest.config.ts', 'tools/interop/vitest.config.ts'])(
  '%s asks for a build',
  (file) => {
    expect(read(file)).toMatch(/globalSetup: .*scripts\/fresh\.mjs'/)
  },
)

/** Returns the compilers that are called when vitest starts. */
function calls(): string[] {
  const log = join(tree, 'calls')
  rmSync(log, { force: true })
  const script = `import('./scripts/fresh.mjs').then(({ default: setup }) => setup({ onTestsRerun() {} }))`
  execFileSync(process.execPath, ['--eval', script], { cwd: tree })
  return existsSync(log) ? readFileSync(log, 'utf8').trim().split('\n') : []
}

function write(file: string, text: string, mode?: number): void {
  mkdirSync(dirname(join(tree, file)), { recursive: true })
  writeFileSync(join(tree, file), text, { mode })
}
