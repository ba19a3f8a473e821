import { resolve } from 'node:path'
import { guardDescriptors, testDocumented } from '@linux-sockets/testkit'

guardDescriptors()

const directory = resolve(import.meta.dirname, '..')

const ECHO = /^echo on 127\.0\.0\.1:\d+\nechoed hello\n$/

/** The output of each program, in the order of the documentation. */
const OUTPUTS = [
  ECHO,
  ECHO,
  /^8388608 bytes came, few of them waited: true\n$/,
  /^10 bytes at both\n$/,
  /^are you asleep\?\n$/,
  /^HELLO\nERR_FRAME_TOO_LONG\n$/,
  /^3 one\n11 and another\n$/,
  /^no header\nend\n$/,
  /^a datagram: one\na datagram: two\n$/,
  /^you asked for \/this\n$/,
  /^a Worker echoed hello\n$/,
  /^7n a little later\n$/,
]

testDocumented(directory, OUTPUTS)
