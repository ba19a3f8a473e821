import { check } from './error.js'
import type { AsFd } from './fd.js'
import { native } from './native.js'

/** An epoll instance on Node's loop, from `attachEpoll`. A new one does not keep the process alive. */
export interface Attachment {
  /** Keeps the process alive while it is attached. */
  ref(): void
  /** Lets the process end although it is attached. */
  unref(): void
  /**
   * Whether the thread waits in this epoll instance itself, which spares a system call for every batch; Node's loop gets
   * its turn as soon as it has something to do: events of its own, a timer, an immediate. Default false.
   */
  lead(on: boolean): void
  /** Ends it; before the epoll instance is closed. */
  detach(): void
}

/**
 * Fetches the events of an epoll instance from Node's loop as they come: `ready` is called with how many were left in
 * `events`, `EPOLL_EVENT_WORDS` each. For event loops of one's own; single descriptors are for `watch`.
 *
 * Data of 64 ones is reserved. What `ready` throws is an uncaught exception. It is called in no async context.
 *
 * @throws SystemError `EBADF`; `EPERM` for what is always ready; `ENOSPC` (fs.epoll.max_user_watches)
 * @throws TypeError for events that are no `Uint32Array` with room for one, or a `ready` that is no function
 */
export function attachEpoll(epoll: AsFd, events: Uint32Array, ready: (count: number) => void): Attachment {
  if (typeof ready !== 'function') throw new TypeError('ready must be a function')
  // Holds the instance, too: one that was collected, and so closed, while it is attached would end the process.
  const attached = { epoll, ready }
  const deliver = (count: number) => attached.ready(check(count, 'epoll_wait'))
  const handle = check(native.loop_attach(epoll.fd, events, deliver), 'uv_poll_init')
  return {
    ref: () => void native.loop_ref(handle, 1),
    unref: () => void native.loop_ref(handle, 0),
    lead: (on) => void native.loop_lead(handle, on ? 1 : 0),
    detach: () => void native.loop_detach(handle),
  }
}
