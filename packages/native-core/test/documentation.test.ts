import { resolve } from 'node:path'
import { guardDescriptors, testDocumented } from '@linux-sockets/testkit'

guardDescriptors()

const ADDRESS = "\\{ family: 'ipv4', address: '127\\.0\\.0\\.1', port: \\d+ \\}"

/** The output of each program, in the order of the documentation. */
const OUTPUTS = [
  new RegExp(`^hello from ${ADDRESS}\\n$`),
  new RegExp(`^hello from ${ADDRESS}\\n$`),
  new RegExp(`^free: ${ADDRESS}\\n$`),
  new RegExp(`^bound to ${ADDRESS}\\n$`),
]

testDocumented(resolve(import.meta.dirname, '..'), OUTPUTS)
