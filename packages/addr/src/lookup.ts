import { checkInteger, errno, type Lookup, SystemError } from '@linux-sockets/native-core'
import { AddressInfoError } from './error.js'

/** How long to wait for a lookup. */
export interface LookupOptions {
  /** Gives up the lookup: the promise rejects with the signal's reason, at once. */
  readonly signal?: AbortSignal | undefined
  /** **Milliseconds** after which the promise rejects with `ETIMEDOUT`, at least 1. Default: only the resolver's own limits. */
  readonly timeout?: number | undefined
}

/** What `begin` finds, before the signal or the timeout strikes. */
export async function settle<T>(
  syscall: 'getaddrinfo' | 'getnameinfo',
  detail: string,
  { signal, timeout }: LookupOptions,
  begin: () => Lookup<T>,
): Promise<T> {
  if (timeout !== undefined) checkInteger(timeout, 1, 0x7fff_ffff, 'timeout')
  signal?.throwIfAborted()
  const lookup = begin()
  return new Promise<T>((resolve, reject) => {
    const end = (finish: () => void) => {
      clearTimeout(timer)
      signal?.removeEventListener('abort', abort)
      lookup.cancel()
      finish()
    }
    const abort = () => end(() => reject(signal?.reason))
    const late = () => end(() => reject(new SystemError(errno.ETIMEDOUT, syscall, detail)))
    const timer = timeout === undefined ? undefined : setTimeout(late, timeout)
    signal?.addEventListener('abort', abort)
    lookup.result.then(({ eai, errno, value }) =>
      end(() => (eai === 0 ? resolve(value as T) : reject(new AddressInfoError(eai, errno, syscall, detail)))),
    )
  })
}
