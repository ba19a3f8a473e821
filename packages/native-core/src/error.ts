import { type ErrnoName, errno, errnoName, errnoText } from './errno.js'
import { BAD_ARGUMENT_KINDS, MAX_ERRNO } from './native.js'

/**
 * The error of a failed system call, in Node's own shape (`code`, `errno`, `syscall`): programs test `error.code`, whether
 * Node or this package made the call.
 */
export class SystemError extends Error {
  override readonly name = 'SystemError'
  /** The error's name, as Node spells it: `'ECONNREFUSED'`. */
  readonly code: ErrnoName | `E${number}`
  /** The error number, negative as everywhere in Node: −111. */
  readonly errno: number
  /** The call that failed, by its C name. */
  readonly syscall: string
  /** The object of the call: an address, an option, a path. */
  declare readonly detail?: string

  constructor(errno: number, syscall: string, detail?: string) {
    const number = Math.abs(errno)
    const code = errnoName(number) ?? (`E${number}` as const)
    const text = errnoText(number) ?? 'unknown error'
    super(`${syscall} ${code}${detail === undefined ? '' : ` ${detail}`}: ${text}`)
    this.code = code
    this.errno = -number
    this.syscall = syscall
    if (detail !== undefined) this.detail = detail
  }
}

/** Returns the result of a boundary call if it is not negative; otherwise throws the error that `fail` makes of it. */
export function check(result: number, syscall: string, detail?: string): number {
  if (result < 0) throw fail(result, syscall, detail)
  return result
}

/** Like `check`, but returns `null` if the call would block. */
export function unlessBlocked(result: number, syscall: string): number | null {
  if (result >= 0) return result
  if (result === -errno.EAGAIN) return null
  throw fail(result, syscall)
}

/** Makes the error for a negative result of a boundary call. */
export function fail(result: number, syscall: string, detail?: string): Error {
  if (result >= -MAX_ERRNO) return new SystemError(result, syscall, detail)
  const complaint = -result - MAX_ERRNO - 1
  const position = complaint >> 3
  const kind = BAD_ARGUMENT_KINDS[complaint & 7]
  const ErrorClass = kind === 'within the buffer' ? RangeError : TypeError
  return new ErrorClass(`${ARGUMENTS[syscall]?.[position] ?? `${syscall}: argument ${position + 1}`} must be ${kind}`)
}

/** The argument names of the hot calls, whose arguments only the boundary checks, where that costs nothing. */
const ARGUMENTS: Readonly<Record<string, readonly string[]>> = {
  send: ['socket', 'data', 'offset', 'length', 'flags'],
  recv: ['socket', 'buffer', 'offset', 'length', 'flags'],
  sendto: ['socket', 'data', 'offset', 'length', 'flags', 'address'],
  recvfrom: ['socket', 'buffer', 'offset', 'length', 'flags'],
  readv: ['file', 'buffers'],
  writev: ['file', 'buffers'],
}
