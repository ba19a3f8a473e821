import { checkFlags, checkInteger } from './argument.js'
import { unlessBlocked } from './error.js'
import { type FdLike, fdOf } from './fd.js'
import { native } from './native.js'

/**
 * sendfile(2): copies from a file to a descriptor within the kernel, never raising SIGPIPE. Returns the bytes moved, 0 at
 * the end of the file, or `null` if it would block. With `offset` null, the file's own position is used and moved. At most
 * 0x7ffff000 bytes per call.
 */
export function sendfile(out: FdLike, input: FdLike, offset: number | null, count: number): number | null {
  const [target, source] = [fdOf(out, 'out'), fdOf(input, 'input')]
  if (offset !== null) checkLength(offset, 'offset')
  checkLength(count, 'count')
  return unlessBlocked(native.sendfile(target, source, offset ?? -1, count), 'sendfile')
}

/**
 * splice(2): moves bytes between a pipe and another descriptor, never raising SIGPIPE. Returns the bytes moved, 0 at the
 * end of input, or `null` if it would block. `flags` are `SPLICE_F_…`.
 */
export function splice(
  input: FdLike,
  out: FdLike,
  length: number,
  flags = 0,
  inOffset: number | null = null,
  outOffset: number | null = null,
): number | null {
  const [source, target] = [fdOf(input, 'input'), fdOf(out, 'out')]
  checkLength(length, 'length')
  checkFlags(flags)
  if (inOffset !== null) checkLength(inOffset, 'inOffset')
  if (outOffset !== null) checkLength(outOffset, 'outOffset')
  return unlessBlocked(native.splice(source, inOffset ?? -1, target, outOffset ?? -1, length, flags), 'splice')
}

/** tee(2): duplicates bytes from one pipe to another without taking them. Returns as `splice` does. */
export function tee(input: FdLike, out: FdLike, length: number, flags = 0): number | null {
  const [source, target] = [fdOf(input, 'input'), fdOf(out, 'out')]
  checkLength(length, 'length')
  checkFlags(flags)
  return unlessBlocked(native.tee(source, target, length, flags), 'tee')
}

function checkLength(value: number, what: string): void {
  checkInteger(value, 0, Number.MAX_SAFE_INTEGER, what)
}
