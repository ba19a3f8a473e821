/** The interfaces of this machine and their changes, their names and numbers, and the netlink(7) requests that read them. */
export { type InterfaceChange, type InterfaceWatch, type WatchInterfacesOptions, watchInterfaces } from './changes.js'
export {
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
} from './flags.js'
export { interfaces } from './interfaces.js'
export type { AddressOnInterface, NetworkInterface } from './link.js'
export { ifindexOf, interfaceNameOf } from './name.js'
export { type NetlinkMessage, netlinkAttributes, netlinkDump } from './netlink.js'
