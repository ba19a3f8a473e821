import type { AsFd } from './fd.js'
import { setOption } from './option.js'
import { SO_LINGER } from './options/socket.js'

// For steps whose failure must not prevent other steps. For the packages of `@linux-sockets`.

/** Returns the result of `ask`, or undefined if it throws. */
export function orUndefined<T>(ask: () => T): T | undefined {
  try {
    return ask()
  } catch {
    return undefined
  }
}

/**
 * Sets `SO_LINGER` 0: close(2) then drops unsent data, and a TCP peer gets a reset. No error if other code has closed the
 * socket.
 */
export function resetOnClose(socket: AsFd): void {
  orUndefined(() => setOption(socket, SO_LINGER, 0))
}
