/**
 * Sends a datagram to a multicast group on the loopback interface, and receives it together with the interface and the
 * destination address.
 *
 *     node dist/multicast.js
 */
import { pathToFileURL } from 'node:url'
import { formatAddress, interfaceNameOf, UdpSocket } from '@linux-sockets/udp-mcast'

/** An address from the block for use within a site (RFC 2365). */
const GROUP = '239.255.77.77'

/** Sends one datagram to the group, and returns how it arrived. */
export async function receiveOneMulticast(): Promise<string> {
  using socket = UdpSocket.open(
    { address: '0.0.0.0:0', signal: AbortSignal.timeout(10_000) },
    { error: (error) => console.error(error.message) },
  )
  socket.join(GROUP, { interface: 'lo' })
  socket.send(Buffer.from('hello, group'), `${GROUP}:${socket.localName.port}`, { interface: 'lo' })
  for await (const { data, address, destination, ifindex = 0 } of socket) {
    if (String(data) !== 'hello, group' || destination !== GROUP) throw new Error(`received “${data}”`)
    return `“${data}” from ${formatAddress(address)} to ${destination}, arrived on ${interfaceNameOf(ifindex)}`
  }
  throw new Error('nothing arrived')
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) console.log(await receiveOneMulticast())
