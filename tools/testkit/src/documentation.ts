import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import ts from 'typescript'
import { expect, it } from 'vitest'
import { runProgram } from './program.js'

/** A program that a package's documentation shows. */
export interface DocumentedProgram {
  /** Where it stands: `src/index.ts`, `README.md 2`. */
  readonly place: string
  readonly code: string
}

/** The programs in a package's documentation: the one that src/index.ts opens with, and the `js` and `ts` blocks of README.md. */
export function documentedPrograms(directory: string): DocumentedProgram[] {
  const comment =
    /^\/\*\*\n((?: \*.*\n)*?) \*\/\n/.exec(readFileSync(join(directory, 'src/index.ts'), 'utf8'))?.[1] ?? ''
  const indented = comment.split('\n').filter((line) => /^ \*( {5}|$)/.test(line))
  const readme = readFileSync(join(directory, 'README.md'), 'utf8')
  const blocks = [...readme.matchAll(/^```[jt]s\n(.*?)^```$/gms)].map((match) => match[1] as string)
  return [
    { place: 'src/index.ts', code: indented.map((line) => line.slice(7)).join('\n') },
    ...blocks.map((code, i) => ({ place: `README.md ${i + 1}`, code })),
  ]
}

/** Runs a documented program to its end, with the packages as they were built, and returns what it printed. */
export function runDocumented(directory: string, { code }: DocumentedProgram): Promise<string> {
  // Not every Node here knows `using`.
  const { outputText } = ts.transpileModule(code, { compilerOptions: { target: ts.ScriptTarget.ES2022 } })
  return runProgram(process.execPath, ['--input-type=module', '--eval', outputText], { cwd: directory })
}

/** Tests that the documented programs of a package print what is expected: as many patterns as programs, in their order. */
export function testDocumented(directory: string, outputs: readonly RegExp[]): void {
  const programs = documentedPrograms(directory)

  it.each(programs.map((program, i) => ({ ...program, output: outputs[i] })))(
    'the program of $place runs',
    async ({ output, ...program }) => {
      expect(await runDocumented(directory, program)).toMatch(output as RegExp)
    },
  )

  it('knows what every program prints', () => {
    expect(programs.length).toBe(outputs.length)
  })
}
