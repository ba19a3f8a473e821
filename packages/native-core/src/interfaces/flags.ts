// Flags of an interface: <linux/if.h>, netdevice(7)

/** The interface is switched on. */
export const IFF_UP = 0x1
/** It has a broadcast address. */
export const IFF_BROADCAST = 0x2
/** It is a loopback interface. */
export const IFF_LOOPBACK = 0x8
/** It is a point-to-point link. */
export const IFF_POINTOPOINT = 0x10
/** It has a carrier. */
export const IFF_RUNNING = 0x40
/** It doesn't use ARP: there are no link-layer addresses to look up. */
export const IFF_NOARP = 0x80
/** It receives all packets, whatever their destination. */
export const IFF_PROMISC = 0x100
/** It receives all multicast packets. */
export const IFF_ALLMULTI = 0x200
/** It is the master of a bond. */
export const IFF_MASTER = 0x400
/** It is a slave of a bond. */
export const IFF_SLAVE = 0x800
/** It supports multicast. */
export const IFF_MULTICAST = 0x1000
/** The driver has a carrier; `IFF_RUNNING` also waits for the layer above, such as a login to the network. Linux 2.6.17. */
export const IFF_LOWER_UP = 0x10000
/** It has a carrier and waits for a layer above. Linux 2.6.17. */
export const IFF_DORMANT = 0x20000

// Flags of an address: <linux/if_addr.h>, rtnetlink(7)

/** IPv4: packets are sent from another address of the same network. IPv6: a temporary address, RFC 8981. */
export const IFA_F_SECONDARY = 0x01
/** No duplicate address detection is done. */
export const IFA_F_NODAD = 0x02
/** It may be used while duplicate address detection is still going on, RFC 4429. */
export const IFA_F_OPTIMISTIC = 0x04
/** Another host has the address: it can't be bound to. */
export const IFA_F_DADFAILED = 0x08
/** It is the home address of a mobile node, RFC 6275. */
export const IFA_F_HOMEADDRESS = 0x10
/** Its preferred lifetime is over: it is not used for new connections. */
export const IFA_F_DEPRECATED = 0x20
/** Duplicate address detection is going on: it can't be bound to yet. */
export const IFA_F_TENTATIVE = 0x40
/** It has no lifetime: it was set by hand. */
export const IFA_F_PERMANENT = 0x80
/** Temporary addresses are derived from it. Linux 3.14. */
export const IFA_F_MANAGETEMPADDR = 0x100
/** It was added without a route to its network. Linux 3.14. */
export const IFA_F_NOPREFIXROUTE = 0x200
/** A multicast group is joined with it. Linux 3.19. */
export const IFA_F_MCAUTOJOIN = 0x400
/** It was generated from a secret, RFC 7217. Linux 4.1. */
export const IFA_F_STABLE_PRIVACY = 0x800
