import { checkInteger, errno, type Lookup, SystemError } from '@linux-sockets/native-core'
import { AddressInfoError } from './error.js'

/** How long to wait for a lookup. */
export interface LookupOptions {
  /** Gives up the lookup: the promise rejects with the signal's reason, at once. */
  readonly signal?: AbortSignal | undefined
  /** **Milliseconds** after which the promise rejects with `ETIMEDOUT`, at least 1. Default: only the resolver's own limits. */
  readonly timeout?: number | undefined
}

/** A lookup, as its kind needs it. */
export interface Question<T> {
  readonly syscall: 'getaddrinfo' | 'getnameinfo'
  /** What is looked up, for the message of an error. */
  readonly detail: string
  /** All that the answer depends on. Equal questions are asked once as long as there is no answer. */
  readonly key: readonly unknown[]
  begin(): Lookup<T>
}

/** What the question's lookup finds, before the signal or the timeout strikes. */
export async function settle<T>(question: Question<T>, { signal, timeout }: LookupOptions): Promise<T> {
  const { syscall, detail } = question
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

interface Listening {
  readonly waiting: Set<() => void>
  readonly listener: () => void
}

const signals = new WeakMap<AbortSignal, Listening>()

/** One listener serves all lookups of a signal, since Node warns of a leak when there are more than ten. */
function onAbort(signal: AbortSignal, abort: () => void): () => void {
  const { waiting, listener } = signals.get(signal) ?? listen(signal)
  waiting.add(abort)
  return () => {
    waiting.delete(abort)
    if (waiting.size > 0) return
    signals.delete(signal)
    signal.removeEventListener('abort', listener)
  }
}

function listen(signal: AbortSignal): Listening {
  const waiting = new Set<() => void>()
  const listener = () => {
    for (const abort of waiting) abort()
  }
  signal.addEventListener('abort', listener)
  signals.set(signal, { waiting, listener })
  return { waiting, listener }
}

/** A lookup that is under way, and how many wait for it. */
interface Flight {
  readonly lookup: Lookup<unknown>
  waiting: number
}

const flights = new Map<string, Flight>()

/**
 * The lookup for a question, begun unless an equal one is under way; each who shares it cancels once, for himself. One
 * that nobody waits for any more isn't taken up again: it may be stuck where a new one isn't.
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
