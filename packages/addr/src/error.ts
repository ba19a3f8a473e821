import { SystemError } from '@linux-sockets/native-core'

/**
 * How getaddrinfo(3) and getnameinfo(3) fail: the numbers of <netdb.h>, and what they say.
 * @see {@link https://man7.org/linux/man-pages/man3/gai_strerror.3.html gai_strerror(3)}
 */
const rows = {
  EAI_BADFLAGS: [-1, 'flags that are unknown or do not go together'],
  EAI_NONAME: [-2, 'name or service not known'],
  EAI_AGAIN: [-3, 'temporary failure in name resolution'],
  EAI_FAIL: [-4, 'non-recoverable failure in name resolution'],
  EAI_NODATA: [-5, 'no address associated with the name'],
  EAI_FAMILY: [-6, 'address family not supported'],
  EAI_SOCKTYPE: [-7, 'socket type not supported'],
  EAI_SERVICE: [-8, 'service not known for this socket type'],
  EAI_ADDRFAMILY: [-9, 'the name has no address of this family'],
  EAI_MEMORY: [-10, 'memory allocation failure'],
  EAI_SYSTEM: [-11, 'system error'],
  EAI_OVERFLOW: [-12, 'result too long for its buffer'],
  EAI_IDN_ENCODE: [-105, 'the name can not be encoded as an international domain name'],
} as const

/** The name of a `getaddrinfo` error. */
export type AddressInfoErrorCode = keyof typeof rows

/** The numbers of the `getaddrinfo` errors, negative as in C: `eai.EAI_NONAME` is −2. */
export const eai = Object.fromEntries(Object.entries(rows).map(([name, [number]]) => [name, number])) as {
  readonly [Name in AddressInfoErrorCode]: (typeof rows)[Name][0]
}

/**
 * What a lookup rejects with when it fails. Programs test `code`: `EAI_NONAME` is a name that doesn't exist, `EAI_AGAIN`
 * one whose server didn't answer.
 */
export class AddressInfoError extends Error {
  override readonly name = 'AddressInfoError'
  /** `'EAI_NONAME'` */
  readonly code: AddressInfoErrorCode | `EAI_${number}`
  /** The number of `code`, negative as in C. */
  readonly eai: number
  /** The call that failed, by its C name. */
  readonly syscall: 'getaddrinfo' | 'getnameinfo'
  /** What was looked up. */
  readonly detail: string
  /** The negative system error number behind `EAI_SYSTEM`, whose `SystemError` is the `cause`. */
  readonly errno: number | undefined

  constructor(eai: number, errno: number, syscall: 'getaddrinfo' | 'getnameinfo', detail: string) {
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
