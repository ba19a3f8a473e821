import { executionAsyncResource } from 'node:async_hooks'
import type { SocketAddress } from '../address.js'
import { orUndefined } from '../quietly.js'
import { netAddress } from './names.js'
import type { NetStream } from './netstream.js'

/** The methods that a `tls.TLSSocket` or an HTTP/2 session calls on the handle of the connection under it. */
interface Handle {
  /** Fills in the address, and returns 0. */
  getsockname(out: object): number
  getpeername(out: object): number
  ref(): void
  unref(): void
  setNoDelay(noDelay: boolean): void
  /** The delay is in **seconds**. */
  setKeepAlive(enable: boolean, initialDelay: number): void
}

/**
 * Gives the handle that Node puts around a foreign stream the methods of a connection's handle, which it lacks. Returns
 * true if such a handle is resuming `stream`.
 *
 * Node resumes the stream in the async context of the handle, whose owner has the stream.
 */
export function completeHandle(stream: NetStream<SocketAddress>): boolean {
  // Only a handle of that kind has `readBuffer`.
  const handle = executionAsyncResource() as (Partial<Handle> & { readonly readBuffer?: unknown }) | undefined
  if (handle?.readBuffer === undefined || 'getpeername' in handle || !isAround(handle, stream)) return false
  const tell = (out: object, name: SocketAddress | undefined) => {
    Object.assign(out, netAddress(name))
    return 0
  }
  Object.assign(handle, {
    getsockname: (out) => tell(out, stream.localName),
    getpeername: (out) => tell(out, stream.peerName),
    ref: () => stream.ref(),
    unref: () => stream.unref(),
    setNoDelay: (noDelay) => stream.setNoDelay(noDelay),
    // A delay that the kernel refuses changes nothing for `node:net`.
    setKeepAlive: (enable, initialDelay) => orUndefined(() => stream.setKeepAlive(enable, initialDelay * 1000)),
  } satisfies Handle)
  return true
}

function isAround(handle: object, stream: NetStream<SocketAddress>): boolean {
  return Object.getOwnPropertySymbols(handle).some(
    (symbol) => (handle as Record<symbol, { readonly stream?: unknown } | undefined>)[symbol]?.stream === stream,
  )
}
