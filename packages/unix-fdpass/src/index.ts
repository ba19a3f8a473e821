/**
 * Unix sockets on Linux: streams on paths and abstract names, open descriptors passed from process to process, and the
 * credentials of the peer.
 *
 *     import { readFileSync } from 'node:fs'
 *     import { pipe, readable, writev } from '@linux-sockets/native-core'
 *     import { peerCredentials, receiveDescriptors, sendDescriptors, unixPair } from '@linux-sockets/unix-fdpass'
 *
 *     const [mine, theirs] = unixPair() // the other end usually goes to a child process
 *     const { read, write } = pipe()
 *     sendDescriptors(mine, [write], Buffer.from('write here'))
 *
 *     await readable(theirs)
 *     const message = receiveDescriptors(theirs)
 *     console.log(`process ${peerCredentials(theirs).pid} says: ${message?.data}`)
 *     for (const descriptor of message?.descriptors ?? []) {
 *       writev(descriptor, [Buffer.from('passed')])
 *       descriptor.close()
 *     }
 *     for (const descriptor of [mine, theirs, write]) descriptor.close()
 *     console.log(readFileSync(read.fd, 'utf8'))
 *     read.close()
 */
export { serve } from '@linux-sockets/native-core/streams'
export * from './connect.js'
export * from './credentials.js'
export * from './listen.js'
export * from './pair.js'
export * from './rights.js'
