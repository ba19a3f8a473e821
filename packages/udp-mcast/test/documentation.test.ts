import { resolve } from 'node:path'
import { guardDescriptors, testDocumented } from '@linux-sockets/testkit'

guardDescriptors()

const arrival = /^hello to 239\.1\.2\.3 on lo, from \{ family: 'ipv4', address: '[\d.]+', port: 5007 \}\n$/

testDocumented(resolve(import.meta.dirname, '..'), [arrival, arrival, /^copies sent: 1\nmulticast on lo\n$/])
