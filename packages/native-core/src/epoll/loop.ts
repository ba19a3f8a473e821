import { checkFunction } from '../argument.js'
import { check } from '../error.js'
import { type FdLike, fdOf, onRelease } from '../fd.js'
import { native } from '../native.js'
import { checkEventWords } from './epoll.js'

/** An epoll instance on Node's loop, from `attachEpoll`. A new one does not keep the process alive. */
export interface Attachment extends Disposable {
  /** Keeps the process alive while it is attached. */
  ref(): this
  /** Lets the process end although it is attached. */
  unref(): this
  /**
   * Whether the thread waits in this epoll instance itself, which saves a system call per batch. Default false.
   *
   * Experimental. Node's loop gets its turn as soon as it has something to do: the instance watches the descriptor of the
   * loop (`uv_backend_fd`) and waits no longer than its timeout (`uv_backend_timeout`). libuv has both so that loops can be
   * embedded, but Node doesn't promise that they show all its work. If a version of Node had work that they don't show, that
   * work would wait for the next event. With false everything works in the same way, with the additional system call.
   */
  lead(on: boolean): void
  /** Takes the instance off the loop; it stays open. Closing the instance does the same. Idempotent. */
  stop(): void
}

/**
 * Attaches an epoll instance to Node's loop: as events come, writes them to `events`, `EPOLL_EVENT_WORDS` each, and calls
 * `ready` with their number. For event loops of your own; for single descriptors use `watch`.
 *
 * Event data with all 64 bits set is reserved. An exception that `ready` throws is uncaught. `ready` is called in no async context.
 *
 * @throws SystemError `EBADF`; `EPERM` for a file that is always ready; `ENOSPC` (fs.epoll.max_user_watches)
 * @throws TypeError, RangeError if `events` is not a `Uint32Array` with room for one event, or `ready` is not a function
 */
export function attachEpoll(epoll: FdLike, events: Uint32Array, ready: (count: number) => void): Attachment {
  checkEventWords(events)
  checkFunction(ready, 'ready')
  return attach(epoll, events, (count) => ready(check(count, 'epoll_wait')))
}

/** Like `attachEpoll`, with a `ready` that is also called with −errno. For this package's own use. */
export function attach(epoll: FdLike, events: Uint32Array, ready: (count: number) => void): Attachment {
  // References the instance, too: if it were collected, and so closed, while attached, the process would end.
  const attached = { epoll, ready }
  const deliver = (count: number) => attached.ready(count)
  const fd = fdOf(epoll, 'epoll')
  // −1 once stopped: the boundary reuses its handles.
  let handle = check(native.loop_attach(fd, events, deliver), 'uv_poll_init')
  const stop = () => {
    forget()
    native.loop_detach(handle)
    handle = -1
  }
  // Closing an instance while Node's loop holds it would end the process.
  const forget = onRelease((released) => {
    if (released === fd) stop()
  })
  return {
    ref() {
      native.loop_ref(handle, 1)
      return this
    },
    unref() {
      native.loop_ref(handle, 0)
      return this
    },
    lead: (on) => void native.loop_lead(handle, on ? 1 : 0),
    stop,
    [Symbol.dispose]: stop,
  }
}
