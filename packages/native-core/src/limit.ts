import { readFileSync } from 'node:fs'
import { RLIM_INFINITY, RLIMIT_NOFILE, SOMAXCONN } from './constants.js'
import { check } from './error.js'
import { native } from './native.js'

/** A resource limit of this process. `Infinity` is no limit. */
export interface ResourceLimit {
  /** What is enforced. Any process may change it up to `hard`. */
  readonly soft: number
  /** The ceiling of `soft`. Raising it takes `CAP_SYS_RESOURCE`. */
  readonly hard: number
}

/** getrlimit(2): `RLIMIT_NOFILE` unless another resource is asked for. */
export function getResourceLimit(resource: number = RLIMIT_NOFILE): ResourceLimit {
  check(native.getrlimit(resource, pair), 'getrlimit')
  return { soft: fromKernel(pair[0] as bigint), hard: fromKernel(pair[1] as bigint) }
}

/** setrlimit(2). What is left out stays. It holds for the whole process, all Workers included. */
export function setResourceLimit(limit: Partial<ResourceLimit>, resource: number = RLIMIT_NOFILE): void {
  const { soft, hard } = { ...getResourceLimit(resource), ...limit }
  pair[0] = toKernel(soft, 'soft')
  pair[1] = toKernel(hard, 'hard')
  check(native.setrlimit(resource, pair), 'setrlimit')
}

/** Raises the soft limit of open descriptors to the hard one, as servers do when they start. Returns the new limit. */
export function raiseDescriptorLimit(): number {
  const { hard } = getResourceLimit()
  setResourceLimit({ soft: hard })
  return hard
}

/** The backlog that listen(2) gives when asked for this one: the kernel lowers it to `net.core.somaxconn` of the network namespace. */
export function effectiveBacklog(backlog: number = SOMAXCONN): number {
  const somaxconn = Number(readFileSync('/proc/sys/net/core/somaxconn', 'utf8'))
  // The kernel compares as unsigned, so a negative backlog asks for the most.
  return backlog < 0 ? somaxconn : Math.min(backlog, somaxconn)
}

function fromKernel(value: bigint): number {
  return value === RLIM_INFINITY ? Number.POSITIVE_INFINITY : Number(value)
}

function toKernel(value: number, what: string): bigint {
  if (value === Number.POSITIVE_INFINITY) return RLIM_INFINITY
  if (typeof value !== 'number' || Number.isNaN(value)) throw new TypeError(`${what} must be a number, not ${value}`)
  if (!Number.isSafeInteger(value) || value < 0)
    throw new RangeError(`${what} must be a count or Infinity, not ${value}`)
  return BigInt(value)
}

const pair = new BigUint64Array(2)
