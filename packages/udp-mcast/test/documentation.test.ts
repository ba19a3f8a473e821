import { resolve } from 'node:path'
import { documentedPrograms, guardDescriptors, runDocumented } from '@linux-sockets/testkit'
import { expect, it } from 'vitest'

guardDescriptors()

const directory = resolve(import.meta.dirname, '..')

it.each(documentedPrograms(directory))('the program of $place runs', async (program) => {
  expect(await runDocumented(directory, program)).toMatch(
    /^hello to 239\.1\.2\.3 on lo, from \{ family: 'ipv4', address: '[\d.]+', port: 5007 \}\n$/,
  )
})
