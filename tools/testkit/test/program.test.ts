import { existsSync } from 'node:fs'
import { afterEach, expect, it } from 'vitest'
import { guardDescriptors, runProgram, runPython, spawnProgram, temporaryDirectory, waitForLine } from '../src/index.js'

guardDescriptors()

it('returns the output of a program', async () => {
  expect(await runProgram('cat', [], { input: 'hello' })).toBe('hello')
})

it('passes arguments to a Python script', async () => {
  expect(await runPython('import sys; print(sys.argv[1:])', 'a', 'b c')).toBe("['a', 'b c']\n")
})

it('throws the error output of a failing program', async () => {
  await expect(runPython('raise SystemExit("no")')).rejects.toThrow('python3 ended with 1: no')
  await expect(runProgram('/nowhere')).rejects.toThrow('ENOENT')
})

it('waits for a line', async () => {
  const program = spawnProgram('sh', ['-c', 'echo one; sleep 0.02; echo ready on 7; exec cat'])
  expect(await waitForLine(program, /ready/)).toBe('ready on 7')
  expect(program.process.exitCode).toBe(null)
})

it('does not wait for the line of a program that has ended', async () => {
  await expect(waitForLine(spawnProgram('echo', ['bye']), /ready/)).rejects.toThrow('bye')
})

it('does not wait forever', async () => {
  await expect(waitForLine(spawnProgram('cat'), /ready/, 20)).rejects.toThrow('no line like /ready/')
})

const made: string[] = []
afterEach(() => {
  for (const directory of made.splice(0)) expect(existsSync(directory)).toBe(true)
})

it('removes a temporary directory after the test', async ({ onTestFinished }) => {
  onTestFinished(() => expect(existsSync(directory)).toBe(false))
  const directory = temporaryDirectory()
  made.push(directory)
})
