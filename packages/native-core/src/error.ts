import { type ErrnoName, errno, errnoName, errnoText } from './errno.js'
import { BAD_ARGUMENT_KINDS, MAX_ERRNO } from './native.js'

/**
 * What a failed system call throws: Node's own shape (`code`, `errno`, `syscall`), so that programs test `error.code`
 * and need not care who made the call.
 */
export class SystemError extends Error {
  override readonly name = 'SystemError'
  /** The error's name, as Node spells it: `'ECONNREFUSED'`. */
  readonly code: ErrnoName | `E${number}`
  /** The negative error number, as everywhere in Node: −111. */
  readonly errno: number
  /** The call that failed, by its C name. */
  readonly syscall: string
  /** What it was about: an address, an option, a path. */
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

/** The result of a boundary call when it is one; otherwise throws what `fail` makes of it. */
export function check(result: number, syscall: string, detail?: string): number {
  if (result < 0) throw fail(result, syscall, detail)
  return result
}

/** The result of a boundary call when it is one, `null` when the call would block; otherwise throws what `fail` makes of it. */
export function unlessBlocked(result: number, syscall: string): number | null {
  if (result >= 0) return result
  if (result === -errno.EAGAIN) return null
  throw fail(result, syscall)
}

/** The error for a negative result of a boundary call. */
export function fail(result: number, syscall: string, detail?: string): Error {
  if (result >= -MAX_ERRNO) return new SystemError(result, syscall, detail)
  const complaint = -result - MAX_ERRNO - 1
  const position = complaint >> 3
  const kind = complaint & 7
  const ErrorClass = BAD_ARGUMENT_KINDS[kind] === 'within the buffer' ? RangeError : TypeError
  return new ErrorClass(`${syscall}: argument ${position + 1} must be ${BAD_ARGUMENT_KINDS[kind]}`)
}
