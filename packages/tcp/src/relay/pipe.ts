// The pipes of all relays of a thread.
//
// Invariant: a spare pipe is empty. There are at most MOST_SPARE, and none while no relay runs.
import { fcntl, type OwnedFd, pipe } from '@linux-sockets/native-core'
import { F_SETPIPE_SZ } from '@linux-sockets/native-core/constants'
import { closeQuietly } from '@linux-sockets/native-core/internal'

export interface Pipe {
  readonly read: OwnedFd
  readonly write: OwnedFd
}

/** The number of relays that aren't over. */
let relays = 0

const spare: Pipe[] = []

/** Keeps spare pipes until a call of `releasePipes` for each call of this function. */
export function retainPipes(): void {
  relays++
}

export function releasePipes(): void {
  if (--relays === 0) for (const pipe of spare.splice(0)) closePipe(pipe)
}

export function takePipe(): Pipe {
  return spare.pop() ?? largePipe()
}

/** Keeps or closes a pipe that must be empty. */
export function leavePipe(pipe: Pipe): void {
  if (spare.length < MOST_SPARE) spare.push(pipe)
  else closePipe(pipe)
}

export function closePipe({ read, write }: Pipe): void {
  closeQuietly(read)
  closeQuietly(write)
}

function largePipe(): Pipe {
  const made = pipe()
  try {
    fcntl(made.write, F_SETPIPE_SZ, PIPE_SIZE)
  } catch {
    // Beyond fs.pipe-user-pages-soft a user gets no larger pipes: the default size is used.
  }
  return made
}

/** The size of a pipe, in **bytes**; the kernel counts in pages, and each piece of a packet takes one page. */
const PIPE_SIZE = 256 * 1024

/** The most empty pipes that are kept. */
const MOST_SPARE = 16
