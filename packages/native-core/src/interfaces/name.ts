import { checkInteger, checkString } from '../argument.js'
import { check } from '../error.js'
import { native } from '../native.js'

/**
 * if_nametoindex(3): the index of an interface, at least 1.
 * @throws SystemError `ENODEV` if no interface has that name
 * @throws TypeError for a name with a NUL
 * @see {@link https://man7.org/linux/man-pages/man3/if_nametoindex.3.html if_nametoindex(3)}
 */
export function ifindexOf(name: string): number {
  checkString(name, 'name')
  if (name.includes('\0')) throw new TypeError('name must not contain a NUL')
  return check(native.if_nametoindex(Buffer.from(name)), 'if_nametoindex', name)
}

/**
 * if_indextoname(3): the name of an interface.
 * @throws SystemError `ENXIO` if no interface has that index
 * @see {@link https://man7.org/linux/man-pages/man3/if_indextoname.3.html if_indextoname(3)}
 */
export function interfaceNameOf(ifindex: number): string {
  checkInteger(ifindex, 0, 0xffff_ffff, 'ifindex')
  const name = Buffer.alloc(IF_NAMESIZE)
  return name.toString('utf8', 0, check(native.if_indextoname(ifindex, name), 'if_indextoname', String(ifindex)))
}

const IF_NAMESIZE = 16
