import { join } from 'node:path'
import { runProgram } from '@linux-sockets/testkit'
import { expect, it } from 'vitest'

it.each([
  ['faults', ['relais'], 'no program or symbol: relais; there are tcp streams,'],
  ['faults', ['relay', 'socket', 'acept4'], 'no program or symbol: acept4;'],
  ['faults', ['--seconds', 'ten'], '--seconds must be 1 or more'],
  ['soak', ['--seconds', '0'], '--seconds must be 1 or more'],
])('%s refuses %j', async (name, args, message) => {
  const main = join(import.meta.dirname, `../dist/${name}.js`)
  await expect(runProgram(process.execPath, [main, ...args])).rejects.toThrow(message)
})
