import { resolve } from 'node:path'
import { guardDescriptors, testDocumented } from '@linux-sockets/testkit'

guardDescriptors()

const arrival = /^hello to 239\.1\.2\.3 on interface \d+, from \{ family: 'ipv4', address: '[\d.]+', port: \d+ \}\n$/

testDocumented(resolve(import.meta.dirname, '..'), [
  arrival,
  arrival,
  /^127\.0\.0\.7: you asked 127\.0\.0\.7\n$/,
  /^datagrams: (1000 ){9}500\nsegmented: 10\n$/,
  /^the kernel needed less than a second: true\n$/,
  /^copies sent: 1\nmulticast on lo\n$/,
  /^hello came to 127\.0\.0\.9\n$/,
])
