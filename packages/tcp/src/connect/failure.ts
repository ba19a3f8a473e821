// The errors of attempts to connect, and the one error that `connect` rejects with.
//
// Invariant: a value that the program threw is passed on unchanged; only errors that the attempt made get an `address`.
import { inspect, types } from 'node:util'
import { formatAddress, SystemError } from '@linux-sockets/native-core'
import type { InetAddressLike } from '../addresses.js'

export interface Failure {
  readonly error: unknown
  /** The address of the attempt; undefined if the iterator failed, or the time was over while no attempt ran. */
  readonly address?: InetAddressLike
}

/** Combines all failures into one error. Its code is that of the first attempt, whose address was the best. */
export function allFailed(failures: readonly Failure[], code = codeOf(failures[0]?.error)): unknown {
  if (failures.length === 0) return new TypeError('there is no address to connect to')
  if (failures.length === 1) return failures[0]?.error
  const messages = failures.map(describe)
  const all = new AggregateError(failures.map(withAddress), `no address could be connected to: ${messages.join('; ')}`)
  return Object.assign(all, { code })
}

/**
 * Sets `address` only on errors that the attempt itself made: a value thrown by the program may be frozen, shared, or no
 * error.
 */
function withAddress({ error, address }: Failure): unknown {
  if (address === undefined) return error
  const own = error instanceof SystemError && Object.isExtensible(error) && !Object.hasOwn(error, 'address')
  return own
    ? Object.assign(error, { address })
    : Object.assign(new Error(messageOf(error), { cause: error }), { code: codeOf(error), address })
}

function describe({ error, address }: Failure): string {
  if (address === undefined) return messageOf(error)
  const text = textOf(address)
  return error instanceof SystemError && error.detail === text ? error.message : `${text}: ${messageOf(error)}`
}

export function errorOf(thrown: unknown): NodeJS.ErrnoException {
  return types.isNativeError(thrown) ? thrown : new Error(messageOf(thrown), { cause: thrown })
}

function codeOf(error: unknown): unknown {
  return (error as Partial<SystemError> | null | undefined)?.code
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : inspect(error)
}

/** Formats an address, even one from an iterator that is invalid. */
function textOf(address: InetAddressLike): string {
  try {
    return formatAddress(address)
  } catch {
    return inspect(address)
  }
}
