import { check } from './error.js'
import { type AsFd, OwnedFd } from './fd.js'
import { native } from './native.js'

/** Words per event in the array that `epollWait` fills: the events, and the low and high half of the data. */
export const EPOLL_EVENT_WORDS = 3

/** epoll_create1(2), closed on exec. */
export function epollCreate(): OwnedFd {
  return OwnedFd.adopt(check(native.epoll_create1(0), 'epoll_create1'))
}

/**
 * epoll_ctl(2): adds, changes (`EPOLL_CTL_MOD`) or removes a descriptor's interest. The two words of data come back
 * with its events.
 * @throws SystemError `EEXIST`, `ENOENT`, `EPERM` (a file that can't be waited for), `ELOOP`, `ENOSPC`
 */
export function epollControl(
  epoll: AsFd,
  operation: number,
  target: AsFd,
  events = 0,
  dataLow = 0,
  dataHigh = 0,
): void {
  check(native.epoll_ctl(epoll.fd, operation, target.fd, events, dataLow, dataHigh), 'epoll_ctl')
}

/**
 * epoll_pwait2(2): waits for events and writes them to `events`, three words each. Returns how many, 0 when the time
 * is over. `timeout` is in **milliseconds**, fractions down to the nanosecond; 0 only looks; −1 and `Infinity` wait for ever.
 * A signal does not end it. Waiting stops the whole thread, so it is for Workers. Kernels before 5.11 round up to whole milliseconds.
 * @throws TypeError, RangeError for any other timeout: NaN, other negative ones, more than 104 days
 */
export function epollWait(epoll: AsFd, events: Uint32Array, timeout = 0): number {
  const nanoseconds = toNanoseconds(timeout)
  const most = Math.floor(events.length / EPOLL_EVENT_WORDS)
  return check(native.epoll_pwait2(epoll.fd, events, most, nanoseconds), 'epoll_pwait2')
}

function toNanoseconds(timeout: number): number {
  if (typeof timeout !== 'number' || Number.isNaN(timeout)) {
    throw new TypeError(`timeout must be a number of milliseconds, not ${timeout}`)
  }
  if (timeout === -1 || timeout === Number.POSITIVE_INFINITY) return -1
  if (timeout < 0 || timeout > LONGEST) {
    throw new RangeError(`timeout must be -1, Infinity or from 0 to ${LONGEST} milliseconds, not ${timeout}`)
  }
  return Math.ceil(timeout * 1e6)
}

/** In whole milliseconds; in nanoseconds, more would not be a safe integer. */
const LONGEST = Math.floor(Number.MAX_SAFE_INTEGER / 1e6)
