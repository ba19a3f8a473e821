/**
 * Resolves names to socket addresses and back (getaddrinfo, getnameinfo), converts addresses to and from text, and lists and
 * watches the machine's interfaces. Lookups run on threads of their own, so that a slow one holds up neither the file system
 * calls of Node nor other lookups.
 *
 *     import { interfaces, resolve, reverse } from '@linux-sockets/addr'
 *
 *     for (const address of await resolve('localhost', 80, { timeout: 5000 })) {
 *       const { host } = await reverse(address)
 *       console.log(address.family, address.address, 'is', host)
 *     }
 *     for (const { name, ifindex, addresses } of interfaces()) {
 *       console.log(ifindex, name, addresses.map(({ address, prefixLength }) => `${address}/${prefixLength}`).join(' '))
 *     }
 */
export {
  type AddressLike,
  formatAddress,
  formatIpv4,
  formatIpv6,
  type InetAddress,
  type Ipv4Address,
  type Ipv6Address,
  inetAton,
  inetNtop,
  inetPton,
  parseAddress,
  parseIpv4,
  parseIpv6,
  type SocketAddress,
  SystemError,
  type UnixAbstractAddress,
  type UnixPathAddress,
} from '@linux-sockets/native-core'
export {
  AF_INET,
  AF_INET6,
  IPPROTO_TCP,
  IPPROTO_UDP,
  SOCK_DGRAM,
  SOCK_RAW,
  SOCK_STREAM,
} from '@linux-sockets/native-core/constants'
export {
  type AddressOnInterface,
  IFA_F_DADFAILED,
  IFA_F_DEPRECATED,
  IFA_F_HOMEADDRESS,
  IFA_F_MANAGETEMPADDR,
  IFA_F_MCAUTOJOIN,
  IFA_F_NODAD,
  IFA_F_NOPREFIXROUTE,
  IFA_F_OPTIMISTIC,
  IFA_F_PERMANENT,
  IFA_F_SECONDARY,
  IFA_F_STABLE_PRIVACY,
  IFA_F_TENTATIVE,
  IFF_ALLMULTI,
  IFF_BROADCAST,
  IFF_DORMANT,
  IFF_LOOPBACK,
  IFF_LOWER_UP,
  IFF_MASTER,
  IFF_MULTICAST,
  IFF_NOARP,
  IFF_POINTOPOINT,
  IFF_PROMISC,
  IFF_RUNNING,
  IFF_SLAVE,
  IFF_UP,
  type InterfaceChange,
  type InterfaceWatch,
  ifindexOf,
  interfaceNameOf,
  interfaces,
  type NetworkInterface,
  type WatchInterfacesOptions,
  watchInterfaces,
} from '@linux-sockets/native-core/interfaces'
export {
  AI_ADDRCONFIG,
  AI_ALL,
  AI_CANONIDN,
  AI_CANONNAME,
  AI_IDN,
  AI_NUMERICHOST,
  AI_NUMERICSERV,
  AI_PASSIVE,
  AI_V4MAPPED,
  EAI_ADDRFAMILY,
  EAI_AGAIN,
  EAI_BADFLAGS,
  EAI_FAIL,
  EAI_FAMILY,
  EAI_IDN_ENCODE,
  EAI_MEMORY,
  EAI_NODATA,
  EAI_NONAME,
  EAI_OVERFLOW,
  EAI_SERVICE,
  EAI_SOCKTYPE,
  EAI_SYSTEM,
  LOOKUP_THREADS_MAX,
  NI_DGRAM,
  NI_IDN,
  NI_NAMEREQD,
  NI_NOFQDN,
  NI_NUMERICHOST,
  NI_NUMERICSERV,
} from '@linux-sockets/native-core/resolve'
export { type CandidateOptions, candidates } from './candidates.js'
export { AddressInfoError, type AddressInfoErrorCode, eai } from './error.js'
export type { LookupOptions } from './lookup.js'
export { type ResolvedAddress, type ResolveHints, resolve } from './resolve.js'
export { type ReversedAddress, reverse } from './reverse.js'
export { formatHostPort, type HostPort, parseHostPort } from './text.js'
