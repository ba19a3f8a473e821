import { readdirSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { guardDescriptors, runProgram, spawnProgram } from '@linux-sockets/testkit'
import { describe, expect, it } from 'vitest'

guardDescriptors()

const built = resolve(import.meta.dirname, '../dist')

describe('the tour', () => {
  it('passes every step', async () => {
    const said = await runProgram(process.execPath, [join(built, 'tour.js')])
    const steps = said.split('\n').filter((line) => line.startsWith('✓'))
    expect(steps.length).toBe(7)
    expect(said).not.toContain('✗')
    expect(said).toMatch(/All steps passed\.\n$/)
  })

  it('exits non-zero when a step fails', async () => {
    // No descriptor is left for the clients.
    const limited = ['-c', 'ulimit -n 60 && exec "$0" "$@"', process.execPath, join(built, 'tour.js')]
    const tour = spawnProgram('sh', limited)
    const { code, stdout } = await tour.finished
    expect(stdout).toMatch(/\d+ steps failed\.\n$/)
    expect(code).toBe(1)
  })
})

describe('every story', () => {
  const ended = readdirSync(resolve(import.meta.dirname, '../src')).filter(
    (file) => !['tour.ts', 'report.ts', 'echo-server.ts'].includes(file),
  )

  it.each(ended)('%s runs by itself', async (file) => {
    const said = await runProgram(process.execPath, [join(built, file.replace('.ts', '.js'))])
    expect(said.trim()).not.toBe('')
  })
})
