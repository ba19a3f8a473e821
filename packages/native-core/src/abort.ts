interface Listening {
  readonly waiting: Set<() => void>
  readonly listener: () => void
}

const signals = new WeakMap<AbortSignal, Listening>()

/**
 * Calls `abort` when the signal is aborted, unless the returned function was called before. Does nothing for a signal that
 * is already aborted. All callers share one listener per signal, since Node warns of a leak if there are more than ten. For
 * the packages of `@linux-sockets`.
 */
export function onAbort(signal: AbortSignal, abort: () => void): () => void {
  const { waiting, listener } = signals.get(signal) ?? listen(signal)
  // The same function may be passed twice.
  const call = () => abort()
  waiting.add(call)
  return () => {
    if (!waiting.delete(call) || waiting.size > 0) return
    signals.delete(signal)
    signal.removeEventListener('abort', listener)
  }
}

function listen(signal: AbortSignal): Listening {
  const waiting = new Set<() => void>()
  const listener = () => {
    for (const call of waiting) {
      try {
        call()
      } catch (error) {
        // Like an EventTarget: the other functions are called nevertheless.
        process.nextTick(() => {
          throw error
        })
      }
    }
  }
  signal.addEventListener('abort', listener)
  const listening = { waiting, listener }
  signals.set(signal, listening)
  return listening
}
