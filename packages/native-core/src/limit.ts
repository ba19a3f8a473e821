import { readFileSync } from 'node:fs'
import { checkInt32, checkInteger, checkOptions } from './argument.js'
import { RLIM_INFINITY, RLIMIT_NOFILE, SOMAXCONN } from './constants.js'
import { check } from './error.js'
import { native } from './native.js'

/** A resource limit of this process. `Infinity` means no limit. */
export interface ResourceLimit {
  /** The enforced limit. Any process may change it up to `hard`. */
  readonly soft: number
  /** The ceiling of `soft`. Raising it takes `CAP_SYS_RESOURCE`. */
  readonly hard: number
}

/** getrlimit(2): the limit of `RLIMIT_NOFILE`, or of another resource. */
export function getResourceLimit(resource: number = RLIMIT_NOFILE): ResourceLimit {
  checkInteger(resource, 0, 0x7fff_ffff, 'resource')
  check(native.getrlimit(resource, pair), 'getrlimit')
  return { soft: fromKernel(pair[0] as bigint), hard: fromKernel(pair[1] as bigint) }
}

/**
 * setrlimit(2). A value that is left out stays. The limit applies to the whole process, including all Workers.
 * @throws TypeError, RangeError for invalid limits
 * @throws SystemError `EPERM`, `EINVAL`
 */
export function setResourceLimit(limit: Partial<ResourceLimit>, resource: number = RLIMIT_NOFILE): void {
  checkOptions(limit, 'limit', { soft: true, hard: true })
  const { soft, hard } = limit
  if (soft !== undefined) checkLimit(soft, 'soft')
  if (hard !== undefined) checkLimit(hard, 'hard')
  const before = getResourceLimit(resource)
  pair[0] = toKernel(soft ?? before.soft)
  pair[1] = toKernel(hard ?? before.hard)
  check(native.setrlimit(resource, pair), 'setrlimit')
}

/** Raises the soft limit of open descriptors to the hard one, as servers do when they start. Returns the new limit. */
export function raiseDescriptorLimit(): number {
  const { hard } = getResourceLimit()
  setResourceLimit({ soft: hard })
  return hard
}

/** The backlog that listen(2) really sets: the kernel lowers it to `net.core.somaxconn` of the network namespace. */
export function effectiveBacklog(backlog: number = SOMAXCONN): number {
  checkInt32(backlog, 'backlog')
  const somaxconn = Number(readFileSync('/proc/sys/net/core/somaxconn', 'utf8'))
  // The kernel compares as unsigned, so a negative backlog stands for the largest.
  return backlog < 0 ? somaxconn : Math.min(backlog, somaxconn)
}

function fromKernel(value: bigint): number {
  return value === RLIM_INFINITY ? Number.POSITIVE_INFINITY : Number(value)
}

function toKernel(value: number): bigint {
  return value === Number.POSITIVE_INFINITY ? RLIM_INFINITY : BigInt(value)
}

function checkLimit(value: number, what: string): void {
  if (value === Number.POSITIVE_INFINITY) return
  if (typeof value !== 'number' || Number.isNaN(value)) throw new TypeError(`${what} must be a number, not ${value}`)
  if (!Number.isSafeInteger(value) || value < 0)
    throw new RangeError(`${what} must be a count or Infinity, not ${value}`)
}

const pair = new BigUint64Array(2)
