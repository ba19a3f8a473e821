/**
 * Multicast datagrams on Linux: groups joined by interface, and for every datagram the interface on which it arrived and
 * the address to which it was sent. The sockets are those of `@linux-sockets/native-core`, whose `DatagramChannel` receives
 * and sends in batches.
 *
 *     import { interfaceIndexOf, interfaceNameOf } from '@linux-sockets/native-core/interfaces'
 *     import { DatagramChannel } from '@linux-sockets/native-core/streams'
 *     import { setOption } from '@linux-sockets/native-core'
 *     import { IP_MULTICAST_IF } from '@linux-sockets/native-core/options'
 *     import { ARRIVAL_SPACE, arrivalOf, joinGroup, openMulticastSocket } from '@linux-sockets/udp-mcast'
 *
 *     const socket = openMulticastSocket({ family: 'ipv4', port: 5007 })
 *     joinGroup(socket, '239.1.2.3', { interface: 'lo' })
 *     setOption(socket, IP_MULTICAST_IF, { ifindex: interfaceIndexOf('lo') })
 *
 *     const channel = new DatagramChannel(socket, { error: console.error }, { receive: { control: ARRIVAL_SPACE } })
 *     channel.send(Buffer.from('hello'), '239.1.2.3:5007')
 *     for await (const { data, address, control } of channel) {
 *       const { ifindex, destination } = arrivalOf(control)
 *       console.log(`${data} to ${destination} on ${interfaceNameOf(ifindex)}, from`, address)
 *       break
 *     }
 *     await channel.close()
 */
export * from './control.js'
export * from './membership.js'
export * from './socket.js'
