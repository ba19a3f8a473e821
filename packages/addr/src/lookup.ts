import { errno, SystemError } from '@linux-sockets/native-core'
import { checkInteger, checkSignal, type NamesOf, onAbort } from '@linux-sockets/native-core/internal'
import type { Lookup } from '@linux-sockets/native-core/resolve'
import { AddressInfoError } from './error.js'

/** The options of a lookup, which limit how long to wait for it. */
export interface LookupOptions {
  /** Gives up the lookup: the promise rejects at once with the signal's reason. */
  readonly signal?: AbortSignal | undefined
  /** **Milliseconds** after which the promise rejects with `ETIMEDOUT`, at least 1. Default: only the resolver's own limits. */
  readonly timeout?: number | undefined
}

export const LOOKUP_OPTIONS: NamesOf<LookupOptions> = { signal: true, timeout: true }

/** A lookup to make, of either kind. */
export interface Question<T> {
  readonly syscall: 'getaddrinfo' | 'getnameinfo'
  /** The text of what is looked up, for the message of an error. */
  readonly detail: string
  /** Everything that the answer depends on. Equal questions are asked once as long as there is no answer. */
  readonly key: readonly unknown[]
  begin(): Lookup<T>
}

/** Returns the result of a question's lookup, unless the signal or the timeout ends the waiting first. */
export async function settle<T>(question: Question<T>, options: LookupOptions): Promise<T> {
  const { syscall, detail } = question
  const { signal, timeout } = options
  checkSignal(signal)
  if (timeout !== undefined) checkInteger(timeout, 1, 0x7fff_ffff, 'timeout')
  signal?.throwIfAborted()
  const lookup = share(question)
  return new Promise<T>((resolve, reject) => {
    let ended = false
    const end = (finish: () => void) => {
      if (ended) return
      ended = true
      clearTimeout(timer)
      ignore?.()
      lookup.cancel()
      finish()
    }
    const abort = () => end(() => reject(signal?.reason))
    const late = () => end(() => reject(new SystemError(errno.ETIMEDOUT, syscall, detail)))
    const timer = timeout === undefined ? undefined : setTimeout(late, timeout)
    const ignore = signal && onAbort(signal, abort)
    lookup.result.then(({ eai, errno, value }) =>
      end(() => (eai === 0 ? resolve(value as T) : reject(new AddressInfoError(eai, errno, syscall, detail)))),
    )
  })
}

/** A lookup that is under way, and the number of callers that wait for it. */
interface Flight {
  readonly lookup: Lookup<unknown>
  waiting: number
}

const flights = new Map<string, Flight>()

/**
 * Returns the lookup for a question: an equal one that is under way, or a new one. Each caller that shares it calls `cancel`
 * once. A lookup that no caller waits for is not shared again: it may be stuck where a new one isn't.
 */
function share<T>({ syscall, key, begin }: Question<T>): Lookup<T> {
  const name = JSON.stringify([syscall, ...key])
  const flight = flights.get(name) ?? { lookup: begin(), waiting: 0 }
  flights.set(name, flight)
  flight.waiting++
  const cancel = () => {
    if (--flight.waiting > 0) return
    flights.delete(name)
    flight.lookup.cancel()
  }
  return { result: flight.lookup.result as Lookup<T>['result'], cancel }
}
