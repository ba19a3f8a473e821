/**
 * TCP on Linux: every socket option by its C name, the kernel's information about a connection, connecting and listening.
 * Connections are streams that can stand wherever a `net.Socket` does.
 *
 *     import { setOption } from '@linux-sockets/native-core'
 *     import { connect, listen, TCP_NODELAY, TCP_USER_TIMEOUT } from '@linux-sockets/tcp'
 *
 *     const server = listen('127.0.0.1:0')
 *     server.run((stream) => stream.pipe(stream))
 *
 *     const stream = await connect(server.address, {
 *       timeout: 5000,
 *       prepare: (socket) => setOption(socket, TCP_USER_TIMEOUT, 10_000),
 *     })
 *     setOption(stream, TCP_NODELAY, true)
 *     stream.end('hello')
 *     for await (const chunk of stream) console.log('echo:', chunk.toString())
 *     server.close()
 */
export { serve } from '@linux-sockets/native-core/streams'
export * from './connect.js'
export * from './info.js'
export * from './keepalive.js'
export * from './ktls.js'
export { type DrainOptions, type ListenOptions, listen, Server, type ServerOptions } from './listen.js'
export type { Md5Key, Md5NetworkKey } from './md5.js'
export * from './mptcp.js'
export * from './options.js'
export * from './relay.js'
export type { RepairOptions, RepairWindow } from './repair.js'
export * from './steer.js'
export * from './transfer.js'
export * from './zerocopy.js'
