import { type AsFd, getOption } from '@linux-sockets/native-core'
import { AF_INET, AF_INET6 } from '@linux-sockets/native-core/constants'
import { describe, type NamesOf } from '@linux-sockets/native-core/internal'
import { SO_DOMAIN } from '@linux-sockets/native-core/options'
import { type Limits, limitsOf, type Timeouts } from './deadline.js'
import type { Reactor } from './reactor.js'

/** The limits of a connection's write queue, and its timeouts. */
export interface ConnectionOptions extends Timeouts {
  /** The number of queued **bytes** from which `write` returns false. Default 64 KiB. */
  readonly highWaterMark?: number | undefined
  /** The number of queued **bytes** at which the handler `drain` is called after that. Default: a quarter of `highWaterMark`. */
  readonly lowWaterMark?: number | undefined
  /** The most queued **bytes**. A write that would exceed it breaks the connection with `ENOBUFS`. Default 16 MiB. */
  readonly maxQueuedBytes?: number | undefined
}

export const CONNECTION_OPTIONS: NamesOf<ConnectionOptions> = {
  highWaterMark: true,
  lowWaterMark: true,
  maxQueuedBytes: true,
  connectTimeout: true,
  idleTimeout: true,
  readTimeout: true,
  writeTimeout: true,
}

/** The checked options of a connection; the connections of one server share them. */
export interface Policy {
  readonly lowWaterMark: number
  readonly highWaterMark: number
  readonly maxQueuedBytes: number
  readonly limits: Limits
  /**
   * Whether a short read means that nothing is left to read. A Unix socket also stops at descriptors and at another writer's
   * bytes.
   */
  readonly readsWhole: boolean
}

/**
 * Checks the options, and fills in the defaults. `kind`: the address family of the connections, or a socket that has it.
 * @throws TypeError, RangeError if an option is out of range
 */
export function policyOf(options: ConnectionOptions, kind: AsFd | number): Policy {
  const { highWaterMark = 64 * 1024, maxQueuedBytes = 16 * 1024 * 1024 } = options
  const { lowWaterMark = highWaterMark / 4 } = options
  for (const [name, value] of Object.entries({ highWaterMark, maxQueuedBytes, lowWaterMark })) {
    if (typeof value !== 'number') throw new TypeError(`${name} must be a number of bytes`)
    if (!(value >= 0)) throw new RangeError(`${name} must not be negative`)
  }
  if (lowWaterMark > highWaterMark || highWaterMark > maxQueuedBytes) {
    const found = `${lowWaterMark} ≤ ${highWaterMark} ≤ ${maxQueuedBytes}`
    throw new RangeError(`lowWaterMark ≤ highWaterMark ≤ maxQueuedBytes must hold, not ${found}`)
  }
  const limits = limitsOf(options)
  const family = typeof kind === 'number' ? kind : getOption(kind, SO_DOMAIN)
  const readsWhole = family === AF_INET || family === AF_INET6
  return { lowWaterMark, highWaterMark, maxQueuedBytes, limits, readsWhole }
}

/** Accepts a `Reactor` of another copy of this package. @throws TypeError */
export function checkReactor(value: unknown): asserts value is Reactor {
  if (typeof (value as Partial<Reactor> | null | undefined)?.register === 'function') return
  throw new TypeError(`reactor must be a Reactor, not ${describe(value)}`)
}
