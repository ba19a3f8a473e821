/**
 * Sends a datagram to a multicast group on the loopback interface, and receives it together with the interface and the
 * destination address.
 *
 *     node dist/multicast.js
 */
import { pathToFileURL } from 'node:url'
import { formatAddress, setOption } from '@linux-sockets/native-core'
import { ifindexOf, interfaceNameOf } from '@linux-sockets/native-core/interfaces'
import { IP_MULTICAST_IF } from '@linux-sockets/native-core/options'
import { DatagramChannel } from '@linux-sockets/native-core/streams'
import { ARRIVAL_SPACE, arrivalOf, joinGroup, openMulticastSocket } from '@linux-sockets/udp-mcast'

/** An address from the block for use within a site (RFC 2365). */
const GROUP = '239.255.77.77'

/** Sends one datagram to the group, and returns how it arrived. */
export async function receiveOneMulticast(): Promise<string> {
  const socket = openMulticastSocket({ family: 'ipv4', port: 0 })
  joinGroup(socket, GROUP, { interface: 'lo' })
  setOption(socket, IP_MULTICAST_IF, { ifindex: ifindexOf('lo') })
  const { port } = socket.localName

  const signal = AbortSignal.timeout(10_000)
  const handlers = { error: (error: Error) => console.error(error.message) }
  const channel = new DatagramChannel(socket, handlers, { receive: { control: ARRIVAL_SPACE }, signal })
  try {
    channel.send(Buffer.from('hello, group'), { family: 'ipv4', address: GROUP, port })
    for await (const { data, address, control } of channel) {
      const arrival = arrivalOf(control)
      if (String(data) !== 'hello, group' || arrival?.destination !== GROUP) throw new Error(`received “${data}”`)
      const from = address === null ? 'an unnamed socket' : formatAddress(address)
      return `“${data}” from ${from} to ${arrival.destination}, arrived on ${interfaceNameOf(arrival.ifindex)}`
    }
    throw new Error('nothing arrived')
  } finally {
    channel.close()
  }
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) console.log(await receiveOneMulticast())
