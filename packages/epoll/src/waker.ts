import { type AsFd, eventfd, type FdLike, type OwnedFd, readv, writev } from '@linux-sockets/native-core'
import { EPOLLET, EPOLLIN } from '@linux-sockets/native-core/constants'
import { closeQuietly, fdOf } from '@linux-sockets/native-core/internal'
import type { Registration, RegistrationTable } from './registration.js'

/** Lets other threads wake a reactor; made by `Reactor.waker`. */
export interface Waker extends AsFd {
  /** Duplicates its descriptor for another thread to own: `new Worker(file, { workerData: waker.dup().release() })`. */
  dup(): OwnedFd
  /** Closes the waker. Duplicates stay open, but no longer wake the reactor. */
  close(): void
  /** Called by `using`; closes the waker. */
  [Symbol.dispose](): void
}

/** Wakes the reactor of a waker, from any thread. `waker` may be a duplicate. Costs one system call. */
export function wake(waker: FdLike): void {
  // If the counter is at its maximum (EAGAIN), the reactor wakes all the same.
  writev(fdOf(waker, 'waker'), [ONE])
}

/** Makes a waker for the reactor to which the table belongs. */
export function createWaker(table: RegistrationTable, callback: (count: number) => void): Waker {
  const counter = eventfd()
  try {
    return new EventWaker(table, counter, callback)
  } catch (error) {
    counter.close()
    throw error
  }
}

const ONE = Buffer.from(BigUint64Array.of(1n).buffer)

class EventWaker implements Waker {
  readonly #counter: OwnedFd
  readonly #registration: Registration

  constructor(table: RegistrationTable, counter: OwnedFd, callback: (count: number) => void) {
    const value = new BigUint64Array(1)
    const bytes = Buffer.from(value.buffer)
    const handler = () => {
      if (readv(counter, [bytes]) !== null) callback(Number(value[0]))
    }
    const ended = () => closeQuietly(counter)
    this.#registration = table.add(counter, EPOLLIN | EPOLLET, handler, ended, undefined).unref()
    this.#counter = counter
  }

  get fd(): number {
    return this.#counter.fd
  }

  dup(): OwnedFd {
    return this.#counter.dup()
  }

  close(): void {
    this.#registration.stop()
    closeQuietly(this.#counter)
  }

  [Symbol.dispose](): void {
    this.close()
  }
}
