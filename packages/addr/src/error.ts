import { SystemError } from '@linux-sockets/native-core'
import { checkInt32 } from '@linux-sockets/native-core/internal'
import {
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
} from '@linux-sockets/native-core/resolve'

/**
 * The errors of getaddrinfo(3) and getnameinfo(3): their numbers and messages.
 * @see {@link https://man7.org/linux/man-pages/man3/gai_strerror.3.html gai_strerror(3)}
 */
const rows = {
  EAI_BADFLAGS: [EAI_BADFLAGS, 'flags that are unknown or do not go together'],
  EAI_NONAME: [EAI_NONAME, 'name or service not known'],
  EAI_AGAIN: [EAI_AGAIN, 'temporary failure in name resolution'],
  EAI_FAIL: [EAI_FAIL, 'non-recoverable failure in name resolution'],
  EAI_NODATA: [EAI_NODATA, 'no address associated with the name'],
  EAI_FAMILY: [EAI_FAMILY, 'address family not supported'],
  EAI_SOCKTYPE: [EAI_SOCKTYPE, 'socket type not supported'],
  EAI_SERVICE: [EAI_SERVICE, 'service not known for this socket type'],
  EAI_ADDRFAMILY: [EAI_ADDRFAMILY, 'the name has no address of this family'],
  EAI_MEMORY: [EAI_MEMORY, 'memory allocation failure'],
  EAI_SYSTEM: [EAI_SYSTEM, 'system error'],
  EAI_OVERFLOW: [EAI_OVERFLOW, 'result too long for its buffer'],
  EAI_IDN_ENCODE: [EAI_IDN_ENCODE, 'the name can not be encoded as an international domain name'],
} as const

/** The name of a `getaddrinfo` error. */
export type AddressInfoErrorCode = keyof typeof rows

/** The numbers of the `getaddrinfo` errors, negative as in C: `eai.EAI_NONAME` is −2. */
export const eai = Object.fromEntries(Object.entries(rows).map(([name, [number]]) => [name, number])) as {
  readonly [Name in AddressInfoErrorCode]: (typeof rows)[Name][0]
}

/**
 * The error of a lookup that fails. Programs test `code`: `EAI_NONAME` means that the name doesn't exist, `EAI_AGAIN` that
 * its name server didn't answer.
 */
export class AddressInfoError extends Error {
  override readonly name = 'AddressInfoError'
  /** The name of the error: `'EAI_NONAME'`. */
  readonly code: AddressInfoErrorCode | `EAI_${number}`
  /** The number of `code`, negative as in C. */
  readonly eai: number
  /** The call that failed, by its C name. */
  readonly syscall: 'getaddrinfo' | 'getnameinfo'
  /** The host and the service, or the address, that was looked up. */
  readonly detail: string
  /** With `EAI_SYSTEM`, the negative system error number, whose `SystemError` is the `cause`; otherwise undefined. */
  readonly errno: number | undefined

  constructor(eai: number, errno: number, syscall: 'getaddrinfo' | 'getnameinfo', detail: string) {
    checkInt32(eai, 'eai')
    checkInt32(errno, 'errno')
    const cause = eai === rows.EAI_SYSTEM[0] ? new SystemError(errno, syscall, detail) : undefined
    const code = codeOf(eai)
    const text = code in rows ? rows[code as AddressInfoErrorCode][1] : 'unknown error'
    super(`${syscall} ${code} ${detail}: ${cause?.code ?? text}`, cause && { cause })
    this.code = code
    this.eai = eai
    this.syscall = syscall
    this.detail = detail
    this.errno = cause?.errno
  }
}

function codeOf(eai: number): AddressInfoError['code'] {
  const names = Object.keys(rows) as AddressInfoErrorCode[]
  return names.find((name) => rows[name][0] === eai) ?? `EAI_${-eai}`
}
