import { existsSync, mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { temporaryDirectory } from './directory.js'
import { needNode, skipUnless } from './need.js'
import { runProgram } from './program.js'

/** A program that a package's documentation shows. */
export interface DocumentedProgram {
  /** The document, and the number of the program in it: `src/index.ts`, `README.md 2`. */
  readonly place: string
  /** The file that a reader would put it into: `sample.mjs`, or `sample.cjs` if the program itself calls `require`. */
  readonly file: 'sample.mjs' | 'sample.cjs'
  readonly code: string
  /** The oldest major version of Node.js that runs it, if the program says so: `// Node.js 24 or newer`. */
  readonly since?: number | undefined
}

/** Returns the programs in a package's documentation: the one at the top of src/index.ts, and the `js` blocks of README.md. */
export function documentedPrograms(directory: string): DocumentedProgram[] {
  const comment =
    /^\/\*\*\n((?: \*.*\n)*?) \*\/\n/.exec(readFileSync(join(directory, 'src/index.ts'), 'utf8'))?.[1] ?? ''
  const indented = comment.split('\n').filter((line) => /^ \*( {5}|$)/.test(line))
  return [
    program('src/index.ts', indented.map((line) => line.slice(7)).join('\n')),
    ...programsOf(join(directory, 'README.md')),
  ]
}

/** Returns the programs of one document: its `js` blocks. */
export function programsOf(document: string): DocumentedProgram[] {
  const blocks = [...readFileSync(document, 'utf8').matchAll(/^```js\n(.*?)^```$/gms)]
  return blocks.map((match, i) => program(`README.md ${i + 1}`, match[1] as string))
}

function program(place: string, code: string): DocumentedProgram {
  // A program in a string, for a Worker, is indented and doesn't match.
  const file = /^const .* = require\(/m.test(code) ? 'sample.cjs' : 'sample.mjs'
  const since = /^\/\/ Node\.js (\d+) or newer$/m.exec(code)?.[1]
  return { place, file, code, since: since === undefined ? undefined : Number(since) }
}

/**
 * Runs a documented program to its end exactly as it is shown, and returns its output. The program runs from a file in a
 * project where the package in `directory` and its dependencies are installed.
 */
export async function runDocumented(directory: string, { file, code }: DocumentedProgram): Promise<string> {
  const project = temporaryDirectory()
  const scope = join(project, 'node_modules/@linux-sockets')
  mkdirSync(scope, { recursive: true })
  const { name } = JSON.parse(readFileSync(join(directory, 'package.json'), 'utf8')) as { name: string }
  const siblings = join(directory, 'node_modules/@linux-sockets')
  symlinkSync(directory, join(project, 'node_modules', name))
  for (const sibling of existsSync(siblings) ? readdirSync(siblings) : []) {
    symlinkSync(join(siblings, sibling), join(scope, sibling))
  }
  writeFileSync(join(project, file), code)
  return runProgram(process.execPath, [file], { cwd: project })
}

/** Tests that the documented programs of a package print the expected output: one pattern for each program, in order. */
export function testDocumented(directory: string, outputs: readonly RegExp[]): void {
  const programs = documentedPrograms(directory)

  it.for(programs.map((program, i) => ({ ...program, output: outputs[i] })))(
    'the program of $place runs',
    async ({ output, ...program }, test) => {
      skipUnless(test, needNode(program.since ?? 0))
      expect(await runDocumented(directory, program)).toMatch(output as RegExp)
    },
  )

  it('has a pattern for the output of every program', () => {
    expect(programs.length).toBe(outputs.length)
  })
}
