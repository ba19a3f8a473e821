/**
 * Names to socket addresses and back: getaddrinfo, getnameinfo, the text of addresses, and the interfaces of the machine
 * with their changes. Lookups run on threads of their own, so that a slow one holds up neither the file system nor the next
 * lookup.
 *
 *     import { interfaces, resolve, reverse } from '@linux-sockets/addr'
 *
 *     for (const address of await resolve('localhost', 80, { timeout: 5000 })) {
 *       const { host } = await reverse(address)
 *       console.log(address.family, address.address, 'is', host)
 *     }
 *     for (const { name, index, addresses } of interfaces()) {
 *       console.log(index, name, addresses.map(({ address, prefixLength }) => `${address}/${prefixLength}`).join(' '))
 *     }
 */
export {
  formatAddress,
  formatIpv4,
  formatIpv6,
  interfaceIndexOf,
  interfaceNameOf,
  LOOKUP_THREADS_MAX,
  parseIpv4,
  parseIpv6,
} from '@linux-sockets/native-core'
export * from './candidates.js'
export { type InterfaceChange, type InterfaceWatch, type WatchInterfacesOptions, watchInterfaces } from './changes.js'
export * from './error.js'
export * from './interfaces.js'
export type { LookupOptions } from './lookup.js'
export * from './resolve.js'
export * from './reverse.js'
export * from './text.js'
