import { formatIpv4, parseIpv4 } from '@linux-sockets/native-core'
import { IFF_BROADCAST, interfaces } from '@linux-sockets/native-core/interfaces'
import { checkInteger, checkString } from '@linux-sockets/native-core/internal'

/** An IPv4 network in which broadcasts can be sent. */
export interface BroadcastNetwork {
  /** The name of the interface: `'eth0'` */
  readonly name: string
  /** The index of the interface. */
  readonly ifindex: number
  /** This host's address in the network: `'192.0.2.7'` */
  readonly address: string
  /** The broadcast address of the network: `'192.0.2.255'` */
  readonly broadcast: string
}

/**
 * Returns the networks of this host that have a broadcast address: those of the interface with the name, the index or the
 * IPv4 address `of`, or of all interfaces. The list is empty if the interface has none, such as a point-to-point link, or
 * doesn't exist.
 *
 *     for (const { broadcast } of broadcastAddresses('eth0')) console.log(broadcast)
 *
 * To send to a broadcast address takes `SO_BROADCAST`, otherwise it fails with `EACCES`. The limited broadcast
 * `255.255.255.255` goes where the routing table says: name the interface (`CMSG_IP_PKTINFO`, `SO_BINDTODEVICE`), without which
 * it fails with `ENETUNREACH` on a host without a default route, or leaves by one interface out of several. A socket receives
 * broadcasts if it is bound to any address, or to the broadcast address itself; not if it is bound to the host's address.
 * @throws TypeError, RangeError if `of` is neither a name nor an index nor an IPv4 address
 * @throws SystemError `EAGAIN`, `EMFILE`, … as `interfaces`
 * @see {@link https://datatracker.ietf.org/doc/html/rfc919 RFC 919}
 */
export function broadcastAddresses(of?: string | number): BroadcastNetwork[] {
  if (of !== undefined && typeof of !== 'number') checkString(of, 'of')
  else if (of !== undefined) checkInteger(of, 1, 0x7fff_ffff, 'of')
  return interfaces()
    .filter(({ flags }) => (flags & IFF_BROADCAST) !== 0)
    .flatMap(({ name, ifindex, addresses }) =>
      addresses.flatMap(({ family, address, prefixLength, broadcast }) => {
        if (family !== 'ipv4' || prefixLength > 30) return []
        if (of !== undefined && of !== name && of !== ifindex && of !== address) return []
        return [{ name, ifindex, address, broadcast: broadcast ?? lastOf(address, prefixLength) }]
      }),
    )
}

/** The last address of the network. It is a broadcast address also where none was configured, as the routes show. */
function lastOf(address: string, prefixLength: number): string {
  const bytes = Buffer.from(parseIpv4(address, 'address'))
  bytes.writeUInt32BE((bytes.readUInt32BE(0) | (2 ** (32 - prefixLength) - 1)) >>> 0, 0)
  return formatIpv4(bytes)
}
