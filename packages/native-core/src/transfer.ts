import { unlessBlocked } from './error.js'
import type { AsFd } from './fd.js'
import { native } from './native.js'

/**
 * sendfile(2): copies from a file to a descriptor within the kernel, never raising SIGPIPE. Returns the bytes moved, 0 at
 * the end of the file, or `null` when it would block. With `offset` null the file's own position is used and moved.
 * At most 0x7ffff000 bytes per call.
 */
export function sendfile(out: AsFd, input: AsFd, offset: number | null, count: number): number | null {
  return unlessBlocked(native.sendfile(out.fd, input.fd, offset ?? -1, count), 'sendfile')
}

/**
 * splice(2): moves bytes between a pipe and another descriptor, never raising SIGPIPE. Returns the bytes moved, 0 at the
 * end of input, or `null` when it would block. `flags` are `SPLICE_F_…`.
 */
export function splice(
  input: AsFd,
  out: AsFd,
  length: number,
  flags = 0,
  inOffset: number | null = null,
  outOffset: number | null = null,
): number | null {
  return unlessBlocked(native.splice(input.fd, inOffset ?? -1, out.fd, outOffset ?? -1, length, flags), 'splice')
}

/** tee(2): duplicates bytes from one pipe to another without taking them. Returns as `splice` does. */
export function tee(input: AsFd, out: AsFd, length: number, flags = 0): number | null {
  return unlessBlocked(native.tee(input.fd, out.fd, length, flags), 'tee')
}
